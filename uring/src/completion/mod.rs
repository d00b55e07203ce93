//! The io_uring engine: one-shot operations, what is handed to the kernel, and what it owns meanwhile.
//!
//! Everything goes through [`submit`], so one argument covers all of them: the operation owns its data until the
//! completion arrives, even if the future is dropped (the runtime keeps the data then).
//!
//! What completes more than once or not at all must never be submitted here, since the runtime treats either as a broken
//! invariant: multishot operations (accept, receive, poll), zero-copy sends, and anything with the skip-success flag.
#![expect(unsafe_code, reason = "the kernel reads and writes memory that operations name by address")]

mod accept;
mod datagram;
mod probe;
mod read;
mod send;
mod setup;
mod wait;

pub(crate) use accept::accept;
pub(crate) use datagram::{Envelope, receive_datagram, send_datagram};
pub(crate) use probe::Setup;
pub use probe::{StartError, probe};
pub(crate) use read::{read, receive};
pub(crate) use send::{gather, send};
pub(crate) use setup::build;
pub(crate) use wait::{cancel, readable, turn};

use io_uring::{cqueue, squeue};
use std::io;
use std::marker::PhantomData;
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

/// Hands the data back beside the result.
struct Return<D>(PhantomData<fn(D) -> D>);

impl<D> OneshotOutputTransform for Return<D> {
    type Output = (io::Result<usize>, D);
    type StoredData = D;

    /// The one place where the kernel's sign convention ends: negative results are error numbers.
    fn transform_oneshot_output(self, data: D, completion: cqueue::Entry) -> Self::Output {
        let result = match usize::try_from(completion.result()) {
            Ok(count) => Ok(count),
            Err(_) => Err(io::Error::from_raw_os_error(-completion.result())),
        };
        (result, data)
    }
}

/// Submits `entry` and waits for its completion; `data` is owned by the operation meanwhile.
///
/// # Safety
/// - Every address in `entry` lies in memory that `data` keeps alive, at the same place even when `data` is moved.
/// - Memory the kernel writes is not read or written by anyone else, memory it reads is not written, while `data` is owned
///   by the operation.
/// - The descriptor in `entry` is kept open by `data`. (It is looked up when the entry is submitted, which is later
///   than this call: a descriptor closed in between could be another connection's.)
/// - The operation completes exactly once.
///
/// # Panics
/// Outside of [`crate::Ring::run`]; when the submission queue is full and the kernel refuses to take it (out of memory).
async unsafe fn submit<D: Unpin + 'static>(data: D, entry: squeue::Entry) -> (io::Result<usize>, D) {
    UnsubmittedOneshot::new(data, Return(PhantomData), entry).submit().await
}
