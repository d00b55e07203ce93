#!/bin/sh
# Looks into a server while `perf load` runs against it.
#
#   perf/profile.sh record    [LOAD FLAGS]   CPU profile; a flamegraph when inferno is installed
#   perf/profile.sh stat      [LOAD FLAGS]   hardware counters
#   perf/profile.sh callgrind [LOAD FLAGS]   instructions per request, with and without the kernel's part left out
#
# The server is SERVER (default: memcrsd of the target directory), e.g. SERVER=memcached; results go to perf/out.
set -eu

mode=${1:?record, stat or callgrind}
shift
target=${CARGO_TARGET_DIR:-target}
load="$target/release/perf load"
server=${SERVER:-$target/release/memcrsd}
# A free port: what the kernel gives out now.
port=${PORT:-$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:0")->sockport')}
out=perf/out
last=$(($(nproc) - 1))
user=$([ "$(id -u)" = 0 ] && echo "-u root" || true)
conns=4096
if [ "$mode" = callgrind ]; then
    # Under valgrind the limit of open files cannot be moved, and memcached insists on setting it to -c.
    conns=1024
    ulimit -Sn $conns
fi
flags="-p $port -t 1 -m 1024 -c $conns -U 0 -l 127.0.0.1 $user"
mkdir -p "$out"

# start WRAPPER...: the server behind a wrapper, on core 0, ready when it answers
start() {
    # $flags is many words.
    # shellcheck disable=SC2086
    taskset -c 0 "$@" "$server" $flags &
    pid=$!
    trap 'kill $pid' EXIT
    # The first load waits for the port; it also sets the keys that the measured one reads.
    deadline=$(($(date +%s) + 30))
    until $load --server "127.0.0.1:$port" --requests 1 --quiet >"$out/warm.txt" 2>&1; do
        if ! kill -0 "$pid" 2>/dev/null || [ "$(date +%s)" -gt "$deadline" ]; then
            trap - EXIT
            cat "$out/warm.txt" >&2
            exit 1
        fi
    done
}

case $mode in
record)
    start env
    taskset -c "$last" perf record -q -F 1999 -g -p "$pid" -o "$out/perf.data" -- \
        $load --server "127.0.0.1:$port" --pid "$pid" --quiet "$@"
    if command -v inferno-flamegraph >/dev/null; then
        perf script -i "$out/perf.data" 2>/dev/null | inferno-collapse-perf | inferno-flamegraph >"$out/flame.svg"
        echo "$out/flame.svg"
    else
        echo "for a flamegraph: cargo install inferno"
    fi
    perf report -i "$out/perf.data" --no-children -g none --percent-limit 1 --stdio 2>/dev/null | grep -v '^#' | grep .
    ;;
stat)
    start env
    taskset -c "$last" perf stat -d -p "$pid" -- $load --server "127.0.0.1:$port" --pid "$pid" --quiet "$@"
    ;;
callgrind)
    requests=${REQUESTS:-100000}
    rm -f "$out"/callgrind.out*
    # Counting starts when the load does, so start-up and preload are not in it.
    start valgrind --quiet --tool=callgrind --instr-atstart=no --callgrind-out-file="$out/callgrind.out"
    callgrind_control -i on "$pid" >/dev/null
    $load --server "127.0.0.1:$port" --no-preload --requests "$requests" --quiet "$@"
    callgrind_control -i off "$pid" >/dev/null
    trap - EXIT
    kill "$pid"
    wait "$pid" || true
    total=$(sed -n 's/^\(summary\|totals\): \([0-9]*\).*/\2/p' "$out/callgrind.out" | tail -1)
    echo "instructions per request, user mode: $((total / requests))"
    callgrind_annotate "$out/callgrind.out" 2>/dev/null | grep -E '^ *[0-9,]+ \(' | head -25
    ;;
*)
    echo "record, stat or callgrind, not $mode" >&2
    exit 1
    ;;
esac
