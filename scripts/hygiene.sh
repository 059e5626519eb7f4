#!/usr/bin/env bash
# What the repository must not contain.
. "$(dirname "$0")/common.sh"
bad=0
complain() { printf '%s\n' "$1"; bad=1; }

files() { git ls-files "$@" 2>/dev/null || find . -type f -not -path './.git/*'; }
[ -z "$(git grep -nE '"resolved": "https?://' -- '*package-lock.json' 2>/dev/null)" ] ||
    complain "a package-lock.json records download addresses"
# Crates that need CMake-built TLS, OpenSSL, or a licence the main binary may not carry.
for crate in aws-lc-sys openssl-sys ffmpeg-sys-next; do
    grep -q "^name = \"$crate\"" Cargo.lock && complain "Cargo.lock has $crate, which the main binary must not link"
done
[ -z "$(git grep -nE '(todo!|unimplemented!)\(' -- '*.rs' 2>/dev/null)" ] || complain "unfinished code"
[ -z "$(git grep -nE '#\[ignore' -- '*.rs' 2>/dev/null)" ] || complain "a Rust test is ignored"
[ -z "$(git grep -nE '\b(test|it|describe)\.(skip|only)\(' -- 'tests' 'console-web/test' 2>/dev/null)" ] || complain "a test is skipped"
scripts/features-check.sh || complain "the documents name tests that do not exist"
cargo fmt --all --check >/dev/null 2>&1 || complain "cargo fmt --all would change something"
[ "$bad" = 0 ] && echo "clean"
exit $bad
