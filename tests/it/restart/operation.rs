//! Operations on one key: their bytes, and what they make of it.

use std::fmt;
use std::sync::Arc;

use crate::harness::{Client, find, show};

use super::model::{Item, Span, State, expiry};

/// How a store decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Set,
    /// Set, with a reply that tells the cas.
    Meta,
    /// Set, without a reply.
    Quiet,
    Add,
    Replace,
    Append,
    Prepend,
    Cas(u64),
}

#[derive(Clone, Debug)]
pub enum Op {
    /// A meta get of everything.
    Get,
    /// A negative TTL: what is stored has expired.
    Store {
        how: How,
        flags: u32,
        ttl: i32,
        value: Arc<Vec<u8>>,
    },
    Count {
        is_up: bool,
        by: u64,
    },
    Delete {
        is_quiet: bool,
    },
    Touch(i32),
    GetAndTouch(i32),
    /// Marks it stale, with another TTL.
    Invalidate(i32),
    /// A meta get that makes an empty item where there is none.
    Vivify(i32),
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Line(String),
    Item { value: Vec<u8>, flags: u32, ttl: Option<i64>, cas: Option<u64>, marks: String },
}

/// What an operation would have answered.
enum Answer {
    Line(String),
    /// The item, and the marks it was shown with.
    Item(Item, &'static str),
}

impl Op {
    pub fn has_reply(&self) -> bool {
        !matches!(self, Self::Store { how: How::Quiet, .. } | Self::Delete { is_quiet: true })
    }

    /// Bytes that request and reply may have together, about.
    pub fn bytes(&self, item: Option<&Item>) -> usize {
        let own = if let Self::Store { value, .. } = self { value.len() } else { 0 };
        own + item.map_or(0, |item| item.value.len())
    }

    pub fn write(&self, key: &str, out: &mut Vec<u8>) {
        let line = match self {
            Self::Get => format!("mg {key} s v f t c"),
            Self::Store { how, flags, ttl, value } => {
                let len = value.len();
                match how {
                    How::Set => format!("set {key} {flags} {ttl} {len}"),
                    How::Meta => format!("ms {key} {len} c F{flags} T{ttl}"),
                    How::Quiet => format!("set {key} {flags} {ttl} {len} noreply"),
                    How::Add => format!("add {key} {flags} {ttl} {len}"),
                    How::Replace => format!("replace {key} {flags} {ttl} {len}"),
                    How::Append => format!("append {key} {flags} {ttl} {len}"),
                    How::Prepend => format!("prepend {key} {flags} {ttl} {len}"),
                    How::Cas(cas) => format!("cas {key} {flags} {ttl} {len} {cas}"),
                }
            }
            Self::Count { is_up: true, by } => format!("incr {key} {by}"),
            Self::Count { is_up: false, by } => format!("decr {key} {by}"),
            Self::Delete { is_quiet } => format!("delete {key}{}", if *is_quiet { " noreply" } else { "" }),
            Self::Touch(ttl) => format!("touch {key} {ttl}"),
            Self::GetAndTouch(ttl) => format!("gat {ttl} {key}"),
            Self::Invalidate(ttl) => format!("md {key} I T{ttl}"),
            Self::Vivify(ttl) => format!("mg {key} s v f t c N{ttl}"),
        };
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
        if let Self::Store { value, .. } = self {
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// What it leaves where `before` was, if it could have answered `reply`.
    pub fn explains(&self, reply: &Reply, before: Option<&Item>, at: Span) -> Option<State> {
        if let (Self::Store { how: How::Append | How::Prepend, .. }, Reply::Line(line)) = (self, reply)
            && line == "NOT_STORED"
        {
            // So it also says that there is no memory for it.
            return Some(before.cloned());
        }
        let (answer, mut after) = self.done(before, at);
        let told = match (reply, &answer) {
            // Nobody waits for a reply to it.
            _ if !self.has_reply() => None,
            (Reply::Line(line), Answer::Line(expected)) if line.starts_with("HD c") => {
                (expected == "HD").then(|| line[4..].parse().ok())?
            }
            (Reply::Line(line), Answer::Line(expected)) => (line == expected).then_some(None)?,
            (reply @ Reply::Item { cas, .. }, Answer::Item(item, marks)) => {
                shows(reply, item, marks, at).then_some(*cas)?
            }
            _ => return None,
        };
        if let Some(item) = &mut after {
            item.cas = told.or(item.cas);
        }
        Some(after)
    }

    /// What it may leave where `before` was, if it was sent and not answered.
    pub fn outcomes(&self, before: Option<&Item>, at: Span) -> Vec<State> {
        let after = self.done(before, at).1;
        match (self, before) {
            // Whether the unique given is its own is not known.
            (Self::Store { how: How::Cas(_), flags, ttl, value }, Some(Item { cas: None, .. })) => {
                vec![after, stored(*ttl, || Item::new(Arc::clone(value), *flags, *ttl, at))]
            }
            _ => vec![after],
        }
    }

    fn done(&self, before: Option<&Item>, at: Span) -> (Answer, Option<Item>) {
        let line = |line: &str| Answer::Line(line.to_owned());
        match (self, before) {
            (Self::Store { how, flags, ttl, value }, _) => store(*how, *flags, *ttl, value, before, at),
            (Self::Get, None) => (line("EN"), None),
            (Self::GetAndTouch(_), None) => (line("END"), None),
            (Self::Count { .. } | Self::Delete { .. } | Self::Touch(_), None) => (line("NOT_FOUND"), None),
            (Self::Invalidate(_), None) => (line("NF"), None),
            (Self::Vivify(ttl), None) => {
                let item = Item { won: true, ..Item::new(Arc::default(), 0, *ttl, at) };
                // Its TTL is shown from the next time on.
                (Answer::Item(Item { expires: None, ..item.clone() }, "W"), Some(item))
            }
            (Self::Get | Self::Vivify(_), Some(item)) => {
                let marks = match (item.stale, item.won) {
                    (true, false) => "XW",
                    (true, true) => "ZX",
                    (false, true) => "Z",
                    (false, false) => "",
                };
                let next = Item { won: item.won || item.stale, ..item.clone() };
                (Answer::Item(item.clone(), marks), Some(next))
            }
            (Self::Count { is_up, by }, Some(item)) => count(*is_up, *by, item, at),
            (Self::Delete { .. }, Some(_)) => (line("DELETED"), None),
            (Self::Touch(ttl), Some(item)) => {
                (line("TOUCHED"), Some(Item { expires: expiry(*ttl, at), ..item.clone() }))
            }
            (Self::GetAndTouch(ttl), Some(item)) => {
                (Answer::Item(item.clone(), ""), Some(Item { expires: expiry(*ttl, at), ..item.clone() }))
            }
            (Self::Invalidate(ttl), Some(item)) => {
                let marked =
                    Item { expires: expiry(*ttl, at), stale: true, won: false, cas: None, ..item.clone() };
                (line("HD"), Some(marked))
            }
        }
    }
}

/// True if `reply` is `item`, with `marks`.
fn shows(reply: &Reply, item: &Item, expected: &str, at: Span) -> bool {
    let Reply::Item { value, flags, ttl, cas, marks } = reply else { return false };
    // Without a TTL it is the reply to gat, which shows no marks either.
    let is_meta = ttl.is_some();
    *value == *item.value
        && *flags == item.flags
        && ttl.is_none_or(|ttl| item.expires_in(ttl, at))
        && cas.is_none_or(|told| item.cas.is_none_or(|known| told == known))
        && (!is_meta || marks == expected)
}

fn stored(ttl: i32, item: impl FnOnce() -> Item) -> Option<Item> {
    (ttl >= 0).then(item)
}

fn store(
    how: How,
    flags: u32,
    ttl: i32,
    value: &Arc<Vec<u8>>,
    before: Option<&Item>,
    at: Span,
) -> (Answer, Option<Item>) {
    let line = |line: &str| Answer::Line(line.to_owned());
    let fresh = || stored(ttl, || Item::new(Arc::clone(value), flags, ttl, at));
    let joined = |parts: [&[u8]; 2], old: &Item| {
        Some(Item {
            value: Arc::new(parts.concat()),
            cas: None,
            stale: false,
            won: false,
            written: at,
            ..old.clone()
        })
    };
    match (how, before) {
        (How::Meta, _) => (line("HD"), fresh()),
        (How::Set | How::Quiet, _) | (How::Add, None) | (How::Replace, Some(_)) => (line("STORED"), fresh()),
        (How::Append, Some(old)) => (line("STORED"), joined([&old.value, value], old)),
        (How::Prepend, Some(old)) => (line("STORED"), joined([value, &old.value], old)),
        (How::Cas(given), Some(old)) if old.cas == Some(given) => (line("STORED"), fresh()),
        (How::Cas(_), Some(old)) => (line("EXISTS"), Some(old.clone())),
        (How::Cas(_), None) => (line("NOT_FOUND"), None),
        (How::Add | How::Replace | How::Append | How::Prepend, _) => (line("NOT_STORED"), before.cloned()),
    }
}

fn count(is_up: bool, by: u64, item: &Item, at: Span) -> (Answer, Option<Item>) {
    let text = String::from_utf8_lossy(&item.value).into_owned();
    let Ok(number) = text.trim_end().parse::<u64>() else {
        let line = "CLIENT_ERROR cannot increment or decrement non-numeric value";
        return (Answer::Line(line.to_owned()), Some(item.clone()));
    };
    let number = if is_up { number.wrapping_add(by) } else { number.saturating_sub(by) };
    let digits = number.to_string();
    let grows = digits.len() > item.value.len();
    // A number that gets shorter leaves blanks behind it.
    let value = format!("{digits:<width$}", width = item.value.len());
    let counted = Item {
        value: Arc::new(value.into_bytes()),
        cas: None,
        stale: item.stale && !grows,
        won: item.won && !grows,
        written: at,
        ..item.clone()
    };
    (Answer::Line(digits), Some(counted))
}

impl Reply {
    /// The next reply; `None` if the stream ends before it is whole.
    pub fn read(client: &mut Client) -> Option<Self> {
        let line = read_line(client)?;
        let words: Vec<_> = line.split(' ').collect();
        match words[0] {
            "VA" => {
                let value = read_value(client, words[1].parse().unwrap())?;
                let flag = |sign| words.iter().skip(2).find_map(|word| word.strip_prefix(sign));
                let marks = words.iter().filter(|word| ["X", "W", "Z"].contains(word)).copied().collect();
                Some(Self::Item {
                    value,
                    flags: flag('f')?.parse().unwrap(),
                    ttl: flag('t').map(|ttl| ttl.parse().unwrap()),
                    cas: flag('c').map(|cas| cas.parse().unwrap()),
                    marks,
                })
            }
            "VALUE" => {
                let value = read_value(client, words[3].parse().unwrap())?;
                assert_eq!(read_line(client)?, "END");
                let flags = words[2].parse().unwrap();
                Some(Self::Item { value, flags, ttl: None, cas: None, marks: String::new() })
            }
            _ => Some(Self::Line(line)),
        }
    }

    /// True if it says that there is no memory.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Line(line) if line.starts_with("SERVER_ERROR out of memory"))
    }

    /// The cas unique it tells.
    pub fn cas(&self) -> Option<u64> {
        match self {
            Self::Item { cas, .. } => *cas,
            Self::Line(line) => line.strip_prefix("HD c")?.parse().ok(),
        }
    }
}

fn read_line(client: &mut Client) -> Option<String> {
    loop {
        if let Some(at) = find(client.pending(), b"\r\n") {
            let line = client.take(at + 2);
            return Some(String::from_utf8_lossy(&line[..at]).into_owned());
        }
        if !client.fill() {
            return None;
        }
    }
}

fn read_value(client: &mut Client, len: usize) -> Option<Vec<u8>> {
    let mut value = client.read_if_whole(len + 2)?;
    assert_eq!(value.split_off(len), b"\r\n");
    Some(value)
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Store { how, flags, ttl, value } = self else { return write!(f, "{self:?}") };
        write!(
            f,
            "{how:?} f{flags} ttl {ttl} {} ({} bytes)",
            show(&value[..value.len().min(24)]),
            value.len()
        )
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => f.write_str(line),
            Self::Item { value, flags, ttl, cas, marks } => {
                let (shown, len) = (show(&value[..value.len().min(60)]), value.len());
                write!(f, "{shown} ({len} bytes) f{flags} ttl {ttl:?} cas {cas:?} {marks}")
            }
        }
    }
}
