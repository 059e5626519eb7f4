// How long until the first decoded picture of a GB/T 28181 channel, on a page that is connected: of a channel that is
// pulled already, of one that is called for it, and of one whose device begins in the middle of a group of pictures.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { Server, binary } from "./harness.mjs";
import { browser, guest, pages, until } from "./lib.mjs";

const TIMES = 12;
const SECRET = "gate-secret-1";
let server, chrome, site, sip;

before(async () => {
  sip = 20000 + Math.floor(Math.random() * 9000);
  server = await Server.start({
    env: { RONGTONG__GB28181__ENABLED: "true", RONGTONG__GB28181__LISTEN: `127.0.0.1:${sip}`, RONGTONG__GB28181__PASSWORD: SECRET },
  });
  await server.signIn();
  chrome = await browser();
  site = await pages();
});

after(async () => {
  await chrome?.close();
  site?.close();
  await server?.stop();
});

/** Devices with four seconds between keyframes: waiting for the next one would never pass. Their cameras' ids. */
async function devices(keep, args) {
  const words = ["simulate", "gb", "--server", `127.0.0.1:${sip}`, "--devices", String(TIMES), "--gop", "4", ...args];
  const fleet = spawn(binary, words, { stdio: "ignore", env: { ...process.env, RONGTONG_GB28181_PASSWORD: SECRET } });
  let known;
  await until("the devices are registered", async () => {
    known = (await server.api("GET", "/gb28181/devices")).filter((device) => device.online && device.complete);
    return known.length === TIMES;
  }, 30000);
  const cameras = [];
  for (const { code } of known) {
    const { channels } = await server.api("GET", `/gb28181/devices/${code}`);
    const { url } = channels.find((channel) => channel.url);
    cameras.push((await server.api("POST", "/cameras", { name: code, url, keep })).id);
  }
  return { cameras, end: () => fleet.kill("SIGKILL") };
}

/** Runs in the page: from the camera's track on to its first picture; when that was, and whether it has light in it. */
async function look(identity) {
  const publication = () => [...(window.room.remoteParticipants.get(identity)?.trackPublications.values() ?? [])].find((it) => it.kind === "video");
  while (!publication()) await new Promise((done) => setTimeout(done, 2));
  const subscribed = new Promise((done) => window.room.on("trackSubscribed", (track, _, who) => who.identity === identity && done(track)));
  publication().setSubscribed(true);
  const track = await subscribed;
  const reader = new MediaStreamTrackProcessor({ track: track.mediaStreamTrack }).readable.getReader();
  const { value: frame } = await reader.read();
  const at = Date.now();
  const size = [frame.visibleRect.width, frame.visibleRect.height];
  frame.close();
  await reader.cancel();
  publication().setSubscribed(false);
  return { at, size };
}

async function measure(name, limit, keep, args) {
  const fleet = await devices(keep, args);
  try {
    const context = await chrome.newContext();
    const { room } = await server.api("POST", "/walls/view", { cameras: [] });
    const viewer = await guest(context, site, { url: server.url, identity: `viewer-${name}`, room, publish: false, connect: { autoSubscribe: false } });
    if (keep) {
      await until("they are pulled", async () => (await server.api("GET", "/cameras?limit=200")).items.filter((it) => fleet.cameras.includes(it.id)).every((it) => it.state === "live"));
    }
    // The first brings up the media connection itself; the page is then connected.
    const times = [];
    for (const id of fleet.cameras) {
      const seen = viewer.page.evaluate(look, `camera:${id}`);
      const start = Date.now();
      await server.api("PUT", `/walls/view/${room}`, { cameras: [id] });
      const { at, size } = await seen;
      assert.deepEqual(size, [640, 360]);
      times.push(at - start);
    }
    times.shift();
    times.sort((a, b) => a - b);
    const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))];
    console.log(`# ${name}: ${times.length} channels, p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, max ${times.at(-1)} ms (goal ${limit} ms)`);
    // A machine that is busy with other tests is slow; a keyframe that is waited for takes four seconds.
    assert.ok(at(0.5) < limit * 2, `${name}: ${times}`);
    await context.close();
  } finally {
    fleet.end();
    for (const id of fleet.cameras) await server.api("DELETE", `/cameras/${id}`);
  }
}

test("a channel that is pulled already", { timeout: 90000 }, () => measure("open already", 300, true, []));
test("a channel that is called for it", { timeout: 90000 }, () => measure("called now", 1000, false, []));
test("a channel whose device begins between two keyframes", { timeout: 90000 }, () => measure("in the middle of a group", 1500, false, ["--mid-gop"]));
