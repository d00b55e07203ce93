//! Starts a server, waits until it listens, talks to it with deadlines, and stops it by its pid.
//!
//! A server announces its ports in the file named by `MEMCACHED_PORT_FILENAME`, which it renames into place once all
//! listeners are bound. So readiness is an event, not a guess.

mod client;
pub mod debugger;
pub mod packets;
pub mod pattern;
pub mod random;
pub mod script;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

pub use client::{Client, find, show};

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

    /// Like [`Server::start`], with `threads` rings, all of which serve, however few the cores are.
    pub fn start_serving(threads: &str, flags: &[&str]) -> Self {
        let mut all = vec!["-t", threads];
        if dialect() == Dialect::Memcrsd {
            all.extend(["--serving-rings", threads]);
        }
        all.extend(flags);
        Self::start(&all)
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
