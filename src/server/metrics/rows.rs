//! Tables: which statistic becomes which metric of the page, with type and help text. Constants only.

/// A statistic's name, then the name, type and help text of its metric.
pub(super) type Row = (&'static str, &'static str, &'static str, &'static str);

pub(super) const COUNTER: &str = "counter";
pub(super) const GAUGE: &str = "gauge";

/// Metrics of the whole server, made from `stats` and `stats slabs`.
pub(super) const GENERAL: &[Row] = &[
    ("uptime", "memcached_uptime_seconds", COUNTER, "Seconds since the start."),
    ("time", "memcached_time_seconds", GAUGE, "Unix time of the server."),
    ("rusage_user", "memcached_process_user_cpu_seconds_total", COUNTER, "CPU time in user mode."),
    ("rusage_system", "memcached_process_system_cpu_seconds_total", COUNTER, "CPU time in the kernel."),
    ("bytes", "memcached_current_bytes", GAUGE, "Bytes of all items, as memcached counts them."),
    ("limit_maxbytes", "memcached_limit_bytes", GAUGE, "Memory limit (-m)."),
    ("curr_items", "memcached_current_items", GAUGE, "Items stored."),
    ("total_items", "memcached_items_total", COUNTER, "Items ever stored."),
    ("bytes_read", "memcached_read_bytes_total", COUNTER, "Bytes received from clients."),
    ("bytes_written", "memcached_written_bytes_total", COUNTER, "Bytes sent to clients."),
    ("curr_connections", "memcached_current_connections", GAUGE, "Open connections."),
    ("total_connections", "memcached_connections_total", COUNTER, "Connections accepted."),
    ("rejected_connections", "memcached_connections_rejected_total", COUNTER, "Connections refused for -c."),
    (
        "conn_yields",
        "memcached_connections_yielded_total",
        COUNTER,
        "Times a connection yielded after -R requests.",
    ),
    (
        "listen_disabled_num",
        "memcached_connections_listener_disabled_total",
        COUNTER,
        "Times accepting paused at the limit of connections.",
    ),
    ("evictions", "memcached_items_evicted_total", COUNTER, "Live items evicted."),
    ("reclaimed", "memcached_items_reclaimed_total", COUNTER, "Expired items whose memory was reused."),
    ("store_too_large", "memcached_item_too_large_total", COUNTER, "Stores over the item size limit (-I)."),
    ("store_no_memory", "memcached_item_no_memory_total", COUNTER, "Stores that failed for lack of memory."),
    ("lru_crawler_starts", "memcached_lru_crawler_starts_total", COUNTER, "Always 0: there is no crawler."),
    (
        "direct_reclaims",
        "memcached_direct_reclaims_total",
        COUNTER,
        "Evictions by a write that needed memory.",
    ),
    (
        "crawler_items_checked",
        "memcached_lru_crawler_items_checked_total",
        COUNTER,
        "Items examined by the sweep for expired ones.",
    ),
    ("crawler_reclaimed", "memcached_lru_crawler_reclaimed_total", COUNTER, "Items removed by the sweep."),
    (
        "moves_to_cold",
        "memcached_lru_crawler_moves_to_cold_total",
        COUNTER,
        "Always 0: there are no LRU lists.",
    ),
    ("moves_to_warm", "memcached_lru_crawler_moves_to_warm_total", COUNTER, "Items moved to the main queue."),
    (
        "moves_within_lru",
        "memcached_lru_crawler_moves_within_lru_total",
        COUNTER,
        "Items reinserted into the main queue.",
    ),
    ("total_malloced", "memcached_malloced_bytes", GAUGE, "Memory of segments and large items in use."),
    ("accepting_conns", "memcached_accepting_connections", GAUGE, "1 while connections are accepted."),
];

/// Metrics made from `stats settings`. All but the first are on the page only while the crawler is enabled.
pub(super) const SETTINGS: &[Row] = &[
    ("maxconns", "memcached_max_connections", GAUGE, "Most connections (-c)."),
    (
        "lru_crawler",
        "memcached_lru_crawler_enabled",
        GAUGE,
        "1 while lru_crawler crawl and metadump are allowed.",
    ),
    ("lru_crawler_sleep", "memcached_lru_crawler_sleep", GAUGE, "Setting without effect."),
    ("lru_crawler_tocrawl", "memcached_lru_crawler_to_crawl", GAUGE, "Setting without effect."),
    ("lru_maintainer_thread", "memcached_lru_crawler_maintainer_thread", GAUGE, "Setting without effect."),
    ("hot_lru_pct", "memcached_lru_crawler_hot_percent", GAUGE, "Setting without effect."),
    ("warm_lru_pct", "memcached_lru_crawler_warm_percent", GAUGE, "Setting without effect."),
    ("hot_max_factor", "memcached_lru_crawler_hot_max_factor", GAUGE, "Setting without effect."),
    ("warm_max_factor", "memcached_lru_crawler_warm_max_factor", GAUGE, "Setting without effect."),
];

/// Metrics by class, made from `stats items`.
pub(super) const ITEMS: &[Row] = &[
    ("number", "memcached_slab_current_items", GAUGE, "Items of the class."),
    ("age", "memcached_slab_items_age_seconds", GAUGE, "Age of the oldest segment."),
    (
        "crawler_reclaimed",
        "memcached_slab_items_crawler_reclaimed_total",
        COUNTER,
        "Items removed by the sweep.",
    ),
    ("evicted", "memcached_slab_items_evicted_total", COUNTER, "Live items evicted."),
    (
        "evicted_nonzero",
        "memcached_slab_items_evicted_nonzero_total",
        COUNTER,
        "Evicted items that had an expiry.",
    ),
    (
        "evicted_time",
        "memcached_slab_items_evicted_time_seconds",
        COUNTER,
        "Seconds between last access and eviction of the last item evicted.",
    ),
    (
        "evicted_unfetched",
        "memcached_slab_items_evicted_unfetched_total",
        COUNTER,
        "Evicted items that were never fetched.",
    ),
    (
        "expired_unfetched",
        "memcached_slab_items_expired_unfetched_total",
        COUNTER,
        "Expired items that were never fetched.",
    ),
    (
        "outofmemory",
        "memcached_slab_items_outofmemory_total",
        COUNTER,
        "Stores that failed for lack of memory.",
    ),
    ("reclaimed", "memcached_slab_items_reclaimed_total", COUNTER, "Expired items removed."),
    ("tailrepairs", "memcached_slab_items_tailrepairs_total", COUNTER, "Always 0."),
    ("mem_requested", "memcached_slab_mem_requested_bytes", COUNTER, "Bytes of the items of the class."),
    ("moves_to_cold", "memcached_slab_items_moves_to_cold", COUNTER, "Always 0."),
    ("moves_to_warm", "memcached_slab_items_moves_to_warm", COUNTER, "Always 0."),
    ("moves_within_lru", "memcached_slab_items_moves_within_lru", COUNTER, "Always 0."),
    ("number_hot", "memcached_slab_hot_items", GAUGE, "Always 0."),
    ("number_warm", "memcached_slab_warm_items", GAUGE, "Always 0."),
    ("number_cold", "memcached_slab_cold_items", GAUGE, "Items of the class."),
    ("number_temp", "memcached_slab_temporary_items", GAUGE, "Always 0."),
    ("age_hot", "memcached_slab_hot_age_seconds", GAUGE, "Always 0."),
    ("age_warm", "memcached_slab_warm_age_seconds", GAUGE, "Always 0."),
];

/// Metrics by class, made from `stats slabs`.
pub(super) const SLABS: &[Row] = &[
    ("chunk_size", "memcached_slab_chunk_size_bytes", GAUGE, "Largest item of the class."),
    ("chunks_per_page", "memcached_slab_chunks_per_page", GAUGE, "Items of that size in 1 MiB."),
    ("total_pages", "memcached_slab_current_pages", GAUGE, "Pages memcached would need for the class."),
    ("total_chunks", "memcached_slab_current_chunks", GAUGE, "Chunks in those pages."),
    ("used_chunks", "memcached_slab_chunks_used", GAUGE, "Places taken."),
    ("free_chunks", "memcached_slab_chunks_free", GAUGE, "Places free."),
    ("free_chunks_end", "memcached_slab_chunks_free_end", GAUGE, "Always 0."),
];

/// Metrics that only memcrsd has, made from `stats memcrsd` and `stats`.
pub(super) const OWN: &[Row] = &[
    ("threads", "memcrsd_rings", GAUGE, "Rings, one thread each."),
    ("get_expired", "memcrsd_get_expired_total", COUNTER, "Misses that found an expired item."),
    ("get_flushed", "memcrsd_get_flushed_total", COUNTER, "Misses that found a flushed item."),
    ("idle_kicks", "memcrsd_connections_idle_total", COUNTER, "Idle connections closed."),
    ("auth_cmds", "memcrsd_logins_total", COUNTER, "Logins tried."),
    ("auth_errors", "memcrsd_login_failures_total", COUNTER, "Failed logins."),
    ("ssl_handshake_errors", "memcrsd_tls_handshake_errors_total", COUNTER, "TLS handshakes that failed."),
    ("ssl_proto_errors", "memcrsd_tls_errors_total", COUNTER, "TLS connections that broke."),
    ("memcrsd_pins", "memcrsd_pins", GAUGE, "Values being sent from item memory."),
    ("memcrsd_stuck_rings", "memcrsd_stuck_rings", GAUGE, "Rings that do not turn."),
    ("memcrsd_ring_stalls", "memcrsd_ring_stalls_total", COUNTER, "Times a ring was found not to turn."),
    ("memcrsd_drafts", "memcrsd_drafts", GAUGE, "Values being received into item memory."),
    (
        "memcrsd_restored_items",
        "memcrsd_restored_items",
        GAUGE,
        "Items that the start found in the memory file.",
    ),
    (
        "memcrsd_restored_bytes",
        "memcrsd_restored_bytes",
        GAUGE,
        "Bytes of those items, as memcached counts them.",
    ),
    ("memcrsd_restore_ms", "memcrsd_restore_milliseconds", GAUGE, "Time that the start took to find them."),
];

/// Metrics of the flash tier, made from `stats`; they are left out without a tier.
pub(super) const FLASH: &[Row] = &[
    (
        "extstore_compact_lost",
        "memcached_extstore_compact_lost_total",
        COUNTER,
        "Values lost with a chunk that could not be written.",
    ),
    (
        "extstore_compact_rescues",
        "memcached_extstore_compact_rescued_total",
        COUNTER,
        "Values written once more because they had been read.",
    ),
    (
        "extstore_compact_skipped",
        "memcached_extstore_compact_skipped_total",
        COUNTER,
        "Values that went because nobody had read them.",
    ),
    ("extstore_page_allocs", "memcached_extstore_pages_allocated_total", COUNTER, "Pages begun."),
    (
        "extstore_page_evictions",
        "memcached_extstore_pages_evicted_total",
        COUNTER,
        "Pages emptied of live values.",
    ),
    (
        "extstore_page_reclaims",
        "memcached_extstore_pages_reclaimed_total",
        COUNTER,
        "Pages that became free.",
    ),
    ("extstore_pages_free", "memcached_extstore_pages_free", GAUGE, "Pages without values."),
    ("extstore_pages_used", "memcached_extstore_pages_used", GAUGE, "Pages with values."),
    (
        "extstore_objects_evicted",
        "memcached_extstore_objects_evicted_total",
        COUNTER,
        "Values that went because their room was needed.",
    ),
    ("extstore_objects_read", "memcached_extstore_objects_read_total", COUNTER, "Values read from flash."),
    (
        "extstore_objects_written",
        "memcached_extstore_objects_written_total",
        COUNTER,
        "Values moved to flash.",
    ),
    ("extstore_objects_used", "memcached_extstore_objects_used", GAUGE, "Values on flash."),
    ("extstore_bytes_evicted", "memcached_extstore_bytes_evicted_total", COUNTER, "Bytes of evicted values."),
    ("extstore_bytes_written", "memcached_extstore_bytes_written_total", COUNTER, "Bytes written to flash."),
    ("extstore_bytes_read", "memcached_extstore_bytes_read_total", COUNTER, "Bytes of values read."),
    // The exporter declares it a counter.
    ("extstore_bytes_used", "memcached_extstore_bytes_used", COUNTER, "Bytes of values on flash."),
    (
        "extstore_bytes_fragmented",
        "memcached_extstore_bytes_fragmented",
        GAUGE,
        "Bytes of used pages without live values.",
    ),
    ("extstore_limit_maxbytes", "memcached_extstore_bytes_limit", GAUGE, "Bytes of all pages."),
    ("extstore_io_queue", "memcached_extstore_io_queue_depth", GAUGE, "Chunks that wait for the device."),
];

/// Metrics of the flash tier that the exporter does not have, made from `stats` and `stats memcrsd`; left out without a tier.
pub(super) const OWN_FLASH: &[Row] = &[
    ("get_extstore", "memcrsd_flash_gets_total", COUNTER, "Reads of values on flash."),
    (
        "get_aborted_extstore",
        "memcrsd_flash_gets_aborted_total",
        COUNTER,
        "Of them, those of gets that were refused for a later key.",
    ),
    (
        "get_oom_extstore",
        "memcrsd_flash_gets_out_of_memory_total",
        COUNTER,
        "Of them, those there was no memory for.",
    ),
    ("recache_from_extstore", "memcrsd_flash_promotions_total", COUNTER, "Values brought back to memory."),
    ("miss_from_extstore", "memcrsd_flash_misses_total", COUNTER, "Values that could not be read."),
    (
        "badcrc_from_extstore",
        "memcrsd_flash_checksum_errors_total",
        COUNTER,
        "Of them, those that had changed on flash.",
    ),
    (
        "memcrsd_flash_write_errors",
        "memcrsd_flash_write_errors_total",
        COUNTER,
        "Chunks that could not be written.",
    ),
    (
        "memcrsd_flash_read_errors",
        "memcrsd_flash_read_errors_total",
        COUNTER,
        "Chunks that could not be read back.",
    ),
    (
        "memcrsd_flash_out_of_use",
        "memcrsd_flash_out_of_use",
        GAUGE,
        "1: the device has failed too often, nothing is moved to it any more.",
    ),
    (
        "memcrsd_flash_promote_secs",
        "memcrsd_flash_promote_seconds",
        GAUGE,
        "What is read twice within this time comes back to memory.",
    ),
    (
        "extstore_memory_pressure",
        "memcrsd_flash_memory_pressure_percent",
        GAUGE,
        "Share of memory taken by items too small for flash, stubs among them.",
    ),
];
