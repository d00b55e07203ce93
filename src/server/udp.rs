//! Datagrams: receive one, answer it, and again. A socket serves one client at a time, and waits for none: what is asked is
//! all there, and sending a datagram does not wait for its reader. Between the steps of one client's request, and between
//! its answers, the connections of the ring have their turn.

use super::core::{Core, Event};
use super::ring::Local;
use crate::session::udp::{Datagrams, Exchange};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use uring::DatagramSocket;

/// How long receiving rests when the kernel is out of memory.
const REST: Duration = Duration::from_millis(10);
/// Datagrams that are cut and sent before others of the ring have a turn; a send that need not wait gives none.
const CUT: usize = 64;

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
        let datagram = socket.bytes();
        local.core.count(Event::Read(datagram.len()));
        let Some(mut exchange) = local.core.datagram(id, datagram) else { continue };
        while local.core.step(&mut exchange, datagram) {
            uring::turn().await;
        }
        answer(&local, &mut socket, &mut exchange, (&mut answers, peer)).await;
    }
}

/// Sends the replies of `exchange`; the first that cannot be sent ends it, since the rest would be of no use to the client.
async fn answer<C: Core>(
    local: &Local<C>,
    socket: &mut uring::Datagrams,
    exchange: &mut Exchange,
    (answers, peer): (&mut Datagrams, SocketAddr),
) {
    loop {
        answers.clear();
        exchange.cut(answers, CUT);
        let mut from = 0;
        for &end in &answers.ends {
            let bytes = std::mem::take(&mut answers.bytes);
            let result;
            (result, answers.bytes) = socket.send(bytes, from..end, peer).await;
            if let Err(error) = result {
                return tracing::debug!(%error, %peer, "cannot send a datagram");
            }
            local.core.count(Event::Written(end - from));
            from = end;
        }
        if answers.ends.len() < CUT {
            return;
        }
        uring::turn().await;
    }
}
