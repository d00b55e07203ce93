//! The binary protocol: a 24-byte header, then extras, key and value.
//!
//! ```text
//!  0 magic  1 opcode  2-3 key length  4 extras length  5 data type  6-7 status (vbucket in requests)
//!  8-11 body length   12-15 opaque    16-23 cas
//! ```

use super::reply::{Garbage, Name, Reply};

pub(super) const GET: u8 = 0x00;
const SET: u8 = 0x01;
pub(super) const DELETE: u8 = 0x04;
pub(super) const NOOP: u8 = 0x0a;
pub(super) const GETKQ: u8 = 0x0d;

const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;
const HEADER_LEN: usize = 24;
const KEY_NOT_FOUND: u16 = 0x0001;
/// The longest error text accepted; memcached's are under 40 bytes.
const ERROR_LEN_MAX: usize = 1024;

/// A request with a key and nothing else.
pub(super) fn get(out: &mut Vec<u8>, opcode: u8, key: &[u8], opaque: u32) {
    header(out, opcode, key.len(), 0, 0);
    let at = out.len() - HEADER_LEN + 12;
    out[at..at + 4].copy_from_slice(&opaque.to_be_bytes());
    out.extend_from_slice(key);
}

pub(super) fn set(out: &mut Vec<u8>, key: &[u8], ttl_secs: u32, value_len: usize) {
    header(out, SET, key.len(), 8, value_len);
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(&ttl_secs.to_be_bytes());
    out.extend_from_slice(key);
}

fn header(out: &mut Vec<u8>, opcode: u8, key_len: usize, extras_len: u8, value_len: usize) {
    let mut header = [0u8; HEADER_LEN];
    header[0] = REQUEST;
    header[1] = opcode;
    header[2..4].copy_from_slice(&(key_len as u16).to_be_bytes());
    header[4] = extras_len;
    let body_len = key_len + usize::from(extras_len) + value_len;
    header[8..12].copy_from_slice(&(body_len as u32).to_be_bytes());
    out.extend_from_slice(&header);
}

pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Garbage> {
    if bytes.first().is_some_and(|&magic| magic != RESPONSE) {
        return Err(Garbage(format!("not a binary reply: magic {:#04x}", bytes[0])));
    }
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let opcode = header[1];
    let key_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let extras_len = usize::from(header[4]);
    let status = u16::from_be_bytes([header[6], header[7]]);
    let body_len = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let opaque = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    let before_value = HEADER_LEN + extras_len + key_len;
    let Some(value_len) = body_len.checked_sub(extras_len + key_len) else {
        return Err(Garbage(format!("a binary body of {body_len} bytes holds {extras_len} + {key_len}")));
    };
    if status == 0 && matches!(opcode, GET | GETKQ) {
        if extras_len != 4 {
            return Err(Garbage(format!("a binary value has {extras_len} bytes of extras")));
        }
        if bytes.len() < before_value {
            return Ok(None);
        }
        let flags = u32::from_be_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
        return Ok(Some((
            Reply::Value { name: Name::Opaque(opaque), value_len, flags: Some(flags) },
            before_value,
        )));
    }
    if body_len > ERROR_LEN_MAX {
        return Err(Garbage(format!(
            "a binary reply to {opcode:#04x}, status {status}, has {body_len} bytes"
        )));
    }
    if bytes.len() < HEADER_LEN + body_len {
        return Ok(None);
    }
    let reply = match (opcode, status) {
        (NOOP, 0) => Reply::End,
        (DELETE, 0) => Reply::Deleted,
        (_, 0) => Reply::Done,
        (GET | GETKQ, KEY_NOT_FOUND) => Reply::Miss,
        (_, KEY_NOT_FOUND) => Reply::NotFound,
        _ => {
            let text = String::from_utf8_lossy(&bytes[before_value..HEADER_LEN + body_len]);
            Reply::Refused(format!("status {status:#06x} {text}"))
        }
    };
    Ok(Some((reply, HEADER_LEN + body_len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(opcode: u8, status: u16, extras: &[u8], body: &[u8], opaque: u32) -> Vec<u8> {
        let mut wire = vec![RESPONSE, opcode, 0, 0, extras.len() as u8, 0];
        wire.extend(status.to_be_bytes());
        wire.extend(((extras.len() + body.len()) as u32).to_be_bytes());
        wire.extend(opaque.to_be_bytes());
        wire.extend([0; 8]);
        wire.extend(extras);
        wire.extend(body);
        wire
    }

    #[test]
    fn reads_values_before_their_bytes_are_there() {
        let wire = response(GET, 0, &[0, 0, 0, 9], b"hello", 77);
        for cut in 0..28 {
            assert_eq!(decode(&wire[..cut]), Ok(None), "{cut}");
        }
        let value = Reply::Value { name: Name::Opaque(77), value_len: 5, flags: Some(9) };
        assert_eq!(decode(&wire[..28]), Ok(Some((value, 28))));
    }

    #[test]
    fn reads_outcomes() {
        assert_eq!(decode(&response(GET, 1, b"", b"Not found", 0)), Ok(Some((Reply::Miss, 33))));
        assert_eq!(decode(&response(DELETE, 1, b"", b"Not found", 0)), Ok(Some((Reply::NotFound, 33))));
        assert_eq!(decode(&response(SET, 0, b"", b"", 0)), Ok(Some((Reply::Done, 24))));
        assert_eq!(decode(&response(NOOP, 0, b"", b"", 0)), Ok(Some((Reply::End, 24))));
        let refused = Reply::Refused("status 0x0003 Too large.".into());
        assert_eq!(decode(&response(SET, 3, b"", b"Too large.", 0)), Ok(Some((refused, 34))));
    }

    #[test]
    fn refuses_wrong_frames() {
        assert!(decode(b"\x80").is_err());
        let mut short = response(GET, 0, &[0; 4], b"", 0);
        short[11] = 2;
        assert!(decode(&short).is_err());
        assert!(decode(&response(GET, 0, &[0; 2], b"", 0)).is_err());
    }

    #[test]
    fn writes_requests() {
        let mut out = Vec::new();
        get(&mut out, GETKQ, b"ab", 0x0102_0304);
        assert_eq!(out[..4], [0x80, GETKQ, 0, 2]);
        assert_eq!(out[8..16], [0, 0, 0, 2, 1, 2, 3, 4]);
        assert_eq!(&out[24..], b"ab");
        out.clear();
        set(&mut out, b"ab", 60, 100);
        assert_eq!((out.len(), out[4], out[11]), (24 + 8 + 2, 8, 110));
        assert_eq!(out[28..32], [0, 0, 0, 60]);
    }
}
