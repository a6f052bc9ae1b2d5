/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A reader that is nothing but its endpoints, for the tests of the USB transport: what comes in goes back out, cut in
 * packets of the IN endpoint's size, and a test may send any packet and stall any pipe. Built into a purse-sim of its
 * own with -DSIM_EXTRA_MODEL=sim_loop.
 *
 * Option at creation: the shape of the reader, a row of SHAPES below. Verbs:
 *   send i|b HEX [COUNT]   COUNT times this packet ("-": an empty one); the last byte counts up, if there is one
 *   stall i|b|o|c          the next transfer of interrupt in, bulk in, interrupt or bulk out, control
 *   echo on|off            whether messages come back
 *   seen                   messages=N bytes=M of the last message's packets, setup=HEX of the last control request
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

enum { VID = 0x072f, FIRST_PID = 0x9f00, DESCRIPTORS_MAX = 128, DEVICE_LEN = 18 };

struct endpoint {
    uint8_t address, type;
    uint16_t packet;
};

struct interface {
    uint8_t number, class_code;
    struct endpoint endpoints[3];
};

/* The PID is FIRST_PID plus the row. */
static const struct shape {
    const char *name;
    const char *kernel_driver;
    struct interface interfaces[2];
    unsigned interface_count;
} SHAPES[] = {
    {"a", NULL, {{0, 0xff, {{0x81, 3, 8}}}}, 1},
    {"b", NULL, {{0, 0xff, {{0x02, 2, 64}, {0x82, 2, 64}, {0x81, 3, 8}}}}, 1},
    {"c", NULL, {{0, 0xff, {{0x01, 3, 16}, {0x81, 3, 16}}}}, 1},
    {"hid", "usbhid", {{0, 3, {{0x81, 3, 64}, {0x01, 3, 64}}}}, 1},
    {"hidset", "usbhid", {{0, 3, {{0x81, 3, 64}}}}, 1},
    {"two", NULL, {{0, 0xff, {{0}}}, {1, 0xff, {{0x81, 3, 8}}}}, 2},
    {"ccid", NULL, {{0, 0x0b, {{0x02, 2, 64}, {0x82, 2, 64}, {0x81, 3, 8}}}}, 1},
    {"none", NULL, {{0, 0xff, {{0x02, 2, 64}}}}, 1},
};

static const uint8_t REPORT_DESCRIPTOR[] = {0x06, 0x00, 0xff, 0x09, 0x01, 0xa1, 0x01, 0x85, 0x01, 0x75, 0x08,
                                            0x95, 0x3f, 0x09, 0x01, 0x81, 0x02, 0x09, 0x01, 0x91, 0x02, 0xc0};

struct sim_model {
    struct sim_reader *reader;
    const struct shape *shape;
    struct sim_usb_identity identity;
    uint8_t descriptors[DESCRIPTORS_MAX];
    bool echo;
    unsigned long messages, bytes;
    uint8_t setup[8];
};

static size_t put_interface(uint8_t *d, const struct interface *ifc)
{
    size_t n = 9;

    memcpy(d, (const uint8_t[9]){9, 4, ifc->number, 0, 0, ifc->class_code, 0, 0, 0}, 9);
    if (ifc->class_code == 3) {
        memcpy(d + n, (const uint8_t[9]){9, 0x21, 0x11, 1, 0, 1, 0x22, sizeof REPORT_DESCRIPTOR, 0}, 9);
        n += 9;
    }
    for (size_t i = 0; i < 3 && ifc->endpoints[i].packet > 0; i++) {
        const struct endpoint *e = &ifc->endpoints[i];

        memcpy(d + n, (const uint8_t[7]){7, 5, e->address, e->type, (uint8_t)e->packet, (uint8_t)(e->packet >> 8), 10},
               7);
        n += 7;
        d[4]++;
    }
    return n;
}

static size_t put_descriptors(uint8_t *d, const struct shape *shape)
{
    unsigned pid = FIRST_PID + (unsigned)(shape - SHAPES);
    size_t n = DEVICE_LEN + 9;

    memcpy(d,
           (const uint8_t[DEVICE_LEN]){DEVICE_LEN, 1, 0, 2, 0, 0, 0, 8, VID & 0xff, VID >> 8, (uint8_t)pid,
                                       (uint8_t)(pid >> 8), 0x34, 0x12, 1, 2, 3, 1},
           DEVICE_LEN);
    for (unsigned i = 0; i < shape->interface_count; i++)
        n += put_interface(d + n, &shape->interfaces[i]);
    memcpy(d + DEVICE_LEN,
           (const uint8_t[9]){9, 2, (uint8_t)(n - DEVICE_LEN), 0, (uint8_t)shape->interface_count, 1, 0, 0x80, 50}, 9);
    return n;
}

static struct sim_model *loop_create(struct sim_reader *r, const char *options)
{
    const struct shape *shape = NULL;
    struct sim_model *m;

    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++)
        if (strcmp(SHAPES[i].name, options) == 0)
            shape = &SHAPES[i];
    m = shape ? calloc(1, sizeof *m) : NULL;
    if (!m) {
        fprintf(stderr, "loop: no shape \"%s\"\n", options);
        return NULL;
    }
    m->reader = r;
    m->shape = shape;
    m->echo = true;
    m->identity = (struct sim_usb_identity){
        .vid = VID,
        .pid = (uint16_t)(FIRST_PID + (unsigned)(shape - SHAPES)),
        .descriptors = m->descriptors,
        .descriptors_len = put_descriptors(m->descriptors, shape),
        .manufacturer = "Maker",
        .product = " Loop\x01 reader ",
        .serial = "S/N 0815",
        .kernel_driver = shape->kernel_driver,
        .speed = "12",
    };
    if (shape->kernel_driver) {
        m->identity.report_descriptor = REPORT_DESCRIPTOR;
        m->identity.report_descriptor_len = sizeof REPORT_DESCRIPTOR;
    }
    return m;
}

static void loop_destroy(struct sim_model *m)
{
    free(m);
}

static const struct sim_usb_identity *loop_usb(struct sim_model *m)
{
    return &m->identity;
}

static void loop_power(struct sim_model *m, bool on)
{
    (void)m;
    (void)on;
}

static bool loop_receive(struct sim_model *m, enum sim_pipe pipe, const uint8_t *setup, const uint8_t *data, size_t n)
{
    enum sim_pipe back = pipe == SIM_PIPE_BULK_OUT ? SIM_PIPE_BULK_IN : SIM_PIPE_INT_IN;
    uint8_t type = back == SIM_PIPE_BULK_IN ? 2 : 3;
    size_t packet = 1;

    m->messages++;
    m->bytes = n;
    if (setup)
        memcpy(m->setup, setup, sizeof m->setup);
    for (size_t i = 0; i < 3; i++) {
        const struct endpoint *e = &m->shape->interfaces[0].endpoints[i];

        if (e->type == type && e->address & 0x80)
            packet = e->packet;
    }
    while (m->echo && n > 0) {
        size_t now = n < packet ? n : packet;

        sim_send(m->reader, back, data, now);
        data += now;
        n -= now;
    }
    return true;
}

static bool verb_send(struct sim_model *m, const char *args)
{
    enum sim_pipe pipe = args[0] == 'b' ? SIM_PIPE_BULK_IN : SIM_PIPE_INT_IN;
    uint8_t packet[512];
    size_t n = 0;
    unsigned byte;

    for (args += 2; *args != ' ' && n < sizeof packet && sscanf(args, "%2x", &byte) == 1; args += 2)
        packet[n++] = (uint8_t)byte;
    args += *args == '-';
    for (unsigned long count = *args ? strtoul(args, NULL, 10) : 1; count > 0; count--) {
        sim_send(m->reader, pipe, packet, n);
        if (n > 0)
            packet[n - 1]++;
    }
    return true;
}

static bool verb_stall(struct sim_model *m, char pipe)
{
    bool bulk = m->shape->interfaces[0].endpoints[0].type == 2;

    sim_stall(m->reader, pipe == 'i'   ? SIM_PIPE_INT_IN
                         : pipe == 'b' ? SIM_PIPE_BULK_IN
                         : pipe == 'c' ? SIM_PIPE_CONTROL
                         : bulk        ? SIM_PIPE_BULK_OUT
                                       : SIM_PIPE_INT_OUT);
    return true;
}

static bool loop_control(struct sim_model *m, const char *verb, const char *args, FILE *reply)
{
    if (strcmp(verb, "send") == 0 && strlen(args) > 2)
        return verb_send(m, args);
    if (strcmp(verb, "stall") == 0 && args[0])
        return verb_stall(m, args[0]);
    if (strcmp(verb, "echo") == 0) {
        m->echo = strcmp(args, "on") == 0;
        return true;
    }
    if (strcmp(verb, "seen") == 0) {
        fprintf(reply, "messages=%lu bytes=%lu setup=", m->messages, m->bytes);
        for (size_t i = 0; i < sizeof m->setup; i++)
            fprintf(reply, "%02x", m->setup[i]);
        return true;
    }
    fputs("no such verb", reply);
    return false;
}

extern const struct sim_model_ops sim_loop;
const struct sim_model_ops sim_loop = {
    .name = "loop",
    .create = loop_create,
    .destroy = loop_destroy,
    .usb = loop_usb,
    .power = loop_power,
    .receive = loop_receive,
    .control = loop_control,
};
