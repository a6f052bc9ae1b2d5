/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Inside the AET63 reader model: its state, shared by aet63_model.c (the reader: frames, commands, events),
 * aet63_slot.c (a card and the exchange with it), aet63_fault.c (damage on request) and aet63_control.c (control verbs
 * and options). Outside of these only `sim_aet63` of sim.h is used.
 *
 * One command is in flight at most: struct aet63m_command, from the frame received to the answer sent. What a command
 * waits for (processing time, card, delay) is always one timer or one card exchange, so that a removal or a loss of
 * power can call it off.
 */
#ifndef PURSE_SIM_AET63_MODEL_H
#define PURSE_SIM_AET63_MODEL_H

#include "aet63_frame.h"
#include "sim.h"
#include "sim_t1card.h"

enum {
    AET63M_EEPROM_SIZE = 65536,
    AET63M_EEPROM_PAGE = 64,
    AET63M_FAULTS = 32,
    AET63M_TFM_SCRIPTS = 16,
    AET63M_TFM_MAX = 512,
    AET63M_STAT_SIZE = 16,
    AET63M_FAULT_BYTES = 64
};

enum aet63m_instruction {
    INS_GET_ACR_STAT = 0x01,
    INS_SELECT_CARD_TYPE = 0x02,
    INS_SET_NOTIFICATION = 0x06,
    INS_SET_OPTION = 0x07,
    INS_RESET = 0x80,
    INS_POWER_OFF = 0x81,
    INS_ACTIVATE_SAM = 0x88,
    INS_DEACTIVATE_SAM = 0x89,
    INS_EEPROM_READ = 0x9A,
    INS_EEPROM_WRITE = 0x9B,
    INS_TFM_COMMAND = 0x9C,
    INS_TFM_RESET = 0x9D,
    INS_TFM_9E = 0x9E,
    INS_TFM_OPEN_SESSION = 0x9F,
    INS_EXCHANGE_APDU = 0xA0,
    INS_EXCHANGE_T1 = 0xA1,
    INS_EXCHANGE_SAM_APDU = 0xB0,
    INS_EXCHANGE_SAM_T1 = 0xB1
};

enum aet63m_event { EVENT_RESET = 0, EVENT_INSERTED = 1, EVENT_REMOVED = 2 };

/* What happens to an event that comes while a command is in flight. */
enum aet63m_events { EVENTS_IDLE /* never sent */, EVENTS_RACE /* sent before the answer */, EVENTS_AFTER,
                     EVENTS_NEVER /* nor is any other */ };
/* What a restart of the reader, by the reset of its port, makes it forget, and whether it tells of it. */
enum aet63m_restart { RESTART_FULL, RESTART_MESSAGE /* it forgets nothing */, RESTART_NONE };
enum aet63m_overlap { OVERLAP_IGNORE, OVERLAP_STALL, OVERLAP_QUEUE };

struct aet63m_options {
    char transport; /* 'a', 'b', 'c' */
    char speaks;    /* the transport by which it really hears and answers; 0: the same */
    bool int_in;    /* transport B: events go to an interrupt IN endpoint of their own */
    bool pad_random;
    bool nak_raw;
    bool nak_none;     /* a broken frame is not answered at all */
    bool careless;     /* a frame with a wrong checksum is answered NAK and executed all the same */
    bool no_repeat;    /* the host's NAK is not heeded */
    bool codes_swapped; /* FF 01 tells of a removal, FF 02 of an insertion */
    bool no_endpoints; /* the interface has none */
    bool lower_case;
    bool extended;
    bool wtx_ignored; /* the reader does not lengthen its wait after S(WTX response) */
    bool sam_sw2;     /* ACTIVATE_SAM tells the protocol in SW2, as RESET does */
    bool auto_last;   /* automatic type on a card that offers both: T=1 instead of the first offered */
    bool crc_plain;   /* the cards' T=1 CRC is SIM_T1_CRC_PLAIN */
    enum aet63m_events events;
    enum aet63m_overlap overlap;
    enum aet63m_restart restart;
    unsigned busy_ms; /* processing time of each command */
    unsigned tfm_ms;  /* the same for TFM commands */
    unsigned mute_sw; /* SW1 SW2 when a T=1 card does not answer */
    unsigned bwt_ms;  /* 0: from the ATR */
    unsigned wwt_ms;  /* T=0: how long a silent card is waited for */
    unsigned etx_ms;  /* a frame without its end is dropped after this time */
    unsigned max_c, max_r;
    char serial[64], kdriver[32], internal[11];
};

struct aet63m_atr {
    bool t0, t1;  /* protocols offered */
    int first;    /* the first offered */
    int specific; /* protocol of TA2, or -1 */
    unsigned ifsc, bwi;
    bool crc;
};

struct aet63m_slot {
    struct sim_model *m;
    const struct sim_card_ops *ops;
    struct sim_card *card; /* NULL: nothing in the slot, and nothing waited for */
    char name[128];        /* as inserted, with options */
    bool present;          /* a vpcd card is absent until its client connects */
    bool powered;
    int protocol;
    struct aet63m_atr atr;
    struct sim_t1card *t1;
    bool running;   /* the card has an APDU */
    bool for_t1;    /* its answer goes to t1, not to the reader */
    unsigned timer; /* the card's delay */
    size_t rapdu_n;
    uint8_t rapdu[SIM_RAPDU_MAX];
};

enum aet63m_fault_kind {
    FAULT_NONE,
    FAULT_NAK,
    FAULT_BADSUM,
    FAULT_BADLEN,
    FAULT_BADHEX,
    FAULT_TRUNCATE,
    FAULT_NOETX,
    FAULT_DROP,
    FAULT_DELAY,
    FAULT_LATE,
    FAULT_TWICE,
    FAULT_EXTENDED,
    FAULT_LOWERCASE,
    FAULT_GARBAGE,
    FAULT_EVENT,
    FAULT_STATUS,
    FAULT_DATA,
    FAULT_REMOVE,
    FAULT_FLIP,
    FAULT_CUT,
    FAULT_LOSE,
    FAULT_DUP,
    FAULT_NOISE,
    FAULT_STALL
};

struct aet63m_fault {
    enum aet63m_fault_kind kind;
    unsigned value; /* the K, MS or SW of "kind=…" */
    bool has_value;
    bool any; /* any instruction */
    uint8_t at;
    bool exec;      /* status, remove: the command is executed before */
    bool after;     /* event: after the answer */
    bool out;       /* stall: the command's transfer, not the answer's */
    bool back;      /* remove: the card is in again when the answer comes */
    bool reset;     /* a reset of the port disarms it */
    uint8_t bit;    /* flip */
    unsigned event; /* event: code */
    unsigned skip;
    unsigned times; /* 0: for ever */
    uint8_t bytes[AET63M_FAULT_BYTES]; /* data */
    size_t bytes_n;
};

struct aet63m_command {
    bool active;
    uint8_t header, ins;
    const uint8_t *data;
    size_t n;
    unsigned timer;
    struct aet63m_fault fault;
    uint8_t raw[AET63S_RAW_MAX];
    size_t raw_n;
};

struct aet63m_tfm_script {
    uint8_t request[AET63M_TFM_MAX], reply[AET63M_TFM_MAX];
    size_t request_n, reply_n;
    bool any;
};

struct aet63m_counts {
    unsigned long commands[256], frames, bad_frames, naks, host_naks, host_errors, executions, cold, warm, events,
        answers;
};

struct sim_model {
    struct sim_reader *r;
    struct aet63m_options opt;
    bool on;
    bool notify;
    uint8_t option, c_sel;
    struct aet63m_slot slot, sam;
    struct aet63s_rx rx;
    unsigned rx_timer;
    size_t rx_bytes; /* since the end of the last message */
    struct aet63m_command cmd;
    uint8_t *queued; /* raw command that came too early, with overlap=queue */
    size_t queued_n;
    unsigned due_event; /* bit n: event code n is due after the answer */
    uint8_t last_raw[AET63S_RAW_MAX];
    size_t last_raw_n;
    uint8_t raw_out[AET63S_RAW_MAX];
    uint8_t answer[AET63S_FRAME_MAX + 64]; /* last answer as it should be: what a host NAK asks for */
    size_t answer_n;
    uint8_t wire[AET63S_FRAME_MAX + 64]; /* last answer as it goes out */
    size_t wire_n;
    uint8_t *late; /* an answer held back */
    size_t late_n;
    unsigned late_in; /* sent before that many later answers */
    struct aet63m_fault faults[AET63M_FAULTS];
    unsigned n_faults;
    struct aet63m_tfm_script *tfm;
    unsigned n_tfm;
    uint8_t tfm_atr[64];
    size_t tfm_atr_n;
    uint32_t random;
    struct aet63m_counts counts;
    uint8_t descriptors[128];
    struct sim_usb_identity usb;
    uint8_t eeprom[AET63M_EEPROM_SIZE];
};

/* ---- aet63_model.c ---------------------------------------------------------------------------------------- */

/* Ends the command in flight with this answer. */
void aet63m_answer(struct sim_model *m, unsigned sw, const uint8_t *data, size_t n);
/* The command in flight, if any, uses the card in this slot. */
bool aet63m_uses(const struct sim_model *m, const struct aet63m_slot *s);
/* Cancels the timer of the command in flight, or sets a new one. */
void aet63m_command_timer(struct sim_model *m, unsigned ms, sim_timer_fn fn);
/* A card came or went: an event to the host, if the rules and options say so. */
void aet63m_event(struct sim_model *m, enum aet63m_event e);
/* One event frame, whatever the rules. */
void aet63m_send_event(struct sim_model *m, unsigned code);
/* Packets towards the host. */
void aet63m_send(struct sim_model *m, bool event, const uint8_t *frame, size_t n);
uint32_t aet63m_random(struct sim_model *m);

/* ---- aet63_slot.c ----------------------------------------------------------------------------------------- */

bool aet63m_slot_init(struct sim_model *m, struct aet63m_slot *s);
void aet63m_slot_free(struct aet63m_slot *s);
/* Puts a card in ("NAME[,options]"), without any event; false with a reason. */
bool aet63m_slot_put(struct aet63m_slot *s, const char *spec, char *why, size_t why_size);
/* Takes the card out and destroys it, without event or answer. */
void aet63m_slot_clear(struct aet63m_slot *s);
/* The card lost its contacts: power, protocol and any running APDU are gone; the card object stays. */
void aet63m_slot_unpower(struct aet63m_slot *s);
/* Takes the card out as seen by the host: answers the command that runs on it, or sends an event. again: it is back
 * at once. */
void aet63m_slot_pull(struct aet63m_slot *s, bool again);

void aet63m_slot_reset(struct aet63m_slot *s, bool sam);
void aet63m_slot_apdu(struct aet63m_slot *s, const uint8_t *data, size_t n);
void aet63m_slot_block(struct aet63m_slot *s, const uint8_t *data, size_t n);

/* Takes an ATR apart. False if it is not one that the reader can run. */
bool aet63m_parse_atr(const uint8_t *atr, size_t n, struct aet63m_atr *out);

/* ---- aet63_fault.c ---------------------------------------------------------------------------------------- */

/* "KIND[=V] [word|key=value]…" */
bool aet63m_fault_arm(struct sim_model *m, const char *args, FILE *reply);
/* The port was reset. */
void aet63m_fault_reset(struct sim_model *m);
/* Takes the fault for this instruction, if one is due. */
struct aet63m_fault aet63m_fault_take(struct sim_model *m, uint8_t ins);
/* Damages the answer: the raw message is m->cmd's answer to be framed into m->wire. */
void aet63m_fault_frame(struct sim_model *m, const struct aet63m_fault *f, const struct aet63s_msg *msg);

/* ---- aet63_control.c -------------------------------------------------------------------------------------- */

bool aet63m_set_option(struct sim_model *m, const char *key, const char *value);
bool aet63m_control(struct sim_model *m, const char *verb, const char *args, FILE *reply);

#endif
