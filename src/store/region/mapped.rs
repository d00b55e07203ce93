//! Memory mapped by the kernel: address space is reserved first, and pages get memory when they are touched. System calls only;
//! the mapping belongs to its [`Region`](super::Region).

#![expect(unsafe_code, reason = "owns the mapping")]

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Once;

/// Reserves `bytes` of address space; no memory is used yet.
pub(super) fn reserve(bytes: usize) -> nix::Result<NonNull<u8>> {
    let length = NonZeroUsize::new(bytes).ok_or(Errno::EINVAL)?;
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice aliases nothing.
    let base = unsafe { mmap_anonymous(None, length, prot, flags) }?;
    Ok(base.cast())
}

/// Maps `bytes` of a file from `offset` on. The mapping is shared: stores to it change the file.
pub(super) fn map(file: &File, offset: u64, bytes: usize) -> nix::Result<NonNull<u8>> {
    let length = NonZeroUsize::new(bytes).ok_or(Errno::EINVAL)?;
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing in this process. The file is locked against
    // other memcrsd processes, and what other programs write to it appears here as mere bytes.
    let base = unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, file, offset as i64) }?;
    Ok(base.cast())
}

/// Enters all pages of a range into the page table in one call, before they are read. This is only a hint, and may fail.
pub(super) fn load(start: NonNull<u8>, bytes: usize) {
    const MADV_POPULATE_READ: i32 = 22;
    // SAFETY: the advice changes the contents of no memory, whosever it is.
    unsafe { libc::madvise(start.as_ptr().cast(), bytes, MADV_POPULATE_READ) };
}

/// Asks the kernel to use large pages for a range.
pub(super) fn advise_large(start: NonNull<u8>, bytes: usize) -> nix::Result<()> {
    // SAFETY: the advice changes the contents of no memory, whosever it is.
    unsafe { madvise(start.cast(), bytes, MmapAdvise::MADV_HUGEPAGE) }
}

/// Frees the memory of a range, but keeps its addresses. The range reads as zero afterwards.
///
/// # Safety
/// The range is whole pages of one reservation, and nothing in it is referred to.
pub(super) unsafe fn discard(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the range lies in a private mapping, and the caller gave up every reference into it.
    let mut result = unsafe { madvise(start.cast(), bytes, MmapAdvise::MADV_DONTNEED) };
    if result == Err(Errno::EINVAL) {
        // Locked memory (-k) needs different advice. Source: madvise(2).
        // SAFETY: as above.
        let refused = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED_LOCKED) };
        result = Errno::result(refused).map(drop);
    }
    if let Err(errno) = result {
        // On failure the memory stays ours, and is reused.
        static IS_TOLD: Once = Once::new();
        IS_TOLD.call_once(|| {
            tracing::warn!(
                "the kernel takes no memory back, so that more than -m may be in use: {}",
                errno.desc()
            );
        });
    }
}

/// Gives the kernel the pages of the heap that are wholly free, if the C library can.
pub(super) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: free memory of the heap is nobody's, and the C library locks it.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Unmaps what [`reserve`] or [`map`] returned.
///
/// # Safety
/// `base` was returned by [`reserve`] or [`map`] for this length, and nothing in the range is referred to.
pub(super) unsafe fn release(base: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller promises that this is a whole mapping and that nobody refers to it.
    let result = unsafe { munmap(base.cast(), bytes) };
    debug_assert!(result.is_ok(), "munmap of our own mapping");
}
