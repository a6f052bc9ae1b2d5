/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes the DEVICENAME, which comes from reader.conf for a serial reader and from pcscd's hotplug code for a USB one.
 * Serial: path and options lie one behind the other in the name, the path holds no option and the options begin with
 * one; the settings that come of the options are those of one settings_set() after the other. USB: an address is taken
 * only if it is one, within its ranges; written again it is read as the same; what is refused changes nothing.
 */
#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/settings.h"
#include "transport/usb.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPTION_MAX = 127 };

static void check(int ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    check(setenv("IFD_PURSE_CONF", "/dev/null", 1) == 0);
    return 0;
}

/* "word=" with a letter first? */
static bool is_option(const char *p)
{
    size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

    return n > 0 && p[0] != '_' && !(p[0] >= '0' && p[0] <= '9') && p[n] == '=';
}

static const char *first_option(const char *name)
{
    for (const char *p = strchr(name, ':'); p; p = strchr(p + 1, ':'))
        if (is_option(p + 1))
            return p + 1;
    return NULL;
}

/* The options one by one, as a user would take them apart. */
static void set_one_by_one(struct settings *s, const char *options)
{
    char text[OPTION_MAX + 1];
    const char *why;

    settings_defaults(s);
    for (const char *p = options; p; p = strchr(p, ':') ? strchr(p, ':') + 1 : NULL) {
        size_t n = strchr(p, ':') ? (size_t)(strchr(p, ':') - p) : strlen(p);
        char *value;

        if (n > OPTION_MAX)
            continue;
        memcpy(text, p, n);
        text[n] = '\0';
        value = strchr(text, '=');
        if (value) {
            *value++ = '\0';
            (void)settings_set(s, text, value, &why);
        }
    }
    if (s->reopen_max < s->reopen_min)
        s->reopen_max = s->reopen_min;
}

static void check_serial(const char *name, size_t room)
{
    char *path = malloc(room);
    const char *option = first_option(name), *options = "unset";
    size_t n = option ? (size_t)(option - name) - 1 : strlen(name);
    struct settings_subject who = {.device = NULL};
    struct settings loaded, set;
    struct log log;

    check(path != NULL);
    check(devicename_split(name, path, room, &options) == (n < room));
    if (n < room)
        check(options == option && strlen(path) == n && memcmp(path, name, n) == 0);
    else
        check(options == NULL);
    free(path);
    who.options = option;
    log_init(&log, 0, "fuzz");
    settings_load(&loaded, &who, &log);
    set_one_by_one(&set, option);
    check(memcmp(&loaded, &set, sizeof set) == 0);
    log_done(&log);
}

static void check_usb(const char *name)
{
    struct usb_address a, before, same;
    char text[80];

    memset(&a, 0x5A, sizeof a);
    before = a;
    if (!usb_parse_address(name, &a)) {
        check(memcmp(&a, &before, sizeof a) == 0);
        return;
    }
    check(strncmp(name, "usb:", 4) == 0 && a.bus <= 255 && a.device >= 1 && a.device <= 255);
    check(a.interface >= -1 && a.interface <= 255);
    if (a.interface >= 0)
        (void)snprintf(text, sizeof text, "usb:%04x/%04x:libusb-1.0:%u:%u:%d", a.vid, a.pid, a.bus, a.device, a.interface);
    else
        (void)snprintf(text, sizeof text, "usb:%04x/%04x:libudev::/dev/bus/usb/%03u/%03u", a.vid, a.pid, a.bus, a.device);
    check(usb_parse_address(text, &same) && same.vid == a.vid && same.pid == a.pid && same.bus == a.bus &&
          same.device == a.device && same.interface == a.interface);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *name;

    if (size < 1)
        return 0;
    name = malloc(size); /* exactly as large, so that a read past it is seen */
    check(name != NULL);
    memcpy(name, data + 1, size - 1);
    name[size - 1] = '\0';
    check_serial(name, 1 + data[0]);
    check_usb(name);
    free(name);
    return 0;
}
