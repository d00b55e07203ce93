//! Replays the fuzzers' seeds, which include everything they ever found, on the stable toolchain.

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= 40, "only {count} files in {}", dir.display());
}

#[test]
fn arguments() {
    replay("fuzz_arguments", memcrsd::fuzzing::arguments);
}

#[test]
fn model() {
    replay("fuzz_model", memcrsd::fuzzing::model);
}

#[test]
fn tier() {
    replay("fuzz_tier", memcrsd::fuzzing::tier);
}

#[test]
fn storage() {
    replay("fuzz_storage", memcrsd::fuzzing::storage);
}

#[test]
fn memory_file() {
    replay("fuzz_memory_file", memcrsd::fuzzing::memory_file);
}

#[test]
fn udp() {
    replay("fuzz_udp", memcrsd::fuzzing::udp);
}

#[test]
fn binary_decoder() {
    replay("fuzz_binary_decoder", memcrsd::fuzzing::binary);
}

#[test]
fn text_decoder() {
    replay("fuzz_text_decoder", memcrsd::fuzzing::text);
}

#[test]
fn meta_decoder() {
    replay("fuzz_meta_decoder", memcrsd::fuzzing::meta);
}

#[test]
fn session() {
    replay("fuzz_session", memcrsd::fuzzing::session);
}
