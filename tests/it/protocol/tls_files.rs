//! TLS: the certificate and key files that a server starts with.

use std::fs;
use std::io::Write;
use std::process::Command;

use crate::harness::{Server, TempDir, command, program};

/// Runs openssl in `dir`.
fn openssl(dir: &TempDir, line: &str) {
    let mut command = Command::new("openssl");
    command.args(line.split(' ')).current_dir(dir.path());
    let output = command.output().expect("openssl is installed");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Files that start memcached ended the start here: certificates of version 1 and with an unknown critical extension, blocks
/// with OpenSSL's trust settings, and a key whose label tells another format than it has.
#[test]
fn files_that_openssl_reads_are_read() {
    let dir = TempDir::new();
    openssl(&dir, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem");
    openssl(&dir, "req -x509 -key key.pem -days 2 -subj /CN=localhost -out v3.pem");
    openssl(&dir, "req -new -key key.pem -subj /CN=localhost -out request.pem");
    openssl(&dir, "x509 -req -in request.pem -key key.pem -days 2 -out v1.pem");
    openssl(
        &dir,
        "req -x509 -key key.pem -days 2 -subj /CN=localhost -addext 1.2.3.4=critical,DER:0500 -out critical.pem",
    );
    openssl(&dir, "x509 -in v3.pem -trustout -addtrust serverAuth -out trusted.pem");
    openssl(&dir, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out other.pem");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let key = fs::read_to_string(path("key.pem")).unwrap();
    fs::write(path("labelled.pem"), key.replace("PRIVATE KEY", "RSA PRIVATE KEY")).unwrap();
    for (chain, key) in [
        ("v3.pem", "labelled.pem"),
        ("v1.pem", "key.pem"),
        ("critical.pem", "key.pem"),
        ("trusted.pem", "key.pem"),
    ] {
        let options =
            format!("ssl_chain_cert={},ssl_key={},ssl_ca_cert={}", path(chain), path(key), path(chain));
        let server = Server::start(&["-Z", "-o", &options, "-o", "ssl_verify_mode=1"]);
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", server.port)])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"mn\r\nquit\r\n").unwrap();
        let output = child.wait_with_output().unwrap();
        drop(input);
        assert_eq!(output.stdout, b"MN\r\n", "{chain} {key}");
    }
    // That rustls cannot read a certificate does not excuse a key that is not its own.
    for chain in ["v1.pem", "critical.pem"] {
        let options = format!("ssl_chain_cert={},ssl_key={}", path(chain), path("other.pem"));
        let said = refusal(&options);
        assert!(said.starts_with(&format!("Error validating the certificate: {}: ", path(chain))), "{said}");
    }
}

/// The line that a start with these options ends with.
fn refusal(options: &str) -> String {
    let dir = TempDir::new();
    let mut start = command(program(), &dir);
    start.args(["-p", "-1", "-l", "127.0.0.1", "-Z", "-o", options]);
    assert_eq!(start.status().unwrap().code(), Some(64), "{options}");
    fs::read_to_string(dir.path().join("stderr")).unwrap()
}

/// A key that is too weak, or of a kind that is not supported, was reported as a fault of the certificate.
#[test]
fn a_key_that_cannot_be_used_is_named() {
    let dir = TempDir::new();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for (name, algorithm) in
        [("weak", "RSA -pkeyopt rsa_keygen_bits:1024"), ("p521", "EC -pkeyopt ec_paramgen_curve:P-521")]
    {
        openssl(&dir, &format!("genpkey -algorithm {algorithm} -out {name}.key"));
        openssl(&dir, &format!("req -x509 -key {name}.key -days 2 -subj /CN=localhost -out {name}.pem"));
        let said = refusal(&format!(
            "ssl_chain_cert={},ssl_key={}",
            path(&format!("{name}.pem")),
            path(&format!("{name}.key"))
        ));
        let start = format!("Error loading the key: {}: ", path(&format!("{name}.key")));
        assert!(said.starts_with(&start) && said.contains("RSA of 2,048 to 8,192 bits"), "{said}");
    }
}
