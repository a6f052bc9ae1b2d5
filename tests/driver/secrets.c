/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Nothing secret is left behind. Keys, PINs, card data and a fingerprint template go through the driver; then the
 * reader is closed, and all memory of this process that can be written is searched for them: heap (freed blocks, too),
 * stacks, data. The log, with all its levels on, must never have had them.
 *
 * The secrets are random, and no copy of one is kept here: there are two random strings whose exclusive or it is, and
 * the search compares with both. What this program puts together for a call it wipes after it. The search knows bytes,
 * and the hexadecimal digits by which an AET63 is told them.
 */
#include "nth_calls.h"
#include "nth_rig.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LUN = 0,
    CARD_MS = 20000,
    SECRETS_MAX = 16,
    SECRET_MAX = 48,
    BYTES_FOUND = 6, /* so many bytes in a row of a secret are a find: a MIFARE key */
    DIGITS_FOUND = 8,
    BUFFER = 600,
    SHOWN_MAX = 12
};

static struct rig_driver driver;
static char device[RIG_NAME_MAX];
static unsigned failures;

/* ---- secrets ---------------------------------------------------------------------------------------------------- */

static struct secret {
    const char *what;
    size_t n;
    uint8_t a[SECRET_MAX], b[SECRET_MAX]; /* a ^ b is the secret */
} secrets[SECRETS_MAX];
static size_t secret_count;

static const struct secret *new_secret(const char *what, size_t n)
{
    struct secret *s = &secrets[secret_count++];

    s->what = what;
    s->n = n;
    if (getrandom(s->a, n, 0) != (ssize_t)n || getrandom(s->b, n, 0) != (ssize_t)n)
        exit(1);
    return s;
}

/* Byte by byte: nothing of it is in a wide register, which could come to lie in memory. */
static void put(uint8_t *to, const struct secret *s)
{
    volatile uint8_t *at = to;

    for (size_t i = 0; i < s->n; i++)
        at[i] = s->a[i] ^ s->b[i];
}

static uint8_t digit(unsigned v, bool upper)
{
    return (uint8_t)(v < 10 ? '0' + v : (upper ? 'A' : 'a') + v - 10);
}

/* ---- searching -------------------------------------------------------------------------------------------------- */

/* Does a stretch of the secret, from byte `at` on, stand at p (which has room)? */
static bool bytes_at(const uint8_t *p, const struct secret *s, size_t at)
{
    for (size_t i = 0; i < BYTES_FOUND; i++)
        if ((p[i] ^ s->a[at + i]) != s->b[at + i])
            return false;
    return true;
}

static bool digits_at(const uint8_t *p, const struct secret *s, size_t at)
{
    for (size_t i = 0; i < DIGITS_FOUND; i++) {
        unsigned v = (unsigned)(s->a[at + i / 2] ^ s->b[at + i / 2]);

        v = i % 2 ? v & 15 : v >> 4;
        if (p[i] != digit(v, true) && p[i] != digit(v, false))
            return false;
    }
    return true;
}

/* First bytes that can begin a find. */
static bool begins[256];

static void prepare_search(void)
{
    memset(begins, 0, sizeof begins);
    for (const struct secret *s = secrets; s < secrets + secret_count; s++)
        for (size_t i = 0; i < s->n; i++)
            begins[s->a[i] ^ s->b[i]] = true;
    for (const char *c = "0123456789abcdefABCDEF"; *c; c++)
        begins[(uint8_t)*c] = true;
}

/* Which secret has a stretch that stands at p, of which `room` bytes are there? */
static const struct secret *found_at(const uint8_t *p, size_t room)
{
    if (!begins[*p])
        return NULL;
    for (const struct secret *s = secrets; s < secrets + secret_count; s++)
        for (size_t at = 0; at < s->n; at++)
            if ((room >= BYTES_FOUND && at + BYTES_FOUND <= s->n && bytes_at(p, s, at)) ||
                (room >= DIGITS_FOUND && at + DIGITS_FOUND / 2 <= s->n && digits_at(p, s, at)))
                return s;
    return NULL;
}

static unsigned search_range(uintptr_t from, uintptr_t to, const char *name, bool tell)
{
    const uint8_t *p = (const uint8_t *)from, *end = (const uint8_t *)to;
    unsigned finds = 0;

    while (p < end) {
        const struct secret *s = found_at(p, (size_t)(end - p));

        if (s && tell && finds < SHOWN_MAX)
            printf("FAIL %s is left in memory at %p (%s, byte %zu)\n", s->what, (const void *)p,
                   *name ? name : "no name", (size_t)(p - (const uint8_t *)from));
        finds += s != NULL;
        p += s ? BYTES_FOUND : 1;
    }
    return finds;
}

/* All that this process can write. */
static unsigned search(bool tell)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], rights[8], name[256];
    unsigned finds = 0;
    unsigned long from, to;

    prepare_search();
    while (f && fgets(line, sizeof line, f)) {
        name[0] = '\0';
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &from, &to, rights, name) >= 3 && rights[0] == 'r' &&
            rights[1] == 'w')
            finds += search_range(from, to, name, tell);
    }
    if (f)
        fclose(f);
    return finds;
}

/* ---- the log ---------------------------------------------------------------------------------------------------- */

static const struct secret *logged;

/* "A1 B2", "a1:b2" and "A1B2" are the same. */
static void on_log(const char *line)
{
    char plain[2048];
    size_t n = 0, length = strlen(line);

    for (size_t i = 0; i < length && n < sizeof plain; i++)
        if (isxdigit((unsigned char)line[i]))
            plain[n++] = line[i];
    for (size_t i = 0; i < n; i++)
        if (!logged)
            logged = found_at((uint8_t *)plain + i, n - i);
    for (size_t i = 0; i < length; i++)
        if (!logged)
            logged = found_at((const uint8_t *)line + i, length - i);
    explicit_bzero(plain, sizeof plain);
}

/* ---- a session -------------------------------------------------------------------------------------------------- */

static uint8_t out[BUFFER], in[BUFFER];

static void wipe(void)
{
    explicit_bzero(out, sizeof out);
    explicit_bzero(in, sizeof in);
}

/* Hex text, in which S stands for the secret. */
static size_t compose(const char *text, const struct secret *s)
{
    const char *at = strchr(text, 'S');
    char head[BUFFER];
    size_t n;

    n = at ? (size_t)(at - text) : strlen(text);
    memcpy(head, text, n);
    head[n] = '\0';
    n = rig_hex(head, out, sizeof out);
    if (!at)
        return n;
    put(out + n, s);
    n += s->n;
    return n + rig_hex(at + 1 + strspn(at + 1, " "), out + n, sizeof out - n);
}

/* The card or the driver has to answer `sw`, or the secret may not have gone where it should. */
static void transmit(int t, const char *text, const struct secret *s, unsigned sw)
{
    size_t n = compose(text, s), length = sizeof in;
    RESPONSECODE rc = rig_apdu(&driver, LUN, t, out, n, in, &length);
    unsigned got = rc == IFD_SUCCESS && length >= 2 ? (unsigned)in[length - 2] << 8 | in[length - 1] : 0;

    wipe();
    if (got != sw) {
        printf("FAIL %s: answered %ld, %04X and not %04X\n", text, rc, got, sw);
        failures++;
    }
}

static void control(const char *text, const struct secret *s, bool success)
{
    size_t n = compose(text, s);
    DWORD length = 0;
    RESPONSECODE rc = driver.control(LUN, 0x42000001, out, n, in, sizeof in, &length);

    wipe();
    if (success && rc != IFD_SUCCESS) {
        printf("FAIL control %s: answered %ld\n", text, rc);
        failures++;
    }
}

static void power_up(int t)
{
    uint8_t atr[MAX_ATR_SIZE];
    DWORD n = 0;

    if (!rig_await_card(&driver, LUN, CARD_MS) || driver.power(LUN, IFD_POWER_UP, atr, &n) != IFD_SUCCESS ||
        driver.protocol(LUN, t == 1 ? SCARD_PROTOCOL_T1 : SCARD_PROTOCOL_T0, 0, 0, 0, 0) != IFD_SUCCESS) {
        printf("FAIL no session with the card\n");
        failures++;
    }
}

#define ECHO_DATA "00 E0 00 00 "

static void aet63_session(void)
{
    const struct secret *pin = new_secret("a PIN (T=1)", 8), *pin0 = new_secret("a PIN (T=0)", 8);
    const struct secret *data = new_secret("card data (T=1)", 40), *finger = new_secret("a fingerprint template", 32);

    rig_must("0 option tfm=*:00");
    rig_must("0 insert echo-t1");
    power_up(1);
    transmit(1, "00 20 00 01 08 S", pin, 0x6D00);
    transmit(1, ECHO_DATA "28 S 28", data, 0x9000);
    control("9C S", finger, true);
    rig_must("0 swap echo-t0");
    (void)driver.presence(LUN);
    power_up(0);
    transmit(0, "00 20 00 01 08 S", pin0, 0x6D00);
    rig_must("0 fault drop");
    control("9C S", finger, false); /* a command whose answer is lost */
}

static void iso_session(void)
{
    const struct secret *pin = new_secret("a PIN", 8), *data = new_secret("card data", 40);
    const struct secret *late = new_secret("card data of a lost answer", 16);

    rig_must("0 insert iso:echo-t1");
    power_up(1);
    transmit(1, "00 20 00 01 08 S", pin, 0x6D00);
    transmit(1, ECHO_DATA "28 S 28", data, 0x9000);
    size_t n = compose(ECHO_DATA "10 S 10", late), length = sizeof in;
    rig_must("0 fault cut=20 at=2C03"); /* most of the answer comes, and stays where input is kept */
    (void)rig_apdu(&driver, LUN, 1, out, n, in, &length);
    wipe();
}

static void mifare_session(void)
{
    const struct secret *key = new_secret("a MIFARE key", 6), *wrong = new_secret("a wrong MIFARE key", 6);
    const struct secret *spare = new_secret("a MIFARE key that was never used", 6);
    const struct secret *data = new_secret("a MIFARE block", 16), *raw = new_secret("a key in a raw command", 6);

    rig_must("0 insert mifare1k");
    power_up(1);
    transmit(1, "FF 82 20 00 06 FF FF FF FF FF FF", NULL, 0x9000);
    transmit(1, "FF 82 20 01 06 S", key, 0x9000);
    transmit(1, "FF 82 20 02 06 S", wrong, 0x9000);
    transmit(1, "FF 82 20 05 06 S", spare, 0x9000);
    transmit(1, "FF 86 00 00 05 01 00 04 60 00", NULL, 0x9000);
    transmit(1, "FF D6 00 04 10 S", data, 0x9000);
    transmit(1, "FF B0 00 04 10", NULL, 0x9000);
    transmit(1, "FF D6 00 07 10 S FF 07 80 69 FF FF FF FF FF FF", key, 0x9000); /* the trailer: the new key A */
    transmit(1, "FF 86 00 00 05 01 00 04 60 01", NULL, 0x9000);
    transmit(1, "FF B0 00 04 10", NULL, 0x9000);
    transmit(1, "FF 86 00 00 05 01 00 04 60 02", NULL, 0x6300);
    control("2C 06 04 01 S", raw, false); /* an authentication by hand */
}

static void run_session(const char *so, void (*session)(void))
{
    rig_load(&driver, so);
    nth_know(driver.handle);
    if (driver.create(LUN, device) != IFD_SUCCESS) {
        printf("FAIL the reader cannot be opened\n");
        failures++;
        return;
    }
    session();
    driver.close(LUN);
}

/* ---- the readers ------------------------------------------------------------------------------------------------ */

static const struct target {
    const char *name, *so, *model;
    unsigned vid, pid;
    void (*session)(void);
} TARGETS[] = {
    {"aet63", "libifdpurse.so", "aet63:", 0x072F, 0x8002, aet63_session},
    {"hid", "libifdpurse.so", "neo:link=hid", 0x0ACD, 0x3530, mifare_session},
    {"serial", "libifdpurse-serial.so", "neo:tty=ttyUSB0", 0, 0, iso_session},
    {"storage", "libifdpurse-serial.so", "neo:tty=ttyUSB0", 0, 0, mifare_session},
};
enum { TARGET_COUNT = sizeof TARGETS / sizeof TARGETS[0] };

/* The search itself: it has to find what is there. */
static void prove_search(void)
{
    const struct secret *s = new_secret("a test", 16);
    static uint8_t kept[64];

    if (search(false) != 0) {
        printf("FAIL a secret that nobody was told is found\n");
        failures++;
    }
    put(kept + 5, s);
    if (search(false) == 0) {
        printf("FAIL a secret in memory is not found\n");
        failures++;
    }
    explicit_bzero(kept, sizeof kept);
    for (size_t i = 0; i < s->n; i++)
        snprintf((char *)kept + 2 * i, 3, "%02x", (unsigned)(s->a[i] ^ s->b[i]));
    if (search(false) == 0) {
        printf("FAIL a secret in digits is not found\n");
        failures++;
    }
    explicit_bzero(kept, sizeof kept);
}

static int run(const struct target *t)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    rig_settings("escape = all\nlog = 15\napdu_cap = 3000\ncommand_wait = 500\nreader_cap = 3000\n"
                 "tfm_cap = 2000\nframe_gap = 200\n");
    if (t->vid == 0)
        snprintf(device, sizeof device, "/dev/ttyUSB0");
    else if (!rig_usb_name(t->vid, t->pid, device))
        failures++;
    prove_search();
    nth_wipe_others();
    rig_on_log = on_log;
    run_session(t->so, t->session);
    if (rig_log_lines < 20) {
        printf("FAIL %s: the log has %lu lines only: it cannot be judged\n", t->name, rig_log_lines);
        failures++;
    }
    if (logged) {
        printf("FAIL %s: %s is in the log\n", t->name, logged->what);
        failures++;
    } else {
        printf("PASS %s: no secret is in the log's %lu lines\n", t->name, rig_log_lines);
    }
    unsigned finds = search(true);
    if (finds == 0)
        printf("PASS %s: none of %zu secrets is left in memory\n", t->name, secret_count);
    rig_leave();
    return failures + finds > 0;
}

int main(int argc, char **argv)
{
    bool well = true;

    for (size_t i = 0; i < TARGET_COUNT; i++) {
        const char *readers[] = {TARGETS[i].model, NULL};
        char name[16], *arguments[] = {argv[0], name, NULL};
        int status;

        if (argc > 1 && strcmp(argv[1], TARGETS[i].name) != 0)
            continue;
        if (getenv("PURSE_SIM_CTL"))
            _exit(run(&TARGETS[i]));
        snprintf(name, sizeof name, "%s", TARGETS[i].name);
        pid_t child = fork();
        if (child == 0)
            _exit(rig_enter("sim/purse-sim", readers, arguments));
        well &= waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return !well;
}
