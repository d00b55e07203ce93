//! TLS: handshakes of both versions, server and client certificates, refresh while connections are open, and clients that
//! violate the protocol.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::harness::{Server, TempDir, command, deadline, find, program, wait_until};

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than those it signs: OpenSSL considers a certificate self-signed if subject and issuer are equal.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `localhost` and its key, PEM.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &*self.0).unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        roots
    }
}

/// The certificate files of a server, and their authority.
struct Files {
    dir: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: TempDir::new(), authority: Authority::new() };
        files.renew();
        fs::write(files.path("ca.pem"), files.authority.pem()).unwrap();
        files
    }

    /// Installs another certificate of the same authority and returns it.
    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.authority.sign();
        fs::write(self.path("chain.pem"), &certificate).unwrap();
        fs::write(self.path("key.pem"), key).unwrap();
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The argument of `-o`.
    fn options(&self, more: &str) -> String {
        format!("ssl_chain_cert={},ssl_key={}{more}", self.path("chain.pem"), self.path("key.pem"))
    }

    fn start(&self, more_options: &str, more_flags: &[&str]) -> Server {
        let options = self.options(more_options);
        let mut flags = vec!["-Z", "-o", &options];
        flags.extend(more_flags);
        Server::start(&flags)
    }

    /// A client of these versions that trusts the server and presents `identity`.
    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<(String, String)>,
    ) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.authority.roots());
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        })
    }
}

/// An encrypted connection.
struct Tls(StreamOwned<ClientConnection, TcpStream>);

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(deadline())).unwrap();
    stream.set_write_timeout(Some(deadline())).unwrap();
    stream
}

impl Tls {
    /// Connects and requests the version. Only a reply proves that the client was accepted: in TLS 1.3 it is connected
    /// before the server has seen its certificate.
    fn connect(port: u16, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut tls = Self(StreamOwned::new(connection, tcp(port)));
        tls.0.write_all(b"version\r\n")?;
        let mut line = [0; b"VERSION 1.6.45\r\n".len()];
        tls.0.read_exact(&mut line)?;
        assert!(line.starts_with(b"VERSION 1.6."), "{line:?}");
        Ok(tls)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.read(1));
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.line()
    }

    fn stat(&mut self, name: &str) -> Option<String> {
        self.send(b"stats\r\n");
        let mut found = None;
        loop {
            let line = self.line();
            if line == "END" {
                return found;
            }
            if let Some(value) = line.strip_prefix("STAT ").and_then(|rest| rest.strip_prefix(name)) {
                found = value.strip_prefix(' ').map(str::to_owned).or(found);
            }
        }
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

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

/// Sessions are resumed only with `ssl_session_cache`.
#[test]
fn sessions_are_resumed_only_if_enabled() {
    let files = Files::new();
    for (option, resumes) in [("", false), (",ssl_session_cache", true)] {
        let server = files.start(option, &[]);
        for version in [&TLS12, &TLS13] {
            let config = files.client(&[version], None);
            let kinds: Vec<bool> = (0..2)
                .map(|_| {
                    let tls = Tls::connect(server.port, &config).unwrap();
                    tls.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
                })
                .collect();
            assert_eq!(kinds, [false, resumes], "{version:?}");
        }
        let mut tls = Tls::connect(server.port, &files.client(&[&TLS13], None)).unwrap();
        assert_eq!(tls.stat("ssl_new_sessions").as_deref(), resumes.then_some("3"));
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
