//! TLS without sockets: turns certificate files into configurations, records into bytes and back. Only `files` reads files.
//! Knows no protocol above TLS.
//!
//! [`Certificates`] is one for all threads: a lock around the loaded configurations, which a reload replaces as a whole. A
//! [`Channel`] belongs to one connection and is touched only by its task; it keeps the configuration it began with.
//!
//! ```text
//!   files ──► Certificates ──(one per kind of listener)──► Channel      one per connection
//!                  ▲ refresh                                  open: decrypts records where they were read
//!                                                             seal: encrypts replies into one buffer
//! ```
//!
//! TLS 1.2 and 1.3 by rustls with AWS-LC's cryptography; rustls chooses the cipher suites.
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
