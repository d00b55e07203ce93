//! Certificates and keys from files, as widely as OpenSSL reads them: what starts memcached should start memcrsd.
//!
//! rustls judges a server's own certificate by the rules for those of others: it wants version 3 and knows every critical
//! extension. Whether to accept it is the client's business, so here only its key is compared.

use crate::logging;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, Der, PrivateKeyDer, TrustAnchor};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// What OpenSSL reads as a certificate besides `CERTIFICATE`. Source: OpenSSL, `pem.h`.
const OTHER_LABELS: [&str; 2] = ["TRUSTED CERTIFICATE-----", "X509 CERTIFICATE-----"];

/// All certificates in a PEM file, at least one; or the reason as text.
pub(super) fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let none = "it contains no certificate";
    let bytes = std::fs::read(path).map_err(|error| logging::reason(&error))?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    for label in OTHER_LABELS {
        text = text.replace(label, "CERTIFICATE-----");
    }
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .map(|found| found.map(without_trust))
        .collect::<Result<_, _>>()
        .map_err(|error| reason(&error, none))?;
    if found.is_empty() { Err(none.to_owned()) } else { Ok(found) }
}

/// The certificate itself: OpenSSL's trust settings of a `TRUSTED CERTIFICATE` stand behind it.
fn without_trust(found: CertificateDer<'static>) -> CertificateDer<'static> {
    match first_element(&found) {
        Some(certificate) if certificate.len() < found.len() => CertificateDer::from(certificate.to_vec()),
        _ => found,
    }
}

/// The lengths of the head and of the content of the first element of DER. Source: X.690, 8.1.3.
fn lengths(der: &[u8]) -> Option<(usize, usize)> {
    let (&length, rest) = der.get(1..)?.split_first()?;
    let (head, content) = match length {
        0..=0x7f => (2, usize::from(length)),
        0x81..=0x84 => {
            let digits = usize::from(length & 0x7f);
            let number = rest.get(..digits)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte));
            (2 + digits, number)
        }
        _ => return None,
    };
    (der.len() >= head + content).then_some((head, content))
}

/// The first element, with its head.
fn first_element(der: &[u8]) -> Option<&[u8]> {
    let (head, content) = lengths(der)?;
    der.get(..head + content)
}

/// The content of the first element, which is taken from the front of `der`.
fn take_content<'d>(der: &mut &'d [u8]) -> Option<&'d [u8]> {
    let (head, content) = lengths(der)?;
    let (element, rest) = der.split_at(head + content);
    *der = rest;
    element.get(head..)
}

/// Adds a CA that the operator trusts, whatever rustls thinks of its extensions.
pub(super) fn add_root(roots: &mut RootCertStore, certificate: CertificateDer<'static>) -> Result<(), Error> {
    let anchor = anchor(&certificate);
    let Err(unreadable) = roots.add(certificate) else { return Ok(()) };
    roots.roots.push(anchor.ok_or(unreadable)?);
    Ok(())
}

/// The name and the key of a certificate. Source: RFC 5280, section 4.1.
fn anchor(mut certificate: &[u8]) -> Option<TrustAnchor<'static>> {
    const VERSION: u8 = 0xa0;
    let mut body = take_content(&mut certificate)?;
    let mut fields = take_content(&mut body)?;
    if fields.first() == Some(&VERSION) {
        take_content(&mut fields)?;
    }
    for _serial_signature_issuer_validity in 0..4 {
        take_content(&mut fields)?;
    }
    let mut next = || take_content(&mut fields).map(|content| Der::from(content.to_vec()));
    Some(TrustAnchor { subject: next()?, subject_public_key_info: next()?, name_constraints: None })
}

/// The private key in a PEM file, or the reason as text.
pub(super) fn pem_key_in(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let key = PrivateKeyDer::from_pem_file(path)
        .map_err(|error| reason(&error, "it contains no unencrypted private key"))?;
    // By what it is, not by what its label says: OpenSSL looks into it too.
    Ok(PrivateKeyDer::try_from(key.secret_der().to_vec()).unwrap_or(key))
}

/// The private key in a DER file, or the reason as text.
pub(super) fn der_key_in(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = std::fs::read(path).map_err(|error| logging::reason(&error))?;
    PrivateKeyDer::try_from(bytes).map_err(str::to_owned)
}

/// A chain with its key, if they belong together.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Result<CertifiedKey, Error> {
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(mismatch @ Error::InconsistentKeys(_)) => return Err(mismatch),
        // rustls cannot read the certificate. The public key stands in it as one element.
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

/// `error` as text; `none` is the text for an empty file.
fn reason(error: &pem::Error, none: &str) -> String {
    match error {
        pem::Error::Io(error) => logging::reason(error),
        pem::Error::NoItemsFound => none.to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_element_ends_where_it_says() {
        assert_eq!(first_element(&[0x30, 2, 1, 2, 9, 9]), Some(&[0x30, 2, 1, 2][..]));
        let long = [&[0x30, 0x82, 1, 0][..], &[7; 300]].concat();
        assert_eq!(first_element(&long).map(<[u8]>::len), Some(260));
        for cut in [
            &[][..],
            &[0x30],
            &[0x30, 3, 1],
            &[0x30, 0x82, 1],
            &[0x30, 0x80],
            &[0x30, 0x84, 255, 255, 255, 255],
        ] {
            assert_eq!(first_element(cut), None, "{cut:?}");
            assert!(anchor(cut).is_none());
        }
    }
}
