/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes the whole handler between two sides of which neither is trusted: a client that calls the IFDH functions with
 * anything, and a reader that answers anything. Under the driver stands a transport of this file in place of libusb and
 * libserialport; the input says which reader it is, what the client does, and what comes back for each command: an
 * obedient answer, one with any status and data, raw bytes, nothing, an event in front of it. The driver's clock and
 * its waits are those of this file too (fuzz.mk renames them in the archive): a wait moves the clock and is over, so the
 * settings are the driver's own, and how long a call took is exact.
 *
 * What must hold: each call ends within its cap, with a code that pcscd knows, and waits for nothing without a deadline;
 * no answer is longer than its buffer, and none comes with an error; a plain APDU goes out once, and once more only for
 * each proof (NAK, status 04) that the reader gave; after close nothing is left.
 */
#include <errno.h>
#include <ifdhandler.h>
#include <poll.h>
#include <pthread.h>
#include <reader.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winscard.h>

#include "aet63/frame.h"
#include "base/clock.h"
#include "reader/reader.h"
#include "transport/serial.h"
#include "transport/usb.h"
#include "vivopay/frame.h"
#include "../unit/stub_log.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
RESPONSECODE ifd_poll(DWORD Lun, int timeout);
int fuzz_clock_gettime(clockid_t id, struct timespec *t);
int fuzz_poll(struct pollfd *fds, nfds_t n, int ms);
int fuzz_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);

enum { QUEUE = 20000, CALLS_MAX = 40, FRAMES_MAX = 4000, CHUNK = 64, BLOCKS = 256, CHANGES_MAX = 64 };
enum { SUB_RAW = 0x04, SUB_READ = 0x07, SUB_WRITE = 0x08, SUB_PURSE = 0x0A };
enum { AET63, HID, SERIAL, KINDS };

static const char *const serial_names[] = {
    "/dev/ttyFUZZ",
    "/dev/ttyFUZZ:slots=cl.icc.sam1:baud=9600",
    "/dev/ttyFUZZ:crc_order=msb:felica=on:sak_probe=on:presence_check=rnak:prefer=mifare",
    "/dev/ttyFUZZ:iso15693=on:escape=all:contactless_t0=on",
};

static struct {
    const uint8_t *in; /* what is left of the input */
    size_t left;
    unsigned kind;
    uint8_t card; /* type in the field, or the state of the contacts */
    bool obedient;
    struct transport t;
    uint8_t queue[QUEUE];
    size_t head, tail;
    struct vivo_assembly assembly;
    struct vivo_decoder decoder;
    struct aet63_decoder text;
    unsigned frames; /* in all; the reader falls silent behind FRAMES_MAX */
    unsigned apdus, proofs, again;
    uint32_t changes[CHANGES_MAX]; /* sums of the frames that change a card, in this call */
    unsigned changed;
    bool stop, formatted;
    uint8_t memory[16 * BLOCKS];
    int64_t now;     /* ns */
    int64_t ready;   /* what is in the queue can be read from then on */
    int64_t trickle; /* and from slow_from on each byte (HID: report) so much later than the one before; 0: together */
    size_t slow_from;
} fake;

static void check(int ok)
{
    if (!ok)
        abort();
}

static uint8_t next(void)
{
    if (fake.left == 0)
        return 0;
    fake.left--;
    return *fake.in++;
}

/* Up to n bytes of the input. */
static size_t take(uint8_t *out, size_t n)
{
    size_t i;

    for (i = 0; i < n && fake.left > 0; i++)
        out[i] = next();
    return i;
}

/* ---- time: nobody else is there, so a wait for somebody lasts until its deadline ---- */

static void pass(int64_t until)
{
    check(until != DEADLINE_NEVER);
    if (fake.now < until)
        fake.now = until;
}

int fuzz_clock_gettime(clockid_t id, struct timespec *t)
{
    (void)id;
    fake.now += 1000; /* what is asked for the time again and again sees it pass */
    *t = (struct timespec){.tv_sec = fake.now / CLOCK_NS_PER_S, .tv_nsec = fake.now % CLOCK_NS_PER_S};
    return 0;
}

int fuzz_poll(struct pollfd *fds, nfds_t n, int ms)
{
    int ready = poll(fds, n, 0);

    check(ms >= 0);
    if (ready <= 0) /* the fuzzer's own timer interrupts some */
        pass(fake.now + (int64_t)ms * CLOCK_NS_PER_MS);
    return ready < 0 ? 0 : ready;
}

int fuzz_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    (void)c;
    (void)m;
    pass((int64_t)until->tv_sec * CLOCK_NS_PER_S + until->tv_nsec);
    return ETIMEDOUT;
}

/* ---- what the reader says ---- */

static void empty(void)
{
    fake.head = fake.tail = fake.slow_from = 0;
    fake.trickle = 0;
}

static void say(const uint8_t *p, size_t n)
{
    if (n > QUEUE - fake.tail)
        return;
    memcpy(fake.queue + fake.tail, p, n);
    fake.tail += n;
}

static void say_vivo(uint8_t command, uint8_t status, const uint8_t *p, size_t n)
{
    uint8_t frame[VIVO_FRAME_MAX], report[VIVO_REPORT_SIZE];
    size_t at = 0, len = vivo_encode(command, status, p, n, NULL, 0, VIVO_MSB_FIRST, frame, sizeof frame);

    fake.proofs += status == 0x04;
    if (fake.kind == SERIAL)
        say(frame, len);
    else
        while (vivo_next_report(frame, len, &at, report))
            say(report, sizeof report);
}

static void say_aet63(uint8_t sw1, uint8_t sw2, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t raw[600], text[1300], sum = 0;
    size_t len = 0, at = 0;

    raw[len++] = AET63_HEADER;
    raw[len++] = sw1;
    raw[len++] = sw2;
    if (n >= 255)
        raw[len++] = 255;
    if (n >= 255)
        raw[len++] = (uint8_t)(n >> 8);
    raw[len++] = (uint8_t)n;
    memcpy(raw + len, p, n);
    len += n;
    text[at++] = AET63_STX;
    for (size_t i = 0; i <= len; i++) {
        raw[len] = sum;
        text[at++] = (uint8_t)digits[raw[i] >> 4];
        text[at++] = (uint8_t)digits[raw[i] & 15];
        sum ^= raw[i];
    }
    text[at++] = AET63_ETX;
    say(text, at);
}

/* A T=1 card that is content with everything. */
static void obey_block(const uint8_t *block, size_t n)
{
    uint8_t out[260] = {0, (uint8_t)(n > 1 ? block[1] & 0x40 : 0), 2, 0x90, 0x00};
    size_t len = 5;

    if (n > 4 && block[1] >= 0xC0) {
        len = 3u + block[2] < n ? 3u + block[2] : n;
        memcpy(out, block, len);
        out[1] |= 0x20;
    }
    out[len] = 0;
    for (size_t i = 0; i < len; i++)
        out[len] ^= out[i];
    say_aet63(0x90, 0, out, len + 1);
}

static void obey_aet63(uint8_t instruction, const uint8_t *data, size_t n)
{
    static const uint8_t t0[] = {0x3B, 0x02, 0x14, 0x50}, t1[] = {0x3B, 0x80, 0x01, 0x81};
    uint8_t status[16] = "AET63-0.67\xFF\xFF\x30";

    switch (instruction) {
    case 0x01:
        status[15] = fake.card & 3;
        say_aet63(0x90, 0, status, sizeof status);
        return;
    case 0x80:
    case 0x88:
        say_aet63(0x90, fake.card >> 2 & 1, fake.card & 4 ? t1 : t0, 4);
        return;
    case 0xA1:
    case 0xB1:
        obey_block(data, n);
        return;
    default:
        say_aet63(0x90, 0, (const uint8_t *)"\x90\x00", instruction >= 0xA0 ? 2 : 0);
    }
}

/* MIFARE: each key fits, the fourth block is a trailer, the others hold the value 100. A write is done. */
static void obey_blocks(uint8_t sub, const uint8_t *data, size_t n)
{
    static const uint8_t value[16] = {100, 0, 0, 0, 0x9B, 0xFF, 0xFF, 0xFF, 100, 0, 0, 0, 4, 0xFB, 4, 0xFB};
    static const uint8_t trailer[16] = {0, 0, 0, 0, 0, 0, 0xFF, 0x07, 0x80, 0x69};
    uint8_t out[15 * 16];
    size_t size = fake.card == 0x04 ? 4 : 16, count = n > 1 ? data[0] & 15 : 0, first = n > 1 ? data[1] : 0;

    if (!fake.formatted)
        for (size_t i = 0; i < BLOCKS; i++)
            memcpy(fake.memory + 16 * i, i % 4 == 3 ? trailer : value, 16);
    fake.formatted = true;
    if (sub == SUB_WRITE && first * size + n - 2 <= sizeof fake.memory)
        memcpy(fake.memory + first * size, data + 2, n - 2);
    if (sub == SUB_READ && first * size + count * 16 <= sizeof fake.memory)
        memcpy(out, fake.memory + first * size, count * 16);
    else
        count = 0;
    say_vivo(0x2C, 0, out, count * 16);
}

/* ISO 15693, behind the five bytes of a raw exchange: what the tag is, blocks of zeros, done. */
static void obey_vicinity(const uint8_t *data, size_t n)
{
    static const uint8_t about[] = {0, 0x0F, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x04, 0xE0, 0, 0, 27, 3, 1};
    uint8_t out[5 + 200] = {0}, code = n >= 9 ? data[8] : 0;
    size_t len = 1;

    if (code == 0x2B || code == 0x01)
        len = code == 0x01 ? 10 : sizeof about;
    memcpy(out + 5, about, len > 1 ? len : 0);
    if (code == 0x01)
        memcpy(out + 7, about + 2, 8);
    if (code == 0x20 || code == 0x23)
        len = 1 + 4 * (code == 0x20 ? 1u : data[n - 1] % 32 + 1u);
    out[4] = (uint8_t)(8 * len);
    out[3] = (uint8_t)(8 * len >> 8);
    say_vivo(0x2C, 0, out, 5 + len);
}

static void obey_vivo(uint8_t command, uint8_t sub, const uint8_t *data, size_t n)
{
    static const uint8_t atr[] = {0x3B, 0x80, 0x80, 0x01, 0x01};
    uint8_t poll[] = {fake.card, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x04, 0xE0};

    if (command == 0x2C && sub == SUB_RAW)
        obey_vicinity(data, n);
    else if (command == 0x2C && (sub == SUB_READ || sub == SUB_WRITE))
        obey_blocks(sub, data, n);
    else if (command == 0x29)
        say_vivo(command, 0, (const uint8_t *)"VP3300", 6);
    else if (command == 0x2C && (sub == 0x02 || sub == 0x0C || sub == 0x0E))
        say_vivo(command, 0, poll, !fake.card ? 0 : fake.card == 0x55 ? sizeof poll : 5);
    else if (command == 0x2C && sub == 0x12)
        say_vivo(command, 0, atr, sizeof atr);
    else if (command == 0x2C && (sub == 0x03 || sub == 0x13))
        say_vivo(command, 0, (const uint8_t *)"\x90\x00", 2);
    else
        say_vivo(command, 0, NULL, 0);
}

/* One command came: what it is answered is the input's choice. */
static void answer(uint8_t command, uint8_t sub, const uint8_t *data, size_t n)
{
    bool aet63 = fake.kind == AET63;
    uint8_t what = fake.obedient || fake.left == 0 ? 0 : next(), some[512];
    size_t len;

    fake.ready = fake.now + (what % 8 == 0 || what % 8 == 5 ? what >> 3 : 0) * 20 * CLOCK_NS_PER_MS;
    fake.trickle = what % 8 == 2 || what % 8 == 6 ? (what >> 3 & 15) * 20 * CLOCK_NS_PER_MS : 0;
    fake.slow_from = fake.tail;
    if (++fake.frames > FRAMES_MAX)
        return;
    if (aet63 ? (command & 0xEF) == 0xA0 : command == 0x2C && (sub == 0x03 || sub == 0x13))
        fake.apdus++;
    switch (what % 8) {
    case 0:
        break;
    case 1: /* nothing */
        return;
    case 2: /* raw bytes; who knows what they prove */
        len = take(some, next());
        say(some, len);
        fake.proofs += FRAMES_MAX;
        return;
    case 3: /* any status, any data */
    case 4:
        some[0] = next();
        some[1] = next();
        len = take(some + 2, what >> 3 == 31 ? 500 : what >> 3);
        if (aet63)
            say_aet63(some[0], some[1], some + 2, len);
        else
            say_vivo(what & 4 ? command : some[1], some[0], some + 2, len);
        return;
    case 5: /* done, any data */
        len = take(some, next());
        if (aet63)
            say_aet63(0x90, 0, some, len);
        else
            say_vivo(command, 0, some, len);
        return;
    case 6: /* an event, or the boot frame, in front of the answer; or what may be the beginning of a frame behind it */
        if (what & 0x80)
            break;
        if (aet63)
            say_aet63(0xFF, (what >> 3) & 3, (const uint8_t *)"\x12", (what >> 5) & 1);
        else
            say_vivo(0x14, 0x01, NULL, 0);
        break;
    default: /* refused: not executed */
        fake.proofs += aet63; /* status 04 is counted where it is said */
        if (aet63)
            say((const uint8_t *)"\x05\x05", 2);
        else
            say_vivo(command, what & 8 ? 0x04 : 0x0A, NULL, 0);
        return;
    }
    if (aet63)
        obey_aet63(command, data, n);
    else
        obey_vivo(command, sub, data, n);
    if (what % 8 == 6) {
        fake.slow_from = fake.tail;
        memset(some, aet63 ? AET63_STX : 'V', sizeof some);
        if (what & 0x80)
            say(some, sizeof some);
    }
}

/* ---- the transport ---- */

static void hear_aet63(const uint8_t *p, size_t n)
{
    struct aet63_command c;

    while (n > 0) {
        enum aet63_input in = aet63_decode(&fake.text, &p, &n);

        if (in == AET63_RAW) {
            check(aet63_parse_command(fake.text.raw, fake.text.raw_len, &c) == R_SUCCESS);
            answer(c.instruction, 0, c.data, c.n);
        }
        check(in != AET63_BROKEN);
    }
}

/* A MIFARE write, a purse command, or a command of ISO 15693 that writes, locks, or is the maker's own. */
static bool changes_a_card(const struct vivo_frame *f)
{
    uint8_t code = f->n >= 9 ? f->data[8] : 0; /* behind the raw exchange's head and the tag's flags */

    if (f->command != 0x2C || f->status != SUB_RAW)
        return f->command == 0x2C && (f->status == SUB_WRITE || f->status == SUB_PURSE);
    return code == 0x21 || code == 0x22 || code == 0x24 || (code >= 0x27 && code <= 0x2A) || code >= 0xA0;
}

/* Counts such a frame that goes out in the same call once more. */
static void count_change(const struct vivo_frame *f)
{
    uint32_t sum = 2166136261u ^ f->status;

    if (!changes_a_card(f))
        return;
    for (size_t i = 0; i < f->n; i++)
        sum = (sum ^ f->data[i]) * 16777619u;
    for (unsigned i = 0; i < fake.changed; i++)
        fake.again += fake.changes[i] == sum;
    if (fake.changed < CHANGES_MAX)
        fake.changes[fake.changed++] = sum;
}

static void hear_vivo(const uint8_t *p, size_t n)
{
    struct vivo_frame f;

    vivo_decoder_reset(&fake.decoder);
    check(vivo_decode(&fake.decoder, &p, &n, &f) == VIVO_FRAME); /* no broken frame ever leaves the driver */
    count_change(&f);
    answer(f.command, f.status, f.data, f.n);
}

static enum result fake_write(struct transport *t, const uint8_t *data, size_t n, deadline_t until)
{
    (void)t;
    check(until != DEADLINE_NEVER);
    if (fake.stop)
        return R_CANCELLED;
    if (until <= fake.now)
        return R_TIMEOUT;
    if (fake.kind == AET63)
        hear_aet63(data, n);
    else if (fake.kind == SERIAL)
        hear_vivo(data, n);
    else if (vivo_assemble(&fake.assembly, data, n))
        hear_vivo(fake.assembly.bytes, fake.assembly.len);
    return R_SUCCESS;
}

static enum result fake_read(struct transport *t, uint8_t *chunk, size_t cap, size_t *n, unsigned *pipe,
                             deadline_t until)
{
    bool slow = fake.trickle > 0 && fake.head >= fake.slow_from;
    size_t now = (slow || fake.trickle == 0 ? fake.tail : fake.slow_from) - fake.head;
    size_t most = fake.kind != SERIAL ? CHUNK : slow ? 1 : cap;

    (void)t;
    *pipe = 0;
    if (fake.stop)
        return R_CANCELLED;
    check(until != DEADLINE_NEVER);
    if (now == 0)
        empty();
    if (now == 0 || (fake.ready > fake.now && fake.ready > until)) {
        pass(until);
        return R_TIMEOUT;
    }
    pass(fake.ready);
    *n = now < most ? now : most;
    memcpy(chunk, fake.queue + fake.head, *n);
    fake.head += *n;
    fake.ready = fake.now + (fake.head >= fake.slow_from ? fake.trickle : 0);
    return R_SUCCESS;
}

static bool fake_pending(struct transport *t)
{
    (void)t;
    return fake.head < fake.tail && fake.ready <= fake.now;
}

static void fake_cancel(struct transport *t)
{
    (void)t;
    fake.stop = true;
}

static enum result fake_reset(struct transport *t)
{
    (void)t;
    empty();
    return next() & 1 ? R_SUCCESS : R_GONE;
}

static void fake_close(struct transport *t)
{
    (void)t;
    empty();
}

static const struct transport_ops usb_ops = {fake_write, fake_read, fake_pending, fake_cancel, fake_reset, fake_close};
static const struct transport_ops serial_ops = {fake_write, fake_read, NULL, fake_cancel, fake_reset, fake_close};

static enum result open_fake(struct transport **out, const struct transport_ops *ops)
{
    fake.t = (struct transport){.ops = ops};
    empty();
    *out = &fake.t;
    return R_SUCCESS;
}

enum result usb_open(struct transport **out, const struct usb_open_options *o)
{
    (void)o;
    return open_fake(out, &usb_ops);
}

enum result usb_read_facts(const struct usb_address *a, struct transport_facts *facts, struct log *log)
{
    (void)log;
    *facts = (struct transport_facts){.vid = a->vid, .pid = a->pid, .serial = "F1"};
    return R_SUCCESS;
}

enum result usb_hid_report_descriptor(struct transport *t, uint8_t *buf, size_t cap, size_t *n, deadline_t until)
{
    (void)t;
    (void)until;
    *n = fake.obedient ? 0 : take(buf, next() < cap ? 60 : 0);
    return R_SUCCESS;
}

enum result serial_open(struct transport **out, const char *path, unsigned baud, struct log *log)
{
    (void)path;
    (void)baud;
    (void)log;
    return open_fake(out, &serial_ops);
}

enum result serial_set_baud(struct transport *t, unsigned baud)
{
    (void)t;
    (void)baud;
    empty();
    return R_SUCCESS;
}

bool serial_node_exists(const char *path)
{
    (void)path;
    return true;
}

/* ---- the client ---- */

enum { READER_CAP = 5000, POWER_CAP = 30000, APDU_CAP = 60000, TFM_CAP = 120000, SLACK = 100 }; /* ms */

/* A call that began at `from` has returned; the slack is what reading the clock costs here. */
static void ended(RESPONSECODE rc, int64_t from, unsigned cap_ms)
{
    int64_t took = (fake.now - from) / CLOCK_NS_PER_MS;

    if (took > (int64_t)cap_ms + SLACK) {
        (void)fprintf(stderr, "a call took %lld ms, its cap is %u\n", (long long)took, cap_ms);
        abort();
    }
    check(rc == IFD_SUCCESS || (rc >= IFD_ERROR_TAG && rc <= IFD_ERROR_INSUFFICIENT_BUFFER));
}

/* An APDU: its beginning from the table, or all of it from the input. */
static size_t command(uint8_t *out, size_t cap)
{
    static const char *const begins[] = {
        "\xFF\xCA\x00\x00\x00",     "\xFF\x82\x00\x00\x06",     "\xFF\x86\x00\x00\x05\x01\x00", "\xFF\xB0\x00\x04\x10",
        "\xFF\xD6\x00\x04\x10",     "\xFF\xD7\x00\x04\x05",     "\xFF\xC2\x00\x01",             "\xFF\xC2\x00\x00",
        "\xFF\xF5\x2C\x0A",         "\xFF\xF6\x20\x00\x01",     "\xFF\xF6\x01\x00",             "\xFF\x30\x00",
        "\xFF\x70\x0A\xCD\x00\x00", "\xFF\x70\x07\x2F\x00\x00", "\xFF\xEF",                     "\xFF\xC2\x00\x02",
    };
    static const size_t lengths[] = {5, 5, 7, 5, 5, 5, 4, 4, 4, 5, 4, 3, 6, 6, 2, 4};
    uint8_t what = next();
    size_t n = 0;

    if (what & 0x80) {
        n = lengths[what & 15];
        memcpy(out, begins[what & 15], n);
        what = next() & 31;
    }
    return n + take(out + n, what < cap - n ? what : cap - n);
}

/* A transparent session repeats what its client does. */
static bool transparent(const uint8_t *apdu, size_t n)
{
    return n > 1 && apdu[0] == 0xFF && apdu[1] == 0xC2;
}

static void transmit(DWORD lun)
{
    static SCARD_IO_HEADER receive;
    SCARD_IO_HEADER send = {.Protocol = next() % 3, .Length = sizeof send};
    uint8_t apdu[300];
    DWORD cap = next() * 2u, len = cap;
    size_t n = command(apdu, sizeof apdu);
    uint8_t *tx = malloc(n > 0 ? n : 1), *rx = malloc(cap > 0 ? cap : 1);
    int64_t from = fake.now;
    RESPONSECODE rc;

    check(tx && rx);
    memcpy(tx, apdu, n);
    fake.apdus = fake.proofs = fake.again = fake.changed = 0;
    rc = IFDHTransmitToICC(lun, send, tx, n, rx, &len, &receive);
    ended(rc, from, APDU_CAP);
    check(len <= cap && (rc == IFD_SUCCESS ? len >= 2 : len == 0));
    check(fake.again <= fake.proofs || transparent(tx, n));
    check(n == 0 || tx[0] == 0xFF || (fake.kind == AET63 && fake.card & 4) || fake.apdus <= 1 + fake.proofs); /* in T=1, blocks */
    free(tx);
    free(rx);
}

static void control(DWORD lun)
{
    static const DWORD codes[] = {SCARD_CTL_CODE(1), SCARD_CTL_CODE(3400), SCARD_CTL_CODE(3500), SCARD_CTL_CODE(2048)};
    uint8_t apdu[300], what = next();
    DWORD cap = next(), len = 1;
    size_t n = command(apdu, sizeof apdu);
    uint8_t *rx = malloc(cap > 0 ? cap : 1);
    int64_t from = fake.now;
    RESPONSECODE rc;

    check(rx != NULL);
    fake.apdus = fake.proofs = fake.again = fake.changed = 0;
    rc = IFDHControl(lun, what & 0x80 ? what : codes[what % 4], apdu, n, rx, cap, &len);
    ended(rc, from, fake.kind == AET63 ? TFM_CAP : APDU_CAP);
    check(fake.again <= fake.proofs || transparent(apdu, n));
    check(len <= cap && (rc == IFD_SUCCESS || len == 0));
    free(rx);
}

static void power(DWORD lun, DWORD action)
{
    uint8_t atr[MAX_ATR_SIZE];
    DWORD len = 99;
    int64_t from = fake.now;
    RESPONSECODE rc = IFDHPowerICC(lun, action, atr, &len);

    ended(rc, from, POWER_CAP);
    check(len <= sizeof atr && (rc == IFD_SUCCESS || len == 0));
}

static void attribute(DWORD lun, bool set)
{
    DWORD tag = (DWORD)next() << 16 | (DWORD)next() << 8 | next(), cap = next(), len = cap;
    uint8_t *value = malloc(cap > 0 ? cap : 1);
    int64_t from = fake.now;

    check(value != NULL);
    if (set)
        ended(IFDHSetCapabilities(lun, tag, take(value, cap), value), from, READER_CAP);
    else
        ended(IFDHGetCapabilities(lun, tag, &len, value), from, READER_CAP);
    free(value);
}

static void look(DWORD lun)
{
    int64_t from = fake.now;

    ended(IFDHICCPresence(lun), from, READER_CAP);
}

static void watch(DWORD lun, unsigned ms)
{
    int64_t from = fake.now;

    ended(ifd_poll(lun, (int)ms), from, ms + READER_CAP);
}

static void choose(DWORD lun, DWORD protocol)
{
    int64_t from = fake.now;

    ended(IFDHSetProtocolParameters(lun, protocol, 0, 0, 0, 0), from, POWER_CAP);
}

static void one_call(DWORD lun)
{
    uint8_t what = next();

    switch (what % 12) {
    case 0:
        look(lun);
        return;
    case 1:
        watch(lun, 1u << (what >> 4));
        return;
    case 2:
        power(lun, IFD_POWER_UP + (what >> 4) % 4);
        return;
    case 3:
        choose(lun, 1 + (what >> 4) % 3);
        return;
    case 4:
        control(lun);
        return;
    case 5:
        attribute(lun, what & 0x80);
        return;
    default:
        transmit(lun);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    stub_log_echo(getenv("FUZZ_LOG") != NULL); /* for who looks at one input */
    check(setenv("IFD_PURSE_CONF", "/dev/null", 1) == 0 && setenv("IFD_PURSE_LOG", "15", 1) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const usb_names[] = {"usb:072f/8002:libusb-1.0:1:9:0", "usb:0acd/3530:libusb-1.0:1:9:0"};
    RESPONSECODE rc;
    const char *name;
    DWORD slots = 1;
    uint8_t how;

    if (size < 4)
        return 0;
    memset(&fake, 0, sizeof fake);
    fake.in = data;
    fake.left = size;
    how = next();
    fake.kind = how % KINDS;
    fake.card = next();
    fake.obedient = !(how & 0x80);
    name = fake.kind == SERIAL ? serial_names[how >> 3 & 3] : usb_names[fake.kind];
    check(setenv("IFD_PURSE_SLOTS", how & 0x40 ? "card.sam" : "card", 1) == 0);
    rc = IFDHCreateChannelByName(0, (LPSTR)(uintptr_t)name);
    ended(rc, 0, READER_CAP);
    if (rc != IFD_SUCCESS)
        return 0;
    if (fake.kind == SERIAL ? (how >> 3 & 3) == 1 : fake.kind == AET63 && how & 0x40)
        slots = fake.kind == SERIAL ? 3 : 2;
    for (DWORD slot = 1; slot < slots; slot++)
        check(IFDHCreateChannelByName(slot, (LPSTR)(uintptr_t)name) == IFD_SUCCESS);
    for (DWORD slot = 0; slot < slots; slot++) { /* as pcscd does when it begins to watch a slot, and a client comes */
        look(slot);
        watch(slot, 1);
        look(slot);
        power(slot, IFD_POWER_UP);
        choose(slot, fake.card & 4 && fake.kind == AET63 ? 2 : 1);
    }
    fake.obedient = false;
    for (unsigned calls = 0; fake.left > 0 && calls < CALLS_MAX; calls++)
        one_call(slots > 1 ? next() % slots : 0);
    for (DWORD slot = 0; slot < slots; slot++)
        check(IFDHCloseChannel(slot) == IFD_SUCCESS);
    return 0;
}
