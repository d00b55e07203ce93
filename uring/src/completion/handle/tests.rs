//! Tests of connections over a socket pair, without a server.

use super::*;
use crate::completion;
use crate::options::Options;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::unix::net::UnixStream;

/// Lets other tasks and the kernel do all that they can.
async fn settle() {
    for _ in 0..4 {
        completion::yield_now().await;
    }
}

/// While a client did not take its reply, a receive from it once went on, and filled up to 32 buffers in one go.
#[test]
fn a_client_that_takes_no_replies_is_not_received_from() {
    let support = crate::probe().expect("tests need io_uring");
    let crate::backend::BackendSetup::Completion(setup) = support.0 else { unreachable!("that was probed") };
    let options = Options { rings: 1, buffer_bytes: 16 << 10, buffers_max: 128, read_bytes_max: 0 };
    let (runtime, _) = completion::build(setup, &options).expect("a ring");
    ManuallyDrop::new(runtime).block_on(async {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let connection = Rc::new(Handle::new(socket2::Socket::from(ours)));
        // Short receives, after which one is left armed.
        for _ in 0..=SHORT_RECEIVES {
            theirs.write_all(b"x").expect("a write");
            connection.read().await.expect("bytes");
        }
        // More than a socket takes.
        connection.queue_send(vec![7; 1 << 20]);
        let reader = Rc::clone(&connection);
        tokio::task::spawn_local(async move { reader.read().await.map(drop) });
        settle().await;
        for _ in 0..20 {
            theirs.write_all(&[7; 4096]).expect("a write");
        }
        settle().await;
        assert_eq!(connection.connection.arrivals.borrow().len(), 0);
    });
}
