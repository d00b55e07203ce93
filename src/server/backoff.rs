//! Waits for rings that lag behind the log, while this ring serves its other connections.
//!
//! A command that needs room in the log, or memory that another ring may still be reading, is retried when the slowest ring
//! has moved. That ring has been woken and usually moves within microseconds. If it does not move within [`STALL_MAX`], the
//! command is refused, and from then on every such command on all rings is refused immediately, until the slowest ring moves.
//! The bookkeeping is in `stall`.

use super::context::RingContext;
use super::stall::{PAUSE_MAX, PAUSE_MIN};
use crate::limits::STALL_MAX;
use std::time::Duration;

/// Number of the first checks of the slowest ring, between which a task only yields. Before each later check it pauses.
const EAGER_CHECKS: u32 = 16;

/// Waits until the slowest ring has moved, so that a stalled command may be retried. The command has been stalled since `since`,
/// a time of the ring's [`RunClock`](super::stall::RunClock). False if the command is to be refused instead.
pub(super) async fn wait_for_rings(ring: &RingContext, since: Duration) -> bool {
    let Some(position) = ring.slowest() else {
        uring::yield_now().await;
        return ring.run_clock.since(since) < STALL_MAX;
    };
    let unmoved_since = ring.last_stall.since(position, ring.run_clock.now());
    let mut pause = PAUSE_MIN;
    for check in 0.. {
        let is_over = ring.run_clock.since(since) >= STALL_MAX;
        if is_over || ring.is_stopping() || ring.heartbeats.stalls.is_given_up(position) {
            break;
        }
        if ring.run_clock.since(unmoved_since) >= STALL_MAX {
            ring.heartbeats.stalls.give_up(position);
            break;
        }
        if check < EAGER_CHECKS {
            uring::yield_now().await;
        } else {
            uring::sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
        if ring.slowest() != Some(position) {
            return true;
        }
    }
    false
}
