//! A server that is killed again and again, while clients work, loses nothing that it has acknowledged.
//!
//! Each client has keys of its own, so it knows what must be there: what was last acknowledged, or what the operations that
//! the kill has cut off would have made of it. Kills come after a random number of replies, and in the middle of starts.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::random::Random;
use crate::harness::{Server, TempDir, command, program};

use super::memory;
use super::world::{Known, Worker, World};

const CLIENTS: usize = 12;

/// A cache, and how it is used.
struct Plan {
    megabytes: u32,
    keys: usize,
    /// Everything fits, so that nothing may be missing.
    strict: bool,
    /// Ends of the server.
    rounds: usize,
}

fn flags(plan: &Plan, path: &str, random: &mut Random) -> Vec<String> {
    let threads = 1 + random.below(4);
    let replicas = 1 + random.below(threads);
    let mut flags = vec!["-e".to_owned(), path.to_owned(), "-m".to_owned(), plan.megabytes.to_string()];
    flags.extend(["-t".to_owned(), threads.to_string(), format!("--replicas={replicas}")]);
    if plan.strict && random.one_in(2) {
        flags.push("-M".to_owned());
    }
    flags
}

/// Starts the server and kills it before it serves, or soon after.
fn kill_at_start(flags: &[String], random: &mut Random) {
    let dir = TempDir::new();
    let mut command = command(program(), &dir);
    let mut child =
        command.args(["-p", "0", "-l", "127.0.0.1"]).args(flags).stdin(Stdio::null()).spawn().unwrap();
    // A number of turns, not a time: what matters is that the moment differs.
    (0..random.below(20_000)).for_each(|_| thread::yield_now());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The cas unique of a new item must be above all that clients have been told.
fn check_cas(server: &Server, known: &Known) {
    let mut client = server.connect();
    let reply = client.ask("ms probe 1 c\r\nx");
    let cas: u64 = reply.strip_prefix("HD c").unwrap_or_else(|| panic!("{reply}")).parse().unwrap();
    let told = known.cas_max.fetch_max(cas, Ordering::SeqCst);
    assert!(cas > told, "cas {cas} is handed out after {told}");
    assert_eq!(client.ask("delete probe"), "DELETED");
}

/// All keys are as their clients know them; how many are there.
fn verify(server: &Server, workers: &mut [Worker], known: &Known) -> usize {
    let found = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in workers.iter_mut() {
            scope.spawn(|| found.fetch_add(worker.verify(server.port, known), Ordering::Relaxed));
        }
    });
    let found = found.into_inner();
    assert_eq!(server.count("curr_items"), found as u64, "each key is there once, and no other");
    found
}

fn killed_again_and_again(plan: &Plan, seed: u64) {
    let Some(dir) = memory::directory(u64::from(plan.megabytes) * 2) else { return };
    let path = dir.path().join("memory").to_str().unwrap().to_owned();
    let mut random = Random::new(seed);
    let known = Known::default();
    let mut workers: Vec<_> =
        (0..CLIENTS).map(|number| Worker::new(number, plan.keys, random.next(), plan.strict)).collect();
    let (mut expected, mut found, mut with_flushes) = (0, 0, 0);
    let (mut replies, mut refusals) = (0, 0);
    for round in 0..=plan.rounds {
        let flags = flags(plan, &path, &mut random);
        if random.one_in(8) {
            kill_at_start(&flags, &mut random);
        }
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let mut server = Server::start(&flags);
        expected += workers.iter().flat_map(|worker| &worker.keys).filter(|key| key.is_there()).count();
        found += verify(&server, &mut workers, &known);
        check_cas(&server, &known);
        let world = World {
            pid: server.pid(),
            end: if round % 14 == 13 { Signal::SIGTERM } else { Signal::SIGKILL },
            end_after: 1 + (random.below(8000) >> random.below(8)),
            replies: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            flushes: random.one_in(4),
        };
        // All at once: the first of them may end the server before the last would have come.
        let clients: Vec<_> = workers.iter().map(|_| server.connect()).collect();
        thread::scope(|scope| {
            for (worker, client) in workers.iter_mut().zip(clients) {
                scope.spawn(|| worker.work(client, &world, &known));
            }
        });
        server.wait();
        with_flushes += usize::from(world.flushes);
        replies += world.replies.into_inner();
        refusals += world.refusals.into_inner();
    }
    println!(
        "{found} items were there of {expected} at most, over {} starts, {with_flushes} of them with flushes; \
         {refusals} of {replies} requests were refused for lack of memory",
        plan.rounds + 1
    );
    // A ring that gets no core for a second makes others refuse writes. Memory that leaks makes them refuse more and more.
    assert!(refusals * 100 <= replies, "{refusals} of {replies} requests were refused");
    assert!(found >= if plan.strict { expected / 2 } else { expected / 4 });
}

#[test]
fn a_server_that_is_killed_keeps_everything() {
    killed_again_and_again(
        &Plan { megabytes: 16, keys: 24, strict: true, rounds: 50 },
        memcrsd::fuzzing::seed(1),
    );
}

#[test]
fn a_server_that_is_killed_while_it_evicts_keeps_nothing_old() {
    killed_again_and_again(
        &Plan { megabytes: 4, keys: 120, strict: false, rounds: 50 },
        memcrsd::fuzzing::seed(2),
    );
}
