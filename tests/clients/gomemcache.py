"""A connection that asks for statistics as memcached_exporter does, by its client's rules.

Source: grobie/gomemcache memcache.go: a line counts when one space splits it into exactly three parts; every answer
ends with END.
"""

import socket

from suite import PORT

connection = socket.create_connection(("127.0.0.1", PORT), timeout=5)
reader = connection.makefile("rb")


def send(commands, lines):
    """Sends commands and passes over the lines that answer them."""
    connection.sendall(commands)
    for _ in range(lines):
        reader.readline()


def ask(command):
    """Sends one stats command and keeps the lines of three parts."""
    connection.sendall(command.encode() + b"\r\n")
    found = {}
    for line in iter(reader.readline, b"END\r\n"):
        assert line.startswith(b"STAT ") and line.endswith(b"\r\n"), line
        parts = line[:-2].decode().split(" ")
        if len(parts) == 3:
            found[parts[1]] = parts[2]
    return found
