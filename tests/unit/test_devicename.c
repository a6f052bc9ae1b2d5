/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The path and the options of a serial DEVICENAME, with the names that udev gives to ports and with names that only
 * look like options.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/settings.h"

#define BY_PATH "/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0"

static const struct {
    const char *name, *path, *options;
} cases[] = {
    {"/dev/ttyUSB0", "/dev/ttyUSB0", NULL},
    {"/dev/ttyUSB0:baud=57600", "/dev/ttyUSB0", "baud=57600"},
    {"/dev/ttyUSB0:baud=57600:slots=cl.icc", "/dev/ttyUSB0", "baud=57600:slots=cl.icc"},
    {BY_PATH, BY_PATH, NULL},
    {BY_PATH ":baud=9600", BY_PATH, "baud=9600"},
    {BY_PATH ":baud=9600:apdu_cap=5", BY_PATH, "baud=9600:apdu_cap=5"},
    {"/dev/x:iso15693=on", "/dev/x", "iso15693=on"}, /* digits inside a word */
    {"/dev/x:15693=on", "/dev/x:15693=on", NULL},    /* a word begins with a letter */
    {"/dev/x:_a=1", "/dev/x:_a=1", NULL},
    {"/dev/x:presence_check=rnak", "/dev/x", "presence_check=rnak"},
    {"/dev/x:GemPCTwin", "/dev/x:GemPCTwin", NULL}, /* no "=": part of the path */
    {"/dev/x:word:baud=9600", "/dev/x:word", "baud=9600"},
    {"/dev/x:a-b=c", "/dev/x:a-b=c", NULL},
    {"/dev/a=b", "/dev/a=b", NULL},
    {"/dev/x:baud=", "/dev/x", "baud="},
    {"/dev/x:=1", "/dev/x:=1", NULL},
    {"/dev/x:", "/dev/x:", NULL},
    {"/dev/x::baud=9600", "/dev/x:", "baud=9600"},
    {":baud=9600", "", "baud=9600"},
    {"baud=9600", "baud=9600", NULL},
    {"", "", NULL},
};

static void splits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[128];
        const char *options = "unset";

        assert_true(devicename_split(cases[i].name, path, sizeof path, &options));
        assert_string_equal(path, cases[i].path);
        if (cases[i].options) {
            assert_non_null(options);
            assert_string_equal(options, cases[i].options);
            assert_ptr_equal(options, cases[i].name + strlen(cases[i].path) + 1); /* inside the name, no copy */
        } else {
            assert_null(options);
        }
    }
}

static void a_path_that_just_fits_and_one_that_does_not(void **state)
{
    const char *name = "/dev/ttyS0:baud=9600", *options = "unset";
    char path[16];

    (void)state;
    memset(path, '#', sizeof path);
    assert_true(devicename_split(name, path, 11, &options));
    assert_string_equal(path, "/dev/ttyS0");
    assert_int_equal(path[11], '#');
    memset(path, '#', sizeof path);
    assert_false(devicename_split(name, path, 10, &options));
    assert_null(options);
    assert_int_equal(path[10], '#');
    assert_false(devicename_split(name, path, 0, &options));
    assert_false(devicename_split("", path, 0, &options));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits),
        cmocka_unit_test(a_path_that_just_fits_and_one_that_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
