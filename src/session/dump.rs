//! Dumps of all items, one slice at a time: `lru_crawler metadump` and `mgdump`, `stats cachedump`, `stats sizes`.
//!
//! A [`Dump`] is the progress of one session's dump, kept in its `State::Dump`. It knows items and output, and no session:
//! `slices` calls it once per slice. Imports no other module of the session.

use crate::engine::{ClassSet, Executor};
use crate::escape;
use crate::limits::CACHEDUMP_BYTES_MAX;
use crate::proto::binary::Echo;
use crate::proto::meta;
use crate::store::{Flash, Item, Walk};
use std::collections::BTreeMap;
use std::io::Write as _;

/// Item sizes are counted in steps of this many bytes.
const SIZE_STEP_BYTES: u64 = 32;

/// The progress of one dump.
#[derive(Debug)]
pub(super) struct Dump {
    walk: Walk,
    classes: ClassSet,
    pub(super) form: Form,
}

/// What a dump writes for each item.
#[derive(Debug)]
pub(super) enum Form {
    /// A line with all metadata of each item.
    Everything,
    /// The key as an `mg` command.
    Keys,
    /// Key, value length and expiry of at most `items_left` more items, in at most `bytes_left` more bytes.
    Cachedump { items_left: u64, bytes_left: usize },
    /// Nothing: items are counted by size. The counts are sent afterwards, as packets if there is an [`Echo`] (binary
    /// protocol).
    Sizes(BTreeMap<u64, u64>, Option<Echo>),
}

impl Form {
    /// The form of a dump that counts all items by size. With `packets` the counts are sent as packets of the binary protocol.
    pub(super) fn sizes(packets: Option<Echo>) -> Self {
        Self::Sizes(BTreeMap::new(), packets)
    }

    /// The form of a cachedump of at most `items` items; 0 for all. Its length is bounded too.
    pub(super) fn cachedump(items: u32) -> Self {
        let items_left = if items == 0 { u64::MAX } else { u64::from(items) };
        Self::Cachedump { items_left, bytes_left: CACHEDUMP_BYTES_MAX }
    }
}

impl Dump {
    pub(super) fn new(classes: ClassSet, form: Form) -> Self {
        Self { walk: Walk::default(), classes, form }
    }

    /// Examines the next slice of items and appends what the form asks for to `out`. Returns the number of items examined, or
    /// `None` if the dump has ended.
    pub(super) fn stage(&mut self, executor: &mut Executor<'_>, out: &mut Vec<u8>) -> Option<u32> {
        let (shared, flash) = (executor.shared(), executor.flash());
        let unix = |secs| shared.clock.unix(secs);
        let form = &mut self.form;
        let looked_at = executor.walk(&mut self.walk, self.classes, |item, class| match form {
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
                // Keys in base64 are left out, as in memcached; so are all other keys that would break their line.
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
        let is_full = matches!(
            self.form,
            Form::Cachedump { items_left: 0, .. } | Form::Cachedump { bytes_left: 0, .. }
        );
        looked_at.filter(|_| !is_full)
    }
}

/// Appends the fields of a metadump line, without those of the value's place on flash and without the line end.
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

/// Ends a metadump line. If the item's value is on flash, the page and the offset in the page come first.
fn push_place(out: &mut Vec<u8>, item: &Item<'_>, flash: Option<&Flash>) {
    if let (Some(place), Some(flash)) = (item.place(), flash) {
        let (page, offset) = flash.page_of(place);
        let _ = write!(out, "ext_page={page} ext_offset={offset} ");
    }
    out.push(b'\n');
}
