/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ifd-purse-probe: what to do first with a reader. It asks the reader, without pcscd, whether it is as this driver
 * takes it to be; with --doctor it looks at the machine instead.
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "probe/doctor.h"
#include "probe/exchange.h"
#include "probe/find.h"
#include "probe/hostlog.h"
#include "probe/probe.h"

enum {
    STATUS_USAGE = 2,
    WAIT_DEFAULT = 60,
    INSERTIONS = 5,
    LISTEN_DEFAULT = 10,
    PACKETS_DEFAULT = 1000,
    NUMBER_MAX = 100000,
    OPT_ROOT = 256,
    OPT_CARD,
    OPT_NO_CARD,
    OPT_WAIT,
    OPT_REPORT,
    OPT_NO_REPORT,
    OPT_UNMASK,
    OPT_KEYS,
    OPT_SAM,
    OPT_ROWS,
    OPT_EXCHANGES,
    OPT_NO_EXCHANGES,
    OPT_EXCHANGE_TABLE,
    OPT_MOVES,
    OPT_LISTEN,
    OPT_PACKETS,
    OPT_TABLE
};

static const char help[] =
    "usage: ifd-purse-probe [options] [reader ...]\n"
    "       ifd-purse-probe --doctor\n"
    "\n"
    "Asks a reader whether it is as the driver takes it to be, one row of ASSUMPTIONS.md after the other, and whether\n"
    "it answers each command as its manual says; writes a report for a bug tracker. Nothing in the reader or on a\n"
    "card is changed for good.\n"
    "\n"
    "reader              VID:PID, or a serial port with the driver's options (/dev/ttyUSB0:baud=57600).\n"
    "                    Without one: every USB reader, and the ports that reader.conf.d gives to this driver.\n"
    "--doctor            looks at pcscd and at this machine instead: why is the reader not offered?\n"
    "--list              only tells which readers there are\n"
    "--no-card           asks for no card: rows that need one are not tried\n"
    "--card KIND,...     these cards are in place already (none, t0, t1, dual, apdu, both, typeb, mifare, ultralight,\n"
    "                    felica, 15693, icc, icc-t0); asks for no other\n"
    "--wait SECONDS      asks for cards, and waits for what the reader sees, not for the keyboard\n"
    "--moves N           how often a card is asked to be moved in and out (5; 100 for a thorough look)\n"
    "--listen SECONDS    how long a reader that should be silent is listened to (10)\n"
    "--packets N         how many packets are recorded (1000)\n"
    "--rows A11,A12      only these rows, and no exchanges\n"
    "--exchanges         only the exchanges that the manuals document; with --rows both\n"
    "--no-exchanges      only the rows\n"
    "--sam               there is a SAM in the reader\n"
    "--keys              tries the factory key FFFFFFFFFFFF on MIFARE cards; the reader keeps the last key until it\n"
    "                    loses its power\n"
    "--report FILE       where the report goes (ifd-purse-probe-DATE.txt);  --no-report: nowhere\n"
    "--unmask            shows serial numbers, UIDs and card data in the report\n"
    "--verbose           shows the bytes of every row\n";

static int usage(FILE *to)
{
    fputs(help, to);
    return to == stderr ? STATUS_USAGE : 0;
}

static bool number(const char *text, unsigned *out)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || v > NUMBER_MAX)
        return false;
    *out = (unsigned)v;
    return true;
}

/* "t0,t1" as bits of enum need. */
static bool take_cards(const char *text, unsigned *given)
{
    while (*text) {
        size_t n = strcspn(text, ",");
        enum need need = NEED_EMPTY;

        while (need < NEED_LAST && (strlen(need_word(need)) != n || strncmp(need_word(need), text, n) != 0))
            need++;
        if (need == NEED_LAST)
            return false;
        *given |= NEEDS_BIT(need);
        text += n + (text[n] == ',');
    }
    return true;
}

struct command {
    struct options o;
    bool doctor, list, table, exchange_table, report_given;
    bool only_exchanges, no_exchanges;
    char report[64];
};

static const struct option longs[] = {{"doctor", no_argument, NULL, 'd'},
                                      {"list", no_argument, NULL, 'l'},
                                      {"help", no_argument, NULL, 'h'},
                                      {"verbose", no_argument, NULL, 'v'},
                                      {"version", no_argument, NULL, 'V'},
                                      {"root", required_argument, NULL, OPT_ROOT},
                                      {"table", no_argument, NULL, OPT_TABLE},
                                      {"card", required_argument, NULL, OPT_CARD},
                                      {"no-card", no_argument, NULL, OPT_NO_CARD},
                                      {"wait", required_argument, NULL, OPT_WAIT},
                                      {"report", required_argument, NULL, OPT_REPORT},
                                      {"no-report", no_argument, NULL, OPT_NO_REPORT},
                                      {"unmask", no_argument, NULL, OPT_UNMASK},
                                      {"keys", no_argument, NULL, OPT_KEYS},
                                      {"sam", no_argument, NULL, OPT_SAM},
                                      {"rows", required_argument, NULL, OPT_ROWS},
                                      {"exchanges", no_argument, NULL, OPT_EXCHANGES},
                                      {"no-exchanges", no_argument, NULL, OPT_NO_EXCHANGES},
                                      {"exchange-table", no_argument, NULL, OPT_EXCHANGE_TABLE},
                                      {"moves", required_argument, NULL, OPT_MOVES},
                                      {"listen", required_argument, NULL, OPT_LISTEN},
                                      {"packets", required_argument, NULL, OPT_PACKETS},
                                      {NULL, 0, NULL, 0}};

/* Options that ask for cards. False: none of them. */
static bool take_asking(struct command *c, int option, const char *value, bool *ok)
{
    if (option == OPT_CARD) {
        c->o.asking = ASK_GIVEN;
        *ok = take_cards(value, &c->o.given);
    } else if (option == OPT_NO_CARD) {
        c->o.asking = ASK_NOT;
    } else if (option == OPT_WAIT) {
        c->o.asking = ASK_WAIT;
        *ok = number(value, &c->o.wait_s);
    } else if (option == OPT_MOVES) {
        *ok = number(value, &c->o.insertions);
    } else if (option == OPT_LISTEN) {
        *ok = number(value, &c->o.listen_s);
    } else if (option == OPT_PACKETS) {
        *ok = number(value, &c->o.packets);
    } else {
        return false;
    }
    return true;
}

/* "A11,V07": each the name of a row, so that a slip of the pen is not taken for "none of them". */
static bool are_rows(const char *text)
{
    while (*text) {
        size_t n = strcspn(text, ",");
        bool found = false;

        for (size_t i = 0; i < aet63_row_count; i++)
            found = found || (strlen(aet63_rows[i].id) == n && strncmp(aet63_rows[i].id, text, n) == 0);
        for (size_t i = 0; i < vivo_row_count; i++)
            found = found || (strlen(vivo_rows[i].id) == n && strncmp(vivo_rows[i].id, text, n) == 0);
        if (!found) {
            fprintf(stderr, "ifd-purse-probe: %.*s is no row of ASSUMPTIONS.md\n", (int)n, text);
            return false;
        }
        text += n + (text[n] == ',');
    }
    return true;
}

static bool take_option(struct command *c, int option, const char *value)
{
    bool ok = true;

    if (take_asking(c, option, value, &ok))
        return ok;
    c->doctor = c->doctor || option == 'd';
    c->list = c->list || option == 'l';
    c->table = c->table || option == OPT_TABLE;
    c->exchange_table = c->exchange_table || option == OPT_EXCHANGE_TABLE;
    c->only_exchanges = c->only_exchanges || option == OPT_EXCHANGES;
    c->no_exchanges = c->no_exchanges || option == OPT_NO_EXCHANGES;
    c->o.verbose = c->o.verbose || option == 'v';
    c->o.unmask = c->o.unmask || option == OPT_UNMASK;
    c->o.keys = c->o.keys || option == OPT_KEYS;
    c->o.sam = c->o.sam || option == OPT_SAM;
    if (option == OPT_ROOT)
        c->o.root = value;
    if (option == OPT_ROWS) {
        c->o.only = value;
        ok = are_rows(value);
    }
    if (option == OPT_REPORT || option == OPT_NO_REPORT) {
        c->o.report = option == OPT_REPORT ? value : NULL;
        c->report_given = true;
    }
    return ok && option != '?';
}

/* The hidden --table: what a test compares with doc/ASSUMPTIONS.md. */
static int print_table(void)
{
    for (size_t i = 0; i < aet63_row_count; i++)
        printf("%s\t%s\t%s\n", aet63_rows[i].id, aet63_rows[i].assumed,
               aet63_rows[i].why_never ? aet63_rows[i].why_never : "");
    for (size_t i = 0; i < vivo_row_count; i++)
        printf("%s\t%s\t%s\n", vivo_rows[i].id, vivo_rows[i].assumed,
               vivo_rows[i].why_never ? vivo_rows[i].why_never : "");
    return 0;
}

static void print_exchanges(const char *family, const struct exchange *x, size_t count)
{
    char code[8];

    for (size_t i = 0; i < count; i++, x++) {
        printf("%s\t%s\t%s\t", exchange_code(*family, x->code, code), x->name,
               x->row ? x->row : x->why_never ? "never" : "sent");
        for (size_t n = 0; n < x->data.n; n++)
            printf("%02X", x->data.p[n]);
        putchar('\n');
    }
}

/* The hidden --exchange-table: what a test compares with the commands that a reader got. */
static int print_exchange_table(void)
{
    print_exchanges("a", aet63_exchanges, aet63_exchange_count);
    print_exchanges("v", vivo_exchanges, vivo_exchange_count);
    return 0;
}

/* Rows that are named are run alone, exchanges that are asked for too: without either word everything is. */
static void choose_what_runs(struct command *c)
{
    bool chosen = c->o.only || c->only_exchanges;

    c->o.rows = !chosen || c->o.only;
    c->o.exchanges = (!chosen || c->only_exchanges) && !c->no_exchanges;
}

static void name_report(struct command *c)
{
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    if (!c->report_given && strftime(c->report, sizeof c->report, "ifd-purse-probe-%Y%m%d-%H%M%S.txt", &tm) > 0)
        c->o.report = c->report;
}

int main(int argc, char **argv)
{
    struct command c = {.o = {.asking = isatty(STDIN_FILENO) ? ASK_USER : ASK_NOT,
                              .wait_s = WAIT_DEFAULT,
                              .insertions = INSERTIONS,
                              .listen_s = LISTEN_DEFAULT,
                              .packets = PACKETS_DEFAULT,
                              .root = ""}};
    /* Once it stops in good order, twice at once. */
    struct sigaction stop = {.sa_handler = session_stop, .sa_flags = (int)SA_RESETHAND};
    int option;

    while ((option = getopt_long(argc, argv, "hvl", longs, NULL)) != -1) {
        if (option == 'h')
            return usage(stdout);
        if (option == 'V') {
            puts("ifd-purse-probe " PROBE_VERSION);
            return 0;
        }
        if (!take_option(&c, option, optarg))
            return usage(stderr);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (c.table)
        return print_table();
    if (c.exchange_table)
        return print_exchange_table();
    if (c.doctor)
        return optind < argc ? usage(stderr) : doctor_run(c.o.root);
    sigaction(SIGINT, &stop, NULL);
    choose_what_runs(&c);
    name_report(&c);
    return find_and_probe(&c.o, argv + optind, (size_t)(argc - optind), c.list);
}
