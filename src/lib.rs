//! memcrsd: a memcached server on io_uring.
//!
//! # Layers
//!
//! Each layer imports only layers below it; `tests/it/tree/tidy/mod.rs` holds the table.
//!
//! ```text
//! main ─► top, process
//!   └───► server (the async edge: rings, accept, connections, signals)
//!           ├─► uring (a crate of its own: completion I/O, knows nothing of memcached)
//!           └─► session (one connection without I/O: bytes in, bytes out)
//!                 ├─► proto   bytes ↔ commands and replies; knows no store
//!                 └─► engine  what commands mean; knows no bytes
//!                       └─► store  segments, log, replicas, eviction; knows no protocol
//! ```
//!
//! Beside them: `output` (staged replies and pinned values, above the store), `tls` and `auth` (bytes in, bytes out),
//! `config` (the settings, which server, session, engine and `tls` import), and at the bottom `command` (what proto and
//! engine say to each other), `limits`, `classes`, `clock`, `number`, `escape`, `logging`.
//!
//! # The life of a get
//!
//! A read completes into the ring's buffer ([`server`]). [`session::Session::feed`] opens an [`engine::Engine`] batch, which
//! replays the log once ([`store::Shard::fresh`]). [`proto::text`] parses the command and borrows the key from the buffer. The
//! replica finds the item. Its value is copied after a header into the connection's [`output::Output`], or pinned there if
//! it is large. One send takes the replies to all commands in the buffer.
//!
//! # The life of a set
//!
//! The value is copied from the buffer into a shared segment. Under the writer lock the command (set, add, cas, …) is decided
//! on the newest state and one delta is appended to the log ([`store::Fresh::edit`]); then the reply is staged. A large value
//! is received straight into item memory ([`store::Reservation`]).
//!
//! # Threads and state
//!
//! Each ring is a thread. It owns its connections, their sessions and outputs, and its engine; none of that has locks. All rings
//! share the store (items, segments and log change under its writer lock), [`engine::Shared`] (settings and lists behind locks,
//! counters that each ring writes for itself) and the TLS certificates. The main thread starts everything and waits for signals.
//! The watchdog, the flash tier, the metrics and `--copy-from` have a thread each. `proto`, `command`, `limits`, `classes`,
//! `number` and `escape` are pure functions and plain values; `config` is read once at start.
//!
//! # Where to read on
//!
//! [`store`] is the design essay, [`session`] the seam where tests, fuzzers and the simulation plug in, [`limits`] every bound a
//! client can reach, [`manual`] the documentation for users.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | ring | a thread with its own io_uring (or epoll), connections and replica; `-t` of them |
//! | backend | what does a ring's I/O: io_uring or epoll |
//! | completion | the result of an I/O operation that the kernel has finished |
//! | buffer | 16 KiB that the kernel reads into and the parser parses in place; registered with the kernel if possible |
//! | session | the protocol state of one connection; never does I/O |
//! | batch | the commands in one piece of input; they share one replay and one send |
//! | output | the replies of a connection that are not sent yet: staged bytes and pinned values |
//! | store | all items, their segments and the log; one per process |
//! | shard | a ring's handle on the store |
//! | replica | an index of all items: key hash → item; of one ring, or shared by neighbours (`--replicas`) |
//! | section | the time in which a ring that shares its replica may hold references to items: one batch |
//! | table | one of the many small hash tables of a replica; they double at different times |
//! | tag | four bits of a key's hash, beside the item's address in an index entry |
//! | log | the replication log: a bounded circular array of deltas |
//! | delta | one entry of the log: where the index has `old`, put `new` |
//! | cursor | how far a ring's replica has applied the log; also says which items the ring may still be reading |
//! | replay | applying the deltas between cursor and tail; required before every read |
//! | item | header, key and value, written once; only expiry and access marks change afterwards |
//! | segment | a fixed-size piece of the mapping, filled with items from front to back |
//! | large item | an item over an eighth of a segment, unless it wastes less there; has an extent of its own |
//! | extent | contiguous whole pages of the mapping, for one large item; on flash ([`store::Extent`]) a range of a file |
//! | unit | what is evicted as a whole: a segment or a large item |
//! | reservation | item memory that a value is being received into, not yet published |
//! | pin | keeps an item's memory while a reply that refers to it is sent |
//! | write transaction | one decision under the writer lock: look up, decide, append, apply |
//! | budget | what `-m` bounds: segments, large items, indexes and ghosts |
//! | victim | the segment or large item to evict from next |
//! | ghost | the remembered hash of an evicted key; if the key returns, it goes to the main queue |
//! | small and main queue | the two FIFOs of S3-FIFO: new items, and items that were read again |
//! | retired | said of memory whose items have gone, but that some ring or pin may still read |
//! | reclaim list | segments of which enough is dead that copying their live items frees memory |
//! | flash tier | files that hold values for which memory has no room (`ext_path`) |
//! | stub | what stays in memory of an item whose value is on flash: header, key and place |
//! | place | where a value is on flash: the number of its chunk, the offset in the chunk, and the value's length |
//! | chunk | the unit of writing to flash (`ext_wbuf_size`), filled with records; a page (`ext_page_size`) consists of chunks |
//! | hole | the place in an output for a value that is still to be read from flash |
//! | watcher | a connection that issued `watch` and receives log lines |
//! | watchdog | the thread that checks that every ring makes progress |

pub mod auth;
pub mod classes;
pub mod clock;
pub mod command;
pub mod config;
pub mod engine;
pub mod escape;
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod logging;
pub mod manual;
pub mod number;
pub mod output;
pub mod process;
pub mod proto;
pub mod server;
pub mod session;
pub mod store;
pub mod tls;
pub mod top;
