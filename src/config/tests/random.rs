//! Tests with random command lines: either a refusal with a message, or a consistent configuration.

use super::*;

/// Parts of random words, in addition to the options themselves.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "-1", "0", "1", "2", "8", "12", "79", "1024", "11211", "65535", "65536", "2147483647", "99999999999", "-", "--",
    "=", ",", ":", ";", "[", "]", "[::1]", "*", "h", "é", "k", "m", "M", ".", "e", "1e9", "nan", "inf", " ", "",
    "binary", "tag[x]:", "tag_", "notls:", "proto[ascii]:", "slab_sizes=", "100-200", "hashpower=", "no_modern",
    "slab_chunk_max=", "temporary_ttl=", "hot_lru_pct=", "ssl_min_version=", "idle_timeout=", "ext_path=/f:", "64m",
    "1p", "ext_page_size=", "ext_wbuf_size=",
];

fn random_word(random: &mut fastrand::Rng) -> String {
    let spec = &help::SPECS[random.usize(..help::SPECS.len())];
    let mut word = match (random.u8(..4), spec.short) {
        (0, Some(short)) => format!("-{short}"),
        (1, _) => format!("--{}", spec.long),
        (2, _) => format!("--{}=", spec.long),
        _ => String::new(),
    };
    for _ in 0..random.usize(..3) {
        word.push_str(PIECES[random.usize(..PIECES.len())]);
    }
    word
}

fn holds_together(config: &Config) -> bool {
    (1..=1024).contains(&config.num_threads)
        && config.maxconns > 0
        && config.reqs_per_event > 0
        && config.factor > 1.0
        && config.chunk_size > 0
        && (1024..=1 << 30).contains(&config.item_size_max)
        && config.item_size_max <= config.maxbytes / 2
        && config.slab_chunk_size_max > 0
        && config.hot_lru_pct + config.warm_lru_pct <= 80
        && !(config.sasl && config.auth_file.is_none() && config.protocol != Protocol::Binary)
        && !(config.auth_file.is_some() && config.protocol != Protocol::Ascii)
        && !(config.auth_file.is_some() && config.protocol != Protocol::Ascii)
        && config.flash.is_some() != config.ext_paths.is_empty()
        && config.flash.as_ref().is_none_or(|flash| {
            (1..=crate::limits::FLASH_PAGES_MAX).contains(&flash.pages())
                && flash.page_bytes.is_multiple_of(flash.wbuf_bytes)
                && config.item_size_max <= flash.wbuf_bytes
        })
        && !(config.socketpath.is_some() && config.listen.len() != 1)
}

/// True if the refusal is worded like memcached's and not like argh's.
fn is_in_words(refusal: &StartupError) -> bool {
    let of_argh = |line: &String| line.contains("rror parsing") || line.contains("nrecognized argument");
    [1, 64, 71].contains(&refusal.status)
        && !refusal.lines.is_empty()
        && !refusal.lines.iter().any(|line| line.is_empty() || of_argh(line))
}

/// Any command line gives either a refusal with a message, or a consistent configuration.
#[test]
fn no_command_line_gives_an_inconsistent_configuration() {
    let seed = crate::fuzzing::seed(1);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut started = 0;
    for _ in 0..20_000 {
        let args: Vec<String> = (0..random.usize(..6)).map(|_| random_word(&mut random)).collect();
        match parse(&args, &environment()) {
            Err(refusal) => assert!(is_in_words(&refusal), "seed {seed}: {args:?}: {refusal:?}"),
            Ok(Request::Print(text)) => assert!(text.starts_with("memcached 1.6.45\n")),
            Ok(Request::Probe(probe)) => assert!(!probe.timeout.is_zero()),
            Ok(Request::Top(_)) => {}
            Ok(Request::Run(config)) => {
                assert!(holds_together(&config), "seed {seed}: {args:?}: {config:?}");
                started += 1;
            }
        }
    }
    assert!(started > 1_000, "seed {seed}: only {started} of 20000 lines start");
}
