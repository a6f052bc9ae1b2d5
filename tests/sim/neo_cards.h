/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The contactless cards a simulated ViVOpay reader can have in its field: MIFARE Classic and Ultralight memory, FeliCa
 * and Topaz, plain ISO 14443-3 cards, ISO 14443-4 cards with an APDU card of sim.h behind them, ISO 15693 tags.
 *
 * A card is used on two levels. The reader's own high level commands call the operations below; the raw exchange
 * speaks frames with neo_card_air(). Both work on the same memory and the same session (state, authentication, block
 * number), so a test may mix them as a driver may.
 */
#ifndef PURSE_NEO_CARDS_H
#define PURSE_NEO_CARDS_H

#include "sim.h"
#include "tag15693.h"

enum neo_kind {
    NEO_CLASSIC,
    NEO_ULTRALIGHT,
    NEO_FELICA,
    NEO_TOPAZ,
    NEO_PLAIN_A,
    NEO_PLAIN_B,
    NEO_ISO_A,
    NEO_ISO_B,
    NEO_DUAL, /* MIFARE Classic 1K and ISO 14443-4 type A in one */
    NEO_VICINITY
};

enum neo_result { NEO_OK, NEO_NAK, NEO_MUTE };

/* ISO 14443-3 states; ready and protocol are sub-states of being selected step by step and of having got RATS. */
enum neo_air_state { NEO_IDLE, NEO_READY, NEO_ACTIVE, NEO_HALT, NEO_PROTOCOL };

enum {
    NEO_UID_MAX = 10,
    NEO_ATS_MAX = 20,
    NEO_MEM_MAX = 4096,
    NEO_MF_BLOCK = 16,
    NEO_UL_PAGE = 4,
    NEO_NO_BLOCK = 0xFFFF,
    NEO_AIR_MAX = 2048
};

struct neo_card {
    enum neo_kind kind;
    char name[64];
    uint8_t type;     /* as 2C-02 names it; 00: only 2C-40 or 2C-44 find it */
    uint8_t nfc_type; /* as 2C-40 names it */
    uint8_t uid[NEO_UID_MAX];
    size_t uid_len;
    bool random_uid;
    unsigned random_count;
    uint8_t ats[NEO_ATS_MAX];
    size_t ats_len;
    bool ats_given; /* by option; else it follows the ATR of the APDU card */
    uint16_t atqa;
    uint8_t sak;

    const struct sim_card_ops *ops; /* ISO 14443-4 only */
    struct sim_card *apdu;
    bool powered;
    bool here;                  /* a card that comes and goes by itself: it is there now */
    void (*changed)(void *arg); /* called when that changes; NULL: nobody cares */
    void *changed_arg;

    uint8_t mem[NEO_MEM_MAX];
    size_t mem_len;
    unsigned bad_block; /* refuses every access; NEO_NO_BLOCK: none */
    bool has_version;   /* Ultralight family: knows GET_VERSION and FAST_READ */
    uint8_t lite_key[16];
    bool lite_auth; /* FeliCa Lite: 2C-42 succeeded */

    /* session: lost with the field */
    enum neo_air_state air;
    unsigned cascade;  /* anticollision levels done */
    bool auth, auth_b; /* MIFARE Classic */
    unsigned auth_sector;
    uint8_t reg[NEO_MF_BLOCK]; /* MIFARE internal data register */
    bool reg_full;
    uint8_t pending_cmd; /* first phase of a two-phase command; 0: none */
    uint8_t pending_block;
    uint8_t block_number; /* ISO 14443-4, the card's */
    uint8_t last[NEO_AIR_MAX];
    size_t last_len;
    bool stays; /* keeps its session after it refused a command (real ones fall back to idle) */

    struct tag15693 tag;

    /* what a test looks at */
    unsigned long activations, writes, value_ops, executions;
    unsigned long block_ops[256]; /* value operations done, by the block written */
};

/* Makes a card from "NAME[,key=value…]"; NULL with the reason in why. Names: mifare1k, mifare4k, mini, ultralight,
 * ntag, felica, topaz, topaz512, typea, typeb, desfire, iso:CARD, isob:CARD, dual:CARD, tag15693. Keys: uid, random,
 * ats, type, nfc, sak, badblock, keya, keyb, access, desfire-like and APDU cards: what the APDU card takes. */
struct neo_card *neo_card_new(const char *spec, char *why, size_t why_size);
void neo_card_free(struct neo_card *c);

bool neo_card_is_iso(const struct neo_card *c);     /* has an ISO 14443-4 side */
bool neo_card_is_classic(const struct neo_card *c); /* has MIFARE Classic memory */

/* The field went off. */
void neo_card_power_off(struct neo_card *c);
/* Anticollision and selection by the reader; ISO 14443-4 cards get RATS or ATTRIB if iso. False: the card is mute. */
bool neo_card_activate(struct neo_card *c, bool iso);
/* True if the card can be found at all (a card from another process may not be there yet). */
bool neo_card_answers(struct neo_card *c);

/* One APDU to a card that answers within the call; returns the length of the response, 0 for silence. */
size_t neo_card_apdu(struct neo_card *c, const uint8_t *apdu, size_t n, uint8_t rapdu[SIM_RAPDU_MAX], unsigned *ms);

/* Reads or writes the memory behind the card's back. unit: a MIFARE block, a page, a FeliCa block, a tag's block. */
size_t neo_card_peek(const struct neo_card *c, unsigned unit, uint8_t out[TAG15693_BLOCK_MAX]);
bool neo_card_poke(struct neo_card *c, unsigned unit, const uint8_t *data, size_t n);

/* ---- MIFARE Classic (neo_mifare.c) ------------------------------------------------------------------------- */

unsigned neo_mf_sector(unsigned block);
unsigned neo_mf_trailer(unsigned block); /* the trailer of the block's sector */
void neo_mf_format(struct neo_card *c, size_t bytes, const uint8_t key_a[6], const uint8_t access[4],
                   const uint8_t key_b[6]);
enum neo_result neo_mf_auth(struct neo_card *c, unsigned block, bool key_b, const uint8_t key[6]);
enum neo_result neo_mf_read(struct neo_card *c, unsigned block, uint8_t out[NEO_MF_BLOCK]);
enum neo_result neo_mf_write(struct neo_card *c, unsigned block, const uint8_t in[NEO_MF_BLOCK]);
/* Increment (C1), decrement (C0) or restore (C2, amount ignored): block → register. */
enum neo_result neo_mf_load(struct neo_card *c, uint8_t op, unsigned block, uint32_t amount);
enum neo_result neo_mf_transfer(struct neo_card *c, unsigned block);
/* True if the block has the value layout; *value is its value. */
bool neo_mf_value(const struct neo_card *c, unsigned block, int32_t *value);
/* What every refusal does to the session. Returns NEO_NAK. */
enum neo_result neo_card_refuse(struct neo_card *c);

/* ---- Ultralight and NTAG (neo_tags.c) ---------------------------------------------------------------------- */

enum neo_result neo_ul_read(struct neo_card *c, unsigned page, uint8_t out[16]);
enum neo_result neo_ul_write(struct neo_card *c, unsigned page, const uint8_t in[NEO_UL_PAGE]);

/* ---- FeliCa, Topaz (neo_tags.c) ---------------------------------------------------------------------------- */

/* One FeliCa frame without its length byte; returns the response without its length byte, 0 for silence. */
size_t neo_felica(struct neo_card *c, const uint8_t *cmd, size_t n, uint8_t out[NEO_AIR_MAX]);
/* Tag 1 commands by the first byte of 2C-40 (11…18); returns the answer's length, 0 for a refusal. */
size_t neo_topaz(struct neo_card *c, const uint8_t *cmd, size_t n, uint8_t out[NEO_AIR_MAX]);

/* ---- frames (neo_air.c) ------------------------------------------------------------------------------------ */

struct neo_air_tx {
    const uint8_t *data;
    size_t n;
    unsigned last_bits; /* valid bits of the last byte, 0 = 8 */
    bool parity;        /* with odd parity, as type A wants it */
    bool crc_b;         /* the front end's CRC is that of ISO 3309 */
    bool crc;           /* the front end appends it */
};

struct neo_air_rx {
    uint8_t data[NEO_AIR_MAX];
    size_t n;
    unsigned bits;   /* total number of bits */
    bool has_crc;    /* the last two bytes are a CRC */
    bool crypto_nak; /* a 4-bit answer other than the ACK 0A */
    unsigned ms;
};

/* One frame to one card. Returns false for silence. */
bool neo_card_air(struct neo_card *c, const struct neo_air_tx *tx, struct neo_air_rx *rx);
uint16_t neo_crc_a(const uint8_t *data, size_t n);

#endif
