/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The bare transport: the same exchange with the same simulated reader as a driver has, without a driver, pcscd or
 * client. What a driver adds is told in multiples of this. Times are medians, in microseconds.
 *
 *   bare aet63 N          N short APDUs to the card of the first AET63, by libusb's plain calls: one control transfer, then
 *                         interrupt packets up to the end of the answer
 *   bare ccid N           N short APDUs to the card of the benchmark's CCID reader: one bulk transfer each way
 *   bare vpcd PORT N      N short APDUs to a card that connects to this TCP port, as to vpcd
 *   bare hid N            N short APDUs to the card of a ViVOpay reader on USB-HID: one report each way
 *   bare neo TTY N        N short APDUs to the card of a ViVOpay reader on a serial line: one write, poll and read until the
 *                         answer is complete
 *
 * The messages are put together here by hand, from the protocol's description: nothing is shared with the driver.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libusb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 5000, TIMES_MAX = 1000000 };

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bare: %s\n", what);
    exit(1);
}

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

typedef void (*exchange_fn)(void *arg);

static void measure(exchange_fn exchange, void *arg, const char *text)
{
    unsigned long n = strtoul(text, NULL, 10);
    double *v = n > 0 && n <= TIMES_MAX ? calloc(n, sizeof *v) : NULL;

    if (!v)
        die("no number of times");
    for (unsigned long i = 0; i < n / 10 + 1; i++)
        exchange(arg); /* to get warm */
    for (unsigned long i = 0; i < n; i++) {
        double begin = now_us();

        exchange(arg);
        v[i] = now_us() - begin;
    }
    qsort(v, n, sizeof *v, ascending);
    printf("p50=%.1f\n", v[n / 2]);
    free(v);
}

/* ---- AET63 --------------------------------------------------------------------------------------------------------- */

enum { VENDOR = 0x072F, PRODUCT = 0x8002, EP_IN = 0x81, PACKET = 8, STX = 2, ETX = 3 };

/* Sends header, instruction, length and data with their checksum as text, and reads up to the end of the answer, whose
 * SW1 must be 90. */
static void aet63_exchange(libusb_device_handle *h, uint8_t instruction, const uint8_t *data, uint8_t n)
{
    unsigned char text[64], packet[PACKET], answer[64];
    uint8_t raw[32] = {0x01, instruction, n}, sum = 0;
    int got = 0, at = 0;
    size_t used = 0;

    memcpy(raw + 3, data, n);
    text[at++] = STX;
    for (unsigned i = 0; i < 3u + n; i++) {
        sum ^= raw[i];
        at += snprintf((char *)text + at, 3, "%02X", raw[i]);
    }
    at += snprintf((char *)text + at, 3, "%02X", sum);
    text[at++] = ETX;
    if (libusb_control_transfer(h, 0x40, 0, 0, 0, text, (uint16_t)at, WAIT_MS) != at)
        die("the command did not leave");
    do {
        if (libusb_interrupt_transfer(h, EP_IN, packet, PACKET, &got, WAIT_MS) != 0 || used + PACKET > sizeof answer)
            die("no answer");
        memcpy(answer + used, packet, (size_t)got);
        used += (size_t)got;
    } while (!memchr(packet, ETX, (size_t)got));
    if (memcmp(answer + 3, "90", 2) != 0)
        die("the reader refused a command");
}

static void aet63_select(void *arg)
{
    static const uint8_t select[] = {0x00, 0xA4, 0x00, 0x00, 0x00, 0x00};

    aet63_exchange(arg, 0xA0, select, sizeof select);
}

static int run_aet63(char **argv)
{
    static const uint8_t automatic[] = {0x00};
    unsigned char junk[PACKET];
    libusb_device_handle *h = NULL;
    int got;

    if (libusb_init(NULL) != 0 || !(h = libusb_open_device_with_vid_pid(NULL, VENDOR, PRODUCT)))
        die("no AET63");
    libusb_set_auto_detach_kernel_driver(h, 1);
    if (libusb_claim_interface(h, 0) != 0)
        die("the AET63 is in use");
    while (libusb_interrupt_transfer(h, EP_IN, junk, PACKET, &got, 100) == 0)
        ;
    aet63_exchange(h, 0x02, automatic, sizeof automatic);
    aet63_exchange(h, 0x80, NULL, 0);
    measure(aet63_select, h, argv[0]);
    libusb_close(h);
    libusb_exit(NULL);
    return 0;
}

/* ---- CCID ---------------------------------------------------------------------------------------------------------- */

struct ccid {
    libusb_device_handle *handle;
    uint8_t sequence;
};

/* One message with n bytes of data and its answer, whose bStatus must tell of no failure. */
static void ccid_exchange(struct ccid *c, uint8_t type, const uint8_t *data, uint8_t n)
{
    uint8_t message[64] = {type, n, 0, 0, 0, 0, c->sequence++}, answer[271];
    int moved = 0;

    memcpy(message + 10, data, n);
    if (libusb_bulk_transfer(c->handle, 0x01, message, 10 + n, &moved, WAIT_MS) != 0)
        die("the command did not leave");
    if (libusb_bulk_transfer(c->handle, 0x82, answer, sizeof answer, &moved, WAIT_MS) != 0 || moved < 10 ||
        (answer[7] & 0xC0) != 0)
        die("no answer");
}

static void ccid_select(void *arg)
{
    static const uint8_t select[] = {0x00, 0xA4, 0x00, 0x00, 0x00};

    ccid_exchange(arg, 0x6F, select, sizeof select);
}

static int run_ccid(char **argv)
{
    struct ccid c = {NULL, 0};

    if (libusb_init(NULL) != 0 || !(c.handle = libusb_open_device_with_vid_pid(NULL, 0x08E6, 0x3437)))
        die("no CCID reader");
    if (libusb_claim_interface(c.handle, 0) != 0)
        die("the CCID reader is in use");
    ccid_exchange(&c, 0x62, (const uint8_t *)"", 0);
    measure(ccid_select, &c, argv[0]);
    libusb_close(c.handle);
    libusb_exit(NULL);
    return 0;
}

/* ---- vpcd ---------------------------------------------------------------------------------------------------------- */

static void vpcd_select(void *arg)
{
    static const uint8_t select[] = {0, 5, 0x00, 0xA4, 0x00, 0x00, 0x00};
    uint8_t answer[4];
    int fd = *(int *)arg;
    size_t used = 0;

    if (write(fd, select, sizeof select) != sizeof select)
        die("the command did not leave");
    while (used < sizeof answer) {
        ssize_t k = read(fd, answer + used, sizeof answer - used);

        if (k <= 0)
            die("no answer");
        used += (size_t)k;
    }
}

static int run_vpcd(char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[0])),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, fd;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 1) != 0)
        die("the port is taken");
    fd = accept(listener, NULL, NULL);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    measure(vpcd_select, &fd, argv[1]);
    close(fd);
    close(listener);
    return 0;
}

/* ---- ViVOpay on a serial line -------------------------------------------------------------------------------------- */

static const uint8_t neo_header[] = {'V', 'i', 'V', 'O', 't', 'e', 'c', 'h', '2', 0};

/* CRC-16, polynomial 1021, from FFFF, not reflected. */
static uint16_t neo_crc(const uint8_t *p, size_t n)
{
    uint16_t crc = 0xFFFF;

    for (size_t i = 0; i < n; i++) {
        crc ^= (uint16_t)(p[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

/* One command of the pass-through family; returns its length. */
static size_t neo_frame(uint8_t *frame, uint8_t sub, const uint8_t *data, uint8_t n)
{
    uint16_t crc;

    memcpy(frame, neo_header, sizeof neo_header);
    frame[10] = 0x2C;
    frame[11] = sub;
    frame[12] = 0;
    frame[13] = n;
    memcpy(frame + 14, data, n);
    crc = neo_crc(frame, 14u + n);
    frame[14 + n] = (uint8_t)(crc >> 8);
    frame[15 + n] = (uint8_t)crc;
    return 16u + n;
}

/* That command and its answer, which must be status 00. */
static void neo_exchange(int fd, uint8_t sub, const uint8_t *data, uint8_t n)
{
    uint8_t frame[64], answer[600];
    size_t used = 0, want = 16, len = neo_frame(frame, sub, data, n);

    if (write(fd, frame, len) != (ssize_t)len)
        die("the command did not leave");
    while (used < want) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t k = poll(&p, 1, WAIT_MS) == 1 ? read(fd, answer + used, sizeof answer - used) : 0;

        if (k <= 0 && errno != EAGAIN)
            die("no answer");
        used += k > 0 ? (size_t)k : 0;
        if (used >= 14)
            want = 16u + (size_t)(answer[12] << 8 | answer[13]);
        if (want > sizeof answer)
            die("an answer that is too long");
    }
    if (answer[11] != 0)
        die("the reader refused a command");
}

static void neo_select(void *arg)
{
    static const uint8_t select[] = {0x00, 0xA4, 0x00, 0x00};

    neo_exchange(*(int *)arg, 0x03, select, sizeof select);
}

static int run_neo(char **argv)
{
    static const uint8_t start[] = {1}, poll_1s[] = {1, 0};
    int fd = open(argv[0], O_RDWR | O_NOCTTY | O_NONBLOCK);
    struct termios t;

    if (fd < 0 || tcgetattr(fd, &t) != 0)
        die("the port cannot be opened");
    cfmakeraw(&t);
    cfsetspeed(&t, B115200);
    t.c_cflag |= CLOCAL | CREAD;
    if (tcsetattr(fd, TCSANOW, &t) != 0)
        die("the port cannot be set up");
    neo_exchange(fd, 0x01, start, sizeof start);
    neo_exchange(fd, 0x02, poll_1s, sizeof poll_1s);
    measure(neo_select, &fd, argv[1]);
    close(fd);
    return 0;
}

/* ---- ViVOpay on USB-HID ------------------------------------------------------------------------------------------ */

enum { NEO_VENDOR = 0x0ACD, NEO_PRODUCT = 0x3530, REPORT = 64, WHOLE = 1 };

static void hid_exchange(libusb_device_handle *h, uint8_t sub, const uint8_t *data, uint8_t n)
{
    uint8_t report[REPORT] = {WHOLE}, answer[REPORT];
    int moved = 0;

    (void)neo_frame(report + 1, sub, data, n);
    if (libusb_interrupt_transfer(h, 0x02, report, REPORT, &moved, WAIT_MS) != 0)
        die("the command did not leave");
    if (libusb_interrupt_transfer(h, EP_IN, answer, REPORT, &moved, WAIT_MS) != 0 || moved < 17 || answer[0] != WHOLE ||
        answer[12] != 0)
        die("no answer, or the reader refused a command");
}

static void hid_select(void *arg)
{
    static const uint8_t select[] = {0x00, 0xA4, 0x00, 0x00};

    hid_exchange(arg, 0x03, select, sizeof select);
}

static int run_hid(char **argv)
{
    static const uint8_t start[] = {1}, poll_1s[] = {1, 0};
    libusb_device_handle *h = NULL;

    if (libusb_init(NULL) != 0 || !(h = libusb_open_device_with_vid_pid(NULL, NEO_VENDOR, NEO_PRODUCT)))
        die("no ViVOpay reader");
    libusb_set_auto_detach_kernel_driver(h, 1);
    if (libusb_claim_interface(h, 0) != 0)
        die("the ViVOpay reader is in use");
    hid_exchange(h, 0x01, start, sizeof start);
    hid_exchange(h, 0x02, poll_1s, sizeof poll_1s);
    measure(hid_select, h, argv[0]);
    libusb_close(h);
    libusb_exit(NULL);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "aet63") == 0)
        return run_aet63(argv + 2);
    if (argc == 4 && strcmp(argv[1], "neo") == 0)
        return run_neo(argv + 2);
    if (argc == 3 && strcmp(argv[1], "hid") == 0)
        return run_hid(argv + 2);
    if (argc == 3 && strcmp(argv[1], "ccid") == 0)
        return run_ccid(argv + 2);
    if (argc == 4 && strcmp(argv[1], "vpcd") == 0)
        return run_vpcd(argv + 2);
    fputs("usage: bare aet63 N | bare hid N | bare ccid N | bare vpcd PORT N | bare neo TTY N\n", stderr);
    return 2;
}
