/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a family of readers can do with cards that have no APDUs: MIFARE Classic, Ultralight and NTAG, FeliCa, ISO
 * 15693. src/pseudo/ decides what a client's class-FF command means and what must not happen; a family carries the
 * single steps out. A new family fills in this table from this header alone. Every function but facts may be NULL: the
 * reader has no such thing (6A 81).
 *
 * Who calls. All functions are called with the device acquired (reader.h) and, but for indicate(), with a powered
 * card in the slot; a whole client command, however many functions it takes, runs under one acquisition
 * (slot_operate in device.h). `until` is the deadline of the client's command.
 *
 * Units. A block is what facts() says: its size in bytes, numbered from 0 (MIFARE Classic 16; Ultralight and NTAG: a
 * page of 4; ISO 15693: as the tag says). Lengths are bytes. Amounts and values are the numbers themselves, not their
 * bytes. Key types are the card's own command codes, 60 for A and 61 for B. Buffers belong to the caller and are not
 * kept.
 *
 * At most once. authenticate(), write(), value(), purse() and exchange() send what changes the card once per call, and
 * again only when the reader proved that it had not been executed. read() may repeat itself. It is the caller who finds
 * out what became of a command whose answer was lost.
 *
 * Results.
 *   R_SUCCESS             done, as the card or the reader said
 *   R_CARD                the card refused, or the reader says that the operation failed. A MIFARE card is halted by
 *                         that: nothing but reselect() is called next. Whether something was changed is not certain.
 *   R_NO_CARD             the card did not answer. The device was told nothing yet: reselect() finds out.
 *   R_TIMEOUT, R_COMM     the reader's answer was lost or broken and the line is in order again (or will be at the next
 *                         command): the card keeps its state, and whether the command ran is not known
 *   R_PROTOCOL            the reader had left the mode in which it serves cards; it was put back, the card lost its
 *                         session, and slot_lost was called
 *   R_NOT_SUPPORTED       this reader or this card has no such thing; nothing was done
 *   R_DENIED              the reader keeps the data to itself (an encrypting reader)
 *   R_INVALID             the request does not fit, says the reader or the driver. Of money that is no proof that
 *                         nothing was done: src/pseudo/ asks the card.
 *   R_SPACE               it is longer than the reader can take; nothing was done
 *   R_GONE, R_CANCELLED   as in reader.h
 */
#ifndef PURSE_STORAGE_H
#define PURSE_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/result.h"
#include "card/iso15693.h"

struct reader;

enum { STORAGE_UID_MAX = 10, STORAGE_ATS_MAX = 254, STORAGE_KEY_SIZE = 6, STORAGE_KEYS = 256, STORAGE_ERROR_MAX = 2 };

enum storage_kind {
    STORAGE_NONE,       /* nothing is known of it, or not a contactless card */
    STORAGE_APDU,       /* ISO 14443-4: has APDUs, and a UID */
    STORAGE_MIFARE,     /* Classic: 1K, 4K, Mini, and what behaves like one */
    STORAGE_ULTRALIGHT, /* NFC Forum type 2: Ultralight, NTAG */
    STORAGE_FELICA,
    STORAGE_VICINITY, /* ISO 15693 */
    STORAGE_OTHER     /* ATR, UID and raw exchange are all there is */
};

/* What is known of the card. */
struct storage_facts {
    enum storage_kind kind;
    uint8_t uid[STORAGE_UID_MAX]; /* on-air order; ISO 15693: E0 last; type B: PUPI; FeliCa: IDm */
    size_t uid_len;               /* 0: not known */
    bool uid_fixed;               /* the same at each activation: it tells one card from another */
    uint8_t ats[STORAGE_ATS_MAX]; /* from TL on */
    size_t ats_len;               /* 0: not known */
    uint8_t sak, atqa[2];         /* atqa as received: low byte first */
    bool sak_known, atqa_known;
    uint8_t ss; /* PC/SC part 3: standard and name */
    uint16_t nn;
    unsigned block_size;  /* 0: it has no blocks that read() knows */
    unsigned block_count; /* 0: not known */
    /* Another number whenever the card was selected anew, and so has forgotten every authentication. */
    int64_t selection;
};

enum storage_value_op {
    VALUE_INCREMENT, /* target = block + amount */
    VALUE_DECREMENT, /* target = block - amount */
    VALUE_COPY       /* target = block, its address bytes with it */
};

struct storage_value {
    enum storage_value_op op;
    uint8_t block;   /* where the value is */
    uint8_t target;  /* where the result goes: the same block or another one of the same sector */
    uint32_t amount; /* 0 … 7FFFFFFF */
};

enum storage_protocol {
    STORAGE_OF_SLOT, /* what the slot's card speaks */
    STORAGE_ISO14443A,
    STORAGE_ISO14443B,
    STORAGE_ISO15693,
    STORAGE_ISO18092, /* FeliCa */
    STORAGE_ISO_DEP   /* an APDU to a card of ISO 14443-4 */
};

/* One frame to the card and its answer, whatever the card makes of it. */
struct storage_exchange {
    enum storage_protocol protocol;
    const uint8_t *tx;
    size_t tx_len;
    uint8_t tx_bits;     /* valid bits of the last byte, 1 … 7; 0: all */
    bool tx_crc, rx_crc; /* the reader appends, checks and strips the checksum */
    bool tx_parity, rx_parity;
    bool answer;         /* false: none is due, silence is success */
    uint32_t timeout_us; /* 0: the reader's usual one */
    /* results */
    uint8_t *rx;
    size_t rx_cap, rx_len;
    uint8_t rx_bits;   /* valid bits of the last byte, 1 … 7; 0: all */
    uint8_t rf_errors; /* bits of enum storage_rf_error */
};

enum storage_rf_error { RF_CRC = 0x01, RF_COLLISION = 0x02, RF_PARITY = 0x04, RF_FRAMING = 0x08 };

/* What reader and card have agreed on (ISO 14443-4); 0: not known. */
struct storage_parameters {
    unsigned reader_frame, card_frame; /* bytes that each can take in one frame */
    uint32_t waiting_time;             /* in 128/fc, 9.44 µs: how long the card may take */
    bool cid_known;
    uint8_t cid;
};

/* A sign for people: -1 leaves a lamp as it is. */
struct storage_signal {
    int red, green; /* 0 off, 1 on */
    unsigned beeps; /* 0 … 4 */
};

struct storage_ops {
    /* What is known of the slot's card. No I/O. R_NO_CARD: there is none. R_NOT_SUPPORTED: not a slot for such cards.
     */
    enum result (*facts)(struct reader *r, unsigned slot, struct storage_facts *f);

    /* MIFARE: makes the card accept a key for the block's sector, and proves it by a read of the sector's trailer.
     * access: the trailer's access bytes (6 … 8) as read, or zeros where the proof was another one.
     * R_CARD: refused (63 00). */
    enum result (*authenticate)(struct reader *r, unsigned slot, unsigned block, uint8_t key_type,
                                const uint8_t key[STORAGE_KEY_SIZE], uint8_t access[3], deadline_t until);

    /* Reads `count` ≥ 1 blocks from `first` on into out (count * block size). MIFARE: all in the authenticated sector,
     * its trailer included; Ultralight: as the card gives them, wrapping where it wraps, count ≤ 4. */
    enum result (*read)(struct reader *r, unsigned slot, unsigned first, unsigned count, uint8_t *out,
                        deadline_t until);

    /* Writes `count` ≥ 1 blocks. MIFARE: in one sector, a trailer only alone. */
    enum result (*write)(struct reader *r, unsigned slot, unsigned first, unsigned count, const uint8_t *data,
                         deadline_t until);

    /* One value operation in one command to the reader, in the authenticated sector, with the key that
     * authenticate() was given last. */
    enum result (*value)(struct reader *r, unsigned slot, const struct storage_value *v, deadline_t until);

    /* The reader's own purse command with several function blocks (pseudo/purse.h says in which format; it was
     * checked). Where the reader says that it failed, by whatever result, and names the block, error_len is 2: that
     * block and the reader's reason. Else 0. */
    enum result (*purse)(struct reader *r, unsigned slot, const uint8_t *data, size_t n,
                         uint8_t error[STORAGE_ERROR_MAX], size_t *error_len, deadline_t until);

    /* One frame, raw. R_NO_CARD: no answer within the time-out, which is a result and not the end of the card's
     * session. R_CARD: an answer that was damaged, x->rf_errors tells how. */
    enum result (*exchange)(struct reader *r, unsigned slot, struct storage_exchange *x, deadline_t until);

    /* What is known of the protocol with the card. Changes nothing. */
    enum result (*parameters)(struct reader *r, unsigned slot, struct storage_parameters *p, deadline_t until);

    /* The field, at a client's wish: off ends the card's selection, on does not select it. */
    enum result (*field)(struct reader *r, unsigned slot, bool on, deadline_t until);

    /* Selects a card of this protocol at this layer (2: nothing is selected, 3: select, 4: ISO-DEP). *sak: of a type A
     * card, if it is known, else 0. R_CARD: no such card answers. */
    enum result (*select)(struct reader *r, unsigned slot, enum storage_protocol protocol, unsigned layer, uint8_t *sak,
                          deadline_t until);

    /* After R_CARD or R_NO_CARD: selects the slot's card again, every authentication forgotten. R_SUCCESS: it is the
     * same card, by its fixed UID. R_NO_CARD: none, or another, or one that cannot be told; slot_observe or slot_lost
     * was called. */
    enum result (*reselect)(struct reader *r, unsigned slot, deadline_t until);

    /* Lamps and buzzer. Touches no card; none needs to be there. */
    enum result (*indicate)(struct reader *r, const struct storage_signal *s, deadline_t until);
};

/* ---- what class FF keeps with the device ------------------------------------------------------------------------ */

/* The keys that clients have loaded. Memory only; wiped with the device. Guarded by the device's mutex. */
struct storage_keys {
    uint8_t key[STORAGE_KEYS][STORAGE_KEY_SIZE];
    bool loaded[STORAGE_KEYS];
};

/* The client's session with the card, as class FF sees it. Used with the device acquired; a new one, wiped, for each
 * power-up of the card. Authentications are good only as long as the card's selection is the one noted with them. */
struct storage_session {
    unsigned power_up; /* the slot's count of power-ups that it belongs to */
    struct {
        bool valid;
        int64_t selection;
        unsigned sector;
        uint8_t key_type, key[STORAGE_KEY_SIZE];
        uint8_t access[3];
        bool elsewhere; /* the reader has led the card into another sector since, by the same key */
    } auth;
    struct {
        bool valid; /* the reader has a default key for purse() */
        int64_t selection;
    } purse_key;
    struct {
        bool open;
        enum storage_protocol protocol;
        bool field_off, reselect; /* what the client did to the card's selection */
        bool fwti_set;
        uint8_t fwti; /* the client's waiting time: 32 << fwti times 128/fc */
    } transparent;
    struct iso15693_card vicinity; /* of such a card: its state, and what it was found to lack */
    unsigned pages;                /* of a type 2 tag, found out by reading past the end; 0: not known */
};

#endif
