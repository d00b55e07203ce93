//! TLS without I/O: certificates to configurations, records to bytes and back. Sees no socket and no protocol.
//!
//! ```text
//!   files ──► Certificates ──(one per kind of listener)──► Channel      one per connection
//!                  ▲ refresh                                  open: records, decrypted where they were read
//!                                                             seal: replies, encrypted into one output
//! ```
//!
//! TLS 1.2 and 1.3 are spoken, by rustls with ring's cryptography; cipher suites are rustls's own choice.

mod certificates;
mod channel;
#[cfg(test)]
mod tests;

pub use certificates::{CertificateError, Certificates};
pub use channel::{Channel, Ended, Opened};
