"""Django's cache and session framework over both of its memcached backends."""

import django
from django.conf import settings

from suite import PORT, check, finish, same

BACKENDS = ("PyMemcacheCache", "PyLibMCCache")
settings.configure(
    CACHES={
        ("default" if name == BACKENDS[0] else name): {
            "BACKEND": f"django.core.cache.backends.memcached.{name}",
            "LOCATION": f"127.0.0.1:{PORT}",
            "KEY_PREFIX": name,
        }
        for name in BACKENDS
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SECRET_KEY="not a secret",
)
django.setup()

from importlib import import_module  # noqa: E402

from django.core.cache import caches  # noqa: E402
from django.test.utils import override_settings  # noqa: E402

for alias in ("default", BACKENDS[1]):
    cache = caches[alias]
    cache.clear()

    @check(f"{alias}: set and get")
    def _():
        cache.set("a", {"x": [1, 2]}, 300)
        same(cache.get("a"), {"x": [1, 2]})
        same(cache.get("none", "default"), "default")

    @check(f"{alias}: add")
    def _():
        assert not cache.add("a", 1)
        assert cache.add("b", 1)

    @check(f"{alias}: many")
    def _():
        same(cache.set_many({f"m{i}": i for i in range(300)}), [])
        same(cache.get_many([f"m{i}" for i in range(400)]), {f"m{i}": i for i in range(300)})
        cache.delete_many([f"m{i}" for i in range(300)])
        same(cache.get_many([f"m{i}" for i in range(300)]), {})

    @check(f"{alias}: incr and decr")
    def _():
        cache.set("n", 10)
        same(cache.incr("n", 5), 15)
        same(cache.decr("n", 20), 0)

    @check(f"{alias}: incr of nothing")
    def _():
        try:
            cache.incr("none")
        except ValueError:
            return
        raise AssertionError("no ValueError")

    @check(f"{alias}: touch")
    def _():
        assert cache.touch("a", 600)
        assert not cache.touch("none", 600)

    @check(f"{alias}: no timeout, zero timeout")
    def _():
        cache.set("forever", 1, None)
        same(cache.get("forever"), 1)
        cache.set("never", 1, 0)
        same(cache.get("never"), None)

    @check(f"{alias}: delete")
    def _():
        assert cache.delete("a")
        assert not cache.delete("a")

    @check(f"{alias}: too large is not stored")
    def _():
        try:
            cache.set("huge", b"x" * (1 << 20))
        except Exception as error:
            assert "too large" in str(error) or type(error).__name__ == "TooBig", repr(error)
        same(cache.get("huge"), None)

    @check(f"{alias}: sessions")
    def _():
        with override_settings(SESSION_CACHE_ALIAS=alias):
            store = import_module("django.contrib.sessions.backends.cache").SessionStore
            session = store()
            session["user"] = 7
            session.save()
            again = store(session.session_key)
            same(again["user"], 7)
            again.cycle_key()
            assert not store().exists(session.session_key)
            again.delete()
            same(store(again.session_key).load(), {})

finish()
