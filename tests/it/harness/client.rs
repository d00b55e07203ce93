//! A connection to a server; every read and write has a deadline.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};

use super::deadline;

/// A raw connection; every read and write has a deadline.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    /// Received and not yet taken.
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream =
            TcpStream::connect_timeout(&address, deadline()).expect("the server accepts connections");
        Self::over(stream)
    }

    /// A client over a stream that is connected.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(deadline())).unwrap();
        stream.set_write_timeout(Some(deadline())).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends, ignoring a closed connection, which later reads will show.
    pub fn send_lossy(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Receives once more; `false` at the end of the stream, by close or reset.
    pub fn fill(&mut self) -> bool {
        self.try_fill().unwrap_or_else(|error| panic!("no answer: {error}; so far: {}", show(&self.buffer)))
    }

    /// Like [`Client::fill`], with the deadline as an error.
    pub fn try_fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16384];
        match self.stream.read(&mut chunk) {
            Ok(len) => {
                self.buffer.extend_from_slice(&chunk[..len]);
                Ok(len > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The bytes received and not taken.
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes `len` received bytes.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(len);
        std::mem::replace(&mut self.buffer, rest)
    }

    pub fn read_exact(&mut self, len: usize) -> Vec<u8> {
        while self.buffer.len() < len {
            assert!(self.fill(), "closed after {} of {len} bytes: {}", self.buffer.len(), show(&self.buffer));
        }
        self.take(len)
    }

    /// As [`Client::read_exact`], or nothing if the stream ends before.
    pub fn read_if_whole(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < len {
            if !self.fill() {
                return None;
            }
        }
        Some(self.take(len))
    }

    /// Reads up to and including the first occurrence of `end`.
    pub fn read_through(&mut self, end: &[u8]) -> Vec<u8> {
        let mut from = 0;
        loop {
            if let Some(at) = find(&self.buffer[from..], end) {
                return self.take(from + at + end.len());
            }
            from = self.buffer.len().saturating_sub(end.len());
            assert!(self.fill(), "closed before {}: {}", show(end), show(&self.buffer));
        }
    }

    /// Reads one line, without its line end.
    pub fn line(&mut self) -> String {
        let mut line = self.read_through(b"\r\n");
        line.truncate(line.len() - 2);
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Reads one line, or the rest of the stream.
    pub fn read_line_or_end(&mut self) -> String {
        while find(&self.buffer, b"\r\n").is_none() {
            if !self.fill() {
                return String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned();
            }
        }
        self.line()
    }

    /// Sends a command and reads its one-line reply.
    pub fn ask(&mut self, command: &str) -> String {
        self.send(command.as_bytes());
        self.send(b"\r\n");
        self.line()
    }

    /// Reads to the end of the stream.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Shuts down sending.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub fn set(&mut self, key: &str, value: &str) {
        assert_eq!(self.ask(&format!("set {key} 0 0 {}\r\n{value}", value.len())), "STORED");
    }

    /// The reply to a stats command.
    pub fn stats(&mut self, command: &str) -> BTreeMap<String, String> {
        self.send(format!("{command}\r\n").as_bytes());
        let reply = String::from_utf8(self.read_through(b"END\r\n")).unwrap();
        let pairs = reply.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// One value of `stats`.
    pub fn stat(&mut self, name: &str) -> String {
        self.stats("stats").remove(name).unwrap_or_else(|| panic!("no {name} in stats"))
    }

    /// A value of `stats` that is a number.
    pub fn count(&mut self, name: &str) -> u64 {
        self.stat(name).parse().unwrap()
    }

    /// The value of `key`, if present.
    pub fn get(&mut self, key: &str) -> Option<String> {
        self.send(format!("get {key}\r\n").as_bytes());
        let line = self.line();
        if line == "END" {
            return None;
        }
        let len = line.rsplit(' ').next().unwrap().parse().unwrap();
        let value = self.read_exact(len);
        assert_eq!(self.read_exact(7), b"\r\nEND\r\n");
        Some(String::from_utf8_lossy(&value).into_owned())
    }
}

/// Position of the first `needle` in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// Bytes for a message: escaped, and truncated if long.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 600;
    let shown = bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii();
    if bytes.len() > SHOWN_MAX { format!("{shown}... ({} bytes)", bytes.len()) } else { shown.to_string() }
}
