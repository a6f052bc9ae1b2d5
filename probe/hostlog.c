/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * log_msg and log_xxd, which the driver's archive leaves to pcscd (hostlog.h). A fixed store under a lock: the USB
 * transport logs from a thread of its own.
 */
#include "probe/hostlog.h"

#include <debuglog.h>
#include <pthread.h>
#include <stdarg.h>

enum { KEPT = 64, LINE = 512 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[KEPT][LINE];
static size_t count;
static FILE *echo_to;

static void keep(const char *text)
{
    pthread_mutex_lock(&lock);
    if (count < KEPT)
        (void)snprintf(lines[count++], LINE, "%s", text);
    if (echo_to)
        (void)fprintf(echo_to, "  driver: %s\n", text);
    pthread_mutex_unlock(&lock);
}

void log_msg(const int priority, const char *fmt, ...)
{
    char text[LINE];
    va_list ap;

    (void)priority;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    keep(text);
}

void log_xxd(const int priority, const char *msg, const unsigned char *buffer, const int size)
{
    (void)buffer;
    log_msg(priority, "%s (%d bytes)", msg, size);
}

void hostlog_clear(void)
{
    pthread_mutex_lock(&lock);
    count = 0;
    pthread_mutex_unlock(&lock);
}

const char *hostlog_line(size_t i)
{
    return i < count ? lines[i] : NULL;
}

void hostlog_echo(FILE *to)
{
    echo_to = to;
}
