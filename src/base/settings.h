/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Settings: one const table in settings.c names every setting, its values, its default and the readers it concerns;
 * the man page ifd-purse.conf(5) follows it. Values come, later ones winning, from
 *   1. the table's defaults,
 *   2. the configuration file (INI, read with inih): [VID:PID], [VID:PID:SERIAL], [/dev/…], the most specific section
 *      winning whatever its place in the file,
 *   3. the options of a serial DEVICENAME ("/dev/ttyUSB0:baud=57600:slots=cl.icc"),
 *   4. the environment: IFD_PURSE_<KEY> in capitals (IFD_PURSE_LOG, IFD_PURSE_APDU_CAP …).
 * The file is $(sysconfdir)/ifd-purse.conf; IFD_PURSE_CONF names another. A missing file is no error. A wrong value
 * keeps the value it would have replaced and says so in the log, with the line, the key and what it may be.
 */
#ifndef PURSE_SETTINGS_H
#define PURSE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/log.h"

enum slot_kind { SLOT_NONE, SLOT_CARD, SLOT_CL, SLOT_ICC, SLOT_SAM1, SLOT_SAM8 = SLOT_SAM1 + 7 };
enum { SETTINGS_SLOTS_MAX = 10, SETTINGS_USB_IDS_MAX = 8 };

enum setting_prefer { PREFER_ISO, PREFER_MIFARE };
enum setting_switch { SWITCH_OFF, SWITCH_ON, SWITCH_AUTO };
enum setting_presence { PRESENCE_OFF, PRESENCE_RNAK };
enum setting_escape { ESCAPE_SAFE, ESCAPE_ALL };
enum setting_crc { CRC_AUTO, CRC_LSB, CRC_MSB };
enum setting_transport { TRANSPORT_AUTO, TRANSPORT_A, TRANSPORT_B, TRANSPORT_C };
enum setting_nak { NAK_OFF, NAK_FRAMED, NAK_RAW };
enum setting_t1 { T1_BLOCKS, T1_APDU };

struct usb_id {
    uint16_t vid, pid;
    char family; /* 'a' AET63, 'v' ViVOpay */
};

struct settings {
    /* slots, in order; none set means the family's default: AET63 "card", ViVOpay "cl" */
    enum slot_kind slots[SETTINGS_SLOTS_MAX];
    unsigned slot_count;

    unsigned prefer;         /* enum setting_prefer: a card that is MIFARE and ISO 14443-4 */
    unsigned iso15693;       /* enum setting_switch */
    unsigned felica;         /* enum setting_switch */
    unsigned sak_probe;      /* enum setting_switch */
    unsigned presence_check; /* enum setting_presence */
    unsigned contactless_t0; /* enum setting_switch */
    unsigned escape;         /* enum setting_escape */
    unsigned crc_order;      /* enum setting_crc */
    unsigned transport;      /* enum setting_transport (AET63) */
    unsigned t1;             /* enum setting_t1 (AET63): T=1 by blocks (A1) or by the reader's own T=1 (A0) */
    unsigned nak;            /* enum setting_nak (AET63): ask the reader to repeat a broken answer */
    unsigned baud;           /* serial; 0: probe */

    /* milliseconds */
    unsigned apdu_cap;       /* 60000: an APDU, and 1 s more for each chained block that moved data */
    unsigned power_cap;      /* 30000: a power-up */
    unsigned reader_cap;     /* 5000: everything else */
    unsigned tfm_cap;        /* 120000: a fingerprint command (it waits for a finger) */
    unsigned frame_gap;      /* 500: silence inside a frame */
    unsigned command_wait;   /* 2000: a reader's own command (AET63: 01, 02, 06, 81, EEPROM) */
    unsigned reset_wait;     /* 10000: RESET, ACTIVATE_SAM; ViVOpay 2C-12 */
    unsigned open_quiet;     /* 100: silence that ends the drain at open */
    unsigned open_drain;     /* 1200: the drain at open ends then in any case */
    unsigned resync_quiet;   /* 100: silence that ends a drain after an error */
    unsigned presence_retry; /* 500: how often an unproven or doubtful presence is asked */
    unsigned ping_wait;      /* 300: ViVOpay Ping */
    unsigned poll_time;      /* 250: ViVOpay field poll */
    unsigned rf_off;         /* 10: field off at power-down, at least */
    unsigned reopen_min;     /* 50: first wait before a serial port that hung up is tried again */
    unsigned reopen_max;     /* 2000: longest */

    struct usb_id usb_ids[SETTINGS_USB_IDS_MAX]; /* further readers of a family, section [usb] or any: usb_id = … */
    unsigned usb_id_count;

    unsigned log; /* mask of enum log_level; default PLOG_CRITICAL | PLOG_INFO */
};

/* Whose settings: what is known of the reader. Strings may be NULL. */
struct settings_subject {
    uint16_t vid, pid;   /* 0 for a serial reader */
    const char *serial;  /* USB serial number */
    const char *device;  /* "/dev/ttyUSB0" */
    const char *options; /* "baud=57600:slots=cl.icc", the part of DEVICENAME after the path */
    char family;         /* 'a' AET63, 'v' ViVOpay: settings and slots of the other family are refused; 0: not checked */
};

void settings_defaults(struct settings *s);

/* Fills s for the subject from all four sources. Never fails: what is wrong is logged (through log, with log->mask as it
 * is; the caller sets log->mask = s->log afterwards) and left at the value it had. */
void settings_load(struct settings *s, const struct settings_subject *who, struct log *log);

/* The readers that usb_id lines add to the families, at most cap of them into ids; returns how many. They concern no
 * reader yet, so this asks for no subject. Reads the file and IFD_PURSE_USB_ID; logs only what is wrong with them. */
size_t settings_extra_usb_ids(struct usb_id *ids, size_t cap, struct log *log);

/* Sets one setting from text, as the file would. Returns false and a reason (static storage) for a bad key or value. */
bool settings_set(struct settings *s, const char *key, const char *value, const char **reason);

/* The part of a serial DEVICENAME that is the path, and its options: an option begins at the first ":word=". Copies the
 * path into path (cap bytes, with its NUL); *options points into name, or is NULL. False if the path does not fit. */
bool devicename_split(const char *name, char *path, size_t cap, const char **options);

#endif
