#!/usr/bin/env bash
# The concurrent parts under ThreadSanitizer: the pool's tests and the stress of all handles (tests/threads), with every access of this crate
# watched.
#
#   tools/tsan.sh               as a part of the checks of a change: some seconds for each test
#   tools/tsan.sh SECONDS       the stress of tests/threads for so long (180: three minutes)
#
# Works with any toolchain that has the sanitizer's run time (x86-64 and AArch64 Linux); RUSTC_BOOTSTRAP lets a stable compiler take the option. The
# standard library is not built for the sanitizer. So the library uses locks that it sees through (src/base/sync/watched.rs), the tests run
# on the main thread of the harness (one test at a time), and what is left is listed in tools/tsan.supp.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
library=$(rustc --print sysroot)/lib/rustlib/$host/lib
if ! ls "$library"/librustc-*_rt.tsan.a >/dev/null 2>&1; then
  echo "skipped: this toolchain has no ThreadSanitizer for $host"
  exit 0
fi
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg loquat_watched"
export TSAN_OPTIONS="suppressions=$PWD/tools/tsan.supp halt_on_error=1 second_deadlock_stack=1"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/tsan
# Watched accesses are slow whatever the level, and the kernels, which are most of the library, take minutes to compile at a higher one.
export CARGO_PROFILE_TEST_OPT_LEVEL=0
export CARGO_PROFILE_TEST_DEBUG=line-tables-only # what is left is known by its file
if [ $# -gt 0 ]; then
  export LOQUAT_THREADS_SECONDS=$1
  cargo test --target "$host" --test threads -- --test-threads=1 --nocapture
else
  cargo test --quiet --target "$host" --test pool --test threads -- --test-threads=1
fi
