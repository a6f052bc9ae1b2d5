/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The choices of the USB transport: form and interface for every layout of endpoints that a reader may show, pcscd's
 * device strings as its libudev and libusb builds write them, and strings that only look like them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "transport/usb.h"

enum { BULK = 2, INTERRUPT = 3, VENDOR = 0xff, HID = 0x03, CCID = 0x0b };

static struct usb_interface interface(uint8_t number, uint8_t class_code)
{
    return (struct usb_interface){.number = number, .class_code = class_code};
}

static void add(struct usb_interface *ifc, uint8_t address, uint8_t type, uint16_t packet)
{
    ifc->endpoints[ifc->endpoint_count++] = (struct usb_endpoint){address, type, packet};
}

/* The endpoints of the letters: b/B bulk in/out, i/I interrupt in/out; addresses 81, 02, 83, 04. */
static struct usb_interface layout(uint8_t number, uint8_t class_code, const char *letters)
{
    struct usb_interface ifc = interface(number, class_code);

    for (; *letters; letters++) {
        switch (*letters) {
        case 'b':
            add(&ifc, 0x81, BULK, 64);
            break;
        case 'B':
            add(&ifc, 0x02, BULK, 64);
            break;
        case 'i':
            add(&ifc, 0x83, INTERRUPT, 8);
            break;
        default:
            add(&ifc, 0x04, INTERRUPT, 16);
            break;
        }
    }
    return ifc;
}

struct form_row {
    const char *letters;
    enum usb_form want;
    enum usb_form form; /* AUTO: none */
    uint8_t out, in, in2;
};

static const struct form_row FORMS[] = {
    {"i", USB_FORM_AUTO, USB_FORM_A, 0, 0x83, 0},
    {"iI", USB_FORM_AUTO, USB_FORM_C, 0x04, 0x83, 0},
    {"bB", USB_FORM_AUTO, USB_FORM_B, 0x02, 0x81, 0},
    {"bBi", USB_FORM_AUTO, USB_FORM_B, 0x02, 0x81, 0x83},
    {"iIbB", USB_FORM_AUTO, USB_FORM_B, 0x02, 0x81, 0x83},
    {"b", USB_FORM_AUTO, USB_FORM_AUTO, 0, 0, 0},
    {"B", USB_FORM_AUTO, USB_FORM_AUTO, 0, 0, 0},
    {"I", USB_FORM_AUTO, USB_FORM_AUTO, 0, 0, 0},
    {"", USB_FORM_AUTO, USB_FORM_AUTO, 0, 0, 0},
    {"Bi", USB_FORM_AUTO, USB_FORM_A, 0, 0x83, 0}, /* bulk one way only: not B */
    {"bi", USB_FORM_AUTO, USB_FORM_A, 0, 0x83, 0},
    {"bI", USB_FORM_AUTO, USB_FORM_AUTO, 0, 0, 0},
    {"iIbB", USB_FORM_A, USB_FORM_A, 0, 0x83, 0}, /* what is asked for wins */
    {"iIbB", USB_FORM_C, USB_FORM_C, 0x04, 0x83, 0},
    {"bBi", USB_FORM_B, USB_FORM_B, 0x02, 0x81, 0x83},
    {"bB", USB_FORM_A, USB_FORM_AUTO, 0, 0, 0}, /* unless its endpoints are not there */
    {"i", USB_FORM_B, USB_FORM_AUTO, 0, 0, 0},
    {"i", USB_FORM_C, USB_FORM_AUTO, 0, 0, 0},
    {"I", USB_FORM_C, USB_FORM_AUTO, 0, 0, 0},
    {"i", USB_FORM_HID, USB_FORM_HID, 0, 0x83, 0}, /* SET_REPORT */
    {"iI", USB_FORM_HID, USB_FORM_HID, 0x04, 0x83, 0},
    {"bB", USB_FORM_HID, USB_FORM_AUTO, 0, 0, 0},
};

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        const struct form_row *row = &FORMS[i];
        struct usb_interface ifc = layout(0, VENDOR, row->letters);
        struct usb_pipes pipes;
        enum result r = usb_choose_form(&ifc, row->want, &pipes);

        if (row->form == USB_FORM_AUTO) {
            assert_int_equal(r, R_NOT_SUPPORTED);
            continue;
        }
        assert_int_equal(r, R_SUCCESS);
        assert_int_equal(pipes.form, row->form);
        assert_int_equal(pipes.out.address, row->out);
        assert_int_equal(pipes.in.address, row->in);
        assert_int_equal(pipes.in2.address, row->in2);
    }
}

/* The real addresses, sizes and types are taken over, whatever they are; the first of several endpoints counts. */
static void test_endpoints_as_they_are(void **state)
{
    struct usb_interface ifc = interface(0, VENDOR);
    struct usb_pipes pipes;

    (void)state;
    add(&ifc, 0x8f, INTERRUPT, 512);
    add(&ifc, 0x86, INTERRUPT, 8);
    add(&ifc, 0x0e, INTERRUPT, 1);
    assert_int_equal(usb_choose_form(&ifc, USB_FORM_AUTO, &pipes), R_SUCCESS);
    assert_int_equal(pipes.form, USB_FORM_C);
    assert_int_equal(pipes.in.address, 0x8f);
    assert_int_equal(pipes.in.packet, 512);
    assert_int_equal(pipes.in.type, INTERRUPT);
    assert_int_equal(pipes.out.address, 0x0e);
    assert_int_equal(pipes.out.packet, 1);
}

/* Endpoints that cannot be served are as good as not there: no packet size, more than a chunk, endpoint number zero,
 * isochronous. */
static void test_unusable_endpoints(void **state)
{
    static const struct usb_endpoint BAD[] = {
        {0x81, INTERRUPT, 0}, {0x81, INTERRUPT, TRANSPORT_CHUNK_MAX + 1}, {0x80, INTERRUPT, 8}, {0x81, 1, 8}};
    struct usb_pipes pipes;

    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct usb_interface ifc = interface(0, VENDOR);

        ifc.endpoints[ifc.endpoint_count++] = BAD[i];
        assert_int_equal(usb_choose_form(&ifc, USB_FORM_AUTO, &pipes), R_NOT_SUPPORTED);
        add(&ifc, 0x82, INTERRUPT, 8);
        assert_int_equal(usb_choose_form(&ifc, USB_FORM_AUTO, &pipes), R_SUCCESS);
        assert_int_equal(pipes.in.address, 0x82);
    }
}

static void test_interface_of_one(void **state)
{
    struct usb_interface one = layout(0, VENDOR, "i");

    (void)state;
    assert_int_equal(usb_choose_interface(&one, 1, USB_FORM_AUTO), 0);
    assert_int_equal(usb_choose_interface(&one, 1, USB_FORM_B), -1);
    assert_int_equal(usb_choose_interface(&one, 0, USB_FORM_AUTO), -1);
}

/* Number 0 is preferred, wherever it stands; else the first that can be used. */
static void test_interface_of_several(void **state)
{
    struct usb_interface ifcs[3] = {layout(2, VENDOR, "i"), layout(1, VENDOR, "i"), layout(0, VENDOR, "i")};

    (void)state;
    assert_int_equal(usb_choose_interface(ifcs, 3, USB_FORM_AUTO), 2);
    ifcs[2] = layout(0, VENDOR, "");
    assert_int_equal(usb_choose_interface(ifcs, 3, USB_FORM_AUTO), 0);
    ifcs[0] = layout(2, VENDOR, "I");
    assert_int_equal(usb_choose_interface(ifcs, 3, USB_FORM_AUTO), 1);
    ifcs[0] = layout(2, VENDOR, "bB");
    assert_int_equal(usb_choose_interface(ifcs, 3, USB_FORM_C), -1);
    assert_int_equal(usb_choose_interface(ifcs, 3, USB_FORM_B), 0);
    /* An interface 0 that a CCID reader would have is chosen like any other; usb_open refuses it by its class. */
    ifcs[2] = layout(0, CCID, "bBi");
    assert_int_equal(usb_choose_interface(ifcs, 3, USB_FORM_AUTO), 2);
}

static void test_interface_hid(void **state)
{
    struct usb_interface ifcs[4] = {layout(0, VENDOR, "i"), layout(1, HID, ""), layout(2, HID, "i"),
                                    layout(3, HID, "iI")};

    (void)state;
    assert_int_equal(usb_choose_interface(ifcs, 4, USB_FORM_HID), 2);
    assert_int_equal(usb_choose_interface(ifcs, 2, USB_FORM_HID), -1);
}

struct address_row {
    const char *name;
    bool good;
    struct usb_address a;
};

static const struct address_row ADDRESSES[] = {
    {"usb:072f/8002:libudev:0:/dev/bus/usb/001/002", true, {0x072f, 0x8002, 1, 2, 0}},
    {"usb:0ACD/3530:libudev:3:/dev/bus/usb/012/127", true, {0x0acd, 0x3530, 12, 127, 3}},
    {"usb:072f/8002:libudev::/dev/bus/usb/001/002", true, {0x072f, 0x8002, 1, 2, -1}},
    {"usb:072f/8002:libudev:0:/dev/bus/usb/001/002:more", true, {0x072f, 0x8002, 1, 2, 0}},
    {"usb:072f/8002:libusb-1.0:1:17:0", true, {0x072f, 0x8002, 1, 17, 0}},
    {"usb:072f/8002:libusb-1.0:3:9", true, {0x072f, 0x8002, 3, 9, -1}},
    {"usb:072f/8002:libusb-1.0:3:9:2:more", true, {0x072f, 0x8002, 3, 9, 2}},
    {"usb:072f/8002:libusb-1.0:3:9:x", true, {0x072f, 0x8002, 3, 9, -1}},
    {"usb:1/2:libusb-1.0:255:255:255", true, {1, 2, 255, 255, 255}},
    {"", false, {0}},
    {"usb:", false, {0}},
    {"/dev/ttyUSB0", false, {0}},
    {"USB:072f/8002:libudev:0:/dev/bus/usb/001/002", false, {0}},
    {"usb:072f", false, {0}},
    {"usb:/8002:libudev:0:/dev/bus/usb/001/002", false, {0}},
    {"usb:072f/8002:libusb-1.0::2:0", false, {0}},
    {"usb:072f/", false, {0}},
    {"usb:072f/8002", false, {0}},
    {"usb:072f/8002:", false, {0}},
    {"usb:072g/8002:libudev:0:/dev/bus/usb/001/002", false, {0}},
    {"usb:1072f/8002:libudev:0:/dev/bus/usb/001/002", false, {0}},
    {"usb:072f/18002:libudev:0:/dev/bus/usb/001/002", false, {0}},
    {"usb:072f/8002:libwhat:0:/dev/bus/usb/001/002", false, {0}},
    {"usb:072f/8002:libudev:0", false, {0}},
    {"usb:072f/8002:libudev:0:/dev/bus/usb/001", false, {0}},
    {"usb:072f/8002:libudev:0:/dev/bus/usb/001/", false, {0}},
    {"usb:072f/8002:libudev:0:/dev/bus/usb/001/002x", false, {0}},
    {"usb:072f/8002:libudev:0:/dev/bus/usb/001/000", false, {0}},
    {"usb:072f/8002:libudev:0:/dev/bus/usb/256/002", false, {0}},
    {"usb:072f/8002:libudev:0:/dev/bus/usb/001/256", false, {0}},
    {"usb:072f/8002:libudev:0:/dev/bus/usb/99999999999999999999/002", false, {0}},
    {"usb:072f/8002:libudev:256:/dev/bus/usb/001/002", false, {0}},
    {"usb:072f/8002:libudev:-1:/dev/bus/usb/001/002", false, {0}},
    {"usb:072f/8002:libudev:0x/dev/bus/usb/001/002", false, {0}},
    {"usb:072f/8002:libusb-1.0:1", false, {0}},
    {"usb:072f/8002:libusb-1.0:1:", false, {0}},
    {"usb:072f/8002:libusb-1.0:1:0:0", false, {0}},
    {"usb:072f/8002:libusb-1.0:1:2a:0", false, {0}},
};

static void test_addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ADDRESSES / sizeof ADDRESSES[0]; i++) {
        const struct address_row *row = &ADDRESSES[i];
        struct usb_address a = {.vid = 0x5555};
        bool good = usb_parse_address(row->name, &a);

        if (good != row->good)
            fail_msg("\"%s\" is %s", row->name, good ? "taken" : "refused");
        if (!good) {
            assert_int_equal(a.vid, 0x5555); /* left alone */
            continue;
        }
        assert_int_equal(a.vid, row->a.vid);
        assert_int_equal(a.pid, row->a.pid);
        assert_int_equal(a.bus, row->a.bus);
        assert_int_equal(a.device, row->a.device);
        assert_int_equal(a.interface, row->a.interface);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_endpoints_as_they_are),
        cmocka_unit_test(test_unusable_endpoints),
        cmocka_unit_test(test_interface_of_one),
        cmocka_unit_test(test_interface_of_several),
        cmocka_unit_test(test_interface_hid),
        cmocka_unit_test(test_addresses),
    };

    return cmocka_run_group_tests_name("usb_choose", tests, NULL, NULL);
}
