/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Descriptors of the USB side. No manual prints them, so this is the plainest HID device that carries 64-byte reports
 * with IDs 1 to 4: one interface, interrupt IN, and interrupt OUT unless the option takes it away (the driver must
 * then use SET_REPORT). A keyboard-mode device is a boot keyboard with an 8-byte feature report instead.
 */
#include "neo_model.h"

#include <string.h>

enum { DEVICE_LEN = 18, CONFIG_LEN = 9, INTERFACE_LEN = 9, HID_LEN = 9, ENDPOINT_LEN = 7 };
enum { DESCRIPTORS_MAX = DEVICE_LEN + CONFIG_LEN + INTERFACE_LEN + HID_LEN + 2 * ENDPOINT_LEN };

#define REPORTS(id) 0x85, id, 0x09, 0x02, 0x95, 0x3F, 0x81, 0x02, 0x09, 0x03, 0x95, 0x3F, 0x91, 0x02

static const uint8_t vendor_report[] = {
    0x06, 0x00, 0xFF, 0x09, 0x01,       0xA1,       0x01,       0x15,       0x00, 0x26,
    0xFF, 0x00, 0x75, 0x08, REPORTS(1), REPORTS(2), REPORTS(3), REPORTS(4), 0xC0,
};

static const uint8_t keyboard_report[] = {
    0x05, 0x01, 0x09, 0x06, 0xA1, 0x01, 0x05, 0x07, 0x19, 0xE0, 0x29, 0xE7, 0x15, 0x00, 0x25, 0x01,
    0x75, 0x01, 0x95, 0x08, 0x81, 0x02, 0x95, 0x01, 0x75, 0x08, 0x81, 0x01, 0x95, 0x06, 0x75, 0x08,
    0x15, 0x00, 0x25, 0x65, 0x05, 0x07, 0x19, 0x00, 0x29, 0x65, 0x81, 0x00, 0x06, 0x00, 0xFF, 0x09,
    0x20, 0x85, 0x01, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x08, 0xB1, 0x02, 0xC0,
};

static size_t endpoint(uint8_t *out, uint8_t address, uint8_t size)
{
    const uint8_t e[ENDPOINT_LEN] = {ENDPOINT_LEN, 0x05, address, 0x03, size, 0x00, 0x01};

    memcpy(out, e, sizeof e);
    return sizeof e;
}

static size_t configuration(const struct sim_model *m, uint8_t *out, size_t report_len)
{
    bool two = !m->opt.keyboard && !m->opt.out_setreport;
    uint8_t total = (uint8_t)(CONFIG_LEN + INTERFACE_LEN + HID_LEN + (two ? 2 : 1) * ENDPOINT_LEN);
    const uint8_t head[CONFIG_LEN + INTERFACE_LEN + HID_LEN] = {9,
                                                                0x02,
                                                                total,
                                                                0,
                                                                1,
                                                                1,
                                                                0,
                                                                0x80,
                                                                250,
                                                                9,
                                                                0x04,
                                                                0,
                                                                0,
                                                                two ? 2 : 1,
                                                                0x03,
                                                                m->opt.keyboard ? 1 : 0,
                                                                m->opt.keyboard ? 1 : 0,
                                                                0,
                                                                9,
                                                                0x21,
                                                                0x11,
                                                                0x01,
                                                                0,
                                                                1,
                                                                0x22,
                                                                (uint8_t)(report_len & 0xFF),
                                                                (uint8_t)(report_len >> 8)};
    size_t n = sizeof head;

    memcpy(out, head, sizeof head);
    n += endpoint(out + n, 0x81, m->opt.keyboard ? 8 : NEO_REPORT);
    if (two)
        n += endpoint(out + n, 0x02, NEO_REPORT);
    return n;
}

const struct sim_usb_identity *neo_usb_identity(struct sim_model *m)
{
    struct sim_usb_identity *usb = &m->identity;
    const uint8_t device[DEVICE_LEN] = {18,
                                        0x01,
                                        0x00,
                                        0x02,
                                        0,
                                        0,
                                        0,
                                        64,
                                        (uint8_t)(m->opt.vid & 0xFF),
                                        (uint8_t)(m->opt.vid >> 8),
                                        (uint8_t)(m->opt.pid & 0xFF),
                                        (uint8_t)(m->opt.pid >> 8),
                                        0x00,
                                        0x01,
                                        1,
                                        2,
                                        m->opt.serial[0] != '\0' ? 3 : 0,
                                        1};

    _Static_assert(sizeof m->descriptors >= DESCRIPTORS_MAX, "room for all descriptors");
    if (!m->opt.link_hid)
        return NULL;
    usb->report_descriptor = m->opt.keyboard ? keyboard_report : vendor_report;
    usb->report_descriptor_len = m->opt.keyboard ? sizeof keyboard_report : sizeof vendor_report;
    memcpy(m->descriptors, device, sizeof device);
    usb->descriptors = m->descriptors;
    usb->descriptors_len = sizeof device + configuration(m, m->descriptors + sizeof device, usb->report_descriptor_len);
    usb->vid = (uint16_t)m->opt.vid;
    usb->pid = (uint16_t)m->opt.pid;
    usb->manufacturer = "ID TECH";
    usb->product = m->opt.keyboard ? "ViVOpay Keyboard" : "ViVOpay USB Reader";
    usb->serial = m->opt.serial[0] != '\0' ? m->opt.serial : NULL;
    usb->kernel_driver = "usbhid";
    usb->speed = "12";
    return usb;
}
