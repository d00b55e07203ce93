//! Failing system calls, by a seccomp filter, and descriptors that have run out. The server logs a line and continues or
//! exits; it neither hangs nor spins.
#![expect(unsafe_code, reason = "a filter is set between fork and exec; another process's limit is set")]

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sys::signal::Signal;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::harness::{Client, Dialect, Server, TempDir, command, dialect, program, wait_until};

/// A system call that fails, if its arguments are such.
pub struct Refused {
    call: i64,
    errno: i32,
    /// An argument and what it must compare to.
    when: Option<(u8, SeccompCmpOp, u64)>,
}

pub const fn refused(call: i64, errno: i32) -> Refused {
    Refused { call, errno, when: None }
}

impl Refused {
    pub const fn when(self, argument: u8, comparison: SeccompCmpOp, value: u64) -> Self {
        Self { when: Some((argument, comparison, value)), ..self }
    }

    fn program(&self) -> BpfProgram {
        let rules = self.when.clone().map(|(argument, comparison, value)| {
            let condition =
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value).unwrap();
            SeccompRule::new(vec![condition]).unwrap()
        });
        let rules = [(self.call, rules.into_iter().collect())].into();
        let refused = SeccompAction::Errno(self.errno as u32);
        let arch = std::env::consts::ARCH.try_into().unwrap();
        SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap().try_into().unwrap()
    }
}

/// The program under test, in a process to which all of `refused` happens.
pub fn under(refused: &[Refused], dir: &TempDir) -> Command {
    let filters: Vec<_> = refused.iter().map(Refused::program).collect();
    let mut command = command(program(), dir);
    // SAFETY: between fork and exec only system calls are made, with memory that was allocated before.
    unsafe {
        command.pre_exec(move || {
            filters.iter().try_for_each(|filter| {
                seccompiler::apply_filter(filter).map_err(|_| io::Error::last_os_error())
            })
        });
    }
    command
}

pub fn start_under(refused: &[Refused], flags: &[&str]) -> Server {
    let dir = TempDir::new();
    Server::start_command(under(refused, &dir), flags, dir)
}

/// Processor time the server has used, in ticks of a hundredth of a second.
fn ticks(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// It does not spin: it uses less than half of a processor while there is nothing to do.
pub fn is_calm(server: &Server) {
    let (before, since) = (ticks(server), Instant::now());
    std::thread::sleep(Duration::from_millis(500));
    let used = ticks(server) - before;
    assert!(used < since.elapsed().as_millis() as u64 / 20, "{used} ticks in {:?}", since.elapsed());
}

pub fn ends_well(mut server: Server) {
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success(), "{}", server.stderr());
}

pub fn serves(server: &Server) {
    let mut client = server.connect();
    client.set("key", "value");
    assert_eq!(client.get("key").as_deref(), Some("value"));
    // More than a socket takes at once, both ways.
    let large = "x".repeat(900_000);
    client.set("large", &large);
    assert_eq!(client.get("large"), Some(large));
}

/// The operation of `io_uring_register(2)` that registers a ring of buffers.
const REGISTER_BUFFERS: u64 = 22;

#[test]
fn without_registered_buffers_the_server_serves_and_says_so_once() {
    for (errno, words) in [
        (libc::EPERM, "read buffers cannot be registered: Operation not permitted"),
        (libc::EOPNOTSUPP, "read buffers cannot be registered: Operation not supported"),
        (libc::ENOMEM, "read buffers cannot be registered: the limit on locked memory"),
    ] {
        let buffers = refused(libc::SYS_io_uring_register, errno).when(1, SeccompCmpOp::Eq, REGISTER_BUFFERS);
        let server = start_under(&[buffers], &["-t", "2", "--io-engine=uring"]);
        serves(&server);
        let said = server.stderr();
        assert!(said.starts_with(words), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        ends_well(server);
    }
}

/// Rings as large as wished are refused: smaller ones serve.
#[test]
fn without_memory_for_large_queues_small_ones_serve() {
    for entries_max in [64, 32] {
        let large = refused(libc::SYS_io_uring_setup, libc::ENOMEM).when(0, SeccompCmpOp::Gt, entries_max);
        let server = start_under(&[large], &["-t", "1", "--io-engine=uring"]);
        serves(&server);
        ends_well(server);
    }
}

/// The kernel takes no more submissions, as if it were out of memory for good: the ring is dead, which is noticed.
#[test]
fn a_ring_whose_submissions_are_refused_ends_the_process() {
    const MANY: u64 = 32;
    let full = refused(libc::SYS_io_uring_enter, libc::ENOMEM).when(1, SeccompCmpOp::Ge, MANY);
    let mut server = start_under(&[full], &["-t", "1", "--io-engine=uring", "--ring-timeout=4"]);
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("mn"), "MN");
    }
    // All of them ask at the same time, so that all replies are submitted together.
    server.signal(Signal::SIGSTOP);
    for client in &mut clients {
        client.send(b"mn\r\n");
    }
    server.signal(Signal::SIGCONT);
    assert_eq!(server.wait().signal(), Some(Signal::SIGABRT as i32), "{}", server.stderr());
    let said = server.stderr();
    assert!(said.contains("ring 0 has made no progress for 4 s: aborting"), "{said}");
}

/// What accept(2) may answer when nobody can be accepted, and in what words the server tells of it.
pub const EXHAUSTED: [(i32, &str); 4] = [
    (libc::EMFILE, "Too many open files"),
    (libc::ENFILE, "Too many open files in system"),
    (libc::ENOBUFS, "No buffer space available"),
    (libc::ENOMEM, "Cannot allocate memory"),
];
/// What else it may answer, again and again.
pub const FAILING: [(i32, &str); 3] = [
    (libc::ECONNABORTED, "Software caused connection abort"),
    (libc::EINTR, "Interrupted system call"),
    (libc::EPERM, "Operation not permitted"),
];

/// The log line about connections that cannot be accepted, at most once in ten seconds.
pub fn is_told_of_seldom(server: &Server, words: &str) {
    let said = server.stderr();
    assert!(said.starts_with(&format!("cannot accept connections: {words}\n")), "{said}");
    assert!(said.lines().count() <= 2, "{said}");
}

/// One line in ten seconds, little processor time, an end in order.
#[test]
fn accepting_that_fails_is_told_of_seldom_and_does_not_spin() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for (errno, words) in EXHAUSTED.into_iter().chain(FAILING) {
        let accept = refused(libc::SYS_accept4, errno);
        let server = start_under(&[accept], &["-t", "1", "--io-engine=epoll"]);
        let _waiting: Vec<_> = (0..5).map(|_| server.connect()).collect();
        wait_until("it is told of", || !server.stderr().is_empty());
        is_calm(&server);
        is_told_of_seldom(&server, words);
        ends_well(server);
    }
}

/// Where connections cannot be received from or sent to they end, and the server does not mind.
#[test]
fn connections_that_fail_are_closed_and_nothing_else() {
    for (calls, errno) in [
        (&[libc::SYS_recvfrom][..], libc::ENOBUFS),
        (&[libc::SYS_recvfrom], libc::ENOMEM),
        (&[libc::SYS_recvfrom], libc::ECONNRESET),
        (&[libc::SYS_sendto, libc::SYS_sendmsg], libc::ENOBUFS),
        (&[libc::SYS_sendto, libc::SYS_sendmsg], libc::ENOMEM),
        (&[libc::SYS_sendto, libc::SYS_sendmsg], libc::EPIPE),
    ] {
        let all: Vec<_> = calls.iter().map(|&call| refused(call, errno)).collect();
        let server = start_under(&all, &["-t", "1", "--io-engine=epoll"]);
        for _ in 0..20 {
            let mut client = server.connect();
            client.send_lossy(b"mn\r\n");
            assert_eq!(client.read_to_end(), b"", "closed without an answer");
        }
        is_calm(&server);
        assert_eq!(server.stderr(), "");
        ends_well(server);
    }
}

/// Sets how many descriptors the server may have.
fn limit_descriptors(server: &Server, limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: 4096 };
    // SAFETY: the limit is read from a value that lives, and nothing is written.
    let result = unsafe {
        libc::prlimit(server.pid().as_raw(), libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut())
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Connects clients until no low descriptor is left, the spare one's number among them; returns the next.
fn fill_descriptors(server: &Server, clients: &mut Vec<Client>) -> u64 {
    const LOW: u64 = 32;
    loop {
        let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        let open: Vec<u64> =
            open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
        let next = (0..=LOW).find(|number| !open.contains(number)).unwrap_or(LOW);
        if next >= LOW {
            return next;
        }
        let mut client = server.connect();
        assert_eq!(client.ask("mn"), "MN");
        clients.push(client);
    }
}

/// New connections are refused with an error line, which is logged once; open ones are served; accepting resumes when the
/// fault ends.
#[test]
fn out_of_descriptors_newcomers_are_refused_and_later_ones_are_served() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for engine in ["uring", "epoll"] {
        let server = Server::start(&["-t", "1", "--io-engine", engine]);
        let mut clients = vec![server.connect()];
        assert_eq!(clients[0].ask("mn"), "MN");
        let limit = fill_descriptors(&server, &mut clients);
        let old = &mut clients[0];
        limit_descriptors(&server, limit);
        for _ in 0..30 {
            assert_eq!(server.connect().read_to_end(), b"ERROR Too many open connections\r\n");
        }
        assert_eq!(old.count("accepting_conns"), 0);
        assert_eq!(old.count("listen_disabled_num"), 1);
        assert_eq!(old.count("rejected_connections"), 30);
        let said = server.stderr();
        assert_eq!(said, "cannot accept connections: Too many open files\n");
        is_calm(&server);
        limit_descriptors(&server, 1000);
        wait_until("it accepts again", || old.count("accepting_conns") == 1);
        assert!(old.count("time_in_listen_disabled_us") > 0);
        assert_eq!(server.connect().ask("mn"), "MN");
        ends_well(server);
    }
}
