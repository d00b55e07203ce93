//! Which engine does the I/O: what is asked for, what the machine allows, and what is said about it.
#![expect(unsafe_code, reason = "a filter is set between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::Signal;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::harness::{Server, TempDir, command, program, wait_until};

/// Queues of the ring that the server tries first have fewer entries, those it serves with have more.
const ENTRIES_OF_A_TRY: u64 = 16;

/// What a filter keeps from a process.
enum Forbidden {
    /// io_uring, as containers' default profiles do.
    All,
    /// Only rings that are large enough to serve with.
    Serving,
}

impl Forbidden {
    fn program(&self) -> BpfProgram {
        let whole = || {
            [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register]
                .map(|call| (call, Vec::new()))
                .into()
        };
        let rules = match self {
            Self::All => whole(),
            Self::Serving => {
                let large =
                    SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Gt, ENTRIES_OF_A_TRY)
                        .unwrap();
                [(libc::SYS_io_uring_setup, vec![SeccompRule::new(vec![large]).unwrap()])].into()
            }
        };
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        let arch = std::env::consts::ARCH.try_into().unwrap();
        SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap().try_into().unwrap()
    }
}

/// The program under test in a process that is forbidden something. No engine is asked for yet.
fn filtered(forbidden: &Forbidden, dir: &TempDir) -> Command {
    let filter = forbidden.program();
    let mut command = command(program(), dir);
    // SAFETY: between fork and exec only system calls are made, with memory that was allocated before.
    unsafe {
        command.pre_exec(move || seccompiler::apply_filter(&filter).map_err(|_| io::Error::last_os_error()));
    }
    command
}

fn engine_of(server: &Server) -> String {
    server.connect().stats("stats settings")["io_engine"].clone()
}

fn serves(server: &Server) {
    let mut client = server.connect();
    client.set("key", "value");
    assert_eq!(client.get("key").as_deref(), Some("value"));
    // More than a socket takes at once, both ways.
    let large = "x".repeat(900_000);
    client.set("large", &large);
    assert_eq!(client.get("large"), Some(large));
}

fn ends_well(mut server: Server) {
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
}

/// As in a container with the default profile: nothing but a line on standard error is different.
#[test]
fn without_io_uring_epoll_serves_and_says_why() {
    for (forbidden, step) in
        [(Forbidden::All, "a seccomp filter blocks it"), (Forbidden::Serving, "starting a ring")]
    {
        let dir = TempDir::new();
        let server = Server::start_command(filtered(&forbidden, &dir), &["-t", "3", "--io-engine=auto"], dir);
        assert_eq!(engine_of(&server), "epoll");
        serves(&server);
        let said = server.stderr();
        assert_eq!(said.matches("I/O engine: epoll").count(), 1, "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(step), "{said}");
        ends_well(server);
    }
}

#[test]
fn io_uring_demanded_and_refused_is_no_start() {
    for forbidden in [Forbidden::All, Forbidden::Serving] {
        let dir = TempDir::new();
        let mut child = filtered(&forbidden, &dir)
            .args(["-p", "-1", "-l", "127.0.0.1", "--io-engine=uring"])
            .spawn()
            .unwrap();
        let mut status = None;
        wait_until("the server gives up", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(71));
        let said = std::fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert!(said.contains("cannot use io_uring") && said.contains("seccomp"), "{said}");
    }
}

#[test]
fn the_engine_asked_for_serves_without_a_word() {
    for engine in ["uring", "epoll"] {
        let server = Server::start(&["--io-engine", engine]);
        assert_eq!(engine_of(&server), engine);
        serves(&server);
        assert_eq!(server.stderr(), "");
        ends_well(server);
    }
}

#[test]
fn io_uring_is_preferred() {
    let server = Server::start(&["--io-engine=auto"]);
    assert_eq!(engine_of(&server), "uring");
}
