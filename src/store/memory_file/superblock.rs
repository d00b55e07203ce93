//! The first page of a memory file: marks it as a file of memcrsd, and holds the settings it was made for and the few words that
//! concern the whole store. This module defines its format and checks it; `headers` reads and writes the words.
//!
//! ```text
//!  word 0  magic            never changes, nor do words 1 to 6
//!       1  layout version
//!       2  -m, bytes
//!       3  -I, bytes
//!       4  bytes of segments and large items
//!       5  width of a segment << 8 | width of a unit     (as shifts)
//!       6  checksum of words 0 to 5
//!       8  boot id, low      the kernel's, of the process that wrote last
//!       9  boot id, high
//!      10  clean             1 = stopped cleanly, and the whole file has reached the device
//!      11  unix start        Unix time of Timestamp(0)
//!      12  last second       the last one that the store has seen
//!      13  cas reserved      no CAS unique above this one has been handed out
//!      14  flushes           how many there were; items stored before the last one are gone
//!      15  due flush         the second of the next delayed flush; 0 = none is due
//!      16  extent slots      number of slots of the extent table that have memory
//!      17  flash files       a checksum of how the files of the flash tier are divided; 0 = there is no tier
//!      18  flash salt        what the checksums of the tier's records begin with
//!      19  flash oldest      chunks with lower numbers have been given back
//!      20  flash written     chunks with lower numbers are not in memory any more
//! ```
//!
//! Words are in the machine's byte order. In a file of a machine with another byte order, the magic reads differently.

/// Bytes of the superblock.
pub(super) const SUPERBLOCK_BYTES: usize = 4096;
/// The version of the layout of superblock, headers and items. Files with another version are not read.
pub(super) const LAYOUT_VERSION: u64 = 2;
const MAGIC: u64 = u64::from_ne_bytes(*b"memcrsd\0");
const WORDS: usize = 21;
/// The last second that a store's clock can show.
const SECOND_MAX: u64 = u32::MAX as u64;
/// A bound on the numbers of CAS uniques and of flushes, which no server reaches.
const COUNT_MAX: u64 = 1 << 62;

/// A word of the superblock that is read and written by itself, unlike those of [`Identity`]. Its value is the word's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Word {
    Checksum = 6,
    BootIdLow = 8,
    BootIdHigh = 9,
    Clean = 10,
    UnixStart = 11,
    LastSecond = 12,
    CasReserved = 13,
    Flushes = 14,
    DueFlush = 15,
    ExtentSlots = 16,
    FlashFiles = 17,
    FlashSalt = 18,
    FlashOldest = 19,
    FlashWritten = 20,
}
const CONSTANT_WORDS: usize = 6;

/// The settings that a file was made for: words 2 to 5 of the superblock, which never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) memory_limit: u64,
    pub(super) item_size_max: u64,
    pub(super) region_bytes: u64,
    pub(super) shifts: u64,
}

/// What the superblock of an existing file says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) version: u64,
    pub(super) identity: Identity,
    pub(super) is_intact: bool,
    pub(super) boot_id: [u64; 2],
    pub(super) is_clean: bool,
    pub(super) unix_start: u64,
    pub(super) last_second: u64,
    /// True if each of the words that change has a value that it can have.
    pub(super) is_in_range: bool,
}

impl Identity {
    pub(super) fn words(self) -> [u64; CONSTANT_WORDS] {
        [MAGIC, LAYOUT_VERSION, self.memory_limit, self.item_size_max, self.region_bytes, self.shifts]
    }
}

/// A checksum of `words`, to find damage.
pub(super) fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0x9e37_79b9_7f4a_7c15, |sum: u64, &word| {
        let mixed = (sum ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) ^ mixed >> 32
    })
}

/// Reads a superblock; `None` if `bytes` do not begin with the magic of one.
pub(super) fn read(bytes: &[u8]) -> Option<Found> {
    let (words, _) = bytes.as_chunks();
    let word = |at: usize| u64::from_ne_bytes(words[at]);
    if words.len() < WORDS || word(0) != MAGIC {
        return None;
    }
    let constant: [u64; CONSTANT_WORDS] = std::array::from_fn(word);
    Some(Found {
        version: word(1),
        identity: Identity {
            memory_limit: word(2),
            item_size_max: word(3),
            region_bytes: word(4),
            shifts: word(5),
        },
        is_intact: checksum(&constant) == word(6) && word(10) <= 1,
        boot_id: [word(8), word(9)],
        is_clean: word(10) == 1,
        unix_start: word(11),
        last_second: word(12),
        is_in_range: word(12) <= SECOND_MAX
            && word(13) <= COUNT_MAX
            && word(14) <= COUNT_MAX
            && word(15) <= SECOND_MAX,
    })
}
