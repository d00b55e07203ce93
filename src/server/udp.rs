//! UDP: receives a datagram, replies, and repeats. A socket serves one datagram at a time: requests arrive whole, and sends
//! do not wait for the receiver. Between the steps of a request, and between its replies, the ring's connections are
//! served.

use super::context::RingContext;
use super::load::{load_holes, load_wanted};
use crate::session::udp::{Datagrams, Exchange, Then};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Pause in receiving when the kernel is out of memory.
const RECEIVE_BACKOFF: Duration = Duration::from_millis(10);
/// Datagrams sent before the ring serves others; a send that completes immediately does not yield.
const BATCH: usize = 64;

/// Serves a socket as long as the ring runs.
pub(super) async fn serve(ring: Rc<RingContext>, mut socket: uring::Datagrams) {
    let id = socket.id() as u32;
    let mut replies = Datagrams::default();
    while !ring.is_stopping() {
        let peer = match socket.receive().await {
            Ok(peer) => peer,
            // The error of an earlier send.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::debug!(%error, "cannot receive a datagram");
                uring::sleep(RECEIVE_BACKOFF).await;
                continue;
            }
        };
        let datagram = socket.bytes();
        ring.counters().bytes_read.add(datagram.len() as u64);
        let exchange = Exchange::new(&ring.engine.borrow(), id, datagram);
        let Some(mut exchange) = exchange else { continue };
        loop {
            let then = exchange.step(&mut ring.engine.borrow_mut(), datagram);
            match then {
                Then::Go => uring::yield_now().await,
                Then::Load => load_wanted(&ring, exchange.take_wanted()).await,
                Then::Send => break,
            }
        }
        let mut holes = exchange.take_holes();
        if !holes.is_empty() {
            load_holes(&ring, &mut holes).await;
            exchange.fill(holes);
        }
        send_replies(&ring, &mut socket, &mut exchange, (&mut replies, peer)).await;
    }
}

/// Sends the replies of `exchange`, up to the first error, because a partial reply is useless.
async fn send_replies(
    ring: &RingContext,
    socket: &mut uring::Datagrams,
    exchange: &mut Exchange,
    (replies, peer): (&mut Datagrams, SocketAddr),
) {
    loop {
        replies.clear();
        exchange.cut(replies, BATCH);
        let mut from = 0;
        for &end in &replies.ends {
            let bytes = std::mem::take(&mut replies.bytes);
            let result;
            (result, replies.bytes) = socket.send(bytes, from..end, peer).await;
            if let Err(error) = result {
                return tracing::debug!(%error, %peer, "cannot send a datagram");
            }
            ring.counters().bytes_written.add((end - from) as u64);
            from = end;
        }
        if replies.ends.len() < BATCH {
            return;
        }
        uring::yield_now().await;
    }
}
