/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The fault matrix: a session between pcscd and a reader, with one byte of one of its messages spoilt in one way. For
 * each session on each link the messages are first learnt from runs without a fault; then there is one case for every
 * message, byte and fault. A case is right if
 *   - the client was told the right answer, or an error;
 *   - what was reported done was done once, and anything else at most once;
 *   - no call took longer than its cap;
 *   - what is sent afterwards, by a client that does what pcscd and a program do after an error, is answered rightly.
 *     An exchange in between may fail, for another command's answer there is no excuse.
 *
 *   matrix HANDLER LINK SESSION [PART/PARTS]    every PARTS-th case, from PART
 *   matrix HANDLER LINK SESSION PART/PARTS/N    of these, the sample with every N-th byte
 *   matrix HANDLER LINK SESSION out0/byte7/flip one case, with the driver's log
 *   matrix HANDLER LINK SESSION real            a case of each kind with the waits that the driver really has
 *   matrix list                                 LINK SESSION, a line each
 *
 * Cases that are still to come at MATRIX_END (seconds since 1970) are left out, and counted: "LEFT number".
 *
 * It starts the simulator that PURSE_SIM_READERS names, with itself inside. Its output is for matrix.sh: a line
 * "CASES link session kind all right error failed again" for each kind, and "WRONG case reason" for each case that
 * failed.
 */
#include "matrix.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WAY_MS = 1000, REAL_MS = 200000 }; /* to be ready, or again: so much for each scale, and as much again */
enum { MESSAGES = 64, LEARN_TRIES = 12, STRIKE_TRIES = 3, LEARN_SCALE = 64, CASES_WELL = 12 };

static const char *const kinds[] = {"lose", "flip", "dup", "trunc", "noise", "late", "later", "gone"};
enum { LATER = 6, GONE = 7, KINDS = 8 };

struct message {
    bool in;
    unsigned number; /* of its direction */
    size_t n;
};

static struct message script[MESSAGES];
static size_t script_n;

struct one {
    const struct message *message;
    size_t byte;
    unsigned kind;
};

static struct {
    unsigned long all, right, error, failed, again;
} tally[KINDS];
static unsigned long again[KINDS]; /* cases that were begun again */

/* UNDECIDED: not right, but for lack of time, it may be. */
enum outcome { RIGHT, ERROR, WRONG, UNDECIDED };

/* ---- one case --------------------------------------------------------------------------------------------------- */

static char reason[256];

static bool wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static bool wrong(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    return false;
}

/* How long the way to a session that works may take. Short at first: what waits of this scale cannot bring about on
 * this machine longer ones will. */
static int way_ms(void)
{
    return bed.real ? REAL_MS : WAY_MS * (1 + (int)bed.scale);
}

static bool prepare(void)
{
    int64_t end = now_ms() + way_ms();

    while (!bed.session->prepare())
        if (now_ms() > end)
            return wrong("the session could not be prepared, last code %ld", bed.last);
    return true;
}

/* The reader is plugged in again. pcscd closes a USB reader that left; a serial one the driver opens by itself. */
static void plug_again(void)
{
    bed_sim("until 5000 *plugged=0* stats");
    bed_sim("message clear"); /* of a command in packets the rest did not come: it must not hit the next one */
    if (!bed.link->serial)
        bed_close();
    bed_sim("plug");
}

/* Until three exchanges in a row were answered rightly: RIGHT. */
static enum outcome recover(unsigned long *failed)
{
    int64_t end = now_ms() + way_ms();
    unsigned good = 0;

    bed.asked = bed.failed = 0;
    while (good < 3) {
        if (now_ms() > end) {
            wrong("no way back: the last code is %ld", bed.last);
            return UNDECIDED;
        }
        if (!bed_ready())
            continue;
        switch (bed.session->next(good)) {
        case TOLD_RIGHT:
            good++;
            bed.asked++;
            break;
        case TOLD_ERROR:
            good = 0;
            bed.failed++;
            break;
        case TOLD_WRONG:
            wrong("a wrong answer afterwards, to exchange %lu: %s", bed.asked + bed.failed + 1, bed.wrong);
            return WRONG;
        }
    }
    *failed += bed.failed > 0;
    return RIGHT;
}

static long executed(void)
{
    if (bed.session->executed)
        return bed.session->executed();
    return bed.session->counter ? (long)bed_count("count", bed.session->counter) : 0;
}

static bool executions_fit(long before, enum told told)
{
    long done = executed() - before, least, most = 1;

    if (!bed.session->executed && !bed.session->counter)
        return true;
    if (!bed.session->executed) {
        done -= (long)bed.asked;
        most += (long)bed.failed;
    }
    least = told == TOLD_RIGHT ? 1 : 0;
    return (done >= least && done <= most) ||
           wrong("told %s, executed %ld times", told == TOLD_RIGHT ? "done" : "an error", done);
}

static bool arm(const struct one *c)
{
    const char *kind = c->kind == LATER ? "late" : kinds[c->kind];
    unsigned arg = c->kind == LATER ? 2 + c->byte % 2 : strcmp(kind, "flip") == 0 ? 1u << c->byte % 8 : 0;

    return bed_sim("message arm %s %u %zu %s %zu %u", c->message->in ? "in" : "out", c->message->number, c->byte, kind,
                   c->message->n, arg) != NULL;
}

static bool struck(void)
{
    const char *state = bed_sim("message state");

    return state && strstr(state, "struck=1");
}

static enum outcome judge(const struct one *c, long before, enum told told)
{
    enum outcome back;

    if (told == TOLD_WRONG) {
        wrong("a wrong answer: %s", bed.wrong);
        return WRONG;
    }
    if (c->kind == GONE)
        plug_again();
    if ((back = recover(&tally[c->kind].again)) != RIGHT)
        return back;
    bed_sim("message clear");
    if (!executions_fit(before, told))
        return WRONG;
    if (bed.late_calls > 0) {
        wrong("%s", bed.late);
        return UNDECIDED;
    }
    return told == TOLD_RIGHT ? RIGHT : ERROR;
}

/* Runs a case with waits of so many times the shortest. */
static enum outcome attempt(const struct one *c, unsigned scale)
{
    long before;
    enum told told;
    unsigned tries = 0;
    unsigned long failed = 0;
    enum outcome back;

    bed_waits(scale);
    do {
        /* what was given up on the last try may still be under way, and is not to be counted on this one */
        if (tries > 0 && (bed_sim("message clear"), back = recover(&failed)) != RIGHT)
            return back;
        bed_log_clear();
        bed.late_calls = 0;
        if (!prepare())
            return UNDECIDED;
        before = executed();
        bed_sim("message clear");
        if (!arm(c)) {
            wrong("the simulator does not take this case");
            return WRONG;
        }
        told = bed.session->act();
    } while (!struck() && told != TOLD_WRONG && ++tries < STRIKE_TRIES);
    if (struck() || told == TOLD_WRONG)
        return judge(c, before, told);
    wrong("the message did not come, told %d", told);
    return UNDECIDED;
}

/* By such short waits a session may, on a loaded machine, end or take another way before it comes to the message of
 * this case; may find no way back, or exceed its cap. Then it is begun again with longer waits, until that is not for
 * lack of time: what the driver does wrong it does wrong again. What was told and what was done are judged at once.
 * The next cases begin with the waits that this one needed, until some of them went well. */
static bool run(const struct one *c)
{
    static unsigned usual = 1, went_well;
    enum outcome outcome;
    unsigned scale = usual;

    for (;; scale *= 4) {
        outcome = attempt(c, scale);
        bed_sim("message clear");
        if (outcome == UNDECIDED || outcome == WRONG) { /* what comes next begins anew */
            bed_close();
            bed_sim("plug");
            bed_sim("replug");
        }
        if (outcome != UNDECIDED || bed.real || scale >= LEARN_SCALE)
            break;
        again[c->kind]++;
    }
    went_well = scale > usual ? 0 : went_well + 1;
    usual = scale > usual ? scale : went_well % CASES_WELL == 0 && usual > 1 ? usual / 4 : usual;
    tally[c->kind].all++;
    if (outcome == RIGHT)
        tally[c->kind].right++;
    else if (outcome == ERROR)
        tally[c->kind].error++;
    else
        tally[c->kind].failed++;
    return outcome == RIGHT || outcome == ERROR;
}

static bool verdict(const struct one *c, bool verbose)
{
    bool ok = run(c);

    if (!ok)
        printf("WRONG %s/%s/%s%u/byte%zu/%s %s\n", bed.link->name, bed.session->name, c->message->in ? "in" : "out",
               c->message->number, c->byte, kinds[c->kind], reason);
    if (!ok || verbose)
        bed_log_print();
    fflush(stdout);
    return ok;
}

/* ---- the cases -------------------------------------------------------------------------------------------------- */

static size_t parse(const char *list, struct message *out)
{
    unsigned count[2] = {0, 0};
    size_t n = 0, length;
    char direction[4];
    int used;

    for (; n < MESSAGES && sscanf(list, "%3[a-z]:%zu %n", direction, &length, &used) == 2; list += used) {
        bool in = strcmp(direction, "in") == 0;
        out[n++] = (struct message){in, count[in]++, length};
    }
    return n;
}

/* Runs the session until it has been the same twice running, with long waits: none of them is needed. */
static bool learn(void)
{
    struct message last[MESSAGES];
    size_t last_n = 0;

    bed_waits(LEARN_SCALE);
    for (unsigned i = 0; i < LEARN_TRIES; i++) {
        if (!prepare())
            return false;
        bed_sim("message clear");
        enum told told = bed.session->act();
        memset(script, 0, sizeof script);
        script_n = parse(bed_sim("message list"), script);
        if (told == TOLD_RIGHT && script_n > 0 && script_n == last_n && memcmp(script, last, sizeof last) == 0)
            return true;
        memcpy(last, script, sizeof last);
        last_n = told == TOLD_RIGHT ? script_n : 0;
        unsigned long failed = 0;
        if (told == TOLD_WRONG || recover(&failed) != RIGHT)
            return wrong("without a fault: a wrong answer: %s", bed.wrong);
    }
    return wrong("without a fault the session is not the same twice running");
}

/* A command is never held back beyond the next one. And a whole answer does not come later than the answer to a later
 * command: readers work in order, and nothing in the protocols tells such an answer from the right one. */
static bool exists(const struct message *m, size_t byte, unsigned kind)
{
    return kind != LATER || (m->in && byte > 0);
}

/* The sample has each kind of fault at every N-th byte of each message, and each kind begins one byte further than the
 * one before it: with N = 8 kinds every byte of every message is hit once. */
static bool in_sample(size_t i, size_t byte, unsigned kind, size_t n)
{
    size_t every = n < script[i].n ? n : script[i].n;

    return byte % every == (kind + i) % every;
}

/* Whether the time is over that MATRIX_END, in seconds since 1970, sets. */
static bool time_over(void)
{
    const char *end = getenv("MATRIX_END");

    return end && time(NULL) > strtoll(end, NULL, 10);
}

static bool run_part(size_t part, size_t parts, size_t sample)
{
    size_t number = 0, left_out = 0;
    bool ok = true;

    for (size_t i = 0; i < script_n; i++)
        for (size_t byte = 0; byte < script[i].n; byte++)
            for (unsigned kind = 0; kind < KINDS; kind++)
                if (exists(&script[i], byte, kind) && in_sample(i, byte, kind, sample) && number++ % parts == part) {
                    if (left_out > 0 || time_over())
                        left_out++;
                    else
                        ok &= verdict(&(struct one){&script[i], byte, kind}, false);
                }
    printf("LEFT %zu\n", left_out);
    return ok;
}

/* One case of each kind, in the middle of the last answer; the session's first for a connection that ends. */
static bool run_real(void)
{
    const struct message *m = &script[script_n - 1];
    bool ok = true;

    while (!m->in && m > script)
        m--;
    for (unsigned kind = 0; kind < KINDS; kind++)
        ok &= verdict(&(struct one){m, kind == 3 ? 1 : m->n / 2, kind}, false);
    return ok;
}

static bool run_named(const char *name)
{
    unsigned number, kind = 0;
    char direction[4], what[16];
    size_t byte;

    if (sscanf(name, "%3[a-z]%u/byte%zu/%15s", direction, &number, &byte, what) != 4)
        return wrong("a case is out0/byte7/flip");
    while (kind < KINDS && strcmp(kinds[kind], what) != 0)
        kind++;
    for (size_t i = 0; i < script_n; i++)
        if (kind < KINDS && script[i].in == (direction[0] == 'i') && script[i].number == number && byte < script[i].n)
            return verdict(&(struct one){&script[i], byte, kind}, true);
    return wrong("there is no case %s", name);
}

static void report(void)
{
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (tally[kind].all > 0)
            printf("CASES %s %s %s %lu %lu %lu %lu %lu\n", bed.link->name, bed.session->name, kinds[kind],
                   tally[kind].all, tally[kind].right, tally[kind].error, tally[kind].failed, tally[kind].again);
    unsigned long slow = 0;
    for (unsigned kind = 0; kind < KINDS; kind++)
        slow += again[kind];
    printf("SCRIPT %s %s", bed.link->name, bed.session->name);
    for (size_t i = 0; i < script_n; i++)
        printf(" %s%u:%zu", script[i].in ? "in" : "out", script[i].number, script[i].n);
    printf("\nNUDGES %lu\nSLOW %lu\n", bed.nudges, slow);
}

/* ---- the program ------------------------------------------------------------------------------------------------ */

static bool choose(const char *link, const char *session)
{
    char word[32];

    for (size_t i = 0; i < links_count; i++)
        if (strcmp(links[i].name, link) == 0)
            bed.link = &links[i];
    snprintf(word, sizeof word, "%s ", link);
    for (size_t i = 0; i < sessions_count && bed.link; i++)
        if (strcmp(sessions[i].name, session) == 0 && strstr(sessions[i].where, word))
            bed.session = &sessions[i];
    return bed.session != NULL;
}

static int list(void)
{
    for (size_t l = 0; l < links_count; l++)
        for (size_t i = 0; i < sessions_count; i++) {
            char word[32];
            snprintf(word, sizeof word, "%s ", links[l].name);
            if (strstr(sessions[i].where, word))
                printf("%s %s\n", links[l].name, sessions[i].name);
        }
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 4 ? argv[4] : "0/1";
    size_t part, parts, sample = 1;
    bool ok;

    if (argc == 2 && strcmp(argv[1], "list") == 0)
        return list();
    if (argc < 4 || !choose(argv[2], argv[3])) {
        fprintf(stderr, "usage: matrix HANDLER LINK SESSION [PART/PARTS|CASE|real] | matrix list\n");
        return 2;
    }
    bed.real = strcmp(what, "real") == 0;
    if (!getenv("PURSE_SIM_CTL"))
        return bed_enter(argv);
    if (!bed_start(argv[1]))
        return 2;
    if (bed.session->card)
        bed_sim("%s", bed.session->card);
    ok = learn();
    if (ok && bed.real)
        ok = run_real();
    else if (ok && sscanf(what, "%zu/%zu/%zu", &part, &parts, &sample) >= 2 && parts > 0 && sample > 0)
        ok = run_part(part, parts, sample);
    else if (ok)
        ok = run_named(what);
    if (!ok && tally[0].all + tally[KINDS - 1].all == 0) {
        printf("WRONG %s/%s/%s %s\n", bed.link->name, bed.session->name, what, reason);
        bed_log_print();
    }
    if (!ok && argc > 4 && strchr(what, '/') && what[0] > '9')
        printf("%s\n", reason);
    report();
    bed_close();
    printf("END %s %s\n", bed.link->name, bed.session->name);
    return ok ? 0 : 1;
}
