#!/usr/bin/env bash
# The whole suite. Each step is timed; the last line counts what passed and failed.
. "$(dirname "$0")/common.sh"

passed=0 failed=0 times=()
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

# step NAME COMMAND...: runs it, shows it, adds its counts.
step() {
    local name=$1 start=$SECONDS status=0 out="$log/out"
    shift
    say "$name"
    "$@" > >(tee "$out") 2>&1 || status=$?
    wait
    local good bad
    # cargo test, node --test, vitest and pytest each close with lines of their own.
    good=$(sed 's/\x1b\[[0-9;]*m//g' "$out" | awk '
        /^test result:/ { n += $4 } /^# pass / { n += $3 } /^ℹ pass / { n += $3 }
        /^ *Tests .* passed/ { for (i = 1; i <= NF; i++) if ($i == "passed") n += $(i-1) }
        / passed.* in [0-9.]+s/ { for (i = 1; i <= NF; i++) if ($i ~ /^passed/) n += $(i-1) }
        END { print n + 0 }')
    bad=$(sed 's/\x1b\[[0-9;]*m//g' "$out" | awk '
        /^test result:/ { n += $6 } /^# fail / { n += $3 } /^ℹ fail / { n += $3 }
        /^ *Tests .* failed/ { for (i = 1; i <= NF; i++) if ($i == "failed") n += $(i-1) }
        / failed.* in [0-9.]+s/ { for (i = 1; i <= NF; i++) if ($i ~ /^failed/) n += $(i-1) }
        END { print n + 0 }')
    if [ "$status" = 0 ] && [ "$good" = 0 ]; then good=1; fi
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    passed=$((passed + good)) failed=$((failed + bad))
    times+=("$(printf '%5ds  %4d passed %3d failed  %s' $((SECONDS - start)) "$good" "$bad" "$name")")
}

build_needs
need_node || die "Node.js 20.19 or later is needed for the suite; see README.md"
apt_need curl ffmpeg gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
    gstreamer1.0-plugins-ugly gstreamer1.0-libav gir1.2-gst-rtsp-server-1.0 python3-gi python3-venv chromium fonts-noto-cjk

console_tests() { (cd console-web && npm run --silent typecheck && npm test --silent); }
rust_build() { cargo build --offline --locked --workspace --bins --tests --examples; }
rust_tests() { cargo test --offline --locked --workspace --no-fail-fast; }
browser_tests() {
    npm_install tests/e2e
    (cd tests/e2e && RONGTONG_BIN="$CARGO_TARGET_DIR/debug/rongtong" node --test --test-concurrency=1 --test-reporter=spec ./*.test.mjs)
}
sdk_tests() {
    sdk_venv
    local data http https udp tcp status=0 secret=devsecretdevsecretdevsecretdevsecret
    data=$(mktemp -d)
    read -r http https udp tcp < <("$venv/bin/python" -c '
import socket
open_ = [socket.socket() for _ in range(4)]
[it.bind(("127.0.0.1", 0)) for it in open_]
print(*(it.getsockname()[1] for it in open_))')
    # Only for this server: the restart tests start one of their own.
    env RONGTONG__SERVER__HTTP_LISTEN="127.0.0.1:$http" RONGTONG__SERVER__HTTPS_LISTEN="127.0.0.1:$https" \
        RONGTONG__MEDIA__UDP_PORT="$udp" RONGTONG__MEDIA__TCP_PORT="$tcp" RONGTONG__DATA__DIR="$data" \
        RONGTONG__LIVEKIT__API_KEY=devkey RONGTONG__LIVEKIT__API_SECRET="$secret" \
        "$CARGO_TARGET_DIR/debug/rongtong" serve > "$data/log" 2>&1 &
    local server=$!
    curl --silent --fail --retry 50 --retry-all-errors --retry-delay 0 --retry-max-time 20 "http://127.0.0.1:$http/readyz" > /dev/null || true
    RONGTONG_URL=ws://127.0.0.1:$http RONGTONG_API_KEY=devkey RONGTONG_API_SECRET=$secret \
        RONGTONG_BIN="$CARGO_TARGET_DIR/debug/rongtong" "$venv/bin/python" -m pytest -q tests/sdk || status=$?
    kill "$server" && wait "$server" || true
    [ "$status" = 0 ] || tail -n 400 "$data/log"
    rm -rf "$data"
    return "$status"
}

start=$SECONDS
npm_install console-web
step "repository hygiene" scripts/hygiene.sh
step "console: types and unit tests" console_tests
build_console
cargo_fetch
step "build" rust_build
if [ "$failed" = 0 ]; then
    step "Rust tests" rust_tests
    step "instructions of a forwarded packet" scripts/instructions.sh
    step "browsers (Chromium, livekit-client)" browser_tests
    step "LiveKit Python SDK" sdk_tests
fi

say "times"
printf '%s\n' "${times[@]}"
printf '%5ds  in all\n' $((SECONDS - start))
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
