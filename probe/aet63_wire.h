/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One AET63 command and what comes back, as bare as the line is: nothing is repeated, an answer that is broken or does
 * not come is told as that. What no single command shows (longest times, events, odd statuses) is counted here and
 * judged at the end.
 */
#ifndef PROBE_AET63_WIRE_H
#define PROBE_AET63_WIRE_H

#include "aet63/frame.h"
#include "aet63/internal.h"
#include "card/atr.h"
#include "probe/probe.h"

enum { AET63_ANSWER_MAX = 1024, AET63_STATUSES = 64, AET63_TAIL = 64, AET63_INTERFACES = 8 };

enum heard_kind {
    HEARD_SILENCE,
    HEARD_ANSWER,
    HEARD_REFUSAL /* NAK */,
    HEARD_GARBAGE,
    HEARD_END /* the reader is gone */
};

struct aet63_heard {
    enum heard_kind kind;
    bool raw_nak;
    uint8_t sw1, sw2;
    uint8_t data[AET63_ANSWER_MAX];
    size_t n;
    unsigned ms; /* after the command was sent */
};

struct aet63_wire {
    struct aet63_decoder decoder[2];
    uint8_t text[AET63_TEXT_MAX];
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    uint8_t instruction; /* of the command that is answered now; 0: none */
    uint8_t framing[3];  /* first, a middle and the last byte of an answer as it came */
    bool doubt;          /* an answer is missing: the line is to be settled */

    /* counted over the whole run */
    unsigned events[256], event_now; /* event_now: in the present exchange */
    uint8_t last_event;
    unsigned pieced; /* packets that went on with a frame */
    unsigned silent; /* commands without an answer */
    unsigned packets, longest_gap, longest_own, longest_reset, unasked;
    uint8_t statuses[AET63_STATUSES][2];
    size_t status_count;
    bool identity_known;
    uint8_t identity[AET63_STATUS_SIZE];
    unsigned identity_asked, identity_other;
    uint8_t tail[AET63_TAIL]; /* what stood behind an ETX and may be the beginning of a frame */
    size_t tail_n;
    unsigned behind_etx; /* frames that really began there */
    int64_t last_chunk;

    /* the card */
    struct atr atr;
    struct atr_info info;
    bool info_valid;
    int protocol; /* that SW2 of the last RESET told; -1: no card runs */
    int sam_protocol; /* the same of ACTIVATE_SAM */
    uint8_t reset_sw[2];
    bool runs_only_named; /* it ran by a named type after the automatic one had failed */

    /* the opening */
    struct usb_interface interfaces[AET63_INTERFACES];
    unsigned alternates[AET63_INTERFACES]; /* how many settings each has */
    size_t interface_count;
    int chosen;         /* index of the interface that the driver takes; -1: none */
    bool answered;      /* a form brought an answer */
    enum usb_form form; /* that one */
    bool first_form;    /* it is the one that the driver takes by itself */
    bool text_frame;    /* its answer stood between STX and ETX */

    /* results that several rows share */
    bool reset_done, reset_answered, reset_forgot;
    unsigned reset_messages;
    bool moved; /* the user was asked to move the card; what came of it: */
    unsigned events_off, moves, missing, disagreeing, odd;
    unsigned wtx_asked, wtx_lost; /* T=1 cards that asked for more time */
    uint8_t block_sw[2];          /* of the last T=1 block that the reader refused; 0: none */
    size_t longest_block;
};

/* Milliseconds after which a reader's own command, or RESET, is given up: well beyond what the driver allows. */
unsigned aet63_patience(const struct probe *p, uint8_t instruction);

/* Sends a command and waits for its answer. False: no answer came (h->kind says what did). */
bool aet63_do(struct probe *p, uint8_t instruction, const uint8_t *data, size_t n, struct aet63_heard *h);
/* The parts of it. */
bool aet63_send(struct probe *p, uint8_t instruction, const uint8_t *data, size_t n);
bool aet63_send_text(struct probe *p, const void *text, size_t n);
/* What came, into the record. */
void aet63_record(struct probe *p, const struct aet63_heard *h);
/* Waits for whatever is no event. */
void aet63_hear(struct probe *p, struct aet63_heard *h, unsigned ms);
/* Listens to events alone for that long, or until one came. True: one came. */
bool aet63_hear_event(struct probe *p, unsigned ms);

/* GET_ACR_STAT: false if there was no usable answer. */
bool aet63_stat(struct probe *p, struct aet63_heard *h);
/* C_STAT, or -1. */
int aet63_card_state(struct probe *p);
/* POWER_OFF, SELECT_CARD_TYPE, RESET: fills a->atr, info and protocol. False: the card does not run. */
bool aet63_power(struct probe *p, uint8_t type, struct aet63_heard *h);
/* Takes the answer to a RESET that was done: fills a->atr, info and protocol. */
void aet63_take_atr(struct probe *p, const struct aet63_heard *h);
/* EXCHANGE_APDU in the form that is assumed. True: status 90 00 and a card's status word in the last two bytes. */
bool aet63_apdu(struct probe *p, const uint8_t *apdu, size_t n, struct aet63_heard *h);
/* Waits for silence and an answer to GET_ACR_STAT. */
void aet63_settle(struct probe *p);
bool aet63_done(const struct aet63_heard *h); /* an answer with 90 xx */

#endif
