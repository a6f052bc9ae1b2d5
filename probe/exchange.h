/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The documented exchanges: each command that the manuals have, and what they say that comes back. A row of
 * doc/ASSUMPTIONS.md asks about what the manuals leave open; an exchange asks whether the reader does what they say.
 *
 * One line of a const table is one exchange (aet63_exchanges.c, vivo_exchanges.c). The tables have every command: what
 * is never sent says why, what a row sends already is told by that row's verdict. Lines of one need are sent in the
 * order of the table, which is that of a session: power on, speak, power off. What is sent is harmless: it reads, or it
 * sets what the driver itself sets at each start.
 */
#ifndef PROBE_EXCHANGE_H
#define PROBE_EXCHANGE_H

#include "probe/probe.h"

/* In a code: every sub-command, or no command at all. In a status of the AET63: any SW2. */
enum { EXCHANGE_ANY_SUB = 0xFF, EXCHANGE_NO_CODE = 0x10000, EXCHANGE_ANY_SW2 = 0xFF };

struct exchange_bytes {
    const uint8_t *p;
    size_t n;
};

/* From min to max bytes that begin with head. */
struct exchange_comes {
    size_t min, max;
    struct exchange_bytes head;
};

struct exchange {
    unsigned code; /* AET63: the instruction; ViVOpay: command and sub-command, 0x2C02 */
    const char *name;
    enum need need;
    struct exchange_bytes data;
    /* What the manual says: statuses, two bytes each for an AET63 and one for a ViVOpay reader. What comes with the
     * first is told behind them; each other one is a refusal that the manual has, too. */
    struct exchange_bytes status;
    struct exchange_comes comes;
    /* Why it makes no sense now, as a text for the user; NULL from it, or no such function: it does. */
    const char *(*unless)(const struct probe *p);
    const char *row;       /* that shows it */
    const char *why_never; /* NEED_NEVER without a row */
};

#define EXCHANGE_BYTES(text) {(const uint8_t *)(text), sizeof(text) - 1}
#define COMES(least, most, begin) {.min = least, .max = most, .head = EXCHANGE_BYTES(begin)}
/* Behind the statuses: COMES(). */
#define SEND_UNLESS(reason, command, text, needed, bytes, statuses, ...)                                               \
    {.code = command, .name = text, .need = needed, .data = EXCHANGE_BYTES(bytes), .status = EXCHANGE_BYTES(statuses), \
     .unless = reason, .comes = __VA_ARGS__}
#define SEND(command, text, needed, bytes, statuses, ...)                                                              \
    SEND_UNLESS(NULL, command, text, needed, bytes, statuses, __VA_ARGS__)
#define BY_ROW(id, command, text)         {.code = command, .name = text, .need = NEED_NEVER, .row = id}
#define NEVER_SENT(command, text, reason) {.code = command, .name = text, .need = NEED_NEVER, .why_never = reason}

/* What came back, of either family. */
struct exchange_heard {
    unsigned status; /* SW1 SW2, or the status byte */
    const uint8_t *data;
    size_t n;
    const char *instead; /* of an answer: "nothing", "a broken answer" */
};

extern const struct exchange aet63_exchanges[], vivo_exchanges[];
extern const size_t aet63_exchange_count, vivo_exchange_count;

/* Sends one; what came is in *heard. */
void aet63_try_exchange(struct probe *p, const struct exchange *x, struct exchange_heard *heard);
void vivo_try_exchange(struct probe *p, const struct exchange *x, struct exchange_heard *heard);

/* Are any sent under this need? */
bool exchange_pending(const struct probe *p, enum need need);
/* Sends those of this need; `missing` says why what they need is not there, or is NULL. */
void exchange_run(struct probe *p, const struct family *f, enum need need, const char *missing);
/* Tells them all. The number of those that were answered otherwise than documented. */
unsigned exchange_tell(struct probe *p);
/* "2C-05", "02-xx", "A0", "-". */
const char *exchange_code(char family, unsigned code, char out[8]);

#endif
