//! Replies do not depend on how the input is split.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::session(data));
