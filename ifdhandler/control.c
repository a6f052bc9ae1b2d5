/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Control codes are rows of a const table, and so are the features that GET_FEATURE_REQUEST tells of: only what works
 * is told, for clients turn on whole code paths (PIN pads) by a feature's tag alone.
 *
 * A raw command is `code data` as the reader's manual has it. One that begins with FF is a class-FF APDU instead (no
 * reader served has a command FF): tools of the reader vendors send those here, on an empty slot too.
 */
#include "control.h"

#include <PCSC/reader.h>
#include <string.h>

#include "base/buf.h"
#include "lun.h"
#include "pseudo/pseudo.h"
#include "reader/device.h"

enum control_code {
    CODE_GET_FEATURES = 0x42000D48,         /* CM_IOCTL_GET_FEATURE_REQUEST */
    CODE_GET_FEATURES_WINDOWS = 0x00313520, /* its number on Windows; remote desktops forward it */
    CODE_TLV_PROPERTIES = 0x42330012,
    CODE_ESCAPE = 0x42000001,     /* libccid's */
    CODE_ESCAPE_3500 = 0x42000DAC /* SCARD_CTL_CODE(3500): what programs written for Windows use */
};

_Static_assert((unsigned long)CODE_GET_FEATURES == CM_IOCTL_GET_FEATURE_REQUEST, "the number in reader.h");

/* Code numbers are big-endian here, unlike all else of part 10. */
static enum result get_features(struct slot *s, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    static const struct {
        uint8_t tag;
        uint32_t code;
    } features[] = {
        {FEATURE_GET_TLV_PROPERTIES, CODE_TLV_PROPERTIES},
        {FEATURE_CCID_ESC_COMMAND, CODE_ESCAPE},
    };
    struct wbuf w = wbuf_over(out, cap);

    (void)s;
    (void)in;
    (void)n;
    if (cap < sizeof features / sizeof features[0] * 6)
        return R_SPACE;
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        wbuf_u8(&w, features[i].tag);
        wbuf_u8(&w, 4);
        wbuf_be32(&w, features[i].code);
    }
    *len = w.len;
    return R_SUCCESS;
}

static void put_property_u16(struct wbuf *w, uint8_t tag, unsigned v)
{
    wbuf_u8(w, tag);
    wbuf_u8(w, 2);
    wbuf_le16(w, v);
}

static enum result get_properties(struct slot *s, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    uint8_t bytes[64 + READER_FIRMWARE_MAX];
    struct wbuf w = wbuf_over(bytes, sizeof bytes);
    const struct reader *r = s->device->reader;
    const char *text = reader_identity(r)->firmware;
    size_t firmware = strnlen(text, READER_FIRMWARE_MAX);
    struct slot_status st;

    (void)in;
    (void)n;
    slot_status(s, &st);
    put_property_u16(&w, PCSCv2_PART10_PROPERTY_wLcdLayout, 0); /* no display */
    wbuf_u8(&w, PCSCv2_PART10_PROPERTY_bTimeOut2);              /* no PIN entry, so no second time-out */
    wbuf_u8(&w, 1);
    wbuf_u8(&w, 0);
    if (firmware > 0) {
        wbuf_u8(&w, PCSCv2_PART10_PROPERTY_sFirmwareID);
        wbuf_u8(&w, (unsigned)firmware);
        wbuf_bytes(&w, text, firmware);
    }
    wbuf_u8(&w, PCSCv2_PART10_PROPERTY_bPPDUSupport); /* the features have no form as FF C2 01 */
    wbuf_u8(&w, 1);
    wbuf_u8(&w, 0);
    wbuf_u8(&w, PCSCv2_PART10_PROPERTY_dwMaxAPDUDataSize);
    wbuf_u8(&w, 4);
    wbuf_le32(&w, (uint32_t)st.max_apdu_data);
    if (r->transport && r->transport->facts.vid != 0) {
        put_property_u16(&w, PCSCv2_PART10_PROPERTY_wIdVendor, r->transport->facts.vid);
        put_property_u16(&w, PCSCv2_PART10_PROPERTY_wIdProduct, r->transport->facts.pid);
    }
    if (w.failed || w.len > cap)
        return R_SPACE;
    memcpy(out, bytes, w.len);
    *len = w.len;
    return R_SUCCESS;
}

static enum result escape(struct slot *s, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    if (n == 0)
        return R_INVALID;
    if (in[0] == 0xFF)
        return pseudo_transmit(s, in, n, out, cap, len);
    return slot_command(s, in, n, out, cap, len);
}

static const struct {
    unsigned long code;
    enum result (*run)(struct slot *s, const uint8_t *in, size_t n, uint8_t *out, size_t cap, size_t *len);
} controls[] = {
    {CODE_GET_FEATURES, get_features},
    {CODE_GET_FEATURES_WINDOWS, get_features},
    {CODE_TLV_PROPERTIES, get_properties},
    {CODE_ESCAPE, escape},
    {CODE_ESCAPE_3500, escape},
};

enum result control_call(struct slot *slot, unsigned long code, const uint8_t *in, size_t n, uint8_t *out, size_t cap,
                         size_t *len)
{
    *len = 0;
    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++) {
        if (controls[i].code == code) {
            enum result r = controls[i].run(slot, in, n, out, cap, len);

            if (r != R_SUCCESS)
                *len = 0;
            return r;
        }
    }
    return R_NOT_SUPPORTED;
}
