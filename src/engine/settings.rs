//! `stats settings`: the configuration in memcached's names, order and spelling.

use crate::config::Protocol;
use crate::engine::Turn;
use crate::engine::stats::{Sink, Writer};

fn yes(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

impl Turn<'_> {
    /// `stats settings`.
    pub fn settings(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        self.server_settings(&mut to);
        self.memory_settings(&mut to);
    }

    fn server_settings(&self, to: &mut Writer<'_, '_>) {
        let config = &self.shared.config;
        to.put("maxbytes", self.store.memory_limit());
        to.put("maxconns", config.maxconns);
        to.put("tcpport", config.tcpport.unwrap_or(0));
        to.put("udpport", config.udpport.unwrap_or(0));
        to.put("inter", config.inter.as_deref().unwrap_or("NULL"));
        to.put("verbosity", self.shared.verbosity());
        to.put("oldest", 0);
        to.put("evictions", if config.evictions { "on" } else { "off" });
        to.put("domain_socket", config.socketpath.as_deref().unwrap_or("NULL"));
        to.put("umask", format_args!("{:o}", config.access));
        to.put("shutdown_command", yes(config.shutdown_command));
        to.put("growth_factor", format_args!("{:.2}", config.factor));
        to.put("chunk_size", config.chunk_size);
        to.put("num_threads", config.num_threads);
        to.put("num_threads_per_udp", config.num_threads);
        to.put("stat_key_prefix", char::from(config.prefix_delimiter));
        to.put("detail_enabled", yes(self.shared.detail()));
        to.put("reqs_per_event", config.reqs_per_event);
        to.put("cas_enabled", yes(config.cas_enabled));
        to.put("tcp_backlog", config.backlog);
        let protocol = match config.protocol {
            Protocol::Auto => "auto-negotiate",
            Protocol::Ascii => "ascii",
            Protocol::Binary => "binary",
        };
        to.put("binding_protocol", protocol);
        to.put("auth_enabled_sasl", yes(config.sasl));
        to.put("auth_enabled_ascii", config.auth_file.as_deref().unwrap_or("no"));
    }

    fn memory_settings(&self, to: &mut Writer<'_, '_>) {
        let config = &self.shared.config;
        to.put("item_size_max", config.item_size_max);
        to.put("maxconns_fast", yes(config.maxconns_fast));
        to.put("hashpower_init", config.hashpower_init);
        to.put("slab_reassign", yes(config.slab_reassign));
        to.put("slab_automove", config.slab_automove);
        to.put("slab_automove_ratio", format_args!("{:.2}", config.slab_automove_ratio));
        to.put("slab_automove_window", config.slab_automove_window);
        to.put("slab_chunk_max", config.slab_chunk_size_max);
        to.put("lru_crawler", yes(self.shared.crawler()));
        to.put("lru_crawler_sleep", config.lru_crawler_sleep);
        to.put("lru_crawler_tocrawl", config.lru_crawler_tocrawl);
        to.put("tail_repair_time", config.tail_repair_time);
        to.put("flush_enabled", yes(config.flush_enabled));
        to.put("dump_enabled", yes(config.dump_enabled));
        to.put("hash_algorithm", config.hash_algorithm);
        to.put("lru_maintainer_thread", yes(config.lru_maintainer_thread));
        to.put("lru_segmented", yes(config.lru_segmented));
        to.put("hot_lru_pct", config.hot_lru_pct);
        to.put("warm_lru_pct", config.warm_lru_pct);
        to.put("hot_max_factor", format_args!("{:.2}", config.hot_max_factor));
        to.put("warm_max_factor", format_args!("{:.2}", config.warm_max_factor));
        to.put("temp_lru", yes(config.temp_lru));
        to.put("temporary_ttl", config.temporary_ttl);
        to.put("idle_timeout", config.idle_timeout);
        to.put("watcher_logbuf_size", config.logger_watcher_buf_size);
        to.put("worker_logbuf_size", config.logger_buf_size);
        to.put("read_buf_mem_limit", config.read_buf_mem_limit);
        to.put("track_sizes", yes(config.track_sizes));
        to.put("inline_ascii_response", "no");
        to.put("num_napi_ids", 0);
        to.put("memory_file", "(null)");
        to.put("client_flags_size", 4);
    }
}
