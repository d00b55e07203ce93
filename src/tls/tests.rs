//! Tests of a channel connected to a rustls client.

use super::{Channel, Ended};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::sync::Arc;

struct Pair {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Pair {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = CertificateDer::from(cert.der().to_vec());
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS12, &TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    fn connect(&self) -> (Channel, ClientConnection) {
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        (Channel::new(Arc::clone(&self.server)).unwrap(), client)
    }

    /// Returns the two ends of a connection whose handshake is complete.
    fn established(&self) -> (Channel, ClientConnection) {
        let (mut channel, mut client) = self.connect();
        let mut plain = Vec::new();
        while client.is_handshaking() || !channel.is_established() {
            assert_eq!(channel.open(&mut said(&mut client), &mut plain).ended, None);
            hear(&mut client, &channel.take_outgoing());
        }
        assert!(plain.is_empty());
        (channel, client)
    }
}

/// Takes the bytes that the client's end of the channel wants to send.
fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn hear(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
    }
}

/// Takes the plain bytes that the client's end of the channel has received.
fn heard(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = client.reader().read_to_end(&mut bytes);
    bytes
}

#[test]
fn bytes_pass_however_they_are_split() {
    for version in [&TLS12, &TLS13] {
        let pair = Pair::new(version);
        for piece_bytes in [1, 2, 7, 1000, usize::MAX] {
            let (mut channel, mut client) = pair.connect();
            let (mut plain, mut established, mut turns) = (Vec::new(), 0, 0);
            client.writer().write_all(&[b'x'; 5000]).unwrap();
            while plain.len() < 5000 {
                for piece in said(&mut client).chunks_mut(piece_bytes) {
                    let opened = channel.open(piece, &mut plain);
                    assert_eq!(opened.ended, None);
                    established += usize::from(opened.is_established);
                }
                hear(&mut client, &channel.take_outgoing());
                turns += 1;
                assert!(turns < 10, "the handshake goes on");
            }
            assert_eq!((plain, established), (vec![b'x'; 5000], 1));
            // A partial record does not keep the server from sending.
            client.writer().write_all(b"ab").unwrap();
            let mut record = said(&mut client);
            let (front, rest) = record.split_at_mut(9);
            let mut plain = Vec::new();
            channel.open(front, &mut plain);
            let reply: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
            channel.seal(&reply).unwrap();
            channel.seal(b"").unwrap();
            let outgoing = channel.take_outgoing();
            let mut answer = Vec::new();
            for piece in outgoing.chunks(10_000) {
                hear(&mut client, piece);
                answer.extend(heard(&mut client));
            }
            assert!(answer == reply);
            channel.open(rest, &mut plain);
            assert_eq!(plain, b"ab");
        }
    }
}

#[test]
fn keys_are_updated() {
    let pair = Pair::new(&TLS13);
    let (mut channel, mut client) = pair.established();
    let mut plain = Vec::new();
    for _ in 0..3 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(b"after").unwrap();
        let mut records = said(&mut client);
        let (front, rest) = records.split_at_mut(7);
        channel.open(front, &mut plain);
        channel.seal(b"between").unwrap();
        channel.open(rest, &mut plain);
        channel.seal(b"then").unwrap();
        hear(&mut client, &channel.take_outgoing());
        assert_eq!(heard(&mut client), b"betweenthen");
    }
    assert_eq!(plain, b"afterafterafter");
}

#[test]
fn either_side_can_close_alone() {
    for version in [&TLS12, &TLS13] {
        let (mut channel, mut client) = Pair::new(version).established();
        client.writer().write_all(b"last").unwrap();
        client.send_close_notify();
        let mut plain = Vec::new();
        let opened = channel.open(&mut said(&mut client), &mut plain);
        assert_eq!((opened.ended, plain.as_slice()), (Some(Ended::ByPeer), &b"last"[..]));
        channel.seal(b"reply").unwrap();
        channel.close();
        hear(&mut client, &channel.take_outgoing());
        assert_eq!(heard(&mut client), b"reply");
    }
}

/// Corrupts every byte of a handshake and of the data after it, one at a time. The channel fails or continues, and after a
/// failure it neither opens nor seals.
#[test]
fn no_corrupt_byte_is_fatal_to_the_server() {
    for version in [&TLS12, &TLS13] {
        let pair = Pair::new(version);
        let mut refused = 0;
        for (at, bit) in (0..900).map(|at| (at, 1 << (at % 8))).chain((0..20).map(|at| (at, 0x80))) {
            let (mut channel, mut client) = pair.connect();
            let (mut plain, mut sent, mut broken) = (Vec::new(), 0, false);
            client.writer().write_all(b"text").unwrap();
            for _ in 0..4 {
                let mut bytes = said(&mut client);
                if (sent..sent + bytes.len()).contains(&at) {
                    bytes[at - sent] ^= bit;
                }
                sent += bytes.len();
                let opened = channel.open(&mut bytes, &mut plain);
                broken |= matches!(opened.ended, Some(Ended::Broken(_)));
                let outgoing = channel.take_outgoing();
                let mut outgoing = outgoing.as_slice();
                while !outgoing.is_empty() && client.read_tls(&mut outgoing).is_ok() {
                    let _ = client.process_new_packets();
                }
            }
            if broken {
                refused += 1;
                assert!(channel.seal(b"anything").is_err());
                channel.close();
                assert!(channel.open(&mut [0x16, 3, 1], &mut plain).ended.is_some());
            }
        }
        assert!(refused > 100, "{refused}");
    }
}
