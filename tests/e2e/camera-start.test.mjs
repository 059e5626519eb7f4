// Opening a running camera: how long until the first decoded frame, and whether every
// frame from the first on is whole. The simulator's picture says its own number.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { simulatedCamera } from "./camera.mjs";
import { browser, guest, pages, until } from "./lib.mjs";
import { Server } from "./harness.mjs";

const TIMES = 20;
const LIMIT_MS = 300;
/** A picture that stands still for so long waits for the camera's next keyframe. */
const STALL_MS = 800;
/** Half a second after the start, what is seen is what happens. */
const BEHIND_MS = 700;
let server, chrome, site, camera, cameraId;

before(async () => {
  server = await Server.start();
  await server.signIn();
  // Four seconds between keyframes: waiting for the next one would never pass.
  camera = await simulatedCamera({ gop: 4 });
  await server.api("POST", "/rooms", { name: "gate", title: "gate" });
  cameraId = (await server.api("POST", "/cameras", { name: "gate", url: camera.url })).id;
  await server.api("POST", "/rooms/gate/cameras", { camera_id: cameraId });
  chrome = await browser();
  site = await pages();
});

after(async () => {
  await chrome?.close();
  site?.close();
  camera?.stop();
  await server?.stop();
});

/** Runs in the page: subscribes, reads frames as they leave the decoder, unsubscribes. */
async function open([identity, ms]) {
  const CELLS = 20;
  const edge = (width, cell) => Math.floor((width * cell) / CELLS) & ~1;
  const ones = (value) => value.toString(2).replaceAll("0", "").length;
  const expected = (value, cell) => {
    if (cell === 0) return true;
    if (cell === 1) return false;
    if (cell === 18) return ones(value & 0x5555) % 2 === 1;
    if (cell === 19) return ones(value & 0xaaaa) % 2 === 0;
    return (value & (0x8000 >> (cell - 2))) !== 0;
  };
  // The number in one row of blocks, or null when it is damaged.
  const code = (luma, stride, width, height, rowsUp) => {
    const row = Math.max(8, Math.floor(height / 24)) & ~1;
    const y = height - rowsUp * row + row / 2;
    const cells = Array.from({ length: CELLS }, (_, cell) => luma[y * stride + ((edge(width, cell) + edge(width, cell + 1)) >> 1)] > 128);
    const value = cells.slice(2, 18).reduce((value, bit) => (value << 1) | bit, 0);
    return cells.every((bit, cell) => bit === expected(value, cell)) ? value : null;
  };
  // A strip of the grey ramp that nothing moves over.
  const ramp = (luma, stride, width, height) => {
    const y = height - (Math.max(8, Math.floor(height / 24)) & ~1) * 2 - 8;
    return Array.from({ length: 16 }, (_, step) => luma[y * stride + Math.floor((width * (step + 0.5)) / 16)]);
  };

  const publication = [...window.room.remoteParticipants.get(identity).trackPublications.values()].find((it) => it.kind === "video");
  const subscribed = new Promise((done) => window.room.once("trackSubscribed", done));
  const start = performance.now();
  publication.setSubscribed(true);
  const track = await subscribed;
  const reader = new MediaStreamTrackProcessor({ track: track.mediaStreamTrack }).readable.getReader();
  const frames = [];
  // Past the group it is given at the start, into what comes live.
  while (frames.length < 10 || frames.at(-1).at < ms) {
    const { value: frame, done } = await reader.read();
    if (done) break;
    const at = performance.now() - start;
    const luma = new Uint8Array(frame.allocationSize());
    const [{ offset, stride }] = await frame.copyTo(luma);
    const { width, height } = frame.visibleRect;
    const plane = luma.subarray(offset);
    frames.push({ at, stamp: frame.timestamp, width, height, number: code(plane, stride, width, height, 1), wall: code(plane, stride, width, height, 2), late: 0, ramp: ramp(plane, stride, width, height) });
    frames.at(-1).late = (Date.now() - frames.at(-1).wall) & 0xffff;
    frame.close();
  }
  await reader.cancel();
  const gone = new Promise((done) => window.room.once("trackUnsubscribed", done));
  publication.setSubscribed(false);
  await gone;
  return frames;
}

for (const single of [true, false]) test(`a running camera is opened ${TIMES} times by ${single ? "one connection" : "two connections"}: p95 under ${LIMIT_MS} ms, no broken picture`, async () => {
  const context = await chrome.newContext();
  const identity = `camera:${cameraId}`;
  const viewer = await guest(context, site, { url: server.url, identity: "viewer", room: "gate", publish: false, options: { singlePeerConnection: single }, connect: { autoSubscribe: false } });
  await until("the camera is live and announced", async () => {
    const { state } = await server.api("GET", `/cameras/${cameraId}`);
    const announced = await viewer.page.evaluate((identity) => [...(window.room.remoteParticipants.get(identity)?.trackPublications.values() ?? [])].some((it) => it.kind === "video"), identity);
    return state === "live" && announced;
  });
  // The first time brings up the media connection itself; the page is then connected.
  await viewer.page.evaluate(open, [identity, 2000]);

  const [runs, back, stalls] = [[], [], []];
  let reference;
  for (let i = 0; i < TIMES; i++) {
    // A different place between two keyframes each time.
    await viewer.page.waitForTimeout((i * 370) % 1100);
    const frames = await viewer.page.evaluate(open, [identity, 600]);
    runs.push(frames);
    reference ??= frames.at(-1).ramp;
    for (const [index, frame] of frames.entries()) {
      assert.equal(`${frame.width}x${frame.height}`, "640x360");
      assert.notEqual(frame.number, null, `run ${i}: frame ${index} can't be read`);
      assert.notEqual(frame.wall, null, `run ${i}: the clock of frame ${index} can't be read`);
      const off = frame.ramp.reduce((sum, luma, step) => sum + Math.abs(luma - reference[step]), 0) / 16;
      assert.ok(off < 10, `run ${i}: frame ${index} is off by ${off} in brightness`);
      if (index === 0) continue;
      const step = ((frame.number - frames[index - 1].number + 0x8000) & 0xffff) - 0x8000;
      if (step <= 0) back.push(`run ${i}: ${frames[index - 1].number} ${frame.number}`);
      const gap = frame.at - frames[index - 1].at;
      if (gap > STALL_MS) stalls.push(`run ${i}: ${gap.toFixed(0)} ms after frame ${index - 1}`);
    }
  }
  await context.close();
  const sorted = runs.map((frames) => frames[0].at).sort((a, b) => a - b);
  const p = (share) => sorted[Math.ceil(share * sorted.length) - 1];
  const late = runs.map((frames) => frames.at(-1).late).sort((a, b) => a - b);
  console.log(`first decoded frame: p50 ${p(0.5).toFixed(0)} ms, p95 ${p(0.95).toFixed(0)} ms, longest ${sorted.at(-1).toFixed(0)} ms`);
  console.log(`behind the camera soon after: median ${late[TIMES / 2]} ms, longest ${late.at(-1)} ms`);
  assert.deepEqual(stalls, [], "once it is there the picture goes on");
  assert.deepEqual(back, [], "the picture never jumps back");
  assert.ok(late.at(-1) < BEHIND_MS, `the viewer catches up with the camera: ${late}`);
  assert.ok(p(0.95) < LIMIT_MS, `p95 is ${p(0.95)} ms: ${sorted.map((it) => it.toFixed(0))}`);
});
