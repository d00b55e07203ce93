//! Cache traces in the MTR2 format: requests for numbered objects with sizes, and optionally times to live.
//!
//! Little endian, gzipped as a whole (plain files are read too):
//!
//! ```text
//! "MTR2"  flags u32  objects u64  requests u64
//! value size  u32 x objects
//! TTL seconds u32 x objects     with flag bit 0; 0 = for ever
//! request     u32 x requests    op << 28 | object; op 0 get (set on a miss), 1 set, 2 delete
//! value size  u32 x requests    with flag bit 1: of this request, instead of the object's
//! ```

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};

const MAGIC: &[u8; 4] = b"MTR2";
const HAS_TTLS: u32 = 1;
const HAS_REQUEST_SIZES: u32 = 2;
const OBJECT_MASK: u32 = (1 << 28) - 1;

/// A trace in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Value size of each object, bytes.
    pub(crate) sizes: Vec<u32>,
    /// Empty, or the time to live of each object, seconds.
    pub(crate) ttls: Vec<u32>,
    /// Packed; see [`Trace::request`].
    pub(crate) requests: Vec<u32>,
    /// Empty, or the value size of each request.
    pub(crate) request_sizes: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Read, and set on a miss.
    Get,
    Set,
    Delete,
}

impl Op {
    /// A request as stored in the file.
    pub(crate) fn packed(self, object: u32) -> u32 {
        (self as u32) << 28 | object
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) op: Op,
    pub(crate) object: u32,
    pub(crate) value_len: u32,
    pub(crate) ttl_secs: u32,
}

impl Trace {
    pub(crate) fn request(&self, index: usize) -> Request {
        let packed = self.requests[index];
        let object = packed & OBJECT_MASK;
        let op = match packed >> 28 {
            0 => Op::Get,
            1 => Op::Set,
            _ => Op::Delete,
        };
        let value_len = self.request_sizes.get(index).copied().unwrap_or(self.sizes[object as usize]);
        let ttl_secs = self.ttls.get(object as usize).copied().unwrap_or(0);
        Request { op, object, value_len, ttl_secs }
    }

    /// # Errors
    /// A message, when the file cannot be read or is no MTR2.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let mut file = BufReader::new(File::open(path).map_err(|e| failed(&e))?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| failed(&e))?;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut unpacked = Vec::new();
            MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).map_err(|e| failed(&e))?;
            bytes = unpacked;
        }
        Self::parse(&bytes).map_err(|words| failed(&words))
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let header = bytes.first_chunk::<24>().ok_or("too short for a trace")?;
        if &header[..4] != MAGIC {
            return Err("not an MTR2 trace");
        }
        let count = |at: usize| {
            let field: [u8; 8] = std::array::from_fn(|i| header[at + i]);
            usize::try_from(u64::from_le_bytes(field)).map_err(|_| "a count is absurd")
        };
        let flags = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let (objects, requests) = (count(8)?, count(16)?);
        let mut rest = &bytes[24..];
        let sizes = column(&mut rest, objects)?;
        let ttls = column(&mut rest, if flags & HAS_TTLS != 0 { objects } else { 0 })?;
        let packed = column(&mut rest, requests)?;
        let request_sizes = column(&mut rest, if flags & HAS_REQUEST_SIZES != 0 { requests } else { 0 })?;
        if packed.iter().any(|request| (request & OBJECT_MASK) as usize >= objects || request >> 28 > 2) {
            return Err("a request has an unknown object or operation");
        }
        Ok(Self { sizes, ttls, requests: packed, request_sizes })
    }

    /// Writes the trace; the same trace gives the same file.
    ///
    /// # Errors
    /// A message, when the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<(), String> {
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        let file = File::create(path).map_err(failed)?;
        let mut gzip = GzBuilder::new().mtime(0).write(file, Compression::default());
        gzip.write_all(&self.bytes()).map_err(failed)?;
        gzip.finish().and_then(|file| file.sync_all()).map_err(failed)
    }

    fn bytes(&self) -> Vec<u8> {
        let flags = if self.ttls.is_empty() { 0 } else { HAS_TTLS }
            | if self.request_sizes.is_empty() { 0 } else { HAS_REQUEST_SIZES };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(flags.to_le_bytes());
        bytes.extend((self.sizes.len() as u64).to_le_bytes());
        bytes.extend((self.requests.len() as u64).to_le_bytes());
        for column in [&self.sizes, &self.ttls, &self.requests, &self.request_sizes] {
            bytes.extend(column.iter().flat_map(|n| n.to_le_bytes()));
        }
        bytes
    }
}

fn column(bytes: &mut &[u8], count: usize) -> Result<Vec<u32>, &'static str> {
    let len = count.checked_mul(4).ok_or("a count is absurd")?;
    let (here, rest) = bytes.split_at_checked(len).ok_or("the trace is cut short")?;
    *bytes = rest;
    let (words, _) = here.as_chunks::<4>();
    Ok(words.iter().map(|&word| u32::from_le_bytes(word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Trace {
        Trace {
            sizes: vec![10, 20, 30],
            ttls: vec![0, 5, 0],
            requests: vec![Op::Get.packed(1), Op::Set.packed(0), Op::Delete.packed(2)],
            request_sizes: vec![21, 11, 1],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let trace = sample();
        assert_eq!(Trace::parse(&trace.bytes()).as_ref(), Ok(&trace));
        let plain = Trace { ttls: Vec::new(), request_sizes: Vec::new(), ..trace };
        assert_eq!(Trace::parse(&plain.bytes()).as_ref(), Ok(&plain));
        let request = plain.request(0);
        assert_eq!(request, Request { op: Op::Get, object: 1, value_len: 20, ttl_secs: 0 });
    }

    #[test]
    fn broken_traces_are_refused() {
        let good = sample().bytes();
        for len in 0..good.len() {
            assert!(Trace::parse(&good[..len]).is_err(), "{len}");
        }
        let mut wrong = good.clone();
        wrong[24 + 12 + 12] = 3;
        assert!(Trace::parse(&wrong).is_err());
        let mut absurd = good;
        absurd[8..16].fill(0xff);
        assert!(Trace::parse(&absurd).is_err());
    }
}
