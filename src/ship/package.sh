#!/usr/bin/env bash
# Makes packages of memcrsd, and tries one.
#
#   package.sh deb [DIR]              a Debian package of this machine's architecture, in DIR (target/package)
#   package.sh tarball [DIR] [TARGET] the same files with a static binary, as .tar.gz; TARGET e.g. aarch64-unknown-linux-gnu
#   package.sh try FILE.deb           installs it into a throw-away copy of this system, starts it by its wrapper, removes
#                                     and purges it (as root: mounts, chroot)
#
# The option tables of the program make the man page and the completions. MEMCRSD_BINARY names a program that is built already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -1)
# Files are as old as the revision, so that a package is the same whenever it is made.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

fail() {
    echo "package: $*" >&2
    exit 1
}

# lay_out ROOT BINARY PRINTER: the tree below ROOT. PRINTER is a memcrsd that runs here.
lay_out() {
    local root=$1 binary=$2 printer=$3 share=$1/usr/share
    install -D -m 0755 "$binary" "$root/usr/bin/memcrsd"
    # Line tables stay for perf, at a third of their size.
    "${OBJCOPY:-objcopy}" --compress-debug-sections=zlib "$root/usr/bin/memcrsd"
    install -D -m 0644 "$here/memcrsd.conf" "$root/etc/memcrsd.conf"
    install -D -m 0644 "$here/memcrsd.service" "$root/usr/lib/systemd/system/memcrsd.service"
    install -D -m 0644 "$here/sysusers.conf" "$root/usr/lib/sysusers.d/memcrsd.conf"
    install -D -m 0755 "$here/systemd-memcrsd-wrapper" "$share/memcrsd/systemd-memcrsd-wrapper"
    install -m 0644 "$here/seccomp.json" "$here"/watch/{grafana.json,alerts.yml} "$share/memcrsd/"
    install -d "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/vendor-completions" \
        "$share/fish/vendor_completions.d" "$share/doc/memcrsd"
    "$printer" --print=man | gzip -9n >"$share/man/man1/memcrsd.1.gz"
    "$printer" --print=bash >"$share/bash-completion/completions/memcrsd"
    "$printer" --print=zsh >"$share/zsh/vendor-completions/_memcrsd"
    "$printer" --print=fish >"$share/fish/vendor_completions.d/memcrsd.fish"
    install -m 0644 "$top/README.md" "$top"/src/manual/*.md "$share/doc/memcrsd/"
    gzip -9nc "$top/src/manual/changelog.md" >"$share/doc/memcrsd/changelog.gz"
    rm "$share/doc/memcrsd/changelog.md"
    install -m 0644 "$top/src/config/licence.txt" "$share/doc/memcrsd/copyright"
    # What this shell's umask took away.
    chmod -R u=rwX,go=rX "$root"
    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# The program for the package: the one that is named, else built.
release() {
    if [ -z "${MEMCRSD_BINARY:-}" ]; then
        (cd "$top" && cargo build --release --locked --bin memcrsd >&2)
    fi
    echo "${MEMCRSD_BINARY:-${CARGO_TARGET_DIR:-$top/target}/release/memcrsd}"
}

deb() {
    local dir=$1 root binary libc arch
    command -v dpkg-deb >/dev/null || fail 'dpkg-deb is missing'
    arch=$(dpkg --print-architecture)
    binary=$(release)
    root=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$root'" EXIT
    lay_out "$root" "$binary" "$binary"
    # The newest symbols it wants tell the oldest glibc that will do.
    libc=$(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1)
    install -d "$root/DEBIAN"
    install -m 0755 "$here"/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
    sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@LIBC@/${libc#GLIBC_}/" \
        -e "s/@SIZE@/$(du -k -s --exclude=DEBIAN "$root" | cut -f1)/" "$here/debian/control" >"$root/DEBIAN/control"
    echo /etc/memcrsd.conf >"$root/DEBIAN/conffiles"
    (cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    chmod 0644 "$root"/DEBIAN/{control,conffiles,md5sums}
    chmod 0755 "$root"
    mkdir -p "$dir"
    dpkg-deb --root-owner-group -Zxz --build "$root" "$dir/memcrsd_${version}_$arch.deb" >/dev/null
    echo "$dir/memcrsd_${version}_$arch.deb"
}

tarball() {
    local dir=$1 target=${2:-$(uname -m)-unknown-linux-gnu} binary root name printer
    binary=${MEMCRSD_BINARY:-$("$here/build-static.sh" "$target")}
    printer=$binary
    if [ "${target%%-*}" != "$(uname -m)" ]; then
        printer=$(MEMCRSD_BINARY='' release)
        OBJCOPY=${target%%-*}-linux-gnu-objcopy
    fi
    name=memcrsd-$version-${target%%-*}-linux
    root=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$root'" EXIT
    lay_out "$root/$name" "$binary" "$printer"
    mkdir -p "$dir"
    tar -C "$root" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" |
        gzip -9n >"$dir/$name.tar.gz"
    echo "$dir/$name.tar.gz"
}

case ${1:-} in
    deb) deb "${2:-$top/target/package}" ;;
    tarball) tarball "${2:-$top/target/package}" "${3:-}" ;;
    try) exec "$here/try-package.sh" "$2" ;;
    *)
        sed -n '2,/^set/{/^#/p}' "$0" >&2
        exit 64
        ;;
esac
