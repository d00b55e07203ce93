//! memcrsd: a memcached server on io_uring.

pub mod classes;
pub mod clock;
pub mod config;
pub mod engine;
pub mod limits;
pub mod output;
pub mod server;
pub mod session;
pub mod store;
