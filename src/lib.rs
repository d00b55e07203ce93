//! memcrsd: a memcached server on io_uring.

pub mod auth;
pub mod classes;
pub mod clock;
pub mod config;
pub mod engine;
pub mod limits;
pub mod log;
pub mod output;
pub mod process;
pub mod server;
pub mod session;
pub mod store;
