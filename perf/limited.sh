#!/bin/bash
# Runs a command in a memory cgroup of its own, so that the kernel keeps no more of its files than fit beside it (root).
#
#   perf/limited.sh MIB COMMAND...
#
# `perf flash` compares servers that read a device with it: one that goes through the page cache would else read memory.
set -euo pipefail
mib=$1
shift
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    group=/sys/fs/cgroup/memcrsd-perf.$$ limit=memory.max
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control
else
    group=/sys/fs/cgroup/memory/memcrsd-perf.$$ limit=memory.limit_in_bytes
fi
mkdir "$group"
echo $((mib << 20)) >"$group/$limit"
# An empty cgroup is removed by the next run: this process becomes the command.
for old in "${group%.*}".*; do [ "$old" = "$group" ] || rmdir "$old" 2>/dev/null || :; done
echo $$ >"$group/cgroup.procs"
exec "$@"
