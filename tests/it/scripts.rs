//! Runs every wire transcript of `tests/scripts`: whole, byte by byte and pipelined, on one ring and on four.

use std::fs;
use std::path::Path;

use crate::harness::dialect;
use crate::script::{Mode, Script};

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
    text_framing: "text-framing.txt",
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
