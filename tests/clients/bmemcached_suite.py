"""python-binary-memcached: the binary protocol as Django and Datadog's agent use it."""

import bmemcached

from suite import PORT, check, finish, same

client = bmemcached.Client((f"127.0.0.1:{PORT}",))
client.flush_all()


@check("set and get")
def _():
    assert client.set("a", "text")
    same(client.get("a"), "text")
    assert client.set("int", 42)
    same(client.get("int"), 42)
    assert client.set("bytes", b"\x00\xff\r\n")
    same(client.get("bytes"), b"\x00\xff\r\n")
    assert client.set("list", [1, {"b": 2}])
    same(client.get("list"), [1, {"b": 2}])


@check("get of nothing")
def _():
    same(client.get("none"), None)


@check("gets and cas")
def _():
    value, cas = client.gets("a")
    same(value, "text")
    assert cas > 0
    assert client.cas("a", "other", cas)
    assert not client.cas("a", "third", cas)
    same(client.get("a"), "other")


@check("add")
def _():
    assert not client.add("a", "x")
    assert client.add("added", "x")


@check("replace")
def _():
    assert client.replace("a", "x")
    assert not client.replace("none", "x")


@check("set_multi and get_multi")
def _():
    client.set_multi({f"m{i}": i for i in range(500)})
    same(client.get_multi([f"m{i}" for i in range(600)]), {f"m{i}": i for i in range(500)})


@check("get_multi with cas")
def _():
    found = client.get_multi(["m1", "none"], get_cas=True)
    same(found["m1"][0], 1)
    assert found["m1"][1] > 0


@check("delete")
def _():
    assert client.delete("added")
    same(client.get("added"), None)
    client.delete("added")


@check("delete_multi")
def _():
    client.delete_multi([f"m{i}" for i in range(500)])
    same(client.get_multi([f"m{i}" for i in range(500)]), {})


@check("incr and decr")
def _():
    same(client.incr("counter", 10, default=5), 5)
    same(client.incr("counter", 10), 15)
    same(client.decr("counter", 100), 0)


@check("touch by setting a time")
def _():
    assert client.set("t", "x", time=1000)
    same(client.get("t"), "x")


@check("compressed values")
def _():
    value = "abc" * 100000
    assert client.set("large", value, compress_level=6)
    same(client.get("large"), value)


@check("large values")
def _():
    value = bytes(range(256)) * 4000
    assert client.set("large", value, compress_level=0)
    same(client.get("large"), value)


@check("too large")
def _():
    try:
        client.set("huge", b"x" * (1 << 20), compress_level=0)
    except bmemcached.exceptions.MemcachedException as error:
        assert "Too large." in str(error), error
    else:
        raise AssertionError("stored")
    same(client.get("huge"), None)


@check("long keys")
def _():
    assert client.set("k" * 250, "v")
    same(client.get("k" * 250), "v")


@check("stats")
def _():
    (stats,) = client.stats().values()
    assert int(stats[b"curr_items"] if b"curr_items" in stats else stats["curr_items"]) > 0


@check("stats items, slabs, settings")
def _():
    for kind in ("items", "slabs", "settings"):
        (stats,) = client.stats(kind).values()
        assert stats, kind


@check("flush_all")
def _():
    assert client.flush_all()
    same(client.get("a"), None)


client.disconnect_all()
finish()
