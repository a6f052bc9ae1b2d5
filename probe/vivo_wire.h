/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One command to a ViVOpay reader and what comes back, as bare as the line is. Only the order of the CRC is learnt: a
 * command that is answered 04 was not executed, and goes out once more in the other order, or no row behind it could be
 * tried at all.
 */
#ifndef PROBE_VIVO_WIRE_H
#define PROBE_VIVO_WIRE_H

#include "card/atr.h"
#include "probe/probe.h"
#include "vivopay/codes.h"
#include "vivopay/internal.h"
#include "vivopay/poll.h"

enum vivo_heard_kind { VIVO_SILENCE, VIVO_ANSWER, VIVO_GARBAGE, VIVO_END /* the reader is gone */ };

struct vivo_heard {
    enum vivo_heard_kind kind;
    uint8_t command, status;
    uint8_t data[VIVO_DATA_MAX];
    size_t n;
    unsigned ms;
    enum vivo_order order;
};

struct vivo_wire {
    struct vivo_decoder decoder;
    struct vivo_assembly assembly;
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    const uint8_t *rest; /* of the chunk */
    size_t rest_n;
    bool doubt;
    bool other_order[256]; /* 2C-xx is understood in the other order than the table's */
    bool pass_through;
    bool ordinary;  /* pass-through mode was left on purpose */
    uint8_t asked;  /* the first byte of the last command's data */

    /* the opening */
    bool answered;
    char version[64];
    char form[TRANSPORT_TEXT_MAX];
    unsigned wrong_baud; /* the rate of the configuration, at which nobody answered */

    /* counted over the whole run */
    unsigned answers, low_first; /* with the CRC low byte first */
    unsigned pieced;             /* chunks that went on with a frame */
    unsigned silent;             /* commands without an answer */
    unsigned longest_gap, longest_command;
    unsigned over_ms, over_limit; /* the answer that was latest beyond what the driver allows */
    uint8_t over_command, over_sub;
    uint8_t types[8]; /* of the cards seen */
    size_t type_count;
    unsigned boots, unasked;
    uint8_t unasked_command, unasked_status;
    unsigned encrypted, apdus;
    int64_t last_chunk;

    unsigned sams; /* bit n: SAM n + 1 answered */
    bool icc;      /* a contact card did */

    /* the card in the field */
    struct vivo_card card;
};

/* Sends a command in the order that is assumed or was learnt and waits `extra_ms` beyond its own time. False: no
 * answer. */
bool vivo_do(struct probe *p, uint8_t command, uint8_t sub, const uint8_t *data, size_t n, unsigned extra_ms,
             struct vivo_heard *h);
/* The same in just that order, once. */
bool vivo_do_in_order(struct probe *p, uint8_t command, uint8_t sub, const uint8_t *data, size_t n,
                      enum vivo_order order, struct vivo_heard *h);
/* Only sends it. */
bool vivo_send(struct probe *p, uint8_t command, uint8_t sub, const uint8_t *data, size_t n, enum vivo_order order);
/* Waits for an answer to `command`; what else comes is counted as unasked. */
void vivo_hear(struct probe *p, uint8_t command, unsigned ms, struct vivo_heard *h);
/* What came, into the record. */
void vivo_record(struct probe *p, uint8_t command, uint8_t sub, const struct vivo_heard *h);
enum vivo_order vivo_usual_order(uint8_t command, uint8_t sub);

bool vivo_ok(const struct vivo_heard *h); /* an answer with status 00 */
bool vivo_ping_now(struct probe *p, struct vivo_heard *h);
/* 2C-01 00, 01-01 01, 2C-01 01. */
bool vivo_enter(struct probe *p, struct vivo_heard *h);
/* One poll of poll_time ms by 2C-`sub`: v->card. False: no card, or no answer. */
bool vivo_poll_by(struct probe *p, uint8_t sub, struct vivo_heard *h);
/* The field off for ms milliseconds. */
void vivo_field_off(struct probe *p, unsigned ms);
/* One APDU by 2C-03 to the card that was polled. True: status 00 and a status word. */
bool vivo_apdu(struct probe *p, const uint8_t *apdu, size_t n, struct vivo_heard *h);
/* 2C-04, transceive. True: the answer has its five status bytes; *pcd is the first. */
bool vivo_raw(struct probe *p, uint8_t flags, uint8_t redundancy, const uint8_t *data, size_t n, uint8_t *pcd,
              struct vivo_heard *h);
void vivo_settle(struct probe *p);

#endif
