//! Reads the heads of items in a memory file, whose bytes may be corrupt in any way. For `restore`, when no ring runs yet.

use super::format::{
    ALIVE, CAS_BITS, CAS_LOW, CAS_MASK, CAS_MIDDLE, EXPTIME, EXTENSION_BYTES, FLAGS_BYTES, HEADER_BYTES,
    KEY_LENGTH, Layout, MARK_EXTENDED, MARK_FLAGS, MARKS, STUB, VALUE_LENGTH, extension_at,
};
use crate::clock::Timestamp;
use crate::limits::KEY_BYTES_MAX;
use crate::store::flash::{PLACE_BYTES, Place};
use crate::store::memory_file::durable;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The contents of an item's head: its header fields and its key.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Head<'a> {
    pub(in crate::store) layout: Layout,
    pub(in crate::store) key: &'a [u8],
    pub(in crate::store) flags: u32,
    pub(in crate::store) exptime: Timestamp,
    pub(in crate::store) cas: u64,
    pub(in crate::store) is_alive: bool,
    pub(in crate::store) is_stub: bool,
    /// Where a stub's value is on flash. `None` if the item is not a stub, or if its bytes are not as long as a place.
    pub(in crate::store) place: Option<Place>,
}

/// The `N` bytes of `head` from offset `at` on, as a little-endian number.
fn number<const N: usize>(head: &[u8], at: usize) -> u64 {
    head[at..at + N].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl Head<'_> {
    /// Reads the head of the item at `at`. `None` if the item would be longer than `room` bytes, or if its key has no valid
    /// length.
    ///
    /// # Safety
    /// - `at` is a multiple of 4, and starts `room` bytes of the mapping.
    /// - Nobody but [`mark_dead`] writes these bytes while the result lasts.
    #[inline]
    pub(in crate::store) unsafe fn read(at: NonNull<u8>, room: usize) -> Option<Self> {
        const LONGEST: usize = HEADER_BYTES + FLAGS_BYTES + EXTENSION_BYTES;
        let mut head = [0; LONGEST];
        let readable = room.min(LONGEST);
        // SAFETY: `readable` bytes are inside the `room` that the caller vouches for.
        unsafe { at.copy_to_nonoverlapping(NonNull::from(&mut head).cast(), readable) };
        let marks = head[MARKS];
        let (has_flags, extended) = (marks & MARK_FLAGS != 0, marks & MARK_EXTENDED != 0);
        let mut layout = Layout {
            key_bytes: usize::from(head[KEY_LENGTH]),
            value_bytes: number::<2>(&head, VALUE_LENGTH) as usize,
            has_flags,
            extended,
        };
        let middle = number::<2>(&head, CAS_MIDDLE) as u16;
        let mut cas = number::<4>(&head, CAS_LOW) | u64::from(middle & CAS_MASK) << 32;
        if extended {
            let at = extension_at(has_flags);
            layout.value_bytes |= (number::<4>(&head, at) as usize) << 16;
            cas |= number::<4>(&head, at + 4) << CAS_BITS;
        }
        if !(1..=KEY_BYTES_MAX).contains(&layout.key_bytes) || layout.bytes() > room {
            return None;
        }
        // SAFETY: header, key and value are inside the room (checked above), and keys are not written (caller).
        let key =
            unsafe { NonNull::slice_from_raw_parts(at.add(layout.key_at()), layout.key_bytes).as_ref() };
        let is_stub = middle & STUB != 0;
        let place = (is_stub && layout.value_bytes == PLACE_BYTES).then(|| {
            let mut place = [0; PLACE_BYTES];
            let value = layout.key_at() + layout.key_bytes;
            // SAFETY: the value is inside the room (see `key`), and not written (caller).
            unsafe { at.add(value).copy_to_nonoverlapping(NonNull::from(&mut place).cast(), PLACE_BYTES) };
            Place::from_bytes(&place)
        });
        Some(Self {
            layout,
            key,
            flags: if has_flags { number::<4>(&head, HEADER_BYTES) as u32 } else { 0 },
            exptime: Timestamp(number::<4>(&head, EXPTIME) as u32),
            cas,
            is_alive: middle & ALIVE != 0,
            is_stub,
            place: place.flatten(),
        })
    }
}

/// Clears the alive mark of the item at `at`, so that no later process finds the item.
///
/// # Safety
/// - `at` starts an item whose head has been read.
pub(in crate::store) unsafe fn mark_dead(at: NonNull<u8>) {
    // SAFETY: the address is even and inside the head (caller), and others access it only as an atomic, if at all.
    let middle: &AtomicU16 = unsafe { at.add(CAS_MIDDLE).cast().as_ref() };
    durable::store_short(middle, middle.load(Ordering::Relaxed) & !ALIVE);
}
