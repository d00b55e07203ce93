//! The types of settings for which a number or a string is not enough, and [`ProbeTarget`]: plain data. It imports nothing;
//! the modules that `mod.rs` names after it may import it.

/// Which protocol a listener speaks (-B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Detected from the first byte of each connection.
    Auto,
    /// Text and meta commands.
    Ascii,
    /// Binary packets.
    Binary,
}

/// I/O engine (--io-engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoEngine {
    /// io_uring if it is allowed, otherwise epoll.
    Auto,
    /// io_uring; startup fails without it.
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

/// Client certificates that a TLS listener asks for (`-o ssl_verify_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// Clients are asked for no certificate.
    None,
    /// A client may show a certificate.
    Request,
    /// A client must show a certificate.
    Require,
    /// A client must show a certificate, at the first handshake only.
    Once,
}

/// TLS settings; they apply with `-Z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain file, PEM.
    pub chain_cert: Option<String>,
    /// Key file, if the key is not in the chain file.
    pub key: Option<String>,
    /// File of the CAs that sign client certificates, PEM.
    pub ca_cert: Option<String>,
    /// OpenSSL's cipher list; without effect but for a warning.
    pub ciphers: Option<String>,
    /// Which client certificates a listener asks for.
    pub verify_mode: VerifyMode,
    /// OpenSSL's number of the key's format; 1 is PEM.
    pub keyformat: u32,
    /// Shown only, bytes.
    pub wbuf_bytes: u32,
    /// Clients may resume sessions, with tickets.
    pub session_cache: bool,
    /// Shown only.
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

/// A requested listener; its name may resolve to several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSpec {
    /// The address to listen to.
    pub endpoint: Endpoint,
    /// The protocol it speaks: that of `-B` unless the element of `-l` overrides it.
    pub protocol: Protocol,
    /// Whether it encrypts, and which client certificates it asks for.
    pub tls: ListenTls,
    /// The name given by `tag[NAME]:`, 1 to 8 bytes; checked, and without effect.
    pub tag: Option<String>,
}

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port. Port 0 = any free one; host `None` = all addresses, IPv4 and IPv6.
    Tcp {
        /// Name or address.
        host: Option<String>,
        /// Port.
        port: u16,
    },
    /// A UDP port; port 0 and host `None` mean the same as for TCP.
    Udp {
        /// Name or address.
        host: Option<String>,
        /// Port.
        port: u16,
    },
    /// A stream socket in the file system.
    Unix {
        /// Its path; a stale socket there is replaced.
        path: String,
        /// Its permissions (-a).
        mode: u32,
    },
}

/// TLS mode of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenTls {
    /// No TLS.
    Off,
    /// TLS; client certificates by `-o ssl_verify_mode`.
    On,
    /// TLS without client certificates (`btls:`).
    Basic,
    /// TLS with required client certificates (`mtls:`).
    Mutual,
}

/// The options `-o ext_*` but for the paths, as `stats settings` shows them. What is not in [`Flash`] is only shown and has
/// no effect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ext {
    /// Unit of allocation and eviction, bytes.
    pub page_bytes: u32,
    /// Unit of writing, bytes.
    pub wbuf_bytes: u32,
    /// Items of more than about this many bytes go to flash.
    pub item_size: u32,
    /// Seconds without use after which an item goes to flash even if memory is free; `u32::MAX` = never.
    pub item_age: u32,
    /// Shown only, seconds.
    pub low_ttl: u32,
    /// If 0, values that are read often stay on flash; otherwise they come back to memory.
    pub recache_rate: u32,
    /// Shown only, pages; `None` = by the size of the paths.
    pub compact_under: Option<u32>,
    /// Shown only, pages; `None` = by the size of the paths.
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

/// A file of the flash tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlashPath {
    /// The file.
    pub path: String,
    /// Its size, bytes; in [`Flash::paths`] rounded down to whole pages.
    pub bytes: u64,
}

/// The flash tier as it is set up: valid, and at least one page in every path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// The files, in the order given.
    pub paths: Vec<FlashPath>,
    /// Unit of allocation and eviction, bytes: a multiple of `wbuf_bytes`.
    pub page_bytes: u64,
    /// Unit of writing, bytes; no item is longer.
    pub wbuf_bytes: u64,
    /// See [`Ext::item_size`].
    pub item_size: u32,
    /// See [`Ext::item_age`].
    pub item_age: u32,
    /// See [`Ext::recache_rate`].
    pub recache_rate: u32,
}

impl Flash {
    /// Pages of all paths.
    pub fn pages(&self) -> u64 {
        self.paths.iter().map(|path| path.bytes / self.page_bytes).sum()
    }
}

/// Address of another server: to check (--health), to watch (`top`), or to copy (--copy-from).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeTarget {
    /// A TCP port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
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
