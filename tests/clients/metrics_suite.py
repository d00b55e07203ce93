"""The metrics port, read by Prometheus's own parser and held against what memcached_exporter would make of `stats`.

The port is METRICS_PORT of the environment. Values are asked for before and after the page: each must lie between.
Source: memcached_exporter 0.16.0, pkg/exporter/exporter.go.
"""

import os
import re
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from gomemcache import ask, send
from suite import check, finish, same

GENERAL = {
    "uptime_seconds": ("uptime", "counter"),
    "time_seconds": ("time", "gauge"),
    "process_user_cpu_seconds_total": ("rusage_user", "counter"),
    "process_system_cpu_seconds_total": ("rusage_system", "counter"),
    "read_bytes_total": ("bytes_read", "counter"),
    "written_bytes_total": ("bytes_written", "counter"),
    "current_connections": ("curr_connections", "gauge"),
    "connections_total": ("total_connections", "counter"),
    "connections_rejected_total": ("rejected_connections", "counter"),
    "connections_yielded_total": ("conn_yields", "counter"),
    "connections_listener_disabled_total": ("listen_disabled_num", "counter"),
    "current_bytes": ("bytes", "gauge"),
    "limit_bytes": ("limit_maxbytes", "gauge"),
    "current_items": ("curr_items", "gauge"),
    "items_total": ("total_items", "counter"),
    "items_evicted_total": ("evictions", "counter"),
    "items_reclaimed_total": ("reclaimed", "counter"),
    "item_too_large_total": ("store_too_large", "counter"),
    "item_no_memory_total": ("store_no_memory", "counter"),
    "direct_reclaims_total": ("direct_reclaims", "counter"),
    "lru_crawler_starts_total": ("lru_crawler_starts", "counter"),
    "lru_crawler_reclaimed_total": ("crawler_reclaimed", "counter"),
    "lru_crawler_items_checked_total": ("crawler_items_checked", "counter"),
    "lru_crawler_moves_to_cold_total": ("moves_to_cold", "counter"),
    "lru_crawler_moves_to_warm_total": ("moves_to_warm", "counter"),
    "lru_crawler_moves_within_lru_total": ("moves_within_lru", "counter"),
    "malloced_bytes": ("total_malloced", "gauge"),
    "accepting_connections": ("accepting_conns", "gauge"),
}
# Only with external storage.
FLASH = {
    "compact_lost_total": ("compact_lost", "counter"),
    "compact_rescued_total": ("compact_rescues", "counter"),
    "compact_skipped_total": ("compact_skipped", "counter"),
    "pages_allocated_total": ("page_allocs", "counter"),
    "pages_evicted_total": ("page_evictions", "counter"),
    "pages_reclaimed_total": ("page_reclaims", "counter"),
    "pages_free": ("pages_free", "gauge"),
    "pages_used": ("pages_used", "gauge"),
    "objects_evicted_total": ("objects_evicted", "counter"),
    "objects_read_total": ("objects_read", "counter"),
    "objects_written_total": ("objects_written", "counter"),
    "objects_used": ("objects_used", "gauge"),
    "bytes_evicted_total": ("bytes_evicted", "counter"),
    "bytes_written_total": ("bytes_written", "counter"),
    "bytes_read_total": ("bytes_read", "counter"),
    "bytes_used": ("bytes_used", "counter"),
    "bytes_fragmented": ("bytes_fragmented", "gauge"),
    "bytes_limit": ("limit_maxbytes", "gauge"),
    "io_queue_depth": ("io_queue", "gauge"),
}
SETTINGS = {
    "max_connections": "maxconns",
    "lru_crawler_enabled": "lru_crawler",
    "lru_crawler_sleep": "lru_crawler_sleep",
    "lru_crawler_to_crawl": "lru_crawler_tocrawl",
    "lru_crawler_maintainer_thread": "lru_maintainer_thread",
    "lru_crawler_hot_percent": "hot_lru_pct",
    "lru_crawler_warm_percent": "warm_lru_pct",
    "lru_crawler_hot_max_factor": "hot_max_factor",
    "lru_crawler_warm_max_factor": "warm_max_factor",
}
ITEMS = {
    "slab_current_items": ("number", "gauge"),
    "slab_items_age_seconds": ("age", "gauge"),
    "slab_items_crawler_reclaimed_total": ("crawler_reclaimed", "counter"),
    "slab_items_evicted_total": ("evicted", "counter"),
    "slab_items_evicted_nonzero_total": ("evicted_nonzero", "counter"),
    "slab_items_evicted_time_seconds": ("evicted_time", "counter"),
    "slab_items_evicted_unfetched_total": ("evicted_unfetched", "counter"),
    "slab_items_expired_unfetched_total": ("expired_unfetched", "counter"),
    "slab_items_outofmemory_total": ("outofmemory", "counter"),
    "slab_items_reclaimed_total": ("reclaimed", "counter"),
    "slab_items_tailrepairs_total": ("tailrepairs", "counter"),
    "slab_mem_requested_bytes": ("mem_requested", "counter"),
    "slab_items_moves_to_cold": ("moves_to_cold", "counter"),
    "slab_items_moves_to_warm": ("moves_to_warm", "counter"),
    "slab_items_moves_within_lru": ("moves_within_lru", "counter"),
    "slab_hot_items": ("number_hot", "gauge"),
    "slab_warm_items": ("number_warm", "gauge"),
    "slab_cold_items": ("number_cold", "gauge"),
    "slab_temporary_items": ("number_temp", "gauge"),
    "slab_hot_age_seconds": ("age_hot", "gauge"),
    "slab_warm_age_seconds": ("age_warm", "gauge"),
}
SLABS = {
    "slab_chunk_size_bytes": "chunk_size",
    "slab_chunks_per_page": "chunks_per_page",
    "slab_current_pages": "total_pages",
    "slab_current_chunks": "total_chunks",
    "slab_chunks_used": "used_chunks",
    "slab_chunks_free": "free_chunks",
    "slab_chunks_free_end": "free_chunks_end",
}
COMMANDS = ("get", "delete", "incr", "decr", "cas", "touch")


def number(value):
    return {"yes": 1.0, "no": 0.0}.get(value) if value in ("yes", "no") else float(value)


def expected():
    """What the exporter would show: value by name and labels, and types by name."""
    general, slabs, items = ask("stats"), ask("stats slabs"), ask("stats items")
    options = ask("stats settings")
    general["total_malloced"] = slabs["total_malloced"]
    values, types = {}, {}

    def put(name, kind, value, **labels):
        # The parser gives every counter the ending that OpenMetrics wants.
        if kind == "counter" and not name.endswith("_total"):
            name += "_total"
        values["memcached_" + name, tuple(sorted(labels.items()))] = number(value)
        types["memcached_" + name] = kind

    put("up", "gauge", 1)
    put("version", "gauge", 1, version=general["version"])
    for name, (stat, kind) in GENERAL.items():
        put(name, kind, general[stat])
    if "extstore_limit_maxbytes" in general:
        for name, (stat, kind) in FLASH.items():
            put("extstore_" + name, kind, general["extstore_" + stat])
    for command in COMMANDS:
        put("commands_total", "counter", general[command + "_hits"], command=command, status="hit")
        put("commands_total", "counter", general[command + "_misses"], command=command, status="miss")
    put("commands_total", "counter", general["cas_badval"], command="cas", status="badval")
    put("commands_total", "counter", general["cmd_flush"], command="flush", status="hit")
    cas = sum(int(general["cas_" + of]) for of in ("misses", "hits", "badval"))
    put("commands_total", "counter", int(general["cmd_set"]) - cas, command="set", status="hit")
    for name, stat in SETTINGS.items():
        put(name, "gauge", options[stat])
    for key, value in items.items():
        slab, stat = re.fullmatch(r"items:(\d+):(\w+)", key).groups()
        for name, (of, kind) in ITEMS.items():
            if of == stat:
                put(name, kind, value, slab=slab)
        if lru := {"hits_to_hot": "hot", "hits_to_warm": "warm", "hits_to_cold": "cold", "hits_to_temp": "temporary"}.get(stat):
            put("slab_lru_hits_total", "counter", value, slab=slab, lru=lru)
    classes = {}
    for key, value in slabs.items():
        if match := re.fullmatch(r"(\d+):(\w+)", key):
            classes.setdefault(match[1], {})[match[2]] = value
    for slab, of in classes.items():
        for name, stat in SLABS.items():
            put(name, "gauge", of[stat], slab=slab)
        for command in COMMANDS:
            put("slab_commands_total", "counter", of[command + "_hits"], slab=slab, command=command, status="hit")
        put("slab_commands_total", "counter", of["cas_badval"], slab=slab, command="cas", status="badval")
        stores = int(of["cmd_set"]) - int(of["cas_hits"]) - int(of["cas_badval"])
        put("slab_commands_total", "counter", stores, slab=slab, command="set", status="hit")
    return values, types


send(b"set metrics:a 0 0 1\r\n1\r\nget metrics:a\r\nincr metrics:a 1\r\ndelete metrics:none\r\n", 6)
send(b"set metrics:b 0 0 3000\r\n" + b"b" * 3000 + b"\r\n", 1)
before, kinds = expected()
with urllib.request.urlopen(f"http://127.0.0.1:{os.environ['METRICS_PORT']}/metrics", timeout=5) as answer:
    content_type, page = answer.headers["Content-Type"], answer.read().decode()
after, _ = expected()
families = list(text_string_to_metric_families(page))
samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


@check("the answer is of Prometheus's type")
def _():
    same(content_type, "text/plain; version=0.0.4; charset=utf-8")


@check("each metric is there once")
def _():
    same(len({family.name for family in families}), len(families))
    same(sum(len(family.samples) for family in families), len(samples))


@check("what the exporter shows is there, and no more under its name")
def _():
    same({key for key in samples if key[0].startswith("memcached_")}, set(before))


@check("values are those of stats")
def _():
    wrong = {
        key: (before[key], samples[key], after[key])
        for key in before
        if not min(before[key], after[key]) <= samples[key] <= max(before[key], after[key])
    }
    same(wrong, {})
    same(samples["memcached_commands_total", (("command", "incr"), ("status", "hit"))] > 0, True)


@check("types are the exporter's")
def _():
    types = {}
    for family in families:
        for sample in family.samples:
            types[sample.name] = family.type
    same({name: kind for name, kind in types.items() if name.startswith("memcached_")}, kinds)


@check("everything has a help text")
def _():
    same([family.name for family in families if not family.documentation], [])


@check("memory adds up")
def _():
    part = {dict(labels).get("part"): value for (name, labels), value in samples.items() if name == "memcrsd_memory_bytes"}
    same(part["segments"] + part["large"] + part["index"] + part["ghosts"], part["used"])
    replicas = [value for (name, _), value in samples.items() if name == "memcrsd_index_bytes"]
    same(sum(replicas), part["index"])
    rings = [value for (name, _), value in samples.items() if name == "memcrsd_replica_rings"]
    same(sum(rings), samples["memcrsd_rings", ()])


@check("histograms grow from bucket to bucket")
def _():
    commands = {dict(labels)["command"] for name, labels in samples if name == "memcrsd_request_seconds_count"}
    assert {"get", "set", "delete", "other"} <= commands, commands
    for command in commands:
        buckets = sorted(
            (float(dict(labels)["le"]), value)
            for (name, labels), value in samples.items()
            if name == "memcrsd_request_seconds_bucket" and dict(labels)["command"] == command
        )
        values = [value for _, value in buckets]
        same(values, sorted(values))
        same(values[-1], samples["memcrsd_request_seconds_count", (("command", command),)])


finish()
