//! UDP: receives a datagram, replies, and repeats. A socket serves one datagram at a time: requests arrive whole, and sends
//! do not wait for the receiver. Between the steps of a request, and between its replies, the ring's connections are
//! served.

use super::core::{Core, Event};
use super::ring::Local;
use crate::session::udp::{Datagrams, Exchange};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use uring::DatagramSocket;

/// Pause in receiving when the kernel is out of memory.
const REST: Duration = Duration::from_millis(10);
/// Datagrams sent before the ring serves others; a send that completes immediately does not yield.
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
            // The error of an earlier send.
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

/// Sends the replies of `exchange`, up to the first error, because a partial reply is useless.
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
