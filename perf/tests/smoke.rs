//! Runs every command briefly against the memcached named by `tests/yardstick` (skipped if there is none), and the load
//! against servers that lie or disconnect, to show that its checks can fail.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and talks to its reader"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

fn perf(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perf")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(args: &[&str]) -> Value {
    let output = perf(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// memcached on a free port; killed when dropped.
struct Memcached {
    child: Child,
    address: String,
}

const FLAGS: &str = " -p {port} -t {threads} -m {memory} -U 0 -l 127.0.0.1 -u root";

fn command() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/yardstick");
    let said = Command::new(script).arg("path").output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim_end().to_owned() + FLAGS
}

impl Memcached {
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let words = command()
            .replace("{port}", &port.to_string())
            .replace("{threads}", "1")
            .replace("{memory}", "64");
        let mut words = words.split(' ');
        let child = Command::new(words.next().unwrap()).args(words).stderr(Stdio::null()).spawn();
        let Ok(child) = child else {
            eprintln!("memcached is not installed: nothing is tested");
            return None;
        };
        let server = Self { child, address: format!("127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(&server.address).is_err() {
            assert!(Instant::now() < deadline, "memcached does not listen");
            thread::yield_now();
        }
        Some(server)
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn load_checks_every_command_of_every_protocol() {
    let Some(server) = Memcached::start() else { return };
    for protocol in ["text", "meta", "binary"] {
        for op in ["get", "set", "mixed", "multiget"] {
            let args = [
                "load",
                "--server",
                &server.address,
                "--protocol",
                protocol,
                "--op",
                op,
                "--keys",
                "500",
                "--connections",
                "7",
                "--threads",
                "2",
                "--depth",
                "3",
                "--requests",
                "2000",
                "--json",
                "--multiget-keys",
                "10",
                "--value-bytes",
                "0-50:3,3000:1,300000:0.1",
                "--ttl",
                "100-200",
                "--choice",
                "zipf:0.9",
            ];
            let report = json(&args);
            let number = |name: &str| report[name].as_u64().unwrap();
            assert_eq!(
                number("misses") + number("wrong") + number("refused"),
                0,
                "{protocol} {op}: {report}"
            );
            let keys = if op == "multiget" { 20_000 } else { 2000 };
            assert_eq!(number("hits") + number("sets"), keys, "{protocol} {op}: {report}");
            assert_eq!(number("sets") > 0, op == "set" || op == "mixed");
        }
    }
}

#[test]
fn load_counts_misses() {
    let Some(server) = Memcached::start() else { return };
    for protocol in ["text", "meta", "binary"] {
        for op in ["get", "multiget"] {
            let args = [
                "load",
                "--server",
                &server.address,
                "--protocol",
                protocol,
                "--op",
                op,
                "--requests",
                "100",
                "--json",
                "--multiget-keys",
                "10",
                "--no-preload",
                "--depth",
                "4",
            ];
            let report = json(&args);
            let misses = if op == "multiget" { 1000 } else { 100 };
            assert_eq!(
                (report["misses"].as_u64(), report["hits"].as_u64()),
                (Some(misses), Some(0)),
                "{protocol} {op}"
            );
        }
    }
}

#[test]
fn an_open_loop_keeps_its_rate_and_the_server_is_measured() {
    let Some(server) = Memcached::start() else { return };
    let pid = server.child.id().to_string();
    let args = [
        "load",
        "--server",
        &server.address,
        "--rate",
        "3000",
        "--seconds",
        "1",
        "--warmup",
        "0.1",
        "--keys",
        "100",
        "--json",
        "--pid",
        &pid,
    ];
    let report = json(&args);
    let rate = report["requests_per_sec"].as_f64().unwrap();
    assert!((2500.0..3500.0).contains(&rate), "{report}");
    assert!(report["server"]["cpu_us_per_operation"].as_f64().unwrap() > 0.1, "{report}");
}

#[test]
fn traces_are_made_and_replayed() {
    for (name, protocol) in [("zipf10", "text"), ("overwrite", "meta"), ("ttl", "binary"), ("large", "text")]
    {
        let Some(server) = Memcached::start() else { return };
        let path = folder("traces").join(format!("{name}.mtr.gz"));
        let path = path.to_str().unwrap();
        let output = perf(&["gen", name, path, "--requests", "20000", "--keys", "1000", "--seed", "7"]);
        assert!(output.status.success(), "{}", text(&output));
        let args =
            ["replay", path, "--server", &server.address, "--protocol", protocol, "--scale", "0.5", "--json"];
        let report = json(&args);
        let number = |path: &str| report.pointer(path).unwrap().as_u64().unwrap();
        assert_eq!(number("/wrong") + number("/stale") + number("/refused"), 0, "{report}");
        if name == "zipf10" {
            let misses = number("/whole/gets") - number("/whole/hits");
            assert!(
                (900..=1000).contains(&misses),
                "everything fits, so each object is missed once: {report}"
            );
        }
    }
}

#[test]
fn comparison_fill_and_growth_run() {
    if Memcached::start().is_none() {
        return;
    }
    let records = folder("records");
    let one = format!("one={}", command());
    // A server with a configuration file instead of flags.
    let (script, config) = (records.join("two.sh"), records.join("two.conf"));
    let program = command().replace(FLAGS, "");
    std::fs::write(
        &script,
        format!(". \"$1\" && exec {program} -p $port -t $threads -m $((memory_bytes >> 20)) -U 0 -l 127.0.0.1 -u root\n"),
    )
    .unwrap();
    let settings = "port={port}\nthreads={threads}\nmemory_bytes={bytes}\n";
    std::fs::write(&config, settings).unwrap();
    let two = format!("two=/bin/sh {} {{config:{}}}", script.display(), config.display());
    let args = [
        "compare",
        "--server",
        &one,
        "--peer",
        &two,
        "--rounds",
        "2",
        "--seconds",
        "0.1",
        "--warmup",
        "0.05",
        "--records",
        records.to_str().unwrap(),
        "get-text-16",
        "set-500k",
    ];
    let output = perf(&args);
    assert!(output.status.success(), "{}", text(&output));
    let words = text(&output);
    assert!(
        words.contains("rate x") && words.contains("CPU x") && words.contains("set of 500 KB"),
        "{words}"
    );
    let record = words.lines().find_map(|line| line.strip_prefix("record: ")).unwrap();
    let kept: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    assert_eq!(
        (&kept["servers"][0]["config"], &kept["servers"][1]["config"]),
        (&Value::Null, &settings.into())
    );
    assert_eq!(kept["servers"][1]["command"], two["two=".len()..]);
    let output = perf(&["plot", record]);
    assert!(output.status.success(), "{}", text(&output));
    let drawing = std::fs::read_to_string(record.replace(".json", ".svg")).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("get, text, depth 16"));

    let output = perf(&["fill", "--server", &one, "--memory", "8", "--value-bytes", "1000"]);
    assert!(output.status.success(), "{}", text(&output));
    let output = perf(&["growth", "--server", &one, "--millions", "0"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_restart_is_timed() {
    let memcrsd = PathBuf::from(env!("CARGO_BIN_EXE_perf")).with_file_name("memcrsd");
    if !memcrsd.exists() {
        eprintln!("memcrsd is not built: nothing is tested");
        return;
    }
    let server = format!("memcrsd={}{FLAGS}", memcrsd.display());
    let args = ["restore", "--server", &server, "--items", "20000", "--rounds", "1", "--memory", "16"];
    let output = perf(&args);
    let words = text(&output);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("SIGTERM") && words.contains("SIGKILL"), "{words}");
    // What does not fit is no measurement.
    let output = perf(&[&args[..3], &["--items", "100000", "--memory", "4"]].concat());
    assert!(
        !output.status.success() && text(&output).contains("--memory is too little"),
        "{}",
        text(&output)
    );
}

/// A server on one thread that answers each line with `answer`, and closes after `limit` lines.
fn liar(limit: usize, answer: fn(&str) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines().take(limit).map_while(Result::ok) {
            if stream.write_all(answer(&line).as_bytes()).is_err() {
                return;
            }
        }
    });
    address
}

fn key(line: &str) -> &str {
    line.strip_prefix("get ").unwrap_or_default()
}

fn complaint(address: &str) -> String {
    let args = [
        "load",
        "--server",
        address,
        "--no-preload",
        "--connections",
        "1",
        "--requests",
        "10",
        "--value-bytes",
        "5",
        "--keys",
        "10",
        "--quiet",
    ];
    let output = perf(&args);
    assert!(!output.status.success(), "{}", text(&output));
    text(&output)
}

#[test]
fn wrong_answers_are_seen() {
    let bytes = liar(usize::MAX, |line| format!("VALUE {} 0 5\r\nwrong\r\nEND\r\n", key(line)));
    assert!(complaint(&bytes).contains("10 values were wrong"));
    let length = liar(usize::MAX, |line| format!("VALUE {} 0 4\r\nlong\r\nEND\r\n", key(line)));
    assert!(complaint(&length).contains("10 values were wrong"));
    let name = liar(usize::MAX, |_| "VALUE other 0 5\r\nwrong\r\nEND\r\n".into());
    assert!(complaint(&name).contains("a key that was not requested"));
    let refusal = liar(usize::MAX, |_| "SERVER_ERROR no\r\n".into());
    assert!(complaint(&refusal).contains("SERVER_ERROR no"));
    let twice = liar(usize::MAX, |_| "END\r\nEND\r\n".into());
    assert!(complaint(&twice).contains("without a request"));
    let noise = liar(usize::MAX, |_| "hello\r\n".into());
    assert!(complaint(&noise).contains("not a reply"));
    let closes = liar(3, |_| "END\r\n".into());
    // If requests are unread, the kernel resets the connection instead of closing it.
    let complaint = complaint(&closes);
    assert!(complaint.contains("closed") || complaint.contains("reset"), "{complaint}");
}
