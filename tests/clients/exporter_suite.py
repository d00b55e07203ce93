"""What prometheus/memcached_exporter 0.16.0 reads, by its rules.

Source: memcached_exporter pkg/exporter/exporter.go: `stats`, `stats slabs`, `stats items`, `stats settings` in this
order on one connection; a value that is there must be a number.
"""

import re

from gomemcache import ask, send
from suite import check, finish, same

GLOBAL = """version uptime time rusage_user rusage_system get_hits get_misses delete_hits delete_misses incr_hits
incr_misses decr_hits decr_misses cas_hits cas_misses cas_badval touch_hits touch_misses cmd_set cmd_flush bytes
limit_maxbytes curr_items total_items bytes_read bytes_written curr_connections total_connections rejected_connections
conn_yields listen_disabled_num evictions reclaimed store_too_large store_no_memory lru_crawler_starts direct_reclaims
crawler_items_checked crawler_reclaimed moves_to_cold moves_to_warm moves_within_lru accepting_conns""".split()
ITEMS = """number age hits_to_hot hits_to_warm hits_to_cold hits_to_temp crawler_reclaimed evicted evicted_nonzero
evicted_time evicted_unfetched expired_unfetched outofmemory reclaimed tailrepairs mem_requested moves_to_cold
moves_to_warm moves_within_lru number_hot number_warm number_cold age_hot age_warm""".split()
SLABS = """chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks free_chunks_end cmd_set get_hits
delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits""".split()
# After extstore_; only with external storage.
FLASH = (
    "compact_lost compact_rescues compact_skipped page_allocs page_evictions page_reclaims pages_free pages_used "
    "objects_evicted objects_read objects_written objects_used bytes_evicted bytes_written bytes_read bytes_used "
    "bytes_fragmented limit_maxbytes io_queue"
).split()
SETTINGS = """maxconns lru_crawler lru_crawler_sleep lru_crawler_tocrawl lru_maintainer_thread hot_lru_pct
warm_lru_pct hot_max_factor warm_max_factor""".split()

send(b"set exporter:key 0 0 5\r\nhello\r\nget exporter:key\r\n", 4)
general, slabs, items, options = (ask(c) for c in ("stats", "stats slabs", "stats items", "stats settings"))


def group(values, pattern):
    """Values by class number."""
    classes = {}
    for name, value in values.items():
        if match := re.fullmatch(pattern, name):
            classes.setdefault(int(match[1]), {})[match[2]] = value
    return classes


item_classes = group(items, r"items:(\d+):(\w+)")
slab_classes = group(slabs, r"(\d+):(\w+)")


@check("every general value is there")
def _():
    same([name for name in GLOBAL if name not in general], [])


@check("general values are numbers")
def _():
    for name in GLOBAL:
        if name not in ("version", "rusage_user", "rusage_system"):
            float(general[name])


@check("rusage is seconds.microseconds")
def _():
    for name in ("rusage_user", "rusage_system"):
        assert re.fullmatch(r"\d+\.\d{6}", general[name]), general[name]


@check("the version has no space and a major number")
def _():
    assert re.fullmatch(r"[1-9]\d*\.\d+\.\d+", general["version"]), general["version"]


@check("items by class")
def _():
    assert item_classes
    for values in item_classes.values():
        same([name for name in ITEMS if name not in values], [])
        for name in ITEMS:
            float(values[name])


@check("slabs by class")
def _():
    assert slab_classes
    for values in slab_classes.values():
        same([name for name in SLABS if name not in values], [])
        for name in SLABS:
            float(values[name])


@check("slab totals")
def _():
    float(slabs["total_malloced"])
    same(int(slabs["active_slabs"]), len(slab_classes))


@check("settings")
def _():
    same([name for name in SETTINGS if name not in options], [])
    float(options["maxconns"])
    assert options["lru_crawler"] in ("yes", "no")
    assert options["lru_maintainer_thread"] in ("yes", "no")


@check("an item's class is in both tables")
def _():
    assert set(item_classes) <= set(slab_classes), (item_classes.keys(), slab_classes.keys())


@check("storage values are all there or none, and there are no proxy values")
def _():
    found = [name for name in general if name.startswith("extstore_")]
    same([name for name in FLASH if found and "extstore_" + name not in found], [])
    for name in found:
        float(general[name])
    assert "proxy_backend_total" not in general


finish()
