//! Chooses the I/O engine of all rings, once at start: the one requested, or the best one that the machine allows.
//!
//! What the machine allows shows at two points: when it is probed, and when all rings are built, because the memory that may
//! be locked can suffice for the probe and not for all rings. Either way all rings get the same engine. [`settle`] runs on
//! the main thread, [`build`] on each ring's thread; they talk through channels.

use super::error::StartError;
use crate::config::IoEngine;
use std::sync::mpsc::{Receiver, Sender};
use uring::{Backend, Options, Ring, Support};

/// The main thread's instruction to a ring's thread, given once all these threads have reported whether they could build their
/// rings.
pub(super) enum Order {
    Run,
    Rebuild(Support),
}

/// A ring thread's report: `Ok` if it could build its ring.
pub(super) type Report = Result<(), uring::StartError>;

/// Chooses the engine that rings are to use: the one that `wish` names, or for `Auto` io_uring if the machine allows it, else
/// epoll.
///
/// # Errors
/// `wish` is io_uring, and the machine refuses it.
pub(super) fn choose(wish: IoEngine) -> Result<Support, StartError> {
    match wish {
        IoEngine::Epoll => Ok(Support::epoll()),
        IoEngine::Uring => Ok(uring::probe()?),
        IoEngine::Auto => Ok(uring::probe().unwrap_or_else(|why| instead(&why))),
    }
}

/// Logs a warning that gives `why` as the reason not to use io_uring, and returns support for epoll.
fn instead(why: &uring::StartError) -> Support {
    tracing::warn!("I/O engine: epoll, since the server {why}");
    Support::epoll()
}

/// Builds this thread's ring, reports the result, and waits for an order to run the ring or to build it anew. Returns the ring
/// once it is to run; `None` if the server does not start.
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
        // If startup has failed elsewhere, both channels are closed.
        reports.send(report).ok()?;
        match orders.recv().ok()? {
            Order::Run => return ring,
            Order::Rebuild(other) => support = other,
        }
    }
}

/// Waits until all rings are built, then lets them run; returns their engine. If a ring cannot be built on io_uring and `wish`
/// is `Auto`, all rings are first built anew on epoll.
///
/// # Errors
/// A ring could not be built; the error says why.
pub(super) fn settle(
    wish: IoEngine,
    support: Support,
    reports: &Receiver<Report>,
    controls: &[Sender<Order>],
) -> Result<Backend, StartError> {
    let order = |make: &dyn Fn() -> Order| {
        for control in controls {
            // A thread that has ended has not reported, which shows when reports are counted.
            let _ = control.send(make());
        }
    };
    let mut engine = support.engine();
    let mut outcome = wait_for_all(reports, controls.len());
    if let (Err(why), IoEngine::Auto, Backend::Uring) = (&outcome, wish, engine) {
        let support = instead(why);
        engine = support.engine();
        order(&|| Order::Rebuild(support));
        outcome = wait_for_all(reports, controls.len());
    }
    outcome?;
    order(&|| Order::Run);
    Ok(engine)
}

/// Waits for `count` reports and returns the first error among them.
fn wait_for_all(reports: &Receiver<Report>, count: usize) -> Report {
    reports.iter().take(count).fold(Ok(()), Result::and)
}
