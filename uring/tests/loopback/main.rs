//! The face over loopback and files, on each engine: each promise of the crate, and each trap of the runtime below that it must
//! avoid.

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

mod files;
mod sends;
mod streams;

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};
use uring::{ActiveListener, Buffers, Listener, Mail, Options, Ring, Socket, Stream, Support};

const BUFFER_BYTES: usize = 4096;

on_each_engine! {
    a_closed_listener_ends_its_accept_and_refuses_clients,
    connections_inherit_nodelay_and_keepalive,
    a_path_can_be_listened_on_and_its_old_socket_is_replaced,
    turns_do_not_starve_a_read,
    wakes_merge_and_messages_do_not,
    a_bell_is_heard_from_the_moment_one_listens,
    thousands_of_completions_at_once,
}

fn ring_of(on: Support, buffers_max: usize) -> Ring {
    Ring::build(on, &Options { rings: 8, buffer_bytes: BUFFER_BYTES, buffers_max, read_bytes_max: 0 })
        .expect("a ring")
}

/// Runs `serve` on a ring of its own thread while `client` talks to its listener from this one.
fn with_client<F: Future<Output = ()>>(
    on: Support,
    serve: impl FnOnce(ActiveListener, Buffers) -> F + Send + 'static,
    client: impl FnOnce(SocketAddr),
) {
    let listener = listen();
    let address = listener.local().expect("a TCP listener");
    let server = std::thread::spawn(move || {
        let ring = ring_of(on, 8);
        let buffers = ring.buffers();
        assert_eq!(buffers.pooled(), 8);
        ring.run(async { serve(listener.open().expect("a listener"), buffers).await });
    });
    client(address);
    server.join().expect("the server's assertions");
}

fn listen() -> Listener {
    Listener::bind_each("127.0.0.1:0".parse().expect("an address"), 1, 64).expect("a free port").remove(0)
}

async fn accept(accepts: &ActiveListener) -> Stream {
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

fn a_closed_listener_ends_its_accept_and_refuses_clients(on: Support) {
    let listener = listen();
    let address = listener.local().expect("a TCP listener");
    ring_of(on, 1).run(async {
        let accepts = Rc::new(listener.open().expect("a listener"));
        let waiting = Rc::clone(&accepts);
        let loop_ended = uring::spawn(async move {
            waiting.accept().await.expect_err("closed");
        });
        uring::yield_now().await;
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
            #[expect(unsafe_code, reason = "the options of a descriptor are looked at")]
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
        let accepts = Rc::new(listener.open().expect("a listener"));
        let stream = accept(&accepts).await;
        assert_eq!(stream.read(&buffers).await.expect("a read").bytes(), b"abc");
        let waiting = Rc::clone(&accepts);
        let ended = uring::spawn(async move {
            waiting.accept().await.expect_err("closed");
        });
        uring::yield_now().await;
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
                assert_eq!(stream.read(&pool).await.expect("a read").bytes().len(), 1);
                flag.set(true);
            });
            let deadline = Instant::now() + Duration::from_secs(5);
            while !done.get() {
                uring::yield_now().await;
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
        let accepts = listener.open().expect("a listener");
        for _ in 0..2 {
            let peer = accept(&accepts).await;
            let Some(Mail::Message(socket)) = mailbox.next().await else { panic!("a socket was posted") };
            let adopted = Stream::new(socket);
            adopted.send(b"from another thread".to_vec()).await.0.expect("a send");
            assert_eq!(peer.read(&buffers).await.expect("a read").bytes(), b"from another thread");
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
            uring::yield_now().await;
            ringer.ring();
        });
        bell.heard().await;
    });
}

fn thousands_of_completions_at_once(on: Support) {
    ring_of(on, 1).run(async {
        let done = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..20_000)
            .map(|_| {
                let done = Rc::clone(&done);
                uring::spawn(async move {
                    uring::yield_now().await;
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
