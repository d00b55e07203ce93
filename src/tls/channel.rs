//! One connection's encryption: records in, bytes out, and back. No I/O.
//!
//! ```text
//!   read ──► open ─┬─► plain bytes                  of whole records; the front of an unfinished one is kept
//!                  └─► outgoing ──► send            handshake, alerts
//!   reply ─► seal ───► outgoing ──► send
//! ```
//!
//! The handshake is no state of its own to the owner: until it is done, `open` gives no plain bytes.

use rustls::HandshakeKind;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use std::sync::Arc;

/// Bytes that a record may take beside its contents: header, nonce, type and tag of any suite, rounded up.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Most contents of one record, bytes. Source: RFC 8446, section 5.1.
const RECORD_CONTENT_BYTES_MAX: usize = 16 * 1024;
/// An empty outgoing or records buffer that grew beyond this is given back, bytes.
const KEPT_BYTES_MAX: usize = 128 * 1024;

/// Why nothing more will come out of a channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// The client has said that it is done.
    ByPeer,
    /// The client has broken the rules of TLS, or could not be authenticated; an alert that says so may be outgoing.
    Broken(rustls::Error),
}

/// What became of received bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opened {
    /// The handshake has just been completed.
    pub is_established: bool,
    /// Nothing more will come.
    pub ended: Option<Ended>,
}

/// The encryption of one connection.
pub struct Channel {
    tls: UnbufferedServerConnection,
    /// The front of an unfinished record. rustls remembers how far into it it has looked, so it is shown these bytes at
    /// every call.
    records: Vec<u8>,
    /// Records to be sent.
    outgoing: Vec<u8>,
    is_established: bool,
    /// rustls has met an error. It may not be asked anything again: it would meet the error again, and asserts that it
    /// has not.
    is_broken: bool,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("is_established", &self.is_established).finish_non_exhaustive()
    }
}

/// Where rustls has come to.
enum Step {
    /// It goes on.
    More,
    /// It needs more bytes, or it may send.
    Idle,
    Ended(Ended),
}

impl Channel {
    /// A channel whose client has sent nothing yet.
    ///
    /// # Errors
    /// Of rustls, for a configuration it cannot use.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let tls = UnbufferedServerConnection::new(config)?;
        Ok(Self { tls, records: Vec::new(), outgoing: Vec::new(), is_established: false, is_broken: false })
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        self.is_established
    }

    /// Whether the session is a new one, not one that was resumed.
    pub fn is_new_session(&self) -> bool {
        self.tls.handshake_kind() != Some(HandshakeKind::Resumed)
    }

    /// Takes received bytes, decrypts them in place, and appends what they say to `plain`. Answers of TLS's own are
    /// outgoing afterwards, whatever the outcome.
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
            // Most reads end with a record; those that do not are a large value on its way, or rare.
            self.records = Vec::new();
        }
        let is_established = !self.is_established && !self.tls.is_handshaking() && ended.is_none();
        self.is_established |= is_established;
        Opened { is_established, ended }
    }

    /// Encrypts `bytes` behind what is outgoing.
    ///
    /// # Errors
    /// The handshake is not done, or the connection's keys are used up and the client has not agreed to new ones.
    pub fn seal(&mut self, bytes: &[u8]) -> Result<(), rustls::Error> {
        let records = bytes.len().div_ceil(RECORD_CONTENT_BYTES_MAX);
        let room = bytes.len() + records * RECORD_OVERHEAD_BYTES;
        self.write(room, |traffic, to| traffic.encrypt(bytes, to))
    }

    /// Puts the end of the connection behind what is outgoing; nothing can be sealed afterwards.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is not general enough over lifetimes"
    )]
    pub fn close(&mut self) {
        // Before the handshake is done there is no way to say it.
        let _ = self.write(RECORD_OVERHEAD_BYTES, |traffic, to| traffic.queue_close_notify(to));
    }

    /// Bytes to be sent.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Takes what is to be sent.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Gives the memory of what has been sent back for the next.
    pub fn reuse(&mut self, mut sent: Vec<u8>) {
        sent.clear();
        if self.outgoing.is_empty() && sent.capacity() <= KEPT_BYTES_MAX {
            self.outgoing = sent;
        }
    }

    /// Gives back the memory that only a busy connection needs.
    pub fn trim(&mut self) {
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }

    /// Runs rustls over whole records; returns how many bytes of `input` they were.
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
                    // What is outgoing is sent before anything else, so it is as good as sent.
                    data.done();
                    Step::More
                }
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => Step::Idle,
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Step::Ended(Ended::ByPeer),
                // Early data, which is never offered; and whatever comes to be added.
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

    /// Lets the alert out that an error has left behind. As long as there is something to write rustls looks at no input.
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

    /// Runs `write` when rustls is ready to send.
    fn write(
        &mut self,
        room: usize,
        mut write: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), rustls::Error> {
        if self.is_broken {
            return Err(rustls::Error::EncryptError);
        }
        loop {
            // No whole record is left in these bytes, since `open` has used them all.
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

/// Why rustls has not written.
enum Refused {
    /// It needs so many bytes.
    Room(usize),
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

/// Appends to `outgoing` what `write` puts into `room` bytes, or into as many as it asks for; false if it never does.
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
