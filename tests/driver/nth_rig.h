/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the programs have in common that load the built driver as pcscd does and call its entry points themselves, with
 * simulated readers around them and no pcscd: n-th call failure (nth_failure.c), hostile input (hostile.c), and the
 * search for secrets (secrets.c). A program without PURSE_SIM_CTL in its environment starts the simulator with itself
 * as the command inside, by rig_enter().
 */
#ifndef PURSE_NTH_RIG_H
#define PURSE_NTH_RIG_H

#include <PCSC/ifdhandler.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RIG_NAME_MAX = 128, RIG_REPLY_MAX = 4096 };

/* The driver, as one of the two shared objects brings it. */
struct rig_driver {
    void *handle;
    RESPONSECODE (*create)(DWORD, LPSTR);
    RESPONSECODE (*close)(DWORD);
    RESPONSECODE (*get)(DWORD, DWORD, PDWORD, PUCHAR);
    RESPONSECODE (*set)(DWORD, DWORD, DWORD, PUCHAR);
    RESPONSECODE (*protocol)(DWORD, DWORD, UCHAR, UCHAR, UCHAR, UCHAR);
    RESPONSECODE (*power)(DWORD, DWORD, PUCHAR, PDWORD);
    RESPONSECODE (*transmit)(DWORD, SCARD_IO_HEADER, PUCHAR, DWORD, PUCHAR, PDWORD, PSCARD_IO_HEADER);
    RESPONSECODE (*presence)(DWORD);
    RESPONSECODE (*control)(DWORD, DWORD, PUCHAR, DWORD, PUCHAR, DWORD, LPDWORD);
    RESPONSECODE (*poll)(DWORD, int); /* the attribute TAG_IFD_POLLING_THREAD_WITH_TIMEOUT */
};

/* A shared object of the build directory; ends the program if it cannot be loaded. */
void rig_load(struct rig_driver *d, const char *so);
/* Takes the place of pcscd's log; counts lines and bytes, and keeps the last lines. Each line is also given to
 * `rig_on_log`, if that is set. */
extern void (*rig_on_log)(const char *line);
extern unsigned long rig_log_lines, rig_log_bytes;

/* Starts the simulator (sim/purse-sim, below the build's tests) with these readers (NULL at the end) and this program
 * inside it. Does not return but for an error. rig_leave: when all is done. */
int rig_enter(const char *simulator, const char *const *readers, char **argv);
void rig_leave(void);
/* One request to the simulator; the reply after "ok", or NULL for an error. Static storage. */
const char *rig_sim(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same; ends the program for an error. */
const char *rig_must(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Writes a configuration of these lines, for every reader that is simulated, and has the driver read it. */
void rig_settings(const char *lines);
/* pcscd's name of the USB reader of this identity. */
bool rig_usb_name(unsigned vid, unsigned pid, char name[RIG_NAME_MAX]);

/* The build directory: of the program itself. */
const char *rig_build(void);

unsigned rig_entries(const char *folder);
int64_t rig_now_ms(void);

/* As pcscd's presence thread does: asks, and sleeps in the polling function, until the card is there or ms are over. */
bool rig_await_card(const struct rig_driver *d, DWORD lun, int ms);
/* An APDU; returns IFD code, *n: room and length. */
RESPONSECODE rig_apdu(const struct rig_driver *d, DWORD lun, int t, const uint8_t *apdu, size_t len, uint8_t *out,
                      size_t *n);

/* "00 A4…" into bytes; returns how many. */
size_t rig_hex(const char *text, uint8_t *out, size_t cap);

#endif
