/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Making cards, and what all of them share: the table of names, the options that override it, activation, power and
 * the memory as a test sees it.
 */
#define _POSIX_C_SOURCE 200809L
#include "neo_cards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 256 };

static const uint8_t uid_classic[] = {0x01, 0x02, 0x03, 0x04};
static const uint8_t uid_ultralight[] = {0x04, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66};
static const uint8_t uid_iso[] = {0x04, 0xA1, 0xB2, 0xC3, 0xD4, 0xE5, 0xF6};
static const uint8_t uid_b[] = {0x11, 0x22, 0x33, 0x44};
static const uint8_t idm[] = {0x01, 0x2E, 0x3D, 0x4C, 0x5B, 0x6A, 0x79, 0x88};
static const uint8_t uid_vicinity[] = {0x1D, 0x9F, 0x37, 0x59, 0x50, 0x01, 0x04, 0xE0};

static const struct made {
    const char *name; /* ends in ':' if the name of an APDU card follows */
    enum neo_kind kind;
    uint8_t type, nfc_type;
    uint16_t atqa;
    uint8_t sak;
    size_t mem_len;
    const uint8_t *uid;
    size_t uid_len;
} made[] = {
    {"mifare1k", NEO_CLASSIC, 0x03, 0x03, 0x0004, 0x08, 1024, uid_classic, 4},
    {"mifare4k", NEO_CLASSIC, 0x03, 0x03, 0x0002, 0x18, 4096, uid_classic, 4},
    {"mini", NEO_CLASSIC, 0x03, 0x03, 0x0004, 0x09, 320, uid_classic, 4},
    {"ultralight", NEO_ULTRALIGHT, 0x04, 0x0B, 0x0044, 0x00, 64, uid_ultralight, 7},
    {"ntag", NEO_ULTRALIGHT, 0x04, 0x0B, 0x0044, 0x00, 180, uid_ultralight, 7},
    {"felica", NEO_FELICA, 0x00, 0x0C, 0, 0, 14 * 16, idm, 8},
    {"topaz", NEO_TOPAZ, 0x00, 0x0A, 0x0C00, 0, 120, uid_classic, 4},
    {"topaz512", NEO_TOPAZ, 0x00, 0x0A, 0x0C00, 0, 512, uid_classic, 4},
    {"typea", NEO_PLAIN_A, 0x05, 0x05, 0x0044, 0x00, 0, uid_iso, 7},
    {"typeb", NEO_PLAIN_B, 0x06, 0x06, 0, 0, 0, uid_b, 4},
    {"desfire", NEO_ISO_A, 0x01, 0x0D, 0x0344, 0x20, 0, uid_iso, 7},
    {"iso:", NEO_ISO_A, 0x01, 0x0D, 0x0044, 0x20, 0, uid_iso, 7},
    {"isob:", NEO_ISO_B, 0x02, 0x02, 0, 0, 0, uid_b, 4},
    {"dual:", NEO_DUAL, 0x07, 0x07, 0x0044, 0x28, 1024, uid_classic, 4},
    {"tag15693", NEO_VICINITY, 0x00, 0x00, 0, 0, 0, uid_vicinity, 8},
};

/* ---- a DESFire that knows one command ---------------------------------------------------------------------- */

struct desfire {
    unsigned frame;
    unsigned long executions;
};

static struct sim_card *desfire_create(const char *options)
{
    return *options != '\0' ? NULL : calloc(1, sizeof(struct desfire));
}

static void desfire_destroy(struct sim_card *c)
{
    free(c);
}

static size_t desfire_atr(struct sim_card *c, uint8_t atr[SIM_ATR_MAX])
{
    static const uint8_t bytes[] = {0x3B, 0x81, 0x80, 0x01, 0x80, 0x80};

    (void)c;
    memcpy(atr, bytes, sizeof bytes);
    return sizeof bytes;
}

static void desfire_reset(struct sim_card *c)
{
    ((struct desfire *)(void *)c)->frame = 0;
}

static void desfire_power(struct sim_card *c, bool on)
{
    (void)on;
    desfire_reset(c);
}

/* GET VERSION in three frames, native or wrapped in ISO 7816-4; everything else is an illegal command code. */
static size_t desfire_execute(struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *rapdu, unsigned *delay_ms)
{
    static const uint8_t parts[3][14] = {
        {0x04, 0x01, 0x01, 0x01, 0x00, 0x18, 0x05},
        {0x04, 0x01, 0x01, 0x01, 0x04, 0x18, 0x05},
        {0x04, 0xA1, 0xB2, 0xC3, 0xD4, 0xE5, 0xF6, 0xBA, 0x14, 0x64, 0x13, 0x70, 0x23, 0x11}};
    struct desfire *d = (struct desfire *)(void *)c;
    bool wrapped = n >= 5 && apdu[0] == 0x90;
    uint8_t command = wrapped ? apdu[1] : apdu[0], status = 0x1C;
    size_t len = 0;

    *delay_ms = 0;
    d->executions++;
    if (command == 0x60)
        d->frame = 1;
    else if (command != 0xAF || d->frame == 0)
        d->frame = 0;
    else
        d->frame++;
    if (d->frame > 0) {
        len = d->frame == 3 ? 14 : 7;
        memcpy(rapdu + (wrapped ? 0 : 1), parts[d->frame - 1], len);
        status = d->frame == 3 ? 0x00 : 0xAF;
        d->frame %= 3;
    }
    if (!wrapped) {
        rapdu[0] = status;
        return 1 + len;
    }
    rapdu[len] = 0x91;
    rapdu[len + 1] = status;
    return len + 2;
}

static unsigned long desfire_executions(struct sim_card *c)
{
    return ((struct desfire *)(void *)c)->executions;
}

static const struct sim_card_ops desfire_ops = {
    .name = "desfire",
    .create = desfire_create,
    .destroy = desfire_destroy,
    .atr = desfire_atr,
    .power = desfire_power,
    .reset = desfire_reset,
    .execute = desfire_execute,
    .executions = desfire_executions,
};

/* ---- making a card ----------------------------------------------------------------------------------------- */

static bool hex_bytes(const char *text, uint8_t *out, size_t max, size_t *n)
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

static bool hex_exact(const char *text, uint8_t *out, size_t want)
{
    size_t n;

    return hex_bytes(text, out, want, &n) && n == want;
}

static bool set_uid(struct neo_card *c, const char *value)
{
    uint8_t uid[NEO_UID_MAX];
    size_t n;
    bool type_a = c->kind != NEO_FELICA && c->kind != NEO_ISO_B && c->kind != NEO_PLAIN_B;

    if (!hex_bytes(value, uid, sizeof uid, &n))
        return false;
    if (type_a ? n != 4 && n != 7 && n != 10 : n != (c->kind == NEO_FELICA ? 8U : 4U))
        return false;
    memcpy(c->uid, uid, n);
    c->uid_len = n;
    return true;
}

/* Keys of the whole card; they go into every trailer. */
static bool set_classic(struct neo_card *c, const char *key, const char *value)
{
    size_t at = strcmp(key, "keya") == 0 ? 0 : strcmp(key, "keyb") == 0 ? 10 : strcmp(key, "access") == 0 ? 6 : 16;
    uint8_t bytes[6];
    size_t n = at == 6 ? 4 : 6;

    if (!neo_card_is_classic(c) || at == 16 || !hex_exact(value, bytes, n))
        return false;
    for (unsigned b = 0; (size_t)b * NEO_MF_BLOCK < c->mem_len; b++) {
        if (b == neo_mf_trailer(b))
            memcpy(c->mem + (size_t)b * NEO_MF_BLOCK + at, bytes, n);
    }
    return true;
}

static bool set_option(struct neo_card *c, const char *key, const char *value)
{
    char *end = NULL;
    unsigned long number = strtoul(value, &end, strcmp(key, "badblock") == 0 || strcmp(key, "random") == 0 ? 10 : 16);
    bool numeric = *value != '\0' && *end == '\0';

    if (c->kind == NEO_VICINITY)
        return tag15693_set(&c->tag, key, value);
    if (strcmp(key, "uid") == 0)
        return set_uid(c, value);
    if (strcmp(key, "ats") == 0)
        return (c->ats_given = neo_card_is_iso(c)) && hex_bytes(value, c->ats, sizeof c->ats, &c->ats_len) &&
               (c->ats_len == 0 || c->ats[0] == c->ats_len);
    if (strcmp(key, "random") == 0 && numeric && number <= 1)
        c->random_uid = number == 1;
    else if (strcmp(key, "type") == 0 && numeric && number <= 0xFF)
        c->type = (uint8_t)number;
    else if (strcmp(key, "nfc") == 0 && numeric && number <= 0xFF)
        c->nfc_type = (uint8_t)number;
    else if (strcmp(key, "sak") == 0 && numeric && number <= 0xFF)
        c->sak = (uint8_t)number;
    else if (strcmp(key, "badblock") == 0 && numeric && number <= 0xFFFF)
        c->bad_block = (unsigned)number;
    else
        return set_classic(c, key, value);
    return true;
}

static bool is_own_key(const char *key)
{
    static const char *const keys[] = {"uid", "random",   "ats",  "type", "nfc",
                                       "sak", "badblock", "keya", "keyb", "access"};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(keys[i], key) == 0)
            return true;
    }
    return false;
}

/* Splits "key=value,…": what is ours is set, the rest is collected in left for the APDU card. */
static bool take_options(struct neo_card *c, const char *options, char left[OPTIONS_MAX], char *why, size_t why_size)
{
    char copy[OPTIONS_MAX], *save = NULL;
    size_t used = strlen(left);

    if (strlen(options) >= sizeof copy) {
        snprintf(why, why_size, "options too long");
        return false;
    }
    strcpy(copy, options);
    for (char *item = strtok_r(copy, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save)) {
        char *value = strchr(item, '=');
        bool own;

        if (value != NULL)
            *value = '\0';
        own = value != NULL && (is_own_key(item) || c->ops == NULL);
        if (own && !set_option(c, item, value + 1)) {
            snprintf(why, why_size, "bad option %s", item);
            return false;
        }
        if (value != NULL)
            *value = '=';
        if (own)
            continue;
        if (c->ops == NULL || used + strlen(item) + 2 > OPTIONS_MAX) {
            snprintf(why, why_size, "bad option %s", item);
            return false;
        }
        used += (size_t)snprintf(left + used, OPTIONS_MAX - used, "%s%s", used > 0 ? "," : "", item);
    }
    return true;
}

/* ATS with the historical bytes of the card's ATR: T0 says TA TB TC follow and FSCI = 8; FWI 7, CID supported. */
static void ats_from_atr(struct neo_card *c)
{
    static const uint8_t head[5] = {0, 0x78, 0x80, 0x70, 0x02};
    uint8_t atr[SIM_ATR_MAX];
    size_t n = c->ops->atr(c->apdu, atr), at = 2, hist;

    c->ats_len = 0;
    if (n < 2)
        return;
    hist = atr[1] & 0x0F;
    for (unsigned y = atr[1] >> 4; y != 0;) {
        unsigned td = 0;

        for (unsigned bit = 1; bit <= 8; bit <<= 1) {
            if ((y & bit) == 0)
                continue;
            if (bit == 8 && at < n)
                td = atr[at];
            at++;
        }
        y = td >> 4;
    }
    if (at + hist > n)
        hist = 0;
    memcpy(c->ats, head, sizeof head);
    memcpy(c->ats + sizeof head, atr + at, hist);
    c->ats_len = sizeof head + hist;
    c->ats[0] = (uint8_t)c->ats_len;
}

static void set_up_memory(struct neo_card *c, const struct made *m)
{
    static const uint8_t key[6] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    static const uint8_t access[4] = {0xFF, 0x07, 0x80, 0x69};

    c->mem_len = m->mem_len;
    if (neo_card_is_classic(c))
        neo_mf_format(c, m->mem_len, key, access, key);
    if (c->kind == NEO_VICINITY)
        tag15693_init(&c->tag, m->uid);
    c->has_version = strcmp(m->name, "ntag") == 0;
}

/* The bytes of the memory that repeat the UID, once it is known. */
static void burn_uid(struct neo_card *c)
{
    const uint8_t *u = c->uid;

    if (neo_card_is_classic(c) && c->uid_len == 4) {
        memcpy(c->mem, u, 4);
        c->mem[4] = (uint8_t)(u[0] ^ u[1] ^ u[2] ^ u[3]);
        c->mem[5] = c->sak;
        c->mem[6] = (uint8_t)(c->atqa & 0xFF);
        c->mem[7] = (uint8_t)(c->atqa >> 8);
    } else if (neo_card_is_classic(c)) {
        memcpy(c->mem, u, c->uid_len);
    } else if (c->kind == NEO_ULTRALIGHT && c->uid_len == 7) {
        memcpy(c->mem, u, 3);
        c->mem[3] = (uint8_t)(0x88 ^ u[0] ^ u[1] ^ u[2]);
        memcpy(c->mem + 4, u + 3, 4);
        c->mem[8] = (uint8_t)(u[3] ^ u[4] ^ u[5] ^ u[6]);
        c->mem[9] = 0x48;
    } else if (c->kind == NEO_TOPAZ) {
        memcpy(c->mem, u, c->uid_len);
    }
}

static const struct made *find_made(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        size_t len = strlen(made[i].name);
        bool prefix = made[i].name[len - 1] == ':';

        if ((prefix ? n > len : n == len) && strncmp(made[i].name, name, len) == 0)
            return &made[i];
    }
    return NULL;
}

static void forget_session(struct neo_card *c)
{
    c->air = NEO_IDLE;
    c->auth = false;
    c->reg_full = false;
    c->pending_cmd = 0;
    c->last_len = 0;
    c->lite_auth = false;
}

/* A card that comes and goes by itself came or went; what went has lost its session. */
static void card_changed(void *arg, bool present)
{
    struct neo_card *c = arg;

    c->here = present;
    if (!present)
        forget_session(c);
    if (c->changed != NULL)
        c->changed(c->changed_arg);
}

static bool make_apdu_card(struct neo_card *c, const char *options, char *why, size_t why_size)
{
    c->apdu = c->ops->create(options);
    if (c->apdu == NULL) {
        snprintf(why, why_size, "card %s does not take \"%s\"", c->name, options);
        return false;
    }
    if (c->ops->watch != NULL)
        c->ops->watch(c->apdu, card_changed, c);
    return true;
}

static bool set_up(struct neo_card *c, const struct made *m, const char *options, char *why, size_t why_size)
{
    char left[OPTIONS_MAX] = "";
    const char *colon = strchr(c->name, ':');

    c->kind = m->kind;
    c->type = m->type;
    c->nfc_type = m->nfc_type;
    c->atqa = m->atqa;
    c->sak = m->sak;
    memcpy(c->uid, m->uid, m->uid_len);
    c->uid_len = m->uid_len;
    c->bad_block = NEO_NO_BLOCK;
    set_up_memory(c, m);
    if (neo_card_is_iso(c)) {
        c->ops = colon != NULL ? sim_card_find(colon + 1) : &desfire_ops;
        if (c->ops == NULL) {
            snprintf(why, why_size, "unknown card %s", colon + 1);
            return false;
        }
        if (colon != NULL && strncmp(colon + 1, "vpcd:", 5) == 0)
            snprintf(left, sizeof left, "port=%s", colon + 6);
    }
    if (!take_options(c, options, left, why, why_size))
        return false;
    if (c->kind == NEO_VICINITY)
        memcpy(c->uid, c->tag.uid, TAG15693_UID);
    burn_uid(c);
    return c->ops == NULL || make_apdu_card(c, left, why, why_size);
}

struct neo_card *neo_card_new(const char *spec, char *why, size_t why_size)
{
    size_t n = strcspn(spec, ",");
    const struct made *m = find_made(spec, n);
    struct neo_card *c;

    if (m == NULL || n >= sizeof c->name) {
        snprintf(why, why_size, "unknown card");
        return NULL;
    }
    c = calloc(1, sizeof *c);
    if (c == NULL) {
        snprintf(why, why_size, "no memory");
        return NULL;
    }
    memcpy(c->name, spec, n);
    if (!set_up(c, m, spec[n] == ',' ? spec + n + 1 : "", why, why_size)) {
        neo_card_free(c);
        return NULL;
    }
    return c;
}

void neo_card_free(struct neo_card *c)
{
    if (c == NULL)
        return;
    if (c->apdu != NULL)
        c->ops->destroy(c->apdu);
    free(c);
}

/* ---- use --------------------------------------------------------------------------------------------------- */

bool neo_card_is_iso(const struct neo_card *c)
{
    return c->kind == NEO_ISO_A || c->kind == NEO_ISO_B || c->kind == NEO_DUAL;
}

bool neo_card_is_classic(const struct neo_card *c)
{
    return c->kind == NEO_CLASSIC || c->kind == NEO_DUAL;
}

void neo_card_power_off(struct neo_card *c)
{
    if (c->powered && c->apdu != NULL)
        c->ops->power(c->apdu, false);
    c->powered = false;
    forget_session(c);
    tag15693_power(&c->tag);
}

bool neo_card_answers(struct neo_card *c)
{
    uint8_t atr[SIM_ATR_MAX];

    if (c->apdu == NULL)
        return true;
    return (c->ops->watch == NULL || c->here) && c->ops->atr(c->apdu, atr) > 0;
}

/* A random UID begins with 08 (type A); it is new at each activation but the same in every run. */
static void new_uid(struct neo_card *c)
{
    uint32_t x = ++c->random_count * 2654435761U;

    c->uid_len = 4;
    c->uid[0] = c->kind == NEO_ISO_B || c->kind == NEO_PLAIN_B ? (uint8_t)(x >> 24) : 0x08;
    c->uid[1] = (uint8_t)(x >> 16 & 0xFF);
    c->uid[2] = (uint8_t)(x >> 8 & 0xFF);
    c->uid[3] = (uint8_t)(x & 0xFF);
}

bool neo_card_activate(struct neo_card *c, bool iso)
{
    if (!neo_card_answers(c))
        return false;
    forget_session(c);
    if (c->random_uid)
        new_uid(c);
    if (c->apdu != NULL) {
        if (!c->powered)
            c->ops->power(c->apdu, true);
        else
            c->ops->reset(c->apdu);
        if (c->kind != NEO_ISO_B && !c->ats_given)
            ats_from_atr(c);
        if (c->ops->protocol != NULL)
            c->ops->protocol(c->apdu, 1); /* whole APDUs, as in T=1 */
    }
    c->powered = true;
    c->air = iso && neo_card_is_iso(c) ? NEO_PROTOCOL : NEO_ACTIVE;
    c->block_number = 1;
    c->activations++;
    return true;
}

size_t neo_card_apdu(struct neo_card *c, const uint8_t *apdu, size_t n, uint8_t rapdu[SIM_RAPDU_MAX], unsigned *ms)
{
    *ms = 0;
    if (c->apdu == NULL || c->air != NEO_PROTOCOL || c->ops->begin != NULL)
        return 0;
    c->executions++;
    return c->ops->execute(c->apdu, apdu, n, rapdu, ms);
}

/* The size of what a test calls a block. */
static size_t unit_size(const struct neo_card *c)
{
    switch (c->kind) {
    case NEO_ULTRALIGHT:
        return NEO_UL_PAGE;
    case NEO_TOPAZ:
        return 8;
    case NEO_VICINITY:
        return c->tag.block_size;
    default:
        return NEO_MF_BLOCK;
    }
}

size_t neo_card_peek(const struct neo_card *c, unsigned unit, uint8_t out[TAG15693_BLOCK_MAX])
{
    size_t size = unit_size(c);

    if (c->kind == NEO_VICINITY) {
        if (unit >= c->tag.blocks)
            return 0;
        memcpy(out, c->tag.data[unit], size);
        return size;
    }
    if ((unit + (size_t)1) * size > c->mem_len)
        return 0;
    memcpy(out, c->mem + unit * size, size);
    return size;
}

bool neo_card_poke(struct neo_card *c, unsigned unit, const uint8_t *data, size_t n)
{
    uint8_t old[TAG15693_BLOCK_MAX];
    size_t size = neo_card_peek(c, unit, old);

    if (size == 0 || n != size)
        return false;
    memcpy(c->kind == NEO_VICINITY ? c->tag.data[unit] : c->mem + unit * size, data, size);
    return true;
}
