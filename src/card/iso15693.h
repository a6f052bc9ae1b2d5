/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ISO/IEC 15693-3: the frames of vicinity cards, the commands, and how several cards in one field are told apart. Pure:
 * whoever sends the frames is a callback. The frames here have no CRC unless it is asked for: a front end that makes
 * and checks it by itself takes them as they are.
 *
 *   request    flags | command | [manufacturer, custom commands only] | [UID, when addressed] | parameters | [CRC]
 *   response   flags | data, or an error code when flags bit 0 is set | [CRC]
 *
 * A UID is kept as it stands on the air, least significant byte first (E0 last), which is PC/SC's order too.
 */
#ifndef PURSE_ISO15693_H
#define PURSE_ISO15693_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/result.h"

enum {
    ISO15693_UID_SIZE = 8,
    ISO15693_CRC_SIZE = 2,
    ISO15693_BLOCK_MAX = 32,      /* bytes: five bits of the system information, plus one */
    ISO15693_BLOCKS_MAX = 256,    /* block numbers are one byte */
    ISO15693_REQUEST_MAX = 300,   /* what this driver sends in one frame, CRC included */
    ISO15693_RESPONSE_MAX = 1024, /* the most it takes */
    ISO15693_DEFAULT_BLOCK = 4    /* bytes, of a card that does not say */
};

/* Request flags (7.3.1). Bits 4 and 5 mean something else in an inventory. */
enum {
    ISO15693_TWO_SUBCARRIERS = 0x01,
    ISO15693_HIGH_RATE = 0x02,
    ISO15693_INVENTORY = 0x04,
    ISO15693_EXTENSION = 0x08,
    ISO15693_SELECTED = 0x10, /* only the selected card */
    ISO15693_ADDRESSED = 0x20,
    ISO15693_HAS_AFI = 0x10,  /* inventory: an AFI byte is there */
    ISO15693_ONE_SLOT = 0x20, /* inventory: 1 slot, else 16 */
    ISO15693_OPTION = 0x40    /* reads: the security status stands before each block */
};

enum iso15693_code {
    ISO15693_INVENTORY_CARDS = 0x01,
    ISO15693_STAY_QUIET = 0x02,
    ISO15693_READ_BLOCK = 0x20,
    ISO15693_WRITE_BLOCK = 0x21,
    ISO15693_LOCK_BLOCK = 0x22,
    ISO15693_READ_BLOCKS = 0x23,
    ISO15693_WRITE_BLOCKS = 0x24,
    ISO15693_SELECT = 0x25,
    ISO15693_RESET_TO_READY = 0x26,
    ISO15693_WRITE_AFI = 0x27,
    ISO15693_LOCK_AFI = 0x28,
    ISO15693_WRITE_DSFID = 0x29,
    ISO15693_LOCK_DSFID = 0x2A,
    ISO15693_SYSTEM_INFORMATION = 0x2B,
    ISO15693_SECURITY_STATUS = 0x2C,
    ISO15693_CUSTOM_FIRST = 0xA0,
    ISO15693_CUSTOM_LAST = 0xDF
};

/* Error codes of a response (7.4.2). */
enum {
    ISO15693_NOT_SUPPORTED = 0x01,
    ISO15693_NOT_RECOGNISED = 0x02,
    ISO15693_NO_OPTION = 0x03,
    ISO15693_NO_REASON = 0x0F,
    ISO15693_NO_SUCH_BLOCK = 0x10,
    ISO15693_LOCKED_ALREADY = 0x11,
    ISO15693_LOCKED = 0x12,
    ISO15693_NOT_PROGRAMMED = 0x13,
    ISO15693_NOT_LOCKED = 0x14
};

/* ---- the commands ---------------------------------------------------------------------------------------------- */

/* What follows the UID in a request. */
enum iso15693_shape {
    SHAPE_NONE,
    SHAPE_MASK,       /* [AFI] mask length in bits, mask */
    SHAPE_BLOCK,      /* block number */
    SHAPE_BLOCK_DATA, /* block number, one block */
    SHAPE_RANGE,      /* first block, number of blocks less one */
    SHAPE_RANGE_DATA, /* the same and all the blocks */
    SHAPE_BYTE,       /* AFI or DSFID */
    SHAPE_ANY         /* custom commands: the manufacturer's byte, which stands before the UID, and whatever it wants */
};

/* What follows the flags in an answer that is no error. */
enum iso15693_answer_shape {
    ANSWER_NEVER,
    ANSWER_EMPTY,
    ANSWER_TAG,
    ANSWER_BLOCKS,
    ANSWER_SYSTEM,
    ANSWER_STATUSES,
    ANSWER_ANY
};

struct iso15693_command {
    uint8_t code;
    uint8_t shape;    /* enum iso15693_shape */
    uint8_t answer;   /* enum iso15693_answer_shape */
    bool addressed;   /* makes sense only with a UID */
    bool repeatable;  /* changes nothing: may be sent again without proof */
    bool writes;      /* changes the card's memory, or may */
    bool lock;        /* permanent */
    uint32_t wait_us; /* how long the card may take before it begins to answer */
    const char *name;
};

/* The row of a command; custom commands share one. NULL for codes that the standard reserves. */
const struct iso15693_command *iso15693_command(uint8_t code);

/* ---- requests -------------------------------------------------------------------------------------------------- */

struct iso15693_request {
    uint8_t flags; /* as on the air */
    uint8_t code;
    const uint8_t *uid; /* needed when addressed */
    const uint8_t *params;
    size_t n;
};

/* Does the request fit its command? block_size 0: not known. R_INVALID: it would be refused or, worse, misread by a
 * card, and is not to be sent: a parameter of a wrong length, a write of more or fewer blocks than its count byte says.
 * R_NOT_SUPPORTED: no such command. R_PROTOCOL: the addressing makes no sense for the command. */
enum result iso15693_check(const struct iso15693_request *q, unsigned block_size);

/* Writes the frame; returns its length, 0 if it does not fit or a UID or manufacturer's byte is missing. Does not judge
 * the parameters (iso15693_check does). */
size_t iso15693_build(const struct iso15693_request *q, bool with_crc, uint8_t *frame, size_t cap);

/* A request frame (CRC off) taken apart again: what a client's own frame asks for. R_INVALID when it is too short for
 * its flags. uid and params point into the frame. */
enum result iso15693_parse_request(const uint8_t *frame, size_t n, struct iso15693_request *q);

/* Puts the CRC behind n bytes of the frame. Returns n + 2; 0 if it does not fit. */
size_t iso15693_add_crc(uint8_t *frame, size_t n, size_t cap);

/* ---- responses ------------------------------------------------------------------------------------------------- */

struct iso15693_response {
    uint8_t flags;
    uint8_t error;       /* 0: none */
    const uint8_t *data; /* n bytes inside the frame */
    size_t n;
};

/* Takes a response apart. with_crc: it ends in its CRC, which is checked. R_COMM: too short, wrong CRC, an error flag
 * without an error code. */
enum result iso15693_parse_response(const uint8_t *frame, size_t n, bool with_crc, struct iso15693_response *out);

/* Is the answer one that the request (which passed iso15693_check) can have? block_size 0: not known. An error always
 * is. */
bool iso15693_answers(const struct iso15693_request *q, const struct iso15693_response *a, unsigned block_size);

struct iso15693_system {
    uint8_t uid[ISO15693_UID_SIZE];
    bool has_dsfid, has_afi, has_memory, has_reference;
    uint8_t dsfid, afi, reference;
    unsigned blocks;     /* 1 … 256 */
    unsigned block_size; /* 1 … 32 */
};

/* The data of an answer to Get system information. R_COMM when it is cut; bytes behind the announced fields are left
 * alone, for later editions of the standard may add some. */
enum result iso15693_parse_system(const uint8_t *data, size_t n, struct iso15693_system *s);

/* ---- one card -------------------------------------------------------------------------------------------------- */

/* What is known of a card and its state. */
struct iso15693_card {
    uint8_t uid[ISO15693_UID_SIZE];
    unsigned block_size;
    unsigned blocks;          /* 0: not known */
    bool selected;            /* by a Select that it did not refuse (a lost answer leaves it possible) */
    bool quiet;
    bool no_read_blocks;      /* it refused 23 */
    bool no_write_blocks;     /* it refused 24 */
};

void iso15693_card_init(struct iso15693_card *card, const uint8_t uid[ISO15693_UID_SIZE]);

/* Takes over block size and number of blocks. */
void iso15693_card_learn(struct iso15693_card *card, const struct iso15693_system *s);

/* A request went out and `a` came back (NULL: nothing): what it did to the card's state. For every frame, whoever made
 * it. */
void iso15693_card_track(struct iso15693_card *card, const uint8_t *frame, size_t n, const struct iso15693_response *a);

/* The name of the chip in PC/SC part 3's list of storage cards, told from the UID; 0000 when there is doubt. */
uint16_t iso15693_card_name(const uint8_t uid[ISO15693_UID_SIZE]);

/* ---- inventory ------------------------------------------------------------------------------------------------- */

/* What came back over the air. */
enum iso15693_air {
    AIR_SILENCE,
    AIR_ANSWER,   /* a frame whose CRC was right, if it still has one */
    AIR_COLLISION,
    AIR_BROKEN    /* something that fails its check: a weak collision looks so too */
};

enum { ISO15693_TAGS_MAX = 16, ISO15693_INVENTORY_STEPS = 600 };

struct iso15693_tag {
    uint8_t dsfid;
    uint8_t uid[ISO15693_UID_SIZE];
};

/* Sends n bytes without CRC and brings the answer without CRC. Anything but R_SUCCESS ends the inventory. */
typedef enum result (*iso15693_exchange_fn)(void *context, const uint8_t *frame, size_t n, enum iso15693_air *air,
                                            uint8_t *answer, size_t cap, size_t *len);

struct iso15693_search {
    uint8_t flags;    /* rate and sub-carriers; 0: high rate, one sub-carrier */
    bool has_afi;
    uint8_t afi;
    unsigned bits;    /* 0 … 64: length of the mask to begin with */
    uint64_t mask;    /* its bits, the UID's least significant first */
    size_t wanted;    /* stop when so many are found; at most ISO15693_TAGS_MAX */
    unsigned steps;   /* the most frames to send; 0: ISO15693_INVENTORY_STEPS */
};

struct iso15693_found {
    struct iso15693_tag tags[ISO15693_TAGS_MAX];
    size_t count;
    unsigned steps; /* frames sent */
    bool more;      /* it stopped before the whole field was searched, or a collision could not be resolved */
};

/* The parameters of an inventory as a client gives them ([AFI] mask length, mask). R_INVALID: cut, or more bits than
 * a UID has. */
enum result iso15693_parse_mask(struct iso15693_search *s, const uint8_t *params, size_t n);

/* Finds the cards in the field. A card answers an inventory whose mask its UID's low bits match; when several do, their
 * answers collide, and the mask is made longer by one nibble, whose 16 values are walked. (A reader made for these
 * cards has them walk by itself, 16 slots to one request; that takes pulses that a raw exchange cannot send.) R_SUCCESS
 * also when nobody answered. */
enum result iso15693_inventory(const struct iso15693_search *s, iso15693_exchange_fn exchange, void *context,
                               struct iso15693_found *found);

#endif
