//! Target: a session over a flash tier whose device fails, compared with a map. A value is right or missing, and a missing value
//! stays missing until it is set again.

use super::flash::{Trouble, options};
use super::peer::Peer;
use crate::config::Config;
use crate::store::FlashOptions;
use std::collections::BTreeMap;

const KEYS: u8 = 24;
/// Length of a chunk, bytes. It is so small that chunks are reused again and again.
const CHUNK_BYTES: u64 = 64 << 10;
const FLASH_BYTES: u64 = 8 * CHUNK_BYTES;
const STEPS_MAX: usize = 400;

struct World {
    peer: Peer,
    /// The last value of each key, unless the key has been found missing since.
    values: BTreeMap<u8, Vec<u8>>,
    /// True once the device has failed: then values may be missing that were not evicted.
    has_failed: bool,
    written: u8,
}

impl World {
    /// Sends `commands` and returns the replies.
    fn ask(&mut self, commands: &[u8]) -> Vec<u8> {
        self.peer.send(commands);
        self.peer.answers()
    }

    fn set(&mut self, key: u8, length: u8) {
        self.written = self.written.wrapping_add(1);
        let value = vec![b'a' + self.written % 26; usize::from(length) * 37];
        let mut command = format!("set k{key} 0 0 {}\r\n", value.len()).into_bytes();
        command.extend_from_slice(&value);
        command.extend_from_slice(b"\r\n");
        assert_eq!(self.ask(&command), b"STORED\r\n");
        self.values.insert(key, value);
    }

    /// Reads `count` keys in one command, from number `first` on, and checks their values.
    fn get(&mut self, first: u8, count: u8) {
        let keys: Vec<u8> = (0..count).map(|n| (first + n) % KEYS).collect();
        let line: String = keys.iter().map(|key| format!(" k{key}")).collect();
        let answer = self.ask(format!("get{line}\r\n").as_bytes());
        let mut rest = &answer[..];
        for key in keys {
            let hit = self.values.get(&key).map(|value| {
                let head = format!("VALUE k{key} 0 {}\r\n", value.len());
                [head.as_bytes(), value, b"\r\n"].concat()
            });
            match hit.and_then(|hit| rest.strip_prefix(&hit[..])) {
                Some(behind) => rest = behind,
                None => self.miss(key),
            }
        }
        assert_eq!(rest.escape_ascii().to_string(), "END\\r\\n", "a value is wrong, or was missing before");
    }

    /// Accepts that `key` is missing from now on; panics if nothing has happened that could be the reason.
    fn miss(&mut self, key: u8) {
        if self.values.remove(&key).is_none() || self.has_failed {
            return;
        }
        let totals = self.peer.store().flash_totals().expect("a tier");
        assert!(totals.objects_evicted > 0, "k{key} is missing, and nothing has happened");
    }

    fn append(&mut self, key: u8) {
        let answer = self.ask(format!("append k{key} 0 0 1\r\n+\r\n").as_bytes());
        match (&answer[..], self.values.get_mut(&key)) {
            (b"STORED\r\n", Some(value)) => value.push(b'+'),
            (b"NOT_STORED\r\n", _) => self.miss(key),
            (answer, known) => panic!("{} for k{key}: {known:?}", answer.escape_ascii()),
        }
    }

    fn delete(&mut self, key: u8) {
        self.ask(format!("delete k{key}\r\n").as_bytes());
        self.values.remove(&key);
    }

    fn trouble(&mut self, kind: u8) {
        let trouble = [Trouble::None, Trouble::Reads, Trouble::Writes, Trouble::Tears][usize::from(kind % 4)];
        self.has_failed |= trouble != Trouble::None;
        self.peer.device_mut().trouble = trouble;
    }

    fn flip(&mut self, key: u8) {
        let name = format!("k{key}");
        let flash = self.peer.flash();
        if let Some(place) = self.peer.place(name.as_bytes()) {
            self.has_failed |= self.peer.device_mut().flip(&flash, name.as_bytes(), place);
        }
    }

    /// Sets up that all values move to flash several times, between the next look-up and its read from flash, so that chunks are
    /// reused.
    fn move_meanwhile(&mut self) {
        self.peer.set_meanwhile(|peer| {
            for _ in 0..4 {
                peer.demote_all();
                peer.write_all();
                peer.maintain();
            }
        });
    }

    fn step(&mut self, verb: u8, argument: u8, more: u8) {
        let key = argument % KEYS;
        match verb % 16 {
            0..=3 => self.set(key, more),
            4..=6 => self.get(key, more % 12 + 1),
            7 => self.delete(key),
            8 | 9 => self.peer.demote_all(),
            10 if more.is_multiple_of(2) => drop(self.peer.demote(format!("k{key}").as_bytes())),
            10 => self.peer.demote_part(format!("k{key}").as_bytes()),
            11 => self.peer.write_all(),
            12 => self.peer.maintain(),
            13 => self.append(key),
            14 if more.is_multiple_of(8) => self.trouble(argument),
            14 => self.move_meanwhile(),
            _ if more.is_multiple_of(8) => self.flip(key),
            _ => self.get(key, 1),
        }
    }
}

/// Target: runs commands and faults generated from `data`, and checks every value.
///
/// # Panics
/// A value is wrong, or missing without a reason, or is there again after it was missing; or the store's books do not add up.
pub fn tier(data: &[u8]) {
    let tier = FlashOptions {
        files: vec![FLASH_BYTES],
        page_bytes: CHUNK_BYTES,
        chunk_bytes: CHUNK_BYTES,
        ..options()
    };
    let peer = Peer::with_flash(Config::default(), tier);
    let mut world = World { peer, values: BTreeMap::new(), has_failed: false, written: 0 };
    for step in data.chunks_exact(3).take(STEPS_MAX) {
        world.step(step[0], step[1], step[2]);
    }
    world.trouble(0);
    world.peer.write_all();
    world.peer.maintain();
    world.get(0, KEYS);
    let now = world.peer.store().now();
    assert_eq!(world.peer.check(now), Ok(()), "the books add up");
}
