//! Machines that refuse: filters, limits, restarts. Each case runs in a process of its own, which is this test program
//! again with one of its ignored tests.

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgid, setuid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::time::Duration;
use uring::{Listener, Options, Ring, Stream};

const BUFFER_BYTES: usize = 16 << 10;

/// Runs the ignored test `name` in a new process; returns what it printed.
fn in_a_process(name: &str) -> String {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", name, "--ignored", "--nocapture"])
        .output()
        .expect("a process");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {printed}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("1 passed"), "{name} did not run");
    printed
}

/// Makes `calls` fail with `errno` in this process, like a container's profile.
fn forbid(calls: &[i64], errno: i32) {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a known machine");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch)
        .expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter_all_threads(&program).expect("filters are possible");
}

#[test]
fn a_filter_is_named_as_the_cause() {
    for name in ["filtered_with_eperm", "filtered_with_enosys", "filtered_but_for_setup"] {
        let printed = in_a_process(name);
        assert!(printed.contains("a seccomp filter blocks it"), "{printed}");
        assert!(printed.contains("--security-opt seccomp=unconfined"), "{printed}");
    }
}

#[test]
#[ignore = "run by a_filter_is_named_as_the_cause"]
fn filtered_with_eperm() {
    forbid(&[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register], libc::EPERM);
    println!("{}", uring::probe().expect_err("forbidden"));
}

#[test]
#[ignore = "run by a_filter_is_named_as_the_cause"]
fn filtered_with_enosys() {
    forbid(&[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register], libc::ENOSYS);
    println!("{}", uring::probe().expect_err("forbidden"));
}

#[test]
#[ignore = "run by a_filter_is_named_as_the_cause"]
fn filtered_but_for_setup() {
    forbid(&[libc::SYS_io_uring_enter], libc::EPERM);
    println!("{}", uring::probe().expect_err("forbidden"));
}

/// Leaves root behind with `memlock_bytes` of locked memory. Each process becomes a user of its own, because the limit is one
/// for all processes of a user, whoever has started them. False if it cannot, so that others' memory may count.
#[must_use]
fn becomes_a_user_of_its_own(memlock_bytes: u64) -> bool {
    // Above the users that systems have, within what a container maps.
    let user = Uid::from_raw(40_000 + std::process::id() % 20_000);
    setrlimit(Resource::RLIMIT_MEMLOCK, memlock_bytes, memlock_bytes).expect("a lower limit");
    Uid::effective().is_root() && setgid(Gid::from_raw(65534)).is_ok() && setuid(user).is_ok()
}

/// Builds `rings` rings at the same time, as a server does, and sends bytes through each; returns how many buffers each
/// could register.
fn rings_that_work(rings: usize) -> Result<Vec<usize>, uring::StartError> {
    let support = uring::probe()?;
    let all_built = Arc::new(Barrier::new(rings));
    let threads: Vec<_> = (0..rings)
        .map(|_| {
            let all_built = Arc::clone(&all_built);
            std::thread::spawn(move || {
                let options =
                    Options { rings, buffer_bytes: BUFFER_BYTES, buffers_max: 256, read_bytes_max: 0 };
                let ring = Ring::build(support, &options);
                all_built.wait();
                let ring = ring?;
                let buffers = ring.buffers();
                let registered = buffers.pooled();
                let listener = Listener::bind_each(SocketAddr::from(([127, 0, 0, 1], 0)), 1, 8)
                    .expect("a port")
                    .remove(0);
                let address = listener.local().expect("an address");
                ring.run(async move {
                    let mut client = TcpStream::connect(address).expect("a listener");
                    let stream = Stream::new(
                        listener.open().expect("a listener").accept().await.expect("a connection"),
                    );
                    client.write_all(b"bytes").expect("a write");
                    assert_eq!(stream.read(&buffers).await.expect("a read").bytes(), b"bytes");
                });
                Ok(registered)
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
}

#[test]
fn buffers_take_no_locked_memory() {
    for _ in 0..5 {
        // At once after the last one has gone: its memory may still be charged.
        in_a_process("under_8_mib");
    }
    in_a_process("under_128_kib");
}

#[test]
#[ignore = "run by buffers_take_no_locked_memory"]
fn under_8_mib() {
    if !becomes_a_user_of_its_own(8 << 20) {
        return;
    }
    assert_eq!(rings_that_work(4).expect("room for rings"), [256; 4]);
}

#[test]
#[ignore = "run by buffers_take_no_locked_memory"]
fn under_128_kib() {
    if !becomes_a_user_of_its_own(128 << 10) {
        return;
    }
    assert_eq!(rings_that_work(2).expect("room for small rings"), [256; 2]);
}

/// Twenty servers of four rings with the limit that distributions give a user: the first do not take it all.
#[test]
fn many_servers_of_one_user_have_rings() {
    in_a_process("eighty_rings");
}

#[test]
#[ignore = "run by many_servers_of_one_user_have_rings"]
fn eighty_rings() {
    if !becomes_a_user_of_its_own(8 << 20) {
        return;
    }
    let support = uring::probe().expect("rings");
    let options = Options { rings: 4, buffer_bytes: BUFFER_BYTES, buffers_max: 128, read_bytes_max: 0 };
    let rings: Vec<_> = (0..80).map(|_| Ring::build(support, &options).expect("room for a ring")).collect();
    assert!(rings.iter().all(|ring| ring.buffers().pooled() == 128));
}

#[test]
fn no_memory_at_all_is_named_as_the_cause() {
    let printed = in_a_process("under_0");
    assert!(printed.contains("limit on locked memory (0 KiB)"), "{printed}");
    assert!(printed.contains("--ulimit memlock"), "{printed}");
}

#[test]
#[ignore = "run by no_memory_at_all_is_named_as_the_cause"]
fn under_0() {
    let _ = becomes_a_user_of_its_own(0);
    println!("{}", rings_that_work(2).expect_err("no room"));
}

#[test]
fn out_of_descriptors_a_client_is_refused_in_words_and_later_ones_are_served() {
    in_a_process("out_of_descriptors");
    in_a_process("out_of_descriptors_on_epoll");
}

#[test]
#[ignore = "run by out_of_descriptors_a_client_is_refused_in_words_and_later_ones_are_served"]
fn out_of_descriptors() {
    refuse_and_go_on(uring::probe().expect("tests need io_uring"));
}

#[test]
#[ignore = "run by out_of_descriptors_a_client_is_refused_in_words_and_later_ones_are_served"]
fn out_of_descriptors_on_epoll() {
    refuse_and_go_on(uring::Support::epoll());
}

fn refuse_and_go_on(support: uring::Support) {
    let ring =
        Ring::build(support, &Options { rings: 1, buffer_bytes: 4096, buffers_max: 1, read_bytes_max: 0 })
            .expect("a ring");
    let listener =
        Listener::bind_each(SocketAddr::from(([127, 0, 0, 1], 0)), 1, 8).expect("a port").remove(0);
    let address = listener.local().expect("an address");
    ring.run(async move {
        let accepts = Rc::new(listener.open().expect("a listener"));
        let mut hungry = TcpStream::connect(address).expect("a listener");
        hungry.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        // All descriptors are taken, to the limit.
        let (soft, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(256), hard).expect("a lower limit");
        let mut taken: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        let error = accepts.accept().await.expect_err("no descriptors");
        assert!(uring::is_exhaustion(&error), "{error}");
        // A naive server would spin here: the same error comes back at once.
        assert!(uring::is_exhaustion(&accepts.accept().await.expect_err("still none")));
        assert!(accepts.refuse_one(b"no room\r\n"));
        let mut words = String::new();
        hungry.read_to_string(&mut words).expect("words, then the end");
        assert_eq!(words, "no room\r\n");
        assert!(!accepts.refuse_one(b"no room\r\n"), "nobody is waiting");
        {
            // With nobody there it waits.
            let mut accepting = pin!(accepts.accept());
            let mut context = Context::from_waker(Waker::noop());
            assert!(accepting.as_mut().poll(&mut context).is_pending());
        }
        taken.truncate(taken.len() - 3);
        let client = TcpStream::connect(address).expect("a listener");
        accepts.accept().await.expect("descriptors are back");
        drop(client);
    });
}

#[test]
fn a_start_without_descriptors_says_so() {
    let printed = in_a_process("start_without_descriptors");
    assert!(printed.contains("ulimit -n"), "{printed}");
}

#[test]
#[ignore = "run by a_start_without_descriptors_says_so"]
fn start_without_descriptors() {
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).expect("a lower limit");
    let _taken: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    println!("{}", uring::probe().expect_err("no descriptors"));
}
