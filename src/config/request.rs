//! The input and the results of parsing a command line: the environment, the request, and the refusal. Plain data.

use super::parts::ProbeTarget;
use super::values::Config;
use std::time::Duration;

/// Exit status if the value of an option is invalid.
pub const EX_BAD_VALUE: u8 = 1;
/// Exit status if settings contradict each other. Source: sysexits(3).
pub const EX_USAGE: u8 = 64;
/// Exit status if the user of `-u` does not exist. Source: sysexits(3).
pub const EX_NOUSER: u8 = 67;
/// Exit status if the operating system denies something. Source: sysexits(3).
pub const EX_OSERR: u8 = 71;

/// True if this build has TLS, so that `-Z` is accepted.
pub const HAS_TLS: bool = true;

/// The properties of the machine, the build and the environment that affect how a command line is understood.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The name by which the program was called. getopt's messages begin with it.
    pub program: String,
    /// Number of cores that this process may use. The defaults of -t and --replicas depend on it.
    pub cores: usize,
    /// True if the kernel offers huge pages on request. Without them, -L is refused.
    pub large_pages: bool,
    /// True if the build has TLS ([`HAS_TLS`]). Tests also set it to false.
    pub tls: bool,
    /// The value of the environment variable `MEMCACHED_SASL_PWDB`: the path of the password file for -S.
    pub sasl_pwdb: Option<String>,
    /// The value of the environment variable `MEMCACHED_PORT_FILENAME`: the path of the file to which the bound ports are
    /// written.
    pub port_file: Option<String>,
}

/// The task that the command line gives the process.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Run the server with this configuration.
    Run(Box<Config>),
    /// Check the health of another server, then exit (--health).
    Probe(Probe),
    /// Show the load of another server until the user quits (`top`).
    Top(ProbeTarget),
    /// Print this text on standard output, then exit with status 0.
    Print(String),
}

/// A health check of another server (--health).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The address of the server to check.
    pub target: ProbeTarget,
    /// Time limit for the whole check. A server that takes longer counts as unhealthy.
    pub timeout: Duration,
}

/// A refusal to start: the lines for standard error, and the exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupError {
    /// The lines, without line ends.
    pub lines: Vec<String>,
    /// The exit status: [`EX_BAD_VALUE`], [`EX_USAGE`], [`EX_NOUSER`] or [`EX_OSERR`].
    pub status: u8,
}

impl StartupError {
    /// Returns a refusal with one line.
    pub fn new(status: u8, line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], status }
    }

    /// Returns a refusal with one line and [`EX_OSERR`], for something that the operating system denies.
    pub fn denied(line: impl Into<String>) -> Self {
        Self::new(EX_OSERR, line)
    }
}

impl Environment {
    /// Returns the properties of this machine, this build and this process's environment. `program` is the first word of the
    /// command line.
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
