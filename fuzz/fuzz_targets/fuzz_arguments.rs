//! Any command line is taken or refused in words.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::arguments(data));
