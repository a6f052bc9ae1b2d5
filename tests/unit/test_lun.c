/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The Lun table, from as many threads as pcscd uses: who gets which device, what is refused and what the log says then,
 * and a close that comes while another thread is inside a call.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <string.h>
#include <cmocka.h>

#include <PCSC/ifdhandler.h>

#include "fake_device.h"
#include "ifdhandler/attributes.h"
#include "ifdhandler/lun.h"
#include "stub_log.h"

static const char usb[] = "usb:072f/8002:libudev:0:/dev/bus/usb/003/017";
static const char tty[] = "/dev/ttyUSB0:slots=cl.icc";

enum { READER = 0x10000 };

static int setup(void **state)
{
    (void)state;
    fake_reset();
    stub_log_clear();
    return 0;
}

/* Nothing may be left open behind a test. */
static int teardown(void **state)
{
    (void)state;
    for (unsigned long number = 0; number < 2UL * LUN_TABLE_SIZE; number++)
        for (unsigned slot = 0; slot < 3; slot++)
            if (lun_close(number * READER + slot) == R_SUCCESS)
                return -1;
    return fake.opened == fake.closed ? 0 : -1;
}

static void a_lun_leads_to_its_slot_until_it_is_closed(void **state)
{
    struct lun *lun;

    (void)state;
    assert_null(lun_hold(READER));
    assert_int_equal(lun_open(READER, usb), R_SUCCESS);
    lun = lun_hold(READER);
    assert_non_null(lun);
    assert_int_equal(lun->slot->index, 0);
    assert_string_equal(lun->slot->device->name, usb);
    lun_drop(lun);
    assert_null(lun_hold(0));
    assert_int_equal(lun_close(READER), R_SUCCESS);
    assert_null(lun_hold(READER));
    assert_int_equal(fake.closed, 1);
    assert_int_equal(lun_close(READER), R_INVALID);
}

static void the_slots_of_a_reader_share_its_device(void **state)
{
    struct lun *first, *second;

    (void)state;
    fake.slot_count = 2;
    assert_int_equal(lun_open(READER, tty), R_SUCCESS);
    assert_int_equal(lun_open(READER + 1, tty), R_SUCCESS);
    assert_int_equal(fake.opened, 1);
    first = lun_hold(READER);
    second = lun_hold(READER + 1);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_equal(first->slot->device, second->slot->device);
    assert_int_equal(second->slot->index, 1);
    lun_drop(first);
    lun_drop(second);

    assert_int_equal(lun_close(READER), R_SUCCESS); /* the other slot goes on working */
    assert_int_equal(fake.closed, 0);
    assert_int_equal(lun_close(READER + 1), R_SUCCESS);
    assert_int_equal(fake.cancelled, 0); /* nobody waits: the reader can still be told to power its card down */
    assert_int_equal(fake.closed, 1);
}

static void a_lun_that_is_open_is_not_opened_again(void **state)
{
    (void)state;
    assert_int_equal(lun_open(0, usb), R_SUCCESS);
    assert_int_equal(lun_open(0, tty), R_INVALID);
    assert_true(stub_log_has("Lun 0 is open already", "LIBPATH", NULL));
    assert_int_equal(fake.opened, 1);
    assert_int_equal(lun_close(0), R_SUCCESS); /* and the first one is still there to be closed */
}

static void a_further_slot_needs_its_reader(void **state)
{
    (void)state;
    fake.slot_count = 2;
    assert_int_equal(lun_open(READER + 1, tty), R_INVALID);
    assert_true(stub_log_has("slot 1", tty, "not open", NULL));
    assert_int_equal(lun_open(READER, tty), R_SUCCESS);
    stub_log_clear();
    assert_int_equal(lun_open(READER + 1, usb), R_INVALID);
    assert_true(stub_log_has("slot 1", tty, usb, NULL));
    stub_log_clear();
    assert_int_equal(lun_open(READER + 2, tty), R_INVALID);
    assert_true(stub_log_has("no slot 2", NULL));
    assert_int_equal(lun_open(2 * READER + 1, tty), R_INVALID); /* the string alone does not do */
    assert_null(lun_hold(READER + 1));
    assert_null(lun_hold(READER + 2));
    assert_int_equal(lun_close(READER), R_SUCCESS);
}

static void a_reader_that_does_not_open_leaves_no_lun(void **state)
{
    (void)state;
    fake.open_result = R_SYSTEM;
    assert_int_equal(lun_open(READER, usb), R_SYSTEM);
    assert_null(lun_hold(READER));
    assert_int_equal(lun_close(READER), R_INVALID);
    fake.open_result = R_SUCCESS;
    assert_int_equal(lun_open(READER, usb), R_SUCCESS);
    assert_int_equal(lun_close(READER), R_SUCCESS);
}

/* The interfaces of a composite device that are not the reader: pcscd tries each, so nothing may be loud. */
static void another_interface_is_refused_quietly(void **state)
{
    (void)state;
    fake.open_result = R_NOT_SUPPORTED;
    assert_int_equal(IFDHCreateChannelByName(READER, (LPSTR)(uintptr_t)usb), IFD_NO_SUCH_DEVICE);
    assert_int_equal(stub_log_count(), 0);
}

static void the_table_has_an_end(void **state)
{
    (void)state;
    for (unsigned long i = 0; i < LUN_TABLE_SIZE; i++)
        assert_int_equal(lun_open(i * READER, usb), R_SUCCESS);
    assert_int_equal(lun_open((unsigned long)LUN_TABLE_SIZE * READER, usb), R_NO_MEMORY);
    assert_true(stub_log_has("32 slots", NULL));
    assert_int_equal(lun_close(5UL * READER), R_SUCCESS);
    assert_int_equal(lun_open((unsigned long)LUN_TABLE_SIZE * READER, usb), R_SUCCESS);
    for (unsigned long i = 0; i <= LUN_TABLE_SIZE; i++)
        assert_int_equal(lun_close(i * READER), i == 5 ? R_INVALID : R_SUCCESS);
}

/* ---- closing while others work ------------------------------------------------------------------------------ */

struct job {
    pthread_t thread;
    unsigned long lun;
    RESPONSECODE code;
    DWORD rx_length;
};

static void *transmit_job(void *arg)
{
    struct job *job = arg;
    SCARD_IO_HEADER send = {.Protocol = 0}, recv = {0};
    uint8_t apdu[] = {0x00, 0xA4, 0x04, 0x00}, response[258];

    job->rx_length = sizeof response;
    job->code = IFDHTransmitToICC(job->lun, send, apdu, sizeof apdu, response, &job->rx_length, &recv);
    return NULL;
}

static void *poll_job(void *arg)
{
    struct job *job = arg;

    job->code = ifd_poll(job->lun, 600000);
    return NULL;
}

static void *close_job(void *arg)
{
    struct job *job = arg;

    job->code = IFDHCloseChannel(job->lun);
    return NULL;
}

static void start(struct job *job, void *(*run)(void *), unsigned long lun)
{
    job->lun = lun;
    assert_int_equal(pthread_create(&job->thread, NULL, run, job), 0);
}

static void end(struct job *job)
{
    assert_int_equal(pthread_join(job->thread, NULL), 0);
}

/* pcscd tries its mutex for half a second and then calls CloseChannel anyway. */
static void a_close_ends_the_calls_that_run_and_then_lets_go(void **state)
{
    struct job transmit, poll;

    (void)state;
    fake.block = true;
    assert_int_equal(lun_open(READER, usb), R_SUCCESS);
    start(&transmit, transmit_job, READER);
    start(&poll, poll_job, READER);
    fake_wait_blocked(2);
    assert_int_equal(IFDHCloseChannel(READER), IFD_SUCCESS);
    assert_int_equal(fake.blocked, 0); /* both had left before the device was let go */
    assert_int_equal(fake.closed, 1);
    end(&transmit);
    end(&poll);
    assert_int_equal(transmit.code, IFD_COMMUNICATION_ERROR);
    assert_int_equal(transmit.rx_length, 0);
    assert_int_equal(poll.code, IFD_SUCCESS);
}

static void closing_one_slot_stops_its_poller_and_no_other_call(void **state)
{
    struct job transmit, poll;

    (void)state;
    fake.slot_count = 2;
    fake.block = true;
    assert_int_equal(lun_open(READER, tty), R_SUCCESS);
    assert_int_equal(lun_open(READER + 1, tty), R_SUCCESS);
    start(&transmit, transmit_job, READER + 1);
    start(&poll, poll_job, READER);
    fake_wait_blocked(2);
    assert_int_equal(lun_close(READER), R_SUCCESS);
    end(&poll);
    assert_int_equal(fake.cancelled, 0);
    assert_int_equal(fake.blocked, 1); /* the other slot's APDU still runs */
    assert_int_equal(lun_close(READER + 1), R_SUCCESS);
    end(&transmit);
    assert_int_equal(transmit.code, IFD_COMMUNICATION_ERROR);
}

/* Neither of two slots that close at the same time may take the other for one that goes on working. */
static void of_two_slots_that_close_together_one_is_the_last(void **state)
{
    struct job transmit, other;

    (void)state;
    fake.slot_count = 2;
    fake.block = true;
    assert_int_equal(lun_open(READER, tty), R_SUCCESS);
    assert_int_equal(lun_open(READER + 1, tty), R_SUCCESS);
    start(&transmit, transmit_job, READER);
    fake_wait_blocked(1);
    start(&other, close_job, READER); /* waits for the APDU, unless the other close comes first and ends it */
    assert_int_equal(lun_close(READER + 1), R_SUCCESS);
    end(&other);
    end(&transmit);
    assert_int_equal(other.code, IFD_SUCCESS);
    assert_int_equal(fake.cancelled, 1);
    assert_int_equal(fake.closed, 1);
}

static void a_lun_that_is_being_closed_takes_no_call_and_can_be_opened_when_it_is_done(void **state)
{
    struct job transmit, closing;
    struct lun *held;

    (void)state;
    assert_int_equal(lun_open(READER, usb), R_SUCCESS);
    held = lun_hold(READER); /* keeps the close waiting */
    assert_non_null(held);
    start(&closing, close_job, READER);
    for (;;) { /* until the close has begun */
        struct lun *l = lun_hold(READER);

        if (!l)
            break;
        lun_drop(l);
    }
    start(&transmit, transmit_job, READER);
    end(&transmit);
    assert_int_equal(transmit.code, IFD_COMMUNICATION_ERROR);
    assert_int_equal(fake.transmit.calls, 0);
    assert_int_equal(fake.closed, 0);
    lun_drop(held);
    assert_int_equal(lun_open(READER, usb), R_SUCCESS); /* waits for the close */
    assert_int_equal(fake.closed, 1);
    end(&closing);
    assert_int_equal(lun_close(READER), R_SUCCESS);
}

/* A stop for a Lun that is gone, a poll that comes late: neither touches anything, and pcscd's thread does not spin. */
static void polling_a_closed_lun_is_slow_but_harmless(void **state)
{
    (void)state;
    assert_int_equal(ifd_poll(READER, 1000), IFD_NO_SUCH_DEVICE);
    assert_int_equal(ifd_stop_poll(READER), IFD_NO_SUCH_DEVICE);
    assert_int_equal(fake.polls, 0);
    assert_int_equal(fake.stopped, 0);
}

static void a_negative_time_is_no_time(void **state)
{
    (void)state;
    assert_int_equal(lun_open(READER, usb), R_SUCCESS);
    assert_int_equal(ifd_poll(READER, -1), IFD_SUCCESS);
    assert_int_equal(fake.poll_timeout, 0);
    assert_int_equal(ifd_poll(READER, 600000), IFD_SUCCESS);
    assert_int_equal(fake.poll_timeout, 600000);
    assert_int_equal(ifd_stop_poll(READER), IFD_SUCCESS);
    assert_int_equal(fake.stopped, 1);
    assert_int_equal(lun_close(READER), R_SUCCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lun_leads_to_its_slot_until_it_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(the_slots_of_a_reader_share_its_device, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lun_that_is_open_is_not_opened_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_further_slot_needs_its_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_that_does_not_open_leaves_no_lun, setup, teardown),
        cmocka_unit_test_setup_teardown(another_interface_is_refused_quietly, setup, teardown),
        cmocka_unit_test_setup_teardown(the_table_has_an_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_close_ends_the_calls_that_run_and_then_lets_go, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_one_slot_stops_its_poller_and_no_other_call, setup, teardown),
        cmocka_unit_test_setup_teardown(of_two_slots_that_close_together_one_is_the_last, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lun_that_is_being_closed_takes_no_call_and_can_be_opened_when_it_is_done,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(polling_a_closed_lun_is_slow_but_harmless, setup, teardown),
        cmocka_unit_test_setup_teardown(a_negative_time_is_no_time, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
