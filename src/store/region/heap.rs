//! Under Miri, which does not support mappings: the same functions as in `mapped`, over memory from the heap. No state.

#![expect(unsafe_code, reason = "owns the allocation")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

fn layout(bytes: usize) -> nix::Result<Layout> {
    Layout::from_size_align(bytes, 4096).map_err(|_| nix::errno::Errno::ENOMEM)
}

/// Allocates `bytes` of zeroed memory.
pub(super) fn reserve(bytes: usize) -> nix::Result<NonNull<u8>> {
    assert!(bytes > 0, "something is reserved");
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { alloc_zeroed(layout(bytes)?) }).ok_or(nix::errno::Errno::ENOMEM)
}

/// Maps a file: not supported here.
pub(super) fn map(_file: &std::fs::File, _offset: u64, _bytes: usize) -> nix::Result<NonNull<u8>> {
    Err(nix::errno::Errno::ENODEV)
}

/// Loads a range: nothing to do.
pub(super) fn load(_start: NonNull<u8>, _bytes: usize) {}

/// Asks for large pages: nothing to do.
#[expect(clippy::unnecessary_wraps, reason = "mappings can refuse")]
pub(super) fn advise_large(_start: NonNull<u8>, _bytes: usize) -> nix::Result<()> {
    Ok(())
}

/// Gives memory of the heap back: nothing to do.
pub(super) fn trim_heap() {}

/// Makes the range read as zero.
///
/// # Safety
/// The range lies in one reservation, and nothing in it is referred to.
pub(super) unsafe fn discard(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller promises that the range is inside one reservation and that nobody refers to it.
    unsafe { start.write_bytes(0, bytes) };
}

/// Frees what [`reserve`] returned.
///
/// # Safety
/// `base` was returned by [`reserve`] for this length, and nothing in the range is referred to.
pub(super) unsafe fn release(base: NonNull<u8>, bytes: usize) {
    // SAFETY: allocated with this layout.
    unsafe { dealloc(base.as_ptr(), layout(bytes).expect("as at the reservation")) };
}
