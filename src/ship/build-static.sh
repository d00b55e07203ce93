#!/usr/bin/env bash
# Builds memcrsd as one static binary and prints its path: build-static.sh [TARGET], by default for this machine. Linked
# with glibc and its allocator: items, indexes and buffers have memory of their own, and under gets, sets, multigets and new
# connections jemalloc, mimalloc and a dynamic binary cost the same CPU within the noise.
#
# Another architecture wants its linker and libc, and Rust's library for it:
#   apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross && rustup target add aarch64-unknown-linux-gnu
set -euo pipefail
target=${1:-$(uname -m)-unknown-linux-gnu}
here=$(cd "$(dirname "$0")/../.." && pwd)
if [ "$target" != "$(uname -m)-unknown-linux-gnu" ]; then
    tools=${target%%-*}-linux-gnu
    command -v "$tools-gcc" >/dev/null || { echo "build-static: $tools-gcc is missing" >&2; exit 1; }
    upper=$(echo "$target" | tr a-z- A-Z_)
    export "CARGO_TARGET_${upper}_LINKER=$tools-gcc" "CC_${target//-/_}=$tools-gcc"
fi
(cd "$here" && RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
    cargo build --release --locked --bin memcrsd --target "$target" >&2)
binary=${CARGO_TARGET_DIR:-$here/target}/$target/release/memcrsd
# A dynamic one names its loader.
if readelf -lW "$binary" | grep -q INTERP; then
    echo "build-static: $binary is not static" >&2
    exit 1
fi
echo "$binary"
