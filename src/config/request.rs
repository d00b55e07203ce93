//! What reading a command line takes and returns: the environment, the request, or a refusal. Plain data.

use super::parts::ProbeTarget;
use super::values::Config;
use std::time::Duration;

/// Exit status for an invalid value.
pub const EX_BAD_VALUE: u8 = 1;
/// Exit status for settings that contradict each other. Source: sysexits(3).
pub const EX_USAGE: u8 = 64;
/// Exit status for an unknown `-u` user. Source: sysexits(3).
pub const EX_NOUSER: u8 = 67;
/// Exit status when the operating system denies something. Source: sysexits(3).
pub const EX_OSERR: u8 = 71;

/// Whether this build has TLS (`-Z`).
pub const HAS_TLS: bool = true;

/// What the command line depends on besides its words: machine and environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The program's name as called; getopt's messages begin with it.
    pub program: String,
    /// Cores available to this process.
    pub cores: usize,
    /// The kernel offers huge pages on request (-L).
    pub large_pages: bool,
    /// The build has TLS ([`HAS_TLS`]).
    pub tls: bool,
    /// The environment variable `MEMCACHED_SASL_PWDB`.
    pub sasl_pwdb: Option<String>,
    /// The environment variable `MEMCACHED_PORT_FILENAME`.
    pub port_file: Option<String>,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Run the server.
    Run(Box<Config>),
    /// Check the health of another server (--health).
    Probe(Probe),
    /// Show what another server does (`top`).
    Top(ProbeTarget),
    /// Print this on standard output and exit with status 0.
    Print(String),
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The server to check.
    pub target: ProbeTarget,
    /// Time limit for the whole check.
    pub timeout: Duration,
}

/// A refusal to start: lines for standard error, and the exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupError {
    /// The lines, without line ends.
    pub lines: Vec<String>,
    /// [`EX_BAD_VALUE`], [`EX_USAGE`], [`EX_NOUSER`] or [`EX_OSERR`].
    pub status: u8,
}

impl StartupError {
    /// A refusal of one line.
    pub fn new(status: u8, line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], status }
    }

    /// A refusal of one line, for something that the operating system denies.
    pub fn denied(line: impl Into<String>) -> Self {
        Self::new(EX_OSERR, line)
    }
}

impl Environment {
    /// Asks the machine, and reads the environment. `program` is the first word of the command line.
    pub fn probe(program: String) -> Self {
        let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            program,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            large_pages: enabled.is_ok_and(|modes| !modes.contains("[never]")),
            tls: HAS_TLS,
            sasl_pwdb: std::env::var("MEMCACHED_SASL_PWDB").ok(),
            port_file: std::env::var("MEMCACHED_PORT_FILENAME").ok(),
        }
    }
}
