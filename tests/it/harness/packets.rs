//! Binary packets: their notation in scripts, and constructors for other tests.
//!
//! ```text
//! >b set key=a value=1 flags=5 exptime=0 cas=7 opaque=9
//! <b set ok cas=new:NAME         cas=new: any but 0; default 0
//! <b get ok flags=5 value=1 cas={=NAME}
//! <b get not_found               with the text of the status, unless key= or value= is given
//! <b incr ok num=10 cas=new      an 8-byte value
//! <b stats pid uptime            all `stat` replies up to the last; these must be among them
//! ```
//!
//! `extras=` (hex), `magic=`, `keylen=`, `extlen=`, `bodylen=`, `op=0x1f` override what is derived from the rest.

use std::collections::BTreeMap;

use crate::harness::pattern::{Pattern, Piece, Vars};

const OPCODES: &[(&str, u8)] = &[
    ("get", 0x00),
    ("set", 0x01),
    ("add", 0x02),
    ("replace", 0x03),
    ("delete", 0x04),
    ("incr", 0x05),
    ("decr", 0x06),
    ("quit", 0x07),
    ("flush", 0x08),
    ("getq", 0x09),
    ("noop", 0x0a),
    ("version", 0x0b),
    ("getk", 0x0c),
    ("getkq", 0x0d),
    ("append", 0x0e),
    ("prepend", 0x0f),
    ("stat", 0x10),
    ("setq", 0x11),
    ("addq", 0x12),
    ("replaceq", 0x13),
    ("deleteq", 0x14),
    ("incrq", 0x15),
    ("decrq", 0x16),
    ("quitq", 0x17),
    ("flushq", 0x18),
    ("appendq", 0x19),
    ("prependq", 0x1a),
    ("touch", 0x1c),
    ("gat", 0x1d),
    ("gatq", 0x1e),
    ("sasl_list", 0x20),
    ("sasl_auth", 0x21),
    ("sasl_step", 0x22),
    ("gatk", 0x23),
    ("gatkq", 0x24),
];

/// Name, code, text. Source: `protocol_binary.h` and `proto_bin.c` of memcached 1.6.45.
const STATUSES: &[(&str, u16, &str)] = &[
    ("ok", 0x00, ""),
    ("not_found", 0x01, "Not found"),
    ("exists", 0x02, "Data exists for key."),
    ("too_large", 0x03, "Too large."),
    ("invalid", 0x04, "Invalid arguments"),
    ("not_stored", 0x05, "Not stored."),
    ("non_numeric", 0x06, "Non-numeric server-side value for incr or decr"),
    ("auth", 0x20, "Auth failure."),
    ("continue", 0x21, ""),
    ("unknown", 0x81, "Unknown command"),
    ("oom", 0x82, "Out of memory"),
];

struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn new(words: impl Iterator<Item = &'a str>) -> Self {
        Self(words.map(|word| word.split_once('=').unwrap_or_else(|| panic!("{word}"))).collect())
    }

    fn number(&self, name: &str) -> Option<u64> {
        let text = self.0.get(name)?;
        Some(match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
            None => text.parse().unwrap(),
        })
    }

    fn pattern(&self, name: &str) -> Pattern {
        self.0.get(name).map(|text| Pattern::parse(text)).unwrap_or_default()
    }
}

/// Length of a pattern of fixed length.
fn len(pattern: &Pattern) -> usize {
    let mut bytes = Vec::new();
    pattern.write(&Vars::new(), &mut bytes);
    bytes.len()
}

fn opcode(name: &str, words: &Words<'_>) -> u8 {
    if let Some(op) = words.number("op") {
        return op as u8;
    }
    OPCODES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("opcode {name}")).1
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn request_extras(name: &str, words: &Words<'_>) -> Vec<u8> {
    let number = |name, default| words.number(name).unwrap_or(default);
    let exptime = (number("exptime", 0) as u32).to_be_bytes();
    if let Some(text) = words.0.get("extras") {
        return hex(text);
    }
    match name {
        "set" | "add" | "replace" | "setq" | "addq" | "replaceq" => {
            [(number("flags", 0) as u32).to_be_bytes(), exptime].concat()
        }
        "incr" | "decr" | "incrq" | "decrq" => {
            let mut extras = number("delta", 1).to_be_bytes().to_vec();
            extras.extend_from_slice(&number("initial", 0).to_be_bytes());
            extras.extend_from_slice(&exptime);
            extras
        }
        "touch" | "gat" | "gatq" | "gatk" | "gatkq" => exptime.to_vec(),
        "flush" | "flushq" if words.0.contains_key("exptime") => exptime.to_vec(),
        _ => Vec::new(),
    }
}

fn packet(magic: u8, op: u8, status: u16, extras: &[u8], words: &Words<'_>, body: [Pattern; 2]) -> Pattern {
    let [key, value] = body;
    let key_len = words.number("keylen").unwrap_or(len(&key) as u64) as u16;
    let extras_len = words.number("extlen").unwrap_or(extras.len() as u64) as u8;
    let body_len = words.number("bodylen").unwrap_or((len(&key) + len(&value) + extras.len()) as u64) as u32;
    let mut head = vec![words.number("magic").map_or(magic, |magic| magic as u8), op];
    head.extend_from_slice(&key_len.to_be_bytes());
    head.extend_from_slice(&[extras_len, words.number("datatype").unwrap_or(0) as u8]);
    head.extend_from_slice(&status.to_be_bytes());
    head.extend_from_slice(&body_len.to_be_bytes());
    head.extend_from_slice(&(words.number("opaque").unwrap_or(0) as u32).to_be_bytes());
    let mut pattern = Pattern::default();
    pattern.bytes(&head);
    match words.0.get("cas").copied() {
        None => pattern.bytes(&[0; 8]),
        Some("new") => pattern.0.push(Piece::NonZero8(None)),
        Some(text) => match (text.strip_prefix("new:"), text.strip_prefix("{=")) {
            (Some(name), _) => pattern.0.push(Piece::NonZero8(Some(name.to_owned()))),
            (_, Some(name)) => pattern.0.push(Piece::Var8(name.trim_end_matches('}').to_owned())),
            _ => pattern.bytes(&words.number("cas").unwrap().to_be_bytes()),
        },
    }
    pattern.bytes(extras);
    pattern.0.extend(key.0);
    pattern.0.extend(value.0);
    pattern
}

/// A request in script notation.
pub fn request(line: &str) -> Pattern {
    let mut words = line.split(' ');
    let name = words.next().unwrap();
    let words = Words::new(words);
    let extras = request_extras(name, &words);
    let vbucket = words.number("vbucket").unwrap_or(0) as u16;
    let body = [words.pattern("key"), words.pattern("value")];
    packet(0x80, opcode(name, &words), vbucket, &extras, &words, body)
}

/// A response in script notation.
pub fn response(line: &str) -> Pattern {
    let mut words = line.split(' ');
    let name = words.next().unwrap();
    if name == "stats" {
        return Pattern(vec![Piece::Stats(words.map(str::to_owned).collect())]);
    }
    let status = words.next().unwrap();
    let words = Words::new(words);
    let (_, code, text) =
        *STATUSES.iter().find(|(known, ..)| *known == status).unwrap_or_else(|| panic!("status {status}"));
    let extras = match (words.0.get("extras"), words.number("flags")) {
        (Some(text), _) => hex(text),
        (None, Some(flags)) => (flags as u32).to_be_bytes().to_vec(),
        (None, None) => Vec::new(),
    };
    let mut value = words.pattern("value");
    if let Some(number) = words.number("num") {
        value.bytes(&number.to_be_bytes());
    }
    if !words.0.contains_key("value") && !words.0.contains_key("key") && words.number("num").is_none() {
        value.bytes(text.as_bytes());
    }
    packet(0x81, opcode(name, &words), code, &extras, &words, [words.pattern("key"), value])
}
