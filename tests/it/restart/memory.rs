//! Memory files, and servers on them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::harness::{Client, Server, TempDir, command, deadline, program};

const TMPFS: &str = "/dev/shm";

/// A directory on a tmpfs with room for `megabytes`; a line says so if there is none.
pub fn directory(megabytes: u64) -> Option<TempDir> {
    let free =
        nix::sys::statvfs::statvfs(TMPFS).map_or(0, |free| free.blocks_available() * free.fragment_size());
    if free < megabytes << 20 {
        println!("nothing is tested: {TMPFS} has less than {megabytes} MB free");
        return None;
    }
    Some(TempDir::within(Path::new(TMPFS)))
}

/// A place for a memory file.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// With room for a cache of some 16 MB.
    pub fn new() -> Option<Self> {
        directory(48).map(|dir| Self { dir })
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("memory")
    }

    fn flags<'f>(path: &'f str, flags: &[&'f str]) -> Vec<&'f str> {
        [&["-e", path, "-m", "16", "-t", "2"], flags].concat()
    }

    /// Starts a server on the file. Later flags win.
    pub fn start(&self, flags: &[&str]) -> Server {
        let path = self.path();
        Server::start(&Self::flags(path.to_str().unwrap(), flags))
    }

    /// Starts a server that refuses to: its exit status, and what it says.
    pub fn refused(&self, flags: &[&str]) -> (Option<i32>, String) {
        let path = self.path();
        refused(&Self::flags(path.to_str().unwrap(), flags))
    }

    /// Flips the lowest bit of the byte at `offset`.
    pub fn flip(&self, offset: u64) {
        let file = OpenOptions::new().read(true).write(true).open(self.path()).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    }
}

/// Starts a server with `flags` that refuses to start: its exit status, and what it says.
pub fn refused(flags: &[&str]) -> (Option<i32>, String) {
    let dir = TempDir::new();
    refused_by(command(program(), &dir), flags, &dir)
}

/// The same with `command`, whose output goes to a file in `dir`.
pub fn refused_by(mut command: Command, flags: &[&str], dir: &TempDir) -> (Option<i32>, String) {
    let mut child = command.args(["-p", "-1", "-l", "127.0.0.1"]).args(flags).spawn().unwrap();
    let end = Instant::now() + deadline();
    let mut status = child.try_wait().unwrap();
    while status.is_none() && Instant::now() < end {
        thread::yield_now();
        status = child.try_wait().unwrap();
    }
    let said = fs::read_to_string(dir.path().join("stderr")).unwrap();
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    (status.unwrap_or_else(|| panic!("the server starts with {flags:?}: {said}")).code(), said)
}

/// Ends a server in one of the ways there are.
pub fn end(mut server: Server, signal: Signal) {
    server.signal(signal);
    let status = server.wait();
    assert_eq!(status.success(), signal != Signal::SIGKILL, "{status} {}", server.stderr());
}

/// The line about the restart.
pub fn told(server: &Server) -> String {
    let log = server.stderr();
    let line = log.lines().find(|line| line.starts_with("[restart] ") && !line.contains("looked through"));
    line.unwrap_or_else(|| panic!("no line about the restart: {log}")).to_owned()
}

/// What the own statistics say of it: items, and the result.
pub fn restored(server: &Server) -> (u64, String) {
    let stats = server.connect().stats("stats memcrsd");
    (stats["memcrsd_restored_items"].parse().unwrap(), stats["memcrsd_restore_result"].clone())
}

/// All that `mg` tells of an item but its TTL.
pub fn shown(client: &mut Client, key: &str) -> String {
    let head = client.ask(&format!("mg {key} s f c k v"));
    if head == "EN" {
        return head;
    }
    let bytes: usize = head.split(' ').nth(1).unwrap().parse().unwrap();
    let value = client.read_exact(bytes + 2);
    format!("{head} {}", value.escape_ascii())
}
