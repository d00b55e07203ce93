//! Measures memcached servers.
fn main() {}
