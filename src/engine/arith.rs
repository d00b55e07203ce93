//! incr and decr. They are decided in the store's write transaction, under the writer lock.
//!
//! A value of more than [`DIGITS`] bytes is parsed and padded outside the lock, and then the command is decided again. The padded
//! value is stored only if the CAS unique shows that the item has not changed meanwhile. A value of more than
//! [`NUMBER_BYTES_MAX`] bytes counts as no number, whatever it contains.
//!
//! The module extends [`Executor`], owns no state, and may import the modules named before it in `engine`, but no other command.

use crate::clock::Timestamp;
use crate::command::{Arith, ArithResult, Direction};
use crate::engine::Executor;
use crate::engine::observe::Found;
use crate::limits::NUMBER_BYTES_MAX;
use crate::number;
use crate::store::{Data, Edit, Item, Lookup, Put, Retry, Value};

/// Length of the buffer in [`Value::Digits`], bytes.
const DIGITS: usize = 24;

/// How often one run of a command may pad the number because other rings keep changing it. Then the command ends with
/// [`Retry::Soon`], so that other connections are served.
const TRIES_MAX: usize = 8;

/// The outcome of one decision about the item under the writer lock.
#[derive(Clone, Copy, Debug)]
enum Look {
    Missing,
    NotNumeric,
    Exists,
    Done {
        number: u64,
        class: u8,
        value_bytes: usize,
        ttl: Option<u32>,
    },
    /// The value is longer than [`DIGITS`] bytes. It must be parsed and padded outside the lock, and the result stored if the
    /// item then still has this cas.
    Long {
        cas: u64,
    },
}

/// A number that has been computed and padded outside the lock. It may be stored only if the item still has the cas `cas`.
#[derive(Debug)]
struct Prepared {
    cas: u64,
    number: u64,
    /// The number in decimal, padded with spaces to the length of the old value.
    padded: Vec<u8>,
}

impl Executor<'_> {
    /// Adds to the number in an item or subtracts from it, and counts the hit or miss.
    ///
    /// A number that is no longer than the text it replaces is padded with spaces to the length of that text.
    ///
    /// # Errors
    /// [`Retry`]: nothing was changed, and the command must be run again.
    pub fn arith(&mut self, arith: &Arith<'_>) -> Result<ArithResult, Retry> {
        let touch = arith.touch.map(|exptime| self.deadline(exptime));
        let (now, shared) = (self.now(), self.shared);
        let mut prepared: Option<Prepared> = None;
        // The second try stores what the first has padded, unless another ring has changed the number meanwhile.
        for _ in 0..TRIES_MAX {
            let mut data = prepared.as_ref().map_or(Data::None, |prepared| Data::Bytes(&prepared.padded));
            let edited = self.fresh.edit(arith.key, &mut data, |old| {
                let Some(old) = old else { return (Edit::Keep, Look::Missing) };
                if old.value_bytes() > NUMBER_BYTES_MAX {
                    return (Edit::Keep, Look::NotNumeric);
                }
                if old.place().is_some() {
                    return (Edit::Load, Look::Missing);
                }
                let (number, value) = match next_value(old, arith, prepared.as_ref()) {
                    Ok(next) => next,
                    Err(look) => return (Edit::Keep, look),
                };
                let look = Look::Done {
                    number,
                    class: shared.class_of(old),
                    value_bytes: old.value_bytes(),
                    ttl: ttl(old, now),
                };
                let exptime = touch.unwrap_or(old.exptime());
                (Edit::Put(Put { exptime, ..again(old, value, arith.cas) }), look)
            });
            let Ok(edited) = self.settle(edited)? else { return Ok(ArithResult::NoMemory) };
            let (look, cas) = (edited.outcome, edited.cas);
            if let Some(observer) = self.observer()
                && matches!(look, Look::Missing | Look::Done { .. })
            {
                let found = match look {
                    Look::Done { class, value_bytes, .. } => Found::Yes(class, value_bytes),
                    _ => Found::No,
                };
                observer.looked_up(arith.key, found);
            }
            match look {
                Look::Long { cas } => match self.prepare(arith, cas) {
                    Ok(next) => prepared = next,
                    Err(NotNumeric) => return Ok(ArithResult::NotNumeric),
                },
                Look::Missing => return self.count_missing(arith),
                Look::NotNumeric => return Ok(ArithResult::NotNumeric),
                Look::Exists => return Ok(ArithResult::Exists),
                Look::Done { number, class, ttl, .. } => {
                    match arith.direction {
                        Direction::Up => self.class(class).incr_hits.add(1),
                        Direction::Down => self.class(class).decr_hits.add(1),
                    }
                    return Ok(ArithResult::Number { number, cas: self.shown_cas(cas), created: false, ttl });
                }
            }
        }
        Err(Retry::Soon)
    }

    /// Parses the value of the item that has this `cas`, computes the new number, and pads it. `None` if the key has another item
    /// by now, or if the item's value is on flash.
    fn prepare(&mut self, arith: &Arith<'_>, cas: u64) -> Result<Option<Prepared>, NotNumeric> {
        let Lookup::Hit(old) = self.fresh.find(arith.key) else { return Ok(None) };
        if old.cas() != cas || old.place().is_some() {
            return Ok(None);
        }
        let number = next_number(old.value(), arith)?;
        let mut padded = Vec::with_capacity(old.value_bytes());
        number::push(&mut padded, number);
        padded.resize(old.value_bytes(), b' ');
        Ok(Some(Prepared { cas, number, padded }))
    }

    /// Runs a command whose item is absent: creates the item if the command asks for that, otherwise counts a miss.
    fn count_missing(&mut self, arith: &Arith<'_>) -> Result<ArithResult, Retry> {
        let Some((initial, exptime)) = arith.create else {
            match arith.direction {
                Direction::Up => self.counters.ring.incr_misses.add(1),
                Direction::Down => self.counters.ring.decr_misses.add(1),
            }
            return Ok(ArithResult::NotFound);
        };
        let deadline = self.deadline(exptime);
        let edited = self.fresh.edit(arith.key, &mut Data::None, |old| {
            if old.is_some() {
                return (Edit::Keep, false);
            }
            let put = Put {
                flags: 0,
                exptime: deadline,
                value: digits(initial, 0),
                cas: arith.cas,
                stale: false,
                won: false,
                key_is_binary: arith.key_is_binary,
            };
            (Edit::Put(put), true)
        });
        match self.settle(edited)? {
            Ok(edited) if edited.outcome => Ok(ArithResult::Number {
                number: initial,
                cas: self.shown_cas(edited.cas),
                created: true,
                ttl: match deadline {
                    Timestamp::NEVER => None,
                    deadline => Some(deadline.0.wrapping_sub(self.now().0)),
                },
            }),
            // Another ring was faster: the item is present, so the command changes its number.
            Ok(_) => self.arith(&Arith { create: None, ..*arith }),
            Err(_) => Ok(ArithResult::NoMemoryToCreate),
        }
    }
}

/// The error for a value that is not a number.
#[derive(Debug)]
struct NotNumeric;

/// Returns the number that `arith` makes of the number in `text`.
#[inline]
fn next_number(text: &[u8], arith: &Arith<'_>) -> Result<u64, NotNumeric> {
    let number = number::c_unsigned(text).ok_or(NotNumeric)?;
    Ok(match arith.direction {
        Direction::Up => number.wrapping_add(arith.delta),
        Direction::Down => number.saturating_sub(arith.delta),
    })
}

/// Returns the number that `arith` makes of `old`, and the value to store. For a value longer than [`DIGITS`] bytes the number is
/// taken from `prepared`, provided that its cas is that of `old`.
///
/// # Errors
/// The outcome of the command: the value is not a number, the cas is not the requested one, or [`Look::Long`] if `prepared` is
/// missing or outdated.
#[inline]
fn next_value(old: &Item<'_>, arith: &Arith<'_>, prepared: Option<&Prepared>) -> Result<(u64, Value), Look> {
    let (text, cas) = (old.value(), old.cas());
    if text.is_empty() {
        return Err(Look::NotNumeric);
    }
    if arith.compare != 0 && arith.compare != cas {
        return Err(Look::Exists);
    }
    if text.len() > DIGITS {
        return match prepared {
            Some(prepared) if prepared.cas == cas => Ok((prepared.number, Value::Padded)),
            _ => Err(Look::Long { cas }),
        };
    }
    let number = next_number(text, arith).map_err(|NotNumeric| Look::NotNumeric)?;
    Ok((number, digits(number, text.len())))
}

/// Returns a version of `old` with the value `value`. If the number has become longer, the version is neither stale nor won.
fn again(old: &Item<'_>, value: Value, cas: Option<u64>) -> Put {
    let longer = matches!(value, Value::Digits(_, length) if usize::from(length) > old.value().len());
    Put { stale: old.stale() && !longer, won: old.won() && !longer, ..Put::again(old, value, cas) }
}

/// Returns the seconds that `item` has to live; `None` if it never expires.
fn ttl(item: &Item<'_>, now: Timestamp) -> Option<u32> {
    match item.exptime() {
        Timestamp::NEVER => None,
        exptime => Some(exptime.0.wrapping_sub(now.0)),
    }
}

/// Returns `number` in decimal, padded with spaces to `length` bytes, which must be at most [`DIGITS`].
fn digits(number: u64, length: usize) -> Value {
    let mut bytes = [b' '; DIGITS];
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    bytes[..text.len()].copy_from_slice(text);
    Value::Digits(bytes, text.len().max(length) as u8)
}
