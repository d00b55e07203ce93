//! Values on a device that fails now and then, and reads, which may find them there.

use super::{Sending, World};
use crate::model::Entry;
use memcrsd::fuzzing::flash::Trouble;
use memcrsd::fuzzing::rings::{self, with_shard};
use memcrsd::store::{EditError, FlashOptions, Lookup, Place, Shard, Share};

/// A tier that is full again and again.
pub(super) fn options() -> FlashOptions {
    FlashOptions {
        files: vec![3 << 20, 1 << 20],
        page_bytes: 512 << 10,
        chunk_bytes: 128 << 10,
        item_bytes_min: 200,
        item_age: 5,
        promotes: true,
        part_bytes: 1000,
    }
}

impl World {
    /// The device does a thing, and now and then fails at it.
    pub(super) fn work(&mut self) {
        let Some(flash) = self.store.flash() else { return };
        self.device.trouble = match self.random.u8(..) {
            0..6 => Trouble::Writes,
            6..12 => Trouble::Reads,
            12..18 => Trouble::Tears,
            _ => Trouble::None,
        };
        self.device.step(flash);
        self.device.trouble = Trouble::None;
    }

    /// The value of `key` at `place`. What the device has lost is gone, for the model too.
    fn load(&mut self, ring: usize, key: &[u8], place: Place) -> Option<Vec<u8>> {
        let flash = self.store.flash().expect("a stub has a tier");
        self.loads += 1;
        if let Ok(value) = self.device.load(flash, key, place) {
            return Some(value.to_vec());
        }
        self.losses += 1;
        let lost = self.attempt(ring, |shard| shard.fresh(rings::now()).lose(key, place));
        if lost == Ok(true) {
            self.model.remove(key);
        }
        None
    }

    /// Brings the value to memory that an edit on `ring` lacked, or finds it lost.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn bring(&mut self, ring: usize) -> Result<(), EditError> {
        let wanted = with_shard(ring, Shard::take_wanted).expect("the edit has said what");
        if let Some(value) = self.load(ring, &wanted.key, wanted.place) {
            let promote =
                |shard: &mut Shard| shard.fresh(rings::now()).promote(&wanted.key, wanted.place, &value);
            self.attempt(ring, promote)?;
        }
        Ok(())
    }

    /// A get. Some values are sent while others go on.
    pub(super) fn read(&mut self, ring: usize) {
        let key = self.key();
        let now = rings::now();
        let (found, sending) = with_shard(ring, |shard| {
            let mut fresh = shard.fresh(now);
            match fresh.find(&key) {
                Lookup::Hit(item) => {
                    assert_eq!(item.key(), key);
                    item.record_access(now);
                    let entry = Entry {
                        value: if item.place().is_some() { Vec::new() } else { item.value().to_vec() },
                        flags: item.flags(),
                        exptime: item.exptime(),
                        cas: item.cas(),
                    };
                    if let Some(place) = item.place() {
                        return (Some(entry), Err(place));
                    }
                    let pin = item.pin(0, Share::OfReaders);
                    let sending = pin.map(|pin| Sending { pin, bytes: entry.value.clone() });
                    (Some(entry), Ok(sending))
                }
                _ => (None, Ok(None)),
            }
        });
        let (found, sending) = match (found, sending) {
            (Some(entry), Err(place)) => {
                assert_eq!(
                    self.model.get(&key, now).map(|entry| entry.value.len()),
                    Some(place.value_bytes())
                );
                let Some(value) = self.load(ring, &key, place) else { return };
                if self.random.bool() {
                    let promoted = self.attempt(ring, |shard| shard.fresh(now).promote(&key, place, &value));
                    assert_ne!(promoted, Ok(false), "nobody else has written meanwhile");
                }
                (Some(Entry { value, ..entry }), None)
            }
            (found, sending) => (found, sending.unwrap_or(None)),
        };
        assert_eq!(found.as_ref(), self.model.get(&key, now), "{}", key.escape_ascii());
        self.hits += u64::from(found.is_some());
        if let Some(sending) = sending
            && self.random.u8(..8) == 0
            && self.sending.len() < 8
        {
            self.sending.push(sending);
        }
    }
}
