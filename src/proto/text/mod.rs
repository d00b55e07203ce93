//! The classic text protocol: parses lines into commands. Pure functions.
//!
//! A line is `command word word …`; only spaces separate words. Nothing is copied: a command borrows from its line.
//!
//! Source: protocol.txt of memcached 1.6.45.

pub mod reply;

pub use reply::LINE_END;

use crate::command::{Direction, Exptime, Mode, Replies, StorageRequest};
use crate::limits::{KEY_BYTES_MAX, LINE_BYTES_MAX, LINE_TOKENS_MAX, VALUE_BYTES_ANNOUNCED_MAX};
use crate::number;
use crate::proto::scan;

/// The length of the shortest line that can be a command, bytes with its line end.
const LINE_BYTES_MIN: usize = 4;
/// The start of the last word of an HTTP request's first line, by which such a request is recognized.
const HTTP: &[u8] = b"HTTP/";
const GET: &[u8] = b"get ";
const NOREPLY: &[u8] = b"noreply";

/// The words of a line that have not been taken yet. As an iterator, it takes them one by one.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// Returns all words of `line`, which must not include the line end.
    pub fn of(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// Returns the part of the line after the last word taken, including the spaces at its start.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True if no word is left.
    pub fn is_at_end(mut self) -> bool {
        self.next().is_none()
    }

    /// Returns the last word, or the last of the first `room` words if there are more, because memcached does not parse further
    /// words. `None` if no word is left.
    fn last_of(self, room: usize) -> Option<&'a [u8]> {
        // `room` words, with the spaces before them, have at least twice that many bytes, so for almost every line it is enough
        // to look at its end.
        if self.rest.len() < room * 2 {
            let end = self.rest.iter().rposition(|&byte| byte != b' ')? + 1;
            let start = memchr::memrchr(b' ', &self.rest[..end]).map_or(0, |space| space + 1);
            return Some(&self.rest[start..end]);
        }
        self.take(room).last()
    }
}

#[expect(clippy::copy_iterator, reason = "a slice; what is walked is a copy on purpose")]
impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let mut rest = self.rest;
        while let [b' ', behind @ ..] = rest {
            rest = behind;
        }
        if rest.is_empty() {
            return None;
        }
        let end = scan::space(rest);
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

/// A parsed command line. What a data block contains is not part of it.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// A retrieval: `get`, `gets`, `gat` or `gats`.
    Get(Get<'a>),
    /// A storage command: `set`, `add`, `replace`, `append`, `prepend` or `cas`. A data block follows the line.
    Store(Block<'a>),
    /// `delete`: the key.
    Delete(&'a [u8], Replies),
    /// `incr` or `decr`: the key, the direction, and the amount.
    Arith(&'a [u8], Direction, u64, Replies),
    /// `touch`: the key and its new expiry.
    Touch(&'a [u8], Exptime, Replies),
    /// A meta command with a key. Its line must be parsed by [`crate::proto::meta`].
    Meta(Verb),
    /// `mn`, the meta command without a key. It only gets the reply `MN`.
    Noop,
    /// `version`: asks for the server's version.
    Version,
    /// `quit`: closes the connection.
    Quit,
    /// `flush_all`: the time at which all items become invalid; `None` if the command's number is invalid.
    Flush(Option<Exptime>, Replies),
    /// `verbosity`: the new level of logging, as a number of -v.
    Verbosity(u32, Replies),
    /// An administrative command such as `stats`, with the words after its name.
    Admin(Admin, Words<'a>),
    /// An invalid command, with the reply line to send.
    Refused(&'static [u8], Replies),
    /// An HTTP request. The connection must be closed without a reply.
    Http,
}

/// The meta commands with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `mg`: reads an item.
    Get,
    /// `ms`: stores an item.
    Set,
    /// `md`: deletes an item or marks it as stale.
    Delete,
    /// `ma`: increments or decrements a number.
    Arith,
    /// `me`: shows the internal state of an item.
    Debug,
}

/// The administrative commands, which are parsed where they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// `stats`: lists statistics.
    Stats,
    /// `watch`: makes the connection a watcher.
    Watch,
    /// `shutdown`: stops the server.
    Shutdown,
    /// `cache_memlimit`: changes the memory limit.
    CacheMemlimit,
    /// `lru`: changes settings of memcached's LRU lists, which are only shown.
    Lru,
    /// `lru_crawler`: dumps items, and changes settings of memcached's crawler.
    LruCrawler,
    /// `slabs`: checks and accepts memcached's commands for slabs, which do not exist here.
    Slabs,
    /// `extstore`: changes settings of the flash tier.
    Extstore,
    /// `refresh_certs`: loads the TLS certificates again.
    RefreshCerts,
    /// `debugtime`: moves, stops or continues the clock. Only in builds with the feature `debug`.
    DebugTime,
}

/// A retrieval of at least one key.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    /// The keys. Their lengths have not been checked.
    pub keys: Words<'a>,
    /// True if the reply shows each item's cas (gets, gats).
    pub with_cas: bool,
    /// The new expiry of each item (gat, gats); `None` leaves the expiries as they are.
    pub touch: Option<Exptime>,
}

/// The line of a storage command. A data block, which is the value and a line end, follows it.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The command or, if it is refused, the error line to send after the data block has been skipped.
    pub store: Result<StorageRequest<'a>, &'static [u8]>,
    /// Length of the value without its line end, bytes.
    pub value_bytes: usize,
    /// [`Replies::Quiet`] if the line ends with `noreply`.
    pub replies: Replies,
}

/// Parses the most frequent command, a get of one key, at the start of `input`. Returns the key and the length of the line,
/// bytes; `None` for any other command, which [`parse`] handles. One search finds both the end of the key and the end of the
/// line.
#[inline]
pub fn single_get(input: &[u8]) -> Option<(&[u8], usize)> {
    let words = input.strip_prefix(GET)?;
    let end = scan::blank(words);
    let (key, behind) = words.split_at(end);
    let line_end_bytes = match behind {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => return None,
    };
    (!key.is_empty() && key.len() <= KEY_BYTES_MAX).then_some((key, GET.len() + end + line_end_bytes))
}

/// Returns the first word after the name of the command at the start of `input`, which is the key if the command has one, and the
/// length of the command with its data block, bytes. `None` if the line does not show that. Not everything is checked, so this is
/// only for lookahead.
pub fn peek(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', &input[..input.len().min(LINE_BYTES_MAX)])?;
    let line = &input[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (name, words) = line.split_at(scan::space(line));
    let words = words.get(1..)?;
    let key_bytes = scan::space(words);
    let block_bytes = match name {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" => number_at_end(words)? + LINE_END.len(),
        b"cas" => return None,
        b"ms" => value_length(Words::of(&words[key_bytes..]).next()?)? + LINE_END.len(),
        _ => 0,
    };
    Some((&words[..key_bytes], end + 1 + block_bytes))
}

/// Returns the value's length, the last number of a storage command's line, in bytes. `None` if the line does not end with one.
fn number_at_end(words: &[u8]) -> Option<usize> {
    let words = words.strip_suffix(b" noreply").unwrap_or(words);
    let start = words.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
    // An empty token would be parsed as 0.
    if start < words.len() { value_length(&words[start..]) } else { None }
}

/// Parses a command line. `line` does not include its line end, whose length is `line_end_bytes` (1 or 2).
#[inline]
pub fn parse(line: &[u8], line_end_bytes: usize) -> Command<'_> {
    if let Some(keys) = line.strip_prefix(b"get ") {
        return get(Words::of(keys), false);
    }
    if line.starts_with(b"mg ") {
        return Command::Meta(Verb::Get);
    }
    if line.len() + line_end_bytes < LINE_BYTES_MIN {
        return Command::Refused(reply::BAD_FORMAT, Replies::Sent);
    }
    let (name, rest) = line.split_at(scan::space(line));
    let words = Words::of(rest);
    match name {
        b"set" => store(Mode::Set, words),
        b"add" => store(Mode::Add, words),
        b"replace" => store(Mode::Replace, words),
        b"append" => store(Mode::Append, words),
        b"prepend" => store(Mode::Prepend, words),
        b"cas" => store(Mode::Cas, words),
        b"mg" => Command::Meta(Verb::Get),
        b"ms" => Command::Meta(Verb::Set),
        b"md" => Command::Meta(Verb::Delete),
        b"ma" => Command::Meta(Verb::Arith),
        b"me" => Command::Meta(Verb::Debug),
        b"mn" => Command::Noop,
        b"get" => get(words, false),
        b"gets" => get(words, true),
        b"gat" => get_touch(words, false),
        b"gats" => get_touch(words, true),
        b"delete" => delete(words),
        b"incr" => count(words, Direction::Up),
        b"decr" => count(words, Direction::Down),
        b"touch" => touch(words),
        _ => administration(name, words),
    }
}

/// Parses the rare commands: `version`, `quit`, `flush_all`, `verbosity`, and the administrative ones.
fn administration<'a>(name: &[u8], mut words: Words<'a>) -> Command<'a> {
    // A line that starts with spaces reaches only the commands of memcached's older parser.
    let name = match name {
        b"" => match words.next() {
            Some(
                name @ (b"flush_all" | b"verbosity" | b"shutdown" | b"cache_memlimit" | b"lru"
                | b"lru_crawler" | b"slabs" | b"extstore" | b"refresh_certs" | b"debugtime"),
            ) => name,
            _ => b"",
        },
        name => name,
    };
    match name {
        b"version" => Command::Version,
        b"quit" => Command::Quit,
        b"flush_all" => flush(words),
        b"verbosity" => verbosity(words),
        b"stats" => Command::Admin(Admin::Stats, words),
        b"watch" => Command::Admin(Admin::Watch, words),
        b"shutdown" => Command::Admin(Admin::Shutdown, words),
        b"cache_memlimit" => Command::Admin(Admin::CacheMemlimit, words),
        b"lru" => Command::Admin(Admin::Lru, words),
        b"lru_crawler" => Command::Admin(Admin::LruCrawler, words),
        b"slabs" => Command::Admin(Admin::Slabs, words),
        b"extstore" => Command::Admin(Admin::Extstore, words),
        b"refresh_certs" => Command::Admin(Admin::RefreshCerts, words),
        #[cfg(feature = "debug")]
        b"debugtime" => Command::Admin(Admin::DebugTime, words),
        _ => match words.last_of(LINE_TOKENS_MAX - 1) {
            Some(last) if last.starts_with(HTTP) => Command::Http,
            _ => Command::Refused(reply::ERROR, replies(words, 1)),
        },
    }
}

/// Returns [`Replies::Quiet`] if the last word of the line is `noreply`. memcached parses only the first words of a line; `taken`
/// is the number of those that precede `words`.
pub fn replies(words: Words<'_>, taken: usize) -> Replies {
    match words.last_of(LINE_TOKENS_MAX - taken) {
        Some(NOREPLY) => Replies::Quiet,
        _ => Replies::Sent,
    }
}

fn too_few() -> Command<'static> {
    Command::Refused(reply::BAD_FORMAT, Replies::Sent)
}

#[inline]
fn get(keys: Words<'_>, with_cas: bool) -> Command<'_> {
    if keys.clone().next().is_none() { too_few() } else { Command::Get(Get { keys, with_cas, touch: None }) }
}

fn get_touch(mut words: Words<'_>, with_cas: bool) -> Command<'_> {
    let Some(exptime) = words.next() else { return too_few() };
    let Command::Get(get) = get(words, with_cas) else { return too_few() };
    match number::signed_32(exptime) {
        Some(exptime) => Command::Get(Get { touch: Some(Exptime(i64::from(exptime))), ..get }),
        None => Command::Refused(reply::BAD_EXPTIME, Replies::Sent),
    }
}

#[inline]
fn store(mode: Mode, mut words: Words<'_>) -> Command<'_> {
    let (Some(key), Some(flags), Some(exptime), Some(bytes)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return too_few();
    };
    let replies = replies(words, 5);
    let Some(value_bytes) = value_length(bytes) else {
        // Without a length there is no block to skip, and memcached has not looked at noreply yet.
        return Command::Refused(reply::BAD_FORMAT, Replies::Sent);
    };
    let compare = match mode {
        Mode::Cas => match words.next() {
            // A cas command without its number is rejected, but its block length is known, so the block is skipped.
            Some(unique) => number::unsigned(unique),
            None => None,
        },
        _ => Some(0),
    };
    let store = match (number::c_unsigned(flags), number::c_signed(exptime), compare) {
        (Some(flags), Some(exptime), Some(compare)) if key.len() <= KEY_BYTES_MAX => Ok(StorageRequest {
            key,
            mode,
            flags: flags as u32,
            exptime: Exptime(i64::from(exptime as i32)),
            compare,
            cas: None,
            allow_stale: false,
            vivify: None,
            key_is_binary: false,
        }),
        _ => Err(reply::BAD_FORMAT),
    };
    Command::Store(Block { store, value_bytes, replies })
}

/// Parses the announced length of a value, bytes. `None` if it is not a number, is negative, or is too large.
pub fn value_length(token: &[u8]) -> Option<usize> {
    let bytes = u32::try_from(number::signed_32(token)?).ok()?;
    (bytes <= VALUE_BYTES_ANNOUNCED_MAX).then_some(bytes as usize)
}

/// Takes the first of `words` as a key. Returns it, and by the last word whether replies are sent. `Err` is the reply to an
/// invalid key.
fn key<'a>(words: &mut Words<'a>) -> Result<(&'a [u8], Replies), Command<'static>> {
    let all = *words;
    let key = words.next().ok_or_else(too_few)?;
    let replies = replies(all, 1);
    if key.len() > KEY_BYTES_MAX {
        return Err(Command::Refused(reply::BAD_FORMAT, replies));
    }
    Ok((key, replies))
}

/// Parses a delete. Up to two words may follow the key, as old clients send them: a time, which is ignored, and `noreply`.
fn delete(mut words: Words<'_>) -> Command<'_> {
    match key(&mut words) {
        Ok((_, replies)) if words.nth(2).is_some() => Command::Refused(reply::DELETE_USAGE, replies),
        Ok((key, replies)) => Command::Delete(key, replies),
        Err(refused) => refused,
    }
}

fn count(mut words: Words<'_>, direction: Direction) -> Command<'_> {
    match (key(&mut words), words.next()) {
        (_, None) => too_few(),
        (Err(refused), _) => refused,
        (Ok((key, replies)), Some(delta)) => match number::unsigned(delta) {
            Some(delta) => Command::Arith(key, direction, delta, replies),
            None => Command::Refused(reply::BAD_DELTA, replies),
        },
    }
}

fn touch(mut words: Words<'_>) -> Command<'_> {
    match (key(&mut words), words.next()) {
        (_, None) => too_few(),
        (Err(refused), _) => refused,
        (Ok((key, replies)), Some(exptime)) => match number::signed_32(exptime) {
            Some(exptime) => Command::Touch(key, Exptime(i64::from(exptime)), replies),
            None => Command::Refused(reply::BAD_EXPTIME, replies),
        },
    }
}

fn flush(mut words: Words<'_>) -> Command<'_> {
    let replies = replies(words, 1);
    match words.next() {
        None => Command::Flush(Some(Exptime(0)), replies),
        Some(NOREPLY) if replies.quiet() => Command::Flush(Some(Exptime(0)), replies),
        Some(exptime) => Command::Flush(number::signed_32(exptime).map(|n| Exptime(i64::from(n))), replies),
    }
}

fn verbosity(mut words: Words<'_>) -> Command<'_> {
    let replies = replies(words, 1);
    match words.next().and_then(number::unsigned_32) {
        Some(level) => Command::Verbosity(level, replies),
        None => Command::Refused(reply::BAD_FORMAT, replies),
    }
}
