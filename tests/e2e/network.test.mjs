// Networks that are not kind: only TCP, five packets in a hundred lost each way,
// a signalling connection that breaks.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, guest, pages, sleep, until } from "./lib.mjs";
import { probe } from "./probe.mjs";
import { onlyCandidates, relay } from "./relay.mjs";
import { Server } from "./harness.mjs";

let server, chrome, site;

before(async () => {
  server = await Server.start({ demo: 1 });
  chrome = await browser();
  site = await pages();
});

after(async () => {
  await chrome?.close();
  site?.close();
  await server?.stop();
});

const context = () => chrome.newContext({ permissions: ["camera", "microphone"] });
const h264 = { publishDefaults: { videoCodec: "h264" } };
const enter = (context, identity, more = {}) => guest(context, site, { url: server.url, identity, room: "demo", options: { ...h264, ...more } });

/** Waits until `watcher` has decoded `count` frames of everybody named. */
const decodes = (watcher, names, count) =>
  until(`${watcher.identity} decodes ${count} frames of ${names}`, async () => {
    const seen = await watcher.seen();
    return names.every((name) => (seen[name]?.frames ?? 0) >= count);
  }, 40000);

for (const single of [true, false]) {
  const mode = single ? "one connection" : "two connections";

  test(`a client that reaches the server only by TCP sees and is seen (${mode})`, async () => {
    const blocked = await context();
    await onlyCandidates(blocked, { tcpOnly: true });
    const anna = await enter(blocked, "anna", { singlePeerConnection: single });
    const bert = await enter(await context(), "bert", { singlePeerConnection: single });
    await decodes(anna, ["bert", "camera:demo-1"], 30);
    await decodes(bert, ["anna", "camera:demo-1"], 30);
    await Promise.all([anna, bert].map((it) => it.page.context().close()));
  });

  test(`a broken signalling connection is resumed and pictures go on (${mode})`, async () => {
    const shared = await context();
    const anna = await enter(shared, "anna", { singlePeerConnection: single });
    const bert = await enter(shared, "bert", { singlePeerConnection: single });
    await decodes(bert, ["anna", "camera:demo-1"], 10);
    const before = await bert.seen();
    await bert.page.evaluate(() => window.room.simulateScenario("signal-reconnect"));
    await until("bert has reconnected", () => bert.page.evaluate(() => window.room.state === "connected" && window.events.some((it) => it.startsWith("Reconnected"))));
    await decodes(bert, ["anna"], before.anna.frames + 30);
    await decodes(bert, ["camera:demo-1"], before["camera:demo-1"].frames + 20);
    await decodes(anna, ["bert"], 30);
    await shared.close();
  });
}

test("with five per cent of packets lost each way, pictures hold", async () => {
  const bad = await relay(server.udp, { up: 0.05, down: 0.05 });
  const lossy = await context();
  await onlyCandidates(lossy, { port: bad.port });
  const anna = await enter(lossy, "anna");
  const bert = await enter(lossy, "bert");
  await decodes(bert, ["anna", "camera:demo-1"], 10);
  const start = await bert.seen();
  await sleep(8000);
  const end = await bert.seen();
  assert.ok(bad.stats.lost > 20, `the relay lost ${bad.stats.lost} packets`);
  for (const name of ["anna", "camera:demo-1"]) {
    const frames = end[name].frames - start[name].frames;
    const rate = name === "anna" ? 15 : 12;
    assert.ok(frames >= 8 * rate * 0.75, `${name}: ${frames} frames in 8 s, NACKs ${end[name].nacks}`);
    assert.ok(end[name].nacks > 0, `${name}: losses were asked for again`);
  }
  assert.ok((await server.metric("rongtong_media_retransmitted")) > 0);
  assert.ok(anna);
  await lossy.close();
  bad.close();
});

test("an uplink that loses and mixes up five packets in a hundred costs the recording no picture", async () => {
  await server.signIn();
  const bad = await relay(server.udp, { up: 0.05, reorder: 0.05 });
  const lossy = await context();
  await onlyCandidates(lossy, { port: bad.port });
  const anna = await enter(lossy, "anna", { publishDefaults: { videoCodec: "h264", simulcast: false } });
  const sent = () => anna.page.evaluate(() => window.sent());
  await until("anna sends pictures", async () => (await sent()).frames > 30);
  const recording = await server.api("POST", "/rooms/demo/recordings");
  // A publisher that changes its picture's size makes a track of each.
  const pictures = async () => (await server.api("GET", `/recordings/${recording.id}`)).tracks.filter((it) => it.participant === "anna" && it.kind === "video");
  await until("the picture is being written", async () => (await pictures())[0]?.bytes > 0);
  const first = await sent();
  await sleep(8000);
  const last = await sent();
  await server.api("POST", `/recordings/${recording.id}/stop`);
  const tracks = await until("the recording is closed", async () => (await server.api("GET", `/recordings/${recording.id}`)).state !== "recording" && pictures());
  // About fifty of each are expected in the thousand packets that a browser sends in that time.
  assert.ok(bad.stats.lost > 20 && bad.stats.overtaken > 20, JSON.stringify(bad.stats));
  assert.ok(last.again > 10, `anna sent ${last.again} packets again`);
  let frames = 0;
  for (const track of tracks) {
    const found = await probe(server, `/recordings/${recording.id}/tracks/${track.id}/media.mp4`);
    assert.equal(found.complaints, "");
    frames += found.streams[0].frames;
  }
  assert.ok(frames >= last.frames - first.frames, `${tracks.length} tracks: ${frames} pictures recorded of ${last.frames - first.frames} sent`);
  await lossy.close();
  bad.close();
});
