/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Class FF, with every call that it makes of a family failing in turn: each command is carried out once without a
 * fault; then again with its first, second ... call ending in each result that reader/storage.h allows, carried out by
 * the card or not; then the same with a call behind that one failing, too. What has to hold is the same for all:
 *
 *   - the call ends with a status word, or with a result that ends the client's call
 *   - what changes the card is sent once
 *   - an answer that says "done" is the one that comes without a fault, and the card holds what it holds then
 *   - money that was changed is never denied: it is done, or not confirmed, or the client's call fails
 *   - where money was moved and nothing is certain the log says so
 *   - a card that keeps its session can be worked with afterwards
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fake_card.h"
#include "fake_device.h"
#include "pseudo/pseudo.h"
#include "stub_log.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define SIXTEEN "000102030405060708090A0B0C0D0E0F"
#define START "FF C2 00 00 02 81 00 00"

enum { CALLS_MAX = 40, ROOM = 2000 };

enum kind {
    PLAIN,   /* the status word is at the end */
    MONEY,   /* and what it changes is money */
    OBJECTS, /* a session: status words are in the data */
    REFUSAL  /* is refused without a fault, too */
};

static const struct command {
    const char *before; /* a session is opened */
    const char *text;
    enum kind kind;
} on_mifare[] = {
    {NULL, "FF B0 00 04 10", PLAIN},
    {NULL, "FF B0 00 04 30", PLAIN},
    {NULL, "FF 86 00 00 05 01 00 04 60 00", PLAIN},
    {NULL, "FF 86 00 00 05 01 00 08 61 00", PLAIN},
    {NULL, "FF D6 00 06 10 " SIXTEEN, PLAIN},
    {NULL, "FF D6 00 05 20 " SIXTEEN SIXTEEN, PLAIN},
    {NULL, "FF D6 00 07 10 A0A1A2A3A4A5 FF078069 B0B1B2B3B4B5", PLAIN},
    {NULL, "FF D6 00 07 10 FFFFFFFFFFFF 787788C1 B0B1B2B3B4B5", PLAIN},
    {NULL, "FF B1 00 04 04", PLAIN},
    {NULL, "FF D7 00 04 05 00 00 00 00 07", MONEY},
    {NULL, "FF D7 00 04 05 01 00 00 00 01", MONEY},
    {NULL, "FF D8 00 04 04 01 00 00 00", MONEY},
    {NULL, "FF F5 C0 04 05 01 00 00 00 05", MONEY},
    {NULL, "FF D7 00 04 02 03 05", MONEY},
    {NULL, "FF F5 2C 0A 0A 32 04 04 01 00 00 00 06 01 04", PLAIN},
    {NULL, "FF FE 01 05 02 30 04 00", PLAIN},
    {NULL, "FF 00 40 0F 04 01 01 03 01", PLAIN},
    {NULL, "FF C2 00 03 0B A0 09 80 01 04 81 04 01 00 00 00", OBJECTS},
    {NULL, START, OBJECTS},
    {START, "FF C2 00 00 0D 81 00 83 00 5F 46 04 10 27 00 00 84 00 00", OBJECTS},
    {START, "FF C2 00 00 04 83 00 84 00 00", OBJECTS},
    {START, "FF C2 00 00 04 83 00 82 00 00", OBJECTS},
    {START, "FF C2 00 01 04 95 02 30 04 00", OBJECTS},
    {START, "FF C2 00 01 08 93 02 50 00 95 02 30 04 00", OBJECTS},
    {START, "FF C2 00 02 04 8F 02 00 03 00", OBJECTS},
    {START, "FF C2 00 01 0B FF 6D 08 01 00 02 00 03 00 08 00 00", OBJECTS},
    {START, "FF C2 00 01 06 93 02 50 00 82 00 00", OBJECTS},
};

static const struct command on_a_tag[] = {
    {NULL, "FF B0 00 04 10", PLAIN},
    {NULL, "FF B0 00 2F 10", PLAIN},   /* across the end */
    {NULL, "FF B0 00 60 10", REFUSAL}, /* behind it: the end is looked for */
    {NULL, "FF D6 00 05 04 01020304", PLAIN},
    {NULL, "FF D6 00 05 10 " SIXTEEN, PLAIN},
};

static const enum result results[] = {R_TIMEOUT, R_COMM,     R_NO_CARD, R_GONE,          R_CANCELLED, R_CARD,
                                      R_SPACE,   R_PROTOCOL, R_INVALID, R_NOT_SUPPORTED, R_DENIED};
static const enum result seconds[] = {R_TIMEOUT, R_NO_CARD, R_GONE, R_CARD, R_PROTOCOL, R_NOT_SUPPORTED};

static struct slot *slot;
static struct storage_ops real;
static uint8_t response[ROOM];
static size_t received;

/* ---- calls that fail -------------------------------------------------------------------------------------------- */

static struct {
    unsigned calls, changes;
    int first, second; /* the numbers of the calls that fail; -1: none */
    enum result result, then;
    bool runs, then_runs;
} plan;

static enum result turn(bool *run)
{
    int number = (int)plan.calls++;
    enum result r = number == plan.first ? plan.result : number == plan.second ? plan.then : R_SUCCESS;

    *run = r == R_SUCCESS || (number == plan.first ? plan.runs : plan.then_runs);
    return r;
}

/* What a call comes to: the card that refused or fell silent hears nothing but a selection. */
static enum result outcome(enum result wanted, enum result is)
{
    if (wanted == R_SUCCESS)
        return is;
    card.silent |= wanted == R_CARD || wanted == R_NO_CARD;
    return wanted;
}

#define FAILING(call)                                                                                                  \
    bool run;                                                                                                          \
    enum result wanted = turn(&run), is = run ? (call) : R_SUCCESS;                                                    \
    return outcome(wanted, is)

static enum result f_authenticate(struct reader *r, unsigned s, unsigned block, uint8_t type,
                                  const uint8_t key[STORAGE_KEY_SIZE], uint8_t access[3], deadline_t until)
{
    FAILING(real.authenticate(r, s, block, type, key, access, until));
}

static enum result f_read(struct reader *r, unsigned s, unsigned first, unsigned count, uint8_t *out, deadline_t until)
{
    FAILING(real.read(r, s, first, count, out, until));
}

static enum result f_write(struct reader *r, unsigned s, unsigned first, unsigned count, const uint8_t *data,
                           deadline_t until)
{
    plan.changes++;
    FAILING(real.write(r, s, first, count, data, until));
}

static enum result f_value(struct reader *r, unsigned s, const struct storage_value *v, deadline_t until)
{
    plan.changes++;
    FAILING(real.value(r, s, v, until));
}

static enum result f_purse(struct reader *r, unsigned s, const uint8_t *data, size_t n, uint8_t error[2], size_t *len,
                           deadline_t until)
{
    *len = 0;
    plan.changes++;
    FAILING(real.purse(r, s, data, n, error, len, until));
}

static enum result f_exchange(struct reader *r, unsigned s, struct storage_exchange *x, deadline_t until)
{
    bool run;
    enum result wanted = turn(&run), is;

    x->rx_len = 0;
    is = run ? real.exchange(r, s, x, until) : R_SUCCESS;
    return wanted != R_SUCCESS ? wanted : is; /* what a client's own frame makes of the card is the client's affair */
}

static enum result f_parameters(struct reader *r, unsigned s, struct storage_parameters *p, deadline_t until)
{
    FAILING(real.parameters(r, s, p, until));
}

static enum result f_field(struct reader *r, unsigned s, bool on, deadline_t until)
{
    FAILING(real.field(r, s, on, until));
}

static enum result f_select(struct reader *r, unsigned s, enum storage_protocol protocol, unsigned layer, uint8_t *sak,
                            deadline_t until)
{
    FAILING(real.select(r, s, protocol, layer, sak, until));
}

/* A family that has no such thing has cards that need none. */
static enum result f_reselect(struct reader *r, unsigned s, deadline_t until)
{
    bool run;
    enum result wanted = turn(&run), is = run || wanted == R_NOT_SUPPORTED ? real.reselect(r, s, until) : R_SUCCESS;

    return outcome(wanted, is);
}

static enum result f_indicate(struct reader *r, const struct storage_signal *s, deadline_t until)
{
    bool run;
    enum result wanted = turn(&run), is = run ? real.indicate(r, s, until) : R_SUCCESS;

    return wanted != R_SUCCESS ? wanted : is; /* no card hears of that */
}

/* ---- one run ---------------------------------------------------------------------------------------------------- */

static enum result send(const char *text)
{
    uint8_t command[300];
    size_t n = 0;

    for (; *text; text++) {
        if (*text == ' ')
            continue;
        command[n++] = (uint8_t)strtoul((const char[]){text[0], text[1], 0}, NULL, 16);
        text++;
    }
    return pseudo_transmit(slot, command, n, response, sizeof response, &received);
}

static unsigned status_word(void)
{
    return received < 2 ? 0 : (unsigned)response[received - 2] << 8 | response[received - 1];
}

static bool works(const char *text)
{
    return send(text) == R_SUCCESS && status_word() == 0x9000;
}

static void new_card(bool tag)
{
    static const uint8_t value[] = {0xE8, 3, 0, 0, 0x17, 0xFC, 0xFF, 0xFF, 0xE8, 3, 0, 0, 4, 0xFB, 4, 0xFB};

    if (tag)
        fake_tag(48);
    else
        fake_mifare(64);
    memcpy(card.block[4], value, sizeof value);
    memset(card.block[6], 0x66, 16);
    card.parameters = (struct storage_parameters){256, 64, 513, true, 3};
    card.answer_len = 16;
    real = fake_storage;
    fake_storage.authenticate = f_authenticate;
    fake_storage.read = f_read;
    fake_storage.write = f_write;
    fake_storage.value = f_value;
    fake_storage.purse = f_purse;
    fake_storage.exchange = f_exchange;
    fake_storage.parameters = f_parameters;
    fake_storage.field = f_field;
    fake_storage.select = f_select;
    fake_storage.reselect = f_reselect;
    fake_storage.indicate = f_indicate;
    fake.status = (struct slot_status){.present = true, .powered = true};
    fake.lost = 0;
    memset(&slot->storage, 0, sizeof slot->storage);
    plan.first = plan.second = -1;
    if (!tag && (!works("FF 82 00 00 06 FFFFFFFFFFFF") || !works("FF 86 00 00 05 01 00 04 60 00")))
        fail_msg("no fresh card");
}

/* What there is without a fault. */
static struct {
    uint8_t response[ROOM];
    size_t received;
    uint8_t block[256][16], page[256][4];
    unsigned calls, changes;
} well;

static void run_well(const struct command *c, bool tag)
{
    new_card(tag);
    if (c->before)
        assert_true(works(c->before));
    plan.calls = plan.changes = 0;
    assert_int_equal(send(c->text), R_SUCCESS);
    assert_true(c->kind == REFUSAL || c->before || status_word() == 0x9000 || status_word() == 0x6282);
    well.received = received;
    memcpy(well.response, response, received);
    memcpy(well.block, card.block, sizeof well.block);
    memcpy(well.page, card.page, sizeof well.page);
    well.calls = plan.calls;
    well.changes = plan.changes;
    assert_true(well.calls < CALLS_MAX);
}

static void wrong(const struct command *c, const char *what, enum result r)
{
    fail_msg("%s; call %d %s, %s, call %d %s, %s: %s, %04X: %s", c->text, plan.first, result_name(plan.result),
             plan.runs ? "carried out" : "not carried out", plan.second,
             plan.second < 0 ? "well" : result_name(plan.then), plan.then_runs ? "carried out" : "not carried out",
             result_name(r), status_word(), what);
}

static bool memory_is_as_it_should(void)
{
    return memcmp(well.block, card.block, sizeof well.block) == 0 &&
           memcmp(well.page, card.page, sizeof well.page) == 0;
}

static bool says_all_is_well(const struct command *c)
{
    if (c->kind == OBJECTS)
        return received == well.received && memcmp(response, well.response, received) == 0;
    return c->kind != REFUSAL && status_word() == (unsigned)(well.response[well.received - 2] << 8 |
                                                             well.response[well.received - 1]);
}

static void judge_answer(const struct command *c, bool moved)
{
    if (received < 2)
        wrong(c, "no status word", R_SUCCESS);
    if (says_all_is_well(c) && (received != well.received || memcmp(response, well.response, received) != 0))
        wrong(c, "done, and another answer than without a fault", R_SUCCESS);
    if (says_all_is_well(c) && !memory_is_as_it_should())
        wrong(c, "done, and the card does not hold it", R_SUCCESS);
    if (c->kind == MONEY && moved && status_word() != 0x9000 && status_word() != 0x6581)
        wrong(c, "money was moved and that is denied", R_SUCCESS);
    if (c->kind == MONEY && moved && status_word() == 0x6581 && stub_log_matches("outcome unknown") == 0)
        wrong(c, "moved, not confirmed, and the log says nothing", R_SUCCESS);
}

static void judge(const struct command *c, enum result r, bool tag)
{
    bool moved = memcmp(well.block, card.block, sizeof well.block) == 0;
    int first = plan.first, second = plan.second;
    bool worked;

    if (plan.changes > well.changes)
        wrong(c, "sent more than once", r);
    if (r == R_SUCCESS)
        judge_answer(c, moved);
    else if (r != R_NO_CARD && r != R_TIMEOUT && r != R_COMM && r != R_GONE && r != R_CANCELLED)
        wrong(c, "no result of a client's call", r);
    if (r != R_SUCCESS || c->kind == OBJECTS || c->before || fake.lost > 0)
        return;
    plan.first = plan.second = -1;
    worked = send(tag ? "FF B0 00 04 10" : "FF 86 00 00 05 01 00 04 60 00") == R_SUCCESS; /* (or 63 00: a new key) */
    if (plan.result != R_CARD || second >= 0) /* it may have fallen silent unseen */
        worked |= fake.lost > 0;
    plan.first = first;
    plan.second = second;
    if (!worked)
        wrong(c, "the card cannot be worked with afterwards", r);
}

static void run(const struct command *c, bool tag)
{
    int first = plan.first, second = plan.second;

    new_card(tag);
    if (c->before && !works(c->before))
        fail_msg("no session");
    log_done(&slot->device->log); /* its lines are counted; each case may say what it has to */
    log_init(&slot->device->log, PLOG_CRITICAL | PLOG_INFO, "fake");
    stub_log_clear();
    plan.first = first;
    plan.second = second;
    plan.calls = plan.changes = 0;
    judge(c, send(c->text), tag);
    plan.first = first;
}

static void sweep(const struct command *c, bool tag)
{
    run_well(c, tag);
    for (int call = 0; call < (int)well.calls; call++) {
        for (size_t i = 0; i < 2 * LEN(results); i++) {
            plan.first = call;
            plan.second = -1;
            plan.result = results[i / 2];
            plan.runs = i % 2;
            run(c, tag);
            for (size_t k = 0; k < 2 * LEN(seconds); k++) {
                plan.first = call;
                plan.second = call + 1;
                plan.then = seconds[k / 2];
                plan.then_runs = k % 2;
                run(c, tag);
                plan.first = call;
                plan.second = call + 2;
                run(c, tag);
            }
        }
    }
}

static int setup(void **state)
{
    (void)state;
    fake_reset();
    fake.storage = &fake_storage;
    stub_log_clear();
    slot = fake_slot();
    return 0;
}

static void every_call_to_a_mifare_card(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(on_mifare); i++)
        sweep(&on_mifare[i], false);
}

static void every_call_to_a_tag(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(on_a_tag); i++)
        sweep(&on_a_tag[i], true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_call_to_a_mifare_card, setup),
        cmocka_unit_test_setup(every_call_to_a_tag, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
