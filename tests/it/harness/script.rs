//! Wire transcripts: bytes to send and bytes to expect, from `tests/scripts/*.txt`.
//!
//! ```text
//! # comment                      a rule and its source
//! @flags -m 64 -A                server flags; {dir} is the test's own directory
//! @modes whole,bytes             if a script cannot run in every mode
//! @only memcrsd                  not for memcached
//! @file auth.txt user:pass\n     a file in {dir}, written before the server starts
//! > set a 0 0 1                  sent, followed by \r\n unless the line ends in \
//! < STORED                       expected, in the same form
//! >b set key=a value=1 cas=7     a binary packet; see `binary.rs`
//! <b set ok cas=new
//! @memcached < ERROR             only if memcached is under test; @memcrsd: only if memcrsd is
//! = conn other                   switch to another connection (opened on first use)
//! = close                        the server closes, having sent nothing more
//! = half-close                   the client shuts down sending
//! = drop                         the client closes without reading
//! = until                        repeat the lines up to `= sync` until the replies match
//! = sync                         wait for all replies above before sending what is below
//! = stat NAME VALUE              check `stats` on another connection (VALUE may be >=N)
//! = signal HUP                   signal the server
//! = file auth.txt user:new\n     rewrite the file
//! ```
//!
//! Escapes: `\r \n \t \0 \s (space) \\ \{ \xNN`. Placeholders: `{repeat:x,100}`; when expected `{num}`, `{word}`,
//! `{rest}` (of the line), `{cas:NAME}` (digits, remembered), `{through:TEXT}` (anything up to and including TEXT);
//! in both `{=NAME}` (remembered digits).
//!
//! Every script ends with a check for unexpected output: the client half-closes, and the server must close without another
//! byte.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::packets;
use crate::harness::pattern::{Pattern, Vars};
use crate::harness::{Client, Dialect, Server, TempDir, deadline, show};

/// How the bytes of a script are split into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One write up to each expected reply.
    Whole,
    /// One write for each byte.
    Bytewise,
    /// One write for as much of the script as does not depend on a reply.
    Pipelined,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Bytewise => "bytes",
            Self::Pipelined => "pipelined",
        }
    }
}

#[derive(Debug)]
enum Step {
    Send(Pattern),
    Expect(Pattern),
    Conn(String),
    Close,
    HalfClose,
    Drop,
    Until,
    Sync,
    Stat(String, String),
    Signal(Signal),
    File(String, String),
}

/// A parsed transcript.
#[derive(Debug)]
pub struct Script {
    name: String,
    flags: String,
    modes: Option<String>,
    files: Vec<(String, String)>,
    /// Each with its line number.
    steps: Vec<(usize, Step)>,
}

impl Script {
    /// Parses `text`, without the lines marked for the other dialect.
    ///
    /// # Panics
    /// When a line is malformed.
    pub fn parse(name: &str, text: &str, dialect: Dialect) -> Self {
        let mut script = Self {
            name: name.to_owned(),
            flags: String::new(),
            modes: None,
            files: Vec::new(),
            steps: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let line = match line.split_once(' ') {
                Some(("@memcached", rest)) if dialect == Dialect::Memcached => rest,
                Some(("@memcrsd", rest)) if dialect == Dialect::Memcrsd => rest,
                Some(("@memcached" | "@memcrsd", _)) => continue,
                _ => line,
            };
            if line == "@only memcrsd" {
                if dialect == Dialect::Memcrsd {
                    continue;
                }
                script.modes = Some(String::new());
                break;
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            script.parse_line(index + 1, line);
        }
        script
    }

    fn parse_line(&mut self, number: usize, line: &str) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let step = match kind {
            ">" => Step::Send(Pattern::text(rest)),
            "<" => Step::Expect(Pattern::text(rest)),
            ">b" => Step::Send(packets::request(rest)),
            "<b" => Step::Expect(packets::response(rest)),
            "=" => directive(rest).unwrap_or_else(|| panic!("{}:{number}: {line}", self.name)),
            "@flags" => {
                rest.clone_into(&mut self.flags);
                return;
            }
            "@modes" => {
                self.modes = Some(rest.to_owned());
                return;
            }
            "@file" => {
                let (file, content) = rest.split_once(' ').unwrap();
                self.files.push((file.to_owned(), content.replace("\\n", "\n")));
                return;
            }
            _ => panic!("{}:{number}: {line}", self.name),
        };
        self.steps.push((number, step));
    }

    /// Runs the script against a fresh server with `threads` rings.
    ///
    /// # Panics
    /// At the first unexpected reply.
    pub fn run(&self, mode: Mode, threads: &str) {
        if self.modes.as_ref().is_some_and(|modes| !modes.split(',').any(|name| name == mode.name())) {
            return;
        }
        let dir = TempDir::new();
        for (file, content) in &self.files {
            fs::write(dir.path().join(file), content).unwrap();
        }
        let flags = self.flags.replace("{dir}", dir.path().to_str().unwrap());
        let mut all = vec!["-t", threads];
        all.extend(flags.split_whitespace());
        let server = Server::start_program(crate::harness::program(), &all, dir);
        Run { script: self, mode, threads, server, clients: BTreeMap::new(), vars: Vars::new() }.all();
    }
}

fn directive(text: &str) -> Option<Step> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match word {
        "conn" => Step::Conn(rest.to_owned()),
        "close" => Step::Close,
        "half-close" => Step::HalfClose,
        "drop" => Step::Drop,
        "until" => Step::Until,
        "sync" => Step::Sync,
        "stat" => {
            let (name, value) = rest.split_once(' ')?;
            Step::Stat(name.to_owned(), value.to_owned())
        }
        "signal" => Step::Signal(Signal::from_str(&format!("SIG{rest}")).ok()?),
        "file" => {
            let (file, content) = rest.split_once(' ')?;
            Step::File(file.to_owned(), content.replace("\\n", "\n"))
        }
        _ => return None,
    })
}

struct Run<'a> {
    script: &'a Script,
    mode: Mode,
    threads: &'a str,
    server: Server,
    clients: BTreeMap<String, Client>,
    vars: Vars,
}

impl Run<'_> {
    fn all(mut self) {
        let mut conn = String::new();
        let mut at = 0;
        let mut until = false;
        while let Some((number, step)) = self.script.steps.get(at) {
            match step {
                Step::Send(_) | Step::Expect(_) => {
                    let len = self.group_len(at, if until { Mode::Pipelined } else { self.mode });
                    if until {
                        self.exchange_until(&conn, at, len);
                    } else {
                        self.exchange(&conn, at, len);
                    }
                    until = false;
                    at += len;
                    continue;
                }
                Step::Conn(name) => conn.clone_from(name),
                Step::Close => self.closed(&conn, *number),
                Step::HalfClose => self.client(&conn).finish(),
                Step::Drop => drop(self.clients.remove(&conn)),
                Step::Until => until = true,
                Step::Sync => {}
                Step::Stat(name, value) => self.stat(*number, name, value),
                Step::Signal(signal) => self.server.signal(*signal),
                Step::File(file, content) => fs::write(self.server.dir.path().join(file), content).unwrap(),
            }
            at += 1;
        }
        for name in self.clients.keys().cloned().collect::<Vec<_>>() {
            self.client(&name).finish();
            self.closed(&name, 0);
        }
    }

    /// Number of steps from `at` that can be sent together.
    fn group_len(&self, at: usize, mode: Mode) -> usize {
        let mut remembered = Vec::new();
        let mut expecting = false;
        let steps = &self.script.steps[at..];
        steps
            .iter()
            .position(|(_, step)| match step {
                Step::Send(pattern) if mode == Mode::Pipelined => {
                    pattern.uses().any(|name| remembered.contains(&name))
                }
                Step::Send(_) => expecting,
                Step::Expect(pattern) => {
                    expecting = true;
                    remembered.extend(pattern.remembers());
                    false
                }
                _ => true,
            })
            .unwrap_or(steps.len())
    }

    fn client(&mut self, conn: &str) -> &mut Client {
        let port = self.server.port;
        self.clients.entry(conn.to_owned()).or_insert_with(|| Client::connect(port))
    }

    /// Sends the requests of the group from another thread, and checks the replies.
    fn exchange(&mut self, conn: &str, at: usize, len: usize) {
        let script = self.script;
        let steps = &script.steps[at..at + len];
        let mode = self.mode;
        let mut sent = Vec::new();
        for (_, step) in steps {
            if let Step::Send(pattern) = step {
                pattern.write(&self.vars, &mut sent);
            }
        }
        let stream = self.client(conn).stream.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| write(stream, &sent, mode));
            for (number, step) in steps {
                if let Step::Expect(pattern) = step {
                    self.expect(conn, *number, pattern);
                }
            }
        });
    }

    fn expect(&mut self, conn: &str, number: usize, pattern: &Pattern) {
        let mut vars = std::mem::take(&mut self.vars);
        let place = self.place(number);
        let client = self.client(conn);
        if let Err(reason) = pattern.read(client, &mut vars) {
            panic!("{place}: {reason}\nexpected: {pattern}\n     got: {}", show(client.pending()));
        }
        self.vars = vars;
    }

    /// Repeats text commands, followed by `mn` as a fence, until the replies match.
    fn exchange_until(&mut self, conn: &str, at: usize, len: usize) {
        let mut sent = Vec::new();
        let mut expected = Vec::new();
        for (_, step) in &self.script.steps[at..at + len] {
            match step {
                Step::Send(pattern) => pattern.write(&self.vars, &mut sent),
                Step::Expect(pattern) => pattern.write(&self.vars, &mut expected),
                _ => {}
            }
        }
        sent.extend_from_slice(b"mn\r\n");
        expected.extend_from_slice(b"MN\r\n");
        let end = Instant::now() + deadline();
        loop {
            let client = self.client(conn);
            client.send(&sent);
            let answer = client.read_through(b"MN\r\n");
            if answer == expected {
                return;
            }
            let place = self.place(self.script.steps[at].0);
            assert!(Instant::now() < end, "{place}: never answered {}", show(&expected));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn closed(&mut self, conn: &str, number: usize) {
        let place = self.place(number);
        let rest = self.client(conn).read_to_end();
        self.clients.remove(conn);
        assert!(rest.is_empty(), "{place}: expected the end of the stream, got {}", show(&rest));
    }

    /// Waits for the value, because another thread counts it, possibly after the client has seen the effect.
    fn stat(&self, number: usize, name: &str, value: &str) {
        let end = Instant::now() + Duration::from_secs(1);
        loop {
            let found = self.server.stat(name);
            let right = match value.strip_prefix(">=") {
                Some(least) => found.parse::<f64>().unwrap() >= least.parse().unwrap(),
                None => found == value,
            };
            if right {
                return;
            }
            assert!(Instant::now() < end, "{}: {name} is {found}, expected {value}", self.place(number));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn place(&self, number: usize) -> String {
        let place = if number == 0 { "end".to_owned() } else { number.to_string() };
        format!("{}:{place} ({}, -t {})", self.script.name, self.mode.name(), self.threads)
    }
}

/// Longest bytewise write; the rest of a longer one is split into odd pieces.
const BYTEWISE_MAX: usize = 6000;

/// Writes, ignoring errors, because the reader sees the end of the stream.
fn write(mut stream: TcpStream, bytes: &[u8], mode: Mode) {
    let (single, pieces) = match mode {
        Mode::Bytewise => bytes.split_at(bytes.len().min(BYTEWISE_MAX)),
        _ => (&[][..], bytes),
    };
    let size = if mode == Mode::Bytewise { 997 } else { usize::MAX };
    for piece in single.chunks(1).chain(pieces.chunks(size)) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}
