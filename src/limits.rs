//! Every bound that a client or an operator can reach, with its unit and its reason. Constants only; each module enforces
//! the bounds it imports.
//!
//! Sizes that only tune the speed of one module stay in that module; those that several modules must agree on are at the
//! end. What a client sees at each bound is in [`crate::manual::limits`].

use std::time::Duration;

// Requests.

/// Longest key, bytes. Source: protocol.txt, "Keys".
pub const KEY_BYTES_MAX: usize = 250;
/// Received bytes without a line end at which the connection is closed, as in memcached; `get` and `gets` are exempt.
pub const LINE_BYTES_MAX: usize = 2048;
/// Most spaces in front of a `get` or `gets` that is longer than [`LINE_BYTES_MAX`], as in memcached.
pub const LEADING_SPACES_MAX: usize = 100;
/// Most tokens of a text line that are parsed; `get`, `gets`, `gat` and `gats` parse the whole line.
pub const LINE_TOKENS_MAX: usize = 23;
/// Most tokens of a meta command line, command and key included.
pub const META_TOKENS_MAX: usize = 20;
/// Longest opaque token of a meta command, bytes after the `O`.
pub const OPAQUE_BYTES_MAX: usize = 31;
/// Largest value length that a storage command may announce, bytes: 2^31 - 3, so that with the line end it fits an i32.
pub const VALUE_BYTES_ANNOUNCED_MAX: u32 = 2_147_483_645;
/// Largest header, extras and key of a binary packet, bytes; a longer packet head closes the connection.
pub const PACKET_HEAD_BYTES_MAX: usize = 16_384;
/// Largest body of a binary packet, bytes.
pub const PACKET_BODY_BYTES_MAX: u32 = 1 << 30;

// Replies.

/// Bytes staged in one connection's output at which the next command waits until they are sent.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Pinned values in one connection's output at which the next command waits until they are sent.
pub const OUTPUT_PIECES_MAX: usize = 64;
/// Holes in one connection's output at which the next command waits for the send, before which all holes are filled at once. A
/// ring reads as many values at a time, and multigets of 100 keys are common.
pub const OUTPUT_HOLES_MAX: usize = 128;
/// Bytes of the values for those holes at which the next command waits too: the values stay in memory until the client has
/// taken them.
pub const OUTPUT_HOLES_BYTES_MAX: usize = 1 << 20;
/// How often the value is read from flash for a command that needs it in memory (append, incr, …). Other commands may move the
/// value back to flash before this one runs again; after this many reads the command is refused. Gets do not count here.
pub const LOADS_MAX: u8 = 3;
/// Longest value that `incr` and `decr` take for a number, bytes: in memcached longer ones are chunked, and never numbers. The
/// limit bounds the zeros and spaces that one command has to read.
pub const NUMBER_BYTES_MAX: usize = 512 * 1024;
/// Length of the reply at which `stats cachedump` ends, bytes, as in memcached.
pub const CACHEDUMP_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most prefixes that `stats detail` counts, as in memcached; prefixes that come later are not counted. With the longest keys
/// the counts take some 24 MB besides `-m`.
pub const PREFIXES_MAX: usize = 65_536;
/// Connections that may `watch` at a time, as in memcached.
pub const WATCHERS_MAX: usize = 20;

// Datagrams. A sender can forge its address, so what one datagram costs is bounded by its length.

/// Largest datagram of a reply, bytes, as in memcached: it fits any usual path without fragmentation.
pub const DATAGRAM_BYTES_MAX: usize = 1400;
/// Longest replies to a datagram without their largest value, bytes: a whole cachedump and a little more. Longer ones are
/// dropped.
pub const DATAGRAM_REPLY_BYTES_MAX: usize = CACHEDUMP_BYTES_MAX + 128 * 1024;
/// Items that the dumps of one datagram examine, some 2 ms of work in all. A dump ends with the slice in which it exceeds this.
pub const DATAGRAM_DUMP_ITEMS_MAX: u32 = 32 * 1024;

// Logins.

/// Most entries of a `-Y` file; the rest is ignored, as in memcached.
pub const ASCII_USERS_MAX: usize = 8;
/// Longest line of a `-Y` file with its line end, bytes.
pub const ASCII_LINE_BYTES_MAX: usize = 256;
/// Longest user, space and password of a text login, bytes.
pub const LOGIN_BYTES_MAX: u32 = 16_384;
/// Longest user and password in SASL, bytes.
pub const SASL_BYTES_MAX: usize = 4096;
/// Longest name of a SASL mechanism, bytes.
pub const SASL_MECHANISM_BYTES_MAX: usize = 32;

// Configuration.

/// Most rings: each costs an index and a cursor of the log.
pub const THREADS_MAX: i32 = 1024;
/// Shortest --ring-timeout, seconds: the watchdog looks once a second, and a busy machine must not look stuck.
pub const RING_TIMEOUT_SECS_MIN: u32 = 4;
/// Smallest -I, bytes.
pub const ITEM_SIZE_MIN: i64 = 1 << 10;
/// Largest -I, bytes: lengths of items have 30 bits.
pub const ITEM_SIZE_MAX: i64 = 1 << 30;
/// Smallest `cache_memlimit`, MB, as in memcached.
pub const MEMLIMIT_MB_MIN: u64 = 8;
/// Largest `cache_memlimit` that is parsed, MB, as in memcached. How far the limit can really be raised depends on the address
/// space.
pub const MEMLIMIT_MB_MAX: u64 = 1_000_000_000;
/// Longest --health-timeout, seconds.
pub const HEALTH_SECS_MAX: f64 = 3600.0;

// The store.

/// How long a command waits for other rings to catch up with the log. Once the slowest ring has not moved for that long,
/// commands that wait for it are refused at once.
pub const STALL_MAX: Duration = Duration::from_secs(1);
/// Least length of the log, deltas: how far a ring may lag behind the writers.
pub const LOG_ENTRIES: usize = 16 * 1024;
/// Length of the log for each ring, deltas; the total is rounded up to a power of two. With more rings, more deltas may be
/// appended while one ring waits for a core.
pub const LOG_ENTRIES_PER_RING: usize = 4 * 1024;

/// Share of `-m` that values of small items may hold while they are sent to connections: one part in this many. Beyond it,
/// values are copied.
pub const PINNED_PART: u64 = 8;
/// Share of `-m` that values of small items may hold when a datagram pins one more, with the values pinned by connections: one
/// part in this many. It may be larger because sends of datagrams wait for no client.
pub const PINNED_PART_WITH_DATAGRAMS: u64 = 4;
/// Share of `-m` that large items may hold in addition: one part in this many. Beyond it, a large value is copied part by part,
/// and its reader is closed if the item is replaced meanwhile. A client that holds such memory and takes nothing is closed.
pub const PINNED_PART_LARGE: u64 = 2;
/// Share of `-m` by which all rings together may exceed the bounds on pins: one part in this many. Each ring knows only
/// roughly what the others hold.
pub const PINNED_SLACK_PART: u64 = 64;
/// Seconds after which a client that takes no byte of a pinned value is closed. Only while pins hold more than [`PINNED_PART`],
/// or values from flash nearly as much as [`LOADED_PART`].
pub const PINNED_SILENT_SECS: u32 = 5;
/// Share of `-m` that the pinned values of one send may hold: one part in this many.
pub const PINNED_PART_EACH: u64 = 64;
/// Share of `-m` that may be reserved for values that are being received: one part in this many. One value at a time that is
/// longer than that share may have a reservation beside it.
pub const DRAFTED_PART: u64 = 8;
/// With -M: share of `-m` that segments may hold in which values are being received: one part in this many. Such a value
/// keeps its whole segment, with all other items in it, from being freed.
pub const DRAFTED_SEGMENTS_PART: u64 = 32;
/// Share of `-m` that heap buffers may take for values that are being received without a reservation: one part in this many.
pub const BUFFERED_PART: u64 = 8;
/// Share of `-m` that pins and reservations together must leave to other items: one part in this many.
pub const UNHELD_PART: u64 = 4;
/// Share of `-m` that pins of datagrams and reservations together must leave to other items: one part in this many.
pub const UNHELD_PART_WITH_DATAGRAMS: u64 = 8;
/// How long a value waits, in all, for memory that unfinished values hold, before it is refused. Unfinished values that arrive
/// too slowly give up their memory within two seconds.
pub const RESERVATION_WAIT_MAX: Duration = Duration::from_millis(2500);
/// While values wait for memory, those that arrive more slowly than this are refused, bytes a second.
pub const SLOW_BYTES_PER_SEC: u64 = 32 * 1024;
/// Least time over which the speed of a value is measured: a little less than the second between two checks of a ring's
/// connections.
pub const SLOW_TIME: Duration = Duration::from_millis(900);

// The metrics port.

/// Most connections to the metrics page that are served at a time; others wait in the backlog.
pub const METRICS_CONNECTIONS_MAX: usize = 16;
/// Longest request to the metrics page, bytes; hyper needs at least this much.
pub const METRICS_REQUEST_BYTES_MAX: usize = 8192;
/// How long a connection to the metrics page may take to send its request.
pub const METRICS_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection to the metrics page may stay open.
pub const METRICS_CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

// --copy-from.

/// Items a second that are copied from another server, unless --copy-rate sets another rate.
pub const COPY_RATE: u32 = 50_000;
/// A longer value counts as several items of that rate: one for each of these bytes.
pub const COPY_UNIT_BYTES: u64 = 1024;
/// Most keys that are requested together from the server that is copied.
pub const COPY_KEYS_MAX: usize = 256;
/// Most bytes of keys that are requested together from that server; the socket buffers of both servers hold more.
pub const COPY_REQUEST_BYTES_MAX: usize = 16 * 1024;

// The flash tier.

/// Share of `-m`, besides it, that values read from flash may hold until clients have taken them: one part in this many,
/// divided among the rings.
pub const LOADED_PART: u64 = 16;
/// Least bytes that values read from flash may hold on each ring until clients have taken them.
pub const LOADED_BYTES_MIN: u64 = 4 << 20;
/// Longest `ext_wbuf_size`, which is the length of a chunk, bytes. A place has 24 bits for the offset in the chunk, in units of
/// 16 bytes.
pub const FLASH_CHUNK_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of reads from flash that a ring has in flight together.
pub const FLASH_READ_BYTES_MAX: usize = 16 << 20;
/// Most reads from flash that a ring has in flight; others wait for their turn.
pub const FLASH_READS_MAX: usize = 128;
/// How long a read from flash may take. A slower one is noticed up to a second later, and its get is then a miss.
pub const FLASH_READ_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of a value that are copied under the writer lock at a time while the value moves to flash.
pub const FLASH_PART_BYTES: usize = 64 << 10;
/// Most datagrams of one socket that wait for reads from flash at the same time; later datagrams wait behind them.
pub const FLASH_DATAGRAMS_MAX: usize = 8;
/// Most pages of the flash tier, as in memcached.
pub const FLASH_PAGES_MAX: u64 = 65_534;

// What several modules must agree on.

/// The memcached version that clients see and whose bytes are sent. Clients choose features by it, and libmemcached takes
/// a major version of 0 for an error.
pub const MEMCACHED_VERSION: &str = "1.6.45";
/// Size of memcached's slab pages, bytes; shown and checked, although there are no slabs.
pub const SLAB_PAGE_BYTES: u32 = 1 << 20;
/// Exptimes above this many seconds (30 days) are absolute Unix times.
pub const EXPTIME_RELATIVE_MAX: u32 = 60 * 60 * 24 * 30;
/// Size of one registered read buffer, bytes.
pub const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Shortest value, bytes, that is received straight into item memory if not all of it is in the read buffer.
pub const DRAFT_BYTES_MIN: usize = 8 * 1024;
/// Values up to this length are copied into the connection's output, longer ones are sent from item memory; bytes.
pub const COPY_BYTES_MAX: usize = 4 * 1024;
