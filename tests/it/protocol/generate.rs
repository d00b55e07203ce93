//! Commands generated from a seed: well formed, or broken in small ways.

use std::fmt;

use crate::harness::random::Random;
use crate::harness::show;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Text and meta.
    Text,
    Binary,
}

/// A part of a request.
#[derive(Clone, Debug)]
pub enum Part {
    Bytes(Vec<u8>),
    /// The cas of a key on the server the request goes to, in decimal.
    Cas(Vec<u8>),
    /// The same as 8 bytes.
    Cas8(Vec<u8>),
}

/// One command.
#[derive(Clone, Debug)]
pub struct Step {
    pub protocol: Protocol,
    pub parts: Vec<Part>,
    /// Its key.
    pub key: Vec<u8>,
    /// The reply may contain a bare cas.
    pub shows_cas: bool,
    /// Possibly malformed: there may be no reply.
    pub broken: bool,
}

impl Step {
    /// A plain text command.
    pub fn text(bytes: &[u8], key: &[u8]) -> Self {
        Self {
            protocol: Protocol::Text,
            parts: vec![Part::Bytes(bytes.to_vec())],
            key: key.to_vec(),
            shows_cas: false,
            broken: false,
        }
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| if let Part::Bytes(bytes) = part { bytes.len() } else { 8 }).sum()
    }

    fn push(&mut self, text: &str) {
        self.parts.push(Part::Bytes(text.as_bytes().to_vec()));
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Bytes(bytes) => f.write_str(&show(bytes)),
            Part::Cas(key) | Part::Cas8(key) => write!(f, "{{cas of {}}}", show(key)),
        })
    }
}

/// Values contain no minus sign: for numbers from 2^63 memcached searches for one even beyond the item.
const KEYS: &[&str] = &["a", "b", "c", "key:with:colons", "foo", "tab\tkey", "k.k.k.k.k.k.k.k.k.k.k.k"];
/// No empty values: to increment one, memcached reads beyond the item.
const SIZES: &[usize] = &[1, 2, 3, 9, 10, 20, 21, 100, 1000, 2048, 5000, 16384, 20000, 70000];
const NUMBERS: &[u64] = &[0, 1, 2, 9, 10, 99, 100, 255, 4_294_967_295, 9_999_999_999, u64::MAX - 1, u64::MAX];
const EXPTIMES: &[&str] = &["0", "0", "0", "100", "2592000", "-1", "2592001"];

/// A random command.
pub fn step(random: &mut Random, protocol: Protocol, broken: bool) -> Step {
    let mut step = match protocol {
        Protocol::Text if random.one_in(2) => text(random),
        Protocol::Text => meta(random),
        Protocol::Binary => binary(random),
    };
    // A server that closes with unread input resets the connection, which can lose replies already sent.
    if broken && step.len() > 1500 {
        return self::step(random, protocol, broken);
    }
    if broken {
        damage(random, &mut step);
    }
    step
}

fn key(random: &mut Random) -> String {
    if random.one_in(40) { "x".repeat(250) } else { (*random.pick(KEYS)).to_owned() }
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 | 1 => random.pick(NUMBERS).to_string().into_bytes(),
        2 => b" 12 ".to_vec(),
        // With bits 0, 5 and 6 set no byte is white space or a minus sign.
        3 => (0..=random.below(40)).map(|_| random.next() as u8 | 0x61).collect(),
        _ => {
            let letter = b'a' + random.below(26) as u8;
            vec![letter; *random.pick(SIZES)]
        }
    }
}

fn text(random: &mut Random) -> Step {
    let name = key(random);
    let mut step = Step::text(b"", name.as_bytes());
    let noreply = if random.one_in(6) { " noreply" } else { "" };
    let delta = *random.pick(NUMBERS);
    let exptime = *random.pick(EXPTIMES);
    match random.below(16) {
        0..=4 => store(random, &mut step, &name, noreply),
        5 | 6 => {
            let others: Vec<_> = (0..random.below(4)).map(|_| key(random)).collect();
            step.push(&format!("get {name} {}\r\n", others.join(" ")));
        }
        7 => {
            step.shows_cas = true;
            step.push(&format!("gets {name} {}\r\n", key(random)));
        }
        8 => step.push(&format!("gat {exptime} {name}\r\n")),
        9 => {
            step.shows_cas = true;
            step.push(&format!("gats {exptime} {name} {}\r\n", key(random)));
        }
        10 => step.push(&format!("touch {name} {exptime}{noreply}\r\n")),
        11 => step.push(&format!("delete {name}{noreply}\r\n")),
        // Never quiet: memcached rejects some numbers because of the memory after them, which must be seen.
        12 | 13 => step.push(&format!("incr {name} {delta}\r\n")),
        14 => step.push(&format!("decr {name} {delta}\r\n")),
        _ if random.one_in(8) => step.push(&format!("flush_all{noreply}\r\n")),
        _ => step.push(&format!("get {name}\r\n")),
    }
    step
}

fn store(random: &mut Random, step: &mut Step, name: &str, noreply: &str) {
    let command = *random.pick(&["set", "set", "add", "replace", "append", "prepend", "cas"]);
    let flags = *random.pick(&[0_u32, 0, 1, 255, 65535, u32::MAX]);
    let exptime = *random.pick(EXPTIMES);
    let value = value(random);
    step.push(&format!("{command} {name} {flags} {exptime} {}", value.len()));
    if command == "cas" {
        step.push(" ");
        if random.one_in(3) {
            step.push("999999999");
        } else {
            step.parts.push(Part::Cas(name.as_bytes().to_vec()));
        }
    }
    step.push(&format!("{noreply}\r\n"));
    step.parts.push(Part::Bytes([&value[..], b"\r\n"].concat()));
}

/// Some of the flags in `from`, in random order, each once.
fn flags(random: &mut Random, from: &str) -> String {
    let mut left: Vec<_> = from.split(' ').collect();
    let mut chosen = String::new();
    for _ in 0..random.below(left.len().min(6) + 1) {
        let flag = left.swap_remove(random.below(left.len()));
        left.retain(|other| other.as_bytes()[0] != flag.as_bytes()[0]);
        chosen.push(' ');
        chosen.push_str(flag);
    }
    chosen
}

/// Flags of `mg`; one that stands twice is drawn more often.
const GET_FLAGS: &str = "v v t c f k s Oopaque q h l u T0 T1000 T-1 N100 N0 R30 R5000000";
const SET_FLAGS: &str = "F7 F4294967295 T0 T1000 T-1 ME MA MP MR MS c k O1 q";
const DELETE_FLAGS: &str = "q k O2 I T100 C987654321";
const ARITHMETIC_FLAGS: &str =
    "v v t c k O3 q N0 N100 J5 J18446744073709551615 D0 D100 MI MD M+ M- T0 T100 C987654321";

fn meta(random: &mut Random) -> Step {
    let name = key(random);
    let mut step = Step::text(b"", name.as_bytes());
    match random.below(10) {
        0..=3 => {
            let flags = flags(random, GET_FLAGS);
            step.push(&format!("mg {name}{flags}\r\n"));
        }
        4 | 5 => {
            let value = value(random);
            let mut flags = flags(random, SET_FLAGS);
            // In 1.6.45 c is 0 for a failed store only if it is not a set.
            let compare = !flags.contains(" M") && random.one_in(4);
            step.push(&format!("ms {name} {}", value.len()));
            if compare {
                step.push(" C");
                step.parts.push(Part::Cas(name.as_bytes().to_vec()));
            }
            flags.push_str("\r\n");
            step.push(&flags);
            step.parts.push(Part::Bytes([&value[..], b"\r\n"].concat()));
        }
        6 => {
            let flags = flags(random, DELETE_FLAGS);
            step.push(&format!("md {name}{flags}\r\n"));
        }
        7 | 8 => {
            let mut flags = flags(random, ARITHMETIC_FLAGS);
            // q on a ma that creates its item differs from q on one that finds it.
            if flags.contains(" N") {
                flags = flags.replace(" q", "");
            }
            // memcached loses the expiry set with a number that gets longer: it sets that of the old item.
            if !flags.contains(" MD") && !flags.contains(" M-") {
                flags = flags.replace(" T100", "").replace(" T0", "");
            }
            step.push(&format!("ma {name}{flags}\r\n"));
        }
        _ => step.push(&format!("mg {name} s v c t f\r\n")),
    }
    step
}

fn binary(random: &mut Random) -> Step {
    let name = key(random);
    let mut step = Step::text(b"", name.as_bytes());
    step.protocol = Protocol::Binary;
    let op = *random.pick(&[
        0x00, 0x00, 0x01, 0x01, 0x01, 0x02, 0x03, 0x04, 0x05, 0x05, 0x06, 0x09, 0x0a, 0x0c, 0x0d, 0x0e, 0x0f,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x23, 0x24, 0x08,
    ]);
    let number = |random: &mut Random| random.pick(NUMBERS).to_be_bytes();
    let exptime = *random.pick(&[0_u32, 0, 0, 100, 2_592_000, 2_592_001, u32::MAX]);
    let (extras, value) = match op {
        0x01..=0x03 | 0x11..=0x13 => {
            let flags = *random.pick(&[0_u32, 1, u32::MAX]);
            ([flags.to_be_bytes(), exptime.to_be_bytes()].concat(), value(random))
        }
        0x05 | 0x06 | 0x15 | 0x16 => {
            ([&number(random)[..], &number(random)[..], &exptime.to_be_bytes()[..]].concat(), Vec::new())
        }
        0x0e | 0x0f | 0x19 | 0x1a => (Vec::new(), value(random)),
        0x1c..=0x1e | 0x23 | 0x24 => (exptime.to_be_bytes().to_vec(), Vec::new()),
        _ => (Vec::new(), Vec::new()),
    };
    let name = if matches!(op, 0x0a | 0x08) { String::new() } else { name };
    let body = extras.len() + name.len() + value.len();
    let mut head = vec![0x80, op];
    head.extend_from_slice(&(name.len() as u16).to_be_bytes());
    head.extend_from_slice(&[extras.len() as u8, 0, 0, 0]);
    head.extend_from_slice(&(body as u32).to_be_bytes());
    head.extend_from_slice(&(random.next() as u32).to_be_bytes());
    step.parts = vec![Part::Bytes(head)];
    let writes = matches!(op, 0x01..=0x06 | 0x0e | 0x0f | 0x11..=0x16 | 0x19 | 0x1a);
    step.parts.push(match random.below(6) {
        0 if writes && !name.is_empty() => Part::Cas8(step.key.clone()),
        1 if writes => Part::Bytes(999_999_u64.to_be_bytes().to_vec()),
        _ => Part::Bytes(vec![0; 8]),
    });
    step.parts.push(Part::Bytes([&extras[..], name.as_bytes(), &value[..]].concat()));
    step
}

/// Breaks a step at one to three places.
fn damage(random: &mut Random, step: &mut Step) {
    step.broken = true;
    step.shows_cas = true;
    for part in &mut step.parts {
        if let Part::Cas(_) | Part::Cas8(_) = part {
            *part = Part::Bytes(vec![b'1'; if step.protocol == Protocol::Text { 9 } else { 8 }]);
        }
    }
    let mut bytes: Vec<u8> = step.parts.drain(..).flat_map(bytes_of).collect();
    let front = if step.protocol == Protocol::Text { 60 } else { 28 };
    for _ in 0..=random.below(2) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len().min(front));
        match (step.protocol, random.below(6)) {
            (_, 0) => bytes.truncate(at),
            (Protocol::Text, 1) => {
                bytes.remove(at);
            }
            (Protocol::Text, 2) => bytes.insert(at, *random.pick(b" \r\n\t\0+-0x9~")),
            (Protocol::Text, 3) => bytes.splice(at..at, *b" extra ").for_each(drop),
            (Protocol::Text, 4) => bytes[at] = *random.pick(b" \r\n-9a\xff"),
            (Protocol::Binary, 1) => bytes[2 + random.below(2)] = random.next() as u8,
            (Protocol::Binary, 2) => set(&mut bytes, 4, random.next() as u8),
            (Protocol::Binary, 3) => set(&mut bytes, 11, random.next() as u8),
            (Protocol::Binary, 4) => set(&mut bytes, 1, random.next() as u8 % 0x28),
            _ => bytes[at] = random.next() as u8,
        }
        if step.protocol == Protocol::Binary && bytes.len() < 4 {
            break;
        }
    }
    // stats and version differ between servers.
    if step.protocol == Protocol::Binary && matches!(bytes.get(1), Some(0x0b | 0x10)) {
        bytes[1] = 0x1f;
    }
    step.parts = vec![Part::Bytes(bytes)];
}

fn set(bytes: &mut [u8], at: usize, byte: u8) {
    if let Some(place) = bytes.get_mut(at) {
        *place = byte;
    }
}

fn bytes_of(part: Part) -> Vec<u8> {
    match part {
        Part::Bytes(bytes) => bytes,
        Part::Cas(_) | Part::Cas8(_) => Vec::new(),
    }
}
