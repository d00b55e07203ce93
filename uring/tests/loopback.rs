//! The face over loopback, on each engine: each promise of the crate, and each trap of the runtime below that it must
//! avoid.
#![expect(unsafe_code, reason = "test doubles of lent memory")]

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};
use uring::{Accepts, Buffers, Listener, Mail, Options, Pieces, Receive, Ring, Socket, Stream, Support};

const BUFFER_BYTES: usize = 4096;

/// Makes a test of each function, once per engine.
macro_rules! on_each_engine {
    ($($name:ident,)*) => {
        mod on_uring {
            $(#[test] fn $name() { super::$name(uring::probe().expect("tests need io_uring")); })*
        }
        mod on_epoll {
            $(#[test] fn $name() { super::$name(uring::Support::epoll()); })*
        }
    };
}

on_each_engine! {
    bytes_go_there_and_back,
    a_short_read_does_not_show_what_was_there_before,
    more_connections_than_pooled_buffers_are_read_from_the_heap,
    a_gathered_reply_arrives_whole_at_a_slow_reader,
    more_pieces_than_the_kernel_takes_at_once,
    a_slow_reader_gets_all_of_a_plain_send,
    sending_to_a_peer_that_has_gone_is_an_error_not_a_signal,
    a_large_value_is_received_in_place,
    a_parked_connection_holds_no_buffer_and_wakes_for_bytes_and_for_the_end,
    an_interrupted_read_gives_its_buffer_back_and_loses_nothing,
    shutdown_ends_what_waits_and_the_peer_sees_it,
    a_closed_listener_ends_its_accept_and_refuses_clients,
    connections_inherit_nodelay_and_keepalive,
    a_path_can_be_listened_on_and_its_old_socket_is_replaced,
    turns_do_not_starve_a_read,
    wakes_merge_and_messages_do_not,
    a_bell_is_heard_from_the_moment_one_listens,
    the_end_of_a_ring_frees_nothing_that_is_lent,
    thousands_of_completions_at_once,
    a_park_after_a_full_buffer_waits_for_more,
    a_connection_that_never_waits_lets_others_run,
}

fn ring_of(on: Support, buffers_max: usize) -> Ring {
    Ring::build(on, &Options { rings: 8, buffer_bytes: BUFFER_BYTES, buffers_max }).expect("a ring")
}

/// Runs `serve` on a ring of its own thread while `client` talks to its listener from this one.
fn with_client<F: Future<Output = ()>>(
    on: Support,
    serve: impl FnOnce(Accepts, Buffers) -> F + Send + 'static,
    client: impl FnOnce(SocketAddr),
) {
    let listener = listen();
    let address = listener.local().expect("a TCP listener");
    let server = std::thread::spawn(move || {
        let ring = ring_of(on, 8);
        let buffers = ring.buffers();
        assert_eq!(buffers.pooled(), 8);
        ring.run(async { serve(listener.open(), buffers).await });
    });
    client(address);
    server.join().expect("the server's assertions");
}

fn listen() -> Listener {
    Listener::bind_each("127.0.0.1:0".parse().expect("an address"), 1, 64).expect("a free port").remove(0)
}

async fn accept(accepts: &Accepts) -> Stream {
    Stream::new(accepts.accept().await.expect("a connection"))
}

/// A client whose reads fail instead of hanging.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}

fn read_exactly(mut stream: &TcpStream, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    stream.read_exact(&mut read).expect("an answer");
    read
}

/// True once the server has closed.
fn at_end(mut stream: &TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1]), Ok(0))
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

fn a_closed_listener_ends_its_accept_and_refuses_clients(on: Support) {
    let listener = listen();
    let address = listener.local().expect("a TCP listener");
    ring_of(on, 1).run(async {
        let accepts = Rc::new(listener.open());
        let waiting = Rc::clone(&accepts);
        let loop_ended = uring::spawn(async move {
            waiting.accept().await.expect_err("closed");
        });
        uring::turn().await;
        accepts.close();
        loop_ended.await.expect("the loop's assertions");
        assert!(TcpStream::connect(address).is_err());
    });
}

#[test]
fn a_second_server_on_the_same_port_fails() {
    let first = Listener::bind_each("127.0.0.1:0".parse().expect("an address"), 3, 64).expect("a free port");
    let address = first[0].local().expect("a TCP listener");
    assert_ne!(address.port(), 0);
    assert!(first.iter().all(|listener| listener.local() == Some(address)), "one port for all rings");
    let second = Listener::bind_each(address, 1, 64).expect_err("taken");
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    // With connections of its own still closing, the port can be had again at once.
    let client = connect(address);
    drop(first);
    drop(client);
    Listener::bind_each(address, 2, 64).expect("free again");
}

#[test]
fn version_6_listeners_leave_version_4_alone() {
    let Ok(six) = Listener::bind_each("[::1]:0".parse().expect("an address"), 1, 64) else {
        return; // No IPv6 here.
    };
    let port = six[0].local().expect("a TCP listener").port();
    Listener::bind_each(SocketAddr::from(([0, 0, 0, 0], port)), 1, 64).expect("the other family is free");
}

fn connections_inherit_nodelay_and_keepalive(on: Support) {
    with_client(
        on,
        |accepts, _| async move {
            let socket = accepts.accept().await.expect("a connection");
            // SAFETY: `socket` is open until the end of this block.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(socket.id()) };
            let options = socket2::SockRef::from(&fd);
            assert!(options.tcp_nodelay().expect("an option"));
            assert!(options.keepalive().expect("an option"));
            assert!(socket.peer().is_some());
            socket.refuse(b"no\r\n");
        },
        |address| {
            let client = connect(address);
            assert_eq!(read_exactly(&client, 4), b"no\r\n");
            assert!(at_end(&client));
        },
    );
}

fn a_path_can_be_listened_on_and_its_old_socket_is_replaced(on: Support) {
    let path = std::env::temp_dir().join(format!("uring-test-{}.sock", std::process::id()));
    drop(Listener::bind_path(&path, 0o700, 64).expect("a new socket"));
    let listener = Listener::bind_path(&path, 0o600, 64).expect("the old one is replaced");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let there = path.clone();
    let client = std::thread::spawn(move || {
        let mut client = std::os::unix::net::UnixStream::connect(there).expect("a listener");
        client.write_all(b"abc").expect("a write");
    });
    let ring = ring_of(on, 1);
    let buffers = ring.buffers();
    ring.run(async {
        let accepts = Rc::new(listener.open());
        let stream = accept(&accepts).await;
        let (result, buffer) = stream.read(buffers.take()).await;
        assert_eq!((result.expect("a read"), buffer.bytes()), (3, &b"abc"[..]));
        let waiting = Rc::clone(&accepts);
        let ended = uring::spawn(async move {
            waiting.accept().await.expect_err("closed");
        });
        uring::turn().await;
        accepts.close();
        ended.await.expect("the loop's assertions");
    });
    client.join().expect("the client's assertions");
    std::fs::remove_file(&path).expect("the socket file stays");
    std::fs::write(&path, "a plain file").expect("a file");
    Listener::bind_path(&path, 0o700, 64).expect_err("a file that is not a socket is not replaced");
    std::fs::remove_file(&path).expect("still there");
}

/// A task that is always ready lets others start operations only if its turns are operations themselves.
fn turns_do_not_starve_a_read(on: Support) {
    with_client(
        on,
        |accepts, buffers| async move {
            let stream = accept(&accepts).await;
            let done = Rc::new(Cell::new(false));
            let (flag, pool) = (Rc::clone(&done), buffers.clone());
            let reading = uring::spawn(async move {
                let (result, _) = stream.read(pool.take()).await;
                assert_eq!(result.expect("a read"), 1);
                flag.set(true);
            });
            let deadline = Instant::now() + Duration::from_secs(5);
            while !done.get() {
                uring::turn().await;
                assert!(Instant::now() < deadline, "the read never started");
            }
            reading.await.expect("the reader's assertions");
        },
        |address| connect(address).write_all(b"x").expect("a write"),
    );
}

fn wakes_merge_and_messages_do_not(on: Support) {
    let (waker, mut mailbox) = uring::mailbox::<Socket>();
    for _ in 0..1000 {
        waker.wake();
    }
    let listener = listen();
    let address = listener.local().expect("a TCP listener");
    let ring = ring_of(on, 2);
    let buffers = ring.buffers();
    ring.run(async {
        assert!(matches!(mailbox.next().await, Some(Mail::Wake)));
        // Only from here on is a wake a new one.
        let poster = {
            let waker = waker.clone();
            std::thread::spawn(move || {
                for _ in 0..2 {
                    waker.post(TcpStream::connect(address).expect("a listener").into()).expect("a ring");
                }
                waker.wake();
            })
        };
        let accepts = listener.open();
        for _ in 0..2 {
            let peer = accept(&accepts).await;
            let Some(Mail::Message(socket)) = mailbox.next().await else { panic!("a socket was posted") };
            let adopted = Stream::new(socket);
            adopted.send(b"from another thread".to_vec()).await.0.expect("a send");
            let (result, buffer) = peer.read(buffers.take()).await;
            assert_eq!((result.expect("a read"), buffer.bytes()), (19, &b"from another thread"[..]));
        }
        assert!(matches!(mailbox.next().await, Some(Mail::Wake)));
        poster.join().expect("the poster's assertions");
    });
    drop(mailbox);
    waker.wake();
    assert!(waker.post(TcpStream::connect(address).map_or_else(|_| unconnected(), Into::into)).is_err());
}

/// Any socket at all.
fn unconnected() -> Socket {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    TcpStream::connect(listener.local_addr().expect("an address")).expect("a listener").into()
}

fn a_bell_is_heard_from_the_moment_one_listens(on: Support) {
    ring_of(on, 1).run(async {
        let bell = uring::Bell::default();
        bell.ring();
        let heard = bell.heard();
        let ringer = bell.clone();
        ringer.ring();
        heard.await;
        let ringer = bell.clone();
        uring::spawn(async move {
            uring::turn().await;
            ringer.ring();
        });
        bell.heard().await;
    });
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

fn thousands_of_completions_at_once(on: Support) {
    ring_of(on, 1).run(async {
        let done = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..20_000)
            .map(|_| {
                let done = Rc::clone(&done);
                uring::spawn(async move {
                    uring::turn().await;
                    done.set(done.get() + 1);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(done.get(), 20_000);
    });
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
