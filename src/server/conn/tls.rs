//! A connection behind TLS: the same read, feed, send, with records around the bytes.
//!
//! ```text
//!   read into a buffer ──► open in place ──► send what TLS has to say ──► feed the carry ──► seal, send
//! ```
//!
//! Decrypted bytes go through the carry. A large value is not received straight into item memory, since it arrives
//! encrypted: it is fed, and the session copies it there. The handshake is nothing but rounds that give no bytes to feed, so
//! it waits as every read does, and only its arithmetic (0.1 ms) holds up the ring.

use super::Connection;
use super::records::flush;
use crate::server::context::CloseReason;
use crate::tls::Ended;
use uring::Buffer;

impl Connection {
    /// Decrypts the records in `buffer`, sends the answers of TLS itself (such as its handshake), and serves the decrypted bytes.
    pub(super) async fn open(&mut self, mut buffer: Buffer) -> Result<(), CloseReason> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        let before = self.carry.len();
        let opened = channel.open(buffer.bytes_mut(), &mut self.carry);
        if opened.is_established {
            let is_new = channel.is_new_session();
            self.ring.counters().ssl_new_sessions.add(u64::from(is_new));
        }
        drop(buffer);
        self.ring.counters().bytes_read.add((self.carry.len() - before) as u64);
        let flushed = flush(&self.entry.stream, channel).await;
        flushed.map_err(|error| self.broken(&error))?;
        let opened_bytes = self.carry.len() - before;
        if opened_bytes > 0 {
            self.serve(None).await?;
        }
        self.entry.note_received(opened_bytes);
        match opened.ended {
            None => Ok(()),
            Some(Ended::ByPeer) => Err(CloseReason::Normal),
            Some(Ended::Broken(error)) => {
                tracing::debug!(id = self.entry.stream.id(), %error, "TLS");
                if self.channel.as_ref().is_some_and(|channel| channel.is_established()) {
                    self.ring.counters().ssl_proto_errors.add(1);
                }
                Err(CloseReason::Broken)
            }
        }
    }

    /// Sends the close alert, unless the connection is broken or was closed by the ring. If the handshake was never completed,
    /// counts a failed handshake instead.
    pub(super) async fn close_notify(&mut self, end: CloseReason) {
        let Some(channel) = &mut self.channel else { return };
        if !channel.is_established() {
            self.ring.counters().ssl_handshake_errors.add(1);
        } else if end != CloseReason::Broken && self.entry.closed_for.get().is_none() {
            channel.close();
            // The connection ends either way.
            let _ = flush(&self.entry.stream, channel).await;
        }
    }
}
