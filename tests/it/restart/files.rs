//! Files that cannot be used, or must not be: a clear line and an empty start, or a clear refusal that leaves them alone.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{self, Signal};
use nix::unistd::{Gid, Pid, Uid};

use crate::harness::{Server, TempDir, command, program, wait_until};

use super::memory::{Place, end, refused, refused_by, restored, told};

/// Status 71 of sysexits(3).
const OS_ERROR: Option<i32> = Some(71);

/// A server that holds one item, and is killed.
fn leave_an_item(place: &Place) {
    let server = place.start(&[]);
    server.connect().set("a", "1");
    end(server, Signal::SIGKILL);
}

/// The next start is an empty one for a reason that contains `why`, and the one after it finds what was stored then.
fn starts_empty(place: &Place, flags: &[&str], why: &str) {
    let server = place.start(flags);
    let line = told(&server);
    assert!(line.contains(why) && line.ends_with(", starting with a clean cache"), "{line}");
    assert_eq!(server.connect().get("a"), None, "{why}");
    assert_eq!(server.count("curr_items"), 0);
    server.connect().set("b", "2");
    end(server, Signal::SIGKILL);
    let server = place.start(flags);
    assert_eq!(server.connect().get("b").as_deref(), Some("2"), "{why}");
    end(server, Signal::SIGTERM);
}

#[test]
fn another_memory_or_item_size_starts_empty() {
    let Some(place) = Place::new() else { return };
    leave_an_item(&place);
    starts_empty(&place, &["-m", "12"], "-m was 16 MB, and is 12");
    leave_an_item(&place);
    starts_empty(&place, &["-I", "2m"], "-I was 1048576 bytes, and is 2097152");
    let server = place.start(&[]);
    assert_eq!(restored(&server), (0, "rejected".to_owned()));
}

#[test]
fn a_damaged_file_starts_empty() {
    let Some(place) = Place::new() else { return };
    leave_an_item(&place);
    let length = fs::metadata(place.path()).unwrap().len();
    let open = || OpenOptions::new().write(true).open(place.path()).unwrap();
    open().set_len(length / 2).unwrap();
    starts_empty(&place, &[], "bytes long");
    leave_an_item(&place);
    open().set_len(length + 4096).unwrap();
    starts_empty(&place, &[], "bytes long");
    // The words of the superblock: version, -m, -I, bytes, widths, checksum.
    for word in 1..=6 {
        leave_an_item(&place);
        place.flip(word * 8);
        let server = place.start(&[]);
        let line = told(&server);
        assert!(line.contains(" is not used: "), "{word}: {line}");
        assert_eq!(server.connect().get("a"), None);
        end(server, Signal::SIGTERM);
    }
    File::create(place.path()).unwrap();
    let server = place.start(&[]);
    assert!(told(&server).contains(" is new"), "an empty file is a new one");
}

/// Nobody's data is destroyed for a mistake in a command line.
#[test]
fn what_is_not_ours_is_left_alone() {
    let Some(place) = Place::new() else { return };
    for content in [&b"x"[..], &[b'x'; 10_000], b"memcached", &[0xff; 4096]] {
        fs::write(place.path(), content).unwrap();
        let (status, line) = place.refused(&[]);
        assert_eq!(status, OS_ERROR, "{line}");
        assert!(line.contains("is not a memory file of memcrsd, and not empty: left as it is"), "{line}");
        assert_eq!(fs::read(place.path()).unwrap(), content);
    }
    fs::remove_file(place.path()).unwrap();
    // A superblock of which the first bytes are gone: it may be anything.
    leave_an_item(&place);
    place.flip(0);
    assert_eq!(place.refused(&[]).0, OS_ERROR);
}

#[test]
fn what_is_no_file_is_refused() {
    for (path, why) in [
        ("/", "failed to open file for mmap: Is a directory"),
        ("", "failed to open file for mmap: No such file or directory"),
        ("/no/such/place", "failed to open file for mmap: No such file or directory"),
        ("/dev/null", "is not a regular file"),
    ] {
        let (status, line) = refused(&["-e", path]);
        assert_eq!(status, OS_ERROR, "{line}");
        assert!(line.contains(why), "{line}");
    }
}

#[test]
fn a_file_is_one_servers() {
    let Some(place) = Place::new() else { return };
    let server = place.start(&[]);
    server.connect().set("a", "1");
    let line = format!("failed to lock the memory file {}: another server uses it\n", place.path().display());
    assert_eq!(place.refused(&[]), (OS_ERROR, line.clone()));
    // Also to whoever wants a daemon.
    assert_eq!(place.refused(&["-d"]), (OS_ERROR, line));
    assert_eq!(server.connect().get("a").as_deref(), Some("1"));
    end(server, Signal::SIGKILL);
    leave_an_item(&place);
}

/// The lock and the file outlive the fork, and the change to another directory.
#[test]
fn a_daemon_has_its_file() {
    let Some(place) = Place::new() else { return };
    let dir = TempDir::new();
    let pid_file = dir.path().join("pid");
    let flags =
        ["-d", "-p", "-1", "-l", "127.0.0.1", "-m", "16", "-e", "memory", "-P", pid_file.to_str().unwrap()];
    let status = command(program(), &dir).args(flags).current_dir(place.path().parent().unwrap()).status();
    assert!(status.unwrap().success());
    let mut pid = None;
    wait_until("the daemon runs", || {
        pid = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
        pid.is_some()
    });
    let (status, line) = place.refused(&[]);
    signal::kill(Pid::from_raw(pid.unwrap()), Signal::SIGTERM).unwrap();
    assert!(line.contains("another server uses it") && status == OS_ERROR, "{line}");
    wait_until("the daemon ends", || !pid_file.exists());
    // It lets go of the file at the very end.
    wait_until("the file is free", || File::open(place.path()).unwrap().try_lock().is_ok());
    assert_eq!(restored(&place.start(&["-m", "16"])).1, "restored");
}

#[test]
fn the_file_is_of_the_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let Some(place) = Place::new() else { return };
    let nobody = 65534;
    let give =
        |path: &Path| nix::unistd::chown(path, Some(Uid::from_raw(nobody)), Some(Gid::from_raw(nobody)));
    // The server announces its port there.
    let dir = TempDir::new();
    give(dir.path()).unwrap();
    give(place.path().parent().unwrap()).unwrap();
    let path = place.path();
    let flags = ["-m", "16", "-u", "nobody", "-e", path.to_str().unwrap()];
    let server = Server::start_program(program(), &flags, dir);
    let metadata = fs::metadata(place.path()).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o777), (nobody, 0o600));
    end(server, Signal::SIGTERM);
    fs::set_permissions(place.path(), Permissions::from_mode(0o400)).unwrap();
    let (status, line) = place.refused(&["-u", "nobody"]);
    assert_eq!(status, OS_ERROR);
    assert!(line.starts_with("failed to open file for mmap: Permission denied (-e "), "{line}");
}

/// After a reboot only what was stopped cleanly is known to have reached the device.
#[test]
fn after_a_reboot_a_clean_stop_counts_and_a_kill_does_not() {
    // The boot's identity in the superblock.
    const BOOT_ID: u64 = 8 * 8;
    let Some(place) = Place::new() else { return };
    let server = place.start(&[]);
    server.connect().set("a", "1");
    end(server, Signal::SIGTERM);
    place.flip(BOOT_ID);
    let server = place.start(&[]);
    assert_eq!(server.connect().get("a").as_deref(), Some("1"));
    end(server, Signal::SIGKILL);
    place.flip(BOOT_ID);
    starts_empty(&place, &[], "the machine has been started again");
}

/// The command of a server in a mount namespace of its own, with a tmpfs of that size at `place`. Its output goes to `dir`.
fn on_a_small_tmpfs(megabytes: u32, place: &Path, dir: &TempDir) -> Command {
    let script = format!("mount -t tmpfs -o size={megabytes}m none \"$0\" && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(place).arg(program()).args(["-u", "root"]);
    command.stderr(File::create(dir.path().join("stderr")).unwrap());
    command
}

fn may_mount() -> bool {
    let mounted = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).status();
    let may = mounted.is_ok_and(|status| status.success());
    if !may {
        println!("nothing is tested: no tmpfs can be mounted");
    }
    may
}

#[test]
fn a_tmpfs_that_is_too_small_is_told_of() {
    if !may_mount() {
        return;
    }
    let (dir, place) = (TempDir::new(), TempDir::new());
    let path = place.path().join("memory");
    let command = on_a_small_tmpfs(8, place.path(), &dir);
    let (status, line) = refused_by(command, &["-m", "16", "-e", path.to_str().unwrap()], &dir);
    assert_eq!(status, OS_ERROR, "{line}");
    assert!(line.contains("failed to reserve 16 MB for the memory file: "), "{line}");
}

/// No write runs into the end of a file system: what the cache may ever use is reserved when it starts.
#[test]
fn a_tmpfs_with_no_room_to_spare_is_enough() {
    if !may_mount() {
        return;
    }
    let (dir, place) = (TempDir::new(), TempDir::new());
    let path = place.path().join("memory");
    let command = on_a_small_tmpfs(20, place.path(), &dir);
    let server = Server::start_command(command, &["-m", "16", "-t", "2", "-e", path.to_str().unwrap()], dir);
    let mut client = server.connect();
    let mut values = [10, 1_000, 10_000, 100_000, 900_000].map(|len| "v".repeat(len)).into_iter().cycle();
    for number in 0..2_000 {
        let value = values.next().unwrap();
        client.set(&format!("k{number}"), &value);
    }
    assert_eq!(client.ask("cache_memlimit 8"), "OK");
    (0..200).for_each(|number| client.set(&format!("l{}", number % 10), &"v".repeat(500_000)));
    assert_eq!(client.ask("cache_memlimit 16"), "OK");
    (0..200).for_each(|number| client.set(&format!("l{}", number % 10), &"v".repeat(900_000)));
    assert_eq!(client.get("l9").map(|value| value.len()), Some(900_000));
}

/// `ulimit -f` is an error of the start, not a signal.
#[test]
fn a_limit_on_files_is_told_of() {
    let Some(place) = Place::new() else { return };
    let dir = TempDir::new();
    let path = place.path();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 1024 && exec \"$@\"", "sh"]).arg(program());
    if nix::unistd::geteuid().is_root() {
        command.args(["-u", "root"]);
    }
    command.stderr(File::create(dir.path().join("stderr")).unwrap());
    let (status, line) = refused_by(command, &["-m", "16", "-e", path.to_str().unwrap()], &dir);
    assert_eq!(status, OS_ERROR, "{line}");
    assert!(line.contains("memory file") && line.contains("ulimit -f"), "{line}");
}

#[test]
fn the_settings_name_the_file() {
    let Some(place) = Place::new() else { return };
    let server = place.start(&[]);
    let settings = server.connect().stats("stats settings");
    assert_eq!(settings["memory_file"], place.path().to_str().unwrap());
}
