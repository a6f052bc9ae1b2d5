/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The doctor at the device nodes: may pcscd use them, and does somebody else (doctor.h).
 */
#include "probe/doctor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/settings.h"

static void tell_holder(struct doctor *d, const char *node, const struct process *p)
{
    if (strcmp(p->name, "ModemManager") == 0) {
        doctor_finding(d, "systemctl disable --now ModemManager", "ModemManager tries %s as a modem", node);
    } else if (strcmp(p->name, "agetty") == 0 || strcmp(p->name, "getty") == 0) {
        doctor_finding(d, NULL, "a login (%s, process %d) sits on %s", p->name, (int)p->pid, node);
        doctor_mend("systemctl disable --now serial-getty@%s", node + (strncmp(node, "/dev/", 5) == 0 ? 5 : 0));
    } else {
        doctor_finding(d, NULL, "%s (process %d) has %s open", p->name, (int)p->pid, node);
        doctor_mend("kill %d", (int)p->pid);
    }
}

static void check_permission(struct doctor *d, const char *node, bool usb)
{
    if (system_may_use(d->root, node, &d->pcscd))
        return;
    if (errno == ENOENT) {
        doctor_finding(d, "plug the reader in again", "%s is not there", node);
        return;
    }
    doctor_finding(d, NULL, "pcscd, as user %u, may not use %s", (unsigned)d->pcscd.uid, node);
    if (usb)
        doctor_mend("udevadm control --reload && udevadm trigger %s (with 92-ifd-purse.rules in place; a reader of a "
                    "usb_id line needs a rule of its own: see ifd-purse.conf(5))",
                    node);
    else
        doctor_mend("udevadm trigger %s (with 92-ifd-purse.rules in place)", node);
}

/* The kernel's driver for an interface: usbhid is detached by the driver and given back, "usbfs" is a program. */
static void check_kernel(struct doctor *d, const struct usb_seen *u, bool held)
{
    char driver[SEEN_TEXT];

    for (unsigned i = 0; i < 4; i++) {
        if (!system_interface_driver(d->root, u, i, driver, sizeof driver) || strcmp(driver, "usbhid") == 0)
            continue;
        if (strcmp(driver, "usbfs") != 0) {
            doctor_finding(d, NULL, "the kernel's driver %s holds interface %u of %04X:%04X", driver, i, u->vid,
                           u->pid);
            doctor_mend("echo -n %s:1.%u > /sys/bus/usb/drivers/%s/unbind", u->sysname, i, driver);
        } else if (!held) {
            doctor_note("a program has claimed interface %u of %04X:%04X; run the doctor as root to learn which", i,
                        u->vid, u->pid);
        }
    }
}

void doctor_usb_nodes(struct doctor *d)
{
    for (size_t i = 0; i < d->usb_count; i++) {
        const struct usb_seen *u = &d->usb[i];
        unsigned before = d->findings;
        struct process p;
        bool ours = system_node_holder(d->root, u->node, true, &p);
        bool other = system_node_holder(d->root, u->node, false, &p);

        check_permission(d, u->node, true);
        if (other)
            tell_holder(d, u->node, &p);
        check_kernel(d, u, ours || other);
        if (ours)
            doctor_ok("pcscd has %s open, as it should", u->node);
        else if (d->findings == before && d->runs)
            doctor_note("pcscd has not opened %s: its log (journalctl -u pcscd) says why", u->node);
    }
}

void doctor_serial_nodes(struct doctor *d)
{
    for (size_t i = 0; i < d->record_count; i++) {
        const struct serial_record *r = &d->records[i];
        char node[PATH_MAX], full[PATH_MAX];
        const char *options;
        struct process p;
        struct stat st;

        if (!r->has_device || r->device_quoted || !devicename_split(r->device, node, sizeof node, &options))
            continue;
        if (!system_path(d->root, node, full) || stat(full, &st) != 0) {
            doctor_note("%s is not there now%s", node, options ? "; the driver opens it when it comes" : "");
            continue;
        }
        check_permission(d, node, false);
        if (system_node_holder(d->root, node, false, &p))
            tell_holder(d, node, &p);
    }
}
