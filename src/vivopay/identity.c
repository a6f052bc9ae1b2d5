/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Who the reader is, and pass-through mode.
 *
 * In pass-through mode, in which it spends its life, the reader refuses almost every command that tells about itself.
 * So these are asked before it is entered, and their answers are kept: a client that wants the module versions gets
 * what the reader said, byte for byte.
 */
#include "vivopay/internal.h"

#include <stdio.h>
#include <string.h>

enum { SERIAL_SIZE = 15, NO_DATA = -1 };

/* What is asked once. */
static const struct {
    uint8_t command, sub;
    int data; /* its one data byte, or NO_DATA */
} kept[VIVO_CACHED] = {
    {0x29, 0x01, 0x00},    {0x29, 0x01, 0x01},    {0x29, 0x04, NO_DATA}, {0x29, 0x06, NO_DATA}, {0x09, 0x01, NO_DATA},
    {0x09, 0x02, NO_DATA}, {0x09, 0x03, NO_DATA}, {0x09, 0x14, NO_DATA}, {0x09, 0x20, NO_DATA},
};

const struct vivo_kept *vivo_kept_answer(const struct vivo *v, const uint8_t *command, size_t n)
{
    uint8_t sub;

    if (n < 2)
        return NULL;
    sub = command[0] == VIVO_CMD_MODULES && command[1] == 0x00 ? 0x20 : command[1]; /* 09-00 gives the same as 09-20 */
    for (size_t i = 0; i < VIVO_CACHED; i++) {
        if (kept[i].command != command[0] || kept[i].sub != sub || !v->cache[i].known)
            continue;
        if (kept[i].data == NO_DATA ? n == 2 : n == 3 && command[2] == kept[i].data)
            return &v->cache[i];
    }
    return NULL;
}

static enum result simple(struct vivo *v, uint8_t command, uint8_t sub, const uint8_t *data, struct vivo_frame *f,
                          deadline_t until)
{
    struct vivo_request q = {.command = command, .sub = sub, .part1 = data, .n1 = data ? 1 : 0};

    return vivo_ask(v, &q, f, until);
}

/* An answer that does not come is not kept; the reader is there all the same. */
static enum result ask_kept(struct vivo *v, deadline_t until)
{
    v->cache_used = 0;
    memset(v->cache, 0, sizeof v->cache);
    for (size_t i = 0; i < VIVO_CACHED; i++) {
        struct vivo_kept *k = &v->cache[i];
        uint8_t data = (uint8_t)kept[i].data;
        struct vivo_frame f;
        enum result r = simple(v, kept[i].command, kept[i].sub, kept[i].data == NO_DATA ? NULL : &data, &f, until);

        if (r == R_GONE || r == R_CANCELLED || r == R_NO_CARD || (r != R_SUCCESS && deadline_passed(until)))
            return r;
        if (r != R_SUCCESS || f.n > sizeof v->cache_bytes - v->cache_used)
            continue;
        *k = (struct vivo_kept){true, f.status, v->cache_used, f.n};
        if (f.n > 0)
            memcpy(v->cache_bytes + k->at, f.data, f.n);
        v->cache_used += f.n;
    }
    return R_SUCCESS;
}

/* ---- name, version, serial number ---------------------------------------------------------------------------- */

/* Up to cap - 1 printable characters; ends at the first other byte. */
static void put_printable(char *out, size_t cap, const uint8_t *p, size_t n)
{
    size_t i = 0;

    for (; i < n && i + 1 < cap && p[i] >= 0x20 && p[i] < 0x7F; i++)
        out[i] = (char)p[i];
    while (i > 0 && out[i - 1] == ' ')
        i--;
    out[i] = 0;
}

/* "VP3300 USB NEO v1.01.107": the model is what stands before the version, with or without an "FW". */
static void split_version(struct reader *r)
{
    char *at = r->identity.type;
    unsigned major = 0, minor = 0, build = 0;

    memcpy(r->identity.type, r->identity.firmware, sizeof r->identity.type);
    r->identity.version = 0;
    while ((at = strstr(at, " v")) != NULL && (at[2] < '0' || at[2] > '9'))
        at += 2;
    if (!at)
        return;
    if (sscanf(at + 2, "%3u.%3u.%5u", &major, &minor, &build) >= 2)
        r->identity.version = (major & 0xFF) << 24 | (minor & 0xFF) << 16 | (build & 0xFFFF);
    *at = 0;
    if (at - r->identity.type > 3 && strcmp(at - 3, " FW") == 0)
        at[-3] = 0;
}

/* Get Version and Get Serial Number. *same: it is who it was before. The strings are read by other threads, so they are
 * written once: a reader that changes its name while it is open keeps the one that it was opened with. */
static enum result ask_name(struct vivo *v, bool *same, deadline_t until)
{
    struct reader *r = &v->reader;
    char firmware[READER_FIRMWARE_MAX], serial[TRANSPORT_TEXT_MAX] = "";
    struct vivo_frame f;
    enum result res = simple(v, VIVO_CMD_VERSION, 0x00, NULL, &f, until);

    if (res != R_SUCCESS)
        return res;
    if (f.status != VIVO_OK) {
        log_line(r->log, PLOG_CRITICAL, "Get Version is refused (status %02X): not a ViVOpay reader?", f.status);
        vivo_contradicted(v, 1, "Get Version was refused");
        return R_NOT_SUPPORTED;
    }
    put_printable(firmware, sizeof firmware, f.data, f.n);
    res = simple(v, VIVO_CMD_SERIAL_NUMBER, 0x01, NULL, &f, until);
    if (res != R_SUCCESS)
        return res;
    if (f.status == VIVO_OK)
        put_printable(serial, sizeof serial, f.data, f.n < SERIAL_SIZE ? f.n : SERIAL_SIZE);
    if (!serial[0] && r->transport)
        snprintf(serial, sizeof serial, "%s", r->transport->facts.serial);
    *same = v->identity_known && strcmp(firmware, r->identity.firmware) == 0 && strcmp(serial, r->identity.serial) == 0;
    if (v->identity_known) {
        if (!*same)
            log_line(r->log, PLOG_CRITICAL, "another reader than before: \"%s\", serial number \"%s\"", firmware,
                     serial);
        return R_SUCCESS;
    }
    memcpy(r->identity.firmware, firmware, sizeof firmware);
    memcpy(r->identity.serial, serial, sizeof serial);
    split_version(r);
    log_line(r->log, PLOG_INFO, "firmware \"%s\", serial number \"%s\"", r->identity.firmware, r->identity.serial);
    return R_SUCCESS;
}

/* ---- pass-through mode ----------------------------------------------------------------------------------------- */

static enum result enter_pass_through(struct vivo *v, deadline_t until)
{
    static const uint8_t on = 1;
    struct vivo_frame f;
    enum result r = simple(v, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PASS_THROUGH, &on, &f, until);

    if (r == R_SUCCESS && (f.status == VIVO_NOT_ALLOWED || f.status == VIVO_SUB_NOT_ALLOWED)) {
        /* a transaction that runs keeps it out */
        r = simple(v, VIVO_CMD_CANCEL, 0x01, NULL, &f, until);
        if (r == R_SUCCESS)
            r = simple(v, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PASS_THROUGH, &on, &f, until);
    }
    if (r != R_SUCCESS)
        return r;
    if (f.status == VIVO_OK)
        return R_SUCCESS;
    log_fault(v->reader.log, "the reader does not enter pass-through mode (status %02X, %s)", f.status,
              vivo_status(f.status)->meaning);
    vivo_contradicted(v, 10, "pass-through mode was refused");
    return R_NOT_SUPPORTED;
}

/* Out of pass-through mode, poll on demand: auto-poll and burst frames could mix with answers otherwise. */
static enum result make_quiet(struct vivo *v, deadline_t until)
{
    static const uint8_t off = 0, on_demand = 1;
    struct vivo_frame f;
    enum result r = simple(v, VIVO_CMD_PASS_THROUGH, VIVO_SUB_PASS_THROUGH, &off, &f, until);

    return r == R_SUCCESS ? simple(v, VIVO_CMD_POLL_MODE, 0x01, &on_demand, &f, until) : r;
}

enum result vivo_greet(struct vivo *v, deadline_t until)
{
    bool same = false;
    enum result r = ask_name(v, &same, until);

    if (r == R_SUCCESS)
        r = make_quiet(v, until);
    if (r == R_SUCCESS && !same)
        r = ask_kept(v, until);
    if (r == R_SUCCESS)
        r = enter_pass_through(v, until);
    if (r != R_SUCCESS) {
        if (r != R_GONE && r != R_CANCELLED && v->line) {
            vivo_slots_empty(v);
            vivo_line_rest(v);
        }
        return r;
    }
    v->identity_known = v->up = true;
    atomic_store_explicit(&v->reader.identified, true, memory_order_release);
    vivo_line_good(v);
    r = vivo_contact_ask_all(v, until);
    return r == R_GONE || r == R_CANCELLED ? r : R_SUCCESS;
}
