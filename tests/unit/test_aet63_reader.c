/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The AET63 as a reader (aet63.c, card.c, link.c) behind a transport of a few lines: what it makes of every status, of
 * answers to reset that are odd, of a card that is exchanged at the wrong moment, of raw commands. The reader here
 * answers each command that a case has laid down by that line, once and in turn, and obeys otherwise. There is no clock
 * in it: when nothing is left to be read, that is a time-out at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aet63/internal.h"
#include "poller_turn.h"
#include "stub_log.h"
#include "transport/usb.h"
#include "unhex.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define IDENTITY "4145543633302D312E30FFFF0003" /* INTERNAL ("AET630-1.0"), MAX_C, MAX_R, C_TYPE */

enum { LINES = 16, SENT = 200, QUEUE = 64, TEXT = 700, FATAL = -1, SILENT = -2, TEXTUAL = -3 };

/* What the reader says to this instruction (05: to our NAK): SW1 SW2 and data; or nothing; or this text as it stands,
 * in one chunk for each part between bars; or the transport fails with `result`. */
static struct line {
    uint8_t instruction;
    int sw;
    const char *hex;
    enum result result;
} script[LINES];
static size_t laid, said;

static struct {
    struct transport t;
    uint8_t c_stat;
    const char *atr;   /* NULL: no card answers */
    uint8_t reset_sw2;
    const char *sam;
    bool no_address;
    enum result failing; /* of the next read; R_SUCCESS: none */
    enum result reset_result;
    char queue[QUEUE][TEXT];
    unsigned head, tail;
    uint8_t sent[SENT]; /* instructions */
    unsigned count, opened, closed, resets;
    unsigned ns; /* of the T=1 card */
    unsigned naks; /* that we sent */
    bool mute;     /* until it is reset */
    unsigned pipe;
} wire;

static struct settings settings;
static struct log quiet;
static struct reader *r;
static struct aet63 *a;
static struct atr atr;
static int protocol;
static uint8_t out[600];
static size_t len;
static int told, lost[2], woken; /* slot_observe of slot 0: -1, 0, 1 */
static int dummy_device;

/* ---- the device ------------------------------------------------------------------------------------------------- */

void slot_observe(struct device *d, unsigned slot, bool card)
{
    (void)d;
    if (slot == 0)
        told = card;
}

void slot_lost(struct device *d, unsigned slot)
{
    (void)d;
    lost[slot]++;
}

void slot_wake(struct device *d, unsigned slot)
{
    (void)d;
    (void)slot;
    woken++;
}

void device_input(void *device)
{
    (void)device;
}

/* ---- the reader ------------------------------------------------------------------------------------------------- */

static void put_text(const char *text)
{
    for (size_t n; *text; text += n + (text[n] == '|')) {
        n = strcspn(text, "|");
        if (wire.tail == QUEUE || n >= TEXT)
            abort();
        memcpy(wire.queue[wire.tail], text, n);
        wire.queue[wire.tail++][n] = 0;
    }
}

static void say(unsigned sw, const char *hex)
{
    uint8_t raw[TEXT / 2];
    size_t n = unhex(hex, raw + 4);
    char text[TEXT];
    uint8_t sum = 0;

    raw[0] = 0x01;
    raw[1] = (uint8_t)(sw >> 8);
    raw[2] = (uint8_t)sw;
    raw[3] = (uint8_t)n;
    for (size_t i = 0; i < n + 4; i++)
        sum ^= raw[i];
    raw[n + 4] = sum;
    text[0] = 0x02;
    for (size_t i = 0; i < n + 5; i++)
        (void)sprintf(text + 1 + 2 * i, "%02X", raw[i]);
    strcat(text, "\x03");
    put_text(text);
}

static void say_status(void)
{
    char hex[40];

    (void)snprintf(hex, sizeof hex, IDENTITY "00%02X", wire.c_stat);
    say(0x9000, hex);
}

/* A T=1 card that answers S(IFS) and every I-block, the latter with 90 00. */
static void say_block(const uint8_t *block, size_t n)
{
    uint8_t answer[6] = {0, 0, 1, 0};
    char hex[16];

    if (n < 4)
        abort();
    answer[1] = block[1] | 0x20; /* the answer to an S-block */
    answer[3] = block[3];
    answer[4] = answer[1] ^ answer[2] ^ answer[3];
    if (!(block[1] & 0x80)) {
        memcpy(answer, (uint8_t[]){0, (uint8_t)(wire.ns << 6), 2, 0x90, 0x00}, 5);
        answer[5] = (uint8_t)(answer[1] ^ 2 ^ 0x90);
        wire.ns ^= 1;
    }
    for (size_t i = 0; i < 5 + (answer[2] == 2); i++)
        (void)sprintf(hex + 2 * i, "%02X", answer[i]);
    say(0x9000, hex);
}

static void obey(uint8_t instruction, const uint8_t *data, size_t n)
{
    switch (instruction) {
    case AET63_GET_ACR_STAT:
        say_status();
        return;
    case AET63_RESET:
        wire.c_stat = wire.atr ? AET63_STAT_POWERED : wire.c_stat;
        wire.ns = 0;
        say(wire.atr ? 0x9000U | wire.reset_sw2 : 0x6020, wire.atr ? wire.atr : "");
        return;
    case AET63_POWER_OFF:
        wire.c_stat = wire.c_stat ? AET63_STAT_UNPOWERED : 0;
        say(0x9000, "");
        return;
    case AET63_ACTIVATE_SAM:
        say(wire.sam ? 0x9000 : 0x6005, wire.sam ? wire.sam : "");
        return;
    case AET63_EXCHANGE_APDU:
    case AET63_EXCHANGE_SAM_APDU:
        say(0x9000, "01029000");
        return;
    case AET63_EXCHANGE_T1_FRAME:
    case AET63_EXCHANGE_SAM_T1_FRAME:
        say_block(data, n);
        return;
    default:
        say(0x9000, "");
    }
}

/* True: a line of the script was for this. */
static bool follow_script(uint8_t instruction, enum result *result)
{
    const struct line *l = &script[said];

    *result = R_SUCCESS;
    if (said == laid || l->instruction != instruction)
        return false;
    said++;
    if (l->sw == FATAL)
        *result = l->result;
    else if (l->sw == TEXTUAL)
        put_text(l->hex);
    else if (l->sw != SILENT)
        say((unsigned)l->sw, l->hex);
    return true;
}

static bool is_nak(const uint8_t *text, size_t n)
{
    return (n == 2 && memcmp(text, "\x05\x05", 2) == 0) || (n == 6 && memcmp(text, "\x02" "0505" "\x03", 6) == 0);
}

static enum result wire_write(struct transport *t, const uint8_t *text, size_t n, deadline_t until)
{
    uint8_t raw[TEXT / 2];
    struct aet63_command c;
    enum result result;
    size_t count = 0;
    unsigned byte;

    (void)t;
    (void)until;
    if (is_nak(text, n)) {
        wire.naks++;
        (void)follow_script(AET63_NAK, &result);
        return result;
    }
    for (size_t i = 1; i + 2 < n; i += 2, count++) {
        if (sscanf((const char[]){(char)text[i], (char)text[i + 1], 0}, "%2x", &byte) != 1)
            abort();
        raw[count] = (uint8_t)byte;
    }
    if (aet63_parse_command(raw, count, &c) != R_SUCCESS || wire.count == SENT)
        abort();
    wire.sent[wire.count++] = c.instruction;
    if (!wire.mute && !follow_script(c.instruction, &result)) {
        obey(c.instruction, c.data, c.n);
        return R_SUCCESS;
    }
    return wire.mute ? R_SUCCESS : result;
}

static enum result wire_read(struct transport *t, uint8_t *chunk, size_t cap, size_t *n, unsigned *pipe,
                             deadline_t until)
{
    enum result failing = wire.failing;

    (void)t;
    (void)until;
    *pipe = wire.pipe;
    wire.failing = R_SUCCESS;
    if (failing != R_SUCCESS)
        return failing;
    if (wire.head == wire.tail) {
        wire.head = wire.tail = 0;
        return R_TIMEOUT;
    }
    *n = strlen(wire.queue[wire.head]);
    assert_true(*n <= cap);
    memcpy(chunk, wire.queue[wire.head++], *n);
    return R_SUCCESS;
}

static bool wire_pending(struct transport *t)
{
    (void)t;
    return wire.head < wire.tail || wire.failing != R_SUCCESS;
}

static enum result wire_reset(struct transport *t)
{
    (void)t;
    wire.resets++;
    wire.mute = false;
    if (wire.reset_result == R_SUCCESS)
        wire.c_stat = AET63_STAT_UNPOWERED;
    return wire.reset_result;
}

static void wire_cancel(struct transport *t)
{
    (void)t;
}

static void wire_close(struct transport *t)
{
    (void)t;
    wire.closed++;
}

static const struct transport_ops wire_ops = {.write = wire_write,
                                              .read = wire_read,
                                              .pending = wire_pending,
                                              .reset = wire_reset,
                                              .cancel = wire_cancel,
                                              .close = wire_close};

enum result usb_open(struct transport **transport, const struct usb_open_options *o)
{
    (void)o;
    wire.opened++;
    wire.t.ops = &wire_ops;
    wire.t.facts.release = 0x0123;
    *transport = &wire.t;
    return R_SUCCESS;
}

bool usb_parse_address(const char *name, struct usb_address *address)
{
    (void)name;
    *address = (struct usb_address){.vid = 0x072F, .pid = 0x8002};
    return !wire.no_address;
}

/* ---- for the cases ---------------------------------------------------------------------------------------------- */

static deadline_t soon(void)
{
    return deadline_in(20000);
}

static void lay(uint8_t instruction, int sw, const char *hex)
{
    if (said == laid)
        said = laid = 0;
    assert_true(laid < LINES);
    script[laid++] = (struct line){instruction, sw, hex, R_SUCCESS};
}

static void lay_failure(uint8_t instruction, enum result result)
{
    lay(instruction, FATAL, "");
    script[laid - 1].result = result;
}

static unsigned count(uint8_t instruction)
{
    unsigned n = 0;

    for (unsigned i = 0; i < wire.count; i++)
        n += wire.sent[i] == instruction;
    return n;
}

static int setup(void **state)
{
    (void)state;
    memset(&wire, 0, sizeof wire);
    laid = said = 0;
    told = -1;
    woken = lost[0] = lost[1] = 0;
    wire.c_stat = AET63_STAT_UNPOWERED;
    wire.atr = "3B00";
    settings_defaults(&settings);
    log_init(&quiet, PLOG_CRITICAL | PLOG_INFO, "test");
    stub_log_clear();
    return 0;
}

static enum result try_open(void)
{
    struct reader_target target = {.name = "usb:072f/8002:libudev:0:/dev/bus/usb/001/002"};
    enum result e = aet63_family.open(&r, (struct device *)&dummy_device, &target, &settings, &quiet, soon());

    a = e == R_SUCCESS ? aet63_of(r) : NULL;
    assert_int_equal(said, laid);
    if (e != R_SUCCESS)
        assert_int_equal(wire.opened, wire.closed);
    return e;
}

static void open_reader(void)
{
    assert_int_equal(try_open(), R_SUCCESS);
    wire.count = 0;
}

static enum result power_up(unsigned slot, bool warm)
{
    return r->ops->power_up(r, slot, warm, soon(), &atr, &protocol);
}

static void open_card(const char *bytes, uint8_t sw2)
{
    wire.atr = bytes;
    wire.reset_sw2 = sw2;
    open_reader();
    assert_int_equal(power_up(0, false), R_SUCCESS);
    wire.count = 0;
    stub_log_clear();
}

static void open_sam(const char *bytes)
{
    settings.slots[0] = SLOT_CARD;
    settings.slots[1] = SLOT_SAM1;
    settings.slot_count = 2;
    wire.sam = bytes;
    open_reader();
}

static void close_reader(void)
{
    assert_int_equal(said, laid);
    r->ops->close(r);
    assert_int_equal(wire.opened, wire.closed);
    log_done(&quiet);
}

static enum result transmit(unsigned slot, const char *apdu, size_t cap)
{
    uint8_t p[300];
    size_t n = unhex(apdu, p);

    return r->ops->transmit(r, slot, p, n, out, cap, &len, soon());
}

static void expect(const char *hex)
{
    uint8_t want[300];
    size_t n = unhex(hex, want);

    assert_int_equal(len, n);
    assert_memory_equal(out, want, n);
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static void what_the_reader_says_of_itself(void **state)
{
    static const struct {
        const char *status, *firmware;
        uint32_t version;
        bool odd;
    } cases[] = {
        {IDENTITY "0000", "AET630-1.0", 0x01000000, false},
        {"41455436332D322E3132FFFF00030000", "AET63-2.12", 0x020C0000, false},
        {"41455436330000000000FFFF00030000", "AET63", 0x01230000, false}, /* the USB release, then */
        {"4145542D78000000000000FF00030000", "AET-x", 0x01230000, false},
        {"41FE5436330000000000FFFF00030000", "A", 0x01230000, true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        lay(AET63_GET_ACR_STAT, 0x9000, cases[i].status); /* once to be in step, once to know */
        lay(AET63_GET_ACR_STAT, 0x9000, cases[i].status);
        open_reader();
        assert_string_equal(r->identity.firmware, cases[i].firmware);
        assert_int_equal(r->identity.version, cases[i].version);
        assert_int_equal(stub_log_matches("A17"), cases[i].odd);
        assert_int_equal(told, 0);
        close_reader();
    }
}

static void a_reader_that_is_none(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        lay(AET63_GET_ACR_STAT, i == 3 ? 0x6005 : SILENT, "");
    settings.command_wait = settings.open_drain = 50;
    wire.reset_result = R_GONE;
    assert_int_equal(aet63_family.open(&r, (struct device *)&dummy_device,
                                       &(struct reader_target){.name = "x"}, &settings, &quiet, soon()),
                     R_GONE);
    assert_int_equal(wire.resets, 1); /* the last resort */
    assert_true(stub_log_matches("no answer to GET_ACR_STAT") > 0);
    assert_int_equal(wire.opened, wire.closed);
    setup(NULL);
    wire.no_address = true;
    assert_int_equal(try_open(), R_INVALID);
    assert_int_equal(wire.opened, 0);
}

static void opening_ends_at_once_when_it_is_cancelled(void **state)
{
    static const uint8_t instructions[] = {AET63_GET_ACR_STAT, AET63_SET_NOTIFICATION, AET63_ACTIVATE_SAM};
    static const enum result results[] = {R_GONE, R_CANCELLED};

    (void)state;
    for (size_t i = 0; i < COUNT(instructions) * COUNT(results); i++) {
        setup(NULL);
        settings.slots[0] = SLOT_CARD;
        settings.slots[1] = SLOT_SAM1;
        settings.slot_count = 2;
        lay_failure(instructions[i / 2], results[i % 2]);
        assert_int_equal(try_open(), results[i % 2]);
        wire.opened = wire.closed = 0;
    }
}

static void events_that_cannot_be_had_are_no_obstacle(void **state)
{
    unsigned again;

    (void)state;
    lay(AET63_SET_NOTIFICATION, 0x6005, "");
    open_reader();
    assert_true(stub_log_matches("asking instead") > 0);
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    assert_true(again <= settings.presence_retry);
    close_reader();
    setup(NULL);
    lay(AET63_SET_NOTIFICATION, SILENT, "");
    lay(AET63_SET_NOTIFICATION, SILENT, "");
    open_reader();
    close_reader();
}

static void which_slots(void **state)
{
    (void)state;
    settings.slots[0] = SLOT_CL;
    settings.slots[1] = SLOT_SAM1;
    settings.slots[2] = SLOT_SAM1;
    settings.slot_count = 3;
    wire.sam = "3B00";
    open_reader();
    assert_int_equal(r->slot_count, 2);
    assert_int_equal(stub_log_matches("the rest is left out"), 2);
    assert_true(stub_log_matches("SAM: in place") > 0);
    assert_false(a->icc[1].powered);
    close_reader();
    setup(NULL);
    open_sam(NULL);
    assert_int_equal(r->slot_count, 2);
    assert_int_equal(stub_log_matches("in place"), 0);
    close_reader();
}

/* ---- power ------------------------------------------------------------------------------------------------------ */

static void answers_to_reset(void **state)
{
    static const struct {
        int sw;
        const char *data;
        enum result result;
        unsigned resets; /* how often it is tried: with each type while the card fails */
        const char *log;
    } cases[] = {
        {0x9000, "3B00", R_SUCCESS, 1, NULL},
        {0x9000, "3B", R_POWER, 1, "an ATR of 1 bytes"},
        {0x9000, "", R_POWER, 1, "an ATR of 0 bytes"},
        {0x9000, "3B00000000000000000000000000000000000000000000000000000000000000000000", R_POWER, 1, "bytes"},
        {0x9000, "3B1F", R_SUCCESS, 1, "not well formed"},
        {0x9001, "3B80014A4A", R_SUCCESS, 1, "check byte is wrong"},
        {0x9001, "3B00", R_SUCCESS, 1, "A31"}, /* T=1, and the ATR offers T=0 */
        {0x9010, "3B00", R_POWER, 1, "no protocol that this driver knows"},
        {0x6020, "", R_SUCCESS, 2, "A32"}, /* the next type brings it up */
        {0x6022, "", R_SUCCESS, 2, "short circuit"},
        {0x6005, "", R_POWER, 1, "unknown instruction"},
        {0x6002, "", R_NO_CARD, 1, "no card in the reader"},
        {0x6703, "", R_COMM, 1, "wrong data length"},
        {0x0042, "", R_COMM, 1, "status unknown"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_reader();
        lay(AET63_RESET, cases[i].sw, cases[i].data);
        assert_int_equal(power_up(0, false), cases[i].result);
        assert_int_equal(count(AET63_RESET), cases[i].resets);
        assert_int_equal(a->icc[0].powered, cases[i].result == R_SUCCESS);
        assert_int_equal(lost[0], cases[i].result == R_NO_CARD);
        if (cases[i].log)
            assert_true(stub_log_matches(cases[i].log) > 0);
        close_reader();
    }
}

static void a_card_that_never_answers_is_tried_with_each_type(void **state)
{
    (void)state;
    wire.atr = NULL;
    open_reader();
    assert_int_equal(power_up(0, false), R_POWER);
    assert_int_equal(count(AET63_RESET), 3);
    assert_int_equal(count(AET63_SELECT_CARD_TYPE), 3);
    lay(AET63_SELECT_CARD_TYPE, 0x6703, ""); /* every type is refused */
    assert_int_equal(power_up(0, false), R_POWER);
    assert_int_equal(count(AET63_SELECT_CARD_TYPE), 6);
    lay(AET63_SELECT_CARD_TYPE, SILENT, "");
    assert_int_equal(power_up(0, false), R_TIMEOUT);
    close_reader();
}

static void a_warm_reset_keeps_the_power(void **state)
{
    (void)state;
    open_card("3B00", 0);
    assert_int_equal(power_up(0, true), R_SUCCESS);
    assert_int_equal(count(AET63_POWER_OFF), 0);
    assert_int_equal(count(AET63_RESET), 1);
    assert_int_equal(r->ops->power_down(r, 0, soon()), R_SUCCESS);
    assert_int_equal(power_up(0, true), R_SUCCESS); /* it has none: a cold one */
    assert_int_equal(count(AET63_SELECT_CARD_TYPE), 1);
    lay(AET63_POWER_OFF, 0x6005, "");
    assert_int_equal(r->ops->power_down(r, 0, soon()), R_SUCCESS);
    assert_true(stub_log_matches("A36") > 0);
    lay(AET63_POWER_OFF, 0x6002, ""); /* off is what was wanted */
    assert_int_equal(r->ops->power_down(r, 0, soon()), R_SUCCESS);
    assert_int_equal(lost[0], 0);
    close_reader();
}

#define BOTH "3B9000800100" /* T=0 and T=1 */

static void a_protocol_is_selected_by_another_reset(void **state)
{
    (void)state;
    open_card(BOTH, 0);
    assert_int_equal(r->ops->set_protocol(r, 0, 0, soon(), &protocol), R_SUCCESS);
    assert_int_equal(wire.count, 0); /* it runs it */
    wire.reset_sw2 = 1;
    assert_int_equal(r->ops->set_protocol(r, 0, 1, soon(), &protocol), R_SUCCESS);
    assert_int_equal(protocol, 1);
    lay(AET63_RESET, 0x9001, BOTH); /* it goes on with T=1 */
    assert_int_equal(r->ops->set_protocol(r, 0, 0, soon(), &protocol), R_PROTOCOL);
    assert_int_equal(protocol, 1);
    assert_true(stub_log_matches("A33") > 0);
    lay(AET63_RESET, 0x9000, "3B00"); /* another card */
    assert_int_equal(r->ops->set_protocol(r, 0, 0, soon(), &protocol), R_NO_CARD);
    assert_int_equal(lost[0], 1);
    assert_int_equal(power_up(0, false), R_SUCCESS);
    lay(AET63_RESET, 0x6020, "");
    assert_int_equal(r->ops->set_protocol(r, 0, 0, soon(), &protocol), R_POWER);
    assert_int_equal(power_up(0, false), R_SUCCESS);
    lay(AET63_RESET, SILENT, "");
    assert_int_equal(r->ops->set_protocol(r, 0, 0, soon(), &protocol), R_TIMEOUT);
    close_reader();
    setup(NULL);
    open_card(BOTH, 0);
    lay(AET63_RESET, 0x9000, "3B9000800101"); /* as long, and another one */
    assert_int_equal(r->ops->set_protocol(r, 0, 1, soon(), &protocol), R_NO_CARD);
    close_reader();
    setup(NULL);
    open_card("3B00", 0);
    assert_int_equal(r->ops->set_protocol(r, 0, 1, soon(), &protocol), R_PROTOCOL);
    a->icc[0].info_valid = false; /* what it offers is not known */
    assert_int_equal(r->ops->set_protocol(r, 0, 1, soon(), &protocol), R_PROTOCOL);
    assert_int_equal(wire.count, 0);
    close_reader();
}

/* ---- APDUs ------------------------------------------------------------------------------------------------------ */

static void what_an_apdu_comes_to(void **state)
{
    static const struct {
        int sw;
        const char *data;
        uint8_t c_stat; /* what the reader says of the card when it is asked afterwards */
        enum result result;
        const char *log;
    } cases[] = {
        {0x9000, "6A82", 3, R_SUCCESS, NULL},
        {0x9000, "90", 3, R_COMM, NULL},
        {0x9000, "", 3, R_COMM, NULL},
        {0x6020, "", 3, R_CARD, "card failure"},
        {0x6020, "", 1, R_NO_CARD, NULL}, /* it lost its power */
        {0x6020, "", 0, R_NO_CARD, NULL}, /* it is gone */
        {0x6020, "", 2, R_NO_CARD, "A28"},
        {0x6712, "", 3, R_CARD, "APDU aborted"},
        {0x6703, "", 3, R_COMM, "A38"},
        {0x6002, "", 0, R_NO_CARD, NULL},
        {0x6004, "", 1, R_NO_CARD, NULL},
        {0x0102, "", 3, R_COMM, "A37"},
        {0x90FF, "9000", 3, R_SUCCESS, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_card("3B00", 0);
        wire.c_stat = cases[i].c_stat;
        lay(AET63_EXCHANGE_APDU, cases[i].sw, cases[i].data);
        assert_int_equal(transmit(0, "00A4000002" "3F00", 300), cases[i].result);
        expect(cases[i].result == R_SUCCESS ? cases[i].data : "");
        assert_int_equal(count(AET63_EXCHANGE_APDU), 1);
        assert_int_equal(a->icc[0].powered, cases[i].result != R_NO_CARD);
        if (cases[i].result == R_NO_CARD)
            assert_true(lost[0] > 0 || told == 0);
        if (cases[i].log)
            assert_true(stub_log_matches(cases[i].log) > 0);
        close_reader();
    }
}

static void what_is_no_apdu_for_this_card(void **state)
{
    (void)state;
    open_card("3B00", 0);
    assert_int_equal(transmit(0, "00A4000005" "3F00", 300), R_SUCCESS); /* its Lc is wrong */
    expect("6700");
    assert_int_equal(transmit(0, "00B00000000100", 300), R_SUCCESS); /* extended */
    expect("6700");
    assert_int_equal(transmit(0, "00B00000000100", 1), R_SPACE);
    assert_int_equal(len, 0);
    assert_int_equal(count(AET63_EXCHANGE_APDU), 0);
    assert_int_equal(transmit(0, "00B0000002", 3), R_SPACE);
    assert_int_equal(r->ops->max_apdu_data(r, 0), 0);
    assert_int_equal(r->ops->power_down(r, 0, soon()), R_SUCCESS);
    assert_int_equal(transmit(0, "00B0000002", 300), R_NO_CARD);
    close_reader();
}

/* The reader says nothing of the card when it is asked after a failure: the poller finds out. */
static void a_failure_that_nobody_can_explain(void **state)
{
    (void)state;
    settings.command_wait = settings.resync_quiet = 1;
    open_card("3B00", 0);
    lay(AET63_EXCHANGE_APDU, 0x6020, "");
    lay(AET63_GET_ACR_STAT, 0x6005, "");
    assert_int_equal(transmit(0, "00B0000002", 300), R_CARD);
    assert_true(a->doubt);
    assert_false(a->in_sync);
    assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS); /* in step again first */
    close_reader();
}

static void t1_by_the_readers_own_engine(void **state)
{
    static const char t1[] = "3B80014A4B" /* its check byte is another one, which nobody minds */;

    (void)state;
    settings.t1 = T1_APDU;
    open_card(t1, 1);
    assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
    expect("01029000");
    assert_int_equal(transmit(0, "00A40000", 300), R_SUCCESS); /* no Le */
    assert_int_equal(transmit(0, "00B00000000100", 300), R_SUCCESS);
    expect("6700");
    assert_int_equal(transmit(0, "00A4000005" "3F00", 300), R_SUCCESS);
    expect("6700");
    lay(AET63_EXCHANGE_APDU, 0x6703, "");
    assert_int_equal(transmit(0, "00B0000002", 300), R_COMM);
    assert_true(stub_log_matches("A45") > 0);
    assert_int_equal(r->ops->max_apdu_data(r, 0), 0);
    assert_int_equal(count(AET63_EXCHANGE_T1_FRAME), 0);
    close_reader();
}

static void t1_block_by_block(void **state)
{
    static const struct {
        int sw;
        const char *data;
        enum result result;
        const char *log;
    } cases[] = {
        {0x9000, "00C100C1", R_SUCCESS, NULL}, /* no answer to what was sent: asked again */
        {0x6020, "", R_SUCCESS, "card failure"},
        {0x6005, "", R_NOT_SUPPORTED, "unknown instruction"},
        {0x6004, "", R_NO_CARD, NULL},
        {0x9000, "", R_SUCCESS, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_card("3B80014A4B", 1);
        assert_int_equal(r->ops->max_apdu_data(r, 0), 65536);
        lay(AET63_EXCHANGE_T1_FRAME, cases[i].sw, cases[i].data);
        assert_int_equal(transmit(0, "00B0000002", 300), cases[i].result);
        if (cases[i].result == R_SUCCESS)
            expect("9000");
        if (cases[i].log)
            assert_true(stub_log_matches(cases[i].log) > 0);
        close_reader();
    }
}

static void a_t1_block_that_the_reader_refuses(void **state)
{
    (void)state;
    open_card("3B80014A4B", 1);
    for (int i = 0; i < 8; i++)
        lay(AET63_EXCHANGE_T1_FRAME, 0x6703, "");
    assert_int_equal(transmit(0, "00B0000002", 300), R_COMM);
    assert_true(stub_log_matches("A40") > 0);
    laid = said;
    close_reader();
}

/* ---- the SAM ---------------------------------------------------------------------------------------------------- */

static void a_sam_runs_what_its_atr_says(void **state)
{
    static const struct {
        const char *atr;
        int protocol;
    } cases[] = {{"3B00", 0}, {"3B80014A4B", 1}, {"3B80110190", 1}, {"3B80100090", 0}, {"3B1F", 0}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_sam(cases[i].atr);
        assert_int_equal(power_up(1, false), R_SUCCESS);
        assert_int_equal(protocol, cases[i].protocol);
        assert_int_equal(count(AET63_SELECT_CARD_TYPE), 0);
        assert_int_equal(r->ops->set_protocol(r, 1, !protocol, soon(), &protocol), R_PROTOCOL);
        woken = 0;
        assert_int_equal(transmit(1, "00B0000002", 300), R_SUCCESS);
        assert_true(woken > 0); /* the card may have come or gone meanwhile */
        assert_int_equal(lost[1], 0);
        close_reader();
        assert_int_equal(wire.sent[wire.count - 1], AET63_DEACTIVATE_SAM);
    }
}

static void a_sam_that_fails(void **state)
{
    (void)state;
    open_sam("3B00");
    assert_int_equal(power_up(1, true), R_SUCCESS);
    lay(AET63_EXCHANGE_SAM_APDU, 0x6020, "");
    assert_int_equal(transmit(1, "00B0000002", 300), R_CARD);
    assert_int_equal(count(AET63_GET_ACR_STAT), 0); /* that says nothing of it */
    assert_true(a->doubt);
    lay(AET63_EXCHANGE_SAM_APDU, 0x6004, "");
    assert_int_equal(transmit(1, "00B0000002", 300), R_NO_CARD);
    assert_int_equal(lost[1], 1);
    assert_int_equal(lost[0], 0);
    assert_int_equal(r->ops->look(r, 1, soon()), R_SUCCESS);
    close_reader();
}

/* ---- presence --------------------------------------------------------------------------------------------------- */

static unsigned watch(void)
{
    unsigned again;

    a->next_ask = 0;
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    return again;
}

static void events_are_trusted_once_one_was_seen(void **state)
{
    (void)state;
    open_reader();
    assert_true(watch() != READER_WATCH_NEVER);
    wire.c_stat = 0;
    say(0xFF02, "");
    assert_int_equal(watch(), READER_WATCH_NEVER);
    assert_true(stub_log_matches("sends card events") > 0);
    assert_int_equal(told, 0);
    wire.c_stat = 1;
    say(0xFF01, "");
    assert_int_equal(watch(), READER_WATCH_NEVER);
    assert_int_equal(told, 1);
    say(0xFF02, ""); /* and the answer says that a card is there */
    assert_true(watch() != READER_WATCH_NEVER);
    assert_true(a->doubt);
    assert_true(stub_log_matches("A25") > 0);
    say(0xFF01, "");
    assert_int_equal(watch(), READER_WATCH_NEVER);
    say(0xFF77, "");
    assert_int_equal(watch(), READER_WATCH_NEVER);
    assert_true(stub_log_matches("event FF 77 is not known") > 0);
    close_reader();
}

static void a_reader_that_restarts_has_forgotten_its_card(void **state)
{
    (void)state;
    open_card("3B00", 0);
    wire.c_stat = 1;
    say(0xFF00, "");
    (void)watch();
    assert_true(lost[0] > 0);
    assert_int_equal(count(AET63_SET_NOTIFICATION), 1);
    assert_false(a->icc[0].powered);
    assert_int_equal(power_up(0, false), R_SUCCESS);
    say(0xFF00, "");
    assert_int_equal(transmit(0, "00B0000002", 300), R_NO_CARD);
    assert_int_equal(count(AET63_EXCHANGE_APDU), 0); /* not to a card that has lost its session */
    close_reader();
}

/* Three times asked in vain: the slot is empty until the reader answers. */
static void a_reader_that_falls_silent(void **state)
{
    unsigned again;

    (void)state;
    settings.command_wait = settings.resync_quiet = 1;
    open_reader();
    told = 1;
    for (unsigned i = 0; i < 3; i++) {
        lay(AET63_GET_ACR_STAT, 0x6005, "");
        lay(AET63_GET_ACR_STAT, 0x6005, "");
        assert_int_equal(told, 1);
        a->in_sync = true;
        (void)watch();
        laid = said;
    }
    assert_int_equal(told, 0);
    a->in_sync = true;
    a->next_ask = 0;
    lay_failure(AET63_GET_ACR_STAT, R_GONE);
    assert_int_equal(poller_turn(r, 0, &again), R_GONE);
    wire.failing = R_CANCELLED;
    assert_int_equal(poller_turn(r, 0, &again), R_CANCELLED);
    a->in_sync = true;
    lay_failure(AET63_GET_ACR_STAT, R_GONE);
    assert_int_equal(r->ops->look(r, 0, soon()), R_GONE);
    assert_int_equal(poller_turn(r, 1, &again), R_SUCCESS);
    assert_int_equal(again, READER_WATCH_NEVER);
    close_reader();
}

static void a_card_that_lost_its_power_is_another(void **state)
{
    (void)state;
    open_card("3B00", 0);
    wire.c_stat = AET63_STAT_UNPOWERED;
    assert_int_equal(r->ops->look(r, 0, soon()), R_SUCCESS);
    assert_int_equal(lost[0], 1);
    assert_false(a->icc[0].powered);
    assert_int_equal(told, 1);
    close_reader();
}

/* ---- raw commands ----------------------------------------------------------------------------------------------- */

static enum result command(const char *hex, size_t cap)
{
    uint8_t p[64];
    size_t n = unhex(hex, p);

    return r->ops->command(r, 0, p, n, out, cap, &len, soon());
}

static void raw_commands_and_their_caps(void **state)
{
    static const struct {
        const char *command;
        enum reader_command_class class;
        unsigned cap;
    } cases[] = {
        {"01", COMMAND_SAFE, 1},    {"9A0010", COMMAND_SAFE, 1},    {"9B00", COMMAND_DANGEROUS, 1},
        {"80", COMMAND_DANGEROUS, 2}, {"8800", COMMAND_SAFE, 2},    {"89", COMMAND_SAFE, 3},
        {"A000", COMMAND_DANGEROUS, 3}, {"B000", COMMAND_SAFE, 3},  {"9C00", COMMAND_SAFE, 4},
        {"029C00", COMMAND_SAFE, 4}, {"020C", COMMAND_DANGEROUS, 3}, {"02A0", COMMAND_DANGEROUS, 3},
        {"02", COMMAND_DANGEROUS, 3}, {"77", COMMAND_UNKNOWN, 1},   {"", COMMAND_UNKNOWN, 1},
    };
    uint8_t p[8];

    (void)state;
    open_reader();
    settings.reader_cap = 1;
    settings.power_cap = 2;
    settings.apdu_cap = 3;
    settings.tfm_cap = 4;
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t n = unhex(cases[i].command, p);

        assert_int_equal(r->ops->classify(r, p, n), cases[i].class);
        assert_int_equal(r->ops->command_cap(r, p, n), cases[i].cap);
    }
    close_reader();
}

static void a_raw_command_that_takes_a_card_away_says_so(void **state)
{
    (void)state;
    open_sam("3B00");
    assert_int_equal(power_up(0, false), R_SUCCESS);
    assert_int_equal(power_up(1, false), R_SUCCESS);
    lay(AET63_EEPROM_READ_DATA, 0x9000, "AABB");
    assert_int_equal(command("9A000002", sizeof out), R_SUCCESS);
    expect("9000AABB");
    lay(AET63_EEPROM_READ_DATA, 0x9000, "AABB");
    assert_int_equal(command("9A000002", 3), R_SPACE);
    assert_int_equal(len, 0);
    lay(AET63_TFM_COMMAND, 0x6020, "");
    assert_int_equal(command("029C00", sizeof out), R_SUCCESS);
    expect("6020");
    assert_int_equal(lost[0] + lost[1], 0);
    assert_int_equal(command("81", sizeof out), R_SUCCESS);
    assert_int_equal(lost[0], 1);
    assert_int_equal(command("81", sizeof out), R_SUCCESS); /* it had no power any more */
    assert_int_equal(lost[0], 1);
    assert_int_equal(command("89", sizeof out), R_SUCCESS);
    assert_int_equal(command("89", sizeof out), R_SUCCESS);
    assert_int_equal(lost[1], 1);
    assert_int_equal(command("", sizeof out), R_INVALID);
    lay(0x77, SILENT, "");
    assert_int_equal(command("77", sizeof out), R_TIMEOUT);
    close_reader();
}

static void an_answer_with_another_header_is_none(void **state)
{
    (void)state;
    open_reader();
    lay(AET63_EEPROM_READ_DATA, TEXTUAL, "\x02" "0290000092" "\x03"); /* header 02, and nobody asked by it */
    assert_int_equal(command("9A000002", sizeof out), R_SUCCESS);     /* a read may be sent again */
    assert_int_equal(count(AET63_EEPROM_READ_DATA), 2);
    lay(AET63_TFM_COMMAND, TEXTUAL, "\x02" "0290000092" "\x03");
    assert_int_equal(command("029C", sizeof out), R_SUCCESS);
    expect("9000");
    lay(AET63_TFM_COMMAND, TEXTUAL, "\x02" "0290000092" "\x03");
    assert_int_equal(command("9C", sizeof out), R_COMM);
    close_reader();
}

/* The extended form is refused: said once, with its row. */
static void a_long_command_that_is_refused(void **state)
{
    uint8_t p[300] = {AET63_TFM_COMMAND};

    (void)state;
    open_reader();
    lay(AET63_TFM_COMMAND, TEXTUAL, "\x05\x05");
    assert_int_equal(r->ops->command(r, 0, p, sizeof p, out, sizeof out, &len, soon()), R_SUCCESS);
    assert_int_equal(count(AET63_TFM_COMMAND), 2);
    assert_true(stub_log_matches("A10") > 0);
    for (int i = 0; i < 4; i++)
        lay(AET63_TFM_COMMAND, TEXTUAL, "\x05\x05");
    assert_int_equal(command("9C", sizeof out), R_COMM);
    assert_int_equal(count(AET63_TFM_COMMAND), 6); /* no fifth time */
    close_reader();
}

/* ---- the line --------------------------------------------------------------------------------------------------- */

#define ANSWER      "\x02" "01900002900003" "\x03"
#define SPOILT      "\x02" "01900002900103" "\x03"
#define EVENT_IN    "\x02" "01FF0100FF" "\x03"
#define RESTART     "\x02" "01FF0000FE" "\x03"

static void what_is_logged_of_a_frame(void **state)
{
    (void)state;
    open_card("3B00", 0);
    quiet.mask = PLOG_FRAME;
    assert_int_equal(transmit(0, "00200081" "04DEADBEEF", 300), R_SUCCESS);
    assert_int_equal(command("77DEADBE", sizeof out), R_SUCCESS);
    assert_int_equal(r->ops->look(r, 0, soon()), R_SUCCESS);
    assert_true(stub_log_has("-> A0", "00 20 00 81", NULL));
    assert_true(stub_log_has("<- 90 00", "done", NULL));
    assert_true(stub_log_has("<- data", "41 45 54 36 33", NULL)); /* the status block */
    assert_int_equal(stub_log_matches("DE AD"), 0);
    assert_int_equal(stub_log_matches("01 02 90 00"), 0);
    close_reader();
}

static void what_stands_around_an_answer(void **state)
{
    static const struct {
        const char *text;
        enum result result;
        const char *log;
    } cases[] = {
        {EVENT_IN "|" ANSWER, R_SUCCESS, "sends card events"},
        {EVENT_IN ANSWER, R_SUCCESS, "sends card events"}, /* in one chunk */
        {ANSWER "|" EVENT_IN, R_SUCCESS, NULL},
        {RESTART, R_NO_CARD, "restarted"},
        {SPOILT, R_COMM, "broken answer"},
        {"\x02" "0190", R_COMM, "broken answer"},
        {"90000\x03", R_COMM, NULL},
        {"\x02" "01900X", R_COMM, "broken answer"},
        {"", R_TIMEOUT, NULL},
    };

    (void)state;
    for (size_t k = 0; k < 2 * COUNT(cases); k++) {
        size_t i = k / 2;

        setup(NULL);
        settings.nak = NAK_OFF;
        settings.frame_gap = settings.resync_quiet = settings.command_wait = 5;
        wire.pipe = k % 2; /* the same on the second pipe */
        open_card("3B00", 0);
        lay(AET63_EXCHANGE_APDU, TEXTUAL, cases[i].text);
        assert_int_equal(transmit(0, "00B0000002", 300), cases[i].result);
        assert_int_equal(count(AET63_EXCHANGE_APDU), 1);
        if (cases[i].log)
            assert_true(stub_log_matches(cases[i].log) > 0);
        close_reader();
    }
}

/* The answer to a question of long ago is not this command's. */
static void a_late_status_is_dropped(void **state)
{
    char text[TEXT + 40];

    (void)state;
    open_card("3B00", 0);
    say_status();
    (void)snprintf(text, sizeof text, "%s|" ANSWER, wire.queue[--wire.tail]);
    lay(AET63_EXCHANGE_APDU, TEXTUAL, text);
    assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
    expect("9000");
    assert_true(stub_log_matches("came late") > 0);
    close_reader();
}

static void our_nak_brings_the_answer_again(void **state)
{
    (void)state;
    for (unsigned nak = 0; nak < 2; nak++) {
        setup(NULL);
        settings.nak = nak ? NAK_FRAMED : NAK_RAW;
        open_card("3B00", 0);
        lay(AET63_EXCHANGE_APDU, TEXTUAL, SPOILT);
        lay(AET63_NAK, TEXTUAL, SPOILT);
        lay(AET63_NAK, TEXTUAL, ANSWER);
        assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
        assert_int_equal(wire.naks, 2);
        assert_int_equal(count(AET63_EXCHANGE_APDU), 1);
        lay(AET63_EXCHANGE_APDU, TEXTUAL, SPOILT);
        for (int i = 0; i < 3; i++)
            lay(AET63_NAK, TEXTUAL, SPOILT);
        assert_int_equal(transmit(0, "00B0000002", 300), R_COMM);
        assert_int_equal(wire.naks, 5); /* no more than three times */
        lay(AET63_EXCHANGE_APDU, TEXTUAL, SPOILT);
        lay_failure(AET63_NAK, R_GONE);
        assert_int_equal(transmit(0, "00B0000002", 300), R_GONE);
        close_reader();
    }
}

static void what_comes_behind_a_nak(void **state)
{
    static const struct {
        const char *text;
        enum result result;
        unsigned sent;
    } cases[] = {
        {"\x05\x05", R_SUCCESS, 2},
        {"\x05\x05|\x05\x05", R_SUCCESS, 2},
        {"\x02" "0505" "\x03", R_SUCCESS, 2},
        {"\x05\x05|" ANSWER, R_COMM, 1},
        {"\x05\x05|" SPOILT, R_COMM, 1},
        {"\x05\x05|" RESTART, R_NO_CARD, 1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_card("3B00", 0);
        lay(AET63_EXCHANGE_APDU, TEXTUAL, cases[i].text);
        assert_int_equal(transmit(0, "00B0000002", 300), cases[i].result);
        assert_int_equal(count(AET63_EXCHANGE_APDU), cases[i].sent);
        close_reader();
    }
}

static void what_nobody_waits_for(void **state)
{
    (void)state;
    open_card("3B00", 0);
    put_text(ANSWER);
    assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
    assert_true(stub_log_matches("nobody waits for") > 0);
    expect("01029000");
    put_text("\x02" "01FF0"); /* the beginning of an event */
    a->ask_now = false;
    assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
    assert_true(a->ask_now); /* what it said nobody knows */
    put_text("\x02" "01FX" "\x03");
    a->ask_now = false;
    assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
    assert_true(a->ask_now);
    lay(0x77, TEXTUAL, RESTART); /* no card command: its outcome is not known */
    assert_int_equal(command("77", sizeof out), R_COMM);
    put_text(RESTART);
    assert_int_equal(command("9A000002", sizeof out), R_SUCCESS); /* the reader's own memory is still there */
    assert_true(lost[0] > 0);
    assert_int_equal(power_up(0, false), R_SUCCESS);
    wire.failing = R_GONE;
    assert_int_equal(transmit(0, "00B0000002", 300), R_GONE);
    close_reader();
}

/* Twice no answer to all questions: the port is reset; the reader has forgotten its cards. */
static void the_last_resort_is_a_reset(void **state)
{
    static const enum result results[] = {R_SUCCESS, R_TIMEOUT, R_GONE};

    (void)state;
    for (size_t i = 0; i < COUNT(results); i++) {
        setup(NULL);
        settings.command_wait = settings.resync_quiet = 100;
        open_card("3B00", 0);
        wire.mute = true;
        wire.reset_result = results[i];
        for (int k = 0; k < 4 && wire.resets == 0; k++)
            assert_int_not_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
        assert_int_equal(wire.resets, 1);
        assert_true(stub_log_matches("resetting it") > 0);
        assert_int_equal(count(AET63_EXCHANGE_APDU), 1);
        assert_int_equal(lost[0] > 0, results[i] == R_SUCCESS);
        assert_int_equal(power_up(0, false), R_SUCCESS);
        assert_int_equal(count(AET63_EXCHANGE_APDU), 1);
        close_reader();
    }
}

/* Where no port can be reset the reader is asked for ever, and nothing else is sent. */
static void a_reader_that_cannot_be_reset(void **state)
{
    struct transport_ops without = wire_ops;

    (void)state;
    without.reset = NULL;
    settings.command_wait = settings.resync_quiet = 100;
    open_card("3B00", 0);
    wire.t.ops = &without;
    wire.mute = true;
    for (int k = 0; k < 4; k++)
        assert_int_equal(transmit(0, "00B0000002", 300), R_TIMEOUT);
    assert_int_equal(count(AET63_EXCHANGE_APDU), 1);
    assert_int_equal(lost[0], 0);
    wire.mute = false;
    assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
    wire.t.ops = &wire_ops;
    close_reader();
}

/* A T=1 block of 258 bytes goes out in the extended form. */
static void a_long_t1_block_that_the_reader_refuses(void **state)
{
    uint8_t apdu[260] = {0x00, 0xD6, 0x00, 0x00, 0xFF};

    (void)state;
    open_card("3B808111FEEE", 1);
    assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
    for (int i = 0; i < 8; i++)
        lay(AET63_EXCHANGE_T1_FRAME, 0x6703, "");
    assert_int_equal(r->ops->transmit(r, 0, apdu, sizeof apdu, out, sizeof out, &len, soon()), R_COMM);
    assert_true(stub_log_matches("A41") > 0);
    laid = said;
    close_reader();
}

/* A card that asks for time, and a reader that gives up waiting. */
static void the_reader_does_not_wait_as_long_as_the_card_asked(void **state)
{
    (void)state;
    open_card("3B80014A4B", 1);
    assert_int_equal(transmit(0, "00B0000002", 300), R_SUCCESS);
    lay(AET63_EXCHANGE_T1_FRAME, 0x9000, "00C30105C7");
    lay(AET63_EXCHANGE_T1_FRAME, 0x6020, "");
    (void)transmit(0, "00B0000002", 300);
    assert_true(stub_log_matches("A44") > 0);
    close_reader();
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        CASE(what_the_reader_says_of_itself),
        CASE(a_reader_that_is_none),
        CASE(opening_ends_at_once_when_it_is_cancelled),
        CASE(events_that_cannot_be_had_are_no_obstacle),
        CASE(which_slots),
        CASE(answers_to_reset),
        CASE(a_card_that_never_answers_is_tried_with_each_type),
        CASE(a_warm_reset_keeps_the_power),
        CASE(a_protocol_is_selected_by_another_reset),
        CASE(what_an_apdu_comes_to),
        CASE(what_is_no_apdu_for_this_card),
        CASE(a_failure_that_nobody_can_explain),
        CASE(t1_by_the_readers_own_engine),
        CASE(t1_block_by_block),
        CASE(a_t1_block_that_the_reader_refuses),
        CASE(a_sam_runs_what_its_atr_says),
        CASE(a_sam_that_fails),
        CASE(events_are_trusted_once_one_was_seen),
        CASE(a_reader_that_restarts_has_forgotten_its_card),
        CASE(a_reader_that_falls_silent),
        CASE(a_card_that_lost_its_power_is_another),
        CASE(raw_commands_and_their_caps),
        CASE(a_raw_command_that_takes_a_card_away_says_so),
        CASE(an_answer_with_another_header_is_none),
        CASE(a_long_command_that_is_refused),
        CASE(what_is_logged_of_a_frame),
        CASE(what_stands_around_an_answer),
        CASE(a_late_status_is_dropped),
        CASE(our_nak_brings_the_answer_again),
        CASE(what_comes_behind_a_nak),
        CASE(what_nobody_waits_for),
        CASE(the_last_resort_is_a_reset),
        CASE(a_reader_that_cannot_be_reset),
        CASE(a_long_t1_block_that_the_reader_refuses),
        CASE(the_reader_does_not_wait_as_long_as_the_card_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
