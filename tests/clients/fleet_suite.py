"""Several nodes behind twemproxy, behind HAProxy and behind pylibmc's ketama: memcached, memcrsd, and both mixed.

A key must lie on the same node whatever the nodes run, a node that dies must cost its share and nothing more, and no
client may be given part of a reply.
"""

import hashlib
import signal
import socket
import tempfile
import threading

import pylibmc
from fleet import fleet, haproxy, nutcracker, until
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from suite import check, finish, same

KINDS = {
    "memcached": ("memcached", "memcached", "memcached"),
    "mixed": ("memcached", "memcrsd", "memcached"),
    "memcrsd": ("memcrsd", "memcrsd", "memcrsd"),
}
# Keys that differ all over: twemproxy's fnv1a puts keys that differ in their last digits only on one node.
VALUES = {f"{hashlib.sha1(bytes([n % 256, n // 256])).hexdigest()}:fleet": f"value {n} " * (n % 50) for n in range(600)}
directory = tempfile.TemporaryDirectory()


def direct(node):
    """A client of one node. It reads the text that any client wrote."""
    return Client((node.host, node.port), timeout=10, deserializer=lambda _key, value, _flags: value.decode())


def placement(nodes):
    """For each key the nodes that have it."""
    held = [direct(node).get_many(VALUES) for node in nodes if node.child]
    return {key: [index for index, found in enumerate(held) if key in found] for key in VALUES}


def agree(found, expected):
    """Compares two mappings; only some of what differs goes into the message."""
    keys = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    same([(key, found.get(key), expected.get(key)) for key in keys[:3]], [])


def comes_to_be(what, find, expected):
    """Looks until `find` gives what is expected: a proxy may leave out, or try again, any node in the middle of an action."""
    try:
        until(what, lambda: find() == expected)
    except AssertionError:
        agree(find() or {}, expected)
        raise


def flush(nodes):
    for node in nodes:
        direct(node).flush_all(noreply=False)


def replace(nodes, kinds):
    """Another server on each address, as in a migration. Killed, since memcached takes a second to end otherwise."""
    for node, kind in zip(nodes, kinds):
        node.stop(signal.SIGKILL)
        node.start(kind)


def stored_anew(nodes, keys):
    """Where the keys lie after they were stored on empty nodes, or None if not all of them were."""
    flush(nodes)
    return placement(nodes) if keys.store() else None


def lost_and_found(nodes, keys, home):
    """One node dies and comes back empty; `home` is where each key lies while all nodes live."""
    dead = nodes[1]
    share = {key for key in VALUES if home[key] == [1]}
    assert 0.1 * len(VALUES) < len(share) < 0.6 * len(VALUES), len(share)
    dead.stop(signal.SIGKILL)
    rest = {key: value for key, value in VALUES.items() if key not in share}
    comes_to_be("the dead node is left out", keys.read, rest)
    comes_to_be("the others take its share", lambda: keys.store() and keys.read(), VALUES)
    dead.start("memcrsd")
    comes_to_be("the node that is back has its share", lambda: stored_anew(nodes, keys), home)
    comes_to_be("all is read", keys.read, VALUES)


def attempt(action, *failures):
    """What the action gives, or None while nodes are away."""
    try:
        return action()
    except failures:
        return None


class Proxied:
    """All keys through twemproxy; a connection for each action, since a proxy may close one."""

    def __init__(self, proxy):
        self.proxy = proxy

    def client(self):
        return Client((self.proxy.host, self.proxy.port), timeout=10, default_noreply=False)

    def store(self):
        return attempt(lambda: self.client().set_many(VALUES) == [], OSError, MemcacheError)

    def read(self):
        found = attempt(lambda: self.client().get_many(VALUES), OSError, MemcacheError)
        return found if found is None else {key: value.decode() for key, value in found.items()}


class Hashed:
    """All keys through pylibmc, which hashes them over the nodes.

    In text one client lives through all that happens to the nodes. In binary libmemcached does not find its way back
    to a node that was away, whatever runs there, so each action has a client of its own.
    """

    BEHAVIORS = {"ketama": True, "remove_failed": 1, "retry_timeout": 1, "dead_timeout": 1}

    def __init__(self, nodes, binary):
        def connect():
            return pylibmc.Client([str(node) for node in nodes], binary=binary, behaviors=self.BEHAVIORS)

        lasting = connect()
        self.client = connect if binary else lambda: lasting

    def store(self):
        return attempt(lambda: self.client().set_multi(VALUES) == [], pylibmc.Error)

    def read(self):
        return attempt(lambda: self.client().get_multi(list(VALUES)), pylibmc.Error)


def is_placed_as_by_memcached(way, name, nodes, keys):
    """Writes through `keys` to a fleet, and compares where the keys lie with where the first fleet had them."""

    @check(f"{way}, {name}: all keys are written and read")
    def _():
        def is_stored():
            where = stored_anew(nodes, keys)
            return where and {index for held in where.values() for index in held} == {0, 1, 2} and keys.read()

        comes_to_be("every node is used", is_stored, VALUES)

    @check(f"{way}, {name}: every key lies where memcached's fleet has it")
    def _():
        if way not in homes:
            homes[way] = stored_anew(nodes, keys)
            assert all(len(where) == 1 for where in homes[way].values())
        comes_to_be("all keys are at home", lambda: stored_anew(nodes, keys), homes[way])


class Reader(threading.Thread):
    """Reads one large value over and over, `DEPTH` requests in flight, on a new connection when one ends.

    What is in flight when a server stops has half a second to arrive. Most of it must fit into the sockets' buffers, so
    that a machine too slow to read it in that time does not make a reply end early.
    """

    DEPTH = 8
    VALUE = bytes(range(256)) * 1000
    REPLY = b"VALUE large 0 %d\r\n%s\r\nEND\r\n" % (len(VALUE), VALUE)

    def __init__(self, proxy):
        super().__init__()
        self.proxy = proxy
        self.done = threading.Event()
        # Whole values, replies without one, connections that ended, and what was left of a reply when one did.
        self.hits = self.others = self.ends = 0
        self.rests = []
        self.start()

    def run(self):
        while not self.done.is_set():
            rest = attempt(self.connection, OSError)
            self.ends += 1
            if rest:
                self.rests.append(rest)

    def connection(self):
        """One connection to its end; returns the part of a reply that was left."""
        rest = b""
        with socket.create_connection((self.proxy.host, self.proxy.port), 10) as stream:
            stream.sendall(b"get large\r\n" * self.DEPTH)
            while not self.done.is_set():
                received = attempt(lambda: stream.recv(1 << 16), ConnectionResetError)
                if not received:
                    return rest[:100] if rest else None
                rest = self.replies(stream, rest + received)
        return None

    def replies(self, stream, received):
        """Counts the whole replies and asks again for each; returns what follows them."""
        while True:
            if received.startswith(self.REPLY):
                self.hits += 1
                size = len(self.REPLY)
            elif received.startswith((b"END\r\n", b"SERVER_ERROR ")) and b"\r\n" in received:
                self.others += 1
                size = received.index(b"\r\n") + 2
            else:
                assert self.REPLY.startswith(received) or len(received) < 50, received[:100]
                return received
            received = received[size:]
            stream.sendall(b"get large\r\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


homes = {}

with fleet(*KINDS["memcached"]) as nodes, nutcracker(directory.name, nodes) as proxy:
    keys = Proxied(proxy)
    for name, kinds in KINDS.items():
        if name != "memcached":
            replace(nodes, kinds)
        is_placed_as_by_memcached("twemproxy", name, nodes, keys)

    @check("twemproxy: arithmetic, cas, touch, delete, append")
    def _():
        client = keys.client()
        client.set("number", "10")
        same(client.incr("number", 5), 15)
        same(client.decr("number", 20), 0)
        _value, token = client.gets("number")
        same(client.cas("number", b"7", token), True)
        same(client.cas("number", b"8", token), False)
        same(client.append("number", "1"), True)
        same(client.get("number"), b"71")
        same(client.touch("number", 100), True)
        same(client.delete("number"), True)
        same(client.get("number"), None)
        same(client.add("number", "1"), True)

    @check("twemproxy: a node dies and comes back")
    def _():
        lost_and_found(nodes, keys, homes["twemproxy"])

    @check("twemproxy: no part of a reply while a node ends")
    def _():
        client = keys.client()
        client.set("large", Reader.VALUE)
        (home,) = [node for node in nodes if direct(node).touch("large", 0, noreply=False)]
        with Reader(proxy) as reader:
            until("values are read", lambda: reader.hits > 20)
            home.stop()
            until("other answers are read", lambda: reader.others > 20)
            home.start("memcrsd")
            hits = reader.hits

            def is_back():
                attempt(lambda: keys.client().set("large", Reader.VALUE), OSError, MemcacheError)
                return reader.hits > hits + 20

            until("the value is read again", is_back)
        same(reader.rests, [])


# pylibmc hashes by itself.

for binary in (False, True):
    way = f"pylibmc {'binary' if binary else 'text'}"
    with fleet(*KINDS["memcached"]) as nodes:
        keys = Hashed(nodes, binary)
        for name, kinds in KINDS.items():
            if name != "memcached":
                replace(nodes, kinds)
            is_placed_as_by_memcached(way, name, nodes, keys)

        if not binary:

            @check(f"{way}: a node dies and comes back")
            def _():
                lost_and_found(nodes, keys, homes[way])


# HAProxy: bytes as they come, to the first server or, while that is down, to the second.

with fleet("memcrsd", "memcrsd") as nodes, haproxy(directory.name, *nodes) as proxy:
    first, second = nodes

    def answers():
        """Which node serves a new connection."""
        client = Client((proxy.host, proxy.port), timeout=10, connect_timeout=10)
        return attempt(lambda: client.stats()[b"pid"], OSError, MemcacheError)

    @check("HAProxy: the first server is found well and serves")
    def _():
        until("the first serves", lambda: answers() == first.child.pid)

    @check("HAProxy: the second serves when the first ends, no part of a reply between them")
    def _():
        for node in nodes:
            direct(node).set("large", Reader.VALUE, noreply=False)
        with Reader(proxy) as one, Reader(proxy) as other:
            until("values are read", lambda: min(one.hits, other.hits) > 20)
            first.stop()
            hits = min(one.hits, other.hits)
            until("the second serves", lambda: answers() == second.child.pid)
            until("values are read from it", lambda: min(one.hits, other.hits) > hits + 20)
        assert one.ends and other.ends
        same(one.rests + other.rests, [])

    @check("HAProxy: the first serves when it is back")
    def _():
        first.start("memcrsd")
        until("the first serves", lambda: answers() == first.child.pid)


finish()
