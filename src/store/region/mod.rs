//! The reserved mapping that contains every item: address space is reserved at the start, memory is taken as items fill it.
//!
//! ```text
//! offset 0        one unused segment, so that offset 0 can mean "no item"
//!        ...      segments 1, 2, 3, … of one size
//! large_base ...  extents of whole pages, one large item each
//! ```
//!
//! The two parts of a memory file (headers and item memory) are regions too, mapped shared. The file's memory is claimed before
//! it is touched ([`Region::commit`]), because touching a page for which the file system has no room would kill the process.
//!
//! Relies on anonymous memory being zero and on the kernel overcommitting a `MAP_NORESERVE` mapping; where address
//! space is limited (`ulimit -v`, strict overcommit) the caller asks for less.
//!
//! A region belongs to the arena, or to the headers of a memory file, and stays mapped until that is dropped. It has no lock and
//! does not know what it holds: the modules above decide who may touch which bytes.

#![expect(unsafe_code, reason = "owns the mapping and hands out its addresses")]

pub(in crate::store) mod file_space;
#[cfg_attr(miri, path = "heap.rs")]
#[cfg_attr(not(miri), path = "mapped.rs")]
mod pages;

use std::fs::File;
use std::ptr::NonNull;

/// A mapping of address space.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<u8>,
    bytes: usize,
    /// The file that is mapped, and the offset in it at which the mapping begins, bytes; `None` for anonymous memory.
    backing: Option<(File, u64)>,
}

// SAFETY: the mapping belongs to the process, not to a thread; `item` argues who may touch which bytes, and when.
unsafe impl Send for Region {}
// SAFETY: as above; `Region` itself has no interior state.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves `bytes` of address space; no memory is used yet.
    pub(super) fn reserve(bytes: usize) -> nix::Result<Self> {
        Ok(Self { base: pages::reserve(bytes)?, bytes, backing: None })
    }

    /// Maps `bytes` of `file` from `offset` on. The mapping is shared: stores to it change the file.
    pub(super) fn map(file: &File, offset: u64, bytes: u64) -> nix::Result<Self> {
        let file = file.try_clone().map_err(|error| errno_of(&error))?;
        let base = pages::map(&file, offset, bytes as usize)?;
        Ok(Self { base, bytes: bytes as usize, backing: Some((file, offset)) })
    }

    /// Makes sure that whole pages of the mapped file have memory. Does nothing for anonymous memory; if none of that is left
    /// when a page is touched, the kernel kills the process.
    ///
    /// # Errors
    /// The file system has no room.
    pub(super) fn commit(&self, offset: u64, bytes: u64) -> nix::Result<()> {
        assert!(offset + bytes <= self.bytes as u64, "range is inside the mapping");
        let Some((file, start)) = &self.backing else { return Ok(()) };
        file_space::allocate(file, start + offset, bytes)
    }

    /// Free bytes of the mapped file's file system; `u64::MAX` for anonymous memory.
    pub(super) fn available(&self) -> u64 {
        self.backing.as_ref().map_or(u64::MAX, |(file, _)| file_space::available(file))
    }

    /// Writes the file to its device; does nothing for anonymous memory.
    pub(super) fn sync(&self) -> nix::Result<()> {
        self.backing.as_ref().map_or(Ok(()), |(file, _)| file.sync_all().map_err(|error| errno_of(&error)))
    }

    /// Enters whole pages into the page table in one call, before they are read, if the kernel can do that.
    pub(super) fn load(&self, offset: u64, bytes: u64) {
        assert!(offset + bytes <= self.bytes as u64, "range is inside the mapping");
        pages::load(self.at(offset), bytes as usize);
    }

    /// Gives free pages of the heap back to the kernel, if the C library can.
    #[expect(clippy::unused_self, reason = "memory is got and given back here only")]
    pub(super) fn trim_heap(&self) {
        pages::trim_heap();
    }

    /// The address of `offset`.
    ///
    /// # Panics
    /// If `offset` is outside the mapping.
    #[inline]
    pub(super) fn at(&self, offset: u64) -> NonNull<u8> {
        assert!((offset as usize) < self.bytes, "offset is inside the mapping");
        // SAFETY: the line above keeps the result inside the one mapping that `base` starts.
        unsafe { self.base.add(offset as usize) }
    }

    /// Asks the kernel to use large pages for the first `bytes` of the mapping. Fails if the kernel refuses.
    pub(super) fn advise_large_pages(&self, bytes: u64) -> nix::Result<()> {
        assert!(bytes <= self.bytes as u64, "range is inside the mapping");
        pages::advise_large(self.base, bytes as usize)
    }

    /// Gives the memory of whole pages back to the kernel; they read as zero afterwards.
    ///
    /// The caller owns the range: no item in it is reachable any more.
    pub(super) fn discard(&self, offset: u64, bytes: u64) {
        assert!(offset + bytes <= self.bytes as u64, "range is inside the mapping");
        if let Some((file, start)) = &self.backing {
            file_space::free(file, start + offset, bytes);
            return;
        }
        // SAFETY: the range lies in our own mapping; the caller gave up every reference into it.
        unsafe { pages::discard(self.at(offset), bytes as usize) };
    }
}

fn errno_of(error: &std::io::Error) -> nix::errno::Errno {
    nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `base` and `bytes` are the mapping made in `reserve` or `map`; pins and reservations hold the store, so no pin
        // and no reservation is left.
        unsafe { pages::release(self.base, self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "the heap has no more than there is")]
    fn reserves_more_than_there_is_memory_and_reads_zero() {
        let region = Region::reserve(1 << 40).unwrap();
        let last = region.at((1 << 40) - 1);
        // SAFETY: inside the mapping, nobody else holds it.
        assert_eq!(unsafe { last.read() }, 0);
    }

    #[test]
    #[should_panic(expected = "inside the mapping")]
    fn refuses_what_is_outside() {
        Region::reserve(4096).unwrap().at(4096);
    }
}
