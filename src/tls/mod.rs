//! TLS without sockets: turns certificate files into configurations, and records into bytes and back. Only `files` reads files.
//! The module knows no protocol above TLS.
//!
//! All threads share one [`Certificates`]: a lock around the loaded configurations, which a reload replaces as a whole. A
//! [`Channel`] belongs to one connection and only that connection's task touches it. It keeps the configuration it began with.
//!
//! ```text
//!   files ──► Certificates ──(one per kind of listener)──► Channel      one per connection
//!                  ▲ refresh                                  open: decrypts records where they were read
//!                                                             seal: encrypts replies into one buffer
//! ```
//!
//! The versions are TLS 1.2 and 1.3, by rustls with AWS-LC's cryptography. rustls chooses the cipher suites.
//!
//! Each module imports only modules named before it: `der`, `files`, `lenient`, `no_authority`, `channel`, `certificates`.

mod certificates;
mod channel;
mod der;
mod files;
mod lenient;
mod no_authority;
#[cfg(test)]
mod tests;

pub use certificates::{CertificateError, Certificates};
pub use channel::{Channel, Ended, Opened};
