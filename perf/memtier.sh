#!/bin/sh
# memtier_benchmark against memcrsd and memcached in turn: both protocols, sets to gets 1:10, several sizes, pipelines.
#
#   perf/memtier.sh [SECONDS]          length of each run (default 3)
#   SIZES="32 1024" PIPELINES="1 16" PROTOCOLS="memcache_text" perf/memtier.sh
set -eu

if ! command -v memtier_benchmark >/dev/null; then
    cat >&2 <<'TEXT'
memtier_benchmark is not installed, and Debian 12 does not package it. To build it:
  apt-get install build-essential autoconf automake pkg-config libevent-dev zlib1g-dev libssl-dev
  git clone https://github.com/RedisLabs/memtier_benchmark && cd memtier_benchmark
  autoreconf -ivf && ./configure && make && make install
`just bench` measures the same things without it.
TEXT
    exit 1
fi

seconds=${1:-3}
target=${CARGO_TARGET_DIR:-target}
last=$(($(nproc) - 1))
user=$([ "$(id -u)" = 0 ] && echo "-u root" || true)
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$dir"' EXIT

# memtier FLAGS...: one run over the same 100,000 keys
memtier() {
    taskset -c "$last" memtier_benchmark -s 127.0.0.1 -p "$port" -t 1 -c 50 --hide-histogram \
        --key-minimum 1 --key-maximum 100000 "$@" >"$dir/result" 2>"$dir/errors" || { cat "$dir/errors" >&2; exit 1; }
}

for server in "$target/release/memcrsd" "$(tests/yardstick path)"; do
    # $user is two words.
    # shellcheck disable=SC2086
    MEMCACHED_PORT_FILENAME="$dir/port" taskset -c 0 "$server" -p -1 -t 1 -m 2048 -c 4096 -U 0 -l 127.0.0.1 $user &
    pid=$!
    # The file appears when the server listens.
    until [ -s "$dir/port" ]; do kill -0 "$pid" && sleep 0.05; done
    port=$(sed -n 's/^TCP INET: //p' "$dir/port")
    for protocol in ${PROTOCOLS:-memcache_text memcache_binary}; do
        for size in ${SIZES:-32 100 1024 10240}; do
            # All keys once, so that gets find something.
            memtier -P "$protocol" -d "$size" --ratio 1:0 --key-pattern P:P -n allkeys
            for pipeline in ${PIPELINES:-1 16}; do
                echo "== $(basename "$server") $protocol, $size bytes, pipeline $pipeline"
                memtier -P "$protocol" -d "$size" --ratio 1:10 --pipeline "$pipeline" --test-time "$seconds"
                grep -E '^(Type|Sets|Gets|Totals)' "$dir/result"
            done
        done
    done
    kill "$pid"
    wait "$pid" || true
    pid=
    rm -f "$dir/port"
done
