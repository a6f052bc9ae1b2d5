/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ifd-purse-probe: what to do first with a reader. It asks the reader, without pcscd, whether it is as this driver
 * takes it to be; with --doctor it looks at the machine instead. The rest is in session.c and doctor.c.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe/doctor.h"

enum { EXIT_USAGE = 2 };

static int usage(FILE *to)
{
    fputs("usage: ifd-purse-probe [options] [reader]\n", to);
    return to == stderr ? EXIT_USAGE : 0;
}

int main(int argc, char **argv)
{
    const char *root = "";
    int c;
    bool doctor = false;
    static const struct option longs[] = {{"doctor", no_argument, NULL, 'd'},
                                          {"root", required_argument, NULL, 'R'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'd')
            doctor = true;
        else if (c == 'R')
            root = optarg;
        else
            return usage(c == 'h' ? stdout : stderr);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (doctor)
        return doctor_run(root);
    return usage(stderr);
}
