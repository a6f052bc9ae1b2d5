/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The AET63 link over a scripted transport: which frames leave the driver for what comes back. The transport answers
 * each write with the chunks of its script and is silent at once behind them, so nothing here waits for time to pass.
 * The command is EXCHANGE_APDU: a second frame of it is a second execution unless the reader proved the first was none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "aet63/internal.h"
#include "base/buf.h"
#include "base/settings.h"
#include "reader/device.h"

enum { WRITES = 8, CHUNKS = 6, FLOOD_END = 50000000 };

#define ANSWER  "\x02" "01900002900003" "\x03"
#define LATE    "\x02" "019000026A827B" "\x03"
#define SPOILT  "\x02" "01900002900103" "\x03"
#define NAK_BYTES "\x05\x05"
#define STATUS  "\x02" "0190001041455436332D302E3637FFFF30000000D6" "\x03"

static struct {
    struct transport t;
    const char *script[WRITES][CHUNKS]; /* what the n-th write brings */
    unsigned writes, apdus, host_naks;
    const char *queue[WRITES * CHUNKS];
    unsigned head, tail;
    bool flood; /* hexadecimal digits without an end */
    unsigned long given;
} wire;

static struct settings settings;
static struct device device;
static struct aet63 a;

static enum result wire_write(struct transport *t, const uint8_t *data, size_t n, deadline_t until)
{
    (void)t;
    (void)until;
    if (n > 5 && memcmp(data + 1, "01A0", 4) == 0)
        wire.apdus++;
    if (n == 2 && data[0] == AET63_NAK)
        wire.host_naks++;
    if (wire.writes < WRITES)
        for (unsigned i = 0; i < CHUNKS && wire.script[wire.writes][i]; i++)
            wire.queue[wire.tail++] = wire.script[wire.writes][i];
    wire.writes++;
    return R_SUCCESS;
}

static enum result wire_read(struct transport *t, uint8_t *chunk, size_t cap, size_t *n, unsigned *pipe,
                             deadline_t until)
{
    const char *text = "30313233";

    (void)t;
    (void)until;
    *pipe = 0;
    if (wire.flood) {
        if (wire.given == FLOOD_END)
            return R_GONE;
    } else {
        if (wire.head == wire.tail)
            return R_TIMEOUT;
        text = wire.queue[wire.head++];
    }
    text = wire.flood && wire.given++ == 0 ? "\x02" "0123456" : text;
    *n = strlen(text);
    assert_true(*n <= cap);
    memcpy(chunk, text, *n);
    return R_SUCCESS;
}

static bool wire_pending(struct transport *t)
{
    (void)t;
    return wire.flood || wire.head < wire.tail;
}

static const struct transport_ops wire_ops = {.write = wire_write, .read = wire_read, .pending = wire_pending};

static int begin(void **state)
{
    (void)state;
    memset(&wire, 0, sizeof wire);
    memset(&a, 0, sizeof a);
    memset(&device, 0, sizeof device);
    settings_defaults(&settings);
    pthread_mutex_init(&device.mutex, NULL);
    log_init(&device.log, 0, "test");
    wire.t.ops = &wire_ops;
    a.reader.device = &device;
    a.reader.settings = &settings;
    a.reader.log = &device.log;
    a.reader.transport = &wire.t;
    a.reader.slot_count = 1;
    a.in_sync = true;
    aet63_icc_init(&a);
    return 0;
}

static int end(void **state)
{
    (void)state;
    log_done(&device.log);
    pthread_mutex_destroy(&device.mutex);
    return 0;
}

static uint8_t answer[2]; /* to the last APDU */

static enum result apdu(void)
{
    static const uint8_t body[] = {0x80, 0x54, 0, 0, 0, 0};
    const struct aet63_request q = {AET63_HEADER, AET63_EXCHANGE_APDU, body, NULL, sizeof body, 0};
    struct aet63_response m;
    enum result r = aet63_exchange(&a, &q, &m, deadline_in(60000));

    if (r == R_SUCCESS) {
        assert_int_equal(m.n, sizeof answer);
        memcpy(answer, m.data, m.n);
    }
    return r;
}

static void after_a_nak_it_is_sent_again(void **state)
{
    (void)state;
    wire.script[0][0] = NAK_BYTES;
    wire.script[1][0] = ANSWER;
    assert_int_equal(apdu(), R_SUCCESS);
    assert_int_equal(wire.apdus, 2);
}

/* The second NAK is for the same frame; it must not send the command once more behind the one that is under way. */
static void a_nak_that_comes_twice_sends_once(void **state)
{
    (void)state;
    wire.script[0][0] = NAK_BYTES;
    wire.script[0][1] = NAK_BYTES;
    wire.script[1][0] = ANSWER;
    wire.script[2][0] = ANSWER;
    assert_int_equal(apdu(), R_SUCCESS);
    assert_int_equal(wire.apdus, 2);
    assert_int_equal(wire.head, wire.tail);
}

static void an_answer_behind_a_nak_sends_nothing(void **state)
{
    (void)state;
    wire.script[0][0] = NAK_BYTES;
    wire.script[0][1] = ANSWER;
    wire.script[1][0] = ANSWER;
    assert_int_equal(apdu(), R_COMM);
    assert_int_equal(wire.apdus, 1);
    assert_false(a.in_sync);
}

/* nak = raw: the reader executed the command, its answer came broken, and it does not understand our NAK. */
static void a_nak_to_our_nak_is_no_proof(void **state)
{
    (void)state;
    settings.nak = NAK_RAW;
    wire.script[0][0] = SPOILT;
    wire.script[1][0] = NAK_BYTES;
    wire.script[2][0] = ANSWER;
    assert_int_equal(apdu(), R_COMM);
    assert_int_equal(wire.host_naks, 1);
    assert_int_equal(wire.apdus, 1);
}

/* What was broken may have been an event; then the repeated answer is followed by one more, nobody knows when. */
static void after_our_nak_the_line_is_in_doubt(void **state)
{
    (void)state;
    settings.nak = NAK_RAW;
    wire.script[0][0] = SPOILT;
    wire.script[1][0] = ANSWER;
    assert_int_equal(apdu(), R_SUCCESS);
    assert_false(a.in_sync);
    wire.script[2][0] = STATUS; /* so the next command begins by getting into step */
    wire.script[3][0] = STATUS;
    wire.script[4][0] = ANSWER;
    assert_int_equal(apdu(), R_SUCCESS);
    assert_int_equal(wire.apdus, 2);
    assert_int_equal(wire.writes, 5);
    assert_true(a.in_sync);
}

/* The reader holds an answer back, answers the first question after the time-out, and sends it before its next answer. */
static void an_answer_that_passes_the_first_question_by_is_not_the_next_one(void **state)
{
    (void)state;
    assert_int_equal(apdu(), R_TIMEOUT);
    wire.script[1][0] = STATUS;
    wire.script[2][0] = LATE;
    wire.script[2][1] = STATUS;
    wire.script[3][0] = ANSWER;
    assert_int_equal(apdu(), R_SUCCESS);
    assert_memory_equal(answer, "\x90\x00", 2);
    assert_int_equal(wire.apdus, 2);
    assert_int_equal(wire.writes, 4);
}

/* Of three questions two were answered in time; the third answer comes when a card command is on its way. */
static void a_late_answer_to_a_question_is_not_the_cards(void **state)
{
    (void)state;
    assert_int_equal(apdu(), R_TIMEOUT);
    wire.script[2][0] = STATUS; /* the answer to the first question, which was given up */
    wire.script[3][0] = STATUS;
    wire.script[4][0] = STATUS;
    wire.script[4][1] = ANSWER;
    assert_int_equal(apdu(), R_SUCCESS);
    assert_memory_equal(answer, "\x90\x00", 2);
    assert_int_equal(wire.apdus, 2);
    assert_int_equal(wire.writes, 5);
}

/* The packet with STX was lost, the end came with padding behind it: the card has executed the command. */
static void padding_behind_a_lost_frame_is_no_nak(void **state)
{
    (void)state;
    wire.script[0][0] = "900003\x03\x05";
    wire.script[0][1] = NAK_BYTES;
    wire.script[1][0] = ANSWER;
    assert_int_equal(apdu(), R_COMM);
    assert_int_equal(wire.apdus, 1);
}

/* The driver lives as long as the reader is plugged in; a PIN must not. */
static void what_was_sent_is_wiped(void **state)
{
    (void)state;
    wire.script[0][0] = ANSWER;
    assert_int_equal(apdu(), R_SUCCESS);
    for (size_t i = 0; i < sizeof a.text; i++)
        assert_int_equal(a.text[i], 0);
}

static void a_reader_that_never_stops_sending_does_not_keep_us(void **state)
{
    (void)state;
    settings.command_wait = 5;
    wire.flood = true;
    assert_int_equal(aet63_take_input(&a, deadline_in(5)), R_SUCCESS);
    assert_true(wire.given > 0 && wire.given < FLOOD_END);
    assert_false(a.in_sync);
}

static void a_reader_that_never_stops_sending_does_not_keep_a_command(void **state)
{
    const struct aet63_request q = {AET63_HEADER, AET63_GET_ACR_STAT, NULL, NULL, 0, 0};
    struct aet63_response m;

    (void)state;
    settings.command_wait = settings.resync_quiet = 5;
    for (int in_step = 0; in_step < 2; in_step++) {
        a.in_sync = in_step;
        wire.flood = true;
        wire.given = 0;
        assert_int_not_equal(aet63_exchange(&a, &q, &m, deadline_in(20)), R_SUCCESS);
        assert_true(wire.given > 0 && wire.given < FLOOD_END);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(after_a_nak_it_is_sent_again, begin, end),
        cmocka_unit_test_setup_teardown(a_nak_that_comes_twice_sends_once, begin, end),
        cmocka_unit_test_setup_teardown(an_answer_behind_a_nak_sends_nothing, begin, end),
        cmocka_unit_test_setup_teardown(a_nak_to_our_nak_is_no_proof, begin, end),
        cmocka_unit_test_setup_teardown(after_our_nak_the_line_is_in_doubt, begin, end),
        cmocka_unit_test_setup_teardown(an_answer_that_passes_the_first_question_by_is_not_the_next_one, begin, end),
        cmocka_unit_test_setup_teardown(a_late_answer_to_a_question_is_not_the_cards, begin, end),
        cmocka_unit_test_setup_teardown(padding_behind_a_lost_frame_is_no_nak, begin, end),
        cmocka_unit_test_setup_teardown(what_was_sent_is_wiped, begin, end),
        cmocka_unit_test_setup_teardown(a_reader_that_never_stops_sending_does_not_keep_us, begin, end),
        cmocka_unit_test_setup_teardown(a_reader_that_never_stops_sending_does_not_keep_a_command, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
