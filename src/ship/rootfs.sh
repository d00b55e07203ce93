#!/usr/bin/env bash
# Makes the container image's file system, and tries it.
#
#   rootfs.sh make DIR    builds the static binary and lays the tree out in DIR (the Dockerfile does the same)
#   rootfs.sh try DIR     runs the tree read-only, without privileges, and talks to it (as root: mounts, chroot)
#   rootfs.sh             both, in a directory of its own that is removed at the end
#
# The tree is one static binary (build-static.sh), a `memcached` link to it, and the names of the user it runs as.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
id=11211

fail() {
    echo "rootfs: $*" >&2
    exit 1
}

make_tree() {
    local root=$1 binary
    binary=$("$here/build-static.sh")
    install -D -m 0755 "$binary" "$root/usr/local/bin/memcrsd"
    # Line tables stay for perf, at a third of their size.
    objcopy --compress-debug-sections=zlib "$root/usr/local/bin/memcrsd"
    ln -sfn memcrsd "$root/usr/local/bin/memcached"
    # Where a container's runtime mounts its own.
    mkdir -p "$root/etc" "$root/dev" "$root/proc" "$root/sys"
    echo "memcache:x:$id:$id:memcache:/nonexistent:/sbin/nologin" >"$root/etc/passwd"
    echo "memcache:x:$id:" >"$root/etc/group"
}

# Becomes a program of the tree as the image runs it: root not writable, nobody's rights, nothing but the tree and
# what every runtime mounts into it.
become() {
    local root=$1
    shift
    # shellcheck disable=SC2016
    exec unshare --mount -- bash -c '
        mount --bind "$1" "$1" && mount --bind /dev "$1/dev" && mount --bind /proc "$1/proc" &&
        mount -o remount,bind,ro "$1" &&
        exec setpriv --no-new-privs chroot --userspec='$id:$id' --groups= "$@"' bash "$root" "$@"
}

# The TCP port that process $1 listens on.
port_of() {
    ss -Hltnp | sed -En "s/^\S+\s+\S+\s+\S+\s+\S*:([0-9]+)\s.*pid=$1,.*/\1/p" | head -1
}

# Starts the server of tree $1 with the words that follow, asks it a few things, and ends it.
try_server() {
    local root=$1 pid port='' answers deadline=$((SECONDS + 10))
    shift
    (become "$root" "$@" -l 127.0.0.1 -p -1 -t 1) &
    pid=$!
    until port=$(port_of "$pid") && [ -n "$port" ]; do
        kill -0 "$pid" 2>/dev/null || fail "$* does not start"
        [ "$SECONDS" -lt "$deadline" ] || fail "$* listens on no port"
        read -rt 0.02 <> <(:) || true
    done
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'version\r\nset a 5 0 1\r\nb\r\nget a\r\nquit\r\n' >&3
    answers=$(timeout 5 cat <&3)
    exec 3>&-
    [ "$answers" = $'VERSION 1.6.45\r\nSTORED\r\nVALUE a 5 1\r\nb\r\nEND\r' ] || fail "$* answers: $answers"
    grep -q "^Uid:.$id.$id" "/proc/$pid/status" || fail "$* runs as somebody else"
    kill -TERM "$pid"
    wait "$pid" || fail "$* ends with status $?"
    echo "rootfs: $* serves and ends"
}

try_tree() {
    local root=$1 version
    version=$(become "$root" /usr/local/bin/memcached -V)
    [ "${version%%$'\n'*}" = 'memcached 1.6.45' ] || fail "-V says: $version"
    if (become "$root" /usr/local/bin/memcached -t 0) 2>/dev/null; then
        fail 'a bad option is taken'
    fi
    # The entry point with nothing, with options, and with the name of a command in front of them.
    try_server "$root" /usr/local/bin/memcached
    try_server "$root" /usr/local/bin/memcached -m 16
    try_server "$root" /usr/local/bin/memcached memcached -m 16
    try_server "$root" /usr/local/bin/memcrsd memcrsd -vv
}

both() {
    local root
    root=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$root'" EXIT
    chmod 0755 "$root"
    make_tree "$root"
    try_tree "$root"
}

case ${1:-both} in
    make) make_tree "$2" ;;
    try) try_tree "$2" ;;
    both) both ;;
    *) fail "unknown word $1" ;;
esac
