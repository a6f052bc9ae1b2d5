/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each attribute is a row of a const table: its tag, and a function that writes its value into a bounded buffer.
 * Whether the value fits the caller is checked in one place, after that and before anything is copied. The functions
 * read snapshots and constants; none talks to a reader, for pcscd asks some of them while the reader works.
 *
 * Numbers are in host order and 32 bits wide (one byte where the standard says so), texts end with a NUL byte: what
 * clients are used to from other drivers.
 */
#include "attributes.h"

#include <PCSC/reader.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "card/apdu.h"
#include "lun.h"
#include "reader/device.h"

/* A value; false: not known of this reader. */
typedef bool (*get_fn)(struct slot *s, struct wbuf *w);

static void put_u32(struct wbuf *w, uint32_t v)
{
    wbuf_bytes(w, &v, sizeof v);
}

static void put_text(struct wbuf *w, const char *text)
{
    wbuf_bytes(w, text, strlen(text) + 1);
}

static struct slot_status status_of(struct slot *s)
{
    struct slot_status st;

    slot_status(s, &st);
    return st;
}

/* ---- the driver -------------------------------------------------------------------------------------------- */

static bool get_simultaneous(struct slot *s, struct wbuf *w)
{
    (void)s;
    wbuf_u8(w, LUN_TABLE_SIZE);
    return true;
}

static bool get_one(struct slot *s, struct wbuf *w)
{
    (void)s;
    wbuf_u8(w, 1);
    return true;
}

static bool get_zero(struct slot *s, struct wbuf *w)
{
    (void)s;
    wbuf_u8(w, 0);
    return true;
}

static bool get_poll(struct slot *s, struct wbuf *w)
{
    RESPONSECODE (*fn)(DWORD, int) = ifd_poll;

    (void)s;
    wbuf_bytes(w, &fn, sizeof fn);
    return true;
}

static bool get_stop_poll(struct slot *s, struct wbuf *w)
{
    RESPONSECODE (*fn)(DWORD) = ifd_stop_poll;

    (void)s;
    wbuf_bytes(w, &fn, sizeof fn);
    return true;
}

/* pcscd kills its thread for one byte that is not 0 and asks for the stop function for everything else. A thread that
 * is killed inside this driver would leave its locks taken for ever. */
static bool get_nothing(struct slot *s, struct wbuf *w)
{
    (void)s;
    (void)w;
    return true;
}

/* ---- the reader ------------------------------------------------------------------------------------------- */

static bool get_slots(struct slot *s, struct wbuf *w)
{
    wbuf_u8(w, s->device->reader->slot_count);
    return true;
}

static bool get_vendor(struct slot *s, struct wbuf *w)
{
    put_text(w, s->device->reader->family->vendor);
    return true;
}

static bool get_type(struct slot *s, struct wbuf *w)
{
    const struct reader *r = s->device->reader;
    const char *type = reader_identity(r)->type;

    put_text(w, type[0] ? type : r->family->type);
    return true;
}

static bool get_version(struct slot *s, struct wbuf *w)
{
    uint32_t version = reader_identity(s->device->reader)->version;

    put_u32(w, version);
    return version != 0;
}

/* Without one the value is empty: libccid answers so, and clients are written against it. */
static bool get_serial(struct slot *s, struct wbuf *w)
{
    const char *serial = reader_identity(s->device->reader)->serial;

    if (serial[0])
        put_text(w, serial);
    return true;
}

/* PC/SC part 3: 0020 is USB, bus and address follow. A serial port has a name but no number. */
static bool get_channel(struct slot *s, struct wbuf *w)
{
    const struct transport *t = s->device->reader->transport;

    if (!t || t->facts.vid == 0)
        return false;
    put_u32(w, 0x00200000U | (t->facts.bus & 0xFF) << 8 | (t->facts.address & 0xFF));
    return true;
}

/* ---- the card --------------------------------------------------------------------------------------------- */

static bool get_atr(struct slot *s, struct wbuf *w)
{
    struct atr atr;

    if (slot_atr(s, &atr))
        wbuf_bytes(w, atr.bytes, atr.len < ATR_MAX ? atr.len : ATR_MAX);
    return true;
}

/* The longest APDU: header, extended Lc and Le around the data. */
static bool get_maxinput(struct slot *s, struct wbuf *w)
{
    size_t data = status_of(s).max_apdu_data;
    size_t n = data == 0 ? (size_t)APDU_SHORT_MAX : data + 9;

    put_u32(w, n < APDU_EXTENDED_MAX ? (uint32_t)n : APDU_EXTENDED_MAX);
    return true;
}

/* 0 none, 2 there (1 is for readers that can swallow a card and have not). */
static bool get_presence(struct slot *s, struct wbuf *w)
{
    wbuf_u8(w, status_of(s).present ? 2 : 0);
    return true;
}

static bool get_interface(struct slot *s, struct wbuf *w)
{
    wbuf_u8(w, status_of(s).powered ? 1 : 0);
    return true;
}

/* SCARD_PROTOCOL_T0 or _T1; 0 without a powered card. */
static bool get_protocol(struct slot *s, struct wbuf *w)
{
    struct slot_status st = status_of(s);

    put_u32(w, !st.powered ? 0 : st.protocol == 1 ? SCARD_PROTOCOL_T1 : SCARD_PROTOCOL_T0);
    return true;
}

/* ---- the table -------------------------------------------------------------------------------------------- */

static const struct attribute {
    DWORD tag;
    bool of_slot; /* needs a slot */
    get_fn get;
} attributes[] = {
    {TAG_IFD_SIMULTANEOUS_ACCESS, false, get_simultaneous},
    {TAG_IFD_THREAD_SAFE, false, get_one},       /* each reader gets a mutex of its own in pcscd */
    {TAG_IFD_SLOT_THREAD_SAFE, false, get_zero}, /* the slots of one reader share its line */
    {TAG_IFD_POLLING_THREAD_WITH_TIMEOUT, false, get_poll},
    {TAG_IFD_STOP_POLLING_THREAD, false, get_stop_poll},
    {TAG_IFD_POLLING_THREAD_KILLABLE, false, get_nothing},
    {TAG_IFD_DEVICE_REMOVED, false, get_one}, /* yes, tell us */
    {TAG_IFD_SLOTS_NUMBER, true, get_slots},
    {TAG_IFD_ATR, true, get_atr},
    {SCARD_ATTR_ATR_STRING, true, get_atr},
    {SCARD_ATTR_VENDOR_NAME, true, get_vendor},
    {SCARD_ATTR_VENDOR_IFD_TYPE, true, get_type},
    {SCARD_ATTR_VENDOR_IFD_VERSION, true, get_version},
    {SCARD_ATTR_VENDOR_IFD_SERIAL_NO, true, get_serial},
    {SCARD_ATTR_CHANNEL_ID, true, get_channel},
    {SCARD_ATTR_MAXINPUT, true, get_maxinput},
    {SCARD_ATTR_ICC_PRESENCE, true, get_presence},
    {SCARD_ATTR_ICC_INTERFACE_STATUS, true, get_interface},
    {SCARD_ATTR_CURRENT_PROTOCOL_TYPE, true, get_protocol},
    /* The friendly and system names are not here: pcscd fills them in when a driver does not know the tag. */
};

static const struct attribute *find(DWORD tag)
{
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        if (attributes[i].tag == tag)
            return &attributes[i];
    }
    return NULL;
}

enum result attribute_get(struct slot *slot, DWORD tag, uint8_t *value, size_t *length)
{
    const struct attribute *a = find(tag);
    uint8_t bytes[ATTRIBUTE_MAX];
    struct wbuf w = wbuf_over(bytes, sizeof bytes);
    size_t room = *length;

    if (!a)
        return R_NOT_SUPPORTED;
    if (a->of_slot && !slot)
        return R_SYSTEM;
    if (!a->get(slot, &w))
        return R_NOT_SUPPORTED;
    if (w.failed)
        return R_SYSTEM; /* a text of a family that is longer than any should be */
    *length = w.len;
    if (!value)
        return R_SUCCESS;
    if (w.len > room)
        return R_SPACE;
    memcpy(value, bytes, w.len);
    return R_SUCCESS;
}

enum result attribute_set(struct slot *slot, DWORD tag, const uint8_t *value, size_t length)
{
    if (tag != TAG_IFD_DEVICE_REMOVED)
        return R_NOT_SUPPORTED;
    if (!value || length != 1 || value[0] != 1)
        return R_INVALID;
    device_removed(slot->device);
    return R_SUCCESS;
}
