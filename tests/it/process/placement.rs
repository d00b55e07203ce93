//! Which rings serve connections: as many as there are cores, unless --serving-rings says otherwise.

use std::collections::BTreeMap;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::harness::{Dialect, Server, dialect};

/// Requests of each connection.
const REQUESTS: u64 = 50;

/// The threads `ring-N` of `server`, by N.
fn threads(server: &Server) -> BTreeMap<usize, Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let rings = tasks.filter_map(|task| {
        let path = task.unwrap().path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let ring = name.trim().strip_prefix("ring-")?.parse().ok()?;
        Some((ring, Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?)))
    });
    rings.collect()
}

/// How often the thread has waited.
fn waits(server: &Server, thread: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/task/{thread}/status", server.pid())).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("a number")
}

/// The rings that answer the requests of 64 new connections.
fn serving(server: &Server) -> Vec<usize> {
    let threads = threads(server);
    let before: Vec<u64> = threads.values().map(|&thread| waits(server, thread)).collect();
    let mut clients: Vec<_> = (0..64).map(|_| server.connect()).collect();
    for _ in 0..REQUESTS {
        for client in &mut clients {
            assert_eq!(client.ask("mn"), "MN");
        }
    }
    // A ring waits after each of these requests, since they come one by one. A ring without connections waits after a heartbeat,
    // one a second.
    let served = threads
        .iter()
        .zip(before)
        .filter(|&((_, &thread), before)| waits(server, thread) > before + REQUESTS);
    served.map(|((&ring, _), _)| ring).collect()
}

/// With 16 rings on two cores a request cost twice as much as with two: switches between threads, and little to do at each.
#[test]
fn as_many_rings_serve_as_asked() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for engine in ["uring", "epoll"] {
        let start = |flags: &[&str]| Server::start(&[flags, &["--io-engine", engine]].concat());
        assert_eq!(serving(&start(&["-t", "8", "--serving-rings=2"])), [0, 4], "{engine}");
        assert_eq!(serving(&start(&["-t", "4", "--serving-rings=4"])), [0, 1, 2, 3], "{engine}");
    }
}

/// The cores are counted again for new connections.
#[test]
fn as_many_rings_serve_as_there_are_cores() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let server = Server::start(&["-t", "3"]);
    let threads = threads(&server);
    let all = sched_getaffinity(threads[&0]).unwrap();
    let cores: Vec<usize> = (0..CpuSet::count()).filter(|&core| all.is_set(core) == Ok(true)).collect();
    let limit = |cores: &[usize]| {
        let mut allowed = CpuSet::new();
        for &core in cores {
            allowed.set(core).unwrap();
        }
        for &thread in threads.values() {
            sched_setaffinity(thread, &allowed).unwrap();
        }
        // Rings count before they wait for the next connection.
        for _ in 0..8 {
            assert_eq!(server.connect().ask("mn"), "MN");
        }
    };
    limit(&cores[..1]);
    assert_eq!(serving(&server), [0]);
    limit(&cores);
    assert_eq!(serving(&server).len(), cores.len().min(3));
}
