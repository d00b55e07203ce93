//! What a server is started by and in: Debian's wrapper, the image's entry point, an unprivileged user, huge and locked pages.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

use super::{as_root, connect, path, ports, run, text};
use crate::harness::{Dialect, Server, TempDir, dialect, program, wait_until, yardstick};

/// A server whose port file gives its address; killed when dropped.
struct Started {
    child: Child,
    ports: String,
}

impl Started {
    fn new(command: &mut Command, dir: &TempDir) -> Self {
        let ports = path(dir, "ports");
        let stderr = fs::File::create(dir.path().join("said")).unwrap();
        let child = command
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut started = Self { child, ports };
        let said = dir.path().join("said");
        wait_until("the server announces its ports", || {
            if let Some(status) = started.child.try_wait().unwrap() {
                panic!("ended at start: {status}\n{}", fs::read_to_string(&said).unwrap());
            }
            Path::new(&started.ports).exists()
        });
        started
    }

    fn end(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }

    /// The value of `field` in its /proc/status.
    fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let rest = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        rest.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A world-writable directory that contains the program as `memcached`.
fn installed() -> (TempDir, PathBuf) {
    let dir = TempDir::new();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let link = dir.path().join("memcached");
    symlink(fs::canonicalize(program()).unwrap(), &link).unwrap();
    (dir, link)
}

#[test]
fn the_port_file_lists_every_family() {
    let dir = TempDir::new();
    let server = Started::new(Command::new(program()).args(as_root(&["-p", "-1"])), &dir);
    let found = ports(&server.ports);
    assert!(found.iter().any(|(family, _)| family == "TCP INET"), "{found:?}");
    if Path::new("/proc/net/if_inet6").exists() {
        assert!(found.iter().any(|(family, _)| family == "TCP INET6"), "{found:?}");
    }
    assert_eq!(connect(&server.ports).ask("mn"), "MN");
    assert_eq!(server.end().code(), Some(0));
}

/// A file of Debian's memcached package: the yardstick's, else the installed one's.
fn debians(file: &str) -> PathBuf {
    let fetched = yardstick().parent().unwrap().join("root").join(file);
    if fetched.exists() { fetched } else { Path::new("/").join(file) }
}

/// Debian's unit starts memcached by a wrapper that reads /etc/memcached.conf. The test changes paths, the port, and the
/// user if Debian's package has not created it.
#[test]
fn debians_wrapper_starts_the_server() {
    let wrapper = debians("usr/share/memcached/scripts/systemd-memcached-wrapper");
    if !geteuid().is_root() || !wrapper.exists() {
        return;
    }
    let user = if User::from_name("memcache").unwrap().is_some() { "memcache" } else { "nobody" };
    let (dir, link) = installed();
    let script = fs::read_to_string(wrapper).unwrap();
    let script = script.replace("/usr/bin/memcached", link.to_str().unwrap());
    let conf = ["usr/share/memcached/memcached.conf.default", "etc/memcached.conf"].map(debians);
    let conf = fs::read_to_string(conf.iter().find(|file| file.exists()).unwrap()).unwrap();
    let conf = conf.replace("-u memcache", &format!("-u {user}"));
    let pid_file = path(&dir, "memcached.pid");
    let conf = conf.replace("-p 11211", "-p -1").replace("/var/run/memcached/memcached.pid", &pid_file);
    fs::write(dir.path().join("wrapper"), script).unwrap();
    fs::write(dir.path().join("memcached.conf"), &conf).unwrap();
    let server = Started::new(
        Command::new("perl").arg(dir.path().join("wrapper")).arg(dir.path().join("memcached.conf")),
        &dir,
    );
    let mut client = connect(&server.ports);
    client.set("key", "value");
    wait_until("the pid file is there", || Path::new(&pid_file).exists());
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", server.child.id()));
    let uid = User::from_name(user).unwrap().unwrap().uid;
    assert_eq!(server.status("Uid:"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(server.status("Groups:"), "");
    assert_eq!(server.status("CapEff:"), "0000000000000000", "nothing of root is left");
    assert_eq!(server.end().code(), Some(0));
}

/// The official image's entry point prepends `memcached` to arguments that begin with a dash, and runs others as they are.
#[test]
fn the_images_entry_point_starts_the_server() {
    let (dir, link) = installed();
    let entry =
        "#!/bin/sh\nset -e\nif [ \"${1#-}\" != \"$1\" ]; then\n\tset -- memcached \"$@\"\nfi\nexec \"$@\"\n";
    fs::write(dir.path().join("docker-entrypoint.sh"), entry).unwrap();
    let search = format!("{}:/usr/bin:/bin", link.parent().unwrap().display());
    for arguments in [["-m", "64"].as_slice(), &["memcached", "-m", "64"]] {
        let _ = fs::remove_file(dir.path().join("ports"));
        let server = Started::new(
            Command::new("sh")
                .arg(dir.path().join("docker-entrypoint.sh"))
                .args(arguments)
                .args(as_root(&["-p", "-1", "-l", "127.0.0.1"]))
                .env("PATH", &search),
            &dir,
        );
        assert_eq!(connect(&server.ports).ask("mn"), "MN", "{arguments:?}");
        assert_eq!(server.end().code(), Some(0), "{arguments:?}");
    }
}

/// As under systemd's defaults and in many containers: an unprivileged user that may lock 8 MiB.
#[test]
fn an_unprivileged_user_with_little_locked_memory_is_enough() {
    if !geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        return;
    }
    let dir = TempDir::new();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = dir.path().join("memcached");
    fs::copy(program(), &copy).unwrap();
    let server = Started::new(
        Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
            ])
            .args(["sh", "-c", "ulimit -l 8192; exec \"$0\" \"$@\""])
            .arg(&copy)
            .args(["-p", "-1", "-l", "127.0.0.1", "-t", "4"]),
        &dir,
    );
    assert_eq!(server.status("Uid:"), "65534 65534 65534 65534");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let locked = limits.lines().find(|line| line.starts_with("Max locked memory")).unwrap();
    assert!(locked.contains("8388608"), "{locked}");
    for number in 0..50 {
        connect(&server.ports).set(&format!("key{number}"), "value");
    }
    assert_eq!(server.end().code(), Some(0));
}

/// With -L the kernel is asked to use huge pages for the items' mapping.
#[test]
fn items_can_be_in_huge_pages() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let advised = |flags: &[&str]| {
        let server = Server::start(flags);
        server.connect().set("a", "1");
        let maps = fs::read_to_string(format!("/proc/{}/smaps", server.pid())).unwrap();
        maps.lines().any(|line| line.starts_with("VmFlags:") && line.split(' ').any(|flag| flag == "hg"))
    };
    assert!(!advised(&[]));
    let modes = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if modes.contains("[never]") || modes.is_empty() {
        let output = run(program(), &as_root(&["-L"]));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stderr), "Cannot enable large pages on this system\n");
    } else {
        assert!(advised(&["-L"]));
    }
}

/// -k locks memory in use. The whole reservation would be more than the machine has.
#[test]
fn only_memory_in_use_is_locked() {
    const MIB: usize = 1 << 20;
    if !geteuid().is_root() || dialect() == Dialect::Memcached {
        return;
    }
    let server = Server::start(&["-k", "-m", "16"]);
    let value = "x".repeat(500_000);
    let mut client = server.connect();
    for number in 0..200 {
        client.set(&format!("key{number}"), &value);
    }
    assert_eq!(client.ask("flush_all"), "OK");
    client.set("key", "value");
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let locked = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
    assert!(!locked.contains(" 0 kB"), "{locked}");
    assert!(server.resident_bytes() < 100 * MIB, "{} bytes", server.resident_bytes());
    assert_eq!(server.stderr(), "");
}
