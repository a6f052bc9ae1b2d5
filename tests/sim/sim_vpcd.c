/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A card outside the simulator, behind the vpcd wire protocol: any virtual card that speaks it (vsmartcard's vicc, for
 * one) connects by TCP and is the card from then on, until it goes away.
 *
 * Wire: each message is a 2-byte big-endian length and that many bytes. One-byte messages to the card are controls: 0
 * power off, 1 power on, 2 reset, 4 "tell your ATR"; longer ones are APDUs. Only 4 and APDUs are answered, in order.
 *
 * Options: port=N (0: the system chooses one), timeout=MS (how long an APDU, or the ATR after the connection, may take;
 * 30000 by default). One client at a time; others wait in the listening queue. Only 127.0.0.1 is listened on.
 *
 * Threads. Each such card has one thread of its own, which does nothing but poll() and move bytes; it takes the
 * simulator's lock while it touches the card's state and calls back. All other functions are called with the lock held
 * and never block: they put bytes into a buffer and wake the thread. Destruction only marks the card: the thread closes
 * its sockets and frees it.
 *
 * The card counts as present from the moment its ATR has come. An APDU not answered in time is reported as silence,
 * and its answer, should it come later, is thrown away: answers are owed in order, and owed[] remembers what each is.
 */
#include "sim_vpcd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sim_cards.h"

enum { MESSAGE_MAX = 65535, OWED_MAX = 16, CONTROL_OFF = 0, CONTROL_ON = 1, CONTROL_RESET = 2, CONTROL_ATR = 4 };

enum owed { OWED_ATR, OWED_RAPDU, OWED_NOBODY };

struct sim_card {
    int listener, client, wake;
    unsigned port;
    unsigned long timeout_ms;
    bool dead;
    bool present;
    bool broken; /* the thread shall drop the client */
    uint8_t atr[SIM_ATR_MAX];
    size_t atr_n;
    enum owed owed[OWED_MAX];
    size_t n_owed;
    sim_card_done done;
    void *done_arg;
    sim_card_changed changed;
    void *changed_arg;
    unsigned timer;
    unsigned long executions;
    size_t tx_n, rx_n;
    uint8_t tx[3 * (2 + MESSAGE_MAX)], rx[2 + MESSAGE_MAX];
};

/* ---- with the lock held ----------------------------------------------------------------------------------- */

static void wake_thread(struct sim_card *c)
{
    uint64_t one = 1;
    ssize_t n = write(c->wake, &one, sizeof one);
    (void)n; /* a full counter wakes the thread as well */
}

/* Puts one message into the buffer; a client that does not read is given up. */
static bool post(struct sim_card *c, const uint8_t *p, size_t n)
{
    if (c->client < 0 || c->broken || n > MESSAGE_MAX || c->tx_n + 2 + n > sizeof c->tx) {
        c->broken = true;
        wake_thread(c);
        return false;
    }
    c->tx[c->tx_n++] = (uint8_t)(n >> 8);
    c->tx[c->tx_n++] = (uint8_t)n;
    memcpy(c->tx + c->tx_n, p, n);
    c->tx_n += n;
    wake_thread(c);
    return true;
}

static void post_control(struct sim_card *c, uint8_t what)
{
    if (c->present)
        (void)post(c, &what, 1);
}

static bool owe(struct sim_card *c, enum owed what)
{
    if (c->n_owed == OWED_MAX)
        return false;
    c->owed[c->n_owed++] = what;
    return true;
}

static void stop_timer(struct sim_card *c)
{
    if (c->timer != 0)
        sim_timer_cancel(c->timer);
    c->timer = 0;
}

/* Ends the APDU under way, if any. Whatever the client still answers to it is nobody's. */
static void finish(struct sim_card *c, const uint8_t *rapdu, size_t n)
{
    sim_card_done done = c->done;

    c->done = NULL;
    for (size_t i = 0; i < c->n_owed; i++)
        if (c->owed[i] == OWED_RAPDU)
            c->owed[i] = OWED_NOBODY;
    if (done == NULL)
        return;
    stop_timer(c);
    done(c->done_arg, rapdu, n);
}

static void too_late(void *arg)
{
    struct sim_card *c = arg;

    c->timer = 0;
    if (c->done != NULL) {
        finish(c, NULL, 0);
    } else if (!c->present) { /* connected, but never told its ATR */
        c->broken = true;
        wake_thread(c);
    }
}

static void set_present(struct sim_card *c, bool present)
{
    if (c->present == present)
        return;
    c->present = present;
    if (c->changed != NULL && !c->dead)
        c->changed(c->changed_arg, present);
}

static void take_answer(struct sim_card *c, const uint8_t *p, size_t n)
{
    enum owed what = OWED_NOBODY;

    if (c->n_owed > 0) {
        what = c->owed[0];
        memmove(c->owed, c->owed + 1, --c->n_owed * sizeof c->owed[0]);
    }
    if (what == OWED_ATR) {
        if (n > 0 && n <= sizeof c->atr) {
            memcpy(c->atr, p, n);
            c->atr_n = n;
        }
        stop_timer(c);
        set_present(c, true);
    } else if (what == OWED_RAPDU) {
        finish(c, p, n);
    }
}

/* ---- the thread ------------------------------------------------------------------------------------------- */

static void drop_client(struct sim_card *c)
{
    if (c->client >= 0)
        close(c->client);
    c->client = -1;
    c->broken = false;
    c->tx_n = c->rx_n = c->n_owed = c->atr_n = 0;
    stop_timer(c);
    set_present(c, false); /* calls the APDU off by cancel(), as for any removal */
    finish(c, NULL, 0);
}

static void accept_client(struct sim_card *c)
{
    static const uint8_t ask = CONTROL_ATR;
    int one = 1;

    c->client = accept4(c->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (c->client < 0)
        return;
    (void)setsockopt(c->client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (owe(c, OWED_ATR) && post(c, &ask, 1))
        c->timer = sim_timer_add((unsigned)c->timeout_ms, too_late, c);
}

static void flush(struct sim_card *c)
{
    ssize_t n = send(c->client, c->tx, c->tx_n, MSG_NOSIGNAL);

    if (n < 0) {
        c->broken = errno != EAGAIN && errno != EINTR;
        return;
    }
    c->tx_n -= (size_t)n;
    memmove(c->tx, c->tx + n, c->tx_n);
}

static void read_client(struct sim_card *c)
{
    ssize_t n = recv(c->client, c->rx + c->rx_n, sizeof c->rx - c->rx_n, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        c->broken = true;
    if (n <= 0)
        return;
    c->rx_n += (size_t)n;
    while (!c->dead && c->rx_n >= 2) {
        size_t len = (size_t)c->rx[0] << 8 | c->rx[1];
        if (c->rx_n < 2 + len)
            break;
        take_answer(c, c->rx + 2, len);
        c->rx_n -= 2 + len;
        memmove(c->rx, c->rx + 2 + len, c->rx_n);
    }
}

static void handle(struct sim_card *c, short client_events, short listener_events)
{
    if (c->client >= 0 && !c->broken && (client_events & POLLOUT) != 0)
        flush(c);
    if (c->client >= 0 && !c->broken && (client_events & (POLLIN | POLLHUP | POLLERR)) != 0)
        read_client(c);
    if (c->client >= 0 && c->broken)
        drop_client(c);
    if (!c->dead && c->client < 0 && (listener_events & POLLIN) != 0)
        accept_client(c);
}

static void *run(void *arg)
{
    struct sim_card *c = arg;
    uint64_t count;

    sim_lock();
    while (!c->dead) {
        struct pollfd fds[3] = {
            {.fd = c->wake, .events = POLLIN},
            {.fd = c->client < 0 ? c->listener : -1, .events = POLLIN},
            {.fd = c->client, .events = (short)(POLLIN | (c->tx_n > 0 ? POLLOUT : 0))},
        };
        sim_unlock();
        (void)poll(fds, 3, -1);
        if (fds[0].revents != 0 && read(c->wake, &count, sizeof count) < 0 && errno != EAGAIN)
            fds[0].revents = 0;
        sim_lock();
        if (!c->dead)
            handle(c, fds[2].revents, fds[1].revents);
    }
    stop_timer(c);
    sim_unlock();
    if (c->client >= 0)
        close(c->client);
    close(c->listener);
    close(c->wake);
    free(c);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static bool open_listener(struct sim_card *c, unsigned long port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof a;
    int one = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->listener < 0)
        return false;
    (void)setsockopt(c->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(c->listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(c->listener, 4) != 0 ||
        getsockname(c->listener, (struct sockaddr *)&a, &len) != 0)
        return false;
    c->port = ntohs(a.sin_port);
    return true;
}

static struct sim_card *give_up(struct sim_card *c)
{
    perror("vpcd");
    if (c->listener >= 0)
        close(c->listener);
    if (c->wake >= 0)
        close(c->wake);
    free(c);
    return NULL;
}

static struct sim_card *create(const char *options)
{
    static const char *const keys[] = {"port", "timeout", NULL};
    unsigned long port = 65536;
    struct sim_card *c = calloc(1, sizeof *c);
    pthread_t thread;

    if (c == NULL)
        return NULL;
    c->listener = c->client = c->wake = -1;
    c->timeout_ms = 30000;
    if (!sim_options_known("vpcd", options, keys) || !sim_option_number(options, "port", 65535, &port) ||
        port > 65535 || !sim_option_number(options, "timeout", 600000, &c->timeout_ms)) {
        free(c);
        return NULL;
    }
    c->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (c->wake < 0 || !open_listener(c, port))
        return give_up(c);
    errno = pthread_create(&thread, NULL, run, c);
    if (errno != 0)
        return give_up(c);
    (void)pthread_detach(thread);
    return c;
}

static void destroy(struct sim_card *c)
{
    c->dead = true;
    c->done = NULL;
    c->changed = NULL;
    stop_timer(c);
    wake_thread(c);
}

static size_t atr(struct sim_card *c, uint8_t out[SIM_ATR_MAX])
{
    memcpy(out, c->atr, c->atr_n);
    return c->atr_n;
}

static void power(struct sim_card *c, bool on)
{
    post_control(c, on ? CONTROL_ON : CONTROL_OFF);
}

static void reset(struct sim_card *c)
{
    post_control(c, CONTROL_RESET);
}

static bool begin(struct sim_card *c, const uint8_t *apdu, size_t n, sim_card_done done, void *arg)
{
    /* A one-byte message would be a control, an empty one nothing at all. */
    if (!c->present || c->done != NULL || n < 2 || !owe(c, OWED_RAPDU) || !post(c, apdu, n))
        return false;
    c->executions++;
    c->done = done;
    c->done_arg = arg;
    c->timer = sim_timer_add((unsigned)c->timeout_ms, too_late, c);
    return true;
}

static void cancel(struct sim_card *c)
{
    stop_timer(c);
    c->done = NULL;
    finish(c, NULL, 0);
}

static void watch(struct sim_card *c, sim_card_changed changed, void *arg)
{
    c->changed = changed;
    c->changed_arg = arg;
    if (c->present)
        changed(arg, true);
}

/* For a model that does not know begin(): a card that never answers. */
static size_t execute(struct sim_card *c, const uint8_t *apdu, size_t n, uint8_t *rapdu, unsigned *delay_ms)
{
    (void)c;
    (void)apdu;
    (void)n;
    (void)rapdu;
    *delay_ms = 0;
    return 0;
}

static unsigned long executions(struct sim_card *c)
{
    return c->executions;
}

unsigned sim_vpcd_port(const struct sim_card *c)
{
    return c->port;
}

const struct sim_card_ops sim_card_vpcd = {
    .name = "vpcd",
    .create = create,
    .destroy = destroy,
    .atr = atr,
    .power = power,
    .reset = reset,
    .execute = execute,
    .executions = executions,
    .begin = begin,
    .cancel = cancel,
    .watch = watch,
};
