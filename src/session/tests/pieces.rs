//! Tests with random conversations: however a conversation is cut into pieces, it is answered the same, and nothing panics.

use crate::fuzzing;

fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(fuzzing::seed(1))
}

const WORDS: &[&[u8]] = &[
    b"get",
    b"gets",
    b"gat",
    b"gats",
    b"set",
    b"add",
    b"replace",
    b"append",
    b"prepend",
    b"cas",
    b"incr",
    b"decr",
    b"touch",
    b"delete",
    b"mg",
    b"ms",
    b"md",
    b"ma",
    b"me",
    b"mn",
    b"a",
    b"b",
    b"YQ==",
    b"0",
    b"1",
    b"2",
    b"-1",
    b"10",
    b"9000",
    b"noreply",
    b"T30",
    b"N9",
    b"R5",
    b"v",
    b"k",
    b"q",
    b"b",
    b"c",
    b"t",
    b"s",
    b"O1",
    b"I",
    b"x",
    b"E5",
    b"C5",
    b"MA",
    b"D2",
    b"J3",
    b"F1",
    b"h",
    b"l",
    b"flush_all",
    b"verbosity",
    b"version",
    b"stats",
    b"settings",
    b"items",
    b"watch",
    b"lru_crawler",
    b"metadump",
    b"mgdump",
    b"all",
    b"cache_memlimit",
    b"slabs",
    b"x!",
    b"\0",
];

/// Returns random text that is often nearly a valid conversation.
fn text(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..12) {
        for _ in 0..random.usize(1..7) {
            bytes.extend_from_slice(WORDS[random.usize(..WORDS.len())]);
            bytes.push(b' ');
        }
        bytes.pop();
        match random.u8(..4) {
            0 => bytes.push(b'\n'),
            1 => {
                let length = if random.u8(..8) == 0 { 9000 } else { random.usize(..4) };
                bytes.extend_from_slice(format!(" {length}\r\n").as_bytes());
                bytes.resize(bytes.len() + length, b'1');
                bytes.extend_from_slice(b"\r\n");
            }
            _ => bytes.extend_from_slice(b"\r\n"),
        }
    }
    bytes
}

/// Returns random valid storage and retrieval commands, with value lengths around the bounds.
fn orderly(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..8) {
        let length = [0, 1, 100, 4097, 8192, 9000, 20_000][random.usize(..7)];
        let key = random.u8(b'a'..b'd') as char;
        let head = match random.u8(..5) {
            0 => format!("set {key} 0 0 {length}\r\n"),
            1 => format!("append {key} 0 0 {length}\r\n"),
            2 => format!("ms {key} {length} c k O5 T30\r\n"),
            3 => format!("ms {key} {length} MA N0\r\n"),
            _ => format!("get {key} a b c\r\nmg {key} v t\r\nma {key} N0 J1\r\n"),
        };
        bytes.extend_from_slice(head.as_bytes());
        if !head.starts_with("get") {
            bytes.resize(bytes.len() + length, b'7');
            bytes.extend_from_slice(if random.u8(..9) == 0 { b"xx" } else { b"\r\n" });
        }
    }
    bytes
}

/// Returns random packets that are often nearly valid.
fn binary(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..10) {
        let opcode = if random.u8(..20) == 0 { random.u8(..) } else { random.u8(..0x26) };
        let extras = match opcode {
            1..=3 | 0x11..=0x13 => 8,
            5 | 6 | 0x15 | 0x16 => 20,
            0x1c..=0x1e | 0x23 | 0x24 => 4,
            _ => 0,
        };
        let stores = matches!(opcode, 1..=3 | 0x11..=0x13 | 0x0e | 0x0f | 0x19 | 0x1a);
        let key = usize::from(!matches!(opcode, 7 | 8 | 10 | 11 | 0x17 | 0x18));
        let value = if stores { [0, 5, 9000][random.usize(..3)] } else { 0 };
        let slip = usize::from(random.u8(..15) == 0);
        bytes.extend_from_slice(&[0x80, opcode, 0, key as u8, extras as u8, 0, 0, 0]);
        bytes.extend_from_slice(&((extras + key + value + slip) as u32).to_be_bytes());
        bytes.extend_from_slice(&[random.u8(..), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, random.u8(..3)]);
        bytes.resize(bytes.len() + extras, 0);
        bytes.resize(bytes.len() + key, random.u8(b'a'..b'd'));
        bytes.resize(bytes.len() + value + slip, b'7');
    }
    bytes
}

fn cut(random: &mut fastrand::Rng, conversation: &[u8]) {
    let count = random.usize(..20);
    let mut data = vec![count as u8];
    for _ in 0..count {
        data.push(if random.bool() { random.u8(..4) } else { random.u8(..) });
    }
    data.extend_from_slice(conversation);
    fuzzing::session(&data);
}

#[test]
fn conversations_in_any_pieces() {
    let mut random = random();
    for _ in 0..150 {
        for make in [text, orderly, binary] {
            let conversation = make(&mut random);
            cut(&mut random, &conversation);
        }
    }
}

#[test]
fn parsers_take_anything() {
    let mut random = random();
    for _ in 0..3000 {
        let noise: Vec<u8> = (0..random.usize(..80)).map(|_| random.u8(..)).collect();
        for bytes in [noise, text(&mut random), binary(&mut random)] {
            fuzzing::text(&bytes);
            fuzzing::meta(&bytes);
            fuzzing::binary(&bytes);
        }
    }
}

/// Commands for a few keys give the replies that a map of keys to values predicts, with values in memory and on flash.
#[test]
fn commands_behave_as_the_model() {
    let mut random = random();
    for _ in 0..200 {
        let count = random.u8(..40);
        let bytes = random.usize(..3000);
        let data: Vec<u8> = std::iter::once(count).chain((0..bytes).map(|_| random.u8(..))).collect();
        fuzzing::model(&data);
    }
}
