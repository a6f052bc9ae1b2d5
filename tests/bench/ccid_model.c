/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A CCID reader with the tests' cards in it, so that libccid can be measured on the same bed: the benchmark's only, built
 * into a purse-sim of its own with -DSIM_EXTRA_MODEL=sim_ccid. It exchanges short APDUs (dwFeatures 0002xxxx), has one
 * slot and tells of cards by its interrupt pipe. After the CCID specification, revision 1.1; no time of its own.
 *
 * Option at creation: card=NAME. Verbs: insert NAME, remove, count.
 */
#include <stdlib.h>
#include <string.h>

#include "sim_cards.h"

/* An identity that libccid's list of readers has and gives no special treatment. */
enum { VID = 0x08e6, PID = 0x3437, HEADER = 10, MESSAGE_MAX = 271, BULK_IN = 0x82 };

enum {
    SET_PARAMETERS = 0x61,
    POWER_ON = 0x62,
    POWER_OFF = 0x63,
    SLOT_STATUS = 0x65,
    GET_PARAMETERS = 0x6C,
    XFR_BLOCK = 0x6F,
    DATA_BLOCK = 0x80,
    SLOT_STATUS_ANSWER = 0x81,
    PARAMETERS = 0x82,
    NOTIFY_SLOT_CHANGE = 0x50,
    ACTIVE = 0,
    INACTIVE = 1,
    NO_CARD = 2,
    FAILED = 0x40,
    ICC_MUTE = 0xFE
};

static const uint8_t DESCRIPTORS[] = {
    18, 1, 0x00, 0x02, 0, 0, 0, 64, VID & 0xff, VID >> 8, PID & 0xff, PID >> 8, 0x00, 0x01, 1, 2, 3, 1, /* device */
    9, 2, 93, 0, 1, 1, 0, 0x80, 50,                        /* configuration */
    9, 4, 0, 0, 3, 0x0b, 0, 0, 0,                          /* interface */
    54, 0x21, 0x10, 0x01, 0, 7, 3, 0, 0, 0,                /* CCID 1.10, one slot, all voltages, T=0 and T=1 */
    0xa0, 0x0f, 0, 0, 0xa0, 0x0f, 0, 0, 0,                 /* 4 MHz */
    0x00, 0x2a, 0, 0, 0x00, 0x2a, 0, 0, 0,                 /* 10 752 bit/s */
    254, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                  /* IFSD, nothing synchronous or mechanical */
    0xba, 0x04, 0x02, 0, MESSAGE_MAX & 0xff, MESSAGE_MAX >> 8, 0, 0, /* short APDUs, all automatic */
    0, 0, 0, 0, 0, 1,                                      /* no classes, no display, no PIN, one busy slot */
    7, 5, 0x01, 2, 64, 0, 0,                               /* bulk OUT */
    7, 5, BULK_IN, 2, 64, 0, 0,                            /* bulk IN */
    7, 5, 0x83, 3, 8, 0, 24,                               /* interrupt IN */
};

struct sim_model {
    struct sim_reader *reader;
    const struct sim_card_ops *ops;
    struct sim_card *card; /* NULL: the slot is empty */
    bool powered;
    unsigned long frames;
    struct sim_usb_identity identity;
    uint8_t response[SIM_RAPDU_MAX];
};

static void take_card(struct sim_model *m)
{
    if (m->card)
        m->ops->destroy(m->card);
    m->card = NULL;
    m->powered = false;
}

static bool put_card(struct sim_model *m, const char *name, char *why, size_t size)
{
    take_card(m);
    m->card = sim_card_make(name, &m->ops, why, size);
    return m->card != NULL;
}

static struct sim_model *ccid_create(struct sim_reader *r, const char *options)
{
    struct sim_model *m = calloc(1, sizeof *m);
    char card[64] = "", why[128] = "";

    if (!m)
        return NULL;
    m->reader = r;
    m->identity = (struct sim_usb_identity){.vid = VID,
                                            .pid = PID,
                                            .descriptors = DESCRIPTORS,
                                            .descriptors_len = sizeof DESCRIPTORS,
                                            .manufacturer = "Bench",
                                            .product = "CCID",
                                            .speed = "12"};
    if (sim_option(options, "card", card, sizeof card) && !put_card(m, card, why, sizeof why)) {
        fprintf(stderr, "ccid: %s\n", why);
        free(m);
        return NULL;
    }
    return m;
}

static void ccid_destroy(struct sim_model *m)
{
    take_card(m);
    free(m);
}

static const struct sim_usb_identity *ccid_usb(struct sim_model *m)
{
    return &m->identity;
}

static void notify(struct sim_model *m)
{
    const uint8_t message[] = {NOTIFY_SLOT_CHANGE, m->card ? 3 : 2};

    sim_send(m->reader, SIM_PIPE_INT_IN, message, sizeof message);
}

static void ccid_power(struct sim_model *m, bool on)
{
    m->powered = false;
    if (on)
        notify(m);
}

/* One answer, cut into packets. */
static void answer(struct sim_model *m, const uint8_t *command, uint8_t type, uint8_t status, uint8_t error,
                   uint8_t last, const uint8_t *data, size_t n)
{
    uint8_t message[MESSAGE_MAX] = {type, (uint8_t)n, (uint8_t)(n >> 8), 0, 0, command[5], command[6], status, error,
                                    last};
    size_t icc = !m->card ? NO_CARD : m->powered ? ACTIVE : INACTIVE;

    message[7] |= (uint8_t)icc;
    if (n > 0)
        memcpy(message + HEADER, data, n);
    n += HEADER;
    for (size_t at = 0; at < n; at += 64)
        sim_send(m->reader, SIM_PIPE_BULK_IN, message + at, n - at < 64 ? n - at : 64);
}

static void power_on(struct sim_model *m, const uint8_t *command)
{
    uint8_t atr[SIM_ATR_MAX];
    size_t n = 0;

    if (m->card) {
        m->ops->power(m->card, true);
        n = m->ops->atr(m->card, atr);
    }
    m->powered = n > 0;
    if (m->powered && m->ops->protocol)
        m->ops->protocol(m->card, 0);
    answer(m, command, DATA_BLOCK, n > 0 ? 0 : FAILED, n > 0 ? 0 : ICC_MUTE, 0, atr, n);
}

/* A T=0 card gets five bytes, whatever the APDU's case. */
static void transfer(struct sim_model *m, const uint8_t *command, size_t n)
{
    uint8_t tpdu[MESSAGE_MAX] = {0};
    size_t len = n - HEADER;
    unsigned delay = 0;

    if (len > sizeof tpdu)
        return;
    memcpy(tpdu, command + HEADER, len);
    len = m->powered ? m->ops->execute(m->card, tpdu, len == 4 ? 5 : len, m->response, &delay) : 0;

    if (len == 0 || len > MESSAGE_MAX - HEADER)
        answer(m, command, DATA_BLOCK, FAILED, ICC_MUTE, 0, NULL, 0);
    else
        answer(m, command, DATA_BLOCK, 0, 0, 0, m->response, len);
}

static bool ccid_receive(struct sim_model *m, enum sim_pipe pipe, const uint8_t *setup, const uint8_t *data, size_t n)
{
    static const uint8_t t0[] = {0x11, 0x00, 0x00, 0x0A, 0x00};

    if (setup || pipe != SIM_PIPE_BULK_OUT || n < HEADER)
        return false;
    m->frames++;
    switch (data[0]) {
    case POWER_ON:
        power_on(m, data);
        break;
    case POWER_OFF:
        m->powered = false;
        answer(m, data, SLOT_STATUS_ANSWER, 0, 0, 0, NULL, 0);
        break;
    case SLOT_STATUS:
        answer(m, data, SLOT_STATUS_ANSWER, 0, 0, 0, NULL, 0);
        break;
    case SET_PARAMETERS:
    case GET_PARAMETERS:
        answer(m, data, PARAMETERS, 0, 0, 0, t0, sizeof t0);
        break;
    case XFR_BLOCK:
        transfer(m, data, n);
        break;
    default:
        answer(m, data, SLOT_STATUS_ANSWER, FAILED, 0, 0, NULL, 0);
        break;
    }
    return true;
}

static bool ccid_control(struct sim_model *m, const char *verb, const char *args, FILE *reply)
{
    char why[128] = "";

    if (strcmp(verb, "count") == 0) {
        fprintf(reply, "frames=%lu", m->frames);
        return true;
    }
    if (strcmp(verb, "remove") == 0) {
        take_card(m);
    } else if (strcmp(verb, "insert") != 0 || !put_card(m, args, why, sizeof why)) {
        fputs(why[0] ? why : "no such verb", reply);
        return false;
    }
    notify(m);
    return true;
}

extern const struct sim_model_ops sim_ccid;
const struct sim_model_ops sim_ccid = {
    .name = "ccid",
    .create = ccid_create,
    .destroy = ccid_destroy,
    .usb = ccid_usb,
    .power = ccid_power,
    .receive = ccid_receive,
    .control = ccid_control,
};
