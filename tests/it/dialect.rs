//! What must be said to memcached 1.6.18 for it to answer as 1.6.45 answers a request.
//!
//! 1.6.45 reads lines by another tokenizer than 1.6.18: [`translate`] reads a request as 1.6.45 does and writes it down
//! again in words that both read alike. Where 1.6.45 refuses, a [`Translation`] holds the words of the refusal in place
//! of an answer. What is left to compare is then equal to the last byte, whatever was wrong with the request.
//!
//! Source: memcached's protocol.txt and release notes from 1.6.18 to 1.6.45.

use crate::harness::find;

const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
const DELETE_USAGE: &str = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
const INVALID_FLAG: &str = "CLIENT_ERROR invalid flag";
const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
const INVALID_OR_DUPLICATE: &str = "CLIENT_ERROR invalid or duplicate flag";
const BAD_EXPTIME: &str = "CLIENT_ERROR invalid exptime argument";
const BAD_DELTA: &str = "CLIENT_ERROR invalid numeric delta argument";

/// Stands for a NUL, which ends a line of 1.6.18.
const NUL: u8 = 0x01;
/// More words than this are not looked at.
const WORDS_MAX: usize = 23;
const KEY_BYTES_MAX: usize = 250;

/// A request for 1.6.18.
#[derive(Debug, Default)]
pub struct Translation {
    pub request: Vec<u8>,
    /// Refusals: 1.6.18 is asked for a key that does not exist, with this opaque; its answer stands for the refusal.
    said: Vec<(String, &'static str)>,
    /// 1.6.18 has no words for it.
    pub unspeakable: bool,
}

impl Translation {
    fn say(&mut self, error: &'static str) {
        let opaque = format!("Osaid{}", self.said.len());
        self.request.extend_from_slice(format!("mg said {opaque}\r\n").as_bytes());
        self.said.push((format!("EN {opaque}\r\n"), error));
    }

    fn line(&mut self, words: &[&[u8]]) {
        self.request.extend_from_slice(&without_nul(&words.join(&b' ')));
        self.request.extend_from_slice(b"\r\n");
    }

    /// An expiry; one that comes while the test runs comes at different times on two servers.
    fn lifetime(&mut self, word: &[u8]) -> Option<i32> {
        let secs = seconds(word);
        self.unspeakable |= secs.is_some_and(|secs| is_soon(secs.into()));
        secs
    }

    /// What 1.6.45 would have answered, from what 1.6.18 has answered to [`Translation::request`]; [`without_nul`].
    pub fn answer(&self, answer: &[u8]) -> Vec<u8> {
        let mut answer = without_nul(answer);
        for (stand_in, error) in &self.said {
            if let Some(at) = find(&answer, stand_in.as_bytes()) {
                answer.splice(at..at + stand_in.len(), format!("{error}\r\n").into_bytes());
            }
        }
        answer
    }
}

/// `bytes` with another byte for each NUL.
pub fn without_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|&byte| if byte == 0 { NUL } else { byte }).collect()
}

/// Reads `request` as 1.6.45 does.
pub fn translate(request: &[u8]) -> Translation {
    let mut translation = Translation::default();
    let mut rest = request;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        rest = &rest[end + 1..];
        if line.len() < 3 {
            translation.say(BAD_FORMAT);
            continue;
        }
        rest = &rest[command(&mut translation, text, rest).min(rest.len())..];
    }
    // A line without an end is never answered.
    translation.request.extend_from_slice(rest);
    translation
}

/// Translates the command on `line`; the result is how many bytes of its data `behind` it takes.
fn command(to: &mut Translation, line: &[u8], behind: &[u8]) -> usize {
    let mut words: Vec<_> = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    let name = if line.starts_with(b" ") { &b""[..] } else { words[0] };
    if matches!(name, b"get" | b"gets") {
        if words.len() < 2 {
            to.say(BAD_FORMAT);
        } else {
            to.line(&words);
        }
        return 0;
    }
    words.truncate(WORDS_MAX);
    let quiet = words.last() == Some(&&b"noreply"[..]) && name != b"noreply";
    let noreply: &[&[u8]] = if quiet { &[b"noreply"] } else { &[] };
    let refuse = |to: &mut Translation, error| {
        if !quiet {
            to.say(error);
        }
    };
    let least = match name {
        b"delete" | b"mg" | b"md" | b"ma" | b"me" => 2,
        b"gat" | b"gats" | b"incr" | b"decr" | b"touch" | b"ms" => 3,
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => 5,
        _ => 0,
    };
    if words.len() < least {
        to.say(BAD_FORMAT);
        return 0;
    }
    let long_key = words.get(1).is_some_and(|key| key.len() > KEY_BYTES_MAX);
    match name {
        b"mg" | b"ms" | b"md" | b"ma" | b"me" => return meta(to, &words, behind),
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
            return store(to, &words, quiet, behind);
        }
        b"gat" | b"gats" => match to.lifetime(words[1]) {
            Some(exptime) => to.line(&[&[name, exptime.to_string().as_bytes()], &words[2..]].concat()),
            None => to.say(BAD_EXPTIME),
        },
        // Three words behind the key are an error to memccapable, and so to memcrsd.
        b"delete" if words.len() > 4 => refuse(to, DELETE_USAGE),
        b"delete" => to.line(&[&words[..2], noreply].concat()),
        b"incr" | b"decr" | b"touch" if long_key => refuse(to, BAD_FORMAT),
        b"incr" | b"decr" => match unsigned(words[2]) {
            Some(delta) => to.line(&[&[name, words[1], delta.to_string().as_bytes()], noreply].concat()),
            None => refuse(to, BAD_DELTA),
        },
        b"touch" => match to.lifetime(words[2]) {
            Some(exptime) => to.line(&[&[name, words[1], exptime.to_string().as_bytes()], noreply].concat()),
            None => refuse(to, BAD_EXPTIME),
        },
        b"flush_all" => match words.get(1) {
            None | Some(&b"noreply") if words.len() < 3 => to.line(&[&[name], noreply].concat()),
            Some(&exptime) => match to.lifetime(exptime) {
                Some(exptime) => to.line(&[&[name, exptime.to_string().as_bytes()], noreply].concat()),
                None => refuse(to, BAD_EXPTIME),
            },
            None => to.line(&[name]),
        },
        b"mn" => to.line(&[name]),
        _ => refuse(to, "ERROR"),
    }
    0
}

fn store(to: &mut Translation, words: &[&[u8]], quiet: bool, behind: &[u8]) -> usize {
    let Some(bytes) = length(words[4]) else {
        if !quiet {
            to.say(BAD_FORMAT);
        }
        return 0;
    };
    let unique = if words[0] == b"cas" { words.get(5).and_then(|word| unsigned(word)) } else { Some(0) };
    let (Some(flags), Some(exptime), Some(unique), true) =
        (c_number(words[2]), c_number(words[3]), unique, words[1].len() <= KEY_BYTES_MAX)
    else {
        return refuse_block(to, (!quiet).then_some(BAD_FORMAT), bytes, behind);
    };
    let flags = wrapped(flags);
    if flags < 0 || flags > i128::from(u64::MAX) || i64::try_from(exptime).is_err() {
        return refuse_block(to, (!quiet).then_some(BAD_FORMAT), bytes, behind);
    }
    to.unspeakable |= words[0] == b"cas" && may_be_a_cas(unique.into());
    to.unspeakable |= is_soon((exptime as i32).into());
    let mut line = [words[0], words[1]].join(&b' ');
    line.extend_from_slice(format!(" {} {} {bytes}", flags as u32, exptime as i32).as_bytes());
    if words[0] == b"cas" {
        line.extend_from_slice(format!(" {unique}").as_bytes());
    }
    if quiet {
        line.extend_from_slice(b" noreply");
    }
    block(to, &line, bytes, behind)
}

/// Sends a store and its data. One whose data has not all come is left out: it is never answered, and makes 1.6.18
/// forget the answers in front of it.
///
/// What is too large for the cache removes the old item before any data has come.
fn block(to: &mut Translation, line: &[u8], bytes: usize, behind: &[u8]) -> usize {
    to.unspeakable |= bytes > 1_000_000;
    if behind.len() >= bytes + 2 {
        to.request.extend_from_slice(&without_nul(line));
        to.request.extend_from_slice(b"\r\n");
        to.request.extend_from_slice(&behind[..bytes + 2]);
    }
    bytes + 2
}

/// Passes over the data of a store that is refused; it is refused when all of it has come.
fn refuse_block(to: &mut Translation, error: Option<&'static str>, bytes: usize, behind: &[u8]) -> usize {
    if let Some(error) = error
        && behind.len() >= bytes + 2
    {
        to.say(error);
    }
    bytes + 2
}

fn meta(to: &mut Translation, words: &[&[u8]], behind: &[u8]) -> usize {
    let (name, is_set) = (words[0], words[0] == b"ms");
    let first = if is_set { 3 } else { 2 };
    let bytes = if is_set { length(words[2]) } else { Some(0) };
    let letters = words[first..].iter().map(|word| word[0]);
    let (Some(bytes), true) =
        (bytes, name == b"me" || letters.clone().all(|letter| matches!(letter, b'A'..=b'z' | b'0'..=b'9')))
    else {
        to.say(BAD_FORMAT);
        return 0;
    };
    if name == b"me" {
        to.unspeakable = true;
        return 0;
    }
    // What 1.6.18 does not know: E, x, the s of an ms; what it does otherwise: b, and q where an item is made.
    let makes_quietly = name == b"ma" && letters.clone().any(|letter| letter == b'q');
    to.unspeakable |= letters.clone().any(|letter| b"Exb".contains(&letter));
    to.unspeakable |= is_set && letters.clone().any(|letter| letter == b's');
    to.unspeakable |= makes_quietly && letters.clone().any(|letter| letter == b'N');
    let judged =
        if words[1].len() > KEY_BYTES_MAX { Err(BAD_FORMAT) } else { letters_and_tokens(&words[first..]) };
    let judged = judged.map_err(|error| if name == b"ma" { INVALID_OR_DUPLICATE } else { error });
    to.unspeakable |= words[first..].iter().any(|word| match (word[0], c_number(&word[1..]).map(wrapped)) {
        (b'C', Some(number)) => may_be_a_cas(number),
        (b'T' | b'N', Some(number)) => is_soon(number),
        _ => false,
    });
    let flags = match judged.and_then(|flags| mode(name, &words[first..]).map(|()| flags)) {
        Ok(flags) => flags,
        Err(error) if is_set => return refuse_block(to, Some(error), bytes, behind),
        Err(error) => {
            to.say(error);
            return 0;
        }
    };
    let counts_down = flags.iter().any(|flag| flag == b"MD" || flag == b"M-");
    // The expiry for a number that becomes longer goes to the old item.
    to.unspeakable |= name == b"ma" && !counts_down && flags.iter().any(|flag| flag.starts_with(b"T"));
    let length = bytes.to_string();
    let mut line = vec![name, words[1]];
    if is_set {
        line.push(length.as_bytes());
    }
    line.extend(flags.iter().filter(|flag| !flag.is_empty()).map(Vec::as_slice));
    if is_set {
        return block(to, &line.join(&b' '), bytes, behind);
    }
    to.line(&line);
    0
}

/// The flags as 1.6.18 knows them. The letters are judged first; of bad tokens the last one is reported.
fn letters_and_tokens(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, &'static str> {
    for (place, word) in words.iter().enumerate() {
        if words[..place].iter().any(|before| before[0] == word[0]) {
            return Err("CLIENT_ERROR duplicate flag");
        }
        if !b"bcCDEfFhIJklMNOPLqRstTuvx".contains(&word[0]) {
            return Err(INVALID_FLAG);
        }
    }
    let judged: Vec<_> = words.iter().map(|word| flag(word)).collect();
    // A bad F has no words of its own.
    let errors = judged.iter().filter_map(|flag| flag.as_ref().err());
    match errors.clone().rfind(|error| **error != BAD_FORMAT).or(errors.clone().next_back()) {
        Some(error) => Err(error),
        None => Ok(judged.into_iter().flatten().collect()),
    }
}

/// One flag as 1.6.18 knows it, empty if it is to be left out.
fn flag(word: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (letter, token) = (word[0], &word[1..]);
    let wraps = matches!(letter, b'C' | b'J' | b'D' | b'F');
    let number = c_number(token).map(|number| if wraps { wrapped(number) } else { number });
    let within = |low: i128, high: i128, error| match number {
        Some(number) if (low..=high).contains(&number) => {
            Ok([&[letter], number.to_string().as_bytes()].concat())
        }
        _ => Err(error),
    };
    match letter {
        b'N' | b'T' | b'R' => within(i32::MIN.into(), i32::MAX.into(), BAD_TOKEN),
        b'C' => within(0, u64::MAX.into(), BAD_TOKEN),
        b'F' => within(0, u32::MAX.into(), BAD_FORMAT),
        b'J' => within(0, u64::MAX.into(), "CLIENT_ERROR invalid numeric initial value"),
        b'D' => within(0, u64::MAX.into(), "CLIENT_ERROR invalid numeric delta value"),
        b'M' if token.first().is_some_and(|mode| b"EAPRSI+D-".contains(mode)) => Ok(word[..2].to_vec()),
        b'M' | b'P' | b'L' => Ok(Vec::new()),
        _ => Ok(word.to_vec()),
    }
}

/// What `strtoul` makes of a negative number; it stays one if it is to be refused.
fn wrapped(number: i128) -> i128 {
    let wrapped = number + (1 << 64);
    if number < 0 && (0..1 << 63).contains(&wrapped) { wrapped } else { number }
}

/// Whether so many seconds may pass while the test runs.
pub fn is_soon(secs: i128) -> bool {
    (1..60).contains(&secs)
}

/// The two servers draw these numbers differently.
pub fn may_be_a_cas(number: i128) -> bool {
    (1..1_000_000).contains(&number)
}

/// Judges the mode among `flags`, of whose token only the first byte counts.
fn mode(name: &[u8], flags: &[&[u8]]) -> Result<(), &'static str> {
    let Some(flag) = flags.iter().find(|flag| flag[0] == b'M') else { return Ok(()) };
    let mode = flag.get(1).copied().unwrap_or(b' ');
    match name {
        b"ms" if !b"EAPRS".contains(&mode) => Err("CLIENT_ERROR invalid mode for ms M token"),
        b"ma" if !b"I+D-".contains(&mode) => Err("CLIENT_ERROR invalid mode for ma M token"),
        _ => Ok(()),
    }
}

/// A value's length.
fn length(word: &[u8]) -> Option<usize> {
    usize::try_from(seconds(word)?).ok().filter(|&bytes| bytes <= i32::MAX as usize - 2)
}

/// A signed number of 32 bits: a minus sign and digits, maybe none, in 11 characters at most.
fn seconds(word: &[u8]) -> Option<i32> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    if word.len() > 11 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: i64 = if digits.is_empty() { 0 } else { text(digits).parse().ok()? };
    i32::try_from(if digits.len() < word.len() { -number } else { number }).ok()
}

/// An unsigned number of 64 bits: at most 22 digits.
fn unsigned(word: &[u8]) -> Option<u64> {
    if word.len() > 22 || !word.iter().all(u8::is_ascii_digit) { None } else { text(word).parse().ok() }
}

/// What C's `strtol` reads at the front of `word`, if white space, a NUL, or the end is behind it.
fn c_number(word: &[u8]) -> Option<i128> {
    let is_space = |byte: &u8| matches!(byte, b'\t'..=b'\r');
    let start = word.iter().position(|byte| !is_space(byte))?;
    let word = &word[start..];
    let sign = usize::from(matches!(word[0], b'+' | b'-'));
    let end = sign + word[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if end == sign || word.get(end).is_some_and(|byte| !is_space(byte) && *byte != 0) {
        return None;
    }
    text(&word[..end]).parse().ok()
}

fn text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).unwrap()
}
