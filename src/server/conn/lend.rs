//! Memory that a connection lends to the kernel: reservations that a value is received into, and replies with values pinned in
//! the store. While the memory is lent, it belongs to the I/O operation, which returns it with the result. The `unsafe impl`s
//! say why that is sound.

use crate::output::Held;
use crate::store::Reservation;

#[expect(unsafe_code, reason = "the kernel writes values into item memory")]
// SAFETY: the reservation promises that its spare memory is valid as long as it lives; it is unpublished, so that this is the
// only way to it, and it is lent to one receive at a time.
unsafe impl uring::Receive for Reservation {
    fn spare(&mut self) -> (*mut u8, usize) {
        Self::spare(self)
    }
}

/// A reply with values that are sent from where they are in memory, each with its position in `staged`.
pub(super) struct Reply {
    pub(super) staged: Vec<u8>,
    pub(super) values: Vec<(usize, Held)>,
}

#[expect(unsafe_code, reason = "the kernel reads values where they are while they are sent")]
// SAFETY: nobody mutates `staged` and `values` while the reply is lent (only `Connection::send` makes one, and gives it
// away); the vector's bytes are on the heap, a pin keeps its value's bytes in place and unchanged until it is dropped, and so
// does `Bytes`, which does not move what it owns.
unsafe impl uring::GatherBuf for Reply {
    // A loop of its own beside `Output::pieces`: that iterator takes more than 1 % of the instructions of a get of a large
    // value.
    fn each(&self, visit: &mut dyn FnMut(&[u8])) {
        let mut from = 0;
        for (at, held) in &self.values {
            visit(&self.staged[from..*at]);
            visit(held.bytes());
            from = *at;
        }
        visit(&self.staged[from..]);
    }
}
