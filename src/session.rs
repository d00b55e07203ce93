//! INTERFACE SKETCH: one connection without I/O, bytes in, bytes out; pure.
#![allow(missing_docs, dead_code, unused_variables, clippy::all, clippy::pedantic, reason = "sketch")]

use crate::engine::Engine;
use crate::output::Output;
use crate::store::Draft;

/// What the connection wants next, once everything in `out` has been sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// More bytes: read. (Unconsumed input must be fed again, in front of them.)
    Read,
    /// Call `feed` again with the unconsumed rest (maybe empty) after the send: output was full, the -R limit was
    /// reached, or a dump goes on.
    Resume,
    /// A large value is on its way: `lend_draft`, receive into it, `return_draft`, then `feed` again.
    Receive,
    /// The connection has become a watcher: `pump` it whenever the ring is woken or a second has passed; bytes read are ignored.
    Watch,
    /// Send what is staged, then close.
    Close,
}

#[derive(Debug)]
pub struct Progress {
    /// Bytes of the input that were used up.
    pub consumed: usize,
    pub next: Next,
}

#[derive(Debug)]
pub struct Session;

impl Session {
    /// `id` is the number of the connection in logs, `stats conns` and watch lines (its descriptor).
    pub fn new(engine: &Engine, id: u32) -> Self {
        todo!()
    }
    /// Runs the complete commands at the front of `input` in place, staging replies in `out`.
    pub fn feed(&mut self, engine: &mut Engine, input: &[u8], out: &mut Output) -> Progress {
        todo!()
    }
    /// The draft of the value being received, for the kernel to write into.
    pub fn lend_draft(&mut self) -> Option<Draft> {
        todo!()
    }
    /// Gives the draft back, `received` more bytes filled (already `advance`d).
    pub fn return_draft(&mut self, draft: Draft) {
        todo!()
    }
    /// Watchers: stages pending log lines.
    pub fn pump(&mut self, engine: &mut Engine, out: &mut Output) {
        todo!()
    }
}
