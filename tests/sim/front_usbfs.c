/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The front of a USB reader under umockdev: usbfs ioctls, the device node, sysfs and uevents.
 *
 * Ioctls come in on umockdev's worker thread, one at a time. Each is handled in three steps: fetch what the client's
 * memory holds (without the lock: the client may be stopped or dying), act (with the lock), answer. Whatever was
 * fetched can be NULL, because clients die in mid ioctl. A transfer that ends leaves its result in our own struct urb;
 * the client's memory is written only when the client reaps it, again on the worker thread, so no other thread ever
 * touches an object of umockdev.
 *
 * A client polls the node for POLLOUT to learn that something can be reaped. umockdev does not emulate poll(), so the
 * node is a FIFO that we keep full while there is nothing to reap and empty while there is. After an unplug it reads
 * as ready until the last transfer has been reaped, then not any more: usbfs would report an error condition, which a
 * FIFO cannot; a node that stays ready would make the client spin until it closes.
 *
 * Every plug makes a new device number, node and FIFO. Handles opened on an earlier one stay alive and get ENODEV.
 */
#include "sim_usb.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/usb/ch9.h>
#include <linux/usbdevice_fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <umockdev.h>
#include <unistd.h>

enum {
    BUS = 1,
    FIRST_DEVNUM = 2, /* 1 is the root hub */
    LAST_DEVNUM = 127,
    CONTROL_MAX = 4096,         /* what usbfs takes for a control transfer */
    URB_MAX = 16 * 1024 * 1024, /* its limit on memory, for all transfers together */
    FIFO_SIZE = 4096,           /* one page, the least a pipe can have */
    CAPS = USBDEVFS_CAP_ZERO_PACKET | USBDEVFS_CAP_BULK_CONTINUATION | USBDEVFS_CAP_NO_PACKET_SIZE_LIM |
           USBDEVFS_CAP_REAP_AFTER_DISCONNECT
};

struct node { /* one stay on the bus; lives while it is plugged or a handle on it is open */
    unsigned refs;
    unsigned devnum;
    char path[32];
    int fifo;
    bool ready;
};

struct usbfs {
    struct sim_reader *reader;
    struct usb_dev *dev;
    UMockdevIoctlBase *base;
    struct node *node; /* of the present stay, else NULL */
    GPtrArray *handles;
    char *sys_device;
    char *sys_if[USB_MAX_IFS];
};

struct handle { /* one open file */
    struct usbfs *u;
    struct node *node;
    bool gone;            /* its device was unplugged */
    unsigned claimed;     /* bit per interface number */
    GQueue pending, done; /* struct urb */
};

struct urb {
    struct usb_xfer xfer; /* first: xfer.done gets its address */
    struct handle *handle;
    UMockdevIoctlData *data, *buffer; /* struct usbdevfs_urb and its buffer, in the client's memory */
    gulong client_addr;
    uint8_t *bytes; /* ours */
};

/* Main thread only. */
static unsigned last_devnum = FIRST_DEVNUM - 1;
static bool devnum_used[LAST_DEVNUM + 1];

/* ---- node and readiness ---- */

static void node_set_ready(struct node *node, bool ready)
{
    static char junk[FIFO_SIZE]; /* never looked at */

    if (node->fifo < 0 || ready == node->ready)
        return;
    node->ready = ready;
    if (ready)
        while (read(node->fifo, junk, sizeof junk) > 0)
            ;
    else
        while (write(node->fifo, junk, sizeof junk) > 0)
            ;
}

static void update_ready(struct usbfs *u, struct node *node)
{
    bool ready = false;

    for (guint i = 0; i < u->handles->len; i++) {
        struct handle *h = u->handles->pdata[i];
        ready = ready || (h->node == node && !g_queue_is_empty(&h->done));
    }
    node_set_ready(node, ready);
}

static void node_unref(struct node *node)
{
    if (--node->refs > 0)
        return;
    if (node->fifo >= 0)
        close(node->fifo);
    g_free(node);
}

/* The next one up that no device has, as the kernel does it; 0: the bus is full. */
static unsigned take_devnum(void)
{
    for (unsigned tries = FIRST_DEVNUM; tries <= LAST_DEVNUM; tries++) {
        last_devnum = last_devnum == LAST_DEVNUM ? FIRST_DEVNUM : last_devnum + 1;
        if (!devnum_used[last_devnum]) {
            devnum_used[last_devnum] = true;
            return last_devnum;
        }
    }
    fputs("purse-sim: no device number left\n", stderr);
    return 0;
}

/* The node appears when its ioctls can already be served: a client that finds it must find them, too. */
static struct node *node_new(UMockdevIoctlBase *base)
{
    struct node *node = g_new0(struct node, 1);

    node->refs = 1;
    node->devnum = take_devnum();
    g_snprintf(node->path, sizeof node->path, "/dev/bus/usb/%03d/%03u", BUS, node->devnum);
    node->fifo = -1;
    if (node->devnum == 0 || !sim_testbed_attach(node->path, base)) {
        node_unref(node);
        return NULL;
    }
    char *full = sim_testbed_path(node->path);
    if (mkfifo(full, 0600) == 0)
        node->fifo = open(full, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (node->fifo >= 0 && fcntl(node->fifo, F_SETPIPE_SZ, FIFO_SIZE) >= 0) {
        node->ready = true;
        sim_lock();
        node_set_ready(node, false);
        sim_unlock();
    } else {
        fprintf(stderr, "purse-sim: %s: %s\n", full, strerror(errno));
        unlink(full);
        sim_testbed_detach_later(node->path, base);
        g_clear_pointer(&node, node_unref);
    }
    g_free(full);
    return node;
}

/* ---- transfers ---- */

static void urb_free(struct urb *urb)
{
    g_clear_object(&urb->buffer);
    g_clear_object(&urb->data);
    g_free(urb->bytes);
    g_free(urb);
}

static void urb_done(struct usb_xfer *x)
{
    struct urb *urb = (struct urb *)x;
    struct handle *h = urb->handle;

    g_queue_remove(&h->pending, urb);
    g_queue_push_tail(&h->done, urb);
    node_set_ready(h->node, true);
}

/* Ends it the way usbfs reports a transfer that was cancelled; what has arrived so far stays in it. */
static void urb_kill(struct urb *urb)
{
    usb_cancel(&urb->xfer);
    urb->xfer.status = -ENOENT;
    urb_done(&urb->xfer);
}

/* Makes our urb from the client's. NULL: the client is no more, or asks for what usbfs refuses (*error). */
static struct urb *urb_fetch(UMockdevIoctlData *arg, int *error)
{
    UMockdevIoctlData *data = umockdev_ioctl_data_resolve(arg, 0, sizeof(struct usbdevfs_urb), NULL);
    UMockdevIoctlData *buffer = NULL;

    *error = EFAULT;
    if (!data)
        return NULL;
    const struct usbdevfs_urb *k = (const struct usbdevfs_urb *)(const void *)data->data;
    if (k->buffer_length < 0 || k->buffer_length > URB_MAX) {
        *error = EINVAL;
        g_object_unref(data);
        return NULL;
    }
    if (k->buffer_length > 0) {
        buffer = umockdev_ioctl_data_resolve(data, G_STRUCT_OFFSET(struct usbdevfs_urb, buffer),
                                             (gsize)k->buffer_length, NULL);
        if (!buffer) {
            g_object_unref(data);
            return NULL;
        }
    }
    struct urb *urb = g_new0(struct urb, 1);
    urb->data = data;
    urb->buffer = buffer;
    urb->client_addr = data->client_addr;
    urb->xfer.done = urb_done;
    urb->xfer.len = (size_t)k->buffer_length;
    urb->bytes = g_malloc(urb->xfer.len + 1);
    if (buffer)
        memcpy(urb->bytes, buffer->data, urb->xfer.len);
    urb->xfer.data = urb->bytes;
    return urb;
}

/* 0 if this handle may use the interface; as usbfs does, claims it in passing if nobody has it. */
static int check_interface(struct handle *h, unsigned number)
{
    struct usb_if *f = usb_dev_if(h->u->dev, number);

    if (!f)
        return -ENOENT;
    if (h->claimed & 1u << number)
        return 0;
    if (f->kernel_driver)
        return -EBUSY;
    for (guint i = 0; i < h->u->handles->len; i++) {
        struct handle *other = h->u->handles->pdata[i];
        if (other->node == h->node && other->claimed & 1u << number)
            return -EBUSY;
    }
    h->claimed |= 1u << number;
    return 0;
}

static int check_control(struct handle *h, struct urb *urb)
{
    struct usb_xfer *x = &urb->xfer;

    if (x->len < USB_SETUP)
        return -EINVAL;
    size_t length = (size_t)(x->data[6] | x->data[7] << 8);
    if (length > CONTROL_MAX || length > x->len - USB_SETUP)
        return -EINVAL;
    memcpy(x->setup, x->data, USB_SETUP);
    x->data += USB_SETUP;
    x->len = length;
    struct usb_ep *ep;
    switch (x->setup[0] & (USB_TYPE_MASK | USB_RECIP_MASK)) {
    case USB_TYPE_CLASS | USB_RECIP_INTERFACE:
    case USB_TYPE_STANDARD | USB_RECIP_INTERFACE:
        return check_interface(h, x->setup[4]);
    case USB_TYPE_CLASS | USB_RECIP_ENDPOINT:
    case USB_TYPE_STANDARD | USB_RECIP_ENDPOINT:
        ep = usb_dev_ep(h->u->dev, x->setup[4]);
        return !ep ? -ENOENT : ep->addr == 0 ? 0 : check_interface(h, ep->ifnum);
    default:
        return 0;
    }
}

static int submit(struct handle *h, struct urb *urb)
{
    const struct usbdevfs_urb *k = (const struct usbdevfs_urb *)(const void *)urb->data->data;
    struct usb_ep *ep = usb_dev_ep(h->u->dev, k->type == USBDEVFS_URB_TYPE_CONTROL ? 0 : k->endpoint);
    int rc;

    if (!ep)
        return -ENOENT;
    if (ep->addr == 0)
        rc = k->type == USBDEVFS_URB_TYPE_CONTROL ? check_control(h, urb) : -EINVAL;
    else if (k->type == USBDEVFS_URB_TYPE_INTERRUPT && ep->type != USB_ENDPOINT_XFER_INT)
        rc = -EINVAL;
    else if (k->type == USBDEVFS_URB_TYPE_ISO)
        rc = -EINVAL;
    else
        rc = check_interface(h, ep->ifnum);
    if (rc != 0)
        return rc;
    urb->handle = h;
    g_queue_push_tail(&h->pending, urb);
    usb_submit(h->u->dev, ep, &urb->xfer);
    return 0;
}

/* ---- ioctls ---- */

static int release_interface(struct handle *h, unsigned number)
{
    if (!usb_dev_if(h->u->dev, number))
        return -ENOENT;
    if (!(h->claimed & 1u << number))
        return -EINVAL;
    h->claimed &= ~(1u << number);
    /* From the start after each one: taking one back can complete others. */
    for (GList *l = h->pending.head; l;) {
        struct urb *urb = l->data;
        l = l->next;
        if (urb->xfer.ep->addr != 0 && urb->xfer.ep->ifnum == number) {
            urb_kill(urb);
            l = h->pending.head;
        }
    }
    return 0;
}

static bool anybody_claims(struct usbfs *u, unsigned number)
{
    for (guint i = 0; i < u->handles->len; i++) {
        struct handle *h = u->handles->pdata[i];
        if (h->node == u->node && h->claimed & 1u << number)
            return true;
    }
    return false;
}

static void release_everywhere(struct usbfs *u, unsigned number)
{
    for (guint i = 0; i < u->handles->len; i++) {
        struct handle *h = u->handles->pdata[i];
        if (h->node == u->node && h->claimed & 1u << number)
            release_interface(h, number);
    }
}

static int do_capabilities(struct handle *h, void *arg)
{
    (void)h;
    *(uint32_t *)arg = CAPS;
    return 0;
}

static int do_claim(struct handle *h, void *arg)
{
    return check_interface(h, *(unsigned *)arg);
}

static int do_release(struct handle *h, void *arg)
{
    return release_interface(h, *(unsigned *)arg);
}

static int do_set_interface(struct handle *h, void *arg)
{
    const struct usbdevfs_setinterface *s = arg;
    int rc = check_interface(h, s->interface);

    return rc ? rc : s->altsetting == 0 ? 0 : -EINVAL;
}

/* usbfs refuses while any interface has a driver, the pretended one and its own included. */
static int do_set_configuration(struct handle *h, void *arg)
{
    struct usb_dev *dev = h->u->dev;

    for (size_t i = 0; i < dev->n_ifs; i++)
        if (dev->ifs[i].kernel_driver || anybody_claims(h->u, dev->ifs[i].number))
            return -EBUSY;
    return *(int *)arg == dev->config_value ? 0 : -EINVAL;
}

static int do_clear_halt(struct handle *h, void *arg)
{
    struct usb_ep *ep = usb_dev_ep(h->u->dev, (uint8_t) * (unsigned *)arg);
    int rc = !ep || ep->addr == 0 ? -ENOENT : check_interface(h, ep->ifnum);

    if (rc == 0)
        usb_clear_halt(h->u->dev, ep);
    return rc;
}

/* A bus reset takes the interfaces from usbfs, ends every transfer and restarts the reader. */
static int do_reset(struct handle *h, void *arg)
{
    struct usbfs *u = h->u;
    struct sim_reader *r = u->reader;

    (void)arg;
    for (size_t i = 0; i < u->dev->n_ifs; i++)
        release_everywhere(u, u->dev->ifs[i].number);
    usb_dev_flush(u->dev, -ENOENT);
    r->stats.resets++;
    if (r->ops->power) {
        r->ops->power(r->model, false);
        usb_dev_flush(u->dev, -ENOENT);
        r->ops->power(r->model, true);
    }
    return 0;
}

static int do_get_driver(struct handle *h, void *arg)
{
    struct usbdevfs_getdriver *g = arg;
    struct usb_if *f = usb_dev_if(h->u->dev, g->interface);

    if (!f)
        return -EINVAL;
    if (f->kernel_driver)
        g_strlcpy(g->driver, h->u->dev->id->kernel_driver, sizeof g->driver);
    else if (anybody_claims(h->u, g->interface))
        g_strlcpy(g->driver, "usbfs", sizeof g->driver);
    else
        return -ENODATA;
    return 0;
}

static int disconnect(struct handle *h, struct usb_if *f)
{
    if (!f->kernel_driver && !anybody_claims(h->u, f->number))
        return -ENODATA;
    f->kernel_driver = false;
    release_everywhere(h->u, f->number);
    return 0;
}

static int do_driver_ioctl(struct handle *h, void *arg)
{
    const struct usbdevfs_ioctl *i = arg;
    struct usb_if *f = usb_dev_if(h->u->dev, (unsigned)i->ifno);

    if (!f)
        return -EINVAL;
    switch ((unsigned)i->ioctl_code) {
    case USBDEVFS_DISCONNECT:
        return disconnect(h, f);
    case USBDEVFS_CONNECT:
        if (f->kernel_driver || anybody_claims(h->u, f->number))
            return -EBUSY;
        f->kernel_driver = h->u->dev->id->kernel_driver != NULL;
        return f->kernel_driver; /* as the kernel: 1 if a driver took it */
    default:
        return -ENOTTY;
    }
}

static int do_disconnect_claim(struct handle *h, void *arg)
{
    const struct usbdevfs_disconnect_claim *d = arg;
    struct usb_if *f = usb_dev_if(h->u->dev, d->interface);

    if (!f)
        return -EINVAL;
    if (f->kernel_driver || anybody_claims(h->u, d->interface)) {
        const char *bound = f->kernel_driver ? h->u->dev->id->kernel_driver : "usbfs";
        bool same = strncmp(d->driver, bound, sizeof d->driver) == 0;
        if ((d->flags & USBDEVFS_DISCONNECT_CLAIM_IF_DRIVER && !same) ||
            (d->flags & USBDEVFS_DISCONNECT_CLAIM_EXCEPT_DRIVER && same))
            return -EBUSY;
        disconnect(h, f);
    }
    return check_interface(h, d->interface);
}

static int do_discard(struct handle *h, gulong client_addr)
{
    for (GList *l = h->pending.head; l; l = l->next) {
        struct urb *urb = l->data;
        if (urb->client_addr == client_addr) {
            urb_kill(urb);
            return 0;
        }
    }
    return -EINVAL; /* already done, or never submitted */
}

static const struct {
    gulong request;
    gsize size; /* of what the argument points to */
    int (*act)(struct handle *h, void *arg);
} IOCTLS[] = {
    {USBDEVFS_GET_CAPABILITIES, sizeof(uint32_t), do_capabilities},
    {USBDEVFS_CLAIMINTERFACE, sizeof(unsigned), do_claim},
    {USBDEVFS_RELEASEINTERFACE, sizeof(unsigned), do_release},
    {USBDEVFS_SETINTERFACE, sizeof(struct usbdevfs_setinterface), do_set_interface},
    {USBDEVFS_SETCONFIGURATION, sizeof(unsigned), do_set_configuration},
    {USBDEVFS_CLEAR_HALT, sizeof(unsigned), do_clear_halt},
    {USBDEVFS_RESET, 0, do_reset},
    {USBDEVFS_GETDRIVER, sizeof(struct usbdevfs_getdriver), do_get_driver},
    {USBDEVFS_IOCTL, sizeof(struct usbdevfs_ioctl), do_driver_ioctl},
    {USBDEVFS_DISCONNECT_CLAIM, sizeof(struct usbdevfs_disconnect_claim), do_disconnect_claim},
};

static int run_simple(struct handle *h, gulong request, UMockdevIoctlData *arg)
{
    for (size_t i = 0; i < G_N_ELEMENTS(IOCTLS); i++) {
        if (IOCTLS[i].request != request)
            continue;
        UMockdevIoctlData *d = NULL;
        if (IOCTLS[i].size > 0) {
            d = umockdev_ioctl_data_resolve(arg, 0, IOCTLS[i].size, NULL);
            if (!d)
                return -EFAULT;
        }
        sim_lock();
        int rc = h->gone ? -ENODEV : IOCTLS[i].act(h, d ? d->data : NULL);
        sim_unlock();
        g_clear_object(&d);
        return rc;
    }
    return -ENOTTY;
}

static int run_submit(struct handle *h, UMockdevIoctlData *arg)
{
    int error, rc;
    struct urb *urb = urb_fetch(arg, &error);

    if (!urb)
        return -error;
    sim_lock();
    rc = h->gone ? -ENODEV : submit(h, urb);
    sim_unlock();
    if (rc != 0)
        urb_free(urb);
    return rc;
}

/* A blocking REAPURB that would have to wait is answered like the other one; nobody uses it beside poll(). */
static int run_reap(struct handle *h, UMockdevIoctlData *arg)
{
    sim_lock();
    struct urb *urb = g_queue_pop_head(&h->done);
    bool gone = h->gone;
    update_ready(h->u, h->node);
    sim_unlock();
    if (!urb)
        return gone ? -ENODEV : -EAGAIN;
    UMockdevIoctlData *where = umockdev_ioctl_data_resolve(arg, 0, sizeof(gpointer), NULL);
    if (where) {
        struct usbdevfs_urb *k = (struct usbdevfs_urb *)(void *)urb->data->data;
        k->status = urb->xfer.status;
        k->actual_length = (int)urb->xfer.actual;
        if (urb->buffer)
            memcpy(urb->buffer->data, urb->bytes, (size_t)k->buffer_length);
        umockdev_ioctl_data_set_ptr(where, 0, urb->data);
        g_object_unref(where);
    }
    urb_free(urb);
    return where ? 0 : -EFAULT;
}

static gboolean on_ioctl(UMockdevIoctlBase *base, UMockdevIoctlClient *client, gpointer data)
{
    struct handle *h = g_object_get_data(G_OBJECT(client), "handle");
    UMockdevIoctlData *arg = umockdev_ioctl_client_get_arg(client);
    gulong request = umockdev_ioctl_client_get_request(client);
    int rc;

    (void)base;
    (void)data;
    sim_lock();
    h->u->reader->stats.ioctls++;
    sim_unlock();
    switch (request) {
    case USBDEVFS_SUBMITURB:
        rc = run_submit(h, arg);
        break;
    case USBDEVFS_REAPURB:
    case USBDEVFS_REAPURBNDELAY:
        rc = run_reap(h, arg);
        break;
    case USBDEVFS_DISCARDURB:
        sim_lock();
        rc = h->gone ? -ENODEV : do_discard(h, *(gulong *)(void *)arg->data);
        sim_unlock();
        break;
    default:
        rc = run_simple(h, request, arg);
        if (rc == -ENOTTY)
            sim_log(h->u->reader, "ioctl %#lx is not simulated", request);
    }
    umockdev_ioctl_client_complete(client, rc < 0 ? -1 : rc, rc < 0 ? -rc : 0);
    return TRUE;
}

/* ---- handles ---- */

/* The client closed the file or died: its last reference went. umockdev has no other signal that comes in both cases.
 */
static void handle_gone(gpointer data, GObject *client)
{
    struct handle *h = data;
    struct usbfs *u = h->u;
    struct urb *urb;

    (void)client;
    sim_lock();
    while ((urb = g_queue_pop_head(&h->pending))) {
        usb_cancel(&urb->xfer);
        urb_free(urb);
    }
    while ((urb = g_queue_pop_head(&h->done)))
        urb_free(urb);
    g_ptr_array_remove(u->handles, h);
    u->reader->stats.open--;
    update_ready(u, h->node);
    node_unref(h->node);
    g_free(h);
    sim_unlock();
}

static void on_connected(UMockdevIoctlBase *base, UMockdevIoctlClient *client, gpointer data)
{
    struct usbfs *u = data;
    struct handle *h = g_new0(struct handle, 1);

    (void)base;
    sim_lock();
    h->u = u;
    g_queue_init(&h->pending);
    g_queue_init(&h->done);
    if (u->reader->plugged && u->node && strcmp(u->node->path, umockdev_ioctl_client_get_devnode(client)) == 0) {
        h->node = u->node;
        h->node->refs++;
    } else { /* opened while the node was being unplugged */
        h->node = g_new0(struct node, 1);
        h->node->refs = 1;
        h->node->fifo = -1;
        h->gone = true;
    }
    u->reader->stats.opens++;
    u->reader->stats.open++;
    g_ptr_array_add(u->handles, h);
    sim_unlock();
    g_object_set_data(G_OBJECT(client), "handle", h);
    g_object_weak_ref(G_OBJECT(client), handle_gone, h);
}

/* ---- sysfs ---- */

/* Builds a list "name", "value", ..., NULL for the testbed. */
static void put(GPtrArray *list, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void put(GPtrArray *list, const char *name, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_ptr_array_add(list, g_strdup(name));
    g_ptr_array_add(list, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

static char **finish(GPtrArray *list)
{
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

static char **device_attrs(const struct usbfs *u)
{
    const struct sim_usb_identity *id = u->dev->id;
    const uint8_t *d = id->descriptors;
    GPtrArray *a = g_ptr_array_new();

    put(a, "dev", "189:%u\n", (BUS - 1) * 128 + u->node->devnum - 1);
    put(a, "idVendor", "%04x\n", id->vid);
    put(a, "idProduct", "%04x\n", id->pid);
    put(a, "bcdDevice", "%02x%02x\n", d[13], d[12]);
    put(a, "bDeviceClass", "%02x\n", d[4]);
    put(a, "bDeviceSubClass", "%02x\n", d[5]);
    put(a, "bDeviceProtocol", "%02x\n", d[6]);
    put(a, "bMaxPacketSize0", "%u\n", d[7]);
    put(a, "bNumConfigurations", "%u\n", d[17]);
    put(a, "bConfigurationValue", "%u\n", u->dev->config_value);
    put(a, "bNumInterfaces", "%2u\n", (unsigned)u->dev->n_ifs);
    put(a, "busnum", "%d\n", BUS);
    put(a, "devnum", "%u\n", u->node->devnum);
    put(a, "devpath", "%u\n", u->reader->index + 1);
    put(a, "speed", "%s\n", id->speed);
    put(a, "version", "%2x.%02x\n", d[3], d[2]);
    put(a, "maxchild", "0\n");
    if (id->manufacturer)
        put(a, "manufacturer", "%s\n", id->manufacturer);
    if (id->product)
        put(a, "product", "%s\n", id->product);
    if (id->serial)
        put(a, "serial", "%s\n", id->serial);
    return finish(a);
}

static void put_product(GPtrArray *p, const struct usb_dev *dev)
{
    const uint8_t *d = dev->id->descriptors;

    put(p, "PRODUCT", "%x/%x/%x", dev->id->vid, dev->id->pid, d[12] | d[13] << 8);
    put(p, "TYPE", "%u/%u/%u", d[4], d[5], d[6]);
}

static char **device_props(const struct usbfs *u, const struct node *node)
{
    GPtrArray *p = g_ptr_array_new();

    put(p, "DEVTYPE", "usb_device");
    put(p, "DEVNAME", "%s", node->path);
    put(p, "MAJOR", "189");
    put(p, "MINOR", "%u", (BUS - 1) * 128 + node->devnum - 1);
    put(p, "BUSNUM", "%03d", BUS);
    put(p, "DEVNUM", "%03u", node->devnum);
    put(p, "ID_VENDOR_ID", "%04x", u->dev->id->vid);
    put(p, "ID_MODEL_ID", "%04x", u->dev->id->pid);
    put_product(p, u->dev);
    return finish(p);
}

static char **if_attrs(const struct usb_if *f)
{
    GPtrArray *a = g_ptr_array_new();

    put(a, "bInterfaceNumber", "%02x\n", f->number);
    put(a, "bInterfaceClass", "%02x\n", f->cls);
    put(a, "bInterfaceSubClass", "%02x\n", f->subclass);
    put(a, "bInterfaceProtocol", "%02x\n", f->protocol);
    put(a, "bAlternateSetting", "%2u\n", 0);
    put(a, "bNumEndpoints", "%02x\n", f->endpoints);
    return finish(a);
}

static char **if_props(const struct usb_dev *dev, const struct usb_if *f)
{
    GPtrArray *p = g_ptr_array_new();

    put(p, "DEVTYPE", "usb_interface");
    put(p, "INTERFACE", "%u/%u/%u", f->cls, f->subclass, f->protocol);
    put_product(p, dev);
    return finish(p);
}

static char *add_one(const char *name, const char *parent, char **attrs, char **props)
{
    char *path = sim_testbed_add("usb", name, parent, attrs, props);

    g_strfreev(attrs);
    g_strfreev(props);
    return path;
}

static void announce(const char *action, const char *path, char **props)
{
    sim_testbed_uevent(action, path, "usb", props);
    g_strfreev(props);
}

/* All readers hang on one root hub, which is there before the first of them. */
static const char *root_hub(void)
{
    static const uint8_t descriptors[] = {18,   1,    0x00, 0x02, 9,    0, 1, 64,   0x6b,
                                          0x1d, 0x02, 0x00, 0x00, 0x01, 0, 0, 0,    1, /* device */
                                          9,    2,    25,   0,    1,    1, 0, 0xe0, 0, /* configuration */
                                          9,    4,    0,    0,    1,    9, 0, 0,    0, /* interface: hub */
                                          7,    5,    0x81, 3,    4,    0, 12};
    static char *path;
    char *attrs[] = {"idVendor",
                     "1d6b\n",
                     "idProduct",
                     "0002\n",
                     "busnum",
                     "1\n",
                     "devnum",
                     "1\n",
                     "speed",
                     "480\n",
                     "bConfigurationValue",
                     "1\n",
                     "bDeviceClass",
                     "09\n",
                     "bNumConfigurations",
                     "1\n",
                     NULL};
    char *props[] = {"DEVTYPE", "usb_device", "DEVNAME", "/dev/bus/usb/001/001", NULL};

    if (!path) {
        path = sim_testbed_add("usb", "usb1", NULL, attrs, props);
        sim_testbed_blob(path, "descriptors", descriptors, sizeof descriptors);
    }
    return path;
}

/* ---- the front ---- */

static bool usbfs_create(struct sim_reader *r)
{
    sim_lock();
    const struct sim_usb_identity *id = r->ops->usb ? r->ops->usb(r->model) : NULL;
    sim_unlock();
    struct usb_dev *dev = id ? usb_dev_new(r, id) : NULL;

    if (!dev) {
        fprintf(stderr, "purse-sim: %s: %s\n", r->name,
                id ? "bad USB descriptors" : "no USB reader with these options: tty=NAME?");
        return false;
    }
    struct usbfs *u = g_new0(struct usbfs, 1);
    u->reader = r;
    u->dev = dev;
    u->handles = g_ptr_array_new();
    u->base = umockdev_ioctl_base_new();
    g_signal_connect(u->base, "handle-ioctl", G_CALLBACK(on_ioctl), u);
    g_signal_connect(u->base, "client-connected", G_CALLBACK(on_connected), u);
    r->front = u;
    return true;
}

static void add_to_sysfs(struct usbfs *u)
{
    char name[32];

    g_snprintf(name, sizeof name, "%d-%u", BUS, u->reader->index + 1);
    u->sys_device = add_one(name, root_hub(), device_attrs(u), device_props(u, u->node));
    sim_testbed_blob(u->sys_device, "descriptors", u->dev->id->descriptors, u->dev->id->descriptors_len);
    for (size_t i = 0; i < u->dev->n_ifs; i++) {
        const struct usb_if *f = &u->dev->ifs[i];
        g_snprintf(name, sizeof name, "%d-%u:%u.%u", BUS, u->reader->index + 1, u->dev->config_value, f->number);
        u->sys_if[i] = add_one(name, u->sys_device, if_attrs(f), if_props(u->dev, f));
    }
    announce("add", u->sys_device, device_props(u, u->node));
    for (size_t i = 0; i < u->dev->n_ifs; i++)
        announce("add", u->sys_if[i], if_props(u->dev, &u->dev->ifs[i]));
}

static bool usbfs_plug(struct sim_reader *r)
{
    struct usbfs *u = r->front;
    struct node *node = node_new(u->base);

    if (!node)
        return false;
    sim_lock();
    u->node = node;
    usb_dev_connect(u->dev);
    sim_reader_power_on(r);
    sim_unlock();
    add_to_sysfs(u);
    return true;
}

static void usbfs_cut(struct sim_reader *r)
{
    struct usbfs *u = r->front;

    u->dev->connected = false;
    for (guint i = 0; i < u->handles->len; i++) {
        struct handle *h = u->handles->pdata[i];
        h->gone = true;
        h->claimed = 0;
    }
    usb_dev_flush(u->dev, -ESHUTDOWN);
}

static void usbfs_vanish(struct sim_reader *r)
{
    struct usbfs *u = r->front;

    for (size_t i = 0; i < u->dev->n_ifs; i++) {
        announce("remove", u->sys_if[i], if_props(u->dev, &u->dev->ifs[i]));
        sim_testbed_remove(u->sys_if[i], NULL);
        g_clear_pointer(&u->sys_if[i], g_free);
    }
    announce("remove", u->sys_device, device_props(u, u->node));
    sim_testbed_remove(u->sys_device, u->node->path);
    g_clear_pointer(&u->sys_device, g_free);
    sim_testbed_detach_later(u->node->path, u->base);
    devnum_used[u->node->devnum] = false;
    sim_lock();
    node_unref(u->node);
    u->node = NULL;
    sim_unlock();
}

static void usbfs_send(struct sim_reader *r, enum sim_pipe pipe, const uint8_t *data, size_t n)
{
    usb_dev_send(((struct usbfs *)r->front)->dev, pipe, data, n);
}

static void usbfs_stall(struct sim_reader *r, enum sim_pipe pipe)
{
    usb_dev_stall(((struct usbfs *)r->front)->dev, pipe);
}

/* "kdriver": which driver has each interface now. */
static int usbfs_control(struct sim_reader *r, const char *verb, const char *args, FILE *reply)
{
    struct usbfs *u = r->front;

    (void)args;
    if (strcmp(verb, "kdriver") != 0)
        return -1;
    for (size_t i = 0; i < u->dev->n_ifs; i++) {
        const struct usb_if *f = &u->dev->ifs[i];
        fprintf(reply, "%s%s", i ? " " : "",
                f->kernel_driver                          ? u->dev->id->kernel_driver
                : u->node && anybody_claims(u, f->number) ? "usbfs"
                                                          : "none");
    }
    return 1;
}

const struct sim_front_ops sim_front_usb = {
    .create = usbfs_create,
    .plug = usbfs_plug,
    .cut = usbfs_cut,
    .vanish = usbfs_vanish,
    .send = usbfs_send,
    .stall = usbfs_stall,
    .control = usbfs_control,
};
