#!/bin/bash
# Everything at once, for a while: three protocols, mixed sizes, TTLs, evictions, connects, flushes; every value is checked.
#
#   perf/soak.sh [MINUTES]             default 15
#   FLASH=4g perf/soak.sh [MINUTES]    with values on flash as well: a file of this size in TMPDIR, and keys to fill it
#
# Fails if a reply was wrong, if memory exceeded its bound or kept growing, if a pin, draft or connection is left once the
# load ends, or if the server does not stop within a second.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-15}
target=${CARGO_TARGET_DIR:-target}
memory=64 threads=4
dir=$(mktemp -d)
user=$([ "$(id -u)" = 0 ] && echo "-u root" || true)
flash=${FLASH:+-o ext_path=$dir/flash:$FLASH}
export MEMCACHED_PORT_FILENAME=$dir/port
# $user and $flash are two words each.
# shellcheck disable=SC2086
"$target/release/memcrsd" -p -1 -U 0 -l 127.0.0.1 -m $memory -t $threads -c 8192 $user $flash 2>"$dir/log" &
pid=$!
trap 'kill $pid 2>/dev/null || true; rm -rf "$dir"' EXIT
until [ -s "$dir/port" ]; do kill -0 $pid; read -rt 0.05 <> <(:) || true; done
port=$(sed -n 's/^TCP INET: //p' "$dir/port" | head -1)

ask() { exec 3<>"/dev/tcp/127.0.0.1/$port"; printf '%s\r\nquit\r\n' "$1" >&3; tr -d '\r' <&3; exec 3<&-; }
stat() { { ask stats; ask 'stats memcrsd'; } | awk -v name="$1" '$2 == name { print $3 }'; }
rss() { awk '/^VmRSS/ { print int($2 / 1024) }' /proc/$pid/status; }
log() { [ ! -s "$dir/log" ] || { echo "the server said:"; cat "$dir/log"; }; }
load() { "$target/release/perf" load --server "127.0.0.1:$port" --quiet --warmup 0.2 "$@" >>"$dir/out" 2>&1; }

end=$((SECONDS + minutes * 60)) round=0 first=0
while [ $SECONDS -lt $end ]; do
    round=$((round + 1))
    # Loads that disagree about an object's size would call each other's values wrong: their keys differ in length.
    loads=()
    for protocol in text binary meta; do
        load --protocol $protocol --keys 60000 --op mixed --set-percent 30 --choice zipf:0.9 --value-bytes 10-3000 --ttl 1-30 \
            --depth 8 --connections 20 --seconds 12 --seed $((round * 10 + ${#protocol})) & loads+=($!)
    done
    load --op mixed --set-percent 20 --keys 300 --key-bytes 40 --value-bytes 20000-400000 --connections 6 --seconds 12 --seed $round & loads+=($!)
    load --op multiget --connections 200 --key-bytes 50 --value-bytes 100 --seconds 12 --seed $round & loads+=($!)
    if [ -n "$flash" ]; then
        # As many keys as memory has room for stubs of; few sets, so that most of them stay while others are read.
        load --op mixed --set-percent 50 --keys 300000 --key-bytes 24 --choice zipf:0.7 --value-bytes 600-20000 --depth 4 \
            --connections 30 --seconds 12 --seed $round & loads+=($!)
        load --op multiget --keys 300000 --key-bytes 24 --value-bytes 600-20000 --connections 4 --seconds 12 --seed $round & loads+=($!)
    fi
    for each in "${loads[@]}"; do wait "$each" || { echo "a load failed:"; tail -20 "$dir/out"; log; exit 1; }; done
    [ $((round % 5)) -ne 0 ] || ask flush_all >/dev/null
    [ $round -ne 3 ] || first=$(rss)
    echo "round $round: $(rss) MiB RSS, $(stat curr_items) items, $(stat evictions) evictions, $(stat cmd_get) gets, $(stat cmd_set) sets${flash:+, $(stat extstore_bytes_used) bytes on flash, $(stat get_extstore) read}"
done

status=0
expect() { [ "$2" -le "$3" ] || { echo "$1: $2, more than $3"; status=1; }; }
promise=$((memory * 108 / 100 + 8 + threads * 5 / 2 + 300 * 8 / 1024))
# Chunks, and reads of each ring.
[ -z "$flash" ] || promise=$((promise + 5 * 4 + threads * 16))
expect 'RSS, MiB' "$(rss)" $promise
[ "$first" = 0 ] || expect 'RSS against round 3, MiB' "$(rss)" $((first + 4))
for name in memcrsd_pins memcrsd_drafts; do expect $name "$(stat $name)" 0; done
expect 'connections left' "$(stat curr_connections)" 2
for name in badcrc_from_extstore memcrsd_flash_write_errors memcrsd_flash_read_errors; do
    [ -z "$flash" ] || expect $name "$(stat $name)" 0
done
log
kill $pid
began=$EPOCHREALTIME
wait $pid || { echo "exit status $?"; status=1; }
expect 'microseconds to stop' $((${EPOCHREALTIME/./} - ${began/./})) 1000000
echo "$round rounds, $([ $status = 0 ] && echo clean || echo FAILED)"
exit $status
