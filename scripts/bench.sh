#!/usr/bin/env bash
# The benchmarks of docs/BENCHMARKS.md, one after another; each ends with a line of JSON. Fails when a bar is missed.
. "$(dirname "$0")/common.sh"
scripts/build.sh release
failed=0
for load in "--subscribers 100 --pps 208" "--subscribers 100 --pps 210 --picture 7" "--subscribers 50 --pps 1000" \
  "--subscribers 100 --pps 208 --picture 7 --seconds 4 --taps 64" \
  "--subscribers 300 --pps 208 --surge 40" "--subscribers 100 --pps 208 --hostile 20000"; do
  say "bench forward $load"
  # shellcheck disable=SC2086
  "$(cat .build/rongtong)" bench forward $load || failed=1
done
for load in "" "--singly" "--streams 64 --viewers 64 --mbit 2" "--streams 320 --viewers 32 --singly" "--devices 20000 --channels 2"; do
  say "bench gb $load"
  # shellcheck disable=SC2086
  "$(cat .build/rongtong)" bench gb $load || failed=1
done
exit $failed
