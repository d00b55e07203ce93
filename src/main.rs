//! The memcrsd binary.
fn main() {}
