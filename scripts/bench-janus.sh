#!/bin/bash
# Debian's Janus with its videoroom plugin, and `rongtong bench forward` with it in the same run; arguments are
# those of `bench forward`. Janus is an ICE-lite agent here, as this server is.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${RONGTONG_BIN:-$(cat .build/rongtong)}
if ! command -v janus > /dev/null; then
  echo "installing janus"
  if [ "$(id -u)" = 0 ]; then apt-get install -y --no-install-recommends janus
  else sudo apt-get install -y --no-install-recommends janus; fi > /dev/null
  # The package starts it as a service.
  systemctl stop janus 2> /dev/null || true
fi
folder=$(mktemp -d)
cleanup() {
  kill "${janus:-}" 2> /dev/null || true
  rm -rf "$folder"
}
trap cleanup EXIT
cat > "$folder/janus.jcfg" << CONFIG
general: { configs_folder = "$folder" debug_level = 3 admin_secret = "bench" }
nat: { ice_lite = true }
media: { ipv6 = false }
plugins: { disable = "libjanus_audiobridge.so,libjanus_echotest.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_nosip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so,libjanus_duktape.so,libjanus_lua.so" }
transports: { disable = "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so" }
CONFIG
cat > "$folder/janus.transport.websockets.jcfg" << CONFIG
general: { json = "compact" ws = true ws_port = 28188 ws_interface = "lo" wss = false }
CONFIG
echo 'general: {}' > "$folder/janus.plugin.videoroom.jcfg"
# It dumps its memory when it is ended in the middle of a call.
ulimit -c 0
janus -F "$folder" -C "$folder/janus.jcfg" > "$folder/log" 2>&1 &
janus=$!
for _ in $(seq 50); do
  if (exec 3<> /dev/tcp/127.0.0.1/28188) 2> /dev/null; then break; fi
  sleep 0.2
done
"$binary" bench forward --janus ws://127.0.0.1:28188 --janus-pid "$janus" "$@"
