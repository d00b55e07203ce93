//! For the fuzzer: locates the parts of a memory file, and recomputes its checksums. Pure functions over a file's bytes.

use super::headers::{Sections, check_of};
use super::superblock::checksum;
use crate::clock::Timestamp;
use crate::store::geometry::Geometry;
use std::ops::Range;

/// Number of words of the superblock that its checksum covers: those from the first on.
const IDENTITY_WORDS: usize = 6;
const WORD_BYTES: usize = 8;
const HEADER_BYTES: usize = 32;

fn sections(memory_limit: u64, address_space: u64) -> (Sections, Geometry) {
    let geometry = Geometry::of_file(memory_limit, Some(address_space)).expect("a length that is possible");
    (Sections::of(geometry), geometry)
}

/// The byte ranges of superblock, segment headers, the extent table's first page, and item memory in a file for these sizes.
#[doc(hidden)]
pub fn memory_file_sections(memory_limit: u64, address_space: u64) -> [Range<usize>; 4] {
    let (sections, geometry) = sections(memory_limit, address_space);
    let [segments, extents, region] = sections.starts().map(|start| start as usize);
    let headers_end = segments + geometry.segment_ids() as usize * HEADER_BYTES;
    [0..17 * WORD_BYTES, segments..headers_end, extents..extents + 4096, region..sections.bytes as usize]
}

/// Recomputes the checksums of superblock and segment headers.
#[doc(hidden)]
pub fn mend_memory_file(bytes: &mut [u8], memory_limit: u64, address_space: u64) {
    let word = |bytes: &[u8], at: usize| {
        u64::from_ne_bytes(bytes[at..at + WORD_BYTES].try_into().expect("eight bytes"))
    };
    let identity: Vec<u64> = (0..IDENTITY_WORDS).map(|at| word(bytes, at * WORD_BYTES)).collect();
    let sum = checksum(&identity).to_ne_bytes();
    bytes[IDENTITY_WORDS * WORD_BYTES..][..WORD_BYTES].copy_from_slice(&sum);
    let [_, headers, ..] = memory_file_sections(memory_limit, address_space);
    for (id, at) in headers.step_by(HEADER_BYTES).enumerate() {
        let [first, sequence, flushes, last] = [0, 1, 2, 3].map(|n| word(bytes, at + n * WORD_BYTES));
        let check = check_of(id as u32, (first >> 32) as u8, sequence, flushes, Timestamp(last as u32)) << 32;
        let mended = check | last & u64::from(u32::MAX);
        bytes[at + 3 * WORD_BYTES..][..WORD_BYTES].copy_from_slice(&mended.to_ne_bytes());
    }
}
