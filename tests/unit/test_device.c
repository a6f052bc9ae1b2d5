/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The generic half of a reader over a family that only counts: which calls reach the card.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/settings.h"
#include "reader/device.h"

enum { POLLER = 1 };

static struct device device;
static struct reader reader;
static struct slot *const slot = &device.slots[0];
static unsigned sent;

static enum result look(struct reader *r, unsigned index, deadline_t until)
{
    (void)r;
    (void)index;
    (void)until;
    return R_SUCCESS;
}

static enum result watch(struct reader *r, unsigned index, unsigned *again_ms)
{
    (void)r;
    (void)index;
    *again_ms = READER_WATCH_NEVER;
    return R_SUCCESS;
}

static enum result power_up(struct reader *r, unsigned index, bool warm, deadline_t until, struct atr *atr,
                            int *protocol)
{
    (void)r;
    (void)index;
    (void)warm;
    (void)until;
    *atr = (struct atr){.bytes = {0x3B, 0x00}, .len = 2};
    *protocol = 0;
    return R_SUCCESS;
}

static enum result set_protocol(struct reader *r, unsigned index, int t, deadline_t until, int *protocol)
{
    (void)r;
    (void)index;
    (void)until;
    *protocol = t;
    return R_SUCCESS;
}

static enum result transmit(struct reader *r, unsigned index, const uint8_t *apdu, size_t n, uint8_t *response,
                            size_t cap, size_t *len, deadline_t until)
{
    (void)r;
    (void)index;
    (void)apdu;
    (void)n;
    (void)cap;
    (void)until;
    sent++;
    response[0] = 0x90;
    response[1] = 0x00;
    *len = 2;
    return R_SUCCESS;
}

static size_t max_apdu_data(const struct reader *r, unsigned index)
{
    (void)r;
    (void)index;
    return 0;
}

static const struct reader_ops ops = {.look = look,
                                      .watch = watch,
                                      .power_up = power_up,
                                      .set_protocol = set_protocol,
                                      .transmit = transmit,
                                      .max_apdu_data = max_apdu_data};

static int begin(void **state)
{
    pthread_condattr_t attr;

    (void)state;
    memset(&device, 0, sizeof device);
    settings_defaults(&device.settings);
    pthread_mutex_init(&device.mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&device.changed, &attr);
    pthread_condattr_destroy(&attr);
    log_init(&device.log, 0, "test");
    reader = (struct reader){.ops = &ops, .device = &device, .slot_count = 1};
    device.reader = &reader;
    slot->device = &device;
    slot->wake_fd = -1;
    presence_init(&slot->presence);
    sent = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    log_done(&device.log);
    pthread_cond_destroy(&device.changed);
    pthread_mutex_destroy(&device.mutex);
    return 0;
}

/* What pcscd's event thread does when it finds a card, and when it finds none. */
static bool event_thread_looks(void)
{
    struct atr atr;
    bool present;

    assert_int_equal(slot_presence(slot, POLLER, &present), R_SUCCESS);
    if (present)
        assert_int_equal(slot_power_up(slot, false, &atr), R_SUCCESS);
    slot_poll(slot, POLLER, 0);
    return present;
}

static enum result apdu(void)
{
    static const uint8_t command[] = {0x80, 0x54, 0x00, 0x00};
    uint8_t response[2];
    size_t len;

    return slot_transmit(slot, 0, command, sizeof command, response, sizeof response, &len);
}

/* pcscd lets a command pass, the card is swapped, its event thread powers the next one up, then the command goes on. */
static void a_command_for_the_card_before_is_not_sent(void **state)
{
    (void)state;
    slot_observe(&device, 0, true);
    assert_true(event_thread_looks());
    assert_int_equal(slot_set_protocol(slot, 0), R_SUCCESS);
    assert_int_equal(apdu(), R_SUCCESS);
    assert_int_equal(sent, 1);
    slot_observe(&device, 0, false);
    slot_observe(&device, 0, true);
    assert_false(event_thread_looks());
    assert_true(event_thread_looks());
    assert_int_equal(apdu(), R_NOT_NOW);
    assert_int_equal(sent, 1);
    /* pcscd knows of the swap: it is not told of another. A new connection works. */
    assert_true(event_thread_looks());
    assert_int_equal(slot_set_protocol(slot, 0), R_SUCCESS);
    assert_int_equal(apdu(), R_SUCCESS);
    assert_int_equal(sent, 2);
}

/* The same without a swap: a reset for another client is followed by a choice of protocol, too, and the card stays. */
static void after_each_power_up_a_protocol_is_set_first(void **state)
{
    struct atr atr;

    (void)state;
    slot_observe(&device, 0, true);
    assert_true(event_thread_looks());
    assert_int_equal(slot_set_protocol(slot, 0), R_SUCCESS);
    assert_int_equal(slot_power_up(slot, true, &atr), R_SUCCESS);
    assert_int_equal(apdu(), R_NOT_NOW);
    assert_int_equal(sent, 0);
    assert_true(event_thread_looks());
    assert_int_equal(slot_set_protocol(slot, 0), R_SUCCESS);
    assert_int_equal(apdu(), R_SUCCESS);
    assert_int_equal(sent, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_command_for_the_card_before_is_not_sent, begin, end),
        cmocka_unit_test_setup_teardown(after_each_power_up_a_protocol_is_set_first, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
