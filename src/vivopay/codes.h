/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the numbers of the ViVOpay protocol mean, as const tables: status codes, commands, card types. Sources: NEO 2
 * Interface Developer's Guide (IDG), page numbers there; what no page proves is a row of doc/ASSUMPTIONS.md.
 */
#ifndef PURSE_VIVO_CODES_H
#define PURSE_VIVO_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/result.h"
#include "vivopay/frame.h"

/* ---- status codes (IDG p28) ----------------------------------------------------------------------------------- */

enum vivo_status_code {
    VIVO_OK = 0x00,
    VIVO_UNKNOWN_COMMAND = 0x02,
    VIVO_UNKNOWN_SUB_COMMAND = 0x03,
    VIVO_CRC_ERROR = 0x04,
    VIVO_BAD_PARAMETER = 0x05,
    VIVO_BLOCKED = 0x06, /* parameter not supported; on SRED readers: sensitive data is kept back */
    VIVO_MALFORMED = 0x07,
    VIVO_TIMEOUT = 0x08,
    VIVO_FAILED = 0x0A,
    VIVO_NOT_ALLOWED = 0x0B,
    VIVO_SUB_NOT_ALLOWED = 0x0C,
    VIVO_TOO_LONG = 0x0D,
    VIVO_UI_EVENT = 0x0E, /* not final */
    VIVO_FRAME_TOO_LARGE = 0x19,
    VIVO_AUTO_SWITCH = 0x50,
    VIVO_AUTO_SWITCH_FAILED = 0x51,
    VIVO_NO_ENCRYPTION_KEY = 0x90,
    VIVO_KSN_EXHAUSTED = 0x91
};

/* What a command that was answered so has come to, seen from the card's side. */
enum vivo_outcome {
    OUTCOME_DONE,
    OUTCOME_ABSENT,      /* the reader has no such command */
    OUTCOME_WRONG,       /* the request is wrong: parameter, length of a field */
    OUTCOME_BLOCKED,     /* the reader keeps the data back */
    OUTCOME_NO_ANSWER,   /* the card did not answer, or there is none */
    OUTCOME_FAILED,      /* the card refused, or the operation failed */
    OUTCOME_WRONG_MODE,  /* pass-through mode or the field is off */
    OUTCOME_TOO_LONG,
    OUTCOME_BROKEN       /* anything else */
};

struct vivo_status {
    uint8_t code;
    enum vivo_outcome outcome;
    const char *meaning;
};

/* Never NULL. */
const struct vivo_status *vivo_status(uint8_t code);

/* ---- commands --------------------------------------------------------------------------------------------------- */

enum { VIVO_ANY_SUB = 0x100 };

/* How long an answer may take (doc/ASSUMPTIONS.md, V11), each a setting or a part of one. */
enum vivo_wait {
    WAIT_PING,    /* ping_wait, 300 ms */
    WAIT_SHORT,   /* half of command_wait, 1 s */
    WAIT_COMMAND, /* command_wait, 2 s */
    WAIT_PURSE,   /* one and a half of command_wait, 3 s */
    WAIT_RESET,   /* reset_wait, 10 s */
    WAIT_CALLER   /* what is left of the caller's cap */
};

struct vivo_command {
    uint8_t command;
    uint16_t sub;      /* or VIVO_ANY_SUB */
    bool pass_through; /* of the family whose commands carry the CRC high byte first */
    bool repeatable;   /* changes nothing: may be sent again without proof (at most once) */
    bool works_always; /* also in pass-through mode, if it is no pass-through command */
    bool safe;         /* may be sent by a client as a raw command */
    uint8_t wait;      /* enum vivo_wait */
    uint8_t visible;   /* data bytes of the command that the frame log may show */
    uint8_t visible_answer;
    uint8_t crc_like;  /* sub-command whose learnt CRC order is the first guess for this one; 0: none */
};

/* The row of a command, or one that allows nothing. Never NULL. */
const struct vivo_command *vivo_command(uint8_t command, uint8_t sub);
size_t vivo_command_index(const struct vivo_command *row);
enum { VIVO_COMMANDS_MAX = 48 };

/* ---- card types -------------------------------------------------------------------------------------------------- */

enum vivo_card_kind {
    CARD_NONE,
    CARD_APDU,       /* ISO 14443-4 */
    CARD_BOTH,       /* ISO 14443-4 and MIFARE */
    CARD_STORAGE
};

struct vivo_card_type {
    uint8_t type;
    enum vivo_card_kind kind;
    bool type_b;      /* its serial number is a PUPI: random at each activation */
    uint8_t ss;       /* PC/SC part 3, storage cards */
    uint16_t nn;
    const char *name;
};

/* A type of this driver's own, of no reader's: an ISO 15693 card, found by raw exchange (vicinity.c). */
enum { VIVO_TYPE_VICINITY = 0xF5 };

/* NULL for a type that is not known. */
const struct vivo_card_type *vivo_card_type(uint8_t type);

/* ---- USB ids that look like one of these readers and are none ------------------------------------------------------ */

/* Why a device is refused, or NULL. */
const char *vivo_refused_pid(uint16_t vid, uint16_t pid);

#endif
