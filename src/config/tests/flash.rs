//! Tests of the options `-o ext_*`.

use super::*;

fn refusal(list: &str, more: &[&str]) -> (String, u8) {
    let args: Vec<&str> = ["-o", list].iter().chain(more).copied().collect();
    let refusal = parse_words(&args).expect_err(list);
    (refusal.lines.join("\n"), refusal.status)
}

#[test]
fn every_option_is_accepted() {
    type Check = fn(&Config) -> bool;
    let cases: &[(&str, Check)] = &[
        ("ext_item_size=5", |c| c.ext.item_size == 5 && c.flash.is_none()),
        ("ext_item_age=0", |c| c.ext.item_age == 0),
        ("ext_low_ttl=3", |c| c.ext.low_ttl == 3),
        ("ext_recache_rate=0", |c| c.ext.recache_rate == 0),
        ("ext_compact_under=4,ext_drop_under=5", |c| {
            c.ext.compact_under == Some(4) && c.ext.drop_under == Some(5)
        }),
        ("ext_max_sleep=9", |c| c.ext.max_sleep == 9),
        ("ext_max_frag=7", |c| (c.ext.max_frag - 7.0).abs() < 1e-9),
        ("ext_drop_unread", |c| c.ext.drop_unread),
        ("ext_drop_unread=0", |c| c.ext.drop_unread),
        ("slab_automove_freeratio=0.1", |c| (c.ext.slab_automove_freeratio - 0.1).abs() < 1e-9),
        ("ext_threads=0,ext_io_depth=0", |_| true),
        ("ext_page_size=0,ext_wbuf_size=0", |c| c.ext.page_bytes == 0 && c.ext.wbuf_bytes == 0),
    ];
    for (list, holds) in cases {
        assert!(holds(&config(&["-o", list])), "{list}");
    }
}

#[test]
fn a_path_has_whole_pages() {
    let flash = |list: &str| config(&["-o", list]).flash.expect(list);
    let tier = flash("ext_path=/f:100M,ext_item_size=9,ext_item_age=8,ext_recache_rate=7");
    assert_eq!(tier.paths, [FlashPath { path: "/f".to_owned(), bytes: 64 << 20 }]);
    assert_eq!((tier.page_bytes, tier.wbuf_bytes, tier.pages()), (64 << 20, 4 << 20, 1));
    assert_eq!((tier.item_size, tier.item_age, tier.recache_rate), (9, 8, 7));
    for (list, pages) in [
        ("ext_path=/f:2g", 32),
        ("ext_path=/f:1.5G", 16),
        ("ext_path=/f:1t", 1 << 14),
        ("ext_path=::/f::64m::", 1),
        ("ext_path=/f:131068m,ext_wbuf_size=2,ext_page_size=2", 65_534),
        ("ext_path=/f:64m,ext_path=/g:128m,ext_page_size=32", 6),
        // Over 32 bits, in memcached 0.
        ("ext_path=/f:4094m,ext_page_size=4094,ext_wbuf_size=2", 1),
    ] {
        assert_eq!(flash(list).pages(), pages, "{list}");
    }
}

#[test]
fn what_a_path_is_reserved_for_has_no_effect() {
    assert_eq!(config(&["-o", "ext_path=/f:64m:default:x:y"]).warnings, [""; 0]);
    let line = "WARNING: ext_path /f takes values of all kinds: lowttl has no effect.";
    assert_eq!(config(&["-o", "ext_path=/f:64m:lowttl"]).warnings, [line]);
}

#[test]
fn pages_to_act_under_follow_from_the_last_path() {
    let shown = |list: &str| -> Vec<String> {
        let config = config(&["-o", list]);
        let names = ["ext_compact_under", "ext_drop_under"];
        let live = RuntimeSettings::new(&config);
        let lines = settings(&config, &live);
        lines.filter(|(name, _)| names.contains(name)).map(|(_, value)| value).collect()
    };
    assert_eq!(shown(""), ["0", "0"]);
    assert_eq!(shown("ext_drop_under=7"), ["0", "7"]);
    assert_eq!(shown("ext_path=/f:64m"), ["1", "1"]);
    assert_eq!(shown("ext_path=/f:64m,ext_path=/g:128g"), ["20", "20"]);
    assert_eq!(shown("ext_path=/f:128g,ext_drop_under=7"), ["20", "7"]);
}

#[test]
fn errors_of_one_option_are_worded_as_by_memcached() {
    let unparsed = "failed to parse ext_path argument";
    let size = |units: &str| {
        format!("must supply size to ext_path, ie: ext_path=/f/e:64m ({units} supported)\n{unparsed}")
    };
    let mut cases = vec![
        ("ext_path", "missing argument to ext_path, ie: ext_path=/d/file:5G".to_owned()),
        ("ext_path=", unparsed.to_owned()),
        ("ext_path=:", unparsed.to_owned()),
        ("ext_path=/f", size("M|G|T|P")),
        ("ext_path=/f:", size("M|G|T|P")),
        ("ext_path=:64m", size("M|G|T|P")),
        ("ext_path=/f:64", size("m|g|t|p")),
        ("ext_path=/f:64k", size("m|g|t|p")),
        ("ext_path=/f:64mb", size("m|g|t|p")),
        ("ext_path=/f:64m:x", format!("Unknown extstore bucket: x\n{unparsed}")),
        ("ext_bogus=1", "Illegal suboption \"ext_bogus=1\"".to_owned()),
        ("ext_page_size=4096", "could not parse argument to ext_page_size".to_owned()),
    ];
    for name in [
        "ext_page_size",
        "ext_wbuf_size",
        "ext_threads",
        "ext_io_depth",
        "ext_item_size",
        "ext_item_age",
        "ext_low_ttl",
        "ext_recache_rate",
        "ext_compact_under",
        "ext_drop_under",
        "ext_max_sleep",
        "ext_max_frag",
        "slab_automove_freeratio",
    ] {
        cases.push((name, format!("Missing {name} argument")));
        for bad in ["", "x", "12x"] {
            let list: &str = format!("{name}={bad}").leak();
            cases.push((list, format!("could not parse argument to {name}")));
        }
    }
    for (list, message) in cases {
        assert_eq!(refusal(list, &[]), (message, 1), "{list}");
    }
}

#[test]
fn contradictions_are_worded_as_by_memcached() {
    let failed = |why: &str| (format!("Failed to initialize external storage: {why}"), 1);
    let usage = |line: &str| (line.to_owned(), 64);
    let large = "-I (item_size_max: 5242880) cannot be larger than ext_wbuf_size: 4194304";
    let many = "page_count must total to < 65536. Increase page_size or lower path sizes";
    let cases: &[(&str, &[&str], (String, u8))] = &[
        ("ext_path=/f:63m,slab_sizes=9", &["-I", "5m"], usage(large)),
        ("ext_path=/f:64m,ext_wbuf_size=0", &["-I", "5m"], usage(&large.replace("4194304", "0"))),
        // memcached refuses these with the same messages.
        ("ext_path=/f:63m", &["-U", "7"], usage("supplied ext_path has zero size, cannot use")),
        ("ext_path=/f:64m,ext_page_size=0", &[], usage("ext_page_size must be greater than 0")),
        ("ext_path=/f:63m", &["-p", "99999"], usage("supplied ext_path has zero size, cannot use")),
        ("ext_path=/f:64m,ext_path=/g:abcm", &[], usage("supplied ext_path has zero size, cannot use")),
        ("ext_path=/f:64m,ext_page_size=6", &[], failed("page_size must be divisible by wbuf_size")),
        ("ext_path=/f:64m,ext_page_size=6", &["-p", "99999"], usage("ERROR: Invalid port number 99999.")),
        (
            "ext_path=/f:64m,ext_page_size=3,ext_wbuf_size=3",
            &["-l", "h:x"],
            failed("page_size and wbuf_size must be divisible by 1024*1024*2"),
        ),
        (
            "ext_path=/f:512m,ext_page_size=512,ext_wbuf_size=512",
            &[],
            failed("wbuf_size must be at most 256 megabytes"),
        ),
        ("ext_path=/f:64m,ext_path=/f:64m", &[], failed("/f is given twice")),
        ("ext_path=/f:131070m,ext_page_size=2,ext_wbuf_size=2", &[], failed(many)),
        ("ext_path=/f:9999999p,ext_path=/g:9999999p", &[], failed(many)),
        ("ext_path=/f:-64m", &[], failed(many)),
    ];
    for (list, more, expected) in cases {
        assert_eq!(refusal(list, more), *expected, "{list} {more:?}");
    }
    // Without a path, all of these options are only shown.
    assert!(config(&["-o", "ext_page_size=0,ext_wbuf_size=0", "-U", "7"]).flash.is_none());
}
