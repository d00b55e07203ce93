# Every task of the project; `just` lists them. A recipe is one or two commands that can be typed as well.

import 'perf/recipes.just'

port := env("PORT", "11211")

# List the recipes
default:
    @just --list --unsorted

# Run the server, with any of memcached's flags
run *flags:
    cargo run --release -- -p {{ port }} {{ flags }}

# The gate before each commit: format, lints, documentation, tests
check: fmt-check lint doc test

# Unit and integration tests whose names contain the filter
test *filter:
    cargo test --workspace {{ filter }}

# All tests and all real clients, as CI runs them
test-all:
    tests/run

# One real client against a running server, e.g. `just client pymemcache 11211`
client name port=port:
    tests/clients/setup && tests/clients/run {{ name }} {{ port }}

# The transcripts against another memcached: the yardstick proves what they expect
test-against binary=`tests/yardstick path`:
    MEMCRSD_UNDER_TEST={{ binary }} cargo test --test it -- scripts:: differential::

# Fetch the memcached to compare with (Debian unstable's, into the tests' cache folder), or what is there now anew
yardstick:
    tests/yardstick fetch

# Format the sources
fmt:
    cargo fmt --all

# Check the format
fmt-check:
    cargo fmt --all --check

# Lints, warnings denied
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Documentation, warnings denied
doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items

# Simulation of the store's rings against a map, with a new seed or a given one
sim ops="1000000" seed="random":
    SIM_OPS={{ ops }} MEMCRSD_TEST_SEED={{ seed }} cargo test --test sim -- --nocapture

# The simulation with a ring that skips a delta, and with one that is not seen to read: it must build, and it must fail
canary:
    cargo test --features canary --test sim --no-run
    ! MEMCRSD_CANARY=delta cargo test --quiet --features canary --test sim >/dev/null 2>&1
    ! MEMCRSD_CANARY=section cargo test --quiet --features canary --test sim >/dev/null 2>&1

# The log, the cursors, the pins and the wakes in every order the memory model allows
loom filter="":
    RUSTFLAGS='--cfg memcrsd_loom' CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" cargo test --lib store::loom_tests::{{ filter }}
    RUSTFLAGS='--cfg memcrsd_loom' CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" cargo test -p memcrsd-uring --lib doorbell::

# Licences, sources and duplicates of all dependencies; `just deny advisories` needs the internet
deny *what:
    .ci/deny {{ what }}

# The store's unsafe code under Miri, threads and weak memory included (nightly, with its miri and rust-src)
miri filter="store::":
    MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/miri" \
        cargo +nightly miri test --lib {{ filter }} -- --skip orders

# Concurrent histories over four rings, checked for linearizability
linearize rounds="5000" seed="random":
    MEMCRSD_LINEARIZE_ROUNDS={{ rounds }} MEMCRSD_TEST_SEED={{ seed }} cargo test --test it linearize -- --nocapture --include-ignored

# Generated commands against memcached; a failure prints the seed that repeats it
differential steps="100000" seed="random":
    MEMCRSD_DIFFERENTIAL_STEPS={{ steps }} MEMCRSD_TEST_SEED={{ seed }} cargo test --test it differential -- --nocapture

# Every difference between the two for generated commands that are broken, as a list
differences steps="20000" seed="random":
    MEMCRSD_DIFFERENTIAL_ALL=1 MEMCRSD_DIFFERENTIAL_STEPS={{ steps }} MEMCRSD_TEST_SEED={{ seed }} cargo test --test it differential::broken -- --nocapture

# Fuzz a target for some seconds: `all`, or fuzz_ and one of binary_decoder text_decoder meta_decoder session udp model tier storage memory_file arguments
fuzz target="fuzz_binary_decoder" secs="60":
    fuzz/run {{ target }} {{ secs }}

# Line coverage by all tests, spawned servers included; WITH_CLIENTS=1 for the real clients too
coverage *filter:
    tests/coverage {{ filter }}

# The root file system of the container image
image-rootfs dir="target/rootfs":
    src/ship/rootfs.sh make {{ dir }}

# A Debian package: target/package/memcrsd_VERSION_ARCH.deb
deb dir="target/package":
    src/ship/package.sh deb {{ dir }}

# The same files with a static binary as .tar.gz, for this machine or a target like aarch64-unknown-linux-gnu
tarball target="" dir="target/package":
    src/ship/package.sh tarball {{ dir }} {{ target }}

# What publishing to crates.io would do, without doing it
publish-check:
    cargo publish --dry-run -p memcrsd-uring -p memcrsd

# Exactly what CI runs
ci:
    .ci/run
