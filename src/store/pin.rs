//! Holding item memory: a pin keeps a value's bytes for a send, a draft is a value on its way in.
//!
//! A pin is one count on the item's home (its segment, or its large extent); memory whose count is not zero is not
//! reused. Dropping either touches counters only, so it may happen inside a completion.

#![expect(unsafe_code, reason = "lends item memory to the kernel beyond a borrow")]

use super::Store;
use super::counts::Counts;
use super::item::{Layout, value_at};
use super::item_ref::ItemRef;
use super::ledger::Queue;
use std::ptr::NonNull;
use std::sync::Arc;

/// A value's bytes, held for a send.
#[derive(Debug)]
pub struct Pin {
    store: Arc<Store>,
    at: NonNull<u8>,
    value: NonNull<[u8]>,
}

// SAFETY: the bytes are immutable while pinned and the counter is atomic, so any thread may read and drop a pin.
unsafe impl Send for Pin {}

impl Pin {
    /// Pins the item at `at`. The caller holds a borrow of it, so its home cannot be reused before the count is up.
    pub(super) fn new(store: &Arc<Store>, at: NonNull<u8>, value: &[u8]) -> Self {
        store.space.count(at, Counts::pin);
        Self { store: Arc::clone(store), at, value: NonNull::from(value) }
    }

    /// The value.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the pin keeps the home from being reused and an item's value never changes.
        unsafe { self.value.as_ref() }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.space.count(self.at, Counts::unpin);
    }
}

/// Item memory reserved for a value; dropping it unpublished gives the memory back.
#[derive(Debug)]
pub struct Draft {
    store: Arc<Store>,
    item: ItemRef,
    at: NonNull<u8>,
    layout: Layout,
    /// Where it was decided to go: its memory lies in a segment of this queue.
    queue: Queue,
    filled: usize,
    published: bool,
}

// SAFETY: the reserved bytes belong to this draft alone until it is published.
unsafe impl Send for Draft {}

impl Draft {
    /// A draft over an allocated item whose head has been written and whose home's draft count includes it.
    pub(super) fn new(store: &Arc<Store>, item: ItemRef, layout: Layout, queue: Queue) -> Self {
        let at = store.address(item);
        Self { store: Arc::clone(store), item, at, layout, queue, filled: 0, published: false }
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

    /// The item has been published (or given up under the writer lock): its memory is no longer the draft's.
    pub(super) fn publish(mut self) {
        self.published = true;
        self.store.space.count(self.at, Counts::undraft);
    }

    fn value_at(&self) -> NonNull<u8> {
        // SAFETY: the draft owns the whole item of `layout` at `at`.
        unsafe { value_at(self.at, self.layout) }
    }

    /// Length of the whole value, bytes.
    #[expect(clippy::len_without_is_empty, reason = "a draft is never empty: short values are not drafted")]
    pub fn len(&self) -> usize {
        self.layout.value_bytes
    }

    /// Bytes received so far.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The bytes received so far.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `filled` bytes of the value have been written and the draft owns them.
        unsafe { NonNull::slice_from_raw_parts(self.value_at(), self.filled).as_ref() }
    }

    /// Appends as many bytes of `from` as still fit; returns how many.
    pub fn fill(&mut self, from: &[u8]) -> usize {
        let (to, room) = self.spare();
        let count = room.min(from.len());
        // SAFETY: `spare` is `room` bytes that the draft owns; `from` is a shared slice, so it is not among them.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), count) };
        self.filled += count;
        count
    }

    /// Where the kernel may write the rest: address and length. Valid as long as the draft lives.
    pub fn spare(&mut self) -> (*mut u8, usize) {
        // SAFETY: `filled` is at most the value's length, so the result is inside the item or just behind it.
        let at = unsafe { self.value_at().add(self.filled) };
        (at.as_ptr(), self.layout.value_bytes - self.filled)
    }

    /// `count` more bytes have been written to the front of [`Draft::spare`].
    ///
    /// # Panics
    /// If that is more than the spare room.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.layout.value_bytes - self.filled, "no more than the room that was lent");
        self.filled += count;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // In this order: an abandoned large extent is reused at once, its counts with it.
            self.store.space.count(self.at, Counts::undraft);
            self.store.abandon(self.item, self.layout);
        }
    }
}
