//! The text and meta commands. Both reply in lines, and their replies use different words.

use super::reply::{Garbage, Name, Reply};

/// No reply line of memcached is longer than a key, three numbers and a word or an error text.
const LINE_LEN_MAX: usize = 2048;

pub(super) fn get(out: &mut Vec<u8>, keys: &[&[u8]]) {
    out.extend_from_slice(b"get");
    for key in keys {
        out.push(b' ');
        out.extend_from_slice(key);
    }
    out.extend_from_slice(b"\r\n");
}

pub(super) fn meta_get(out: &mut Vec<u8>, key: &[u8], rest: &[u8]) {
    out.extend_from_slice(b"mg ");
    out.extend_from_slice(key);
    out.extend_from_slice(rest);
}

pub(super) fn command(out: &mut Vec<u8>, word: &[u8], key: &[u8]) {
    out.extend_from_slice(word);
    out.extend_from_slice(key);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn set(out: &mut Vec<u8>, key: &[u8], ttl_secs: u32, value_len: usize) {
    out.extend_from_slice(b"set ");
    out.extend_from_slice(key);
    out.extend_from_slice(b" 0 ");
    number(out, u64::from(ttl_secs));
    out.push(b' ');
    number(out, value_len as u64);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn meta_set(out: &mut Vec<u8>, key: &[u8], ttl_secs: u32, value_len: usize) {
    out.extend_from_slice(b"ms ");
    out.extend_from_slice(key);
    out.push(b' ');
    number(out, value_len as u64);
    if ttl_secs != 0 {
        out.extend_from_slice(b" T");
        number(out, u64::from(ttl_secs));
    }
    out.extend_from_slice(b"\r\n");
}

fn number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Garbage> {
    let window = &bytes[..bytes.len().min(LINE_LEN_MAX)];
    let Some(newline) = memchr::memchr(b'\n', window) else {
        return if bytes.len() >= LINE_LEN_MAX { Err(garbage(window)) } else { Ok(None) };
    };
    let line = &bytes[..newline];
    let line = line.strip_suffix(b"\r").ok_or_else(|| garbage(line))?;
    let mut words = line.split(|&b| b == b' ');
    let first = words.next().unwrap_or_default();
    let reply = match first {
        b"VALUE" => value(&mut words).ok_or_else(|| garbage(line))?,
        b"VA" => meta_value(&mut words).ok_or_else(|| garbage(line))?,
        b"END" | b"MN" => Reply::End,
        b"EN" => Reply::Miss,
        b"STORED" | b"HD" => Reply::Done,
        b"DELETED" => Reply::Deleted,
        b"NOT_FOUND" | b"NF" => Reply::NotFound,
        b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" | b"NOT_STORED" | b"NS" | b"EXISTS" | b"EX" => {
            Reply::Refused(String::from_utf8_lossy(line).into_owned())
        }
        _ => return Err(garbage(line)),
    };
    Ok(Some((reply, newline + 1)))
}

/// The rest of `VALUE key flags len`.
fn value<'a>(words: &mut impl Iterator<Item = &'a [u8]>) -> Option<Reply<'a>> {
    let name = Name::Key(words.next()?);
    let flags = Some(parse(words.next()?)? as u32);
    let value_len = parse(words.next()?)?;
    Some(Reply::Value { name, value_len, flags })
}

/// The rest of `VA len flag...`; of the flags only `k` is read.
fn meta_value<'a>(words: &mut impl Iterator<Item = &'a [u8]>) -> Option<Reply<'a>> {
    let value_len = parse(words.next()?)?;
    let name = words.find_map(|word| word.strip_prefix(b"k")).map_or(Name::None, Name::Key);
    Some(Reply::Value { name, value_len, flags: None })
}

fn parse(word: &[u8]) -> Option<usize> {
    if word.is_empty() || word.len() > 10 {
        return None;
    }
    word.iter().try_fold(0usize, |n, &b| b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0')))
}

fn garbage(line: &[u8]) -> Garbage {
    Garbage(format!("not a reply: {:?}", String::from_utf8_lossy(&line[..line.len().min(80)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_heads_and_waits_for_whole_lines() {
        let wire = b"VALUE abc 7 12\r\n";
        for cut in 0..wire.len() {
            assert_eq!(decode(&wire[..cut]), Ok(None));
        }
        let value = Reply::Value { name: Name::Key(b"abc"), value_len: 12, flags: Some(7) };
        assert_eq!(decode(wire), Ok(Some((value, 16))));
        let meta = Reply::Value { name: Name::Key(b"k1"), value_len: 5, flags: None };
        assert_eq!(decode(b"VA 5 f0 kk1\r\nhello\r\n"), Ok(Some((meta, 13))));
        assert_eq!(decode(b"END\r\nEND\r\n"), Ok(Some((Reply::End, 5))));
        assert_eq!(decode(b"EN\r\n"), Ok(Some((Reply::Miss, 4))));
        let refused = Reply::Refused("SERVER_ERROR out of memory".into());
        assert_eq!(decode(b"SERVER_ERROR out of memory\r\n"), Ok(Some((refused, 28))));
    }

    #[test]
    fn refuses_what_no_server_sends() {
        for wire in
            [&b"HELLO\r\n"[..], b"VALUE a 0 x\r\n", b"VALUE a 0\r\n", b"VA \r\n", b"END\n", b"\0\0\r\n"]
        {
            assert!(decode(wire).is_err(), "{wire:?}");
        }
        assert!(decode(&[b'a'; LINE_LEN_MAX]).is_err());
    }

    #[test]
    fn writes_requests() {
        let mut out = Vec::new();
        get(&mut out, &[b"a", b"b"]);
        set(&mut out, b"k", 60, 100);
        meta_set(&mut out, b"k", 0, 9);
        meta_set(&mut out, b"k", 1, 9);
        assert_eq!(out, b"get a b\r\nset k 0 60 100\r\nms k 9\r\nms k 9 T1\r\n");
    }
}
