/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The AET63 reader model by itself: the vectors of the protocol description through its codec, then whole sessions
 * through the model, behind a front that only keeps packets. Time is virtual: timers run when a test says how much
 * time passes, so nothing here waits, except for the sockets of the vpcd card, which have a deadline.
 *
 * The model is what the driver's tests are measured against, so it has to be right on its own: nothing of the driver
 * is used here, and checksums in commands are computed by three lines of this file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "aet63_frame.h"
#include "sim.h"
#include "sim_cards.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* ---- a front that keeps packets, and virtual time --------------------------------------------------------- */

struct packet {
    enum sim_pipe pipe;
    size_t n;
    uint8_t data[64];
};

static struct {
    struct packet packets[20000];
    size_t first, end;
    unsigned stalls;
    enum sim_pipe stalled;
} wire;

static struct {
    unsigned long now;
    unsigned next_id;
    struct {
        unsigned id;
        unsigned long due;
        sim_timer_fn fn;
        void *arg;
    } list[32];
    size_t n;
} timers;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t sent = PTHREAD_COND_INITIALIZER;

void sim_lock(void)
{
    pthread_mutex_lock(&lock);
}

void sim_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

void sim_send(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n)
{
    (void)r;
    assert_true(n <= sizeof wire.packets[0].data && wire.end < LEN(wire.packets));
    struct packet *p = &wire.packets[wire.end++];
    p->pipe = pipe;
    p->n = n;
    memcpy(p->data, data, n);
    pthread_cond_broadcast(&sent);
}

void sim_stall(struct sim_reader *r, enum sim_pipe pipe)
{
    (void)r;
    wire.stalls++;
    wire.stalled = pipe;
}

unsigned sim_timer_add(unsigned ms, sim_timer_fn fn, void *arg)
{
    assert_true(timers.n < LEN(timers.list));
    timers.list[timers.n].id = ++timers.next_id;
    timers.list[timers.n].due = timers.now + ms;
    timers.list[timers.n].fn = fn;
    timers.list[timers.n].arg = arg;
    timers.n++;
    pthread_cond_broadcast(&sent);
    return timers.next_id;
}

void sim_timer_cancel(unsigned id)
{
    for (size_t i = 0; i < timers.n; i++)
        if (timers.list[i].id == id) {
            memmove(&timers.list[i], &timers.list[i + 1], (--timers.n - i) * sizeof timers.list[0]);
            return;
        }
}

void sim_log(struct sim_reader *r, const char *fmt, ...)
{
    (void)r;
    (void)fmt;
}

/* Lets ms milliseconds pass. */
static void pass(unsigned ms)
{
    unsigned long until = timers.now + ms;

    for (;;) {
        size_t best = timers.n;
        for (size_t i = 0; i < timers.n; i++)
            if (timers.list[i].due <= until && (best == timers.n || timers.list[i].due < timers.list[best].due))
                best = i;
        if (best == timers.n)
            break;
        sim_timer_fn fn = timers.list[best].fn;
        void *arg = timers.list[best].arg;
        timers.now = timers.list[best].due;
        memmove(&timers.list[best], &timers.list[best + 1], (--timers.n - best) * sizeof timers.list[0]);
        fn(arg);
    }
    timers.now = until;
}

/* ---- the host's end --------------------------------------------------------------------------------------- */

static struct sim_model *m;
static uint8_t raw[AET63S_RAW_MAX]; /* the last message received */
static size_t raw_n;

static size_t unhex(const char *text, uint8_t *out, size_t max)
{
    long n = sim_hex(text, out, max);
    assert_true(n >= 0);
    return (size_t)n;
}

static bool to_reader(const uint8_t *data, size_t n)
{
    uint8_t setup[8] = {0x40, 0, 0, 0, 0, 0, (uint8_t)n, (uint8_t)(n >> 8)};
    return sim_aet63.receive(m, SIM_PIPE_CONTROL, setup, data, n);
}

/* Sends a raw message, given in hex with its checksum. */
static void send_raw(const char *hex)
{
    static uint8_t bytes[1024], frame[2050];
    size_t n = unhex(hex, bytes, sizeof bytes);

    assert_true(to_reader(frame, aet63s_frame(frame, bytes, n, false)));
}

static size_t make_command(uint8_t *out, uint8_t ins, const uint8_t *data, size_t n)
{
    size_t at = 0;

    out[at++] = 0x01;
    out[at++] = ins;
    if (n >= 255) {
        out[at++] = 0xFF;
        out[at++] = (uint8_t)(n >> 8);
    }
    out[at++] = (uint8_t)n;
    memcpy(out + at, data, n);
    at += n;
    out[at] = 0;
    for (size_t i = 0; i < at; i++)
        out[at] = (uint8_t)(out[at] ^ out[i]);
    return at + 1;
}

static void command_bytes(uint8_t ins, const uint8_t *data, size_t n)
{
    static uint8_t bytes[1024], frame[2050];
    size_t k = make_command(bytes, ins, data, n);

    assert_true(to_reader(frame, aet63s_frame(frame, bytes, k, false)));
}

static void command(uint8_t ins, const char *hex)
{
    uint8_t data[600];
    command_bytes(ins, data, unhex(hex, data, sizeof data));
}

/* Reads packets until a message ends; what follows it in its packet is dropped. NAK is the message 05 05. */
static bool receive_message(void)
{
    static struct aet63s_rx rx;

    aet63s_rx_reset(&rx);
    raw_n = 0;
    while (wire.first < wire.end) {
        const struct packet *p = &wire.packets[wire.first++];
        for (size_t i = 0; i < p->n; i++) {
            enum aet63s_event e = aet63s_rx_byte(&rx, p->data[i]);
            if (e == AET63S_NOTHING)
                continue;
            raw_n = e == AET63S_BAD ? 0 : rx.n;
            memcpy(raw, rx.raw, raw_n);
            if (e == AET63S_NAK) {
                raw_n = 2;
                raw[0] = raw[1] = 0x05;
            }
            return true;
        }
    }
    return false;
}

static void expect(const char *hex)
{
    uint8_t want[600];
    size_t n = unhex(hex, want, sizeof want);

    assert_true(receive_message());
    assert_int_equal(raw_n, n);
    assert_memory_equal(raw, want, n);
}

static void expect_nothing(void)
{
    assert_int_equal(wire.first, wire.end);
}

/* The next message is a sound answer with this SW1 SW2 and data. */
static void expect_answer(unsigned sw, const char *hex)
{
    uint8_t want[600];
    size_t n = unhex(hex, want, sizeof want);
    struct aet63s_msg msg;

    assert_true(receive_message());
    assert_true(aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg));
    assert_int_equal(msg.code[0] << 8 | msg.code[1], sw);
    assert_int_equal(msg.n, n);
    assert_memory_equal(msg.data, want, n);
}

static char reply[4096];

/* A control verb; its reply line is kept. */
static bool verb(const char *name, const char *args)
{
    FILE *f = fmemopen(reply, sizeof reply, "w");

    assert_non_null(f);
    bool good = sim_aet63.control(m, name, args, f);
    fclose(f);
    assert_null(strchr(reply, '\n'));
    return good;
}

static unsigned long counted(const char *key)
{
    char pattern[40];

    assert_true(verb("count", ""));
    snprintf(pattern, sizeof pattern, " %s=", key);
    if (strncmp(reply, pattern + 1, strlen(pattern + 1)) == 0)
        return strtoul(reply + strlen(pattern + 1), NULL, 10);
    char *p = strstr(reply, pattern);
    return p == NULL ? 0 : strtoul(p + strlen(pattern), NULL, 10);
}

#define RESET_MESSAGE "01 FF 00 01 12 ED"
#define INSERTED      "01 FF 01 00 FF"
#define REMOVED       "01 FF 02 00 FC"
#define NAK           "05 05"
#define OK            "01 90 00 00 91"
#define STAT          "01 01 00 00"
#define STAT_EMPTY    "01 90 00 10 41 45 54 36 33 2D 30 2E 36 37 FF FF 30 00 00 00 D6"
#define STAT_IN       "01 90 00 10 41 45 54 36 33 2D 30 2E 36 37 FF FF 30 00 00 01 D7"

/* A reader just plugged, its reset message read, with a card in and its event read. */
static void plug(const char *options, const char *card)
{
    wire.first = wire.end = wire.stalls = 0;
    m = sim_aet63.create(NULL, options);
    assert_non_null(m);
    sim_aet63.power(m, true);
    expect(RESET_MESSAGE);
    if (card != NULL) {
        assert_true(verb("insert", card));
        expect(INSERTED);
    }
}

static void plug_and_power(const char *options, const char *card, unsigned sw)
{
    struct aet63s_msg msg;

    plug(options, card);
    command(0x80, "");
    assert_true(receive_message());
    assert_true(aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg));
    assert_int_equal(msg.code[0] << 8 | msg.code[1], sw);
}

static bool holding; /* this thread has the lock: a test that failed must not take it along */

static void hold(void)
{
    sim_lock();
    holding = true;
}

static void let_go(void)
{
    holding = false;
    sim_unlock();
}

static int unplug(void **state)
{
    (void)state;
    if (holding)
        let_go();
    if (m != NULL)
        sim_aet63.destroy(m);
    m = NULL;
    assert_int_equal(timers.n, 0); /* nothing is left behind */
    return 0;
}

/* ---- the vectors ------------------------------------------------------------------------------------------ */

enum way { OUT, IN };

/* Raw message = head, then count bytes of fill ("++": 00 01 02 …), then tail; frame text where the page has it. */
static const struct vector {
    const char *name;
    enum way way;
    const char *head, *fill;
    size_t count;
    const char *tail, *text;
    size_t raw, frame, packets;
} computed[] = {
    {"C01", OUT, "01 01 00 00", NULL, 0, "", "01010000", 4, 10, 2},
    {"C02", OUT, "01 02 01 00 02", NULL, 0, "", "0102010002", 5, 12, 2},
    {"C03", OUT, "01 02 01 0C 0E", NULL, 0, "", "0102010C0E", 5, 12, 2},
    {"C04", OUT, "01 02 01 0D 0F", NULL, 0, "", "0102010D0F", 5, 12, 2},
    {"C05", OUT, "01 06 01 01 07", NULL, 0, "", "0106010107", 5, 12, 2},
    {"C06", OUT, "01 06 01 02 04", NULL, 0, "", "0106010204", 5, 12, 2},
    {"C07", OUT, "01 07 01 00 07", NULL, 0, "", "0107010007", 5, 12, 2},
    {"C08", OUT, "01 07 01 01 06", NULL, 0, "", "0107010106", 5, 12, 2},
    {"C09", OUT, "01 07 01 10 17", NULL, 0, "", "0107011017", 5, 12, 2},
    {"C10", OUT, "01 80 00 81", NULL, 0, "", "01800081", 4, 10, 2},
    {"C11", OUT, "01 81 00 80", NULL, 0, "", "01810080", 4, 10, 2},
    {"C12", OUT, "01 88 01 00 88", NULL, 0, "", "0188010088", 5, 12, 2},
    {"C13", OUT, "01 89 00 88", NULL, 0, "", "01890088", 4, 10, 2},
    {"C14", OUT, "01 9A 03 00 00 10 88", NULL, 0, "", "019A0300001088", 7, 16, 2},
    {"C15", OUT, "01 9A 03 01 40 40 99", NULL, 0, "", "019A0301404099", 7, 16, 2},
    {"C16", OUT, "01 9B 06 01 00 DE AD BE EF BF", NULL, 0, "", "019B060100DEADBEEFBF", 10, 22, 3},
    {"C17", OUT, "01 9C 03 01 02 03 9E", NULL, 0, "", "019C030102039E", 7, 16, 2},
    {"C18", OUT, "01 9D 00 9C", NULL, 0, "", "019D009C", 4, 10, 2},
    {"C19", OUT, "01 9F 18 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 10 11 12 13 14 15 16 17 86", NULL, 0, "",
     "019F18000102030405060708090A0B0C0D0E0F101112131415161786", 28, 58, 8},
    {"C20", OUT, "01 A0 06 00 A4 00 00 00 00 03", NULL, 0, "", "01A00600A40000000003", 10, 22, 3},
    {"C21", OUT, "01 A0 06 00 84 00 00 00 08 2B", NULL, 0, "", "01A0060084000000082B", 10, 22, 3},
    {"C22", OUT, "01 A0 08 00 A4 00 00 02 3F 00 00 30", NULL, 0, "", "01A00800A40000023F000030", 12, 26, 4},
    {"C23", OUT, "01 A0 06 00 C0 00 00 00 12 75", NULL, 0, "", "01A00600C00000001275", 10, 22, 3},
    {"C24", OUT, "01 A0 FF 01 05 00 D6 00 00 FF", "AA", 255, "00 D9", NULL, 267, 536, 67},
    {"C25", OUT, "01 A1 05 00 C1 01 FE 3E A5", NULL, 0, "", "01A10500C101FE3EA5", 9, 20, 3},
    {"C26", OUT, "01 A1 09 00 00 05 00 84 00 00 08 89 A9", NULL, 0, "", "01A109000005008400000889A9", 13, 28, 4},
    {"C27", OUT, "01 B0 06 00 84 00 00 00 08 3B", NULL, 0, "", "01B0060084000000083B", 10, 22, 3},
    {"C28", OUT, "01 B1 05 00 C1 01 FE 3E B5", NULL, 0, "", "01B10500C101FE3EB5", 9, 20, 3},
    {"C29", OUT, "01 9C FE", "00", 254, "63", NULL, 258, 518, 65},
    {"C30", OUT, "01 9C FF 00 FF", "00", 255, "9D", NULL, 261, 524, 66},
    {"C31", OUT, "01 91 FF 00 03 11 22 33 6C", NULL, 0, "", "0191FF00031122336C", 9, 20, 3},
    {"C32", OUT, "02 9C 03 A1 B2 C3 4D", NULL, 0, "", "029C03A1B2C34D", 7, 16, 2},
    {"C33", IN, "01 90 00 00 91", NULL, 0, "", "0190000091", 5, 12, 2},
    {"C34", IN, "01 60 01 00 60", NULL, 0, "", "0160010060", 5, 12, 2},
    {"C35", IN, "01 60 02 00 63", NULL, 0, "", "0160020063", 5, 12, 2},
    {"C36", IN, "01 60 03 00 62", NULL, 0, "", "0160030062", 5, 12, 2},
    {"C37", IN, "01 60 04 00 65", NULL, 0, "", "0160040065", 5, 12, 2},
    {"C38", IN, "01 60 05 00 64", NULL, 0, "", "0160050064", 5, 12, 2},
    {"C39", IN, "01 60 20 00 41", NULL, 0, "", "0160200041", 5, 12, 2},
    {"C40", IN, "01 60 22 00 43", NULL, 0, "", "0160220043", 5, 12, 2},
    {"C41", IN, "01 67 01 00 67", NULL, 0, "", "0167010067", 5, 12, 2},
    {"C42", IN, "01 67 03 00 65", NULL, 0, "", "0167030065", 5, 12, 2},
    {"C43", IN, "01 67 12 00 74", NULL, 0, "", "0167120074", 5, 12, 2},
    {"C44", IN, "01 90 00 10 41 45 54 36 33 2D 30 2E 36 37 FF FF 30 00 00 00 D6", NULL, 0, "",
     "0190001041455436332D302E3637FFFF30000000D6", 21, 44, 6},
    {"C45", IN, "01 90 00 10 41 45 54 36 33 2D 30 2E 36 37 FF FF 30 00 00 01 D7", NULL, 0, "",
     "0190001041455436332D302E3637FFFF30000001D7", 21, 44, 6},
    {"C46", IN, "01 90 00 10 41 45 54 36 33 2D 30 2E 36 37 FF FF 30 00 0C 03 D9", NULL, 0, "",
     "0190001041455436332D302E3637FFFF30000C03D9", 21, 44, 6},
    {"C47", IN, "01 90 00 04 3B 02 14 50 E8", NULL, 0, "", "019000043B021450E8", 9, 20, 3},
    {"C48", IN, "01 90 01 04 3B 80 01 81 AF", NULL, 0, "", "019001043B800181AF", 9, 20, 3},
    {"C49", IN, "01 90 00 02 90 00 03", NULL, 0, "", "01900002900003", 7, 16, 2},
    {"C50", IN, "01 90 00 02 61 12 E0", NULL, 0, "", "019000026112E0", 7, 16, 2},
    {"C51", IN, "01 90 00 02 6A 82 7B", NULL, 0, "", "019000026A827B", 7, 16, 2},
    {"C52", IN, "01 90 00 0A 11 22 33 44 55 66 77 88 90 00 83", NULL, 0, "", "0190000A1122334455667788900083", 15, 32,
     4},
    {"C53", IN, "01 90 00 FF 01 02", "++", 256, "90 00 FD", NULL, 265, 532, 67},
    {"C54", IN, "01 90 00 05 00 E1 01 FE 1E 94", NULL, 0, "", "0190000500E101FE1E94", 10, 22, 3},
    {"C55", IN, "01 90 00 FE", "00", 254, "6F", NULL, 259, 520, 65},
    {"C56", IN, "01 90 00 FF 00 FF", "00", 255, "91", NULL, 262, 526, 66},
    {"C57", IN, "01 90 00 FF 00 03 11 22 33 6D", NULL, 0, "", "019000FF00031122336D", 10, 22, 3},
    {"C58", IN, "02 90 00 03 A1 B2 C3 41", NULL, 0, "", "02900003A1B2C341", 8, 18, 3},
    {"C59", IN, "01 FF 00 01 12 ED", NULL, 0, "", "01FF000112ED", 6, 14, 2},
};

static size_t vector_raw(const struct vector *v, uint8_t *out)
{
    size_t n = unhex(v->head, out, 1024);

    for (size_t i = 0; i < v->count; i++)
        out[n++] = v->fill[0] == '+' ? (uint8_t)i : (uint8_t)strtoul(v->fill, NULL, 16);
    return n + unhex(v->tail, out + n, 64);
}

static void computed_vectors_both_ways(void **state)
{
    static uint8_t want[1024], built[AET63S_RAW_MAX], frame[AET63S_FRAME_MAX];
    static struct aet63s_rx rx;

    (void)state;
    assert_int_equal(LEN(computed), 59);
    for (size_t i = 0; i < LEN(computed); i++) {
        const struct vector *v = &computed[i];
        enum aet63s_dir dir = v->way == OUT ? AET63S_COMMAND : AET63S_RESPONSE;
        size_t n = vector_raw(v, want), fixed = v->way == OUT ? 2 : 3;
        bool extended = want[fixed] == 0xFF;
        struct aet63s_msg msg;

        assert_int_equal(n, v->raw);
        assert_true(aet63s_parse(want, n, dir, &msg));
        assert_int_equal(aet63s_build(built, dir, &msg, extended ? AET63S_LENGTH_EXTENDED : AET63S_LENGTH_NORMAL), n);
        assert_memory_equal(built, want, n);
        size_t k = aet63s_frame(frame, built, n, false);
        assert_int_equal(k, v->frame);
        assert_int_equal((k + 7) / 8, v->packets);
        if (v->text != NULL)
            assert_memory_equal(frame + 1, v->text, strlen(v->text));
        aet63s_rx_reset(&rx);
        for (size_t j = 0; j + 1 < k; j++)
            assert_int_equal(aet63s_rx_byte(&rx, frame[j]), AET63S_NOTHING);
        assert_int_equal(aet63s_rx_byte(&rx, frame[k - 1]), AET63S_MESSAGE);
        assert_int_equal(rx.n, n);
        assert_memory_equal(rx.raw, want, n);
    }
}

/* Every computed command gets exactly one answer from a reader, none of them NAK, and each form is understood. */
static void computed_commands_reach_the_reader(void **state)
{
    static uint8_t bytes[1024], frame[2050];
    char hex[64];

    (void)state;
    for (size_t i = 0; i < LEN(computed); i++) {
        if (computed[i].way == IN)
            continue;
        for (int lower = 0; lower < 2; lower++) {
            plug("", NULL);
            size_t n = vector_raw(&computed[i], bytes);
            assert_true(to_reader(frame, aet63s_frame(frame, bytes, n, lower == 1)));
            assert_true(receive_message());
            assert_int_equal(raw[0], bytes[0]);
            assert_int_not_equal(raw[1], 0xFF);
            assert_true(raw_n >= 5);
            expect_nothing();
            snprintf(hex, sizeof hex, "ins_%02X", bytes[1]);
            assert_int_equal(counted(hex), 1);
            unplug(NULL);
        }
    }
}

/* The longest responses come back through packets: C53, C55, C56 as answers of a scripted fingerprint module. */
static void long_answers_in_packets(void **state)
{
    (void)state;
    static uint8_t want[1024];
    static const size_t lengths[] = {254, 255};

    for (size_t i = 0; i < LEN(lengths); i++) {
        char option[600] = "tfm=01:";
        for (size_t k = 0; k < lengths[i]; k++)
            strcat(option, "00");
        plug("", NULL);
        assert_true(verb("option", option));
        command(0x9C, "01");
        size_t packets = wire.end - wire.first;
        assert_true(receive_message());
        size_t n = vector_raw(&computed[i == 0 ? 54 : 55], want);
        assert_int_equal(packets, i == 0 ? 65 : 66);
        assert_int_equal(raw_n, n);
        assert_memory_equal(raw, want, n);
        unplug(NULL);
    }
}

/* M01 to M12: what the manuals print. */
static void printed_examples(void **state)
{
    static const char *const whole[] = {
        "01 91 03 11 22 33 93",    /* M01 */
        "01 90 00 03 11 22 33 92", /* M02, a response */
        "01 A2 01 3D 9F",          /* M03 */
        INSERTED,
        REMOVED, /* M08, M09 */
    };
    static const uint8_t upper[] = "\00201A2013D9F\003", lower[] = "\00201a2013d9f\003"; /* M04, M05 */
    static const uint8_t m08[] = "\00201FF0100FF\003", m09[] = "\00201FF0200FC\003";
    static uint8_t built[AET63S_RAW_MAX];
    uint8_t bytes[16], frame[40];

    (void)state;
    for (size_t i = 0; i < LEN(whole); i++) {
        struct aet63s_msg msg;
        size_t n = unhex(whole[i], bytes, sizeof bytes);
        enum aet63s_dir dir = i == 0 || i == 2 ? AET63S_COMMAND : AET63S_RESPONSE;
        assert_true(aet63s_parse(bytes, n, dir, &msg));
        assert_int_equal(aet63s_build(built, dir, &msg, AET63S_LENGTH_NORMAL), n);
        assert_memory_equal(built, bytes, n);
    }
    size_t n = unhex(whole[2], bytes, sizeof bytes);
    assert_int_equal(aet63s_frame(frame, bytes, n, false), sizeof upper - 1);
    assert_memory_equal(frame, upper, sizeof upper - 1);
    assert_int_equal(aet63s_frame(frame, bytes, n, true), sizeof lower - 1);
    assert_memory_equal(frame, lower, sizeof lower - 1);
    n = unhex("3A", bytes, sizeof bytes); /* M06 */
    assert_int_equal(aet63s_frame(frame, bytes, n, false), 4);
    assert_memory_equal(frame + 1, "3A", 2);

    plug("", NULL); /* M10 was read by plug(); M07, M08, M09 as the reader sends them */
    assert_true(verb("insert", "echo-t0"));
    assert_memory_equal(wire.packets[wire.first].data, m08, 8);
    assert_memory_equal(wire.packets[wire.first + 1].data, m08 + 8, sizeof m08 - 1 - 8);
    expect(INSERTED);
    assert_true(verb("remove", ""));
    assert_memory_equal(wire.packets[wire.first].data, m09, 8);
    expect(REMOVED);
    send_raw("01 01 00 01");
    assert_memory_equal(wire.packets[wire.first].data, "\0020505\003\0\0", 8);
    expect(NAK);
    send_raw(STAT); /* M11 */
    expect(STAT_EMPTY);
    command(0x9F, "00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 10 11 12 13 14 15 16 17"); /* M12 */
    expect(OK);
    assert_true(verb("last", ""));
    assert_int_equal(strncmp(reply, "01 9F 18 00 01", 14), 0);
    to_reader(upper, sizeof upper - 1); /* an instruction that there is not, in both cases */
    expect("01 60 05 00 64");
    to_reader(lower, sizeof lower - 1);
    expect("01 60 05 00 64");
}

/* N01 to N05 and N07, and a sound message with a digit too many: what the reader makes of faulty commands; raw and
 * framed NAK. */
static void faulty_commands_are_naked(void **state)
{
    static const char *const faulty[] = {"01010001", "0102020C0D", "0101000", "01G10000", "03010002", "010100000"};

    (void)state;
    for (int form = 0; form < 2; form++) {
        plug(form == 0 ? "nak=framed" : "nak=raw,pad=random", NULL);
        for (size_t i = 0; i < LEN(faulty); i++) {
            char frame[32];
            int n = snprintf(frame, sizeof frame, "\002%s\003", faulty[i]);
            to_reader((uint8_t *)frame, (size_t)n);
            if (form == 1)
                assert_memory_equal(wire.packets[wire.first].data, "\005\005\0\0\0\0\0\0", 8);
            expect(NAK);
            expect_nothing();
        }
        assert_int_equal(counted("naks"), LEN(faulty));
        assert_int_equal(counted("bad_frames"), LEN(faulty));
        assert_int_equal(counted("frames"), 0);
        to_reader((const uint8_t *)"\0020102\00201010000\003", 15); /* N07 */
        expect(STAT_EMPTY);
        expect_nothing();
        unplug(NULL);
    }
}

/* N06 and N08, on the receiving side of a host. */
static void faulty_answers(void **state)
{
    static const uint8_t n08[2][8] = {{0x02, 0x30, 0x31, 0x39, 0x30, 0x30, 0x30, 0x30},
                                      {0x30, 0x39, 0x31, 0x03, 0x02, 0x31, 0x03, 0xFF}};
    uint8_t bytes[8];
    struct aet63s_msg msg;

    (void)state;
    size_t n = unhex("01 90 00 00 90", bytes, sizeof bytes);
    assert_false(aet63s_parse(bytes, n, AET63S_RESPONSE, &msg));
    bytes[4] = 0x91;
    assert_true(aet63s_parse(bytes, n, AET63S_RESPONSE, &msg));
    for (size_t cut = 0; cut < n; cut++)
        assert_false(aet63s_parse(bytes, cut, AET63S_RESPONSE, &msg));
    wire.first = wire.end = 0;
    sim_send(NULL, SIM_PIPE_INT_IN, n08[0], 8);
    sim_send(NULL, SIM_PIPE_INT_IN, n08[1], 8);
    expect(OK);
    expect_nothing();
}

/* ---- framing and NAK through the model -------------------------------------------------------------------- */

static void host_nak_repeats_the_last_answer(void **state)
{
    (void)state;
    plug_and_power("", "echo-t0", 0x9000);
    to_reader((const uint8_t *)"\0020505\003", 6); /* the answer to RESET */
    expect("01 90 00 06 3B 04 45 43 48 4F A9");
    assert_true(verb("fault", "badsum at=A0"));
    command(0xA0, "00 EA 00 00 00 04");
    assert_true(receive_message());
    struct aet63s_msg msg;
    assert_false(aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg));
    to_reader((const uint8_t *)"\005\005", 2);
    expect_answer(0x9000, "00 00 00 01 90 00"); /* sound, and not executed again */
    assert_int_equal(counted("host_naks"), 2);
    assert_int_equal(counted("executions"), 1);
}

static void host_nak_without_an_answer(void **state)
{
    (void)state;
    plug("", NULL);
    to_reader((const uint8_t *)"\0020505\003", 6);
    expect_nothing();
}

static void frame_in_pieces_and_without_end(void **state)
{
    (void)state;
    plug("transport=c", NULL);
    assert_true(sim_aet63.receive(m, SIM_PIPE_INT_OUT, NULL, (const uint8_t *)"\0020101", 5));
    pass(999);
    assert_true(sim_aet63.receive(m, SIM_PIPE_INT_OUT, NULL, (const uint8_t *)"0000\003\002\003x", 8));
    expect(STAT_EMPTY);
    expect_nothing();
    assert_true(sim_aet63.receive(m, SIM_PIPE_INT_OUT, NULL, (const uint8_t *)"\0020101", 5));
    pass(1000);
    assert_true(sim_aet63.receive(m, SIM_PIPE_INT_OUT, NULL, (const uint8_t *)"0000\003", 5));
    expect_nothing(); /* the first part was dropped without NAK, the second is no frame */
    assert_int_equal(counted("naks"), 0);
}

static void padding_and_transports(void **state)
{
    bool framing_junk = false;

    (void)state;
    plug("pad=random", NULL);
    for (int i = 0; i < 50; i++) {
        send_raw(STAT);
        const uint8_t *last = wire.packets[wire.end - 1].data;
        for (size_t k = 4; k < 8; k++) /* 44 bytes of text: four of junk */
            framing_junk = framing_junk || last[k] == 0x02 || last[k] == 0x03;
        assert_int_equal(wire.end - wire.first, 6);
        assert_int_equal(wire.packets[wire.first].pipe, SIM_PIPE_INT_IN);
        expect(STAT_EMPTY);
        expect_nothing();
    }
    assert_true(framing_junk);
    unplug(NULL);
    plug("transport=b,intin=1", "echo-t0");
    assert_true(sim_aet63.receive(m, SIM_PIPE_BULK_OUT, NULL, (const uint8_t *)"\00201010000\003", 10));
    assert_int_equal(wire.end - wire.first, 1);
    assert_int_equal(wire.packets[wire.first].pipe, SIM_PIPE_BULK_IN);
    assert_int_equal(wire.packets[wire.first].n, 44);
    expect(STAT_IN);
    assert_true(verb("remove", ""));
    assert_int_equal(wire.packets[wire.first].pipe, SIM_PIPE_INT_IN);
    expect(REMOVED);
    assert_false(sim_aet63.receive(m, SIM_PIPE_INT_OUT, NULL, (const uint8_t *)"\002", 1));
    assert_int_equal(counted("host_errors"), 1);
}

static void wrong_vendor_request_stalls(void **state)
{
    static const uint8_t in[8] = {0xC0, 0, 0, 0, 0, 0, 8, 0}, other[8] = {0x40, 1, 0, 0, 0, 0, 10, 0};

    (void)state;
    plug("", NULL);
    assert_false(sim_aet63.receive(m, SIM_PIPE_CONTROL, in, NULL, 0));
    assert_false(sim_aet63.receive(m, SIM_PIPE_CONTROL, other, (const uint8_t *)"\00201010000\003", 10));
    expect_nothing();
    assert_int_equal(counted("host_errors"), 2);
}

static void descriptors(void **state)
{
    static const uint8_t a[] = {18, 1, 0x10, 1, 0, 0,  0, 8, 0x2F, 7, 2,    0x80, 0x67, 0, 1,
                                2,  0, 1,    9, 2, 25, 0, 1, 1,    0, 0x80, 50,   9,    4, 0,
                                0,  1, 0xFF, 0, 0, 0,  7, 5, 0x81, 3, 8,    0,    10};
    static const struct {
        const char *options;
        size_t length, endpoints;
    } others[] = {
        {"transport=b", 50, 2}, {"transport=b,intin=1", 57, 3}, {"transport=c,serial=0042,kdriver=usbhid", 50, 2}};

    (void)state;
    plug("", NULL);
    const struct sim_usb_identity *u = sim_aet63.usb(m);
    assert_int_equal(u->descriptors_len, sizeof a);
    assert_memory_equal(u->descriptors, a, sizeof a);
    assert_int_equal(u->vid, 0x072F);
    assert_int_equal(u->pid, 0x8002);
    assert_null(u->serial);
    assert_null(u->kernel_driver);
    assert_string_equal(u->speed, "1.5");
    for (size_t i = 0; i < LEN(others); i++) {
        unplug(NULL);
        plug(others[i].options, NULL);
        u = sim_aet63.usb(m);
        assert_int_equal(u->descriptors_len, others[i].length);
        assert_int_equal(u->descriptors[18 + 2], others[i].length - 18);
        assert_int_equal(u->descriptors[27 + 4], others[i].endpoints);
    }
    assert_string_equal(u->serial, "0042");
    assert_int_equal(u->descriptors[16], 3);
    assert_string_equal(u->kernel_driver, "usbhid");
}

/* ---- sessions --------------------------------------------------------------------------------------------- */

#define ATR_T1 "01 90 01 04 3B 80 01 81 AF"

/* Section 11.4, with the vectors' own cards where the echo card has the same bytes, else with the echo card. */
static void example_session(void **state)
{
    (void)state;
    plug("", NULL); /* C59 */
    send_raw("01 06 01 01 07");
    expect(OK);
    send_raw(STAT);
    expect(STAT_EMPTY);
    assert_true(verb("insert", "pboc-t0"));
    expect(INSERTED);
    send_raw(STAT);
    expect(STAT_IN);
    send_raw("01 81 00 80");
    expect(OK);
    send_raw("01 02 01 0C 0E");
    expect(OK);
    send_raw("01 80 00 81");
    expect_answer(0x9000, "3B 6D 00 00 80 65 08 49 04 86 53 00 00 00 00 00 00");
    send_raw(STAT); /* C46: powered, type 0C */
    expect("01 90 00 10 41 45 54 36 33 2D 30 2E 36 37 FF FF 30 00 0C 03 D9");
    send_raw("01 A0 08 00 A4 00 00 02 3F 00 00 30"); /* C22: this card has no MF */
    expect_answer(0x9000, "6A 86");
    assert_true(verb("option", "busy=20"));
    send_raw("01 A0 06 00 84 00 00 00 08 2B"); /* C21, and out */
    expect_nothing();
    assert_true(verb("remove", ""));
    expect("01 60 04 00 65");
    assert_true(verb("option", "busy=0"));
    send_raw(STAT);
    assert_true(receive_message());
    assert_int_equal(raw[19], 0x00);
    assert_true(verb("insert", "echo-t1,ifsc=254"));
    expect(INSERTED);
    send_raw("01 02 01 00 02");
    expect(OK);
    send_raw("01 80 00 81");
    assert_true(receive_message());
    assert_int_equal(raw[2], 0x01);
    send_raw("01 A1 05 00 C1 01 FE 3E A5");
    expect("01 90 00 05 00 E1 01 FE 1E 94");            /* C54 */
    send_raw("01 A1 09 00 00 05 00 84 00 00 08 89 A9"); /* C26 */
    expect_answer(0x9000, "00 00 0A 11 22 33 44 55 66 77 88 90 00 12");
    assert_true(verb("fault", "event before at=01"));
    send_raw(STAT);
    expect(INSERTED);
    assert_true(receive_message());
    assert_int_equal(raw[19], 0x03);
    expect_nothing();
}

static void apdu(const char *in, const char *out)
{
    command(0xA0, in);
    expect_answer(0x9000, out);
}

#define PSE_NAME "31 50 41 59 2E 53 59 53 2E 44 44 46 30 31"
#define FCI_PSE                                                                                                        \
    "6F 26 84 0E 31 50 41 59 2E 53 59 53 2E 44 44 46 30 31 A5 14 88 01 01 5F 2D 02 7A 68 9F 11 01 01 BF 0C 05 9F 4D "  \
    "02 0B 0A 90 00"
#define DIRECTORY                                                                                                      \
    "70 25 61 23 4F 08 A0 00 00 03 33 01 01 01 50 0A 50 42 4F 43 20 44 45 42 49 54 9F 12 0A 50 42 4F 43 20 44 45 42 "  \
    "49 "                                                                                                              \
    "54 90 00"
#define FCI_APP                                                                                                        \
    "6F 45 84 08 A0 00 00 03 33 01 01 01 A5 39 50 0A 50 42 4F 43 20 44 45 42 49 54 87 01 01 9F 38 09 9F 7A 01 9F 02 "  \
    "06 "                                                                                                              \
    "5F 2A 02 5F 2D 02 7A 68 9F 11 01 01 9F 12 0A 50 42 4F 43 20 44 45 42 49 54 BF 0C 05 9F 4D 02 0B 0A 90 00"

/* S1 to S5 of the e-cash page, each APDU with Lc and Le both present as A0 wants it. */
static void pboc_steps_byte_for_byte(void **state)
{
    (void)state;
    plug("", "pboc-t0");
    command(0x80, "");
    expect_answer(0x9000, "3B 6D 00 00 80 65 08 49 04 86 53 00 00 00 00 00 00");
    apdu("00 A4 04 00 0E " PSE_NAME " 00", "61 28");
    apdu("00 C0 00 00 00 28", FCI_PSE);
    apdu("00 B2 01 0C 00 00", "6C 27");
    apdu("00 B2 01 0C 00 27", DIRECTORY);
    apdu("00 A4 04 00 08 A0 00 00 03 33 01 01 01 00", "61 47");
    apdu("00 C0 00 00 00 47", FCI_APP);
    apdu("80 CA 9F 79 00 00", "6C 09");
    apdu("80 CA 9F 79 00 09", "9F 79 06 00 00 00 00 00 00 90 00");
}

static void pboc_objects_and_log(void **state)
{
    (void)state;
    plug_and_power("", "pboc-t0,balance=12345,records=2", 0x9000);
    apdu("80 CA 9F 79 00 09", "69 85"); /* nothing selected yet */
    apdu("00 A4 04 00 08 A0 00 00 03 33 01 01 01 00", "61 47");
    apdu("80 CA 9F 79 00 09", "9F 79 06 00 00 00 01 23 45 90 00");
    apdu("00 C0 00 00 00 47", "69 85"); /* the FCI was forgotten meanwhile */
    apdu("80 CA 9F 4F 00 1C",
         "9F 4F 19 9A 03 9F 21 03 9F 02 06 9F 03 06 9F 1A 02 5F 2A 02 9F 4E 14 9C 01 9F 36 02 90 00");
    apdu("80 CA 9F 17 00 04", "9F 17 01 03 90 00");
    apdu("80 CA 12 34 00 00", "6A 88");
    apdu("00 B2 01 5C 00 00", "6C 2D");
    apdu("00 B2 01 5C 00 2D",
         "26 11 19 09 01 30 00 00 00 00 01 50 00 00 00 00 00 00 01 56 01 56 42 4F 4F 4B 53 48 4F 50 "
         "20 20 20 20 20 20 20 20 20 20 20 20 00 00 10 90 00");
    apdu("00 B2 03 5C 00 00", "6A 83");
    apdu("80 A8 00 00 0B 83 09 00 00 00 00 00 00 00 01 56 00", "61 08");
    apdu("00 C0 00 00 00 08", "80 06 7C 00 10 01 01 00 90 00");
    apdu("80 CA 9F 36 00 05", "9F 36 02 00 11 90 00"); /* the transaction counter went up */
    apdu("00 B2 01 14 00 39",
         "70 37 57 12 62 28 00 01 00 00 11 11 11 7D 30 12 22 00 00 00 00 0F 5F 20 09 54 45 53 54 2F "
         "43 41 52 44 5A 0A 62 28 00 01 00 00 11 11 11 7F 5F 24 03 30 12 31 5F 28 02 01 56 90 00");
}

/* Whole APDUs, as T=1 and contactless cards answer them. */
static void whole(const struct sim_card_ops *ops, struct sim_card *c, const char *in, const char *out)
{
    static uint8_t answer[SIM_RAPDU_MAX];
    uint8_t bytes[64], want[300];
    unsigned delay;
    size_t n = unhex(in, bytes, sizeof bytes), k = unhex(out, want, sizeof want);

    assert_int_equal(ops->execute(c, bytes, n, answer, &delay), k);
    assert_memory_equal(answer, want, k);
}

static void pboc_whole_apdus(void **state)
{
    uint8_t atr[SIM_ATR_MAX];

    (void)state;
    const struct sim_card_ops *ops = sim_card_find("pboc-t1");
    struct sim_card *c = ops->create("");
    size_t n = ops->atr(c, atr);
    assert_int_equal(n, 22);
    assert_int_equal(sim_xor(atr + 1, n - 1), 0);
    whole(ops, c, "00 A4 04 00 0E " PSE_NAME " 00", FCI_PSE);
    whole(ops, c, "00 A4 04 00 0E " PSE_NAME, FCI_PSE);
    whole(ops, c, "00 B2 01 0C 00", DIRECTORY);
    whole(ops, c, "00 A4 04 00 08 A0 00 00 03 33 01 01 01 00", FCI_APP);
    whole(ops, c, "80 CA 9F 79 00", "9F 79 06 00 00 00 00 00 00 90 00");
    whole(ops, c, "80 CA 9F 79 05", "6C 09");
    whole(ops, c, "80 CA 9F 79 05 01", "67 00");
    ops->destroy(c);
    ops = sim_card_find("pboc-cl");
    c = ops->create("balance=100");
    whole(ops, c, "00 A4 04 00 0E 32 50 41 59 2E 53 59 53 2E 44 44 46 30 31 00",
          "6F 30 84 0E 32 50 41 59 2E 53 59 53 2E 44 44 46 30 31 A5 1E BF 0C 1B 61 19 4F 08 A0 00 00 03 33 01 01 01 50 "
          "0A "
          "50 42 4F 43 20 44 45 42 49 54 87 01 01 90 00");
    whole(ops, c, "00 A4 04 00 0E " PSE_NAME " 00", "6A 82");
    whole(ops, c, "00 A4 04 00 08 A0 00 00 03 33 01 01 01 00",
          "6F 43 84 08 A0 00 00 03 33 01 01 01 A5 37 50 0A 50 42 4F 43 20 44 45 42 49 54 87 01 01 9F 38 18 9F 66 04 9F "
          "02 "
          "06 9F 03 06 9F 1A 02 95 05 5F 2A 02 9A 03 9C 01 9F 37 04 5F 2D 02 7A 68 BF 0C 05 9F 4D 02 0B 0A 90 00");
    whole(ops, c,
          "80 A8 00 00 23 83 21 36 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 01 56 00 00 00 00 00 01 56 26 11 20 "
          "00 01 02 03 04 00",
          "77 23 82 02 7C 00 94 04 10 01 01 00 57 12 62 28 00 01 00 00 11 11 11 7D 30 12 22 00 00 00 00 0F 9F 36 02 00 "
          "11 "
          "90 00");
    whole(ops, c, "80 A8 00 00 02 83 00 00", "67 00");
    whole(ops, c, "80 CA 9F 5D 00", "9F 5D 06 00 00 00 00 01 00 90 00");
    ops->destroy(c);
}

/* ---- status codes, events, removal ------------------------------------------------------------------------ */

static void status_codes(void **state)
{
    (void)state;
    plug("", NULL);
    command(0x80, "");
    expect("01 60 02 00 63");
    command(0xA0, "00 84 00 00 00 08");
    expect("01 60 02 00 63");
    command(0xA1, "00 C1 01 FE 3E");
    expect("01 60 02 00 63");
    command(0x81, "");
    expect(OK);
    command(0x02, "05");
    expect("01 60 03 00 62");
    command(0x02, "");
    expect("01 67 03 00 65");
    command(0x90, "");
    expect("01 60 05 00 64");
    command(0x9E, "");
    expect("01 60 05 00 64");
    command(0x88, "00");
    expect("01 60 05 00 64"); /* no SAM slot */
    assert_true(verb("insert", "echo-t0"));
    expect(INSERTED);
    command(0xA0, "00 84 00 00 00 08");
    expect("01 60 04 00 65");
    command(0x80, "");
    assert_true(receive_message());
    command(0xA1, "00 C1 01 FE 3E");
    expect("01 67 01 00 67");
    command(0xA0, "00 84 00 00 08");
    expect("01 67 03 00 65");
    command(0xA0, "00 84 00 00 01 AA 08"); /* both ways at once on T=0 */
    expect("01 67 03 00 65");
    command(0xA0, "00 84 00 00 00 08");
    expect("01 90 00 0A 11 22 33 44 55 66 77 88 90 00 83"); /* C52 */
}

static void atr_faults(void **state)
{
    static const char *const cards[] = {"mute", "badatr", "badatr,kind=cut", "badatr,kind=ts", "badatr,kind=ta2"};

    (void)state;
    for (size_t i = 0; i < LEN(cards); i++) {
        plug("", cards[i]);
        command(0x80, "");
        expect("01 60 20 00 41");
        command(0xA0, "00 84 00 00 00 08");
        expect("01 60 04 00 65"); /* the interface was switched off */
        unplug(NULL);
    }
}

static void protocol_choice(void **state)
{
    static const struct {
        const char *card, *type;
        unsigned sw;
    } cases[] = {
        {"echo-t1,dual=1", "00", 0x9000}, {"echo-t1,dual=1", "0C", 0x9000}, {"echo-t1,dual=1", "0D", 0x9001},
        {"echo-t1", "0C", 0x9001},        {"echo-t0", "0D", 0x9000},
    };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct aet63s_msg msg;
        plug("", cases[i].card);
        command(0x02, cases[i].type);
        expect(OK);
        command(0x80, "");
        assert_true(receive_message());
        assert_true(aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg));
        assert_int_equal(msg.code[0] << 8 | msg.code[1], cases[i].sw);
        command(0xA0, "00 EA 00 00 00 04"); /* the card knows which protocol it runs */
        expect_answer(0x9000, "00 00 00 01 90 00");
        command(0xA0, "00 EA 00 00 00 05");
        expect_answer(0x9000, cases[i].sw == 0x9000 ? "6C 04" : "00 00 00 02 90 00");
        command(0xA0, "00 EC 00 00 00 04"); /* 6C means not executed */
        expect_answer(0x9000, cases[i].sw == 0x9000 ? "00 00 00 01 90 00" : "00 00 00 02 90 00");
        unplug(NULL);
    }
}

static void events_only_while_idle(void **state)
{
    (void)state;
    plug("busy=10", NULL);
    command(0x01, "");
    assert_true(verb("insert", "echo-t0"));
    expect_nothing();
    pass(10);
    expect(STAT_IN); /* the reader's own command sees the card; no event, then or later */
    pass(1000);
    expect_nothing();
    assert_true(verb("option", "events=race"));
    command(0x01, "");
    assert_true(verb("remove", ""));
    pass(10);
    expect(REMOVED);
    expect(STAT_EMPTY);
    assert_true(verb("option", "events=after"));
    command(0x01, "");
    assert_true(verb("insert", "echo-t0"));
    pass(10);
    expect(STAT_IN);
    expect(INSERTED);
    command(0x06, "02");
    pass(10);
    expect(OK);
    assert_true(verb("remove", ""));
    expect_nothing(); /* notifications are off */
    sim_aet63.power(m, false);
    sim_aet63.power(m, true);
    expect(RESET_MESSAGE);
    assert_true(verb("insert", "echo-t0"));
    expect(INSERTED); /* and on again: the setting is volatile */
}

static void removal_during_a_command(void **state)
{
    (void)state;
    plug_and_power("", "echo-t0", 0x9000);
    command(0xA0, "00 E8 01 00 00 00"); /* the card takes 256 ms */
    pass(255);
    expect_nothing();
    assert_true(verb("remove", ""));
    expect("01 60 04 00 65");
    pass(1000);
    expect_nothing();
    send_raw(STAT);
    expect(STAT_EMPTY);
    assert_true(verb("insert", "echo-t0"));
    expect(INSERTED);
    command(0x80, "");
    assert_true(receive_message());
    command(0xA0, "00 E8 01 00 00 00");
    assert_true(verb("bounce", "")); /* out only briefly: 60 04, and a card that has lost its power */
    expect("01 60 04 00 65");
    expect_nothing();
    send_raw(STAT);
    expect(STAT_IN);
    assert_true(verb("bounce", ""));
    expect(REMOVED);
    expect(INSERTED);
    assert_true(verb("swap", "echo-t1"));
    expect(REMOVED);
    expect(INSERTED);
    assert_false(verb("swap", "no-such-card"));
    expect_nothing();
}

static void unplug_during_a_command(void **state)
{
    (void)state;
    plug_and_power("", "echo-t0", 0x9000);
    command(0xA0, "00 E8 01 00 00 00");
    sim_aet63.power(m, false);
    pass(1000);
    expect_nothing();
    assert_false(to_reader((const uint8_t *)"\00201010000\003", 10));
    sim_aet63.power(m, true);
    expect(RESET_MESSAGE);
    send_raw(STAT);
    expect(STAT_IN);
}

static void one_command_in_flight(void **state)
{
    (void)state;
    plug("busy=10", NULL);
    send_raw(STAT);
    send_raw(STAT);
    pass(100);
    expect(STAT_EMPTY);
    expect_nothing(); /* the second one was ignored */
    assert_int_equal(counted("host_errors"), 1);
    assert_true(verb("option", "overlap=queue"));
    send_raw(STAT);
    command(0x06, "01");
    pass(20);
    expect(STAT_EMPTY);
    expect(OK);
    assert_true(verb("option", "overlap=stall"));
    send_raw(STAT);
    assert_false(to_reader((const uint8_t *)"\00201010000\003", 10));
    pass(10);
    expect(STAT_EMPTY);
    expect_nothing();
    assert_int_equal(counted("host_errors"), 3);
}

static void silent_cards(void **state)
{
    (void)state;
    plug_and_power("wwt=500", "echo-t0", 0x9000);
    command(0xA0, "00 F0 00 00 00 00");
    pass(499);
    expect_nothing();
    pass(1);
    expect("01 60 20 00 41");
    apdu("00 EA 00 00 00 04", "00 00 00 01 90 00"); /* T=0 recovers */
    assert_true(verb("swap", "echo-t1"));
    expect(REMOVED);
    expect(INSERTED);
    command(0x80, "");
    assert_true(receive_message());
    static const struct {
        const char *option, *answer;
    } forms[] = {{"mute=6020", "01 60 20 00 41"}, {"mute=6712", "01 67 12 00 74"}, {"mute=empty", OK}};
    for (size_t i = 0; i < LEN(forms); i++) {
        assert_true(verb("option", forms[i].option));
        command(0xA1, i == 0 ? "00 00 04 00 F0 00 00 F4" : "00 80 00 80");
        expect_nothing();
        pass(89); /* one block waiting time at BWI 0 */
        expect_nothing();
        pass(1);
        expect(forms[i].answer);
    }
    assert_int_equal(counted("executions"), 3);
}

/* ---- EEPROM, fingerprint module, SAM ---------------------------------------------------------------------- */

static void eeprom_wraps_in_its_page(void **state)
{
    (void)state;
    plug("", NULL);
    send_raw("01 9B 06 01 00 DE AD BE EF BF");
    expect(OK);
    command(0x9A, "01 00 05");
    expect_answer(0x9000, "DE AD BE EF FF");
    command(0x9B, "01 3E 01 02 03 04"); /* two bytes fit in the page */
    expect(OK);
    command(0x9A, "01 3E 03");
    expect_answer(0x9000, "01 02 FF");
    command(0x9A, "01 00 03");
    expect_answer(0x9000, "03 04 BE");
    command(0x9A, "FF FF 02");
    expect("01 67 02 00 64");
    command(0x9A, "00 00 00");
    expect("01 67 03 00 65");
    command(0x9B, "00 00");
    expect("01 67 03 00 65");
    assert_true(verb("eeprom", "0100 4"));
    assert_string_equal(reply, "03 04 BE EF");
}

static void fingerprint_stub(void **state)
{
    (void)state;
    plug("tfm=010203:0A0B,tfmatr=112233", NULL);
    send_raw("01 9C 03 01 02 03 9E");
    expect_answer(0x9000, "0A 0B");
    command(0x9C, "01");
    expect("01 60 05 00 64");
    command(0x9D, "");
    expect_answer(0x9000, "11 22 33");
    command(0x9F, "00");
    expect("01 67 03 00 65");
    assert_true(verb("option", "tfm=*:77"));
    assert_true(verb("option", "tfmbusy=5000"));
    send_raw("02 9C 03 A1 B2 C3 4D"); /* the answer to header 02 has header 02 */
    pass(4999);
    expect_nothing();
    pass(1);
    expect("02 90 00 01 77 E4");
}

static void sam_slot(void **state)
{
    (void)state;
    plug("sam=echo-t1+ifsc=254", NULL);
    command(0xB0, "00 EA 00 00 00 04");
    expect("01 60 04 00 65");
    command(0x88, "01");
    expect("01 60 02 00 63");
    command(0x88, "00");
    expect_answer(0x9000, "3B 84 81 31 FE 05 45 43 48 4F CE"); /* T=1 is told by the ATR only */
    command(0xB0, "00 EA 00 00 00 04");
    expect_answer(0x9000, "00 00 00 01 90 00");
    command(0xB1, "00 C1 01 FE 3E");
    expect_answer(0x9000, "00 E1 01 FE 1E");
    send_raw(STAT); /* the card slot is not touched by it */
    expect(STAT_EMPTY);
    command(0x89, "");
    expect(OK);
    command(0xB1, "00 C1 01 FE 3E");
    expect("01 60 04 00 65");
    assert_true(verb("option", "samsw2=1"));
    command(0x88, "00");
    expect_answer(0x9001, "3B 84 81 31 FE 05 45 43 48 4F CE");
}

/* ---- faults ----------------------------------------------------------------------------------------------- */

static void fault(const char *what)
{
    if (!verb("fault", what))
        fail_msg("%s: %s", what, reply);
}

/* One counting APDU on a powered T=0 echo card. */
static void count_up(void)
{
    command(0xA0, "00 EA 00 00 00 04");
}

static void faults_that_spoil_the_answer(void **state)
{
    static const char *const spoiling[] = {
        "badsum", "badlen", "badhex", "truncate=5", "noetx", "flip=3",  "flip=0",
        "cut=7",  "cut=21", "lose=4", "lose=0",     "dup=4", "noise=6",
    };
    struct aet63s_msg msg;

    (void)state;
    plug_and_power("", "echo-t0", 0x9000);
    for (size_t i = 0; i < LEN(spoiling); i++) {
        char what[40];
        snprintf(what, sizeof what, "%s at=A0", spoiling[i]);
        fault(what);
        send_raw(STAT); /* not meant */
        assert_true(receive_message());
        assert_true(aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg));
        count_up();
        assert_true(wire.end > wire.first);
        bool sound = receive_message() && aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg);
        assert_false(sound);
        wire.first = wire.end;
        count_up(); /* once only, and the spoilt one was executed */
        assert_true(receive_message() && aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg));
        assert_int_equal(msg.data[3], 2 * i + 2);
    }
}

/* badlen is about the length alone: its checksum fits. */
static void wrong_length_with_a_fitting_checksum(void **state)
{
    (void)state;
    plug("", NULL);
    fault("badlen");
    send_raw("01 06 01 01 07");
    assert_true(receive_message());
    assert_int_equal(raw_n, 5);
    assert_int_equal(raw[3], 2);
    assert_int_equal(sim_xor(raw, raw_n), 0);
    fault("badsum");
    send_raw("01 06 01 01 07");
    expect("01 90 00 00 90");
}

/* Faults act one after the other, also where the first one lets commands pass. */
static void faults_keep_their_order(void **state)
{
    (void)state;
    plug("", NULL);
    fault("drop skip=1");
    fault("nak");
    send_raw(STAT);
    expect(STAT_EMPTY);
    send_raw(STAT);
    expect_nothing();
    send_raw(STAT);
    expect(NAK);
    send_raw(STAT);
    expect(STAT_EMPTY);
}

static void faults_that_a_host_survives(void **state)
{
    static const char *const harmless[] = {"extended", "extended form",  "lowercase",
                                           "garbage",  "garbage before", "dup=0"};

    (void)state;
    plug_and_power("", "echo-t0", 0x9000);
    for (size_t i = 0; i < LEN(harmless); i++) {
        fault(harmless[i]);
        count_up();
        struct aet63s_msg msg;
        assert_true(receive_message() && aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg));
        assert_int_equal(msg.data[3], i + 1);
        assert_int_equal(raw[3] == 0xFF, i < 2);
        expect_nothing();
    }
    fault("lowercase");
    send_raw(STAT); /* FF FF of MAX_C and MAX_R, the first digit of which is byte 29 of the frame */
    assert_int_equal(wire.packets[wire.first + 3].data[5], 'f');
    assert_true(receive_message());
}

static void faults_in_time_and_number(void **state)
{
    (void)state;
    plug_and_power("", "echo-t0", 0x9000);
    fault("drop times=2");
    count_up();
    count_up();
    expect_nothing();
    count_up();
    expect_answer(0x9000, "00 00 00 03 90 00");
    fault("delay=300 skip=1");
    count_up();
    expect_answer(0x9000, "00 00 00 04 90 00");
    count_up();
    pass(299);
    expect_nothing();
    pass(1);
    expect_answer(0x9000, "00 00 00 05 90 00");
    fault("late at=A0");
    count_up();
    expect_nothing();
    send_raw(STAT);
    expect_answer(0x9000, "00 00 00 06 90 00");
    assert_true(receive_message());
    assert_int_equal(raw_n, 21);
    fault("late=2");
    count_up();
    count_up();
    expect_answer(0x9000, "00 00 00 08 90 00");
    count_up();
    expect_answer(0x9000, "00 00 00 07 90 00");
    expect_answer(0x9000, "00 00 00 09 90 00");
    fault("dup");
    count_up();
    expect_answer(0x9000, "00 00 00 0A 90 00");
    expect_answer(0x9000, "00 00 00 0A 90 00");
    expect_nothing();
    fault("event after code=2");
    count_up();
    expect_answer(0x9000, "00 00 00 0B 90 00");
    expect(REMOVED);
    fault("stall");
    count_up();
    assert_int_equal(wire.stalls, 1);
    assert_int_equal(wire.stalled, SIM_PIPE_INT_IN);
    expect_answer(0x9000, "00 00 00 0C 90 00");
    fault("stall out");
    assert_false(to_reader((const uint8_t *)"\00201010000\003", 10));
    expect_nothing();
}

static void faults_and_execution(void **state)
{
    (void)state;
    plug_and_power("", "echo-t0", 0x9000);
    fault("nak times=2 at=A0");
    count_up();
    expect(NAK);
    count_up();
    expect(NAK);
    count_up();
    expect_answer(0x9000, "00 00 00 01 90 00"); /* NAK: not executed */
    fault("status=6712 at=A0");
    count_up();
    expect("01 67 12 00 74");
    fault("status=6020 exec=1");
    count_up();
    expect("01 60 20 00 41");
    count_up();
    expect_answer(0x9000, "00 00 00 03 90 00"); /* one of the two was executed */
    fault("remove at=A0 k=2 back=1");
    count_up();
    expect_answer(0x9000, "00 00 00 04 90 00");
    count_up();
    expect("01 60 04 00 65");
    expect_nothing();
    send_raw(STAT);
    expect(STAT_IN);
    command(0x80, "");
    assert_true(receive_message());
    fault("remove exec=1");
    count_up();
    expect("01 60 04 00 65");
    send_raw(STAT);
    expect(STAT_EMPTY);
    assert_int_equal(counted("executions"), 5); /* the last one was executed, the one before not */
    assert_int_equal(counted("cold"), 2);
    assert_int_equal(counted("warm"), 0);
}

static void faults_misspelt(void **state)
{
    static const char *const bad[] = {
        "",           "nothing",      "nak=1",           "flip",    "flip=x",    "nak at=100",
        "nak at=",    "nak times=-1", "status=12345678", "nak foo", "nak foo=1", "t1mute at=X",
        "remove k=0", "flip=1 bit=8"};

    (void)state;
    plug("", NULL);
    for (size_t i = 0; i < LEN(bad); i++)
        assert_false(verb("fault", bad[i]));
    assert_true(verb("fault", "drop"));
    assert_true(verb("fault", "clear"));
    send_raw(STAT);
    expect(STAT_EMPTY);
}

static void options_misspelt(void **state)
{
    static const char *const bad[] = {"transport=d",    "pad=01",     "nak=",      "busy=x",    "busy=-1", "events=",
                                      "internal=short", "sam=nobody", "tfm=zz:00", "nothing=1", "busy"};

    (void)state;
    plug("", NULL);
    for (size_t i = 0; i < LEN(bad); i++)
        assert_false(verb("option", bad[i]));
    assert_false(verb("insert", "echo-t0,foo=1"));
    assert_false(verb("insert", "echo-t1,ifsc=0"));
    assert_false(verb("insert", "pboc-t0,balance=-5"));
    assert_false(verb("insert", ""));
    assert_false(verb("remove", ""));
    assert_false(verb("dance", ""));
    expect_nothing();
}

/* A card that is in before the reader is plugged; T=1 blocks and the time the card asks for, through the reader. */
static void t1_through_the_reader(void **state)
{
    (void)state;
    plug_and_power("card=echo-t1+ifsc=254", NULL, 0x9001);
    command(0xA1, "00 00 04 00 E8 00 64 88"); /* 100 ms, BWT is 90 */
    pass(66);
    expect_nothing();
    pass(1);
    expect_answer(0x9000, "00 C3 01 01 C3");
    command(0xA1, "00 E3 01 01 E3");
    pass(33);
    expect_answer(0x9000, "00 00 02 90 00 92");
    fault("t1mute at=I");
    command(0xA1, "00 40 05 00 EA 00 00 04 AB");
    pass(90);
    expect("01 60 20 00 41");
    command(0xA1, "00 90 00 90");
    expect_answer(0x9000, "00 40 06 00 00 00 01 90 00 D7");
    assert_int_equal(counted("executions"), 2);
    assert_int_equal(counted("t1_wtx"), 1);
    fault("t1len=FE");
    command(0xA1, "00 00 05 00 EC 00 00 04 ED");
    expect_answer(0x9000, "00 00 FE 00 00 00 01 90 00 6F");
    command(0xA1, "00 40 05 00 E8 00 FF 00 52");
    pass(67);
    expect_answer(0x9000, "00 C3 01 01 C3");
    assert_true(verb("remove", "")); /* between two blocks: the reader is idle */
    expect(REMOVED);
    pass(1000);
    expect_nothing();
}

/* APDU level with a T=1 card: Le 00 means none there. */
static void a0_with_a_t1_card(void **state)
{
    (void)state;
    plug_and_power("", "echo-t1", 0x9001);
    apdu("00 E0 00 00 02 AA BB 02", "AA BB 90 00");
    apdu("00 E0 00 00 02 AA BB 00", "90 00");
    apdu("00 84 00 00 00 02", "11 22 90 00");
    apdu("00 A4 00 00 00 00", "90 00");
}

/* Echo over T=0: 61xx chains for more than 256 bytes. */
static void echo_over_t0(void **state)
{
    uint8_t data[261];
    struct aet63s_msg msg;

    (void)state;
    plug_and_power("", "echo-t0", 0x9000);
    command(0xA0, "00 E2 01 04 00 00"); /* 260 bytes: 256 and 4 more */
    assert_true(receive_message() && aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg));
    assert_int_equal(msg.n, 258);
    assert_memory_equal(msg.data + 255, "\xFF\x61\x04", 3);
    apdu("00 C0 00 00 00 05", "6C 04");
    apdu("00 C0 00 00 00 04", "00 01 02 03 90 00");
    memset(data, 0xAA, sizeof data);
    memcpy(data, "\x00\xE0\x00\x00\xFF", 5);
    data[260] = 0;
    command_bytes(0xA0, data, 261);
    expect_answer(0x9000, "61 FF");
    command(0xA0, "00 C0 00 00 00 FF");
    assert_true(receive_message() && aet63s_parse(raw, raw_n, AET63S_RESPONSE, &msg));
    assert_int_equal(msg.n, 257);
    assert_int_equal(raw[3], 0xFF); /* an extended answer */
}

/* ---- a card behind a socket ------------------------------------------------------------------------------- */

/* Waits, with the lock held, until a packet is there that was not yet read. The deadline only ends a failed run. */
static void wait_for_packet(void)
{
    struct timespec deadline;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 20;
    while (wire.first == wire.end)
        assert_int_equal(pthread_cond_timedwait(&sent, &lock, &deadline), 0);
}

static int connect_card(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    struct timeval tv = {.tv_sec = 20};
    char *port = strstr(reply, "port=");

    assert_non_null(port);
    a.sin_port = htons((uint16_t)strtoul(port + 5, NULL, 10));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* The card's end: expects one message, then (if out is not NULL) answers it. Called without the lock. */
static void card_expects(int fd, const char *in)
{
    uint8_t want[300], got[300];
    size_t n = unhex(in, want + 2, sizeof want - 2);

    want[0] = 0;
    want[1] = (uint8_t)n;
    assert_int_equal(recv(fd, got, n + 2, MSG_WAITALL), (ssize_t)n + 2);
    assert_memory_equal(got, want, n + 2);
}

static void card_says(int fd, const char *out)
{
    uint8_t bytes[300];
    size_t n = unhex(out, bytes + 2, sizeof bytes - 2);

    bytes[0] = 0;
    bytes[1] = (uint8_t)n;
    assert_int_equal(send(fd, bytes, 1, 0), 1); /* in two pieces, cut in the length */
    assert_int_equal(send(fd, bytes + 1, n + 1, 0), (ssize_t)n + 1);
}

/* Inserts a vpcd card and connects a client with this ATR. Returns its socket; the lock is held. */
static int vpcd_card(const char *spec, const char *atr)
{
    plug("", NULL);
    hold();
    assert_true(verb("insert", spec));
    send_raw(STAT);
    expect(STAT_EMPTY); /* nobody is connected */
    let_go();
    int fd = connect_card();
    card_expects(fd, "04");
    card_says(fd, atr);
    hold();
    wait_for_packet();
    expect(INSERTED);
    send_raw(STAT);
    expect(STAT_IN);
    return fd;
}

static void vpcd_t0_card(void **state)
{
    (void)state;
    int fd = vpcd_card("vpcd:0", "3B 02 14 50");
    send_raw("01 80 00 81");
    expect("01 90 00 04 3B 02 14 50 E8"); /* C47 */
    send_raw("01 A0 08 00 A4 00 00 02 3F 00 00 30");
    expect_nothing();
    let_go();
    card_expects(fd, "01");
    card_expects(fd, "00 A4 00 00 02 3F 00");
    card_says(fd, "61 12");
    hold();
    wait_for_packet();
    expect("01 90 00 02 61 12 E0"); /* C50 */
    send_raw("01 80 00 81");
    assert_true(receive_message());
    send_raw("01 A0 06 00 84 00 00 00 08 2B");
    let_go();
    card_expects(fd, "02"); /* warm */
    card_expects(fd, "00 84 00 00 08");
    close(fd); /* pulled during the command */
    hold();
    wait_for_packet();
    expect("01 60 04 00 65");
    send_raw(STAT);
    expect(STAT_EMPTY);
    assert_int_equal(counted("card_executions"), 2);
    assert_true(verb("status", ""));
    let_go();
    fd = connect_card(); /* and it can come again */
    card_expects(fd, "04");
    card_says(fd, "3B 02 14 50");
    hold();
    wait_for_packet();
    expect(INSERTED);
    assert_true(verb("remove", ""));
    expect(REMOVED);
    let_go();
    uint8_t b;
    assert_int_equal(recv(fd, &b, 1, 0), 0); /* the reader hung up */
    close(fd);
}

static void vpcd_answer_too_late(void **state)
{
    (void)state;
    int fd = vpcd_card("vpcd:0,timeout=700", "3B 02 14 50");
    send_raw("01 80 00 81");
    assert_true(receive_message());
    send_raw("01 A0 06 00 84 00 00 00 08 2B");
    pass(700); /* the card's time is over, then the reader's */
    pass(1000);
    expect("01 60 20 00 41");
    send_raw("01 A0 06 00 C0 00 00 00 12 75");
    let_go();
    card_expects(fd, "01");
    card_expects(fd, "00 84 00 00 08");
    card_says(fd, "6F 01");
    card_expects(fd, "00 C0 00 00 12");
    card_says(fd, "6F 02");
    hold();
    wait_for_packet();
    expect_answer(0x9000, "6F 02"); /* not the late one */
    let_go();
    close(fd);
    hold();
    wait_for_packet();
    expect(REMOVED);
    assert_true(verb("remove", ""));
    let_go();
}

static void vpcd_t1_card_asks_for_time(void **state)
{
    (void)state;
    int fd = vpcd_card("vpcd:0", "3B 80 01 81"); /* BWI 4 by default: 1429 ms */
    send_raw("01 80 00 81");
    expect(ATR_T1);
    send_raw("01 A1 09 00 00 05 00 84 00 00 08 89 A9");
    let_go();
    card_expects(fd, "01");
    card_expects(fd, "00 84 00 00 08");
    hold();
    expect_nothing();
    pass(1429 * 3 / 4 + 1);
    expect_answer(0x9000, "00 C3 01 01 C3");
    command(0xA1, "00 E3 01 01 E3");
    expect_nothing();
    let_go();
    card_says(fd, "11 90 00");
    hold();
    wait_for_packet();
    expect_answer(0x9000, "00 00 03 11 90 00 82");
    assert_true(verb("remove", ""));
    expect(REMOVED);
    let_go();
    close(fd);
}

int main(void)
{
#define T(f) cmocka_unit_test_teardown(f, unplug)
    const struct CMUnitTest tests[] = {
        T(computed_vectors_both_ways),
        T(computed_commands_reach_the_reader),
        T(long_answers_in_packets),
        T(printed_examples),
        T(faulty_commands_are_naked),
        T(faulty_answers),
        T(host_nak_repeats_the_last_answer),
        T(host_nak_without_an_answer),
        T(frame_in_pieces_and_without_end),
        T(padding_and_transports),
        T(wrong_vendor_request_stalls),
        T(descriptors),
        T(example_session),
        T(pboc_steps_byte_for_byte),
        T(pboc_objects_and_log),
        T(pboc_whole_apdus),
        T(status_codes),
        T(atr_faults),
        T(protocol_choice),
        T(events_only_while_idle),
        T(removal_during_a_command),
        T(unplug_during_a_command),
        T(one_command_in_flight),
        T(silent_cards),
        T(eeprom_wraps_in_its_page),
        T(fingerprint_stub),
        T(sam_slot),
        T(faults_that_spoil_the_answer),
        T(wrong_length_with_a_fitting_checksum),
        T(faults_keep_their_order),
        T(faults_that_a_host_survives),
        T(faults_in_time_and_number),
        T(faults_and_execution),
        T(faults_misspelt),
        T(options_misspelt),
        T(t1_through_the_reader),
        T(a0_with_a_t1_card),
        T(echo_over_t0),
        T(vpcd_t0_card),
        T(vpcd_answer_too_late),
        T(vpcd_t1_card_asks_for_time),
    };

    return cmocka_run_group_tests_name("aet63 model", tests, NULL, NULL);
}
