/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The umockdev testbed that all readers of one simulator share: nodes, sysfs, uevents. Main thread only, and never
 * under the simulator's lock.
 *
 * The simulator itself runs WITHOUT the preload library: it writes below the testbed's root by real paths, and only its
 * child lives inside. This has a second use: without the preload library umockdev sends no uevents of its own, so
 * "add" can be sent when a device is complete (its binary descriptors come after its creation). The uevents are sent
 * from here, as udevd's messages to its libudev listeners, because the library's own sender aborts the program when a
 * listener's queue is full or a listener goes away while it sends.
 *
 * A node's ioctl socket is closed some time after the node has gone. A client that has just opened the node may not
 * have been accepted yet, and one whose connection is dropped then is aborted by its preload library.
 */
#include "sim_front.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glob.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <umockdev.h>
#include <unistd.h>

enum {
    DETACH_MS = 2000, /* an open() that is on its way is accepted long before */
    LATE_MS = 5       /* until a listener with a full queue is tried again */
};

static UMockdevTestbed *testbed;
static char *root;

bool sim_testbed_open(void)
{
    testbed = umockdev_testbed_new();
    if (!testbed)
        return false;
    root = umockdev_testbed_get_root_dir(testbed);
    return true;
}

const char *sim_testbed_root(void)
{
    return root;
}

char *sim_testbed_path(const char *path)
{
    char *full = g_strconcat(root, path, NULL);
    char *dir = g_path_get_dirname(full);

    if (g_mkdir_with_parents(dir, 0755) != 0)
        fprintf(stderr, "purse-sim: %s: %s\n", dir, strerror(errno));
    g_free(dir);
    return full;
}

bool sim_testbed_attach(const char *node, UMockdevIoctlBase *base)
{
    GError *error = NULL;

    if (umockdev_testbed_attach_ioctl(testbed, node, base, &error))
        return true;
    fprintf(stderr, "purse-sim: %s: %s\n", node, error->message);
    g_error_free(error);
    return false;
}

static gboolean detach(gpointer node)
{
    if (testbed)
        umockdev_testbed_detach_ioctl(testbed, node, NULL);
    return G_SOURCE_REMOVE;
}

void sim_testbed_detach_later(const char *node)
{
    g_timeout_add_full(G_PRIORITY_DEFAULT, DETACH_MS, detach, g_strdup(node), g_free);
}

char *sim_testbed_add(const char *subsystem, const char *name, const char *parent, char **attrs, char **props)
{
    /* The library looks for a parent in its own process' /sys, which is not the testbed's: so the parent goes into the
     * name. */
    char *full = parent ? g_strconcat(parent + strlen("/sys/devices/"), "/", name, NULL) : g_strdup(name);
    char *path = umockdev_testbed_add_devicev(testbed, subsystem, full, NULL, attrs, props);

    g_free(full);
    return path;
}

void sim_testbed_blob(const char *syspath, const char *attr, const uint8_t *data, size_t n)
{
    umockdev_testbed_set_attribute_binary(testbed, syspath, attr, (guint8 *)data, (int)n);
}

void sim_testbed_remove(const char *syspath)
{
    umockdev_testbed_remove_device(testbed, syspath);
}

/* ---- uevents ---- */

/* What stands before the properties in a message from udevd to libudev (all hashes and the magic in network order). */
struct udev_header {
    char prefix[8];
    uint32_t magic, header_size, properties_off, properties_len;
    uint32_t subsystem_hash, devtype_hash, tag_bloom_hi, tag_bloom_lo;
};

/* libudev lets its sockets filter by MurmurHash2 (seed 0) of the subsystem and the device type. */
static uint32_t murmur2(const char *text)
{
    const uint32_t m = 0x5bd1e995;
    size_t n = strlen(text);
    uint32_t h = (uint32_t)n;
    const uint8_t *p = (const uint8_t *)text;

    for (; n >= 4; n -= 4, p += 4) {
        uint32_t k = ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24) * m;
        h = (h * m) ^ ((k ^ k >> 24) * m);
    }
    if (n > 0) {
        for (size_t i = 0; i < n; i++)
            h ^= (uint32_t)p[i] << (8 * i);
        h *= m;
    }
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

/* A message for a listener whose queue was full. The kernel's own queue for uevents is large; a unix socket takes ten.
 */
struct late {
    char *listener;
    GBytes *message;
};

static GQueue late_messages = G_QUEUE_INIT; /* oldest first */
static guint late_source;

static void late_free(gpointer data)
{
    struct late *l = data;

    g_free(l->listener);
    g_bytes_unref(l->message);
    g_free(l);
}

static bool is_late(const char *listener)
{
    for (GList *l = late_messages.head; l; l = l->next)
        if (strcmp(((struct late *)l->data)->listener, listener) == 0)
            return true;
    return false;
}

/* False: its queue is full. A listener that is gone has got everything it will get. */
static bool send_to(const char *listener, GBytes *message)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool full = false;

    if (fd < 0)
        return true;
    g_strlcpy(to.sun_path, listener, sizeof to.sun_path);
    if (sendto(fd, g_bytes_get_data(message, NULL), g_bytes_get_size(message), MSG_NOSIGNAL, (struct sockaddr *)&to,
               sizeof to) < 0) {
        full = errno == EAGAIN;
        if (errno == ECONNREFUSED)
            unlink(listener); /* closed by its owner, which leaves the socket file */
        else if (!full && errno != ENOENT)
            fprintf(stderr, "purse-sim: uevent to %s: %s\n", listener, strerror(errno));
    }
    close(fd);
    return !full;
}

static gboolean send_late(gpointer data)
{
    GHashTable *full = g_hash_table_new(g_str_hash, g_str_equal);

    (void)data;
    for (GList *l = late_messages.head, *next; l; l = next) {
        struct late *m = l->data;
        next = l->next;
        if (g_hash_table_contains(full, m->listener))
            continue; /* an older one still waits: they must stay in order */
        if (send_to(m->listener, m->message)) {
            late_free(m);
            g_queue_delete_link(&late_messages, l);
        } else {
            g_hash_table_add(full, m->listener);
        }
    }
    g_hash_table_destroy(full);
    if (!g_queue_is_empty(&late_messages))
        return G_SOURCE_CONTINUE;
    late_source = 0;
    return G_SOURCE_REMOVE;
}

static void send_or_keep(const char *listener, GBytes *message)
{
    if (!is_late(listener) && send_to(listener, message))
        return;
    struct late *l = g_new(struct late, 1);
    l->listener = g_strdup(listener);
    l->message = g_bytes_ref(message);
    g_queue_push_tail(&late_messages, l);
    if (late_source == 0)
        late_source = g_timeout_add(LATE_MS, send_late, NULL);
}

static void append_property(GByteArray *a, const char *name, const char *value)
{
    g_byte_array_append(a, (const guint8 *)name, (guint)strlen(name));
    g_byte_array_append(a, (const guint8 *)"=", 1);
    g_byte_array_append(a, (const guint8 *)value, (guint)strlen(value) + 1);
}

static GByteArray *build_properties(const char *action, const char *syspath, const char *subsystem, char **props)
{
    static unsigned sequence;
    GByteArray *a = g_byte_array_new();
    char number[16];

    g_snprintf(number, sizeof number, "%u", ++sequence);
    append_property(a, "ACTION", action);
    append_property(a, "DEVPATH", syspath + strlen("/sys"));
    append_property(a, "SUBSYSTEM", subsystem);
    append_property(a, "SEQNUM", number);
    for (char **p = props; p && p[0]; p += 2)
        append_property(a, p[0], p[1]);
    return a;
}

void sim_testbed_uevent(const char *action, const char *syspath, const char *subsystem, char **props)
{
    GByteArray *a = build_properties(action, syspath, subsystem, props);
    struct udev_header h = {.prefix = "libudev",
                            .magic = htonl(0xfeedcafe),
                            .header_size = sizeof h,
                            .properties_off = sizeof h,
                            .properties_len = a->len,
                            .subsystem_hash = htonl(murmur2(subsystem))};
    char *pattern = g_strconcat(root, "/event[0-9]*", NULL);
    glob_t listeners;

    for (char **p = props; p && p[0]; p += 2)
        if (strcmp(p[0], "DEVTYPE") == 0)
            h.devtype_hash = htonl(murmur2(p[1]));
    g_byte_array_prepend(a, (const guint8 *)&h, sizeof h);
    GBytes *message = g_byte_array_free_to_bytes(a);
    if (glob(pattern, GLOB_NOSORT, NULL, &listeners) == 0) {
        for (size_t i = 0; i < listeners.gl_pathc; i++)
            send_or_keep(listeners.gl_pathv[i], message);
        globfree(&listeners);
    }
    g_free(pattern);
    g_bytes_unref(message);
}

void sim_testbed_close(void)
{
    if (late_source)
        g_source_remove(late_source);
    g_queue_clear_full(&late_messages, late_free);
    g_clear_object(&testbed);
    g_clear_pointer(&root, g_free);
}
