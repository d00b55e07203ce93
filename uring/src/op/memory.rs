//! Memory of the caller's that operations own while the kernel uses it.

/// Memory of the caller's that a stream receives into: see [`Stream::recv_into`](crate::Stream::recv_into).
///
/// # Safety
/// What [`Receive::spare`] returns is writable for that length, stays valid and in place until the implementor is
/// dropped or mutated (moving it is neither), and is not accessed meanwhile by anyone but the receiver.
pub unsafe trait Receive: Unpin + 'static {
    /// Address and length of the memory that is still to be filled.
    fn spare(&mut self) -> (*mut u8, usize);
}

/// Pieces of memory that a stream sends one behind the other: see [`Stream::send_gather`](crate::Stream::send_gather).
///
/// # Safety
/// The slices passed to `visit` are the same at each call, and stay valid, in place and unchanged until the
/// implementor is dropped or mutated (moving it is neither).
pub unsafe trait Pieces: Unpin + 'static {
    /// Visits the pieces in order.
    fn each(&self, visit: &mut dyn FnMut(&[u8]));
}

// SAFETY: one piece, on the vector's heap memory, which moves only when the vector is mutated.
unsafe impl Pieces for Vec<u8> {
    fn each(&self, visit: &mut dyn FnMut(&[u8])) {
        visit(self);
    }
}
