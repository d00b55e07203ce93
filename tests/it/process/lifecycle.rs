//! The life of a server: signals, taken addresses, pid files.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{as_root, connect, path, run, text};
use crate::harness::{Client, Dialect, Server, TempDir, command, dialect, program, wait_until};

/// Longest wait for a process to end.
const PROMPT: Duration = Duration::from_secs(1);

#[test]
fn a_second_server_on_a_port_reports_it_and_exits() {
    let all = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = all.local_addr().unwrap().port().to_string();
    let second = run(program(), &as_root(&["-p", &port]));
    assert_eq!(second.status.code(), Some(71));
    let expected = format!("failed to listen on TCP port {port}: Address already in use");
    assert!(text(&second.stderr).lines().any(|line| line.starts_with(&expected)), "{second:?}");
    let advice = format!(": TCP port {port} is taken: end who has it (ss -lpn), or choose another by -p\n");
    assert!(dialect() == Dialect::Memcached || text(&second.stderr).ends_with(&advice), "{second:?}");
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let second = run(program(), &as_root(&["-p", &port, "-l", "127.0.0.1"]));
    assert_eq!(second.status.code(), Some(71));
    let expected = "failed to listen on one of interface(s) 127.0.0.1: Address already in use";
    assert!(text(&second.stderr).lines().any(|line| line.starts_with(expected)), "{second:?}");
    assert_eq!(server.connect().ask("mn"), "MN", "the first one serves on");
}

/// An element of -l, or all addresses if there is none, is served on what is free of it: with 127.0.0.1 taken the server did
/// not start, although memcached serves on `::1` then.
#[test]
fn a_taken_address_among_several_does_not_stop_the_start() {
    for (taken, free) in [("127.0.0.1", "::1"), ("::1", "127.0.0.1")] {
        // Without IPv6 there is one address only.
        let Ok(holder) = TcpListener::bind((taken, 0)) else { continue };
        let port = holder.local_addr().unwrap().port();
        if TcpListener::bind((free, port)).is_err() {
            continue;
        }
        let dir = TempDir::new();
        let mut server =
            command(program(), &dir).args(as_root(&["-t", "2", "-p", &port.to_string()])).spawn().unwrap();
        let mut stream = None;
        wait_until("it serves on what is free", || {
            assert_eq!(server.try_wait().unwrap(), None, "it has ended");
            stream = TcpStream::connect((free, port)).ok();
            stream.is_some()
        });
        assert_eq!(Client::over(stream.unwrap()).ask("mn"), "MN");
        server.kill().unwrap();
        server.wait().unwrap();
        let said = fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert!(
            dialect() == Dialect::Memcached || said.contains("is taken: listening to the other"),
            "{said}"
        );
    }
}

/// Signals: exit status, and standard error with -v.
#[test]
fn signals_end_the_server_promptly() {
    let mut cases = vec![
        (Signal::SIGINT, Some(0), "Exiting normally"),
        (Signal::SIGTERM, Some(0), "Exiting normally"),
        (Signal::SIGUSR1, Some(0), "Gracefully stopping"),
        (Signal::SIGUSR2, None, ""),
    ];
    if dialect() == Dialect::Memcached {
        cases.retain(|case| case.0 != Signal::SIGINT && case.0 != Signal::SIGTERM);
    }
    for (signal, code, said) in cases {
        let mut server = Server::start(&["-v", "-t", "4"]);
        let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.set("key", "value");
        }
        let since = Instant::now();
        server.signal(signal);
        let status = server.wait();
        assert!(since.elapsed() < PROMPT, "{signal}: {:?}", since.elapsed());
        assert_eq!(status.code(), code, "{signal}");
        if code.is_none() {
            assert_eq!(status.signal(), Some(signal as i32));
        }
        assert!(server.stderr().contains(said), "{signal}: {}", server.stderr());
        for mut client in clients {
            assert_eq!(client.read_to_end(), b"", "{signal}");
        }
    }
}

#[test]
fn hup_and_pipe_do_not_stop_the_server() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    for signal in [Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGHUP] {
        server.signal(signal);
        assert_eq!(client.ask("mn"), "MN");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_pid_file_of_a_daemon_is_removed_at_its_end() {
    let dir = TempDir::new();
    let file = path(&dir, "pid");
    let mut server = Server::start(&["-P", &file]);
    wait_until("the pid file is there", || Path::new(&file).exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", server.pid()));
    let second = Server::start(&["-P", &file]);
    let warning = format!("WARNING: The pid file contained the following (running) pid: {}\n", server.pid());
    wait_until("the second server warns", || second.stderr().contains(&warning));
    drop(second);
    server.signal(Signal::SIGTERM);
    server.wait();
    assert!(Path::new(&file).exists());

    // The parent of orphans sees the end of a daemon.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let ports = path(&dir, "ports");
    fs::remove_file(&file).unwrap();
    let mut parent = Command::new(program())
        .args(as_root(&["-d", "-P", &file, "-p", "-1", "-l", "127.0.0.1"]))
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    assert!(parent.wait().unwrap().success(), "the parent ends at once");
    wait_until("the daemon is ready", || Path::new(&file).exists() && Path::new(&ports).exists());
    let daemon = Pid::from_raw(fs::read_to_string(&file).unwrap().trim().parse().unwrap());
    assert_eq!(connect(&ports).ask("mn"), "MN");
    let since = Instant::now();
    kill(daemon, Signal::SIGTERM).unwrap();
    assert_eq!(waitpid(daemon, None).unwrap(), WaitStatus::Exited(daemon, 0));
    assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
    assert!(!Path::new(&file).exists(), "a daemon takes its pid file along");
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
