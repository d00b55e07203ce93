//! Dumps of all items, one slice at a time: `lru_crawler metadump` and `mgdump`, `stats cachedump`, `stats sizes`.
//!
//! A [`Dump`] is the progress of one session's dump, and is part of its `State::Dump`. It knows items and output, but no session:
//! `slices` calls it once for each slice. The module imports no other module of the session.

use crate::engine::{ClassSet, Executor};
use crate::escape;
use crate::limits::CACHEDUMP_BYTES_MAX;
use crate::proto::binary::Echo;
use crate::proto::meta;
use crate::store::{Flash, Item, Walk};
use std::collections::BTreeMap;
use std::io::Write as _;

/// Unit in which item sizes are counted, bytes.
const SIZE_STEP_BYTES: u64 = 32;

/// A dump in progress: how far it has come, which classes of items it covers, and what it writes.
#[derive(Debug)]
pub(super) struct Dump {
    walk: Walk,
    classes: ClassSet,
    pub(super) form: Form,
}

/// What a dump writes about each item.
#[derive(Debug)]
pub(super) enum Form {
    /// A line with all metadata of the item (`lru_crawler metadump`).
    Everything,
    /// The item's key as an `mg` command (`lru_crawler mgdump`).
    Keys,
    /// At most `items_left` more lines with key, value length and expiry of an item, and about `bytes_left` more bytes.
    Cachedump { items_left: u64, bytes_left: usize },
    /// Nothing: the dump counts the items by size. The counts are sent afterwards, as packets of the binary protocol if there is
    /// an [`Echo`], otherwise as lines.
    Sizes(BTreeMap<u64, u64>, Option<Echo>),
}

impl Form {
    /// Returns the form of a dump that counts all items by size. With `packets`, the counts are sent as packets of the binary
    /// protocol.
    pub(super) fn sizes(packets: Option<Echo>) -> Self {
        Self::Sizes(BTreeMap::new(), packets)
    }

    /// Returns the form of a cachedump of at most `items` items, or of all items if `items` is 0. Its length in bytes is bounded
    /// as well.
    pub(super) fn cachedump(items: u32) -> Self {
        let items_left = if items == 0 { u64::MAX } else { u64::from(items) };
        Self::Cachedump { items_left, bytes_left: CACHEDUMP_BYTES_MAX }
    }
}

impl Dump {
    pub(super) fn new(classes: ClassSet, form: Form) -> Self {
        Self { walk: Walk::default(), classes, form }
    }

    /// Examines the next slice of items, and appends to `out` what the form writes about them. Returns the number of items
    /// examined; `None` if the dump has ended.
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
                // Keys in base64 are omitted, as in memcached. So are all other keys that would break their line.
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

/// Appends the fields of a metadump line, without the place of a value on flash and without the line end.
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

/// Ends a metadump line. If the item's value is on flash, appends its page and its offset in the page first.
fn push_place(out: &mut Vec<u8>, item: &Item<'_>, flash: Option<&Flash>) {
    if let (Some(place), Some(flash)) = (item.place(), flash) {
        let (page, offset) = flash.page_of(place);
        let _ = write!(out, "ext_page={page} ext_offset={offset} ");
    }
    out.push(b'\n');
}
