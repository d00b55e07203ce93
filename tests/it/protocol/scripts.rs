//! Runs every wire transcript of `tests/scripts`: whole, byte by byte and pipelined, on one ring and on four.

use std::fs;
use std::path::Path;

use crate::harness::dialect;
use crate::harness::script::{Mode, Script};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

fn run(file: &str) {
    let text = fs::read_to_string(Path::new(DIR).join(file)).unwrap();
    let script = Script::parse(file, &text, dialect());
    for threads in ["1", "4"] {
        for mode in [Mode::Whole, Mode::Bytewise, Mode::Pipelined] {
            script.run(mode, threads);
        }
    }
}

macro_rules! scripts {
    ($($name:ident: $file:literal,)*) => {
        const FILES: &[&str] = &[$($file),*];
        $(#[test] fn $name() { run($file); })*
    };
}

scripts! {
    admin: "admin.txt",
    arith: "arith.txt",
    auth: "auth.txt",
    binary_arith: "binary-arith.txt",
    binary_auth: "binary-auth.txt",
    binary_errors: "binary-errors.txt",
    binary_stats: "binary-stats.txt",
    binary_store: "binary-store.txt",
    cas_disabled: "cas-disabled.txt",
    dumps_disabled: "dumps-disabled.txt",
    dumps_pipelined: "dumps-pipelined.txt",
    dumps: "dumps.txt",
    extstore: "extstore.txt",
    flush_disabled: "flush-disabled.txt",
    flush: "flush.txt",
    half_close: "half-close.txt",
    idle_timeout: "idle-timeout.txt",
    meta_arith: "meta-arith.txt",
    meta_delete: "meta-delete.txt",
    meta_errors: "meta-errors.txt",
    meta_get_counters: "meta-get-counters.txt",
    meta_get: "meta-get.txt",
    meta_set: "meta-set.txt",
    noreply: "noreply.txt",
    protocol_ascii: "protocol-ascii.txt",
    protocol_binary: "protocol-binary.txt",
    retrieval: "retrieval.txt",
    shutdown: "shutdown.txt",
    sizes: "sizes.txt",
    stats_detail: "stats-detail.txt",
    stats_own: "stats-own.txt",
    stats_settings: "stats-settings.txt",
    stats: "stats.txt",
    storage_limits: "storage-limits.txt",
    storage: "storage.txt",
    text_framing: "text-framing.txt",
    touch_delete: "touch-delete.txt",
    watch_refused: "watch-refused.txt",
    watch: "watch.txt",
    watch_system: "watch-system.txt",
    yield_counts: "yield-counts.txt",
    yielding: "yielding.txt",
}

#[test]
fn every_script_is_listed() {
    let mut found: Vec<String> =
        fs::read_dir(DIR).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    let mut listed = FILES.to_vec();
    listed.sort_unstable();
    assert_eq!(found, listed);
}
