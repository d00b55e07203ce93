//! `memcrsd top`: over a pipe, in a real terminal (a pseudo-terminal whose output a terminal emulator draws), and against
//! servers that are not memcrsd, or hostile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Client, Server, TempDir, deadline, program, reference, wait_until};

/// What `top` of the server at `port` prints to a pipe.
fn piped(port: u16) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(program())
        .args(["top", &format!("127.0.0.1:{port}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn status(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("top ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// `top` in a terminal.
struct Terminal {
    child: Child,
    keys: std::fs::File,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    /// All that has been written to the terminal.
    written: Vec<u8>,
}

impl Terminal {
    fn start(port: u16, rows: u16, cols: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let child = Command::new(program())
            .args(["top", &format!("127.0.0.1:{port}")])
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(pty.slave.try_clone().unwrap())
            .stderr(pty.slave)
            .spawn()
            .unwrap();
        let (tell, output) = channel();
        let keys = std::fs::File::from(pty.master.try_clone().unwrap());
        let mut master = std::fs::File::from(pty.master);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Reading fails when the last descriptor of the other side is closed.
            while let Ok(count @ 1..) = master.read(&mut chunk) {
                if tell.send(chunk[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys, output, parser: vt100::Parser::new(rows, cols, 0), written: Vec::new() }
    }

    /// The screen as soon as it shows all of `texts`.
    fn screen_with(&mut self, texts: &[&str]) -> String {
        // It is drawn every second.
        for _ in 0..2 * deadline().as_secs() {
            let screen = self.parser.screen().contents();
            if !self.written.is_empty() && texts.iter().all(|text| screen.contains(text)) {
                return screen;
            }
            let Ok(piece) = self.output.recv_timeout(deadline()) else { break };
            self.parser.process(&piece);
            self.written.extend(piece);
        }
        panic!("{texts:?} are not on the screen:\n{}", self.parser.screen().contents());
    }

    /// Sends a key or a signal by `leave`, and draws the rest.
    fn ends_by(mut self, leave: impl FnOnce(&mut Self)) {
        leave(&mut self);
        assert_eq!(status(&mut self.child).code(), Some(0));
        while let Ok(piece) = self.output.recv_timeout(deadline()) {
            self.parser.process(&piece);
        }
        assert!(!self.parser.screen().alternate_screen() && !self.parser.screen().hide_cursor());
    }
}

fn press(terminal: &mut Terminal, keys: &[u8]) {
    terminal.keys.write_all(keys).unwrap();
}

#[test]
fn the_screen_fits_80_by_24() {
    let server = Server::start(&["-t", "2"]);
    let mut client = server.connect();
    client.set("a", "1");
    let mut terminal = Terminal::start(server.port, 24, 80);
    // Something happens between two samples, whenever they are.
    let busy = thread::spawn(move || {
        for _ in 0..200_000 {
            client.send(b"get a\r\nget none\r\n");
            client.read_exact(26);
        }
    });
    let screen = terminal.screen_with(&[
        "memcrsd 0.1.0 as memcached 1.6.45",
        "2 threads",
        "50.0%",
        "Memory",
        "of 64 MiB",
        "get ",
        "p99.9",
        "ring 1",
        "Hot keys",
        "q quits",
    ]);
    assert!(
        screen.lines().count() <= 24 && screen.lines().all(|line| line.chars().count() <= 80),
        "{screen}"
    );
    assert!(terminal.parser.screen().alternate_screen());
    terminal.ends_by(|terminal| press(terminal, b"q"));
    drop(server);
    let _ = busy.join();
}

#[test]
fn the_terminal_is_left_as_it_was() {
    let server = Server::start(&[]);
    for (rows, cols) in [(24, 80), (3, 10), (50, 200)] {
        let mut terminal = Terminal::start(server.port, rows, cols);
        terminal.screen_with(&[]);
        terminal.ends_by(|terminal| press(terminal, b"\x03"));
    }
    let mut terminal = Terminal::start(server.port, 24, 80);
    terminal.screen_with(&["q quits"]);
    let pid = Pid::from_raw(terminal.child.id() as i32);
    terminal.ends_by(|_| kill(pid, Signal::SIGTERM).unwrap());
}

/// A server that goes is named at the foot, and shown again when it is back.
#[test]
fn a_server_that_is_gone_is_said_to_be() {
    let server = Server::start(&[]);
    let port = server.port;
    let mut terminal = Terminal::start(port, 24, 80);
    terminal.screen_with(&["q quits"]);
    drop(server);
    terminal.screen_with(&[&format!("127.0.0.1:{port}: ")]);
    terminal.ends_by(|terminal| press(terminal, b"q"));
}

#[test]
fn over_a_pipe_there_are_plain_lines() {
    let server = Server::start(&[]);
    let (mut child, mut lines) = piped(server.port);
    let (mut header, mut line) = (String::new(), String::new());
    lines.read_line(&mut header).unwrap();
    lines.read_line(&mut line).unwrap();
    assert!(header.trim_start().starts_with("req/s"), "{header}");
    assert_eq!(line.len(), header.len(), "{header}{line}");
    assert!(!line.contains('\x1b'));
    // Who has seen enough closes the pipe.
    drop(lines);
    assert_eq!(status(&mut child).code(), Some(0));
}

#[test]
fn memcached_is_shown_as_far_as_it_tells() {
    let Some(memcached) = reference() else { return };
    let server = Server::start_program(memcached, &[], TempDir::new());
    server.connect().set("a", "1");
    let mut terminal = Terminal::start(server.port, 24, 80);
    let screen = terminal.screen_with(&["memcached 1.6", "4 threads", "of 64 MiB", "q quits"]);
    assert!(!screen.contains("memcrsd"), "{screen}");
    terminal.ends_by(|terminal| press(terminal, b"\x1b"));
}

/// What a server says is shown, and does nothing: neither its keys nor its values steer the terminal.
#[test]
fn a_hostile_server_cannot_steer_the_terminal() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut client = Client::over(listener.accept().unwrap().0);
        loop {
            let command = client.read_line_or_end();
            if command.is_empty() {
                break;
            }
            let pairs = match &*command {
                "stats hotkeys" => "STAT 1:key \x1b]0;owned\x07\u{9b}31m\r\nSTAT 1:percent \x1b[2J99\r\n",
                "stats" => "STAT version 1\x1b[5m\r\nSTAT curr_items \x1b[1m\r\nSTAT uptime nan\r\n",
                _ => "STAT 0:requests -inf\r\nSTAT 0:connections 99999999999999999999\r\n",
            };
            client.send_lossy(format!("{pairs}END\r\n").as_bytes());
        }
    });
    let mut terminal = Terminal::start(port, 24, 80);
    terminal.screen_with(&["?]0;owned??31m", "memcached 1?[5m"]);
    let shown = String::from_utf8_lossy(&terminal.written).into_owned();
    for bad in ["\x1b]0;", "\x07", "\u{9b}", "\x1b[5m"] {
        assert!(!shown.contains(bad), "{bad:?}");
    }
    terminal.ends_by(|terminal| press(terminal, b"q"));
}

#[test]
fn a_target_that_cannot_be_watched_is_one_line() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    for (target, expected) in [
        (format!("127.0.0.1:{port}"), "Connection refused"),
        ("nonsense".to_owned(), "Invalid address for top: nonsense"),
    ] {
        let output = Command::new(program()).args(["top", &target]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected) && output.stdout.is_empty(), "{error}");
    }
}
