/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The stand-in for pcscd's log. A fixed store: a test that floods the log must not run out of memory, and the count
 * goes on so that it can still tell how many lines there were.
 */
#include "stub_log.h"

#include <debuglog.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_SIZE = 2048 }; /* what pcscd formats into */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[STUB_LOG_KEPT][LINE_SIZE];
static int priorities[STUB_LOG_KEPT];
static size_t count;
static bool echo;

static void keep(int priority, const char *text)
{
    (void)pthread_mutex_lock(&lock);
    if (count < STUB_LOG_KEPT) {
        (void)snprintf(lines[count], LINE_SIZE, "%s", text);
        priorities[count] = priority;
    }
    count++;
    if (echo)
        (void)fprintf(stderr, "log %d: %s\n", priority, text);
    (void)pthread_mutex_unlock(&lock);
}

void log_msg(const int priority, const char *fmt, ...)
{
    char text[LINE_SIZE];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    keep(priority, text);
}

void log_xxd(const int priority, const char *msg, const unsigned char *buffer, const int size)
{
    char text[LINE_SIZE];
    size_t n = (size_t)snprintf(text, sizeof text, "%.256s", msg);

    for (int i = 0; i < size && n + 4 < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%02X ", (unsigned)buffer[i]);
    keep(priority, text);
}

size_t stub_log_count(void)
{
    size_t n;

    (void)pthread_mutex_lock(&lock);
    n = count;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

static size_t kept(void)
{
    size_t n = stub_log_count();

    return n < STUB_LOG_KEPT ? n : STUB_LOG_KEPT;
}

const char *stub_log_line(size_t i)
{
    return i < kept() ? lines[i] : "";
}

int stub_log_priority(size_t i)
{
    return i < kept() ? priorities[i] : -1;
}

size_t stub_log_matches(const char *part)
{
    size_t n = kept(), found = 0;

    for (size_t i = 0; i < n; i++)
        found += strstr(lines[i], part) != NULL;
    return found;
}

bool stub_log_has(const char *part, ...)
{
    size_t n = kept();

    for (size_t i = 0; i < n; i++) {
        const char *p = part;
        va_list ap;

        va_start(ap, part);
        while (p && strstr(lines[i], p))
            p = va_arg(ap, const char *);
        va_end(ap);
        if (!p)
            return true;
    }
    return false;
}

void stub_log_clear(void)
{
    (void)pthread_mutex_lock(&lock);
    count = 0;
    (void)pthread_mutex_unlock(&lock);
}

void stub_log_echo(bool on)
{
    echo = on;
}
