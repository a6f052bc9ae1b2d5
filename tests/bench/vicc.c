/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A card for vpcd, the virtual reader of vsmartcard, so that it can be measured on the same bed: connects to vpcd's port
 * on this machine and answers every APDU with 90 00. Each message is two bytes of length, high byte first, and that many
 * bytes; a single byte is a control code: 0 power off, 1 power on, 2 reset, 4 the ATR is asked for.
 *
 *   vicc PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TRIES = 500, TRY_US = 10000, ASK_ATR = 4 };

/* vpcd sends length and data apart: an acknowledgement that is held back would cost 40 ms. */
static bool get(int fd, uint8_t *p, size_t n)
{
    const int on = 1;

    while (n > 0) {
        ssize_t now = read(fd, p, n);

        if (now <= 0)
            return false;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
        p += now;
        n -= (size_t)now;
    }
    return true;
}

static bool put(int fd, const uint8_t *p, size_t n)
{
    return write(fd, p, n) == (ssize_t)n;
}

/* vpcd listens as soon as pcscd has loaded it; how soon that is, nobody tells. */
static int connect_to(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;

    for (int i = 0; i < TRIES; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            return fd;
        }
        if (fd >= 0)
            close(fd);
        usleep(TRY_US);
    }
    return -1;
}

int main(int argc, char **argv)
{
    static const uint8_t atr[] = {0, 4, 0x3B, 0x02, 0x14, 0x50}, done[] = {0, 2, 0x90, 0x00};
    static uint8_t message[65536];
    uint8_t length[2];
    int fd = argc == 2 ? connect_to((uint16_t)atoi(argv[1])) : -1;

    if (fd < 0) {
        fprintf(stderr, "vicc: no vpcd listens there\n");
        return 1;
    }
    while (get(fd, length, sizeof length)) {
        size_t n = (size_t)length[0] << 8 | length[1];

        if (!get(fd, message, n))
            break;
        if (n > 1 && !put(fd, done, sizeof done))
            break;
        if (n == 1 && message[0] == ASK_ATR && !put(fd, atr, sizeof atr))
            break;
    }
    close(fd);
    return 0;
}
