/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ISO/IEC 15693 tag. A request passes three gates before a command sees it: the CRC, the length its flags promise,
 * and the state ("is it meant for me?"). Behind them each command is one small function on a cursor of parameters; it
 * either appends to the response or returns an error code, and the gatekeeper frames both. Commands that program the
 * memory stay silent when the option flag is set: such a tag waits for a second EOF, which a raw exchange never sends.
 */
#include "tag15693.h"

#include <stdlib.h>
#include <string.h>

enum flag {
    FLAG_INVENTORY = 0x04,
    FLAG_EXTENSION = 0x08,
    FLAG_SELECT = 0x10,  /* with the inventory flag: AFI present */
    FLAG_ADDRESS = 0x20, /* with the inventory flag: one slot */
    FLAG_OPTION = 0x40,
    FLAG_RFU = 0x80
};

enum error {
    ERR_NONE = 0x00,
    ERR_NOT_SUPPORTED = 0x01,
    ERR_FORMAT = 0x02,
    ERR_OPTION = 0x03,
    ERR_UNKNOWN = 0x0F,
    ERR_NO_BLOCK = 0x10,
    ERR_ALREADY_LOCKED = 0x11,
    ERR_LOCKED = 0x12,
    ERR_NOT_PROGRAMMED = 0x13,
    ERR_NOT_LOCKED = 0x14
};

/* One request on its way through a command: parameters in, response bytes (after the flags) out. */
struct exchange {
    uint8_t flags;
    const uint8_t *param;
    size_t n;
    uint8_t *out;
    size_t out_len;
    unsigned ms;
};

uint16_t tag15693_crc(const uint8_t *data, size_t n)
{
    unsigned crc = 0xFFFF;

    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x8408U : crc >> 1;
    }
    return (uint16_t)(~crc & 0xFFFFU);
}

void tag15693_init(struct tag15693 *t, const uint8_t uid[TAG15693_UID])
{
    memset(t, 0, sizeof *t);
    memcpy(t->uid, uid, TAG15693_UID);
    t->ic = 0x01;
    t->blocks = 28;
    t->block_size = 4;
    t->write_ms = 5;
}

void tag15693_power(struct tag15693 *t)
{
    t->state = TAG15693_READY;
}

static bool set_uid(struct tag15693 *t, const char *text)
{
    uint8_t uid[TAG15693_UID];

    if (strlen(text) != 2 * TAG15693_UID || strspn(text, "0123456789abcdefABCDEF") != 2 * TAG15693_UID)
        return false;
    for (size_t i = 0; i < TAG15693_UID; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};
        uid[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    /* A UID may be written either way round; on the air E0 comes last. */
    for (size_t i = 0; i < TAG15693_UID; i++)
        t->uid[i] = uid[0] == 0xE0 && uid[TAG15693_UID - 1] != 0xE0 ? uid[TAG15693_UID - 1 - i] : uid[i];
    return true;
}

bool tag15693_set(struct tag15693 *t, const char *key, const char *value)
{
    static const char *const byte_keys[] = {"dsfid", "afi", "ic", "wm", "program"};
    uint8_t *const bytes[] = {&t->dsfid, &t->afi, &t->ic, &t->write_multiple_error, &t->program_error};
    char *end = NULL;
    unsigned long number;

    if (strcmp(key, "uid") == 0)
        return set_uid(t, value);
    for (size_t i = 0; i < sizeof byte_keys / sizeof byte_keys[0]; i++) {
        if (strcmp(key, byte_keys[i]) != 0)
            continue;
        number = strtoul(value, &end, 16);
        *bytes[i] = (uint8_t)number;
        return *value != '\0' && *end == '\0' && number <= 0xFF;
    }
    number = strtoul(value, &end, 10);
    if (*value == '\0' || *end != '\0')
        return false;
    if (strcmp(key, "blocks") == 0 && number >= 1 && number <= TAG15693_BLOCKS)
        t->blocks = (unsigned)number;
    else if (strcmp(key, "blocksize") == 0 && number >= 1 && number <= TAG15693_BLOCK_MAX)
        t->block_size = (unsigned)number;
    else if (strcmp(key, "writems") == 0 && number <= 10000)
        t->write_ms = (unsigned)number;
    else if (strcmp(key, "sysinfo") == 0 && number <= 1)
        t->no_system_info = number == 0;
    else if (strcmp(key, "select") == 0 && number <= 1)
        t->strict_select = number == 1;
    else
        return false;
    return true;
}

static void put(struct exchange *x, uint8_t byte)
{
    x->out[x->out_len++] = byte;
}

static void put_block(const struct tag15693 *t, struct exchange *x, unsigned block)
{
    if ((x->flags & FLAG_OPTION) != 0)
        put(x, t->locked[block] ? 1 : 0);
    memcpy(x->out + x->out_len, t->data[block], t->block_size);
    x->out_len += t->block_size;
}

static enum error read_single(struct tag15693 *t, struct exchange *x)
{
    if (x->n != 1)
        return ERR_FORMAT;
    if (x->param[0] >= t->blocks)
        return ERR_NO_BLOCK;
    put_block(t, x, x->param[0]);
    return ERR_NONE;
}

/* The first block and the count of a request with "first, count - 1"; false if they do not lie in the memory. */
static bool range(const struct tag15693 *t, const struct exchange *x, unsigned *first, unsigned *count)
{
    *first = x->param[0];
    *count = x->param[1] + 1U;
    return *first + *count <= t->blocks;
}

static enum error read_multiple(struct tag15693 *t, struct exchange *x)
{
    unsigned first, count;

    if (x->n != 2)
        return ERR_FORMAT;
    if (!range(t, x, &first, &count))
        return ERR_NO_BLOCK;
    for (unsigned i = 0; i < count; i++)
        put_block(t, x, first + i);
    return ERR_NONE;
}

static enum error security_status(struct tag15693 *t, struct exchange *x)
{
    unsigned first, count;

    if (x->n != 2)
        return ERR_FORMAT;
    if ((x->flags & FLAG_OPTION) != 0)
        return ERR_OPTION;
    if (!range(t, x, &first, &count))
        return ERR_NO_BLOCK;
    for (unsigned i = 0; i < count; i++)
        put(x, t->locked[first + i] ? 1 : 0);
    return ERR_NONE;
}

static enum error program(struct tag15693 *t, struct exchange *x, unsigned block, const uint8_t *data)
{
    x->ms += t->write_ms;
    if (t->program_error != 0)
        return ERR_NOT_PROGRAMMED;
    memcpy(t->data[block], data, t->block_size);
    t->writes++;
    return ERR_NONE;
}

static enum error write_single(struct tag15693 *t, struct exchange *x)
{
    if (x->n != 1 + (size_t)t->block_size)
        return ERR_FORMAT;
    if (x->param[0] >= t->blocks)
        return ERR_NO_BLOCK;
    if (t->locked[x->param[0]])
        return ERR_LOCKED;
    return program(t, x, x->param[0], x->param + 1);
}

/* Nothing is written unless all of it can be: a request whose count and data disagree is answered 0F. */
static enum error write_multiple(struct tag15693 *t, struct exchange *x)
{
    unsigned first, count;

    if (t->write_multiple_error != 0)
        return (enum error)t->write_multiple_error;
    if (x->n < 2)
        return ERR_FORMAT;
    if (x->n != 2 + ((size_t)x->param[1] + 1) * t->block_size)
        return ERR_UNKNOWN;
    if (!range(t, x, &first, &count))
        return ERR_NO_BLOCK;
    for (unsigned i = 0; i < count; i++) {
        if (t->locked[first + i])
            return ERR_LOCKED;
    }
    for (unsigned i = 0; i < count; i++) {
        enum error e = program(t, x, first + i, x->param + 2 + (size_t)i * t->block_size);
        if (e != ERR_NONE)
            return e;
    }
    return ERR_NONE;
}

static enum error lock_flag(struct tag15693 *t, struct exchange *x, bool *flag)
{
    if (*flag)
        return ERR_ALREADY_LOCKED;
    x->ms += t->write_ms;
    if (t->program_error != 0)
        return ERR_NOT_LOCKED;
    *flag = true;
    t->locks++;
    return ERR_NONE;
}

static enum error lock_block(struct tag15693 *t, struct exchange *x)
{
    if (x->n != 1)
        return ERR_FORMAT;
    if (x->param[0] >= t->blocks)
        return ERR_NO_BLOCK;
    return lock_flag(t, x, &t->locked[x->param[0]]);
}

static enum error write_byte(struct tag15693 *t, struct exchange *x, uint8_t *byte, bool locked)
{
    if (x->n != 1)
        return ERR_FORMAT;
    if (locked)
        return ERR_LOCKED;
    x->ms += t->write_ms;
    if (t->program_error != 0)
        return ERR_NOT_PROGRAMMED;
    *byte = x->param[0];
    t->writes++;
    return ERR_NONE;
}

static enum error write_afi(struct tag15693 *t, struct exchange *x)
{
    return write_byte(t, x, &t->afi, t->afi_locked);
}

static enum error write_dsfid(struct tag15693 *t, struct exchange *x)
{
    return write_byte(t, x, &t->dsfid, t->dsfid_locked);
}

static enum error lock_afi(struct tag15693 *t, struct exchange *x)
{
    return x->n != 0 ? ERR_FORMAT : lock_flag(t, x, &t->afi_locked);
}

static enum error lock_dsfid(struct tag15693 *t, struct exchange *x)
{
    return x->n != 0 ? ERR_FORMAT : lock_flag(t, x, &t->dsfid_locked);
}

static enum error select_tag(struct tag15693 *t, struct exchange *x)
{
    if (x->n != 0 || (x->flags & FLAG_ADDRESS) == 0)
        return ERR_FORMAT;
    t->state = TAG15693_SELECTED;
    return ERR_NONE;
}

static enum error reset_to_ready(struct tag15693 *t, struct exchange *x)
{
    if (x->n != 0)
        return ERR_FORMAT;
    t->state = TAG15693_READY;
    return ERR_NONE;
}

static enum error system_information(struct tag15693 *t, struct exchange *x)
{
    if (t->no_system_info)
        return ERR_NOT_SUPPORTED;
    if (x->n != 0)
        return ERR_FORMAT;
    if ((x->flags & FLAG_OPTION) != 0)
        return ERR_OPTION;
    put(x, 0x0F);
    memcpy(x->out + x->out_len, t->uid, TAG15693_UID);
    x->out_len += TAG15693_UID;
    put(x, t->dsfid);
    put(x, t->afi);
    put(x, (uint8_t)(t->blocks - 1));
    put(x, (uint8_t)(t->block_size - 1));
    put(x, t->ic);
    return ERR_NONE;
}

static const struct command {
    uint8_t code;
    bool programs; /* with the option flag the answer waits for a second EOF */
    enum error (*run)(struct tag15693 *t, struct exchange *x);
} commands[] = {
    {0x20, false, read_single},     {0x21, true, write_single},   {0x22, true, lock_block},
    {0x23, false, read_multiple},   {0x24, true, write_multiple}, {0x25, false, select_tag},
    {0x26, false, reset_to_ready},  {0x27, true, write_afi},      {0x28, true, lock_afi},
    {0x29, true, write_dsfid},      {0x2A, true, lock_dsfid},     {0x2B, false, system_information},
    {0x2C, false, security_status},
};

/* Bit i of the UID, counted from the least significant one. */
static unsigned uid_bit(const uint8_t *uid, unsigned i)
{
    return (unsigned)uid[i / 8] >> (i % 8) & 1U;
}

static bool afi_matches(uint8_t asked, uint8_t own)
{
    if (asked == 0)
        return true;
    return (asked & 0x0F) == 0 ? (asked & 0xF0) == (own & 0xF0) : asked == own;
}

/* Inventory: the mask is compared with the UID's low bits; with 16 slots the next four bits name the slot. */
static size_t inventory(const struct tag15693 *t, const uint8_t *req, size_t n, uint8_t *rsp, unsigned *slot)
{
    bool one_slot = (req[0] & FLAG_ADDRESS) != 0;
    size_t at = 2;
    unsigned mask_len;

    if (t->state != TAG15693_READY)
        return 0;
    if ((req[0] & FLAG_SELECT) != 0) {
        if (n <= at || !afi_matches(req[at], t->afi))
            return 0;
        at++;
    }
    if (n <= at)
        return 0;
    mask_len = req[at++];
    if (mask_len > (one_slot ? 64U : 60U) || n != at + (mask_len + 7) / 8)
        return 0;
    for (unsigned i = 0; i < mask_len; i++) {
        if (uid_bit(t->uid, i) != uid_bit(req + at, i))
            return 0;
    }
    *slot = 0;
    for (unsigned i = 0; i < 4 && !one_slot; i++)
        *slot |= uid_bit(t->uid, mask_len + i) << i;
    rsp[0] = 0;
    rsp[1] = t->dsfid;
    memcpy(rsp + 2, t->uid, TAG15693_UID);
    return 2 + TAG15693_UID;
}

/* Is a request (inventory flag clear) meant for this tag in its present state? */
static bool addressed_to(struct tag15693 *t, const uint8_t *req, size_t n)
{
    bool select = (req[0] & FLAG_SELECT) != 0;

    if ((req[0] & FLAG_ADDRESS) == 0)
        return select ? t->state == TAG15693_SELECTED : t->state == TAG15693_READY;
    if (select || n < 2 + TAG15693_UID)
        return false;
    if (memcmp(req + 2, t->uid, TAG15693_UID) != 0) {
        if (req[1] == 0x25 && t->state == TAG15693_SELECTED) /* another tag is being selected */
            t->state = TAG15693_READY;
        return false;
    }
    if (t->state == TAG15693_SELECTED && t->strict_select)
        return req[1] == 0x02 || req[1] == 0x25 || req[1] == 0x26;
    return true;
}

static size_t run_command(struct tag15693 *t, const uint8_t *req, size_t n, uint8_t *rsp, unsigned *ms)
{
    size_t head = (req[0] & FLAG_ADDRESS) != 0 ? 2 + TAG15693_UID : 2;
    struct exchange x = {.flags = req[0], .param = req + head, .n = n - head, .out = rsp + 1};
    enum error e = (req[0] & (FLAG_EXTENSION | FLAG_RFU)) != 0 ? ERR_FORMAT : ERR_NOT_SUPPORTED;
    bool silent = false;

    t->requests++;
    if (req[1] == 0x02) { /* stay quiet never has an answer, and exists addressed only */
        if ((req[0] & FLAG_ADDRESS) != 0 && x.n == 0)
            t->state = TAG15693_QUIET;
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0] && e == ERR_NOT_SUPPORTED; i++) {
        if (commands[i].code == req[1]) {
            e = commands[i].run(t, &x);
            silent = commands[i].programs && e == ERR_NONE && (x.flags & FLAG_OPTION) != 0;
            break;
        }
    }
    *ms = x.ms;
    if (silent)
        return 0;
    rsp[0] = e != ERR_NONE ? 1 : 0;
    if (e == ERR_NONE)
        return 1 + x.out_len;
    rsp[1] = (uint8_t)e;
    return 2;
}

size_t tag15693_air(struct tag15693 *t, const uint8_t *req, size_t n, uint8_t rsp[TAG15693_RSP_MAX], unsigned *ms,
                    unsigned *slot)
{
    unsigned in_slot = 0;
    size_t len = 0;
    uint16_t crc;

    *ms = 0;
    if (n < 4)
        return 0;
    crc = tag15693_crc(req, n - 2);
    if (req[n - 2] != (crc & 0xFF) || req[n - 1] != crc >> 8)
        return 0;
    if ((req[0] & FLAG_INVENTORY) != 0) {
        if (req[1] == 0x01)
            len = inventory(t, req, n - 2, rsp, &in_slot);
    } else if (addressed_to(t, req, n - 2)) {
        len = run_command(t, req, n - 2, rsp, ms);
    }
    if (slot != NULL)
        *slot = in_slot;
    if (len == 0)
        return 0;
    crc = tag15693_crc(rsp, len);
    rsp[len] = (uint8_t)(crc & 0xFF);
    rsp[len + 1] = (uint8_t)(crc >> 8);
    return len + 2;
}
