//! Datagrams are answered with datagrams, or not at all.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::udp(data));
