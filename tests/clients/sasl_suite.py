"""python-binary-memcached with a user and a password: the server was started with -S and knows `joe:secret`."""

import bmemcached

from suite import PORT, check, finish, same

SERVERS = (f"127.0.0.1:{PORT}",)


@check("set and get after a login")
def _():
    client = bmemcached.Client(SERVERS, "joe", "secret")
    assert client.set("a", "text")
    same(client.get("a"), "text")
    stats = client.stats()[f"127.0.0.1:{PORT}"]
    assert int(stats["auth_cmds"]) >= 1


@check("many keys after a login")
def _():
    client = bmemcached.Client(SERVERS, "joe", "secret")
    client.set_multi({f"m{i}": i for i in range(500)})
    same(client.get_multi([f"m{i}" for i in range(600)]), {f"m{i}": i for i in range(500)})


@check("a wrong password is refused")
def _():
    client = bmemcached.Client(SERVERS, "joe", "wrong")
    try:
        client.get("a")
    except bmemcached.exceptions.MemcachedException as refusal:
        same(refusal.code, 0x20)
        return
    raise AssertionError("let in")


@check("nobody gets anything without a login")
def _():
    client = bmemcached.Client(SERVERS)
    try:
        found = client.get("a")
    except bmemcached.exceptions.MemcachedException:
        return
    same(found, None)


finish()
