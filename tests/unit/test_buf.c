/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The bounds of every put and get: what fits exactly, what is one byte too long, and that a failure is remembered. The
 * memory after the buffer is watched, with or without a sanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"

enum { GUARD = 0xA5, ROOM = 16 };

static uint8_t memory[2 * ROOM];

static struct wbuf fresh(size_t cap)
{
    memset(memory, GUARD, sizeof memory);
    return wbuf_over(memory, cap);
}

static void assert_untouched_from(size_t at)
{
    for (size_t i = at; i < sizeof memory; i++)
        assert_int_equal(memory[i], GUARD);
}

static void assert_wrote(const struct wbuf *w, const void *bytes, size_t n)
{
    assert_false(w->failed);
    assert_int_equal(w->len, n);
    assert_memory_equal(memory, bytes, n);
    assert_untouched_from(n);
}

/* Each kind of put, by number, with its size. */
static const size_t put_size[] = {1, 2, 4, 2, 4, 3, 5};
enum { PUTS = sizeof put_size / sizeof put_size[0] };

static void put(struct wbuf *w, int which)
{
    switch (which) {
    case 0:
        wbuf_u8(w, 0xFFFFFF11);
        break;
    case 1:
        wbuf_be16(w, 0xFFFF1122);
        break;
    case 2:
        wbuf_be32(w, 0x81223344);
        break;
    case 3:
        wbuf_le16(w, 0xFFFF1122);
        break;
    case 4:
        wbuf_le32(w, 0x81223344);
        break;
    case 5:
        wbuf_bytes(w, "\x01\x02\x03", 3);
        break;
    default:
        wbuf_fill(w, 0x77, 5);
        break;
    }
}

static const char put_result[PUTS][6] = {
    "\x11", "\x11\x22", "\x81\x22\x33\x44", "\x22\x11", "\x44\x33\x22\x81", "\x01\x02\x03", "\x77\x77\x77\x77\x77"};

static void puts_that_fit_exactly(void **state)
{
    (void)state;
    for (int i = 0; i < PUTS; i++) {
        struct wbuf w = fresh(put_size[i]);

        put(&w, i);
        assert_wrote(&w, put_result[i], put_size[i]);
    }
}

static void puts_one_byte_too_long_write_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < PUTS; i++) {
        for (size_t cap = 0; cap < put_size[i]; cap++) {
            struct wbuf w = fresh(cap);

            put(&w, i);
            assert_true(w.failed);
            assert_int_equal(w.len, 0);
            assert_untouched_from(0);
        }
    }
}

static void a_failed_writer_stays_failed(void **state)
{
    (void)state;
    for (int i = 0; i < PUTS; i++) {
        struct wbuf w = fresh(8);

        wbuf_u8(&w, 0x42);
        wbuf_fill(&w, 0, 8); /* one too many */
        assert_true(w.failed);
        put(&w, i); /* would fit */
        assert_true(w.failed);
        assert_int_equal(w.len, 1);
        assert_int_equal(memory[0], 0x42);
        assert_untouched_from(1);
    }
}

static void sizes_near_the_end_of_size_t(void **state)
{
    struct wbuf w = fresh(ROOM);
    struct rbuf r = rbuf_over(memory, ROOM);

    (void)state;
    wbuf_u8(&w, 1);
    wbuf_bytes(&w, memory, SIZE_MAX); /* len + n wraps to 0 */
    assert_true(w.failed);
    assert_int_equal(w.len, 1);
    w = fresh(ROOM);
    wbuf_u8(&w, 1);
    wbuf_fill(&w, 0, SIZE_MAX);
    assert_true(w.failed);
    assert_untouched_from(1);
    assert_null(rbuf_bytes(&r, SIZE_MAX));
    assert_true(r.failed);
}

static void writing_nothing(void **state)
{
    struct wbuf w = wbuf_over(NULL, 0);

    (void)state;
    wbuf_bytes(&w, NULL, 0);
    wbuf_fill(&w, 0, 0);
    assert_false(w.failed);
    assert_int_equal(w.len, 0);
    wbuf_u8(&w, 0);
    assert_true(w.failed);
    wbuf_bytes(&w, NULL, 0);
    assert_true(w.failed);
}

static void puts_follow_each_other(void **state)
{
    struct wbuf w = fresh(ROOM);

    (void)state;
    for (int i = 0; i < 5; i++)
        put(&w, i);
    assert_wrote(&w, "\x11\x11\x22\x81\x22\x33\x44\x22\x11\x44\x33\x22\x81", 13);
}

static void bytes_may_come_from_the_buffer_itself(void **state)
{
    struct wbuf w;

    (void)state;
    (void)fresh(0);
    memcpy(memory, "abcdef", 6);
    w = wbuf_over(memory + 2, 8);
    wbuf_bytes(&w, memory, 6);
    assert_memory_equal(memory, "ababcdef", 8);
}

static const uint8_t source[] = {0x81, 0x92, 0xA3, 0xB4, 0xC5};

static uint32_t get(struct rbuf *r, int which)
{
    switch (which) {
    case 0:
        return rbuf_u8(r);
    case 1:
        return rbuf_be16(r);
    case 2:
        return rbuf_be32(r);
    case 3:
        return rbuf_le16(r);
    default:
        return rbuf_le32(r);
    }
}

static const size_t get_size[] = {1, 2, 4, 2, 4};
static const uint32_t get_value[] = {0x81, 0x8192, 0x8192A3B4, 0x9281, 0xB4A39281};

static void gets_at_the_bounds(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct rbuf r = rbuf_over(source, get_size[i]);

        assert_int_equal(get(&r, i), get_value[i]);
        assert_false(r.failed);
        assert_int_equal(r.left, 0);
        assert_ptr_equal(r.data, source + get_size[i]);
        for (size_t n = 0; n < get_size[i]; n++) {
            r = rbuf_over(source, n);
            assert_int_equal(get(&r, i), 0);
            assert_true(r.failed);
        }
    }
}

static void a_failed_reader_yields_0(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct rbuf r = rbuf_over(source, sizeof source);

        assert_null(rbuf_bytes(&r, 6));
        assert_int_equal(get(&r, i), 0); /* would be there */
        assert_null(rbuf_bytes(&r, 0));
        assert_true(r.failed);
    }
}

static void pointers_into_the_memory(void **state)
{
    struct rbuf r = rbuf_over(source, sizeof source);

    (void)state;
    assert_ptr_equal(rbuf_bytes(&r, 2), source);
    assert_ptr_equal(rbuf_bytes(&r, 0), source + 2);
    assert_ptr_equal(rbuf_bytes(&r, 3), source + 2);
    assert_int_equal(r.left, 0);
    assert_ptr_equal(rbuf_bytes(&r, 0), source + 5);
    assert_false(r.failed);
    assert_null(rbuf_bytes(&r, 1));
    assert_true(r.failed);
    r = rbuf_over(NULL, 0);
    assert_int_equal(rbuf_u8(&r), 0);
    assert_true(r.failed);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_that_fit_exactly),
        cmocka_unit_test(puts_one_byte_too_long_write_nothing),
        cmocka_unit_test(a_failed_writer_stays_failed),
        cmocka_unit_test(sizes_near_the_end_of_size_t),
        cmocka_unit_test(writing_nothing),
        cmocka_unit_test(puts_follow_each_other),
        cmocka_unit_test(bytes_may_come_from_the_buffer_itself),
        cmocka_unit_test(gets_at_the_bounds),
        cmocka_unit_test(a_failed_reader_yields_0),
        cmocka_unit_test(pointers_into_the_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
