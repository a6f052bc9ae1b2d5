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
 * The preload library has two sharp edges that shape what happens at an unplug. It aborts a client whose connection for
 * ioctls is dropped, and a client that has just opened a node may not have been accepted yet: so the socket is closed
 * some time after the device has gone. And it enters every open() below /dev that fails, if there is a socket for that
 * name, into a table of fifty that it never empties: so a USB node stays as long as its socket does (whoever opens it
 * gets ENODEV from its first ioctl), and the socket for all other names is taken away at the start.
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
    DETACH_MS = 500, /* an open() that is on its way is accepted long before */
    LATE_MS = 5      /* until a listener with a full queue is tried again */
};

struct detach {
    guint source;
    UMockdevIoctlBase *base;
};

static UMockdevTestbed *testbed;
static char *root;
static GHashTable *detaches; /* node -> struct detach: those that are still to come */

bool sim_testbed_open(void)
{
    testbed = umockdev_testbed_new();
    detaches = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    if (!testbed)
        return false;
    root = umockdev_testbed_get_root_dir(testbed);
    char *fallback = sim_testbed_path("/ioctl/_default");
    unlink(fallback);
    g_free(fallback);
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
    struct detach *d = g_hash_table_lookup(detaches, node);
    GError *error = NULL;

    if (d) { /* it is back before its socket was closed */
        bool same = d->base == base;
        g_source_remove(d->source);
        g_hash_table_remove(detaches, node);
        if (same)
            return true;
        umockdev_testbed_detach_ioctl(testbed, node, NULL);
    }
    if (umockdev_testbed_attach_ioctl(testbed, node, base, &error))
        return true;
    fprintf(stderr, "purse-sim: %s: %s\n", node, error->message);
    g_error_free(error);
    return false;
}

static gboolean detach(gpointer node)
{
    char *full = sim_testbed_path(node);

    unlink(full);
    g_free(full);
    umockdev_testbed_detach_ioctl(testbed, node, NULL);
    g_hash_table_remove(detaches, node); /* frees node */
    return G_SOURCE_REMOVE;
}

void sim_testbed_detach_later(const char *node, UMockdevIoctlBase *base)
{
    struct detach *d = g_new(struct detach, 1);
    char *key = g_strdup(node);

    d->base = base;
    d->source = g_timeout_add(DETACH_MS, detach, key);
    g_hash_table_replace(detaches, key, d);
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

/* Without DEVNAME the library takes away the sysfs entry only, and leaves the node, and a note of its number, to us. */
void sim_testbed_remove(const char *syspath, const char *node)
{
    umockdev_testbed_set_attribute(testbed, syspath, "uevent", "");
    umockdev_testbed_remove_device(testbed, syspath);
    if (!node)
        return;
    char *name = g_strdelimit(g_strdup(node + strlen("/dev/")), "/", '_');
    char *note = g_strconcat(root, "/dev/.node/", name, NULL);
    unlink(note);
    g_free(note);
    g_free(name);
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
    GHashTableIter i;
    gpointer d;
    g_hash_table_iter_init(&i, detaches);
    while (g_hash_table_iter_next(&i, NULL, &d))
        g_source_remove(((struct detach *)d)->source);
    g_clear_pointer(&detaches, g_hash_table_destroy);
    g_clear_object(&testbed);
    g_clear_pointer(&root, g_free);
}
