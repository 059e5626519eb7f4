#!/usr/bin/env bash
# The long proofs, of which the suite runs a sample: readers and meetings in virtual time, kills of a server that records.
. "$(dirname "$0")/common.sh"
scripts/build.sh
apt_need ffmpeg python3-venv
sdk_venv
failed=0
say "readers against their model"
RONGTONG_READERS=10000 cargo test --offline --locked -p rongtong-media-core --lib readers || failed=1
say "meetings against their model"
RONGTONG_CHURN=100000 cargo test --offline --locked -p rongtong-media-core --lib churn || failed=1
say "days of GB/T 28181 devices that fail, in virtual time"
for seed in 1 2 3 4 5 6 7 8; do
  RONGTONG_DAY_HOURS=24 RONGTONG_DAY_SEED=$seed cargo test --offline --locked -p rongtong-gb28181 --lib agent::day -- --nocapture || failed=1
done
RONGTONG_DAY_HOURS=24 RONGTONG_DAY_DEVICES=300 cargo test --offline --locked -p rongtong-gb28181 --lib agent::day -- --nocapture || failed=1
say "thousands of calls to GB/T 28181 devices that end in every way"
RONGTONG_CALLS=20000 cargo test --offline --locked -p rongtong-gb28181 --test it churn -- --nocapture || failed=1
say "kills"
# Their own servers; no other is asked.
RONGTONG_KILLS=${KILLS:-200} RONGTONG_URL=- RONGTONG_API_KEY=- RONGTONG_API_SECRET=- RONGTONG_BIN=$(cat .build/rongtong) \
  "$venv/bin/python" -m pytest -q -s tests/sdk/python/test_kills.py || failed=1
exit $failed
