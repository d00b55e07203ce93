#!/bin/sh
# memtier_benchmark against memcrsd and memcached in turn: both protocols, sets to gets 1:10, several sizes, pipelines.
#
#   perf/memtier.sh [SECONDS]          each run takes so long (default 3)
#   SIZES="32 1024" PIPELINES="1 16" PROTOCOLS="memcache_text" perf/memtier.sh
set -eu

if ! command -v memtier_benchmark >/dev/null; then
    cat >&2 <<'TEXT'
memtier_benchmark is not installed, and Debian does not package it. To build it:
  apt-get install build-essential autoconf automake pkg-config libevent-dev zlib1g-dev libssl-dev
  git clone https://github.com/RedisLabs/memtier_benchmark && cd memtier_benchmark
  autoreconf -ivf && ./configure && make && make install
`just bench` measures the same things without it.
TEXT
    exit 1
fi

seconds=${1:-3}
# A free port: what the kernel gives out now.
port=${PORT:-$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:0")->sockport')}
target=${CARGO_TARGET_DIR:-target}
last=$(($(nproc) - 1))
user=$([ "$(id -u)" = 0 ] && echo "-u root" || true)

for server in "$target/release/memcrsd" memcached; do
    # $user is two words.
    # shellcheck disable=SC2086
    taskset -c 0 "$server" -p "$port" -t 1 -m 1024 -c 4096 -U 0 -l 127.0.0.1 $user &
    pid=$!
    trap 'kill $pid' EXIT
    for protocol in ${PROTOCOLS:-memcache_text memcache_binary}; do
        for size in ${SIZES:-32 100 1024 10240}; do
            for pipeline in ${PIPELINES:-1 16}; do
                echo "== $(basename "$server") $protocol, $size bytes, pipeline $pipeline"
                taskset -c "$last" memtier_benchmark -s 127.0.0.1 -p "$port" -P "$protocol" --ratio 1:10 \
                    -d "$size" --pipeline "$pipeline" -t 1 -c 50 --test-time "$seconds" --hide-histogram \
                    --reconnect-on-error --max-reconnect-attempts 20 2>/dev/null |
                    grep -E '^(Type|Sets|Gets|Totals)'
            done
        done
    done
    kill "$pid"
    trap - EXIT
    wait "$pid" || true
done
