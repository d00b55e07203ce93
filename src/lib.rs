//! memcrsd: a memcached server on io_uring.

pub mod classes;
pub mod clock;
pub mod command;
pub mod config;
pub mod engine;
pub mod limits;
pub mod output;
pub mod proto;
pub mod session;
pub mod store;
