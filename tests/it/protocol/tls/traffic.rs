//! What goes over connections that are set up: values of all sizes, pipelines, watchers' lines, the end.

use std::io::{Read, Write};

use rustls::version::{TLS12, TLS13};

use super::{Files, Tls};
use crate::harness::find;

/// Incompressible bytes that depend on their position.
fn value(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Values of every size class with a code path of its own, in both versions: one record, several, from item memory.
#[test]
fn both_versions_serve_values_of_all_sizes() {
    let files = Files::new();
    let server = files.start("", &["-t", "2", "-I", "8m"]);
    for version in [&TLS12, &TLS13] {
        let mut tls = Tls::connect(server.port, &files.client(&[version], None)).unwrap();
        assert_eq!(tls.0.conn.protocol_version(), Some(version.version));
        for len in [0, 1, 100, 4096, 8192, 16_383, 16_384, 16_385, 100_000, 1_000_000, 7_000_000] {
            let value = value(len);
            tls.send(format!("set k{len} 0 0 {len}\r\n").as_bytes());
            tls.send(&value);
            tls.send(b"\r\n");
            assert_eq!(tls.line(), "STORED");
            assert_eq!(tls.ask(&format!("get k{len}")), format!("VALUE k{len} 0 {len}"));
            assert!(tls.read(len) == value, "{len} bytes come back");
            assert_eq!(tls.read(7), b"\r\nEND\r\n");
        }
        tls.send(b"get k8192 k100 k1000000 k100000\r\n");
        for len in [8192, 100, 1_000_000, 100_000] {
            assert_eq!(tls.line(), format!("VALUE k{len} 0 {len}"));
            assert!(tls.read(len) == value(len));
            assert_eq!(tls.read(2), b"\r\n");
        }
        assert_eq!(tls.line(), "END");
    }
}

/// Thousands of requests in flight: replies come in order, however records and reads split them.
#[test]
fn a_pipeline_is_answered_in_order() {
    const REQUESTS: usize = 5_000;
    let files = Files::new();
    let server = files.start("", &["-t", "1"]);
    let mut tls = Tls::connect(server.port, &files.client(&[&TLS13], None)).unwrap();
    let requests: String =
        (0..REQUESTS).map(|at| format!("set k{at} 0 0 5\r\n{at:05}\r\nget k{at}\r\n")).collect();
    // The client buffers everything and sends it in records that end anywhere.
    for piece in requests.as_bytes().chunks(777) {
        tls.send(piece);
    }
    for at in 0..REQUESTS {
        assert_eq!(tls.line(), "STORED");
        assert_eq!(tls.line(), format!("VALUE k{at} 0 5"));
        assert_eq!(tls.line(), format!("{at:05}"));
        assert_eq!(tls.line(), "END");
    }
}

/// A client that closes its side and one that sends quit get their replies and a close alert.
#[test]
fn both_sides_send_a_close_alert() {
    let files = Files::new();
    let server = files.start("", &[]);
    for version in [&TLS12, &TLS13] {
        let config = files.client(&[version], None);
        let mut tls = Tls::connect(server.port, &config).unwrap();
        tls.0.conn.writer().write_all(b"mn\r\nget nothing\r\n").unwrap();
        tls.0.conn.send_close_notify();
        let mut rest = Vec::new();
        tls.0.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(rest, b"MN\r\nEND\r\n");
        let mut tls = Tls::connect(server.port, &config).unwrap();
        tls.send(b"mn\r\nquit\r\n");
        rest.clear();
        tls.0.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(rest, b"MN\r\n");
    }
    let mut tls = Tls::connect(server.port, &files.client(&[&TLS13], None)).unwrap();
    assert_eq!(tls.stat("ssl_handshake_errors").as_deref(), Some("0"));
    assert_eq!(tls.stat("ssl_proto_errors").as_deref(), Some("0"));
}

/// A watcher's lines are encrypted like every reply.
#[test]
fn watchers_can_watch() {
    let files = Files::new();
    let server = files.start("", &["-t", "1"]);
    let config = files.client(&[&TLS13], None);
    let mut watcher = Tls::connect(server.port, &config).unwrap();
    assert_eq!(watcher.ask("watch fetchers"), "OK");
    let mut tls = Tls::connect(server.port, &config).unwrap();
    assert_eq!(tls.ask("get somebody"), "END");
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.extend(watcher.read(1));
    }
    assert!(find(&line, b"key=somebody status=not_found").is_some());
}

/// Values that are read from flash between two records.
#[test]
fn values_on_flash_are_encrypted_like_others() {
    let files = Files::new();
    let tier = format!(",ext_path={}:64m,ext_page_size=2,ext_wbuf_size=2", files.path("flash"));
    let server = files.start(&tier, &["-t", "1", "-m", "8", "-U", "0"]);
    let mut tls = Tls::connect(server.port, &files.client(&[&TLS13], None)).unwrap();
    let value = |at: usize| format!("{at:05}").repeat(2_000);
    for at in 0..1500 {
        assert_eq!(tls.ask(&format!("set k{at} 0 0 10000\r\n{}", value(at))), "STORED");
    }
    for from in (0..1500).step_by(50) {
        let keys: String = (from..from + 50).map(|at| format!(" k{at}")).collect();
        tls.send(format!("get{keys}\r\n").as_bytes());
        for at in from..from + 50 {
            assert_eq!(tls.line(), format!("VALUE k{at} 0 10000"));
            assert!(tls.read(10_000) == value(at).as_bytes(), "k{at}");
            assert_eq!(tls.line(), "");
        }
        assert_eq!(tls.line(), "END");
    }
    let reads: u64 = tls.stat("get_extstore").unwrap().parse().unwrap();
    assert!(reads > 500, "{reads}");
}
