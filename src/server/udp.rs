//! UDP: receives a datagram, replies, and repeats. One task per socket of a ring, which owns the socket. It serves one
//! datagram at a time: requests arrive whole, and sends do not wait for the receiver. Between the steps of a request, and
//! between its replies, the ring's connections are served.
//!
//! Only datagrams that need a value on flash get a task of their own, since a device may take seconds, or for ever. Each socket
//! has a few such tasks; while all are busy, values on flash are left out of the replies to other datagrams.

use super::context::RingContext;
use super::load::{load_holes, load_wanted};
use crate::limits::FLASH_DATAGRAMS_MAX;
use crate::session::udp::{Datagrams, Exchange, Then};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use uring::DatagramSender;

/// Pause in receiving when the kernel is out of memory.
const RECEIVE_BACKOFF: Duration = Duration::from_millis(10);
/// Number of datagrams sent before the ring serves others, since a send that completes immediately does not let others run.
const BATCH: usize = 64;

/// Serves the datagrams that come to `socket`, as long as the ring runs.
pub(super) async fn serve(ring: Rc<RingContext>, mut socket: uring::Datagrams) {
    let id = socket.id() as u32;
    let mut sender = socket.sender();
    let mut replies = Datagrams::default();
    let aside = Rc::new(());
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
        let then = run(&ring, &mut exchange, datagram).await;
        if then == Then::Load || exchange.has_holes() {
            if Rc::strong_count(&aside) <= FLASH_DATAGRAMS_MAX {
                let waiting = Waiting {
                    ring: Rc::clone(&ring),
                    sender: socket.sender(),
                    peer,
                    datagram: datagram.into(),
                    exchange,
                    then,
                    _aside: Rc::clone(&aside),
                };
                uring::spawn(waiting.serve());
                continue;
            }
            if then == Then::Load {
                // No reply, as if a datagram had been lost: the command cannot run without its value.
                continue;
            }
            leave_out(&ring, &mut exchange);
        }
        send_replies(&ring, &mut sender, &mut exchange, (&mut replies, peer)).await;
    }
}

/// Runs the commands of `datagram` until one of them needs in memory a value that is on flash, or all have run; returns which of
/// the two.
async fn run(ring: &RingContext, exchange: &mut Exchange, datagram: &[u8]) -> Then {
    loop {
        let then = exchange.step(&mut ring.engine.borrow_mut(), datagram);
        if then != Then::Go {
            return then;
        }
        uring::yield_now().await;
    }
}

/// Turns replies that lack values on flash into misses, without reading the values.
fn leave_out(ring: &RingContext, exchange: &mut Exchange) {
    let holes = exchange.take_holes();
    for _ in &holes {
        ring.engine.borrow_mut().fresh().left_out();
    }
    exchange.fill(holes);
}

/// A datagram that needs values on flash, served by a task of its own.
struct Waiting {
    ring: Rc<RingContext>,
    sender: DatagramSender,
    peer: SocketAddr,
    datagram: Box<[u8]>,
    exchange: Exchange,
    then: Then,
    /// Counts this datagram among those of its socket that have a task: each holds a clone of one `Rc`, and there are at most
    /// [`FLASH_DATAGRAMS_MAX`].
    _aside: Rc<()>,
}

impl Waiting {
    async fn serve(mut self) {
        let (ring, exchange) = (&self.ring, &mut self.exchange);
        while self.then == Then::Load {
            load_wanted(ring, exchange.take_wanted()).await;
            self.then = run(ring, exchange, &self.datagram).await;
        }
        let mut holes = exchange.take_holes();
        load_holes(ring, &mut holes).await;
        exchange.fill(holes);
        send_replies(ring, &mut self.sender, exchange, (&mut Datagrams::default(), self.peer)).await;
    }
}

/// Sends the replies of `exchange`, and stops at the first error, because a partial reply is useless.
async fn send_replies(
    ring: &RingContext,
    sender: &mut DatagramSender,
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
            (result, replies.bytes) = sender.send(bytes, from..end, peer).await;
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
