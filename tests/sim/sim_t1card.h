/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The card's end of T=1 (ISO/IEC 7816-3, clause 11): blocks in, blocks out, whole APDUs to the card behind.
 *
 * It belongs to the card, not to the reader: the reader model hands it each block that the host sent and gets each
 * block the card sends. It chains both ways, obeys S(IFS), S(RESYNCH) and S(ABORT) from the host, asks for more time
 * by S(WTX) while the card is busy, and repeats its block when asked by an R-block. An APDU is handed to the card once,
 * when the last block of its chain was accepted; a repeated block never does that again.
 *
 * CRC: ISO/IEC 13239, that is the 16-bit FCS with polynomial 1021 reflected, start FFFF, complemented at the end, low
 * byte first (SIM_T1_CRC). Some drivers leave the complement out and send the high byte first (SIM_T1_CRC_PLAIN).
 */
#ifndef PURSE_SIM_T1CARD_H
#define PURSE_SIM_T1CARD_H

#include "sim.h"

enum { SIM_T1_BLOCK_MAX = 3 + 254 + 2, SIM_T1_APDU_MAX = 65544 };

enum sim_t1_edc { SIM_T1_LRC, SIM_T1_CRC, SIM_T1_CRC_PLAIN };

struct sim_t1card;

struct sim_t1card_calls {
    /* Hands a whole APDU to the card; sim_t1card_answer() follows, at once or later. */
    void (*execute)(void *arg, const uint8_t *apdu, size_t n);
    /* The host gave the APDU up: no answer is wanted any more. */
    void (*cancel)(void *arg);
    /* The card sends a block (faults may have made it longer or shorter than a block can be). */
    void (*send)(void *arg, const uint8_t *block, size_t n);
};

struct sim_t1card_counts {
    unsigned long blocks;   /* received */
    unsigned long bad;      /* of these not valid, whoever's fault */
    unsigned long repeated; /* I-blocks with the number of the one before: the card had not asked for it */
    unsigned long apdus;    /* handed to the card */
    unsigned long wtx;      /* S(WTX request) sent */
    unsigned long resynch;  /* S(RESYNCH request) received */
    unsigned long too_long; /* I-blocks longer than IFSC */
    unsigned long ifs;      /* S(IFS request) received */
};

/* What the card side can be told to do wrong. Each acts on a block that the host sends, or on the answer to it. */
enum sim_t1_fault_kind {
    SIM_T1_MUTE,      /* exec=1: takes the block, its answer is lost; exec=0: the block never reaches the card */
    SIM_T1_EDC,       /* exec=1: the answer has a wrong EDC; exec=0: the card sees a wrong EDC and says so by R */
    SIM_T1_NR,        /* the sequence bit of the answer (I: N(S), R: N(R)) is wrong */
    SIM_T1_RLOOP,     /* takes no I-block: answers every I- and R-block by R(expected, other error) */
    SIM_T1_WTX,       /* n (0: without end) S(WTX request) with multiplier value before the answer to an APDU */
    SIM_T1_ABORT,     /* S(ABORT request) in place of the answer to an APDU; exec says whether it was executed */
    SIM_T1_NOIFS,     /* refuses S(IFS request) by an R-block */
    SIM_T1_CHAIN,     /* the response to an APDU is a chain that never ends */
    SIM_T1_NAD,       /* the answer has NAD value (12) */
    SIM_T1_NORESYNCH, /* does not answer S(RESYNCH request) */
    SIM_T1_DUP,       /* sends the block before again, in place of the answer; an R-block brings the answer */
    SIM_T1_LEN        /* the answer's LEN byte is value (FF), its EDC fits */
};

struct sim_t1_fault {
    enum sim_t1_fault_kind kind;
    char at; /* 'I', 'R', 'S': only on such a block of the host; 0: any */
    bool exec;
    unsigned value;
    unsigned n;
    unsigned skip;  /* pass that many matching blocks first */
    unsigned times; /* 0: for ever */
};

struct sim_t1card *sim_t1card_new(const struct sim_t1card_calls *calls, void *arg);
void sim_t1card_free(struct sim_t1card *t);

/* The card was reset: protocol as after an ATR. bwt_ms: the block waiting time. Faults and counts stay. */
void sim_t1card_start(struct sim_t1card *t, unsigned ifsc, enum sim_t1_edc edc, unsigned bwt_ms);
/* The card lost power: silent until started again. */
void sim_t1card_stop(struct sim_t1card *t);

/* The host's block arrives. The answer comes by calls->send, perhaps before this returns, perhaps never. */
void sim_t1card_block(struct sim_t1card *t, const uint8_t *block, size_t n);
/* The card's response to the APDU; n = 0: it stays silent, and then no block is answered until the next reset. */
void sim_t1card_answer(struct sim_t1card *t, const uint8_t *rapdu, size_t n);

/* Arms a fault; false if too many are armed. Faults fire in the order they were armed, one a block. */
bool sim_t1card_fault(struct sim_t1card *t, const struct sim_t1_fault *f);
void sim_t1card_clear_faults(struct sim_t1card *t);
unsigned sim_t1card_armed(const struct sim_t1card *t);
const struct sim_t1card_counts *sim_t1card_counts(const struct sim_t1card *t);

/* Writes the EDC over n bytes; returns its length, 1 or 2. */
size_t sim_t1_edc(enum sim_t1_edc kind, const uint8_t *p, size_t n, uint8_t out[2]);

#endif
