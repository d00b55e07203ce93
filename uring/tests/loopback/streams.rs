//! Connections: reading, parking, sending, and what ends them.
#![expect(unsafe_code, reason = "test doubles of lent memory")]

use super::{BUFFER_BYTES, accept, at_end, connect, listen, read_exactly, ring_of, with_client};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;
use uring::{Pieces, Receive, Stream, Support};

on_each_engine! {
    bytes_go_there_and_back,
    a_short_read_does_not_show_what_was_there_before,
    more_connections_than_pooled_buffers_are_read_from_the_heap,
    a_gathered_reply_arrives_whole_at_a_slow_reader,
    more_pieces_than_the_kernel_takes_at_once,
    a_slow_reader_gets_all_of_a_plain_send,
    a_slow_reader_gets_all_of_a_send_at_once,
    sending_to_a_peer_that_has_gone_is_an_error_not_a_signal,
    a_large_value_is_received_in_place,
    a_parked_connection_holds_no_buffer_and_wakes_for_bytes_and_for_the_end,
    an_interrupted_read_gives_its_buffer_back_and_loses_nothing,
    shutdown_ends_what_waits_and_the_peer_sees_it,
    the_end_of_a_ring_frees_nothing_that_is_lent,
    a_park_after_a_full_buffer_waits_for_more,
    a_connection_that_never_waits_lets_others_run,
}

fn bytes_go_there_and_back(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = accept(&accepts).await;
            let mut buffer = buffers.take();
            assert!(buffer.is_pooled());
            let mut reply = Vec::new();
            loop {
                let result;
                (result, buffer) = stream.read(buffer).await;
                if result.expect("a read") == 0 {
                    break;
                }
                reply.clear();
                reply.extend_from_slice(buffer.bytes());
                let sent;
                (sent, reply) = stream.send(reply).await;
                sent.expect("a send");
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
                let (result, buffer) = stream.read(buffers.take()).await;
                assert_eq!(result.expect("a read"), expected.len());
                assert_eq!(buffer.bytes(), expected);
                stream.shutdown();
            }
            // The memory is lent out again, empty.
            assert_eq!(buffers.take().bytes(), b"");
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
            let held: Vec<_> = (0..buffers.pooled()).map(|_| buffers.take()).collect();
            assert_eq!(buffers.free(), 0);
            assert!(buffers.scarce());
            let stream = accept(&accepts).await;
            let buffer = buffers.take();
            assert!(!buffer.is_pooled());
            let (result, buffer) = stream.read(buffer).await;
            assert_eq!(result.expect("a read"), 3);
            assert_eq!(buffer.bytes(), b"abc");
            drop(held);
            assert_eq!(buffers.free(), buffers.pooled());
        },
        |address| connect(address).write_all(b"abc").expect("a write"),
    );
}

/// Two pinned pieces around staged bytes; counts itself when it is dropped.
struct Reply {
    head: Vec<u8>,
    value: std::sync::Arc<Vec<u8>>,
    dropped: Rc<Cell<bool>>,
}

// SAFETY: vectors that are not mutated while the reply lives; the empty piece is no memory at all.
unsafe impl Pieces for Reply {
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
    unsafe impl Pieces for Many {
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

/// More than the socket takes at once: the rest follows by operations, none of it twice.
fn a_slow_reader_gets_all_of_a_send_at_once(on: Support) {
    const BYTES: usize = 16 << 20;
    let sent: Vec<u8> = (0..BYTES).map(|place| (place / 251) as u8).collect();
    let expected = sent.clone();
    with_client(
        on,
        |accepts, _| async move {
            let stream = accept(&accepts).await;
            stream.send_at_once(b"small".to_vec()).await.0.expect("a send");
            stream.send_at_once(sent).await.0.expect("a send");
        },
        move |address| {
            let client = connect(address);
            assert_eq!(read_exactly(&client, 5), b"small");
            assert!(read_exactly(&client, BYTES) == expected);
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

fn a_parked_connection_holds_no_buffer_and_wakes_for_bytes_and_for_the_end(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = accept(&accepts).await;
            stream.parked().await.expect("readable");
            assert_eq!(buffers.free(), buffers.pooled());
            let (result, buffer) = stream.read(buffers.take()).await;
            assert_eq!((result.expect("a read"), buffer.bytes()), (4, &b"ping"[..]));
            let (result, _) = stream.send(b"pong".to_vec()).await;
            result.expect("a send");
            stream.parked().await.expect("the end is readable");
            let (result, _) = stream.read(buffer).await;
            assert_eq!(result.expect("the end"), 0);
        },
        |address| {
            let mut client = connect(address);
            client.write_all(b"ping").expect("a write");
            assert_eq!(read_exactly(&client, 4), b"pong");
        },
    );
}

/// The sweeper's move: the buffer comes back, no byte is lost, and sends are not disturbed.
fn an_interrupted_read_gives_its_buffer_back_and_loses_nothing(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = Rc::new(accept(&accepts).await);
            let (reader, pool) = (Rc::clone(&stream), buffers.clone());
            let reading = uring::spawn(async move {
                let (result, buffer) = reader.read(pool.take()).await;
                assert!(Stream::is_interrupted(&result.expect_err("interrupted")));
                drop(buffer);
                assert_eq!(pool.free(), pool.pooled());
                reader.send(b"now".to_vec()).await.0.expect("a send");
                reader.parked().await.expect("readable");
                let (result, buffer) = reader.read(pool.take()).await;
                assert_eq!((result.expect("a read"), buffer.bytes()), (4, &b"late"[..]));
            });
            while buffers.free() == buffers.pooled() {
                uring::turn().await;
            }
            stream.interrupt().await;
            reading.await.expect("the reader's assertions");
            // With nothing to interrupt it does nothing.
            stream.interrupt().await;
            let sending = stream.send(vec![1; 8 << 20]);
            let interrupting = {
                let stream = Rc::clone(&stream);
                uring::spawn(async move {
                    for _ in 0..20 {
                        stream.interrupt().await;
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
            for parked in [false, true] {
                let stream = Rc::new(accept(&accepts).await);
                let (waiter, pool) = (Rc::clone(&stream), buffers.clone());
                let waiting = uring::spawn(async move {
                    if parked {
                        waiter.parked().await.expect("the end");
                    } else {
                        let (result, _) = waiter.read(pool.take()).await;
                        assert_eq!(result.expect("the end"), 0);
                    }
                });
                uring::turn().await;
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
        let stream = accept(&listener.open()).await;
        uring::spawn(async move {
            let _ = stream.recv_into(Lent(Value { bytes: vec![0; 100], filled: 0 })).await;
        });
        uring::turn().await;
    });
    client.write_all(b"late").expect("a write");
    assert!(!DROPPED.get());
}

/// The event of bytes that have been read since does not count as news.
fn a_park_after_a_full_buffer_waits_for_more(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = Rc::new(accept(&accepts).await);
            let (result, buffer) = stream.read(buffers.take()).await;
            assert_eq!(result.expect("a read"), BUFFER_BYTES);
            drop(buffer);
            let has_woken = Rc::new(Cell::new(false));
            let (flag, parked) = (Rc::clone(&has_woken), Rc::clone(&stream));
            let parking = uring::spawn(async move {
                parked.parked().await.expect("readable");
                flag.set(true);
            });
            for _ in 0..100 {
                uring::turn().await;
            }
            assert!(!has_woken.get());
            stream.send(b"go".to_vec()).await.0.expect("a send");
            parking.await.expect("no panic");
            let (result, buffer) = stream.read(buffers.take()).await;
            assert_eq!((result.expect("a read"), buffer.bytes()), (4, &b"more"[..]));
        },
        |address| {
            let mut client = connect(address);
            client.write_all(&[1; BUFFER_BYTES]).expect("a write");
            assert_eq!(read_exactly(&client, 2), b"go");
            client.write_all(b"more").expect("a write");
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
                    uring::turn().await;
                    counter.set(counter.get() + 1);
                }
            });
            let mut buffer = buffers.take();
            // Everything is there from now on.
            stream.send(vec![0; 1]).await.0.expect("a send");
            std::thread::sleep(Duration::from_millis(100));
            let before = turns.get();
            for _ in 0..READS {
                let result;
                (result, buffer) = stream.read(buffer).await;
                assert_eq!(result.expect("a read"), BUFFER_BYTES);
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
