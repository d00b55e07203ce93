#!/usr/bin/env bash
# Tries a Debian package: try-package.sh FILE.deb, as root. In a copy of this system that is gone at the end (an overlay in
# memory, with a network of its own) it installs the package, starts the server by its wrapper as the unit and as root do,
# talks to it, lets it and memcached change places, removes and purges it.
# The last line is `package: N passed`; without the means for the copy it is `package: skipped` and why.
set -euo pipefail
deb=$(readlink -f "$1")
passed=0

fail() {
    echo "package: $*" >&2
    exit 1
}

pass() {
    passed=$((passed + 1))
    echo "ok $*"
}

# Talks to the server on port 11211, or waits until it does.
answers() {
    local words deadline=$((SECONDS + 10))
    until exec 3<>/dev/tcp/127.0.0.1/11211; do
        kill -0 "$1" 2>/dev/null || fail 'the server has ended'
        [ "$SECONDS" -lt "$deadline" ] || fail 'nothing listens on port 11211'
        read -rt 0.02 <> <(:) || true
    done 2>/dev/null
    printf 'version\r\nset a 5 0 1\r\nb\r\nget a\r\nquit\r\n' >&3
    words=$(timeout 5 cat <&3)
    exec 3>&-
    [ "$words" = $'VERSION 1.6.45\r\nSTORED\r\nVALUE a 5 1\r\nb\r\nEND\r' ] || fail "the server answers: $words"
}

# serves NAME ARGUMENTS...: starts the wrapper by setpriv or env, and ends the server.
serves() {
    local name=$1 pid
    shift
    "$@" /usr/share/memcrsd/systemd-memcrsd-wrapper &
    pid=$!
    answers "$pid"
    grep -q "^Uid:.$(id -u memcrsd).$(id -u memcrsd)" "/proc/$pid/status" || fail "$name: it does not run as memcrsd"
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -- "$expected" || fail "$name: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
    kill "$pid"
    wait "$pid" || fail "$name: it ends with status $?"
    pass "$name"
}

inside() {
    local expected='-m 64 -p 11211 -l 127.0.0.1 -l ::1' left
    ip link set lo up
    # Nothing of the system is started or reached.
    export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
    dpkg -i "$deb" >/tmp/out 2>&1 || fail "it does not install: $(tail -3 /tmp/out)"
    id memcrsd >/dev/null || fail 'there is no user memcrsd'
    [ "$(memcrsd -V | head -1)" = 'memcached 1.6.45' ] || fail "-V says $(memcrsd -V)"
    pass installs
    serves 'starts by its wrapper as the unit has it' setpriv --reuid memcrsd --regid memcrsd --clear-groups
    serves 'starts by its wrapper as root' env
    # The conventions of Debian's memcached.conf.
    cat >>/etc/memcrsd.conf <<'CONF'
-d
logfile /var/log/memcrsd.log
-s   # a unix socket as well
  -D \#
--daemon
-A -o 'idle_timeout=7,no_lru_crawler' # quotes
CONF
    sed -i 's/^-s .*//' /etc/memcrsd.conf
    expected='-l ::1 -D # -A -o idle_timeout=7,no_lru_crawler'
    serves 'reads the file as Debian reads memcached.conf' env
    rm /etc/memcrsd.conf
    expected='-u memcrsd $'
    serves 'serves without the file' env

    groff -man -Tutf8 -ww -z <(gzip -dc /usr/share/man/man1/memcrsd.1.gz) >/tmp/out 2>&1 || true
    [ ! -s /tmp/out ] || fail "the man page: $(head -3 /tmp/out)"
    pass 'the man page is sound'
    bash -c 'source /usr/share/bash-completion/completions/memcrsd
        COMP_WORDS=(memcrsd --io-eng) COMP_CWORD=1; _memcrsd; [ "${COMPREPLY[*]}" = --io-engine ]' || fail 'bash completes nothing'
    pass 'bash completes options'
    if command -v systemd-analyze >/dev/null; then
        systemd-analyze verify /usr/lib/systemd/system/memcrsd.service >/tmp/out 2>&1 || fail "the unit: $(cat /tmp/out)"
        pass 'the unit is sound'
    fi

    # As the manual has it.
    [ -e /usr/bin/memcached ] || { printf '#!/bin/sh\necho memcached 0\n' >/usr/bin/memcached && chmod +x /usr/bin/memcached; }
    dpkg-divert --local --rename --divert /usr/bin/memcached.original --add /usr/bin/memcached >/dev/null
    update-alternatives --quiet --install /usr/bin/memcached memcached /usr/bin/memcached.original 40
    update-alternatives --quiet --install /usr/bin/memcached memcached /usr/bin/memcrsd 50
    memcached -V | grep -q memcrsd || fail 'memcached is not memcrsd'
    update-alternatives --quiet --remove memcached /usr/bin/memcrsd
    ! memcached -V | grep -q memcrsd || fail 'memcached is still memcrsd'
    update-alternatives --quiet --remove memcached /usr/bin/memcached.original
    dpkg-divert --local --rename --remove /usr/bin/memcached >/dev/null
    [ -x /usr/bin/memcached ] && [ ! -h /usr/bin/memcached ] || fail 'memcached is not where it was'
    pass 'changes places with memcached'

    dpkg -i --force-confmiss "$deb" >/tmp/out 2>&1 || fail "it does not install again: $(tail -3 /tmp/out)"
    dpkg -r memcrsd >/tmp/out 2>&1 || fail "it is not removed: $(tail -3 /tmp/out)"
    [ -e /etc/memcrsd.conf ] && [ ! -e /usr/bin/memcrsd ] || fail 'removing is not purging'
    dpkg -P memcrsd >/tmp/out 2>&1 || fail "it is not purged: $(tail -3 /tmp/out)"
    left=$(find /etc /usr /var/lib/dpkg/info /run -xdev -name '*memcrsd*' 2>/dev/null)
    [ -z "$left" ] || fail "purged, there is $left"
    pass 'is removed and purged'
    echo "package: $passed passed"
}

if [ "${2:-}" = inside ]; then
    inside
    exit
fi
if [ "$(id -u)" != 0 ] || ! command -v dpkg >/dev/null || ! command -v ip >/dev/null; then
    echo 'package: skipped: installing one wants root, dpkg and ip'
    exit
fi
# The file may lie where the copy has something else mounted.
# shellcheck disable=SC2016
exec unshare --mount --net -- bash -c '
    set -e
    dir=$(mktemp -d)
    trap "rmdir $dir" EXIT
    mount -t tmpfs tmpfs "$dir"
    mkdir "$dir/upper" "$dir/work" "$dir/root"
    if ! mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/root" 2>/dev/null; then
        umount "$dir"
        echo "package: skipped: no overlay over / can be mounted here"
        exit
    fi
    mount --rbind /dev "$dir/root/dev" && mount -t proc proc "$dir/root/proc"
    mount -t tmpfs tmpfs "$dir/root/tmp" && mount -t tmpfs tmpfs "$dir/root/run"
    cp "$1" "$dir/root/tmp/memcrsd.deb" && cp "$2" "$dir/root/tmp/try"
    chroot "$dir/root" bash /tmp/try /tmp/memcrsd.deb inside || { status=$?; umount -l "$dir"; exit $status; }
    umount -l "$dir"
' bash "$deb" "$0"
