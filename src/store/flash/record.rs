//! The format of a record on flash. There is one record for each value; in a chunk they follow one another. Pure functions.
//!
//! ```text
//!  0  u32  CRC-32C of all that follows, begun with the tier's salt
//!  4  u32  value length
//!  8  u64  place: number of the chunk << 24 | offset in it in units of 16 bytes
//! 16  u8   key length
//! 17  7 zeros
//! 24  key, value; padded to 16 bytes
//! ```
//!
//! A stub in memory has the other fields of the item (flags, expiry, CAS unique, marks), since those may change. A record
//! belongs to a stub if place and key agree. A torn or corrupted record, or one of another store, fails the checksum.

use super::place::{Place, RECORD_ALIGN, RECORD_HEAD_BYTES, record_bytes};
use crate::limits::KEY_BYTES_MAX;
use std::ops::Range;

/// Offset of the byte of a record that says how long its key is.
pub(super) const KEY_LENGTH: usize = 16;

/// Why the bytes that were read are not the record that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another record or none is at the place, because the place was used again or the record was never written.
    Other,
    /// The record is at the place, but its bytes are not those that were written.
    Checksum,
}

/// The head of a record of a value at `place`, with 0 instead of the checksum.
pub(super) fn head(place: Place, key_bytes: usize) -> [u8; RECORD_HEAD_BYTES] {
    let mut head = [0; RECORD_HEAD_BYTES];
    head[4..8].copy_from_slice(&place.value_bytes.to_ne_bytes());
    head[8..16].copy_from_slice(&place.word().to_ne_bytes());
    head[KEY_LENGTH] = key_bytes as u8;
    head
}

/// Computes the checksum of a complete record, begun with the tier's `salt`, and writes it into the record's head.
pub(super) fn seal(record: &mut [u8], salt: u32) {
    let sum = crc32c::crc32c_append(salt, &record[4..]);
    record[..4].copy_from_slice(&sum.to_ne_bytes());
}

/// Checks `record`, the bytes that were read where the record of `key` at `place` should be, and returns the range of the value
/// in them.
///
/// # Errors
/// [`Fault`]: `record` is not the intact record of `key` at `place`.
pub(super) fn check(place: Place, key: &[u8], record: &[u8], salt: u32) -> Result<Range<usize>, Fault> {
    let bytes = place.record_bytes(key.len());
    let Some(record) = record.get(..bytes) else { return Err(Fault::Other) };
    if record[4..RECORD_HEAD_BYTES] != head(place, key.len())[4..]
        || record[RECORD_HEAD_BYTES..][..key.len()] != *key
    {
        return Err(Fault::Other);
    }
    if crc32c::crc32c_append(salt, &record[4..]).to_ne_bytes() != record[..4] {
        return Err(Fault::Checksum);
    }
    Ok(RECORD_HEAD_BYTES + key.len()..bytes)
}

/// A record found in a chunk of which all bytes were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) place: Place,
    /// The range of the record's key in the chunk.
    pub(super) key: Range<usize>,
}

/// The records in `bytes`, which were read from the beginning of chunk number `chunk`, up to the first bytes that are no intact
/// record. After the last record of a chunk any bytes may follow: the file keeps there what an earlier chunk left.
pub(super) fn walk(chunk: u64, bytes: &[u8], salt: u32) -> impl Iterator<Item = Found> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = bytes.get(at..at + RECORD_HEAD_BYTES)?;
        let number = |from: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|n| head[from + n]));
        let (value_bytes, key_bytes) = (number(4), usize::from(head[KEY_LENGTH]));
        if key_bytes > KEY_BYTES_MAX {
            return None;
        }
        let place = Place { chunk, offset: at as u32, value_bytes };
        let key = at + RECORD_HEAD_BYTES..at + RECORD_HEAD_BYTES + key_bytes;
        let record = bytes.get(at..)?;
        check(place, bytes.get(key.clone())?, record, salt).ok()?;
        at += record_bytes(key_bytes, value_bytes as usize).next_multiple_of(RECORD_ALIGN);
        Some(Found { place, key })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(place: Place, key: &[u8], value: &[u8], salt: u32) -> Vec<u8> {
        let mut record = head(place, key.len()).to_vec();
        record.extend_from_slice(key);
        record.extend_from_slice(value);
        seal(&mut record, salt);
        record
    }

    #[test]
    fn only_the_very_record_is_taken() {
        let place = Place { chunk: 9, offset: 32, value_bytes: 5 };
        let good = record(place, b"key", b"value", 7);
        assert_eq!(check(place, b"key", &good, 7), Ok(27..32));
        assert_eq!(check(place, b"kez", &good, 7), Err(Fault::Other));
        assert_eq!(check(Place { chunk: 10, ..place }, b"key", &good, 7), Err(Fault::Other));
        assert_eq!(check(Place { value_bytes: 4, ..place }, b"key", &good, 7), Err(Fault::Other));
        assert_eq!(check(place, b"key", &good[..31], 7), Err(Fault::Other));
        assert_eq!(check(place, b"key", &good, 8), Err(Fault::Checksum));
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(place, b"key", &flipped, 7).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_walk_ends_at_the_first_broken_record() {
        let mut chunk = Vec::new();
        let mut places = Vec::new();
        for n in 0..20_u8 {
            let value = vec![n; usize::from(n) * 7];
            let place = Place { chunk: 3, offset: chunk.len() as u32, value_bytes: value.len() as u32 };
            chunk.extend_from_slice(&record(place, &[b'k', n], &value, 1));
            chunk.resize(chunk.len().next_multiple_of(RECORD_ALIGN), 0);
            places.push(place);
        }
        chunk.resize(4096, 0);
        let found = |bytes: &[u8]| walk(3, bytes, 1).map(|found| found.place).collect::<Vec<_>>();
        assert_eq!(found(&chunk), places);
        assert!(walk(4, &chunk, 1).next().is_none());
        let mut torn = chunk.clone();
        torn[places[12].offset as usize + 30] ^= 1;
        assert_eq!(found(&torn), places[..12]);
        assert_eq!(found(&chunk[..places[5].offset as usize + 40]), places[..5]);
    }

    /// The bytes after the last record are those of an earlier chunk, and so of any value. Taken for the head of a record, they
    /// said that its key had more than 250 bytes, and the server ended with an assertion.
    #[test]
    fn a_walk_ends_at_what_an_earlier_chunk_left() {
        let place = Place { chunk: 3, offset: 0, value_bytes: 8 };
        let whole = record(place, b"key", b"value 12", 1);
        for byte in 0..=u8::MAX {
            let mut chunk = whole.clone();
            chunk.resize(4096, byte);
            assert_eq!(walk(3, &chunk, 1).map(|found| found.place).collect::<Vec<_>>(), [place], "{byte}");
        }
    }
}
