//! Starts a server, waits until it listens, talks to it with deadlines, and stops it by its pid.
//!
//! A server announces its ports in the file named by `MEMCACHED_PORT_FILENAME`, which it renames into place once all
//! listeners are bound. So readiness is an event, not a guess.

pub mod debugger;
pub mod packets;
pub mod pattern;
pub mod random;
pub mod script;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// Interval for polling a condition without an event.
const POLL: Duration = Duration::from_millis(2);

/// Longest single wait before the test fails.
pub fn deadline() -> Duration {
    let millis = std::env::var("MEMCRSD_TEST_DEADLINE_MS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(30_000))
}

/// Polls `condition` until it holds.
///
/// # Panics
/// When it does not hold within [`deadline`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline();
    while !condition() {
        assert!(Instant::now() < end, "timed out waiting until {what}");
        thread::sleep(POLL);
    }
}

/// The server whose replies are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// memcached, which verifies the expectations for both.
    Memcached,
    Memcrsd,
}

/// The program under test.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        std::env::var_os("MEMCRSD_UNDER_TEST")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_memcrsd")), PathBuf::from)
    })
}

/// The path that `tests/yardstick` prints: the memcached it has fetched, else the installed one.
pub fn yardstick() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/yardstick");
        let output = Command::new(script).arg("path").output().expect("tests/yardstick can be run");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}

/// The memcached to compare with, of the version that memcrsd claims to be or a later one.
///
/// Without one nothing is compared, and a line says so.
pub fn reference() -> Option<&'static Path> {
    let output = Command::new(yardstick()).arg("-V").output().ok();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = text.trim_end().strip_prefix("memcached ").unwrap_or("none");
    let numbers = |text: &str| text.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    if numbers(version) < numbers(memcrsd::limits::MEMCACHED_VERSION) {
        println!("nothing is compared: the memcached at hand is {version}, see tests/yardstick");
        return None;
    }
    Some(yardstick())
}

/// The kind of program under test.
pub fn dialect() -> Dialect {
    static DIALECT: OnceLock<Dialect> = OnceLock::new();
    *DIALECT.get_or_init(|| {
        let output = Command::new(program()).arg("-V").output().expect("the program under test can be run");
        let is_ours = String::from_utf8_lossy(&output.stdout).contains("memcrsd");
        if is_ours { Dialect::Memcrsd } else { Dialect::Memcached }
    })
}

/// A directory that is removed when the value is dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    pub fn within(place: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("memcrsd-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = place.join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running server; dropping it kills it.
///
/// # Panics
/// Dropping it panics if the server has died by itself, so that a crash does not look like a closed connection.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub port: u16,
    pub dir: TempDir,
    may_end: bool,
}

impl Server {
    /// Starts the program under test on a free port of 127.0.0.1 with `flags` besides.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_program(program(), flags, TempDir::new())
    }

    /// Starts `program`, with its port file and stderr in `dir`.
    pub fn start_program(program: &Path, flags: &[&str], dir: TempDir) -> Self {
        Self::start_with(program, flags, dir, &[])
    }

    /// Like [`Server::start_program`], with these environment variables.
    pub fn start_with(program: &Path, flags: &[&str], dir: TempDir, environment: &[(&str, &str)]) -> Self {
        let mut command = command(program, &dir);
        command.envs(environment.iter().copied());
        Self::start_command(command, flags, dir)
    }

    /// Runs `command`, which [`command`] has made for `dir`.
    pub fn start_command(mut command: Command, flags: &[&str], dir: TempDir) -> Self {
        let port_file = dir.path().join("port");
        let mut child = command
            .args(["-p", "-1", "-l", "127.0.0.1"])
            .args(flags)
            .env("MEMCACHED_PORT_FILENAME", &port_file)
            .spawn()
            .expect("the program under test can be started");
        let mut text = String::new();
        wait_until("the server announces its port", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{command:?} ended at start: {status}\n{}", stderr(&dir));
            }
            text = fs::read_to_string(&port_file).unwrap_or_default();
            !text.is_empty()
        });
        let port = text
            .lines()
            .find_map(|line| line.strip_prefix("TCP INET: "))
            .and_then(|port| port.trim().parse().ok())
            .unwrap_or_else(|| panic!("no TCP port in the port file: {text:?}"));
        Self { child, port, dir, may_end: false }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// The stderr of the server.
    pub fn stderr(&self) -> String {
        stderr(&self.dir)
    }

    /// Sends a signal. If it ends the server, that end is expected.
    pub fn signal(&mut self, signal: Signal) {
        self.may_end = !matches!(signal, Signal::SIGHUP | Signal::SIGSTOP | Signal::SIGCONT);
        signal::kill(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the server.
    pub fn wait(&mut self) -> ExitStatus {
        self.may_end = true;
        let mut status = None;
        wait_until("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Resident memory of the server, bytes.
    pub fn resident_bytes(&self) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// Peak resident memory of the server, bytes.
    pub fn peak_resident_bytes(&self) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// One value of `stats`, on a connection of its own.
    pub fn stat(&self, name: &str) -> String {
        self.connect().stat(name)
    }

    /// A value of `stats` that is a number.
    pub fn count(&self, name: &str) -> u64 {
        self.stat(name).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        if std::env::var_os("LLVM_PROFILE_FILE").is_some() && ended.is_none() {
            // Only a process that exits normally writes its coverage.
            let _ = signal::kill(self.pid(), Signal::SIGTERM);
            let _ = signal::kill(self.pid(), Signal::SIGCONT);
            let end = Instant::now() + deadline();
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                thread::sleep(POLL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(status) = ended
            && !self.may_end
            && !thread::panicking()
        {
            panic!("the server ended by itself: {status} (signal {:?})\n{}", status.signal(), self.stderr());
        }
    }
}

/// A command for `program` with its stderr in `dir`. Root gets -u root, and the program under test the engine named by
/// `MEMCRSD_IO_ENGINE`.
pub fn command(program: &Path, dir: &TempDir) -> Command {
    let mut command = Command::new(program);
    let log = fs::File::create(dir.path().join("stderr")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    if nix::unistd::geteuid().is_root() {
        command.args(["-u", "root"]);
    }
    if program == self::program()
        && let Some(engine) = std::env::var_os("MEMCRSD_IO_ENGINE")
    {
        command.arg("--io-engine").arg(engine);
    }
    command
}

fn stderr(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join("stderr")).unwrap_or_default()
}

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
