//! Memory and address space that are short: widths of `-m`, full servers with `-M`, limits of the system.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::{Client, Dialect, Server, TempDir, dialect, program, wait_until};

/// The program under test, by a shell that allows `kilobytes` of address space.
fn in_address_space(kilobytes: u32, dir: &TempDir) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {kilobytes}; exec \"$0\" \"$@\"")]).arg(program());
    if nix::unistd::geteuid().is_root() {
        command.args(["-u", "root"]);
    }
    let log = fs::File::create(dir.path().join("stderr")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command
}

fn set(client: &mut Client, key: &str, value: &str) -> String {
    client.ask(&format!("set {key} 0 0 {}\r\n{value}", value.len()))
}

/// Room for a large value was free, but not in one piece: the ring looked at it again and again, for ever.
#[test]
fn large_values_are_stored_for_ever_in_little_address_space() {
    let mut random = fastrand::Rng::with_seed(5);
    let value = "x".repeat(1 << 20);
    for evicts in [true, false] {
        let dir = TempDir::new();
        let command = in_address_space(900_000, &dir);
        let flags: &[&str] = if evicts { &["-m", "256", "-t", "1"] } else { &["-m", "256", "-t", "1", "-M"] };
        let server = Server::start_command(command, flags, dir);
        let mut client = server.connect();
        let mut stored = 0;
        for number in 0..1_500 {
            let told = set(&mut client, &format!("key-{number}"), &value[..random.usize(70_000..1_048_000)]);
            stored += usize::from(told == "STORED");
            assert!(told == "STORED" || !evicts, "key-{number}: {told}");
        }
        assert!(stored > 400, "{stored} values");
        assert!(server.count("curr_items") > 350, "{} values are held", server.count("curr_items"));
    }
}

/// The least address space was rounded up after it had been compared, so that the start tried it for ever.
#[test]
fn a_start_without_address_space_says_so_and_ends() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for megabytes in ["1023", "1024", "4000"] {
        let dir = TempDir::new();
        let mut child = in_address_space(900_000, &dir).args(["-p", "-1", "-m", megabytes]).spawn().unwrap();
        wait_until("the start fails", || child.try_wait().unwrap().is_some());
        let said = fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert!(said.contains("failed to reserve address space"), "-m {megabytes}: {said}");
        assert!(!child.wait().unwrap().success());
    }
}

/// Above -m 32768 large values were never freed: 300 MB more for each 1,000 overwrites of one of 300 KB, and with a lowered
/// limit all further ones were refused.
#[test]
fn overwritten_large_values_are_freed_with_more_than_32_gigabytes() {
    let server = Server::start(&["-m", "33000", "-t", "1"]);
    let mut client = server.connect();
    let value = "x".repeat(300_000);
    let before = server.resident_bytes();
    for number in 0..1_000 {
        assert_eq!(set(&mut client, "key", &value), "STORED", "{number}");
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes more");
    assert_eq!(client.ask("cache_memlimit 512"), "OK");
    for number in 0..2_000 {
        assert_eq!(set(&mut client, "key", &value), "STORED", "{number}, with 512 MB");
    }
}

/// A full server with -M refused overwrites of the same size, and each refusal removed the old value; new values of 15,000
/// bytes made it copy full segments to and fro until the watchdog ended it.
#[test]
fn a_full_server_without_eviction_takes_overwrites_and_refuses_growth() {
    let server = Server::start(&["-m", "64", "-M", "-t", "2"]);
    let mut client = server.connect();
    let (old, new) = ("o".repeat(15_000), "n".repeat(15_000));
    let mut count = 0;
    while set(&mut client, &format!("key-{count}"), &old) == "STORED" {
        count += 1;
    }
    for number in 0..200 {
        let refusal = set(&mut client, &format!("more-{number}"), &old);
        assert_eq!(refusal, "SERVER_ERROR out of memory storing object");
    }
    let mut random = fastrand::Rng::with_seed(1);
    for number in 0..5_000 {
        let key = random.usize(..count);
        assert_eq!(set(&mut client, &format!("key-{key}"), &new), "STORED", "overwrite {number}");
    }
    for key in 0..count {
        let found = client.get(&format!("key-{key}"));
        assert!(found.is_some_and(|value| value == old || value == new), "key-{key}");
    }
}

/// After the limit of a full server with -M had been lowered, no write was accepted, whatever was deleted.
#[test]
fn a_server_without_eviction_takes_what_fits_under_a_lowered_limit() {
    let server = Server::start(&["-m", "64", "-M", "-t", "2"]);
    let mut client = server.connect();
    let value = "x".repeat(10_000);
    let mut count = 0;
    while set(&mut client, &format!("key-{count}"), &value) == "STORED" {
        count += 1;
    }
    assert_eq!(client.ask("cache_memlimit 32"), "OK");
    for key in (0..count).filter(|key| key % 4 != 0) {
        assert_eq!(client.ask(&format!("delete key-{key}")), "DELETED");
    }
    for number in 0..489 {
        assert_eq!(set(&mut client, &format!("new-{number}"), &value), "STORED", "{number}");
    }
}

/// When all of a full server had been read, the next set copied nearly all of it before anything was gained: 0.4 s at -m 1024
/// with one ring, in which nobody was served, and a second and more with four, after which it was refused.
#[test]
fn a_set_after_all_has_been_read_moves_little() {
    const SETS: u64 = 300;
    for threads in ["1", "4"] {
        let server = Server::start_serving(threads, &["-m", "64"]);
        let mut client = server.connect();
        let value = "x".repeat(10_000);
        let mut count = 0;
        while server.count("evictions") == 0 {
            for _ in 0..500 {
                assert_eq!(set(&mut client, &format!("key-{count}"), &value), "STORED");
                count += 1;
            }
        }
        for key in 0..count {
            client.get(&format!("key-{key}"));
        }
        let moves = || server.count("moves_to_warm") + server.count("moves_within_lru");
        let before = moves();
        for key in 0..SETS {
            assert_eq!(set(&mut client, &format!("new-{key}"), &value), "STORED", "-t {threads}");
        }
        let moved = moves() - before;
        assert!(moved <= 10 * SETS + 300, "{moved} moves for {SETS} sets, -t {threads}");
    }
}

/// The C library kept the memory of index tables that had been emptied: 100 MB were resident where 35 are promised.
#[test]
fn a_lowered_limit_gives_the_heap_back() {
    const BATCH: usize = 1_000;
    if dialect() == Dialect::Memcached || cfg!(not(target_env = "gnu")) {
        return;
    }
    let server = Server::start(&["-t", "2", "-m", "128", "-U", "0"]);
    let mut client = server.connect();
    for batch in 0..1_000 {
        let sets: String =
            (0..BATCH).map(|n| format!("set key-{} 0 0 1 noreply\r\nv\r\n", batch * BATCH + n)).collect();
        client.send(sets.as_bytes());
        assert_eq!(client.ask("mn"), "MN");
    }
    assert_eq!(client.ask("cache_memlimit 8"), "OK");
    wait_until("the process is as small as promised", || {
        let promised: usize = client.stats("stats memory")["promised_bytes"].parse().unwrap();
        server.resident_bytes() < promised
    });
}
