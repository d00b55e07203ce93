//! Dumps of all items, in slices: `lru_crawler metadump` and `mgdump`, `stats cachedump`, `stats sizes`.

use super::list::List;
use super::{InputBatch, Next, Session, State, Step};
use crate::engine::ClassSet;
use crate::escape;
use crate::limits::CACHEDUMP_BYTES_MAX;
use crate::proto::binary::Echo;
use crate::proto::meta;
use crate::proto::text::reply;
use crate::store::{Flash, Item, Walk};
use std::collections::BTreeMap;
use std::io::Write as _;

/// Item sizes are counted in steps of this many bytes.
const SIZE_STEP_BYTES: u64 = 32;

/// A dump in progress.
#[derive(Debug)]
pub(super) struct Dump {
    walk: Walk,
    classes: ClassSet,
    form: Form,
}

/// The output of a dump.
#[derive(Debug)]
pub(super) enum Form {
    /// A line with all metadata of each item.
    Everything,
    /// Each key as an mg.
    Keys,
    /// Key, length and expiry of at most this many items, in at most this many bytes.
    Cachedump { items_left: u64, bytes_left: usize },
    /// Number of items by size; as packets in the binary protocol.
    Sizes(BTreeMap<u64, u64>, Option<Echo>),
}

impl Form {
    /// The sizes of all items, before counting.
    pub(super) fn sizes(packets: Option<Echo>) -> Self {
        Self::Sizes(BTreeMap::new(), packets)
    }

    /// A cachedump of at most `items` items; 0 = all.
    pub(super) fn cachedump(items: u32) -> Self {
        let items_left = if items == 0 { u64::MAX } else { u64::from(items) };
        Self::Cachedump { items_left, bytes_left: CACHEDUMP_BYTES_MAX }
    }
}

impl Session {
    /// Starts a dump; nothing else runs on the connection until it ends.
    pub(super) fn start_dump(&mut self, classes: ClassSet, form: Form) {
        self.state = State::Dump(Box::new(Dump { walk: Walk::default(), classes, form }));
    }

    /// Dumps the next slice.
    pub(super) fn dump(&mut self, feed: &mut InputBatch<'_, '_>) -> Step {
        let State::Dump(dump) = &mut self.state else { return Step::Done };
        let (shared, flash) = (feed.executor.shared(), feed.executor.flash());
        let out = &mut feed.out.staged;
        let unix = |secs| shared.clock.unix(secs);
        let form = &mut dump.form;
        let looked_at = feed.executor.walk(&mut dump.walk, dump.classes, |item, class| match form {
            Form::Everything => {
                push_everything(out, item, class, (unix, shared.item_bytes(item)));
                push_place(out, item, flash);
            }
            Form::Keys => {
                out.extend_from_slice(b"mg ");
                let is_encoded = meta::push_key_text(out, item.key(), item.key_is_binary());
                out.extend_from_slice(if is_encoded { b" b\r\n" } else { b"\r\n" });
            }
            Form::Cachedump { items_left, bytes_left } => {
                // As in memcached, keys in base64 are left out; here all keys that would break their line.
                let key = escape::word(item.key()).filter(|_| !item.key_is_binary());
                if let Some(key) = key
                    && *items_left > 0
                    && *bytes_left > 0
                {
                    *items_left -= 1;
                    let before = out.len();
                    let exptime = if item.exptime().0 == 0 { 0 } else { unix(item.exptime()) };
                    out.extend_from_slice(b"ITEM ");
                    out.extend_from_slice(key);
                    let _ = write!(out, " [{} b; {exptime} s]\r\n", item.value_bytes());
                    *bytes_left = bytes_left.saturating_sub(out.len() - before);
                }
            }
            Form::Sizes(sizes, _) => {
                *sizes.entry(shared.item_bytes(item).next_multiple_of(SIZE_STEP_BYTES)).or_default() += 1;
            }
        });
        let done = matches!(
            dump.form,
            Form::Cachedump { items_left: 0, .. } | Form::Cachedump { bytes_left: 0, .. }
        );
        if let Some(looked_at) = looked_at
            && !done
            && self.may_look_further(looked_at)
        {
            return Step::Stop(Next::Resume);
        }
        let State::Dump(dump) = std::mem::take(&mut self.state) else { return Step::Done };
        let end = match dump.form {
            Form::Keys => reply::EN,
            Form::Sizes(sizes, packets) => {
                self.start_list(List::Sizes(sizes, packets));
                return self.list_slice(feed);
            }
            Form::Everything | Form::Cachedump { .. } => reply::END,
        };
        self.push_line(feed, end);
        Step::Done
    }
}

impl Session {
    /// True if a dump or a list goes on after this many more items; in a datagram their number is bounded.
    pub(super) fn may_look_further(&mut self, items: u32) -> bool {
        let Some(left) = &mut self.datagram else { return true };
        *left = left.saturating_sub(items);
        *left > 0
    }
}

fn push_everything(
    out: &mut Vec<u8>,
    item: &Item<'_>,
    class: u8,
    (unix, item_bytes): (impl Fn(crate::clock::Timestamp) -> u64, u64),
) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "key={} exp=", escape::percent(item.key()));
    let _ = if item.exptime().0 == 0 { write!(out, "-1") } else { write!(out, "{}", unix(item.exptime())) };
    let _ = write!(
        out,
        " la={} cas={} fetch={} cls={class} size={item_bytes} flags={} ",
        unix(item.last_access()),
        item.cas(),
        if item.fetched() { "yes" } else { "no" },
        item.flags(),
    );
}

/// Ends the line, with the page of a value on flash and where in it it is.
fn push_place(out: &mut Vec<u8>, item: &Item<'_>, flash: Option<&Flash>) {
    if let (Some(place), Some(flash)) = (item.place(), flash) {
        let (page, offset) = flash.page_of(place);
        let _ = write!(out, "ext_page={page} ext_offset={offset} ");
    }
    out.push(b'\n');
}
