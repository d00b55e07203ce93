//! TLS for one connection: records in, plain bytes out, and the reverse. It does no I/O. The connection's task owns its
//! [`Channel`].
//!
//! ```text
//!   read ──► open ─┬─► plain bytes                  of whole records; a partial record is kept
//!                  └─► outgoing ──► send            handshake, alerts
//!   reply ─► seal ───► outgoing ──► send
//! ```
//!
//! The owner need not follow the handshake: until it is complete, `open` returns no plain bytes.

use rustls::HandshakeKind;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use std::sync::Arc;

/// Most bytes that encryption adds to a record: header, nonce, type and tag of any suite, rounded up.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Most plain bytes in one record. Source: RFC 8446, section 5.1.
const RECORD_CONTENT_BYTES_MAX: usize = 16 * 1024;
/// Capacity above which a buffer whose bytes have been sent is freed instead of reused, bytes.
const KEPT_BYTES_MAX: usize = 128 * 1024;

/// The reason why a channel has ended, so that no more bytes can be received.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// The client has closed the channel properly, with a close alert.
    ByPeer,
    /// The client has violated TLS or failed authentication. The alert that reports this to the client may be among the outgoing
    /// bytes.
    Broken(rustls::Error),
}

/// Result of one call of [`Channel::open`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opened {
    /// True if the received bytes have completed the handshake.
    pub is_established: bool,
    /// The reason why the channel has ended; `None` if it has not.
    pub ended: Option<Ended>,
}

/// The TLS state of one connection. It takes the bytes received, and makes the bytes to send.
pub struct Channel {
    tls: UnbufferedServerConnection,
    /// The received bytes of an incomplete record. rustls remembers how far it has parsed them, so each call must pass all of
    /// them again.
    records: Vec<u8>,
    /// Encrypted records and handshake bytes that the caller has not taken yet.
    outgoing: Vec<u8>,
    is_established: bool,
    /// True after an error of rustls. rustls must not be called again, because it panics if it meets the same error twice.
    is_broken: bool,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("is_established", &self.is_established).finish_non_exhaustive()
    }
}

/// What the loop over rustls's states does next.
enum Step {
    /// Call rustls again with the rest of the input.
    More,
    /// Stop, because rustls needs more input or is ready to encrypt.
    Idle,
    Ended(Ended),
}

impl Channel {
    /// Makes the channel of a new connection.
    ///
    /// # Errors
    /// rustls rejects the configuration.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let tls = UnbufferedServerConnection::new(config)?;
        Ok(Self { tls, records: Vec::new(), outgoing: Vec::new(), is_established: false, is_broken: false })
    }

    /// True if the handshake is complete, so that [`Channel::seal`] may be called.
    pub fn is_established(&self) -> bool {
        self.is_established
    }

    /// True unless the handshake has resumed an earlier TLS session. Meaningful only once the handshake is complete.
    pub fn is_new_session(&self) -> bool {
        self.tls.handshake_kind() != Some(HandshakeKind::Resumed)
    }

    /// Decrypts received bytes in place, and appends the plain bytes to `plain`. In any case, handshake bytes or alerts may have
    /// been added to the outgoing bytes.
    pub fn open(&mut self, received: &mut [u8], plain: &mut Vec<u8>) -> Opened {
        if self.is_broken {
            return Opened { is_established: false, ended: Some(Ended::Broken(rustls::Error::DecryptError)) };
        }
        let ended = if self.records.is_empty() {
            let (used, ended) = self.process(received, plain);
            self.records.extend_from_slice(&received[used..]);
            ended
        } else {
            let mut records = std::mem::take(&mut self.records);
            records.extend_from_slice(received);
            let (used, ended) = self.process(&mut records, plain);
            records.drain(..used);
            self.records = records;
            ended
        };
        if self.records.is_empty() && self.records.capacity() > 0 {
            // Most reads end at a record boundary, except while a large value is received.
            self.records = Vec::new();
        }
        let is_established = !self.is_established && !self.tls.is_handshaking() && ended.is_none();
        self.is_established |= is_established;
        Opened { is_established, ended }
    }

    /// Encrypts `bytes` and appends the records to the outgoing bytes.
    ///
    /// # Errors
    /// The handshake is not complete, the channel has failed, or its keys are used up and the client has not agreed to new ones.
    pub fn seal(&mut self, bytes: &[u8]) -> Result<(), rustls::Error> {
        let records = bytes.len().div_ceil(RECORD_CONTENT_BYTES_MAX);
        let room = bytes.len() + records * RECORD_OVERHEAD_BYTES;
        self.write(room, |traffic, to| traffic.encrypt(bytes, to))
    }

    /// Appends the close alert to the outgoing bytes, if the handshake is complete. Nothing can be sealed afterwards.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is not general enough over lifetimes"
    )]
    pub fn close(&mut self) {
        // Before the handshake is complete there is no close alert.
        let _ = self.write(RECORD_OVERHEAD_BYTES, |traffic, to| traffic.queue_close_notify(to));
    }

    /// Returns the number of bytes that [`Channel::take_outgoing`] would return.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Takes the bytes to send, which the caller must send before any later bytes.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Gives back the buffer that [`Channel::take_outgoing`] has returned, after the send. It is reused unless its capacity is
    /// large.
    pub fn reuse(&mut self, mut sent: Vec<u8>) {
        sent.clear();
        if self.outgoing.is_empty() && sent.capacity() <= KEPT_BYTES_MAX {
            self.outgoing = sent;
        }
    }

    /// Frees the buffer for outgoing bytes if it is empty. Call this for a connection that waits for its client.
    pub fn trim(&mut self) {
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }

    /// Runs rustls over the complete records in `input`. Returns how many bytes of `input` were used, and why the channel has
    /// ended; `None` if it has not.
    fn process(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> (usize, Option<Ended>) {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut input[used..]);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        None => break Step::More,
                        Some(Err(error)) => break Step::Ended(Ended::Broken(error)),
                        Some(Ok(record)) => {
                            plain.extend_from_slice(record.payload);
                            discard += record.discard;
                        }
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outgoing, 0, |to| data.encode(to).map_err(Refused::from));
                    Step::More
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // Outgoing bytes are sent before anything else, so they may count as sent.
                    data.done();
                    Step::More
                }
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => Step::Idle,
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Step::Ended(Ended::ByPeer),
                // Early data, which is never offered, and states that later versions of rustls add.
                Ok(_) => Step::Ended(Ended::Broken(rustls::Error::General("unexpected state".to_owned()))),
                Err(error) => Step::Ended(Ended::Broken(error)),
            };
            used += discard;
            match step {
                Step::More => {}
                Step::Idle => return (used, None),
                Step::Ended(ended) => {
                    if ended != Ended::ByPeer {
                        self.last_words();
                    }
                    return (used, Some(ended));
                }
            }
        }
    }

    /// Appends the alert for the client to the outgoing bytes after an error of rustls. rustls must not be called afterwards.
    fn last_words(&mut self) {
        self.is_broken = true;
        while self.tls.wants_write() {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outgoing, 0, |to| data.encode(to).map_err(Refused::from));
                }
                _ => return,
            }
        }
    }

    /// Appends the bytes that rustls itself has to send, then runs `write` with a buffer of at least `room` bytes. `Err` if
    /// rustls is not ready to encrypt or `write` fails.
    fn write(
        &mut self,
        room: usize,
        mut write: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), rustls::Error> {
        if self.is_broken {
            return Err(rustls::Error::EncryptError);
        }
        loop {
            // These bytes hold no whole record, because `open` has consumed them all.
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(&mut self.records);
            let result = match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let done =
                        encode(&mut self.outgoing, room, |to| write(&mut traffic, to).map_err(Refused::from));
                    Some(if done { Ok(()) } else { Err(rustls::Error::EncryptError) })
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outgoing, 0, |to| data.encode(to).map_err(Refused::from));
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => None,
                Ok(_) => Some(Err(rustls::Error::HandshakeNotComplete)),
                Err(error) => Some(Err(error)),
            };
            self.records.drain(..discard);
            if let Some(result) = result {
                self.is_broken |= result.is_err();
                return result;
            }
        }
    }
}

type Traffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;

/// The reason why rustls wrote nothing into the buffer.
enum Refused {
    /// The buffer must have at least this many bytes.
    Room(usize),
    /// rustls will not write these bytes at all.
    Never,
}

impl From<EncodeError> for Refused {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Room(required_size)
            }
            EncodeError::AlreadyEncoded => Self::Never,
        }
    }
}

impl From<EncryptError> for Refused {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Room(required_size)
            }
            EncryptError::EncryptExhausted => Self::Never,
        }
    }
}

/// Appends to `outgoing` the bytes that `write` puts into a buffer. The buffer has `room` bytes, or more if `write` asks for
/// more. False, with nothing appended, if `write` fails.
fn encode(
    outgoing: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Refused>,
) -> bool {
    let from = outgoing.len();
    let mut room = room;
    loop {
        outgoing.resize(from + room, 0);
        match write(&mut outgoing[from..]) {
            Ok(written) => {
                outgoing.truncate(from + written);
                return true;
            }
            Err(Refused::Room(required)) if required > room => room = required,
            Err(_) => {
                outgoing.truncate(from);
                return false;
            }
        }
    }
}
