//! Reads certificates and keys from files, and accepts what OpenSSL accepts, because files that start memcached should start
//! memcrsd. The functions are called when certificates are loaded or reloaded, and hold no state.
//!
//! rustls checks a server's own certificate as strictly as a peer's: it requires version 3 and must know every critical
//! extension. Whether to accept the server's certificate is for the client to decide, so this module checks only that the key
//! belongs to it.

use super::der::{Certificate, first_element};
use crate::logging;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, Der, PrivateKeyDer, TrustAnchor};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// PEM labels that OpenSSL accepts for a certificate, in addition to `CERTIFICATE`. Source: OpenSSL, `pem.h`.
const OTHER_LABELS: [&str; 2] = ["TRUSTED CERTIFICATE-----", "X509 CERTIFICATE-----"];

/// Returns all certificates in a PEM file, at least one. `Err` is the reason for a message.
pub(super) fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let none = "it contains no certificate";
    let mut text = text_of(path)?;
    for label in OTHER_LABELS {
        text = text.replace(label, "CERTIFICATE-----");
    }
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .map(|found| found.map(without_trust))
        .collect::<Result<_, _>>()
        .map_err(|error| reason(&error, none))?;
    if found.is_empty() { Err(none.to_owned()) } else { Ok(found) }
}

/// Returns the text of a PEM file, without a byte order mark. `Err` is the reason for a message.
fn text_of(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| logging::reason(&error))?;
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Returns `found` without OpenSSL's trust settings, which follow the certificate in a `TRUSTED CERTIFICATE`.
fn without_trust(found: CertificateDer<'static>) -> CertificateDer<'static> {
    match first_element(&found) {
        Some(certificate) if certificate.len() < found.len() => CertificateDer::from(certificate.to_vec()),
        _ => found,
    }
}

/// Adds a CA that the operator trusts to `roots`. If rustls does not accept the extensions of the CA's certificate, only the name
/// and the key are added.
pub(super) fn add_root(roots: &mut RootCertStore, certificate: CertificateDer<'static>) -> Result<(), Error> {
    let anchor = anchor(&certificate);
    let Err(unreadable) = roots.add(certificate) else { return Ok(()) };
    roots.roots.push(anchor.ok_or(unreadable)?);
    Ok(())
}

/// Returns the name and the key of a CA certificate, as a root for rustls; `None` if it is not a certificate.
fn anchor(certificate: &[u8]) -> Option<TrustAnchor<'static>> {
    let certificate = Certificate::read(certificate)?;
    let owned = |content: &[u8]| Der::from(content.to_vec());
    let (subject, key) = (owned(certificate.subject), owned(certificate.key));
    Some(TrustAnchor { subject, subject_public_key_info: key, name_constraints: None })
}

/// Returns the private key in a PEM file. `Err` is the reason for a message.
pub(super) fn pem_key_in(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = text_of(path)?;
    if text.contains("ENCRYPTED") {
        return Err("it is encrypted: keys must not have a passphrase".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|error| reason(&error, "it contains no private key"))?;
    // The kind of key is recognized by its content, not by its label, as OpenSSL does.
    Ok(PrivateKeyDer::try_from(key.secret_der().to_vec()).unwrap_or(key))
}

/// Returns the private key in a DER file. `Err` is the reason for a message.
pub(super) fn der_key_in(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = std::fs::read(path).map_err(|error| logging::reason(&error))?;
    PrivateKeyDer::try_from(bytes).map_err(str::to_owned)
}

/// Combines a certificate chain and the key of its first certificate. `Err` if the key belongs to another certificate, or if the
/// first element of the chain is not a certificate.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Result<CertifiedKey, Error> {
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(mismatch @ Error::InconsistentKeys(_)) => return Err(mismatch),
        // rustls cannot read the certificate. In it, the public key is one element, so its bytes can be searched for.
        Err(unreadable) => {
            let own = certified.end_entity_cert()?;
            if first_element(own).is_none() {
                return Err(unreadable);
            }
            let public = certified.key.public_key();
            let has = |key: &[u8]| memchr::memmem::find(own, key).is_some();
            if public.is_some_and(|public| !has(&public)) {
                return Err(InconsistentKeys::KeyMismatch.into());
            }
        }
    }
    Ok(certified)
}

/// Returns the text of `error` for a message. `none` is the text if the file contains nothing of the requested kind.
fn reason(error: &pem::Error, none: &str) -> String {
    match error {
        pem::Error::Io(error) => logging::reason(error),
        pem::Error::NoItemsFound => none.to_owned(),
        error => error.to_string(),
    }
}
