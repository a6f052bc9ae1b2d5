/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The inside of the simulated ViVOpay NEO reader, shared by its parts and by nothing else:
 *
 *   neo_model.c     bytes in, bytes out: link, queue, power, unsolicited frames
 *   neo_options.c   what can be set, at creation and later
 *   neo_commands.c  the table of commands, the order of checks, identity and service commands
 *   neo_field.c     RF field, polls, ISO 14443-4 and contact APDUs
 *   neo_storage.c   MIFARE and Ultralight commands 2C-06 … 2C-0A
 *   neo_raw.c       raw exchange 2C-04, ISO 15693 behind it
 *   neo_nfc.c       2C-40 … 2C-44
 *   neo_fault.c     what can be made to go wrong with an answer
 *   neo_control.c   the control verbs
 *   neo_usb.c       descriptors
 *
 * One command runs at a time: neo_run() checks it and calls its handler, the handler calls one of the answer
 * functions (at once, or later from a timer or a card's callback), and that ends in neo_model.c with the fault of
 * the moment applied and the next queued command started.
 */
#ifndef PURSE_NEO_MODEL_H
#define PURSE_NEO_MODEL_H

#include "neo_cards.h"
#include "neo_frame.h"
#include "sim.h"

enum neo_status {
    NEO_ST_OK = 0x00,
    NEO_ST_NO_SESSION = 0x01, /* 2C-16 only */
    NEO_ST_COMMAND = 0x02,
    NEO_ST_SUBCOMMAND = 0x03,
    NEO_ST_CRC = 0x04,
    NEO_ST_PARAMETER = 0x05,
    NEO_ST_BLOCKED = 0x06,
    NEO_ST_TIMEOUT = 0x08,
    NEO_ST_FAILED = 0x0A,
    NEO_ST_NOT_ALLOWED = 0x0B,
    NEO_ST_MODE = 0x0C,
    NEO_ST_TOO_LONG = 0x0D,
    NEO_ST_AUTO_SWITCH = 0x50,
    NEO_ST_NO_KEY = 0x90,
    NEO_ST_KSN_EXHAUSTED = 0x91
};

/* ---- options: every one an unsigned, see the table in neo_options.c ----------------------------------------- */

enum { NEO_CRC_STRICT, NEO_CRC_LENIENT, NEO_CRC_SWAPPED, NEO_CRC_SWAPPED_ALL };
enum { NEO_ATS_OFF, NEO_ATS_A, NEO_ATS_B };
enum { NEO_15693_OFF, NEO_15693_CRC3309, NEO_15693_DRIVERCRC };
enum { NEO_ENC_OFF, NEO_ENC_MAC, NEO_ENC_NOMAC, NEO_ENC_NOKEY, NEO_ENC_EXHAUSTED, NEO_ENC_OTHER };
enum { NEO_BOOT_NONE, NEO_BOOT_TEXT, NEO_BOOT_FRAME };

struct neo_options {
    unsigned link_hid, out_setreport, keyboard, vid, pid;
    unsigned crc, nocard, nocontact, ats_poll, felica_raw, info, dual_loose, eager_auth, stays, sred, enc;
    unsigned ksn_stays, iso15693, vicinity_type, icc, get_response, fwt, latency, poll_time;
    unsigned answer_crc, nibble_any;
    unsigned boot, boot_ms, burst, auto_switch, baud_allowed, antenna_any, second_stop, product;
    char serial[24], model[64];
};

void neo_options_default(struct neo_options *o);
/* Returns false, with the reason in why, for an unknown key or a bad value. */
bool neo_options_set(struct neo_options *o, const char *key, const char *value, char *why, size_t why_size);
bool neo_options_parse(struct neo_options *o, const char *text, char *why, size_t why_size);

/* ---- faults ------------------------------------------------------------------------------------------------- */

enum neo_fault_kind {
    NEO_FAULT_NONE,
    NEO_FAULT_DROP,
    NEO_FAULT_DELAY,
    NEO_FAULT_LATE,
    NEO_FAULT_AGAIN,
    NEO_FAULT_BADCRC,
    NEO_FAULT_FLIP,
    NEO_FAULT_CUT,
    NEO_FAULT_LOSE,
    NEO_FAULT_DUP,
    NEO_FAULT_NOISE,
    NEO_FAULT_HALF,
    NEO_FAULT_STATUS,
    NEO_FAULT_DATA,
    NEO_FAULT_BOOT,
    NEO_FAULT_UNSOLICITED,
    NEO_FAULT_WRONGCMD,
    NEO_FAULT_REMOVE,
    NEO_FAULT_HIDLOSE,
    NEO_FAULT_HIDDUP,
    NEO_FAULT_CMDCUT, /* these two spoil the command, all others the answer */
    NEO_FAULT_CMDFLIP
};

enum { NEO_FAULTS = 16, NEO_FAULT_BYTES = 256, NEO_ANY = 0x10000 };

struct neo_fault {
    enum neo_fault_kind kind;
    unsigned number; /* MS, K or NN */
    unsigned times;  /* how often still; 0: for ever */
    unsigned skip;   /* matching commands to let pass first */
    unsigned cc, ss; /* the command it waits for; NEO_ANY: all */
    bool execute;    /* the command is executed all the same */
    uint8_t bytes[NEO_FAULT_BYTES];
    size_t bytes_len;
};

/* ---- the reader --------------------------------------------------------------------------------------------- */

enum {
    NEO_FIELD_MAX = 8,
    NEO_CONTACTS = 9, /* ICC, SAM1 … SAM8 */
    NEO_QUEUE = 8,
    NEO_COUNTED = 96,
    NEO_SEEN = 192
};

struct neo_contact {
    const struct sim_card_ops *ops;
    struct sim_card *card;
    bool powered, here, t0;
    unsigned long activations, executions;
    struct sim_model *model; /* for the callback of a card that comes and goes */
};

struct neo_answer {
    uint8_t cmd, status;
    uint8_t data[NEO_DATA_MAX];
    size_t n;
    unsigned delay_ms;
};

struct neo_counts {
    unsigned long commands, answers, busy, crc_errors, header_errors, too_long, unknown, mode_errors, bad_params;
    unsigned long polls, activations, forbidden, faults, bursts;
    unsigned long writes, value_ops, executions; /* of cards that are gone for good */
    unsigned code[NEO_COUNTED];
    unsigned long by_code[NEO_COUNTED];
    size_t codes;
    uint32_t seen[NEO_SEEN]; /* each command with the first byte of its data, or FFFF; once */
    size_t seen_count;
};

/* What the reader knows of the card it activated last. */
struct neo_session {
    bool open;
    bool iso;              /* opened for APDUs */
    uint8_t type;          /* as reported */
    struct neo_card *card; /* NULL: it has left the field */
};

struct sim_model {
    struct sim_reader *reader;
    struct neo_options opt;
    struct neo_counts count;

    /* link */
    struct neo_parser parser, wire; /* wire: a command that a fault waits for, until it is whole */
    struct neo_hid_in hid;
    bool powered, booting, restarted, pumping;
    struct sim_usb_identity identity;
    uint8_t descriptors[64];
    unsigned boot_timer, burst_timer;
    struct {
        uint8_t frame[NEO_FRAME_MAX];
        size_t n;
    } queue[NEO_QUEUE], last, held; /* held: an answer that a fault keeps back until a later one */
    size_t queued;

    /* the running command */
    bool busy;
    uint8_t cmd, sub;
    struct neo_answer answer;
    unsigned answer_timer;
    struct neo_fault fault; /* the one that hits this command */
    struct neo_fault faults[NEO_FAULTS];

    /* what the commands changed; lost with the power */
    bool pass, rf, burst_off;
    uint8_t poll_mode; /* 00 auto, 01 on demand */
    uint8_t baud;
    struct neo_session session;
    bool key_known; /* of 2C-06 and ePurse */
    bool key_b;
    uint8_t key[6];
    bool pcd_key_known; /* of 2C-04 19 */
    uint8_t pcd_key[6];

    /* a poll that waits for a card */
    struct {
        bool active, iso, with_ats, nfc;
        unsigned timer;
    } poll;
    /* an APDU that a card behind a socket is working on */
    struct {
        bool active;
        struct neo_contact *contact; /* NULL: contactless */
        struct neo_card *card;
    } apdu;
    unsigned ksn; /* encrypted answers so far */
    uint8_t ins;  /* of the last contactless APDU: what an encrypting reader looks at */
    uint8_t rapdu[SIM_RAPDU_MAX];

    struct neo_card *field[NEO_FIELD_MAX];
    size_t cards;
    struct neo_card *pocket; /* removed last, so that it can come back */
    struct neo_contact contact[NEO_CONTACTS];
};

struct neo_cmd {
    uint8_t cmd, sub;
    const uint8_t *data;
    size_t n;
};

/* neo_model.c */
void neo_receive_bytes(struct sim_model *m, const uint8_t *data, size_t n);
void neo_answer_data(struct sim_model *m, uint8_t status, const uint8_t *data, size_t n);
void neo_answer_status(struct sim_model *m, uint8_t status);
/* As the two above, ms later (the time the card or a time-out takes). */
void neo_answer_later(struct sim_model *m, unsigned ms, uint8_t status, const uint8_t *data, size_t n);
/* A frame nobody asked for. */
void neo_send_unasked(struct sim_model *m, uint8_t cmd, uint8_t status, const uint8_t *data, size_t n);
void neo_restart(struct sim_model *m); /* as after power-up, boot notification included */
void neo_burst_update(struct sim_model *m);

/* neo_commands.c */
void neo_run(struct sim_model *m, const uint8_t *frame, size_t n);
void neo_count_code(struct sim_model *m, uint8_t cmd, uint8_t sub);
enum { NEO_NO_DATA = 0xFFFF };

/* neo_field.c */
void neo_field_off(struct sim_model *m);
void neo_field_changed(struct sim_model *m); /* a card came */
void neo_card_gone(struct sim_model *m, struct neo_card *c);
void neo_poll_cancel(struct sim_model *m);
void neo_apdu_cancel(struct sim_model *m);
void neo_contact_removed(struct sim_model *m, struct neo_contact *k);
void neo_antenna(struct sim_model *m, const struct neo_cmd *c);
void neo_poll(struct sim_model *m, const struct neo_cmd *c);
void neo_poll_enhanced(struct sim_model *m, const struct neo_cmd *c);
void neo_poll_ats(struct sim_model *m, const struct neo_cmd *c);
void neo_single_shot(struct sim_model *m, const struct neo_cmd *c);
void neo_poll_start(struct sim_model *m, unsigned ms, bool iso, bool with_ats, bool nfc);
void neo_exchange(struct sim_model *m, const struct neo_cmd *c);
void neo_exchange_interface(struct sim_model *m, const struct neo_cmd *c);
void neo_picc_parameters(struct sim_model *m, const struct neo_cmd *c);
void neo_halt(struct sim_model *m, const struct neo_cmd *c);
void neo_terminate(struct sim_model *m, const struct neo_cmd *c);
void neo_contact_on(struct sim_model *m, const struct neo_cmd *c);
void neo_contact_off(struct sim_model *m, const struct neo_cmd *c);
void neo_exchange_iso(struct sim_model *m, const uint8_t *apdu, size_t n);
/* Card data on its way to the host: encrypted or held back as the reader's security options want it. sw: the last two
 * bytes are a status word. */
void neo_answer_card(struct sim_model *m, unsigned ms, const uint8_t *data, size_t n, bool sw);

/* neo_storage.c */
void neo_mifare_auth(struct sim_model *m, const struct neo_cmd *c);
void neo_mifare_read(struct sim_model *m, const struct neo_cmd *c);
void neo_mifare_write(struct sim_model *m, const struct neo_cmd *c);
void neo_epurse(struct sim_model *m, const struct neo_cmd *c);

/* neo_raw.c */
void neo_raw_exchange(struct sim_model *m, const struct neo_cmd *c);

/* neo_nfc.c */
void neo_nfc(struct sim_model *m, const struct neo_cmd *c);
void neo_felica_access(struct sim_model *m, const struct neo_cmd *c);
void neo_felica_auth(struct sim_model *m, const struct neo_cmd *c);
void neo_felica_mac(struct sim_model *m, const struct neo_cmd *c);
void neo_felica_raw(struct sim_model *m, const struct neo_cmd *c);

/* neo_fault.c */
bool neo_fault_arm(struct sim_model *m, const char *args, char *why, size_t why_size);
/* Finds the fault for a command; m->fault is NEO_FAULT_NONE if there is none. */
void neo_fault_choose(struct sim_model *m, uint8_t cmd, uint8_t sub);
/* Whether a fault waits for a command on its way, and what is left of such a command: NEO_DATA_AT bytes or more in. */
bool neo_fault_commands(const struct sim_model *m);
size_t neo_fault_command(struct sim_model *m, uint8_t *frame, size_t n);
/* Changes the bytes of the answer (at most NEO_FRAME_MAX in, one more may come out). */
size_t neo_fault_bytes(const struct neo_fault *f, uint8_t frame[NEO_FRAME_MAX + 1], size_t n);
size_t neo_faults_armed(const struct sim_model *m);

/* neo_control.c */
bool neo_control(struct sim_model *m, const char *verb, const char *args, FILE *reply);
void neo_remove_all(struct sim_model *m, bool for_good);
bool neo_hex(const char *text, uint8_t *out, size_t max, size_t *n);

/* neo_usb.c */
const struct sim_usb_identity *neo_usb_identity(struct sim_model *m);

#endif
