//! Replies match those of a map, however the input is split.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::model(data));
