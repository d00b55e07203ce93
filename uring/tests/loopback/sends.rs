//! Connections: sending. Gathered, plain and queued, to readers that are slow, far ahead or gone.
#![expect(unsafe_code, reason = "test doubles of lent memory")]

use super::{accept, at_end, connect, read_exactly, with_client};
use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;
use uring::{GatherBuf, Support};

on_each_engine! {
    a_gathered_reply_arrives_whole_at_a_slow_reader,
    more_pieces_than_the_kernel_takes_at_once,
    a_slow_reader_gets_all_of_a_plain_send,
    queued_sends_arrive_whole_at_a_slow_reader,
    a_queued_send_arrives_before_the_end,
    a_queued_send_that_fails_ends_the_next_read,
    clients_that_are_far_ahead_exhaust_no_buffers,
    sending_to_a_peer_that_has_gone_is_an_error_not_a_signal,
}

/// Two pinned pieces around staged bytes; counts itself when it is dropped.
struct Reply {
    head: Vec<u8>,
    value: std::sync::Arc<Vec<u8>>,
    dropped: Rc<Cell<bool>>,
}

// SAFETY: vectors that are not mutated while the reply lives; the empty piece is no memory at all.
unsafe impl GatherBuf for Reply {
    fn each(&self, visit: &mut dyn FnMut(&[u8])) {
        visit(&self.head);
        visit(&self.value);
        visit(&[]);
        visit(b"\r\n");
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.dropped.set(true);
    }
}

/// Larger than any socket's buffers: the send goes on in pieces while the client is slow to read.
fn a_gathered_reply_arrives_whole_at_a_slow_reader(on: Support) {
    const VALUE_BYTES: usize = 24 << 20;
    let value: std::sync::Arc<Vec<u8>> =
        std::sync::Arc::new((0..VALUE_BYTES).map(|at| (at / 7 % 251) as u8).collect());
    let copy = std::sync::Arc::clone(&value);
    with_client(
        on,
        move |accepts, _| async move {
            let stream = accept(&accepts).await;
            for _ in 0..2 {
                let dropped = Rc::new(Cell::new(false));
                let value = std::sync::Arc::clone(&copy);
                let reply = Reply { head: b"VALUE k 0 1\r\n".to_vec(), value, dropped: Rc::clone(&dropped) };
                let (result, reply) = stream.send_gather(reply).await;
                result.expect("a send");
                assert!(!dropped.get(), "pinned until the end");
                drop(reply);
                assert!(dropped.get());
            }
        },
        |address| {
            let client = connect(address);
            for _ in 0..2 {
                assert_eq!(read_exactly(&client, 13), b"VALUE k 0 1\r\n");
                assert!(read_exactly(&client, VALUE_BYTES) == *value);
                assert_eq!(read_exactly(&client, 2), b"\r\n");
            }
        },
    );
}

fn more_pieces_than_the_kernel_takes_at_once(on: Support) {
    struct Many(Vec<Vec<u8>>);
    // SAFETY: as for `Reply`.
    unsafe impl GatherBuf for Many {
        fn each(&self, visit: &mut dyn FnMut(&[u8])) {
            self.0.iter().for_each(|piece| visit(piece));
        }
    }
    let pieces: Vec<_> = (0..3000u32).map(|at| at.to_le_bytes().to_vec()).collect();
    let expected = pieces.concat();
    with_client(
        on,
        |accepts, _| async move {
            let stream = accept(&accepts).await;
            let (result, _) = stream.send_gather(Many(pieces)).await;
            result.expect("a send");
        },
        |address| assert_eq!(read_exactly(&connect(address), expected.len()), expected),
    );
}

fn a_slow_reader_gets_all_of_a_plain_send(on: Support) {
    const BYTES: usize = 16 << 20;
    with_client(
        on,
        |accepts, _| async move {
            let stream = accept(&accepts).await;
            let (result, _) = stream.send(vec![7; BYTES]).await;
            result.expect("a send");
        },
        |address| {
            let client = connect(address);
            assert!(read_exactly(&client, BYTES).iter().all(|&byte| byte == 7));
            assert!(at_end(&client));
        },
    );
}

fn sending_to_a_peer_that_has_gone_is_an_error_not_a_signal(on: Support) {
    with_client(
        on,
        |accepts, _| async move {
            let stream = accept(&accepts).await;
            let (result, _) = stream.send(vec![7; 64 << 20]).await;
            assert!(result.is_err());
        },
        |address| drop(connect(address)),
    );
}

/// Replies that nobody waits for arrive whole and in order at a reader that is slow, and nothing is read beside them.
fn queued_sends_arrive_whole_at_a_slow_reader(on: Support) {
    const REPLIES: usize = 40;
    const BYTES: usize = 1 << 20;
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = accept(&accepts).await;
            let mut replies = 0;
            loop {
                let buffer = stream.read(&buffers).await.expect("a read");
                if buffer.bytes().is_empty() {
                    break;
                }
                for _ in buffer.bytes() {
                    let reply: Vec<u8> = (0..BYTES).map(|place| (place / 251 + replies) as u8).collect();
                    stream.queue_send(reply, &buffers).await.expect("a send");
                    replies += 1;
                }
            }
            stream.settled().await.expect("all has been sent");
            assert_eq!(replies, REPLIES);
        },
        |address| {
            let mut client = connect(address);
            client.write_all(&[b'x'; REPLIES]).expect("a write");
            client.shutdown(std::net::Shutdown::Write).expect("a half-closed connection");
            for replies in 0..REPLIES {
                std::thread::sleep(Duration::from_millis(1));
                let expected: Vec<u8> = (0..BYTES).map(|place| (place / 251 + replies) as u8).collect();
                assert!(read_exactly(&client, BYTES) == expected, "reply {replies}");
            }
            assert!(at_end(&client));
        },
    );
}

/// What is queued when a connection is shut down leaves before its end.
fn a_queued_send_arrives_before_the_end(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = accept(&accepts).await;
            stream.queue_send(b"last words".to_vec(), &buffers).await.expect("a send");
            stream.shutdown();
        },
        |address| {
            let client = connect(address);
            assert_eq!(read_exactly(&client, 10), b"last words");
            assert!(at_end(&client));
        },
    );
}

/// What a queued send meets is found by the read behind it.
fn a_queued_send_that_fails_ends_the_next_read(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = accept(&accepts).await;
            let mut ended = false;
            while !ended {
                let sent = stream.queue_send(vec![7; 1 << 20], &buffers).await;
                ended = sent.is_err() || stream.settled().await.is_err();
            }
        },
        |address| drop(connect(address)),
    );
}

/// Clients that are far ahead of their replies take buffers, and all of them come back.
fn clients_that_are_far_ahead_exhaust_no_buffers(on: Support) {
    const CLIENTS: usize = 20;
    const REQUESTS: usize = 3000;
    with_client(
        on,
        |accepts, buffers| async move {
            let mut tasks = Vec::new();
            for _ in 0..CLIENTS {
                let (stream, pool) = (accept(&accepts).await, buffers.clone());
                tasks.push(uring::spawn(async move {
                    loop {
                        let buffer = stream.read(&pool).await.expect("a read");
                        if buffer.bytes().is_empty() {
                            break;
                        }
                        let reply = buffer.bytes().to_vec();
                        stream.queue_send(reply, &pool).await.expect("a send");
                    }
                    stream.settled().await.expect("a send");
                }));
            }
            for task in tasks {
                task.await.expect("the task's assertions");
            }
            assert_eq!(buffers.free(), buffers.pooled());
        },
        |address| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| connect(address)).collect();
            std::thread::scope(|scope| {
                for client in &clients {
                    scope.spawn(move || {
                        let sent: Vec<u8> = (0..REQUESTS * 100).map(|at| (at / 97) as u8).collect();
                        std::thread::scope(|scope| {
                            scope.spawn(|| {
                                for part in sent.chunks(100) {
                                    (&mut &*client).write_all(part).expect("a write");
                                }
                                client.shutdown(std::net::Shutdown::Write).expect("half-closed");
                            });
                            assert!(read_exactly(client, sent.len()) == sent);
                        });
                    });
                }
            });
        },
    );
}
