//! Awaits a future, but gives up if a condition holds when a bell rings. Holds no state.

use futures_util::future::{Either, select};
use std::pin::pin;
use uring::Bell;

/// Waits for `future`. Each time that `bell` rings meanwhile, calls `is_over`: if it returns true, drops the future and returns
/// `None`.
pub(super) async fn unless<F: Future>(
    future: F,
    bell: &Bell,
    mut is_over: impl FnMut() -> bool,
) -> Option<F::Output> {
    let mut future = pin!(future);
    loop {
        // The bell is heard before the future is polled, so that no ring of it is missed.
        let beat = pin!(bell.heard());
        match select(future.as_mut(), beat).await {
            Either::Left((output, _)) => return Some(output),
            Either::Right(_) if is_over() => return None,
            Either::Right(_) => {}
        }
    }
}
