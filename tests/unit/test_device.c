/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The generic half of a reader over a family that only counts: which calls reach the card.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/settings.h"
#include "reader/device.h"
#include "stub_log.h"

enum { POLLER = 1 };

static struct device device;
static struct reader reader;
static struct slot *const slot = &device.slots[0];
static unsigned sent, cancelled;
static enum result answer; /* of look, watch, set_protocol, transmit, command */
static bool removed_meanwhile, input_meanwhile;

static void cancel(struct reader *r)
{
    (void)r;
    cancelled++;
}

static enum result look(struct reader *r, unsigned index, deadline_t until)
{
    (void)r;
    (void)index;
    (void)until;
    return answer;
}

static enum result watch(struct reader *r, unsigned index, deadline_t until, unsigned *again_ms)
{
    (void)r;
    (void)until;
    (void)index;
    *again_ms = READER_WATCH_NEVER;
    return answer;
}

static enum reader_command_class classify(const struct reader *r, const uint8_t *command, size_t n)
{
    (void)r;
    (void)n;
    return command[0] == 0x01 ? COMMAND_SAFE : COMMAND_DANGEROUS;
}

static unsigned command_cap(const struct reader *r, const uint8_t *command, size_t n)
{
    (void)r;
    (void)command;
    (void)n;
    return 10;
}

static enum result command(struct reader *r, unsigned index, const uint8_t *bytes, size_t n, uint8_t *out, size_t cap,
                           size_t *len, deadline_t until)
{
    (void)r;
    (void)index;
    (void)bytes;
    (void)n;
    (void)until;
    assert_true(cap > 0);
    sent++;
    out[0] = 0;
    *len = 1;
    return answer;
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
    return answer;
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
    if (removed_meanwhile)
        device_removed(&device);
    if (input_meanwhile)
        device_input(&device);
    return answer;
}

static size_t max_apdu_data(const struct reader *r, unsigned index)
{
    (void)r;
    (void)index;
    return 0;
}

static const struct reader_ops ops = {.cancel = cancel,
                                      .classify = classify,
                                      .command_cap = command_cap,
                                      .command = command,
                                      .look = look,
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
    strcpy(device.name, "usb:0acd/3520:libudev:0:/dev/bus/usb/255/255"); /* where no reader is */
    settings_defaults(&device.settings);
    pthread_mutex_init(&device.mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&device.changed, &attr);
    pthread_condattr_destroy(&attr);
    log_init(&device.log, PLOG_CRITICAL | PLOG_INFO, "test");
    stub_log_clear();
    reader = (struct reader){.ops = &ops, .device = &device, .slot_count = 1};
    device.reader = &reader;
    slot->device = &device;
    slot->wake_fd = -1;
    presence_init(&slot->presence);
    sent = cancelled = 0;
    answer = R_SUCCESS;
    removed_meanwhile = input_meanwhile = false;
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

/* ---- the right to talk to the reader ---------------------------------------------------------------------------- */

static void a_busy_reader_is_waited_for_and_not_for_ever(void **state)
{
    (void)state;
    device.busy = true;
    assert_int_equal(device_acquire(&device, deadline_in(5)), R_TIMEOUT);
    device.cancelled = true;
    assert_int_equal(device_acquire(&device, deadline_in(20000)), R_CANCELLED);
    device.gone = true;
    assert_int_equal(device_acquire(&device, deadline_in(20000)), R_GONE);
    assert_int_equal(device_pause(&device, deadline_in(20000)), R_GONE);
    device.gone = false;
    assert_int_equal(device_pause(&device, deadline_in(20000)), R_CANCELLED);
    device.cancelled = false;
    assert_int_equal(device_pause(&device, deadline_in(2)), R_SUCCESS);
}

static void *waits(void *result)
{
    *(enum result *)result = device_acquire(&device, deadline_in(60000));
    return NULL;
}

static void *pauses(void *result)
{
    *(enum result *)result = device_pause(&device, deadline_in(60000));
    return NULL;
}

static void whoever_waits_is_woken(void **state)
{
    static void *(*const who[])(void *) = {waits, pauses};
    enum result r;
    pthread_t thread;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        (void)begin(NULL);
        device.busy = true;
        assert_int_equal(pthread_create(&thread, NULL, who[i / 2], &r), 0);
        if (i % 2)
            device_removed(&device);
        else
            device_cancel(&device);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(r, i % 2 ? R_GONE : R_CANCELLED);
        assert_int_equal(cancelled, 1); /* the reader's own waits end, too */
    }
}

static bool woken(void)
{
    eventfd_t n;

    return eventfd_read(slot->wake_fd, &n) == 0;
}

static bool has_more;

static bool pending(struct transport *t)
{
    (void)t;
    return has_more;
}

/* Input that came while a call had the reader: the poller fetches it if there is any left. */
static void input_behind_an_answer_wakes_the_poller(void **state)
{
    static const struct transport_ops with = {.pending = pending}, without = {0};
    struct transport t = {.ops = &with};

    (void)state;
    slot->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(slot->wake_fd >= 0);
    slot_observe(&device, 0, true);
    assert_true(event_thread_looks());
    assert_int_equal(slot_set_protocol(slot, 0), R_SUCCESS);
    slot->polling = true;
    (void)woken();
    for (int i = 0; i < 5; i++) { /* announced, more to be had, a transport that can tell: all of it, or nothing */
        reader.transport = i == 3 ? NULL : &t;
        t.ops = i == 2 ? &without : &with;
        input_meanwhile = i != 0;
        has_more = i != 1;
        assert_int_equal(apdu(), R_SUCCESS);
        assert_int_equal(woken(), i == 4);
    }
    slot->watch_wanted = true; /* the poller came in vain meanwhile */
    input_meanwhile = false;
    assert_int_equal(apdu(), R_SUCCESS);
    assert_true(woken());
    reader.transport = NULL;
    assert_int_equal(close(slot->wake_fd), 0);
}

static void a_reader_that_goes_while_it_works_is_gone(void **state)
{
    bool present;

    (void)state;
    slot_observe(&device, 0, true);
    assert_true(event_thread_looks());
    assert_int_equal(slot_set_protocol(slot, 0), R_SUCCESS);
    removed_meanwhile = true;
    answer = R_CANCELLED; /* the transport's word for it */
    assert_int_equal(apdu(), R_GONE);
    assert_int_equal(apdu(), R_GONE);
    assert_int_equal(slot_presence(slot, POLLER, &present), R_GONE);
    assert_false(present);
    assert_int_equal(slot_power_down(slot), R_GONE);
    slot_poll(slot, POLLER, 0);
    assert_int_equal(sent, 1);
    assert_int_equal(stub_log_matches("the reader is gone"), 1);
    device_removed(&device); /* pcscd says so, too */
    assert_int_equal(stub_log_matches("the reader is gone"), 1);
}

/* Any client can say it, by SCardSetAttrib. The line of a serial reader says itself when it is gone. */
static void a_program_does_not_talk_a_serial_reader_away(void **state)
{
    (void)state;
    strcpy(device.name, "/dev/null");
    slot_observe(&device, 0, true);
    assert_true(event_thread_looks());
    assert_int_equal(slot_set_protocol(slot, 0), R_SUCCESS);
    device_removed(&device);
    assert_int_equal(cancelled, 0);
    assert_int_equal(apdu(), R_SUCCESS);
    assert_true(slot_gone_first(slot, 0));
}

static void a_poller_that_finds_the_reader_gone(void **state)
{
    (void)state;
    slot->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(slot->wake_fd >= 0);
    assert_false(event_thread_looks());
    device.busy = true; /* a client works: the poller is told when it has done */
    slot_poll(slot, POLLER, 5);
    assert_true(slot->watch_wanted);
    device.busy = false;
    answer = R_GONE;
    slot_poll(slot, POLLER, 5);
    assert_true(device.gone);
    device.cancelled = true;
    slot_poll(slot, POLLER, 60000); /* ends at once */
    assert_int_equal(close(slot->wake_fd), 0);
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

static void a_reader_that_does_not_say_has_no_card(void **state)
{
    bool present = true;

    (void)state;
    slot_observe(&device, 0, true);
    answer = R_TIMEOUT;
    assert_int_equal(slot_presence(slot, POLLER, &present), R_SUCCESS);
    assert_false(present);
    assert_true(stub_log_matches("taken for empty") > 0);
    answer = R_COMM;
    assert_int_equal(slot_presence(slot, POLLER + 1, &present), R_SUCCESS);
    assert_false(present);
}

static void what_a_protocol_that_was_not_set_leaves_behind(void **state)
{
    struct slot_status st;

    (void)state;
    slot_observe(&device, 0, true);
    assert_true(event_thread_looks());
    answer = R_PROTOCOL; /* the card goes on with its own */
    assert_int_equal(slot_set_protocol(slot, 1), R_PROTOCOL);
    slot_status(slot, &st);
    assert_true(st.powered && st.protocol_set);
    answer = R_TIMEOUT; /* nobody knows what it runs */
    assert_int_equal(slot_set_protocol(slot, 0), R_TIMEOUT);
    slot_status(slot, &st);
    assert_false(st.powered);
    answer = R_SUCCESS;
    assert_int_equal(apdu(), R_NO_CARD);
    assert_int_equal(sent, 0);
}

static void what_is_no_command_for_the_card(void **state)
{
    uint8_t response[2];
    size_t len = 9;

    (void)state;
    slot_observe(&device, 0, true);
    assert_true(event_thread_looks());
    assert_int_equal(slot_set_protocol(slot, 0), R_SUCCESS);
    assert_int_equal(slot_transmit(slot, 0, response, 0, response, sizeof response, &len), R_INVALID);
    assert_int_equal(len, 0);
    assert_int_equal(slot_transmit(slot, 1, (const uint8_t *)"\0\0\0", 4, response, sizeof response, &len), R_PROTOCOL);
    assert_int_equal(sent, 0);
}

static void raw_commands_need_leave(void **state)
{
    static const uint8_t safe[] = {0x01}, dangerous[] = {0x9B};
    uint8_t out[8];
    size_t len;

    (void)state;
    assert_int_equal(slot_command(slot, safe, 0, out, sizeof out, &len), R_INVALID);
    assert_int_equal(slot_command(slot, dangerous, 1, out, sizeof out, &len), R_DENIED);
    assert_true(stub_log_matches("escape = all") > 0);
    assert_int_equal(sent, 0);
    assert_int_equal(slot_command(slot, safe, 1, out, sizeof out, &len), R_SUCCESS);
    device.settings.escape = ESCAPE_ALL;
    assert_int_equal(slot_command(slot, dangerous, 1, out, sizeof out, &len), R_SUCCESS);
    assert_int_equal(sent, 2);
    device.busy = true;
    assert_int_equal(slot_command(slot, safe, 1, out, sizeof out, &len), R_TIMEOUT);
    assert_int_equal(len, 0);
    assert_int_equal(sent, 2);
}

static enum result does(struct slot *s, void *result, deadline_t until)
{
    assert_ptr_equal(s, slot);
    assert_false(deadline_passed(until));
    sent++;
    return *(enum result *)result;
}

static void operations_and_the_card_they_need(void **state)
{
    enum result r = R_SUCCESS;
    struct slot_status st;
    bool present;

    (void)state;
    assert_int_equal(slot_operate(slot, OPERATE_READER, does, &r), R_SUCCESS);
    assert_int_equal(slot_operate(slot, OPERATE_FACTS, does, &r), R_NO_CARD);
    assert_int_equal(sent, 1);
    slot_observe(&device, 0, true);
    (void)event_thread_looks();
    assert_true(event_thread_looks());
    slot->storage.auth.valid = true; /* of the card before */
    assert_int_equal(slot_operate(slot, OPERATE_FACTS, does, &r), R_SUCCESS);
    assert_false(slot->storage.auth.valid);
    slot_status(slot, &st);
    assert_false(st.in_session);
    assert_int_equal(slot_operate(slot, OPERATE_CARD, does, &r), R_SUCCESS);
    slot_status(slot, &st);
    assert_true(st.in_session);
    r = R_NO_CARD;
    assert_int_equal(slot_operate(slot, OPERATE_READER, does, &r), R_NO_CARD); /* says nothing of the slot */
    assert_int_equal(slot_presence(slot, POLLER, &present), R_SUCCESS);
    assert_true(present);
    assert_int_equal(slot_operate(slot, OPERATE_CARD, does, &r), R_NO_CARD);
    assert_int_equal(slot_presence(slot, POLLER, &present), R_SUCCESS);
    assert_false(present); /* latched: pcscd has heard of it */
    device.busy = true;
    device.settings.reader_cap = 5;
    assert_int_equal(slot_operate(slot, OPERATE_READER, does, &r), R_TIMEOUT);
}

static void a_key_that_was_never_loaded(void **state)
{
    uint8_t key[STORAGE_KEY_SIZE] = {9}, other[STORAGE_KEY_SIZE];

    (void)state;
    assert_false(device_key(&device, 3, other));
    device_store_key(&device, 3, key);
    assert_true(device_key(&device, 3, other));
    assert_memory_equal(key, other, sizeof key);
}

static void *transmits(void *result)
{
    *(enum result *)result = apdu();
    return NULL;
}

/* Another client has the reader: a command waits until it is its turn, the reader is closed, the card is gone. Nothing
 * tells that a thread waits; it is given time to, and what comes of it is the same if it had none. */
static void a_command_waits_for_its_turn(void **state)
{
    enum result r;
    pthread_t thread;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        (void)begin(NULL);
        slot_observe(&device, 0, true);
        assert_true(event_thread_looks());
        assert_int_equal(slot_set_protocol(slot, 0), R_SUCCESS);
        assert_int_equal(device_acquire(&device, deadline_in(60000)), R_SUCCESS);
        assert_int_equal(pthread_create(&thread, NULL, transmits, &r), 0);
        assert_int_equal(device_pause(&device, deadline_in(20)), R_SUCCESS);
        assert_int_equal(sent, 0);
        if (i == 2)
            slot_observe(&device, 0, false);
        if (i == 1)
            device_cancel(&device);
        else
            device_release(&device);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(r, i == 0 ? R_SUCCESS : i == 1 ? R_CANCELLED : R_NO_CARD);
        assert_int_equal(sent, i == 0);
    }
}

/* The built-in list, then what the configuration adds to it. */
static void which_family_a_usb_reader_is_of(void **state)
{
    char path[] = "/tmp/test_device.XXXXXX";
    static const char text[] = "[usb]\nusb_id = 1D5F:0777:vivopay\nusb_id = 072F:9999:aet63\n";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), (ssize_t)sizeof text - 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(setenv("IFD_PURSE_CONF", path, 1), 0);
    assert_ptr_equal(reader_family_for_usb(0x072F, 0x8002, &device.log), &aet63_family);
    assert_ptr_equal(reader_family_for_usb(0x0ACD, 0x3530, &device.log), &vivopay_family);
    assert_ptr_equal(reader_family_for_usb(0x1D5F, 0x0777, &device.log), &vivopay_family);
    assert_ptr_equal(reader_family_for_usb(0x072F, 0x9999, &device.log), &aet63_family);
    assert_null(reader_family_for_usb(0x072F, 0x1111, &device.log));
    assert_null(reader_family_for_usb(0x1234, 0x8002, &device.log));
    assert_int_equal(unsetenv("IFD_PURSE_CONF"), 0);
    assert_int_equal(unlink(path), 0);
}

static void names_that_are_no_reader(void **state)
{
    static char longer[DEVICE_NAME_MAX + 1];
    struct device *d = NULL;

    (void)state;
    memset(longer, 'x', DEVICE_NAME_MAX);
    assert_int_equal(device_open(&d, longer), R_INVALID);
    assert_int_equal(device_open(&d, "usb:what is this"), R_INVALID);
    assert_int_equal(device_open(&d, "usb:1234/5678:libudev:0:/dev/bus/usb/001/002"), R_NOT_SUPPORTED);
    assert_true(stub_log_matches("1234:5678 is no reader of this driver") > 0);
    assert_null(d);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(a_command_for_the_card_before_is_not_sent),
        CASE(after_each_power_up_a_protocol_is_set_first),
        CASE(a_busy_reader_is_waited_for_and_not_for_ever),
        CASE(whoever_waits_is_woken),
        CASE(input_behind_an_answer_wakes_the_poller),
        CASE(a_reader_that_goes_while_it_works_is_gone),
        CASE(a_program_does_not_talk_a_serial_reader_away),
        CASE(a_poller_that_finds_the_reader_gone),
        CASE(a_reader_that_does_not_say_has_no_card),
        CASE(what_a_protocol_that_was_not_set_leaves_behind),
        CASE(what_is_no_command_for_the_card),
        CASE(raw_commands_need_leave),
        CASE(operations_and_the_card_they_need),
        CASE(a_key_that_was_never_loaded),
        CASE(a_command_waits_for_its_turn),
        CASE(which_family_a_usb_reader_is_of),
        CASE(names_that_are_no_reader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
