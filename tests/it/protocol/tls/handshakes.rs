//! Handshakes: versions, resumed sessions, garbage, stalled ones, and other implementations.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, HandshakeKind};

use super::{Files, Tls, tcp};
use crate::harness::{program, wait_until};

/// Bytes that are not TLS are rejected and counted, and the server continues.
#[test]
fn garbage_instead_of_a_handshake_closes_the_connection() {
    let files = Files::new();
    let server = files.start("", &["-t", "1"]);
    let config = files.client(&[&TLS13], None);
    // A handshake record over the size limit; an invalid hello; an early alert.
    let garbage: [&[u8]; 6] = [
        b"get a\r\nget b\r\n",
        b"\x80\x00\x00\x01\x00\x00\x00\x00",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x01\x00",
    ];
    for bytes in garbage {
        let mut stream = tcp(server.port);
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        assert!(answer.is_empty() || answer[0] == 0x15, "an alert or nothing: {answer:?}");
    }
    let mut tls = Tls::connect(server.port, &config).unwrap();
    wait_until("all garbage is counted", || {
        tls.stat("ssl_handshake_errors") == Some(garbage.len().to_string())
    });
    // And garbage after a handshake.
    let mut broken = Tls::connect(server.port, &config).unwrap();
    broken.0.sock.write_all(b"\x17\x03\x03\x00\x20garbagegarbagegarbagegarbagegarb").unwrap();
    assert!(broken.0.read(&mut [0; 1]).is_err());
    wait_until("the broken connection is counted", || tls.stat("ssl_proto_errors").as_deref() == Some("1"));
    assert_eq!(tls.ask("mn"), "MN");
}

/// A stalled handshake delays no other connection, not even on the same ring.
#[test]
fn a_stalled_handshake_delays_no_other_connection() {
    let files = Files::new();
    let server = files.start("", &["-t", "1"]);
    let config = files.client(&[&TLS13], None);
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(&config), name).unwrap().write_tls(&mut hello).unwrap();
    let mut stalled: Vec<TcpStream> = Vec::new();
    for at in 0..50 {
        let mut stream = tcp(server.port);
        // Stopped before, within and after the hello.
        stream.write_all(&hello[..at * hello.len() / 49]).unwrap();
        stalled.push(stream);
    }
    let mut tls = Tls::connect(server.port, &config).unwrap();
    assert_eq!(tls.ask("mn"), "MN");
    assert_eq!(tls.stat("ssl_handshake_errors").as_deref(), Some("0"));
    // A handshake may also arrive byte by byte.
    let name = ServerName::try_from("localhost").unwrap();
    let mut slow = ClientConnection::new(config, name).unwrap();
    let mut stream = tcp(server.port);
    while slow.is_handshaking() {
        let mut bytes = Vec::new();
        while slow.wants_write() {
            slow.write_tls(&mut bytes).unwrap();
        }
        for byte in bytes {
            stream.write_all(&[byte]).unwrap();
        }
        if slow.is_handshaking() {
            slow.read_tls(&mut stream).unwrap();
            slow.process_new_packets().unwrap();
        }
    }
    for stream in stalled {
        let _ = stream.shutdown(Shutdown::Both);
    }
    wait_until("those that gave up are counted", || {
        tls.stat("ssl_handshake_errors").as_deref() == Some("50")
    });
}

/// memcached resumes sessions by tickets without any option. A client that connects often paid for a full handshake each time.
#[test]
fn sessions_are_resumed() {
    let files = Files::new();
    for (option, counts) in [("", false), (",ssl_session_cache", true)] {
        let server = files.start(option, &[]);
        for version in [&TLS12, &TLS13] {
            let config = files.client(&[version], None);
            let kinds: Vec<bool> = (0..2)
                .map(|_| {
                    let tls = Tls::connect(server.port, &config).unwrap();
                    tls.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
                })
                .collect();
            assert_eq!(kinds, [false, true], "{version:?}");
        }
        let mut tls = Tls::connect(server.port, &files.client(&[&TLS13], None)).unwrap();
        assert_eq!(tls.stat("ssl_new_sessions").as_deref(), counts.then_some("3"));
    }
}

#[test]
fn the_minimum_version_is_configurable() {
    let files = Files::new();
    let old = files.client(&[&TLS12], None);
    let new = files.client(&[&TLS13], None);
    for (option, takes_old) in [("", true), (",ssl_min_version=0", true), (",ssl_min_version=3", false)] {
        let server = files.start(option, &[]);
        assert_eq!(Tls::connect(server.port, &old).is_ok(), takes_old, "{option}");
        assert!(Tls::connect(server.port, &new).is_ok());
    }
}

/// Another implementation: an OpenSSL client.
#[test]
fn an_openssl_client_is_served() {
    let files = Files::new();
    let server = files.start("", &[]);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost", version])
            .args(["-connect", &format!("127.0.0.1:{}", server.port), "-CAfile", &files.path("ca.pem")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"set a 0 0 5\r\nhello\r\nget a\r\nquit\r\n").unwrap();
        let output = child.wait_with_output().unwrap();
        drop(input);
        assert_eq!(output.stdout, b"STORED\r\nVALUE a 0 5\r\nhello\r\nEND\r\n", "{version}");
    }
}

/// A health check without TLS reports that the server wants TLS, and that it answers.
#[test]
fn health_needs_no_certificate() {
    let server = Files::new().start("", &[]);
    let target = format!("127.0.0.1:{}", server.port);
    let output =
        Command::new(program()).args(["--health", &target, "--health-timeout", "30"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{target}: healthy, asks for TLS\n"));
    assert_eq!(output.status.code(), Some(0));
}
