//! Reads values from flash, for replies and for commands that need them in memory, while the ring serves other connections.
//!
//! A value that is not copied into its reply stays in the buffer it was read into until the client has taken it. The memory of
//! these buffers is bounded ([`super::load_budget`]): a reply waits for it, and is sent without these values if the wait takes
//! too long. All functions run in the task of the connection or datagram that needs the values; what they change
//! is in the ring's [`RingContext`], whose engine they borrow for one call, never across an await.

use super::context::RingContext;
use super::load_budget::{UNIT_BYTES, hold};
use super::stall::{PAUSE_MAX, PAUSE_MIN};
use crate::engine::Search;
use crate::limits::{FLASH_PART_BYTES, RESERVATION_WAIT_MAX};
use crate::output::Hole;
use crate::store::{Fault, Place, Retry, Wanted};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::OwnedSemaphorePermit;

/// Most attempts to bring a value back to memory, not counting those in which room for it is made part by part.
const PROMOTIONS_MAX: usize = 64;

/// Fewest units of the budget that a value takes if it stays in its buffer. A read begins and ends at a boundary of the device,
/// so that the record of a value of one unit may take two.
const UNITS_MIN: usize = 2;

/// Units of the budget that the value of `hole` takes while it is held; 0 if it is copied into its reply.
fn units_for(hole: &Hole) -> u32 {
    let units = hole.stub.place.value_bytes().div_ceil(UNIT_BYTES).max(UNITS_MIN);
    if hole.is_copied() { 0 } else { u32::try_from(units).unwrap_or(u32::MAX) }
}

/// Takes `units` of the budget, or all of it if that is less, and waits until they are free; `None` if the wait takes too long.
/// A reply takes all the units that it needs together, so none waits for more units while it holds some.
async fn take_room(ring: &RingContext, units: u32) -> Option<OwnedSemaphorePermit> {
    let units = units.min(ring.load_budget.units_max());
    let since = ring.run_clock.now();
    let mut pause = PAUSE_MIN;
    loop {
        let room = ring.load_budget.try_take(units);
        if room.is_some() || ring.run_clock.since(since) >= RESERVATION_WAIT_MAX || ring.is_stopping() {
            return room;
        }
        uring::sleep(pause).await;
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

/// Reads the values of `holes`, all at the same time. A hole stays without a value if the value cannot be read, or if there is
/// no room to hold the value.
pub(super) async fn load_holes(ring: &RingContext, holes: &mut [Hole]) {
    let units = holes.iter().map(units_for).fold(0, u32::saturating_add);
    let mut room = take_room(ring, units).await;
    let has_room = room.is_some();
    let is_left_out = |hole: &Hole| !has_room && units_for(hole) > 0;
    let loaded = match &*holes {
        // One hole is by far the most frequent case.
        [hole] if !is_left_out(hole) => vec![Some(load_hole(ring, hole).await)],
        holes => {
            let one = |hole| async move {
                if is_left_out(hole) { None } else { Some(load_hole(ring, hole).await) }
            };
            join_all(holes.iter().map(one)).await
        }
    };
    for (hole, loaded) in holes.iter_mut().zip(loaded) {
        let (engine, key) = (&ring.engine, &hole.key);
        let Some(loaded) = loaded else {
            engine.borrow_mut().fresh().left_out();
            continue;
        };
        match loaded {
            Ok((value, place)) => {
                engine.borrow_mut().fresh().loaded(key, place);
                if hole.stub.promotes {
                    promote(ring, key, place, &value, false).await;
                }
                // The last values of a reply that takes the whole budget may find none of it left.
                let units = units_for(hole) as usize;
                let room = room.as_mut().filter(|_| units > 0);
                let room = room.and_then(|room| room.split(units.min(room.num_permits())));
                hole.value = Some(match room {
                    Some(room) => hold(value, room),
                    None => value,
                });
            }
            Err((fault, place)) => engine.borrow_mut().fresh().lost(key, place, fault),
        }
    }
}

/// Reads the value that a reply lacks. Returns the value or the fault, with the place that was read last. This place differs
/// from that in `hole` if the value was written elsewhere meanwhile.
async fn load_hole(ring: &RingContext, hole: &Hole) -> Result<(Bytes, Place), (Fault, Place)> {
    let mut search = Search::new(hole.stub);
    loop {
        let fault = match load(ring, &hole.key, search.place()).await {
            Ok(value) => return Ok((value, search.place())),
            Err(fault) => fault,
        };
        if let Some(found) = search.failed(&mut ring.engine.borrow_mut().fresh(), &hole.key, fault) {
            let place = search.place();
            return found.map(|value| (value, place)).map_err(|fault| (fault, place));
        }
    }
}

/// Reads a value that a command needs in memory, and tries to move it to memory. The command finds out whether that succeeded
/// when it is run again.
pub(super) async fn load_wanted(ring: &RingContext, wanted: Option<Box<Wanted>>) {
    let Some(wanted) = wanted else { return };
    let Wanted { key, place } = *wanted;
    let value = match load(ring, &key, place).await {
        Ok(value) => value,
        Err(fault) => return ring.engine.borrow_mut().fresh().unloadable(&key, place, fault),
    };
    ring.engine.borrow_mut().fresh().loaded(&key, place);
    promote(ring, &key, place, &value, true).await;
}

/// Moves a value that was read from flash into memory, if room can be made for it. If `must_wait`, waits for other rings where
/// they are in the way.
async fn promote(ring: &RingContext, key: &[u8], place: Place, value: &[u8], must_wait: bool) {
    for _ in 0..PROMOTIONS_MAX + value.len() / FLASH_PART_BYTES {
        let promoted = ring.engine.borrow_mut().fresh().promote(key, place, value);
        match promoted {
            Err(Retry::Soon) => uring::yield_now().await,
            Err(_) if must_wait => uring::sleep(PAUSE_MIN).await,
            // If others are in the way of a get, the value is read from flash once more.
            Ok(()) | Err(_) => return,
        }
    }
}

/// Reads the value of `key` at `place`; fails without a flash tier.
async fn load(ring: &RingContext, key: &[u8], place: Place) -> Result<Bytes, Fault> {
    match &ring.loader {
        Some(loader) => loader.load(key, place).await,
        None => Err(Fault::Other),
    }
}
