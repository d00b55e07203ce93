//! Which rings serve connections: as many as there are cores, unless --serving-rings says otherwise.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::harness::debugger::ring_thread;
use crate::harness::{Dialect, Server, dialect};

/// Requests of each connection.
const REQUESTS: u64 = 50;

/// How often the thread has waited.
fn waits(server: &Server, thread: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/task/{thread}/status", server.pid())).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("a number")
}

/// Those of the `rings` of `server` that answer the requests of 64 new connections.
fn serving(server: &Server, rings: usize) -> Vec<usize> {
    let waits = || (0..rings).map(|ring| waits(server, ring_thread(server, ring)));
    let before: Vec<u64> = waits().collect();
    let mut clients: Vec<_> = (0..64).map(|_| server.connect()).collect();
    for _ in 0..REQUESTS {
        for client in &mut clients {
            assert_eq!(client.ask("mn"), "MN");
        }
    }
    // A ring waits after each of these requests, since they come one by one. A ring without connections waits after a heartbeat,
    // one a second.
    let served = waits().zip(before).map(|(after, before)| after > before + REQUESTS);
    served.enumerate().filter_map(|(ring, has_served)| has_served.then_some(ring)).collect()
}

/// With 16 rings on two cores a request cost twice as much as with two: switches between threads, and little to do at each.
#[test]
fn as_many_rings_serve_as_asked() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for engine in ["uring", "epoll"] {
        let start = |flags: &[&str]| Server::start(&[flags, &["--io-engine", engine]].concat());
        assert_eq!(serving(&start(&["-t", "8", "--serving-rings=2"]), 8), [0, 4], "{engine}");
        assert_eq!(serving(&start(&["-t", "4", "--serving-rings=4"]), 4), [0, 1, 2, 3], "{engine}");
    }
}

/// The cores are counted again for new connections.
#[test]
fn as_many_rings_serve_as_there_are_cores() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let server = Server::start(&["-t", "3"]);
    let threads: Vec<Pid> = (0..3).map(|ring| ring_thread(&server, ring)).collect();
    let all = sched_getaffinity(threads[0]).unwrap();
    let cores: Vec<usize> = (0..CpuSet::count()).filter(|&core| all.is_set(core) == Ok(true)).collect();
    let limit = |cores: &[usize]| {
        let mut allowed = CpuSet::new();
        for &core in cores {
            allowed.set(core).unwrap();
        }
        for &thread in &threads {
            sched_setaffinity(thread, &allowed).unwrap();
        }
        // Until the next heartbeat connections are handed over.
        for _ in 0..8 {
            assert_eq!(server.connect().ask("mn"), "MN");
        }
    };
    limit(&cores[..1]);
    assert_eq!(serving(&server, 3), [0]);
    limit(&cores);
    assert_eq!(serving(&server, 3).len(), cores.len().min(3));
}
