/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Asking the user for a card, in words for somebody who sees a smart card reader for the first time (probe.h).
 */
#include "probe/probe.h"

#include <string.h>
#include <unistd.h>

static const struct wish {
    enum need need;
    const char *word, *text;
} wishes[] = {
    {NEED_EMPTY, "none", "no card: take every card out of the reader and away from it"},
    {NEED_T0, "t0", "a contact card that speaks T=0 (most bank and SIM cards), chip first, into the slot"},
    {NEED_T1, "t1", "a contact card that speaks T=1 (identity, health and signature cards), chip first, into the slot"},
    {NEED_DUAL, "dual", "a contact card that speaks both T=0 and T=1 (rare: some Java cards), into the slot"},
    {NEED_MOVES, "moves", "any contact card, which you will be asked to move"},
    {NEED_T0_MOVES, "t0-moves", "a contact card that speaks T=0, which you will be asked to pull out"},
    {NEED_APDU, "apdu", "a contactless bank or identity card on the reader, and leave it there"},
    {NEED_BOTH, "both",
     "a card that is MIFARE and ISO 14443-4 in one (a phone with a payment app, many JCOP cards), on the "
     "reader"},
    {NEED_TYPE_B, "typeb", "a contactless card of type B (some identity and transit cards), on the reader"},
    {NEED_MIFARE, "mifare", "a MIFARE Classic card (a plain white access or transit card), on the reader"},
    {NEED_ULTRALIGHT, "ultralight", "a MIFARE Ultralight or NTAG (a paper ticket, a round NFC sticker), on the reader"},
    {NEED_FELICA, "felica", "a FeliCa or Topaz card, on the reader"},
    {NEED_TAG, "15693", "an ISO 15693 tag (library label, ICODE sticker), on the reader"},
    {NEED_APDU_MOVES, "apdu-moves", "a contactless bank or identity card, which you will be asked to take away"},
    {NEED_ICC, "icc", "any contact card into the reader's contact slot, if it has one"},
    {NEED_ICC_T0, "icc-t0", "a contact card that speaks T=0 into the reader's contact slot, if it has one"},
    {NEED_POWER, "power", "the reader with a power supply of its own that you can unplug"},
    {NEED_REPLUG, "replug", "the reader on a USB-serial adapter that you can unplug"},
};

static const struct wish *wish_of(enum need need)
{
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++)
        if (wishes[i].need == need)
            return &wishes[i];
    return &wishes[0];
}

const char *need_word(enum need need)
{
    return wish_of(need)->word;
}

const char *need_text(enum need need)
{
    return wish_of(need)->text;
}

bool ask_can(const struct probe *p)
{
    return p->o->asking == ASK_USER || p->o->asking == ASK_WAIT;
}

/* Reads the user's answer. False: to be skipped. */
static bool pressed_enter(void)
{
    char line[64];

    if (!fgets(line, sizeof line, stdin))
        return false;
    return line[0] == '\n' || (line[0] != 's' && line[0] != 'S');
}

static void pause_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

static bool wait_until(struct probe *p, bool (*done)(struct probe *p, void *arg), void *arg)
{
    deadline_t until = deadline_in(p->o->wait_s * 1000);

    while (!p->gone && !session_stopped()) {
        if (done(p, arg))
            return true;
        if (deadline_passed(until))
            return false;
        pause_ms(20);
    }
    return false;
}

struct waiting {
    card_test_fn test;
    enum need need;
};

static bool is_there(struct probe *p, void *arg)
{
    const struct waiting *w = arg;

    return w->test(p, w->need);
}

/* Whether such a card is there the reader may be unable to tell: then the user's word counts. */
static bool is_told(enum need need)
{
    return need == NEED_TAG || need == NEED_FELICA || need == NEED_ICC || need == NEED_ICC_T0;
}

static bool prompt(struct probe *p, enum need need, struct waiting *w)
{
    while (!session_stopped()) {
        session_clear_progress();
        printf("\n  Please: %s.\n", need_text(need));
        if (p->o->asking == ASK_WAIT) {
            printf("  (waiting for it, %u s at most)\n", p->o->wait_s);
            fflush(stdout);
            return wait_until(p, is_there, w);
        }
        printf("  Then press Enter, or s and Enter if you have none: ");
        fflush(stdout);
        if (!pressed_enter())
            return false;
        if (w->test(p, need) || is_told(need))
            return true;
        printf("  The reader does not see it so. Once more?\n");
    }
    return false;
}

bool ask_for(struct probe *p, enum need need, card_test_fn test, const char **why)
{
    struct waiting w = {test, need};

    *why = "there was no such card";
    if (p->o->asking == ASK_NOT)
        *why = "it needs a card, and none was to be asked for";
    else if (p->o->asking == ASK_GIVEN && !(p->o->given & NEEDS_BIT(need)))
        *why = "it needs another card than those that are in place";
    if (p->o->asking == ASK_NOT || (p->o->asking == ASK_GIVEN && !(p->o->given & NEEDS_BIT(need))))
        return need == NEED_EMPTY && p->o->asking == ASK_NOT && test(p, need);
    if (p->o->asking == ASK_GIVEN) {
        *why = "the reader does not see the card that was said to be in place";
        return test(p, need) || is_told(need);
    }
    if (test(p, need))
        return true;
    return prompt(p, need, &w);
}

bool ask_to(struct probe *p, const char *what, bool (*done)(struct probe *p, void *arg), void *arg)
{
    if (!ask_can(p))
        return false;
    session_clear_progress();
    printf("\n  Please: %s. (waiting for it, %u s at most)\n", what, p->o->wait_s);
    fflush(stdout);
    return wait_until(p, done, arg);
}
