//! Every bound that a client or an operator can reach, with its unit and its reason. Constants only; each module enforces
//! the bounds it imports.
//!
//! Sizes that only tune the speed of one module are in that module. Sizes that several modules must agree on are at the end of
//! this one. What a client sees at each bound is in [`crate::manual::limits`].

use std::time::Duration;

// Requests.

/// Longest key, bytes. Source: protocol.txt, "Keys".
pub const KEY_BYTES_MAX: usize = 250;
/// Length of an unfinished line at which the connection is closed, bytes, as in memcached. `get` and `gets` may be longer.
pub const LINE_BYTES_MAX: usize = 2048;
/// Most spaces before a `get` or `gets` that is longer than [`LINE_BYTES_MAX`], as in memcached.
pub const LEADING_SPACES_MAX: usize = 100;
/// Most words of a text line that are parsed. `get`, `gets`, `gat` and `gats` are exempt: their whole line is parsed.
pub const LINE_TOKENS_MAX: usize = 23;
/// Most words of a meta command line, command and key included.
pub const META_TOKENS_MAX: usize = 20;
/// Longest opaque token of a meta command, bytes without the letter `O`.
pub const OPAQUE_BYTES_MAX: usize = 31;
/// Largest value length that a storage command may announce, bytes. It is 2^31 - 3, so that the length with the line end fits an
/// i32.
pub const VALUE_BYTES_ANNOUNCED_MAX: u32 = 2_147_483_645;
/// Most bytes of header, extras and key of a binary packet together. A longer packet closes the connection.
pub const PACKET_HEAD_BYTES_MAX: usize = 16_384;
/// Largest body of a binary packet, bytes.
pub const PACKET_BODY_BYTES_MAX: u32 = 1 << 30;

// Replies.

/// Bytes staged in one connection's output at which its next command waits until the output has been sent.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Number of pinned values in one connection's output at which its next command waits until the output has been sent.
pub const OUTPUT_PIECES_MAX: usize = 64;
/// Number of holes in one connection's output at which its next command waits. All holes are then filled together and the output
/// is sent. A ring has at most this many reads in flight, and multigets of 100 keys are common.
pub const OUTPUT_HOLES_MAX: usize = 128;
/// Bytes of the values for one connection's holes at which its next command waits until the output has been sent. The values stay
/// in memory until the client has taken them.
pub const OUTPUT_HOLES_BYTES_MAX: usize = 1 << 20;
/// How often a value is read from flash for one command that needs it in memory (append, incr, …). The value may be moved back to
/// flash before the command runs again, so after this many reads the command is refused. The reads of gets do not count.
pub const LOADS_MAX: u8 = 3;
/// Longest value that `incr` and `decr` accept as a number, bytes. memcached stores longer values in chunks and never takes them
/// for numbers. The limit bounds the zeros and spaces that one command has to read.
pub const NUMBER_BYTES_MAX: usize = 512 * 1024;
/// Length of its reply at which `stats cachedump` ends, bytes, as in memcached.
pub const CACHEDUMP_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most prefixes that `stats detail` counts, as in memcached; further prefixes are not counted. With the longest keys the
/// counters take some 24 MB in addition to `-m`.
pub const PREFIXES_MAX: usize = 65_536;
/// Most connections that may `watch` at a time, as in memcached.
pub const WATCHERS_MAX: usize = 20;

// Datagrams. A sender can forge its address, so what one datagram costs is bounded by its length.

/// Largest datagram of a reply, bytes, as in memcached. It passes any usual network path without fragmentation.
pub const DATAGRAM_BYTES_MAX: usize = 1400;
/// Most bytes of the replies to one datagram, not counting the longest value among them: a whole cachedump and 128 KiB more.
/// Longer replies are dropped.
pub const DATAGRAM_REPLY_BYTES_MAX: usize = CACHEDUMP_BYTES_MAX + 128 * 1024;
/// Number of items that the dumps of one datagram may examine, some 2 ms of work in all. A dump that reaches this number ends
/// when the slice of items that it is examining is complete.
pub const DATAGRAM_DUMP_ITEMS_MAX: u32 = 32 * 1024;

// Logins.

/// Most entries of a `-Y` file; further entries are ignored, as in memcached.
pub const ASCII_USERS_MAX: usize = 8;
/// Length at which a line of a `-Y` file is rejected, bytes without its line end.
pub const ASCII_LINE_BYTES_MAX: usize = 256;
/// Most bytes of the user, the space and the password of a text login together.
pub const LOGIN_BYTES_MAX: u32 = 16_384;
/// Most bytes of user and password in a SASL login together.
pub const SASL_BYTES_MAX: usize = 4096;
/// Longest name of a SASL mechanism, bytes.
pub const SASL_MECHANISM_BYTES_MAX: usize = 32;

// Configuration.

/// Most rings. Each ring costs an index or a share of one, and a cursor of the log.
pub const THREADS_MAX: i32 = 1024;
/// Shortest --ring-timeout, seconds. The watchdog checks the rings once a second, and a ring on a busy machine must not pass for
/// stuck.
pub const RING_TIMEOUT_SECS_MIN: u32 = 4;
/// Smallest -I, bytes.
pub const ITEM_SIZE_MIN: i64 = 1 << 10;
/// Largest -I, bytes: the length field of an item has 30 bits.
pub const ITEM_SIZE_MAX: i64 = 1 << 30;
/// Smallest `cache_memlimit`, MB, as in memcached.
pub const MEMLIMIT_MB_MIN: u64 = 8;
/// Largest `cache_memlimit` that is parsed, MB, as in memcached. How far the limit can be raised in fact depends on the address
/// space.
pub const MEMLIMIT_MB_MAX: u64 = 1_000_000_000;
/// Longest --health-timeout, seconds.
pub const HEALTH_SECS_MAX: f64 = 3600.0;

// The store.

/// How long a command waits for other rings to replay the log. Once the slowest ring has made no progress for this long, commands
/// that would have to wait for it are refused without waiting.
pub const STALL_MAX: Duration = Duration::from_secs(1);
/// Least length of the log, deltas. The length is how far a ring may be behind the writers.
pub const LOG_ENTRIES: usize = 16 * 1024;
/// Length of the log for each ring, deltas; the total is rounded up to a power of two. The more rings there are, the more deltas
/// may be appended while one ring waits for a core.
pub const LOG_ENTRIES_PER_RING: usize = 4 * 1024;

/// Share of `-m` that pins of small items may hold while their values are sent to connections: one part in this many. Above it,
/// values are copied.
pub const PINNED_PART: u64 = 8;
/// Share of `-m` that pins of small items may hold, those of connections included, when a datagram pins another value: one part
/// in this many. It may be larger than [`PINNED_PART`] because sends of datagrams wait for no client.
pub const PINNED_PART_WITH_DATAGRAMS: u64 = 4;
/// Share of `-m` that pins of large items may hold in addition to [`PINNED_PART`]: one part in this many. Above it, a large value
/// is copied part by part, and its reader is closed if the item is replaced meanwhile. A client that holds such memory and takes
/// nothing is closed.
pub const PINNED_PART_LARGE: u64 = 2;
/// Share of `-m` by which the pins of all rings together may exceed the bounds on pins: one part in this many. Each ring knows
/// only roughly what the others hold.
pub const PINNED_SLACK_PART: u64 = 64;
/// Seconds after which a client that takes no byte of a pinned value is closed. This applies only while pins hold more than
/// [`PINNED_PART`], or values from flash hold nearly as much as [`LOADED_PART`].
pub const PINNED_SILENT_SECS: u32 = 5;
/// Share of `-m` that pins may hold for one send of a connection: one part in this many.
pub const PINNED_PART_EACH: u64 = 64;
/// Share of `-m` that may be reserved for values that are being received: one part in this many. A value longer than this share
/// may be reserved in addition, but only one such value at a time.
pub const DRAFTED_PART: u64 = 8;
/// With -M, the share of `-m` that may be held by segments in which values are being received: one part in this many. Such a
/// value keeps its whole segment, with all other items in it, from being freed.
pub const DRAFTED_SEGMENTS_PART: u64 = 32;
/// Share of `-m` that heap buffers may take for values that are received without a reservation: one part in this many.
pub const BUFFERED_PART: u64 = 8;
/// Share of `-m` that must remain free of pins and reservations, for other items: one part in this many.
pub const UNHELD_PART: u64 = 4;
/// Share of `-m` that must remain free of pins and reservations when a datagram pins a value: one part in this many. It is
/// smaller than [`UNHELD_PART`], because sends of datagrams wait for no client.
pub const UNHELD_PART_WITH_DATAGRAMS: u64 = 8;
/// How long a value waits, in all, for memory that unfinished values hold, before it is refused. Unfinished values that arrive
/// too slowly give up their memory within two seconds.
pub const RESERVATION_WAIT_MAX: Duration = Duration::from_millis(2500);
/// Speed below which a value that is being received is refused while other values wait for memory, bytes a second.
pub const SLOW_BYTES_PER_SEC: u64 = 32 * 1024;
/// Least time over which the speed of a value is measured. It is a little less than the second between two checks of a ring's
/// connections.
pub const SLOW_TIME: Duration = Duration::from_millis(900);

// The metrics port.

/// Most connections to the metrics page that are served at a time; further connections wait in the backlog.
pub const METRICS_CONNECTIONS_MAX: usize = 16;
/// Longest request to the metrics page, bytes; hyper does not accept a smaller limit.
pub const METRICS_REQUEST_BYTES_MAX: usize = 8192;
/// How long a connection to the metrics page may take to send its request.
pub const METRICS_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection to the metrics page may stay open.
pub const METRICS_CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

// --copy-from.

/// Most items a second that are copied from another server, unless --copy-rate sets another rate.
pub const COPY_RATE: u32 = 50_000;
/// Bytes of a value that count as one item of [`COPY_RATE`]. A longer value counts as several items: one for every this many
/// bytes.
pub const COPY_UNIT_BYTES: u64 = 1024;
/// Most keys in one request to the server that is copied.
pub const COPY_KEYS_MAX: usize = 256;
/// Most bytes of keys in one request to the server that is copied; the socket buffers of both servers hold more.
pub const COPY_REQUEST_BYTES_MAX: usize = 16 * 1024;

// The flash tier.

/// Share of `-m`, in addition to `-m` itself, that values read from flash may hold until clients have taken them: one part in
/// this many, divided among the rings.
pub const LOADED_PART: u64 = 16;
/// Bytes that values read from flash may hold on each ring in any case, however small the ring's part of [`LOADED_PART`] is.
pub const LOADED_BYTES_MIN: u64 = 4 << 20;
/// Largest `ext_wbuf_size`, the length of a chunk, bytes. A place has 24 bits for the offset in the chunk, in units of 16 bytes.
pub const FLASH_CHUNK_BYTES_MAX: u64 = 256 << 20;
/// Most bytes that all reads from flash in flight on one ring may take together.
pub const FLASH_READ_BYTES_MAX: usize = 16 << 20;
/// Most reads from flash that a ring has in flight; further reads wait for their turn.
pub const FLASH_READS_MAX: usize = 128;
/// How long a read from flash may take. A slower read is noticed up to a second later, and the get that needs it is then a miss.
pub const FLASH_READ_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of a value that are copied at a time under the writer lock while the value moves to flash.
pub const FLASH_PART_BYTES: usize = 64 << 10;
/// Most datagrams of one socket that wait for reads from flash at the same time. A further datagram gets misses for its values on
/// flash, and no reply at all if one of its commands needs such a value in memory.
pub const FLASH_DATAGRAMS_MAX: usize = 8;
/// Most pages of the flash tier, as in memcached.
pub const FLASH_PAGES_MAX: u64 = 65_534;

// What several modules must agree on.

/// The memcached version that clients see and whose behaviour this server has. Clients choose features by it, and libmemcached
/// takes a major version of 0 for an error.
pub const MEMCACHED_VERSION: &str = "1.6.45";
/// Size of memcached's slab pages, bytes. It is shown and used in checks, although there are no slabs.
pub const SLAB_PAGE_BYTES: u32 = 1 << 20;
/// Largest exptime that is a number of seconds from now (30 days). Larger ones are Unix times.
pub const EXPTIME_RELATIVE_MAX: u32 = 60 * 60 * 24 * 30;
/// Size of one read buffer, which is registered with the kernel if possible, bytes.
pub const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Shortest value, bytes, that is received straight into item memory when only a part of it is in the read buffer.
pub const DRAFT_BYTES_MIN: usize = 8 * 1024;
/// Longest value that is copied into the connection's output, bytes. Longer values are sent from item memory.
pub const COPY_BYTES_MAX: usize = 4 * 1024;
