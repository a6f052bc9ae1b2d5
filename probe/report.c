/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is printed, and the report file (probe.h). The report is for a bug tracker, so it has everything that helps and
 * nothing that tells whose reader or card it is: serial numbers are cut here, card data by trace_bytes.
 */
#include "probe/probe.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "probe/hostlog.h"

enum { REPORT_LINE = 1024, LINES_SHOWN = 2, SHORT_NAME = 3 };

#ifndef PROBE_VERSION
#define PROBE_VERSION "?"
#endif

static bool in_a_word(const char *text, const char *at, size_t n)
{
    return (at > text && isalnum((unsigned char)at[-1])) || isalnum((unsigned char)at[n]);
}

/* Masks every occurrence of a name that tells whose reader it is; a short one only where it stands alone: inside of
 * words and numbers it would take half of the report. */
static void mask_name(char *text, const char *name)
{
    size_t n = strlen(name);

    for (char *at = text; n > 0 && (at = strstr(at, name)) != NULL; at += n)
        if (n > SHORT_NAME || !in_a_word(text, at, n))
            memset(at, '*', n);
}

/* One line into the report. The serial number of a USB adapter stands in the names below /dev/serial/by-id. */
static void put_line(struct probe *p, const char *fmt, va_list ap)
{
    static const char by_id[] = "/dev/serial/by-id/";
    char text[REPORT_LINE];

    (void)vsnprintf(text, sizeof text, fmt, ap);
    if (!p->o->unmask) {
        mask_name(text, p->usb.serial);
        if (strncmp(p->path, by_id, sizeof by_id - 1) == 0)
            mask_name(text, p->path + sizeof by_id - 1);
    }
    fprintf(p->report, "%s\n", text);
}

void report_line(struct probe *p, const char *fmt, ...)
{
    va_list ap;

    if (!p->report)
        return;
    va_start(ap, fmt);
    put_line(p, fmt, ap);
    va_end(ap);
}

void report_and_print(struct probe *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    if (!p->report)
        return;
    va_start(ap, fmt);
    put_line(p, fmt, ap);
    va_end(ap);
}

const char *report_serial(const struct probe *p, const char *serial, char out[SEEN_TEXT])
{
    size_t n = strlen(serial);

    if (n == 0)
        return "none";
    if (p->o->unmask)
        return serial;
    (void)snprintf(out, SEEN_TEXT, "(%zu characters, masked)", n);
    return out;
}

void report_open(struct probe *p)
{
    struct utsname u;
    static bool begun; /* a second reader's report follows the first one's */
    char date[32], serial[SEEN_TEXT];
    time_t now = time(NULL);
    struct tm tm;

    if (p->o->report) {
        p->report = fopen(p->o->report, begun ? "ae" : "we");
        begun = true;
        if (!p->report)
            fprintf(stderr, "%s cannot be written; there will be no report\n", p->o->report);
    }
    memset(&u, 0, sizeof u);
    uname(&u);
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &tm);
    report_line(p, "ifd-purse-probe %s, %s, %s %s %s", PROBE_VERSION, date, u.sysname, u.release, u.machine);
    if (p->serial)
        report_and_print(p, "Reader: ViVOpay on a serial port, %s", p->path);
    else
        report_and_print(p, "Reader: %04X:%04X %s, serial number %s", p->usb.vid, p->usb.pid, p->usb.product,
                         report_serial(p, p->usb.serial, serial));
}

static size_t count_lines(const char *text)
{
    size_t n = 0;

    for (; text && *text; text++)
        n += *text == '\n';
    return n;
}

/* The bytes: all of them go into the report, and to the screen what contradicts, else the last command and its answer.
 */
static void report_trace(struct probe *p, const struct outcome *o, bool some)
{
    char *copy = o->trace ? strdup(o->trace) : NULL, *save = NULL;
    size_t left = count_lines(copy);
    bool all = o->verdict == CONTRADICTED || p->o->verbose;

    for (char *line = copy ? strtok_r(copy, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        report_line(p, "    %s", line);
        if (all || (some && left <= LINES_SHOWN))
            printf("      %s\n", line);
        left--;
    }
    free(copy);
}

void report_row(struct probe *p, const struct row *row, const struct outcome *o)
{
    printf("%s: %s\n", verdict_text(o->verdict), o->why);
    report_line(p, "\n%s %s\n  %s: %s", row->id, row->assumed, verdict_text(o->verdict), o->why);
    if (o->setting[0])
        report_and_print(p, "      setting that follows: %s", o->setting);
    report_trace(p, o, o->verdict == CONFIRMED);
    fflush(stdout);
}

void report_outcome(struct probe *p, const char *id, const char *name, const char *verdict, const struct outcome *o)
{
    report_and_print(p, "%s %s ... %s: %s", id, name, verdict, o->why);
    report_trace(p, o, false);
    fflush(stdout);
}

static void count(const struct probe *p, unsigned counts[VERDICTS])
{
    for (size_t i = 0; i < p->row_count; i++)
        counts[p->outcomes[i].verdict]++;
}

/* The section of ifd-purse.conf with every setting that follows, each once. */
static void propose(struct probe *p)
{
    bool any = false;

    for (size_t i = 0; i < p->row_count; i++) {
        const struct outcome *o = &p->outcomes[i];
        bool before = false;

        for (size_t j = 0; j < i; j++)
            before = before || strcmp(p->outcomes[j].setting, o->setting) == 0;
        if (!o->setting[0] || before)
            continue;
        if (!any && p->serial)
            report_and_print(p, "\nLines for ifd-purse.conf:\n  [%s]", p->path);
        else if (!any)
            report_and_print(p, "\nLines for ifd-purse.conf:\n  [%04X:%04X]", p->usb.vid, p->usb.pid);
        any = true;
        report_and_print(p, "  %s", o->setting);
    }
    if (!any)
        report_and_print(p, "\nNo setting has to be changed.");
}

void report_end(struct probe *p)
{
    unsigned counts[VERDICTS] = {0};
    const char *line;

    count(p, counts);
    if (p->o->rows)
        report_and_print(p, "\n%u confirmed, %u contradicted, %u not tried.", counts[CONFIRMED], counts[CONTRADICTED],
                         (unsigned)p->wanted - counts[CONFIRMED] - counts[CONTRADICTED]);
    for (size_t i = 0; i < p->row_count; i++)
        if (p->outcomes[i].verdict == CONTRADICTED)
            report_and_print(p, "  %s %s: %s", p->rows[i].id, p->rows[i].assumed, p->outcomes[i].why);
    propose(p);
    report_line(p, "\nWhat the driver's files said:");
    for (size_t i = 0; (line = hostlog_line(i)) != NULL; i++)
        report_line(p, "  %s", line);
    if (p->report) {
        fclose(p->report);
        printf("\nThe report is in %s. %s\n", p->o->report,
               p->o->unmask ? "It shows serial numbers and card data: read it before you send it to anybody."
                            : "Serial numbers, card numbers and card data are masked in it; please attach it to a bug "
                              "report.");
    }
    p->report = NULL;
}
