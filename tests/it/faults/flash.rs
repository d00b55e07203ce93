//! A flash tier whose device fails, lies, or is slow: values are right or missing, and only who asked for one waits.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::held::small_reader;
use super::injector::{ALWAYS, Fate, FaultInjector, Operation};
use super::kernel::{Refused, ends_well, is_calm, refused, start_under};
use crate::harness::{Client, Dialect, Server, TempDir, command, dialect, program, wait_until};

pub(super) const READ: Operation = Operation::read_file();

/// More than fits in memory, and of several pages each.
pub(super) const KEYS: usize = 2500;
pub(super) const VALUE_BYTES: usize = 9000;

/// A server of which most values are on flash.
pub(super) struct Tiered {
    pub(super) server: Server,
    file: PathBuf,
    _dir: TempDir,
}

impl Tiered {
    pub(super) fn start(engine: &str) -> Self {
        Self::start_under(&[], &["--io-engine", engine])
    }

    pub(super) fn start_under(refused: &[Refused], flags: &[&str]) -> Self {
        let dir = TempDir::new();
        let file = dir.path().join("flash");
        let tier =
            format!("ext_path={}:64m,ext_page_size=2,ext_wbuf_size=2,ext_recache_rate=0", file.display());
        let flags = [&["-t", "1", "-m", "8", "-U", "0", "-o", &tier], flags].concat();
        let server = start_under(refused, &flags);
        let mut client = server.connect();
        fill(&mut client);
        Self { server, file, _dir: dir }
    }

    fn overwrite(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.file).unwrap()
    }
}

fn fill(client: &mut Client) {
    for number in 0..KEYS {
        client.set(&format!("key-{number}"), &value(number));
    }
}

pub(super) fn value(number: usize) -> String {
    format!("{number:09},").repeat(VALUE_BYTES / 10)
}

/// How many keys have their values; those of the others are missing.
pub(super) fn right(client: &mut Client) -> usize {
    (0..KEYS)
        .filter(|&number| match client.get(&format!("key-{number}")) {
            Some(found) => {
                assert!(found == value(number), "key-{number}");
                true
            }
            None => false,
        })
        .count()
}

/// A key whose value is on flash.
fn on_flash(client: &mut Client) -> String {
    let reads = client.count("get_extstore");
    for number in 0..KEYS {
        let key = format!("key-{number}");
        if client.get(&key).is_some() && client.count("get_extstore") > reads {
            return key;
        }
    }
    panic!("all values are in memory");
}

pub(super) fn lines(server: &Server, words: &str) -> usize {
    server.stderr().lines().filter(|line| line.contains(words)).count()
}

pub(super) fn ends_unharmed(tiered: Tiered) {
    let mut client = tiered.server.connect();
    client.set("after", "value");
    assert_eq!(client.get("after").as_deref(), Some("value"));
    drop(client);
    is_calm(&tiered.server);
    ends_well(tiered.server);
}

pub(super) fn is_skipped() -> bool {
    dialect() == Dialect::Memcached
}

#[test]
fn values_on_flash_come_back_right() {
    if is_skipped() {
        return;
    }
    for flags in [["--io-engine", "uring"], ["--io-engine", "epoll"]] {
        // Under the filter neither files nor threads can be had that are not there already.
        let tiered = Tiered::start_under(&[], &[&flags[..], &["-o", "drop_privileges"]].concat());
        let mut client = tiered.server.connect();
        assert!(right(&mut client) > KEYS * 9 / 10);
        assert!(client.count("get_extstore") > 1000);
        assert_eq!(client.count("miss_from_extstore"), 0);
        assert_eq!(tiered.server.stderr(), "");
        ends_unharmed(tiered);
    }
}

/// The file is cut short, overwritten, or changed a bit here and there: what was there is missing.
#[test]
fn what_happens_to_the_file_costs_what_was_in_it() {
    if is_skipped() {
        return;
    }
    type Fault = fn(&File);
    let cut: Fault = |file| file.set_len(0).unwrap();
    let overwrite: Fault = |file| file.write_all_at(&vec![0xaa; 64 << 20], 0).unwrap();
    let zero: Fault = |file| file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
    // Good records, in the wrong places.
    let swap: Fault = |file| {
        let mut chunks = [vec![0; 2 << 20], vec![0; 2 << 20]];
        for pair in 0..8 {
            let offsets = [(pair * 4) << 20, (pair * 4 + 2) << 20];
            chunks.iter_mut().zip(offsets).for_each(|(chunk, at)| file.read_exact_at(chunk, at).unwrap());
            chunks.iter().rev().zip(offsets).for_each(|(chunk, at)| file.write_all_at(chunk, at).unwrap());
        }
    };
    let flip: Fault = |file| (0..16_384).for_each(|page| file.write_all_at(b"x", page * 4096 + 77).unwrap());
    for engine in ["uring", "epoll"] {
        for fault in [cut, overwrite, zero, swap, flip] {
            let tiered = Tiered::start(engine);
            fault(&tiered.overwrite());
            let mut client = tiered.server.connect();
            let before = right(&mut client);
            let lost = client.count("miss_from_extstore") as usize;
            assert!(lost > 500, "{lost} misses");
            assert!(before + lost <= KEYS);
            // Of many: once a minute.
            assert_eq!(lines(&tiered.server, "can't read from"), 1, "{}", tiered.server.stderr());
            assert_eq!(right(&mut client), before, "what is missing stays so, the rest stays as well");
            ends_unharmed(tiered);
        }
    }
}

/// Reads that are short, interrupted or refused for the moment are gone on with.
#[test]
fn reads_that_do_little_are_gone_on_with() {
    if is_skipped() {
        return;
    }
    let tiered = Tiered::start("uring");
    let double = FaultInjector::of(&tiered.server);
    let mut client = tiered.server.connect();
    let key = on_flash(&mut client);
    let number = key.strip_prefix("key-").unwrap().parse().unwrap();
    for (fate, times) in
        [(Fate::IsCut(4096), 100), (Fate::Fails(libc::EINTR), 10), (Fate::Fails(libc::EAGAIN), 10)]
    {
        let before = double.met();
        double.order(&[READ], None, fate, times);
        while double.met() < before + times {
            assert!(client.get(&key) == Some(value(number)), "{fate:?}");
        }
    }
    assert_eq!(client.count("miss_from_extstore"), 0);
    assert_eq!(tiered.server.stderr(), "");
    drop(double);
    ends_unharmed(tiered);
}

/// A device that fails is a miss for each that asks, and one line.
#[test]
fn a_device_that_fails_is_a_miss() {
    if is_skipped() {
        return;
    }
    let tiered = Tiered::start("uring");
    let double = FaultInjector::of(&tiered.server);
    let mut client = tiered.server.connect();
    let key = on_flash(&mut client);
    double.order(&[READ], None, Fate::Fails(libc::EIO), ALWAYS);
    assert_eq!(client.get(&key), None);
    let before = right(&mut client);
    assert!(client.count("miss_from_extstore") > 100);
    assert_eq!(lines(&tiered.server, "Input/output error"), 1, "{}", tiered.server.stderr());
    double.lift();
    assert_eq!(right(&mut client), before);
    drop(double);
    ends_unharmed(tiered);
}

/// A device that takes its time: who asked waits, others do not, and nothing holds up the end.
#[test]
fn a_slow_device_delays_who_asked() {
    if is_skipped() {
        return;
    }
    let mut tiered = Tiered::start("uring");
    let double = FaultInjector::of(&tiered.server);
    let mut client = tiered.server.connect();
    let key = on_flash(&mut client);
    let slow = Duration::from_secs(2);
    double.order(&[READ], None, Fate::IsLate(slow), 1);
    let since = Instant::now();
    let mut asks = tiered.server.connect();
    asks.send(format!("get {key}\r\n").as_bytes());
    wait_until("it reads", || double.met() == 1);
    client.set("other", "value");
    for _ in 0..100 {
        assert_eq!(client.get("other").as_deref(), Some("value"));
    }
    assert!(since.elapsed() < slow, "others were served meanwhile");
    let number = key.strip_prefix("key-").unwrap().parse().unwrap();
    assert!(asks.line().starts_with(&format!("VALUE {key} ")));
    assert_eq!(asks.line(), value(number));
    assert!(since.elapsed() >= slow);
    double.order(&[READ], None, Fate::IsLate(Duration::from_mins(1)), ALWAYS);
    asks.send(format!("get {key}\r\n").as_bytes());
    wait_until("it reads again", || double.met() > 1);
    // The ring cannot be followed to its end.
    double.lift();
    drop(double);
    let since = Instant::now();
    tiered.server.signal(Signal::SIGTERM);
    assert!(tiered.server.wait().success(), "{}", tiered.server.stderr());
    assert!(since.elapsed() < Duration::from_secs(10));
}

/// However long a device takes for a read, a multiget waits for it once: all of its reads have begun before the first ends. Those
/// of short values once began 15 at a time, since no more fit into what is sent at once.
#[test]
fn the_reads_of_a_multiget_are_in_flight_together() {
    const READS: usize = 100;
    if is_skipped() {
        return;
    }
    let short = |number: usize| value(number)[..4000].to_owned();
    let tiered = Tiered::start("uring");
    let mut client = tiered.server.connect();
    for number in 0..READS {
        client.set(&format!("short-{number}"), &short(number));
    }
    // More than is kept in memory until it is written.
    for number in 0..2500 {
        client.set(&format!("newer-{number}"), &short(number));
    }
    wait_until("all has been written that is to be", || client.count("extstore_io_queue") == 0);
    let keys: Vec<_> = (0..READS).map(|number| format!("short-{number}")).collect();
    let double = FaultInjector::of(&tiered.server);
    double.order(&[READ], None, Fate::IsLate(Duration::from_millis(100)), READS as u32);
    client.send(format!("get {}\r\n", keys.join(" ")).as_bytes());
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(client.line(), format!("VALUE {key} 0 4000"));
        assert_eq!(client.line(), short(number));
    }
    assert_eq!(client.line(), "END");
    assert_eq!((double.met(), double.most_late()), (READS as u32, READS as u32));
    drop(double);
    ends_unharmed(tiered);
}

/// What cannot be written is evicted, as it is without a tier; after some failures in a row no more is tried.
#[test]
fn a_device_that_takes_nothing_is_done_without() {
    if is_skipped() {
        return;
    }
    let refused = [refused(libc::SYS_pwrite64, libc::ENOSPC)];
    let tiered = Tiered::start_under(&refused, &["--io-engine", "epoll"]);
    let mut client = tiered.server.connect();
    fill(&mut client);
    let left = right(&mut client);
    assert!((10..KEYS / 2).contains(&left), "{left} values");
    let said = tiered.server.stderr();
    assert_eq!(lines(&tiered.server, "can't write to"), 1, "{said}");
    assert_eq!(lines(&tiered.server, "nothing is moved there any more"), 1, "{said}");
    ends_unharmed(tiered);
}

/// What is on flash is there again with `-e`; also what was still in memory when the server was told to end.
#[test]
fn values_on_flash_outlive_a_clean_stop() {
    if is_skipped() {
        return;
    }
    for engine in ["uring", "epoll"] {
        let dir = TempDir::new();
        let memory_file = dir.path().join("memory").display().to_string();
        let tier =
            format!("ext_path={}:64m,ext_page_size=2,ext_wbuf_size=2", dir.path().join("flash").display());
        let flags = ["-t", "2", "-m", "8", "-U", "0", "-e", &memory_file, "--io-engine", engine, "-o", &tier];
        let server = Server::start(&flags);
        let mut client = server.connect();
        fill(&mut client);
        let before = right(&mut client);
        assert!(before > KEYS / 2, "{before}");
        ends_well(server);
        let server = Server::start(&flags);
        let mut client = server.connect();
        assert_eq!(right(&mut client), before);
        assert!(client.count("get_extstore") > 1000);
        assert_eq!(client.count("miss_from_extstore"), 0);
        ends_well(server);
    }
}

/// Every value was a miss, one by one, and nothing said why.
#[test]
fn a_start_says_what_is_lost_with_the_files() {
    if is_skipped() {
        return;
    }
    let dir = TempDir::new();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let tier = |paths: &[&str], page: u32| {
        let paths: Vec<_> = paths.iter().map(|name| format!("ext_path={}:32m", path(name))).collect();
        format!("{},ext_page_size={page},ext_wbuf_size=2", paths.join(","))
    };
    let both = tier(&["one", "two"], 2);
    let one = "file 1 of ext_path is not the one that was written to";
    let sizes = "sizes or number of the files, ext_page_size or ext_wbuf_size are not what they were";
    let lost = "file 2 of ext_path is not the one that was written to";
    let cases = [
        (both.clone(), "", None),
        (tier(&["two", "one"], 2), "", Some(one)),
        (both.clone(), "two", Some(lost)),
        (tier(&["one"], 2), "", Some(sizes)),
        (tier(&["one", "two"], 4), "", Some(sizes)),
        ("no_hashexpand".to_owned(), "", Some("there is no ext_path")),
    ];
    for (second, removed, why) in cases {
        let memory_file = path("memory");
        let start =
            |tier: &str| Server::start(&["-t", "2", "-m", "8", "-U", "0", "-e", &memory_file, "-o", tier]);
        let server = start(&both);
        let mut client = server.connect();
        fill(&mut client);
        let items = client.count("curr_items");
        ends_well(server);
        if !removed.is_empty() {
            fs::remove_file(path(removed)).unwrap();
        }
        let server = start(&second);
        let mut client = server.connect();
        let left = client.count("curr_items");
        let said = server.stderr();
        if let Some(why) = why {
            let line =
                format!("[restart] {} items are lost, whose values were to be on flash: {why}", items - left);
            assert!(said.lines().any(|other| other == line), "{line} in {said}");
            assert!(left < items);
        } else {
            assert!(left == items && !said.contains("lost"), "{left} of {items}, {said}");
        }
        right(&mut client);
        ends_well(server);
    }
}

/// Two servers would take each other's values for lost.
#[test]
fn a_file_has_one_server() {
    if is_skipped() {
        return;
    }
    let refusal = |flags: &[&str]| {
        let dir = TempDir::new();
        let mut second = command(program(), &dir);
        let status = second.args(["-p", "0", "-U", "0"]).args(flags).status().unwrap();
        (status.code().unwrap(), fs::read_to_string(dir.path().join("stderr")).unwrap())
    };
    let tier = |file: &Path| format!("ext_path={}:64m,ext_page_size=2,ext_wbuf_size=2", file.display());
    let locked = "Failed to initialize external storage: failed to open file\nextstore open: Resource temporarily unavailable\n";
    let tiered = Tiered::start("uring");
    assert_eq!(refusal(&["-o", &tier(&tiered.file)]), (1, locked.to_owned()));
    let name = tiered.file.to_str().unwrap();
    let held = format!("failed to lock the memory file {name}: another server uses it\n");
    assert_eq!(refusal(&["-e", name]), (71, held));
    ends_unharmed(tiered);

    let dir = TempDir::new();
    let file = dir.path().join("memory");
    let name = file.to_str().unwrap();
    assert_eq!(refusal(&["-e", name, "-o", &tier(&file)]), (1, locked.to_owned()), "one server, twice");
    let server = Server::start(&["-m", "8", "-U", "0", "-e", name]);
    server.connect().set("key", "value");
    assert_eq!(refusal(&["-o", &tier(&file)]), (1, locked.to_owned()));
    assert_eq!(server.connect().get("key").as_deref(), Some("value"));
}

/// What readers who do not read have had read is bounded; others wait a little, and then it is a miss, until those readers are
/// closed.
#[test]
fn readers_that_do_not_read_keep_little_and_not_for_long() {
    const READERS: usize = 100;
    const LARGE: usize = 250;
    if is_skipped() {
        return;
    }
    let dir = TempDir::new();
    let tier =
        format!("ext_path={}:256m,ext_page_size=2,ext_wbuf_size=2", dir.path().join("flash").display());
    let server = Server::start(&["-t", "1", "-m", "32", "-U", "0", "-o", &tier]);
    let mut client = server.connect();
    let large = |number: usize| value(number).repeat(50);
    for number in 0..LARGE {
        client.set(&format!("large-{number}"), &large(number));
    }
    let is_on_flash = |client: &mut Client, number: usize| {
        let reads = client.count("get_extstore");
        client.get(&format!("large-{number}")).is_some() && client.count("get_extstore") > reads
    };
    let number = (0..LARGE).find(|&number| is_on_flash(&mut client, number)).unwrap();
    let before = server.resident_bytes();
    let mut readers: Vec<_> = (0..READERS).map(|_| small_reader(&server)).collect();
    for (number, reader) in readers.iter_mut().enumerate() {
        let get = format!("get large-{number} large-{} large-{}\r\n", number + 1, number + 2);
        // More than the kernel takes off their hands.
        reader.send(get.repeat(4).as_bytes());
    }
    wait_until("there is no memory", || client.count("get_oom_extstore") > 0);
    let grown = server.resident_bytes().saturating_sub(before);
    // It would be 135 MB.
    assert!(grown < 40 << 20, "{grown} bytes");
    wait_until("there is memory again", || {
        let found = client.get(&format!("large-{number}"));
        assert!(found.as_ref().is_none_or(|found| *found == large(number)));
        found.is_some()
    });
    assert_eq!(client.count("miss_from_extstore"), 0);
    drop(readers);
    ends_well(server);
}
