//! Claims and frees the memory of a file, range by range (fallocate). No state of its own; the file belongs to its
//! [`Region`](super::Region).

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::File;

/// How often an interrupted call is retried.
const TRIES: u32 = 64;

#[cfg(test)]
thread_local! {
    /// For tests of a full file system: how many more bytes it gives to files of this thread; `None` for no limit.
    pub(in crate::store) static LEFT: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// Claims room on the file system for a range, so that touching it cannot fail. On an error nothing stays claimed.
pub(super) fn allocate(file: &File, offset: u64, bytes: u64) -> nix::Result<()> {
    #[cfg(test)]
    if let Some(left) = LEFT.get() {
        LEFT.set(Some(left.checked_sub(bytes).ok_or(Errno::ENOSPC)?));
    }
    let mut result = Err(Errno::EINTR);
    for _ in 0..TRIES {
        result = fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, offset as i64, bytes as i64);
        if result != Err(Errno::EINTR) {
            break;
        }
    }
    if result.is_err() {
        // Some file systems keep what they had allocated before the failure.
        free(file, offset, bytes);
    }
    result
}

/// Frees the memory of a range of the file, which reads as zero afterwards.
pub(super) fn free(file: &File, offset: u64, bytes: u64) {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    for _ in 0..TRIES {
        if fallocate(file, flags, offset as i64, bytes as i64) != Err(Errno::EINTR) {
            // On failure the memory stays with the file, and is reused.
            return;
        }
    }
}

/// Free bytes of the file system that holds `file`; 0 if they cannot be found out.
pub(super) fn available(file: &File) -> u64 {
    #[cfg(test)]
    if let Some(left) = LEFT.get() {
        return left;
    }
    nix::sys::statvfs::fstatvfs(file).map_or(0, |system| system.blocks_available() * system.fragment_size())
}
