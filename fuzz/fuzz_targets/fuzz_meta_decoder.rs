//! The meta parser survives any line.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::meta(data));
