/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Control verbs and options of the AET63 model.
 *
 *   insert NAME[,options]   remove   swap NAME[,options]   bounce (out and in again at once)
 *   status                  card, power, protocol, settings, armed faults
 *   count                   what was seen, as key=value
 *   last                    the last raw command received, in hex
 *   option KEY=VALUE        as at creation, below
 *   fault …                 aet63_fault.c
 *   eeprom ADDR LEN         contents in hex (numbers in hex)
 *   sam NAME[,options]|none what is in the SAM slot
 *
 * Options (key=value, joined by commas at creation; a card's own options follow its name by + there):
 *   transport=a|b|c   intin=0|1 (b: events on interrupt IN 81)      serial=TEXT   kdriver=NAME
 *   pad=00|random     nak=framed|raw     case=upper|lower           form=normal|extended
 *   refusal=nak|none (of a broken frame)  careless=0|1 (a frame with a wrong checksum is executed, too)
 *   repeat=1|0 (after the host's NAK)     restart=full|message|none (what a port reset does)
 *   speaks=a|b|c (the transport that works, whatever the endpoints say)   endpoints=all|none
 *   busy=MS           tfmbusy=MS (more for 9C–9F)                   overlap=ignore|stall|queue
 *   events=idle|race|after|never (an event during a command: not sent, before the answer, after it; never: none at
 *   all)              codes=usual|swapped (of events)
 *   card=NAME[+…]     sam=NAME[+…]|none  samsw2=0|1 (88 tells T=1 as 90 01)
 *   auto=first|t1 (automatic type, card that offers both)           crc=iso|plain (sim_t1card.h)
 *   mute=6020|6712|empty (T=1 card that does not answer)            bwt=MS (0: from the ATR)   wtx=honour|ignore
 *   wwt=MS (T=0 card that stays silent)   etx=MS (frame without end is dropped)
 *   internal=TEXT (exactly 10)            maxc=N  maxr=N (decimal)
 *   tfm=HEX:HEX (9C with this payload gives that answer; * for any payload; tfm=none forgets all)   tfmatr=HEX
 *
 * transport, intin, serial and kdriver take effect at the next plug.
 */
#include <stdlib.h>
#include <string.h>

#include "aet63_model.h"
#include "sim_cards.h"
#include "sim_vpcd.h"

/* ---- options ---------------------------------------------------------------------------------------------- */

static bool number(const char *text, unsigned max, unsigned *out)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    unsigned long v = strtoul(text, &end, 10);
    if (*end != '\0' || v > max)
        return false;
    *out = (unsigned)v;
    return true;
}

/* The place of value in a list of words separated by '|', or -1. */
static int choice(const char *list, const char *value)
{
    size_t k = strlen(value);

    for (int i = 0;; i++) {
        size_t n = strcspn(list, "|");
        if (n == k && memcmp(list, value, n) == 0)
            return i;
        if (list[n] == '\0')
            return -1;
        list += n + 1;
    }
}

static bool set_text(char *out, size_t size, const char *value)
{
    if (strlen(value) >= size)
        return false;
    strcpy(out, value);
    return true;
}

/* "REQUEST:REPLY" in hex. */
static bool add_tfm(struct sim_model *m, const char *value)
{
    char request[2 * AET63M_TFM_MAX + 1];
    size_t n = strcspn(value, ":");

    if (strcmp(value, "none") == 0) {
        m->n_tfm = 0;
        return true;
    }
    if (value[n] == '\0' || n >= sizeof request || m->n_tfm == AET63M_TFM_SCRIPTS)
        return false;
    memcpy(request, value, n);
    request[n] = '\0';
    struct aet63m_tfm_script *t = &m->tfm[m->n_tfm];
    t->any = strcmp(request, "*") == 0;
    long req = t->any ? 0 : sim_hex(request, t->request, sizeof t->request);
    long rep = sim_hex(value + n + 1, t->reply, sizeof t->reply);
    if (req < 0 || rep < 0)
        return false;
    t->request_n = (size_t)req;
    t->reply_n = (size_t)rep;
    m->n_tfm++;
    return true;
}

/* A card into a slot, replacing what is there without a word to the host. '+' stands for ','. */
static bool put_card(struct aet63m_slot *s, const char *value)
{
    char spec[128], why[128];

    if (!set_text(spec, sizeof spec, value))
        return false;
    for (char *p = spec; *p != '\0'; p++)
        if (*p == '+')
            *p = ',';
    aet63m_slot_clear(s);
    return strcmp(value, "none") == 0 || aet63m_slot_put(s, spec, why, sizeof why);
}

static const struct {
    const char *key;
    size_t offset; /* of an unsigned in struct aet63m_options */
    unsigned max;
} numbers[] = {
    {"busy", offsetof(struct aet63m_options, busy_ms), 600000},
    {"tfmbusy", offsetof(struct aet63m_options, tfm_ms), 600000},
    {"bwt", offsetof(struct aet63m_options, bwt_ms), 600000},
    {"wwt", offsetof(struct aet63m_options, wwt_ms), 600000},
    {"etx", offsetof(struct aet63m_options, etx_ms), 600000},
    {"maxc", offsetof(struct aet63m_options, max_c), 255},
    {"maxr", offsetof(struct aet63m_options, max_r), 255},
};

static const struct {
    const char *key, *words; /* the place of the word in the list is the flag's value */
    size_t offset;           /* of a bool in struct aet63m_options */
} flags[] = {
    {"intin", "0|1", offsetof(struct aet63m_options, int_in)},
    {"pad", "00|random", offsetof(struct aet63m_options, pad_random)},
    {"nak", "framed|raw", offsetof(struct aet63m_options, nak_raw)},
    {"refusal", "nak|none", offsetof(struct aet63m_options, nak_none)},
    {"careless", "0|1", offsetof(struct aet63m_options, careless)},
    {"repeat", "1|0", offsetof(struct aet63m_options, no_repeat)},
    {"codes", "usual|swapped", offsetof(struct aet63m_options, codes_swapped)},
    {"endpoints", "all|none", offsetof(struct aet63m_options, no_endpoints)},
    {"case", "upper|lower", offsetof(struct aet63m_options, lower_case)},
    {"form", "normal|extended", offsetof(struct aet63m_options, extended)},
    {"wtx", "honour|ignore", offsetof(struct aet63m_options, wtx_ignored)},
    {"samsw2", "0|1", offsetof(struct aet63m_options, sam_sw2)},
    {"auto", "first|t1", offsetof(struct aet63m_options, auto_last)},
    {"crc", "iso|plain", offsetof(struct aet63m_options, crc_plain)},
};

static bool set_choice(struct sim_model *m, const char *key, const char *value)
{
    static const unsigned mute[] = {0x6020, 0x6712, 0x9000};
    int i;

    if (strcmp(key, "transport") == 0 && (i = choice("a|b|c", value)) >= 0)
        m->opt.transport = "abc"[i];
    else if (strcmp(key, "events") == 0 && (i = choice("idle|race|after|never", value)) >= 0)
        m->opt.events = (enum aet63m_events)i;
    else if (strcmp(key, "speaks") == 0 && (i = choice("a|b|c", value)) >= 0)
        m->opt.speaks = "abc"[i];
    else if (strcmp(key, "restart") == 0 && (i = choice("full|message|none", value)) >= 0)
        m->opt.restart = (enum aet63m_restart)i;
    else if (strcmp(key, "overlap") == 0 && (i = choice("ignore|stall|queue", value)) >= 0)
        m->opt.overlap = (enum aet63m_overlap)i;
    else if (strcmp(key, "mute") == 0 && (i = choice("6020|6712|empty", value)) >= 0)
        m->opt.mute_sw = mute[i];
    else
        return false;
    return true;
}

bool aet63m_set_option(struct sim_model *m, const char *key, const char *value)
{
    char *base = (char *)&m->opt;
    int i;

    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
        if (strcmp(numbers[k].key, key) == 0)
            return number(value, numbers[k].max, (unsigned *)(void *)(base + numbers[k].offset));
    for (size_t k = 0; k < sizeof flags / sizeof flags[0]; k++) {
        if (strcmp(flags[k].key, key) != 0)
            continue;
        if ((i = choice(flags[k].words, value)) < 0)
            return false;
        *(bool *)(base + flags[k].offset) = i == 1;
        return true;
    }
    if (strcmp(key, "serial") == 0)
        return set_text(m->opt.serial, sizeof m->opt.serial, value);
    if (strcmp(key, "kdriver") == 0)
        return set_text(m->opt.kdriver, sizeof m->opt.kdriver, value);
    if (strcmp(key, "internal") == 0)
        return strlen(value) == 10 && set_text(m->opt.internal, sizeof m->opt.internal, value);
    if (strcmp(key, "card") == 0)
        return put_card(&m->slot, value);
    if (strcmp(key, "sam") == 0)
        return put_card(&m->sam, value);
    if (strcmp(key, "tfm") == 0)
        return add_tfm(m, value);
    if (strcmp(key, "tfmatr") == 0) {
        long n = sim_hex(value, m->tfm_atr, sizeof m->tfm_atr);
        m->tfm_atr_n = n < 0 ? 0 : (size_t)n;
        return n >= 0;
    }
    return set_choice(m, key, value);
}

/* ---- verbs ------------------------------------------------------------------------------------------------ */

static bool verb_insert(struct sim_model *m, const char *args, FILE *reply)
{
    char why[128];

    if (m->slot.card != NULL) {
        fprintf(reply, "there is a card: %s", m->slot.name);
        return false;
    }
    if (!aet63m_slot_put(&m->slot, args, why, sizeof why)) {
        fprintf(reply, "%s", why);
        return false;
    }
    if (m->slot.ops == &sim_card_vpcd) {
        fprintf(reply, "ok port=%u", sim_vpcd_port(m->slot.card));
        return true;
    }
    aet63m_event(m, EVENT_INSERTED);
    fprintf(reply, "ok");
    return true;
}

static bool verb_remove(struct sim_model *m, const char *args, FILE *reply)
{
    (void)args;
    if (m->slot.card == NULL) {
        fprintf(reply, "there is no card");
        return false;
    }
    if (m->slot.present)
        aet63m_slot_pull(&m->slot, false);
    aet63m_slot_clear(&m->slot);
    fprintf(reply, "ok");
    return true;
}

/* True if such a card can be made; found out before the old card goes. A vpcd card would take its port twice. */
static bool can_make(const char *spec, FILE *reply)
{
    char why[128];
    const struct sim_card_ops *ops;

    if (strncmp(spec, "vpcd:", 5) == 0)
        return true;
    struct sim_card *probe = sim_card_make(spec, &ops, why, sizeof why);
    if (probe == NULL) {
        fprintf(reply, "%s", why);
        return false;
    }
    ops->destroy(probe);
    return true;
}

/* Out and in at once: the new card is there before the host can ask. */
static bool verb_swap(struct sim_model *m, const char *args, FILE *reply)
{
    if (!can_make(args, reply))
        return false;
    if (m->slot.present)
        aet63m_slot_pull(&m->slot, false);
    aet63m_slot_clear(&m->slot);
    return verb_insert(m, args, reply);
}

static bool verb_bounce(struct sim_model *m, const char *args, FILE *reply)
{
    (void)args;
    if (!m->slot.present) {
        fprintf(reply, "there is no card");
        return false;
    }
    aet63m_slot_pull(&m->slot, true);
    fprintf(reply, "ok");
    return true;
}

static bool verb_status(struct sim_model *m, const char *args, FILE *reply)
{
    (void)args;
    fprintf(reply, "on=%d card=%s present=%d powered=%d", m->on, m->slot.card != NULL ? m->slot.name : "none",
            m->slot.present, m->slot.powered);
    if (m->slot.powered)
        fprintf(reply, " protocol=T%d", m->slot.protocol);
    if (m->slot.ops == &sim_card_vpcd)
        fprintf(reply, " port=%u", sim_vpcd_port(m->slot.card));
    fprintf(reply, " sam=%s sam_powered=%d notify=%d option=%02X sel=%02X busy=%d faults=%u t1_faults=%u",
            m->sam.card != NULL ? m->sam.name : "none", m->sam.powered, m->notify, m->option, m->c_sel, m->cmd.active,
            m->n_faults, sim_t1card_armed(m->slot.t1));
    return true;
}

static bool verb_count(struct sim_model *m, const char *args, FILE *reply)
{
    const struct aet63m_counts *c = &m->counts;
    const struct sim_t1card_counts *t = sim_t1card_counts(m->slot.t1);
    unsigned long card = m->slot.card != NULL ? m->slot.ops->executions(m->slot.card) : 0;

    (void)args;
    fprintf(reply, "frames=%lu bad_frames=%lu naks=%lu host_naks=%lu host_errors=%lu answers=%lu executions=%lu",
            c->frames, c->bad_frames, c->naks, c->host_naks, c->host_errors, c->answers, c->executions);
    fprintf(reply, " card_executions=%lu activations=%lu cold=%lu warm=%lu events=%lu", card, c->cold + c->warm,
            c->cold, c->warm, c->events);
    fprintf(
        reply,
        " t1_blocks=%lu t1_bad=%lu t1_repeated=%lu t1_apdus=%lu t1_wtx=%lu t1_resynch=%lu t1_too_long=%lu t1_ifs=%lu",
        t->blocks, t->bad, t->repeated, t->apdus, t->wtx, t->resynch, t->too_long, t->ifs);
    for (unsigned i = 0; i < 256; i++)
        if (c->commands[i] != 0)
            fprintf(reply, " ins_%02X=%lu", i, c->commands[i]);
    return true;
}

static void put_hex(FILE *reply, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(reply, "%s%02X", i == 0 ? "" : " ", p[i]);
}

static bool verb_last(struct sim_model *m, const char *args, FILE *reply)
{
    (void)args;
    if (m->last_raw_n == 0)
        fprintf(reply, "none");
    put_hex(reply, m->last_raw, m->last_raw_n);
    return true;
}

static bool verb_option(struct sim_model *m, const char *args, FILE *reply)
{
    char key[32];
    const char *eq = strchr(args, '=');
    size_t n = eq == NULL ? 0 : (size_t)(eq - args);

    if (n == 0 || n >= sizeof key) {
        fprintf(reply, "KEY=VALUE wanted");
        return false;
    }
    memcpy(key, args, n);
    key[n] = '\0';
    if (!aet63m_set_option(m, key, eq + 1)) {
        fprintf(reply, "bad option %s", args);
        return false;
    }
    fprintf(reply, "ok");
    return true;
}

static bool verb_eeprom(struct sim_model *m, const char *args, FILE *reply)
{
    char *end;
    unsigned long at = strtoul(args, &end, 16), n = strtoul(end, NULL, 16);

    if (at >= AET63M_EEPROM_SIZE || n == 0 || at + n > AET63M_EEPROM_SIZE) {
        fprintf(reply, "ADDR LEN wanted");
        return false;
    }
    put_hex(reply, m->eeprom + at, n);
    return true;
}

static bool verb_sam(struct sim_model *m, const char *args, FILE *reply)
{
    bool good = put_card(&m->sam, args);

    fprintf(reply, good ? "ok" : "no such card");
    return good;
}

bool aet63m_control(struct sim_model *m, const char *verb, const char *args, FILE *reply)
{
    static const struct {
        const char *verb;
        bool (*run)(struct sim_model *m, const char *args, FILE *reply);
    } verbs[] = {
        {"insert", verb_insert},     {"remove", verb_remove}, {"swap", verb_swap}, {"bounce", verb_bounce},
        {"status", verb_status},     {"count", verb_count},   {"last", verb_last}, {"option", verb_option},
        {"fault", aet63m_fault_arm}, {"eeprom", verb_eeprom}, {"sam", verb_sam},
    };

    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].verb, verb) == 0)
            return verbs[i].run(m, args == NULL ? "" : args, reply);
    fprintf(reply, "unknown verb %s", verb);
    return false;
}
