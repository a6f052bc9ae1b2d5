/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ViVOpay reader: what its files share.
 *
 *   frame.c, codes.c   the codec and the tables (pure)
 *   link.c             one command, one answer: sending, receiving, CRC order, synchronising again
 *   line.c             the line under it: opening, speeds, a port that hangs up and comes back
 *   identity.c         who the reader is, pass-through mode, what is asked once and kept
 *   poll.c             what a field poll answers, and how often one may be sent (pure)
 *   field.c            the contactless slot: polling, power
 *   raw.c              2C-04: the SAK probe, the presence check
 *   vicinity.c         ISO 15693 cards, by 2C-04
 *   storage.c          what class FF does with cards that have no APDUs
 *   contact.c          the contact and SAM slots
 *   transmit.c         APDUs, and what a failure status means for the card
 *   sred.c             readers that keep back or encrypt what a card says
 *   vivopay.c          the reader: open, close, the operations, raw commands
 *
 * Everything here runs with the device acquired, so nothing is locked; but cancel() comes from any thread at any time
 * and must find the transport, which a serial reader replaces when its port hangs up: `gate` guards `line` and
 * `cancelled` between cancel() and the owner (who alone changes `line`, and reads it without the gate).
 * reader.transport, which the upper layers look at, is set for USB only, where it never changes.
 *
 * State of the line, from below: `line` open or NULL; `in_sync`, nothing of an earlier exchange is under way; `up`, the
 * reader is known and in pass-through mode. vivo_exchange() brings up what is down. A command whose answer did not
 * come, or came broken, leaves in_sync false; then, before the next one, all input is taken until it is quiet and Ping
 * is sent twice, and only answers to Ping (18) end it: answers carry no sub-command, so a late one of 2C could not be told
 * from the next. A Ping that is not answered three times running means that the reader is lost.
 *
 * A card's session. `powered`: pcscd has its ATR. `session`: a client command was sent since it was activated; from
 * then on nothing is sent to the field but what the client wants, for a poll resets the card. If the session is lost
 * (the reader restarted, left pass-through mode, the card did not answer), powered and session fall, the device is
 * told, and a command that was to be sent to that card is not: see only_while.
 */
#ifndef PURSE_VIVO_INTERNAL_H
#define PURSE_VIVO_INTERNAL_H

#include <pthread.h>
#include "card/iso15693.h"
#include "reader/reader.h"
#include "transport/usb.h"
#include "vivopay/codes.h"
#include "vivopay/frame.h"
#include "vivopay/poll.h"

enum {
    VIVO_PATH_MAX = 512,
    VIVO_CACHED = 9,           /* identity answers that are kept */
    VIVO_CACHE_SIZE = 6144,    /* and their bytes */
    VIVO_ICC_INTERFACE = 0x20, /* of 2C-12 and 2C-13; SAM1 is 21 */
    VIVO_STRAY = 8             /* bytes that belong to no frame, from which on silence means a spoilt answer */
};

/* The commands that the driver sends by itself. */
enum {
    VIVO_CMD_POLL_MODE = 0x01,
    VIVO_CMD_CANCEL = 0x05,
    VIVO_CMD_MODULES = 0x09,
    VIVO_CMD_SERIAL_NUMBER = 0x12,
    VIVO_CMD_BOOT = 0x14, /* only ever from the reader */
    VIVO_CMD_PING = 0x18,
    VIVO_CMD_ANTENNA = 0x28,
    VIVO_CMD_VERSION = 0x29,
    VIVO_CMD_PASS_THROUGH = 0x2C,
    VIVO_SUB_PASS_THROUGH = 0x01, /* and of 2C from here on */
    VIVO_SUB_POLL = 0x02,
    VIVO_SUB_APDU = 0x03,
    VIVO_SUB_RAW = 0x04,
    VIVO_SUB_PARAMETERS = 0x05,
    VIVO_SUB_ENHANCED_POLL = 0x0C,
    VIVO_SUB_POLL_ATS = 0x0E,
    VIVO_SUB_GET_ATR = 0x12,
    VIVO_SUB_CONTACT_APDU = 0x13,
    VIVO_SUB_CONTACT_OFF = 0x18,
    VIVO_SUB_NFC = 0x40
};

struct vivo_slot {
    enum slot_kind kind;
    bool powered, session;
    int64_t traffic; /* clock_now() of the last APDU */
    /* contact and SAM slots */
    struct atr atr;
    struct atr_info info;
    bool present; /* 2C-12 gave that ATR last time */
    bool fresh;   /* and no client command was sent since */
    int64_t asked;
};

/* By which command a card was found, and is therefore polled again. */
enum vivo_opener { OPEN_BY_0E, OPEN_BY_0C, OPEN_BY_02, OPEN_BY_40, OPEN_BY_RAW };

struct vivo_field {
    bool present;
    bool active; /* the field is on and the card activated since the last poll */
    struct vivo_card card;
    enum vivo_opener opener;
    unsigned misses;
    int64_t seen;      /* clock_now() of the last poll that found it */
    int64_t off_until; /* the field stays off until then */
    bool probed;       /* SAK and ATQA of this card were asked; sak_known tells */
    bool sak_known;
    uint8_t sak, atqa[2];
    unsigned cycle; /* idle polls, for the turn of 2C-40 */
    bool no_0e, no_0c, no_40, no_rnak;
    unsigned silent_0e;      /* polls by it in a row without an answer */
    bool unreadable;         /* the last poll's answer was */
    enum vivo_layout layout; /* of its answers */
    unsigned rnak_misses;
    int64_t rnak_at;
    unsigned trailer_misses; /* of a MIFARE card in session, see storage.c */
    int64_t trailer_at;
};

/* What this reader can do with ISO 15693, and the card of that kind in the field. */
struct vivo_vicinity {
    struct iso15693_card card;  /* as of its activation */
    bool crc_known, driver_crc; /* who makes the CRC; known: an answer has shown it */
    bool due;                   /* the field was found empty since the last inventory */
    int64_t asked;              /* clock_now() of the last inventory */
    unsigned refused;           /* inventories in a row */
    bool given_up;
    int64_t checked; /* presence in session */
    unsigned misses;
};

struct vivo_order_state {
    bool known;
    enum vivo_order order;
};

struct vivo_kept { /* an identity answer */
    bool known;
    uint8_t status;
    size_t at, n; /* in cache_bytes */
};

struct vivo {
    struct reader reader; /* first member */
    struct vivo_slot slot[READER_SLOTS_MAX];
    struct vivo_field field;
    struct vivo_vicinity vicinity;
    struct vivo_pace pace;

    /* line.c */
    pthread_mutex_t gate; /* guards the next two, see above */
    struct transport *line;
    bool cancelled;
    bool hid;
    char path[VIVO_PATH_MAX]; /* serial */
    unsigned rate;            /* index of the speed in use */
    deadline_t next_try;      /* a line that is down is not touched before */
    unsigned back_off;        /* milliseconds until the try after that */
    bool down_told;
    bool was_reset;    /* USB: the last resort was tried and nothing has worked since */
    int64_t suspended; /* clock_suspended() when the line was last known good */

    /* link.c */
    bool in_sync, up;
    bool restarted;  /* the reader's boot frame came */
    unsigned silent; /* Pings in a row without an answer */
    struct vivo_order_state orders[VIVO_COMMANDS_MAX];
    struct vivo_decoder decoder;
    struct vivo_assembly assembly;
    const uint8_t *rest; /* of the last chunk, not decoded yet */
    size_t rest_n;
    uint8_t chunk[TRANSPORT_CHUNK_MAX];
    uint8_t frame[VIVO_FRAME_MAX];

    /* identity.c */
    bool identity_known;
    struct vivo_kept cache[VIVO_CACHED];
    uint8_t cache_bytes[VIVO_CACHE_SIZE];
    size_t cache_used;

    bool short_only; /* the reader refused an extended APDU */
    bool layout_told;
};

/* ---- link.c ------------------------------------------------------------------------------------------------ */

struct vivo_request {
    uint8_t command, sub;
    const uint8_t *part1, *part2; /* data */
    size_t n1, n2;
    unsigned extra_ms;      /* beyond the command's own time: how long a poll polls */
    bool periodic;          /* logged with what repeats all the time */
    const bool *only_while; /* sent only while this holds (a slot's `powered`); else R_NO_CARD. NULL: always */
};

/* Sends a command and brings its answer, R_SUCCESS with any status but 04. The answer's data lies in the decoder and is
 * valid until the next call. Brings up the line, the synchronism and pass-through mode first if they are down. Sent
 * again after status 04 (the reader's proof that it did not run it), with the other CRC order, and, if the table calls
 * it repeatable, once after a time-out or a broken answer.
 * R_TIMEOUT, R_COMM: not known whether it ran. R_NO_CARD: not sent, or the session that it belonged to is lost; also
 * for a line that is down (all slots were reported empty). R_INVALID: too long, nothing sent. R_GONE: USB only. */
enum result vivo_exchange(struct vivo *v, const struct vivo_request *q, struct vivo_frame *answer, deadline_t until);

/* The same for whoever brings the reader up: asks for nothing but synchronism. */
enum result vivo_ask(struct vivo *v, const struct vivo_request *q, struct vivo_frame *answer, deadline_t until);

/* Brings up what is down, and sends nothing else. R_SUCCESS: all is up; R_NO_CARD: the line is down. */
enum result vivo_bring_up(struct vivo *v, deadline_t until);

/* Takes what came by itself; waits for the rest of a frame that has begun only. USB; on a serial line nothing is known
 * to have come. */
enum result vivo_take_input(struct vivo *v, deadline_t until);
/* Takes and drops all input until quiet_ms of silence. R_SUCCESS, R_GONE, R_CANCELLED. */
enum result vivo_drain(struct vivo *v, unsigned quiet_ms, deadline_t until);
/* One Ping. R_SUCCESS: it was answered, the line is in sync. */
enum result vivo_ping(struct vivo *v, deadline_t until);
void vivo_link_reset(struct vivo *v);
/* The log names row V of doc/ASSUMPTIONS.md, once. */
void vivo_contradicted(struct vivo *v, unsigned row, const char *what);
/* Has the machine slept since the line was last used? Then cards count as swapped and the line is synchronised. */
void vivo_check_suspend(struct vivo *v);

/* ---- line.c ------------------------------------------------------------------------------------------------ */

/* Opens the line and finds the reader on it (speed, Ping). R_SUCCESS: in sync. On any failure the line is closed. */
enum result vivo_line_open(struct vivo *v, const struct reader_target *target, deadline_t until);
/* Opens it again if it is time to. R_NO_CARD: not yet, or it is not there. */
enum result vivo_line_reopen(struct vivo *v, deadline_t until);
/* The reader is lost (hang-up, or it answers no Ping). Serial: closed, all slots empty, tried again later: R_NO_CARD.
 * USB: one port reset, R_SUCCESS if it is worth going on; else R_GONE. */
enum result vivo_line_lost(struct vivo *v, enum result why);
/* It failed in another way: not to be touched for a while. */
void vivo_line_rest(struct vivo *v);
/* It works. */
void vivo_line_good(struct vivo *v);
void vivo_line_close(struct vivo *v);
void vivo_cancel(struct reader *r);

/* ---- identity.c ---------------------------------------------------------------------------------------------- */

/* Learns who the reader is and puts it into pass-through mode. R_SUCCESS: up. */
enum result vivo_greet(struct vivo *v, deadline_t until);
/* The kept answer to a command that pass-through mode refuses. NULL: none. */
const struct vivo_kept *vivo_kept_answer(const struct vivo *v, const uint8_t *command, size_t n);

/* ---- field.c ------------------------------------------------------------------------------------------------- */

void vivo_field_init(struct vivo *v);
enum result vivo_field_watch(struct vivo *v, unsigned slot, deadline_t until, unsigned *again_ms);
enum result vivo_field_power_up(struct vivo *v, unsigned slot, deadline_t until, struct atr *atr);
enum result vivo_field_power_down(struct vivo *v, unsigned slot, deadline_t until);
/* The card did not answer, or lost its session: one poll tells whether it, or another, is there. R_NO_CARD. */
enum result vivo_field_failed(struct vivo *v, unsigned slot, deadline_t until);
/* Does the card in the field take APDUs, as it was opened? */
bool vivo_field_takes_apdus(const struct vivo *v);
/* Sends one poll by `opener`. R_SUCCESS: card->type 00 if there was none. */
enum result vivo_poll(struct vivo *v, enum vivo_opener opener, unsigned ms, bool periodic, struct vivo_card *card,
                      deadline_t until);
/* The card is gone, or counts so: the device is told. */
void vivo_field_gone(struct vivo *v, unsigned slot);

/* ---- storage.c ----------------------------------------------------------------------------------------------- */

/* The poller's turn while a storage card of ISO 14443 is in session. */
enum result vivo_storage_watch(struct vivo *v, unsigned slot, deadline_t until, unsigned *again_ms);

/* ---- raw.c --------------------------------------------------------------------------------------------------- */

enum vivo_pcd { PCD_OK = 0x00, PCD_NO_TAG = 0xFF, PCD_CRC = 0xFE, PCD_TIMEOUT = 0xE5 };
enum { VIVO_ETU_NS = 9440, VIVO_USUAL_ETU = 0x2968 /* 100 ms */ };
enum { VIVO_RAW_A = 0x0F, VIVO_RAW_A_NO_CRC = 0x03, VIVO_RAW_A_TX_CRC = 0x07, VIVO_RAW_B = 0x2C };

/* Microseconds as the reader counts them, rounded up. */
uint32_t vivo_etu(uint32_t us);

struct vivo_raw {
    uint32_t etu;              /* time-out, last bit sent to first bit received, in VIVO_ETU_NS */
    uint8_t flags, redundancy; /* as the front end wants them */
    const uint8_t *data;
    size_t n;
    bool periodic; /* logged with what repeats all the time */
};

struct vivo_raw_answer {
    uint8_t reader; /* the reader's status: what a refusal is told by when there is no PCD status */
    bool judged;    /* pcd, bits and data are there */
    uint8_t pcd;
    uint32_t bits;
    const uint8_t *data; /* valid until the next call */
    size_t n;
};

/* 2C-04, transceive. Not repeated. */
enum result vivo_raw_exchange(struct vivo *v, const struct vivo_raw *raw, const bool *only_while,
                              struct vivo_raw_answer *answer, deadline_t until);
/* Asks the selected type A card for ATQA and SAK; leaves it to be polled again. */
enum result vivo_sak_probe(struct vivo *v, deadline_t until);
/* Does the ISO 14443-4 card in session still answer? R_SUCCESS with *there; R_NOT_SUPPORTED: the reader cannot ask. */
enum result vivo_rnak(struct vivo *v, unsigned slot, bool *there, deadline_t until);

/* ---- vicinity.c ---------------------------------------------------------------------------------------------- */

/* One frame of ISO 15693 and what came back. */
struct vivo_air {
    const uint8_t *frame; /* n bytes, without CRC if tx_crc */
    size_t n;
    uint32_t wait_us;    /* how long the card may take */
    bool tx_crc, rx_crc; /* a CRC is appended; is checked and taken off */
    bool repeatable;     /* changes nothing */
    bool periodic;
    const bool *only_while;
};

enum vivo_air_verdict {
    VERDICT_SILENCE,
    VERDICT_ANSWER,
    VERDICT_COLLISION,
    VERDICT_BROKEN,     /* fails its check */
    VERDICT_ODD,        /* the front end reports another fault */
    VERDICT_REFUSED,    /* the reader does not do raw exchange */
    VERDICT_WRONG_MODE, /* it has left pass-through mode */
    VERDICT_TOO_LONG
};

struct vivo_air_answer {
    enum vivo_air_verdict verdict;
    uint8_t status;      /* the reader's or the PCD's that led to it */
    const uint8_t *data; /* valid until the next call; without CRC if rx_crc */
    size_t n;
};

/* Sent once, but for a request that changes nothing, which may serve to find out who has to make the CRC. R_PROTOCOL:
 * the reader had left pass-through mode, the sessions are lost. */
enum result vivo_vicinity_send(struct vivo *v, const struct vivo_air *q, struct vivo_air_answer *out, deadline_t until);

/* Is the card in the field an ISO 15693 card? */
bool vivo_is_vicinity(const struct vivo *v);
/* Is it the turn of an inventory, the field being empty? */
bool vivo_vicinity_turn(struct vivo *v);
/* The poll of such cards: an inventory of an empty field, or whether the field's card is there still. */
enum result vivo_vicinity_poll(struct vivo *v, bool periodic, struct vivo_card *card, deadline_t until);
/* A poll of the reader's own found a type that nobody knows, with a serial number that looks like the UID of such a
 * card: makes it one. */
bool vivo_vicinity_adopt(const struct vivo *v, struct vivo_card *card);
/* Learns what the card that is powered up has to tell of itself. It may turn out to be gone. */
enum result vivo_vicinity_activate(struct vivo *v, unsigned slot, deadline_t until);
/* The poller's turn while such a card is in session. */
enum result vivo_vicinity_watch(struct vivo *v, unsigned slot, deadline_t until, unsigned *again_ms);

/* ---- contact.c ----------------------------------------------------------------------------------------------- */

uint8_t vivo_interface(const struct vivo_slot *s);
/* Asks all contact and SAM slots once (the reader has just come up). */
enum result vivo_contact_ask_all(struct vivo *v, deadline_t until);
enum result vivo_contact_watch(struct vivo *v, unsigned slot, deadline_t until, unsigned *again_ms);
/* Asks the contact slot if it is due: a card in the field answers each poll at once, and its polls would take every turn
 * that the pace leaves. *taken: this one is gone. */
enum result vivo_contact_turn(struct vivo *v, deadline_t until, bool *taken);
enum result vivo_contact_power_up(struct vivo *v, unsigned slot, deadline_t until, struct atr *atr, int *protocol);
enum result vivo_contact_power_down(struct vivo *v, unsigned slot, deadline_t until);
enum result vivo_contact_failed(struct vivo *v, unsigned slot, deadline_t until);

/* ---- transmit.c ---------------------------------------------------------------------------------------------- */

enum result vivo_transmit(struct reader *r, unsigned slot, const uint8_t *apdu, size_t n, uint8_t *response, size_t cap,
                          size_t *len, deadline_t until);
size_t vivo_max_apdu_data(const struct reader *r, unsigned slot);

/* ---- sred.c ---------------------------------------------------------------------------------------------------- */

/* Is this the form in which a reader with data encryption answers? Pure. */
bool vivo_is_encrypted(const uint8_t *p, size_t n);
/* Says in the log why a card's data does not come. */
void vivo_explain_blocked(struct vivo *v, uint8_t status);
void vivo_explain_encrypted(struct vivo *v);

/* ---- vivopay.c ------------------------------------------------------------------------------------------------- */

/* Every card's session is lost: the reader restarted or left pass-through mode. */
void vivo_sessions_lost(struct vivo *v);
/* And nobody knows what is in the slots: all empty. */
void vivo_slots_empty(struct vivo *v);
/* Is another slot than this one in session? */
bool vivo_others_in_session(const struct vivo *v, unsigned slot);
/* Does a HID report descriptor describe a keyboard? Pure. */
bool vivo_is_keyboard(const uint8_t *descriptor, size_t n);

static inline struct vivo *vivo_of(struct reader *r)
{
    return (struct vivo *)r;
}

#endif
