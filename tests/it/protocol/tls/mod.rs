//! TLS: handshakes of both versions, server and client certificates, refresh while connections are open, and clients that
//! violate the protocol. Here: certificates for tests, and the client.

mod certificates;
mod files;
mod handshakes;
mod traffic;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::harness::{Server, TempDir, deadline};

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
