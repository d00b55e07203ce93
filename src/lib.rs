//! memcrsd: a memcached server on io_uring.

pub mod auth;
pub mod classes;
pub mod clock;
pub mod command;
pub mod config;
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod log;
pub mod output;
pub mod process;
pub mod proto;
pub mod server;
pub mod session;
pub mod store;
pub mod tls;
