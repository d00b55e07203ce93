//! Every bound of the protocol and the server, with its unit and its reason.

/// The version that clients are told: that of the memcached whose bytes are answered. Clients choose features by it, and
/// libmemcached takes a major version of 0 for an error.
pub const MEMCACHED_VERSION: &str = "1.6.45";
/// Longest key, bytes. Source: protocol.txt, "Keys".
pub const KEY_BYTES_MAX: usize = 250;
/// Longest command line without its line end before the connection is closed, bytes; `get` and `gets` are exempt.
pub const LINE_BYTES_MAX: usize = 2048;
/// Tokens of a text line that are looked at (`get` and its kin walk the whole line).
pub const LINE_TOKENS_MAX: usize = 23;
/// Tokens of a meta command line, command and key included.
pub const META_TOKENS_MAX: usize = 20;
/// Longest opaque token of a meta command, bytes behind the `O`.
pub const OPAQUE_BYTES_MAX: usize = 31;
/// Largest value length a storage command may announce, bytes (2^31 - 3, so that the line end still fits an i32).
pub const VALUE_BYTES_ANNOUNCED_MAX: u32 = 2_147_483_645;
/// Largest header + extras + key of a binary packet, bytes; a longer one closes the connection.
pub const PACKET_HEAD_BYTES_MAX: usize = 16_384;
/// Size of memcached's slab pages, bytes: shown and judged by, though there are no slabs.
pub const SLAB_PAGE_BYTES: u32 = 1 << 20;
/// Exptimes above this many seconds (30 days) are absolute Unix times.
pub const EXPTIME_RELATIVE_MAX: u32 = 60 * 60 * 24 * 30;
/// Size of one registered read buffer, bytes.
pub const READ_BUFFER_BYTES: usize = 16 * 1024;
/// A value at least this long that is not wholly in the read buffer is received straight into item memory, bytes.
pub const DRAFT_BYTES_MIN: usize = 8 * 1024;
/// Values up to this length are copied into the connection's output; longer ones are sent from item memory, bytes.
pub const COPY_BYTES_MAX: usize = 4 * 1024;
/// Staged output at which a session stops and waits for the send, bytes.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Pinned pieces at which a session stops and waits for the send.
pub const OUTPUT_PIECES_MAX: usize = 64;
