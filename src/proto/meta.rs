//! The meta commands: parses the flags of a request, and writes the parts of a reply. Pure functions; a [`Request`] borrows
//! from its line.
//!
//! A line is `<verb> <key> [<datalen>] <flag>*`. A flag is a letter; some letters are directly followed by a token. Every verb
//! accepts every letter, and ignores those that mean nothing to it. The reply returns the requested flags in the order of the
//! request, so a request keeps its flags as received.
//!
//! Source: protocol.txt of memcached 1.6.45, "Meta Commands".
//!
//! Verbs, words and reply lines come from `text`, which knows the meta verbs but not their flags.

use crate::command::{Arith, Direction, Exptime, Mode, Replies, StorageRequest};
use crate::escape;
use crate::limits::{KEY_BYTES_MAX, META_TOKENS_MAX, OPAQUE_BYTES_MAX};
use crate::number;
use crate::proto::base64;
use crate::proto::text::{Verb, Words, reply, value_length};

/// The flags of a meta command line, parsed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The words of all flags, in the order of the request and of the reply.
    pub flags: Words<'a>,
    /// `q`: [`Replies::Quiet`] if plain successes and misses get no reply.
    pub replies: Replies,
    /// `v`: the reply contains the value.
    pub value: bool,
    /// `b`: the key was sent in base64.
    pub key_is_binary: bool,
    /// `u`: the command does not count as a use of the item.
    pub no_bump: bool,
    /// `I`: an md marks the item as stale instead of deleting it, and an ms whose cas is less than the item's stores its value
    /// even so.
    pub stale: bool,
    /// `x`: an md empties the value instead of deleting the item.
    pub empty: bool,
    /// `C`: the cas that the item must have for the command to succeed.
    pub compare: Option<u64>,
    /// `E`: the cas that the item gets if the command changes it.
    pub cas: Option<u64>,
    /// `T`: the item's new expiry.
    pub touch: Option<Exptime>,
    /// `N`: the expiry with which a missing item is created.
    pub vivify: Option<Exptime>,
    /// `R`: if the item expires earlier than this, one client is told to recreate its value.
    pub recache: Option<Exptime>,
    /// True if `T` comes before `R`. Then `R` is compared with the expiry that `T` sets.
    pub recache_sees_touch: bool,
    /// True if `T` comes after `N`. A created item then gets the expiry of `T`.
    pub touch_follows_vivify: bool,
    /// `F`: the client flags of a stored item.
    pub client_flags: u32,
    /// `M`: the first byte of its token, or a space if the token is empty; `None` without `M`.
    mode: Option<u8>,
    /// `J`: the number that an ma with `N` stores in an item it creates.
    initial: u64,
    /// `D`: the amount that an ma adds or subtracts.
    delta: u64,
    /// True if the opaque (`O`) is too long. That error is reported only if there is no other.
    opaque_is_too_long: bool,
    /// The letters of all flags in the request: bit `n` stands for the letter with code `n`.
    seen: u128,
}

/// The start of a meta line: everything before its flags is parsed.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The key as it was received, in base64 if the line has the flag `b`.
    pub key: &'a [u8],
    /// The length of the value that follows an ms, bytes; 0 for other commands.
    pub value_bytes: usize,
    flags: Words<'a>,
}

/// The flags that add nothing to the first line of a reply, as a mask for `Request::seen`.
const SILENT: u128 = 1 << b'v' | 1 << b'q' | 1 << b'b' | 1 << b'u' | 1 << b'E' | 1 << b'C' | 1 << b'R';

/// A buffer for a key that is decoded from base64.
#[derive(Clone, Copy, Debug)]
pub struct KeyBuffer([u8; KEY_BYTES_MAX]);

impl Default for KeyBuffer {
    fn default() -> Self {
        Self([0; KEY_BYTES_MAX])
    }
}

/// Parses a line up to its flags. `None` if the line is malformed; such a line is not followed by a value.
pub fn line(verb: Verb, text: &[u8]) -> Option<Line<'_>> {
    let mut words = Words::of(text);
    words.next()?;
    let key = words.next()?;
    let value_bytes = match verb {
        Verb::Set => value_length(words.next()?)?,
        _ => 0,
    };
    let line = Line { key, value_bytes, flags: words };
    // The flags of an ms decide whether a value follows. Those of the other verbs are checked only after another error.
    (verb != Verb::Set || line.has_plain_flags()).then_some(line)
}

impl<'a> Line<'a> {
    /// Parses the flags, and decodes a base64 key into `buffer`. Returns the key and the request.
    ///
    /// # Errors
    /// The reply line to a malformed line. It must be sent even with `q`.
    pub fn request<'k>(
        &self,
        verb: Verb,
        buffer: &'k mut KeyBuffer,
    ) -> Result<(&'k [u8], Request<'a>), &'static [u8]>
    where
        'a: 'k,
    {
        let request = match flags(self.flags) {
            Ok((request, count)) if self.key.len() <= KEY_BYTES_MAX && count <= flags_max(verb) => request,
            wrong => return Err(self.mistake(verb, wrong.err())),
        };
        let mut key = self.key;
        if request.key_is_binary {
            key = match base64::decode(self.key, &mut buffer.0) {
                Some(bytes) if bytes > 0 => &buffer.0[..bytes],
                _ => return Err(said_by(verb, reply::BAD_KEY_ENCODING)),
            };
        }
        // The opaque of ms and ma is checked after their mode.
        if !matches!(verb, Verb::Set | Verb::Arith) {
            request.check_opaque()?;
        }
        Ok((key, request))
    }

    /// Returns the reply to a malformed line: to the fault that memcached finds first. `bad_flag` is the reply to a flag that
    /// cannot be parsed, which is the last fault to be looked for.
    #[cold]
    fn mistake(&self, verb: Verb, bad_flag: Option<&'static [u8]>) -> &'static [u8] {
        if !self.has_plain_flags() {
            return reply::BAD_FORMAT;
        }
        if self.key.len() > KEY_BYTES_MAX {
            return said_by(verb, reply::BAD_FORMAT);
        }
        if self.flags.count() > flags_max(verb) {
            return reply::TOO_MANY_FLAGS;
        }
        said_by(verb, bad_flag.unwrap_or(reply::BAD_FORMAT))
    }

    /// True if every flag begins with a digit or a byte from `A` to `z`. If not, the whole line is malformed.
    fn has_plain_flags(&self) -> bool {
        self.flags.into_iter().all(|flag| matches!(flag[0], b'A'..=b'z' | b'0'..=b'9'))
    }

    /// Returns the decoded key of an `me`, which ignores all flags except `b`. `Err` is the reply to a malformed line.
    pub fn debug_key<'k>(&self, buffer: &'k mut KeyBuffer) -> Result<&'k [u8], &'static [u8]>
    where
        'a: 'k,
    {
        if self.key.len() > KEY_BYTES_MAX {
            return Err(reply::BAD_FORMAT);
        }
        match self.flags.into_iter().filter(|flag| *flag == b"b").count() {
            0 if self.has_plain_flags() => return Ok(self.key),
            1 if self.has_plain_flags() => {}
            _ => return Err(reply::BAD_FORMAT),
        }
        match base64::decode(self.key, &mut buffer.0) {
            Some(bytes) if bytes > 0 => Ok(&buffer.0[..bytes]),
            _ => Err(reply::BAD_KEY_ENCODING),
        }
    }
}

/// Returns the reply that `verb` gives to `error`. An ma has the same reply to all errors.
fn said_by(verb: Verb, error: &'static [u8]) -> &'static [u8] {
    if verb == Verb::Arith { reply::INVALID_OR_DUPLICATE_FLAG } else { error }
}

/// Returns the number of flags that a line of `verb` may have.
fn flags_max(verb: Verb) -> usize {
    META_TOKENS_MAX - if verb == Verb::Set { 3 } else { 2 }
}

/// Parses the flags. Returns the request and the number of flags; `Err` is the reply to the first bad flag.
fn flags(words: Words<'_>) -> Result<(Request<'_>, usize), &'static [u8]> {
    let mut request = Request {
        flags: words,
        replies: Replies::Sent,
        value: false,
        key_is_binary: false,
        no_bump: false,
        stale: false,
        empty: false,
        compare: None,
        cas: None,
        touch: None,
        vivify: None,
        recache: None,
        recache_sees_touch: false,
        touch_follows_vivify: false,
        client_flags: 0,
        mode: None,
        initial: 0,
        delta: 1,
        opaque_is_too_long: false,
        seen: 0,
    };
    // A bad token is reported only if all letters are valid. Of several errors the last one wins, except that an error of F, for
    // which memcached has no message of its own, gives way to any other.
    let mut error = None;
    let mut count = 0;
    for word in words {
        count += 1;
        let (&letter, token) = word.split_first().ok_or(reply::BAD_FORMAT)?;
        if letter >= 127 || request.seen & (1 << letter) != 0 {
            return Err(reply::DUPLICATE_FLAG);
        }
        request.seen |= 1 << letter;
        if let Err(bad) = request.flag(letter, token) {
            if bad == reply::INVALID_FLAG {
                return Err(bad);
            }
            if bad != reply::BAD_FORMAT || error.is_none() {
                error = Some(bad);
            }
        }
    }
    error.map_or(Ok((request, count)), Err)
}

impl Request<'_> {
    fn flag(&mut self, letter: u8, token: &[u8]) -> Result<(), &'static [u8]> {
        match letter {
            b'q' => self.replies = Replies::Quiet,
            b'v' => self.value = true,
            b'b' => self.key_is_binary = true,
            b'u' => self.no_bump = true,
            b'I' => self.stale = true,
            b'x' => self.empty = true,
            b'O' => self.opaque_is_too_long = token.len() > OPAQUE_BYTES_MAX,
            b'c' | b'f' | b'h' | b'k' | b'l' | b's' | b't' | b'L' | b'P' => {}
            b'C' => self.compare = Some(numeric(token, number::unsigned, reply::BAD_TOKEN)?),
            b'E' => self.cas = Some(numeric(token, number::unsigned, reply::BAD_TOKEN)?),
            b'T' => {
                self.touch = Some(seconds(token)?);
                self.touch_follows_vivify = self.vivify.is_some();
            }
            b'N' => self.vivify = Some(seconds(token)?),
            b'R' => {
                self.recache = Some(seconds(token)?);
                self.recache_sees_touch = self.touch.is_some();
            }
            b'F' => self.client_flags = numeric(token, number::unsigned_32, reply::BAD_FORMAT)?,
            b'J' => self.initial = numeric(token, number::unsigned, reply::BAD_INITIAL)?,
            b'D' => self.delta = numeric(token, number::unsigned, reply::BAD_DELTA_FLAG)?,
            // To memcached a NUL is the same as no mode, and an empty token is a mode that it does not know.
            b'M' => self.mode = Some(token.first().copied().unwrap_or(b' ')).filter(|&mode| mode != 0),
            _ => return Err(reply::INVALID_FLAG),
        }
        Ok(())
    }

    fn check_opaque(&self) -> Result<(), &'static [u8]> {
        if self.opaque_is_too_long { Err(reply::OPAQUE_TOO_LONG) } else { Ok(()) }
    }

    /// Returns the storage request of an ms with `key`.
    ///
    /// # Errors
    /// The reply line if an ms does not have the requested mode, or if the opaque is too long.
    pub fn store<'k>(&self, key: &'k [u8]) -> Result<StorageRequest<'k>, &'static [u8]> {
        let mode = match self.mode {
            None | Some(b'S') => Mode::Set,
            Some(b'E') => Mode::Add,
            Some(b'A') => Mode::Append,
            Some(b'P') => Mode::Prepend,
            Some(b'R') => Mode::Replace,
            Some(_) => return Err(reply::BAD_SET_MODE),
        };
        self.check_opaque()?;
        // A set or replace with a cas is a cas.
        let mode = match mode {
            Mode::Set | Mode::Replace if self.compare.is_some() => Mode::Cas,
            mode => mode,
        };
        let joins = matches!(mode, Mode::Append | Mode::Prepend);
        Ok(StorageRequest {
            key,
            mode,
            flags: self.client_flags,
            exptime: self.touch.unwrap_or(Exptime::NEVER),
            compare: if mode == Mode::Add { 0 } else { self.compare.unwrap_or(0) },
            cas: self.cas,
            allow_stale: self.stale && mode == Mode::Cas,
            vivify: self.vivify.filter(|_| joins),
            key_is_binary: self.key_is_binary,
        })
    }

    /// Returns the arithmetic request of an ma with `key`.
    ///
    /// # Errors
    /// The reply line if an ma does not have the requested mode, or if the opaque is too long.
    pub fn arith<'k>(&self, key: &'k [u8]) -> Result<Arith<'k>, &'static [u8]> {
        let direction = match self.mode {
            None | Some(b'I' | b'+') => Direction::Up,
            Some(b'D' | b'-') => Direction::Down,
            Some(_) => return Err(reply::BAD_COUNT_MODE),
        };
        self.check_opaque()?;
        Ok(Arith {
            key,
            direction,
            delta: self.delta,
            compare: self.compare.unwrap_or(0),
            cas: self.cas,
            touch: self.touch,
            create: self.vivify.map(|exptime| (self.initial, self.expiry_of_created(exptime))),
            key_is_binary: self.key_is_binary,
        })
    }

    /// Returns the expiry of an item that `N` creates: `exptime`, the token of `N`, unless a later `T` overrides it.
    pub fn expiry_of_created(&self, exptime: Exptime) -> Exptime {
        match self.touch {
            Some(touch) if self.touch_follows_vivify => touch,
            _ => exptime,
        }
    }

    /// True if any flag may add something to the first line of the reply.
    pub fn asks(&self) -> bool {
        self.seen & !SILENT != 0
    }
}

/// Parses a token as a signed 32-bit number of seconds. `Err` is the reply line.
fn seconds(token: &[u8]) -> Result<Exptime, &'static [u8]> {
    numeric(token, number::signed_32, reply::BAD_TOKEN).map(|secs| Exptime(i64::from(secs)))
}

/// Parses a flag's token, which must not be empty. `error` is the reply if the token is empty or not a number.
fn numeric<N>(
    token: &[u8],
    parse: impl FnOnce(&[u8]) -> Option<N>,
    error: &'static [u8],
) -> Result<N, &'static [u8]> {
    if token.is_empty() { Err(error) } else { parse(token).ok_or(error) }
}

/// Appends a space, `letter`, and `number`.
pub fn push_number(out: &mut Vec<u8>, letter: u8, number: impl itoa::Integer) {
    out.extend_from_slice(&[b' ', letter]);
    number::push(out, number);
}

/// Appends ` t` and the seconds that the item has to live; -1 stands for an item that never expires.
pub fn push_ttl(out: &mut Vec<u8>, ttl: Option<u32>) {
    match ttl {
        None => out.extend_from_slice(b" t-1"),
        Some(secs) => push_number(out, b't', secs),
    }
}

/// Appends ` k<key>`, or ` k<base64> b` if the key has to be encoded: see [`push_key_text`].
pub fn push_key(out: &mut Vec<u8>, key: &[u8], key_is_binary: bool) {
    out.extend_from_slice(b" k");
    if push_key_text(out, key, key_is_binary) {
        out.extend_from_slice(b" b");
    }
}

/// Appends `key`, encoded in base64 if `key_is_binary` or if it contains a byte that would end a word or a line. True if it was
/// encoded.
pub fn push_key_text(out: &mut Vec<u8>, key: &[u8], key_is_binary: bool) -> bool {
    if let Some(key) = escape::word(key).filter(|_| !key_is_binary) {
        out.extend_from_slice(key);
        return false;
    }
    let mut encoded = [0; KEY_BYTES_MAX.div_ceil(3) * 4];
    // The buffer fits the longest key.
    if let Some(bytes) = base64::encode(key, &mut encoded) {
        out.extend_from_slice(&encoded[..bytes]);
    }
    true
}

/// Appends a space and a flag as it was received.
pub fn push_flag(out: &mut Vec<u8>, flag: &[u8]) {
    out.push(b' ');
    out.extend_from_slice(flag);
}

/// Appends those of opaque and key that the request asks for, in the order of the request.
pub fn push_opaque_and_key(out: &mut Vec<u8>, request: &Request<'_>, key: &[u8]) {
    for flag in request.flags {
        match flag[0] {
            b'O' => push_flag(out, flag),
            b'k' => push_key(out, key, request.key_is_binary),
            _ => {}
        }
    }
}
