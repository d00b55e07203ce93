//! Target: a session compared with a model, a map that behaves as protocol.txt says.
//!
//! Commands are generated from the input's bytes over a few keys, so that they collide, each in text or meta form. They are
//! sent in pieces whose lengths come from the input too. The replies must be the model's, byte for byte.

use super::flash;
use super::peer::Peer;
use crate::config::Config;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const KEYS: u8 = 6;

/// The fuzzer's input, which is read byte by byte. After its end, zeros are read.
struct Bytes<'d>(&'d [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }
}

/// The items that the server must have, as flags and value by key, together with the requests to send and the replies that are
/// expected.
#[derive(Debug, Default)]
struct Model {
    items: BTreeMap<u8, (u16, Vec<u8>)>,
    request: Vec<u8>,
    expected: Vec<u8>,
}

impl Model {
    fn say(&mut self, line: &str) {
        self.request.extend_from_slice(line.as_bytes());
        self.request.extend_from_slice(b"\r\n");
    }

    fn expect(&mut self, line: &str) {
        self.expected.extend_from_slice(line.as_bytes());
        self.expected.extend_from_slice(b"\r\n");
    }

    /// Expects the reply `line`, unless the command is `quiet`.
    fn reply(&mut self, quiet: bool, line: &str) {
        if !quiet {
            self.expect(line);
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let (verb, argument) = (bytes.next(), bytes.next());
        let (key, quiet) = (argument % KEYS, argument & 0x80 != 0);
        match verb % 12 {
            0..=4 => self.store(verb % 12, key, quiet, bytes),
            5 => self.get(bytes),
            6 => self.delete(key, quiet),
            7 | 8 => self.count(verb % 12 == 7, key, quiet, bytes.next()),
            9 => self.touch(key, quiet),
            10 => self.meta_set(key, bytes),
            _ => self.meta_get(key),
        }
    }

    /// Makes a value from the input: usually a short one, sometimes one long enough for a reservation, sometimes a number.
    fn value(bytes: &mut Bytes<'_>) -> Vec<u8> {
        let (kind, fill) = (bytes.next(), bytes.next());
        match kind {
            0..=80 => (u64::from(fill) * 997).to_string().into_bytes(),
            81..=250 => vec![b'a' + fill % 26; usize::from(kind) - 80],
            _ => vec![b'a' + fill % 26; 9_000 + usize::from(fill) * 40],
        }
    }

    fn store(&mut self, verb: u8, key: u8, quiet: bool, bytes: &mut Bytes<'_>) {
        let name = ["set", "add", "replace", "append", "prepend"][usize::from(verb)];
        let (flags, value) = (u16::from(bytes.next()), Self::value(bytes));
        let noreply = if quiet { " noreply" } else { "" };
        self.say(&format!("{name} key{key} {flags} 0 {}{noreply}", value.len()));
        self.request.extend_from_slice(&value);
        self.request.extend_from_slice(b"\r\n");
        let there = self.items.get_mut(&key);
        let stored = match (verb, there) {
            (0, _) | (1, None) | (2, Some(_)) => {
                self.items.insert(key, (flags, value));
                true
            }
            (3, Some((_, old))) => {
                old.extend_from_slice(&value);
                true
            }
            (4, Some((_, old))) => {
                old.splice(..0, value);
                true
            }
            _ => false,
        };
        self.reply(quiet, if stored { "STORED" } else { "NOT_STORED" });
    }

    /// Requests some keys and expects the model's values. The next byte says how many keys.
    fn get(&mut self, bytes: &mut Bytes<'_>) {
        let count = bytes.next() % 20 + 1;
        let mut line = "get".to_owned();
        let mut found = Vec::new();
        for _ in 0..count {
            let key = bytes.next() % KEYS;
            // Writing to a String cannot fail.
            let _ = write!(line, " key{key}");
            if let Some((flags, value)) = self.items.get(&key) {
                found.extend_from_slice(format!("VALUE key{key} {flags} {}\r\n", value.len()).as_bytes());
                found.extend_from_slice(value);
                found.extend_from_slice(b"\r\n");
            }
        }
        self.say(&line);
        self.expected.extend(found);
        self.expect("END");
    }

    fn delete(&mut self, key: u8, quiet: bool) {
        let noreply = if quiet { " noreply" } else { "" };
        self.say(&format!("delete key{key}{noreply}"));
        let there = self.items.remove(&key).is_some();
        self.reply(quiet, if there { "DELETED" } else { "NOT_FOUND" });
    }

    fn count(&mut self, up: bool, key: u8, quiet: bool, delta: u8) {
        let (name, noreply) = (if up { "incr" } else { "decr" }, if quiet { " noreply" } else { "" });
        self.say(&format!("{name} key{key} {delta}{noreply}"));
        let Some((_, value)) = self.items.get_mut(&key) else { return self.reply(quiet, "NOT_FOUND") };
        // A number may be followed by spaces and then by anything.
        let text =
            value.split(|&byte| byte == b' ').next().and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(number) = text.and_then(|text| text.parse::<u64>().ok()) else {
            return self.reply(quiet, "CLIENT_ERROR cannot increment or decrement non-numeric value");
        };
        let delta = u64::from(delta);
        let counted = if up { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
        let text = counted.to_string();
        // Padded with spaces to the old length.
        *value = format!("{text:<width$}", width = value.len()).into_bytes();
        self.reply(quiet, &text);
    }

    fn touch(&mut self, key: u8, quiet: bool) {
        let noreply = if quiet { " noreply" } else { "" };
        self.say(&format!("touch key{key} 0{noreply}"));
        let there = self.items.contains_key(&key);
        self.reply(quiet, if there { "TOUCHED" } else { "NOT_FOUND" });
    }

    fn meta_set(&mut self, key: u8, bytes: &mut Bytes<'_>) {
        let (flags, value) = (u16::from(bytes.next()), Self::value(bytes));
        self.say(&format!("ms key{key} {} F{flags} O{flags} k", value.len()));
        self.request.extend_from_slice(&value);
        self.request.extend_from_slice(b"\r\n");
        self.items.insert(key, (flags, value));
        self.expect(&format!("HD O{flags} kkey{key}"));
    }

    fn meta_get(&mut self, key: u8) {
        self.say(&format!("mg key{key} f s v"));
        let Some((flags, value)) = self.items.get(&key) else { return self.expect("EN") };
        let head = format!("VA {} f{flags} s{}\r\n", value.len(), value.len());
        self.expected.extend_from_slice(head.as_bytes());
        self.expected.extend_from_slice(value);
        self.expected.extend_from_slice(b"\r\n");
    }
}

/// Target: the replies to commands generated from `data`, sent in pieces, are those of the model. The first byte says how many
/// of the next bytes are lengths of pieces. If that byte is odd, all values are moved to flash after each piece but the last.
///
/// # Panics
/// A reply differs from the model's.
pub fn model(data: &[u8]) {
    let Some((&count, data)) = data.split_first() else { return };
    let (lengths, data) = data.split_at(usize::from(count).min(data.len()));
    let mut bytes = Bytes(data);
    let mut model = Model::default();
    while !bytes.0.is_empty() && model.request.len() < 300_000 {
        model.step(&mut bytes);
    }
    let is_tiered = count % 2 == 1;
    let mut peer = if is_tiered {
        Peer::with_flash(Config::default(), flash::options())
    } else {
        Peer::new(Config::default())
    };
    let mut rest = &model.request[..];
    for &length in lengths {
        let (piece, behind) = rest.split_at((usize::from(length) * 8 + 1).min(rest.len()));
        peer.send(piece);
        if is_tiered {
            peer.demote_all();
        }
        if length % 8 == 7 && is_tiered {
            peer.write_all();
        }
        rest = behind;
    }
    peer.send(rest);
    let answers = peer.answers();
    if answers != model.expected {
        let differs =
            answers.iter().zip(&model.expected).take_while(|(ours, expected)| ours == expected).count();
        let near = |bytes: &[u8]| {
            bytes[differs.saturating_sub(60)..bytes.len().min(differs + 60)].escape_ascii().to_string()
        };
        panic!("answered {:?}, expected {:?}", near(&answers), near(&model.expected));
    }
    assert!(!peer.is_closed());
}
