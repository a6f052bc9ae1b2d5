/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Input that nobody has read yet: bytes of fixed room, each chunk behind a header of its pipe and length. New input is
 * worth more than old (it holds the answer that somebody is about to wait for), so the oldest goes first.
 * A chunk and its header always fit into the empty room, which is why putting never fails.
 *
 * What is kept stands in one piece and moves to the front when its end is reached. In an exchange it is read as fast as
 * it comes, so it begins at the front again each time: nothing is moved, and the same few bytes are used over and over.
 * That part stands in the header.
 */
#include <string.h>
#include "transport/usb_internal.h"

_Static_assert(USB_RING_SIZE >= TRANSPORT_CHUNK_MAX + USB_RING_HEADER, "the longest chunk fits into the empty ring");

unsigned usb_ring_make_room(struct usb_ring *ring, size_t need)
{
    unsigned dropped = 0;

    for (; USB_RING_SIZE - ring->used < need; dropped++)
        (void)usb_ring_forget(ring);
    memmove(ring->bytes, ring->bytes + ring->head, ring->used);
    ring->head = 0;
    ring->dropped += dropped;
    return dropped;
}

void usb_ring_clear(struct usb_ring *ring)
{
    explicit_bzero(ring->bytes, sizeof ring->bytes); /* APDU data passed through here */
    ring->head = 0;
    ring->used = 0;
}
