//! Accepts two kinds of client certificates that OpenSSL accepts and rustls does not. A [`Lenient`] is part of a configuration:
//! it is built when certificates are loaded, and then only read by the handshakes of all rings.
//!
//! - Certificates of version 1, which home-made CAs issue; rustls knows only version 3. Such a certificate has no extensions, so
//!   it does not limit the use of its key, and it may not issue certificates. It is accepted if it is valid now and signed
//!   directly by a CA that the operator trusts.
//! - Certificates that are themselves in the file of trusted CAs, as when one certificate from `openssl req -x509` serves every
//!   purpose; rustls never accepts a CA certificate as a client's. Such a certificate is accepted if it is valid now and does not
//!   limit the use of its key.
//!
//! All other certificates are checked by rustls.

use super::der::{Certificate, key_parts};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use std::sync::Arc;

/// The encoded identifier of the extension that limits the use of a key, `extKeyUsage`. Source: RFC 5280, section 4.2.1.12.
const KEY_PURPOSES: &[u8] = &[6, 3, 0x55, 0x1d, 0x25];

/// A verifier that accepts every certificate that `others` accepts, and the two kinds that the module's header describes.
#[derive(Debug)]
pub(super) struct Lenient {
    pub(super) others: Arc<dyn ClientCertVerifier>,
    pub(super) roots: Arc<RootCertStore>,
    /// The CA certificates from which `roots` was made.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        self.others.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.others.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match version_1(end_entity) {
            Some(certificate) => {
                self.verify(&certificate, now.as_secs())?;
                Ok(ClientCertVerified::assertion())
            }
            None => match self.others.verify_client_cert(end_entity, intermediates, now) {
                Err(_) if self.trusts(end_entity, now.as_secs()) => Ok(ClientCertVerified::assertion()),
                verdict => verdict,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match version_1(certificate) {
            // In TLS 1.2 the hash of a scheme may be used with any curve, so all algorithms of the scheme are tried.
            Some(own) => self.verify_handshake(message, &own, signed, usize::MAX),
            None => self.others.verify_tls12_signature(message, certificate, signed),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match version_1(certificate) {
            // In TLS 1.3 a scheme fixes both hash and curve, so only its first algorithm is tried. Source:
            // `WebPkiSupportedAlgorithms::mapping`.
            Some(own) => self.verify_handshake(message, &own, signed, 1),
            None => self.others.verify_tls13_signature(message, certificate, signed),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

impl Lenient {
    /// True if `certificate` is one of the CAs that the operator trusts, is valid now, is its own issuer, and does not limit the
    /// use of its key. Such a certificate may be a client's.
    fn trusts(&self, certificate: &CertificateDer<'_>, unix_now: u64) -> bool {
        let is_own = |read: &Certificate<'_>| read.issuer == read.subject && is_alive(read, unix_now).is_ok();
        self.trusted.iter().any(|trusted| **trusted == **certificate)
            && memchr::memmem::find(certificate, KEY_PURPOSES).is_none()
            && Certificate::read(certificate).as_ref().is_some_and(is_own)
    }

    /// Checks that a certificate of version 1 is valid now and is signed by a trusted CA.
    fn verify(&self, certificate: &Certificate<'_>, unix_now: u64) -> Result<(), CertificateError> {
        is_alive(certificate, unix_now)?;
        // Name constraints apply to extensions, and a certificate of version 1 has none.
        let may_have_issued = |root: &&TrustAnchor<'_>| {
            root.subject.as_ref() == certificate.issuer && root.name_constraints.is_none()
        };
        let mut issuers = self.roots.roots.iter().filter(may_have_issued);
        let has_signed = |root: &TrustAnchor<'_>| {
            let algorithms = self.algorithms.all.iter();
            let mut algorithms = algorithms
                .filter(|algorithm| *algorithm.signature_alg_id() == *certificate.signature_algorithm);
            algorithms.any(|algorithm| {
                verify_with(
                    *algorithm,
                    &root.subject_public_key_info,
                    certificate.signed,
                    certificate.signature,
                )
            })
        };
        if issuers.any(has_signed) { Ok(()) } else { Err(CertificateError::UnknownIssuer) }
    }

    /// Checks the signature of a handshake. At most the first `algorithms_max` algorithms of its scheme are tried.
    fn verify_handshake(
        &self,
        message: &[u8],
        certificate: &Certificate<'_>,
        signed: &DigitallySignedStruct,
        algorithms_max: usize,
    ) -> Result<HandshakeSignatureValid, Error> {
        let of_scheme = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let algorithms = of_scheme.map_or(&[][..], |(_, algorithms)| algorithms);
        let mut algorithms = algorithms.iter().take(algorithms_max);
        if algorithms.any(|algorithm| verify_with(*algorithm, certificate.key, message, signed.signature())) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }
}

fn is_alive(certificate: &Certificate<'_>, unix_now: u64) -> Result<(), CertificateError> {
    let (first, last) = certificate.lifetime().ok_or(CertificateError::BadEncoding)?;
    if unix_now < first {
        return Err(CertificateError::NotValidYet);
    }
    if unix_now > last { Err(CertificateError::Expired) } else { Ok(()) }
}

/// Parses a certificate of version 1; `None` for a certificate of another version.
fn version_1<'d>(certificate: &'d CertificateDer<'_>) -> Option<Certificate<'d>> {
    Certificate::read(certificate).filter(|certificate| certificate.is_version_1)
}

/// True if `algorithm` is for keys like `key`, and `signature` is the signature of `message` by `key`.
fn verify_with(
    algorithm: &dyn SignatureVerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    key_parts(key).is_some_and(|(of_key, bits)| {
        *algorithm.public_key_alg_id() == *of_key
            && algorithm.verify_signature(bits, message, signature).is_ok()
    })
}
