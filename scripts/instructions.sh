#!/usr/bin/env bash
# Counts, by callgrind, the instructions that one packet takes from the received datagram to 50 sealed ones in the
# egress, for each of the 50, and fails over the budget. Of the build that the tests use; docs/BENCHMARKS.md has figures.
. "$(dirname "$0")/common.sh"
# About a fifth more than was last measured; of 1,104 bytes sealed by AES-GCM.
budget=${1:-6000}
test=shard::tests::sending::a_forwarded_packet_allocates_nothing
apt_need valgrind
binary=$(cargo test --offline --locked -p rongtong-media-core --lib --no-run 2>&1 | sed -n 's/.*(\(.*\)).*/\1/p' | tail -1)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
valgrind --tool=callgrind --callgrind-out-file="$folder/out" --collect-atstart=no \
  --toggle-collect='*forwarding_measured*' "$binary" --exact "$test" --test-threads=1 > "$folder/log" 2>&1 ||
  { tail -20 "$folder/log"; exit 1; }
total=$(sed -n 's/^\(summary\|totals\): \([0-9]*\).*/\2/p' "$folder/out" | head -1)
each=$((total / 5000))
say "$each instructions a forwarded packet, of at most $budget"
[ "$each" -gt 0 ] && [ "$each" -le "$budget" ]
