/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * storage_ops over a card that is nothing but memory: what src/pseudo/ does with a family is seen here call by call. A
 * MIFARE card has keys, access bits that are not looked at, and falls silent after a refusal until it is selected
 * again; a tag of type 2 wraps at its end. One call in the course of a test can be made to fail, before or after it is
 * carried out.
 */
#ifndef PURSE_FAKE_CARD_H
#define PURSE_FAKE_CARD_H

#include "reader/storage.h"

enum fake_op {
    ON_NOTHING,
    ON_AUTHENTICATE,
    ON_READ,
    ON_WRITE,
    ON_VALUE,
    ON_PURSE,
    ON_EXCHANGE,
    ON_FIELD,
    ON_SELECT,
    ON_RESELECT,
    ON_INDICATE,
    ON_PARAMETERS,
    FAKE_OPS
};

struct fake_card {
    struct storage_facts facts;
    enum result facts_result;
    uint8_t block[256][16];
    uint8_t page[256][4];
    unsigned pages;
    bool silent; /* refused something: it hears nothing but a selection */
    int sector;  /* authenticated; -1: none */
    /* a fault: the call of this kind number `skip` from now gives `result`, carried out before if `runs`; of a write of
     * several blocks only the first `partly` are (if not 0) */
    enum fake_op fault;
    unsigned skip;
    enum result result;
    bool runs, dies;
    unsigned partly;
    unsigned spoils; /* value(): this block holds a third value afterwards */
    /* records */
    unsigned calls[FAKE_OPS], executed[FAKE_OPS];
    struct storage_value value;
    uint8_t sent[64];
    size_t sent_len;
    struct storage_exchange x;
    struct storage_signal signal;
    struct storage_parameters parameters;
    uint8_t answer[300];
    size_t answer_len;
    uint8_t rx_bits, rf_errors, sak;
    uint8_t error[2];
    size_t error_len;
    bool field_on;
    enum storage_protocol protocol;
    unsigned layer;
};

extern struct fake_card card;
extern struct storage_ops fake_storage;

/* A new MIFARE Classic of `blocks` (0: does not tell, has 64), all keys FF, or a tag of `pages`. */
void fake_mifare(unsigned blocks);
void fake_tag(unsigned pages);

#endif
