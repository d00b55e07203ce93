//! Any operations on a store of several rings agree with a map.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::storage(data));
