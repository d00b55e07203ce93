//! Values on flash that replies lack, and that commands need in memory: read while the ring serves others.

use super::context::RingContext;
use crate::output::Hole;
use crate::store::{Fault, Place, Retry, Wanted};
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Tries to bring a value back to memory that has been read, and the pause between two while other rings lag.
const PROMOTIONS_MAX: u32 = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// Reads the values of `holes`, all at the same time.
pub(super) async fn load_holes(ring: &Rc<RingContext>, holes: &mut [Hole]) {
    let mut loads = Vec::with_capacity(holes.len());
    for hole in &*holes {
        let loaded = Rc::new(Cell::new(None));
        let (ring, key, place) = (Rc::clone(ring), hole.key.clone(), hole.place);
        let slot = Rc::clone(&loaded);
        let task = uring::spawn(async move { slot.set(Some(load(&ring, &key, place).await)) });
        loads.push((task, loaded));
    }
    for (hole, (task, loaded)) in holes.iter_mut().zip(loads) {
        let _ = task.await;
        let loaded = loaded.take().unwrap_or(Err(Fault::Other));
        let (mut engine, key, place) = (ring.engine.borrow_mut(), &hole.key, hole.place);
        match loaded {
            Ok(value) => {
                engine.fresh().loaded(key, place, &value, hole.promotes);
                hole.value = Some(value);
            }
            Err(fault) => engine.fresh().lost(key, place, fault),
        }
    }
}

/// Brings a value to memory that a command needs there, if that can be; the command finds out when it is run again.
pub(super) async fn load_wanted(ring: &RingContext, wanted: Option<Box<Wanted>>) {
    let Some(wanted) = wanted else { return };
    let Wanted { key, place } = *wanted;
    let value = match load(ring, &key, place).await {
        Ok(value) => value,
        Err(fault) => return ring.engine.borrow_mut().fresh().lost(&key, place, fault),
    };
    for _ in 0..PROMOTIONS_MAX {
        let promoted = ring.engine.borrow_mut().fresh().promote(&key, place, &value);
        match promoted {
            Ok(()) => return,
            Err(Retry::Soon) => uring::yield_now().await,
            Err(_) => uring::sleep(PAUSE).await,
        }
    }
}

/// The value of `key` at `place`.
async fn load(ring: &RingContext, key: &[u8], place: Place) -> Result<Bytes, Fault> {
    match &ring.loader {
        Some(loader) => loader.load(key, place).await,
        None => Err(Fault::Other),
    }
}
