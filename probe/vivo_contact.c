/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows of a ViVOpay reader about its contact slot and SAMs, about encryption, and about ISO 15693.
 */
#include "probe/vivo_rows.h"

#include <string.h>

#include "base/checksum.h"

enum { SAM_1 = 0x21, SAMS = 8, INVENTORY_SIZE = 10, TAG_UID = 8, TAG_MARK = 0xE0 };

static struct vivo_heard h;

/* SELECT of the main file, of a bank card's directory, of a SIM's main file: one of them has something to tell. */
enum { SELECTS = 3, SELECT_MAX = 20 };

static const struct {
    uint8_t n, bytes[SELECT_MAX];
} selects[SELECTS] = {
    {8, {VIVO_ICC_INTERFACE, 0x00, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00}},
    {20,
     {VIVO_ICC_INTERFACE,
      0x00,
      0xA4,
      0x04,
      0x00,
      0x0E,
      '1',
      'P',
      'A',
      'Y',
      '.',
      'S',
      'Y',
      'S',
      '.',
      'D',
      'D',
      'F',
      '0',
      '1'}},
    {8, {VIVO_ICC_INTERFACE, 0xA0, 0xA4, 0x00, 0x00, 0x02, 0x3F, 0x00}},
};

static bool get_atr(struct probe *p, uint8_t interface, struct atr_info *info)
{
    return vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_GET_ATR, &interface, 1, 0, &h) && vivo_ok(&h) &&
           atr_parse(info, h.data, h.n) == R_SUCCESS;
}

static bool contact_apdu(struct probe *p, size_t i)
{
    return vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_CONTACT_APDU, selects[i].bytes, selects[i].n, 0, &h) &&
           vivo_ok(&h) && h.n >= 2;
}

/* ---- the contact slot -------------------------------------------------------------------------------------------- */

void row_v39(struct probe *p)
{
    struct atr_info info;

    if (get_atr(p, VIVO_ICC_INTERFACE, &info)) {
        p->v->icc = true;
        confirmed(p, "2C-12 brings the card's ATR, %zu bytes", h.n);
    } else if (h.kind != VIVO_ANSWER) {
        contradicted(p, NULL, "2C-12 brings no answer");
    } else if (vivo_ok(&h)) {
        contradicted(p, NULL, "2C-12 is answered with status 00 and %zu bytes that are no ATR", h.n);
    } else {
        contradicted(p, NULL, "2C-12 is answered with status %02X, and a card is in the slot", h.status);
    }
}

void row_v40(struct probe *p)
{
    struct atr_info info;
    unsigned sw = 0;

    if (!get_atr(p, VIVO_ICC_INTERFACE, &info) || !(info.protocols & 1)) {
        not_tried(p, "no T=0 card answers in the contact slot");
        return;
    }
    for (size_t i = 0; i < SELECTS; i++) {
        if (!contact_apdu(p, i)) {
            contradicted(p, NULL, "2C-13 with SELECT is answered with status %02X", h.status);
            return;
        }
        if (judge_get_response(p, h.data, h.n, &sw))
            return;
    }
    not_tried(p, "the card answers %04X to SELECT, so 61xx was not seen", sw);
}

void row_v41(struct probe *p)
{
    struct atr_info info;

    if (!get_atr(p, VIVO_ICC_INTERFACE, &info) || !contact_apdu(p, 0)) {
        not_tried(p, "no card answers in the contact slot");
        return;
    }
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, VIVO_SUB_CONTACT_OFF, NULL, 0, 0, &h))
        contradicted(p, NULL, "2C-18 brings no answer");
    else if (!vivo_ok(&h))
        contradicted(p, NULL, "2C-18 without data is answered with status %02X", h.status);
    else if (contact_apdu(p, 0))
        contradicted(p, NULL, "after 2C-18 the card answers an APDU");
    else
        confirmed(p, "after 2C-18 an APDU is answered with status %02X", h.status);
}

/* ---- SAM --------------------------------------------------------------------------------------------------------- */

static void suggest_slots(struct probe *p)
{
    char setting[SETTING_MAX];
    size_t n = (size_t)snprintf(setting, sizeof setting, "slots = cl%s", p->v->icc ? ".icc" : "");

    for (unsigned i = 0; i < SAMS; i++)
        if (p->v->sams & 1u << i)
            n += (size_t)snprintf(setting + n, sizeof setting - n, ".sam%u", i + 1);
    if (p->v->icc || p->v->sams)
        suggest(p, setting);
}

void row_v42(struct probe *p)
{
    struct atr_info info;
    unsigned found = 0;

    if (p->need == NEED_LAST) {
        suggest_slots(p);
        return;
    }
    for (unsigned i = 0; i < SAMS && !p->gone; i++) {
        if (get_atr(p, (uint8_t)(SAM_1 + i), &info)) {
            p->v->sams |= 1u << i;
            found++;
        }
        if (h.status == VIVO_UNKNOWN_COMMAND || h.status == VIVO_UNKNOWN_SUB_COMMAND)
            break;
    }
    if (found > 0)
        confirmed(p, "%u SAM%s answered with an ATR", found, found == 1 ? "" : "s");
    else if (p->o->sam)
        contradicted(p, NULL, "there is a SAM, and 2C-12 of 21 to 28 brings no ATR (status %02X)", h.status);
    else
        not_tried(p, "no SAM answers (status %02X); if there is one say so by --sam", h.status);
}

/* ---- encryption -------------------------------------------------------------------------------------------------- */

/* What encrypts counts: the same answer, asked for once more, comes with another KSN and other bytes. */
static void look_for_encryption(struct probe *p)
{
    static uint8_t first[VIVO_DATA_MAX];
    size_t n;

    if (!vivo_open_apdu(p, &h) || !vivo_apdu(p, vivo_select_ppse, vivo_select_ppse_size, &h))
        return;
    n = h.n;
    memcpy(first, h.data, n);
    if (!vivo_is_encrypted(first, n)) {
        if (first[n - 2] >> 4 != 0x6 && first[n - 2] >> 4 != 0x9)
            contradicted(p, NULL, "an answer of %zu bytes has no status word, nor the shape of encrypted data", n);
        return;
    }
    if (!vivo_open_apdu(p, &h) || !vivo_apdu(p, vivo_select_ppse, vivo_select_ppse_size, &h))
        return;
    if (h.n == n && memcmp(h.data, first, n) == 0)
        contradicted(p, NULL,
                     "an answer has the shape of encrypted data, but is the same, KSN too, when it comes again");
}

void row_v43(struct probe *p)
{
    if (p->need == NEED_APDU)
        look_for_encryption(p);
    else if (p->v->encrypted > 0)
        confirmed(p, "%u of %u answers of cards have the shape of encrypted data: the driver cannot use this reader so",
                  p->v->encrypted, p->v->apdus);
    else
        not_tried(p, "no encrypted data came from this reader (%u answers of cards)", p->v->apdus);
}

/* ---- ISO 15693 --------------------------------------------------------------------------------------------------- */

/* An inventory; the CRC made by the front end or by us. True: a tag answered. */
static bool inventory(struct probe *p, bool own_crc)
{
    uint8_t frame[5] = {0x26, 0x01, 0x00}, pcd;
    uint16_t crc = crc16_x25(frame, 3);

    frame[3] = (uint8_t)crc;
    frame[4] = (uint8_t)(crc >> 8);
    return vivo_raw(p, 0x01, own_crc ? 0x00 : VIVO_RAW_B, frame, own_crc ? 5 : 3, &pcd, &h) && pcd == PCD_OK &&
           h.n >= 5 + INVENTORY_SIZE && h.data[5 + INVENTORY_SIZE - 1] == TAG_MARK;
}

void row_v44(struct probe *p)
{
    vivo_poll_by(p, VIVO_SUB_POLL, &h); /* switches the field on */
    if (inventory(p, false))
        confirmed(p, "an inventory is answered, with the CRC of the front end");
    else if (inventory(p, true))
        confirmed(p, "an inventory is answered, with a CRC made by the driver");
    else
        contradicted(p, "iso15693 = off", "a tag is on the reader, and no inventory is answered (status %02X)",
                     h.status);
}

void row_v45(struct probe *p)
{
    const struct vivo_card *c = &p->v->card;

    if (!vivo_poll_by(p, VIVO_SUB_POLL, &h) && !vivo_poll_by(p, VIVO_SUB_NFC, &h))
        not_tried(p, "this reader's own polls do not find the tag");
    else if (c->uid_len == TAG_UID && (c->uid[0] == TAG_MARK || c->uid[TAG_UID - 1] == TAG_MARK))
        confirmed(p, "a poll finds the tag as type %02X, eight bytes with E0 at one end", c->type);
    else
        contradicted(p, "iso15693 = off", "a poll finds the tag as type %02X with a serial number of %zu bytes",
                     c->type, c->uid_len);
}

void row_v46(struct probe *p)
{
    static const uint8_t type_a = 1;
    uint8_t halt;

    if (!vivo_open_apdu(p, &h))
        return;
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, 0x16, NULL, 0, 0, &h)) {
        contradicted(p, NULL, "2C-16 brings no answer");
        return;
    }
    halt = h.status;
    if (!vivo_do(p, VIVO_CMD_PASS_THROUGH, 0x09, &type_a, 1, 0, &h))
        contradicted(p, NULL, "2C-09 brings no answer");
    else
        confirmed(p, "2C-16 is answered %02X, 2C-09 %02X", halt, h.status);
}
