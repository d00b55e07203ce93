"""Servers and proxies for tests of several nodes: started here, waited for, ended by their pid.

Every node has a loopback address of its own, 127.A.B.N with A and B from this process's id, so that a port the kernel
gives out there stays free for the node's successor, whatever else runs on the machine.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time

SECONDS_MAX = 30
ROOT = ["-u", "root"] if os.geteuid() == 0 else []
MEMCRSD = os.environ["MEMCRSD_UNDER_TEST"]
PROGRAMS = {"memcached": os.environ["MEMCACHED"], "memcrsd": MEMCRSD}

# timeout(1) ends the suite with TERM: leave by an exception, so that `with` ends the children.
signal.signal(signal.SIGTERM, lambda *_: exit(1))


def until(what, condition):
    """Looks at `condition` until it is true, and returns what it gave."""
    deadline = time.monotonic() + SECONDS_MAX
    while not (found := condition()):
        assert time.monotonic() < deadline, f"timed out waiting until {what}"
        time.sleep(0.005)
    return found


def address(number):
    pid = os.getpid()
    return f"127.{1 + (pid >> 8) % 250}.{pid % 256}.{number}"


def free_port(host):
    with socket.create_server((host, 0)) as listener:
        return listener.getsockname()[1]


class Process:
    """A child that listens on `host:port`; ready when it accepts there."""

    def __init__(self, number):
        self.host = address(number)
        self.port = free_port(self.host)
        self.child = None

    def run(self, *command):
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until(f"{command} accepts", self.accepts)

    def accepts(self):
        assert self.child.poll() is None, f"{self.child.args} ended with {self.child.returncode}"
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1) as stream:
            return self.is_mine(stream)
        return False

    def is_mine(self, _stream):
        """Whether it is the child that has accepted."""
        return True

    def stop(self, how=signal.SIGTERM):
        """Ends the child, which may be stopped already."""
        if self.child and self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(SECONDS_MAX)
            finally:
                self.child.kill()
        self.child = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)


class Node(Process):
    """One server of a fleet; what it runs can be replaced, its address stays."""

    def is_mine(self, stream):
        # A killed predecessor on io_uring listens for some milliseconds more.
        stream.sendall(b"stats\r\n")
        return f"STAT pid {self.child.pid}\r\n".encode() in stream.recv(1 << 16)

    def start(self, kind):
        self.run(PROGRAMS[kind], *ROOT, "-l", self.host, "-p", str(self.port), "-U", "0", "-t", "2", "-m", "64")

    def __str__(self):
        return f"{self.host}:{self.port}"


@contextlib.contextmanager
def fleet(*kinds):
    """Running nodes, one of each kind."""
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Node(1 + index)) for index in range(len(kinds))]
        for node, kind in zip(nodes, kinds):
            node.start(kind)
        yield nodes


@contextlib.contextmanager
def nutcracker(directory, nodes):
    """twemproxy in front of `nodes`: ketama, a dead node is left out and tried again 300 ms later."""
    with Process(101) as proxy, Process(102) as statistics:
        config = os.path.join(directory, "nutcracker.yml")
        with open(config, "w") as file:
            servers = "".join(f"    - {node}:1\n" for node in nodes)
            file.write(f"""fleet:
  listen: {proxy.host}:{proxy.port}
  hash: fnv1a_64
  distribution: ketama
  auto_eject_hosts: true
  timeout: 2000
  server_retry_timeout: 300
  server_failure_limit: 1
  servers:
{servers}""")
        files = {"-c": config, "-o": f"{directory}/nutcracker.log", "-p": f"{directory}/nutcracker.pid"}
        proxy.run("nutcracker", *sum(files.items(), ()), "-a", statistics.host, "-s", str(statistics.port))
        yield proxy


@contextlib.contextmanager
def haproxy(directory, first, second):
    """HAProxy in front of two nodes, of which the second serves while the first is down."""
    with Process(103) as proxy:
        config = os.path.join(directory, "haproxy.cfg")
        with open(config, "w") as file:
            file.write(f"""defaults
  mode tcp
  timeout connect 2s
  timeout client 30s
  timeout server 30s
listen memcache
  bind {proxy.host}:{proxy.port}
  option tcp-check
  tcp-check send version\\r\\n
  tcp-check expect rstring ^VERSION
  default-server inter 100ms fall 2 rise 2
  server first {first} check
  server second {second} check backup
""")
        proxy.run("haproxy", "-db", "-q", "-f", config)
        yield proxy
