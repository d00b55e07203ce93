//! The traits by which callers lend memory to an operation, and the iovecs that describe it to the kernel. The operation owns
//! both until it completes.
#![expect(unsafe_code, reason = "memory is described to the kernel by address")]

/// Most bytes that one operation on a connection moves. The kernel copies them in about 80 µs, during which the ring's other
/// connections wait.
pub(crate) const OPERATION_BYTES_MAX: usize = 512 * 1024;

/// Memory that a stream receives into: see [`Stream::recv_into`](crate::Stream::recv_into).
///
/// # Safety
/// The memory that [`Receive::spare`] returns is writable over its whole length, stays valid and in place until the implementor
/// is dropped or mutated (moving it is neither), and is not accessed meanwhile by anyone but the receiver.
pub unsafe trait Receive: Unpin + 'static {
    /// Address and length (bytes) of the memory that is still to be filled; length 0 means that all of it is filled.
    fn spare(&mut self) -> (*mut u8, usize);
}

/// Pieces of memory that a stream sends in order: see [`Stream::send_gather`](crate::Stream::send_gather).
///
/// # Safety
/// The slices passed to `visit` are the same at each call, and stay valid, in place and unchanged until the
/// implementor is dropped or mutated (moving it is neither).
pub unsafe trait GatherBuf: Unpin + 'static {
    /// Calls `visit` with each piece, in the order in which they are sent.
    fn each(&self, visit: &mut dyn FnMut(&[u8]));
}

// SAFETY: one piece, on the vector's heap memory, which moves only when the vector is mutated.
unsafe impl GatherBuf for Vec<u8> {
    fn each(&self, visit: &mut dyn FnMut(&[u8])) {
        visit(self);
    }
}

/// The `msghdr` and `iovec`s of a gathering send, kept for reuse by its stream. They point into the pieces that
/// [`IoVecs::describe`] was last called with, and are used only while these pieces live.
pub(crate) struct IoVecs {
    /// Points to `list`.
    header: libc::msghdr,
    list: Vec<libc::iovec>,
}

impl Default for IoVecs {
    fn default() -> Self {
        // SAFETY: a msghdr is integers and pointers, for all of which zero is a value.
        let header = unsafe { std::mem::zeroed() };
        Self { header, list: Vec::new() }
    }
}

impl IoVecs {
    /// Describes at most `len_max` bytes of `pieces`, beginning after the first `skip` bytes. Returns how many bytes are
    /// described.
    pub(crate) fn describe<P: GatherBuf>(&mut self, pieces: &P, mut skip: usize, len_max: usize) -> usize {
        self.list.clear();
        let mut len = 0;
        let list = &mut self.list;
        pieces.each(&mut |piece| {
            let passed = skip.min(piece.len());
            skip -= passed;
            let rest = &piece[passed..];
            let rest = &rest[..rest.len().min(len_max - len)];
            // The kernel takes at most UIO_MAXIOV vectors. Pieces that do not fit go with the next operation.
            if !rest.is_empty() && list.len() < libc::UIO_MAXIOV as usize {
                len += rest.len();
                list.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() });
            }
        });
        self.header.msg_iov = self.list.as_mut_ptr();
        self.header.msg_iovlen = self.list.len();
        len
    }

    /// The header for sendmsg(2). It is valid until `self` is dropped, describes other pieces, or is moved (moving a box that
    /// contains `self` does not move it).
    pub(crate) fn header(&self) -> *const libc::msghdr {
        &raw const self.header
    }
}
