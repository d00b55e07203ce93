//! The reply to a datagram is datagrams, or nothing.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::udp(data));
