//! Connections: reading, parking, sending, and what ends them.
#![expect(unsafe_code, reason = "test doubles of lent memory")]

use super::{BUFFER_BYTES, accept, at_end, connect, listen, read_exactly, ring_of, with_client};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;
use uring::{GatherBuf, Receive, Stream, Support};

on_each_engine! {
    bytes_go_there_and_back,
    a_short_read_does_not_show_what_was_there_before,
    more_connections_than_pooled_buffers_are_read_from_the_heap,
    a_gathered_reply_arrives_whole_at_a_slow_reader,
    more_pieces_than_the_kernel_takes_at_once,
    a_slow_reader_gets_all_of_a_plain_send,
    queued_sends_arrive_whole_at_a_slow_reader,
    a_queued_send_arrives_before_the_end,
    a_queued_send_that_fails_ends_the_next_read,
    bytes_received_ahead_come_before_those_received_in_place,
    clients_that_are_far_ahead_exhaust_no_buffers,
    sending_to_a_peer_that_has_gone_is_an_error_not_a_signal,
    a_large_value_is_received_in_place,
    a_waiting_connection_holds_no_buffer_and_wakes_for_bytes_and_for_the_end,
    an_interrupted_read_loses_nothing,
    shutdown_ends_what_waits_and_the_peer_sees_it,
    the_end_of_a_ring_frees_nothing_that_is_lent,
    a_read_after_a_full_buffer_waits_for_more,
    a_connection_that_never_waits_lets_others_run,
}

fn bytes_go_there_and_back(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = accept(&accepts).await;
            loop {
                let buffer = stream.read(&buffers).await.expect("a read");
                if buffer.bytes().is_empty() {
                    break;
                }
                assert!(buffer.is_pooled());
                stream.send(buffer.bytes().to_vec()).await.0.expect("a send");
            }
        },
        |address| {
            let mut client = connect(address);
            client.write_all(b"hello").expect("a write");
            assert_eq!(read_exactly(&client, 5), b"hello");
        },
    );
}

/// A buffer that held one client's long read shows the next client's short read alone.
fn a_short_read_does_not_show_what_was_there_before(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            for expected in [&b"secret of the first client"[..], b"hi"] {
                let stream = accept(&accepts).await;
                assert_eq!(stream.read(&buffers).await.expect("a read").bytes(), expected);
                stream.shutdown();
            }
        },
        |address| {
            for bytes in [&b"secret of the first client"[..], b"hi"] {
                let mut client = connect(address);
                client.write_all(bytes).expect("a write");
                assert!(at_end(&client));
            }
        },
    );
}

fn more_connections_than_pooled_buffers_are_read_from_the_heap(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let mut held = Vec::new();
            for _ in 0..buffers.pooled() {
                held.push(accept(&accepts).await.read(&buffers).await.expect("a read"));
            }
            assert_eq!(buffers.free(), 0);
            let stream = accept(&accepts).await;
            let buffer = stream.read(&buffers).await.expect("a read");
            assert_eq!(buffer.bytes(), b"abc");
            assert!(!buffer.is_pooled());
            assert!(held.iter().all(uring::Buffer::is_pooled));
            drop(held);
            assert_eq!(buffers.free(), buffers.pooled());
            assert_eq!(buffers.lent_bytes(), buffer.bytes().len().max(4096));
        },
        |address| {
            for _ in 0..9 {
                let mut client = connect(address);
                client.write_all(b"abc").expect("a write");
                drop(client);
            }
        },
    );
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

/// A value received where it will stay.
struct Value {
    bytes: Vec<u8>,
    filled: usize,
}

// SAFETY: the vector's heap memory, which is neither grown nor read before it has been received.
unsafe impl Receive for Value {
    fn spare(&mut self) -> (*mut u8, usize) {
        let rest = &mut self.bytes[self.filled..];
        (rest.as_mut_ptr(), rest.len())
    }
}

fn a_large_value_is_received_in_place(on: Support) {
    const BYTES: usize = 3 << 20;
    with_client(
        on,
        |accepts, _| async move {
            let stream = accept(&accepts).await;
            let mut value = Value { bytes: vec![0; BYTES], filled: 0 };
            while value.filled < BYTES {
                let result;
                (result, value) = stream.recv_into(value).await;
                let count = result.expect("bytes");
                assert_ne!(count, 0);
                value.filled += count;
            }
            assert!(value.bytes.iter().enumerate().all(|(at, &byte)| byte == (at % 253) as u8));
            // What follows the value is not touched.
            let (result, value) = stream.recv_into(Value { bytes: vec![0; 2], filled: 0 }).await;
            assert_eq!((result.expect("bytes"), &value.bytes[..]), (2, &b"\r\n"[..]));
            let (result, _) = stream.recv_into(Value { bytes: vec![0; 2], filled: 0 }).await;
            assert_eq!(result.expect("the end"), 0);
        },
        |address| {
            let mut client = connect(address);
            let mut bytes: Vec<u8> = (0..BYTES).map(|at| (at % 253) as u8).collect();
            bytes.extend_from_slice(b"\r\n");
            client.write_all(&bytes).expect("a write");
        },
    );
}

fn a_waiting_connection_holds_no_buffer_and_wakes_for_bytes_and_for_the_end(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = Rc::new(accept(&accepts).await);
            let (reader, pool) = (Rc::clone(&stream), buffers.clone());
            let reading = uring::spawn(async move {
                assert_eq!(reader.read(&pool).await.expect("a read").bytes(), b"ping");
                assert_eq!(reader.read(&pool).await.expect("the end").bytes(), b"");
            });
            uring::yield_now().await;
            assert_eq!(buffers.free(), buffers.pooled());
            stream.send(b"pong".to_vec()).await.0.expect("a send");
            reading.await.expect("the reader's assertions");
        },
        |address| {
            let mut client = connect(address);
            assert_eq!(read_exactly(&client, 4), b"pong");
            client.write_all(b"ping").expect("a write");
        },
    );
}

/// No byte is lost, and sends are not disturbed.
fn an_interrupted_read_loses_nothing(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = Rc::new(accept(&accepts).await);
            let (reader, pool) = (Rc::clone(&stream), buffers.clone());
            let reading = uring::spawn(async move {
                let error = reader.read(&pool).await.expect_err("interrupted");
                assert!(Stream::is_interrupted(&error));
                reader.send(b"now".to_vec()).await.0.expect("a send");
                assert_eq!(reader.read(&pool).await.expect("a read").bytes(), b"late");
            });
            uring::yield_now().await;
            stream.interrupt();
            reading.await.expect("the reader's assertions");
            let sending = stream.send(vec![1; 8 << 20]);
            let interrupting = {
                let stream = Rc::clone(&stream);
                uring::spawn(async move {
                    for _ in 0..20 {
                        stream.interrupt();
                        uring::yield_now().await;
                    }
                })
            };
            sending.await.0.expect("a send goes on");
            interrupting.await.expect("no panic");
        },
        |address| {
            let mut client = connect(address);
            assert_eq!(read_exactly(&client, 3), b"now");
            client.write_all(b"late").expect("a write");
            assert_eq!(read_exactly(&client, 8 << 20).len(), 8 << 20);
        },
    );
}

fn shutdown_ends_what_waits_and_the_peer_sees_it(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            for _ in 0..2 {
                let stream = Rc::new(accept(&accepts).await);
                let (waiter, pool) = (Rc::clone(&stream), buffers.clone());
                let waiting = uring::spawn(async move {
                    assert_eq!(waiter.read(&pool).await.expect("the end").bytes(), b"");
                });
                uring::yield_now().await;
                stream.shutdown();
                waiting.await.expect("the waiter's assertions");
            }
            assert_eq!(buffers.free(), buffers.pooled());
        },
        |address| {
            assert!(at_end(&connect(address)));
            assert!(at_end(&connect(address)));
        },
    );
}

/// What is in flight when a ring ends keeps its memory: the kernel may write there later.
fn the_end_of_a_ring_frees_nothing_that_is_lent(on: Support) {
    thread_local! { static DROPPED: Cell<bool> = const { Cell::new(false) }; }
    struct Lent(Value);
    // SAFETY: as for `Value`.
    unsafe impl Receive for Lent {
        fn spare(&mut self) -> (*mut u8, usize) {
            self.0.spare()
        }
    }
    impl Drop for Lent {
        fn drop(&mut self) {
            DROPPED.set(true);
        }
    }
    let listener = listen();
    let mut client = TcpStream::connect(listener.local().expect("a TCP listener")).expect("a listener");
    ring_of(on, 1).run(async {
        let stream = accept(&listener.open().expect("a listener")).await;
        uring::spawn(async move {
            let _ = stream.recv_into(Lent(Value { bytes: vec![0; 100], filled: 0 })).await;
        });
        uring::yield_now().await;
    });
    client.write_all(b"late").expect("a write");
    assert!(!DROPPED.get());
}

/// The event of bytes that have been read since does not count as news.
fn a_read_after_a_full_buffer_waits_for_more(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = Rc::new(accept(&accepts).await);
            let mut count = 0;
            while count < BUFFER_BYTES {
                count += stream.read(&buffers).await.expect("a read").bytes().len();
            }
            let has_woken = Rc::new(Cell::new(false));
            let (flag, reader, pool) = (Rc::clone(&has_woken), Rc::clone(&stream), buffers.clone());
            let reading = uring::spawn(async move {
                assert_eq!(reader.read(&pool).await.expect("a read").bytes(), b"more");
                flag.set(true);
            });
            for _ in 0..100 {
                uring::yield_now().await;
            }
            assert!(!has_woken.get());
            stream.send(b"go".to_vec()).await.0.expect("a send");
            reading.await.expect("no panic");
        },
        |address| {
            let mut client = connect(address);
            client.write_all(&[1; BUFFER_BYTES]).expect("a write");
            assert_eq!(read_exactly(&client, 2), b"go");
            client.write_all(b"more").expect("a write");
        },
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

/// Many short messages, then a long one that is received in place: what was received ahead of it comes first.
fn bytes_received_ahead_come_before_those_received_in_place(on: Support) {
    const SHORT: usize = 50;
    const LONG: usize = 1 << 20;
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = accept(&accepts).await;
            for _ in 0..3 {
                for _ in 0..SHORT {
                    let buffer = stream.read(&buffers).await.expect("a read");
                    assert_eq!(buffer.bytes(), b"short");
                    stream.queue_send(b"ok".to_vec(), &buffers).await.expect("a send");
                }
                let buffer = stream.read(&buffers).await.expect("a read");
                let mut long = buffer.bytes().to_vec();
                while stream.has_read_ahead().await {
                    long.extend_from_slice(stream.read(&buffers).await.expect("a read").bytes());
                }
                let mut value = Value { bytes: vec![0; LONG - long.len()], filled: 0 };
                while value.filled < value.bytes.len() {
                    let result;
                    (result, value) = stream.recv_into(value).await;
                    value.filled += result.expect("bytes");
                }
                long.extend_from_slice(&value.bytes);
                assert!(long.iter().enumerate().all(|(at, &byte)| byte == (at % 253) as u8));
                stream.queue_send(b"ok".to_vec(), &buffers).await.expect("a send");
            }
            assert_eq!(stream.read(&buffers).await.expect("the end").bytes(), b"");
            assert_eq!(buffers.free(), buffers.pooled());
        },
        |address| {
            let mut client = connect(address);
            let long: Vec<u8> = (0..LONG).map(|at| (at % 253) as u8).collect();
            for _ in 0..3 {
                for _ in 0..SHORT {
                    client.write_all(b"short").expect("a write");
                    assert_eq!(read_exactly(&client, 2), b"ok");
                }
                client.write_all(&long).expect("a write");
                assert_eq!(read_exactly(&client, 2), b"ok");
            }
        },
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

fn a_connection_that_never_waits_lets_others_run(on: Support) {
    const READS: usize = 32;
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = accept(&accepts).await;
            let turns = Rc::new(Cell::new(0));
            let counter = Rc::clone(&turns);
            // It ends with the ring.
            uring::spawn(async move {
                loop {
                    uring::yield_now().await;
                    counter.set(counter.get() + 1);
                }
            });
            // Everything is there from now on.
            stream.send(vec![0; 1]).await.0.expect("a send");
            std::thread::sleep(Duration::from_millis(100));
            let before = turns.get();
            for _ in 0..READS {
                assert!(!stream.read(&buffers).await.expect("a read").bytes().is_empty());
            }
            assert!(turns.get() - before >= READS / 4, "{} turns", turns.get() - before);
        },
        |address| {
            let mut client = connect(address);
            client.write_all(&vec![1; READS * BUFFER_BYTES]).expect("a write");
            assert!(read_exactly(&client, 1) == [0]);
            // Keeps the connection until the server has read.
            let _ = client.read(&mut [0]);
        },
    );
}
