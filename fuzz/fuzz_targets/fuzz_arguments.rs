//! Any command line is accepted, or rejected with a message.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::arguments(data));
