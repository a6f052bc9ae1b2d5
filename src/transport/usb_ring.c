/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Input that nobody has read yet: a byte ring of fixed size, each chunk behind a header of its pipe and length. New
 * input is worth more than old (it holds the answer that somebody is about to wait for), so the oldest goes first.
 * A chunk and its header always fit into the empty ring, which is why putting never fails.
 */
#include <string.h>
#include "transport/usb_internal.h"

_Static_assert(USB_RING_SIZE >= TRANSPORT_CHUNK_MAX + USB_RING_HEADER, "the longest chunk fits into the empty ring");

static void copy_in(struct usb_ring *ring, const uint8_t *from, size_t n)
{
    size_t at = (ring->head + ring->used) % USB_RING_SIZE;
    size_t first = n < USB_RING_SIZE - at ? n : USB_RING_SIZE - at;

    memcpy(ring->bytes + at, from, first);
    memcpy(ring->bytes, from + first, n - first);
    ring->used += n;
}

static void copy_out(struct usb_ring *ring, uint8_t *to, size_t n)
{
    size_t first = n < USB_RING_SIZE - ring->head ? n : USB_RING_SIZE - ring->head;

    memcpy(to, ring->bytes + ring->head, first);
    memcpy(to + first, ring->bytes, n - first);
    ring->head = (ring->head + n) % USB_RING_SIZE;
    ring->used -= n;
}

size_t usb_ring_take(struct usb_ring *ring, unsigned *pipe, uint8_t *chunk)
{
    uint8_t header[USB_RING_HEADER];
    size_t n;

    if (ring->used == 0)
        return 0;
    copy_out(ring, header, sizeof header);
    n = header[1] | (size_t)header[2] << 8;
    copy_out(ring, chunk, n);
    *pipe = header[0];
    return n;
}

unsigned usb_ring_put(struct usb_ring *ring, unsigned pipe, const uint8_t *data, size_t n)
{
    uint8_t header[USB_RING_HEADER] = {(uint8_t)pipe, (uint8_t)n, (uint8_t)(n >> 8)};
    uint8_t old[TRANSPORT_CHUNK_MAX];
    unsigned dropped = 0, old_pipe;

    while (USB_RING_SIZE - ring->used < USB_RING_HEADER + n) {
        usb_ring_take(ring, &old_pipe, old);
        dropped++;
    }
    copy_in(ring, header, sizeof header);
    copy_in(ring, data, n);
    ring->dropped += dropped;
    return dropped;
}

void usb_ring_clear(struct usb_ring *ring)
{
    explicit_bzero(ring->bytes, sizeof ring->bytes); /* APDU data passed through here */
    ring->head = ring->used = 0;
}
