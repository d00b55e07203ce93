"""pymemcache over TLS: the server was started with -Z, and MEMCRSD_TLS_CA names the certificate that signed its own."""

import os
import ssl

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

from suite import PORT, check, finish, same

SERVER = ("localhost", PORT)
# A real address, so that the name in the certificate is the one that is checked.
CONTEXT = ssl.create_default_context(cafile=os.environ["MEMCRSD_TLS_CA"])


def client(kind=Client, server=SERVER, **options):
    return kind(server, tls_context=CONTEXT, timeout=30, connect_timeout=30, **options)


@check("set, get, delete, counters")
def _():
    c = client()
    assert c.set("a", b"text", noreply=False)
    same(c.get("a"), b"text")
    same(c.gets("none"), (None, None))
    assert c.add("n", b"1", noreply=False)
    same(c.incr("n", 41), 42)
    assert c.delete("a", noreply=False)
    same(c.get("a"), None)


@check("values larger than a record")
def _():
    c = client()
    for size in (0, 1, 16_384, 16_385, 100_000, 1_000_000):
        value = bytes(at % 251 for at in range(size))
        assert c.set(f"k{size}", value, noreply=False)
        same(c.get(f"k{size}"), value)


@check("many keys")
def _():
    c = client()
    values = {f"m{at}": b"%d" % at for at in range(1000)}
    same(c.set_many(values, noreply=False), [])
    same(c.get_many(list(values) + ["none"]), values)


@check("quiet commands, then an answer")
def _():
    c = client()
    for at in range(1000):
        c.set("quiet", b"%d" % at, noreply=True)
    same(c.get("quiet"), b"999")


@check("a pool of connections")
def _():
    c = client(PooledClient, max_pool_size=4)
    for at in range(100):
        c.set("pooled", b"%d" % at, noreply=False)
        same(c.get("pooled"), b"%d" % at)
    c.close()


@check("a ring of servers")
def _():
    c = client(HashClient, [SERVER])
    assert c.set("hashed", b"yes", noreply=False)
    same(c.get("hashed"), b"yes")


@check("statistics")
def _():
    stats = client().stats()
    same(stats[b"ssl_handshake_errors"], 0)


@check("TLS 1.2 and 1.3")
def _():
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=os.environ["MEMCRSD_TLS_CA"])
        context.minimum_version = context.maximum_version = version
        c = Client(SERVER, tls_context=context, timeout=30, connect_timeout=30)
        assert c.set("v", b"1", noreply=False)


@check("a client that does not know the certificate goes away")
def _():
    try:
        Client(SERVER, tls_context=ssl.create_default_context(), timeout=30).get("a")
    except ssl.SSLCertVerificationError:
        return
    raise AssertionError("trusted")


finish()
