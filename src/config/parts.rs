//! The types of settings for which a number or a string is not enough, and [`ProbeTarget`]. They are plain data. This module
//! imports nothing; the modules that `mod.rs` names after it may import it.

/// The protocol that a listener speaks (-B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Text or binary, depending on the first byte of each connection.
    Auto,
    /// Only the text protocol with its meta commands.
    Ascii,
    /// Only the binary protocol.
    Binary,
}

/// The kernel interface for I/O (--io-engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoEngine {
    /// io_uring if the kernel allows it, otherwise epoll. This is the default.
    Auto,
    /// io_uring only: if the kernel does not allow it, the server does not start.
    Uring,
    /// epoll, even if io_uring is allowed.
    Epoll,
}

impl IoEngine {
    /// Returns the name by which --io-engine selects the interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }
}

/// The rule for client certificates at listeners with TLS that have no rule of their own (`-o ssl_verify_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// No client is asked for a certificate.
    None,
    /// A client is asked for a certificate, and need not show one.
    Request,
    /// A client must show a certificate, or its handshake fails.
    Require,
    /// The same as `Require`, since a client shows its certificate only once, in the handshake.
    Once,
}

/// TLS settings (`-o ssl_*`). Without `-Z` they have no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Path of the certificate chain, a PEM file. TLS needs it.
    pub chain_cert: Option<String>,
    /// Path of the key's file; `None` if the key is in the chain's file.
    pub key: Option<String>,
    /// Path of the PEM file of the CAs that may sign client certificates. With `None` every client certificate is refused.
    pub ca_cert: Option<String>,
    /// OpenSSL's list of ciphers. It has no effect, and a warning says so if it is set.
    pub ciphers: Option<String>,
    /// The rule for client certificates at listeners without a rule of their own.
    pub verify_mode: VerifyMode,
    /// Format of the key's file, as OpenSSL numbers it: 1 for PEM, 2 for DER.
    pub keyformat: u32,
    /// Size of a buffer of OpenSSL, bytes. It is only shown.
    pub wbuf_bytes: u32,
    /// True if new sessions are counted in the statistics.
    pub session_cache: bool,
    /// True if TLS in the kernel is requested. It is only shown.
    pub kernel_tls: bool,
    /// Oldest version of TLS that is accepted: 3 stands for TLS 1.3, and 0 to 2 all stand for TLS 1.2, the oldest that the server
    /// speaks.
    pub min_version: u32,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            chain_cert: None,
            key: None,
            ca_cert: None,
            ciphers: None,
            verify_mode: VerifyMode::None,
            keyformat: 1,
            wbuf_bytes: 16 << 10,
            session_cache: false,
            kernel_tls: false,
            min_version: 2,
        }
    }
}

/// A listener that the settings ask for. Its host name may resolve to several addresses, each of which is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSpec {
    /// The address to listen on.
    pub endpoint: Endpoint,
    /// The protocol of the listener: that of `-B`, unless its element of `-l` names another.
    pub protocol: Protocol,
    /// Whether the listener uses TLS, and whether it asks clients for certificates.
    pub tls: ListenTls,
    /// The name given by `tag[NAME]:` in `-l`, 1 to 8 bytes. It has no effect.
    pub tag: Option<String>,
}

/// The address that a listener is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port on the addresses of `host`.
    Tcp {
        /// Host name or address; `None` stands for all addresses, IPv4 and IPv6.
        host: Option<String>,
        /// Port number; 0 stands for any free port.
        port: u16,
    },
    /// A UDP port.
    Udp {
        /// Host name or address; `None` stands for all addresses, IPv4 and IPv6.
        host: Option<String>,
        /// Port number; 0 stands for any free port.
        port: u16,
    },
    /// A UNIX stream socket.
    Unix {
        /// Path of the socket. A stale socket at that path is replaced.
        path: String,
        /// Permissions of the socket, as mode bits (-a).
        mode: u32,
    },
}

/// Whether a listener uses TLS, and its rule for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenTls {
    /// No TLS: all bytes are sent in the clear.
    Off,
    /// TLS, with the rule of `-o ssl_verify_mode` for client certificates.
    On,
    /// TLS without client certificates, whatever `-o ssl_verify_mode` says (`btls:`).
    Basic,
    /// TLS with required client certificates, whatever `-o ssl_verify_mode` says (`mtls:`).
    Mutual,
}

/// The options `-o ext_*` without the paths, as `stats settings` shows them. Options that are not in [`Flash`] too have no
/// effect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ext {
    /// Length of a page, bytes. Space on flash is given to values and freed again page by page.
    pub page_bytes: u32,
    /// Length of a chunk, bytes, which is the unit of writing to flash.
    pub wbuf_bytes: u32,
    /// Length from about which items may move to flash, bytes. `extstore item_size` changes it.
    pub item_size: u32,
    /// Seconds without use after which an item moves to flash even if memory has room; `u32::MAX` stands for never.
    pub item_age: u32,
    /// `ext_low_ttl`, seconds. It is only shown.
    pub low_ttl: u32,
    /// If 0, values that are read often stay on flash; otherwise they come back to memory.
    pub recache_rate: u32,
    /// `ext_compact_under`, pages; `None` if it follows from the size of the paths. It is only shown.
    pub compact_under: Option<u32>,
    /// `ext_drop_under`, pages; `None` if it follows from the size of the paths. It is only shown.
    pub drop_under: Option<u32>,
    /// `ext_max_sleep`, microseconds. It is only shown.
    pub max_sleep: u32,
    /// `ext_max_frag`, a fraction of 1. It is only shown.
    pub max_frag: f64,
    /// `ext_drop_unread`. It is only shown.
    pub drop_unread: bool,
    /// `slab_automove_freeratio`, a fraction of 1. It is only shown.
    pub slab_automove_freeratio: f64,
}

impl Default for Ext {
    fn default() -> Self {
        Self {
            page_bytes: 64 << 20,
            wbuf_bytes: 4 << 20,
            item_size: 512,
            item_age: u32::MAX,
            low_ttl: 0,
            recache_rate: 2000,
            compact_under: None,
            drop_under: None,
            max_sleep: 1_000_000,
            max_frag: 0.8,
            drop_unread: false,
            slab_automove_freeratio: 0.01,
        }
    }
}

/// A file of the flash tier (`ext_path`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlashPath {
    /// Path of the file.
    pub path: String,
    /// Size of the file, bytes. In [`Flash::paths`] it is rounded down to whole pages.
    pub bytes: u64,
}

/// The settings of a flash tier. They have been checked: there is at least one path, and each path has at least one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// The files, in the order given. The tier writes to all of them.
    pub paths: Vec<FlashPath>,
    /// Length of a page, bytes. It is a multiple of `wbuf_bytes`.
    pub page_bytes: u64,
    /// Length of a chunk, bytes. A longer item cannot move to flash.
    pub wbuf_bytes: u64,
    /// Length from about which items may move to flash, bytes: see [`Ext::item_size`].
    pub item_size: u32,
    /// Seconds without use after which an item moves to flash: see [`Ext::item_age`].
    pub item_age: u32,
    /// If 0, values that are read often stay on flash: see [`Ext::recache_rate`].
    pub recache_rate: u32,
}

impl Flash {
    /// Returns the number of pages in all files together.
    pub fn pages(&self) -> u64 {
        self.paths.iter().map(|path| path.bytes / self.page_bytes).sum()
    }
}

/// The address of another server: the one to check (--health), to watch (`top`), or to copy from (--copy-from).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeTarget {
    /// A server that listens on a TCP port.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port number.
        port: u16,
    },
    /// A server that listens on the UNIX socket with this path.
    Unix(String),
}

impl std::fmt::Display for ProbeTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}
