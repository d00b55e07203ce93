//! The server as a process: the command line's refusals, the files it leaves, signals, users.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{Dialect, Server, TempDir, command, dialect, program, wait_until};

/// Runs the program with `flags` until it ends; its status and what it said.
fn refused(flags: &[&str]) -> (Option<i32>, String) {
    let dir = TempDir::new();
    let status = command(program(), &dir).args(flags).status().unwrap();
    (status.code(), fs::read_to_string(dir.path().join("stderr")).unwrap())
}

/// Statuses are the contract of init scripts; the words are what people search for.
#[test]
fn refusals_end_with_memcacheds_status_and_words() {
    let missing = "Could not open authfile [/no/such/file] for reading, error No such file or directory";
    for (flags, status, words) in [
        (&["-t", "0"][..], 1, "Number of threads must be greater than 0"),
        (&["-o", "bogus=1"], 1, "Illegal suboption \"bogus=1\""),
        (&["-Y", "/no/such/file"], 1, missing),
        (&["-m", "1"], 64, "Cannot set item size limit higher than 1/2 of memory max."),
        (&["-p", "65536"], 64, "ERROR: Invalid port number 65536."),
        (&["-l", "127.0.0.1:x"], 71, "Invalid port number: \"x\""),
    ] {
        let (code, said) = refused(flags);
        assert_eq!(code, Some(status), "{flags:?}: {said}");
        assert!(said.contains(words), "{flags:?}: {said}");
    }
    if nix::unistd::geteuid().is_root() {
        let (code, said) = refused(&["-u", "no such user"]);
        assert_eq!((code, said.as_str()), (Some(67), "can't find the user no such user to switch to\n"));
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let (code, said) = refused(&["-p", &port, "-l", "127.0.0.1"]);
    assert_eq!(code, Some(71));
    assert!(
        said.contains("failed to listen on one of interface(s) 127.0.0.1: Address already in use"),
        "{said}"
    );
}

#[test]
fn version_and_help_are_printed() {
    let printed = |flag| {
        let output = Command::new(program()).arg(flag).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        String::from_utf8(output.stdout).unwrap()
    };
    let version = printed("-V");
    assert!(version.starts_with("memcached 1.6."));
    assert_eq!(printed("-h").lines().next(), version.lines().next());
    assert_eq!(printed("-i").lines().next(), version.lines().next());
}

#[test]
fn the_pid_file_outlives_a_server_in_the_foreground() {
    let dir = TempDir::new();
    let path = dir.path().join("pid");
    let mut server = Server::start(&["-P", path.to_str().unwrap()]);
    wait_until("the pid file is written", || path.exists());
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", server.pid()));
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    assert!(path.exists(), "only a daemon's is removed");
}

#[test]
fn usr1_ends_gracefully() {
    let mut server = Server::start(&[]);
    server.signal(Signal::SIGUSR1);
    assert!(server.wait().success());
    assert!(server.stderr().contains("Gracefully stopping"), "{}", server.stderr());
}

#[test]
fn users_log_in_and_hup_reads_them_again() {
    let dir = TempDir::new();
    let path = dir.path().join("users");
    fs::write(&path, "joe:old\n").unwrap();
    let mut server = Server::start(&["-Y", path.to_str().unwrap()]);
    let login = |server: &Server, password: &str| {
        let mut client = server.connect();
        let token = format!("joe {password}");
        client.ask(&format!("set auth 0 0 {}\r\n{token}", token.len()))
    };
    assert_eq!(server.connect().ask("get k"), "CLIENT_ERROR unauthenticated");
    assert_eq!(login(&server, "new"), "CLIENT_ERROR authentication failure");
    assert_eq!(login(&server, "old"), "STORED");
    fs::write(&path, "joe:new\n").unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("the new password holds", || login(&server, "new") == "STORED");
    assert_eq!(login(&server, "old"), "CLIENT_ERROR authentication failure");
    fs::write(&path, "spoiled\n").unwrap();
    server.signal(Signal::SIGHUP);
    if dialect() == Dialect::V45 {
        wait_until("the spoiled file is told", || server.stderr().contains("malformed entry"));
    }
    assert_eq!(login(&server, "new"), "STORED");
}

#[test]
fn verbosity_reaches_the_log() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("get quiet"), "END");
    assert_eq!(client.ask("verbosity 2"), "OK");
    assert_eq!(client.ask("get loud"), "END");
    wait_until("the command is logged", || server.stderr().contains("get loud\n"));
    assert!(!server.stderr().contains("get quiet"));
}
