/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The control verbs: what a test does to the reader's surroundings, and what it asks afterwards.
 *
 *   insert NAME[,key=value…]    a card into the field (several only if they are ISO 15693 tags); "insert same" brings
 *                               back the card removed last, memory and all
 *   remove                      everything out of the field
 *   swap NAME[,…]               the same moment out and in
 *   icc insert NAME | icc remove, sam N insert NAME | sam N remove
 *   count [KEY] | count reset   counters, "key=value" each; commands by code, as "2C02=3"
 *   mem read BLOCK [TAG] | mem write BLOCK HEX [TAG]
 *   value BLOCK                 "value=N addr=HH ops=N", or "invalid ops=N"
 *   option KEY=VALUE            the options of the command line, at any time
 *   fault KIND[=ARG] [times=N] [skip=N] [at=CCSS] [exec=0|1] | fault clear
 *   last                        the last command frame in hex
 *   state                       pass-through, field, session
 *   seen                        every command so far, once: "CCSS", "CCSS:HH" with the first byte of its data;
 *                               "..." behind them if there were more than can be kept
 *   send HEX                    raw bytes to the host; unasked CCSS… a frame to the host
 */
#define _POSIX_C_SOURCE 200809L
#include "neo_model.h"

#include <stdlib.h>
#include <string.h>

bool neo_hex(const char *text, uint8_t *out, size_t max, size_t *n)
{
    size_t len = strlen(text);

    if (len % 2 != 0 || len / 2 > max || strspn(text, "0123456789abcdefABCDEF") != len)
        return false;
    for (size_t i = 0; i < len / 2; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    *n = len / 2;
    return true;
}

static bool say(FILE *reply, bool result, const char *text)
{
    fputs(text, reply);
    return result;
}

static bool decimal(const char *text, unsigned long max, unsigned *out)
{
    char *end = NULL;
    unsigned long v;

    if (text == NULL || *text < '0' || *text > '9')
        return false;
    v = strtoul(text, &end, 0);
    *out = (unsigned)v;
    return *end == '\0' && v <= max;
}

/* ---- cards --------------------------------------------------------------------------------------------------- */

static void keep_counts(struct sim_model *m, struct neo_card *c)
{
    m->count.writes += c->writes + c->tag.writes;
    m->count.value_ops += c->value_ops;
    m->count.executions += c->executions;
}

static void discard(struct sim_model *m, struct neo_card *c)
{
    if (c != NULL)
        keep_counts(m, c);
    neo_card_free(c);
}

void neo_remove_all(struct sim_model *m, bool for_good)
{
    while (m->cards > 0) {
        struct neo_card *c = m->field[--m->cards];

        neo_card_gone(m, c);
        neo_card_power_off(c);
        discard(m, m->pocket);
        m->pocket = c;
    }
    if (for_good) {
        discard(m, m->pocket);
        m->pocket = NULL;
    }
}

/* Where a card behind a socket listens; not linked in where there are no such cards (hence weak). */
unsigned sim_vpcd_port(const struct sim_card *c) __attribute__((weak));

/* "ok", or for a card that listens on a port of the system's choice "ok port=N". */
static bool say_inserted(FILE *reply, const struct sim_card_ops *ops, const struct sim_card *c)
{
    if (ops != NULL && strncmp(ops->name, "vpcd", 4) == 0 && sim_vpcd_port != NULL)
        fprintf(reply, "ok port=%u", sim_vpcd_port(c));
    else
        fputs("ok", reply);
    return true;
}

static void card_came_or_went(void *arg)
{
    neo_field_changed(arg);
}

static bool insert(struct sim_model *m, const char *spec, FILE *reply)
{
    char why[128] = "";
    bool same = strcmp(spec, "same") == 0;
    struct neo_card *c;

    if (same && m->pocket == NULL)
        return say(reply, false, "no card was removed");
    c = same ? m->pocket : neo_card_new(spec, why, sizeof why);
    if (c == NULL)
        return say(reply, false, why);
    if (m->cards == NEO_FIELD_MAX || (m->cards > 0 && (c->kind != NEO_VICINITY || m->field[0]->kind != NEO_VICINITY))) {
        if (!same)
            neo_card_free(c);
        return say(reply, false, "the field is taken");
    }
    if (same)
        m->pocket = NULL;
    c->changed = card_came_or_went;
    c->changed_arg = m;
    m->field[m->cards++] = c;
    neo_field_changed(m);
    return say_inserted(reply, c->ops, c->apdu);
}

static bool remove_card(struct sim_model *m, FILE *reply)
{
    if (m->cards == 0)
        return say(reply, false, "no card");
    neo_remove_all(m, false);
    return say(reply, true, "ok");
}

/* The new card is made first, so that a bad name leaves the old one in place. */
static bool swap(struct sim_model *m, const char *spec, FILE *reply)
{
    char why[128] = "";
    struct neo_card *c = neo_card_new(spec, why, sizeof why);

    if (c == NULL)
        return say(reply, false, why);
    neo_remove_all(m, false);
    c->changed = card_came_or_went;
    c->changed_arg = m;
    m->field[m->cards++] = c;
    neo_field_changed(m);
    return say_inserted(reply, c->ops, c->apdu);
}

static void contact_changed(void *arg, bool present)
{
    struct neo_contact *k = arg;

    k->here = present;
    if (present)
        return;
    k->powered = false;
    if (k->model->apdu.active && k->model->apdu.contact == k) {
        neo_apdu_cancel(k->model);
        neo_answer_later(k->model, k->model->opt.fwt, NEO_ST_TIMEOUT, NULL, 0);
    }
}

static bool contact_insert(struct neo_contact *k, const char *spec, FILE *reply)
{
    char name[64], options[256];
    size_t n = strcspn(spec, ",");
    const char *rest = spec[n] == ',' ? spec + n + 1 : "";
    int len;

    if (k->card != NULL)
        return say(reply, false, "the socket is taken");
    if (n == 0 || n >= sizeof name)
        return say(reply, false, "unknown card");
    memcpy(name, spec, n);
    name[n] = '\0';
    k->ops = sim_card_find(name);
    if (k->ops == NULL)
        return say(reply, false, "unknown card");
    if (strncmp(name, "vpcd:", 5) == 0)
        len = snprintf(options, sizeof options, "port=%s%s%s", name + 5, *rest != '\0' ? "," : "", rest);
    else
        len = snprintf(options, sizeof options, "%s", rest);
    k->card = len > 0 || *rest == '\0' ? k->ops->create(options) : NULL;
    if (k->card == NULL)
        return say(reply, false, "the card does not take these options");
    k->here = false;
    if (k->ops->watch != NULL)
        k->ops->watch(k->card, contact_changed, k);
    return say_inserted(reply, k->ops, k->card);
}

/* args: "insert NAME" or "remove". */
static bool contact_verb(struct sim_model *m, struct neo_contact *k, const char *args, FILE *reply)
{
    if (strncmp(args, "insert ", 7) == 0)
        return contact_insert(k, args + 7, reply);
    if (strcmp(args, "remove") != 0)
        return say(reply, false, "insert NAME or remove");
    if (k->card == NULL)
        return say(reply, false, "no card");
    neo_contact_removed(m, k);
    return say(reply, true, "ok");
}

static bool sam(struct sim_model *m, const char *args, FILE *reply)
{
    if (args[0] < '1' || args[0] > '8' || args[1] != ' ')
        return say(reply, false, "sam 1 to 8");
    return contact_verb(m, &m->contact[args[0] - '0'], args + 2, reply);
}

/* ---- counters ------------------------------------------------------------------------------------------------ */

struct counters {
    const char *key; /* NULL: print all */
    FILE *out;
    bool any;
};

static void counter(struct counters *c, const char *name, unsigned long value)
{
    if (c->key != NULL && strcmp(c->key, name) != 0)
        return;
    if (c->key == NULL)
        fprintf(c->out, "%s%s=%lu", c->any ? " " : "", name, value);
    else
        fprintf(c->out, "%lu", value);
    c->any = true;
}

static void count_cards(const struct sim_model *m, struct counters *c)
{
    unsigned long writes = m->count.writes, value_ops = m->count.value_ops, executions = m->count.executions;
    unsigned long requests = 0, sams = 0;

    for (size_t i = 0; i <= m->cards; i++) {
        const struct neo_card *card = i < m->cards ? m->field[i] : m->pocket;

        if (card == NULL)
            continue;
        writes += card->writes + card->tag.writes;
        value_ops += card->value_ops;
        executions += card->executions;
        requests += card->tag.requests;
    }
    for (size_t i = 1; i < NEO_CONTACTS; i++)
        sams += m->contact[i].executions;
    counter(c, "executions", executions);
    counter(c, "writes", writes);
    counter(c, "value_ops", value_ops);
    counter(c, "tag_requests", requests);
    counter(c, "icc_executions", m->contact[0].executions);
    counter(c, "icc_activations", m->contact[0].activations);
    counter(c, "sam_executions", sams);
    counter(c, "sam1_activations", m->contact[1].activations);
}

static void reset_card(struct neo_card *c)
{
    if (c == NULL)
        return;
    c->activations = c->writes = c->value_ops = c->executions = 0;
    c->tag.requests = c->tag.writes = c->tag.locks = 0;
    memset(c->block_ops, 0, sizeof c->block_ops);
}

static void reset_counts(struct sim_model *m)
{
    memset(&m->count, 0, sizeof m->count);
    for (size_t i = 0; i < m->cards; i++)
        reset_card(m->field[i]);
    reset_card(m->pocket);
    for (size_t i = 0; i < NEO_CONTACTS; i++)
        m->contact[i].activations = m->contact[i].executions = 0;
}

static bool count(struct sim_model *m, const char *args, FILE *reply)
{
    const struct neo_counts *n = &m->count;
    struct counters c = {.key = *args != '\0' ? args : NULL, .out = reply};
    char code[8];

    if (strcmp(args, "reset") == 0) {
        reset_counts(m);
        return say(reply, true, "ok");
    }
    counter(&c, "commands", n->commands);
    counter(&c, "answers", n->answers);
    counter(&c, "polls", n->polls);
    counter(&c, "activations", n->activations);
    count_cards(m, &c);
    counter(&c, "busy", n->busy);
    counter(&c, "crc_errors", n->crc_errors);
    counter(&c, "too_long", n->too_long);
    counter(&c, "unknown", n->unknown);
    counter(&c, "mode_errors", n->mode_errors);
    counter(&c, "bad_params", n->bad_params);
    counter(&c, "forbidden", n->forbidden);
    counter(&c, "hid_ignored", m->hid.ignored);
    counter(&c, "bursts", n->bursts);
    counter(&c, "faults", n->faults);
    counter(&c, "armed", neo_faults_armed(m));
    for (size_t i = 0; i < n->codes; i++) {
        snprintf(code, sizeof code, "%04X", n->code[i] & 0xFFFFU);
        counter(&c, code, n->by_code[i]);
    }
    if (!c.any) /* a command that never came */
        fputs("0", reply);
    return true;
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

static struct neo_card *card_number(struct sim_model *m, const char *text)
{
    unsigned i = 0;

    if (text != NULL && !decimal(text, NEO_FIELD_MAX - 1, &i))
        return NULL;
    return i < m->cards ? m->field[i] : (i == 0 ? m->pocket : NULL);
}

static bool mem(struct sim_model *m, const char *args, FILE *reply)
{
    char copy[256], *save = NULL, *verb, *block_text, *hex = NULL;
    uint8_t bytes[TAG15693_BLOCK_MAX];
    struct neo_card *c;
    unsigned block;
    size_t n;
    bool write;

    snprintf(copy, sizeof copy, "%s", args);
    verb = strtok_r(copy, " ", &save);
    block_text = strtok_r(NULL, " ", &save);
    if (verb == NULL || !decimal(block_text, NEO_MEM_MAX, &block))
        return say(reply, false, "mem read BLOCK or mem write BLOCK HEX");
    write = strcmp(verb, "write") == 0;
    if (write)
        hex = strtok_r(NULL, " ", &save);
    c = card_number(m, strtok_r(NULL, " ", &save));
    if (c == NULL)
        return say(reply, false, "no card");
    if (write) {
        if (hex == NULL || !neo_hex(hex, bytes, sizeof bytes, &n) || !neo_card_poke(c, block, bytes, n))
            return say(reply, false, "bad data or block");
        return say(reply, true, "ok");
    }
    n = neo_card_peek(c, block, bytes);
    for (size_t i = 0; i < n; i++)
        fprintf(reply, "%02X", bytes[i]);
    return n > 0 || say(reply, false, "no such block");
}

static bool value(struct sim_model *m, const char *args, FILE *reply)
{
    struct neo_card *c = card_number(m, NULL);
    unsigned block;
    int32_t v;

    if (c == NULL || !neo_card_is_classic(c) || !decimal(args, 255, &block))
        return say(reply, false, "no such value block");
    if (neo_mf_value(c, block, &v))
        fprintf(reply, "value=%ld addr=%02X ops=%lu", (long)v, c->mem[block * NEO_MF_BLOCK + 12], c->block_ops[block]);
    else
        fprintf(reply, "invalid ops=%lu", c->block_ops[block]);
    return true;
}

/* ---- the rest ------------------------------------------------------------------------------------------------ */

static bool option(struct sim_model *m, const char *args, FILE *reply)
{
    char copy[128], why[128], *text;

    if (strlen(args) >= sizeof copy)
        return say(reply, false, "option too long");
    strcpy(copy, args);
    text = strchr(copy, '=');
    if (text == NULL)
        return say(reply, false, "option KEY=VALUE");
    *text++ = '\0';
    if (!neo_options_set(&m->opt, copy, text, why, sizeof why))
        return say(reply, false, why);
    neo_burst_update(m);
    return say(reply, true, "ok");
}

static bool send_raw(struct sim_model *m, const char *args, bool framed, FILE *reply)
{
    uint8_t bytes[NEO_REPORT * 4];
    size_t n;

    if (!neo_hex(args, bytes, sizeof bytes, &n) || n < (framed ? 2U : 1U))
        return say(reply, false, "bad hex");
    if (framed)
        neo_send_unasked(m, bytes[0], bytes[1], bytes + 2, n - 2);
    else
        sim_send(m->reader, m->opt.link_hid ? SIM_PIPE_INT_IN : SIM_PIPE_SERIAL, bytes, n);
    return say(reply, true, "ok");
}

static bool fault(struct sim_model *m, const char *args, FILE *reply)
{
    char why[64];

    return neo_fault_arm(m, args, why, sizeof why) ? say(reply, true, "ok") : say(reply, false, why);
}

static bool state(struct sim_model *m, FILE *reply)
{
    fprintf(reply, "powered=%d pass=%d rf=%d session=%d iso=%d type=%02X cards=%zu polling=%d icc=%d", m->powered,
            m->pass, m->rf, m->session.open, m->session.iso, m->session.type, m->cards, m->poll.active,
            m->contact[0].powered);
    return true;
}

static bool last(struct sim_model *m, FILE *reply)
{
    if (m->last.n == 0)
        return say(reply, false, "no command yet");
    for (size_t i = 0; i < m->last.n; i++)
        fprintf(reply, "%02X", m->last.frame[i]);
    return true;
}

static bool seen(struct sim_model *m, FILE *reply)
{
    for (size_t i = 0; i < m->count.seen_count; i++) {
        uint32_t what = m->count.seen[i];

        fprintf(reply, "%s%04X", i == 0 ? "" : " ", (unsigned)(what >> 16));
        if ((what & 0xFFFF) != NEO_NO_DATA)
            fprintf(reply, ":%02X", (unsigned)(what & 0xFF));
    }
    return say(reply, true, m->count.seen_count == NEO_SEEN ? " ..." : "");
}

bool neo_control(struct sim_model *m, const char *verb, const char *args, FILE *reply)
{
    if (strcmp(verb, "insert") == 0)
        return insert(m, args, reply);
    if (strcmp(verb, "remove") == 0)
        return remove_card(m, reply);
    if (strcmp(verb, "swap") == 0)
        return swap(m, args, reply);
    if (strcmp(verb, "icc") == 0)
        return contact_verb(m, &m->contact[0], args, reply);
    if (strcmp(verb, "sam") == 0)
        return sam(m, args, reply);
    if (strcmp(verb, "count") == 0)
        return count(m, args, reply);
    if (strcmp(verb, "mem") == 0)
        return mem(m, args, reply);
    if (strcmp(verb, "value") == 0)
        return value(m, args, reply);
    if (strcmp(verb, "option") == 0)
        return option(m, args, reply);
    if (strcmp(verb, "fault") == 0)
        return fault(m, args, reply);
    if (strcmp(verb, "last") == 0)
        return last(m, reply);
    if (strcmp(verb, "state") == 0)
        return state(m, reply);
    if (strcmp(verb, "seen") == 0)
        return seen(m, reply);
    if (strcmp(verb, "send") == 0 || strcmp(verb, "unasked") == 0)
        return send_raw(m, args, verb[0] == 'u', reply);
    return say(reply, false, "unknown verb");
}
