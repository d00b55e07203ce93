//! Whatever a memory file holds, a start survives it, and what it restores is a store whose books add up.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcrsd::fuzzing::memory_file(data));
