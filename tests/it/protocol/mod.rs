//! What goes over the wire: transcripts, one command in three protocols, comparison with memcached, logins, TLS, UDP.

mod auth;
mod differential;
mod flash;
mod generate;
mod protocols;
mod scripts;
mod tls;
pub(crate) mod udp;
