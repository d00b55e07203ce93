//! A blocking client of a memcached server: lines and values, with a limit on their length and on the time they take.
//!
//! For `--copy-from` and `top`, which have a thread of their own; that thread owns the [`Client`]. No ring uses it, because
//! it blocks.

use crate::config::ProbeTarget;
use crate::logging;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest line that is read, bytes. A dump has the longest: a percent-encoded key is up to three times as long as the key.
const LINE_BYTES_MAX: u64 = 2048;
/// Longest list of `stats` that is read, lines. The longest is `stats rings`, with five lines per ring.
const STATS_LINES_MAX: usize = 10_000;
/// Most bytes that are received at a time, which is also the longest piece of a value that is passed on at a time.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// The first byte of a TLS alert. Source: RFC 8446, section 5.1.
pub(super) const TLS_ALERT: u8 = 0x15;
/// The answer to every command where a login is required.
pub(super) const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";
/// Most bytes of an unexpected answer that an error message shows.
const SHOWN_BYTES: usize = 80;

/// A connection over TCP or a UNIX socket.
pub(super) trait Wire: Read + Write + Send {}
impl<W: Read + Write + Send> Wire for W {}

/// A blocking connection that is read by lines and values.
pub struct Client {
    wire: BufReader<Box<dyn Wire>>,
    /// How long the server may take to connect, and for each piece of an answer; `None` means no limit.
    time_max: Option<Duration>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the server at `target`, which may take `time_max` to connect and for each piece of an answer.
    ///
    /// # Errors
    /// The server cannot be reached. The error is a text for the user, as in all functions here.
    pub fn connect(target: &ProbeTarget, time_max: Duration) -> Result<Self, String> {
        let wire = dial(target, time_max).map_err(|error| logging::reason(&error))?;
        Ok(Self::new(wire, Some(time_max)))
    }

    /// A client without a time limit over `stream`, whose other end this server serves.
    pub(super) fn over(stream: UnixStream) -> Self {
        Self::new(Box::new(stream), None)
    }

    fn new(wire: Box<dyn Wire>, time_max: Option<Duration>) -> Self {
        Self { wire: BufReader::with_capacity(PIECE_BYTES_MAX, wire), time_max }
    }

    /// Sends all of `bytes`; blocks.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.wire.get_mut().write_all(bytes).map_err(|error| self.trouble(&error))
    }

    /// Waits for the next line and returns it without its line end.
    pub fn line(&mut self) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        let read = (&mut self.wire).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if line.first() == Some(&TLS_ALERT) {
            return Err("it wants TLS, which is not supported here".to_owned());
        }
        read.map_err(|error| self.trouble(&error))?;
        match line.pop() {
            None => Err("it closed the connection".to_owned()),
            Some(b'\n') => {
                line.pop_if(|byte| *byte == b'\r');
                Ok(line)
            }
            Some(last) => {
                line.push(last);
                Err(unexpected(&line))
            }
        }
    }

    /// Sends `command`, which is `stats` or `stats` with the name of a list, and returns the reply as names and values; `None`
    /// if the server does not know the command.
    pub fn stats(&mut self, command: &str) -> Result<Option<HashMap<String, String>>, String> {
        self.send(format!("{command}\r\n").as_bytes())?;
        let mut list = HashMap::new();
        for _ in 0..STATS_LINES_MAX {
            let line = self.line()?;
            let text = String::from_utf8_lossy(&line);
            match text.split_once(' ') {
                Some(("STAT", rest)) => {
                    let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
                    list.insert(name.to_owned(), value.to_owned());
                }
                _ if text == "END" || text == "RESET" => return Ok(Some(list)),
                _ if text.starts_with(UNAUTHENTICATED) => return Err(unexpected(&line)),
                _ if text == "ERROR" || text.starts_with("CLIENT_ERROR ") => return Ok(None),
                _ => return Err(unexpected(&line)),
            }
        }
        Err(format!("its answer to {command} does not end"))
    }

    /// Reads a value of `bytes` bytes and its line end, and sends both to `to`, a piece at a time. Calls `passed` with the
    /// length of each piece.
    pub(super) fn pass_value(
        &mut self,
        bytes: u64,
        to: &mut Self,
        passed: impl FnMut(u64),
    ) -> Result<(), String> {
        let within = |why| format!("this server: {why}");
        // The line end is sent only when the value has proved to be whole: without it the value is not stored.
        self.value(bytes, |piece| to.send(piece).map_err(within), passed)?;
        to.send(b"\r\n").map_err(within)
    }

    /// Reads a value of `bytes` bytes and its line end and discards both. Calls `passed` with the length of each piece.
    pub(super) fn skip_value(&mut self, bytes: u64, passed: impl FnMut(u64)) -> Result<(), String> {
        self.value(bytes, |_| Ok(()), passed)
    }

    /// Reads a value of `bytes` bytes and its line end. Gives each piece to `take`, then its length to `passed`.
    fn value(
        &mut self,
        bytes: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), String>,
        mut passed: impl FnMut(u64),
    ) -> Result<(), String> {
        let mut left = bytes;
        while left > 0 {
            match self.wire.fill_buf() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.trouble(&error)),
            }
            let piece = self.wire.buffer();
            let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return Err("it closed the connection in the middle of a value".to_owned());
            }
            take(&piece[..count])?;
            self.wire.consume(count);
            left -= count as u64;
            passed(count as u64);
        }
        let mut end = [0; 2];
        self.wire.read_exact(&mut end).map_err(|error| self.trouble(&error))?;
        if end != *b"\r\n" {
            return Err("a value is longer than it said".to_owned());
        }
        Ok(())
    }

    /// The text for the user about an I/O error.
    fn trouble(&self, error: &io::Error) -> String {
        match (error.kind(), self.time_max) {
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(time_max)) => {
                format!("no answer within {} s", time_max.as_secs())
            }
            (io::ErrorKind::UnexpectedEof, _) => "it closed the connection".to_owned(),
            _ => logging::reason(error),
        }
    }
}

/// The text for the user about an answer that no memcached gives to such a command.
pub(super) fn unexpected(line: &[u8]) -> String {
    if line.starts_with(UNAUTHENTICATED.as_bytes()) {
        return "it asks for a login, which is not supported here".to_owned();
    }
    let shown = &line[..line.len().min(SHOWN_BYTES)];
    format!("it answered \"{}\", which is not what memcached says there", shown.escape_ascii())
}

/// Connects to `target`. If a name has several addresses, tries them in order.
fn dial(target: &ProbeTarget, time_max: Duration) -> io::Result<Box<dyn Wire>> {
    match target {
        ProbeTarget::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(time_max))?;
            stream.set_write_timeout(Some(time_max))?;
            Ok(Box::new(stream))
        }
        ProbeTarget::Tcp { host, port } => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in (host.as_str(), *port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, time_max) {
                    Ok(stream) => {
                        stream.set_read_timeout(Some(time_max))?;
                        stream.set_write_timeout(Some(time_max))?;
                        stream.set_nodelay(true)?;
                        return Ok(Box::new(stream));
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}
