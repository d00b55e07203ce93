//! The lists of `stats items`, `stats slabs` and `stats conns`.
//!
//! There are no slabs. An item counts under the class that memcached would use for it, so tools that show classes get true
//! figures: the number of items, their bytes, and the pages that memcached would need.
//!
//! The module extends [`Report`] and owns no state; it may import the modules named before it in `engine`.

use crate::engine::connections::Address;
use crate::engine::report::{Report, Sink, Writer};
use crate::limits::SLAB_PAGE_BYTES;

impl Report<'_> {
    /// Writes `stats items`: figures about the items of each class that has any.
    pub fn stats_items(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        let config = &self.shared.config;
        let sums = self.shared.sums();
        for (class, totals) in self.store.class_totals().iter().enumerate().skip(1) {
            if totals.items == 0 {
                continue;
            }
            let mut put = |name: &str, value: u64| to.put(format_args!("items:{class}:{name}"), value);
            let age = u64::from(self.now.0.saturating_sub(totals.oldest.0));
            put("number", totals.items);
            put("number_hot", 0);
            put("number_warm", 0);
            put("number_cold", totals.items);
            if config.temp_lru {
                put("number_temp", 0);
            }
            put("age_hot", 0);
            put("age_warm", 0);
            put("age", age);
            put("mem_requested", totals.bytes);
            put("evicted", totals.evicted);
            put("evicted_nonzero", totals.evicted_nonzero);
            put("evicted_time", totals.evicted_time);
            put("outofmemory", totals.outofmemory);
            put("tailrepairs", 0);
            put("reclaimed", totals.reclaimed);
            put("expired_unfetched", totals.expired_unfetched);
            put("evicted_unfetched", totals.evicted_unfetched);
            if config.lru_maintainer_thread {
                put("evicted_active", 0);
            }
            put("crawler_reclaimed", totals.crawler_reclaimed);
            put("crawler_items_checked", 0);
            put("lrutail_reflocked", 0);
            if config.lru_maintainer_thread {
                put("moves_to_cold", 0);
                put("moves_to_warm", 0);
                put("moves_within_lru", 0);
                put("direct_reclaims", 0);
                put("hits_to_hot", 0);
                put("hits_to_warm", 0);
                put("hits_to_cold", sums.classes.get(class).map_or(0, |counts| counts.get_hits));
                put("hits_to_temp", 0);
            }
        }
    }

    /// Writes `stats slabs`: the slabs that memcached would need, and the counts of commands, for each class in use.
    pub fn stats_slabs(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        let sums = self.shared.sums();
        let totals = self.store.class_totals();
        let mut active = 0;
        for (class, &chunk_bytes) in (1..).zip(self.shared.classes.chunk_bytes()) {
            let items = totals.get(class).map_or(0, |totals| totals.items);
            let counts = &sums.classes[class];
            if items == 0 && counts.cmd_set == 0 {
                continue;
            }
            active += 1;
            let per_page = u64::from(SLAB_PAGE_BYTES / chunk_bytes).max(1);
            let pages = items.div_ceil(per_page).max(1);
            let mut put = |name: &str, value: u64| to.put(format_args!("{class}:{name}"), value);
            put("chunk_size", u64::from(chunk_bytes));
            put("chunks_per_page", per_page);
            put("total_pages", pages);
            put("total_chunks", pages * per_page);
            put("used_chunks", items);
            put("free_chunks", pages * per_page - items);
            put("free_chunks_end", 0);
            put("get_hits", counts.get_hits);
            put("cmd_set", counts.cmd_set);
            put("delete_hits", counts.delete_hits);
            put("incr_hits", counts.incr_hits);
            put("decr_hits", counts.decr_hits);
            put("cas_hits", counts.cas_hits);
            put("cas_badval", counts.cas_badval);
            put("touch_hits", counts.touch_hits);
        }
        to.put("active_slabs", active);
        let memory = self.store.memory();
        to.put("total_malloced", memory.segments + memory.large);
    }

    /// Writes the next part of `stats conns`: at most `most` connections, beginning with the number `from`. Returns the `from` of
    /// the next part; `None` if no connection is left.
    pub fn stats_conns(&self, from: u32, most: usize, sink: &mut Sink<'_>) -> Option<u32> {
        let mut to = Writer::new(sink);
        let slice = self.shared.connections.slice(from, most);
        for (id, connection) in &slice {
            if let Address::Udp(_) = connection.address {
                to.put(format_args!("{id}:UDP"), "UDP");
            }
            to.put(format_args!("{id}:addr"), connection.shown_address());
            if let Some(listener) = &connection.listener {
                to.put(format_args!("{id}:listen_addr"), listener);
            }
            to.put(format_args!("{id}:state"), connection.state_name());
            to.put(format_args!("{id}:secs_since_last_cmd"), connection.idle_secs(self.now));
        }
        let (last, _) = slice.last().filter(|_| slice.len() == most)?;
        last.checked_add(1)
    }
}
