/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Faults. A test arms them one by one; each waits for a command it matches and then hits it, "times" often. What a
 * fault does to the bytes of an answer is done here; what it does to time or to the command's execution is done where
 * answers are sent and commands are run. Two of them, cmdcut and cmdflip, hit the command itself on its way to the
 * reader, which then sees a spoilt frame and knows nothing of a fault.
 */
#define _POSIX_C_SOURCE 200809L
#include "neo_model.h"

#include <stdlib.h>
#include <string.h>

enum { ARG_NONE, ARG_DEC, ARG_DEC_OR_NONE, ARG_HEX, ARG_BYTES };

static const struct kind {
    const char *name;
    enum neo_fault_kind kind;
    int argument;
    bool execute; /* unless the test says otherwise */
} kinds[] = {
    {"drop", NEO_FAULT_DROP, ARG_NONE, true},
    {"delay", NEO_FAULT_DELAY, ARG_DEC, true},
    {"late", NEO_FAULT_LATE, ARG_DEC_OR_NONE, true}, /* =K: but for its first K bytes */
    {"again", NEO_FAULT_AGAIN, ARG_NONE, true}, /* once more, before the next answer */
    {"badcrc", NEO_FAULT_BADCRC, ARG_NONE, true},
    {"flip", NEO_FAULT_FLIP, ARG_DEC, true},
    {"cut", NEO_FAULT_CUT, ARG_DEC, true},
    {"lose", NEO_FAULT_LOSE, ARG_DEC, true},
    {"dup", NEO_FAULT_DUP, ARG_DEC, true},
    {"noise", NEO_FAULT_NOISE, ARG_BYTES, true},
    {"half", NEO_FAULT_HALF, ARG_NONE, true},
    {"status", NEO_FAULT_STATUS, ARG_HEX, false},
    {"data", NEO_FAULT_DATA, ARG_BYTES, true}, /* status 00 and these data in place of the answer */
    {"boot", NEO_FAULT_BOOT, ARG_NONE, false},
    {"unsolicited", NEO_FAULT_UNSOLICITED, ARG_BYTES, true},
    {"wrongcmd", NEO_FAULT_WRONGCMD, ARG_NONE, true},
    {"remove", NEO_FAULT_REMOVE, ARG_NONE, true},
    {"hidlose", NEO_FAULT_HIDLOSE, ARG_DEC, true},
    {"hiddup", NEO_FAULT_HIDDUP, ARG_DEC, true},
    {"cmdcut", NEO_FAULT_CMDCUT, ARG_DEC, true},
    {"cmdflip", NEO_FAULT_CMDFLIP, ARG_DEC, true},
};

static bool number(const char *text, int base, unsigned long max, unsigned *out)
{
    char *end = NULL;
    unsigned long v = strtoul(text, &end, base);

    *out = (unsigned)v;
    return *text >= '0' && *end == '\0' && v <= max;
}

/* "CCSS" or "CC". */
static bool set_place(struct neo_fault *f, const char *text)
{
    uint8_t code[2];
    size_t n;

    if (!neo_hex(text, code, 2, &n) || n == 0)
        return false;
    f->cc = code[0];
    f->ss = n == 2 ? code[1] : NEO_ANY;
    return true;
}

static bool set_kind(struct neo_fault *f, char *word)
{
    char *value = strchr(word, '=');

    if (value != NULL)
        *value++ = '\0';
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, word) != 0)
            continue;
        f->kind = kinds[i].kind;
        f->execute = kinds[i].execute;
        if (kinds[i].argument == ARG_NONE)
            return value == NULL;
        if (value == NULL)
            return kinds[i].argument == ARG_DEC_OR_NONE;
        if (kinds[i].argument == ARG_BYTES)
            return neo_hex(value, f->bytes, sizeof f->bytes, &f->bytes_len) &&
                   f->bytes_len >= (f->kind == NEO_FAULT_UNSOLICITED ? 2U : 1U);
        return number(value, kinds[i].argument == ARG_HEX ? 16 : 10, 600000, &f->number);
    }
    return false;
}

static bool set_modifier(struct neo_fault *f, char *word)
{
    char *value = strchr(word, '=');
    unsigned v = 0;

    if (value == NULL)
        return false;
    *value++ = '\0';
    if (strcmp(word, "at") == 0)
        return set_place(f, value);
    if (!number(value, 10, 1000000, &v))
        return false;
    if (strcmp(word, "times") == 0)
        f->times = v;
    else if (strcmp(word, "skip") == 0)
        f->skip = v;
    else if (strcmp(word, "exec") == 0 && v <= 1)
        f->execute = v == 1;
    else
        return false;
    return true;
}

bool neo_fault_arm(struct sim_model *m, const char *args, char *why, size_t why_size)
{
    char copy[1024], *save = NULL, *word;
    struct neo_fault f = {.times = 1, .cc = NEO_ANY, .ss = NEO_ANY};

    snprintf(why, why_size, "bad fault");
    if (strlen(args) >= sizeof copy)
        return false;
    strcpy(copy, args);
    word = strtok_r(copy, " ", &save);
    if (word != NULL && strcmp(word, "clear") == 0) {
        memset(m->faults, 0, sizeof m->faults);
        return true;
    }
    if (word == NULL || !set_kind(&f, word))
        return false;
    while ((word = strtok_r(NULL, " ", &save)) != NULL) {
        if (!set_modifier(&f, word))
            return false;
    }
    for (size_t i = 0; i < NEO_FAULTS; i++) {
        if (m->faults[i].kind == NEO_FAULT_NONE) {
            m->faults[i] = f;
            return true;
        }
    }
    snprintf(why, why_size, "too many faults");
    return false;
}

static bool hits_command(const struct neo_fault *f)
{
    return f->kind == NEO_FAULT_CMDCUT || f->kind == NEO_FAULT_CMDFLIP;
}

/* The first armed fault, of commands or of answers, that matches and has let enough pass. */
static struct neo_fault choose(struct sim_model *m, bool of_commands, uint8_t cmd, uint8_t sub)
{
    struct neo_fault chosen = {.kind = NEO_FAULT_NONE, .execute = true};

    for (size_t i = 0; i < NEO_FAULTS; i++) {
        struct neo_fault *f = &m->faults[i];

        if (f->kind == NEO_FAULT_NONE || hits_command(f) != of_commands || (f->cc != NEO_ANY && f->cc != cmd) ||
            (f->ss != NEO_ANY && f->ss != sub))
            continue;
        if (f->skip > 0) {
            f->skip--;
            continue;
        }
        chosen = *f;
        m->count.faults++;
        if (f->times > 0 && --f->times == 0)
            f->kind = NEO_FAULT_NONE;
        break;
    }
    return chosen;
}

void neo_fault_choose(struct sim_model *m, uint8_t cmd, uint8_t sub)
{
    m->fault = choose(m, false, cmd, sub);
}

bool neo_fault_commands(const struct sim_model *m)
{
    for (size_t i = 0; i < NEO_FAULTS; i++) {
        if (hits_command(&m->faults[i]))
            return true;
    }
    return false;
}

size_t neo_fault_command(struct sim_model *m, uint8_t *frame, size_t n)
{
    struct neo_fault f = choose(m, true, frame[NEO_CMD_AT], frame[NEO_CMD_AT + 1]);

    if (f.number >= n)
        return n;
    if (f.kind == NEO_FAULT_CMDCUT)
        return f.number;
    if (f.kind == NEO_FAULT_CMDFLIP)
        frame[f.number] ^= 0x01;
    return n;
}

size_t neo_fault_bytes(const struct neo_fault *f, uint8_t frame[NEO_FRAME_MAX + 1], size_t n)
{
    size_t k = f->number;

    switch (f->kind) {
    case NEO_FAULT_BADCRC:
        frame[n - 1] ^= 0xFF;
        return n;
    case NEO_FAULT_FLIP:
        if (k < n)
            frame[k] ^= 0x01;
        return n;
    case NEO_FAULT_CUT:
        return k < n ? k : n;
    case NEO_FAULT_HALF:
        return n / 2;
    case NEO_FAULT_LOSE:
        if (k >= n)
            return n;
        memmove(frame + k, frame + k + 1, n - k - 1);
        return n - 1;
    case NEO_FAULT_DUP:
        if (k >= n)
            return n;
        memmove(frame + k + 1, frame + k, n - k);
        return n + 1;
    default:
        return n;
    }
}

size_t neo_faults_armed(const struct sim_model *m)
{
    size_t n = 0;

    for (size_t i = 0; i < NEO_FAULTS; i++)
        n += m->faults[i].kind != NEO_FAULT_NONE ? 1U : 0U;
    return n;
}
