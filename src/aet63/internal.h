/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The AET63 reader: what its files share.
 *
 *   link.c    one command, one answer: sending, receiving, NAK, events, synchronising again
 *   card.c    the card and the SAM: power, protocols, APDUs
 *   aet63.c   the reader: open, presence, raw commands, close
 *
 * Everything here runs with the device acquired, so nothing is locked. Input has one path: receive() in link.c takes
 * chunks from the transport, feeds the pipe's decoder, hands messages of SW1 FF to the event code and everything else
 * to whoever waits for an answer.
 *
 * Synchronism. A command whose answer did not come, or came broken, leaves the line in doubt: its answer may still be
 * on the way. `in_sync` is then false, and the next command is preceded by a resynchronisation: all input is taken until
 * it is quiet, GET_ACR_STAT is sent twice, and only an answer with this reader's own identity block in it counts, and
 * only if nothing follows it. A late answer can therefore never be taken for another command's, unless the reader held
 * it back behind two later answers: nothing in the protocol could tell that.
 */
#ifndef PURSE_AET63_INTERNAL_H
#define PURSE_AET63_INTERNAL_H

#include "aet63/frame.h"
#include "aet63/status.h"
#include "card/t1.h"
#include "reader/reader.h"

enum aet63_instruction {
    AET63_GET_ACR_STAT = 0x01,
    AET63_SELECT_CARD_TYPE = 0x02,
    AET63_SET_NOTIFICATION = 0x06,
    AET63_RESET = 0x80,
    AET63_POWER_OFF = 0x81,
    AET63_ACTIVATE_SAM = 0x88,
    AET63_DEACTIVATE_SAM = 0x89,
    AET63_EEPROM_READ_DATA = 0x9A,
    AET63_EEPROM_WRITE_DATA = 0x9B,
    AET63_TFM_COMMAND = 0x9C,
    AET63_TFM_RESET = 0x9D,
    AET63_TFM_UNNAMED = 0x9E,
    AET63_TFM_OPEN_SECURE_SESSION = 0x9F,
    AET63_EXCHANGE_APDU = 0xA0,
    AET63_EXCHANGE_T1_FRAME = 0xA1,
    AET63_EXCHANGE_SAM_APDU = 0xB0,
    AET63_EXCHANGE_SAM_T1_FRAME = 0xB1
};

enum {
    AET63_TYPE_AUTO = 0x00,
    AET63_TYPE_T0 = 0x0C,
    AET63_TYPE_T1 = 0x0D,
    AET63_STATUS_SIZE = 16,
    AET63_IDENTITY_SIZE = 14, /* INTERNAL, MAX_C, MAX_R, C_TYPE: constant for a reader */
    AET63_C_STAT = 15,        /* its offset */
    AET63_STAT_NO_CARD = 0,
    AET63_STAT_UNPOWERED = 1,
    AET63_STAT_POWERED = 3,
    AET63_SLOTS = 2 /* card, SAM */
};

/* One thing with contacts: the card or the SAM. */
struct aet63_icc {
    bool powered;
    int protocol; /* that it runs */
    struct atr atr;
    struct atr_info info;
    bool info_valid;
    struct t1 t1;
    struct aet63 *owner;
    const struct aet63_contacts *contacts;
};

struct aet63 {
    struct reader reader; /* first member */
    struct aet63_icc icc[AET63_SLOTS];

    /* link.c */
    bool in_sync;
    bool restarted;           /* the reader sent its Reset Message: it forgot everything */
    bool opening;             /* Reset Messages are expected */
    unsigned resync_failures; /* in a row */
    bool identity_known;
    uint8_t status[AET63_STATUS_SIZE]; /* last block of GET_ACR_STAT */

    /* presence, aet63.c */
    bool proven;        /* an event was seen on this reader: it does send them */
    bool doubt;         /* asked twice a second until an event agrees with the answer */
    bool ask_now;       /* asked once before the poller sleeps */
    uint8_t last_event; /* not yet compared with an answer; 0 none */
    unsigned silent;    /* watch() in a row without an answer */
    deadline_t next_ask;


    struct aet63_decoder decoder[2]; /* one for each IN pipe */
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    uint8_t text[AET63_TEXT_MAX];
};

/* ---- link.c ------------------------------------------------------------------------------------------------ */

struct aet63_request {
    uint8_t header, instruction;
    const uint8_t *part1, *part2;
    size_t n1, n2;
};

/* Sends a command and brings its answer, R_SUCCESS with any status word. The answer's data lies in a decoder's buffer and is
 * valid until the next call. Sent again only after the reader's NAK, or, if its instruction is one of those that
 * change nothing (01, 06, 81, 9A), once after a resynchronisation while there is time.
 * R_TIMEOUT, R_COMM: not known whether it ran. R_NO_CARD: the reader restarted meanwhile, every card's session is lost.
 * R_INVALID: too long for this transport, nothing sent. */
enum result aet63_exchange(struct aet63 *a, const struct aet63_request *q, struct aet63_response *answer,
                           deadline_t until);

/* The same for a command without data or with one byte. */
enum result aet63_simple(struct aet63 *a, uint8_t instruction, const uint8_t *byte, struct aet63_response *answer,
                         deadline_t until);

/* GET_ACR_STAT into a->status. */
enum result aet63_get_status(struct aet63 *a, deadline_t until);

/* Takes what has come by itself, without waiting for more than the rest of a frame. A reader that still sends at `until`
 * is out of step. R_SUCCESS, R_GONE, R_CANCELLED. */
enum result aet63_take_input(struct aet63 *a, deadline_t until);

/* Takes and drops all input until quiet_ms of silence; events are heeded. */
enum result aet63_drain(struct aet63 *a, unsigned quiet_ms, deadline_t until);

/* The reader did what a row of doc/ASSUMPTIONS.md takes for impossible: said once for each row (A1 … A63). */
void aet63_contradicted(struct aet63 *a, unsigned row, const char *what);

/* ---- card.c ------------------------------------------------------------------------------------------------ */

void aet63_icc_init(struct aet63 *a);
/* The card's power is gone, whoever took it. */
void aet63_icc_off(struct aet63_icc *icc);
enum result aet63_power_up(struct reader *r, unsigned slot, bool warm, deadline_t until, struct atr *atr, int *protocol);
enum result aet63_power_down(struct reader *r, unsigned slot, deadline_t until);
enum result aet63_set_protocol(struct reader *r, unsigned slot, int t, deadline_t until, int *protocol);
enum result aet63_transmit(struct reader *r, unsigned slot, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap,
                           size_t *len, deadline_t until);
size_t aet63_max_apdu_data(const struct reader *r, unsigned slot);
/* Is a SAM built in and in place? One activation tells; it is taken back. */
enum result aet63_look_for_sam(struct aet63 *a, deadline_t until);

/* ---- aet63.c: presence ----------------------------------------------------------------------------------- */

/* A message of SW1 FF. */
void aet63_event(struct aet63 *a, const struct aet63_response *m);
/* A fresh status block: tells the device what it says of the card. */
void aet63_apply_status(struct aet63 *a);
/* The reader is asked for its card before the poller sleeps again: it sends no event while it works, or what it sent was
 * not understood. */
void aet63_ask_soon(struct aet63 *a);
/* A card command was answered 60 02 or 60 04, or the reader restarted: the session of slot 0 is lost and events are not
 * to be relied on for a while. */
void aet63_card_lost(struct aet63 *a, unsigned slot);

static inline struct aet63 *aet63_of(struct reader *r)
{
    return (struct aet63 *)r;
}

#endif
