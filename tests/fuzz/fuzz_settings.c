/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes what a user can write: the configuration file and a serial DEVICENAME. The first line of the input is the
 * DEVICENAME, the rest the file, which reaches settings_load through a memfd and /proc/self/fd, so that the whole way
 * from open() on is taken. Besides memory errors it looks for what must hold of any input: values inside their ranges,
 * slots without a repetition, log lines of bounded length.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Isrc $(pkg-config --cflags libpcsclite inih) \
 *       tests/fuzz/fuzz_settings.c src/base/{buf,checksum,clock,log,result,settings}.c -linih -o fuzz_settings
 */
#include <debuglog.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/settings.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NAME_MAX_LEN = 300 };

static unsigned lines; /* of log in this run */

static void require(int condition)
{
    if (!condition)
        abort();
}

/* pcscd's log: formats as pcscd does, and checks. */
void log_msg(const int priority, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    int n;

    (void)priority;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    require(n >= 0 && n <= LOG_NAME_MAX + 2 + 200);
    require(strpbrk(text, "\n\r\x1B") == NULL);
    lines++;
}

static void check_range(unsigned v, unsigned low, unsigned high)
{
    require(v >= low && v <= high);
}

static void check(const struct settings *s, char family)
{
    unsigned seen = 0;

    check_range(s->apdu_cap, 1, 600000);
    check_range(s->poll_time, 10, 255990);
    check_range(s->open_drain, 0, 600000);
    check_range(s->reopen_max, s->reopen_min, 600000);
    check_range(s->reopen_min, 1, 600000);
    check_range(s->log, 0, 15);
    check_range(s->baud, 0, 115200);
    check_range(s->transport, TRANSPORT_AUTO, TRANSPORT_C);
    check_range(s->iso15693, SWITCH_OFF, SWITCH_AUTO);
    check_range(s->slot_count, 0, SETTINGS_SLOTS_MAX);
    check_range(s->usb_id_count, 0, SETTINGS_USB_IDS_MAX);
    for (unsigned i = 0; i < s->slot_count; i++) {
        check_range(s->slots[i], SLOT_CARD, SLOT_SAM8);
        require(!(seen & 1U << s->slots[i]));
        seen |= 1U << s->slots[i];
    }
    require(family != 'v' || !(seen & 1U << SLOT_CARD));
    for (unsigned i = 0; i < s->usb_id_count; i++)
        require(s->usb_ids[i].vid != 0 && (s->usb_ids[i].family == 'a' || s->usb_ids[i].family == 'v'));
}

static int file = -1;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[32];

    (void)argc;
    (void)argv;
    file = memfd_create("ifd-purse.conf", MFD_CLOEXEC);
    require(file >= 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    require(setenv("IFD_PURSE_CONF", path, 1) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    size_t n = end ? (size_t)(end - data) : 0, rest = end ? size - n - 1 : size;
    struct settings_subject who = {.vid = 0x072F, .pid = 0x8002, .serial = "S1"};
    struct usb_id ids[3];
    struct settings s;
    struct log log;
    char name[NAME_MAX_LEN], path[64];

    n = n < sizeof name ? n : sizeof name - 1;
    memcpy(name, data, n);
    name[n] = '\0';
    if (devicename_split(name, path, sizeof path, &who.options)) {
        require(strncmp(name, path, strlen(path)) == 0);
        require(!who.options || who.options == name + strlen(path) + 1);
        who.device = path;
    } else {
        require(who.options == NULL);
    }
    who.family = "\0av"[size % 3];
    require(ftruncate(file, 0) == 0 && pwrite(file, data + size - rest, rest, 0) == (ssize_t)rest);

    lines = 0;
    log_init(&log, 15, "fuzz");
    settings_load(&s, &who, &log);
    check(&s, who.family);
    require(settings_extra_usb_ids(ids, 3, &log) <= 3);
    log_done(&log);
    require(lines < 2 * 21 + 2); /* each load complains of 20 lines at most, and says so */
    return 0;
}
