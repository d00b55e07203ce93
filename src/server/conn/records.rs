//! TLS records on their way out: seals an output a piece at a time, and sends the records. Functions over one connection's
//! stream and channel, which the caller owns.

use crate::output::Output;
use crate::tls::Channel;
use std::io;
use uring::Stream;

/// Bytes that are encrypted and sent at a time. This takes 20 µs, during which the ring's other connections wait.
const SEAL_BYTES: usize = 64 * 1024;

/// Encrypts and sends all of `out`, but leaves `out` as it is.
pub(super) async fn send(stream: &Stream, channel: &mut Channel, out: &Output) -> io::Result<()> {
    for piece in out.pieces() {
        seal(stream, channel, piece).await?;
    }
    flush(stream, channel).await
}

/// Encrypts `bytes`, and sends the records each time that [`SEAL_BYTES`] of them have gathered. Records not sent yet stay in
/// `channel`.
async fn seal(stream: &Stream, channel: &mut Channel, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(SEAL_BYTES) {
        channel.seal(piece).map_err(io::Error::other)?;
        if channel.outgoing_bytes() >= SEAL_BYTES {
            flush(stream, channel).await?;
        }
    }
    Ok(())
}

/// Sends the records that wait in `channel`, if there are any.
pub(super) async fn flush(stream: &Stream, channel: &mut Channel) -> io::Result<()> {
    if channel.outgoing_bytes() == 0 {
        return Ok(());
    }
    let (result, sent) = stream.send(channel.take_outgoing()).await;
    channel.reuse(sent);
    result
}
