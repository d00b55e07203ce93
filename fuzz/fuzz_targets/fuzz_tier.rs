//! A value on a flash tier that fails is right or missing.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::tier(data));
