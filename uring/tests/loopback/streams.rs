//! Connections: reading, waiting, receiving in place, and what ends them.
#![expect(unsafe_code, reason = "test doubles of lent memory")]

use super::{BUFFER_BYTES, accept, at_end, connect, listen, read_exactly, ring_of, with_client};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;
use uring::{Receive, Stream, Support};

on_each_engine! {
    bytes_go_there_and_back,
    a_short_read_does_not_show_what_was_there_before,
    more_connections_than_pooled_buffers_are_read_from_the_heap,
    bytes_received_ahead_come_before_those_received_in_place,
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
                while stream.stop_receiving().await {
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
