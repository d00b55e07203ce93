//! A conversation in any pieces is answered as a map answers.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::model(data));
