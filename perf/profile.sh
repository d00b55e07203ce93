#!/bin/sh
# Profiles a server while `perf load` runs against it.
#
#   perf/profile.sh record    [LOAD FLAGS]   CPU profile; a flamegraph when inferno is installed
#   perf/profile.sh stat      [LOAD FLAGS]   hardware counters
#   perf/profile.sh callgrind [LOAD FLAGS]   instructions per request
#   perf/profile.sh turns     [LOAD FLAGS]   the ring's longest turns: time between two io_uring_enter, and within one
#
# The server has -t 1 and MEMORY MiB (default: 1024): `MEMORY=64 perf/profile.sh turns --op set --choice sequential --keys
# 3000000 --requests 3000000 --no-preload --value-bytes 10 --connections 10 --depth 4` shows what eviction costs at worst.
# The server is SERVER (default: memcrsd of the target directory), e.g. SERVER=$(tests/yardstick path), and has the FLAGS besides;
# results go to perf/out.
set -eu

mode=${1:?record, stat, callgrind or turns}
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
flags="-p $port -t 1 -m ${MEMORY:-1024} -c $conns -U 0 -l 127.0.0.1 $user ${FLAGS:-}"
mkdir -p "$out"

# start WRAPPER...: the server under a wrapper, on core 0; returns when it answers
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
    # Written now, and killed: a thread that waits in io_uring_enter keeps all others from running under valgrind (seen
    # with 3.19), the one that waits for signals among them.
    callgrind_control -d "$pid" >/dev/null
    trap - EXIT
    kill -KILL "$pid"
    wait "$pid" || true
    total=$(sed -n 's/^\(summary\|totals\): \([0-9]*\).*/\2/p' "$out/callgrind.out.1" | tail -1)
    echo "instructions per request, user mode: $((total / requests))"
    callgrind_annotate "$out/callgrind.out.1" 2>/dev/null | grep -E '^ *[0-9,]+ \(' | head -25
    ;;
turns)
    start env
    ring=$(grep -lx ring-0 /proc/"$pid"/task/*/comm | cut -d/ -f5)
    # The pages of the buffer first: taking them would show as turns.
    taskset -c "$last" perf record -q -m 8192 -t "$ring" -o "$out/turns.data" \
        -e syscalls:sys_enter_io_uring_enter,syscalls:sys_exit_io_uring_enter,sched:sched_switch -- \
        $load --server "127.0.0.1:$port" --quiet "$@"
    # A wait in the kernel shows as a switch: only what the ring did itself counts.
    perf script -i "$out/turns.data" -F time,event 2>/dev/null | tr -d : | awk '
        function longer(kind, ms) { count[kind]++; sum[kind] += ms; if (ms > most[kind]) most[kind] = ms }
        { event = $2; time = $1 * 1e3 }
        event ~ /sys_enter/ && before ~ /sys_exit/ { longer("own", time - at) }
        event ~ /sys_exit/ && before ~ /sys_enter/ { longer("kernel", time - at) }
        { before = event; at = time }
        END {
            for (kind in count)
                printf "turns, %s part: %d, mean %.3f ms, longest %.2f ms\n", kind, count[kind], sum[kind] / count[kind], most[kind]
        }'
    ;;
*)
    echo "record, stat, callgrind or turns, not $mode" >&2
    exit 1
    ;;
esac
