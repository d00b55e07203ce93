//! The types of settings for which a number or a string is not enough, and [`ProbeTarget`]: plain data. It imports nothing;
//! the modules that `mod.rs` names after it may import it.

/// The protocol that a listener speaks (-B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Text or binary, as the first byte of each connection shows.
    Auto,
    /// Only text and meta commands.
    Ascii,
    /// Only binary packets.
    Binary,
}

/// The kernel interface for I/O (--io-engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoEngine {
    /// io_uring if the kernel allows it, otherwise epoll.
    Auto,
    /// io_uring; the server does not start without it.
    Uring,
    /// epoll.
    Epoll,
}

impl IoEngine {
    /// The engine's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Whether listeners with TLS ask clients for certificates (`-o ssl_verify_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// Clients are asked for no certificate.
    None,
    /// A client may show a certificate.
    Request,
    /// A client must show a certificate.
    Require,
    /// The same as `Require`: a client must show a certificate at its handshake, and never again.
    Once,
}

/// TLS settings (`-o ssl_*`); without `-Z` they have no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain file, PEM.
    pub chain_cert: Option<String>,
    /// Key file, if the key is not in the chain file.
    pub key: Option<String>,
    /// File of the CAs that may sign client certificates, PEM; `None` = no client certificate is accepted.
    pub ca_cert: Option<String>,
    /// OpenSSL's list of ciphers. It is not applied; if it is set, a warning says so.
    pub ciphers: Option<String>,
    /// Whether clients are asked for certificates, at listeners without a rule of their own.
    pub verify_mode: VerifyMode,
    /// Format of the key's file, by OpenSSL's number: 1 is PEM, 2 is DER.
    pub keyformat: u32,
    /// A buffer of OpenSSL's, bytes; shown only.
    pub wbuf_bytes: u32,
    /// Clients may resume sessions, with tickets.
    pub session_cache: bool,
    /// TLS in the kernel; shown only.
    pub kernel_tls: bool,
    /// Oldest protocol accepted: 3 for TLS 1.3; 0 to 2 all stand for TLS 1.2, since none older is spoken.
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
    /// The address to listen to.
    pub endpoint: Endpoint,
    /// The protocol it speaks: that of `-B` unless the element of `-l` overrides it.
    pub protocol: Protocol,
    /// Whether the listener encrypts, and whether it asks clients for certificates.
    pub tls: ListenTls,
    /// The name given by `tag[NAME]:` in `-l`, 1 to 8 bytes. It is checked, and has no effect.
    pub tag: Option<String>,
}

/// The address that a listener is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port. Port 0 stands for any free port, host `None` for all addresses, IPv4 and IPv6.
    Tcp {
        /// Host name or address.
        host: Option<String>,
        /// Port number.
        port: u16,
    },
    /// A UDP port; port 0 and host `None` as for TCP.
    Udp {
        /// Host name or address.
        host: Option<String>,
        /// Port number.
        port: u16,
    },
    /// A stream socket in the file system.
    Unix {
        /// Path of the socket; a stale socket at that path is replaced.
        path: String,
        /// Permissions of the socket (-a).
        mode: u32,
    },
}

/// Whether a listener encrypts, and its rule for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenTls {
    /// No TLS.
    Off,
    /// TLS; whether clients must show certificates is said by `-o ssl_verify_mode`.
    On,
    /// TLS without client certificates (`btls:`).
    Basic,
    /// TLS with required client certificates (`mtls:`).
    Mutual,
}

/// The options `-o ext_*` without the paths, as `stats settings` shows them. Those that are not in [`Flash`] too have no
/// effect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ext {
    /// Length of a page, bytes: space on flash is given to values and taken back in pages.
    pub page_bytes: u32,
    /// Length of a chunk, bytes: as much is written to flash at a time.
    pub wbuf_bytes: u32,
    /// Items of more than about this many bytes may move to flash; changed by `extstore item_size`.
    pub item_size: u32,
    /// Seconds without use after which an item is moved to flash even if memory has room; `u32::MAX` = never.
    pub item_age: u32,
    /// Shown only, seconds.
    pub low_ttl: u32,
    /// If 0, values that are read often stay on flash; if not, such values come back to memory.
    pub recache_rate: u32,
    /// Shown only, pages; `None` = computed from the size of the paths.
    pub compact_under: Option<u32>,
    /// Shown only, pages; `None` = computed from the size of the paths.
    pub drop_under: Option<u32>,
    /// Shown only, microseconds.
    pub max_sleep: u32,
    /// Shown only.
    pub max_frag: f64,
    /// Shown only.
    pub drop_unread: bool,
    /// Shown only.
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

/// A file for the flash tier (`ext_path`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlashPath {
    /// Path of the file.
    pub path: String,
    /// Size of the file, bytes; in [`Flash::paths`] rounded down to whole pages.
    pub bytes: u64,
}

/// The settings of a flash tier, checked: there is at least one path, and each has at least one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// The files, in the order given; the tier writes to all of them.
    pub paths: Vec<FlashPath>,
    /// Length of a page, bytes: a multiple of `wbuf_bytes`.
    pub page_bytes: u64,
    /// Length of a chunk, bytes; a longer item cannot move to flash.
    pub wbuf_bytes: u64,
    /// See [`Ext::item_size`].
    pub item_size: u32,
    /// See [`Ext::item_age`].
    pub item_age: u32,
    /// See [`Ext::recache_rate`].
    pub recache_rate: u32,
}

impl Flash {
    /// Number of pages in all files together.
    pub fn pages(&self) -> u64 {
        self.paths.iter().map(|path| path.bytes / self.page_bytes).sum()
    }
}

/// Address of another server: the one to check (--health), to show (`top`), or to copy (--copy-from).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeTarget {
    /// A TCP port.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port number.
        port: u16,
    },
    /// The path of a UNIX socket.
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
