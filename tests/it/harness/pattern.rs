//! Byte patterns with placeholders: expanded when sent, matched when received.

use std::collections::BTreeMap;
use std::fmt;

use crate::harness::{Client, show};

/// Values remembered by a script, by name; numbers in decimal.
pub type Vars = BTreeMap<String, String>;

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    Repeat(u8, usize),
    /// A remembered value, in decimal.
    Var(String),
    /// A remembered value, as 8 bytes.
    Var8(String),
    /// Decimal digits, possibly to remember; otherwise a minus sign may precede them.
    Digits(Option<String>),
    /// 8 bytes, not all zero, possibly to remember.
    NonZero8(Option<String>),
    /// Bytes up to a space or a line end, at least one.
    Word,
    /// Bytes up to the line end.
    Rest,
    /// Anything up to and including this.
    Through(Vec<u8>),
    /// Binary `stat` replies up to the terminator, these names among them.
    Stats(Vec<String>),
}

enum Match {
    Len(usize),
    /// Undecided without more bytes.
    Need,
    No,
}

/// A sequence of pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(pub Vec<Piece>);

impl Pattern {
    /// A line of a script, followed by `\r\n` unless it ends in `\`.
    pub fn text(line: &str) -> Self {
        match line.strip_suffix('\\') {
            Some(line) if !line.ends_with('\\') => Self::parse(line),
            _ => Self::parse(&format!("{line}\\r\\n")),
        }
    }

    /// Resolves escapes and placeholders.
    ///
    /// # Panics
    /// When they are malformed.
    pub fn parse(text: &str) -> Self {
        let mut pattern = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            rest = &rest[first.len_utf8()..];
            match first {
                '\\' => rest = pattern.escape(rest),
                '{' => {
                    let (inside, behind) = rest.split_once('}').expect("a placeholder ends");
                    pattern.0.push(placeholder(inside));
                    rest = behind;
                }
                _ => pattern.bytes(first.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        pattern
    }

    fn escape<'a>(&mut self, rest: &'a str) -> &'a str {
        let byte = match rest.as_bytes()[0] {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b's' => b' ',
            b'x' => {
                self.bytes(&[u8::from_str_radix(&rest[1..3], 16).unwrap()]);
                return &rest[3..];
            }
            other => other,
        };
        self.bytes(&[byte]);
        &rest[1..]
    }

    /// Appends literal bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if let Some(Piece::Bytes(last)) = self.0.last_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.0.push(Piece::Bytes(bytes.to_vec()));
        }
    }

    /// The names this pattern needs.
    pub fn uses(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Var(name) | Piece::Var8(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The names this pattern defines.
    pub fn remembers(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Digits(Some(name)) | Piece::NonZero8(Some(name)) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Writes the bytes to send.
    ///
    /// # Panics
    /// When a placeholder has more than one possible value.
    pub fn write(&self, vars: &Vars, out: &mut Vec<u8>) {
        for piece in &self.0 {
            piece.write(vars, out);
        }
    }

    /// Receives the bytes that match; others stay with the client.
    pub fn read(&self, client: &mut Client, vars: &mut Vars) -> Result<(), String> {
        for piece in &self.0 {
            loop {
                match piece.matches(client.pending(), vars) {
                    Match::Len(len) => {
                        client.take(len);
                        break;
                    }
                    Match::No => return Err(format!("not {}", show_piece(piece))),
                    Match::Need => match client.try_fill() {
                        Ok(true) => {}
                        Ok(false) => return Err("closed by the server".to_owned()),
                        Err(error) => return Err(format!("no answer: {error}")),
                    },
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| write!(f, "{}", show_piece(piece)))
    }
}

fn show_piece(piece: &Piece) -> String {
    match piece {
        Piece::Bytes(bytes) => show(bytes),
        other => format!("{{{other:?}}}"),
    }
}

fn placeholder(text: &str) -> Piece {
    let (word, rest) = text.split_once(':').unwrap_or((text, ""));
    match word {
        "repeat" => {
            let (byte, count) = rest.split_once(',').unwrap();
            Piece::Repeat(byte.as_bytes()[0], count.parse().unwrap())
        }
        "num" => Piece::Digits(None),
        "cas" => Piece::Digits(Some(rest.to_owned())),
        "word" => Piece::Word,
        "rest" => Piece::Rest,
        "through" => {
            let mut bytes = Vec::new();
            Pattern::parse(rest).write(&Vars::new(), &mut bytes);
            Piece::Through(bytes)
        }
        _ => Piece::Var(text.strip_prefix('=').unwrap_or_else(|| panic!("{{{text}}}")).to_owned()),
    }
}

impl Piece {
    fn write(&self, vars: &Vars, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Repeat(byte, count) => out.resize(out.len() + count, *byte),
            Self::Var(name) => out.extend_from_slice(vars[name].as_bytes()),
            Self::Var8(name) => out.extend_from_slice(&vars[name].parse::<u64>().unwrap().to_be_bytes()),
            other => panic!("{other:?} cannot be sent"),
        }
    }

    fn matches(&self, input: &[u8], vars: &mut Vars) -> Match {
        match self {
            Self::Bytes(_) | Self::Repeat(..) | Self::Var(_) | Self::Var8(_) => {
                let mut bytes = Vec::new();
                self.write(vars, &mut bytes);
                literal(input, &bytes)
            }
            Self::Digits(name) => {
                let sign = usize::from(name.is_none() && input.first() == Some(&b'-'));
                let digits = input[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if digits > 0
                    && let Some(name) = name
                {
                    vars.insert(name.clone(), String::from_utf8_lossy(&input[..digits]).into_owned());
                }
                ended(input, sign + digits, digits)
            }
            Self::NonZero8(name) => {
                let Some(bytes) = input.first_chunk::<8>() else { return Match::Need };
                let number = u64::from_be_bytes(*bytes);
                if let Some(name) = name {
                    vars.insert(name.clone(), number.to_string());
                }
                if number == 0 { Match::No } else { Match::Len(8) }
            }
            Self::Word => {
                let len = input.iter().take_while(|byte| !b" \r\n".contains(byte)).count();
                ended(input, len, len)
            }
            Self::Rest => {
                let len = input.iter().take_while(|byte| !b"\r\n".contains(byte)).count();
                ended(input, len, 1)
            }
            Self::Through(end) => match crate::harness::find(input, end) {
                Some(at) => Match::Len(at + end.len()),
                None => Match::Need,
            },
            Self::Stats(names) => stats(input, names),
        }
    }
}

fn literal(input: &[u8], bytes: &[u8]) -> Match {
    let len = input.len().min(bytes.len());
    if input[..len] != bytes[..len] {
        Match::No
    } else if len < bytes.len() {
        Match::Need
    } else {
        Match::Len(len)
    }
}

/// A run of bytes whose end is known once another byte follows.
fn ended(input: &[u8], len: usize, significant: usize) -> Match {
    if len == input.len() {
        Match::Need
    } else if significant == 0 {
        Match::No
    } else {
        Match::Len(len)
    }
}

fn stats(input: &[u8], names: &[String]) -> Match {
    let mut missing: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut at = 0;
    loop {
        let Some(header) = input[at..].first_chunk::<24>() else { return Match::Need };
        let key_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let body_len = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        if header[..2] != [0x81, 0x10]
            || header[4..8] != [0; 4]
            || header[16..] != [0; 8]
            || body_len < key_len
        {
            return Match::No;
        }
        at += 24;
        if body_len == 0 {
            return if missing.is_empty() { Match::Len(at) } else { Match::No };
        }
        let Some(body) = input.get(at..at + body_len) else { return Match::Need };
        let key = String::from_utf8_lossy(&body[..key_len]);
        missing.retain(|name| *name != key);
        at += body_len;
    }
}
