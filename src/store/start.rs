//! The options of a store, and the outcome of a start: an error, or what was found in the memory file. Plain data, read once at
//! the start.

use super::flash::FlashOptions;
use super::memory_file::MemoryFile;
use crate::classes::Classes;
use nix::errno::Errno;
use std::time::Duration;

/// The options of a store.
#[derive(Debug)]
pub struct Options {
    /// The limit (`-m`), bytes: bounds all memory that grows with items.
    pub memory_limit: u64,
    /// The size of the largest item (`-I`), bytes, as memcached counts an item ([`crate::classes::item_bytes`]).
    pub item_size_max: u64,
    /// True if the store may evict; false with `-M`.
    pub evict: bool,
    /// Number of rings; each takes one shard, its handle on the store.
    pub rings: usize,
    /// Number of replicas, at least 1 and at most as many as there are rings: neighbouring rings share one.
    pub replicas: usize,
    /// The size classes that items are counted by.
    pub classes: Classes,
    /// Seed that makes the key hash the same in every run, for tests; `None` for random secrets.
    pub seed: Option<u64>,
    /// Capacity of the log in deltas, a power of two; `None` for the default. Tests use short logs.
    pub log_entries: Option<usize>,
    /// Address space to reserve, bytes; `None` for as much as the other options need. Tests set a small one.
    pub address_space: Option<u64>,
    /// The file that contains all items (`-e`), opened for the same limits as these options. `None` for memory that ends with
    /// the process.
    pub memory_file: Option<MemoryFile>,
    /// The flash tier (`ext_path`), for values that memory has no room for; `None` for a store without one.
    pub flash: Option<FlashOptions>,
}

/// Why a store cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The address space could not be reserved.
    AddressSpace {
        /// The limit (`-m`) for which the address space was to be reserved, bytes.
        memory_limit: u64,
        /// The error of the kernel.
        errno: Errno,
    },
    /// The memory file could not be given its length.
    MemoryFileLength {
        /// The length that the file needs, bytes.
        bytes: u64,
        /// The error of the kernel.
        errno: Errno,
    },
    /// The file system of the memory file could not give it the memory of `-m`.
    MemoryFileRoom {
        /// Bytes of memory that were asked for.
        bytes: u64,
        /// The error of the kernel.
        errno: Errno,
    },
    /// The memory file could not be mapped.
    MemoryFileMap {
        /// The length of the file, bytes.
        bytes: u64,
        /// The error of the kernel.
        errno: Errno,
    },
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: &u64| bytes >> 20;
        match self {
            Self::AddressSpace { memory_limit, errno } => write!(
                f,
                "failed to reserve address space for -m {}: {errno}; lower -m or raise `ulimit -v`",
                mib(memory_limit)
            ),
            Self::MemoryFileLength { bytes, errno } => write!(
                f,
                "failed to make the memory file {} MB long: {errno}; lower -m or raise `ulimit -f`",
                mib(bytes)
            ),
            Self::MemoryFileRoom { bytes, errno: Errno::EOPNOTSUPP } => write!(
                f,
                "failed to reserve {} MB for the memory file: its file system cannot (fallocate); use one on tmpfs",
                mib(bytes)
            ),
            Self::MemoryFileRoom { bytes, errno } => write!(
                f,
                "failed to reserve {} MB for the memory file: {errno}; lower -m or make room on its file system",
                mib(bytes)
            ),
            Self::MemoryFileMap { bytes, errno } => {
                write!(f, "failed to map {} MB of the memory file: {errno}", mib(bytes))
            }
        }
    }
}

impl std::error::Error for StartError {}

/// What a start found in the memory file.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Number of items that were restored.
    pub items: u64,
    /// Bytes of the restored items, as memcached counts them.
    pub bytes: u64,
    /// How long the start took to open, check and restore the file.
    pub elapsed: Duration,
    /// Whether the file was new, was restored, or was rejected.
    pub outcome: RestoreOutcome,
    /// Items that were not restored, because their values could not be found on flash; `None` if there are none.
    pub lost_on_flash: Option<LostOnFlash>,
}

/// Items that were not restored, because their values could not be found on flash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostOnFlash {
    /// Number of items whose values could not be found on flash.
    pub items: u64,
    /// Why the values could not be found, for the log.
    pub why: String,
}

/// What became of a memory file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// The file was empty, so the store begins without items.
    New,
    /// The store begins with the items of the file.
    Restored,
    /// The file could not be used and was emptied. The text says why.
    Rejected(String),
}
