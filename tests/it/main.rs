//! The integration tests: one binary that starts real servers on loopback and talks to them.
//!
//! `MEMCRSD_UNDER_TEST=$(tests/yardstick path)` runs the transcripts against memcached (`just test-against`), which verifies
//! their expectations; intended differences are marked. `MEMCRSD_TEST_DEADLINE_MS` bounds every read (30 s).
//! `MEMCRSD_IO_ENGINE=epoll` runs the tests on that engine.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test may panic and may talk"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "nothing outside imports this"
)]

mod consistency;
mod faults;
mod harness;
mod process;
mod protocol;
mod restart;
mod tree;
