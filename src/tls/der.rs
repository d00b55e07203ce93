//! Reads as much of DER as is needed to find the parts of a certificate of any version. Pure functions; a [`Certificate`] borrows
//! from the bytes.
//!
//! Source: X.690, section 8.1; RFC 5280, section 4.1.

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The tag of the field for a certificate's version. A certificate of version 1 has no such field.
const VERSION: u8 = 0xa0;

/// Returns the lengths of the head and of the content of the first element in `der`, bytes. `None` if the head is malformed or
/// the element is not complete.
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

/// Returns the first element of `der` with its head; `None` if `der` does not begin with a complete element.
pub(super) fn first_element(der: &[u8]) -> Option<&[u8]> {
    let (head, content) = lengths(der)?;
    der.get(..head + content)
}

/// Takes the first element with its head from the front of `der`; `None` if `der` does not begin with a complete element.
fn take_element<'d>(der: &mut &'d [u8]) -> Option<&'d [u8]> {
    let (element, rest) = der.split_at(first_element(der)?.len());
    *der = rest;
    Some(element)
}

/// Takes the first element from the front of `der`, and returns its content without the head; `None` if `der` does not begin with
/// a complete element.
fn take_content<'d>(der: &mut &'d [u8]) -> Option<&'d [u8]> {
    let (head, _) = lengths(der)?;
    take_element(der)?.get(head..)
}

/// Takes a bit string from the front of `der`, and returns its bits as bytes. `None` if the number of bits is not a multiple of
/// 8.
fn take_bits<'d>(der: &mut &'d [u8]) -> Option<&'d [u8]> {
    take_content(der)?.strip_prefix(&[0])
}

/// The parts of a certificate. Each part except `signed` is the content of its element, without the head.
#[derive(Debug)]
pub(super) struct Certificate<'d> {
    pub(super) is_version_1: bool,
    /// The element that the signature covers, with its head.
    pub(super) signed: &'d [u8],
    pub(super) signature_algorithm: &'d [u8],
    pub(super) signature: &'d [u8],
    pub(super) issuer: &'d [u8],
    validity: &'d [u8],
    pub(super) subject: &'d [u8],
    pub(super) key: &'d [u8],
}

impl<'d> Certificate<'d> {
    /// Parses `der`; `None` if `der` is not a certificate.
    pub(super) fn read(mut der: &'d [u8]) -> Option<Self> {
        let mut body = take_content(&mut der)?;
        let signed = first_element(body)?;
        let mut fields = take_content(&mut body)?;
        let signature_algorithm = take_content(&mut body)?;
        let signature = take_bits(&mut body)?;
        let is_version_1 = fields.first() != Some(&VERSION);
        if !is_version_1 {
            take_content(&mut fields)?;
        }
        take_content(&mut fields)?; // the serial number
        // The algorithm is named twice, so that the signature covers its name too.
        if take_content(&mut fields)? != signature_algorithm {
            return None;
        }
        let mut next = || take_content(&mut fields);
        let (issuer, validity, subject, key) = (next()?, next()?, next()?, next()?);
        Some(Self { is_version_1, signed, signature_algorithm, signature, issuer, validity, subject, key })
    }

    /// Returns the first and the last second at which the certificate is valid, Unix time. `None` if they cannot be parsed.
    pub(super) fn lifetime(&self) -> Option<(u64, u64)> {
        let mut times = self.validity;
        Some((unix_secs(take_element(&mut times)?)?, unix_secs(take_element(&mut times)?)?))
    }
}

/// Splits a public key into its algorithm and the bits of the key. `None` if it is malformed.
pub(super) fn key_parts(mut key: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((take_content(&mut key)?, take_bits(&mut key)?))
}

/// Parses a time element as Unix time, seconds; 0 for a time before 1970. `None` if the element is malformed.
fn unix_secs(mut element: &[u8]) -> Option<u64> {
    let tag = *element.first()?;
    let text = take_content(&mut element)?.strip_suffix(b"Z")?;
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pairs: Vec<i64> =
        text.chunks_exact(2).map(|pair| i64::from(pair[0] & 15) * 10 + i64::from(pair[1] & 15)).collect();
    let (year, rest) = match (tag, &pairs[..]) {
        (UTC_TIME, [year, rest @ ..]) => (if *year < 50 { 2000 + year } else { 1900 + year }, rest),
        (GENERALIZED_TIME, [century, year, rest @ ..]) => (century * 100 + year, rest),
        _ => return None,
    };
    let &[month, day, hour, minute, second] = rest else { return None };
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_to_1970 = 719_468;
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - days_to_1970;
    Some(u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).unwrap_or(0))
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
            assert!(Certificate::read(cut).is_none());
        }
    }

    /// The bytes of a certificate come from clients, so no bytes may cause a panic.
    #[test]
    fn no_certificate_is_too_broken_to_be_looked_at() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let mut bytes = made.cert.der().to_vec();
        let whole = Certificate::read(&bytes).unwrap();
        assert!(!whole.is_version_1 && key_parts(whole.key).is_some());
        assert_eq!(whole.issuer, whole.subject);
        assert_eq!(whole.lifetime(), Some((157_766_400, 67_090_118_400)));
        for len in 0..bytes.len() {
            assert!(Certificate::read(&bytes[..len]).is_none(), "{len}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let parts = Certificate::read(&bytes);
                let _ = parts.map(|parts| (parts.lifetime(), key_parts(parts.key).is_some()));
                bytes[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn times_are_read() {
        let time = |tag, text: &str| {
            let head = [tag, text.len() as u8];
            unix_secs(&[&head, text.as_bytes()].concat())
        };
        for (tag, text, secs) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229123456Z", Some(951_827_696)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (GENERALIZED_TIME, "20500301000000Z", Some(2_529_705_600)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERALIZED_TIME, "00000101000000Z", Some(0)),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "70010100000xZ", None),
            (UTC_TIME, "700101000000", None),
            (GENERALIZED_TIME, "700101000000Z", None),
            (4, "700101000000Z", None),
        ] {
            assert_eq!(time(tag, text), secs, "{text}");
        }
    }
}
