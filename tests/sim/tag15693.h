/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One ISO/IEC 15693 tag: memory, locks and the three states a powered tag can be in. It takes a request as it stands
 * on the air, CRC included, and gives the response in the same form, so that the recorded frames can be played against
 * it unchanged. A tag is silent where a real one is: bad CRC, another tag's UID, an inventory it does not match.
 */
#ifndef PURSE_TAG15693_H
#define PURSE_TAG15693_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TAG15693_UID = 8, TAG15693_BLOCKS = 256, TAG15693_BLOCK_MAX = 32 };
/* The longest response: flags, every block with its security byte, CRC. */
enum { TAG15693_RSP_MAX = 1 + TAG15693_BLOCKS * (TAG15693_BLOCK_MAX + 1) + 2 };

enum tag15693_state { TAG15693_READY, TAG15693_QUIET, TAG15693_SELECTED };

struct tag15693 {
    uint8_t uid[TAG15693_UID]; /* as on the air: least significant byte first, E0 last */
    uint8_t dsfid, afi, ic;
    bool dsfid_locked, afi_locked;
    unsigned blocks, block_size;
    uint8_t data[TAG15693_BLOCKS][TAG15693_BLOCK_MAX];
    bool locked[TAG15693_BLOCKS];
    enum tag15693_state state;

    /* behaviour that differs between chips */
    bool strict_select;           /* selected: answers requests with the select flag only */
    uint8_t write_multiple_error; /* 0: command 24 works; else the error code it answers */
    uint8_t program_error;        /* 0: programming works; else 13 or 14 is answered and nothing changes */
    bool no_system_info;          /* command 2B answers 01 */
    unsigned write_ms;            /* time of one write or lock */

    /* what a test looks at */
    unsigned long requests; /* requests this tag acted upon */
    unsigned long writes;   /* blocks, AFI or DSFID really written */
    unsigned long locks;
};

/* CRC-16/X-25 of ISO 3309, sent low byte first. */
uint16_t tag15693_crc(const uint8_t *data, size_t n);

/* A fresh tag: 28 blocks of 4 zero bytes, everything unlocked, DSFID and AFI 00, IC reference 01. */
void tag15693_init(struct tag15693 *t, const uint8_t uid[TAG15693_UID]);

/* Sets what a test may choose ("uid", "dsfid", "afi", "ic", "blocks", "blocksize", "wm", "program", "sysinfo",
 * "select", "writems"). Returns false for an unknown key or a bad value. */
bool tag15693_set(struct tag15693 *t, const char *key, const char *value);

/* The field was lost: the tag comes back in the state ready. */
void tag15693_power(struct tag15693 *t);

/* One request with its CRC. Returns the length of the response with its CRC, 0 for silence. *ms is set to the time
 * the tag needs; *slot (may be NULL) to the inventory slot it answers in, else 0. */
size_t tag15693_air(struct tag15693 *t, const uint8_t *req, size_t n, uint8_t rsp[TAG15693_RSP_MAX], unsigned *ms,
                    unsigned *slot);

#endif
