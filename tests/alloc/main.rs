//! Serving allocates nothing once buffers have grown to size: neither a get nor a set, a multiget or a batch.
//!
//! A binary of its own, because it counts with a global allocator.

use memcrsd::config::{Config, Protocol};
use memcrsd::engine::Engine;
use memcrsd::fuzzing;
use memcrsd::output::Output;
use memcrsd::session::{Next, Session};

/// Feeds until all is warm: the sample of hot keys fills with one key in 1,024.
const WARM: usize = 180_000;
/// Feeds that are looked at.
const COUNTED: usize = 10_000;

/// Serves all of `input`, as the edge does: what is staged is sent, the buffer kept.
fn serve(session: &mut Session, engine: &mut Engine, out: &mut Output, input: &[u8]) {
    let mut used = 0;
    while used < input.len() {
        let progress = session.feed(engine, &input[used..], out);
        used += progress.consumed;
        assert!(matches!(progress.next, Next::Read | Next::Resume), "{:?}", progress.next);
        assert!(!out.is_empty());
        out.staged.clear();
    }
}

/// Allocations of the counted feeds of `input`.
fn allocations(input: &[u8]) -> u64 {
    let mut engine = fuzzing::engine(Config::default());
    let mut session = Session::new(&engine, 30, Protocol::Auto);
    let mut out = Output::default();
    for key in 0..100 {
        serve(
            &mut session,
            &mut engine,
            &mut out,
            format!("set key{key:03} 0 0 9\r\nsome data\r\n").as_bytes(),
        );
    }
    let mut session = Session::new(&engine, 31, Protocol::Auto);
    for _ in 0..WARM / input.len().div_ceil(100) {
        serve(&mut session, &mut engine, &mut out, input);
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..COUNTED {
            serve(&mut session, &mut engine, &mut out, input);
        }
    });
    counted.count_total
}

#[test]
fn a_get_allocates_nothing() {
    assert_eq!(allocations(b"get key042\r\n"), 0);
}

#[test]
fn a_binary_get_allocates_nothing() {
    let get = [&[0x80, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 6][..], &[0; 12], b"key042"].concat();
    assert_eq!(allocations(&get), 0);
}

#[test]
fn a_meta_get_allocates_nothing() {
    assert_eq!(allocations(b"mg key042 v t f\r\n"), 0);
}

#[test]
fn a_multiget_allocates_nothing() {
    let keys: String = (0..100).map(|key| format!(" key{key:03}")).collect();
    assert_eq!(allocations(format!("get{keys}\r\n").as_bytes()), 0);
}

#[test]
fn batches_allocate_nothing() {
    let batch: String = (0..16).map(|key| format!("get key{key:03}\r\nmg key{key:03} v\r\n")).collect();
    assert_eq!(allocations(batch.as_bytes()), 0);
}

/// Segments come and go under sets, and the segment table's lists with them; they keep their size.
#[test]
fn a_set_allocates_nothing() {
    assert_eq!(allocations(b"set key042 0 0 9\r\nsome data\r\n"), 0);
    assert_eq!(allocations(b"incr key042 1\r\ntouch key042 0\r\n"), 0);
}

/// The counter counts.
#[test]
fn what_allocates_is_seen() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(counted.count_total, 1);
    assert!(allocations(b"stats\r\n") > 0);
}
