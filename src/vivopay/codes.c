/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The tables; codes.h says what they are.
 */
#include "vivopay/codes.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const struct vivo_status statuses[] = {
    {0x00, OUTCOME_DONE, "done"},
    {0x01, OUTCOME_BROKEN, "incorrect header"},
    {0x02, OUTCOME_ABSENT, "unknown command"},
    {0x03, OUTCOME_ABSENT, "unknown sub-command"},
    {0x04, OUTCOME_BROKEN, "CRC error"},
    {0x05, OUTCOME_WRONG, "incorrect parameter"},
    {0x06, OUTCOME_BLOCKED, "parameter not supported, or sensitive data blocked"},
    {0x07, OUTCOME_WRONG, "malformed data"},
    {0x08, OUTCOME_NO_ANSWER, "timeout"},
    {0x0A, OUTCOME_FAILED, "failed"},
    {0x0B, OUTCOME_WRONG_MODE, "command not allowed"},
    {0x0C, OUTCOME_WRONG_MODE, "sub-command not allowed"},
    {0x0D, OUTCOME_TOO_LONG, "data too long for the reader"},
    {0x10, OUTCOME_BROKEN, "boot loader: needs firmware"},
    {0x11, OUTCOME_BROKEN, "communication type not supported"},
    {0x12, OUTCOME_BROKEN, "secure interface not working"},
    {0x13, OUTCOME_BROKEN, "data is no multiple of 8"},
    {0x19, OUTCOME_TOO_LONG, "frame too large"},
    {0x1A, OUTCOME_BROKEN, "authentication state: InitSecureComm needed"},
    {0x1D, OUTCOME_BROKEN, "tampered: the reader is dead"},
    {0x70, OUTCOME_BROKEN, "antenna error"},
    {0x90, OUTCOME_BLOCKED, "data encryption key absent"},
    {0x91, OUTCOME_BLOCKED, "KSN exhausted"},
};
static const struct vivo_status unknown_status = {0xFF, OUTCOME_BROKEN, "unknown status"};

const struct vivo_status *vivo_status(uint8_t code)
{
    for (size_t i = 0; i < COUNT(statuses); i++)
        if (statuses[i].code == code)
            return &statuses[i];
    return &unknown_status;
}

enum { P = true, R = true, A = true, S = true, o = false, ANY = VIVO_ANY_SUB, ALL = 0xFF };

/* Columns: command, sub-command, pass-through family, repeatable, works always, safe for clients, time-out, bytes shown
 * of command and answer, CRC order learnt from. Time-outs: codes.h. APDUs first: they are what is looked up most. */
static const struct vivo_command commands[] = {
    {0x2C, 0x03, P, o, o, o, WAIT_CALLER, 4, 0, 0},         /* Exchange contactless data */
    {0x2C, 0x13, P, o, o, o, WAIT_CALLER, 5, 0, 0x12},      /* Exchange APDU */
    {0x01, 0x01, o, R, o, o, WAIT_SHORT, 1, 0, 0},      /* Set poll mode */
    {0x05, 0x01, o, o, o, o, WAIT_SHORT, 1, 0, 0},      /* Cancel */
    {0x09, ANY, o, R, o, S, WAIT_COMMAND, 1, ALL, 0},     /* Product type, versions */
    {0x0A, 0x02, P, o, o, S, WAIT_SHORT, ALL, ALL, 0},  /* LED */
    {0x0A, 0x03, P, o, o, S, WAIT_SHORT, ALL, ALL, 0},  /* Front LED */
    {0x0B, 0x01, P, o, o, S, WAIT_SHORT, ALL, ALL, 0},  /* Beeps */
    {0x0B, 0x02, P, o, o, S, WAIT_SHORT, ALL, ALL, 0},  /* Long beep */
    {0x12, 0x01, o, R, A, S, WAIT_COMMAND, 0, 0, 0},      /* Get serial number */
    {0x18, 0x01, o, R, A, S, WAIT_PING, 0, 0, 0},       /* Ping */
    {0x28, 0x01, P, R, A, o, WAIT_SHORT, 1, 0, 0},      /* Antenna control */
    {0x29, 0x00, o, R, A, S, WAIT_COMMAND, 0, ALL, 0},    /* Get version */
    {0x29, 0x01, o, R, o, S, WAIT_COMMAND, 1, ALL, 0},    /* Product full information */
    {0x29, 0x04, o, R, o, S, WAIT_COMMAND, 0, ALL, 0},    /* Boot loader version */
    {0x29, 0x06, o, R, o, S, WAIT_COMMAND, 0, ALL, 0},    /* Contact kernel version */
    {0x29, ANY, o, R, o, o, WAIT_COMMAND, 0, 0, 0},
    {0x2C, 0x01, P, R, A, o, WAIT_SHORT, 1, 0, 0},      /* Pass-through start/stop */
    {0x2C, 0x02, P, R, o, o, WAIT_SHORT, 2, ALL, 0},    /* Poll for token (+ its time) */
    {0x2C, 0x04, P, o, o, o, WAIT_SHORT, 7, 5, 0},      /* PCD single command exchange (+ its time) */
    {0x2C, 0x05, P, R, o, S, WAIT_COMMAND, 0, ALL, 0},    /* Get PCD/PICC parameters */
    {0x2C, 0x06, P, o, o, o, WAIT_COMMAND, 2, 0, 0},      /* MIFARE authenticate: key behind byte 2 */
    {0x2C, 0x07, P, R, o, o, WAIT_COMMAND, 2, 0, 0},      /* MIFARE read blocks */
    {0x2C, 0x08, P, o, o, o, WAIT_COMMAND, 2, 0, 0},      /* MIFARE write blocks */
    {0x2C, 0x09, P, o, o, o, WAIT_COMMAND, 1, 0, 0},      /* High level halt */
    {0x2C, 0x0A, P, o, o, o, WAIT_PURSE, 1, 2, 0},      /* MIFARE ePurse: may hold keys */
    {0x2C, 0x0B, P, o, o, o, WAIT_SHORT, 7, 0, 0},      /* Enhanced pass-through */
    {0x2C, 0x0C, P, R, o, o, WAIT_SHORT, 4, ALL, 0},    /* Enhanced poll (+ its time) */
    {0x2C, 0x0E, P, R, o, o, WAIT_SHORT, 2, ALL, 0},    /* Poll for token with ATS (+ its time) */
    {0x2C, 0x12, P, R, o, o, WAIT_RESET, 1, ALL, 0},   /* Get ATR */
    {0x2C, 0x16, P, o, o, o, WAIT_COMMAND, 0, 0, 0},      /* Terminate ISO session */
    {0x2C, 0x18, P, o, o, o, WAIT_COMMAND, 1, 0, 0x12},   /* Contact power off */
    {0x2C, 0x40, P, o, o, o, WAIT_COMMAND, 2, 0, 0},      /* NFC Forum commands */
    {0x2C, 0x41, P, o, o, o, WAIT_COMMAND, 1, 0, 0},      /* FeliCa read/write */
    {0x2C, 0x44, P, o, o, o, WAIT_COMMAND, 2, 0, 0},      /* FeliCa raw frame */
    {0x2C, ANY, P, o, o, o, WAIT_COMMAND, 0, 0, 0},
    {0, ANY, o, o, o, o, WAIT_COMMAND, 0, 0, 0}, /* any other */
};

_Static_assert(COUNT(commands) <= VIVO_COMMANDS_MAX, "VIVO_COMMANDS_MAX is the size of arrays indexed by command rows");

const struct vivo_command *vivo_command(uint8_t command, uint8_t sub)
{
    const struct vivo_command *row = commands, *last = &commands[COUNT(commands) - 1];

    while (row < last && (row->command != command || (row->sub != sub && row->sub != ANY)))
        row++;
    return row;
}

size_t vivo_command_index(const struct vivo_command *row)
{
    return (size_t)(row - commands);
}

static const struct vivo_card_type types[] = {
    {0x01, CARD_APDU, false, 0x00, 0x0000, "ISO 14443-4 type A"},
    {0x02, CARD_APDU, true, 0x00, 0x0000, "ISO 14443-4 type B"},
    {0x03, CARD_STORAGE, false, 0x03, 0x0001, "MIFARE Classic"},
    {0x04, CARD_STORAGE, false, 0x03, 0x0003, "MIFARE Ultralight"},
    {0x05, CARD_STORAGE, false, 0x03, 0x0000, "ISO 14443-3 type A"},
    {0x06, CARD_STORAGE, true, 0x07, 0x0000, "ISO 14443-3 type B"},
    {0x07, CARD_BOTH, false, 0x03, 0x0001, "ISO 14443-4 type A and MIFARE"},
    {0x0A, CARD_STORAGE, false, 0x03, 0x0030, "NFC Forum type 1 (Topaz)"},
    {0x0B, CARD_STORAGE, false, 0x03, 0x0003, "NFC Forum type 2"},
    {0x0C, CARD_STORAGE, false, 0x11, 0x003B, "NFC Forum type 3 (FeliCa)"},
    {0x0D, CARD_APDU, false, 0x00, 0x0000, "NFC Forum type 4"},
    {VIVO_TYPE_VICINITY, CARD_STORAGE, false, 0x0B, 0x0000, "ISO 15693"},
};

const struct vivo_card_type *vivo_card_type(uint8_t type)
{
    for (size_t i = 0; i < COUNT(types); i++)
        if (types[i].type == type)
            return &types[i];
    return NULL;
}

static const struct {
    uint16_t vid, pid;
    const char *why;
} refused[] = {
    {0x0ACD, 0x3531, "VP3300 in keyboard mode: set it to HID mode with ID TECH's tool"},
    {0x0ACD, 0x4451, "VP5300 in keyboard mode: set it to HID mode with ID TECH's tool"},
    {0x0ACD, 0x4650, "VP5300 in keyboard mode: set it to HID mode with ID TECH's tool"},
    {0x0ACD, 0x2030, "a magnetic stripe reader: another protocol"},
    {0x0ACD, 0x2010, "a magnetic stripe reader: another protocol"},
    {0x0ACD, 0x2610, "a SecureKey or SecureMag: another protocol"},
    {0x0ACD, 0x2620, "a SecureKey or SecureMag: another protocol"},
    {0x0ACD, 0x2810, "a SecureMag: another protocol"},
    {0x0ACD, 0x2820, "a SecureMag: another protocol"},
    {0x0ACD, 0x3810, "an Augusta: another protocol"},
    {0x0ACD, 0x3820, "an Augusta: another protocol"},
    {0x0ACD, 0x3910, "an Augusta: another protocol"},
    {0x0ACD, 0x3920, "an Augusta: another protocol"},
};

const char *vivo_refused_pid(uint16_t vid, uint16_t pid)
{
    for (size_t i = 0; i < COUNT(refused); i++)
        if (refused[i].vid == vid && refused[i].pid == pid)
            return refused[i].why;
    return NULL;
}
