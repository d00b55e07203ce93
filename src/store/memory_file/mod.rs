//! The memory file (`-e`): the store's items lie in a file, and the next process continues with them, however this one ends.
//!
//! Items describe themselves, so the file needs little else: the [`superblock`], and a few words for each segment and large item
//! ([`headers`]). Indexes, queues and sums are rebuilt (`restore`).
//!
//! # What the file says at any moment
//! The next process finds an item if its segment or extent is in use, if there was no flush since the segment or extent was
//! opened, and if the item is *alive*, which is a bit in its head. An item is written dead, becomes alive when it is published,
//! and dead again when it leaves the index. A write does this under the writer lock, and each step is visible to others before
//! the next (`durable`):
//!
//! 1. head and value, dead
//! 2. `used` of its segment covers it; or the slot of a large item is in use, at the end of its queue
//! 3. CAS uniques up to its own are reserved
//! 4. the new version is alive
//! 5. the old version is dead
//! 6. the delta is in the log, and other rings see the new version; then the client gets its reply
//!
//! So no item is missing that a client has seen, and no item is found that a client has seen removed. A process that is killed
//! between 4 and 5 leaves two versions. Either is right, because nobody has seen the new one; the next process keeps one of
//! them. A removal has step 5 alone. A touch or a mark changes one word of the head, before its delta. A flush changes one word
//! of the superblock, the number of flushes, before its delta. Segments that were opened before a flush are closed, and a value
//! that was being received into one of them is copied when it is complete.
//!
//! Memory is reused only after its segment or extent is recorded as free.
//!
//! Nothing here knows items: the segment table writes here through [`Ledger`], and `item` and `flash` use `durable` and
//! the headers.
//!
//! At the start, the thread that makes the store changes the file, alone. Then transactions do, under the writer lock. Two words
//! of the superblock may change without that lock: any ring sets the last second, and the thread of the flash tier records which
//! chunks it has written. A [`MemoryFile`] is the file before a store is made of it.

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

/// The first second that the clock of a new file shows: `Timestamp` reserves 0 and 1.
const FIRST_SECOND: u64 = 2;

/// The settings that a memory file is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// The value of `-m`, bytes.
    pub memory_limit: u64,
    /// The value of `-I`, bytes.
    pub item_size_max: u64,
    /// The kernel's boot id, from `/proc/sys/kernel/random/boot_id`. It changes when the machine is started again.
    pub boot_id: [u8; 16],
    /// The present time by the system's clock, in Unix seconds.
    pub unix_now: u64,
    /// Length of the item memory in the file, bytes; `None` for a multiple of `-m`. Tests set it low.
    pub address_space: Option<u64>,
}

/// What was found in a memory file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No content: the file is new.
    Empty,
    /// A superblock that is valid and fits the settings.
    Usable,
    /// A memory file of memcrsd that cannot be used, for this reason.
    Useless(String),
}

/// An open memory file that this process has locked.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
    geometry: Geometry,
    /// What the superblock must say for the file to be used: it follows from the settings of this process.
    identity: Identity,
    verdict: Verdict,
    boot_id: [u64; 2],
    unix_start: u64,
    now: Timestamp,
}

/// Why a memory file cannot be opened. The file stays as it is, and the server does not start.
#[derive(Debug)]
pub enum MemoryFileError {
    /// The path names a directory or a device.
    NotAFile,
    /// The file is neither empty nor a memory file of memcrsd.
    Foreign,
    /// Item refs cannot address as much memory as `-m` asks for.
    TooMuchMemory,
    /// The file cannot be read.
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
    /// Reads the superblock of `file`, which must be open for reading and writing, and judges whether its content can be used.
    /// Never writes.
    ///
    /// # Errors
    /// [`MemoryFileError`]: the file must not be touched.
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
            // Expired items stay expired even if the system's clock was set back.
            memory_file.unix_start = found.unix_start.min(unix_now.saturating_sub(found.last_second));
            let now = (unix_now - memory_file.unix_start).min(u64::from(u32::MAX));
            memory_file.now = Timestamp(now as u32);
        }
        Ok(memory_file)
    }

    /// The superblock; `None` if the file has just been created and nothing was written to it.
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
        // A process that was killed right after creating the file leaves at most a page of zeros.
        let is_blank = bytes.iter().all(|&byte| byte == 0) && metadata.blocks() * 512 <= metadata.blksize();
        if is_blank { Ok(None) } else { Err(MemoryFileError::Foreign) }
    }

    /// Why the file whose superblock is `found` cannot be used; `None` if it can.
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

    /// The length that the file must have, bytes.
    pub(super) fn length(&self) -> u64 {
        Sections::of(self.geometry).bytes
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(super) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// True if the file was opened with these values of `-m` and `-I`, bytes.
    pub(super) fn is_for(&self, memory_limit: u64, item_size_max: u64) -> bool {
        self.identity.memory_limit == memory_limit && self.identity.item_size_max == item_size_max
    }

    /// Discards the content of the file, and gives it the required length. Mappings of it stay valid.
    ///
    /// # Errors
    /// The file may not become that long.
    pub(super) fn empty(&self) -> nix::Result<()> {
        let (most, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
        if self.length() > most {
            // Trying would end the process (SIGXFSZ).
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

    /// Marks the file as used by this process and as not stopped cleanly. If it `is_new`, first writes the words that never
    /// change.
    ///
    /// # Errors
    /// The mark could not be written to the device.
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

    /// Unix time of `Timestamp(0)`, seconds. The first process that wrote the file chose it; it is earlier if the system's clock
    /// has been set back since.
    pub fn unix_start(&self) -> u64 {
        self.unix_start
    }

    /// The time of the store's clock when the file was opened. Never before the last second that the previous process saw.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}
