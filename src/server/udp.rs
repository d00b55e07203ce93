//! Datagrams: receive one, answer it, and again. A ring's socket serves one client at a time, who waits for nobody: what it
//! asks is all there, and sending a datagram does not wait for its reader.

use super::core::Core;
use super::ring::Local;
use crate::session::udp::Datagrams;
use std::rc::Rc;
use std::time::Duration;
use uring::DatagramSocket;

/// How long receiving rests when the kernel is out of memory.
const REST: Duration = Duration::from_millis(10);
/// Datagrams sent to one client before others of the ring have a turn; a send that need not wait gives none.
const TURN: usize = 64;
/// Answers that took more memory than this give it back, bytes.
const KEPT_BYTES_MAX: usize = 128 * 1024;

/// Serves a socket as long as the ring runs.
pub(super) async fn serve<C: Core>(local: Rc<Local<C>>, socket: DatagramSocket) {
    let mut socket = match socket.open() {
        Ok(socket) => socket,
        Err(error) => return tracing::warn!(%error, "cannot serve datagrams"),
    };
    let id = socket.id() as u32;
    let mut answers = Datagrams::default();
    while !local.is_stopping() {
        let peer = match socket.receive().await {
            Ok(peer) => peer,
            // What an earlier send met.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::debug!(%error, "cannot receive a datagram");
                uring::sleep(REST).await;
                continue;
            }
        };
        answers.clear();
        local.core.datagram(id, socket.bytes(), &mut answers);
        let mut from = 0;
        for (count, &end) in answers.ends.iter().enumerate() {
            if count % TURN == TURN - 1 {
                uring::turn().await;
            }
            let bytes = std::mem::take(&mut answers.bytes);
            let result;
            (result, answers.bytes) = socket.send(bytes, from..end, peer).await;
            if let Err(error) = result {
                // The rest would be of no use to the client.
                tracing::debug!(%error, %peer, "cannot send a datagram");
                break;
            }
            from = end;
        }
        answers.bytes.shrink_to(KEPT_BYTES_MAX);
    }
}
