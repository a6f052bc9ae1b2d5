/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Settings. One const table names each setting: its key, what it may be (in words, for the log and the man page), how
 * its text is read, where its value lives in struct settings, and whose reader it concerns. The three sources - file,
 * DEVICENAME options, environment - all come down to apply(): find the row, read the text into a copy, and take the
 * copy over if nothing more specific has set this row before. A rank per row does that, so the order of the sections in
 * the file does not matter and the file is read once.
 *
 * The file is read with inih, with three things done on the way into it (next_line) that inih itself does not do:
 *   - lines are counted, so a complaint names its line (inih has line numbers only if it was built for them);
 *   - section names are kept whole: inih cuts them at 49 characters, a /dev/serial/by-id path is longer;
 *   - a line that inih would break in two, or take for the continuation of the one before, never reaches it.
 * The bytes come by read(2) into the caller's stack: no heap, and no stdio to block on a FIFO. Only a regular file of
 * bounded size is read, so a path that was mistyped into a device or a directory costs one log line.
 *
 * The environment is asked with getenv, not secure_getenv: pcscd is not set-user-ID and who sets its environment
 * (systemd, root) already decides which drivers it loads.
 */
#include "base/settings.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef IFD_PURSE_SYSCONFDIR
#define IFD_PURSE_SYSCONFDIR "/etc"
#endif

enum {
    FILE_MAX = 1024 * 1024, /* more than any configuration; ends the reading of a wrong file */
    SECTION_MAX = 256,      /* a section's name with its NUL */
    LINKS_MAX = 16,         /* symbolic links behind one another */
    TEXT_MAX = 128,         /* one DEVICENAME option */
    COMPLAINTS_MAX = 20     /* lines of complaint about one file */
};

/* ---- the table ---- */

enum row_kind { KIND_CHOICE, KIND_MS, KIND_MASK, KIND_SLOTS, KIND_USB_ID };
enum { FOR_AET63 = 1, FOR_VIVOPAY = 2, FOR_BOTH = 3 };

struct choice {
    const char *word;
    unsigned value;
};

struct row {
    const char *key;
    const char *may_be;           /* completes "it may be …" */
    const struct choice *choices; /* KIND_CHOICE: ends with a NULL word */
    size_t offset;                /* of an unsigned in struct settings; unused for slots and usb_id */
    unsigned low, high, initial;  /* range of KIND_MS and KIND_MASK; the default of all that live at offset */
    enum row_kind kind;
    unsigned families;
};

static const struct choice prefer_choices[] = {{"iso", PREFER_ISO}, {"mifare", PREFER_MIFARE}, {NULL, 0}};
static const struct choice switch_choices[] = {{"off", SWITCH_OFF}, {"on", SWITCH_ON}, {NULL, 0}};
static const struct choice auto_choices[] = {{"auto", SWITCH_AUTO}, {"on", SWITCH_ON}, {"off", SWITCH_OFF}, {NULL, 0}};
static const struct choice presence_choices[] = {{"off", PRESENCE_OFF}, {"rnak", PRESENCE_RNAK}, {NULL, 0}};
static const struct choice escape_choices[] = {{"safe", ESCAPE_SAFE}, {"all", ESCAPE_ALL}, {NULL, 0}};
static const struct choice crc_choices[] = {{"auto", CRC_AUTO}, {"lsb", CRC_LSB}, {"msb", CRC_MSB}, {NULL, 0}};
static const struct choice transport_choices[] = {
    {"auto", TRANSPORT_AUTO}, {"a", TRANSPORT_A}, {"b", TRANSPORT_B}, {"c", TRANSPORT_C}, {NULL, 0}};
static const struct choice t1_choices[] = {{"blocks", T1_BLOCKS}, {"apdu", T1_APDU}, {NULL, 0}};
static const struct choice nak_choices[] = {{"off", NAK_OFF}, {"framed", NAK_FRAMED}, {"raw", NAK_RAW}, {NULL, 0}};
/* The rates that the ViVOpay baud commands know. */
static const struct choice baud_choices[] = {{"auto", 0},      {"0", 0},         {"9600", 9600},     {"19200", 19200},
                                             {"38400", 38400}, {"57600", 57600}, {"115200", 115200}, {NULL, 0}};

#define CHOICE(field, list, words, first, whose)                                                                       \
    {                                                                                                                  \
        .key = #field, .may_be = words, .choices = list, .offset = offsetof(struct settings, field), .initial = first, \
        .kind = KIND_CHOICE, .families = whose                                                                         \
    }
#define MS_RANGE(field, least, most, words, first, whose)                                                              \
    {                                                                                                                  \
        .key = #field, .may_be = words, .offset = offsetof(struct settings, field), .low = least, .high = most,        \
        .initial = first, .kind = KIND_MS, .families = whose                                                           \
    }
#define MS(field, first, whose)      MS_RANGE(field, 1, 600000, "1 to 600000 milliseconds", first, whose)
#define MS_OR_0(field, first, whose) MS_RANGE(field, 0, 600000, "0 to 600000 milliseconds", first, whose)

/* Rows with a default of their own in other than one unsigned stand last. A wait may be 0 where nothing at all is a
 * sensible wait; it may not where 0 would be a busy loop or a command that can never be answered. */
static const struct row table[] = {
    CHOICE(prefer, prefer_choices, "iso or mifare", PREFER_ISO, FOR_VIVOPAY),
    CHOICE(iso15693, auto_choices, "auto, on or off", SWITCH_AUTO, FOR_VIVOPAY),
    CHOICE(felica, switch_choices, "off or on", SWITCH_OFF, FOR_VIVOPAY),
    CHOICE(sak_probe, switch_choices, "off or on", SWITCH_OFF, FOR_VIVOPAY),
    CHOICE(presence_check, presence_choices, "off or rnak", PRESENCE_OFF, FOR_VIVOPAY),
    CHOICE(contactless_t0, switch_choices, "off or on", SWITCH_OFF, FOR_VIVOPAY),
    CHOICE(escape, escape_choices, "safe or all", ESCAPE_SAFE, FOR_BOTH),
    CHOICE(crc_order, crc_choices, "auto, lsb or msb", CRC_AUTO, FOR_VIVOPAY),
    CHOICE(transport, transport_choices, "auto, A, B or C", TRANSPORT_AUTO, FOR_AET63),
    CHOICE(t1, t1_choices, "blocks or apdu", T1_BLOCKS, FOR_AET63),
    CHOICE(nak, nak_choices, "off, framed or raw", NAK_OFF, FOR_AET63),
    CHOICE(baud, baud_choices, "auto, 9600, 19200, 38400, 57600 or 115200", 0, FOR_VIVOPAY),
    MS(apdu_cap, 60000, FOR_BOTH),
    MS(power_cap, 30000, FOR_BOTH),
    MS(reader_cap, 5000, FOR_BOTH),
    MS(tfm_cap, 120000, FOR_AET63),
    MS(frame_gap, 500, FOR_BOTH),
    MS(command_wait, 2000, FOR_BOTH),
    MS(reset_wait, 10000, FOR_BOTH),
    MS_OR_0(open_quiet, 100, FOR_BOTH),
    MS_OR_0(open_drain, 1200, FOR_BOTH),
    MS_OR_0(resync_quiet, 100, FOR_BOTH),
    MS(presence_retry, 500, FOR_BOTH),
    MS(ping_wait, 300, FOR_VIVOPAY),
    /* the reader counts in 10 ms, and seconds in a byte */
    MS_RANGE(poll_time, 10, 255990, "10 to 255990 milliseconds", 250, FOR_VIVOPAY),
    MS_OR_0(rf_off, 10, FOR_VIVOPAY),
    MS(reopen_min, 50, FOR_VIVOPAY),
    MS(reopen_max, 2000, FOR_VIVOPAY),
    {.key = "log",
     .may_be = "the sum of 1 critical, 2 info, 4 frames and 8 periodic: 0 to 15",
     .offset = offsetof(struct settings, log),
     .high = 15,
     .initial = PLOG_CRITICAL | PLOG_INFO,
     .kind = KIND_MASK,
     .families = FOR_BOTH},
    {.key = "slots",
     .may_be = "card or card.sam (AET63), or cl, icc, sam1 to sam8 joined by dots (ViVOpay)",
     .kind = KIND_SLOTS,
     .families = FOR_BOTH},
    {.key = "usb_id",
     .may_be = "VVVV:PPPP:aet63 or VVVV:PPPP:vivopay, the ids in hex",
     .kind = KIND_USB_ID,
     .families = FOR_BOTH},
};

enum { ROWS = sizeof table / sizeof table[0] };

/* Reasons other than a row's may_be. */
static const char unknown_key[] = "no such setting, see ifd-purse.conf(5)";
static const char slot_twice[] = "each slot at most once: card or card.sam, or cl, icc, sam1 to sam8 joined by dots";
static const char usb_ids_full[] = "no more than 8 usb_id lines";
static const char usb_id_clash[] = "this VVVV:PPPP has been given to the other family already";

static const struct row *find_row(const char *key)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcasecmp(table[i].key, key) == 0)
            return &table[i];
    return NULL;
}

static unsigned *row_field(const struct row *row, struct settings *s)
{
    return (unsigned *)(void *)((char *)s + row->offset);
}

void settings_defaults(struct settings *s)
{
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < ROWS; i++)
        if (table[i].kind != KIND_SLOTS && table[i].kind != KIND_USB_ID)
            *row_field(&table[i], s) = table[i].initial;
}

/* ---- from text to value: each answers NULL, or the reason why not ---- */

static const char *set_choice(const struct row *row, struct settings *s, const char *value)
{
    for (const struct choice *c = row->choices; c->word; c++) {
        if (strcasecmp(c->word, value) == 0) {
            *row_field(row, s) = c->value;
            return NULL;
        }
    }
    return row->may_be;
}

/* Digits only: strtoul would take signs, blanks and octal, and wrap a minus. */
static const char *set_number(const struct row *row, struct settings *s, const char *value)
{
    unsigned n = 0;
    const char *p;

    for (p = value; *p >= '0' && *p <= '9' && n <= row->high; p++)
        n = n * 10 + (unsigned)(*p - '0'); /* n <= 600000 before, so this holds */
    if (p == value || *p != '\0' || n < row->low || n > row->high)
        return row->may_be;
    *row_field(row, s) = n;
    return NULL;
}

/* One word of a slot list, n characters. "sam" alone is the AET63's; a ViVOpay numbers its own. */
static enum slot_kind read_slot(const char *p, size_t n)
{
    static const struct {
        const char *word;
        enum slot_kind kind;
    } words[] = {{"card", SLOT_CARD}, {"cl", SLOT_CL}, {"icc", SLOT_ICC}};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i].word) == n && strncasecmp(p, words[i].word, n) == 0)
            return words[i].kind;
    if (n == 4 && strncasecmp(p, "sam", 3) == 0 && p[3] >= '1' && p[3] <= '8')
        return (enum slot_kind)(SLOT_SAM1 + (p[3] - '1'));
    return SLOT_NONE;
}

static const char *set_slots(const struct row *row, struct settings *s, const char *value)
{
    enum slot_kind slots[SETTINGS_SLOTS_MAX];
    unsigned count = 0, seen = 0;

    if (strcasecmp(value, "card.sam") == 0) {
        s->slots[0] = SLOT_CARD;
        s->slots[1] = SLOT_SAM1;
        s->slot_count = 2;
        return NULL;
    }
    for (const char *p = value;; p++) {
        size_t n = strcspn(p, ".");
        enum slot_kind kind = read_slot(p, n);

        if (kind == SLOT_NONE)
            return row->may_be;
        if (seen & 1U << kind)
            return slot_twice; /* also keeps count within the ten kinds that can stand side by side */
        seen |= 1U << kind;
        if ((seen & 1U << SLOT_CARD) && seen != 1U << SLOT_CARD)
            return row->may_be; /* "card" is the AET63's word; it stands with "sam" or alone */
        slots[count++] = kind;
        p += n;
        if (*p == '\0')
            break;
    }
    memcpy(s->slots, slots, count * sizeof slots[0]);
    s->slot_count = count;
    return NULL;
}

/* One to four hex digits, with or without 0x; moves *p past them. */
static bool read_hex16(const char **p, uint16_t *out)
{
    unsigned v = 0, digits = 0;
    const char *q = *p;

    if (q[0] == '0' && (q[1] == 'x' || q[1] == 'X'))
        q += 2;
    for (; isxdigit((unsigned char)*q); q++) {
        int c = tolower((unsigned char)*q);

        if (++digits > 4)
            return false;
        v = v << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (digits == 0)
        return false;
    *p = q;
    *out = (uint16_t)v;
    return true;
}

/* "VVVV:PPPP"; moves *p past it. */
static bool read_vid_pid(const char **p, uint16_t *vid, uint16_t *pid)
{
    const char *q = *p;

    if (!read_hex16(&q, vid) || *q++ != ':' || !read_hex16(&q, pid))
        return false;
    *p = q;
    return true;
}

static const char *set_usb_id(const struct row *row, struct settings *s, const char *value)
{
    struct usb_id id = {0};
    const char *p = value;

    if (!read_vid_pid(&p, &id.vid, &id.pid) || id.vid == 0 || *p++ != ':')
        return row->may_be;
    if (strcasecmp(p, "aet63") == 0)
        id.family = 'a';
    else if (strcasecmp(p, "vivopay") == 0)
        id.family = 'v';
    else
        return row->may_be;
    for (unsigned i = 0; i < s->usb_id_count; i++)
        if (s->usb_ids[i].vid == id.vid && s->usb_ids[i].pid == id.pid)
            return s->usb_ids[i].family == id.family ? NULL : usb_id_clash;
    if (s->usb_id_count == SETTINGS_USB_IDS_MAX)
        return usb_ids_full;
    s->usb_ids[s->usb_id_count++] = id;
    return NULL;
}

static const char *set_row(const struct row *row, struct settings *s, const char *value)
{
    switch (row->kind) {
    case KIND_CHOICE:
        return set_choice(row, s, value);
    case KIND_MS:
    case KIND_MASK:
        return set_number(row, s, value);
    case KIND_SLOTS:
        return set_slots(row, s, value);
    case KIND_USB_ID:
        return set_usb_id(row, s, value);
    }
    return unknown_key;
}

bool settings_set(struct settings *s, const char *key, const char *value, const char **reason)
{
    const struct row *row = find_row(key);

    *reason = row ? set_row(row, s, value) : unknown_key;
    return *reason == NULL;
}

/* ---- loading ---- */

/* How specific a source is; the greater wins. A section with the path as DEVICENAME writes it is meant more closely
 * than one with the node that the path resolves to. */
enum rank { RANK_NONE, RANK_MODEL, RANK_SERIAL, RANK_NODE, RANK_PATH, RANK_OPTION, RANK_ENVIRONMENT };

enum section_kind {
    SECTION_TOP,   /* before the first section */
    SECTION_USB,   /* [usb] */
    SECTION_OTHER, /* another reader's, or a mistake that has been named already: its lines are passed over */
    SECTION_OURS   /* this reader's, with a rank */
};

struct load {
    struct settings *s;
    const struct settings_subject *who; /* NULL: only usb_id lines are wanted */
    struct log *log;                    /* may be NULL: silent */
    enum rank rank[ROWS];               /* what has set each row so far */
    char node[PATH_MAX];                /* who->device resolved; empty: there is none */
    unsigned complaints;

    /* the file */
    const char *path;
    int fd;
    size_t taken; /* bytes read in all */
    char chunk[1024];
    size_t chunk_at, chunk_len;
    unsigned line;
    bool key_expected; /* the line handed to inih should come back as a key */
    enum section_kind section;
    enum rank section_rank;
};

static void complain(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void complain(struct load *l, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    if (!l->log || l->complaints > COMPLAINTS_MAX)
        return;
    if (l->complaints++ == COMPLAINTS_MAX) {
        log_line(l->log, PLOG_CRITICAL, "more mistakes in the configuration are not listed; correct these first");
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_line(l->log, PLOG_CRITICAL, "%s", text);
}

/* Room for where a value stands: the end of a long path tells more than its beginning. */
struct where {
    char text[64];
};

static struct where where_line(const struct load *l)
{
    const size_t most = 40; /* so that the longest complaint fits a log line */
    size_t n = strlen(l->path);
    struct where w;

    (void)snprintf(w.text, sizeof w.text, "%s%s:%u", n > most ? "..." : "", n > most ? l->path + n - most : l->path,
                   l->line);
    return w;
}

/* Levenshtein distance, at most `far`; both words shorter than 32 or they are far apart. */
static unsigned distance(const char *a, const char *b, unsigned far)
{
    size_t na = strlen(a), nb = strlen(b);
    unsigned row[33];

    if (na > 32 || nb > 32)
        return far;
    for (unsigned j = 0; j <= nb; j++)
        row[j] = j;
    for (unsigned i = 0; i < na; i++) {
        unsigned diagonal = row[0];

        row[0] = i + 1;
        for (unsigned j = 0; j < nb; j++) {
            unsigned swap = diagonal + (tolower((unsigned char)a[i]) != b[j]);
            unsigned step = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;

            diagonal = row[j + 1];
            row[j + 1] = swap < step ? swap : step;
        }
    }
    return row[nb] < far ? row[nb] : far;
}

static void complain_key(struct load *l, const char *where, const char *key)
{
    const char *nearest = NULL;
    unsigned best = 3;

    for (size_t i = 0; i < ROWS; i++) {
        unsigned d = distance(key, table[i].key, 3);

        if (d < best && 2 * d <= strlen(table[i].key)) { /* everything is close to a key of two letters */
            best = d;
            nearest = table[i].key;
        }
    }
    if (nearest)
        complain(l, "%s: there is no setting \"%.40s\"; did you mean %s?", where, key, nearest);
    else
        complain(l, "%s: there is no setting \"%.40s\"; ifd-purse.conf(5) lists them", where, key);
}

static unsigned family_bit(char family)
{
    return family == 'a' ? FOR_AET63 : family == 'v' ? FOR_VIVOPAY : FOR_BOTH;
}

static bool slots_fit(const struct settings *s, char family)
{
    bool card = s->slot_count > 0 && s->slots[0] == SLOT_CARD;

    return s->slot_count == 0 || family == 0 || card == (family == 'a');
}

/* One key and its text from one source. What is wrong is said and changes nothing. The environment is one for all
 * readers, so there a setting of the other family is no mistake. */
static void apply(struct load *l, enum rank rank, const char *where, const char *key, const char *value)
{
    const struct row *row = find_row(key);
    struct settings tried = *l->s;
    const char *reason;
    size_t i;

    if (!row) {
        complain_key(l, where, key);
        return;
    }
    i = (size_t)(row - table);
    reason = set_row(row, &tried, value);
    if (reason) {
        complain(l, "%s: %s = \"%.30s\" is refused; it may be %s", where, row->key, value, reason);
        return;
    }
    if (l->who && (!(row->families & family_bit(l->who->family)) || !slots_fit(&tried, l->who->family))) {
        if (rank != RANK_ENVIRONMENT)
            complain(l, "%s: %s = \"%.30s\" is for the other family of readers and has no effect on this one", where,
                     row->key, value);
        return;
    }
    if (rank < l->rank[i])
        return;
    l->rank[i] = rank;
    *l->s = tried;
}

/* ---- the file: sections ---- */

static void complain_section(struct load *l, const char *name)
{
    struct where w = where_line(l);
    const char *p = name;
    uint16_t vid, pid;

    l->section = SECTION_OTHER;
    if (!l->who)
        return;
    if (read_hex16(&p, &vid) && strchr("-_. /,;", *p) && *p && (p++, read_hex16(&p, &pid)) && *p == '\0')
        complain(l, "%s: [%.40s] names no reader; write [%04X:%04X]", w.text, name, vid, pid);
    else if (strncmp(name, "dev/", 4) == 0)
        complain(l, "%s: [%.60s] names no reader; write [/%.60s]", w.text, name, name);
    else if (strncmp(name, "tty", 3) == 0)
        complain(l, "%s: [%.60s] names no reader; write [/dev/%.60s]", w.text, name, name);
    else
        complain(l, "%s: [%.60s] names no reader; a section is [VID:PID], [VID:PID:SERIAL], [/dev/...] or [usb]",
                 w.text, name);
}

static void take_section(struct load *l, enum rank rank)
{
    l->section = rank == RANK_NONE ? SECTION_OTHER : SECTION_OURS;
    l->section_rank = rank;
}

static void enter_section(struct load *l, const char *name)
{
    static const struct settings_subject nobody;
    const struct settings_subject *who = l->who ? l->who : &nobody;
    const char *p = name;
    uint16_t vid, pid;

    if (strcasecmp(name, "usb") == 0) {
        l->section = SECTION_USB;
    } else if (name[0] == '/') {
        if (who->device && strcmp(name, who->device) == 0)
            take_section(l, RANK_PATH);
        else
            take_section(l, l->node[0] && strcmp(name, l->node) == 0 ? RANK_NODE : RANK_NONE);
    } else if (read_vid_pid(&p, &vid, &pid) && (*p == '\0' || (*p == ':' && p[1]))) {
        bool model = vid == who->vid && pid == who->pid && who->vid != 0;

        if (*p == '\0')
            take_section(l, model ? RANK_MODEL : RANK_NONE);
        else
            take_section(l, model && who->serial && strcmp(p + 1, who->serial) == 0 ? RANK_SERIAL : RANK_NONE);
    } else {
        complain_section(l, name);
    }
}

/* The handler that inih calls for a key. Its section argument is not used: see the top of this file. */
static int take_key(void *user, const char *section, const char *name, const char *value)
{
    struct load *l = user;
    struct where w = where_line(l);
    char text[TEXT_MAX];
    const struct row *row = find_row(name);
    bool usb_id = row && row->kind == KIND_USB_ID;
    size_t n;

    (void)section;
    l->key_expected = false;
    if (!value) /* an inih built to take keys alone */
        value = "";
    if (!usb_id && (!l->who || l->section == SECTION_OTHER))
        return 1;
    if (!usb_id && l->section == SECTION_USB) {
        complain(l, "%s: \"%.40s\" cannot stand in [usb], which takes usb_id lines; move it to a reader's section",
                 w.text, name);
        return 1;
    }
    if (!usb_id && l->section == SECTION_TOP) {
        complain(l, "%s: \"%.40s\" belongs to no reader; put it below [VID:PID], [VID:PID:SERIAL] or [/dev/...]",
                 w.text, name);
        return 1;
    }
    /* inih ends a value at " ;"; people write " #" too, and no value holds one. */
    n = strcspn(value, "#");
    while (n > 0 && isspace((unsigned char)value[n - 1]))
        n--;
    if (n >= sizeof text) { /* not cut: a part of it might make sense */
        complain(l, "%s: the value of \"%.40s\" is too long", w.text, name);
        return 1;
    }
    memcpy(text, value, n);
    text[n] = '\0';
    apply(l, usb_id ? RANK_MODEL : l->section_rank, w.text, name, text);
    return 1;
}

/* ---- the file: lines ---- */

/* The next byte, or -1 at the end. */
static int next_byte(struct load *l)
{
    if (l->chunk_at == l->chunk_len) {
        ssize_t n;

        do
            n = read(l->fd, l->chunk, sizeof l->chunk);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            complain(l, "%s: cannot be read on: %s; what follows is not used", where_line(l).text, strerror(errno));
        if (n <= 0)
            return -1;
        l->taken += (size_t)n;
        if (l->taken > FILE_MAX) {
            complain(l, "%s: the file is longer than 1 MiB; what follows is not used", where_line(l).text);
            return -1;
        }
        l->chunk_at = 0;
        l->chunk_len = (size_t)n;
    }
    return (unsigned char)l->chunk[l->chunk_at++];
}

/* One line without its end and without blanks (and a byte order mark) before it, cut to cap - 2 characters: an inih
 * that may grow its buffer takes a full one for half a line. *cut: it was longer, or held a NUL. False at the end. */
static bool read_raw_line(struct load *l, char *out, size_t cap, bool *cut)
{
    size_t n = 0;
    int c = next_byte(l);

    if (c < 0)
        return false;
    l->line++;
    *cut = false;
    for (; c >= 0 && c != '\n'; c = next_byte(l)) {
        if (n == 0 && isspace(c))
            continue;
        if (c == '\0' || n == cap - 2)
            *cut = true;
        else
            out[n++] = (char)c;
        if (l->line == 1 && n == 3 && memcmp(out, "\xEF\xBB\xBF", 3) == 0)
            n = 0;
    }
    out[n] = '\0';
    return true;
}

static void take_section_line(struct load *l, char *line)
{
    char name[SECTION_MAX];
    char *end = strchr(line, ']'), *p = line + 1;
    size_t n;

    if (!end) {
        if (l->who)
            complain(l, "%s: a section without its closing \"]\"; the lines below it are not used", where_line(l).text);
        l->section = SECTION_OTHER;
        return;
    }
    while (p < end && isspace((unsigned char)*p))
        p++;
    while (end > p && isspace((unsigned char)end[-1]))
        end--;
    n = (size_t)(end - p);
    n = n < sizeof name ? n : sizeof name - 1;
    memcpy(name, p, n);
    name[n] = '\0';
    enter_section(l, name);
}

/* inih handed a line on, or it was neither a section nor a key. */
static void settle_line(struct load *l)
{
    if (l->key_expected && l->who)
        complain(l, "%s: neither [section] nor key = value; a comment begins with # or ;", where_line(l).text);
    l->key_expected = false;
}

/* The fgets that inih reads with. Sections, comments and lines that are no good are answered with an empty line: inih
 * need not see them. */
static char *next_line(char *out, int cap, void *stream)
{
    struct load *l = stream;
    bool cut = false;

    settle_line(l);
    if (cap < 3 || !read_raw_line(l, out, (size_t)cap, &cut))
        return NULL;
    if (out[0] == '#' || out[0] == ';') {
        out[0] = '\0';
    } else if (cut) {
        if (l->who)
            complain(l, "%s: longer than %d characters, or not text; the line is not used", where_line(l).text,
                     cap - 2);
        if (out[0] == '[')
            l->section = SECTION_OTHER; /* what follows was meant for a section that cannot be told */
        out[0] = '\0';
    } else if (out[0] == '[') {
        take_section_line(l, out);
        out[0] = '\0';
    } else {
        l->key_expected = out[0] != '\0';
    }
    return out;
}

static void load_file(struct load *l)
{
    const char *named = getenv("IFD_PURSE_CONF");
    struct stat st;

    if (named && strcmp(named, "/dev/null") == 0)
        return; /* the customary way to say "none" */
    l->path = named && *named ? named : IFD_PURSE_SYSCONFDIR "/ifd-purse.conf";
    l->fd = open(l->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); /* non-blocking: it might be a FIFO */
    if (l->fd < 0) {
        if (errno != ENOENT || (named && *named))
            complain(l, "%.100s: %s; no settings come from it", l->path, strerror(errno));
        else if (l->who && l->log)
            log_line(l->log, PLOG_INFO, "no %.100s: the defaults are used", l->path);
        return;
    }
    if (fstat(l->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        complain(l, "%.100s: not a regular file; no settings come from it", l->path);
    } else {
        (void)ini_parse_stream(next_line, l, take_key, l); /* what it could answer has been said line by line */
        settle_line(l);
    }
    (void)close(l->fd);
}

/* ---- the other sources ---- */

static void load_options(struct load *l, const char *options)
{
    char text[TEXT_MAX];

    for (const char *p = options; p && *p;) {
        size_t n = strcspn(p, ":");
        char *value;

        if (n >= sizeof text) {
            complain(l, "DEVICENAME: the option \"%.40s...\" is too long", p);
        } else if (n > 0) {
            memcpy(text, p, n);
            text[n] = '\0';
            value = strchr(text, '=');
            if (value) {
                *value = '\0';
                apply(l, RANK_OPTION, "DEVICENAME", text, value + 1);
            } else {
                complain(l, "DEVICENAME: the option \"%.40s\" is not key=value", text);
            }
        }
        p += n;
        p += *p == ':';
    }
}

static void load_environment(struct load *l, const struct row *row)
{
    char name[32] = "IFD_PURSE_";
    size_t at = strlen(name);
    const char *value;

    for (const char *p = row->key; *p && at < sizeof name - 1; p++)
        name[at++] = (char)toupper((unsigned char)*p);
    value = getenv(name);
    if (value && *value)
        apply(l, RANK_ENVIRONMENT, name, row->key, value);
}

static bool join(char out[PATH_MAX], const char *folder, const char *name)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name);

    return n >= 0 && n < PATH_MAX;
}

/* What a link in the path's last part points to, and so on, up to a node; its folder free of links. (Not realpath() for the
 * whole: in a testbed a node may be a link that leads out of it, where realpath() cannot be relied on.) False: it is not
 * there. */
static bool resolve_node(const char *path, char node[PATH_MAX])
{
    char here[PATH_MAX], link[PATH_MAX], next[PATH_MAX], *slash;

    if (strlen(path) >= sizeof here)
        return false;
    memcpy(here, path, strlen(path) + 1);
    for (unsigned links = 0; links < LINKS_MAX; links++) {
        ssize_t length = readlink(here, link, sizeof link - 1);

        slash = strrchr(here, '/');
        if (!slash || (length < 0 && errno != EINVAL))
            return false;
        *slash = '\0';
        if (length < 0) /* no link */
            return realpath(*here ? here : "/", next) && join(node, next, slash + 1);
        link[length] = '\0';
        if (link[0] != '/' && !join(next, here, link))
            return false;
        memcpy(here, link[0] == '/' ? link : next, sizeof here);
    }
    return false;
}

static void start_load(struct load *l, struct settings *s, const struct settings_subject *who, struct log *log)
{
    memset(l, 0, sizeof *l);
    l->s = s;
    l->who = who;
    l->log = log;
    settings_defaults(s);
    if (who && who->device && !resolve_node(who->device, l->node))
        l->node[0] = '\0'; /* not plugged in yet: only the path itself can match */
}

void settings_load(struct settings *s, const struct settings_subject *who, struct log *log)
{
    struct load l;

    start_load(&l, s, who, log);
    load_file(&l);
    load_options(&l, who->options);
    for (size_t i = 0; i < ROWS; i++)
        load_environment(&l, &table[i]);
    if (s->reopen_max < s->reopen_min) {
        complain(&l, "reopen_max (%u) is less than reopen_min (%u); %u is used for both", s->reopen_max, s->reopen_min,
                 s->reopen_min);
        s->reopen_max = s->reopen_min;
    }
}

size_t settings_extra_usb_ids(struct usb_id *ids, size_t cap, struct log *log)
{
    struct settings s;
    struct load l;
    size_t n;

    start_load(&l, &s, NULL, log);
    load_file(&l);
    load_environment(&l, find_row("usb_id"));
    n = s.usb_id_count < cap ? s.usb_id_count : cap;
    if (n > 0)
        memcpy(ids, s.usb_ids, n * sizeof ids[0]);
    return n;
}

/* ---- DEVICENAME ---- */

bool devicename_split(const char *name, char *path, size_t cap, const char **options)
{
    size_t n = 0;

    *options = NULL;
    for (; name[n]; n++) {
        size_t word = n + 1;

        if (name[n] != ':' || !isalpha((unsigned char)name[word]))
            continue;
        while (isalnum((unsigned char)name[word]) || name[word] == '_')
            word++;
        if (name[word] == '=') {
            *options = name + n + 1;
            break;
        }
    }
    if (n >= cap) {
        *options = NULL;
        return false;
    }
    memcpy(path, name, n);
    path[n] = '\0';
    return true;
}
