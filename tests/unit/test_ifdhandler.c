/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The entry points as pcscd calls them: what goes down, what comes back, and what the caller's memory and lengths hold
 * after a failure. And the control codes of PC/SC part 10.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <PCSC/ifdhandler.h>
#include <PCSC/reader.h>

#include "fake_device.h"
#include "stub_log.h"

enum { LUN = 0x20000, NOWHERE = 0x70000 };
static char usb[] = "usb:072f/8002:libudev:0:/dev/bus/usb/003/017";

static int setup(void **state)
{
    (void)state;
    fake_reset();
    stub_log_clear();
    return IFDHCreateChannelByName(LUN, usb) == IFD_SUCCESS ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return IFDHCloseChannel(LUN) == IFD_SUCCESS ? 0 : -1;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static void a_channel_number_is_refused_with_what_to_write_instead(void **state)
{
    (void)state;
    assert_int_equal(IFDHCreateChannel(NOWHERE, 1), IFD_COMMUNICATION_ERROR);
    assert_true(stub_log_has("reader.conf", "DEVICENAME", NULL));
}

static void a_name_that_cannot_be_one_is_refused(void **state)
{
    char empty[] = "", longest[DEVICE_NAME_MAX + 1];

    (void)state;
    memset(longest, 'x', DEVICE_NAME_MAX);
    longest[DEVICE_NAME_MAX] = '\0';
    assert_int_equal(IFDHCreateChannelByName(NOWHERE, empty), IFD_COMMUNICATION_ERROR);
    assert_int_equal(IFDHCreateChannelByName(NOWHERE, NULL), IFD_COMMUNICATION_ERROR);
    assert_int_equal(IFDHCreateChannelByName(NOWHERE, longest), IFD_COMMUNICATION_ERROR);
    assert_int_equal(stub_log_matches("device name"), 3);
    assert_int_equal(fake.opened, 1);
    longest[DEVICE_NAME_MAX - 1] = '\0';
    assert_int_equal(IFDHCreateChannelByName(NOWHERE, longest), IFD_SUCCESS);
    assert_int_equal(IFDHCloseChannel(NOWHERE), IFD_SUCCESS);
}

static void no_call_works_on_a_lun_that_is_not_open(void **state)
{
    SCARD_IO_HEADER pci = {0};
    UCHAR bytes[ATR_MAX] = {0};
    DWORD n = sizeof bytes;

    (void)state;
    assert_int_equal(IFDHICCPresence(NOWHERE), IFD_COMMUNICATION_ERROR);
    assert_int_equal(IFDHPowerICC(NOWHERE, IFD_POWER_UP, bytes, &n), IFD_COMMUNICATION_ERROR);
    assert_int_equal(n, 0);
    assert_int_equal(IFDHSetProtocolParameters(NOWHERE, SCARD_PROTOCOL_T0, 0, 0, 0, 0), IFD_COMMUNICATION_ERROR);
    n = sizeof bytes;
    assert_int_equal(IFDHTransmitToICC(NOWHERE, pci, bytes, 4, bytes, &n, &pci), IFD_COMMUNICATION_ERROR);
    assert_int_equal(n, 0);
    n = 99;
    assert_int_equal(IFDHControl(NOWHERE, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, bytes, sizeof bytes, &n),
                     IFD_COMMUNICATION_ERROR);
    assert_int_equal(n, 0);
    n = sizeof bytes;
    assert_int_equal(IFDHGetCapabilities(NOWHERE, TAG_IFD_ATR, &n, bytes), IFD_COMMUNICATION_ERROR);
    assert_int_equal(IFDHGetCapabilities(NOWHERE, TAG_IFD_SIMULTANEOUS_ACCESS, &n, bytes), IFD_SUCCESS);
    assert_int_equal(IFDHSetCapabilities(NOWHERE, TAG_IFD_DEVICE_REMOVED, 1, bytes), IFD_COMMUNICATION_ERROR);
    assert_int_equal(IFDHCloseChannel(NOWHERE), IFD_COMMUNICATION_ERROR);
}

static void attributes_have_their_lengths(void **state)
{
    UCHAR value[40];
    DWORD n = 1;

    (void)state;
    assert_int_equal(IFDHGetCapabilities(LUN, SCARD_ATTR_VENDOR_NAME, &n, value), IFD_ERROR_INSUFFICIENT_BUFFER);
    assert_int_equal(n, sizeof "Vendor");
    assert_int_equal(IFDHGetCapabilities(LUN, SCARD_ATTR_VENDOR_NAME, &n, value), IFD_SUCCESS);
    assert_string_equal((char *)value, "Vendor");
    n = sizeof value;
    assert_int_equal(IFDHGetCapabilities(LUN, 0x7777, &n, value), IFD_ERROR_TAG);
    assert_int_equal(n, sizeof value);
    assert_int_equal(IFDHSetCapabilities(LUN, 0x7777, 1, value), IFD_ERROR_TAG);
    value[0] = 0;
    assert_int_equal(IFDHSetCapabilities(LUN, TAG_IFD_DEVICE_REMOVED, 1, value), IFD_ERROR_SET_FAILURE);
    assert_int_equal(fake.removed, 0);
    assert_int_equal(IFDHGetCapabilities(LUN, TAG_IFD_ATR, NULL, value), IFD_COMMUNICATION_ERROR);
}

/* ---- presence ------------------------------------------------------------------------------------------------ */

static void presence_is_the_slots_word(void **state)
{
    (void)state;
    assert_int_equal(IFDHICCPresence(LUN), IFD_ICC_PRESENT);
    fake.present = false;
    assert_int_equal(IFDHICCPresence(LUN), IFD_ICC_NOT_PRESENT);
    assert_int_equal(fake.presence.argument, 1); /* with the id of a thread */
}

static void a_missing_reader_is_said_once_by_a_call(void **state)
{
    SCARD_IO_HEADER pci = {0};
    UCHAR apdu[] = {0, 0xA4, 0, 0}, response[2];
    DWORD n = sizeof response;

    (void)state;
    fake.presence.result = fake.transmit.result = R_GONE;
    assert_int_equal(IFDHICCPresence(LUN), IFD_COMMUNICATION_ERROR); /* see results.c */
    assert_int_equal(IFDHTransmitToICC(LUN, pci, apdu, sizeof apdu, response, &n, &pci), IFD_NO_SUCH_DEVICE);
    n = sizeof response;
    assert_int_equal(IFDHTransmitToICC(LUN, pci, apdu, sizeof apdu, response, &n, &pci), IFD_ICC_NOT_PRESENT);
    assert_int_equal(IFDHICCPresence(LUN), IFD_COMMUNICATION_ERROR);
}

static void a_removal_by_pcscd_makes_the_rest_quiet(void **state)
{
    SCARD_IO_HEADER pci = {0};
    UCHAR one = 1, apdu[] = {0, 0xA4, 0, 0}, response[2];
    DWORD n = sizeof response;

    (void)state;
    assert_int_equal(IFDHSetCapabilities(LUN, TAG_IFD_DEVICE_REMOVED, 1, &one), IFD_SUCCESS);
    assert_int_equal(fake.removed, 1);
    fake.presence.result = fake.transmit.result = R_GONE;
    assert_int_equal(IFDHICCPresence(LUN), IFD_COMMUNICATION_ERROR);
    assert_int_equal(IFDHTransmitToICC(LUN, pci, apdu, sizeof apdu, response, &n, &pci), IFD_ICC_NOT_PRESENT);
}

/* The card was swapped and powered up while the command of a connection to the old one waited for pcscd's mutex. */
static void class_ff_of_an_old_connection_does_not_reach_the_next_card(void **state)
{
    SCARD_IO_HEADER pci = {.Protocol = 1};
    UCHAR apdu[] = {0xFF, 0xCA, 0xFA, 0, 0}, response[64];
    DWORD n = sizeof response;

    (void)state;
    fake.status.protocol_set = false;
    assert_int_equal(IFDHTransmitToICC(LUN, pci, apdu, sizeof apdu, response, &n, &pci), IFD_COMMUNICATION_ERROR);
    assert_int_equal(n, 0);
    pci.Protocol = SCARD_PROTOCOL_RAW; /* such a connection never has one */
    n = sizeof response;
    assert_int_equal(IFDHTransmitToICC(LUN, pci, apdu, sizeof apdu, response, &n, &pci), IFD_SUCCESS);
    fake.status.protocol_set = true;
    pci.Protocol = 1;
    n = sizeof response;
    assert_int_equal(IFDHTransmitToICC(LUN, pci, apdu, sizeof apdu, response, &n, &pci), IFD_SUCCESS);
}

/* ---- power and protocol --------------------------------------------------------------------------------------- */

static void power_up_gives_the_atr_and_a_failure_none(void **state)
{
    UCHAR atr[ATR_MAX + 1];
    DWORD n = 777; /* not a length yet */

    (void)state;
    fake.atr.len = ATR_MAX;
    memset(fake.atr.bytes, 0x3B, ATR_MAX);
    memset(atr, 0xEE, sizeof atr);
    assert_int_equal(IFDHPowerICC(LUN, IFD_POWER_UP, atr, &n), IFD_SUCCESS);
    assert_int_equal(fake.power.argument, 1);
    assert_int_equal(n, ATR_MAX);
    assert_memory_equal(atr, fake.atr.bytes, ATR_MAX);
    assert_int_equal(atr[ATR_MAX], 0xEE);
    assert_int_equal(IFDHPowerICC(LUN, IFD_RESET, atr, &n), IFD_SUCCESS);
    assert_int_equal(fake.power.argument, 2);

    memset(atr, 0xEE, sizeof atr);
    fake.power.result = R_POWER;
    assert_int_equal(IFDHPowerICC(LUN, IFD_POWER_UP, atr, &n), IFD_ERROR_POWER_ACTION);
    assert_int_equal(n, 0);
    assert_int_equal(atr[0], 0xEE);
}

static void power_down_has_no_atr_and_other_actions_are_unknown(void **state)
{
    UCHAR atr[ATR_MAX];
    DWORD n = sizeof atr;

    (void)state;
    assert_int_equal(IFDHPowerICC(LUN, IFD_POWER_DOWN, atr, &n), IFD_SUCCESS);
    assert_int_equal(fake.power.argument, 0);
    assert_int_equal(n, 0);
    assert_int_equal(IFDHPowerICC(LUN, 503, atr, &n), IFD_NOT_SUPPORTED);
    assert_int_equal(fake.power.calls, 1);
    assert_int_equal(IFDHPowerICC(LUN, IFD_POWER_UP, NULL, &n), IFD_COMMUNICATION_ERROR);
    assert_int_equal(IFDHPowerICC(LUN, IFD_POWER_UP, atr, NULL), IFD_COMMUNICATION_ERROR);
}

static void a_protocol_is_0_or_1(void **state)
{
    (void)state;
    assert_int_equal(IFDHSetProtocolParameters(LUN, SCARD_PROTOCOL_T1, 0, 0, 0, 0), IFD_SUCCESS);
    assert_int_equal(fake.protocol.argument, 1);
    assert_int_equal(IFDHSetProtocolParameters(LUN, SCARD_PROTOCOL_T0, 0, 0, 0, 0), IFD_SUCCESS);
    assert_int_equal(fake.protocol.argument, 0);
    fake.protocol.result = R_PROTOCOL;
    assert_int_equal(IFDHSetProtocolParameters(LUN, SCARD_PROTOCOL_T1, 0, 0, 0, 0), IFD_PROTOCOL_NOT_SUPPORTED);
    assert_int_equal(fake.protocol.calls, 3);
    assert_int_equal(IFDHSetProtocolParameters(LUN, SCARD_PROTOCOL_RAW, 0, 0, 0, 0), IFD_PROTOCOL_NOT_SUPPORTED);
    assert_int_equal(IFDHSetProtocolParameters(LUN, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, 0, 0, 0, 0),
                     IFD_PROTOCOL_NOT_SUPPORTED);
    assert_int_equal(IFDHSetProtocolParameters(LUN, SCARD_PROTOCOL_T1, IFD_NEGOTIATE_PTS1, 0x11, 0, 0),
                     IFD_NOT_SUPPORTED);
    assert_int_equal(fake.protocol.calls, 3);
}

/* ---- exchange -------------------------------------------------------------------------------------------------- */

static DWORD received;
static UCHAR response[300];
static SCARD_IO_HEADER recv_pci;

static RESPONSECODE transmit(DWORD protocol, const void *apdu, DWORD n, DWORD room)
{
    /* lengths that nobody may believe */
    SCARD_IO_HEADER send = {.Protocol = protocol, .Length = 0xFFFFFFFF};
    UCHAR command[300];

    assert_true(n <= sizeof command);
    memcpy(command, apdu, n);
    memset(response, 0xEE, sizeof response);
    recv_pci = (SCARD_IO_HEADER){.Protocol = 77, .Length = 0xFFFFFFFF};
    received = room;
    return IFDHTransmitToICC(LUN, send, command, n, response, &received, &recv_pci);
}

static void an_apdu_goes_to_the_card_as_it_is(void **state)
{
    static const uint8_t apdu[] = {0x00, 0xB0, 0x00, 0x00, 0x02};

    (void)state;
    memcpy(fake.transmit.answer, "\x11\x22\x90\x00", 4);
    fake.transmit.answer_len = 4;
    assert_int_equal(transmit(1, apdu, sizeof apdu, 4), IFD_SUCCESS);
    assert_int_equal(fake.transmit.argument, 1);
    assert_int_equal(fake.transmit.asked_len, sizeof apdu);
    assert_memory_equal(fake.transmit.asked, apdu, sizeof apdu);
    assert_int_equal(received, 4);
    assert_memory_equal(response, "\x11\x22\x90\x00\xEE", 5);
    assert_int_equal(recv_pci.Protocol, SCARD_PROTOCOL_T1);
    assert_int_equal(transmit(0, apdu, sizeof apdu, 4), IFD_SUCCESS);
    assert_int_equal(fake.transmit.argument, 0);
    assert_int_equal(recv_pci.Protocol, SCARD_PROTOCOL_T0);
}

static void a_failed_exchange_has_no_length(void **state)
{
    static const struct {
        enum result result;
        RESPONSECODE code;
    } ends[] = {{R_NO_CARD, IFD_ICC_NOT_PRESENT},
                {R_TIMEOUT, IFD_RESPONSE_TIMEOUT},
                {R_SPACE, IFD_ERROR_INSUFFICIENT_BUFFER},
                {R_PROTOCOL, IFD_PROTOCOL_NOT_SUPPORTED},
                {R_COMM, IFD_COMMUNICATION_ERROR}};

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        fake.transmit.result = ends[i].result;
        assert_int_equal(transmit(0, "\x00\xA4\x04\x00", 4, 258), ends[i].code);
        assert_int_equal(received, 0);
        assert_int_equal(response[0], 0xEE);
        assert_int_equal(recv_pci.Protocol, 77);
    }
}

static void what_is_no_command_is_not_sent(void **state)
{
    SCARD_IO_HEADER pci = {0};
    UCHAR byte = 0;
    DWORD n = 1;

    (void)state;
    assert_int_equal(transmit(0, "", 0, 258), IFD_COMMUNICATION_ERROR);
    assert_int_equal(received, 0);
    assert_int_equal(transmit(4, "\x00\xA4\x04\x00", 4, 258), IFD_PROTOCOL_NOT_SUPPORTED); /* raw */
    assert_int_equal(received, 0);
    assert_int_equal(IFDHTransmitToICC(LUN, pci, NULL, 4, &byte, &n, &pci), IFD_COMMUNICATION_ERROR);
    assert_int_equal(n, 0);
    n = 1;
    assert_int_equal(IFDHTransmitToICC(LUN, pci, &byte, 1, NULL, &n, &pci), IFD_COMMUNICATION_ERROR);
    assert_int_equal(IFDHTransmitToICC(LUN, pci, &byte, 1, &byte, NULL, &pci), IFD_COMMUNICATION_ERROR);
    assert_int_equal(fake.transmit.calls, 0);
}

static void recv_pci_may_be_missing(void **state)
{
    SCARD_IO_HEADER pci = {0};
    UCHAR apdu[] = {0, 0xA4, 4, 0};
    DWORD n = sizeof response;

    (void)state;
    assert_int_equal(IFDHTransmitToICC(LUN, pci, apdu, sizeof apdu, response, &n, NULL), IFD_SUCCESS);
    assert_int_equal(n, 2);
}

/* Whatever follows FF and whatever protocol runs: the driver answers. */
static void class_ff_never_reaches_a_card(void **state)
{
    uint8_t apdu[6] = {0xFF};

    (void)state;
    for (unsigned ins = 0; ins < 256; ins++)
        for (DWORD protocol = 0; protocol < 2; protocol++)
            for (DWORD n = 1; n <= sizeof apdu; n++) {
                apdu[1] = (uint8_t)ins;
                assert_int_equal(transmit(protocol, apdu, n, 258), IFD_SUCCESS);
                assert_true(received >= 2);
            }
    assert_int_equal(fake.transmit.calls, 0);
}

static void reader_commands_work_on_an_empty_slot(void **state)
{
    (void)state;
    fake.status = (struct slot_status){0};
    fake.present = false;
    (void)strcpy(fake_reader.identity.firmware, "FW1");
    assert_int_equal(transmit(4, "\xFF\x00\x48\x00\x00", 5, 258), IFD_SUCCESS);
    assert_int_equal(received, 5);
    assert_memory_equal(response, "FW1\x90\x00", 5);
    assert_int_equal(fake.refused, 0);
}

/* pcscd takes the slot for empty after this; its poller has to see the same. */
static void the_atr_of_no_card_is_no_card_and_latched(void **state)
{
    (void)state;
    fake.status.powered = false;
    assert_int_equal(transmit(0, "\xFF\xCA\xFA\x00\x00", 5, 258), IFD_ICC_NOT_PRESENT);
    assert_int_equal(received, 0);
    assert_int_equal(fake.refused, 1);
}

/* ---- control ---------------------------------------------------------------------------------------------------- */

static DWORD returned;
static UCHAR out[300];

static RESPONSECODE control(DWORD code, const void *in, DWORD n, DWORD room)
{
    UCHAR command[64];

    assert_true(n <= sizeof command);
    memcpy(command, in, n);
    memset(out, 0xEE, sizeof out);
    returned = 4711;
    return IFDHControl(LUN, code, command, n, out, room, &returned);
}

static void features_are_what_works(void **state)
{
    static const uint8_t list[] = {0x12, 4, 0x42, 0x33, 0x00, 0x12, 0x13, 4, 0x42, 0x00, 0x00, 0x01};

    (void)state;
    assert_int_equal(control(0x42000D48, "", 0, sizeof list), IFD_SUCCESS);
    assert_int_equal(returned, sizeof list);
    assert_memory_equal(out, list, sizeof list);
    assert_int_equal(control(0x313520, "", 0, 300), IFD_SUCCESS);
    assert_memory_equal(out, list, sizeof list);
    assert_int_equal(control(0x42000D48, "", 0, sizeof list - 1), IFD_ERROR_INSUFFICIENT_BUFFER);
    assert_int_equal(returned, 0);
    assert_int_equal(out[0], 0xEE);
}

static void properties_tell_the_truth(void **state)
{
    static const uint8_t most[] = {0x01, 2,    0, 0,    0x03, 1,    0,    0x08, 5, 'V',  '1',  '.',  '2', '3',  0x09, 1,
                                   0,    0x0A, 4, 0x00, 0x00, 0x01, 0x00, 0x0B, 2, 0x2F, 0x07, 0x0C, 2,   0x02, 0x80};
    static const uint8_t least[] = {0x01, 2, 0, 0, 0x03, 1, 0, 0x09, 1, 0, 0x0A, 4, 0, 0, 0, 0};

    (void)state;
    (void)strcpy(fake_reader.identity.firmware, "V1.23");
    fake.status.max_apdu_data = 65536;
    assert_int_equal(control(0x42330012, "", 0, sizeof most), IFD_SUCCESS);
    assert_int_equal(returned, sizeof most);
    assert_memory_equal(out, most, sizeof most);
    assert_int_equal(control(0x42330012, "", 0, sizeof most - 1), IFD_ERROR_INSUFFICIENT_BUFFER);
    assert_int_equal(returned, 0);
    assert_int_equal(out[0], 0xEE);

    fake_reader.identity.firmware[0] = '\0';
    fake.status.max_apdu_data = 0;
    fake_transport.facts.vid = 0;
    assert_int_equal(control(0x42330012, "", 0, sizeof least), IFD_SUCCESS);
    assert_int_equal(returned, sizeof least);
    assert_memory_equal(out, least, sizeof least);
    memset(fake_reader.identity.firmware, 'F', sizeof fake_reader.identity.firmware - 1);
    assert_int_equal(control(0x42330012, "", 0, 300), IFD_SUCCESS);
    assert_int_equal(returned, sizeof least + 2 + sizeof fake_reader.identity.firmware - 1);
}

static void a_raw_command_goes_to_the_reader(void **state)
{
    static const DWORD codes[] = {0x42000001, 0x42000DAC};

    (void)state;
    memcpy(fake.command.answer, "\x90\x00\x55", 3);
    fake.command.answer_len = 3;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(control(codes[i], "\x01\x02", 2, 3), IFD_SUCCESS);
        assert_int_equal(fake.command.asked_len, 2);
        assert_memory_equal(fake.command.asked, "\x01\x02", 2);
        assert_int_equal(returned, 3);
        assert_memory_equal(out, "\x90\x00\x55\xEE", 4);
    }
    assert_int_equal(control(0x42000001, "\x01", 1, 2), IFD_ERROR_INSUFFICIENT_BUFFER);
    assert_int_equal(returned, 0);
    assert_int_equal(control(0x42000001, "", 0, 300), IFD_COMMUNICATION_ERROR);
    assert_int_equal(fake.command.calls, 3);
    fake.command.result = R_DENIED;
    assert_int_equal(control(0x42000001, "\x9B", 1, 300), IFD_ERROR_NOT_SUPPORTED);
    assert_int_equal(returned, 0);
}

static void a_class_ff_command_works_as_a_control_too(void **state)
{
    (void)state;
    (void)strcpy(fake_reader.identity.firmware, "FW1");
    assert_int_equal(control(0x42000DAC, "\xFF\x00\x48\x00\x00", 5, 300), IFD_SUCCESS);
    assert_int_equal(returned, 5);
    assert_memory_equal(out, "FW1\x90\x00", 5);
    assert_int_equal(fake.command.calls, 0);
    fake.status.powered = false; /* pcscd keeps its idea of the slot after a control: so does the slot */
    assert_int_equal(control(0x42000DAC, "\xFF\xCA\xFA\x00\x00", 5, 300), IFD_ICC_NOT_PRESENT);
    assert_int_equal(fake.refused, 0);
}

static void other_codes_are_unknown(void **state)
{
    static const DWORD codes[] = {0, 1, 0x42000000, 0x42000002, 0x42000D49, 0x42330013, 0x42330006, 0xFFFFFFFF};

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_int_equal(control(codes[i], "\x01", 1, 300), IFD_ERROR_NOT_SUPPORTED);
        assert_int_equal(returned, 0);
    }
    assert_int_equal(fake.command.calls, 0);
}

static void buffers_that_are_not_there_are_refused(void **state)
{
    UCHAR byte = 1;
    DWORD n = 5;

    (void)state;
    assert_int_equal(IFDHControl(LUN, 0x42000001, NULL, 1, &byte, 1, &n), IFD_COMMUNICATION_ERROR);
    assert_int_equal(n, 0);
    assert_int_equal(IFDHControl(LUN, 0x42000001, &byte, 1, NULL, 1, &n), IFD_COMMUNICATION_ERROR);
    assert_int_equal(IFDHControl(LUN, 0x42000001, &byte, 1, &byte, 1, NULL), IFD_COMMUNICATION_ERROR);
    assert_int_equal(fake.command.calls, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_channel_number_is_refused_with_what_to_write_instead),
        CASE(a_name_that_cannot_be_one_is_refused),
        CASE(no_call_works_on_a_lun_that_is_not_open),
        CASE(attributes_have_their_lengths),
        CASE(presence_is_the_slots_word),
        CASE(a_missing_reader_is_said_once_by_a_call),
        CASE(a_removal_by_pcscd_makes_the_rest_quiet),
        CASE(class_ff_of_an_old_connection_does_not_reach_the_next_card),
        CASE(power_up_gives_the_atr_and_a_failure_none),
        CASE(power_down_has_no_atr_and_other_actions_are_unknown),
        CASE(a_protocol_is_0_or_1),
        CASE(an_apdu_goes_to_the_card_as_it_is),
        CASE(a_failed_exchange_has_no_length),
        CASE(what_is_no_command_is_not_sent),
        CASE(recv_pci_may_be_missing),
        CASE(class_ff_never_reaches_a_card),
        CASE(reader_commands_work_on_an_empty_slot),
        CASE(the_atr_of_no_card_is_no_card_and_latched),
        CASE(features_are_what_works),
        CASE(properties_tell_the_truth),
        CASE(a_raw_command_goes_to_the_reader),
        CASE(a_class_ff_command_works_as_a_control_too),
        CASE(other_codes_are_unknown),
        CASE(buffers_that_are_not_there_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
