//! The server's certificates: loaded at start, and loaded again on request for later connections. All rings share one
//! [`Certificates`]. Its lock is taken to open a connection, and to replace what was loaded.

use crate::config::{Config, ListenTls, Tls, VerifyMode};
use crate::tls::Channel;
use crate::tls::files::{add_root, certificates_in, certified, der_key_in, pem_key_in};
use crate::tls::lenient::Lenient;
use crate::tls::no_authority::NoAuthority;
use parking_lot::RwLock;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The value of `ssl_keyformat` that stands for a PEM file, as OpenSSL numbers it.
const KEY_PEM: u32 = 1;
/// The value of `ssl_keyformat` that stands for a DER file, as OpenSSL numbers it.
const KEY_DER: u32 = 2;
/// The kinds of keys that can be used, for error messages.
const KEYS: &str = "supported are RSA of 2,048 to 8,192 bits, ECDSA on P-256, P-384 and P-521, and Ed25519";
/// The value of `ssl_min_version` that stands for TLS 1.3.
const VERSION_TLS13: u32 = 3;

/// The reason why TLS cannot be set up, with the file at fault if there is one. The text begins like memcached's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateError {
    message: String,
}

impl CertificateError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    fn in_file(problem: &str, path: &Path, reason: impl fmt::Display) -> Self {
        Self::new(format!("{problem}: {}: {reason}", path.display()))
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CertificateError {}

/// The rule of a listener for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    /// No client is asked for a certificate.
    Anyone,
    /// A client is asked for a certificate, and need not show one.
    MayShow,
    /// A client must show a certificate.
    MustShow,
}

impl Clients {
    /// Returns the rule for a listener with the mode `tls`; `None` if the listener does not use TLS.
    fn of(tls: ListenTls, settings: &Tls) -> Option<Self> {
        match (tls, settings.verify_mode) {
            (ListenTls::Off, _) => None,
            (ListenTls::Basic, _) | (ListenTls::On, VerifyMode::None) => Some(Self::Anyone),
            (ListenTls::On, VerifyMode::Request) => Some(Self::MayShow),
            (ListenTls::Mutual, _) | (ListenTls::On, VerifyMode::Require | VerifyMode::Once) => {
                Some(Self::MustShow)
            }
        }
    }
}

/// The configurations made from the files: one for each [`Clients`] rule that any listener has, `None` for the other rules.
#[derive(Debug)]
struct Loaded {
    at: Instant,
    anyone: Option<Arc<ServerConfig>>,
    may_show: Option<Arc<ServerConfig>>,
    must_show: Option<Arc<ServerConfig>>,
}

impl Loaded {
    fn nothing() -> Self {
        Self { at: Instant::now(), anyone: None, may_show: None, must_show: None }
    }

    fn place(&mut self, clients: Clients) -> &mut Option<Arc<ServerConfig>> {
        match clients {
            Clients::Anyone => &mut self.anyone,
            Clients::MayShow => &mut self.may_show,
            Clients::MustShow => &mut self.must_show,
        }
    }

    fn get(&self, clients: Clients) -> Option<&Arc<ServerConfig>> {
        match clients {
            Clients::Anyone => self.anyone.as_ref(),
            Clients::MayShow => self.may_show.as_ref(),
            Clients::MustShow => self.must_show.as_ref(),
        }
    }
}

/// The certificates of a server, and the rule of each listener. All rings share this value.
#[derive(Debug)]
pub struct Certificates {
    settings: Tls,
    chain: PathBuf,
    key: PathBuf,
    authorities: Option<PathBuf>,
    /// The rule of each listener, by its position in `Config::listen`; `None` if the listener does not use TLS.
    listeners: Vec<Option<Clients>>,
    loaded: RwLock<Loaded>,
}

impl Certificates {
    /// Loads the files named in `config`. `None` without `-Z`.
    ///
    /// The paths are made absolute, so that [`Certificates::refresh`] finds the files after a daemon has changed its directory.
    ///
    /// # Errors
    /// A file is missing or unreadable, or the key does not belong to the certificate.
    pub fn load(config: &Config) -> Result<Option<Self>, CertificateError> {
        if !config.ssl_enabled {
            return Ok(None);
        }
        let settings = config.ssl.clone();
        let absolute = |path: &String| {
            std::path::absolute(path).map_err(|error| CertificateError::new(format!("{path}: {error}")))
        };
        let chain = settings.chain_cert.as_ref().ok_or_else(|| {
            CertificateError::new("Error loading the certificate chain: -o ssl_chain_cert=FILE is missing")
        })?;
        let chain = absolute(chain)?;
        let key = settings.key.as_ref().map_or_else(|| Ok(chain.clone()), absolute)?;
        let authorities = settings.ca_cert.as_ref().map(absolute).transpose()?;
        let listeners = config.listen.iter().map(|listener| Clients::of(listener.tls, &settings)).collect();
        let certificates =
            Self { settings, chain, key, authorities, listeners, loaded: RwLock::new(Loaded::nothing()) };
        certificates.refresh()?;
        Ok(Some(certificates))
    }

    /// Loads the files again, for connections that are accepted afterwards. If an error occurs, the old certificates stay in use.
    /// The call blocks for about half a millisecond, plus the time to read the files.
    ///
    /// # Errors
    /// The same as those of [`Certificates::load`].
    pub fn refresh(&self) -> Result<(), CertificateError> {
        let chain = self.read_chain()?;
        let key = self.read_key()?;
        let mut loaded = Loaded::nothing();
        for &clients in self.listeners.iter().flatten() {
            if loaded.get(clients).is_none() {
                let config = self.configure(clients, chain.clone(), key.clone_key())?;
                *loaded.place(clients) = Some(Arc::new(config));
            }
        }
        *self.loaded.write() = loaded;
        Ok(())
    }

    /// Makes a channel for a new connection to the listener at `place` in `Config::listen`. `None` if that listener does not use
    /// TLS.
    ///
    /// # Errors
    /// rustls rejects its configuration; no case is known.
    pub fn channel(&self, place: usize) -> Option<Result<Channel, rustls::Error>> {
        let clients = self.listeners.get(place).copied().flatten()?;
        let config = Arc::clone(self.loaded.read().get(clients)?);
        Some(Channel::new(config))
    }

    /// Returns the seconds since the files were last loaded successfully.
    pub fn age_secs(&self) -> u64 {
        self.loaded.read().at.elapsed().as_secs()
    }

    fn read_chain(&self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        certificates_in(&self.chain).map_err(|reason| {
            CertificateError::in_file("Error loading the certificate chain", &self.chain, reason)
        })
    }

    fn read_key(&self) -> Result<PrivateKeyDer<'static>, CertificateError> {
        let refused = |reason: String| CertificateError::in_file("Error loading the key", &self.key, reason);
        match self.settings.keyformat {
            KEY_PEM => pem_key_in(&self.key).map_err(refused),
            KEY_DER => der_key_in(&self.key).map_err(refused),
            other => Err(refused(format!("ssl_keyformat must be 1 (PEM) or 2 (DER), not {other}"))),
        }
    }

    fn configure(
        &self,
        clients: Clients,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ServerConfig, CertificateError> {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        let versions = if self.settings.min_version == VERSION_TLS13 { &BOTH[..1] } else { &BOTH[..] };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| CertificateError::new(format!("Error initializing TLS: {error}")))?;
        let key = provider.key_provider.load_private_key(key).map_err(|error| {
            CertificateError::in_file("Error loading the key", &self.key, format!("{error} ({KEYS})"))
        })?;
        let builder = match self.verifier(clients, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let certified = certified(chain, key).map_err(|error| {
            let reason = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("the key in {} is not that of its first certificate", self.key.display())
                }
                other => other.to_string(),
            };
            CertificateError::in_file("Error validating the certificate", &self.chain, reason)
        })?;
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        // Sessions are resumed by tickets, which the clients store; a session cache would be memory outside of -m.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()
            .map_err(|error| CertificateError::new(format!("Error initializing TLS: {error}")))?;
        Ok(config)
    }

    /// Returns the verifier for client certificates; `None` if no client is asked for one.
    fn verifier(
        &self,
        clients: Clients,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, CertificateError> {
        let path = match (&self.authorities, clients) {
            (_, Clients::Anyone) => return Ok(None),
            (None, Clients::MayShow | Clients::MustShow) => {
                let is_required = clients == Clients::MustShow;
                return Ok(Some(Arc::new(NoAuthority { provider, is_required })));
            }
            (Some(path), _) => path,
        };
        let refused =
            |reason: String| CertificateError::in_file("Error loading the CA certificate", path, reason);
        let mut roots = RootCertStore::empty();
        let trusted = certificates_in(path).map_err(refused)?;
        for certificate in &trusted {
            add_root(&mut roots, certificate.clone()).map_err(|error| refused(error.to_string()))?;
        }
        let (roots, algorithms) = (Arc::new(roots), provider.signature_verification_algorithms);
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider);
        let builder = if clients == Clients::MayShow { builder.allow_unauthenticated() } else { builder };
        let others = builder.build().map_err(|error| refused(error.to_string()))?;
        Ok(Some(Arc::new(Lenient { others, roots, trusted, algorithms })))
    }
}
