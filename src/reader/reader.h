/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a reader is. A family of readers (src/aet63, src/vivopay) is one struct reader_family and one struct reader_ops;
 * a third one can be written from this header alone and entered in the table of families.c.
 *
 * Who does what. The *device* (device.h) is the generic half: it owns the slots, decides which thread may talk to the
 * reader, keeps presence (presence.h), and calls the family. The *family* is the specific half: it owns the transport
 * and the protocol state, and tells the device what it learnt of a card with slot_observe() and slot_lost().
 *
 * Ownership and threads. The family allocates its state in open() with struct reader as first member and frees it in
 * close(). Unless said otherwise a function is called with the device acquired: no other function of the same
 * reader runs at the same time, and none needs a lock. cancel() alone may come at any time from any thread.
 *
 * Time. Every function that waits is given a deadline and returns by it, retries and recovery included. Milliseconds
 * are `unsigned`.
 *
 * At most once. A function of this table that changes a card is called once per client request and does not repeat
 * what it sent unless the reader proved that it had not been executed.
 *
 * Errors. R_NO_CARD: no card, or it lost its session; the family has called slot_observe or slot_lost. R_GONE: unplugged.
 * R_CANCELLED: the slot is being closed. R_TIMEOUT, R_COMM, R_CARD: the exchange failed, the card may still be there.
 * R_NOT_SUPPORTED, R_PROTOCOL, R_INVALID, R_DENIED: nothing was done. R_SPACE: the answer has no room; of a request that
 * is too long itself nothing was sent.
 */
#ifndef PURSE_READER_H
#define PURSE_READER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "base/settings.h"
#include "card/atr.h"
#include "transport/transport.h"

struct device; /* device.h */
struct reader;
struct storage_ops; /* reader/storage.h: cards without APDUs; a family without them has NULL */

enum { READER_SLOTS_MAX = 10, READER_WATCH_NEVER = 0xFFFFFFFF, READER_FIRMWARE_MAX = 64 };

/* What a raw command to the reader (escape) may do; the family's const table says it for each command. */
enum reader_command_class {
    COMMAND_SAFE,      /* harmless: always allowed */
    COMMAND_DANGEROUS, /* writes the reader or gets round the driver's rules: only with escape = all */
    COMMAND_UNKNOWN    /* not in the table: as dangerous */
};

struct reader_ops {
    /* Ends all waits of the reader at once with R_CANCELLED (transport cancel). Any thread, any time. */
    void (*cancel)(struct reader *r);

    /* Powers cards off as far as the reader still answers, closes the transport, frees r. */
    void (*close)(struct reader *r);

    /* Asks the reader whether a card is in the slot and reports it (slot_observe, slot_lost). Called by ICCPresence.
     * R_SUCCESS: reported. An error: the reader did not answer before `until` (it was asked again as often as time
     * allowed); the family keeps asking from watch() until it does. */
    enum result (*look)(struct reader *r, unsigned slot, deadline_t until);

    /* The poller's turn: fetch input that came by itself, ask what has to be asked, poll the field. Reports what it
     * learns and sets *again_ms to when it wants to be called again at the latest (READER_WATCH_NEVER: only when input
     * arrives or a command was sent). Must not take longer than a field poll, but for a reader that does not answer,
     * of which it takes leave at `until`. R_SUCCESS also when nothing could be learnt; R_GONE, R_CANCELLED. */
    enum result (*watch)(struct reader *r, unsigned slot, deadline_t until, unsigned *again_ms);

    /* Powers the card up and fills *atr and *protocol (0 or 1: the protocol it runs now). warm: reset it without taking
     * power if it has any. R_POWER: no usable answer to reset; R_NO_CARD. */
    enum result (*power_up)(struct reader *r, unsigned slot, bool warm, deadline_t until, struct atr *atr, int *protocol);

    /* Powers the card down. R_SUCCESS also when there is none. */
    enum result (*power_down)(struct reader *r, unsigned slot, deadline_t until);

    /* Makes the powered card run protocol T=t (0 or 1). *protocol is what it runs now. R_PROTOCOL: it cannot; it runs what
     * it ran. */
    enum result (*set_protocol)(struct reader *r, unsigned slot, int t, deadline_t until, int *protocol);

    /* One APDU (n ≥ 1 bytes, class not FF) to the powered card. R_SUCCESS with *len bytes (≥ 2). On an error *len is 0. */
    enum result (*transmit)(struct reader *r, unsigned slot, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap,
                            size_t *len, deadline_t until);

    /* Largest data field of an APDU through this slot as it stands: what Part 10's dwMaxAPDUDataSize says; 0: short
     * APDUs only. No I/O, and no call back: the device's mutex is held. */
    size_t (*max_apdu_data)(const struct reader *r, unsigned slot);

    /* Judges a raw reader command (vendor prefix already off). No I/O, no device needed. */
    enum reader_command_class (*classify)(const struct reader *r, const uint8_t *command, size_t n);

    /* How long command() may take: the cap that fits it, in milliseconds. No I/O. */
    unsigned (*command_cap)(const struct reader *r, const uint8_t *command, size_t n);

    /* Sends a raw command that classify() let pass, once. Answer: the reader's status, then its data. */
    enum result (*command)(struct reader *r, unsigned slot, const uint8_t *command, size_t n, uint8_t *answer, size_t cap,
                           size_t *len, deadline_t until);

    const struct storage_ops *storage;
};

/* What a reader says of itself. */
struct reader_identity {
    char firmware[READER_FIRMWARE_MAX]; /* printable ASCII; "" unknown */
    char type[READER_FIRMWARE_MAX];     /* the model that the reader tells; "" then the family's name is used */
    char serial[TRANSPORT_TEXT_MAX];    /* "" unknown */
    uint32_t version;                   /* 0xMMmmbbbb for SCARD_ATTR_VENDOR_IFD_VERSION; 0 unknown */
};

/* A reader as the upper layers see it; constant after open() except where said. */
struct reader {
    const struct reader_ops *ops;
    const struct reader_family *family;
    struct device *device;
    const struct settings *settings;
    struct log *log;
    struct transport *transport;
    unsigned slot_count;               /* 1 … READER_SLOTS_MAX */
    enum slot_kind slots[READER_SLOTS_MAX];
    struct reader_identity identity; /* the family's until `identified`, constant from then on; see reader_identity() */
    atomic_bool identified;
};

/* What the reader has said of itself, from any thread: empty while a patient opening has not found it. */
static inline const struct reader_identity *reader_identity(const struct reader *r)
{
    static const struct reader_identity unknown;

    return atomic_load_explicit(&r->identified, memory_order_acquire) ? &r->identity : &unknown;
}

/* How a reader is reached. */
struct reader_target {
    const char *name;    /* pcscd's device string */
    const char *path;    /* serial: the path in it; NULL for USB */
    bool patient;        /* serial: the port may be missing now; open() succeeds and the family opens it later */
};

struct reader_family {
    char id;                   /* as in struct usb_id */
    const char *name;          /* "AET63" */
    const char *vendor;        /* SCARD_ATTR_VENDOR_NAME */
    const char *type;          /* "ACS AET63 BioTRUSTKey" */
    const uint8_t *vendor_ids; /* the two-byte vendor prefixes of FF 70, one after the other */
    size_t vendor_id_count;
    /* Opens the reader and learns who it is. The device's slots do not exist yet for the upper layers, but slot_observe
     * may be called. On error nothing is left open. */
    enum result (*open)(struct reader **out, struct device *device, const struct reader_target *target,
                        const struct settings *settings, struct log *log, deadline_t until);
};

extern const struct reader_family aet63_family, vivopay_family;

/* The family of a USB reader by its ids: the built-in list, then the configuration's usb_id lines. NULL: none. */
const struct reader_family *reader_family_for_usb(uint16_t vid, uint16_t pid, struct log *log);
/* The family of serial readers. */
const struct reader_family *reader_family_for_serial(void);

/* ---- what a family tells the device (any thread; they only take the device's mutex) ---------------------- */

/* The reader says that a card is, or is not, in the slot. */
void slot_observe(struct device *d, unsigned slot, bool card);

/* The card in the slot lost its session: swapped, lost power, the reader restarted. A removal and an insertion for the
 * client; the slot counts as unpowered. */
void slot_lost(struct device *d, unsigned slot);

/* Input came while nobody had the device: its pollers come and call watch(). Suits struct transport's notify. */
void device_input(void *device);

/* A slot's poller is to call watch() once more before it sleeps. */
void slot_wake(struct device *d, unsigned slot);

#endif
