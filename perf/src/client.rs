//! One connection, written and read concurrently, for everything but load: stats, replay, filling.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::proto::{self, Name, Protocol, Reply};

/// Silence after which a server is considered dead.
const SILENCE_MS: u16 = 20_000;

/// A connection. Requests are appended to `out` and leave while replies are awaited, so neither side can block the other.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    protocol: Protocol,
    /// Bytes to send; append only.
    pub(crate) out: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    /// Position of the first unconsumed byte in `received`.
    at: usize,
}

/// A complete reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    Value {
        name: Name<'a>,
        value: &'a [u8],
        /// True if the protocol's tail followed it.
        well_ended: bool,
    },
    Other(Reply<'a>),
}

impl Client {
    /// # Errors
    /// A message, when the server cannot be reached.
    pub(crate) fn connect(server: &str, protocol: Protocol) -> Result<Self, String> {
        let stream = TcpStream::connect(server).map_err(|e| format!("cannot connect to {server}: {e}"))?;
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).map_err(|e| e.to_string())?;
        Ok(Self { stream, protocol, out: Vec::new(), sent: 0, received: Vec::new(), at: 0 })
    }

    /// The next reply, once it is complete.
    ///
    /// # Errors
    /// A message, when the server closed, fell silent or sent what is no reply.
    pub(crate) fn answer(&mut self) -> Result<Answer<'_>, String> {
        let protocol = self.protocol;
        let tail = protocol.value_tail();
        let (head_len, len) = loop {
            let bytes = &self.received[self.at..];
            let (wanted, head_len) = match proto::decode(protocol, bytes).map_err(|garbage| garbage.0)? {
                Some((Reply::Value { value_len, .. }, head_len)) => {
                    (head_len + value_len + tail.len(), head_len)
                }
                Some((_, head_len)) => (head_len, head_len),
                None => (bytes.len() + 1, 0),
            };
            if wanted <= bytes.len() {
                break (head_len, wanted);
            }
            self.turn(wanted)?;
        };
        let bytes = &self.received[self.at..self.at + len];
        self.at += len;
        let decoded = proto::decode(protocol, bytes).map_err(|garbage| garbage.0)?;
        let (reply, _) = decoded.ok_or("a reply shrank")?;
        Ok(match reply {
            Reply::Value { name, value_len, .. } => {
                let (value, end) = bytes[head_len..].split_at(value_len);
                Answer::Value { name, value, well_ended: end == tail }
            }
            other => Answer::Other(other),
        })
    }

    /// Sends and receives what is possible, once; sleeps until something is.
    fn turn(&mut self, wanted: usize) -> Result<(), String> {
        if self.at > 0 && (self.at == self.received.len() || self.at > 1 << 20) {
            self.received.drain(..self.at);
            self.at = 0;
        }
        let mut interest = PollFlags::POLLIN;
        if self.sent < self.out.len() && !self.send()? {
            interest |= PollFlags::POLLOUT;
        }
        let mut fds = [PollFd::new(self.stream.as_fd(), interest)];
        match poll(&mut fds, PollTimeout::from(SILENCE_MS)) {
            Ok(0) => return Err("the server has not answered for 20 seconds".into()),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(format!("poll: {e}")),
        }
        let filled = self.received.len();
        self.received.resize(filled + (wanted - (filled - self.at)).max(64 << 10), 0);
        let result = self.stream.read(&mut self.received[filled..]);
        let count = match &result {
            Ok(count) => *count,
            Err(_) => 0,
        };
        self.received.truncate(filled + count);
        match result {
            Ok(0) => Err("the server closed the connection".into()),
            Ok(_) => Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(e) => Err(format!("receive: {e}")),
        }
    }

    /// Sends until all is sent (true) or the socket is full (false).
    fn send(&mut self) -> Result<bool, String> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("send: {e}")),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(true)
    }

    /// One line of text without its end; for the text protocol.
    fn line(&mut self) -> Result<String, String> {
        loop {
            let bytes = &self.received[self.at..];
            if let Some(newline) = memchr::memchr(b'\n', bytes) {
                let line = String::from_utf8_lossy(&bytes[..newline]).trim_end().to_owned();
                self.at += newline + 1;
                return Ok(line);
            }
            let wanted = bytes.len() + 1;
            self.turn(wanted)?;
        }
    }
}

/// The server's version, by its own account. Not every server knows the command, and none is ready before it answers.
///
/// # Errors
/// A message, when it does not answer.
pub(crate) fn version(server: &str) -> Result<String, String> {
    let mut client = Client::connect(server, Protocol::Text)?;
    client.out.extend_from_slice(b"version\r\n");
    let line = client.line()?;
    Ok(line.strip_prefix("VERSION ").unwrap_or("unknown version").to_owned())
}

/// The server's general statistics.
///
/// # Errors
/// A message, when it does not answer in the known form.
pub(crate) fn stats(server: &str) -> Result<BTreeMap<String, String>, String> {
    stats_of(server, "stats")
}

/// The statistics that `command` asks for.
///
/// # Errors
/// A message, when it does not answer in the known form.
pub(crate) fn stats_of(server: &str, command: &str) -> Result<BTreeMap<String, String>, String> {
    let mut client = Client::connect(server, Protocol::Text)?;
    client.out.extend_from_slice(format!("{command}\r\n").as_bytes());
    let mut stats = BTreeMap::new();
    loop {
        let line = client.line()?;
        if line == "END" {
            return Ok(stats);
        }
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("STAT"), Some(name), value) => stats.insert(name.into(), value.unwrap_or("").into()),
            _ => return Err(format!("not a line of stats: {line:?}")),
        };
    }
}

/// One number of [`stats`].
///
/// # Errors
/// A message, when the server does not have it.
pub(crate) fn stat(server: &str, name: &str) -> Result<u64, String> {
    let stats = stats(server)?;
    let value = stats.get(name).ok_or_else(|| format!("the server's stats have no {name}"))?;
    value.parse().map_err(|e| format!("{name} {value:?}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_server_that_knows_no_version_is_ready_too() {
        for (answer, said) in [("VERSION 1.2\r\n", "1.2"), ("ERROR\r\n", "unknown version")] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 9]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(version(&address).unwrap(), said);
            server.join().unwrap();
        }
    }
}
