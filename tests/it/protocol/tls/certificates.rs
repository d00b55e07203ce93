//! Certificates of both sides: which are required, when they are refreshed, and what happens with those that cannot be used.

use std::fs;

use nix::sys::signal::Signal;
use rustls::version::{TLS12, TLS13};

use super::{Authority, Files, Tls};
use crate::harness::{Server, TempDir, command, program, wait_until};

/// With `ssl_verify_mode=2` only clients with a certificate signed by the CA are served; with 1 also those without one.
#[test]
fn client_certificates_are_required_as_configured() {
    let files = Files::new();
    let known = files.client(&[&TLS12, &TLS13], Some(files.authority.sign()));
    let stranger = files.client(&[&TLS12, &TLS13], Some(Authority::new().sign()));
    let nobody = files.client(&[&TLS12, &TLS13], None);
    let nobody_old = files.client(&[&TLS12], None);
    let authorities = format!(",ssl_ca_cert={}", files.path("ca.pem"));
    for mode in ["2", "3"] {
        let server = files.start(&format!(",ssl_verify_mode={mode}{authorities}"), &[]);
        for refused in [&stranger, &nobody, &nobody_old] {
            assert!(Tls::connect(server.port, refused).is_err());
        }
        let mut tls = Tls::connect(server.port, &known).unwrap();
        // Each is counted after the client has been notified.
        wait_until("three are counted", || tls.stat("ssl_handshake_errors").as_deref() == Some("3"));
        assert_eq!(tls.stat("ssl_new_sessions"), None);
    }
    let server = files.start(&format!(",ssl_verify_mode=1{authorities}"), &[]);
    assert!(Tls::connect(server.port, &stranger).is_err());
    assert!(Tls::connect(server.port, &nobody).is_ok());
    assert!(Tls::connect(server.port, &known).is_ok());
}

/// `notls:`, `btls:` and `mtls:` apply to one listener.
#[test]
fn each_listener_follows_its_prefix() {
    let files = Files::new();
    let known = files.client(&[&TLS13], Some(files.authority.sign()));
    let nobody = files.client(&[&TLS13], None);
    let authorities = format!(",ssl_verify_mode=2,ssl_ca_cert={}", files.path("ca.pem"));
    let server =
        files.start(&authorities, &["-l", "notls:127.0.0.1", "-l", "btls:127.0.0.1", "-l", "mtls:127.0.0.1"]);
    let text = fs::read_to_string(server.dir.path().join("port")).unwrap();
    let ports: Vec<u16> = text
        .lines()
        .filter_map(|line| line.strip_prefix("TCP INET: "))
        .map(|port| port.trim().parse().unwrap())
        .collect();
    let [on, off, basic, mutual] = ports[..] else { panic!("four listeners: {text}") };
    assert_eq!(crate::harness::Client::connect(off).ask("mn"), "MN");
    for (port, takes_nobody) in [(on, false), (basic, true), (mutual, false)] {
        assert_eq!(Tls::connect(port, &nobody).is_ok(), takes_nobody);
        Tls::connect(port, &known).unwrap();
    }
}

/// `refresh_certs` and HUP load new files for new connections; files that cannot be used change nothing.
#[test]
fn certificates_are_refreshed_for_new_connections() {
    let files = Files::new();
    let mut server = files.start("", &["-t", "2"]);
    let config = files.client(&[&TLS13], None);
    let mut old = Tls::connect(server.port, &config).unwrap();
    let second = files.renew();
    assert_ne!(Tls::connect(server.port, &config).unwrap().certificate(), second);
    assert_eq!(old.ask("refresh_certs"), "OK");
    assert_eq!(Tls::connect(server.port, &config).unwrap().certificate(), second);
    assert_eq!(old.ask("mn"), "MN");
    let third = files.renew();
    server.signal(Signal::SIGHUP);
    wait_until("the server shows the third certificate", || {
        Tls::connect(server.port, &config).unwrap().certificate() == third
    });
    fs::write(files.path("chain.pem"), "nothing\n").unwrap();
    let refusal = old.ask("refresh_certs");
    let expected = format!("Error loading the certificate chain: {}", files.path("chain.pem"));
    assert!(refusal.starts_with(&expected), "{refusal}");
    fs::remove_file(files.path("chain.pem")).unwrap();
    assert_eq!(old.ask("refresh_certs"), format!("{expected}: No such file or directory"));
    assert_eq!(Tls::connect(server.port, &config).unwrap().certificate(), third);
    let plain = Server::start(&[]);
    assert_eq!(plain.connect().ask("refresh_certs"), "Error TLS not enabled");
}

/// With certificates that cannot be used startup fails with status 64 and a line that names the file.
#[test]
fn startup_fails_with_bad_certificates() {
    let files = Files::new();
    let (_, other_key) = files.authority.sign();
    fs::write(files.path("other.pem"), other_key).unwrap();
    fs::write(files.path("empty.pem"), "").unwrap();
    let chain = files.path("chain.pem");
    let cases = [
        (String::new(), "Error loading the certificate chain: ".to_owned()),
        (
            "ssl_chain_cert=/none.pem".to_owned(),
            "Error loading the certificate chain: /none.pem: No such".to_owned(),
        ),
        (format!("ssl_chain_cert={chain}"), format!("Error loading the key: {chain}: ")),
        (
            format!("ssl_chain_cert={chain},ssl_key={}", files.path("empty.pem")),
            format!("Error loading the key: {}: ", files.path("empty.pem")),
        ),
        (
            format!("ssl_chain_cert={chain},ssl_key={}", files.path("other.pem")),
            format!("Error validating the certificate: {chain}: "),
        ),
        (files.options(",ssl_keyformat=7"), format!("Error loading the key: {}: ", files.path("key.pem"))),
        (
            files.options(&format!(",ssl_verify_mode=2,ssl_ca_cert={}", files.path("empty.pem"))),
            format!("Error loading the CA certificate: {}: ", files.path("empty.pem")),
        ),
    ];
    for (options, expected) in cases {
        let dir = TempDir::new();
        let mut start = command(program(), &dir);
        start.args(["-p", "-1", "-l", "127.0.0.1", "-Z"]);
        if !options.is_empty() {
            start.args(["-o", &options]);
        }
        assert_eq!(start.status().unwrap().code(), Some(64), "{options}");
        let said = fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert!(said.starts_with(&expected), "{options}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// A listener that requires client certificates, without a CA, ended the start. It starts with one warning and lets no
/// client in; where certificates are optional, those without one are served.
#[test]
fn without_a_ca_no_client_certificate_is_accepted() {
    let files = Files::new();
    for (options, flags, is_required) in [
        ("", &["-l", "mtls:127.0.0.1:0"][..], true),
        (",ssl_verify_mode=2", &[], true),
        (",ssl_verify_mode=1", &[], false),
    ] {
        let server = files.start(options, flags);
        let said = server.stderr();
        let warnings = said.lines().filter(|line| line.starts_with("WARNING: client certificates")).count();
        assert_eq!(warnings, usize::from(is_required), "{said}");
        let ports = fs::read_to_string(server.dir.path().join("port")).unwrap();
        let port = ports.lines().filter_map(|line| line.strip_prefix("TCP INET: ")).next_back().unwrap();
        let port = port.trim().parse().unwrap();
        for versions in [&[&TLS12][..], &[&TLS13]] {
            let is_served = |identity| Tls::connect(port, &files.client(versions, identity)).is_ok();
            assert!(!is_served(Some(files.authority.sign())), "{options} {flags:?}");
            assert_eq!(is_served(None), !is_required, "{options} {flags:?}");
        }
    }
}
