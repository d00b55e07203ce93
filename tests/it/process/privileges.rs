//! What the process may do: the filter of `-o drop_privileges`, and the locked memory that one user's servers share.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::harness::{Server, TempDir, program, wait_until};

/// /proc/…/status of each thread of `server`.
fn thread_statuses(server: &Server) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect()
}

/// `-o drop_privileges` was refused, although memcached accepts it. All threads get a filter, and everything that a server
/// does after its start still works under it: the calls of both engines are in its list.
#[test]
fn privileges_are_dropped_and_the_server_serves() {
    for engine in ["uring", "epoll"] {
        let mut server = Server::start(&[
            "-o",
            "drop_privileges",
            "--io-engine",
            engine,
            "-t",
            "2",
            "--metrics-port",
            "-1",
            "-A",
            "-U",
            "-1",
        ]);
        wait_until("every thread has its filter", || {
            let is_filtered =
                |status: &String| status.contains("\nSeccomp:\t2") && status.contains("\nNoNewPrivs:\t1");
            thread_statuses(&server).iter().all(is_filtered)
        });
        assert!(thread_statuses(&server).len() >= 4);
        let mut client = server.connect();
        client.set("a", "1");
        let large = "v".repeat(900_000);
        client.set("large", &large);
        assert_eq!(client.get("large"), Some(large));
        let mut watcher = server.connect();
        assert_eq!(watcher.ask("watch mutations"), "OK");
        // Newcomers, more of them than one at a time, and some that are gone at once.
        let clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
        for mut client in clients {
            assert_eq!(client.get("a").as_deref(), Some("1"));
        }
        for command in [
            "stats",
            "stats settings",
            "stats items",
            "stats slabs",
            "stats conns",
            "stats memory",
            "stats rings",
        ] {
            assert!(!client.stats(command).is_empty(), "{command}");
        }
        assert_eq!(client.ask("cache_memlimit 32"), "OK");
        assert_eq!(client.ask("flush_all"), "OK");
        server.signal(Signal::SIGHUP);
        assert_eq!(client.ask("mn"), "MN");
        // A ring wakes another one, the clock runs, and the end works as ever.
        assert_eq!(client.ask("verbosity 1"), "OK");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0), "{}", server.stderr());
        assert!(server.stderr().lines().all(|line| !line.contains("not permitted")), "{}", server.stderr());
    }
}

/// A server of an unprivileged user that may lock 8 MiB, as under systemd's defaults; all such servers share them.
fn unprivileged(flags: &[&str]) -> Server {
    let dir = TempDir::new();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = dir.path().join("memcached");
    fs::copy(program(), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65533", "--regid=65533", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .args(["sh", "-c", "ulimit -l 8192; exec \"$0\" \"$@\""])
        .arg(&copy)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.path().join("stderr")).unwrap());
    Server::start_command(command, flags, dir)
}

/// The fourth of them took a second to start and ran on epoll, because each locked all that it could get.
#[test]
fn twenty_servers_of_one_user_run_on_io_uring() {
    let engine = std::env::var("MEMCRSD_IO_ENGINE").unwrap_or_default();
    if !geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() || engine == "epoll" {
        return;
    }
    let servers: Vec<_> = (0..20).map(|_| unprivileged(&["-t", "4"])).collect();
    for server in &servers {
        let mut client = server.connect();
        client.set("a", "1");
        assert_eq!(client.stats("stats settings")["io_engine"], "uring");
        assert_eq!(server.stderr(), "", "no warning");
    }
}
