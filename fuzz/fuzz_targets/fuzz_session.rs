//! A conversation in any pieces is answered as in one piece.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::session(data));
