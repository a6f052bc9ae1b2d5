/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An operation under way on a card: what its run functions work with. They are called with the device acquired, for as
 * long as the whole operation takes (a value command is a read, the command, and perhaps a read-back), and within one
 * deadline.
 */
#ifndef PURSE_JOB_H
#define PURSE_JOB_H

#include <stdbool.h>

#include "card/mifare.h"
#include "pseudo/operation.h"
#include "reader/device.h"
#include "reader/storage.h"

struct job {
    struct slot *slot;
    struct reader *reader;
    const struct storage_ops *ops;
    unsigned index; /* of the slot */
    deadline_t until;
    const struct operation *op;
    struct answer *a;
    struct storage_facts facts;
    struct storage_session *session;
};

/* R_SUCCESS with j->a->sw set, or what storage.h lists: job_result() makes a status word or a result of the call of
 * that. */
typedef enum result (*job_fn)(struct job *j);

/* ---- job.c ---------------------------------------------------------------------------------------------------------
 */

/* The table of status words for what a family answers. R_SUCCESS: sw is set. Anything else ends the client's call. The
 * card is selected again where it refused or fell silent: then the next command works without lifting it, or the slot
 * is empty. */
enum result job_result(struct job *j, enum result r);

/* An answer without data. */
enum result job_answer(struct job *j, uint16_t sw);

/* What is known of the card; to be asked again after a selection. */
enum result job_facts(struct job *j);

/* Selects the card again after it refused or fell silent. */
enum result job_reselect(struct job *j);

/* The authentication that holds for the block's sector: is there one? */
bool job_authenticated(const struct job *j, unsigned block);
void job_forget_authentication(struct job *j);
/* Has the card accept a key; notes it in the session if so. */
enum result job_authenticate(struct job *j, unsigned block, uint8_t key_type, const uint8_t key[STORAGE_KEY_SIZE]);
/* Brings the card back to where it was before it refused or fell silent: selected, and authenticated by the same key.
 * R_SUCCESS, or it cannot be done. */
enum result job_recover(struct job *j, unsigned block);

/* DECODED (0), or why a data block must not be used so: SW_SECURITY (not authenticated, or it takes the other key),
 * SW_NOT_ALLOWED (no key may). What the access bits do not tell is left to the card. */
uint16_t job_may(const struct job *j, unsigned block, enum mifare_use use);

/* ---- operations ------------------------------------------------------------------------------------------------- */

/* run_data.c */
enum result run_get_data(struct job *j);
enum result run_authenticate(struct job *j);
enum result run_read(struct job *j);
enum result run_write(struct job *j);

/* run_value.c */
enum result run_value(struct job *j);
enum result run_value_store(struct job *j);
enum result run_value_read(struct job *j);
enum result run_purse(struct job *j);

/* run_session.c */
enum result run_session(struct job *j);
enum result run_encapsulate(struct job *j);

/* run_vicinity.c */
enum result run_vicinity(struct job *j);
enum result run_vicinity_item(struct job *j);
enum result run_vicinity_read(struct job *j);
enum result run_vicinity_write(struct job *j);
/* A frame of a client's own went out: what it did to the state of an ISO 15693 card. */
void vicinity_heard(struct job *j, const struct storage_exchange *x, enum result r);

/* run_reader.c */
enum result run_led(struct job *j);
enum result run_buzzer(struct job *j);

#endif
