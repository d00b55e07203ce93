//! The server as a process: its command line, signals, sockets, connections and what operators see of it.

mod command_line;
mod connection_reports;
mod connections;
mod copy;
mod engines;
mod flash;
mod lifecycle;
mod operations;
mod placement;
mod privileges;
mod surroundings;
mod top;
mod unix;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use crate::harness::{Client, TempDir, deadline};

/// Runs a command that is expected to end by itself.
fn run(program: &Path, args: &[&str]) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + deadline();
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            panic!("{args:?} went on: it should have been refused");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command line that root may use.
fn as_root<'w>(words: &[&'w str]) -> Vec<&'w str> {
    let user: &[&str] = if geteuid().is_root() { &["-u", "root"] } else { &[] };
    [user, words].concat()
}

/// The path of `file` in `dir`.
fn path(dir: &TempDir, file: &str) -> String {
    dir.path().join(file).display().to_string()
}

/// The ports of a port file: family and number.
fn ports(file: &str) -> Vec<(String, u16)> {
    let text = fs::read_to_string(file).unwrap();
    let port = |line: &str| {
        let (family, port) = line.split_once(": ").unwrap();
        (family.to_owned(), port.parse().unwrap())
    };
    text.lines().map(port).collect()
}

fn connect(port_file: &str) -> Client {
    let ports = ports(port_file);
    let (_, port) = ports.iter().find(|(family, _)| family == "TCP INET").unwrap();
    Client::connect(*port)
}
