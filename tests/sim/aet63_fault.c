/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Faults of the AET63 model: what a test arms with "fault KIND[=V] [word] [key=value]…".
 *
 *   at=INS|any  which instruction (hex; any by default)     times=N  how often (1 by default; 0: for ever)
 *   skip=N      let N matching commands pass first          k=N      the same counted from 1: skip = N - 1
 *   reset       a reset of the port disarms it
 *
 * A command takes the first armed fault that fits it, so that faults armed one after the other act one after the
 * other. Kinds:
 *
 *   nak              the command is answered NAK and not executed
 *   badsum badlen badhex                 wrong checksum; wrong length with a fitting checksum; a digit that is none
 *   truncate=K       the raw answer ends after K bytes (the frame is complete)       noetx   no 03 at the end
 *   drop             executed, no answer                    delay=MS                answered MS later
 *   late[=K]         the answer is kept and sent right before the (K-th) answer to a later command
 *   twice (or dup)   the answer comes twice                 extended                in the extended form
 *   lowercase        in lower case                          garbage                 bytes of no frame before it
 *   event [before|after] [code=0|1|2]    an event message next to the answer (01 by default)
 *   status=SW1SW2 [exec=0|1]             this status and no data; not executed unless exec=1
 *   data=HEX         executed, and answered with these data (64 bytes at most) in place of its own
 *   remove [exec=0|1] [back=1]           the card goes during the command, before or after it executed it; back=1: it
 *                                        is in again before the answer is out
 *   flip=K [bit=B]   byte K of the answer's frame (02 is byte 0) has one bit turned over (bit 0 by default)
 *   cut=K            the frame ends after K bytes           lose=K                  byte K is missing
 *   dup=K            byte K comes twice                     noise[=K]               random bytes before byte K (0)
 *   stall [out]      the answer's pipe stalls once, then the answer comes; out: the command's transfer stalls and the
 *                    command is not seen
 *   clear            disarms everything
 *
 * Kinds that begin with t1 act on the card's end of T=1, on blocks (at=I|R|S: on such a block of the host; slot=sam):
 *   t1mute t1edc t1nr t1rloop t1wtx[=MULT] [n=COUNT] t1abort t1noifs t1chain t1nad[=XX] t1noresynch t1dup t1len[=XX]
 * as sim_t1card.h describes them; exec=0|1 for t1mute, t1edc (1 by default) and t1abort (0).
 */
#include <stdlib.h>
#include <string.h>

#include "aet63_model.h"
#include "sim_cards.h"

enum value { NO_VALUE, DECIMAL, HEX, BYTES };

static const struct kind {
    const char *name;
    int kind; /* enum aet63m_fault_kind, or enum sim_t1_fault_kind */
    bool t1;
    enum value value;
    bool needs_value;
    unsigned fallback;
    bool exec;
} kinds[] = {
    {"nak", FAULT_NAK, false, NO_VALUE, false, 0, false},
    {"badsum", FAULT_BADSUM, false, NO_VALUE, false, 0, false},
    {"badlen", FAULT_BADLEN, false, NO_VALUE, false, 0, false},
    {"badhex", FAULT_BADHEX, false, NO_VALUE, false, 0, false},
    {"truncate", FAULT_TRUNCATE, false, DECIMAL, true, 0, false},
    {"noetx", FAULT_NOETX, false, NO_VALUE, false, 0, false},
    {"drop", FAULT_DROP, false, NO_VALUE, false, 0, false},
    {"delay", FAULT_DELAY, false, DECIMAL, true, 0, false},
    {"late", FAULT_LATE, false, DECIMAL, false, 1, false},
    {"twice", FAULT_TWICE, false, NO_VALUE, false, 0, false},
    {"extended", FAULT_EXTENDED, false, NO_VALUE, false, 0, false},
    {"lowercase", FAULT_LOWERCASE, false, NO_VALUE, false, 0, false},
    {"garbage", FAULT_GARBAGE, false, NO_VALUE, false, 0, false},
    {"event", FAULT_EVENT, false, NO_VALUE, false, 0, false},
    {"status", FAULT_STATUS, false, HEX, true, 0, false},
    {"data", FAULT_DATA, false, BYTES, true, 0, true},
    {"remove", FAULT_REMOVE, false, NO_VALUE, false, 0, false},
    {"flip", FAULT_FLIP, false, DECIMAL, true, 0, false},
    {"cut", FAULT_CUT, false, DECIMAL, true, 0, false},
    {"lose", FAULT_LOSE, false, DECIMAL, true, 0, false},
    {"dup", FAULT_DUP, false, DECIMAL, false, 0, false}, /* without a value: twice */
    {"noise", FAULT_NOISE, false, DECIMAL, false, 0, false},
    {"stall", FAULT_STALL, false, NO_VALUE, false, 0, false},
    {"t1mute", SIM_T1_MUTE, true, NO_VALUE, false, 0, true},
    {"t1edc", SIM_T1_EDC, true, NO_VALUE, false, 0, true},
    {"t1nr", SIM_T1_NR, true, NO_VALUE, false, 0, true},
    {"t1rloop", SIM_T1_RLOOP, true, NO_VALUE, false, 0, true},
    {"t1wtx", SIM_T1_WTX, true, DECIMAL, false, 1, true},
    {"t1abort", SIM_T1_ABORT, true, NO_VALUE, false, 0, false},
    {"t1noifs", SIM_T1_NOIFS, true, NO_VALUE, false, 0, true},
    {"t1chain", SIM_T1_CHAIN, true, NO_VALUE, false, 0, true},
    {"t1nad", SIM_T1_NAD, true, HEX, false, 0x12, true},
    {"t1noresynch", SIM_T1_NORESYNCH, true, NO_VALUE, false, 0, true},
    {"t1dup", SIM_T1_DUP, true, NO_VALUE, false, 0, true},
    {"t1len", SIM_T1_LEN, true, HEX, false, 0xFF, true},
};

/* ---- arming ----------------------------------------------------------------------------------------------- */

struct request {
    const struct kind *kind;
    struct aet63m_fault f;
    struct sim_t1_fault t1;
    bool sam;
};

static bool number(const char *text, int base, unsigned max, unsigned *out)
{
    char *end;
    unsigned long v = strtoul(text, &end, base);

    if (*text == '\0' || *text == '-' || *end != '\0' || v > max)
        return false;
    *out = (unsigned)v;
    return true;
}

static bool flag(const char *text, bool *out)
{
    unsigned v;

    if (!number(text, 10, 1, &v))
        return false;
    *out = v != 0;
    return true;
}

static bool parse_kind(char *word, struct request *q)
{
    char *value = strchr(word, '=');
    uint8_t bytes[AET63M_FAULT_BYTES] = {0};

    if (value != NULL)
        *value++ = '\0';
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].name, word) == 0)
            q->kind = &kinds[i];
    if (q->kind == NULL || (value != NULL && q->kind->value == NO_VALUE) || (value == NULL && q->kind->needs_value))
        return false;
    unsigned v = q->kind->fallback;
    long bytes_n = 0;
    if (q->kind->value == BYTES) {
        bytes_n = sim_hex(value, bytes, sizeof bytes);
        if (bytes_n < 0)
            return false;
    } else if (value != NULL && !number(value, q->kind->value == HEX ? 16 : 10, q->kind->t1 ? 255 : 600000, &v)) {
        return false;
    }
    q->f = (struct aet63m_fault){.value = v,
                                 .has_value = value != NULL,
                                 .any = true,
                                 .exec = q->kind->exec,
                                 .times = 1,
                                 .event = EVENT_INSERTED};
    memcpy(q->f.bytes, bytes, sizeof bytes);
    q->f.bytes_n = (size_t)bytes_n;
    q->t1 = (struct sim_t1_fault){.exec = q->kind->exec, .value = v, .n = 1, .times = 1};
    if (q->kind->t1)
        q->t1.kind = (enum sim_t1_fault_kind)q->kind->kind;
    else
        q->f.kind = (enum aet63m_fault_kind)q->kind->kind;
    if (q->f.kind == FAULT_DUP && value == NULL)
        q->f.kind = FAULT_TWICE;
    return true;
}

static bool parse_at(const char *value, struct request *q)
{
    unsigned v;

    if (strcmp(value, "any") == 0)
        return true;
    if (q->kind->t1) {
        q->t1.at = value[0];
        return value[1] == '\0' && strchr("IRS", value[0]) != NULL;
    }
    q->f.any = false;
    if (!number(value, 16, 255, &v))
        return false;
    q->f.at = (uint8_t)v;
    return true;
}

static bool parse_key(const char *key, const char *value, struct request *q)
{
    unsigned v;

    if (strcmp(key, "at") == 0)
        return parse_at(value, q);
    if (strcmp(key, "times") == 0)
        return number(value, 10, 1000000, &q->f.times);
    if (strcmp(key, "skip") == 0)
        return number(value, 10, 1000000, &q->f.skip);
    if (strcmp(key, "k") == 0)
        return number(value, 10, 1000000, &q->f.skip) && q->f.skip-- > 0;
    if (strcmp(key, "exec") == 0)
        return flag(value, &q->f.exec);
    if (strcmp(key, "back") == 0)
        return flag(value, &q->f.back);
    if (strcmp(key, "n") == 0)
        return number(value, 10, 1000000, &q->t1.n);
    if (strcmp(key, "code") == 0)
        return number(value, 10, 2, &q->f.event);
    if (strcmp(key, "bit") == 0 && number(value, 10, 7, &v)) {
        q->f.bit = (uint8_t)v;
        return true;
    }
    if (strcmp(key, "slot") == 0) {
        q->sam = strcmp(value, "sam") == 0;
        return q->sam || strcmp(value, "card") == 0;
    }
    return false;
}

static bool parse_word(char *word, struct request *q)
{
    char *value = strchr(word, '=');

    if (value != NULL) {
        *value = '\0';
        return parse_key(word, value + 1, q);
    }
    if (strcmp(word, "after") == 0)
        q->f.after = true;
    else if (strcmp(word, "out") == 0)
        q->f.out = true;
    else if (strcmp(word, "reset") == 0)
        q->f.reset = true;
    else
        return strcmp(word, "before") == 0 || strcmp(word, "form") == 0 || strcmp(word, "in") == 0;
    return true;
}

static bool arm(struct sim_model *m, struct request *q)
{
    if (q->kind->t1) {
        q->t1.exec = q->f.exec;
        q->t1.skip = q->f.skip;
        q->t1.times = q->f.times;
        return sim_t1card_fault(q->sam ? m->sam.t1 : m->slot.t1, &q->t1);
    }
    if (m->n_faults == AET63M_FAULTS)
        return false;
    m->faults[m->n_faults++] = q->f;
    return true;
}

bool aet63m_fault_arm(struct sim_model *m, const char *args, FILE *reply)
{
    char text[256], *rest = text, *word;
    struct request q = {.kind = NULL};

    if (strcmp(args, "clear") == 0) {
        m->n_faults = 0;
        sim_t1card_clear_faults(m->slot.t1);
        sim_t1card_clear_faults(m->sam.t1);
        fprintf(reply, "ok");
        return true;
    }
    if (strlen(args) >= sizeof text) {
        fprintf(reply, "too long");
        return false;
    }
    strcpy(text, args);
    while ((word = strsep(&rest, " ")) != NULL) {
        if (*word == '\0')
            continue;
        if (!(q.kind == NULL ? parse_kind(word, &q) : parse_word(word, &q))) {
            fprintf(reply, "fault: cannot read \"%s\"", word);
            return false;
        }
    }
    if (q.kind == NULL || !arm(m, &q)) {
        fprintf(reply, q.kind == NULL ? "fault: no kind" : "too many faults armed");
        return false;
    }
    fprintf(reply, "ok");
    return true;
}

struct aet63m_fault aet63m_fault_take(struct sim_model *m, uint8_t ins)
{
    struct aet63m_fault none = {.kind = FAULT_NONE};

    for (unsigned i = 0; i < m->n_faults; i++) {
        struct aet63m_fault *f = &m->faults[i], taken = *f;
        if (!f->any && f->at != ins)
            continue;
        if (f->skip > 0) {
            f->skip--;
            return none;
        }
        if (f->times == 1)
            memmove(f, f + 1, (--m->n_faults - i) * sizeof *f);
        else if (f->times > 0)
            f->times--;
        return taken;
    }
    return none;
}

void aet63m_fault_reset(struct sim_model *m)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < m->n_faults; i++) {
        if (!m->faults[i].reset)
            m->faults[kept++] = m->faults[i];
    }
    m->n_faults = kept;
}

/* ---- damage ----------------------------------------------------------------------------------------------- */

/* Opens a gap of n bytes before byte k of what goes out. */
static uint8_t *open_gap(struct sim_model *m, size_t k, size_t n)
{
    if (k > m->wire_n)
        k = m->wire_n;
    memmove(m->wire + k + n, m->wire + k, m->wire_n - k);
    m->wire_n += n;
    return m->wire + k;
}

static void damage_raw(uint8_t *raw, size_t *n, const struct aet63m_fault *f)
{
    size_t length_at = raw[3] == 0xFF ? 5 : 3;

    switch (f->kind) {
    case FAULT_BADSUM:
        raw[*n - 1] ^= 0x01;
        break;
    case FAULT_BADLEN: /* bit 1, so that neither FE nor FF becomes or ceases to be the escape */
        raw[length_at] ^= 0x02;
        raw[*n - 1] ^= 0x02;
        break;
    case FAULT_TRUNCATE:
        *n = f->value < *n ? f->value : *n;
        break;
    default:
        break;
    }
}

static void damage_frame(struct sim_model *m, const struct aet63m_fault *f)
{
    static const uint8_t garbage[] = {0x30, 0x46, 0x00, 0xFF, 0x7F, 0x41};
    size_t k = f->value;
    uint8_t *gap;

    switch (f->kind) {
    case FAULT_BADHEX:
        m->wire[m->wire_n > 4 ? 4 : 0] = 'G';
        break;
    case FAULT_NOETX:
        m->wire_n--;
        break;
    case FAULT_GARBAGE:
        memcpy(open_gap(m, 0, sizeof garbage), garbage, sizeof garbage);
        break;
    case FAULT_FLIP:
        if (k < m->wire_n)
            m->wire[k] = (uint8_t)(m->wire[k] ^ 1 << f->bit);
        break;
    case FAULT_CUT:
        m->wire_n = k < m->wire_n ? k : m->wire_n;
        break;
    case FAULT_LOSE:
        if (k < m->wire_n)
            memmove(m->wire + k, m->wire + k + 1, --m->wire_n - k);
        break;
    case FAULT_DUP:
        if (k < m->wire_n) {
            uint8_t b = m->wire[k];
            *open_gap(m, k, 1) = b;
        }
        break;
    case FAULT_NOISE:
        gap = open_gap(m, k, 5);
        for (size_t i = 0; i < 5; i++)
            gap[i] = (uint8_t)(aet63m_random(m) >> 8);
        break;
    default:
        break;
    }
}

void aet63m_fault_frame(struct sim_model *m, const struct aet63m_fault *f, const struct aet63s_msg *msg)
{
    bool extended = m->opt.extended || f->kind == FAULT_EXTENDED;
    bool lower = m->opt.lower_case || f->kind == FAULT_LOWERCASE;
    size_t n = aet63s_build(m->raw_out, AET63S_RESPONSE, msg, extended ? AET63S_LENGTH_EXTENDED : AET63S_LENGTH_NORMAL);

    damage_raw(m->raw_out, &n, f);
    m->wire_n = aet63s_frame(m->wire, m->raw_out, n, lower);
    damage_frame(m, f);
}
