//! For tests with a memory file: a file in memory, and stores that are opened over it one after the other, as processes would do.

use super::*;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The system's clock at the first start.
pub(super) const UNIX_NOW: u64 = 1_700_000_000;
const PAGE: usize = 4096;

/// A memory file.
pub(super) struct Disk {
    pub(super) file: File,
}

/// What the system says when a process starts: its clock, and the boot id, which changes when the machine is started again.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) unix_now: u64,
    pub(super) boot: u8,
}

impl At {
    pub(super) fn seconds_later(seconds: u64) -> Self {
        Self { unix_now: UNIX_NOW + seconds, boot: 1 }
    }
}

impl Disk {
    pub(super) fn new() -> Self {
        Self { file: File::from(memfd_create("memory-file", MFdFlags::empty()).unwrap()) }
    }

    /// A memory file that consists of these bytes.
    pub(super) fn with(bytes: &[u8]) -> Self {
        let disk = Self::new();
        disk.file.set_len(bytes.len() as u64).unwrap();
        for (at, page) in bytes.chunks(PAGE).enumerate() {
            if page.iter().any(|&byte| byte != 0) {
                disk.file.write_all_at(page, (at * PAGE) as u64).unwrap();
            }
        }
        disk
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.file.metadata().unwrap().len() as usize];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    pub(super) fn open(&self, options: &Options, at: At) -> Result<MemoryFile, MemoryFileError> {
        let occasion = Occasion {
            memory_limit: options.memory_limit,
            item_size_max: options.item_size_max,
            boot_id: [at.boot; 16],
            unix_now: at.unix_now,
            address_space: options.address_space,
        };
        MemoryFile::open(self.file.try_clone().unwrap(), &occasion)
    }

    /// The store of a process that starts with this file.
    pub(super) fn start(&self, options: Options, at: At) -> Arc<Store> {
        self.start_with(options, at, Box::new(Quiet))
    }

    pub(super) fn start_with(&self, options: Options, at: At, host: Box<dyn Host>) -> Arc<Store> {
        let memory_file = Some(self.open(&options, at).unwrap());
        Store::new(Options { memory_file, ..options }, host).unwrap()
    }
}
