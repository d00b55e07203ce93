//! The certificate and key files that a server starts with.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{Server, TempDir, command, program};

/// Runs openssl in `dir`.
fn openssl(dir: &TempDir, line: &str) {
    let mut command = Command::new("openssl");
    command.args(line.split(' ')).current_dir(dir.path());
    let output = command.output().expect("openssl is installed");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What an openssl client with these flags is answered to `mn`; nothing if it is refused.
fn answer(port: u16, flags: &str) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}")])
        .args(flags.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // It may have been refused already.
    let _ = input.write_all(b"mn\r\nquit\r\n");
    let output = child.wait_with_output().unwrap();
    drop(input);
    output.stdout
}

/// Files that start memcached ended the start here: certificates of version 1 and with an unknown critical extension, blocks
/// with OpenSSL's trust settings, a key whose label tells another format than it has, and a byte order mark in front.
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
    openssl(&dir, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.key");
    openssl(&dir, "req -x509 -key p521.key -days 2 -subj /CN=localhost -out p521.pem");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let key = fs::read_to_string(path("key.pem")).unwrap();
    fs::write(path("labelled.pem"), key.replace("PRIVATE KEY", "RSA PRIVATE KEY")).unwrap();
    for name in ["v3", "key"] {
        let marked = format!("\u{feff}{}", fs::read_to_string(path(&format!("{name}.pem"))).unwrap());
        fs::write(path(&format!("{name}-marked.pem")), marked).unwrap();
    }
    for (chain, key) in [
        ("v3.pem", "labelled.pem"),
        ("v3-marked.pem", "key-marked.pem"),
        ("v1.pem", "key.pem"),
        ("critical.pem", "key.pem"),
        ("trusted.pem", "key.pem"),
        ("p521.pem", "p521.key"),
    ] {
        let options =
            format!("ssl_chain_cert={},ssl_key={},ssl_ca_cert={}", path(chain), path(key), path(chain));
        let server = Server::start(&["-Z", "-o", &options, "-o", "ssl_verify_mode=1"]);
        assert_eq!(answer(server.port, ""), b"MN\r\n", "{chain} {key}");
    }
    // That rustls cannot read a certificate does not excuse a key that is not its own.
    for chain in ["v1.pem", "critical.pem"] {
        let options = format!("ssl_chain_cert={},ssl_key={}", path(chain), path("other.pem"));
        let said = refusal(&options);
        let expected = format!(
            "Error validating the certificate: {}: the key in {} is not that of its first certificate\n",
            path(chain),
            path("other.pem")
        );
        assert_eq!(said, expected);
    }
}

/// A client certificate of version 1, as home-made CAs issue it, one with a key or of a CA on P-521, and one that stands in
/// the file of trusted CAs itself were refused.
#[test]
fn client_certificates_that_openssl_accepts_are_accepted() {
    let dir = TempDir::new();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for (name, algorithm) in [
        ("ca", "EC -pkeyopt ec_paramgen_curve:P-521"),
        ("impostor", "EC -pkeyopt ec_paramgen_curve:P-521"),
        ("rsa", "RSA -pkeyopt rsa_keygen_bits:2048"),
        ("p384", "EC -pkeyopt ec_paramgen_curve:P-384"),
        ("p521", "EC -pkeyopt ec_paramgen_curve:P-521"),
    ] {
        openssl(&dir, &format!("genpkey -algorithm {algorithm} -out {name}.key"));
        openssl(&dir, &format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
    }
    for name in ["ca", "impostor"] {
        openssl(&dir, &format!("req -x509 -key {name}.key -days 2 -subj /CN=localhost -out {name}.pem"));
    }
    fs::write(path("v3.ext"), "keyUsage = digitalSignature\n").unwrap();
    let issue = |request: &str, authority: &str, days: i32, more: &str, out: &str| {
        openssl(
            &dir,
            &format!(
                "x509 -req -in {request}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -sha512 \
                 -days {days}{more} -out {out}.pem"
            ),
        );
    };
    let options = format!("ssl_chain_cert={},ssl_key={},ssl_ca_cert={0}", path("ca.pem"), path("ca.key"));
    let server = Server::start(&["-Z", "-o", &options, "-o", "ssl_verify_mode=2"]);
    for version in ["-tls1_2", "-tls1_3"] {
        let is_served = |certificate: &str, key: &str| {
            let flags = format!("{version} -cert {} -key {}", path(certificate), path(key));
            answer(server.port, &flags) == b"MN\r\n"
        };
        for key in ["rsa", "p384", "p521"] {
            issue(key, "ca", 2, "", "v1");
            assert!(is_served("v1.pem", &format!("{key}.key")), "version 1, {key}, {version}");
            issue(key, "ca", 2, " -extfile v3.ext", "v3");
            assert!(is_served("v3.pem", &format!("{key}.key")), "version 3, {key}, {version}");
            // A CA of the same name is another one, and what is over is over.
            issue(key, "impostor", 2, "", "forged");
            assert!(!is_served("forged.pem", &format!("{key}.key")), "forged, {key}, {version}");
            issue(key, "ca", -1, "", "expired");
            assert!(!is_served("expired.pem", &format!("{key}.key")), "expired, {key}, {version}");
        }
        // The CA's own, as where one certificate serves for everything; another one of the CA's name and key does not.
        assert!(is_served("ca.pem", "ca.key"), "the CA's own, {version}");
        openssl(&dir, "req -x509 -key ca.key -days 2 -subj /CN=localhost -out twin.pem");
        assert!(!is_served("twin.pem", "ca.key"), "one like the CA's, {version}");
        assert_eq!(answer(server.port, version), b"", "without a certificate");
    }
    // Trusted to be a CA, but for servers only, or no longer.
    for (days, more) in [(2, "extendedKeyUsage=serverAuth\n"), (-1, "")] {
        fs::write(path("ca.ext"), format!("basicConstraints=CA:TRUE\n{more}")).unwrap();
        openssl(
            &dir,
            &format!("x509 -req -in ca.csr -key ca.key -days {days} -extfile ca.ext -out other.pem"),
        );
        let options =
            format!("ssl_chain_cert={0},ssl_key={1},ssl_ca_cert={0}", path("other.pem"), path("ca.key"));
        let server = Server::start(&["-Z", "-o", &options, "-o", "ssl_verify_mode=2"]);
        let flags = format!("-cert {} -key {}", path("other.pem"), path("ca.key"));
        assert_eq!(answer(server.port, &flags), b"", "{days} days{more}");
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

/// An encrypted key was reported as bad base64, or as no key at all.
#[test]
fn an_encrypted_key_is_called_so() {
    let dir = TempDir::new();
    openssl(
        &dir,
        "req -x509 -newkey rsa:2048 -nodes -keyout plain.key -days 2 -subj /CN=localhost -out chain.pem",
    );
    openssl(&dir, "rsa -in plain.key -aes128 -passout pass:secret -traditional -out old.key");
    openssl(&dir, "pkcs8 -topk8 -in plain.key -passout pass:secret -out new.key");
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["old.key", "new.key"] {
        let said = refusal(&format!("ssl_chain_cert={},ssl_key={}", path("chain.pem"), path(name)));
        let expected = format!(
            "Error loading the key: {}: it is encrypted: keys must not have a passphrase\n",
            path(name)
        );
        assert_eq!(said, expected);
    }
}

/// A key that is too weak, or of a kind that is not supported, was reported as a fault of the certificate.
#[test]
fn a_key_that_cannot_be_used_is_named() {
    let dir = TempDir::new();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for (name, algorithm) in [
        ("weak", "RSA -pkeyopt rsa_keygen_bits:1024"),
        ("bitcoin", "EC -pkeyopt ec_paramgen_curve:secp256k1"),
    ] {
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
