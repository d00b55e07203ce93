//! A store of several rings agrees with a map, whatever the operations.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::storage(data));
