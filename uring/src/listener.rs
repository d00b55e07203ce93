//! Listeners, and the sockets they accept. A [`Listener`] or [`Socket`] belongs to no ring yet and may go to another thread; an
//! [`ActiveListener`] belongs to one ring.

use crate::backend::Backend;
use crate::completion;
use crate::readiness::Acceptor;
use crate::steer::steer;
pub use crate::sys::is_exhaustion;
use socket2::{Domain, Protocol, SockAddr, Type};
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// A connected socket that belongs to no ring yet; it can be sent to any ring's thread.
#[derive(Debug)]
pub struct Socket(socket2::Socket);

impl Socket {
    pub(crate) fn into_inner(self) -> socket2::Socket {
        self.0
    }

    /// The number of the file descriptor, which no other open socket has.
    pub fn id(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The peer's address; `None` for a unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer_addr().ok()?.as_socket()
    }

    /// Sends `words` if the socket takes them without blocking, then closes the connection.
    pub fn refuse(self, words: &[u8]) {
        let _ = self.0.send_with_flags(words, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl From<std::os::unix::net::UnixStream> for Socket {
    fn from(stream: std::os::unix::net::UnixStream) -> Self {
        Self(stream.into())
    }
}

impl From<std::net::TcpStream> for Socket {
    fn from(stream: std::net::TcpStream) -> Self {
        Self(stream.into())
    }
}

/// A listening socket, not yet on a ring. It may be made on one thread and put on another thread's ring.
#[derive(Debug)]
pub struct Listener {
    socket: socket2::Socket,
    local: Option<SocketAddr>,
    /// A spare descriptor. When the process is out of descriptors, the spare one is closed for a moment, so that one connection
    /// can be accepted and refused with a message.
    spare: Option<File>,
}

impl Listener {
    /// Binds `count` listeners to one address; the kernel spreads connections over them. Port 0 means any free port, the same
    /// for all. `backlog` is that of listen(2).
    ///
    /// # Errors
    /// Any error of bind(2) or listen(2). `EADDRINUSE` comes even if the other listener has set `SO_REUSEPORT`, because an
    /// exclusive bind is tried first.
    pub fn bind_each(address: SocketAddr, count: usize, backlog: i32) -> io::Result<Vec<Self>> {
        // A second server could otherwise join the group unnoticed and take some of the connections.
        let exclusive = unbound(address)?;
        exclusive.bind(&SockAddr::from(address))?;
        let mut bound = address;
        if let Some(local) = exclusive.local_addr()?.as_socket() {
            bound.set_port(local.port());
        }
        let sockets = (0..count)
            .map(|_| {
                let socket = unbound(bound)?;
                socket.set_reuse_port(true)?;
                socket.bind(&SockAddr::from(bound))?;
                Ok(socket)
            })
            .collect::<io::Result<Vec<_>>>()?;
        // listen(2) conflicts with the exclusive socket.
        drop(exclusive);
        sockets
            .into_iter()
            .map(|socket| {
                socket.listen(backlog)?;
                Self::new(socket, Some(bound))
            })
            .collect()
    }

    /// Binds one unix-socket listener to `path`, replacing a socket that is already there. `mode` is the permissions of the
    /// socket file, at most 0777. `backlog` is that of listen(2).
    ///
    /// # Errors
    /// Any error of the kernel, such as `EADDRINUSE` if something other than a socket is at `path`.
    pub fn bind_path(path: &Path, mode: u32, backlog: i32) -> io::Result<Self> {
        if std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Umask rather than chmod, because the socket would be open to others between bind and chmod.
        let mask = nix::sys::stat::Mode::from_bits_truncate(!mode & 0o777);
        let before = nix::sys::stat::umask(mask);
        let bound = socket.bind(&SockAddr::unix(path)?);
        nix::sys::stat::umask(before);
        bound?;
        socket.listen(backlog)?;
        Self::new(socket, None)
    }

    fn new(socket: socket2::Socket, local: Option<SocketAddr>) -> io::Result<Self> {
        Ok(Self { socket, local, spare: Some(File::open("/dev/null")?) })
    }

    /// The number of the file descriptor, which no other open socket has.
    pub fn id(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The bound address, with the port that the kernel chose; `None` for a unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Puts the listener on this thread's ring.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub fn open(self) -> io::Result<ActiveListener> {
        let socket = match Backend::current() {
            Backend::Uring => Listening::Completion(completion::Acceptor::new(self.socket)?),
            Backend::Epoll => Listening::Readiness(Acceptor::new(self.socket)),
        };
        Ok(ActiveListener { socket, spare: RefCell::new(self.spare) })
    }
}

/// A socket for `address` with the options that connections inherit from their listener: no delay, keepalive.
///
/// `SO_LINGER` stays off, which is the default, so that closing a connection neither blocks nor resets it.
fn unbound(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_keepalive(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// A listener on this thread's ring.
#[derive(Debug)]
pub struct ActiveListener {
    socket: Listening,
    spare: RefCell<Option<File>>,
}

/// The listening socket in the form that the thread's backend needs.
#[derive(Debug)]
enum Listening {
    Completion(completion::Acceptor),
    Readiness(Acceptor),
}

impl ActiveListener {
    /// Waits for the next connection. Must be awaited to completion; [`ActiveListener::close`] makes it fail.
    ///
    /// # Errors
    /// After an error for which [`is_exhaustion`] is true, pause, then retry. Errors like `ECONNABORTED` and `EINTR` concern one
    /// connection only: retry immediately.
    pub async fn accept(&self) -> io::Result<Socket> {
        match &self.socket {
            Listening::Completion(acceptor) => acceptor.accept().await.map(Socket),
            Listening::Readiness(acceptor) => acceptor.accept().await.map(Socket),
        }
    }

    /// Accepts one waiting connection with the spare descriptor, sends it `words` and closes it. For when the process is out of
    /// descriptors. False if no connection was waiting, or it could not be accepted.
    pub fn refuse_one(&self, words: &[u8]) -> bool {
        let mut spare = self.spare.borrow_mut();
        if spare.take().is_none() {
            // The spare could not be opened again the last time, because something else had taken the descriptor.
            *spare = File::open("/dev/null").ok();
            return false;
        }
        let taken = match &self.socket {
            Listening::Completion(acceptor) => acceptor.accept_now(),
            Listening::Readiness(acceptor) => acceptor.accept_now(),
        };
        let refused = taken.map(|socket| Socket(socket).refuse(words)).is_ok();
        *spare = File::open("/dev/null").ok();
        refused
    }

    /// True if the process has a free descriptor for a connection, besides the spare one.
    pub fn has_descriptors(&self) -> bool {
        let mut spare = self.spare.borrow_mut();
        if spare.is_none() {
            *spare = File::open("/dev/null").ok();
        }
        spare.is_some() && self.socket().try_clone().is_ok()
    }

    /// From now on, gives the new connections of this listener's port in equal shares to the listeners `targets` of
    /// [`Listener::bind_each`], numbered from 0. Without this, all of them get connections.
    ///
    /// # Errors
    /// `InvalidInput` if there are no targets, or more than 2,000. Any other error means that this kernel, or this kind of
    /// listener, cannot be steered.
    pub fn steer(&self, targets: &[u32]) -> io::Result<()> {
        steer(self.socket(), targets)
    }

    fn socket(&self) -> &socket2::Socket {
        match &self.socket {
            Listening::Completion(acceptor) => acceptor.socket(),
            Listening::Readiness(acceptor) => acceptor.socket(),
        }
    }

    /// Stops listening. A waiting [`ActiveListener::accept`] fails, and connections that are not yet accepted are reset.
    pub fn close(&self) {
        if let Listening::Completion(acceptor) = &self.socket {
            acceptor.will_close();
        }
        let _ = self.socket().shutdown(Shutdown::Both);
    }
}
