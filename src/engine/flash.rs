//! The flash tier as clients and operators see it: its statistics under memcached's names, and `extstore`.
//!
//! Where memcached compacts pages, the tier rewrites a value when the value's chunk must be freed, if the value has been read
//! since it was written. Such values are counted as rescued, and values that nobody has read as skipped.
//!
//! The module extends [`Executor`] and [`Report`] and owns no state; it may import the modules named before it in `engine`. The
//! tier itself is `store::Flash`, and its figures are copied under the store's writer lock.

use crate::config::{Config, Ext};
use crate::engine::Executor;
use crate::engine::counters::Counts;
use crate::engine::report::{Report, Sink, Writer};
use crate::limits::{FLASH_PART_BYTES, FLASH_READ_BYTES_MAX};
use crate::store::{Flash, FlashOptions, FlashTotals};

/// Most chunks of the tier that are in memory: three that are being filled or wait to be written, one in the write buffer of the
/// tier's thread, and one that was read back.
const CHUNKS_IN_MEMORY: u64 = 5;

/// Returns the settings of the flash tier in the form that the store takes; `None` if `config` has no flash tier.
pub fn flash_options(config: &Config) -> Option<FlashOptions> {
    config.flash.as_ref().map(|flash| FlashOptions {
        files: flash.paths.iter().map(|path| path.bytes).collect(),
        page_bytes: flash.page_bytes,
        chunk_bytes: flash.wbuf_bytes,
        item_bytes_min: flash.item_size.into(),
        item_age: flash.item_age,
        promotes: flash.recache_rate != 0,
        part_bytes: FLASH_PART_BYTES,
    })
}

impl<'e> Executor<'e> {
    /// Returns the flash tier; `None` if there is none.
    pub fn flash(&self) -> Option<&'e Flash> {
        self.store.flash().map(|flash| &**flash)
    }

    /// Runs `change` on the settings of the flash tier, then passes them to the tier, if there is one. Returns the result of
    /// `change`, which must be false if it has changed nothing.
    pub fn tune_flash(&self, change: impl FnOnce(&mut Ext) -> bool) -> bool {
        self.shared.change(|live| {
            let is_changed = change(&mut live.ext);
            if let Some(flash) = self.store.flash() {
                flash.set_item_bytes_min(live.ext.item_size.into());
                flash.set_item_age(live.ext.item_age);
                flash.set_promotes(live.ext.recache_rate != 0);
            }
            is_changed
        })
    }
}

impl Report<'_> {
    /// Writes the lines of `stats` about reads from flash. Writes nothing without a flash tier.
    pub(super) fn flash_reads(&self, to: &mut Writer<'_, '_>, ring: &Counts) {
        if self.store.flash().is_none() {
            return;
        }
        to.put("get_extstore", ring.get_extstore);
        to.put("get_aborted_extstore", ring.get_aborted_extstore);
        to.put("get_oom_extstore", ring.get_oom_extstore);
        to.put("recache_from_extstore", ring.recache_from_extstore);
        to.put("miss_from_extstore", ring.miss_from_extstore);
        to.put("badcrc_from_extstore", ring.badcrc_from_extstore);
    }

    /// Writes the lines of `stats` about the tier itself. Writes nothing without a flash tier.
    pub(super) fn flash(&self, to: &mut Writer<'_, '_>) {
        let Some(totals) = self.store.flash_totals() else { return };
        to.put("extstore_memory_pressure", format_args!("{:.2}", self.memory_pressure(&totals)));
        for (name, value) in named(&totals) {
            to.put(format_args!("extstore_{name}"), value);
        }
    }

    /// Returns the bytes of items in memory that cannot move to flash, stubs included, in percent of the memory limit.
    fn memory_pressure(&self, totals: &FlashTotals) -> f64 {
        100.0 * totals.short_bytes as f64 / self.store.memory_limit().max(1) as f64
    }

    /// Writes the next part of `stats extstore`: at most `most` pages, beginning with the number `from`. Returns the `from` of
    /// the next part; `None` if no page is left. Each page is shown in bucket 0.
    pub fn stats_extstore(&self, from: u64, most: usize, sink: &mut Sink<'_>) -> Option<u64> {
        let mut to = Writer::new(sink);
        let pages = self.store.flash_pages(from, most);
        for (number, page) in (from..).zip(&pages) {
            to.put(format_args!("{number}:version"), page.version);
            to.put(format_args!("{number}:bytes"), page.bytes);
            to.put(format_args!("{number}:bucket"), 0);
            to.put(format_args!("{number}:free_bucket"), 0);
        }
        (pages.len() == most).then(|| from + most as u64)
    }

    /// Writes the lines of `stats memcrsd` about the tier. Writes nothing without a flash tier.
    pub(super) fn flash_troubles(&self, to: &mut Writer<'_, '_>) {
        let Some(totals) = self.store.flash_totals() else { return };
        to.put("memcrsd_flash_write_errors", totals.write_errors);
        to.put("memcrsd_flash_read_errors", totals.read_errors);
        to.put("memcrsd_flash_out_of_use", u8::from(totals.is_out_of_use));
        to.put("memcrsd_flash_promote_secs", self.store.flash().map_or(0, |flash| flash.promote_age()));
    }

    /// Returns the most memory that chunks, reads in flight, and values read from flash can take together, bytes; 0 without a
    /// flash tier.
    pub(super) fn flash_memory_bound(&self) -> u64 {
        let reads =
            self.shared.rings() as u64 * (FLASH_READ_BYTES_MAX as u64 + self.shared.loaded_bytes_max());
        self.store.flash().map_or(0, |flash| CHUNKS_IN_MEMORY * flash.chunk_bytes() + reads)
    }
}

/// Returns the statistics of the tier in memcached's order, under memcached's names without `extstore_`.
fn named(totals: &FlashTotals) -> [(&'static str, u64); 21] {
    [
        ("compact_lost", totals.lost),
        ("compact_rescues", totals.rescued),
        ("compact_resc_cold", 0),
        ("compact_resc_old", 0),
        ("compact_skipped", totals.dropped_unread),
        ("page_allocs", totals.pages_allocated),
        ("page_evictions", totals.pages_evicted),
        ("page_reclaims", totals.pages_reclaimed),
        ("pages_free", totals.pages_free),
        ("pages_used", totals.pages_used),
        ("objects_evicted", totals.objects_evicted),
        ("objects_read", totals.objects_read),
        ("objects_written", totals.objects_written),
        ("objects_used", totals.objects_used),
        ("bytes_evicted", totals.bytes_evicted),
        ("bytes_written", totals.bytes_written),
        ("bytes_read", totals.bytes_read),
        ("bytes_used", totals.bytes_used),
        ("bytes_fragmented", totals.bytes_fragmented),
        ("limit_maxbytes", totals.limit_maxbytes),
        ("io_queue", totals.io_queue),
    ]
}
