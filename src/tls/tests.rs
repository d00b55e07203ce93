//! Channels against clients of rustls.
