# The libmemcached tools in text and binary: tests/clients/run libmemcached PORT. Prints `ok` or `not ok` lines.
server=127.0.0.1:$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
try() { # name, command...
    local name=$1
    shift
    if output=$("$@" 2>&1); then echo "ok $name"; else echo "not ok $name: $output"; fi
}
head -c 5000 /usr/share/dict/words >"$dir/file1" 2>/dev/null || seq 1000 >"$dir/file1"
try memcping memcping --servers="$server"
(cd "$dir" && try memccp memccp --servers="$server" file1)
try "memccat gives back what memccp put" bash -c "memccat --servers=$server file1 | head -c \$(stat -c %s $dir/file1) | cmp - $dir/file1"
try memcexist memcexist --servers="$server" file1
try memctouch memctouch --servers="$server" --expire=100 file1
try memcstat bash -c "memcstat --servers=$server | grep -q 'limit_maxbytes: [0-9]'"
try memcdump bash -c "for i in \$(seq 100); do memcdump --servers=$server | grep -qx file1 && exit 0; done; exit 1"
try memcrm memcrm --servers="$server" file1
try "memcslap text" memcslap --servers="$server" --concurrency=4 --execute-number=500 --test=set --non-blocking
try "memcslap binary" memcslap --servers="$server" --concurrency=4 --execute-number=500 --test=get --binary
try memcflush memcflush --servers="$server"
