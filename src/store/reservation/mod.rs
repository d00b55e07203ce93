//! Reservations: memory for values that are being received.
//!
//! ```text
//!                 ┌─ ReservedItem: item memory for all of it ◄─┐    published where it is
//!   Reservation ──┤                                            │ moved, as soon as there is room
//!                 └─ Buffer: grows as bytes arrive ─────────────┘    else copied when it is complete
//! ```
//!
//! A [`Reservation`] belongs to the connection that receives the value. Its bytes are that connection's alone until they are
//! published under the writer lock. Filling a reservation takes no lock; dropping one takes the lock of the list of abandoned
//! memory (`shared`).
//!
//! If a value has stalled and others wait for memory, its reservation gives its memory up, and the rest of the value is
//! discarded.
//!
//! Reserved memory keeps its placement (a segment or a large extent) from being evicted and reused, and a client may announce a
//! value and never send it. So reservations may hold only a part of memory. Further values are received into buffers, each at
//! most twice as long as what has arrived, and all together at most another part of the same size.

#![expect(unsafe_code, reason = "lends item memory to the kernel beyond a borrow")]

mod shared;

use super::item::{self, Layout, value_at};
use super::item_ref::ItemRef;
use super::segment_table::Queue;
pub(super) use shared::SharedReservations;
use std::ptr::NonNull;
use std::sync::Arc;

/// Initial length of a buffer, bytes; less for a shorter value.
const BUFFER_BYTES_MIN: usize = 16 * 1024;

/// An allocated item that nobody can find yet. Dropping it unpublished frees its memory.
#[derive(Debug)]
pub(super) struct ReservedItem {
    shared: Arc<SharedReservations>,
    item: ItemRef,
    at: NonNull<u8>,
    layout: Layout,
    /// The queue that was chosen for the item. Unless the item is large, its memory is in a segment of that queue.
    queue: Queue,
    published: bool,
    /// True if the item's value is longer than all other reservations together may be.
    is_alone: bool,
}

// SAFETY: the reserved bytes belong to this value alone until it is published.
unsafe impl Send for ReservedItem {}

impl ReservedItem {
    /// A reserved item whose head has been written, and which is counted as a reservation of its segment or extent.
    pub(super) fn new(
        shared: &Arc<SharedReservations>,
        item: ItemRef,
        layout: Layout,
        queue: Queue,
        is_alone: bool,
    ) -> Self {
        let at = shared.arena().address(item);
        Self { shared: Arc::clone(shared), item, at, layout, queue, published: false, is_alone }
    }

    pub(super) fn item(&self) -> ItemRef {
        self.item
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue
    }

    /// Ends the reservation without freeing the memory, because the item has been published.
    pub(super) fn publish(mut self) {
        self.published = true;
        self.unreserve();
    }

    fn unreserve(&self) {
        self.shared.arena().unreserve(self.at);
        if self.is_alone {
            self.shared.set_lone_bytes(0);
        }
    }

    fn value_at(&self) -> NonNull<u8> {
        // SAFETY: the whole item of `layout` at `at` is this value's.
        unsafe { value_at(self.at, self.layout) }
    }

    /// The first `filled` bytes of the value, which must have been written.
    fn bytes(&self, filled: usize) -> &[u8] {
        assert!(filled <= self.layout.value_bytes, "a value is not longer than its item");
        // SAFETY: the bytes are inside the item (asserted), have been written, and are this value's.
        unsafe { NonNull::slice_from_raw_parts(self.value_at(), filled).as_ref() }
    }

    /// Where the value's bytes from offset `filled` on are to be written: address and length.
    fn spare(&mut self, filled: usize) -> (NonNull<u8>, usize) {
        assert!(filled <= self.layout.value_bytes, "a value is not longer than its item");
        // SAFETY: `filled` is at most the value's length (asserted), so the result is inside the item or just after it.
        let at = unsafe { self.value_at().add(filled) };
        (at, self.layout.value_bytes - filled)
    }

    /// Writes `from`, or as much of it as fits, after the first `filled` bytes of the value. Returns how many bytes it has
    /// written.
    pub(super) fn fill(&mut self, filled: usize, from: &[u8]) -> usize {
        let (to, room) = self.spare(filled);
        let count = room.min(from.len());
        // SAFETY: `spare` is `room` bytes of this value; `from` is a shared slice, so it is not among them.
        unsafe { item::copy(to, &from[..count]) };
        count
    }
}

impl Drop for ReservedItem {
    fn drop(&mut self) {
        if !self.published {
            // In this order, because an abandoned large extent may be reused immediately, with its counts.
            self.unreserve();
            self.shared.abandon(self.item, self.layout);
        }
    }
}

/// Memory outside of the arena that a value is received into. The length of `bytes` is how much has arrived.
#[derive(Debug)]
struct Buffer {
    shared: Arc<SharedReservations>,
    /// The value's key, for which item memory is reserved later.
    key: Box<[u8]>,
    bytes: Vec<u8>,
    /// Bytes that [`SharedReservations::charge_buffer`] has counted for this buffer.
    charged: u64,
}

impl Buffer {
    fn new(shared: &Arc<SharedReservations>, key: &[u8]) -> Self {
        Self { shared: Arc::clone(shared), key: key.into(), bytes: Vec::new(), charged: 0 }
    }

    /// Makes the buffer twice as long as what has arrived, but no longer than `value_bytes`. False if buffers may take no more
    /// memory.
    fn grow(&mut self, value_bytes: usize) -> bool {
        let wanted = (2 * self.bytes.len()).max(BUFFER_BYTES_MIN).min(value_bytes);
        let more = (wanted as u64).saturating_sub(self.charged);
        if !self.shared.charge_buffer(more) {
            return false;
        }
        self.charged += more;
        self.bytes.reserve_exact(wanted - self.bytes.len());
        true
    }

    fn spare(&mut self) -> (*mut u8, usize) {
        let spare = self.bytes.spare_capacity_mut();
        (spare.as_mut_ptr().cast(), spare.len())
    }

    fn advance(&mut self, count: usize) {
        let filled = self.bytes.len() + count;
        assert!(filled <= self.bytes.capacity(), "no more than the room that was lent");
        // SAFETY: the caller has written `count` bytes to the front of the spare room, which is that long (asserted).
        unsafe { self.bytes.set_len(filled) };
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.shared.discharge_buffer(self.charged);
    }
}

/// The memory that a value is received into.
#[derive(Debug)]
enum Body {
    ReservedItem(ReservedItem),
    Buffer(Buffer),
    /// No memory: the reservation has been given up.
    Nothing,
}

/// A value that is being received. Dropping the reservation frees its memory.
#[derive(Debug)]
pub struct Reservation {
    body: Body,
    value_bytes: usize,
    filled: usize,
}

impl Reservation {
    pub(super) fn reserved(reserved: ReservedItem) -> Self {
        let value_bytes = reserved.layout.value_bytes;
        Self { body: Body::ReservedItem(reserved), value_bytes, filled: 0 }
    }

    /// A reservation in a buffer. `None` if buffers may take no more memory now, or could never take all of the value.
    pub(super) fn buffered(shared: &Arc<SharedReservations>, key: &[u8], value_bytes: usize) -> Option<Self> {
        if value_bytes as u64 > shared.buffer_bytes_max() {
            return None;
        }
        let mut buffer = Buffer::new(shared, key);
        buffer.grow(value_bytes).then_some(Self { body: Body::Buffer(buffer), value_bytes, filled: 0 })
    }

    /// Frees the memory, because other values wait for it. What still arrives of this value is discarded, and the write is
    /// refused at its end.
    pub fn give_up(&mut self) {
        self.body = Body::Nothing;
    }

    /// True after [`Reservation::give_up`].
    pub fn is_given_up(&self) -> bool {
        matches!(self.body, Body::Nothing)
    }

    /// The item memory that the value is received into; `None` if it is received into a buffer or discarded.
    pub(super) fn as_reserved(&self) -> Option<&ReservedItem> {
        if let Body::ReservedItem(reserved) = &self.body { Some(reserved) } else { None }
    }

    /// Ends the reservation without freeing the item's memory, because the item has been published.
    pub(super) fn publish(self) {
        if let Body::ReservedItem(reserved) = self.body {
            reserved.publish();
        }
    }

    /// Length of the whole value, bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a reservation is never empty: short values are not reserved"
    )]
    pub fn len(&self) -> usize {
        self.value_bytes
    }

    /// The number of bytes received so far.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The bytes received so far; none after [`Reservation::give_up`].
    pub fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::ReservedItem(reserved) => reserved.bytes(self.filled),
            Body::Buffer(buffer) => &buffer.bytes,
            Body::Nothing => &[],
        }
    }

    /// True if the value is incomplete and its buffer is full. Then the caller has to call
    /// [`Fresh::extend`](super::Fresh::extend).
    pub fn needs_room(&self) -> bool {
        match &self.body {
            Body::ReservedItem(_) | Body::Nothing => false,
            Body::Buffer(buffer) => {
                self.filled < self.value_bytes && buffer.bytes.len() == buffer.bytes.capacity()
            }
        }
    }

    /// The key of a value that is received into a buffer, to reserve item memory for it; `None` for any other value.
    pub(super) fn unplaced_key(&self) -> Option<Box<[u8]>> {
        if let Body::Buffer(buffer) = &self.body { Some(buffer.key.clone()) } else { None }
    }

    /// Makes room in a buffer that is full; false if buffers may take no more memory. True, and nothing happens, if there is no
    /// buffer.
    pub(super) fn grow(&mut self) -> bool {
        match &mut self.body {
            Body::ReservedItem(_) | Body::Nothing => true,
            Body::Buffer(buffer) => buffer.grow(self.value_bytes),
        }
    }

    /// Moves the bytes received so far from the buffer to `reserved`, which is memory for the same value. What still arrives
    /// goes there too.
    pub(super) fn move_to(&mut self, mut reserved: ReservedItem) {
        assert_eq!(reserved.layout.value_bytes, self.value_bytes, "the memory is for this value");
        let moved = reserved.fill(0, self.bytes());
        assert_eq!(moved, self.filled, "all of it fits");
        self.body = Body::ReservedItem(reserved);
    }

    /// Appends `from`, or as much of it as there is room for. Returns how many bytes it has taken.
    pub fn fill(&mut self, from: &[u8]) -> usize {
        let count = match &mut self.body {
            Body::ReservedItem(reserved) => reserved.fill(self.filled, from),
            Body::Buffer(buffer) => {
                let room = (buffer.bytes.capacity() - buffer.bytes.len()).min(self.value_bytes - self.filled);
                let count = room.min(from.len());
                buffer.bytes.extend_from_slice(&from[..count]);
                count
            }
            Body::Nothing => from.len().min(self.value_bytes - self.filled),
        };
        self.filled += count;
        count
    }

    /// Where the kernel may write the next bytes: address and length. Valid until the reservation is used again or dropped. The
    /// length is 0 after [`Reservation::give_up`].
    pub fn spare(&mut self) -> (*mut u8, usize) {
        match &mut self.body {
            Body::ReservedItem(reserved) => {
                let (at, room) = reserved.spare(self.filled);
                (at.as_ptr(), room)
            }
            Body::Buffer(buffer) => {
                let (at, room) = buffer.spare();
                (at, room.min(self.value_bytes - self.filled))
            }
            Body::Nothing => (NonNull::dangling().as_ptr(), 0),
        }
    }

    /// Declares that `count` more bytes have been written to the front of [`Reservation::spare`].
    ///
    /// # Panics
    /// If `count` is greater than the length of that room.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.value_bytes - self.filled, "no more than the room that was lent");
        if let Body::Buffer(buffer) = &mut self.body {
            buffer.advance(count);
        }
        self.filled += count;
    }
}
