/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The one struct that every dialect of class FF decodes into, and what becomes of it.
 *
 * How something new comes in:
 *   a new dialect     one decode_*.c with a row in the table of decode.c. It fills in struct operation and nothing
 *                     else.
 *   a new operation   a kind below, the fields it needs in struct operation, and a row in the table of pseudo.c: the
 *                     function that carries it out (run_*.c), what it needs (a reader with storage_ops, a card, which
 *                     kinds of card), its Le rule.
 * Nothing else has to change; in particular, no run function knows by which dialect it was asked for.
 */
#ifndef PURSE_OPERATION_H
#define PURSE_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/result.h"
#include "reader/storage.h"

struct slot;

enum operation_kind {
    /* of the reader: never touch the card or presence */
    OP_READER_COMMAND, /* vendor, data: code and parameters as the reader's manual has them */
    OP_FIRMWARE,
    OP_LED, /* target: which lamps and how (ACS), data: times, number, sound */
    OP_BUZZER, /* target: does it sound for each card that comes (ACS)? 00: no */
    OP_LOAD_KEY, /* key_number, data: the key */
    /* of any card */
    OP_GET_ATR,
    OP_GET_DATA, /* item */
    /* of a storage card */
    OP_AUTHENTICATE,  /* block, key_type, key_number */
    OP_READ,          /* block, le */
    OP_WRITE,         /* block, data */
    OP_VALUE,         /* value_op, block, target, amount */
    OP_VALUE_STORE,   /* block, amount: the value */
    OP_VALUE_READ,    /* block */
    OP_PURSE,         /* data: the reader's own purse command */
    OP_VICINITY,      /* vicinity; data: the parameters of the command */
    OP_VICINITY_ITEM, /* vicinity.item */
    /* the transparent session */
    OP_SESSION,     /* steps */
    OP_ENCAPSULATE, /* protocol, steps: one frame, without a session */
    OP_COUNT
};

/* One data object of the transparent session. */
enum step_kind {
    STEP_BAD, /* number: the status word that it gets */
    STEP_VERSION,
    STEP_START,
    STEP_END,
    STEP_RF_OFF,
    STEP_RF_ON,
    STEP_WAIT,    /* number: microseconds */
    STEP_SELECT,  /* data: protocol, layer */
    STEP_FLAGS,   /* number: bits of enum step_flag */
    STEP_TX_BITS, /* number: valid bits of the last byte, 0: all */
    STEP_RX_BITS,
    STEP_TIMEOUT,  /* number: microseconds */
    STEP_TRANSMIT, /* data */
    STEP_RECEIVE, /* the answer to the frame before it */
    STEP_TRANSCEIVE,
    STEP_GET_PARAMETERS, /* data: objects without contents */
    STEP_SET_PARAMETERS, /* data: objects */
    STEP_COUNT
};
enum step_flag { FLAG_NO_TX_CRC = 1, FLAG_NO_RX_CRC = 2, FLAG_NO_TX_PARITY = 4, FLAG_NO_RX_PARITY = 8 };

struct step {
    enum step_kind kind;
    const uint8_t *data; /* len bytes inside the command */
    size_t len;
    uint32_t number;
};

enum { STEPS_MAX = 8 };

enum data_item { ITEM_UID, ITEM_ATS, ITEM_SAK, ITEM_ATQA, ITEM_CARD_TYPE };

/* A command of ISO 15693 (card/iso15693.h). */
enum vicinity_item { VICINITY_AFI, VICINITY_DSFID, VICINITY_MEMORY, VICINITY_REFERENCE };

struct vicinity_operation {
    uint8_t code;
    uint8_t flags; /* as on the air */
    uint8_t params[2];
    size_t params_len; /* these stand for operation.data, if there are any */
    enum vicinity_item item;
    bool tell_error; /* the card's error code stands before the status word */
};

struct operation {
    enum operation_kind kind;
    const uint8_t *data; /* data_len bytes inside the command; NULL if there are none */
    size_t data_len;
    uint16_t vendor;
    enum data_item item;
    uint16_t block;
    uint8_t key_type; /* 60 (A) or 61 (B), the card's own command codes */
    uint8_t key_number;
    enum storage_value_op value_op;
    uint8_t target;  /* block that the result of a value operation goes to */
    uint32_t amount; /* as sent: 32 bits, whatever they mean */
    enum storage_protocol protocol;
    struct vicinity_operation vicinity;
    struct step steps[STEPS_MAX];
    size_t step_count;
    /* The status word comes inside a data object, C0 03 nn SW1 SW2, and 90 00 behind it. */
    bool objects;
    /* How the answer is wanted; filled in before a decoder is called, which may change it. */
    bool has_le;
    size_t le;     /* 1 … 65536 when has_le */
    bool extended; /* the command has an extended-length form, so the answer may be longer than 256 bytes */
};

/* What the answer's length is compared with when Le is neither absent nor "as much as there is" (00, extended 0000). A
 * longer answer is 6C xx with the exact length, never cut. */
enum le_rule {
    LE_MOST, /* Le is the most that is wanted */
    LE_WANT, /* less than Le is worth a warning: 62 82 (PC/SC GET DATA) */
    LE_ALL   /* all of the answer, whatever Le says: what was carried out may not be asked for a second time */
};

/* An answer under way: data, and the status word that follows it. A run function that gives an error status may put
 * data before it; Le is not applied then. */
struct answer {
    struct wbuf data;
    uint16_t sw;
};

/* Carries out an operation. R_SUCCESS: a->sw is set. Anything else is the result of the call (R_GONE, R_NO_CARD …). */
typedef enum result (*operation_fn)(struct slot *slot, const struct operation *op, struct answer *a);

enum status_word {
    SW_DONE = 0x9000,
    SW_END_OF_DATA = 0x6282,  /* before Le */
    SW_AUTH_REFUSED = 0x6300, /* by the card */
    SW_FAILED = 0x6400,       /* the card refused, the reader failed */
    SW_CARD_SILENT = 0x6401,
    SW_NOT_CONFIRMED = 0x6581, /* a write */
    SW_LENGTH = 0x6700,
    SW_WRONG_CARD = 0x6981,  /* the command does not fit this card */
    SW_SECURITY = 0x6982,    /* not authenticated, escape not allowed */
    SW_CONDITIONS = 0x6985,  /* out of range, not now */
    SW_NOT_ALLOWED = 0x6986, /* no value block, locked */
    SW_KEY_NUMBER = 0x6988,  /* wrong, or nothing loaded */
    SW_KEY_LENGTH = 0x6989,
    SW_WRONG_DATA = 0x6A80,
    SW_NOT_SUPPORTED = 0x6A81, /* by this card or reader */
    SW_NO_BLOCK = 0x6A82,
    SW_P1P2 = 0x6B00,
    SW_EXACT_LE = 0x6C00, /* + the length */
    SW_INS = 0x6D00,
    SW_CLASS = 0x6E00
};

/* run_reader.c */
enum result run_reader_command(struct slot *slot, const struct operation *op, struct answer *a);
enum result run_firmware(struct slot *slot, const struct operation *op, struct answer *a);
enum result run_get_atr(struct slot *slot, const struct operation *op, struct answer *a);
enum result run_load_key(struct slot *slot, const struct operation *op, struct answer *a);

#endif
