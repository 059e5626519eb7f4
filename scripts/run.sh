#!/usr/bin/env bash
# Builds and starts the server in the foreground, with demo cameras unless DEMO=0.
. "$(dirname "$0")/common.sh"
scripts/build.sh
args=(serve --demo "${DEMO:-3}")
[ -n "${CONFIG:-}" ] && args+=(--config "$CONFIG")
exec "$(cat .build/rongtong)" "${args[@]}"
