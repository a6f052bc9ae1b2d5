/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fuzzes the HID reports that carry ViVOpay frames. The first part of the input is a row of reports, each a length, an
 * identifier and bytes; they are put together by the driver and by a plain list of pieces here, and the two must agree
 * on when a frame is whole and what is in it. The rest is a frame: cut into reports and put together behind whatever
 * came before, it must be the same, with nothing but zeros behind it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vivopay/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PIECES_MAX = 64, ROOM = VIVO_FRAME_MAX + VIVO_REPORT_PAYLOAD };

struct piece {
    const uint8_t *p;
    size_t n;
};

static struct {
    struct piece piece[PIECES_MAX];
    size_t count, total;
    bool open;
} list;

static struct vivo_assembly assembly;

static void check(int ok)
{
    if (!ok)
        abort();
}

/* Is a frame whole with this report? */
static bool add_to_list(const uint8_t *report, size_t n)
{
    size_t len = n > 64 ? 63 : n - 1;
    bool begins = n > 1 && (report[0] == 1 || report[0] == 2);

    if (n < 2 || report[0] < 1 || report[0] > 4 || (!begins && !list.open))
        return false;
    if (begins)
        list.count = list.total = 0;
    if (list.total + len > ROOM) { /* no reader sends that; all of it is given up */
        list.count = list.total = 0;
        list.open = false;
        return false;
    }
    if (list.count == PIECES_MAX) { /* many short ones: the list takes them as one */
        list.piece[0].n = 0;
        list.count = 1;
    }
    list.piece[list.count++] = (struct piece){report + 1, len};
    list.total += len;
    list.open = report[0] == 2 || report[0] == 3;
    return !list.open;
}

static void check_assembly(void)
{
    size_t at = 0;

    check(assembly.len == list.total && assembly.len <= ROOM && assembly.open == list.open);
    for (size_t i = 0; i < list.count; i++)
        at += list.piece[i].n;
    if (at != list.total) /* the list was cut */
        return;
    at = 0;
    for (size_t i = 0; i < list.count; i++) {
        check(memcmp(assembly.bytes + at, list.piece[i].p, list.piece[i].n) == 0);
        at += list.piece[i].n;
    }
}

/* Each report in memory of its own size, so that a read past it is seen; the pieces point into the copies. */
static size_t feed_reports(const uint8_t *data, size_t size, uint8_t *copies[], size_t max)
{
    size_t count = 0;

    while (size >= 2 && count < max) {
        size_t want = data[0] & 0x80 ? 64u : data[0] % 70u, n = want < size - 1 ? want : size - 1;
        uint8_t *report = malloc(n > 0 ? n : 1);
        bool whole;

        check(report != NULL);
        memcpy(report, data + 1, n);
        if (n > 0 && data[0] & 0x40)
            report[0] = (uint8_t)(report[0] % 6);
        copies[count++] = report;
        whole = add_to_list(report, n);
        check(vivo_assemble(&assembly, report, n) == whole);
        check_assembly();
        data += 1 + n;
        size -= 1 + n;
    }
    return count;
}

static void round_trip(const uint8_t *frame, size_t n)
{
    uint8_t report[VIVO_REPORT_SIZE];
    size_t at = 0, reports = 0, total = n;

    while (vivo_next_report(frame, n, &at, report)) {
        bool last = at == n;

        check(at <= n && report[0] >= 1 && report[0] <= 4 && (report[0] == 1) == (n <= VIVO_REPORT_PAYLOAD));
        check(vivo_assemble(&assembly, report, sizeof report) == last);
        reports++;
    }
    total = reports * VIVO_REPORT_PAYLOAD;
    check(at == n && reports == (n + VIVO_REPORT_PAYLOAD - 1) / VIVO_REPORT_PAYLOAD);
    if (n == 0)
        return;
    check(!assembly.open && assembly.len == total && memcmp(assembly.bytes, frame, n) == 0);
    for (size_t i = n; i < total; i++)
        check(assembly.bytes[i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copies[200];
    size_t count, n;

    memset(&list, 0, sizeof list);
    vivo_assembly_reset(&assembly);
    count = feed_reports(data, size, copies, sizeof copies / sizeof copies[0]);
    n = size < VIVO_FRAME_MAX ? size : VIVO_FRAME_MAX;
    round_trip(data, n);
    while (count > 0)
        free(copies[--count]);
    return 0;
}
