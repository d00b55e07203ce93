//! The memory file (`-e`): all that the store holds lies in a file, and the next process goes on with it, however this one
//! ends.
//!
//! The memory is a log of items that describe themselves, so the file needs little more than them: the [`superblock`], and
//! a word or two for each segment and large item ([`headers`]). Indexes, queues and sums are made anew (`restore`).
//!
//! # What the file says at any moment
//! An item is there for the next process if its unit is in use and no flush has come since that was opened, and if it is
//! *alive*: a bit of its own head. It is born dead, alive when it is published, and dead when it leaves the index.
//! Under the writer lock, in this order, each visible to others before the next (`durable`):
//!
//! 1. head and value, dead
//! 2. `used` of its segment covers it; or the slot of a large item is in use, at the end of its queue
//! 3. CAS uniques up to its own are reserved
//! 4. the new version is alive
//! 5. the old version is dead
//! 6. the delta is in the log: other rings see the new version; then the client is told
//!
//! So nothing that anybody has seen is missing, and nothing is there that anybody has seen gone. A process that is killed
//! between 4 and 5 leaves two versions, of which either is right, because nobody has seen the new one: the next process
//! keeps one. A write that only removes has step 5 alone; a touch or a mark is one word of the head, in front of its delta.
//! A flush is one store in front of its delta: the superblock's number of flushes. Segments that were opened before it
//! are closed, and a value that was being received into one is copied when it is complete.
//!
//! Memory is reused when its unit says free.

pub(in crate::store) mod durable;
mod headers;
mod ledger;
mod mend;
mod superblock;

pub(super) use headers::{Headers, SegmentHeader, Slot};
pub(super) use ledger::Ledger;
pub use mend::{memory_file_sections, mend_memory_file};
pub(super) use superblock::Word;

use super::geometry::Geometry;
use super::region::Region;
use crate::clock::Timestamp;
use headers::Sections;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use superblock::{Identity, LAYOUT_VERSION, SUPERBLOCK_BYTES};

/// A clock that begins now shows this: `Timestamp` keeps 0 and 1 for itself.
const FIRST_SECOND: u64 = 2;

/// What a memory file is opened for.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// `-m`, bytes.
    pub memory_limit: u64,
    /// `-I`, bytes.
    pub item_size_max: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: [u8; 16],
    /// What the system's clock says.
    pub unix_now: u64,
    /// Bytes of address space; `None` for as much as is good. Little is for tests.
    pub address_space: Option<u64>,
}

/// What has been found in a memory file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it is new.
    Empty,
    /// Its superblock says that the rest can be used.
    Usable,
    /// It is ours, and of no use, for this reason.
    Useless(String),
}

/// An open memory file that this process has locked.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
    geometry: Geometry,
    identity: Identity,
    verdict: Verdict,
    boot_id: [u64; 2],
    unix_start: u64,
    now: Timestamp,
}

/// Why a memory file is left alone, and the start refused.
#[derive(Debug)]
pub enum MemoryFileError {
    /// A directory, a device.
    NotAFile,
    /// Something else is in it.
    Foreign,
    /// No address space is that long.
    TooMuchMemory,
    /// It cannot be read.
    Unreadable(io::Error),
}

impl std::fmt::Display for MemoryFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAFile => write!(f, "is not a regular file"),
            Self::Foreign => write!(f, "is not a memory file of memcrsd, and not empty: left as it is"),
            Self::TooMuchMemory => write!(f, "cannot be as long as this -m wants it"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl std::error::Error for MemoryFileError {}

impl From<io::Error> for MemoryFileError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl MemoryFile {
    /// Reads the superblock of `file`, which is open for reading and writing. Never writes.
    ///
    /// # Errors
    /// [`MemoryFileError`]: the file is to be left alone.
    pub fn open(file: File, occasion: &Occasion) -> Result<Self, MemoryFileError> {
        let &Occasion { memory_limit, item_size_max, unix_now, address_space, .. } = occasion;
        let geometry =
            Geometry::of_file(memory_limit, address_space).ok_or(MemoryFileError::TooMuchMemory)?;
        let shifts = u64::from(geometry.segment_shift << 8 | geometry.unit_shift);
        let identity = Identity { memory_limit, item_size_max, region_bytes: geometry.bytes, shifts };
        let (low, high) = occasion.boot_id.split_at(8);
        let boot_id = [low, high].map(|half| half.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)));
        let fresh_start = unix_now.saturating_sub(FIRST_SECOND);
        let mut memory_file = Self {
            file,
            geometry,
            identity,
            verdict: Verdict::Empty,
            boot_id,
            unix_start: fresh_start,
            now: Timestamp(FIRST_SECOND as u32),
        };
        let metadata = memory_file.file.metadata()?;
        if !metadata.is_file() {
            return Err(MemoryFileError::NotAFile);
        }
        if metadata.len() == 0 {
            return Ok(memory_file);
        }
        let Some(found) = memory_file.read_superblock(&metadata)? else { return Ok(memory_file) };
        memory_file.verdict = match memory_file.fault_of(&found, metadata.len()) {
            Some(fault) => Verdict::Useless(fault),
            None => Verdict::Usable,
        };
        if memory_file.verdict == Verdict::Usable {
            // A clock that was set back does not bring back what has expired.
            memory_file.unix_start = found.unix_start.min(unix_now.saturating_sub(found.last_second));
            let now = (unix_now - memory_file.unix_start).min(u64::from(u32::MAX));
            memory_file.now = Timestamp(now as u32);
        }
        Ok(memory_file)
    }

    /// The superblock; `None` if the file has been made, and nothing was written to it.
    fn read_superblock(
        &self,
        metadata: &std::fs::Metadata,
    ) -> Result<Option<superblock::Found>, MemoryFileError> {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        let length = metadata.len().min(SUPERBLOCK_BYTES as u64) as usize;
        self.file.read_exact_at(&mut bytes[..length], 0)?;
        if let Some(found) = superblock::read(&bytes) {
            return Ok(Some(found));
        }
        // A process that was killed when it had made the file leaves a page of zeros at most.
        let is_blank = bytes.iter().all(|&byte| byte == 0) && metadata.blocks() * 512 <= metadata.blksize();
        if is_blank { Ok(None) } else { Err(MemoryFileError::Foreign) }
    }

    /// Why the file that `found` stands in cannot be used.
    fn fault_of(&self, found: &superblock::Found, length: u64) -> Option<String> {
        let (was, is) = (&found.identity, &self.identity);
        let mib = |bytes: u64| bytes >> 20;
        if found.version != LAYOUT_VERSION {
            return Some(format!("its layout version is {}, not {LAYOUT_VERSION}", found.version));
        }
        if !found.is_intact {
            return Some("its superblock is damaged".to_owned());
        }
        if was.memory_limit != is.memory_limit {
            return Some(format!("-m was {} MB, and is {}", mib(was.memory_limit), mib(is.memory_limit)));
        }
        if was.item_size_max != is.item_size_max {
            return Some(format!("-I was {} bytes, and is {}", was.item_size_max, is.item_size_max));
        }
        if was != is {
            return Some("its layout is another".to_owned());
        }
        if length != self.length() {
            return Some(format!("it is {length} bytes long, not {}", self.length()));
        }
        if found.boot_id != self.boot_id && !found.is_clean {
            return Some(
                "the machine has been started again, and it had not been stopped cleanly".to_owned(),
            );
        }
        (!found.is_in_range).then(|| "its superblock is out of range".to_owned())
    }

    /// Length of the file, bytes.
    pub(super) fn length(&self) -> u64 {
        Sections::of(self.geometry).bytes
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(super) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// True if it was opened for a store of these sizes.
    pub(super) fn is_for(&self, memory_limit: u64, item_size_max: u64) -> bool {
        self.identity.memory_limit == memory_limit && self.identity.item_size_max == item_size_max
    }

    /// Gives back all that is in the file, and makes it as long as it must be. Mappings of it stay.
    ///
    /// # Errors
    /// It may not be as long.
    pub(super) fn empty(&self) -> nix::Result<()> {
        let (most, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
        if self.length() > most {
            // To try would end the process (SIGXFSZ).
            return Err(Errno::EFBIG);
        }
        let set_length = |bytes| {
            let result = self.file.set_len(bytes);
            result.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
        };
        set_length(0)?;
        set_length(self.length())
    }

    /// Maps the file: its headers, and the memory for items.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn map(&self) -> nix::Result<(Headers, Region)> {
        let sections = Sections::of(self.geometry);
        let headers = Headers::new(Region::map(&self.file, 0, sections.region)?, sections);
        Ok((headers, Region::map(&self.file, sections.region, self.geometry.bytes)?))
    }

    /// From here on the file is this process's, and is not what was stopped cleanly any more.
    ///
    /// # Errors
    /// That does not reach its device.
    pub(super) fn begin(&self, headers: &Headers, is_new: bool) -> nix::Result<()> {
        if is_new {
            headers.write_identity(self.identity);
            headers.set(Word::CasReserved, 1);
        }
        headers.set(Word::UnixStart, self.unix_start);
        headers.set(Word::LastSecond, u64::from(self.now.0));
        headers.set(Word::BootIdLow, self.boot_id[0]);
        headers.set(Word::BootIdHigh, self.boot_id[1]);
        let was_clean = headers.get(Word::Clean) == 1;
        headers.set(Word::Clean, 0);
        if is_new {
            headers.finish_identity(self.identity);
        }
        if was_clean { headers.sync() } else { Ok(()) }
    }

    /// Unix time at which the store's clock showed or would have shown `Timestamp(0)`: that of the first process that wrote
    /// the file, or earlier if the system's clock has been set back since.
    pub fn unix_start(&self) -> u64 {
        self.unix_start
    }

    /// What the store's clock shows at present; never less than the last process has seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}
