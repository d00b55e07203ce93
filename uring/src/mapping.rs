//! Memory mapped for the kernel to write to. A mapping belongs to the arena or the ring of free buffers of one ring.
#![expect(unsafe_code, reason = "memory is mapped and unmapped by address")]

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// An anonymous mapping, which is zeroed at first and unmapped when it is dropped.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: NonZeroUsize,
}

impl Mapping {
    pub(crate) fn new(len: NonZeroUsize) -> io::Result<Self> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { mmap_anonymous(None, len, protection, MapFlags::MAP_PRIVATE) }?;
        // A huge page would be resident as a whole. Kernels without huge pages refuse the advice, which does no harm.
        // SAFETY: the range is the mapping just made; the advice changes no contents.
        let _ = unsafe { madvise(start, len.get(), MmapAdvise::MADV_NOHUGEPAGE) };
        Ok(Self { start: start.cast(), len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping, and its last owner is being dropped. If the mapping is still
        // registered with the kernel, the kernel holds the pages themselves, not these addresses.
        let _ = unsafe { munmap(self.start.cast(), self.len.get()) };
    }
}
