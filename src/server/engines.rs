//! Which engine does the I/O: the one that is asked for, or the best that the machine allows.
//!
//! What a machine allows is seen twice: when it is probed, and when all rings are built, since memory to be locked may
//! suffice for the one and not for the other. Either way all rings have the same engine.

use super::StartError;
use crate::config::IoEngine;
use std::sync::mpsc::{Receiver, Sender};
use uring::{Engine, Options, Ring, Support};

/// What a ring's thread is to do after it has said whether its ring could be built.
pub(super) enum Order {
    Run,
    Rebuild(Support),
}

/// What a ring's thread says.
pub(super) type Report = Result<(), uring::StartError>;

/// What rings are to be built of.
///
/// # Errors
/// io_uring is demanded, and refused.
pub(super) fn choose(wish: IoEngine) -> Result<Support, StartError> {
    match wish {
        IoEngine::Epoll => Ok(Support::epoll()),
        IoEngine::Uring => Ok(uring::probe()?),
        IoEngine::Auto => Ok(uring::probe().unwrap_or_else(|why| instead(&why))),
    }
}

fn instead(why: &uring::StartError) -> Support {
    tracing::warn!("I/O engine: epoll, since the server {why}");
    Support::epoll()
}

/// In a ring's thread: builds its ring, reports, and does as it is told; `None` if the server does not start.
pub(super) fn build(
    mut support: Support,
    options: &Options,
    reports: &Sender<Report>,
    orders: &Receiver<Order>,
) -> Option<Ring> {
    loop {
        let (ring, report) = match Ring::build(support, options) {
            Ok(ring) => (Some(ring), Ok(())),
            Err(why) => (None, Err(why)),
        };
        // Should the start have failed elsewhere, nobody listens and nobody gives orders.
        reports.send(report).ok()?;
        match orders.recv().ok()? {
            Order::Run => return ring,
            Order::Rebuild(other) => support = other,
        }
    }
}

/// Waits for all rings and lets them run, with another engine if one of them could not be built and `wish` allows it.
///
/// # Errors
/// What stands in the way.
pub(super) fn settle(
    wish: IoEngine,
    support: Support,
    reports: &Receiver<Report>,
    foremen: &[Sender<Order>],
) -> Result<Engine, StartError> {
    let order = |make: &dyn Fn() -> Order| {
        for foreman in foremen {
            // A thread that has gone has reported nothing, which is found out when reports are counted.
            let _ = foreman.send(make());
        }
    };
    let mut engine = support.engine();
    let mut outcome = all_of(reports, foremen.len());
    if let (Err(why), IoEngine::Auto, Engine::Uring) = (&outcome, wish, engine) {
        let support = instead(why);
        engine = support.engine();
        order(&|| Order::Rebuild(support));
        outcome = all_of(reports, foremen.len());
    }
    outcome?;
    order(&|| Order::Run);
    Ok(engine)
}

/// The first refusal of `count` reports, once all are in.
fn all_of(reports: &Receiver<Report>, count: usize) -> Report {
    reports.iter().take(count).fold(Ok(()), Result::and)
}
