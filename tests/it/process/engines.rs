//! The choice of the I/O engine: by flag, by what the machine allows, and the lines about it.

use seccompiler::SeccompCmpOp;

use crate::faults::kernel::{Refused, ends_well, refused, serves, start_under, under};
use crate::harness::{Server, TempDir, wait_until};

/// The ring that the server probes with has fewer queue entries than this, the rings it serves with have more.
const ENTRIES_OF_A_TRY: u64 = 16;

/// What a filter denies: io_uring, as the default profiles of containers do, or only rings large enough to serve with.
fn forbidden() -> [Vec<Refused>; 2] {
    let calls = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    let all = calls.map(|call| refused(call, libc::EPERM)).into();
    let serving = refused(libc::SYS_io_uring_setup, libc::EPERM).when(0, SeccompCmpOp::Gt, ENTRIES_OF_A_TRY);
    [all, vec![serving]]
}

fn engine_of(server: &Server) -> String {
    server.connect().stats("stats settings")["io_engine"].clone()
}

/// As in a container with the default profile: the only difference is a line on standard error.
#[test]
fn without_io_uring_epoll_serves_and_says_why() {
    for (refused, step) in forbidden().iter().zip(["a seccomp filter blocks it", "starting a ring"]) {
        let server = start_under(refused, &["-t", "3", "--io-engine=auto"]);
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
fn startup_fails_if_io_uring_is_requested_and_refused() {
    for refused in forbidden() {
        let (status, said) = fails_under(&refused, "uring");
        assert_eq!(status, Some(71));
        assert!(said.contains("cannot use io_uring") && said.contains("seccomp"), "{said}");
    }
}

/// Exit status and words of a server that does not start.
fn fails_under(refused: &[Refused], engine: &str) -> (Option<i32>, String) {
    let dir = TempDir::new();
    let flags = ["-p", "-1", "-l", "127.0.0.1", "--io-engine", engine];
    let mut child = under(refused, &dir).args(flags).spawn().unwrap();
    let mut status = None;
    wait_until("the server gives up", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    (status.unwrap().code(), std::fs::read_to_string(dir.path().join("stderr")).unwrap())
}

/// Connections to a port that is bound were never accepted, and the process lived on.
#[test]
fn startup_fails_if_connections_cannot_be_waited_for() {
    let refusal = [refused(libc::SYS_epoll_create1, libc::EPERM)];
    for engine in ["uring", "epoll", "auto"] {
        let (status, said) = fails_under(&refusal, engine);
        assert_eq!(status, Some(71));
        assert!(said.contains("Operation not permitted"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn the_requested_engine_serves_silently() {
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
