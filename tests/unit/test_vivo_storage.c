/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Cards without APDUs behind a ViVOpay reader (vivopay/storage.c, vicinity.c, raw.c): the result of each step for
 * whatever the reader, its front end or the card answers. The scripted reader of vivo_rig.h answers the commands that a
 * case lays down, and obeys otherwise. What is asked of each step is in reader/storage.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "reader/device.h"
#include "stub_log.h"
#include "unhex.h"
#include "vivo_rig.h"
#include "vivopay/storage.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define ENCRYPTED "0010000102030405060708090A0B0C0D0E0F000A00010203040506070809001000010203040506070809101112131415"

enum { SILENT = 0x100, LINES = 24, ROOM = 300 };

/* What the reader says to the commands of family 2C with this sub-command, in turn; anything else it obeys. */
static struct line {
    unsigned sub, status;
    const char *hex;
} script[LINES];
static size_t laid, said;

static struct device device;
static struct reader *r;
static struct vivo *v;
static uint8_t out[1500];

static bool scripted(const struct rig_sent *q)
{
    if (q->command != VIVO_CMD_PASS_THROUGH || said == laid || script[said].sub != q->sub)
        return false;
    if (script[said].status != SILENT)
        rig_say(q->command, (uint8_t)script[said].status, script[said].hex);
    said++;
    return true;
}

static void lay(unsigned sub, unsigned status, const char *hex)
{
    if (said == laid)
        said = laid = 0;
    assert_true(laid < LINES);
    script[laid++] = (struct line){sub, status, hex};
}

static deadline_t soon(void)
{
    return deadline_in(20000);
}

static int setup(void **state)
{
    (void)state;
    rig_reset();
    laid = said = 0;
    stub_log_clear();
    return 0;
}

static void open_reader(void)
{
    enum result e;

    r = rig_open(false, &e);
    assert_non_null(r);
    v = vivo_of(r);
    memset(&device, 0, sizeof device);
    r->device = &device;
    rig.handler = scripted;
}

static void put_card(uint8_t type, const char *uid)
{
    rig.card_type = type;
    rig.uid_len = unhex(uid, rig.uid);
}

static void power_up(void)
{
    unsigned again;
    struct atr atr;
    int protocol;

    v->pace.any = false;
    v->field.off_until = 0;
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    assert_true(rig.present[0]);
    assert_int_equal(r->ops->power_up(r, 0, false, soon(), &atr, &protocol), R_SUCCESS);
    assert_int_equal(said, laid);
    rig_forget();
    stub_log_clear();
}

/* A powered card of this type. */
static void open_card(uint8_t type, const char *uid)
{
    open_reader();
    put_card(type, uid);
    power_up();
}

static void open_mifare(void)
{
    open_card(0x03, "01020304");
}

/* A card of ISO 15693: found by a poll under a number of its own, 28 blocks of 4 bytes. */
static void open_vicinity(void)
{
    rig_settings.iso15693 = SWITCH_ON;
    open_reader();
    put_card(0x55, "1D9F3759500104E0");
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000078000F1D9F3759500104E011001B0301");
    power_up();
    assert_int_equal(v->vicinity.card.blocks, 28);
    assert_int_equal(v->vicinity.card.block_size, 4);
}

static void close_reader(void)
{
    assert_int_equal(said, laid);
    rig_close(r);
}

static const struct rig_sent *last(void)
{
    return &rig.sent[rig.sent_count - 1];
}

static void expect_sent(unsigned sub, const char *hex)
{
    uint8_t want[ROOM];
    size_t n = unhex(hex, want);

    assert_int_equal(last()->command, VIVO_CMD_PASS_THROUGH);
    assert_int_equal(last()->sub, sub);
    assert_int_equal(last()->n, n);
    assert_memory_equal(last()->data, want, n);
}

static enum result read_blocks(unsigned first, unsigned count)
{
    return r->ops->storage->read(r, 0, first, count, out, soon());
}

static enum result write_blocks(unsigned first, unsigned count)
{
    static const uint8_t data[ROOM] = {0xD0, 0xD1, 0xD2, 0xD3};

    return r->ops->storage->write(r, 0, first, count, data, soon());
}

static enum result authenticate(uint8_t key_type, uint8_t access[3])
{
    static const uint8_t key[STORAGE_KEY_SIZE] = {1, 2, 3, 4, 5, 6};

    return r->ops->storage->authenticate(r, 0, 5, key_type, key, access, soon());
}

/* ---- statuses --------------------------------------------------------------------------------------------------- */

static void each_status_has_its_result(void **state)
{
    static const struct {
        unsigned status;
        enum result result;
        const char *log;
    } cases[] = {
        {0x02, R_NOT_SUPPORTED, NULL},     {0x03, R_NOT_SUPPORTED, NULL}, {0x05, R_INVALID, NULL},
        {0x07, R_INVALID, NULL},           {0x06, R_DENIED, "SRED"},      {0x90, R_DENIED, "encrypt what cards say"},
        {0x91, R_DENIED, "KSN exhausted"}, {0x08, R_NO_CARD, NULL},       {0x0A, R_CARD, NULL},
        {0x0D, R_SPACE, NULL},             {0x70, R_COMM, "antenna error"}, {0xEE, R_COMM, "unknown status"},
        {0x0B, R_PROTOCOL, "left pass-through mode"}, {0x0C, R_PROTOCOL, "left pass-through mode"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_mifare();
        lay(0x08, cases[i].status, "");
        assert_int_equal(write_blocks(4, 1), cases[i].result);
        assert_int_equal(rig_count(0x2C, 0x08), 1); /* at most once */
        assert_int_equal(rig.lost[0], cases[i].result == R_PROTOCOL);
        if (cases[i].log)
            assert_true(stub_log_matches(cases[i].log) > 0);
        close_reader();
    }
}

static void a_lost_session_sends_nothing(void **state)
{
    (void)state;
    open_mifare();
    v->slot[0].powered = false;
    assert_int_equal(read_blocks(4, 1), R_PROTOCOL);
    assert_int_equal(write_blocks(4, 1), R_PROTOCOL);
    assert_int_equal(rig.sent_count, 0);
    close_reader();
}

static void a_silent_reader_is_no_answer_of_the_card(void **state)
{
    (void)state;
    rig_settings.ping_wait = rig_settings.command_wait = rig_settings.resync_quiet = 1;
    open_mifare();
    lay(0x08, SILENT, "");
    assert_int_equal(write_blocks(4, 1), R_TIMEOUT);
    assert_int_equal(rig_count(0x2C, 0x08), 1);
    close_reader();
}

/* A second copy of the last answer, in a read of its own: it says "done", the write is refused. */
static void a_copy_that_came_since_is_not_the_next_answer(void **state)
{
    (void)state;
    open_mifare();
    lay(0x08, VIVO_OK, "");
    assert_int_equal(write_blocks(4, 1), R_SUCCESS);
    rig_say(VIVO_CMD_PASS_THROUGH, VIVO_OK, "");
    rig_say_raw("\x56\x69\x56", 3); /* and the beginning of a third */
    lay(0x08, 0x0A, "");
    assert_int_equal(write_blocks(5, 1), R_CARD);
    assert_int_equal(rig_count(0x2C, 0x08), 2);
    assert_true(stub_log_matches("that nobody waits for; dropped") > 0);
    lay(0x07, VIVO_OK, "000102030405060708090A0B0C0D0E0F");
    rig_say(VIVO_CMD_PASS_THROUGH, VIVO_OK, "F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF");
    assert_int_equal(read_blocks(4, 1), R_SUCCESS);
    assert_int_equal(out[0], 0x00);
    close_reader();
}

/* The same by reports, behind one that means nothing. */
static void a_copy_behind_a_stray_report_is_not_the_next_answer(void **state)
{
    uint8_t stray[VIVO_REPORT_SIZE] = {3, 1, 2, 3};

    (void)state;
    rig.hid = true;
    open_mifare();
    lay(0x08, VIVO_OK, "");
    assert_int_equal(write_blocks(4, 1), R_SUCCESS);
    rig_say_raw(stray, sizeof stray);
    rig_say(VIVO_CMD_PASS_THROUGH, VIVO_OK, "");
    lay(0x08, 0x0A, "");
    assert_int_equal(write_blocks(5, 1), R_CARD);
    assert_int_equal(rig_count(0x2C, 0x08), 2);
    close_reader();
}

/* A reader that says so between two commands gets no second one for a card that it has forgotten. */
static void a_restart_that_was_told_since_sends_nothing(void **state)
{
    (void)state;
    open_mifare();
    lay(0x08, VIVO_OK, "");
    assert_int_equal(write_blocks(4, 1), R_SUCCESS);
    rig_say(VIVO_CMD_BOOT, 0x01, "");
    assert_int_equal(write_blocks(5, 1), R_PROTOCOL);
    assert_int_equal(rig_count(0x2C, 0x08), 1);
    assert_int_equal(rig.lost[0], 1);
    assert_true(stub_log_matches("the reader restarted") > 0);
    close_reader();
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

#define BLOCK "000102030405060708090A0B0C0D0E0F"

static void an_answer_that_is_not_its_own_is_asked_for_again(void **state)
{
    (void)state;
    open_mifare();
    lay(0x07, VIVO_OK, "0102");
    lay(0x07, VIVO_OK, BLOCK);
    assert_int_equal(read_blocks(4, 1), R_SUCCESS);
    assert_int_equal(out[15], 0x0F);
    assert_true(rig_count(VIVO_CMD_PING, RIG_ANY) > 0); /* in step again first */
    lay(0x07, VIVO_OK, "0102");
    lay(0x07, VIVO_OK, "01020304");
    assert_int_equal(read_blocks(4, 1), R_COMM);
    assert_false(v->in_sync);
    assert_true(stub_log_matches("4 bytes where 16 were due") > 0);
    lay(0x07, VIVO_OK, "0102");
    lay(0x07, VIVO_FAILED, "");
    assert_int_equal(read_blocks(4, 1), R_CARD);
    close_reader();
}

static void encrypted_data_is_no_data(void **state)
{
    (void)state;
    open_mifare();
    lay(0x07, VIVO_OK, ENCRYPTED);
    assert_int_equal(read_blocks(4, 1), R_DENIED);
    assert_int_equal(rig_count(0x2C, 0x07), 1);
    assert_true(stub_log_matches("encrypted data") > 0);
    lay(0x07, VIVO_OK, "00");
    lay(0x07, VIVO_OK, ENCRYPTED);
    assert_int_equal(read_blocks(4, 1), R_DENIED);
    close_reader();
}

/* Data that follows a write would be taken for the next command's answer. */
static void a_write_is_answered_without_data(void **state)
{
    (void)state;
    open_mifare();
    lay(0x08, VIVO_OK, BLOCK);
    assert_int_equal(write_blocks(4, 1), R_COMM);
    assert_false(v->in_sync);
    close_reader();
}

static void a_trailer_is_read_alone(void **state)
{
    (void)state;
    open_mifare();
    lay(0x07, VIVO_OK, BLOCK BLOCK);
    lay(0x07, VIVO_OK, BLOCK);
    assert_int_equal(read_blocks(5, 3), R_SUCCESS);
    assert_memory_equal(rig.sent[0].data, "\x32\x05", 2);
    expect_sent(0x07, "3107");
    close_reader();
}

static void the_pages_of_an_ultralight(void **state)
{
    static const uint8_t types[] = {0x04, 0x0B}; /* the second has another name in the reader's commands */

    (void)state;
    for (size_t i = 0; i < sizeof types; i++) {
        setup(NULL);
        open_card(types[i], "04112233445566");
        lay(0x07, VIVO_OK, BLOCK);
        memset(out, 0xEE, sizeof out);
        assert_int_equal(read_blocks(3, 1), R_SUCCESS);
        expect_sent(0x07, "4103");
        assert_int_equal(out[3], 0x03);
        assert_int_equal(out[4], 0xEE); /* one page was asked for */
        assert_int_equal(read_blocks(0, 61), R_INVALID);
        lay(0x08, VIVO_OK, "");
        assert_int_equal(write_blocks(4, 1), R_SUCCESS);
        expect_sent(0x08, "4104D0D1D2D3");
        assert_int_equal(authenticate(0x60, out), R_NOT_SUPPORTED);
        close_reader();
    }
}

static void what_cannot_be_is_not_sent(void **state)
{
    (void)state;
    open_mifare();
    assert_int_equal(read_blocks(0x100, 1), R_INVALID);
    assert_int_equal(write_blocks(0x100, 1), R_INVALID);
    assert_int_equal(write_blocks(128, 16), R_INVALID);
    assert_int_equal(rig.sent_count, 0);
    close_reader();
    setup(NULL);
    open_card(0x05, "04112233445566"); /* no blocks that anybody knows of */
    assert_int_equal(read_blocks(0, 1), R_NOT_SUPPORTED);
    assert_int_equal(write_blocks(0, 1), R_NOT_SUPPORTED);
    assert_int_equal(rig.sent_count, 0);
    close_reader();
}

static void a_key_is_proved_by_the_trailer(void **state)
{
    uint8_t access[3] = {0};

    (void)state;
    open_mifare();
    lay(0x06, VIVO_OK, "");
    lay(0x07, VIVO_OK, "000000000000FF078069FFFFFFFFFFFF");
    assert_int_equal(authenticate(0x61, access), R_SUCCESS);
    assert_memory_equal(rig.sent[0].data, "\x05\x02\x01\x02\x03\x04\x05\x06", 8);
    expect_sent(0x07, "3107");
    assert_memory_equal(access, "\xFF\x07\x80", 3);
    lay(0x06, VIVO_OK, "");
    lay(0x07, VIVO_TIMEOUT, ""); /* a card that refuses a key is mute */
    assert_int_equal(authenticate(0x60, access), R_CARD);
    assert_int_equal(rig.sent[2].data[1], 1);
    lay(0x06, VIVO_BAD_PARAMETER, "");
    assert_int_equal(authenticate(0x60, access), R_INVALID);
    assert_int_equal(rig_count(0x2C, 0x07), 2);
    close_reader();
}

/* ---- facts ------------------------------------------------------------------------------------------------------ */

/* A reader that answers the raw frames of the SAK probe: HLTA, WUPA, anticollision and SELECT. */
static void lay_probe(const char *sak)
{
    lay(VIVO_SUB_RAW, VIVO_TIMEOUT, "E500000000");
    lay(VIVO_SUB_RAW, VIVO_OK, "00000000100400");
    lay(VIVO_SUB_RAW, VIVO_OK, "00000000280102030404");
    lay(VIVO_SUB_RAW, VIVO_OK, sak);
}

static void facts_by_sak(void **state)
{
    static const struct {
        const char *sak;
        unsigned nn, blocks;
    } cases[] = {{"000000000818", 0x0002, 256}, {"000000000809", 0x0026, 20}, {"000000000808", 0x0001, 64}};
    struct storage_facts f;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        rig_settings.sak_probe = SWITCH_ON;
        open_reader();
        put_card(0x03, "01020304");
        lay_probe(cases[i].sak);
        power_up();
        assert_int_equal(r->ops->storage->facts(r, 0, &f), R_SUCCESS);
        assert_int_equal(f.kind, STORAGE_MIFARE);
        assert_true(f.sak_known && f.atqa_known);
        assert_memory_equal(f.atqa, "\x04\x00", 2);
        assert_int_equal(f.nn, cases[i].nn);
        assert_int_equal(f.block_count, cases[i].blocks);
        close_reader();
    }
}

/* What the probe did not bring is not known; the card is served all the same. */
static void a_probe_that_fails_harms_nobody(void **state)
{
    static const struct {
        unsigned n; /* lines of the good probe, then */
        unsigned status;
        const char *hex;
    } cases[] = {
        {1, VIVO_TIMEOUT, "E500000000"},          /* no ATQA */
        {1, VIVO_OK, "000000000804"},             /* half of it */
        {1, VIVO_UNKNOWN_SUB_COMMAND, ""},
        {2, VIVO_OK, "FE00000028010203040A"},     /* spoilt */
        {3, VIVO_TIMEOUT, ""},
    };
    struct storage_facts f;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        rig_settings.sak_probe = SWITCH_ON;
        open_reader();
        put_card(0x03, "01020304");
        lay_probe("000000000808");
        laid = cases[i].n;
        lay(VIVO_SUB_RAW, cases[i].status, cases[i].hex);
        power_up();
        assert_int_equal(r->ops->storage->facts(r, 0, &f), R_SUCCESS);
        assert_false(f.sak_known);
        assert_int_equal(f.nn, 0x0001);
        close_reader();
    }
}

/* A SAK that says at every level that the UID goes on is none. */
static void a_probe_does_not_go_on_for_ever(void **state)
{
    (void)state;
    rig_settings.sak_probe = SWITCH_ON;
    open_reader();
    put_card(0x04, "04112233445566");
    lay(VIVO_SUB_RAW, VIVO_TIMEOUT, "");
    lay(VIVO_SUB_RAW, VIVO_OK, "00000000100400");
    for (int i = 0; i < 3; i++) {
        lay(VIVO_SUB_RAW, VIVO_OK, "00000000288801020304");
        lay(VIVO_SUB_RAW, VIVO_OK, "000000000804");
    }
    power_up();
    assert_false(v->field.sak_known);
    close_reader();
}

static void what_is_known_of_each_kind(void **state)
{
    static const struct {
        uint8_t type;
        const char *uid;
        enum storage_kind kind;
        unsigned block_size;
        bool fixed;
    } cases[] = {
        {0x01, "11223344", STORAGE_APDU, 0, true},        {0x01, "08223344", STORAGE_APDU, 0, false},
        {0x03, "01020304", STORAGE_MIFARE, 16, true},     {0x04, "04112233445566", STORAGE_ULTRALIGHT, 4, true},
        {0x05, "04112233445566", STORAGE_OTHER, 0, true},
        {0x0B, "04112233445566", STORAGE_ULTRALIGHT, 4, true},
    };
    struct storage_facts f;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_card(cases[i].type, cases[i].uid);
        assert_int_equal(r->ops->storage->facts(r, 0, &f), R_SUCCESS);
        assert_int_equal(f.kind, cases[i].kind);
        assert_int_equal(f.block_size, cases[i].block_size);
        assert_int_equal(f.uid_fixed, cases[i].fixed);
        assert_int_equal(f.block_count, 0);
        v->slot[0].powered = false;
        assert_int_equal(r->ops->storage->facts(r, 0, &f), R_NO_CARD);
        assert_int_equal(f.kind, STORAGE_NONE);
        v->slot[0].kind = SLOT_ICC;
        assert_int_equal(r->ops->storage->facts(r, 0, &f), R_NOT_SUPPORTED);
        v->slot[0].kind = SLOT_CL;
        close_reader();
    }
    setup(NULL);
    rig_settings.prefer = PREFER_MIFARE;
    open_card(0x07, "01020304");
    assert_int_equal(r->ops->storage->facts(r, 0, &f), R_SUCCESS);
    assert_int_equal(f.kind, STORAGE_MIFARE);
    lay(0x07, VIVO_OK, BLOCK);
    assert_int_equal(read_blocks(4, 1), R_SUCCESS);
    expect_sent(0x07, "7104"); /* the type as the poll told it */
    close_reader();
    setup(NULL);
    open_vicinity();
    assert_int_equal(r->ops->storage->facts(r, 0, &f), R_SUCCESS);
    assert_int_equal(f.kind, STORAGE_VICINITY);
    assert_int_equal(f.block_count, 28);
    close_reader();
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static void a_value_operation_is_one_command(void **state)
{
    static const struct {
        struct storage_value value;
        const char *sent;
    } cases[] = {
        {{VALUE_INCREMENT, 4, 4, 10}, "B104040A000000"},
        {{VALUE_DECREMENT, 4, 4, 10}, "3104040A000000"},
        {{VALUE_COPY, 4, 5, 0}, "31050104"},
        {{VALUE_COPY, 4, 4, 0}, "31040104"},
        {{VALUE_DECREMENT, 4, 5, 10}, "3205010405040A000000"},
    };

    (void)state;
    open_mifare();
    for (size_t i = 0; i < COUNT(cases); i++) {
        lay(0x0A, VIVO_OK, "");
        assert_int_equal(r->ops->storage->value(r, 0, &cases[i].value, soon()), R_SUCCESS);
        expect_sent(0x0A, cases[i].sent);
    }
    lay(0x0A, VIVO_FAILED, "0407");
    assert_int_equal(r->ops->storage->value(r, 0, &cases[0].value, soon()), R_CARD);
    assert_true(stub_log_has("value operation failed at block 4", "07", NULL));
    close_reader();
}

static void a_purse_command_tells_where_it_failed(void **state)
{
    static const uint8_t data[] = {0x31, 0x04, 0x04, 1, 0, 0, 0};
    uint8_t error[STORAGE_ERROR_MAX];
    size_t n = 9;

    (void)state;
    open_mifare();
    lay(0x0A, VIVO_FAILED, "0411");
    assert_int_equal(r->ops->storage->purse(r, 0, data, sizeof data, error, &n, soon()), R_CARD);
    assert_int_equal(n, 2);
    assert_memory_equal(error, "\x04\x11", 2);
    lay(0x0A, VIVO_FAILED, "041122"); /* tells nothing */
    assert_int_equal(r->ops->storage->purse(r, 0, data, sizeof data, error, &n, soon()), R_CARD);
    assert_int_equal(n, 0);
    lay(0x0A, VIVO_OK, "0411"); /* done and failed at once: not believed */
    assert_int_equal(r->ops->storage->purse(r, 0, data, sizeof data, error, &n, soon()), R_COMM);
    assert_int_equal(n, 0);
    assert_int_equal(rig_count(0x2C, 0x0A), 3);
    close_reader();
}

/* ---- raw frames ------------------------------------------------------------------------------------------------- */

static struct storage_exchange frame(enum storage_protocol protocol, const char *hex)
{
    static uint8_t tx[ROOM];

    return (struct storage_exchange){.protocol = protocol,
                                     .tx = tx,
                                     .tx_len = unhex(hex, tx),
                                     .tx_crc = true,
                                     .rx_crc = true,
                                     .tx_parity = true,
                                     .rx_parity = true,
                                     .answer = true,
                                     .rx = out,
                                     .rx_cap = ROOM};
}

static enum result exchange(struct storage_exchange *x)
{
    return r->ops->storage->exchange(r, 0, x, soon());
}

/* Parity as the client wants it on both ways or not at all; bits of the last byte; the front end's checksum. */
static void a_raw_frame_goes_out_as_it_was_asked_for(void **state)
{
    struct storage_exchange x;

    (void)state;
    open_mifare();
    lay(VIVO_SUB_RAW, VIVO_OK, "00000000100400");
    x = frame(STORAGE_ISO14443A, "3000");
    assert_int_equal(exchange(&x), R_SUCCESS);
    expect_sent(VIVO_SUB_RAW, "1E00002968010F3000");
    assert_int_equal(x.rx_len, 2);
    assert_int_equal(x.rx_bits, 0);
    lay(VIVO_SUB_RAW, VIVO_OK, "00000000040A");
    x = frame(STORAGE_OF_SLOT, "52");
    x.tx_crc = x.rx_crc = x.tx_parity = x.rx_parity = false;
    x.tx_bits = 7;
    x.timeout_us = 9440;
    assert_int_equal(exchange(&x), R_SUCCESS);
    expect_sent(VIVO_SUB_RAW, "1E000003E81D0052");
    assert_int_equal(x.rx_bits, 4);
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000000");
    x = frame(STORAGE_ISO14443B, "050000");
    x.answer = false;
    assert_int_equal(exchange(&x), R_SUCCESS);
    expect_sent(VIVO_SUB_RAW, "1E00002968012C050000");
    assert_int_equal(x.rx_len, 0);
    close_reader();
}

static void what_the_front_end_says_of_an_answer(void **state)
{
    static const struct {
        unsigned status;
        const char *hex;
        enum result result;
        unsigned errors;
    } cases[] = {
        {VIVO_OK, "00000000081A", R_SUCCESS, 0},
        {VIVO_OK, "EA000000040A", R_SUCCESS, 0}, /* a refusal of four bits is an answer */
        {VIVO_OK, "0000000000", R_NO_CARD, 0},
        {VIVO_FAILED, "FF00000000", R_NO_CARD, 0},
        {VIVO_TIMEOUT, "E500000000", R_NO_CARD, 0},
        {VIVO_FAILED, "FE00000000", R_CARD, RF_CRC},
        {VIVO_FAILED, "FB00000000", R_CARD, RF_PARITY},
        {VIVO_FAILED, "E800000000", R_CARD, RF_COLLISION},
        {VIVO_FAILED, "EB00000000", R_CARD, RF_FRAMING},
        {VIVO_FAILED, "F400000000", R_CARD, RF_FRAMING},
        {VIVO_FAILED, "1200000000", R_CARD, 0}, /* in no list */
        {VIVO_TIMEOUT, "", R_NO_CARD, 0},
        {VIVO_UNKNOWN_SUB_COMMAND, "", R_NOT_SUPPORTED, 0},
        {VIVO_OK, "000000001801020304050607080910", R_SPACE, 0},
    };

    (void)state;
    open_mifare();
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct storage_exchange x = frame(STORAGE_ISO14443A, "3000");

        x.rx_cap = 8;
        lay(VIVO_SUB_RAW, cases[i].status, cases[i].hex);
        assert_int_equal(exchange(&x), cases[i].result);
        assert_int_equal(x.rf_errors, cases[i].errors);
        if (cases[i].result != R_NO_CARD)
            continue;
        lay(VIVO_SUB_RAW, cases[i].status, cases[i].hex);
        x.answer = false; /* none is due: silence is success */
        assert_int_equal(exchange(&x), R_SUCCESS);
        assert_int_equal(x.rx_len, 0);
    }
    close_reader();
}

static void a_raw_frame_that_cannot_go_out(void **state)
{
    static uint8_t much[VIVO_DATA_MAX];
    struct storage_exchange x;

    (void)state;
    open_mifare();
    x = frame(STORAGE_ISO14443A, "3000");
    x.rx_parity = false;
    assert_int_equal(exchange(&x), R_NOT_SUPPORTED);
    x = frame(STORAGE_ISO14443A, "");
    x.tx = much;
    x.tx_len = sizeof much - 6;
    assert_int_equal(exchange(&x), R_SPACE);
    x = frame(STORAGE_ISO_DEP, "00A40000");
    assert_int_equal(exchange(&x), R_NOT_SUPPORTED);
    x = frame(STORAGE_ISO14443A, "3000");
    v->slot[0].powered = false;
    assert_int_equal(exchange(&x), R_PROTOCOL);
    assert_int_equal(rig.sent_count, 0);
    close_reader();
}

static void felica_frames_with_and_without_their_length(void **state)
{
    struct storage_exchange x;

    (void)state;
    open_card(0x0C, "0102030405060708");
    lay(0x44, VIVO_OK, "01AABB");
    x = frame(STORAGE_OF_SLOT, "0600FFFF0000");
    assert_int_equal(exchange(&x), R_SUCCESS);
    expect_sent(0x44, "0500FFFF0000");
    assert_int_equal(x.rx_len, 4);
    assert_memory_equal(out, "\x04\x01\xAA\xBB", 4);
    lay(0x44, VIVO_OK, "01AABB");
    x = frame(STORAGE_ISO18092, "00FFFF0000");
    assert_int_equal(exchange(&x), R_SUCCESS);
    expect_sent(0x44, "0500FFFF0000");
    assert_int_equal(x.rx_len, 3);
    lay(0x44, VIVO_FAILED, "");
    assert_int_equal(exchange(&x), R_NO_CARD);
    lay(0x44, VIVO_OK, "01AABB");
    x.rx_cap = 2;
    assert_int_equal(exchange(&x), R_SPACE);
    x.tx_len = 0;
    assert_int_equal(exchange(&x), R_INVALID);
    x.tx_len = 256;
    assert_int_equal(exchange(&x), R_INVALID);
    close_reader();
}

static void an_apdu_as_a_frame(void **state)
{
    static uint8_t much[VIVO_DATA_MAX + 1];
    struct storage_exchange x;

    (void)state;
    open_card(0x01, "11223344");
    x = frame(STORAGE_OF_SLOT, "00A40000");
    assert_int_equal(exchange(&x), R_SUCCESS);
    expect_sent(VIVO_SUB_APDU, "00A40000");
    assert_int_equal(x.rx_len, 4); /* as the rig answers */
    lay(VIVO_SUB_APDU, VIVO_FAILED, "");
    assert_int_equal(exchange(&x), R_NO_CARD);
    lay(VIVO_SUB_APDU, VIVO_OK, "01029000");
    x.rx_cap = 3;
    assert_int_equal(exchange(&x), R_SPACE);
    x.tx = much;
    x.tx_len = sizeof much;
    assert_int_equal(exchange(&x), R_SPACE);
    x = frame((enum storage_protocol)99, "00");
    assert_int_equal(exchange(&x), R_NOT_SUPPORTED);
    close_reader();
}

/* ---- ISO 15693 -------------------------------------------------------------------------------------------------- */

static void what_comes_back_from_the_vicinity(void **state)
{
    static const struct {
        unsigned status;
        const char *hex;
        enum result result;
        unsigned errors;
    } cases[] = {
        {VIVO_OK, "00000000280011223344", R_SUCCESS, 0},
        {VIVO_OK, "0000000010010F", R_SUCCESS, 0}, /* the card's error is an answer */
        {VIVO_OK, "0000000000", R_NO_CARD, 0},
        {VIVO_OK, "00000000270011223344", R_CARD, RF_CRC}, /* not whole bytes */
        {VIVO_OK, "000000000801", R_CARD, RF_CRC},         /* an error without its code */
        {VIVO_FAILED, "FE00000000", R_CARD, RF_CRC},
        {VIVO_FAILED, "E800000000", R_CARD, RF_COLLISION},
        {VIVO_FAILED, "1200000000", R_CARD, 0},
        {VIVO_TIMEOUT, "E500000000", R_NO_CARD, 0},
        {VIVO_TIMEOUT, "FF00000000", R_NO_CARD, 0},
        {VIVO_TIMEOUT, "", R_NO_CARD, 0},
        {VIVO_FAILED, "", R_CARD, 0},
        {VIVO_UNKNOWN_SUB_COMMAND, "", R_NOT_SUPPORTED, 0},
        {VIVO_TOO_LONG, "", R_SPACE, 0},
        {VIVO_FRAME_TOO_LARGE, "", R_SPACE, 0},
        {VIVO_OK, "000000005000112233445566778899", R_SPACE, 0}, /* more than there is room for */
        {VIVO_SUB_NOT_ALLOWED, "", R_PROTOCOL, 0},
    };
    struct storage_exchange x;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        setup(NULL);
        open_vicinity();
        x = frame(STORAGE_OF_SLOT, "022000");
        x.rx_cap = 8;
        x.timeout_us = i % 2 ? 5000 : 0;
        lay(VIVO_SUB_RAW, cases[i].status, cases[i].hex);
        assert_int_equal(exchange(&x), cases[i].result);
        assert_int_equal(x.rf_errors, cases[i].errors);
        assert_int_equal(rig.lost[0], cases[i].result == R_PROTOCOL);
        if (cases[i].result == R_NO_CARD) {
            lay(VIVO_SUB_RAW, cases[i].status, cases[i].hex);
            x.answer = false;
            assert_int_equal(exchange(&x), R_SUCCESS);
        }
        if (i == 0) {
            v->slot[0].powered = false;
            assert_int_equal(exchange(&x), R_PROTOCOL);
        }
        close_reader();
    }
}

/* The client says who makes the checksum and who checks it. */
static void who_makes_the_crc_of_a_clients_frame(void **state)
{
    static const struct {
        bool tx, rx;
        uint8_t redundancy;
    } cases[] = {{true, true, 0x2C}, {true, false, 0x24}, {false, true, 0x28}, {false, false, 0x00}};

    (void)state;
    open_vicinity();
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct storage_exchange x = frame(STORAGE_OF_SLOT, "022000");

        x.tx_crc = cases[i].tx;
        x.rx_crc = cases[i].rx;
        lay(VIVO_SUB_RAW, VIVO_OK, "00000000280011223344");
        assert_int_equal(exchange(&x), R_SUCCESS);
        assert_int_equal(last()->data[6], cases[i].redundancy);
        assert_int_equal(x.rx_len, 5);
    }
    close_reader();
}

/* The front end's checksum does not fit: the driver makes it, once a read has shown that. */
static void the_driver_makes_the_crc_if_the_front_end_cannot(void **state)
{
    static uint8_t much[VIVO_DATA_MAX];
    struct storage_exchange x;

    (void)state;
    rig_settings.iso15693 = SWITCH_ON;
    open_reader();
    put_card(0x55, "1D9F3759500104E0");
    lay(VIVO_SUB_RAW, VIVO_FAILED, "FE00000000");
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000088000F1D9F3759500104E011001B0301515C");
    power_up();
    assert_true(v->vicinity.crc_known && v->vicinity.driver_crc);
    assert_int_equal(v->vicinity.card.blocks, 28);
    x = frame(STORAGE_OF_SLOT, "022000");
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000018000000"); /* a wrong CRC */
    assert_int_equal(exchange(&x), R_CARD);
    assert_int_equal(last()->data[6], 0x00);
    assert_int_equal(last()->n, 7 + 3 + 2);
    lay(VIVO_SUB_RAW, VIVO_OK, "00000000100078"); /* no room for one */
    assert_int_equal(exchange(&x), R_CARD);
    x.tx_crc = false;
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000018000000");
    assert_int_equal(exchange(&x), R_CARD);
    assert_int_equal(last()->n, 7 + 3);
    x.tx_crc = true;
    x.tx = much;
    x.tx_len = sizeof much - 1;
    assert_int_equal(exchange(&x), R_SPACE);
    close_reader();
}

/* Two cards that speak at once look like a wrong checksum, too: nothing is learnt from that. */
static void a_collision_teaches_nothing_about_the_crc(void **state)
{
    (void)state;
    rig_settings.iso15693 = SWITCH_ON;
    open_reader();
    put_card(0x55, "E004015059379F1D"); /* first byte first: also understood */
    lay(VIVO_SUB_RAW, VIVO_FAILED, "FE00000000");
    lay(VIVO_SUB_RAW, VIVO_FAILED, "E800000000");
    lay(VIVO_SUB_RAW, VIVO_FAILED, "FE00000000");
    lay(VIVO_SUB_RAW, VIVO_FAILED, "E800000000");
    lay(VIVO_SUB_RAW, VIVO_OK, "00000000280011223344"); /* block 0 */
    power_up();
    assert_false(v->vicinity.driver_crc);
    assert_int_equal(v->field.card.uid[7], 0xE0);
    assert_int_equal(v->vicinity.card.blocks, 0);
    close_reader();
}

/* A type that nobody knows is no card, unless its number looks like that of an ISO 15693 card. */
static void who_is_adopted(void **state)
{
    static const struct {
        const char *uid;
        unsigned setting;
        bool card;
    } cases[] = {
        {"1D9F3759500104E0", SWITCH_ON, true},
        {"1D9F3759500104E0", SWITCH_OFF, false},
        {"1D9F3759500104E1", SWITCH_ON, false},
        {"1D9F37595001E0", SWITCH_ON, false},
    };
    struct vivo_card card;

    (void)state;
    open_reader();
    for (size_t i = 0; i < COUNT(cases); i++) {
        rig_settings.iso15693 = cases[i].setting;
        card = (struct vivo_card){.type = 0x55};
        card.uid_len = unhex(cases[i].uid, card.uid);
        assert_int_equal(vivo_vicinity_adopt(v, &card), cases[i].card);
        assert_int_equal(card.type, cases[i].card ? VIVO_TYPE_VICINITY : 0x55);
    }
    close_reader();
}

static enum result poll_vicinity(struct vivo_card *card)
{
    v->vicinity.due = true;
    v->vicinity.asked = -((int64_t)10 * 1000000000);
    return vivo_vicinity_turn(v) ? vivo_vicinity_poll(v, true, card, soon()) : R_NOT_NOW;
}

static void an_inventory_of_the_empty_field(void **state)
{
    struct vivo_card card;

    (void)state;
    rig_settings.iso15693 = SWITCH_AUTO;
    open_reader();
    lay(VIVO_SUB_RAW, VIVO_OK, "000000005000001D9F3759500104E0");
    assert_int_equal(poll_vicinity(&card), R_SUCCESS);
    assert_int_equal(card.type, VIVO_TYPE_VICINITY);
    assert_int_equal(card.uid[7], 0xE0);
    lay(VIVO_SUB_RAW, VIVO_TIMEOUT, "E500000000");
    assert_int_equal(poll_vicinity(&card), R_SUCCESS);
    assert_int_equal(card.type, 0);
    rig_settings.iso15693 = SWITCH_OFF;
    assert_int_equal(poll_vicinity(&card), R_NOT_NOW);
    rig_settings.iso15693 = SWITCH_AUTO;
    v->vicinity.due = true;
    v->vicinity.asked = clock_now(); /* once a second */
    assert_false(vivo_vicinity_turn(v));
    close_reader();
}

/* Two cards answer at once: the search goes on with a longer mask until one is alone. Noise of forty bytes is none. */
static void an_inventory_with_a_collision(void **state)
{
    struct vivo_card card;

    (void)state;
    rig_settings.iso15693 = SWITCH_ON;
    open_reader();
    v->vicinity.crc_known = true;
    lay(VIVO_SUB_RAW, VIVO_FAILED, "E800000000");
    lay(VIVO_SUB_RAW, VIVO_OK,
        "000000014800000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F2021222324252627");
    lay(VIVO_SUB_RAW, VIVO_FAILED, "FE00000000");
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000050000000903759500104E0");
    assert_int_equal(poll_vicinity(&card), R_SUCCESS);
    assert_int_equal(card.type, VIVO_TYPE_VICINITY);
    assert_memory_equal(card.uid, "\x00\x90\x37", 3);
    close_reader();
}

static void a_reader_that_refuses_is_not_asked_for_ever(void **state)
{
    struct vivo_card card;

    (void)state;
    for (int on = 0; on < 2; on++) {
        setup(NULL);
        rig_settings.iso15693 = on ? SWITCH_ON : SWITCH_AUTO;
        open_reader();
        rig_forget();
        for (int i = 0; i < 4; i++)
            (void)poll_vicinity(&card);
        assert_int_equal(rig_count(0x2C, VIVO_SUB_RAW), on ? 4 : 3);
        assert_int_equal(stub_log_matches("refuses raw exchange"), !on);
        close_reader();
    }
}

static void a_quiet_card_is_asked_by_its_block_0(void **state)
{
    struct vivo_card card;

    (void)state;
    open_vicinity();
    v->field.opener = OPEN_BY_RAW;
    v->field.active = false; /* the field was off */
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000010010F");
    assert_int_equal(vivo_vicinity_poll(v, true, &card, soon()), R_SUCCESS);
    assert_int_equal(card.type, VIVO_TYPE_VICINITY);
    assert_int_equal(rig.sent[0].command, VIVO_CMD_ANTENNA);
    assert_int_equal(rig.sent[0].data[0], 1);
    lay(VIVO_SUB_RAW, VIVO_TIMEOUT, "E500000000");
    lay(VIVO_SUB_RAW, VIVO_TIMEOUT, "E500000000");
    assert_int_equal(vivo_vicinity_poll(v, true, &card, soon()), R_SUCCESS);
    assert_int_equal(card.type, 0);
    close_reader();
}

static void a_card_that_says_nothing_at_power_up_is_gone(void **state)
{
    struct atr atr;
    int protocol;

    (void)state;
    open_vicinity();
    for (int i = 0; i < 4; i++)
        lay(VIVO_SUB_RAW, VIVO_TIMEOUT, "E500000000");
    assert_int_equal(r->ops->power_up(r, 0, false, soon(), &atr, &protocol), R_NO_CARD);
    assert_false(rig.present[0]);
    close_reader();
}

static void another_cards_information_is_not_believed(void **state)
{
    struct atr atr;
    int protocol;

    (void)state;
    open_vicinity();
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000078000F009F3759500104E011001B0301"); /* another UID */
    assert_int_equal(r->ops->power_up(r, 0, false, soon(), &atr, &protocol), R_SUCCESS);
    assert_int_equal(v->vicinity.card.blocks, 0);
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000028000F1D9F37"); /* cut */
    assert_int_equal(r->ops->power_up(r, 0, false, soon(), &atr, &protocol), R_SUCCESS);
    assert_int_equal(v->vicinity.card.blocks, 0);
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000010010F"); /* it has no such command */
    assert_int_equal(r->ops->power_up(r, 0, false, soon(), &atr, &protocol), R_SUCCESS);
    assert_true(stub_log_matches("does not tell its size") > 0);
    close_reader();
}

/* One turn of the poller while the card is in session and nobody has worked with it for a while. */
static unsigned idle_turn(void)
{
    unsigned again;

    v->slot[0].session = true;
    v->slot[0].traffic = v->vicinity.checked = -((int64_t)10 * 1000000000);
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    return again;
}

static void a_card_in_session_is_asked_once_a_second(void **state)
{
    unsigned again;

    (void)state;
    open_vicinity();
    lay(VIVO_SUB_RAW, VIVO_OK, "00000000280011223344");
    assert_int_equal(idle_turn(), 1000);
    v->slot[0].traffic = clock_now();
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS); /* a client works */
    assert_in_range(again, 500, 1000);
    v->slot[0].traffic = 0;
    v->vicinity.checked = clock_now();
    assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
    assert_in_range(again, 500, 1000);
    device.slots[0].storage.transparent.open = true;
    assert_int_equal(idle_turn(), 1000);
    assert_int_equal(rig.sent_count, 1);
    device.slots[0].storage.transparent.open = false;
    lay(VIVO_SUB_RAW, VIVO_TIMEOUT, "E500000000");
    lay(VIVO_SUB_RAW, VIVO_FAILED, "E800000000"); /* something spoke */
    assert_int_equal(idle_turn(), 1000);
    for (int i = 0; i < 4; i++)
        lay(VIVO_SUB_RAW, VIVO_TIMEOUT, "E500000000");
    assert_int_equal(idle_turn(), 250);
    assert_true(rig.present[0]);
    (void)idle_turn();
    assert_false(rig.present[0]);
    close_reader();
}

/* ---- what reader and card have agreed on ------------------------------------------------------------------------ */

static void parameters_of_the_protocol(void **state)
{
    struct storage_parameters p;

    (void)state;
    open_card(0x01, "11223344");
    lay(VIVO_SUB_PARAMETERS, VIVO_OK, "010000400301010000200000000180");
    assert_int_equal(r->ops->storage->parameters(r, 0, &p, soon()), R_SUCCESS);
    assert_int_equal(p.reader_frame, 256);
    assert_int_equal(p.card_frame, 64);
    assert_true(p.cid_known);
    assert_int_equal(p.cid, 3);
    assert_int_equal(p.waiting_time, 0x2000);
    lay(VIVO_SUB_PARAMETERS, VIVO_OK, "0100");
    assert_int_equal(r->ops->storage->parameters(r, 0, &p, soon()), R_NOT_SUPPORTED);
    lay(VIVO_SUB_PARAMETERS, VIVO_FAILED, "");
    assert_int_equal(r->ops->storage->parameters(r, 0, &p, soon()), R_NOT_SUPPORTED);
    lay(VIVO_SUB_PARAMETERS, VIVO_TIMEOUT, "");
    assert_int_equal(r->ops->storage->parameters(r, 0, &p, soon()), R_NOT_SUPPORTED);
    lay(VIVO_SUB_PARAMETERS, 0x70, "");
    assert_int_equal(r->ops->storage->parameters(r, 0, &p, soon()), R_COMM);
    assert_int_equal(p.waiting_time, 0);
    close_reader();
}

/* ---- selection -------------------------------------------------------------------------------------------------- */

static enum result reselect(void)
{
    return r->ops->storage->reselect(r, 0, soon());
}

static void selecting_again_finds_the_same_card(void **state)
{
    int64_t before;

    (void)state;
    open_mifare();
    before = v->field.seen;
    assert_int_equal(reselect(), R_SUCCESS);
    assert_true(v->field.seen > before); /* all authentications are forgotten */
    lay(VIVO_SUB_POLL_ATS, VIVO_TIMEOUT, ""); /* mute until it loses its power */
    lay(VIVO_SUB_POLL_ATS, VIVO_OK, "0301020304");
    rig_forget();
    assert_int_equal(reselect(), R_SUCCESS);
    assert_int_equal(rig_count(VIVO_CMD_ANTENNA, 0x01), 1);
    assert_int_equal(rig.lost[0], 0);
    close_reader();
}

static void selecting_again_may_find_that_it_is_gone(void **state)
{
    (void)state;
    open_mifare();
    lay(VIVO_SUB_POLL_ATS, VIVO_TIMEOUT, "");
    lay(VIVO_SUB_POLL_ATS, VIVO_TIMEOUT, "");
    assert_int_equal(reselect(), R_NO_CARD);
    assert_false(rig.present[0]);
    assert_int_equal(reselect(), R_NO_CARD); /* nothing is asked any more */
    close_reader();
    setup(NULL);
    open_mifare();
    lay(VIVO_SUB_POLL_ATS, VIVO_OK, "0301020305");
    assert_int_equal(reselect(), R_NO_CARD);
    assert_false(rig.present[0]);
    assert_true(stub_log_matches("another card is in the field") > 0);
    close_reader();
    setup(NULL);
    open_card(0x03, "08020304"); /* random: may be the same or not */
    lay(VIVO_SUB_POLL_ATS, VIVO_OK, "0308112233");
    assert_int_equal(reselect(), R_NO_CARD);
    assert_int_equal(rig.lost[0], 1);
    close_reader();
    setup(NULL);
    open_mifare();
    lay(VIVO_SUB_POLL_ATS, VIVO_UNKNOWN_SUB_COMMAND, ""); /* the poll that opened it serves no more */
    assert_int_equal(reselect(), R_NO_CARD);
    close_reader();
    setup(NULL);
    open_mifare();
    lay(VIVO_SUB_POLL_ATS, 0x70, "");
    assert_int_equal(reselect(), R_COMM);
    v->field.present = false;
    assert_int_equal(reselect(), R_NO_CARD);
    close_reader();
}

static enum result select_card(enum storage_protocol protocol, unsigned layer, uint8_t *sak)
{
    return r->ops->storage->select(r, 0, protocol, layer, sak, soon());
}

static void selecting_by_hand(void **state)
{
    uint8_t sak = 9;

    (void)state;
    open_mifare();
    v->field.sak_known = true;
    v->field.sak = 0x08;
    assert_int_equal(select_card(STORAGE_ISO14443A, 2, &sak), R_SUCCESS);
    assert_int_equal(rig.sent_count, 0); /* nothing to be selected */
    assert_int_equal(sak, 0);
    assert_int_equal(select_card(STORAGE_ISO14443A, 3, &sak), R_SUCCESS);
    assert_int_equal(last()->sub, VIVO_SUB_POLL);
    assert_int_equal(sak, 0x08);
    assert_int_equal(select_card(STORAGE_ISO14443A, 4, &sak), R_SUCCESS);
    assert_int_equal(last()->sub, VIVO_SUB_ENHANCED_POLL);
    assert_int_equal(sak, 0);
    assert_int_equal(select_card(STORAGE_ISO14443B, 3, &sak), R_CARD); /* it is of type A */
    lay(VIVO_SUB_NFC, VIVO_OK, "0301020304");
    assert_int_equal(select_card(STORAGE_ISO18092, 3, &sak), R_CARD);
    lay(VIVO_SUB_NFC, 0x70, "");
    assert_int_equal(select_card(STORAGE_ISO18092, 3, &sak), R_COMM);
    lay(VIVO_SUB_POLL, VIVO_TIMEOUT, "");
    assert_int_equal(select_card(STORAGE_ISO14443A, 3, &sak), R_CARD);
    assert_int_equal(select_card(STORAGE_ISO15693, 2, &sak), R_SUCCESS);
    assert_int_equal(select_card(STORAGE_ISO15693, 3, &sak), R_CARD);
    assert_int_equal(rig.lost[0], 0);
    lay(VIVO_SUB_POLL, VIVO_OK, "0301020305"); /* not the slot's card: its session is over */
    assert_int_equal(select_card(STORAGE_ISO14443A, 3, &sak), R_PROTOCOL);
    assert_false(rig.present[0]);
    close_reader();
    setup(NULL);
    open_vicinity();
    assert_int_equal(select_card(STORAGE_ISO15693, 3, &sak), R_SUCCESS);
    assert_int_equal(rig.sent_count, 0);
    close_reader();
}

/* A card of type B that has no APDUs. */
static void a_storage_card_of_type_b(void **state)
{
    struct storage_exchange x;
    uint8_t sak;

    (void)state;
    open_card(0x06, "11223344");
    x = frame(STORAGE_OF_SLOT, "0600");
    lay(VIVO_SUB_RAW, VIVO_OK, "0000000010AABB");
    assert_int_equal(exchange(&x), R_SUCCESS);
    expect_sent(VIVO_SUB_RAW, "1E00002968012C0600");
    assert_int_equal(select_card(STORAGE_ISO14443B, 3, &sak), R_SUCCESS);
    assert_int_equal(select_card(STORAGE_ISO14443A, 3, &sak), R_CARD);
    close_reader();
}

/* A SAK names a card only where the reader's type says no more than "MIFARE". */
static void a_sak_says_nothing_of_a_card_of_both_kinds(void **state)
{
    static const uint8_t saks[] = {0x18, 0x09, 0x38};
    struct storage_facts f;

    (void)state;
    rig_settings.prefer = PREFER_MIFARE;
    open_card(0x07, "01020304");
    assert_int_equal(r->ops->storage->facts(r, 0, &f), R_SUCCESS);
    unsigned nn = f.nn;
    v->field.sak_known = true;
    for (size_t i = 0; i < sizeof saks; i++) {
        v->field.sak = saks[i];
        assert_int_equal(r->ops->storage->facts(r, 0, &f), R_SUCCESS);
        assert_int_equal(f.nn, nn);
    }
    v->field.card.type = 0x77; /* no type that is known */
    assert_int_equal(r->ops->storage->facts(r, 0, &f), R_NO_CARD);
    close_reader();
}

/* The question for presence is answered by something else: the card is there, the line is out of step. */
static void odd_answers_to_the_question_for_presence(void **state)
{
    static const char *const answers[] = {"0102", "", ENCRYPTED};
    struct storage_session *s = &device.slots[0].storage;
    unsigned again;

    (void)state;
    for (size_t i = 0; i < COUNT(answers); i++) {
        setup(NULL);
        open_mifare();
        v->slot[0].session = s->auth.valid = true;
        s->auth.sector = 1;
        s->auth.selection = v->field.seen;
        v->slot[0].traffic = v->field.trailer_at = -((int64_t)10 * 1000000000);
        lay(0x07, VIVO_OK, answers[i]);
        assert_int_equal(poller_turn(r, 0, &again), R_SUCCESS);
        assert_true(rig.present[0]);
        assert_int_equal(v->in_sync, i == 2);
        assert_int_equal(v->field.trailer_misses, 0);
        close_reader();
    }
}

/* ---- lamps ------------------------------------------------------------------------------------------------------ */

static uint8_t lamp_status;

static bool lamps(const struct rig_sent *q)
{
    if (q->command != 0x0A && q->command != 0x0B)
        return false;
    rig_say(q->command, lamp_status, "");
    return true;
}

static void lamps_and_beeps(void **state)
{
    static const struct {
        struct storage_signal signal;
        uint8_t lamp;
        bool sent;
    } cases[] = {{{1, 1, 0}, 4, true},  {{1, 0, 0}, 3, true},  {{0, 1, 0}, 2, true}, {{0, 0, 0}, 0, true},
                 {{-1, 1, 0}, 2, true}, {{1, -1, 0}, 3, true}, {{-1, -1, 2}, 0, false}};
    static const struct {
        uint8_t status;
        enum result result;
    } refusals[] = {{0x05, R_NOT_SUPPORTED}, {0x06, R_NOT_SUPPORTED}, {0x03, R_NOT_SUPPORTED}, {0x0A, R_CARD}};

    (void)state;
    open_reader();
    rig.handler = lamps;
    for (size_t i = 0; i < COUNT(cases); i++) {
        rig_forget();
        lamp_status = VIVO_OK;
        assert_int_equal(r->ops->storage->indicate(r, &cases[i].signal, soon()), R_SUCCESS);
        assert_int_equal(rig_count(0x0A, 0x02), cases[i].sent);
        if (cases[i].sent)
            assert_int_equal(rig.sent[0].data[1], cases[i].lamp);
        assert_int_equal(rig_count(0x0B, 0x01), cases[i].signal.beeps > 0);
    }
    for (size_t i = 0; i < COUNT(refusals); i++) {
        static const struct storage_signal both = {1, 0, 1};

        rig_forget();
        lamp_status = refusals[i].status;
        assert_int_equal(r->ops->storage->indicate(r, &both, soon()), refusals[i].result);
        assert_int_equal(rig.sent_count, 1); /* no beep after a refusal */
    }
    rig.hang_up = true;
    assert_int_equal(r->ops->storage->indicate(r, &cases[0].signal, soon()), R_TIMEOUT);
    close_reader();
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        CASE(each_status_has_its_result),
        CASE(a_lost_session_sends_nothing),
        CASE(a_silent_reader_is_no_answer_of_the_card),
        CASE(a_copy_that_came_since_is_not_the_next_answer),
        CASE(a_copy_behind_a_stray_report_is_not_the_next_answer),
        CASE(a_restart_that_was_told_since_sends_nothing),
        CASE(an_answer_that_is_not_its_own_is_asked_for_again),
        CASE(encrypted_data_is_no_data),
        CASE(a_write_is_answered_without_data),
        CASE(a_trailer_is_read_alone),
        CASE(the_pages_of_an_ultralight),
        CASE(what_cannot_be_is_not_sent),
        CASE(a_key_is_proved_by_the_trailer),
        CASE(facts_by_sak),
        CASE(a_probe_that_fails_harms_nobody),
        CASE(a_probe_does_not_go_on_for_ever),
        CASE(what_is_known_of_each_kind),
        CASE(a_value_operation_is_one_command),
        CASE(a_purse_command_tells_where_it_failed),
        CASE(a_raw_frame_goes_out_as_it_was_asked_for),
        CASE(what_the_front_end_says_of_an_answer),
        CASE(a_raw_frame_that_cannot_go_out),
        CASE(felica_frames_with_and_without_their_length),
        CASE(an_apdu_as_a_frame),
        CASE(what_comes_back_from_the_vicinity),
        CASE(who_makes_the_crc_of_a_clients_frame),
        CASE(the_driver_makes_the_crc_if_the_front_end_cannot),
        CASE(a_collision_teaches_nothing_about_the_crc),
        CASE(who_is_adopted),
        CASE(an_inventory_of_the_empty_field),
        CASE(an_inventory_with_a_collision),
        CASE(a_reader_that_refuses_is_not_asked_for_ever),
        CASE(a_quiet_card_is_asked_by_its_block_0),
        CASE(a_card_that_says_nothing_at_power_up_is_gone),
        CASE(another_cards_information_is_not_believed),
        CASE(a_card_in_session_is_asked_once_a_second),
        CASE(parameters_of_the_protocol),
        CASE(selecting_again_finds_the_same_card),
        CASE(selecting_again_may_find_that_it_is_gone),
        CASE(selecting_by_hand),
        CASE(a_storage_card_of_type_b),
        CASE(a_sak_says_nothing_of_a_card_of_both_kinds),
        CASE(odd_answers_to_the_question_for_presence),
        CASE(lamps_and_beeps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
