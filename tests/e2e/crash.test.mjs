// The server is killed with -9 in the middle of a recorded meeting and started again:
// nothing but the last fragment is lost, and everybody comes back without being asked.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gstCamera } from "./camera.mjs";
import { join, newPerson, seen, signIn } from "./console.mjs";
import { browser, sleep, until } from "./lib.mjs";
import { download, probe } from "./probe.mjs";
import { Server } from "./harness.mjs";

const RECORD_MS = 8000;
/** What may be missing: the fragment that was being written, and a little for the disk. */
const LOSS_MS = 2000;
let server, browsers, camera, cameraId, pages, recording, killedAt;

before(async () => {
  camera = await gstCamera(500);
  server = await Server.start();
  await server.signIn();
  // One browser each: two pages of one browser that reopen its fake camera at the same moment
  // may get no frame from it ever again.
  browsers = [await browser(), await browser()];
  await server.api("POST", "/rooms", { name: "night", title: "night" });
  cameraId = (await server.api("POST", "/cameras", { name: "gate", url: camera.url })).id;
  await server.api("POST", "/rooms/night/cameras", { camera_id: cameraId });
  const contexts = await Promise.all(browsers.map((it) => it.newContext({ permissions: ["camera", "microphone"], locale: "zh-CN" })));
  pages = [await signIn(contexts[0], server), await newPerson(contexts[1], server, "bert")];
  for (const page of pages) await join(page, server, "night");
});

after(async () => {
  for (const it of browsers ?? []) await it.close();
  camera?.stop();
  await server?.stop();
});

/** Waits until every page decodes `count` frames of the other page and of the camera. */
const everybodySees = (count, ms) =>
  Promise.all(
    pages.map((page, index) =>
      until(`page ${index} decodes the others`, async () => {
        const all = Object.values(await seen(page));
        return all.length === 2 && all.every((it) => it.frames > count);
      }, ms),
    ),
  );

const find = async (id) => (await server.api("GET", "/recordings")).items.find((it) => it.id === id);

test("a room with two pages and a camera is recorded when the server is killed", async () => {
  await everybodySees(15, 40000);
  recording = await server.api("POST", "/rooms/night/recordings");
  await until("every track is being written", async () => {
    const { tracks } = await server.api("GET", `/recordings/${recording.id}`);
    return new Set(tracks.filter((it) => it.bytes > 0).map((it) => `${it.participant} ${it.kind}`)).size >= 6;
  });
  await sleep(RECORD_MS);
  await server.kill();
  killedAt = Date.now();
});

test("right after the restart the recording is listed as recovered and nearly whole", async () => {
  await server.run();
  const listed = await find(recording.id);
  assert.equal(listed?.state, "recovered", JSON.stringify(listed));
  assert.ok(listed.ended_at);
  const until = (start) => killedAt - Date.parse(listed.started_at) - start;
  assert.ok(listed.duration_ms >= until(0) - LOSS_MS, `${listed.duration_ms} ms of ${until(0)}`);
  const { tracks } = await server.api("GET", `/recordings/${recording.id}`);
  assert.equal(new Set(tracks.map((it) => it.participant)).size, 3);
  const ended = new Map();
  for (const track of tracks) {
    const found = await probe(server, `/recordings/${recording.id}/tracks/${track.id}/media.mp4`);
    assert.equal(found.streams.length, 1);
    assert.equal(found.complaints, "", `${track.participant} ${track.codec} decodes`);
    assert.ok(Math.abs(found.seconds * 1000 - track.duration_ms) < 1000, `${track.codec}: ${found.seconds} s, listed with ${track.duration_ms} ms`);
    // A picture that changes its size is more than one track; the last of them counts.
    const line = `${track.participant} ${track.kind} ${track.codec}`;
    ended.set(line, Math.max(ended.get(line) ?? 0, track.start_ms + found.seconds * 1000));
  }
  for (const [line, end] of ended) {
    // A browser's microphone sends little in silence, and a sample is written when the next one
    // tells its length.
    const spare = line.includes("audio opus") && !line.startsWith("camera:") ? 3000 : 0;
    assert.ok(end >= until(0) - LOSS_MS - spare, `${line} ends at ${end} ms of ${until(0)}`);
  }
});

test("the pages come back by themselves and frames flow again", async () => {
  await until("both pages are connected", async () => {
    const states = await Promise.all(pages.map((page) => page.evaluate(() => window.__rongtong?.room?.state)));
    return states.every((it) => it === "connected");
  }, 60000);
  // Counters begin anew with the new connection, so growth is from one look to the next.
  let last = [];
  const grown = () =>
    last.length === 2 && last.every(([earlier, now]) => Object.keys(now).length === 2 && Object.entries(now).every(([who, it]) => it.frames > earlier[who]?.frames));
  await until("frames of everybody else grow", async () => {
    const looks = [];
    for (const page of pages) looks.push([await seen(page)]);
    await sleep(1500);
    for (const [index, page] of pages.entries()) looks[index].push(await seen(page));
    last = looks;
    return grown();
  }, 40000).catch((error) => {
    throw new Error(`${error.message}\n${JSON.stringify(last)}\n${pages.map((page) => page.lines.slice(-15).join("\n")).join("\n--\n")}\n${server.log()}`);
  });
  console.log(`everybody is back ${((Date.now() - killedAt) / 1000).toFixed(1)} s after the kill`);
});

test("recording goes on by itself in a new recording", async () => {
  const next = await until("a new recording runs", async () => (await server.api("GET", "/recordings")).items.find((it) => it.state === "recording"));
  assert.notEqual(next.id, recording.id);
  assert.equal(next.subject, "night");
  await until("everybody is in it", async () => {
    const { tracks } = await server.api("GET", `/recordings/${next.id}`);
    return new Set(tracks.filter((it) => it.bytes > 0).map((it) => it.participant)).size === 3;
  });
  const stopped = await server.api("POST", `/recordings/${next.id}/stop`);
  assert.equal(stopped.state, "finished");
  const files = await download(server, next.id);
  assert.equal(files.length, 3);
  for (const file of files) {
    assert.ok(file.streams.some((it) => it.codec === "h264"), JSON.stringify(files));
    assert.equal(file.complaints, "");
  }
});
