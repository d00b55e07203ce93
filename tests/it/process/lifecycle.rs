//! The process: which command lines start, signals, pid and port files, users, wrappers.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, User, geteuid};

use crate::harness::{
    Client, Dialect, Server, TempDir, command, deadline, dialect, program, wait_until, yardstick,
};

/// Longest wait for a process to end.
const PROMPT: Duration = Duration::from_secs(1);

/// Runs a command that is expected to end by itself.
pub fn run(program: &Path, args: &[&str]) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + deadline();
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            panic!("{args:?} went on: it should have been refused");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| if word == "''" { "" } else { word }).collect()
}

/// A command line that root may use.
pub fn as_root<'w>(words: &[&'w str]) -> Vec<&'w str> {
    let user: &[&str] = if geteuid().is_root() { &["-u", "root"] } else { &[] };
    [user, words].concat()
}

/// Refused command lines: exit status, and a line of standard error. Source: memcached 1.6.45, `main`.
const REFUSED: &[(&str, i32, &str)] = &[
    ("-q", 1, "Illegal argument \"?\""),
    ("-p", 1, "Illegal argument \"?\""),
    ("--no-such-option", 1, "Illegal argument \"?\""),
    ("-p 65536", 64, "ERROR: Invalid port number 65536."),
    ("-m 0", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    ("-m 1", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    ("-m abc", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    ("-c 0", 1, "Maximum connections must be greater than 0"),
    ("-f 1", 1, "Factor must be greater than 1"),
    ("-n 0", 1, "Chunk size must be greater than 0"),
    ("-D ''", 1, "No delimiter specified"),
    ("-t 0", 1, "Number of threads must be greater than 0"),
    ("-R 0", 1, "Number of requests per event must be greater than 0"),
    ("-B foo", 64, " -- should be one of auto, binary, or ascii"),
    ("-I 1023", 64, "Item max size cannot be less than 1024 bytes."),
    ("-I 2g", 64, "Item max size cannot be less than 1024 bytes."),
    ("-I 1025m -m 4096", 64, "Cannot set item size limit higher than a gigabyte."),
    ("-I 33m", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    ("-S -B auto", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
    ("-S -B ascii", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
    ("-S -U 11211", 64, "ERROR: Cannot enable UDP while using binary SASL authentication."),
    ("-S", 1, "Error initializing sasl."),
    (
        "-Y /no/such/file",
        1,
        "Could not open authfile [/no/such/file] for reading, error No such file or directory",
    ),
    ("-Y /etc/hosts", 1, "Authfile [/etc/hosts] has a malformed entry. Should be 'user:password'"),
    (
        "-Y /etc/hosts -B binary",
        64,
        "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
    ),
    (
        "-Y /etc/hosts -B auto",
        64,
        "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
    ),
    ("-Y /etc/hosts -U 7", 64, "Cannot use UDP with ascii authentication enabled (-U 0 to disable)"),
    (
        "-l 192.0.2.1",
        71,
        "failed to listen on one of interface(s) 192.0.2.1: Cannot assign requested address",
    ),
    ("-l 127.0.0.1:x", 71, "Invalid port number: \"x\""),
    (
        "-c 2147483647",
        71,
        "failed to set rlimit for open files. Try starting as root or requesting smaller maxconns value.",
    ),
    ("-s /no/such/directory/socket", 71, "failed to listen on UNIX socket: /no/such/directory/socket"),
    ("-o bogus", 1, "Illegal suboption \"bogus\""),
    ("-o hashpower=11", 1, "Initial hashtable multiplier of 11 is too low"),
    ("-o slab_automove=3", 1, "slab_automove must be between 0 and 2"),
    ("-o slab_automove_window=2", 1, "slab_automove_window must be > 2 and < 1800"),
    ("-o tail_repair_time=9", 1, "Cannot set tail_repair_time to less than 10 seconds"),
    ("-o hash_algorithm=md5", 1, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
    ("-o lru_crawler_sleep=1000001", 1, "LRU crawler sleep must be between 0 and 1 second"),
    ("-o hot_lru_pct=80", 1, "hot_lru_pct must be > 1 and < 80"),
    ("-o warm_lru_pct=61", 64, "hot_lru_pct + warm_lru_pct cannot be more than 80% combined"),
    ("-o hot_max_factor=0", 1, "hot_max_factor must be > 0"),
    ("-o temporary_ttl=5,no_lru_maintainer", 64, "temporary_ttl requires lru_maintainer to be enabled"),
    ("-o idle_timeout", 1, "Missing numeric argument for idle_timeout"),
    ("-o watcher_logbuf_size=x", 1, "could not parse argument to watcher_logbuf_size"),
    ("-o slab_sizes=100-50", 64, "slab size 50 cannot be lower than or equal to a previous class size"),
];

#[test]
fn refused_command_lines_give_memcacheds_status_and_message() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for (line, status, message) in REFUSED {
        let output = run(program(), &as_root(&words(line)));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "{line}: {said}");
        let is_there = said.lines().any(|said| said == *message || said.starts_with(&format!("{message}: ")));
        assert!(is_there, "{line} should say {message:?}, said:\n{said}");
        assert_eq!(text(&output.stdout), "", "{line}");
    }
}

#[test]
fn root_names_a_user_that_exists() {
    if !geteuid().is_root() {
        return;
    }
    let output = run(program(), &["-p", "-1"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("must add '-u root' to start as root"), "{output:?}");
    let output = run(program(), &["-p", "-1", "-u", "no-such-user"]);
    assert_eq!(output.status.code(), Some(67));
    assert!(text(&output.stderr).contains("can't find the user no-such-user to switch to"), "{output:?}");
}

#[test]
fn help_licence_and_version_are_printed_even_by_root() {
    for (flag, start) in [("-h", "memcached 1.6."), ("-i", "memcached 1.6."), ("-V", "memcached 1.6.")] {
        let output = run(program(), &[flag]);
        assert_eq!(output.status.code(), Some(0), "{flag}");
        assert!(text(&output.stdout).starts_with(start), "{flag}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{flag}");
    }
}

/// Each of these command lines starts a server that answers, and stops on request.
#[test]
fn accepted_command_lines_start_serve_and_stop() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let lines = [
        "",
        "memcached",
        "-U 0",
        "-A",
        "-a 777",
        "-r",
        "-m 2",
        "-m 100 -M",
        "-c 1",
        "-k -m 8",
        "-v",
        "-vv",
        "-vvv",
        "-f 1.08 -n 480",
        "-L",
        "-D ,",
        "-t 1",
        "-R 1",
        "-C",
        "-b 10",
        "-b abc",
        "-B auto",
        "-B ascii",
        "-I 8m",
        "-I 1024m -m 2048",
        "-F -X -W",
        "-l localhost",
        "--listen=127.0.0.1 --threads=2 --memory-limit=64 --conn-limit=100",
        "-o no_maxconns_fast,hashpower=12,no_hashexpand,slab_reassign,slab_automove=2,slab_automove_ratio=0.5",
        "-o no_modern",
        "-o modern,track_sizes,no_lru_crawler,no_lru_maintainer",
        "-o tail_repair_time=10,hash_algorithm=jenkins,lru_crawler_sleep=1,lru_crawler_tocrawl=1",
        "-o hot_lru_pct=1,warm_lru_pct=2,hot_max_factor=0.1,warm_max_factor=1,temporary_ttl=9,idle_timeout=9",
        "-o watcher_logbuf_size=1,worker_logbuf_size=1,read_buf_mem_limit=9,slab_sizes=100-200,slab_chunk_max=512",
        "-o no_chunked_items,inline_ascii_resp,no_inline_ascii_resp,resp_obj_mem_limit=1,no_drop_privileges",
    ];
    for line in lines {
        let flags: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let mut server = Server::start(&flags);
        assert!(server.connect().ask("version").starts_with("VERSION 1.6."), "{line}");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0), "{line}");
    }
}

#[test]
fn a_second_server_on_a_port_reports_it_and_exits() {
    let all = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = all.local_addr().unwrap().port().to_string();
    let second = run(program(), &as_root(&["-p", &port]));
    assert_eq!(second.status.code(), Some(71));
    let expected = format!("failed to listen on TCP port {port}: Address already in use");
    assert!(text(&second.stderr).lines().any(|line| line.starts_with(&expected)), "{second:?}");
    let advice = format!(": TCP port {port} is taken: end who has it (ss -lpn), or choose another by -p\n");
    assert!(dialect() == Dialect::Memcached || text(&second.stderr).ends_with(&advice), "{second:?}");
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let second = run(program(), &as_root(&["-p", &port, "-l", "127.0.0.1"]));
    assert_eq!(second.status.code(), Some(71));
    let expected = "failed to listen on one of interface(s) 127.0.0.1: Address already in use";
    assert!(text(&second.stderr).lines().any(|line| line.starts_with(expected)), "{second:?}");
    assert_eq!(server.connect().ask("mn"), "MN", "the first one serves on");
}

/// An element of -l, or all addresses if there is none, is served on what is free of it: with 127.0.0.1 taken the server did
/// not start, although memcached serves on `::1` then.
#[test]
fn a_taken_address_among_several_does_not_stop_the_start() {
    for (taken, free) in [("127.0.0.1", "::1"), ("::1", "127.0.0.1")] {
        // Without IPv6 there is one address only.
        let Ok(holder) = TcpListener::bind((taken, 0)) else { continue };
        let port = holder.local_addr().unwrap().port();
        if TcpListener::bind((free, port)).is_err() {
            continue;
        }
        let dir = TempDir::new();
        let mut server =
            command(program(), &dir).args(as_root(&["-t", "2", "-p", &port.to_string()])).spawn().unwrap();
        let mut stream = None;
        wait_until("it serves on what is free", || {
            assert_eq!(server.try_wait().unwrap(), None, "it has ended");
            stream = TcpStream::connect((free, port)).ok();
            stream.is_some()
        });
        assert_eq!(Client::over(stream.unwrap()).ask("mn"), "MN");
        server.kill().unwrap();
        server.wait().unwrap();
        let said = fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert!(
            dialect() == Dialect::Memcached || said.contains("is taken: listening to the other"),
            "{said}"
        );
    }
}

/// -vv lists the size classes first.
#[test]
fn the_size_classes_are_in_the_log() {
    let server = Server::start(&["-vv"]);
    let said = server.stderr();
    assert!(said.contains("slab class   1: chunk size        96 perslab   10922\n"), "{said}");
    assert!(said.contains("slab class  39: chunk size    524288 perslab       2\n"), "{said}");
    assert!(!Server::start(&["-v"]).stderr().contains("slab class"));
}

/// Signals: exit status, and standard error with -v.
#[test]
fn signals_end_the_server_promptly() {
    let mut cases = vec![
        (Signal::SIGINT, Some(0), "Exiting normally"),
        (Signal::SIGTERM, Some(0), "Exiting normally"),
        (Signal::SIGUSR1, Some(0), "Gracefully stopping"),
        (Signal::SIGUSR2, None, ""),
    ];
    if dialect() == Dialect::Memcached {
        cases.retain(|case| case.0 != Signal::SIGINT && case.0 != Signal::SIGTERM);
    }
    for (signal, code, said) in cases {
        let mut server = Server::start(&["-v", "-t", "4"]);
        let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.set("key", "value");
        }
        let since = Instant::now();
        server.signal(signal);
        let status = server.wait();
        assert!(since.elapsed() < PROMPT, "{signal}: {:?}", since.elapsed());
        assert_eq!(status.code(), code, "{signal}");
        if code.is_none() {
            assert_eq!(status.signal(), Some(signal as i32));
        }
        assert!(server.stderr().contains(said), "{signal}: {}", server.stderr());
        for mut client in clients {
            assert_eq!(client.read_to_end(), b"", "{signal}");
        }
    }
}

#[test]
fn hup_and_pipe_do_not_stop_the_server() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    for signal in [Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGHUP] {
        server.signal(signal);
        assert_eq!(client.ask("mn"), "MN");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// The path of `file` in `dir`.
pub fn path(dir: &TempDir, file: &str) -> String {
    dir.path().join(file).display().to_string()
}

#[test]
fn the_pid_file_of_a_daemon_is_removed_at_its_end() {
    let dir = TempDir::new();
    let file = path(&dir, "pid");
    let mut server = Server::start(&["-P", &file]);
    wait_until("the pid file is there", || Path::new(&file).exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", server.pid()));
    let second = Server::start(&["-P", &file]);
    let warning = format!("WARNING: The pid file contained the following (running) pid: {}\n", server.pid());
    wait_until("the second server warns", || second.stderr().contains(&warning));
    drop(second);
    server.signal(Signal::SIGTERM);
    server.wait();
    assert!(Path::new(&file).exists());

    // The parent of orphans sees the end of a daemon.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let ports = path(&dir, "ports");
    fs::remove_file(&file).unwrap();
    let mut parent = Command::new(program())
        .args(as_root(&["-d", "-P", &file, "-p", "-1", "-l", "127.0.0.1"]))
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    assert!(parent.wait().unwrap().success(), "the parent ends at once");
    wait_until("the daemon is ready", || Path::new(&file).exists() && Path::new(&ports).exists());
    let daemon = Pid::from_raw(fs::read_to_string(&file).unwrap().trim().parse().unwrap());
    assert_eq!(connect(&ports).ask("mn"), "MN");
    let since = Instant::now();
    kill(daemon, Signal::SIGTERM).unwrap();
    assert_eq!(waitpid(daemon, None).unwrap(), WaitStatus::Exited(daemon, 0));
    assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
    assert!(!Path::new(&file).exists(), "a daemon takes its pid file along");
}

/// The ports of a port file: family and number.
fn ports(file: &str) -> Vec<(String, u16)> {
    let text = fs::read_to_string(file).unwrap();
    let port = |line: &str| {
        let (family, port) = line.split_once(": ").unwrap();
        (family.to_owned(), port.parse().unwrap())
    };
    text.lines().map(port).collect()
}

fn connect(port_file: &str) -> Client {
    let ports = ports(port_file);
    let (_, port) = ports.iter().find(|(family, _)| family == "TCP INET").unwrap();
    Client::connect(*port)
}

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

#[test]
fn verbosity_reaches_the_log() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("get quiet"), "END");
    assert_eq!(client.ask("verbosity 2"), "OK");
    assert_eq!(client.ask("get loud"), "END");
    wait_until("the command is logged", || server.stderr().contains("get loud\n"));
    assert!(!server.stderr().contains("get quiet"));
}
