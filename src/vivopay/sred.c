/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Readers made for payment look at what a card says ("SRED", IDG p289 and p300): data that looks like a card number is
 * kept back with status 06, or, where a key for data encryption was injected, every answer comes encrypted:
 *
 *   LEN (2) ciphertext (LEN) [SW (2), only for APDUs] 000A KSN (10) 0010 MAC (16), or 0000 without MAC
 *
 * Neither is data for a client. The form is recognised by its lengths, all of which have to fit to the byte: 4 bytes at
 * least have to agree by chance in a card's own answer, and the last two would have to be no status word.
 */
#include "vivopay/internal.h"

#include "base/buf.h"

enum { KSN = 10, MAC = 16, SHORTEST = 2 + 1 + 2 + KSN + 2 };

static bool fits(const uint8_t *p, size_t n, size_t sw)
{
    struct rbuf b = rbuf_over(p, n);
    uint16_t len = rbuf_be16(&b), mac;

    (void)rbuf_bytes(&b, len);
    (void)rbuf_bytes(&b, sw);
    if (len == 0 || rbuf_be16(&b) != KSN)
        return false;
    (void)rbuf_bytes(&b, KSN);
    mac = rbuf_be16(&b);
    if (b.failed || (mac != 0 && mac != MAC))
        return false;
    return b.left == mac;
}

bool vivo_is_encrypted(const uint8_t *p, size_t n)
{
    return n >= SHORTEST && (fits(p, n, 2) || fits(p, n, 0));
}

void vivo_explain_blocked(struct vivo *v, uint8_t status)
{
    if (status == VIVO_NO_ENCRYPTION_KEY || status == VIVO_KSN_EXHAUSTED)
        log_fault(v->reader.log,
                  "status %02X, %s: the reader is set to encrypt what cards say and cannot; ID TECH's tools can switch "
                  "that off",
                  status, vivo_status(status)->meaning);
    else
        log_fault(v->reader.log,
                  "status 06: this reader (SRED) keeps the card's answer back, because it looks like payment "
                  "data and is not on its white list; answered 69 82");
}

void vivo_explain_encrypted(struct vivo *v)
{
    log_fault(v->reader.log,
              "the reader returns encrypted data: it cannot serve as a PC/SC reader until data encryption is "
              "switched off with ID TECH's tools; answered 69 82");
}
