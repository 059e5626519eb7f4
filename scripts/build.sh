#!/usr/bin/env bash
# Builds the console and the binary; the binary's path is left in .build/rongtong.
. "$(dirname "$0")/common.sh"
profile=${1:-dev}
build_needs
build_console
cargo_fetch
say "building rongtong ($profile)"
cargo build --offline --locked --workspace --bins --profile "$profile"
mkdir -p .build
folder=$([ "$profile" = dev ] && echo debug || echo "$profile")
echo "$CARGO_TARGET_DIR/$folder/rongtong" > .build/rongtong
say "built: $(cat .build/rongtong)"
