//! Tests of the steps on a real process, each in a child, because a test process can change its user only once.

use super::*;
use crate::config::Config;
use nix::unistd;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs the ignored test `name` of this file in a child; returns whether it passed, and its output.
fn in_child(name: &str) -> (bool, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("process::tests::{name}"), "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success() && said.contains("1 passed"), said)
}

/// The file in which the daemon started by the test process `parent` reports its state.
fn background_report(parent: unistd::Pid) -> PathBuf {
    std::env::temp_dir().join(format!("memcrsd-daemon-{parent}"))
}

/// A user that exists on every Linux.
const NOBODY: &str = "nobody";

fn status_line(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn root_is_dropped_after_the_ports_are_bound() {
    if !unistd::geteuid().is_root() {
        return;
    }
    let (passed, said) = in_child("child_drops_root");
    assert!(passed, "{said}");
}

#[test]
#[ignore = "changes its user: run as a child by the test above"]
fn child_drops_root() {
    let config = Config { user: Some(NOBODY.to_owned()), core_dumps: true, ..Config::default() };
    let mut prepared = prepare(&config).unwrap();
    assert!(unistd::geteuid().is_root(), "low ports need root");
    prepared.after_bind(&config).unwrap();
    let nobody = unistd::User::from_name(NOBODY).unwrap().unwrap();
    let (uid, gid) = (nobody.uid, nobody.gid);
    assert_eq!(status_line("Uid:"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(status_line("Gid:"), format!("{gid} {gid} {gid} {gid}"));
    assert_eq!(status_line("Groups:"), "");
    assert_eq!(status_line("CapEff:"), "0000000000000000");
    assert!(unistd::setuid(unistd::Uid::from_raw(0)).is_err(), "dropping root is final");
    assert_eq!(nix::sys::prctl::get_dumpable(), Ok(true), "-r outlives the change of user");
    prepared.after_bind(&config).unwrap();
}

#[test]
fn a_unix_socket_is_owned_by_the_user() {
    if !unistd::geteuid().is_root() {
        return;
    }
    let (passed, said) = in_child("child_drops_root_early");
    assert!(passed, "{said}");
}

#[test]
#[ignore = "changes its user: run as a child by the test above"]
fn child_drops_root_early() {
    let socketpath = Some("/tmp/never-made".to_owned());
    let config = Config { user: Some(NOBODY.to_owned()), socketpath, ..Config::default() };
    let _prepared = prepare(&config).unwrap();
    assert!(!unistd::geteuid().is_root());
}

#[test]
fn a_daemon_has_its_own_session_and_no_streams() {
    let report = background_report(unistd::Pid::this());
    let (passed, said) = in_child("child_goes_into_the_background");
    assert!(!passed && !said.contains("FAILED"), "the parent exits in the middle of the test: {said}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !report.exists() {
        assert!(Instant::now() < deadline, "no report by the daemon: {said}");
        std::thread::yield_now();
    }
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "leads its session: true, in /, says to /dev/null");
    std::fs::remove_file(report).unwrap();
}

#[test]
#[ignore = "forks and exits: run as a child by the test above"]
fn child_goes_into_the_background() {
    let report = background_report(unistd::Pid::parent());
    let user = Some("root".to_owned());
    let config = Config { daemonize: true, user, ..Config::default() };
    prepare(&config).unwrap().detach(&config).unwrap();
    let facts = format!(
        "leads its session: {}, in {}, says to {}",
        unistd::getsid(None) == Ok(unistd::Pid::this()),
        std::env::current_dir().unwrap().display(),
        std::fs::read_link("/proc/self/fd/2").unwrap().display()
    );
    let unfinished = report.with_extension("unfinished");
    std::fs::write(&unfinished, facts).unwrap();
    std::fs::rename(unfinished, report).unwrap();
    // The test harness is gone with the parent.
    std::process::exit(0);
}

#[test]
fn each_protocol_has_its_password_file() {
    let path = std::env::temp_dir().join(format!("memcrsd-process-users-{}", std::process::id()));
    std::fs::write(&path, "a:1\n").unwrap();
    let name = Some(path.display().to_string());
    let (none, nobody) = users(&Config::default()).unwrap();
    assert!(none.is_none() && !nobody.allows(b"", b""));
    let (_, ascii) = users(&Config { auth_file: name.clone(), ..Config::default() }).unwrap();
    let (_, sasl) = users(&Config { sasl: true, sasl_pwdb: name, ..Config::default() }).unwrap();
    assert!(ascii.allows(b"a", b"1") && sasl.allows(b"a", b"1"));
    std::fs::remove_file(&path).unwrap();
    let refusal = users(&Config { sasl: true, ..Config::default() }).unwrap_err();
    assert_eq!(refusal.lines.last().unwrap(), "Error initializing sasl.");
    assert_eq!(refusal.status, 1);
    let missing = Config { auth_file: Some("/no/such/file".to_owned()), ..Config::default() };
    let refusal = users(&missing).unwrap_err();
    assert!(refusal.lines[0].starts_with("Could not open authfile [/no/such/file] for reading, error "));
    assert_eq!(refusal.status, 1);
}
