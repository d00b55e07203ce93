//! Where a value is on flash ([`Place`]), and how a chunk's number becomes a file and an offset ([`Geometry`], made at the start,
//! then read only). No state.

use crate::limits::{FLASH_CHUNK_BYTES_MAX, KEY_BYTES_MAX};
use std::ops::Range;

/// Length of a record's head, which comes before the key, bytes; see `record`.
pub(super) const RECORD_HEAD_BYTES: usize = 24;
/// Offset in a record of the word that contains the record's place.
const PLACE_AT: u32 = 8;
/// Records start at multiples of this many bytes of their chunk.
pub(super) const RECORD_ALIGN: usize = 16;
/// How many of the newest chunks of each file are looked for in that file at a restart. More than the number of failed writes
/// after which the tier is taken out of use.
const PROBES: usize = 16;
/// Bits of a chunk's number, which counts all chunks ever written: enough for longer than any device lasts.
const CHUNK_BITS: u32 = 40;
/// Bits of an offset in units of [`RECORD_ALIGN`] bytes.
const OFFSET_BITS: u32 = 24;
/// The longest chunk, bytes.
pub(super) const CHUNK_BYTES_MAX: u64 = (RECORD_ALIGN as u64) << OFFSET_BITS;
const _: () = assert!(CHUNK_BITS + OFFSET_BITS == u64::BITS && FLASH_CHUNK_BYTES_MAX <= CHUNK_BYTES_MAX);

/// Bytes of a [`Place`] as the value of a stub in memory.
pub(in crate::store) const PLACE_BYTES: usize = 12;

/// A function that returns true if the file holds these bytes at this extent, or if that cannot be found out.
pub(in crate::store) type IsThere<'a> = &'a dyn Fn(Extent, &[u8]) -> bool;

/// Where a value is on flash, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The number of the value's chunk. Chunks are counted from the first one ever written, so a chunk that is overwritten in a
    /// later lap over the files gets a new number.
    pub(super) chunk: u64,
    /// Offset in the chunk at which the value's record begins, bytes. A multiple of [`RECORD_ALIGN`].
    pub(super) offset: u32,
    /// Length of the value, bytes.
    pub(super) value_bytes: u32,
}

impl Place {
    /// Length of the value, bytes.
    pub fn value_bytes(self) -> usize {
        self.value_bytes as usize
    }

    /// The number of the value's chunk.
    pub(in crate::store) fn chunk(self) -> u64 {
        self.chunk
    }

    /// Chunk and offset in one word, as records and stubs contain it.
    pub(super) fn word(self) -> u64 {
        self.chunk << OFFSET_BITS | (u64::from(self.offset) / RECORD_ALIGN as u64)
    }

    /// The place whose [`Place::word`] is `word`, of a value of `value_bytes`.
    pub(super) fn of(word: u64, value_bytes: u32) -> Self {
        let units = word & ((1 << OFFSET_BITS) - 1);
        Self { chunk: word >> OFFSET_BITS, offset: (units * RECORD_ALIGN as u64) as u32, value_bytes }
    }

    /// The place as bytes, which are the value of a stub.
    pub(in crate::store) fn to_bytes(self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..8].copy_from_slice(&self.word().to_ne_bytes());
        bytes[8..].copy_from_slice(&self.value_bytes.to_ne_bytes());
        bytes
    }

    /// The place of which [`Place::to_bytes`] made `bytes`; `None` if they have another length.
    pub(in crate::store) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (word, value_bytes) = bytes.split_first_chunk::<8>()?;
        let value_bytes: [u8; 4] = value_bytes.try_into().ok()?;
        Some(Self::of(u64::from_ne_bytes(*word), u32::from_ne_bytes(value_bytes)))
    }

    /// Bytes of the record at this place, if its key is `key_bytes` long.
    pub(in crate::store) fn record_bytes(self, key_bytes: usize) -> usize {
        record_bytes(key_bytes, self.value_bytes as usize)
    }
}

/// Bytes of a record, without padding.
pub(super) fn record_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    assert!(key_bytes <= KEY_BYTES_MAX, "the length of a key is a byte");
    RECORD_HEAD_BYTES + key_bytes + value_bytes
}

/// A range of bytes in one of the files of the tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Index of the file in [`FlashOptions::files`](super::FlashOptions::files).
    pub file: usize,
    /// Where the range begins in the file, bytes.
    pub offset: u64,
    /// Length of the range, bytes.
    pub bytes: usize,
}

/// The division of the files into pages, and of the pages into chunks. Pages are numbered across the files in turn.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub(super) page_bytes: u64,
    pub(super) chunk_bytes: u64,
    /// For each page: the index of its file, and its offset there in bytes.
    pages: Vec<(u32, u64)>,
}

impl Geometry {
    /// Divides files of these lengths into pages and chunks; all arguments are bytes. Bytes after a file's last whole page are
    /// not used.
    pub(super) fn new(files: &[u64], page_bytes: u64, chunk_bytes: u64) -> Self {
        assert!(chunk_bytes > 0 && chunk_bytes <= CHUNK_BYTES_MAX && page_bytes.is_multiple_of(chunk_bytes));
        let most = files.iter().map(|bytes| bytes / page_bytes).max().unwrap_or(0);
        let mut pages = Vec::new();
        for page in 0..most {
            for (file, bytes) in files.iter().enumerate() {
                if page < bytes / page_bytes {
                    pages.push((file as u32, page * page_bytes));
                }
            }
        }
        Self { page_bytes, chunk_bytes, pages }
    }

    /// Number of chunks that the files have room for.
    pub(super) fn chunks(&self) -> u64 {
        self.pages.len() as u64 * self.chunks_per_page()
    }

    /// Number of pages.
    pub(super) fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    pub(super) fn chunks_per_page(&self) -> u64 {
        self.page_bytes / self.chunk_bytes
    }

    /// A checksum of this division of the files. Any other division almost certainly has a different one. Never 0.
    pub(super) fn checksum(&self) -> u64 {
        let words = self.pages.iter().flat_map(|&(file, offset)| [u64::from(file), offset]);
        let words = words.chain([self.page_bytes, self.chunk_bytes]);
        let sum = |sum, word: u64| crc32c::crc32c_append(sum, &word.to_ne_bytes());
        u64::from(words.fold(0, sum)) | 1 << 32
    }

    /// True if chunks with all of these numbers can exist at the same time.
    pub(super) fn may_hold(&self, chunks: &Range<u64>) -> bool {
        chunks.start <= chunks.end
            && chunks.end - chunks.start <= self.chunks()
            && chunks.end < 1 << (CHUNK_BITS - 1)
    }

    /// True if `file` holds one of the newest of the `written` chunks that belong in it, or if none belongs there. Several are
    /// tried, because the newest ones are missing if the device failed.
    pub(super) fn holds_newest(&self, file: usize, written: Range<u64>, is_there: IsThere<'_>) -> bool {
        let starts = written.rev().map(|chunk| (chunk, self.extent(chunk, PLACE_AT, size_of::<u64>())));
        let mut newest = starts.filter(|(_, extent)| extent.file == file).take(PROBES).peekable();
        let holds = |(chunk, extent): (u64, Extent)| {
            let place = Place { chunk, offset: 0, value_bytes: 0 };
            is_there(extent, &place.word().to_ne_bytes())
        };
        newest.peek().is_none() || newest.any(holds)
    }

    /// The number of the page that chunk number `chunk` is a part of, and the chunk's offset in the page, bytes.
    pub(super) fn page_of(&self, chunk: u64) -> (u64, u64) {
        let chunk = chunk % self.chunks();
        let per_page = self.chunks_per_page();
        (chunk / per_page, chunk % per_page * self.chunk_bytes)
    }

    /// The extent of the `bytes` bytes that begin at `offset` in chunk number `chunk`.
    pub(super) fn extent(&self, chunk: u64, offset: u32, bytes: usize) -> Extent {
        assert!(u64::from(offset) + bytes as u64 <= self.chunk_bytes, "a record lies in its chunk");
        let (page, in_page) = self.page_of(chunk);
        let (file, page_offset) = self.pages[page as usize];
        Extent { file: file as usize, offset: page_offset + in_page + u64::from(offset), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_bytes() {
        for place in [
            Place { chunk: 0, offset: 0, value_bytes: 0 },
            Place { chunk: 7, offset: 4096, value_bytes: 1 << 20 },
            Place {
                chunk: (1 << CHUNK_BITS) - 1,
                offset: (CHUNK_BYTES_MAX - RECORD_ALIGN as u64) as u32,
                value_bytes: u32::MAX,
            },
        ] {
            assert_eq!(Place::from_bytes(&place.to_bytes()), Some(place));
        }
        assert_eq!(Place::from_bytes(&[0; PLACE_BYTES + 1]), None);
        assert_eq!(Place::from_bytes(b""), None);
    }

    #[test]
    fn pages_are_dealt_to_the_files_in_turn() {
        let geometry = Geometry::new(&[3 << 20, (1 << 20) + 5, 2 << 20], 1 << 20, 1 << 19);
        assert_eq!((geometry.pages(), geometry.chunks()), (6, 12));
        let places: Vec<(usize, u64)> = (0..12)
            .map(|chunk| geometry.extent(chunk, 16, 32))
            .map(|extent| (extent.file, extent.offset - 16))
            .collect();
        let (page, half) = (1 << 20, 1 << 19);
        let expected = [(0, 0), (1, 0), (2, 0), (0, page), (2, page), (0, 2 * page)];
        let expected: Vec<(usize, u64)> =
            expected.into_iter().flat_map(|(file, at)| [(file, at), (file, at + half)]).collect();
        assert_eq!(places, expected);
        // The next lap.
        assert_eq!(geometry.extent(12, 0, 1), geometry.extent(0, 0, 1));
        assert_eq!(geometry.page_of(13), (0, half));
    }
}
