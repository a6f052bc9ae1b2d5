/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Unread USB input: order, pipes and lengths survive each move to the front, and an overflow costs the oldest chunks
 * only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "transport/usb_internal.h"

static struct usb_ring ring;

static int setup(void **state)
{
    (void)state;
    memset(&ring, 0, sizeof ring);
    return 0;
}

static unsigned put(unsigned serial, size_t n)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX];

    for (size_t i = 0; i < n; i++)
        chunk[i] = (uint8_t)(serial * 7 + i);
    return usb_ring_put(&ring, serial & 1, chunk, n);
}

static void take(unsigned serial, size_t n)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    unsigned pipe = 9;

    assert_int_equal(usb_ring_take(&ring, &pipe, chunk), n);
    assert_int_equal(pipe, serial & 1);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(chunk[i], (uint8_t)(serial * 7 + i));
}

static void test_empty(void **state)
{
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    unsigned pipe;

    (void)state;
    assert_int_equal(usb_ring_take(&ring, &pipe, chunk), 0);
    put(1, 3);
    usb_ring_clear(&ring);
    assert_int_equal(usb_ring_take(&ring, &pipe, chunk), 0);
    for (size_t i = 0; i < sizeof ring.bytes; i++)
        assert_int_equal(ring.bytes[i], 0);
}

/* Never empty, so that the end is reached again and again, each time by another length. */
static void test_order_and_move(void **state)
{
    static const size_t LENGTHS[] = {1, 8, 64, 255, 256, 257, 511, 512, 3};
    enum { COUNT = sizeof LENGTHS / sizeof LENGTHS[0] };

    (void)state;
    assert_int_equal(put(0, LENGTHS[0]), 0);
    for (unsigned i = 1; i < 2000; i++) {
        assert_int_equal(put(i, LENGTHS[i % COUNT]), 0);
        take(i - 1, LENGTHS[(i - 1) % COUNT]);
    }
    assert_int_equal(ring.dropped, 0);
}

static void test_overflow_drops_the_oldest(void **state)
{
    enum { SMALL = 8 + USB_RING_HEADER, FIT = USB_RING_SIZE / SMALL };
    unsigned first;
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    unsigned pipe;

    (void)state;
    for (unsigned i = 0; i < FIT; i++)
        assert_int_equal(put(i, 8), 0);
    assert_int_equal(put(FIT, 8), 1); /* one for one */
    take(1, 8);
    assert_true(put(FIT + 1, TRANSPORT_CHUNK_MAX) > 1); /* a long one for many short ones */
    first = (unsigned)ring.dropped + 1;                 /* serial 1 was taken, not dropped */
    for (unsigned i = first; i <= FIT; i++)
        take(i, 8);
    take(FIT + 1, TRANSPORT_CHUNK_MAX);
    assert_int_equal(usb_ring_take(&ring, &pipe, chunk), 0);
}

/* A chunk that leaves no byte free fits; one that wants one byte more costs a chunk. */
static void test_full_to_the_byte(void **state)
{
    enum { LONG = TRANSPORT_CHUNK_MAX + USB_RING_HEADER, COUNT = USB_RING_SIZE / LONG, REST = USB_RING_SIZE % LONG };

    (void)state;
    for (size_t spare = 0; spare < 4; spare++) {
        setup(NULL);
        for (unsigned i = 0; i < COUNT; i++)
            assert_int_equal(put(i, TRANSPORT_CHUNK_MAX), 0);
        assert_int_equal(put(COUNT, REST - USB_RING_HEADER - (8 + spare)), 0);
        assert_int_equal(put(COUNT + 1, 8), spare == USB_RING_HEADER ? 0 : 1);
        take(spare == USB_RING_HEADER ? 0 : 1, TRANSPORT_CHUNK_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_empty, setup),
        cmocka_unit_test_setup(test_order_and_move, setup),
        cmocka_unit_test_setup(test_overflow_drops_the_oldest, setup),
        cmocka_unit_test_setup(test_full_to_the_byte, setup),
    };

    return cmocka_run_group_tests_name("usb_ring", tests, NULL, NULL);
}
