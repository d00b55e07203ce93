//! Writes new items into memory that belongs to the caller alone until the item is published.

#![expect(unsafe_code, reason = "writes items into the mapping")]

use super::Item;
use super::format::{
    ALIVE, CAS_BITS, CAS_LOW, CAS_MASK, CAS_MIDDLE, EXPTIME, EXTENSION_BYTES, FLAGS_BYTES, HEADER_BYTES,
    HITS_MAX, HITS_SHIFT, KEY_LENGTH, LAST_ACCESS, Layout, MARK_BINARY_KEY, MARK_EXTENDED, MARK_FLAGS,
    MARK_STALE, MARK_WON, MARKS, STUB, VALUE_LENGTH,
};
use crate::clock::Timestamp;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

const PAGE_BYTES: usize = 4096;
/// A long copy is made in pieces if the target's offset in its page exceeds the source's offset in its page by less than this,
/// bytes.
const SLOW_DISTANCE: usize = 64;
/// Length of a piece, bytes: short enough that `memcpy` copies it without `rep movs`.
const PIECE_BYTES: usize = 1024;

/// The fields that a new item has besides its key and its value.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Fields {
    pub(in crate::store) flags: u32,
    pub(in crate::store) exptime: Timestamp,
    pub(in crate::store) last_access: Timestamp,
    pub(in crate::store) cas: u64,
    pub(in crate::store) stale: bool,
    pub(in crate::store) won: bool,
    pub(in crate::store) key_is_binary: bool,
    pub(in crate::store) hits: u8,
    /// True for a stub: the bytes after the key are not the value but its [`Place`](crate::store::Place) on flash.
    pub(in crate::store) is_stub: bool,
}

/// Writes the header and the key of an item at `at`, but not its value.
///
/// # Safety
/// - `at` is a multiple of 4 and starts `layout.bytes()` bytes of the mapping that the caller alone can reach.
pub(in crate::store) unsafe fn write_head(at: NonNull<u8>, layout: Layout, key: &[u8], fields: &Fields) {
    assert!(key.len() == layout.key_bytes && at.as_ptr().addr().is_multiple_of(4), "as laid out");
    let mut head = [0; HEADER_BYTES + FLAGS_BYTES + EXTENSION_BYTES];
    head[EXPTIME..EXPTIME + 4].copy_from_slice(&fields.exptime.0.to_ne_bytes());
    head[LAST_ACCESS..LAST_ACCESS + 4].copy_from_slice(&fields.last_access.0.to_ne_bytes());
    head[CAS_LOW..CAS_LOW + 4].copy_from_slice(&(fields.cas as u32).to_ne_bytes());
    let stub = if fields.is_stub { STUB } else { 0 };
    let middle = (fields.cas >> 32) as u16 & CAS_MASK | stub;
    head[CAS_MIDDLE..CAS_MIDDLE + 2].copy_from_slice(&middle.to_ne_bytes());
    head[VALUE_LENGTH..VALUE_LENGTH + 2].copy_from_slice(&(layout.value_bytes as u16).to_ne_bytes());
    head[KEY_LENGTH] = layout.key_bytes as u8;
    let mark = |on: bool, mark: u8| if on { mark } else { 0 };
    head[MARKS] = mark(layout.has_flags, MARK_FLAGS)
        | mark(layout.extended, MARK_EXTENDED)
        | mark(fields.key_is_binary, MARK_BINARY_KEY)
        | mark(fields.stale, MARK_STALE)
        | mark(fields.won, MARK_WON)
        | fields.hits.min(HITS_MAX) << HITS_SHIFT;
    let mut end = HEADER_BYTES;
    if layout.has_flags {
        head[end..end + 4].copy_from_slice(&fields.flags.to_ne_bytes());
        end += FLAGS_BYTES;
    }
    if layout.extended {
        head[end..end + 4].copy_from_slice(&((layout.value_bytes >> 16) as u32).to_ne_bytes());
        head[end + 4..end + 8].copy_from_slice(&((fields.cas >> CAS_BITS) as u32).to_ne_bytes());
    }
    // SAFETY: the caller owns `layout.bytes()` bytes at `at`; head and key are the first `key_at() + key_bytes` of them.
    unsafe { at.copy_from_nonoverlapping(NonNull::from(&head).cast(), layout.key_at()) };
    // SAFETY: as above.
    unsafe { at.add(layout.key_at()).copy_from_nonoverlapping(NonNull::from(key).cast(), key.len()) };
}

impl Item<'_> {
    /// Writes a copy of the item at `to`: the same but for its hits, and not alive yet in a memory file.
    ///
    /// # Safety
    /// - `to` is a multiple of 4 and starts as many bytes of the mapping as the item has; the caller alone can reach them.
    /// - `layout` is the item's.
    pub(in crate::store) unsafe fn copy_to(&self, to: NonNull<u8>, layout: Layout, hits: u8) {
        assert!(to.as_ptr().addr().is_multiple_of(4), "items are aligned");
        let mut head = [0; HEADER_BYTES];
        head[EXPTIME..EXPTIME + 4].copy_from_slice(&self.exptime().0.to_ne_bytes());
        head[LAST_ACCESS..LAST_ACCESS + 4].copy_from_slice(&self.last_access().0.to_ne_bytes());
        head[CAS_LOW..CAS_LOW + 4].copy_from_slice(&self.u32(CAS_LOW).to_ne_bytes());
        let middle = self.cas_middle().load(Ordering::Relaxed) & !ALIVE;
        head[CAS_MIDDLE..CAS_MIDDLE + 2].copy_from_slice(&middle.to_ne_bytes());
        head[VALUE_LENGTH..VALUE_LENGTH + 2].copy_from_slice(&self.u16(VALUE_LENGTH).to_ne_bytes());
        head[KEY_LENGTH] = layout.key_bytes as u8;
        let marks = self.marks().load(Ordering::Relaxed);
        head[MARKS] = marks & !(HITS_MAX << HITS_SHIFT) | hits.min(HITS_MAX) << HITS_SHIFT;
        // SAFETY: the caller owns `layout.bytes()` bytes at `to`, of which these are the first.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(&head).cast(), HEADER_BYTES) };
        // The rest of an item never changes.
        let rest = self.bytes(HEADER_BYTES, layout.bytes() - HEADER_BYTES);
        // SAFETY: as above; the item, which others can reach, is not where the caller writes.
        unsafe { copy(to.add(HEADER_BYTES), rest) };
    }
}

/// Copies `parts`, one after the other, into the value of the item at `at`.
///
/// # Safety
/// - `at` starts an item of `layout` that the caller alone can reach.
/// - `parts` do not lie in that item.
pub(in crate::store) unsafe fn write_value(at: NonNull<u8>, layout: Layout, parts: [&[u8]; 2]) {
    assert_eq!(parts[0].len() + parts[1].len(), layout.value_bytes, "the parts are the value");
    let mut offset = layout.key_at() + layout.key_bytes;
    for part in parts {
        // SAFETY: the parts together are `value_bytes` long (asserted), which is what the item has from `offset` on.
        unsafe { copy(at.add(offset), part) };
        offset += part.len();
    }
}

/// Copies `from` to `to`.
///
/// `rep movs`, which `memcpy` uses for long copies, takes up to fifteen times as long if the target's offset in its page is a
/// few bytes greater than the source's: the processor takes each load for one of the bytes that it has just stored. Prepending
/// a few bytes to a large value does that every time, because the value begins at the same offset in a page as its old version.
/// Then the copy is made in pieces that are short enough to be copied without `rep movs`.
///
/// # Safety
/// - `to` starts `from.len()` bytes that the caller alone can reach, and none of them is in `from`.
#[inline]
pub(in crate::store) unsafe fn copy(to: NonNull<u8>, from: &[u8]) {
    let distance = to.addr().get().wrapping_sub(from.as_ptr().addr()) % PAGE_BYTES;
    if from.len() > PIECE_BYTES && (1..SLOW_DISTANCE).contains(&distance) {
        // SAFETY: asked of the caller.
        unsafe { copy_in_pieces(to, from) };
    } else {
        // SAFETY: asked of the caller.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
    }
}

/// # Safety
/// The same as for [`copy`].
#[cold]
unsafe fn copy_in_pieces(to: NonNull<u8>, from: &[u8]) {
    for (n, piece) in from.chunks(PIECE_BYTES).enumerate() {
        // SAFETY: the pieces together are `from`, so each lands within its bytes (caller of `copy`).
        let at = unsafe { to.add(n * PIECE_BYTES) };
        // SAFETY: as above.
        unsafe { at.copy_from_nonoverlapping(NonNull::from(piece).cast(), piece.len()) };
    }
}

/// The address of the value of an item of `layout` at `at`.
///
/// # Safety
/// - `at` starts `layout.bytes()` bytes of the mapping.
pub(in crate::store) unsafe fn value_at(at: NonNull<u8>, layout: Layout) -> NonNull<u8> {
    // SAFETY: the value lies inside the item (caller).
    unsafe { at.add(layout.key_at() + layout.key_bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_whole_at_every_distance() {
        let from: Vec<u8> = (0..9_000_u32).map(|n| (n % 251) as u8).collect();
        let mut to = vec![0; from.len() + 2 * PAGE_BYTES];
        let apart =
            (from.as_ptr().addr() % PAGE_BYTES).wrapping_sub(to.as_ptr().addr() % PAGE_BYTES) % PAGE_BYTES;
        for distance in [0, 1, 8, 63, 64, 4095] {
            for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 9_000] {
                let at = apart + distance;
                to.fill(0);
                // SAFETY: two vectors; `to` has room for `length` bytes from `at` on.
                unsafe { copy(NonNull::from(&mut to[at..at + length]).cast(), &from[..length]) };
                assert_eq!(&to[at..at + length], &from[..length], "{length} bytes, {distance} apart");
                assert!(to[..at].iter().chain(&to[at + length..]).all(|&byte| byte == 0), "nothing else");
            }
        }
    }
}
