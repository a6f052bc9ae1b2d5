/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Attributes as pcscd and SCardGetAttrib ask for them: each value byte for byte, each room that is one byte too small,
 * and what is not known.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "fake_device.h"
#include "ifdhandler/attributes.h"
#include "card/apdu.h"
#include "ifdhandler/lun.h"
#include "ifdhandler/results.h"

#include <PCSC/reader.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static int setup(void **state)
{
    (void)state;
    fake_reset();
    (void)strcpy(fake_reader.identity.type, "Model 7");
    (void)strcpy(fake_reader.identity.serial, "S123");
    fake_reader.identity.version = 0x01020304;
    fake.slot_count = 3;
    fake.status.protocol = 1;
    fake.status.max_apdu_data = 65536;
    return 0;
}

/* The value of tag has these bytes; the room must be exact, one byte less is refused and leaves the memory alone. */
static void expect(DWORD tag, const void *want, size_t n)
{
    uint8_t value[ATTRIBUTE_MAX + 1];
    size_t length;

    memset(value, 0xEE, sizeof value);
    length = n;
    assert_int_equal(attribute_get(fake_slot(), tag, value, &length), R_SUCCESS);
    assert_int_equal(length, n);
    if (n > 0)
        assert_memory_equal(value, want, n);
    assert_int_equal(value[n], 0xEE);

    length = 0;
    assert_int_equal(attribute_get(fake_slot(), tag, NULL, &length), R_SUCCESS);
    assert_int_equal(length, n);
    if (n == 0)
        return;
    memset(value, 0xEE, sizeof value);
    length = n - 1;
    assert_int_equal(attribute_get(fake_slot(), tag, value, &length), R_SPACE);
    assert_int_equal(length, n);
    for (size_t i = 0; i < sizeof value; i++)
        assert_int_equal(value[i], 0xEE);
}

static void expect_byte(DWORD tag, uint8_t want)
{
    expect(tag, &want, 1);
}

static void expect_u32(DWORD tag, uint32_t want)
{
    expect(tag, &want, sizeof want);
}

static void expect_text(DWORD tag, const char *want)
{
    expect(tag, want, strlen(want) + 1);
}

static void expect_none(DWORD tag)
{
    uint8_t value[ATTRIBUTE_MAX];
    size_t length = sizeof value;

    memset(value, 0xEE, sizeof value);
    assert_int_equal(attribute_get(fake_slot(), tag, value, &length), R_NOT_SUPPORTED);
    assert_int_equal(length, sizeof value);
    assert_int_equal(value[0], 0xEE);
}

/* More than one reader per library, or pcscd gives two of them the same Lun. */
static void pcscd_may_open_several_readers_at_a_time(void **state)
{
    (void)state;
    assert_true(LUN_TABLE_SIZE > 16 && LUN_TABLE_SIZE < 256);
    expect_byte(TAG_IFD_SIMULTANEOUS_ACCESS, LUN_TABLE_SIZE);
    expect_byte(TAG_IFD_THREAD_SAFE, 1);
    expect_byte(TAG_IFD_SLOT_THREAD_SAFE, 0);
    expect_byte(TAG_IFD_SLOTS_NUMBER, 3);
    expect_byte(TAG_IFD_DEVICE_REMOVED, 1);
}

static void pcscd_polls_through_us_and_never_kills_the_thread(void **state)
{
    RESPONSECODE (*poll)(DWORD, int) = ifd_poll;
    RESPONSECODE (*stop)(DWORD) = ifd_stop_poll;

    (void)state;
    expect(TAG_IFD_POLLING_THREAD_WITH_TIMEOUT, &poll, sizeof poll);
    expect(TAG_IFD_STOP_POLLING_THREAD, &stop, sizeof stop);
    expect(TAG_IFD_POLLING_THREAD_KILLABLE, NULL, 0);
}

static void the_reader_says_who_it_is(void **state)
{
    (void)state;
    expect_text(SCARD_ATTR_VENDOR_NAME, "Vendor");
    expect_text(SCARD_ATTR_VENDOR_IFD_TYPE, "Model 7");
    expect_u32(SCARD_ATTR_VENDOR_IFD_VERSION, 0x01020304);
    expect_text(SCARD_ATTR_VENDOR_IFD_SERIAL_NO, "S123");
    expect_u32(SCARD_ATTR_CHANNEL_ID, 0x00200311);
}

static void what_a_reader_does_not_tell_is_not_made_up(void **state)
{
    (void)state;
    fake_reader.identity.type[0] = fake_reader.identity.serial[0] = '\0';
    fake_reader.identity.version = 0;
    expect_text(SCARD_ATTR_VENDOR_IFD_TYPE, "Vendor Reader");
    expect(SCARD_ATTR_VENDOR_IFD_SERIAL_NO, NULL, 0);
    expect_none(SCARD_ATTR_VENDOR_IFD_VERSION);
    fake_transport.facts.vid = 0; /* a serial line */
    expect_none(SCARD_ATTR_CHANNEL_ID);
    fake_reader.transport = NULL; /* whose port is not there yet */
    expect_none(SCARD_ATTR_CHANNEL_ID);
}

static void texts_as_long_as_they_may_be_fit(void **state)
{
    (void)state;
    memset(fake_reader.identity.type, 'T', sizeof fake_reader.identity.type - 1);
    memset(fake_reader.identity.serial, 'S', sizeof fake_reader.identity.serial - 1);
    expect_text(SCARD_ATTR_VENDOR_IFD_TYPE, fake_reader.identity.type);
    expect_text(SCARD_ATTR_VENDOR_IFD_SERIAL_NO, fake_reader.identity.serial);
}

static void a_powered_card_is_described(void **state)
{
    (void)state;
    expect(TAG_IFD_ATR, "\x3B\x00", 2);
    expect(SCARD_ATTR_ATR_STRING, "\x3B\x00", 2);
    expect_byte(SCARD_ATTR_ICC_PRESENCE, 2);
    expect_byte(SCARD_ATTR_ICC_INTERFACE_STATUS, 1);
    expect_u32(SCARD_ATTR_CURRENT_PROTOCOL_TYPE, SCARD_PROTOCOL_T1);
    expect_u32(SCARD_ATTR_MAXINPUT, APDU_EXTENDED_MAX);
    fake.status.protocol = 0;
    fake.status.max_apdu_data = 0;
    expect_u32(SCARD_ATTR_CURRENT_PROTOCOL_TYPE, SCARD_PROTOCOL_T0);
    expect_u32(SCARD_ATTR_MAXINPUT, 261);
    fake.atr.len = ATR_MAX;
    expect(TAG_IFD_ATR, fake.atr.bytes, ATR_MAX);
}

static void an_empty_slot_has_an_empty_atr(void **state)
{
    (void)state;
    fake.status = (struct slot_status){.protocol = 1};
    expect(TAG_IFD_ATR, NULL, 0);
    expect(SCARD_ATTR_ATR_STRING, NULL, 0);
    expect_byte(SCARD_ATTR_ICC_PRESENCE, 0);
    expect_byte(SCARD_ATTR_ICC_INTERFACE_STATUS, 0);
    expect_u32(SCARD_ATTR_CURRENT_PROTOCOL_TYPE, 0);
}

static void pcscd_fills_in_the_names_and_the_rest_is_unknown(void **state)
{
    static const DWORD tags[] = {SCARD_ATTR_DEVICE_FRIENDLY_NAME_A,
                                 SCARD_ATTR_DEVICE_FRIENDLY_NAME_W,
                                 SCARD_ATTR_DEVICE_SYSTEM_NAME_A,
                                 SCARD_ATTR_DEVICE_SYSTEM_NAME_W,
                                 TAG_IFD_SLOTNUM,
                                 TAG_IFD_POLLING_THREAD,
                                 SCARD_ATTR_CURRENT_IFSC,
                                 0,
                                 0xFFFFFFFF};

    (void)state;
    for (size_t i = 0; i < LEN(tags); i++)
        expect_none(tags[i]);
}

static void without_a_slot_only_the_driver_can_be_asked(void **state)
{
    uint8_t value[ATTRIBUTE_MAX];
    size_t length = sizeof value;

    (void)state;
    assert_int_equal(attribute_get(NULL, TAG_IFD_SIMULTANEOUS_ACCESS, value, &length), R_SUCCESS);
    length = sizeof value;
    assert_int_equal(attribute_get(NULL, TAG_IFD_ATR, value, &length), R_SYSTEM);
    assert_int_equal(attribute_get(NULL, TAG_IFD_SLOTS_NUMBER, value, &length), R_SYSTEM);
}

/* pcscd says that the reader was unplugged. From then on nobody has to tell it so. */
static void a_removal_told_by_pcscd_is_not_told_back(void **state)
{
    struct slot *s;
    const uint8_t one = 1;

    (void)state;
    s = fake_slot();
    assert_int_equal(attribute_set(s, TAG_IFD_DEVICE_REMOVED, &one, 1), R_SUCCESS);
    assert_int_equal(fake.removed, 1);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned call = 0; call < CALL_COUNT; call++)
            assert_false(slot_gone_first(&s->device->slots[i], call));
}

static void nothing_else_can_be_set(void **state)
{
    static const uint8_t values[] = {1, 0, 0, 0};
    static const DWORD tags[] = {TAG_IFD_ATR, TAG_IFD_SLOTS_NUMBER, SCARD_ATTR_VENDOR_NAME,
                                 SCARD_ATTR_DEVICE_FRIENDLY_NAME_A, 0};

    (void)state;
    for (size_t i = 0; i < LEN(tags); i++)
        assert_int_equal(attribute_set(fake_slot(), tags[i], values, 1), R_NOT_SUPPORTED);
    assert_int_equal(attribute_set(fake_slot(), TAG_IFD_DEVICE_REMOVED, values + 1, 1), R_INVALID);
    assert_int_equal(attribute_set(fake_slot(), TAG_IFD_DEVICE_REMOVED, values, 0), R_INVALID);
    assert_int_equal(attribute_set(fake_slot(), TAG_IFD_DEVICE_REMOVED, values, 4), R_INVALID);
    assert_int_equal(attribute_set(fake_slot(), TAG_IFD_DEVICE_REMOVED, NULL, 1), R_INVALID);
    assert_int_equal(fake.removed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pcscd_may_open_several_readers_at_a_time, setup),
        cmocka_unit_test_setup(pcscd_polls_through_us_and_never_kills_the_thread, setup),
        cmocka_unit_test_setup(the_reader_says_who_it_is, setup),
        cmocka_unit_test_setup(what_a_reader_does_not_tell_is_not_made_up, setup),
        cmocka_unit_test_setup(texts_as_long_as_they_may_be_fit, setup),
        cmocka_unit_test_setup(a_powered_card_is_described, setup),
        cmocka_unit_test_setup(an_empty_slot_has_an_empty_atr, setup),
        cmocka_unit_test_setup(pcscd_fills_in_the_names_and_the_rest_is_unknown, setup),
        cmocka_unit_test_setup(without_a_slot_only_the_driver_can_be_asked, setup),
        cmocka_unit_test_setup(a_removal_told_by_pcscd_is_not_told_back, setup),
        cmocka_unit_test_setup(nothing_else_can_be_set, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
