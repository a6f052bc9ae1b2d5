/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The commands of the simulated reader: the table that says which exist, in which mode and with how much data, and
 * the checks, in the reader's order: CRC, command, sub-command, mode, length. The commands that tell who the reader
 * is and those that steer its lamps and modes are here too, being one or two lines each.
 *
 * The CRC of a command stands least significant byte first, except in the pass-through family, where it is the other
 * way round; which commands of that family a reader takes the ordinary way is an option.
 */
#include "neo_model.h"

#include <string.h>

enum mode { ANY_MODE, ORDINARY, PASS_THROUGH };
enum feature { ALWAYS, ATS_POLL, FELICA_RAW, INFO, CONTACT };

typedef void (*handler)(struct sim_model *m, const struct neo_cmd *c);

/* ---- identity ------------------------------------------------------------------------------------------------ */

static void answer_text(struct sim_model *m, const char *text)
{
    neo_answer_data(m, NEO_ST_OK, (const uint8_t *)text, strlen(text));
}

static void ok(struct sim_model *m, const struct neo_cmd *c)
{
    (void)c;
    neo_answer_status(m, NEO_ST_OK);
}

static void get_version(struct sim_model *m, const struct neo_cmd *c)
{
    (void)c;
    answer_text(m, m->opt.model);
}

static void get_serial(struct sim_model *m, const struct neo_cmd *c)
{
    uint8_t serial[15] = {0};

    (void)c;
    if (m->opt.serial[0] == '\0') {
        neo_answer_status(m, NEO_ST_NOT_ALLOWED);
        return;
    }
    memcpy(serial, m->opt.serial, strlen(m->opt.serial));
    neo_answer_data(m, NEO_ST_OK, serial, sizeof serial);
}

static size_t put_tag(uint8_t *out, uint8_t tag, const char *text)
{
    size_t n = strlen(text);

    out[0] = tag;
    out[1] = (uint8_t)n;
    memcpy(out + 2, text, n);
    return n + 2;
}

static void product_information(struct sim_model *m, const struct neo_cmd *c)
{
    static const char *const contact[] = {"IFM 1.0", "HW 2.1", "SW 1.04"};
    static const char *const contactless[] = {"PCD 1.0", "HW 2.1", "SW 2.02", "ViVOpay NEO"};
    uint8_t out[256];
    size_t n = 0;

    if (c->data[0] > 1) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    for (uint8_t i = 0; i < (c->data[0] == 0 ? 3 : 4); i++)
        n += put_tag(out + n, (uint8_t)(i + 1), c->data[0] == 0 ? contact[i] : contactless[i]);
    if (c->data[0] == 1)
        n += put_tag(out + n, 0x09, m->opt.model);
    neo_answer_data(m, NEO_ST_OK, out, n);
}

static void boot_loader(struct sim_model *m, const struct neo_cmd *c)
{
    (void)c;
    answer_text(m, "NEO BL V1.00.012");
}

static void contact_kernel(struct sim_model *m, const struct neo_cmd *c)
{
    (void)c;
    answer_text(m, "EMV Common L2 V1.10.037");
}

static void mcu_uid(struct sim_model *m, const struct neo_cmd *c)
{
    static const uint8_t uid[16] = {0x4E, 0x45, 0x4F, 0x32, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

    (void)c;
    neo_answer_data(m, NEO_ST_OK, uid, sizeof uid);
}

static void product_type(struct sim_model *m, const struct neo_cmd *c)
{
    uint8_t tlv[6] = {0xDF,
                      0x60,
                      3,
                      (uint8_t)(m->opt.product >> 16),
                      (uint8_t)(m->opt.product >> 8 & 0xFF),
                      (uint8_t)(m->opt.product & 0xFF)};

    (void)c;
    neo_answer_data(m, NEO_ST_OK, tlv, sizeof tlv);
}

static void processor_type(struct sim_model *m, const struct neo_cmd *c)
{
    static const uint8_t tlv[] = {0xDF, 0x61, 2, 0x4D, 0x00};

    (void)c;
    neo_answer_data(m, NEO_ST_OK, tlv, sizeof tlv);
}

static void main_firmware(struct sim_model *m, const struct neo_cmd *c)
{
    uint8_t tlv[3 + sizeof m->opt.model] = {0xDF, 0x62, (uint8_t)strlen(m->opt.model)};

    (void)c;
    memcpy(tlv + 3, m->opt.model, tlv[2]);
    neo_answer_data(m, NEO_ST_OK, tlv, 3U + tlv[2]);
}

static void hardware(struct sim_model *m, const struct neo_cmd *c)
{
    (void)c;
    answer_text(m, "HW,VPVendi,\r\nHW,K21F Rev9,\r\nSAM,none,\r\nEEPROM,none,\r\n");
}

static void module_versions(struct sim_model *m, const struct neo_cmd *c)
{
    static const char text[] = "FW,Vendi V1.00,,\r\n"
                               " FS&DB V1.00,,\r\n"
                               " CL AppSel,PPSE Module, v1.00,,\r\n"
                               " CL AID,MasterCard PayPass M/Chip v3.0.2, Vendi v1.0.0,,\r\n"
                               " CL AID,Visa VCPS 2.1.3, v0.99,,\r\n"
                               " CL AID,Amex ExpressPay 3.0, v1.00,,\r\n"
                               " CL AID,Discover DPAS 1.0 Zip 3.1.2, v1.00,,\r\n"
                               " CL AID,Interac 1.5, v1.00,,\r\n"
                               " CL L1,EMV 4.3 L1, v1.00"; /* its NUL is sent */

    (void)c;
    neo_answer_data(m, NEO_ST_OK, (const uint8_t *)text, sizeof text);
}

/* ---- modes, lamps -------------------------------------------------------------------------------------------- */

static void set_poll_mode(struct sim_model *m, const struct neo_cmd *c)
{
    if (c->data[0] > 1) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    m->poll_mode = c->data[0];
    neo_burst_update(m);
    neo_answer_status(m, NEO_ST_OK);
}

/* The one object known: burst mode, by its new and its old tag. Others are taken unseen. */
static void set_configuration(struct sim_model *m, const struct neo_cmd *c)
{
    static const uint8_t burst[] = {0xDF, 0xEE, 0x7E, 0x01}, old_burst[] = {0xFF, 0xF7, 0x01};

    m->count.forbidden++;
    if (c->n == sizeof burst + 1 && memcmp(c->data, burst, sizeof burst) == 0)
        m->burst_off = c->data[sizeof burst] == 0;
    else if (c->n == sizeof old_burst + 1 && memcmp(c->data, old_burst, sizeof old_burst) == 0)
        m->burst_off = c->data[sizeof old_burst] == 0;
    neo_burst_update(m);
    neo_answer_status(m, NEO_ST_OK);
}

static void set_baud(struct sim_model *m, const struct neo_cmd *c)
{
    m->count.forbidden++;
    if (!m->opt.baud_allowed) {
        neo_answer_status(m, NEO_ST_NOT_ALLOWED);
        return;
    }
    if (c->data[0] < 1 || c->data[0] > 5) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    m->baud = c->data[0];
    neo_answer_status(m, NEO_ST_OK);
}

static void plain_rapdu(struct sim_model *m, const struct neo_cmd *c)
{
    m->count.forbidden++;
    neo_answer_status(m, c->data[0] <= 1 ? NEO_ST_OK : NEO_ST_PARAMETER);
}

static void pass_through(struct sim_model *m, const struct neo_cmd *c)
{
    bool was = m->pass;

    if (c->data[0] > 1) {
        neo_answer_status(m, NEO_ST_PARAMETER);
        return;
    }
    m->pass = c->data[0] == 1;
    if (!m->pass)
        neo_field_off(m);
    neo_burst_update(m);
    neo_answer_status(m, !m->pass && !was ? (uint8_t)m->opt.second_stop : NEO_ST_OK);
}

static void led(struct sim_model *m, const struct neo_cmd *c)
{
    bool good = (c->data[0] <= 3 || c->data[0] == 0xFF) && c->data[1] <= 4;

    neo_answer_status(m, good ? NEO_ST_OK : NEO_ST_PARAMETER);
}

static void front_led(struct sim_model *m, const struct neo_cmd *c)
{
    bool good = c->data[0] <= 1 && c->data[1] <= 2 && c->data[2] <= 2;

    neo_answer_status(m, good ? NEO_ST_OK : NEO_ST_PARAMETER);
}

static void short_beeps(struct sim_model *m, const struct neo_cmd *c)
{
    neo_answer_status(m, c->data[0] >= 1 && c->data[0] <= 4 ? NEO_ST_OK : NEO_ST_PARAMETER);
}

static void long_beep(struct sim_model *m, const struct neo_cmd *c)
{
    neo_answer_status(m, c->data[0] <= 3 ? NEO_ST_OK : NEO_ST_PARAMETER);
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

static const struct command {
    uint8_t cmd, sub;
    enum mode mode;
    enum feature feature;
    size_t min, max;
    handler run;
} commands[] = {
    {0x01, 0x01, ORDINARY, ALWAYS, 1, 1, set_poll_mode},
    {0x04, 0x00, ORDINARY, ALWAYS, 1, NEO_DATA_MAX, set_configuration},
    {0x05, 0x01, ORDINARY, ALWAYS, 0, 1, ok},
    {0x09, 0x00, ORDINARY, ALWAYS, 0, 0, module_versions},
    {0x09, 0x01, ORDINARY, ALWAYS, 0, 0, product_type},
    {0x09, 0x02, ORDINARY, ALWAYS, 0, 0, processor_type},
    {0x09, 0x03, ORDINARY, ALWAYS, 0, 0, main_firmware},
    {0x09, 0x14, ORDINARY, ALWAYS, 0, 0, hardware},
    {0x09, 0x20, ORDINARY, ALWAYS, 0, 0, module_versions},
    {0x0A, 0x02, PASS_THROUGH, ALWAYS, 2, 2, led},
    {0x0A, 0x03, PASS_THROUGH, ALWAYS, 3, 3, front_led},
    {0x0B, 0x01, PASS_THROUGH, ALWAYS, 1, 1, short_beeps},
    {0x0B, 0x02, PASS_THROUGH, ALWAYS, 1, 1, long_beep},
    {0x12, 0x01, ANY_MODE, ALWAYS, 0, 0, get_serial},
    {0x18, 0x01, ANY_MODE, ALWAYS, 0, 0, ok},
    {0x28, 0x01, PASS_THROUGH, ALWAYS, 1, 1, neo_antenna},
    {0x29, 0x00, ANY_MODE, ALWAYS, 0, 0, get_version},
    {0x29, 0x01, ORDINARY, INFO, 1, 1, product_information},
    {0x29, 0x04, ORDINARY, INFO, 0, 0, boot_loader},
    {0x29, 0x06, ORDINARY, INFO, 0, 0, contact_kernel},
    {0x29, 0x17, ORDINARY, INFO, 0, 0, mcu_uid},
    {0x2C, 0x01, ANY_MODE, ALWAYS, 1, 1, pass_through},
    {0x2C, 0x02, PASS_THROUGH, ALWAYS, 2, 2, neo_poll},
    {0x2C, 0x03, PASS_THROUGH, ALWAYS, 1, NEO_DATA_MAX, neo_exchange},
    {0x2C, 0x04, PASS_THROUGH, ALWAYS, 7, NEO_DATA_MAX, neo_raw_exchange},
    {0x2C, 0x05, PASS_THROUGH, ALWAYS, 0, 0, neo_picc_parameters},
    {0x2C, 0x06, PASS_THROUGH, ALWAYS, 8, 8, neo_mifare_auth},
    {0x2C, 0x07, PASS_THROUGH, ALWAYS, 2, 2, neo_mifare_read},
    {0x2C, 0x08, PASS_THROUGH, ALWAYS, 3, NEO_DATA_MAX, neo_mifare_write},
    {0x2C, 0x09, PASS_THROUGH, ALWAYS, 1, 1, neo_halt},
    {0x2C, 0x0A, PASS_THROUGH, ALWAYS, 1, NEO_DATA_MAX, neo_epurse},
    {0x2C, 0x0B, PASS_THROUGH, ALWAYS, 7, NEO_DATA_MAX, neo_single_shot},
    {0x2C, 0x0C, PASS_THROUGH, ALWAYS, 4, 4, neo_poll_enhanced},
    {0x2C, 0x0E, PASS_THROUGH, ATS_POLL, 2, 2, neo_poll_ats},
    {0x2C, 0x12, PASS_THROUGH, CONTACT, 1, 1, neo_contact_on},
    {0x2C, 0x13, PASS_THROUGH, ALWAYS, 2, NEO_DATA_MAX, neo_exchange_interface},
    {0x2C, 0x16, PASS_THROUGH, ALWAYS, 0, 0, neo_terminate},
    {0x2C, 0x18, PASS_THROUGH, CONTACT, 0, 1, neo_contact_off},
    {0x2C, 0x40, PASS_THROUGH, ALWAYS, 1, NEO_DATA_MAX, neo_nfc},
    {0x2C, 0x41, PASS_THROUGH, ALWAYS, 1, NEO_DATA_MAX, neo_felica_access},
    {0x2C, 0x42, PASS_THROUGH, ALWAYS, 16, 16, neo_felica_auth},
    {0x2C, 0x43, PASS_THROUGH, ALWAYS, 2, NEO_DATA_MAX, neo_felica_mac},
    {0x2C, 0x44, PASS_THROUGH, FELICA_RAW, 1, 256, neo_felica_raw},
    {0x30, 0x01, ORDINARY, ALWAYS, 1, 1, set_baud},
    {0x30, 0x02, ORDINARY, ALWAYS, 1, 1, set_baud},
    {0x90, 0x19, ORDINARY, ALWAYS, 1, 1, plain_rapdu},
};

static bool has_feature(const struct sim_model *m, enum feature f)
{
    switch (f) {
    case ATS_POLL:
        return m->opt.ats_poll != NEO_ATS_OFF;
    case FELICA_RAW:
        return m->opt.felica_raw != 0;
    case INFO:
        return m->opt.info != 0;
    case CONTACT:
        return m->opt.icc != 0;
    default:
        return true;
    }
}

/* *known: some sub-command of this command exists. */
static const struct command *find(const struct sim_model *m, uint8_t cmd, uint8_t sub, bool *known)
{
    *known = false;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (commands[i].cmd != cmd || !has_feature(m, commands[i].feature))
            continue;
        *known = true;
        if (commands[i].sub == sub)
            return &commands[i];
    }
    return NULL;
}

/* ---- the checks ---------------------------------------------------------------------------------------------- */

static bool msb_first(const struct sim_model *m, uint8_t cmd, uint8_t sub)
{
    bool family = cmd == 0x2C || cmd == 0x28 || cmd == 0x0A || cmd == 0x0B;
    bool doubtful = (cmd == 0x2C && (sub == 0x0B || sub == 0x12 || sub == 0x13 || sub == 0x18)) ||
                    (cmd == 0x0A && sub == 0x03);

    if (m->opt.crc == NEO_CRC_SWAPPED_ALL || (m->opt.crc == NEO_CRC_SWAPPED && doubtful))
        return false;
    return family;
}

static bool crc_good(const struct sim_model *m, const uint8_t *frame, size_t n)
{
    uint16_t crc = neo_crc(frame, n - 2);
    bool msb = frame[n - 2] == crc >> 8 && frame[n - 1] == (crc & 0xFF);
    bool lsb = frame[n - 1] == crc >> 8 && frame[n - 2] == (crc & 0xFF);

    if (m->opt.crc == NEO_CRC_LENIENT)
        return msb || lsb;
    return msb_first(m, frame[NEO_CMD_AT], frame[NEO_CMD_AT + 1]) ? msb : lsb;
}

static bool mode_good(const struct sim_model *m, const struct command *e)
{
    if (e->mode == ANY_MODE || (e->cmd == 0x28 && m->opt.antenna_any))
        return true;
    return m->pass == (e->mode == PASS_THROUGH);
}

void neo_count_code(struct sim_model *m, uint8_t cmd, uint8_t sub)
{
    unsigned code = (unsigned)cmd << 8 | sub;
    size_t i = 0;

    while (i < m->count.codes && m->count.code[i] != code)
        i++;
    if (i == NEO_COUNTED)
        return;
    if (i == m->count.codes) {
        m->count.code[i] = code;
        m->count.by_code[i] = 0;
        m->count.codes++;
    }
    m->count.by_code[i]++;
}

/* Keeps it, so that a test can ask which commands there were. */
static void note_seen(struct sim_model *m, const struct neo_cmd *c, size_t data)
{
    uint32_t what = (uint32_t)c->cmd << 24 | (uint32_t)c->sub << 16 | (data > 0 ? c->data[0] : (uint32_t)NEO_NO_DATA);
    size_t i = 0;

    while (i < m->count.seen_count && m->count.seen[i] != what)
        i++;
    if (i == m->count.seen_count && i < NEO_SEEN)
        m->count.seen[m->count.seen_count++] = what;
}

static uint8_t refuse(unsigned long *counter, enum neo_status status)
{
    ++*counter;
    return (uint8_t)status;
}

/* Checks a frame in the reader's order; NULL: *status says what to answer. */
static const struct command *check(struct sim_model *m, const uint8_t *frame, size_t n, uint8_t *status)
{
    const struct command *e;
    bool known;

    *status = NEO_ST_OK;
    if (n <= NEO_DATA_AT) {
        *status = refuse(&m->count.too_long, NEO_ST_TOO_LONG);
        return NULL;
    }
    if (!crc_good(m, frame, n)) {
        *status = refuse(&m->count.crc_errors, NEO_ST_CRC);
        return NULL;
    }
    e = find(m, frame[NEO_CMD_AT], frame[NEO_CMD_AT + 1], &known);
    if (e == NULL)
        *status = refuse(&m->count.unknown, known ? NEO_ST_SUBCOMMAND : NEO_ST_COMMAND);
    else if (!mode_good(m, e))
        *status = refuse(&m->count.mode_errors, NEO_ST_MODE);
    else if (n - NEO_DATA_AT - 2 < e->min || n - NEO_DATA_AT - 2 > e->max)
        *status = refuse(&m->count.bad_params, NEO_ST_PARAMETER);
    return *status == NEO_ST_OK ? e : NULL;
}

void neo_run(struct sim_model *m, const uint8_t *frame, size_t n)
{
    struct neo_cmd c = {.cmd = frame[NEO_CMD_AT], .sub = frame[NEO_CMD_AT + 1], .data = frame + NEO_DATA_AT};
    const struct command *e;
    uint8_t status;

    m->cmd = c.cmd;
    m->sub = c.sub;
    m->count.commands++;
    neo_count_code(m, c.cmd, c.sub);
    note_seen(m, &c, n > NEO_DATA_AT + 2 ? n - NEO_DATA_AT - 2 : 0);
    neo_fault_choose(m, c.cmd, c.sub);
    if (!m->fault.execute && m->fault.kind == NEO_FAULT_REMOVE) {
        neo_remove_all(m, false);
    } else if (!m->fault.execute) {
        neo_answer_status(m, NEO_ST_OK);
        return;
    }
    e = check(m, frame, n, &status);
    if (e == NULL) {
        neo_answer_status(m, status);
        return;
    }
    c.n = n - NEO_DATA_AT - 2;
    e->run(m, &c);
}
