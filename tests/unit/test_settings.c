/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Settings: every one with its default, good, bad and edge values; the precedence of the sources; and what a user who
 * made a mistake is told. Each test writes its own configuration file in a directory of its own and starts with an
 * environment without IFD_PURSE_ variables, so the machine's configuration plays no part.
 */
#include <debuglog.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/settings.h"
#include "stub_log.h"

#define AT(field) offsetof(struct settings, field)

struct value {
    const char *text;
    unsigned value;
};

/* A setting that is one unsigned: what it is by default, what it takes and what it refuses. */
struct setting {
    const char *key;
    size_t at;
    unsigned initial;
    struct value good[9]; /* ends with a NULL text */
    const char *bad[9];   /* ends with NULL */
};

#define MS_BAD "600001", "-1", "+5", " 5", "5ms", "0x10", "99999999999999999999"
#define MS(key, initial, low)                                                                                          \
    {                                                                                                                  \
#key, AT(key), initial, {{#low, low }, {"600000", 600000 }, {"0077", 77 } },                                   \
        {                                                                                                              \
            MS_BAD, low == 0 ? "" : "0"                                                                                \
        }                                                                                                              \
    }

static const struct setting settings_of_one[] = {
    {"prefer", AT(prefer), PREFER_ISO, {{"mifare", PREFER_MIFARE}, {"ISO", PREFER_ISO}}, {"", "iso,mifare", "is"}},
    {"iso15693",
     AT(iso15693),
     SWITCH_AUTO,
     {{"on", SWITCH_ON}, {"off", SWITCH_OFF}, {"auto", SWITCH_AUTO}},
     {"", "1", "yes", "onn"}},
    {"felica", AT(felica), SWITCH_OFF, {{"on", SWITCH_ON}, {"off", SWITCH_OFF}}, {"", "auto", "1"}},
    {"sak_probe", AT(sak_probe), SWITCH_OFF, {{"on", SWITCH_ON}, {"off", SWITCH_OFF}}, {"", "auto", "1"}},
    {"presence_check",
     AT(presence_check),
     PRESENCE_OFF,
     {{"rnak", PRESENCE_RNAK}, {"off", PRESENCE_OFF}},
     {"", "on", "nak"}},
    {"contactless_t0", AT(contactless_t0), SWITCH_OFF, {{"on", SWITCH_ON}, {"off", SWITCH_OFF}}, {"", "auto"}},
    {"escape", AT(escape), ESCAPE_SAFE, {{"all", ESCAPE_ALL}, {"safe", ESCAPE_SAFE}}, {"", "on", "off"}},
    {"crc_order", AT(crc_order), CRC_AUTO, {{"lsb", CRC_LSB}, {"msb", CRC_MSB}, {"auto", CRC_AUTO}}, {"", "le", "off"}},
    {"transport",
     AT(transport),
     TRANSPORT_AUTO,
     {{"A", TRANSPORT_A}, {"B", TRANSPORT_B}, {"C", TRANSPORT_C}, {"c", TRANSPORT_C}, {"auto", TRANSPORT_AUTO}},
     {"", "D", "AB"}},
    {"t1", AT(t1), T1_BLOCKS, {{"apdu", T1_APDU}, {"blocks", T1_BLOCKS}}, {"", "tpdu", "1"}},
    {"nak", AT(nak), NAK_OFF, {{"framed", NAK_FRAMED}, {"raw", NAK_RAW}, {"off", NAK_OFF}}, {"", "on", "100"}},
    {"baud",
     AT(baud),
     0,
     {{"9600", 9600}, {"19200", 19200}, {"38400", 38400}, {"57600", 57600}, {"115200", 115200}, {"auto", 0}, {"0", 0}},
     {"", "9601", "4800", "230400", "-9600", "9600 "}},
    MS(apdu_cap, 60000, 1),
    MS(power_cap, 30000, 1),
    MS(reader_cap, 5000, 1),
    MS(tfm_cap, 120000, 1),
    MS(frame_gap, 500, 1),
    MS(command_wait, 2000, 1),
    MS(reset_wait, 10000, 1),
    MS(open_quiet, 100, 0),
    MS(open_drain, 1200, 0),
    MS(resync_quiet, 100, 0),
    MS(presence_retry, 500, 1),
    MS(ping_wait, 300, 1),
    MS(rf_off, 10, 0),
    MS(reopen_min, 50, 1),
    {"reopen_max", AT(reopen_max), 2000, {{"50", 50}, {"1", 1}, {"600000", 600000}}, {MS_BAD, "0"}},
    {"poll_time", AT(poll_time), 250, {{"10", 10}, {"255990", 255990}}, {"9", "255991", "600000", ""}},
    {"log", AT(log), 3, {{"0", 0}, {"15", 15}, {"7", 7}}, {"16", "-1", "", "debug", "4294967297", "1,2"}},
};

enum { SETTINGS_OF_ONE = sizeof settings_of_one / sizeof settings_of_one[0] };

static char directory[] = "/tmp/test-settings-XXXXXX";
static char file[64];
static struct log reader;
static struct settings s;

static const struct settings_subject aet63 = {.vid = 0x072F, .pid = 0x8002, .serial = "AB:12c", .family = 'a'};
static const struct settings_subject vivo = {.vid = 0x0ACD, .pid = 0x3530, .family = 'v'};
static const struct settings_subject port = {.device = "/dev/purse-test0", .family = 'v'};

static unsigned field(const struct settings *of, const struct setting *which)
{
    unsigned v;

    memcpy(&v, (const char *)of + which->at, sizeof v);
    return v;
}

static void environment_name(char name[64], const char *key)
{
    (void)snprintf(name, 64, "IFD_PURSE_%s", key);
    for (char *p = name; *p; p++)
        *p = (char)toupper((unsigned char)*p);
}

static void clear_environment(void)
{
    for (size_t i = 0; i < SETTINGS_OF_ONE; i++) {
        char name[64];

        environment_name(name, settings_of_one[i].key);
        (void)unsetenv(name);
    }
    (void)unsetenv("IFD_PURSE_SLOTS");
    (void)unsetenv("IFD_PURSE_USB_ID");
}

static int start(void **state)
{
    (void)state;
    clear_environment();
    (void)unlink(file);
    if (setenv("IFD_PURSE_CONF", file, 1) != 0)
        return -1;
    stub_log_clear();
    log_init(&reader, 15, "reader");
    return 0;
}

static int end(void **state)
{
    (void)state;
    log_done(&reader);
    clear_environment();
    return 0;
}

static int make_directory(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    (void)snprintf(file, sizeof file, "%s/ifd-purse.conf", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    (void)unlink(file);
    return rmdir(directory);
}

static void write_bytes(const char *text, size_t n)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void write_file(const char *text)
{
    write_bytes(text, strlen(text));
}

/* Loads text as the file for who, with an empty log before, and one that has said nothing yet: its lines are counted. */
static void load(const char *text, const struct settings_subject *who)
{
    write_file(text);
    log_done(&reader);
    log_init(&reader, 15, "reader");
    stub_log_clear();
    settings_load(&s, who, &reader);
}

/* Loads a file whose only mistake is one that the log names by all of these; anything else in the log is a fault. */
#define assert_complaint(text, who, ...)                                                                               \
    do {                                                                                                               \
        load(text, who);                                                                                               \
        assert_int_equal(stub_log_count(), 1);                                                                         \
        assert_int_equal(stub_log_priority(0), PCSC_LOG_CRITICAL);                                                     \
        if (!stub_log_has(__VA_ARGS__, NULL))                                                                          \
            fail_msg("the log says: %s", stub_log_line(0));                                                            \
    } while (0)

/* ---- values ---- */

static void defaults(void **state)
{
    (void)state;
    memset(&s, 0xFF, sizeof s);
    settings_defaults(&s);
    for (size_t i = 0; i < SETTINGS_OF_ONE; i++)
        assert_int_equal(field(&s, &settings_of_one[i]), settings_of_one[i].initial);
    assert_int_equal(s.slot_count, 0);
    assert_int_equal(s.usb_id_count, 0);
}

static void every_setting_takes_its_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < SETTINGS_OF_ONE; i++) {
        const struct setting *one = &settings_of_one[i];

        for (const struct value *v = one->good; v->text; v++) {
            const char *reason = "unset";

            settings_defaults(&s);
            assert_true(settings_set(&s, one->key, v->text, &reason));
            assert_null(reason);
            assert_int_equal(field(&s, one), v->value);
        }
    }
}

static void every_setting_refuses_the_rest(void **state)
{
    (void)state;
    for (size_t i = 0; i < SETTINGS_OF_ONE; i++) {
        const struct setting *one = &settings_of_one[i];

        for (const char *const *bad = one->bad; *bad; bad++) {
            struct settings before;
            const char *reason = NULL;

            settings_defaults(&s);
            before = s;
            if (settings_set(&s, one->key, *bad, &reason))
                fail_msg("%s took \"%s\"", one->key, *bad);
            assert_non_null(reason);
            assert_memory_equal(&s, &before, sizeof s);
        }
    }
}

/* A field that two rows share, or a row whose key is another's, would show here. */
static void a_setting_changes_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < SETTINGS_OF_ONE; i++) {
        const char *reason;

        settings_defaults(&s);
        assert_true(settings_set(&s, settings_of_one[i].key, settings_of_one[i].good[0].text, &reason));
        for (size_t k = 0; k < SETTINGS_OF_ONE; k++)
            if (strcmp(settings_of_one[k].key, settings_of_one[i].key) != 0)
                assert_int_equal(field(&s, &settings_of_one[k]), settings_of_one[k].initial);
        assert_int_equal(s.slot_count, 0);
    }
}

/* The settings' number is what the header has: one more there without a row here fails. */
static void every_field_is_tested(void **state)
{
    const size_t first = AT(prefer), last = AT(reopen_max);

    (void)state;
    for (size_t at = first; at <= last; at += sizeof(unsigned)) {
        bool found = false;

        for (size_t i = 0; i < SETTINGS_OF_ONE; i++)
            found |= settings_of_one[i].at == at;
        assert_true(found);
    }
}

static void keys_are_known_in_any_case(void **state)
{
    const char *reason = NULL;

    (void)state;
    settings_defaults(&s);
    assert_true(settings_set(&s, "APDU_Cap", "5", &reason));
    assert_int_equal(s.apdu_cap, 5);
    assert_false(settings_set(&s, "apdu-cap", "5", &reason));
    assert_non_null(strstr(reason, "ifd-purse.conf(5)"));
    assert_false(settings_set(&s, "", "5", &reason));
}

static void slots_good(void **state)
{
    static const struct {
        const char *text;
        unsigned count;
        enum slot_kind kinds[SETTINGS_SLOTS_MAX];
    } cases[] = {
        {"card", 1, {SLOT_CARD}},
        {"card.sam", 2, {SLOT_CARD, SLOT_SAM1}},
        {"CL", 1, {SLOT_CL}},
        {"cl.icc", 2, {SLOT_CL, SLOT_ICC}},
        {"icc.cl", 2, {SLOT_ICC, SLOT_CL}},
        {"sam8", 1, {SLOT_SAM8}},
        {"cl.icc.sam1.sam2.sam3.sam4.sam5.sam6.sam7.sam8",
         10,
         {SLOT_CL, SLOT_ICC, SLOT_SAM1, SLOT_SAM1 + 1, SLOT_SAM1 + 2, SLOT_SAM1 + 3, SLOT_SAM1 + 4, SLOT_SAM1 + 5,
          SLOT_SAM1 + 6, SLOT_SAM8}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *reason;

        settings_defaults(&s);
        assert_true(settings_set(&s, "slots", cases[i].text, &reason));
        assert_int_equal(s.slot_count, cases[i].count);
        for (unsigned k = 0; k < cases[i].count; k++)
            assert_int_equal(s.slots[k], cases[i].kinds[k]);
    }
}

static void slots_bad(void **state)
{
    static const char *const cases[] = {
        "",
        ".",
        "cl.",
        ".cl",
        "cl..icc",
        "cl.cl",
        "sam1.icc.sam1",
        "sam0",
        "sam9",
        "sam10",
        "sam",
        "sam.card",
        "c",
        "cll",
        "cl icc",
        "cl,icc",
        "card.sam1",
        "card.card",
        "card.icc",
        "cl.card",
        "card.sam.sam",
        "cl.icc.sam1.sam2.sam3.sam4.sam5.sam6.sam7.sam8.cl",
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *reason = NULL;

        settings_defaults(&s);
        assert_true(settings_set(&s, "slots", "icc.sam2", &reason));
        if (settings_set(&s, "slots", cases[i], &reason))
            fail_msg("slots took \"%s\"", cases[i]);
        assert_non_null(reason);
        assert_int_equal(s.slot_count, 2); /* what it was */
        assert_int_equal(s.slots[0], SLOT_ICC);
        assert_int_equal(s.slots[1], SLOT_SAM1 + 1);
    }
}

static void usb_id_good_and_bad(void **state)
{
    static const char *const good[] = {"072F:8003:aet63", "0x72f:0x8004:AET63", "0acd:0:vivopay"};
    static const char *const bad[] = {"",
                                      "072F:8003",
                                      "072F:8003:",
                                      "072F:8003:acs",
                                      "072F-8003:aet63",
                                      "072F:8003-aet63",
                                      "0072F:8003:aet63",
                                      "072F:08003:aet63",
                                      "0:8003:aet63",
                                      ":8003:aet63",
                                      "0x:8003:aet63",
                                      "072F:8003:vivopay" /* it is an AET63 already */};
    const char *reason;

    (void)state;
    settings_defaults(&s);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(settings_set(&s, "usb_id", good[i], &reason));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (settings_set(&s, "usb_id", bad[i], &reason))
            fail_msg("usb_id took \"%s\"", bad[i]);
    assert_true(settings_set(&s, "usb_id", good[0], &reason)); /* again: no second entry */
    assert_int_equal(s.usb_id_count, 3);
    assert_int_equal(s.usb_ids[1].vid, 0x072F);
    assert_int_equal(s.usb_ids[1].pid, 0x8004);
    assert_int_equal(s.usb_ids[1].family, 'a');
    assert_int_equal(s.usb_ids[2].vid, 0x0ACD);
    assert_int_equal(s.usb_ids[2].pid, 0);
    assert_int_equal(s.usb_ids[2].family, 'v');
}

static void no_more_usb_ids_than_there_is_room_for(void **state)
{
    const char *reason;
    char text[32];

    (void)state;
    settings_defaults(&s);
    for (unsigned i = 0; i < SETTINGS_USB_IDS_MAX; i++) {
        (void)snprintf(text, sizeof text, "1234:%X:vivopay", i);
        assert_true(settings_set(&s, "usb_id", text, &reason));
    }
    assert_false(settings_set(&s, "usb_id", "1234:FFFF:vivopay", &reason));
    assert_non_null(strstr(reason, "8"));
    assert_int_equal(s.usb_id_count, SETTINGS_USB_IDS_MAX);
    assert_true(settings_set(&s, "usb_id", "1234:0:vivopay", &reason)); /* known: no room needed */
}

/* ---- sources and precedence ---- */

static void a_file_sets_every_setting(void **state)
{
    (void)state;
    for (size_t i = 0; i < SETTINGS_OF_ONE; i++) {
        const struct setting *one = &settings_of_one[i];
        struct settings_subject who = vivo;
        char text[128], name[64];

        who.family = 0;
        (void)snprintf(text, sizeof text, "[0ACD:3530]\n%s = %s\n", one->key, one->good[0].text);
        load(text, &who);
        assert_int_equal(field(&s, one), one->good[0].value);

        (void)snprintf(text, sizeof text, "%s=%s", one->key, one->good[0].text); /* as a DEVICENAME option */
        who.options = text;
        (void)unlink(file);
        settings_load(&s, &who, &reader);
        assert_int_equal(field(&s, one), one->good[0].value);

        who.options = NULL;
        environment_name(name, one->key);
        assert_int_equal(setenv(name, one->good[0].text, 1), 0);
        settings_load(&s, &who, &reader);
        assert_int_equal(field(&s, one), one->good[0].value);
        assert_int_equal(unsetenv(name), 0);
    }
}

#define MODEL  "[072f:8002]\napdu_cap = 1\npower_cap = 1\nreader_cap = 1\n"
#define SERIAL "[0x072F:0X8002:AB:12c]\napdu_cap = 2\npower_cap = 2\n"
#define DEVICE "[/dev/purse-test0]\napdu_cap = 3\n"

static void the_most_specific_section_wins_wherever_it_stands(void **state)
{
    static const char *const orders[] = {MODEL SERIAL DEVICE, MODEL DEVICE SERIAL, SERIAL MODEL DEVICE,
                                         SERIAL DEVICE MODEL, DEVICE MODEL SERIAL, DEVICE SERIAL MODEL};
    struct settings_subject who = aet63;

    (void)state;
    who.device = "/dev/purse-test0";
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        load(orders[i], &who);
        assert_int_equal(s.apdu_cap, 3);
        assert_int_equal(s.power_cap, 2);
        assert_int_equal(s.reader_cap, 1);
        assert_int_equal(s.frame_gap, 500);
        assert_int_equal(stub_log_count(), 0);
    }
}

static void a_wrong_value_leaves_the_less_specific_one(void **state)
{
    (void)state;
    load("[072F:8002:AB:12c]\napdu_cap = soon\n[072F:8002]\napdu_cap = 7\n", &aet63);
    assert_int_equal(s.apdu_cap, 7);
    load("[072F:8002]\napdu_cap = 7\n[072F:8002:AB:12c]\napdu_cap = soon\n", &aet63);
    assert_int_equal(s.apdu_cap, 7);
}

static void the_later_of_two_equal_lines_wins(void **state)
{
    (void)state;
    load("[072F:8002]\napdu_cap = 7\napdu_cap = 8\n[0x72F:8002]\npower_cap = 9\n", &aet63);
    assert_int_equal(s.apdu_cap, 8);
    assert_int_equal(s.power_cap, 9);
}

static void option_over_file_environment_over_both(void **state)
{
    struct settings_subject who = port;

    (void)state;
    who.options = "apdu_cap=10:power_cap=10:slots=icc.cl";
    assert_int_equal(setenv("IFD_PURSE_APDU_CAP", "11", 1), 0);
    assert_int_equal(setenv("IFD_PURSE_LOG", "", 1), 0); /* empty: as if not set */
    load("[/dev/purse-test0]\napdu_cap = 9\npower_cap = 9\nreader_cap = 9\nslots = sam1\nlog = 4\n", &who);
    assert_int_equal(s.apdu_cap, 11);
    assert_int_equal(s.power_cap, 10);
    assert_int_equal(s.reader_cap, 9);
    assert_int_equal(s.frame_gap, 500);
    assert_int_equal(s.slot_count, 2);
    assert_int_equal(s.slots[0], SLOT_ICC);
    assert_int_equal(s.log, 4);
    assert_int_equal(stub_log_count(), 0);
}

static void sections_of_other_readers_do_not_count(void **state)
{
    struct settings_subject nothing_known = {.family = 'v'};

    (void)state;
    load("[072F:8003]\napdu_cap = 1\n[072E:8002]\napdu_cap = 1\n[072F:8002:ab:12c]\napdu_cap = 1\n"
         "[072F:8002:AB]\napdu_cap = 1\n[/dev/purse-test0]\napdu_cap = 1\n[0ACD:3530:AB:12c]\napdu_cap = x\n",
         &aet63);
    assert_int_equal(s.apdu_cap, 60000);
    load("[0:0]\napdu_cap = 1\n[0000:0000:x]\napdu_cap = 1\n[/dev/purse-test00]\napdu_cap = 1\n[/]\napdu_cap = 1\n",
         &nothing_known);
    assert_int_equal(s.apdu_cap, 60000);
    assert_int_equal(stub_log_count(), 0);
}

static void a_reader_without_serial_number_has_only_its_model(void **state)
{
    (void)state;
    load("[0ACD:3530:1]\napdu_cap = 1\n[0ACD:3530]\napdu_cap = 2\n", &vivo);
    assert_int_equal(s.apdu_cap, 2);
}

static void a_link_and_the_node_behind_it(void **state)
{
    char node[96], link[96], text[2 * PATH_MAX], real[PATH_MAX];
    struct settings_subject who = {.device = link};
    FILE *f;

    (void)state;
    (void)snprintf(node, sizeof node, "%s/ttyNODE", directory);
    (void)snprintf(link, sizeof link, "%s/purse", directory);
    f = fopen(node, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(symlink("ttyNODE", link), 0);
    assert_non_null(realpath(node, real));

    (void)snprintf(text, sizeof text, "[%s]\napdu_cap = 1\npower_cap = 1\n", real);
    load(text, &who);
    assert_int_equal(s.apdu_cap, 1);
    (void)snprintf(text, sizeof text, "[%s]\napdu_cap = 2\n[%s]\napdu_cap = 1\npower_cap = 1\n", link, real);
    load(text, &who); /* the name that DEVICENAME has is the closer one */
    assert_int_equal(s.apdu_cap, 2);
    assert_int_equal(s.power_cap, 1);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(unlink(node), 0);
    load(text, &who); /* unplugged: the name itself still matches */
    assert_int_equal(s.apdu_cap, 2);
    assert_int_equal(s.power_cap, 30000);
}

static void a_long_path_is_compared_whole(void **state)
{
#define LONG "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_with_a_very_long_name_A50285BI-if00-port"
    struct settings_subject who = {.device = LONG "0"};

    (void)state;
    load("[" LONG "1]\napdu_cap = 1\n[" LONG "0]\npower_cap = 2\n", &who);
    assert_int_equal(s.apdu_cap, 60000);
    assert_int_equal(s.power_cap, 2);
}

static void devicename_options_that_are_wrong(void **state)
{
    static const struct {
        const char *options, *parts[3];
    } cases[] = {
        {"baud=9601:apdu_cap=5", {"DEVICENAME: baud = \"9601\"", "19200", NULL}},
        {"apdu_cap=5:slots=cl.cl", {"DEVICENAME: slots", "once", NULL}},
        {"aduc_cap=1:apdu_cap=5", {"\"aduc_cap\"", "did you mean apdu_cap?", NULL}},
        {"apdu_cap=5:fast", {"\"fast\" is not key=value", NULL, NULL}},
        {"apdu_cap=5:=5", {"no setting \"\"", NULL, NULL}},
        {"apdu_cap=5:t1=apdu", {"DEVICENAME: t1", "other family", NULL}},
        {"apdu_cap=5:slots=card.sam", {"DEVICENAME: slots", "other family", NULL}},
        {"apdu_cap=5:nak="
         "offxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
         {"too long", NULL, NULL}},
        {"::apdu_cap=5:", {NULL, NULL, NULL}}, /* empty options mean nothing */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct settings_subject who = port;

        who.options = cases[i].options;
        load("", &who);
        assert_int_equal(s.apdu_cap, 5); /* the good option counts all the same */
        assert_int_equal(stub_log_count(), cases[i].parts[0] != NULL);
        for (size_t k = 0; cases[i].parts[k]; k++)
            assert_non_null(strstr(stub_log_line(0), cases[i].parts[k]));
    }
}

static void a_wrong_environment_is_named(void **state)
{
    (void)state;
    assert_int_equal(setenv("IFD_PURSE_APDU_CAP", "never", 1), 0);
    assert_complaint("[072F:8002]\napdu_cap = 9\n", &aet63, "IFD_PURSE_APDU_CAP: apdu_cap = \"never\"", "600000");
    assert_int_equal(s.apdu_cap, 9);
}

/* One environment for all readers: what is not for this one is no mistake, and has no effect. */
static void the_environment_of_another_family(void **state)
{
    (void)state;
    assert_int_equal(setenv("IFD_PURSE_SLOTS", "cl.icc", 1), 0);
    assert_int_equal(setenv("IFD_PURSE_BAUD", "9600", 1), 0);
    assert_int_equal(setenv("IFD_PURSE_T1", "apdu", 1), 0);
    load("", &aet63);
    assert_int_equal(stub_log_count(), 0);
    assert_int_equal(s.slot_count, 0);
    assert_int_equal(s.baud, 0);
    assert_int_equal(s.t1, T1_APDU);
    load("", &port);
    assert_int_equal(s.slot_count, 2);
    assert_int_equal(s.baud, 9600);
    assert_int_equal(s.t1, T1_BLOCKS);
}

/* ---- mistakes in the file ---- */

static void a_wrong_line_names_itself(void **state)
{
    char line[128];

    (void)state;
    (void)snprintf(line, sizeof line, "%s:4: ", file);
    assert_complaint("# readers\n[072F:8002]\n\napdu_cap = 1 h\npower_cap=5\n", &aet63, line, "apdu_cap = \"1 h\"",
                     "1 to 600000 milliseconds");
    assert_int_equal(s.apdu_cap, 60000);
    assert_int_equal(s.power_cap, 5);
    assert_complaint("[072F:8002]\nescape =\n", &aet63, ":2: escape = \"\"", "safe or all");
    assert_complaint("[072F:8002]\nlog = 16\n", &aet63, ":2: log = \"16\"", "0 to 15");
    assert_complaint("[072F:8002]\nslots = card.card\n", &aet63, ":2: slots", "once");
    assert_complaint("[usb]\nusb_id = 072F:8003\n", &aet63, ":2: usb_id", "VVVV:PPPP:aet63");
}

static void a_complaint_fits_the_line_whole(void **state)
{
    char deep[300], text[400];

    (void)state;
    (void)snprintf(deep, sizeof deep, "%s/", directory);
    for (int i = 0; i < 20; i++)
        (void)strcat(deep, "././././././");
    (void)strcat(deep, "ifd-purse.conf");
    (void)snprintf(text, sizeof text,
                   "[072F:8002]\nslots = %.120s\n[0ACD:3530]\n%.100s = 1\n[/dev/purse-test0]\n"
                   "slots = sam1.sam2.sam3.sam4.sam5.sam6.sam1\n",
                   deep, deep);
    assert_int_equal(setenv("IFD_PURSE_CONF", deep, 1), 0);
    assert_complaint(text, &aet63, "/ifd-purse.conf:2: slots = ", "(ViVOpay)");
    assert_complaint(text, &vivo, "/ifd-purse.conf:4: ", "ifd-purse.conf(5) lists them");
    assert_complaint(text, &port, "/ifd-purse.conf:6: ", "at most once", "sam8 joined by dots");
}

static void unknown_keys(void **state)
{
    (void)state;
    assert_complaint("[072F:8002]\napdu-cap = 5\n", &aet63, ":2:", "\"apdu-cap\"", "did you mean apdu_cap?");
    assert_complaint("[072F:8002]\nslot = card\n", &aet63, "\"slot\"", "did you mean slots?");
    assert_complaint("[072F:8002]\ncolour = 5\n", &aet63, "\"colour\"", "ifd-purse.conf(5)");
    assert_complaint("[072F:8002]\nxy = 5\n", &aet63, "\"xy\"", "ifd-purse.conf(5)"); /* far from t1 all the same */
    assert_complaint("[072F:8002]\n= 5\n", &aet63, ":2:", "no setting \"\"");
    assert_complaint("[072F:8002]\na_key_of_more_letters_than_any_word_should_ever_have = 5\n", &aet63,
                     "ifd-purse.conf(5)");
}

static void sections_that_look_like_a_mistake(void **state)
{
    static const struct {
        const char *section, *cure;
    } cases[] = {
        {"072F-8002", "write [072F:8002]"},
        {"72f 8002", "write [072F:8002]"},
        {"0x072f.8002", "write [072F:8002]"},
        {"072F:8002:", "[VID:PID:SERIAL]"},
        {"072F8002", "[VID:PID]"},
        {"072F:08002", "[VID:PID]"},
        {"072F:", "[VID:PID]"},
        {"072F", "[VID:PID]"},
        {"AET63", "[VID:PID]"},
        {"", "[VID:PID]"},
        {"ttyUSB0", "write [/dev/ttyUSB0]"},
        {"dev/ttyUSB0", "write [/dev/ttyUSB0]"},
        {"usb ids", "[usb]"},
        {"072F-8002-1", "[VID:PID:SERIAL]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128], quoted[64];

        (void)snprintf(quoted, sizeof quoted, "2: [%s] names no reader", cases[i].section);
        (void)snprintf(text, sizeof text, "\n[%s]\napdu_cap = 5\nnonsense = 1\n", cases[i].section);
        assert_complaint(text, &aet63, quoted, cases[i].cure);
        assert_int_equal(s.apdu_cap, 60000);
    }
}

static void keys_without_a_reader(void **state)
{
    (void)state;
    assert_complaint("apdu_cap = 5\n[072F:8002]\npower_cap = 5\n", &aet63, ":1: \"apdu_cap\" belongs to no reader",
                     "[VID:PID]");
    assert_int_equal(s.apdu_cap, 60000);
    assert_int_equal(s.power_cap, 5);
    assert_complaint("[usb]\nlog = 5\n", &aet63, ":2: \"log\"", "[usb]", "usb_id");
    assert_int_equal(s.log, 3);
}

static void settings_of_the_other_family(void **state)
{
    struct settings_subject unknown = aet63;

    (void)state;
    assert_complaint("[072F:8002]\nbaud = 9600\n", &aet63, ":2: baud", "other family");
    assert_int_equal(s.baud, 0);
    assert_complaint("[0ACD:3530]\ntransport = A\n", &vivo, ":2: transport", "other family");
    assert_complaint("[072F:8002]\nslots = cl\n", &aet63, ":2: slots", "other family");
    assert_int_equal(s.slot_count, 0);
    assert_complaint("[0ACD:3530]\nslots = card\n", &vivo, ":2: slots", "other family");
    unknown.family = 0; /* not known: not checked */
    load("[072F:8002]\nbaud = 9600\nslots = cl\n", &unknown);
    assert_int_equal(s.baud, 9600);
    assert_int_equal(s.slot_count, 1);
    assert_int_equal(stub_log_count(), 0);
}

static void reopen_waits_in_the_wrong_order(void **state)
{
    (void)state;
    assert_complaint("[/dev/purse-test0]\nreopen_min = 500\nreopen_max = 499\n", &port, "reopen_max (499)",
                     "reopen_min (500)");
    assert_int_equal(s.reopen_min, 500);
    assert_int_equal(s.reopen_max, 500);
    load("[/dev/purse-test0]\nreopen_min = 500\nreopen_max = 500\n", &port);
    assert_int_equal(stub_log_count(), 0);
}

static void lines_that_are_neither(void **state)
{
    (void)state;
    assert_complaint("[072F:8002]\napdu_cap\npower_cap = 5\n", &aet63, ":2: neither [section] nor key = value");
    assert_int_equal(s.power_cap, 5);
    assert_complaint("[072F:8002]\npower_cap = 6\nnonsense", &aet63,
                     ":3: neither"); /* the last line, without its end */
    assert_complaint("[072F:8002]\n[0ACD:3530\napdu_cap = 5\nnonsense = 1\n", &aet63, ":2:", "closing \"]\"");
    assert_int_equal(s.apdu_cap, 60000); /* it was not meant for the section before */
}

static void comments_blanks_and_line_ends(void **state)
{
    (void)state;
    load("\xEF\xBB\xBF; a byte order mark\r\n# [072F-8002]\r\n  [ 072F:8002 ] ; mine\r\n"
         "\tapdu_cap=1 ; comment\r\n  power_cap : 2 # comment\r\n   reader_cap = 3#\r\n\r\n \t \r\n  tfm_cap=4",
         &aet63);
    assert_int_equal(stub_log_count(), 0);
    assert_int_equal(s.apdu_cap, 1);
    assert_int_equal(s.power_cap, 2);
    assert_int_equal(s.reader_cap, 3);
    assert_int_equal(s.tfm_cap, 4);
    load("\xEF\xBB\xBF[072F:8002]\napdu_cap=1\n", &aet63);
    assert_int_equal(s.apdu_cap, 1);
}

static char *long_line(const char *before, int c, size_t n, const char *after)
{
    char *text = malloc(strlen(before) + n + strlen(after) + 1);

    assert_non_null(text);
    (void)strcpy(text, before);
    memset(text + strlen(before), c, n);
    (void)strcpy(text + strlen(before) + n, after);
    return text;
}

static void overlong_lines(void **state)
{
    char *text;

    (void)state;
    text = long_line("[072F:8002]\napdu_cap = ", '7', 5000, "\npower_cap = 5\n");
    assert_complaint(text, &aet63, ":2: longer than", "the line is not used");
    assert_int_equal(s.apdu_cap, 60000);
    assert_int_equal(s.power_cap, 5); /* and the next line is the next line */
    free(text);
    text = long_line("[072F:8002]\n[/dev/", 'x', 5000, "]\napdu_cap = 5\n");
    assert_complaint(text, &aet63, ":2: longer than");
    assert_int_equal(s.apdu_cap, 60000); /* not taken for the section before it */
    free(text);
    text = long_line("[072F:8002]\n#", '-', 5000, "\npower_cap = 5\n");
    load(text, &aet63); /* a comment may be as long as it likes */
    assert_int_equal(stub_log_count(), 0);
    assert_int_equal(s.power_cap, 5);
    free(text);
}

/* Across the length of inih's own buffer a line is taken whole or refused whole, never split. The limit is inih's, so
 * it is read from the complaint. */
static void lines_around_the_limit(void **state)
{
    size_t longest_taken = 0, limit = 0;

    (void)state;
    for (size_t n = 150; n < 260; n++) {
        char *text = long_line("[072F:8002]\napdu_cap = 5", ' ', n, "6\npower_cap = 5\n"), *at;

        load(text, &aet63);
        free(text);
        assert_int_equal(stub_log_count(), 1);
        assert_true(stub_log_has(":2: ", NULL));
        assert_int_equal(s.apdu_cap, 60000);
        assert_int_equal(s.power_cap, 5);
        at = strstr(stub_log_line(0), "longer than ");
        if (!at)
            longest_taken = strlen("apdu_cap = 5") + n + strlen("6");
        else if (limit == 0)
            limit = strtoul(at + strlen("longer than "), NULL, 10);
    }
    assert_int_equal(longest_taken, limit);
}

static void bytes_that_are_no_text(void **state)
{
    static const char text[] = "[072F:8002]\napdu_cap = 5\0\npower_cap = 6\n";

    (void)state;
    write_bytes(text, sizeof text - 1);
    settings_load(&s, &aet63, &reader);
    assert_int_equal(stub_log_count(), 1);
    assert_true(stub_log_has(":2:", "not text", NULL));
    assert_int_equal(s.apdu_cap, 60000);
    assert_int_equal(s.power_cap, 6);
}

static void a_file_full_of_mistakes_does_not_flood_the_log(void **state)
{
    char *text = malloc(20000), *p = text;

    (void)state;
    assert_non_null(text);
    p += sprintf(p, "[072F:8002]\n");
    for (int i = 0; i < 1000; i++)
        p += sprintf(p, "nonsense = 1\n");
    (void)sprintf(p, "apdu_cap = 5\n");
    load(text, &aet63);
    free(text);
    assert_int_equal(stub_log_count(), 21);
    assert_non_null(strstr(stub_log_line(20), "more mistakes"));
    assert_int_equal(s.apdu_cap, 5);
}

static void a_file_that_is_too_long(void **state)
{
    char *text = long_line("[072F:8002]\napdu_cap = 5\n", '\n', 1200 * 1024, "power_cap = 5\n");

    (void)state;
    assert_complaint(text, &aet63, "1 MiB");
    free(text);
    assert_int_equal(s.apdu_cap, 5);
    assert_int_equal(s.power_cap, 30000);
}

/* ---- the file itself ---- */

static void assert_file_complaint(const char *path, const char *part)
{
    assert_int_equal(setenv("IFD_PURSE_CONF", path, 1), 0);
    stub_log_clear();
    settings_load(&s, &aet63, &reader);
    assert_int_equal(stub_log_count(), 1);
    if (!stub_log_has(path, part, NULL))
        fail_msg("the log says: %s", stub_log_line(0));
    assert_int_equal(s.apdu_cap, 60000);
}

static void files_that_cannot_be_read(void **state)
{
    char path[96];

    (void)state;
    assert_file_complaint(file, strerror(ENOENT)); /* named by IFD_PURSE_CONF, so it was meant to be there */
    assert_file_complaint(directory, "not a regular file");
    assert_file_complaint("/dev/zero", "not a regular file");
    assert_file_complaint("/proc/self/mem", strerror(EIO)); /* opens, but nothing is mapped at its beginning */
    (void)snprintf(path, sizeof path, "%s/link", directory);
    assert_int_equal(symlink(path, path), 0);
    assert_file_complaint(path, strerror(ELOOP));
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/fifo", directory); /* opening one must not wait for a writer */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_file_complaint(path, "not a regular file");
    assert_int_equal(unlink(path), 0);
}

static void a_file_without_permission(void **state)
{
    uid_t me = geteuid();

    (void)state;
    write_file("[072F:8002]\napdu_cap = 5\n");
    assert_int_equal(chmod(file, 0), 0);
    assert_int_equal(chmod(directory, 0755), 0);
    if (me == 0)
        assert_int_equal(seteuid(65534), 0); /* root may read everything */
    settings_load(&s, &aet63, &reader);
    if (me == 0)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(stub_log_count(), 1);
    assert_true(stub_log_has(file, strerror(EACCES), NULL));
    assert_int_equal(s.apdu_cap, 60000);
}

static void no_file_wanted(void **state)
{
    (void)state;
    assert_int_equal(setenv("IFD_PURSE_CONF", "/dev/null", 1), 0);
    settings_load(&s, &aet63, &reader);
    assert_int_equal(stub_log_count(), 0);
    assert_int_equal(s.apdu_cap, 60000);
}

static void the_usual_file_may_be_missing(void **state)
{
#ifdef IFD_PURSE_SYSCONFDIR
    const char *usual = IFD_PURSE_SYSCONFDIR "/ifd-purse.conf";
#else
    const char *usual = "/etc/ifd-purse.conf";
#endif

    (void)state;
    if (access(usual, F_OK) == 0)
        skip(); /* installed here: not ours to remove */
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            assert_int_equal(unsetenv("IFD_PURSE_CONF"), 0);
        else
            assert_int_equal(setenv("IFD_PURSE_CONF", "", 1), 0);
        stub_log_clear();
        settings_load(&s, &aet63, &reader);
        assert_int_equal(stub_log_count(), 1);
        assert_int_equal(stub_log_priority(0), PCSC_LOG_INFO);
        assert_true(stub_log_has(usual, "defaults", NULL));
    }
}

static void an_empty_file(void **state)
{
    struct settings expected;

    (void)state;
    load("", &aet63);
    settings_defaults(&expected);
    assert_memory_equal(&s, &expected, sizeof s);
    assert_int_equal(stub_log_count(), 0);
}

/* ---- further readers ---- */

static void usb_ids_of_the_whole_file(void **state)
{
    struct usb_id ids[SETTINGS_USB_IDS_MAX];

    (void)state;
    write_file("usb_id = 1:1:aet63\n[usb]\nusb_id = 2:2:vivopay\n[072F:8002]\napdu_cap = x\nusb_id = 3:3:aet63\n"
               "[USB]\nusb_id = 4:4:acs\n[bad-one]\nlog = x\n");
    assert_int_equal(setenv("IFD_PURSE_USB_ID", "5:5:vivopay", 1), 0);
    assert_int_equal(settings_extra_usb_ids(ids, SETTINGS_USB_IDS_MAX, &reader), 4);
    assert_int_equal(ids[0].vid, 1);
    assert_int_equal(ids[0].family, 'a');
    assert_int_equal(ids[1].pid, 2);
    assert_int_equal(ids[1].family, 'v');
    assert_int_equal(ids[2].vid, 3);
    assert_int_equal(ids[3].vid, 5);
    assert_int_equal(stub_log_count(), 1); /* only what concerns it: each reader names the rest when it loads */
    assert_true(stub_log_has(":8: usb_id = \"4:4:acs\"", NULL));

    assert_int_equal(settings_extra_usb_ids(ids, 2, NULL), 2); /* no more than there is room for; no log needed */
    assert_int_equal(settings_extra_usb_ids(NULL, 0, NULL), 0);

    stub_log_clear();
    settings_load(&s, &vivo, &reader);
    assert_int_equal(s.usb_id_count, 4); /* the same for a reader whose section holds none of them */
}

static void too_many_usb_ids(void **state)
{
    struct usb_id ids[SETTINGS_USB_IDS_MAX + 1];
    char text[400] = "[usb]\n";

    (void)state;
    for (int i = 0; i <= SETTINGS_USB_IDS_MAX; i++)
        (void)sprintf(text + strlen(text), "usb_id = 1:%d:aet63\n", i);
    write_file(text);
    assert_int_equal(settings_extra_usb_ids(ids, SETTINGS_USB_IDS_MAX + 1, &reader), SETTINGS_USB_IDS_MAX);
    assert_int_equal(stub_log_count(), 1);
    assert_true(stub_log_has(":10: usb_id", "no more than 8", NULL));
}

static void the_search_for_usb_ids_leaves_other_mistakes_alone(void **state)
{
    char *text = long_line("[072F:8002\napdu_cap\n[usb]\nlog = 5\nbaud = ", '9', 500, "\nusb_id = 1:1:aet63\n[x]");
    struct usb_id id;

    (void)state;
    write_file(text);
    free(text);
    assert_int_equal(settings_extra_usb_ids(&id, 1, &reader), 1);
    assert_int_equal(stub_log_count(), 0);
    (void)unlink(file);
    assert_int_equal(settings_extra_usb_ids(&id, 1, &reader), 0);
    assert_true(stub_log_has(file, strerror(ENOENT), NULL)); /* else nobody would say why the reader is not known */
}

static void without_a_log(void **state)
{
    (void)state;
    write_file("[072F-8002]\nx\n[072F:8002]\napdu_cap = 5\npower_cap = x\n");
    settings_load(&s, &aet63, NULL);
    assert_int_equal(s.apdu_cap, 5);
    assert_int_equal(stub_log_count(), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CASE(defaults),
        CASE(every_setting_takes_its_values),
        CASE(every_setting_refuses_the_rest),
        CASE(a_setting_changes_nothing_else),
        CASE(every_field_is_tested),
        CASE(keys_are_known_in_any_case),
        CASE(slots_good),
        CASE(slots_bad),
        CASE(usb_id_good_and_bad),
        CASE(no_more_usb_ids_than_there_is_room_for),
        CASE(a_file_sets_every_setting),
        CASE(the_most_specific_section_wins_wherever_it_stands),
        CASE(a_wrong_value_leaves_the_less_specific_one),
        CASE(the_later_of_two_equal_lines_wins),
        CASE(option_over_file_environment_over_both),
        CASE(sections_of_other_readers_do_not_count),
        CASE(a_reader_without_serial_number_has_only_its_model),
        CASE(a_link_and_the_node_behind_it),
        CASE(a_long_path_is_compared_whole),
        CASE(devicename_options_that_are_wrong),
        CASE(a_wrong_environment_is_named),
        CASE(the_environment_of_another_family),
        CASE(a_wrong_line_names_itself),
        CASE(a_complaint_fits_the_line_whole),
        CASE(unknown_keys),
        CASE(sections_that_look_like_a_mistake),
        CASE(keys_without_a_reader),
        CASE(settings_of_the_other_family),
        CASE(reopen_waits_in_the_wrong_order),
        CASE(lines_that_are_neither),
        CASE(comments_blanks_and_line_ends),
        CASE(overlong_lines),
        CASE(lines_around_the_limit),
        CASE(bytes_that_are_no_text),
        CASE(a_file_full_of_mistakes_does_not_flood_the_log),
        CASE(a_file_that_is_too_long),
        CASE(files_that_cannot_be_read),
        CASE(a_file_without_permission),
        CASE(no_file_wanted),
        CASE(the_usual_file_may_be_missing),
        CASE(an_empty_file),
        CASE(usb_ids_of_the_whole_file),
        CASE(too_many_usb_ids),
        CASE(the_search_for_usb_ids_leaves_other_mistakes_alone),
        CASE(without_a_log),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
