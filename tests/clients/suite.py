"""Prints `ok` or `not ok` for each check of a client script; tests/clients/run counts the lines."""

import sys
import traceback

PORT = int(sys.argv[1])
FAILED = []


def check(name):
    """Runs the decorated function at once and reports it."""

    def run(function):
        try:
            function()
        except Exception:
            FAILED.append(name)
            print(f"not ok {name}: " + traceback.format_exc().replace("\n", "\n    "))
        else:
            print(f"ok {name}")
        return function

    return run


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def finish():
    sys.exit(bool(FAILED))
