/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The ViVOpay reader as the upper layers use it: who it says it is, raw commands, APDUs that are refused, contact and
 * SAM slots, and polls that are answered in a way no manual shows. The scripted reader of vivo_rig.h answers the
 * commands that a case lays down, each once and in turn, and obeys otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/checksum.h"
#include "stub_log.h"
#include "unhex.h"
#include "vivo_rig.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define ENCRYPTED "0010000102030405060708090A0B0C0D0E0F9000000A000102030405060708090000"

#define ZEROS_17 "0000000000000000000000000000000000"

enum { SILENT = 0x100, LINES = 24 };

static struct line {
    unsigned command, sub, status;
    const char *hex;
} script[LINES];
static size_t laid, said;

static struct reader *r;
static struct vivo *v;
static struct atr atr;
static int protocol;
static uint8_t out[2000];
static size_t len;

static bool scripted(const struct rig_sent *q)
{
    const struct line *l = &script[said];

    if (said == laid || l->command != q->command || (l->sub != RIG_ANY && l->sub != q->sub))
        return false;
    said++;
    if (l->status != SILENT)
        rig_say(q->command, (uint8_t)l->status, l->hex);
    return true;
}

static void lay(unsigned command, unsigned sub, unsigned status, const char *hex)
{
    if (said == laid)
        said = laid = 0;
    assert_true(laid < LINES);
    script[laid++] = (struct line){command, sub, status, hex};
}

static deadline_t soon(void)
{
    return deadline_in(20000);
}

static int setup(void **state)
{
    (void)state;
    rig_reset();
    rig.handler = scripted;
    laid = said = 0;
    stub_log_clear();
    return 0;
}

static enum result try_open(void)
{
    enum result e;

    r = rig_open(false, &e);
    v = r ? vivo_of(r) : NULL;
    return e;
}

static void open_reader(void)
{
    assert_int_equal(try_open(), R_SUCCESS);
    assert_int_equal(said, laid);
    rig_forget();
}

static void open_slots(enum slot_kind first, enum slot_kind second)
{
    rig_settings.slots[0] = first;
    rig_settings.slots[1] = second;
    rig_settings.slot_count = second == SLOT_NONE ? 1 : 2;
    open_reader();
}

static void close_reader(void)
{
    assert_int_equal(said, laid);
    rig_close(r);
}

static void lay_card(uint8_t type, const char *uid)
{
    rig.card_type = type;
    rig.uid_len = unhex(uid, rig.uid);
}

/* One turn of the poller, its pause being over. */
static unsigned turn(unsigned slot)
{
    unsigned again;

    v->pace.any = false;
    v->field.off_until = 0;
    v->slot[slot].asked = 0;
    assert_int_equal(poller_turn(r, slot, &again), R_SUCCESS);
    return again;
}

static enum result power_up(unsigned slot)
{
    return r->ops->power_up(r, slot, false, soon(), &atr, &protocol);
}

static void open_card(uint8_t type, const char *uid)
{
    open_reader();
    lay_card(type, uid);
    (void)turn(0);
    assert_true(rig.present[0]);
    assert_int_equal(power_up(0), R_SUCCESS);
    rig_forget();
    stub_log_clear();
}

/* ---- who it is -------------------------------------------------------------------------------------------------- */

static void name_and_version(void **state)
{
    static const struct {
        const char *answer, *firmware, *type;
        uint32_t version;
    } cases[] = {
        {"56503333303020765631", "VP3300 vV1", "VP3300 vV1", 0},
        {"565033333030", "VP3300", "VP3300", 0},
        {"5650333330302046572076312E30322E33202000", "VP3300 FW v1.02.3", "VP3300", 0x01020003},
        {"46572076312E32", "FW v1.2", "FW", 0x01020000},
        {"58207631", "X v1", "X v1", 0}, /* no minor number: filled in below */
        {"4E454F20762076312E32004142", "NEO v v1.2", "NEO v", 0x01020000},
        {"7F5650", "", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        lay(0x29, 0x00, VIVO_OK, cases[i].answer);
        open_reader();
        assert_string_equal(r->identity.firmware, cases[i].firmware);
        assert_int_equal(r->identity.version, cases[i].version);
        if (i != 4)
            assert_string_equal(r->identity.type, cases[i].type);
        close_reader();
    }
}

/* The reader refuses its number; what it says beside the refusal is none. */
static void a_number_that_is_refused(void **state)
{
    (void)state;
    lay(0x12, 0x01, 0x05, "313233");
    open_reader();
    assert_string_equal(r->identity.firmware, "VP3300 USB v1.01.107");
    assert_string_equal(r->identity.serial, "");
    close_reader();
}

static void a_long_name_is_cut(void **state)
{
    char hex[2 * 90 + 1];

    (void)state;
    for (size_t i = 0; i < sizeof hex - 1; i += 2)
        memcpy(hex + i, "41", 2);
    hex[sizeof hex - 1] = '\0';
    lay(0x29, 0x00, VIVO_OK, hex);
    open_reader();
    assert_int_equal(strlen(r->identity.firmware), READER_FIRMWARE_MAX - 1);
    close_reader();
}

static void what_is_no_vivopay_reader(void **state)
{
    (void)state;
    lay(0x29, 0x00, VIVO_UNKNOWN_COMMAND, "");
    assert_int_equal(try_open(), R_NOT_SUPPORTED);
    assert_int_equal(rig.opened, rig.closed);
    assert_true(stub_log_matches("not a ViVOpay reader?") > 0);
}

static void a_transaction_that_runs_is_cancelled(void **state)
{
    (void)state;
    for (unsigned status = VIVO_NOT_ALLOWED; status <= VIVO_SUB_NOT_ALLOWED; status++) {
        setup(NULL);
        lay(0x2C, 0x01, VIVO_OK, ""); /* off */
        lay(0x2C, 0x01, status, "");
        open_reader();
        assert_true(rig.pass_through);
        close_reader();
    }
    setup(NULL);
    lay(0x2C, 0x01, VIVO_OK, "");
    lay(0x2C, 0x01, VIVO_NOT_ALLOWED, "");
    lay(0x2C, 0x01, VIVO_NOT_ALLOWED, "");
    assert_int_equal(try_open(), R_NOT_SUPPORTED);
    assert_int_equal(rig_count(VIVO_CMD_CANCEL, RIG_ANY), 1);
    assert_true(stub_log_matches("does not enter pass-through mode") > 0);
    setup(NULL);
    rig_settings.ping_wait = rig_settings.command_wait = 1;
    lay(0x2C, 0x01, VIVO_OK, "");
    lay(0x2C, 0x01, SILENT, "");
    lay(0x2C, 0x01, SILENT, "");
    assert_int_equal(try_open(), R_TIMEOUT);
    assert_int_equal(rig.opened, rig.closed);
}

/* The port hung up, and another reader is behind it when it comes back: its cards are not those that were there. */
static void another_reader_behind_the_same_port(void **state)
{
    unsigned again;

    (void)state;
    rig_settings.reopen_min = rig_settings.reopen_max = 1;
    open_reader();
    rig.hang_up = true;
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    v->pace.any = false;
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    assert_null(v->line);
    rig.hang_up = false;
    v->next_try = 0;
    lay(0x12, 0x01, VIVO_OK, "3939390000");
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    assert_true(stub_log_matches("another reader than before") > 0);
    assert_string_equal(r->identity.serial, "630Z000001"); /* others read it without a lock: as it was opened */
    close_reader();
}

static enum result command(const char *hex, size_t cap)
{
    uint8_t p[300];
    size_t n = unhex(hex, p);

    return r->ops->command(r, 0, p, n, out, cap, &len, soon());
}

static void expect(const char *hex)
{
    uint8_t want[300];
    size_t n = unhex(hex, want);

    assert_int_equal(len, n);
    assert_memory_equal(out, want, n);
}

/* What pass-through mode refuses was asked before. */
static void kept_answers(void **state)
{
    (void)state;
    lay(0x29, 0x01, VIVO_OK, "A0");
    lay(0x29, 0x01, VIVO_OK, "A1A1");
    lay(0x29, 0x04, VIVO_BAD_PARAMETER, "");
    open_reader();
    assert_int_equal(command("290100", sizeof out), R_SUCCESS);
    expect("00A0");
    assert_int_equal(command("290101", sizeof out), R_SUCCESS);
    expect("00A1A1");
    assert_int_equal(command("2904", sizeof out), R_SUCCESS);
    expect("05");
    assert_int_equal(command("0920", sizeof out), R_SUCCESS);
    expect("0046572C0D0A00");
    assert_int_equal(command("0900", sizeof out), R_SUCCESS); /* the same */
    expect("0046572C0D0A00");
    assert_int_equal(command("0920", 6), R_SPACE);
    assert_int_equal(command("2901", sizeof out), R_NOT_NOW); /* never asked so */
    assert_int_equal(command("290102", sizeof out), R_NOT_NOW);
    assert_int_equal(command("29010000", sizeof out), R_NOT_NOW);
    assert_int_equal(command("290400", sizeof out), R_NOT_NOW);
    assert_int_equal(command("0955", sizeof out), R_NOT_NOW);
    assert_int_equal(rig.sent_count, 0);
    assert_null(vivo_kept_answer(v, out, 1));
    close_reader();
}

/* Answers that do not come, or are longer than there is room for, are not kept; the rest is. */
static void what_is_not_kept(void **state)
{
    static char hex[2 * 1300 + 1];

    (void)state;
    for (size_t i = 0; i < sizeof hex - 1; i += 2)
        memcpy(hex + i, "55", 2);
    hex[sizeof hex - 1] = '\0';
    rig_settings.ping_wait = rig_settings.command_wait = rig_settings.resync_quiet = 1;
    lay(0x29, 0x01, SILENT, "");
    lay(0x29, 0x01, SILENT, ""); /* it is asked twice */
    for (int i = 0; i < 5; i++)
        lay(i < 3 ? 0x29 : 0x09, RIG_ANY, VIVO_OK, hex);
    open_reader();
    assert_int_equal(command("290100", sizeof out), R_NOT_NOW);
    assert_int_equal(command("290101", sizeof out), R_SUCCESS);
    assert_int_equal(len, 1301);
    assert_int_equal(command("0902", sizeof out), R_NOT_NOW); /* the fifth has no room */
    assert_int_equal(command("0920", sizeof out), R_SUCCESS);
    close_reader();
}

static void which_slots(void **state)
{
    (void)state;
    rig_settings.slots[2] = SLOT_CARD;
    rig_settings.slots[0] = SLOT_CARD;
    rig_settings.slots[1] = SLOT_ICC;
    rig_settings.slot_count = 3;
    open_reader();
    assert_int_equal(r->slot_count, 1);
    assert_int_equal(r->slots[0], SLOT_ICC);
    assert_int_equal(stub_log_matches("\"card\" is left out"), 2);
    close_reader();
    setup(NULL);
    open_slots(SLOT_CARD, SLOT_NONE);
    assert_int_equal(r->slot_count, 1);
    assert_int_equal(r->slots[0], SLOT_CL);
    close_reader();
}

static void what_is_a_keyboard(void **state)
{
    static const struct {
        const char *descriptor;
        bool keyboard;
    } cases[] = {
        {"05010906A101C0", true},
        {"05010907A101C0", true},
        {"05010902A101C0", false},       /* a mouse */
        {"05020906A101C0", false},       /* another page */
        {"0600FF0901A101C0", false},     /* the vendor's own */
        {"0701000000" "0906A101", true}, /* four bytes */
        {"150025010501" "0906A101", true},
        {"050109", false}, /* cut */
        {"05010906", false},
        {"", false},
    };
    uint8_t p[32];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(vivo_is_keyboard(p, unhex(cases[i].descriptor, p)), cases[i].keyboard);
}

static void a_keyboard_is_no_reader(void **state)
{
    struct reader_target target = {.name = "keyboard"};
    struct log log;

    (void)state;
    rig.hid = true;
    log_init(&log, PLOG_CRITICAL, "test");
    assert_int_equal(vivopay_family.open(&r, NULL, &target, &rig_settings, &log, soon()), R_NOT_SUPPORTED);
    assert_int_equal(rig.sent_count, 0);
    log_done(&log);
}

static void names_that_are_no_reader(void **state)
{
    static char longer[VIVO_PATH_MAX + 1];
    struct reader_target usb = {.name = "no address"}, serial = {.name = "serial", .path = longer};
    struct log log;

    (void)state;
    memset(longer, 'x', VIVO_PATH_MAX);
    log_init(&log, PLOG_CRITICAL, "test");
    assert_int_equal(vivopay_family.open(&r, NULL, &usb, &rig_settings, &log, soon()), R_INVALID);
    assert_int_equal(vivopay_family.open(&r, NULL, &serial, &rig_settings, &log, soon()), R_INVALID);
    assert_int_equal(rig.opened, 0);
    log_done(&log);
}

/* Frames are shown, and what may be a secret in them is not. */
static void what_is_logged_of_a_frame(void **state)
{
    (void)state;
    rig.contact_atr = "3B9F018081";
    open_slots(SLOT_CL, SLOT_ICC);
    lay_card(0x01, "11223344");
    r->log->mask |= PLOG_FRAME;
    (void)turn(0);
    assert_int_equal(power_up(0), R_SUCCESS);
    assert_int_equal(power_up(1), R_SUCCESS);
    lay(0x2C, VIVO_SUB_APDU, VIVO_OK, "CAFEBABE9000");
    assert_int_equal(r->ops->transmit(r, 0, (const uint8_t *)"\x00\x20\x00\x01\x04\xDE\xAD\xBE\xEF", 9, out, sizeof out,
                                      &len, soon()),
                     R_SUCCESS);
    assert_int_equal(r->ops->transmit(r, 1, (const uint8_t *)"\x00\x20\x00\x01\x04\xDE\xAD\xBE\xEF", 9, out, sizeof out,
                                      &len, soon()),
                     R_SUCCESS);
    assert_true(stub_log_matches("2C-03") > 0);
    assert_true(stub_log_matches("2C-13") > 0);
    assert_int_equal(stub_log_matches("DE AD"), 0);
    assert_int_equal(stub_log_matches("CA FE"), 0);
    close_reader();
}

/* ---- raw commands ----------------------------------------------------------------------------------------------- */

static void who_may_send_what(void **state)
{
    static const struct {
        const char *command;
        enum reader_command_class class;
    } cases[] = {
        {"1801", COMMAND_SAFE},        {"0920", COMMAND_SAFE},          {"2C4011", COMMAND_SAFE},
        {"2C4021", COMMAND_SAFE},      {"2C4106", COMMAND_SAFE},        {"2C40FF", COMMAND_DANGEROUS},
        {"2C40", COMMAND_DANGEROUS},   {"2C02", COMMAND_DANGEROUS},     {"7701", COMMAND_UNKNOWN},
        {"18", COMMAND_UNKNOWN},       {"", COMMAND_UNKNOWN},
    };
    uint8_t p[8];

    (void)state;
    open_reader();
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(r->ops->classify(r, p, unhex(cases[i].command, p)), cases[i].class);
    close_reader();
}

static void how_long_a_raw_command_may_take(void **state)
{
    static const struct {
        const char *command;
        unsigned ms;
    } cases[] = {
        {"1801", 5000},         {"", 5000},
        {"2C020132", 6500},     {"2C0C01320001", 6500}, {"2C0E0032", 5500},
        {"2C0CFF63", 60000},    {"2C40FF02", 7000},     {"2C400002", 5000},
        {"2C041E00002968", 5099}, {"2C041E0000", 5000}, {"2C0300A4", 60000},
        {"2C070301", 5000},     {"280100FF", 5000},
    };
    uint8_t p[16];

    (void)state;
    rig_settings.reader_cap = 5000;
    rig_settings.apdu_cap = 60000;
    open_reader();
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_in_range(r->ops->command_cap(r, p, unhex(cases[i].command, p)), cases[i].ms, cases[i].ms + 1);
    rig_settings.apdu_cap = 1000; /* the larger of the two, then */
    assert_int_equal(r->ops->command_cap(r, p, unhex("2C020132", p)), 5000);
    close_reader();
}

static void a_raw_command_goes_through(void **state)
{
    static const uint8_t much[VIVO_DATA_MAX + 3] = {0x2C, 0x03};

    (void)state;
    open_card(0x01, "11223344");
    lay(0x18, 0x01, VIVO_OK, "");
    assert_int_equal(command("1801", sizeof out), R_SUCCESS);
    expect("00");
    lay(0x2C, 0x40, VIVO_BAD_PARAMETER, "AB");
    assert_int_equal(command("2C4011", sizeof out), R_SUCCESS);
    expect("05AB");
    lay(0x2C, 0x40, VIVO_OK, "ABCD");
    assert_int_equal(command("2C4011", 2), R_SPACE);
    assert_int_equal(command("2C", sizeof out), R_INVALID);
    assert_int_equal(r->ops->command(r, 0, much, sizeof much, out, sizeof out, &len, soon()), R_INVALID);
    assert_int_equal(rig.lost[0], 0); /* none of that touches the card */
    assert_true(v->up);
    close_reader();
}

static void a_raw_exchange_begins_the_session(void **state)
{
    (void)state;
    rig.contact_atr = "3B9F018081";
    open_slots(SLOT_CL, SLOT_ICC);
    lay_card(0x01, "11223344");
    (void)turn(0);
    assert_int_equal(power_up(0), R_SUCCESS);
    assert_int_equal(power_up(1), R_SUCCESS);
    assert_int_equal(command("2C1321" "00A40000", sizeof out), R_SUCCESS); /* the SAM's */
    assert_int_equal(command("2C13", sizeof out), R_SUCCESS);
    assert_false(v->slot[0].session || v->slot[1].session);
    assert_int_equal(command("2C1320" "00A40000", sizeof out), R_SUCCESS);
    assert_true(v->slot[1].session && !v->slot[0].session);
    assert_int_equal(command("2C0300A40000", sizeof out), R_SUCCESS);
    assert_true(v->slot[0].session);
    assert_int_equal(rig.lost[0] + rig.lost[1], 0);
    assert_int_equal(command("2C020032", sizeof out), R_SUCCESS); /* a poll resets the card */
    assert_int_equal(rig.lost[0], 1);
    assert_false(v->up);
    close_reader();
}

static void a_raw_command_without_a_line(void **state)
{
    (void)state;
    open_reader();
    rig.hang_up = true;
    assert_int_equal(command("1801", sizeof out), R_COMM);
    assert_null(v->line);
    assert_int_equal(len, 0);
    close_reader();
}

/* ---- APDUs ------------------------------------------------------------------------------------------------------ */

static enum result transmit(const char *apdu, size_t cap)
{
    uint8_t p[300];
    size_t n = unhex(apdu, p);

    return r->ops->transmit(r, 0, p, n, out, cap, &len, soon());
}

static void what_an_apdu_is_answered_with(void **state)
{
    static const struct {
        const char *apdu;
        unsigned status;
        const char *answer;
        enum result result;
        const char *response, *log;
    } cases[] = {
        {"00A40000", 0x00, "019000", R_SUCCESS, "019000", NULL},
        {"00A40000", 0x00, "90", R_COMM, "", "no response APDU"},
        {"00A40000", 0x00, "", R_COMM, "", "no response APDU"},
        {"00A40000", 0x00, ENCRYPTED, R_SUCCESS, "6982", "encrypted data"},
        {"00A40000", 0x02, "", R_SUCCESS, "6A81", NULL},
        {"00A40000", 0x03, "", R_SUCCESS, "6A81", NULL},
        {"00A40000", 0x05, "", R_SUCCESS, "6A80", NULL},
        {"00A40000", 0x0D, "", R_SUCCESS, "6700", NULL},
        {"00A40000", 0x06, "", R_SUCCESS, "6982", "SRED"},
        {"00A40000", 0x90, "", R_SUCCESS, "6982", "encrypt what cards say"},
        {"00A40000", 0x70, "", R_CARD, "", "antenna error"},
        {"00A40000", 0x0C, "", R_NO_CARD, "", "left pass-through mode"},
        {"00A4000005", 0x05, "", R_SUCCESS, "6A80", NULL},
        {"00A40000030102", 0x05, "", R_SUCCESS, "6700", NULL}, /* no APDU at all */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_card(0x01, "11223344");
        lay(0x2C, VIVO_SUB_APDU, cases[i].status, cases[i].answer);
        assert_int_equal(transmit(cases[i].apdu, 300), cases[i].result);
        expect(cases[i].response);
        assert_int_equal(rig_count(0x2C, VIVO_SUB_APDU), 1);
        assert_int_equal(rig.lost[0], cases[i].result == R_NO_CARD);
        if (cases[i].log)
            assert_true(stub_log_matches(cases[i].log) > 0);
        assert_true(cases[i].result == R_NO_CARD || r->ops->max_apdu_data(r, 0) > 255);
        close_reader();
    }
}

static size_t frame_of(uint8_t command, uint8_t status, const char *hex, uint8_t *to)
{
    static const char header[] = "ViVOtech2";
    size_t n = unhex(hex, to + 14);
    uint16_t crc;

    memcpy(to, header, sizeof header);
    to[10] = command;
    to[11] = status;
    to[12] = 0;
    to[13] = (uint8_t)n;
    crc = crc16_ccitt_false(to, n + 14);
    to[14 + n] = (uint8_t)(crc >> 8);
    to[15 + n] = (uint8_t)crc;
    return n + 16;
}

static const char *behind; /* what comes behind an answer, in the same chunk */

static bool more_than_the_answer(const struct rig_sent *q)
{
    uint8_t bytes[200];
    size_t n;

    if (q->command != 0x2C || q->sub != VIVO_SUB_APDU || !behind)
        return false;
    n = frame_of(0x2C, VIVO_OK, "9000", bytes);
    if (strcmp(behind, "restart") == 0)
        n += frame_of(VIVO_CMD_BOOT, 0x01, "", bytes + n);
    else
        n += unhex(behind, bytes + n);
    behind = NULL;
    rig_say_raw(bytes, n);
    return true;
}

/* What came behind an answer came before the next command, and is not its answer. */
static void what_comes_behind_an_answer_is_dropped(void **state)
{
    (void)state;
    open_card(0x01, "11223344");
    rig.handler = more_than_the_answer;
    behind = "55AA55AA55AA55AA55AA";
    assert_int_equal(transmit("00A40000", 300), R_SUCCESS);
    expect("9000");
    assert_int_equal(transmit("00A40000", 300), R_SUCCESS);
    expect("01029000");
    behind = "restart";
    assert_int_equal(transmit("00A40000", 300), R_SUCCESS);
    rig_forget();
    assert_int_equal(transmit("00A40000", 300), R_NO_CARD); /* its card has lost its session */
    assert_int_equal(rig_count(0x2C, VIVO_SUB_APDU), 0);
    assert_true(stub_log_matches("restarted") > 0);
    close_reader();
}

/* A reader that refuses extended APDUs is not told to clients as one that takes them. */
static void extended_apdus_are_refused_once(void **state)
{
    static const unsigned statuses[] = {0x05, 0x0D};

    (void)state;
    for (size_t i = 0; i < COUNT(statuses); i++) {
        setup(NULL);
        open_card(0x01, "11223344");
        for (int k = 0; k < 2; k++) {
            lay(0x2C, VIVO_SUB_APDU, statuses[i], "");
            assert_int_equal(transmit("00B00000000100", 300), R_SUCCESS);
            expect("6700");
        }
        assert_int_equal(stub_log_matches("refuses extended APDUs"), 1);
        assert_int_equal(r->ops->max_apdu_data(r, 0), 0);
        close_reader();
    }
}

static void what_is_no_apdu_for_this_card(void **state)
{
    static const uint8_t much[VIVO_DATA_MAX + 1];

    (void)state;
    open_card(0x01, "11223344");
    assert_int_equal(r->ops->transmit(r, 0, much, sizeof much, out, sizeof out, &len, soon()), R_SUCCESS);
    expect("6700");
    assert_int_equal(r->ops->transmit(r, 0, much, sizeof much, out, 1, &len, soon()), R_SPACE);
    assert_int_equal(len, 0);
    v->slot[0].powered = false;
    assert_int_equal(transmit("00A40000", 300), R_NO_CARD);
    assert_int_equal(rig.sent_count, 0);
    v->slot[0].powered = true;
    lay(0x2C, VIVO_SUB_APDU, VIVO_OK, "0102039000");
    assert_int_equal(transmit("00A40000", 4), R_SPACE);
    assert_int_equal(len, 0);
    close_reader();
    setup(NULL);
    open_card(0x03, "01020304");
    assert_int_equal(transmit("00A40000", 300), R_SUCCESS);
    expect("6E00");
    assert_int_equal(r->ops->max_apdu_data(r, 0), 0);
    assert_int_equal(rig.sent_count, 0);
    close_reader();
}

/* ---- contact and SAM slots -------------------------------------------------------------------------------------- */

static void answers_to_reset(void **state)
{
    static const struct {
        unsigned status;
        const char *answer;
        bool card;
        const char *log;
    } cases[] = {
        {0x00, "3B00", true, NULL},
        {0x00, "3B", false, NULL},
        {0x00, "", false, NULL},
        {0x00, "3B" ZEROS_17 ZEROS_17, false, "an ATR of 35 bytes"},
        {0x00, "3B1F", true, NULL}, /* cut: it is one all the same */
        {0x0A, "", false, NULL},
        {0x03, "", false, "no contact slots"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_slots(SLOT_ICC, SLOT_NONE);
        lay(0x2C, VIVO_SUB_GET_ATR, cases[i].status, cases[i].answer);
        (void)turn(0);
        assert_int_equal(rig.present[0], cases[i].card);
        if (cases[i].log)
            assert_true(stub_log_matches(cases[i].log) > 0);
        v->slot[0].fresh = false;
        if (!cases[i].card)
            assert_int_equal(power_up(0), R_NO_CARD);
        close_reader();
    }
}

static void a_contact_slot_in_the_wrong_mode(void **state)
{
    (void)state;
    rig.contact_atr = "3B9F018081";
    open_slots(SLOT_ICC, SLOT_NONE);
    assert_int_equal(power_up(0), R_SUCCESS);
    lay(0x2C, VIVO_SUB_GET_ATR, VIVO_SUB_NOT_ALLOWED, "");
    assert_true(turn(0) > 500);
    assert_int_equal(rig.lost[0], 1);
    assert_false(v->up);
    assert_int_equal(power_up(0), R_SUCCESS); /* brought up again */
    assert_true(v->up);
    close_reader();
}

/* 2C-18 may take every contact card's power. */
static void power_is_not_taken_while_another_card_needs_it(void **state)
{
    (void)state;
    rig.contact_atr = "3B9F018081";
    open_slots(SLOT_ICC, SLOT_SAM1);
    assert_int_equal(power_up(0), R_SUCCESS);
    assert_int_equal(power_up(1), R_SUCCESS);
    assert_int_equal(r->ops->power_down(r, 0, soon()), R_SUCCESS);
    assert_int_equal(rig_count(0x2C, VIVO_SUB_CONTACT_OFF), 0);
    assert_int_equal(r->ops->power_down(r, 1, soon()), R_SUCCESS);
    assert_int_equal(rig_count(0x2C, VIVO_SUB_CONTACT_OFF), 1);
    assert_int_equal(r->ops->power_down(r, 1, soon()), R_SUCCESS); /* off already */
    assert_int_equal(rig_count(0x2C, VIVO_SUB_CONTACT_OFF), 1);
    assert_int_equal(r->ops->max_apdu_data(r, 0), VIVO_DATA_MAX - 10);
    close_reader();
}

/* A card that a client worked with starts from nothing. */
static void a_contact_card_in_session_loses_its_power_first(void **state)
{
    static const uint8_t apdu[] = {0, 0xA4, 0, 0};

    (void)state;
    rig.contact_atr = "3B9F018081";
    open_slots(SLOT_ICC, SLOT_NONE);
    assert_int_equal(power_up(0), R_SUCCESS);
    assert_int_equal(r->ops->transmit(r, 0, apdu, sizeof apdu, out, sizeof out, &len, soon()), R_SUCCESS);
    rig_forget();
    assert_int_equal(power_up(0), R_SUCCESS);
    assert_int_equal(rig_find(0x2C, VIVO_SUB_CONTACT_OFF, 0), 0);
    assert_int_equal(rig_find(0x2C, VIVO_SUB_GET_ATR, 0), 1);
    rig.hang_up = true;
    assert_int_equal(r->ops->transmit(r, 0, apdu, sizeof apdu, out, sizeof out, &len, soon()), R_NO_CARD);
    assert_int_equal(r->ops->power_down(r, 0, soon()), R_SUCCESS);
    assert_int_equal(power_up(0), R_NO_CARD);
    close_reader();
}

static void the_protocols_of_a_contact_card(void **state)
{
    static const struct {
        const char *atr;
        bool t0, t1;
        int first;
    } cases[] = {{"3B00", true, false, 0}, {"3B80014A4B", false, true, 1}, {"3B9000800100", true, true, 0}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        rig.contact_atr = cases[i].atr;
        open_slots(SLOT_ICC, SLOT_NONE);
        assert_int_equal(power_up(0), R_SUCCESS);
        assert_int_equal(protocol, cases[i].first);
        for (int t = 0; t < 2; t++) {
            bool ok = t ? cases[i].t1 : cases[i].t0;

            assert_int_equal(r->ops->set_protocol(r, 0, t, soon(), &protocol), ok ? R_SUCCESS : R_PROTOCOL);
            assert_int_equal(protocol, ok ? t : cases[i].first);
        }
        close_reader();
    }
}

/* A card in the field answers each poll at once; the contact slot gets its turn all the same. */
static void the_contact_slot_has_its_turn(void **state)
{
    unsigned again;

    (void)state;
    open_slots(SLOT_CL, SLOT_ICC);
    lay_card(0x01, "11223344");
    v->slot[1].asked = clock_now();
    (void)turn(0);
    assert_int_equal(rig_count(0x2C, VIVO_SUB_GET_ATR), 0);
    v->slot[1].asked = 0;
    rig.contact_atr = "3B00";
    (void)turn(0);
    assert_int_equal(rig_count(0x2C, VIVO_SUB_GET_ATR), 1);
    assert_true(rig.present[1]);
    assert_int_equal(poller_turn(r, 1, &again), R_SUCCESS); /* it was asked just now */
    assert_in_range(again, 500, 1001);
    v->slot[1].asked = 0;
    assert_int_equal(poller_turn(r, 1, &again), R_SUCCESS); /* due, but the pace says no */
    assert_in_range(again, 1, 251);
    assert_int_equal(rig_count(0x2C, VIVO_SUB_GET_ATR), 1);
    v->slot[1].asked = 0;
    assert_int_equal(r->ops->look(r, 1, deadline_in(0)), R_SUCCESS); /* no time */
    v->pace.any = false;
    assert_int_equal(r->ops->look(r, 1, soon()), R_SUCCESS);
    assert_int_equal(rig_count(0x2C, VIVO_SUB_GET_ATR), 2);
    close_reader();
}

static void a_contact_slot_without_a_line(void **state)
{
    unsigned again;

    (void)state;
    open_slots(SLOT_ICC, SLOT_SAM1);
    rig.hang_up = true;
    (void)turn(0);
    assert_null(v->line);
    assert_int_equal(poller_turn(r, 1, &again), R_SUCCESS);
    assert_true(again != READER_WATCH_NEVER); /* the port may come back */
    assert_int_equal(r->ops->look(r, 0, soon()), R_SUCCESS);
    close_reader();
}

/* ---- polls ------------------------------------------------------------------------------------------------------ */

static void a_poll_that_makes_no_sense(void **state)
{
    static const struct {
        unsigned status;
        const char *answer, *log;
    } cases[] = {
        {0x00, "0100010203040506070809AA", "makes no sense"}, {0x00, "5501020304", "card type 55 is not known"},
        {0x00, "F501020304050607E0", "card type F5 is not known"}, {0x0D, "", "poll: status 0D"},
        {0x70, "", "poll: status 70"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_reader();
        v->field.no_0e = true;
        lay(0x2C, VIVO_SUB_ENHANCED_POLL, cases[i].status, cases[i].answer);
        assert_in_range(turn(0), 2, 250);
        assert_false(rig.present[0]);
        assert_true(stub_log_matches(cases[i].log) > 0);
        lay_card(0x01, "11223344");
        rig_forget();
        (void)turn(0);
        assert_true(rig.present[0]);
        assert_int_equal(rig_count(0x18, 0x01) > 0, i == 0); /* it may have been the answer to another command */
        close_reader();
    }
}

/* A reader whose answers have another form is not asked each time whether it is in step. */
static void polls_that_never_make_sense(void **state)
{
    (void)state;
    open_reader();
    v->field.no_0e = true;
    rig_forget();
    for (int i = 0; i < 5; i++) {
        lay(0x2C, VIVO_SUB_ENHANCED_POLL, 0x00, "0100010203040506070809AA");
        (void)turn(0);
    }
    assert_int_equal(rig_count(0x2C, VIVO_SUB_ENHANCED_POLL), 5);
    assert_int_equal(rig_count(0x18, 0x01), 2);
    close_reader();
}

static bool silent_to_0e(const struct rig_sent *q)
{
    return q->command == 0x2C && q->sub == VIVO_SUB_POLL_ATS;
}

/* A poll that is twice not answered at all is not tried for ever. */
static void a_reader_that_is_silent_to_a_poll(void **state)
{
    (void)state;
    rig_settings.ping_wait = rig_settings.command_wait = rig_settings.resync_quiet = 1;
    open_reader();
    rig.handler = silent_to_0e;
    lay_card(0x01, "11223344");
    (void)turn(0);
    assert_false(rig.present[0]);
    (void)turn(0);
    assert_true(stub_log_has("2C-0E", "no answer", NULL));
    (void)turn(0);
    assert_true(rig.present[0]); /* found by the next best */
    assert_int_equal(rig.lost[0], 0);
    close_reader();
}

static void a_poll_out_of_pass_through_mode(void **state)
{
    (void)state;
    open_card(0x01, "11223344");
    lay(0x2C, VIVO_SUB_POLL_ATS, VIVO_SUB_NOT_ALLOWED, "");
    (void)turn(0);
    assert_int_equal(rig.lost[0], 1);
    (void)turn(0);
    assert_true(v->up);
    close_reader();
}

static void a_reader_without_any_poll(void **state)
{
    (void)state;
    open_reader();
    lay_card(0x01, "11223344");
    lay(0x2C, VIVO_SUB_POLL_ATS, VIVO_UNKNOWN_SUB_COMMAND, "");
    lay(0x2C, VIVO_SUB_ENHANCED_POLL, VIVO_BAD_PARAMETER, "");
    lay(0x2C, VIVO_SUB_POLL, VIVO_UNKNOWN_SUB_COMMAND, "");
    assert_in_range(turn(0), 2, 250);
    assert_false(rig.present[0]);
    assert_int_equal(stub_log_matches("is not used on this reader"), 2); /* the last one is tried again */
    (void)turn(0);
    assert_true(rig.present[0]);
    close_reader();
}

static void felica_polls_that_are_refused_are_given_up(void **state)
{
    (void)state;
    rig_settings.felica = SWITCH_ON;
    open_reader();
    for (int i = 0; i < 8; i++)
        (void)turn(0);
    assert_int_equal(rig_count(0x2C, VIVO_SUB_NFC), 1);
    assert_true(stub_log_matches("poll 2C-40 is not used") > 0);
    close_reader();
}

/* A card that only 2C-40 finds takes a second for each poll: not while another slot is worked with. */
static void a_felica_card_waits_for_the_other_slot(void **state)
{
    (void)state;
    rig_settings.felica = SWITCH_ON;
    open_slots(SLOT_CL, SLOT_ICC);
    v->slot[1].asked = clock_now();
    v->field.cycle = 3;
    lay(0x2C, VIVO_SUB_NFC, VIVO_OK, "0C0102030405060708");
    (void)turn(0);
    assert_true(rig.present[0]);
    v->slot[1].session = true;
    rig_forget();
    assert_int_equal(turn(0), 1000);
    assert_int_equal(rig.sent_count, 0);
    close_reader();
}

static void a_card_of_both_kinds_that_leaves_at_once(void **state)
{
    (void)state;
    open_reader();
    lay(0x2C, VIVO_SUB_POLL_ATS, VIVO_OK, "0711223344");
    lay(0x2C, VIVO_SUB_ENHANCED_POLL, VIVO_TIMEOUT, "");
    (void)turn(0);
    assert_false(rig.present[0]);
    lay(0x2C, VIVO_SUB_POLL_ATS, VIVO_OK, "0711223344");
    lay(0x2C, VIVO_SUB_ENHANCED_POLL, 0x70, "");
    (void)turn(0);
    assert_false(rig.present[0]);
    assert_int_equal(rig.observed[0], 0); /* nobody heard of it */
    close_reader();
}

static void a_card_that_is_exchanged_during_the_probe(void **state)
{
    (void)state;
    rig_settings.sak_probe = SWITCH_ON;
    open_reader();
    lay(0x2C, VIVO_SUB_POLL_ATS, VIVO_OK, "0301020304");
    lay(0x2C, VIVO_SUB_RAW, VIVO_TIMEOUT, "");
    lay(0x2C, VIVO_SUB_RAW, VIVO_TIMEOUT, "");
    lay(0x2C, VIVO_SUB_POLL_ATS, VIVO_OK, "0355667788");
    (void)turn(0);
    assert_false(rig.present[0]);
    close_reader();
}

/* A fresh card that was seen a while ago is looked for before its ATR is told. */
static void an_old_sight_is_no_card(void **state)
{
    (void)state;
    open_card(0x01, "11223344");
    v->field.seen -= (int64_t)2 * 1000000000;
    assert_int_equal(power_up(0), R_SUCCESS);
    assert_int_equal(rig_count(0x2C, VIVO_SUB_POLL_ATS), 1);
    v->field.seen -= (int64_t)2 * 1000000000;
    lay(0x2C, VIVO_SUB_POLL_ATS, 0x70, "");
    assert_int_equal(power_up(0), R_COMM);
    close_reader();
}

static void the_field_cannot_be_switched_off(void **state)
{
    (void)state;
    open_card(0x01, "11223344");
    lay(VIVO_CMD_ANTENNA, 0x01, VIVO_SUB_NOT_ALLOWED, "");
    assert_int_equal(r->ops->power_down(r, 0, soon()), R_SUCCESS);
    assert_false(v->up);
    assert_int_equal(power_up(0), R_SUCCESS);
    rig.hang_up = true;
    assert_int_equal(transmit("00A40000", 300), R_NO_CARD);
    assert_int_equal(r->ops->power_down(r, 0, soon()), R_SUCCESS); /* no line to say it on */
    assert_int_equal(power_up(0), R_NO_CARD);
    close_reader();
}

/* After a failed exchange the card is looked for; the poll that opened it serves no more. */
static void a_failed_exchange_and_a_poll_that_fails_too(void **state)
{
    (void)state;
    open_card(0x03, "01020304");
    v->field.card.type = 0x01;
    lay(0x2C, VIVO_SUB_APDU, VIVO_FAILED, "");
    lay(0x2C, VIVO_SUB_POLL_ATS, VIVO_UNKNOWN_SUB_COMMAND, "");
    assert_int_equal(transmit("00A40000", 300), R_NO_CARD);
    assert_false(rig.present[0]);
    close_reader();
    setup(NULL);
    open_card(0x01, "11223344");
    lay(0x2C, VIVO_SUB_APDU, VIVO_TIMEOUT, "");
    lay(0x2C, VIVO_SUB_POLL_ATS, VIVO_OK, "0155667788");
    assert_int_equal(transmit("00A40000", 300), R_NO_CARD);
    assert_true(rig.present[0]); /* another one */
    close_reader();
}

/* ---- the presence check of ISO 14443-4 -------------------------------------------------------------------------- */

static unsigned idle_turn(void)
{
    v->slot[0].session = true;
    v->slot[0].traffic = v->field.rnak_at = -((int64_t)10 * 1000000000);
    return turn(0);
}

static void the_presence_check_of_type_b(void **state)
{
    (void)state;
    rig_settings.presence_check = PRESENCE_RNAK;
    open_card(0x02, "11223344");
    lay(0x2C, VIVO_SUB_PARAMETERS, VIVO_OK, "010001000300010001000000000180"); /* 0.6 s: more than usual */
    lay(0x2C, VIVO_SUB_RAW, VIVO_OK, "0000000008A2");
    assert_true(idle_turn() > 1000);
    assert_memory_equal(rig.sent[1].data, "\x1E\x00\x01\x00\x00\x01\x2C\xBA\x03", 9);
    lay(0x2C, VIVO_SUB_PARAMETERS, VIVO_OK, "0100010003000140000000000001"); /* short: not read */
    lay(0x2C, VIVO_SUB_RAW, VIVO_TIMEOUT, "");
    assert_true(idle_turn() <= 251);
    lay(0x2C, VIVO_SUB_PARAMETERS, VIVO_OK, "010001000300014000000000000180"); /* more than can be */
    lay(0x2C, VIVO_SUB_RAW, VIVO_FAILED, "FF00000000");
    (void)idle_turn();
    assert_memory_equal(rig.sent[rig.sent_count - 1].data, "\x1E\x00\x00\x29\x68", 5);
    assert_false(rig.present[0]);
    close_reader();
}

/* What is not known is no miss. */
static void a_presence_check_without_an_answer(void **state)
{
    (void)state;
    rig_settings.presence_check = PRESENCE_RNAK;
    rig_settings.ping_wait = rig_settings.command_wait = rig_settings.resync_quiet = 1;
    open_card(0x01, "11223344");
    for (int i = 0; i < 3; i++) {
        rig_settings.command_wait = 1000;
        lay(0x2C, VIVO_SUB_PARAMETERS, VIVO_FAILED, "");
        lay(0x2C, VIVO_SUB_RAW, SILENT, "");
        (void)idle_turn();
        assert_true(rig.present[0]);
        assert_int_equal(v->field.rnak_misses, 0);
    }
    close_reader();
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        CASE(name_and_version),
        CASE(a_number_that_is_refused),
        CASE(a_long_name_is_cut),
        CASE(what_is_no_vivopay_reader),
        CASE(a_transaction_that_runs_is_cancelled),
        CASE(another_reader_behind_the_same_port),
        CASE(kept_answers),
        CASE(what_is_not_kept),
        CASE(which_slots),
        CASE(what_is_a_keyboard),
        CASE(a_keyboard_is_no_reader),
        CASE(names_that_are_no_reader),
        CASE(what_is_logged_of_a_frame),
        CASE(who_may_send_what),
        CASE(how_long_a_raw_command_may_take),
        CASE(a_raw_command_goes_through),
        CASE(a_raw_exchange_begins_the_session),
        CASE(a_raw_command_without_a_line),
        CASE(what_an_apdu_is_answered_with),
        CASE(what_comes_behind_an_answer_is_dropped),
        CASE(extended_apdus_are_refused_once),
        CASE(what_is_no_apdu_for_this_card),
        CASE(answers_to_reset),
        CASE(a_contact_slot_in_the_wrong_mode),
        CASE(power_is_not_taken_while_another_card_needs_it),
        CASE(a_contact_card_in_session_loses_its_power_first),
        CASE(the_protocols_of_a_contact_card),
        CASE(the_contact_slot_has_its_turn),
        CASE(a_contact_slot_without_a_line),
        CASE(a_poll_that_makes_no_sense),
        CASE(polls_that_never_make_sense),
        CASE(a_reader_that_is_silent_to_a_poll),
        CASE(a_poll_out_of_pass_through_mode),
        CASE(a_reader_without_any_poll),
        CASE(felica_polls_that_are_refused_are_given_up),
        CASE(a_felica_card_waits_for_the_other_slot),
        CASE(a_card_of_both_kinds_that_leaves_at_once),
        CASE(a_card_that_is_exchanged_during_the_probe),
        CASE(an_old_sight_is_no_card),
        CASE(the_field_cannot_be_switched_off),
        CASE(a_failed_exchange_and_a_poll_that_fails_too),
        CASE(the_presence_check_of_type_b),
        CASE(a_presence_check_without_an_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
