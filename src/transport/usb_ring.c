/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Input that nobody has read yet: bytes of fixed room, each chunk behind a header of its pipe and length. New input is
 * worth more than old (it holds the answer that somebody is about to wait for), so the oldest goes first.
 * A chunk and its header always fit into the empty room, which is why putting never fails.
 *
 * What is kept stands in one piece and moves to the front when its end is reached. In an exchange it is read as fast as
 * it comes, so it begins at the front again each time: nothing is moved, and the same few bytes are used over and over.
 */
#include <string.h>
#include "transport/usb_internal.h"

_Static_assert(USB_RING_SIZE >= TRANSPORT_CHUNK_MAX + USB_RING_HEADER, "the longest chunk fits into the empty ring");

static size_t length_at(const uint8_t *header)
{
    return header[1] | (size_t)header[2] << 8;
}

/* The oldest chunk goes. */
static void forget(struct usb_ring *ring)
{
    size_t n = USB_RING_HEADER + length_at(ring->bytes + ring->head);

    ring->used -= n;
    ring->head = ring->used > 0 ? ring->head + n : 0;
}

size_t usb_ring_take(struct usb_ring *ring, unsigned *pipe, uint8_t *chunk)
{
    const uint8_t *oldest = ring->bytes + ring->head;
    size_t n;

    if (ring->used == 0)
        return 0;
    *pipe = oldest[0];
    n = length_at(oldest);
    memcpy(chunk, oldest + USB_RING_HEADER, n);
    forget(ring);
    return n;
}

/* Makes room for `need` bytes behind what is kept. Returns how many chunks it dropped. */
static unsigned make_room(struct usb_ring *ring, size_t need)
{
    unsigned dropped = 0;

    for (; USB_RING_SIZE - ring->used < need; dropped++)
        forget(ring);
    memmove(ring->bytes, ring->bytes + ring->head, ring->used);
    ring->head = 0;
    ring->dropped += dropped;
    return dropped;
}

unsigned usb_ring_put(struct usb_ring *ring, unsigned pipe, const uint8_t *data, size_t n)
{
    bool fits = USB_RING_SIZE - ring->used - ring->head >= USB_RING_HEADER + n;
    unsigned dropped = fits ? 0 : make_room(ring, USB_RING_HEADER + n);
    uint8_t *at = ring->bytes + ring->head + ring->used;

    at[0] = (uint8_t)pipe;
    at[1] = (uint8_t)n;
    at[2] = (uint8_t)(n >> 8);
    memcpy(at + USB_RING_HEADER, data, n);
    ring->used += USB_RING_HEADER + n;
    return dropped;
}

void usb_ring_clear(struct usb_ring *ring)
{
    explicit_bzero(ring->bytes, sizeof ring->bytes); /* APDU data passed through here */
    ring->head = ring->used = 0;
}
