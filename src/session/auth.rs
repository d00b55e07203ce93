//! Logins: by a `set` in the text protocol (-Y), by SASL PLAIN in the binary protocol (-S). Whether the client is logged in is
//! part of the session's state; the users are in `engine::Shared` behind a read lock.
//!
//! The module may import the state, `staging` and `body`. `feed` runs the steps of the text protocol, `binary` those of SASL.

use super::progress::Next;
use super::staging::refuse_packet;
use super::state::{DeferredReply, InputBatch, Session, State, Step};
use crate::limits::{LINE_BYTES_MAX, LOGIN_BYTES_MAX, SASL_MECHANISM_BYTES_MAX};
use crate::number;
use crate::proto::binary::{AUTHENTICATED, Echo, Status, push_reply};
use crate::proto::text::{LINE_END, Words, reply};

/// Least length of a login line, bytes with the `\r` and without the `\n`. A shorter line closes the connection.
const LOGIN_LINE_BYTES_MIN: usize = 6;
/// The only SASL mechanism that is offered, and the whole reply to `sasl list mechanisms`.
pub(super) const MECHANISM: &[u8] = b"PLAIN";

impl Session {
    /// Reads the login line `set <any> <any> <any> <bytes>`, after which the session waits for the token. Any other line is
    /// answered with an error, and the session waits for the next login line.
    pub(super) fn login(&mut self, feed: &mut InputBatch<'_, '_>) -> Step {
        let rest = feed.rest();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return if rest.len() > LINE_BYTES_MAX { Step::Stop(Next::Reject) } else { Step::Need };
        };
        feed.at += end + 1;
        if end < LOGIN_LINE_BYTES_MIN {
            return Step::Stop(Next::Reject);
        }
        let line = &rest[..end];
        // A line that begins with a space is not a `set`.
        let mut words = Words::of(line.strip_suffix(b"\r").unwrap_or(line));
        let is_set = line.starts_with(b"set") && words.next() == Some(b"set");
        match words.nth(3).and_then(number::unsigned_32) {
            Some(bytes) if is_set && bytes <= LOGIN_BYTES_MAX => {
                self.state = State::Token(bytes as usize);
            }
            Some(_) if is_set => self.push_line(feed, reply::AUTH_TOO_LONG),
            _ => self.push_line(feed, reply::UNAUTHENTICATED),
        }
        Step::Done
    }

    /// Reads the token, which is `user password` of `bytes` bytes and a line end, and checks it. After a failed login the session
    /// waits for the next login line.
    pub(super) fn token(&mut self, feed: &mut InputBatch<'_, '_>, bytes: usize) -> Step {
        let Some(block) = feed.rest().get(..bytes + LINE_END.len()) else { return Step::Need };
        feed.at += block.len();
        self.state = State::Login;
        let Some(token) = block.strip_suffix(LINE_END) else {
            self.push_line(feed, reply::AUTH_BAD_END);
            return Step::Done;
        };
        // A password may contain spaces.
        let Some(blank) = memchr::memchr(b' ', token) else {
            self.push_line(feed, reply::AUTH_BAD_TOKEN);
            return Step::Done;
        };
        if authenticates(feed, &token[..blank], &token[blank + 1..]) {
            self.state = State::Command;
            self.push_line(feed, reply::STORED);
        } else {
            self.push_line(feed, reply::AUTH_FAILED);
        }
        Step::Done
    }

    /// Runs the SASL commands auth and step. `value` contains user and password. A failed login also ends an earlier successful
    /// login.
    pub(super) fn sasl(&mut self, feed: &mut InputBatch<'_, '_>, echo: Echo, mechanism: &[u8], value: &[u8]) {
        if mechanism.len() > SASL_MECHANISM_BYTES_MAX {
            return refuse_packet(feed, echo, Status::Invalid);
        }
        // PLAIN: authorization identity, NUL, user, NUL, password.
        let mut parts = value.splitn(3, |&byte| byte == 0).skip(1);
        let (user, password) = match (mechanism, parts.next(), parts.next()) {
            (MECHANISM, Some(user), Some(password)) => (user, password),
            // No user has an empty name.
            _ => (&b""[..], &b""[..]),
        };
        if authenticates(feed, user, password) {
            self.authenticated = true;
            push_reply(&mut feed.out.staged, echo, Status::Ok, AUTHENTICATED, 0);
        } else {
            self.authenticated = false;
            refuse_packet(feed, echo, Status::Auth);
        }
    }

    /// Skips a SASL value that is too long, and then sends [`Status::Auth`].
    pub(super) fn refuse_sasl(&mut self, value_bytes: usize, echo: Echo) {
        self.discard_body(value_bytes, DeferredReply::Packet(echo, Status::Auth));
    }
}

/// Checks a login, and counts it in `auth_cmds` and, if it fails, in `auth_errors`. An empty user always fails.
fn authenticates(feed: &InputBatch<'_, '_>, user: &[u8], password: &[u8]) -> bool {
    let counters = feed.executor.counters();
    counters.auth_cmds.add(1);
    let good = !user.is_empty() && feed.executor.shared().authenticates(user, password);
    if !good {
        counters.auth_errors.add(1);
    }
    good
}
