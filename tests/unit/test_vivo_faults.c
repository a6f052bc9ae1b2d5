/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A ViVOpay reader whose line fails: a whole session, from opening to closing, with the first, second ... read or write
 * of the transport ending in a time-out, in noise, unplugged, cancelled; counted up until a session had no such call.
 * Then the same with one of the three calls behind it failing, too. Behind all of that it has to hold:
 *
 *   - each call ends in a result that reader.h or storage.h allows
 *   - what changes a card, and every APDU, is sent once
 *   - a call that succeeded brought the right answer
 *   - unless it was unplugged or cancelled, the reader serves its card again a little later
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "reader/device.h"
#include "unhex.h"
#include "vivo_rig.h"
#include "vivopay/storage.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

enum { CALLS_MAX = 3000, LATER = 60 };

/* A reader, its settings, a card. */
static const struct bed {
    const char *name;
    bool hid, contact, probe, rnak, vicinity, felica, mifare;
    uint8_t type;
    const char *uid;
} beds[] = {
    {.name = "serial, ISO 14443-4", .type = 0x01, .uid = "11223344", .rnak = true},
    {.name = "HID, ISO 14443-4", .hid = true, .type = 0x01, .uid = "11223344", .rnak = true},
    {.name = "serial, both", .type = 0x07, .uid = "11223344", .contact = true},
    {.name = "serial, MIFARE", .type = 0x03, .uid = "01020304", .probe = true, .mifare = true},
    {.name = "HID, MIFARE", .hid = true, .type = 0x03, .uid = "01020304", .mifare = true, .contact = true},
    {.name = "serial, ISO 15693", .vicinity = true},
    {.name = "HID, FeliCa", .hid = true, .felica = true, .type = 0x0C, .uid = "0102030405060708"},
};

static const enum result failures[] = {R_TIMEOUT, R_COMM, R_GONE, R_CANCELLED};

static const struct bed *bed;
static struct device device;
static struct reader *r;
static struct vivo *v;
static uint8_t out[300];
static size_t len;
static struct atr atr;
static int protocol;

/* ---- what the reader has in its field --------------------------------------------------------------------------- */

static const char *raw_answer(const struct rig_sent *q)
{
    const uint8_t *p = q->data + 7;

    if (bed->vicinity)
        return p[1] == 0x01   ? "000000005000001D9F3759500104E0"
               : p[1] == 0x2B ? "0000000078000F1D9F3759500104E011001B0301"
                              : "00000000280011223344";
    switch (p[0]) {
    case 0x52:
        return "00000000100400";
    case 0x93:
        return p[1] == 0x20 ? "00000000280102030404" : "000000000808";
    case 0x50:
        return "E500000000";
    default:
        return "0000000008A2";
    }
}

static bool answers(const struct rig_sent *q)
{
    static const char block[] = "000102030405060708090A0B0C0D0E0F";

    if (q->command != VIVO_CMD_PASS_THROUGH)
        return false;
    switch (q->sub) {
    case VIVO_SUB_RAW:
        rig_say(q->command, VIVO_OK, raw_answer(q));
        return true;
    case VIVO_SUB_PARAMETERS:
        rig_say(q->command, VIVO_OK, "010001000300010000100000000180");
        return true;
    case 0x06:
    case 0x08:
    case 0x0A:
        rig_say(q->command, VIVO_OK, "");
        return true;
    case 0x07:
        rig_say(q->command, VIVO_OK, block);
        return true;
    case 0x44:
        rig_say(q->command, VIVO_OK, "0102");
        return true;
    default:
        return false;
    }
}

/* ---- one session ------------------------------------------------------------------------------------------------ */

static void wrong(const char *step, enum result got)
{
    fail_msg("%s: call %u of the line %s, call %u %s: %s: %s", bed->name, rig.fail_at, result_name(rig.fail_with),
             rig.then_at, result_name(rig.then_with), step, result_name(got));
}

/* What the client's call may come to. */
static bool judge(const char *step, enum result got)
{
    static const enum result allowed[] = {R_SUCCESS, R_TIMEOUT, R_COMM, R_NO_CARD, R_GONE, R_CANCELLED, R_CARD,
                                          R_PROTOCOL, R_NOT_SUPPORTED, R_POWER};

    for (size_t i = 0; i < COUNT(allowed); i++)
        if (got == allowed[i])
            return got == R_SUCCESS;
    wrong(step, got);
    return false;
}

static deadline_t soon(void)
{
    return deadline_in(20000);
}

static void turn(unsigned slot)
{
    unsigned again;

    v->pace.any = false;
    v->field.off_until = v->next_try = 0;
    v->slot[slot].asked = v->slot[slot].traffic = 0;
    v->field.rnak_at = v->field.trailer_at = v->vicinity.checked = v->vicinity.asked = 0;
    (void)judge("a turn of the poller", poller_turn(r, slot, &again));
}

static void once(const char *step, unsigned sub, unsigned before)
{
    if (rig_count(VIVO_CMD_PASS_THROUGH, sub) > before + 1)
        wrong(step, R_SUCCESS);
}

static void transmit(unsigned slot, unsigned sub)
{
    static const uint8_t apdu[] = {0, 0xA4, 0, 0};
    unsigned before = rig_count(VIVO_CMD_PASS_THROUGH, sub);

    if (judge("an APDU", r->ops->transmit(r, slot, apdu, sizeof apdu, out, sizeof out, &len, soon())) &&
        (len != 4 || memcmp(out, "\x01\x02\x90\x00", 4) != 0) && (len != 2 || out[0] != 0x6E))
        wrong("the answer to an APDU", R_SUCCESS);
    once("an APDU twice", sub, before);
}

static void work_with_mifare(void)
{
    static const uint8_t key[6] = {1, 2, 3, 4, 5, 6}, data[16] = {0x77};
    static const struct storage_value value = {VALUE_DECREMENT, 4, 4, 1};
    struct storage_session *s = &device.slots[0].storage;
    const struct storage_ops *o = r->ops->storage;
    unsigned writes = rig_count(0x2C, 0x08), values = rig_count(0x2C, 0x0A);
    uint8_t access[3], error[2];
    uint8_t sak;
    size_t n;

    s->auth.valid = judge("authenticate", o->authenticate(r, 0, 4, 0x60, key, access, soon()));
    s->auth.sector = 1;
    s->auth.selection = v->field.seen;
    if (judge("read", o->read(r, 0, 4, 1, out, soon())) && out[15] != 0x0F)
        wrong("the data of a read", R_SUCCESS);
    (void)judge("write", o->write(r, 0, 4, 1, data, soon()));
    once("a write twice", 0x08, writes);
    (void)judge("value", o->value(r, 0, &value, soon()));
    once("money twice", 0x0A, values);
    values = rig_count(0x2C, 0x0A);
    (void)judge("purse", o->purse(r, 0, data, 7, error, &n, soon()));
    once("a purse command twice", 0x0A, values);
    turn(0); /* its presence */
    (void)judge("select again", o->reselect(r, 0, soon()));
    (void)judge("select", o->select(r, 0, STORAGE_ISO14443A, 3, &sak, soon()));
}

static void exchange(enum storage_protocol p, const char *hex)
{
    static uint8_t tx[32];
    struct storage_exchange x = {.protocol = p, .tx = tx, .tx_len = unhex(hex, tx), .tx_crc = true, .rx_crc = true,
                                 .tx_parity = true, .rx_parity = true, .answer = true, .rx = out, .rx_cap = sizeof out};
    unsigned sub = p == STORAGE_ISO18092 ? 0x44 : p == STORAGE_ISO_DEP ? VIVO_SUB_APDU : VIVO_SUB_RAW;
    unsigned before = rig_count(VIVO_CMD_PASS_THROUGH, sub);

    (void)judge("a frame", r->ops->storage->exchange(r, 0, &x, soon()));
    once("a frame twice", sub, before);
}

static void work(void)
{
    static const struct storage_signal signal = {1, 0, 1};
    static const uint8_t ping[] = {0x18, 0x01}, poll[] = {0x2C, 0x02, 0, 5};
    struct storage_parameters p;

    if (bed->mifare)
        work_with_mifare();
    exchange(bed->vicinity ? STORAGE_ISO15693 : bed->felica ? STORAGE_ISO18092 : STORAGE_ISO14443A,
             bed->vicinity ? "022100AABBCCDD" : "060001020304");
    if (bed->rnak)
        exchange(STORAGE_ISO_DEP, "00A40000");
    transmit(0, VIVO_SUB_APDU);
    turn(0);
    (void)judge("parameters", r->ops->storage->parameters(r, 0, &p, soon()));
    (void)judge("lamps", r->ops->storage->indicate(r, &signal, soon()));
    (void)judge("the field off", r->ops->storage->field(r, 0, false, soon()));
    (void)judge("a raw command", r->ops->command(r, 0, ping, sizeof ping, out, sizeof out, &len, soon()));
    (void)judge("a raw poll", r->ops->command(r, 0, poll, sizeof poll, out, sizeof out, &len, soon()));
}

static void session(void)
{
    turn(0);
    turn(0);
    (void)judge("presence", r->ops->look(r, 0, soon()));
    if (judge("power up", r->ops->power_up(r, 0, false, soon(), &atr, &protocol)))
        work();
    turn(0);
    (void)judge("power up again", r->ops->power_up(r, 0, true, soon(), &atr, &protocol));
    if (bed->contact) {
        turn(1);
        (void)judge("presence", r->ops->look(r, 1, soon()));
        if (judge("power up", r->ops->power_up(r, 1, false, soon(), &atr, &protocol)))
            transmit(1, VIVO_SUB_CONTACT_APDU);
        (void)judge("power up again", r->ops->power_up(r, 1, true, soon(), &atr, &protocol));
        (void)judge("power down", r->ops->power_down(r, 1, soon()));
    }
    (void)judge("power down", r->ops->power_down(r, 0, soon()));
}

/* After the failure: the poller finds the card again, and it can be worked with. */
static void it_serves_again(void)
{
    enum result e = R_NO_CARD;

    for (int i = 0; i < LATER && e != R_SUCCESS; i++) {
        rig_forget();
        turn(0);
        e = r->ops->power_up(r, 0, false, soon(), &atr, &protocol);
    }
    if (e != R_SUCCESS)
        wrong("no session any more", e);
}

static void set_up(unsigned fail_at, enum result with)
{
    rig_reset();
    rig.hid = bed->hid;
    rig.handler = answers;
    rig.card_type = bed->type;
    rig.uid_len = bed->uid ? unhex(bed->uid, rig.uid) : 0;
    rig.contact_atr = bed->contact ? "3B9F018081" : NULL;
    rig.fail_at = fail_at;
    rig.fail_with = with;
    rig_settings.slots[0] = SLOT_CL;
    rig_settings.slots[1] = SLOT_ICC;
    rig_settings.slot_count = bed->contact ? 2 : 1;
    rig_settings.iso15693 = bed->vicinity ? SWITCH_ON : SWITCH_OFF;
    rig_settings.sak_probe = bed->probe ? SWITCH_ON : SWITCH_OFF;
    rig_settings.felica = bed->felica ? SWITCH_ON : SWITCH_OFF;
    rig_settings.presence_check = bed->rnak ? PRESENCE_RNAK : PRESENCE_OFF;
    rig_settings.rf_off = 1;
    rig_settings.reopen_min = rig_settings.reopen_max = 1;
    memset(&device, 0, sizeof device);
}

static bool is_final(enum result got)
{
    return got == R_GONE || got == R_CANCELLED;
}

/* False: the session had no call of this number. */
static bool run(unsigned fail_at, enum result with, unsigned apart, enum result then)
{
    enum result e;
    unsigned opened;

    set_up(fail_at, with);
    rig.then_at = apart ? fail_at + apart : 0;
    rig.then_with = then;
    r = rig_open(fail_at % 2 && !bed->hid, &e);
    if (!r) {
        if (e == R_SUCCESS || rig.opened != rig.closed)
            wrong("open", e);
        return rig.calls >= fail_at;
    }
    v = vivo_of(r);
    r->device = &device;
    session();
    opened = rig.calls;
    if (!is_final(with) && !(apart && is_final(then)))
        it_serves_again();
    if (opened < fail_at)
        rig.fail_at = rig.calls + (fail_at - opened); /* closing is part of it */
    rig_close(r);
    if (rig.opened != rig.closed)
        wrong("something is left open", R_SUCCESS);
    return rig.calls >= rig.fail_at;
}

static void every_call_of_the_line(void **state)
{
    (void)state;
    for (size_t b = 0; b < COUNT(beds); b++) {
        bed = &beds[b];
        for (size_t i = 0; i < COUNT(failures); i++) {
            unsigned n = 1;

            while (n < CALLS_MAX && run(n, failures[i], 0, R_SUCCESS))
                n++;
            assert_in_range(n, 40, CALLS_MAX - 1);
            while (--n > 0)
                for (size_t k = 0; k < 3 * COUNT(failures); k++)
                    (void)run(n, failures[i], 1 + (unsigned)(k / COUNT(failures)), failures[k % COUNT(failures)]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_of_the_line)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
