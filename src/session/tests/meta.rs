//! Tests of the meta protocol. Source: protocol.txt, "Meta Commands", and memcached 1.6.45 itself.

use super::check;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::fuzzing::Peer;

#[test]
fn get_flags_in_request_order() {
    check(&[
        (b"mg a v\r\n", b"EN\r\n"),
        (b"mg a v k O12\r\n", b"EN ka O12\r\n"),
        (b"mg a v O12 q\r\n", b""),
        (b"ms a 2 T30 F5\r\nhi\r\n", b"HD\r\n"),
        (b"mg a\r\n", b"HD\r\n"),
        (b"mg a s v t f k h l Oxx q\r\n", b"VA 2 s2 t30 f5 ka h1 l0 Oxx\r\nhi\r\n"),
        (b"mg a t T60\r\n", b"HD t30\r\n"),
        (b"mg a T60 t\r\n", b"HD t60\r\n"),
        (b"mg a t\r\n", b"HD t60\r\n"),
        (b"mg a T-1 t v\r\n", b"VA 2 t4294967197\r\nhi\r\n"),
        (b"mg a\r\n", b"EN\r\n"),
        (b"mg a I M D1 J1 F1 x\r\n", b"EN\r\n"),
    ]);
}

#[test]
fn a_get_without_use_leaves_no_trace() {
    check(&[
        (b"ms a 1\r\nx\r\n", b"HD\r\n"),
        (b"mg a u h\r\n", b"HD h0\r\n"),
        (b"mg a u h\r\n", b"HD h0\r\n"),
        (b"mg a h\r\n", b"HD h0\r\n"),
        (b"mg a h\r\n", b"HD h1\r\n"),
        (b"ms b 1\r\nx\r\n", b"HD\r\n"),
        (b"mg b T0 h\r\n", b"HD h0\r\n"),
        (b"mg b T0 h\r\n", b"HD h1\r\n"),
    ]);
}

#[test]
fn vivify_recache_and_stale() {
    check(&[
        (b"mg a s v N30 t\r\n", b"VA 0 s0 t30 W\r\n\r\n"),
        (b"mg a v N30 t\r\n", b"VA 0 t30 Z\r\n\r\n"),
        (b"ms a 1 T90\r\nx\r\n", b"HD\r\n"),
        (b"mg a R30 t\r\n", b"HD t90\r\n"),
        (b"mg a R100 t\r\n", b"HD t90 W\r\n"),
        (b"mg a R100 t\r\n", b"HD t90 Z\r\n"),
        (b"ms a 1 T90\r\nx\r\n", b"HD\r\n"),
        (b"md a I T30\r\n", b"HD\r\n"),
        (b"mg a v t\r\n", b"VA 1 t30 X W\r\nx\r\n"),
        (b"mg a v t\r\n", b"VA 1 t30 Z X\r\nx\r\n"),
        (b"ms a 1\r\ny\r\n", b"HD\r\n"),
        (b"mg a v\r\n", b"VA 1\r\ny\r\n"),
        // The order of T and R decides which expiry R sees.
        (b"ms a 1 T10\r\nx\r\n", b"HD\r\n"),
        (b"mg a T60 R30\r\n", b"HD\r\n"),
        (b"mg a R100 T600\r\n", b"HD W\r\n"),
        // The order of N and T decides the expiry of a created item.
        (b"mg c N30 T60 t\r\n", b"HD t60 W\r\n"),
        (b"mg d T60 N30 t\r\n", b"HD t30 W\r\n"),
    ]);
}

#[test]
fn set_modes() {
    check(&[
        (b"ms a 1 MR k\r\nx\r\n", b"NS ka\r\n"),
        (b"ms a 1 MA\r\nx\r\n", b"NS\r\n"),
        (b"ms a 1 ME O9 k\r\nx\r\n", b"HD O9 ka\r\n"),
        (b"ms a 1 ME\r\nx\r\n", b"NS\r\n"),
        (b"ms a 1 MA s\r\ny\r\n", b"HD s2\r\n"),
        (b"ms a 1 MPfoo s\r\nz\r\n", b"HD s3\r\n"),
        (b"mg a v\r\n", b"VA 3\r\nzxy\r\n"),
        (b"ms a 1 MS q\r\nn\r\n", b""),
        (b"ms n 1 MA N60 s\r\n1\r\n", b"HD s1\r\n"),
        (b"mg n t\r\n", b"HD t60\r\n"),
        (b"ms a 1 MX\r\nx\r\n", b"CLIENT_ERROR invalid mode for ms M token\r\n"),
        (b"ms a 1 M\r\nx\r\n", b"CLIENT_ERROR invalid mode for ms M token\r\n"),
    ]);
}

#[test]
fn set_errors() {
    check(&[
        (b"ms a\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"ms a x\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"ms a 2 !\r\nmn\r\n", b"CLIENT_ERROR bad command line format\r\nMN\r\n"),
        (b"ms a 2 i\r\nhi\r\n", b"CLIENT_ERROR invalid flag\r\n"),
        (b"ms a 2 q q\r\nhi\r\n", b"CLIENT_ERROR duplicate flag\r\n"),
        (b"ms a 2 Tx q\r\nhi\r\n", b"CLIENT_ERROR bad token in command line format\r\n"),
        (b"ms a 2 F-1\r\nhi\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"ms a 2 Jx\r\nhi\r\n", b"CLIENT_ERROR invalid numeric initial value\r\n"),
        (b"ms a 2 Dx\r\nhi\r\n", b"CLIENT_ERROR invalid numeric delta value\r\n"),
        (b"ms a 2 b\r\nhi\r\n", b"CLIENT_ERROR error decoding key\r\n"),
        (b"ms a 2 O12345678901234567890123456789012\r\nhi\r\n", b"CLIENT_ERROR opaque token too long\r\n"),
        (b"ms a 2 q\r\nhiho\r\n", b"CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\n"),
        (
            b"mg a b c f h k l s t v q u O1 C1 E1 F1 N1 R1 T1 x\r\n",
            b"CLIENT_ERROR options flags are too long\r\n",
        ),
        (b"mg a !\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"mg a 1\r\n", b"CLIENT_ERROR invalid flag\r\n"),
        (b"mg a C\r\n", b"CLIENT_ERROR bad token in command line format\r\n"),
        (b"mg\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    ]);
}

#[test]
fn compare() {
    let mut peer = Peer::new(Config::default());
    let mut exchange = |sent: &[u8], expected: &str| {
        peer.send(sent);
        assert_eq!(String::from_utf8(peer.answers()).unwrap(), expected, "{}", sent.escape_ascii());
    };
    exchange(b"ms a 1 E100 c\r\nx\r\n", "HD c100\r\n");
    exchange(b"mg a C100 v c\r\n", "HD c100\r\n");
    exchange(b"mg a C99 v c\r\n", "VA 1 c100\r\nx\r\n");
    exchange(b"ms a 1 C99\r\ny\r\n", "EX\r\n");
    exchange(b"ms a 1 C0\r\ny\r\n", "EX\r\n");
    exchange(b"ms a 1 C100 c E7\r\ny\r\n", "HD c7\r\n");
    exchange(b"ms a 1 C8 I\r\ny\r\n", "EX\r\n");
    exchange(b"ms a 1 C6 I E9\r\nz\r\n", "HD\r\n");
    exchange(b"mg a v\r\n", "VA 1 X W\r\nz\r\n");
    exchange(b"ms a 1 MA C1 c\r\nz\r\n", "EX c0\r\n");
    exchange(b"ms a 1 MA C9 E10 c\r\n!\r\n", "HD c10\r\n");
    exchange(b"ms m 1 C1\r\nx\r\n", "NF\r\n");
    exchange(b"ms m 1 C1 MR\r\nx\r\n", "NF\r\n");
    exchange(b"ms m 1 C1 MA\r\nx\r\n", "NS\r\n");
    exchange(b"md a C9 O1\r\n", "EX O1\r\n");
    exchange(b"md a C10 k\r\n", "HD ka\r\n");
    exchange(b"md a q\r\n", "NF\r\n");
}

#[test]
fn delete_to_a_tombstone() {
    check(&[
        (b"ms a 1 F5 T60\r\nx\r\n", b"HD\r\n"),
        (b"md a x\r\n", b"HD\r\n"),
        (b"mg a v f t\r\n", b"VA 0 f0 t-1\r\n\r\n"),
        (b"ms a 1 F5\r\nx\r\n", b"HD\r\n"),
        (b"md a x I T30 F3 E77\r\n", b"HD\r\n"),
        (b"mg a v f t c\r\n", b"VA 0 f3 t30 c77 X W\r\n\r\n"),
        (b"md a q\r\n", b""),
        (b"mg a\r\n", b"EN\r\n"),
    ]);
}

#[test]
fn counting() {
    check(&[
        (b"ma n\r\n", b"NF\r\n"),
        (b"ma n k Oq q\r\n", b"NF kn Oq\r\n"),
        (b"ma n N10 J7 v t\r\n", b"VA 1 t10\r\n7\r\n"),
        (b"ma n v\r\n", b"VA 1\r\n8\r\n"),
        (b"ma n MD D3 v t\r\n", b"VA 1 t10\r\n5\r\n"),
        (b"ma n M- D30 v\r\n", b"VA 1\r\n0\r\n"),
        (b"ma n M+ D30 v T60 t\r\n", b"VA 2 t60\r\n30\r\n"),
        (b"mg n t v\r\n", b"VA 2 t60\r\n30\r\n"),
        (b"ma n q\r\n", b""),
        (b"ma n C5\r\n", b"EX\r\n"),
        (b"ma n E1000 c\r\n", b"HD c1000\r\n"),
        (b"ma n MX\r\n", b"CLIENT_ERROR invalid mode for ma M token\r\n"),
        (b"ma n Dx\r\n", b"CLIENT_ERROR invalid or duplicate flag\r\n"),
        (b"ma n q q\r\n", b"CLIENT_ERROR invalid or duplicate flag\r\n"),
        (b"ms t 1\r\nx\r\n", b"HD\r\n"),
        (b"ma t q\r\n", b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
    ]);
}

#[test]
fn a_longer_number_is_not_stale() {
    check(&[
        (b"ms n 1\r\n8\r\n", b"HD\r\n"),
        (b"md n I\r\n", b"HD\r\n"),
        (b"ma n v\r\n", b"VA 1\r\n9\r\n"),
        (b"mg n v\r\n", b"VA 1 X W\r\n9\r\n"),
        (b"ma n v\r\n", b"VA 2\r\n10\r\n"),
        (b"mg n v\r\n", b"VA 2\r\n10\r\n"),
    ]);
}

#[test]
fn binary_keys() {
    check(&[
        (b"ms YQ== 2 b k\r\nhi\r\n", b"HD kYQ== b\r\n"),
        (b"mg YQ== b k v\r\n", b"VA 2 kYQ== b\r\nhi\r\n"),
        (b"mg a k\r\n", b"HD kYQ== b\r\n"),
        (b"get a\r\n", b"VALUE a 0 2\r\nhi\r\nEND\r\n"),
        (b"md YQ== b k\r\n", b"HD kYQ== b\r\n"),
        (b"mg YQ== b k\r\n", b"EN kYQ== b\r\n"),
        (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (b"mg YQ== b k\r\n", b"HD ka\r\n"),
    ]);
}

#[test]
fn debug() {
    let mut peer = Peer::new(Config::default());
    peer.send(b"me a\r\nms a 1 T30 E5\r\nx\r\nme a\r\nmg a\r\n");
    peer.set_now(Timestamp(110));
    peer.send(b"me a\r\nms b 1 F1\r\nx\r\nme b more words\r\n");
    let answers = String::from_utf8(peer.answers()).unwrap();
    let mut lines = answers.split("\r\n");
    assert_eq!(lines.next(), Some("EN"));
    assert_eq!(lines.next(), Some("HD"));
    assert_eq!(lines.next(), Some("ME a exp=30 la=0 cas=5 fetch=no cls=1 size=61"));
    assert_eq!(lines.next(), Some("HD"));
    assert_eq!(lines.next(), Some("ME a exp=20 la=10 cas=5 fetch=yes cls=1 size=61"));
    assert_eq!(lines.next(), Some("HD"));
    let plain = lines.next().unwrap();
    assert!(plain.starts_with("ME b exp=-1 la=0 cas="), "{plain}");
    assert!(plain.ends_with(" fetch=no cls=1 size=65"), "{plain}");
    assert_eq!(peer.shared().sums().ring.cmd_meta, 4);
}

#[test]
fn large_values() {
    let value = vec![b'v'; 20_000];
    let set = [&b"ms a 20000 k O7 s F3\r\n"[..], &value, b"\r\n"].concat();
    let got = [&b"VA 20000 f3 ka\r\n"[..], &value, b"\r\n"].concat();
    let touched = [&b"VA 20000 t9\r\n"[..], &value, b"\r\n"].concat();
    check(&[(&set, b"HD ka O7 s20000\r\n"), (b"mg a v f k\r\n", &got), (b"mg a v T9 t\r\n", &touched)]);
}
