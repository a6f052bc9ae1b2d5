/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Operations that every reader has. None of them touches the card or presence; those that send nothing are answered
 * from what was read when the reader was opened.
 */
#include <string.h>

#include "pseudo/job.h"
#include "pseudo/operation.h"
#include "reader/device.h"

static bool is_vendor(const struct reader_family *f, uint16_t vendor)
{
    for (size_t i = 0; i < f->vendor_id_count; i++) {
        if (f->vendor_ids[2 * i] == vendor >> 8 && f->vendor_ids[2 * i + 1] == (vendor & 0xFF))
            return true;
    }
    return false;
}

/* What a reader makes of a command it got is in its answer's status bytes, with 90 00 behind; the status words here are
 * for commands that it never saw. */
enum result run_reader_command(struct slot *slot, const struct operation *op, struct answer *a)
{
    size_t n = 0;
    enum result r;

    if (!is_vendor(slot->device->reader->family, op->vendor)) {
        a->sw = SW_NOT_SUPPORTED;
        return R_SUCCESS;
    }
    r = slot_command(slot, op->data, op->data_len, a->data.data, a->data.cap, &n);
    switch (r) {
    case R_SUCCESS:
        a->data.len = n;
        a->sw = SW_DONE;
        return R_SUCCESS;
    case R_DENIED:
        a->sw = SW_SECURITY;
        return R_SUCCESS;
    case R_NOT_SUPPORTED:
        a->sw = SW_NOT_SUPPORTED;
        return R_SUCCESS;
    case R_NOT_NOW:
        a->sw = SW_CONDITIONS;
        return R_SUCCESS;
    case R_INVALID:
        a->sw = SW_LENGTH; /* longer or shorter than the reader can take */
        return R_SUCCESS;
    default:
        return r;
    }
}

enum result run_firmware(struct slot *slot, const struct operation *op, struct answer *a)
{
    const char *firmware = reader_identity(slot->device->reader)->firmware;

    (void)op;
    wbuf_bytes(&a->data, firmware, strnlen(firmware, READER_FIRMWARE_MAX));
    a->sw = firmware[0] ? SW_DONE : SW_NOT_SUPPORTED;
    return R_SUCCESS;
}

enum result run_get_atr(struct slot *slot, const struct operation *op, struct answer *a)
{
    struct slot_status st;
    struct atr atr;

    (void)op;
    slot_status(slot, &st);
    if (st.gone)
        return R_GONE;
    if (!slot_atr(slot, &atr) || !st.present || atr.len > ATR_MAX)
        return R_NO_CARD;
    wbuf_bytes(&a->data, atr.bytes, atr.len);
    a->sw = SW_DONE;
    return R_SUCCESS;
}

/* Only a reader whose cards take keys has room for them. */
enum result run_load_key(struct slot *slot, const struct operation *op, struct answer *a)
{
    const struct storage_ops *ops = slot->device->reader->ops->storage;

    a->sw = SW_NOT_SUPPORTED;
    if (ops && ops->authenticate) {
        device_store_key(slot->device, op->key_number, op->data);
        a->sw = SW_DONE;
    }
    return R_SUCCESS;
}

/* ACS: P2 has the final state of the lamps in bits 0 (red) and 1 (green), and in bits 2 and 3 whether to change them.
 * What blinks between is left out. The last of the four bytes says when to sound. */
enum result run_led(struct job *j)
{
    const uint8_t p2 = j->op->target, *d = j->op->data;
    struct storage_signal s = {.red = -1, .green = -1};
    enum result r;

    if (!j->ops->indicate)
        return job_answer(j, SW_NOT_SUPPORTED);
    if (p2 & 4)
        s.red = p2 & 1;
    if (p2 & 8)
        s.green = p2 >> 1 & 1;
    if (d[3] > 3)
        return job_answer(j, SW_WRONG_DATA);
    if (d[3] != 0)
        s.beeps = d[2] < 1 ? 1 : d[2] > 4 ? 4 : d[2];
    r = j->ops->indicate(j->reader, &s, j->until);
    return r == R_SUCCESS ? job_answer(j, SW_DONE) : r == R_CARD ? job_answer(j, SW_FAILED) : job_result(j, r);
}

/* A reader that clients poll through this driver makes no sound of its own for a card: to switch that off is done. */
enum result run_buzzer(struct job *j)
{
    return job_answer(j, j->ops->indicate && j->op->target == 0 ? SW_DONE : SW_NOT_SUPPORTED);
}
