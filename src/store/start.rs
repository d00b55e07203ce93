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
    /// `-m`, bytes: bounds everything that grows with items.
    pub memory_limit: u64,
    /// `-I`, bytes, counted as memcached counts an item ([`crate::classes::item_bytes`]).
    pub item_size_max: u64,
    /// True without `-M`.
    pub evict: bool,
    /// Number of rings; each takes one shard, its handle on the store.
    pub rings: usize,
    /// Number of indexes, at least 1 and at most as many as there are rings: neighbouring rings share one.
    pub replicas: usize,
    /// Size classes for the per-class counters.
    pub classes: Classes,
    /// Makes the key hash the same in every run, for tests; `None` draws random secrets.
    pub seed: Option<u64>,
    /// Deltas the log holds, a power of two; `None` for the default. Small ones are for tests.
    pub log_entries: Option<usize>,
    /// Bytes of address space; `None` for as many as the sizes ask for. Tests set it low.
    pub address_space: Option<u64>,
    /// The file that contains all items (`-e`), opened with the same limits; `None` for memory that ends with the process.
    pub memory_file: Option<MemoryFile>,
    /// The flash tier (`ext_path`), for values that memory has no room for; `None` for none.
    pub flash: Option<FlashOptions>,
}

/// Why a store cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The address space could not be reserved.
    AddressSpace {
        /// Bytes of `-m`.
        memory_limit: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The memory file could not be given its length.
    MemoryFileLength {
        /// The length that the file needs, bytes.
        bytes: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The memory file could not be given the memory of `-m`.
    MemoryFileRoom {
        /// Bytes of memory that were asked for.
        bytes: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The memory file could not be mapped.
    MemoryFileMap {
        /// The length of the file, bytes.
        bytes: u64,
        /// What the kernel said.
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
    /// Items that were restored.
    pub items: u64,
    /// Their bytes, as memcached counts them.
    pub bytes: u64,
    /// How long the start took to open, check and restore the file.
    pub elapsed: Duration,
    /// Whether the file was new, was restored, or was rejected.
    pub outcome: RestoreOutcome,
    /// Items that were lost because their values could not be found on flash.
    pub lost_on_flash: Option<LostOnFlash>,
}

/// Items that were not restored, because their values could not be found on flash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostOnFlash {
    /// How many items.
    pub items: u64,
    /// Why their values could not be found, for the log.
    pub why: String,
}

/// What became of a memory file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// The file was empty, and so is the store.
    New,
    /// The store goes on with its items.
    Restored,
    /// The file could not be used, for this reason, and was emptied.
    Rejected(String),
}
