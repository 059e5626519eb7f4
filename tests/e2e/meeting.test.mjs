// First light: two people with the console and a camera of somebody else's make in
// one recorded room. Frames are counted, sound is measured, the recording is read
// by ffprobe and played in the page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gstCamera } from "./camera.mjs";
import { join, seen, signIn, tone } from "./console.mjs";
import { browser, sleep, until } from "./lib.mjs";
import { download, probe } from "./probe.mjs";
import { Server } from "./harness.mjs";

const HZ = 700;
let server, chrome, camera, cameraId, first, second, recording;

before(async () => {
  camera = await gstCamera(HZ, "main");
  server = await Server.start();
  await server.signIn();
  chrome = await browser();
});

after(async () => {
  await chrome?.close();
  camera?.stop();
  await server?.stop();
});

test("a camera is tested, added and brought into a room", async () => {
  const report = await server.api("POST", "/cameras/test", { url: camera.url });
  assert.ok(report.ok, JSON.stringify(report.steps));
  assert.ok(report.steps.some((step) => step.name === "first_frame" && step.ok));
  await server.api("POST", "/rooms", { title: "第一次会商", name: "first" });
  cameraId = (await server.api("POST", "/cameras", { name: "东门", url: camera.url })).id;
  const response = await server.api("POST", "/rooms/first/cameras", { camera_id: cameraId }, true);
  assert.ok(response.ok, await response.text());
});

test("two pages with the console decode each other and the camera, and hear its tone", async () => {
  const contexts = [];
  for (let i = 0; i < 2; i++) contexts.push(await chrome.newContext({ permissions: ["camera", "microphone"], locale: "zh-CN" }));
  // Two people: an identity is one presence in a room.
  await server.api("POST", "/people", { account: "bert", name: "伯特", role: "dispatcher", password: "Rongtong-2027!" });
  first = await signIn(contexts[0], server);
  await contexts[1].request.post(`${server.url}/api/v1/session`, { data: { account: "bert", password: "Rongtong-2027!" } });
  second = await contexts[1].newPage();
  second.lines = [];
  const person = await (await contexts[1].request.get(`${server.url}/api/v1/session`)).json();
  if (person.person?.must_change_password) {
    await contexts[1].request.post(`${server.url}/api/v1/session/password`, { data: { old_password: "Rongtong-2027!", new_password: "Rongtong-2028!" } });
  }
  await join(first, server, "first");
  await join(second, server, "first");
  for (const page of [first, second]) {
    await until("everybody else is decoded", async () => {
      const all = Object.entries(await seen(page));
      return all.length === 2 && all.every(([, it]) => it.frames > 20 && it.packets > 50);
    }, 40000);
    const { profile } = (await seen(page))[`camera:${cameraId}`];
    assert.match(profile, /^4d/, "a camera of main profile is agreed as one");
    const heard = await tone(page, `camera:${cameraId}`);
    assert.ok(Math.abs(heard.hz - HZ) < 15, `the camera's tone is heard at ${heard.hz} Hz`);
    assert.ok(heard.db > -70, `loud enough: ${heard.db} dB`);
  }
});

test("the room is recorded from the page and the recording has the right tracks and length", async () => {
  const page = first;
  await page.mouse.move(200, 200);
  await page.getByTestId("meet-record").click();
  await until("the recording runs", async () => (await server.api("GET", "/recordings")).items.some((it) => it.state === "recording"));
  await sleep(8000);
  await page.mouse.move(220, 220);
  recording = (await server.api("GET", "/recordings")).items[0];
  recording = await server.api("POST", `/recordings/${recording.id}/stop`);
  assert.equal(recording.state, "finished");
  assert.ok(Math.abs(recording.duration_ms - 8000) < 2500, `${recording.duration_ms} ms`);
  const count = (codec) => recording.tracks.filter((it) => it.codec === codec).length;
  const people = new Set(recording.tracks.map((it) => it.participant));
  assert.equal(people.size, 3, JSON.stringify(recording.tracks));
  assert.equal(count("pcma"), 1);
  assert.equal(count("opus"), 3, "two microphones and the camera's copy");
  for (const participant of people) {
    // A publisher may change its picture's size; each size is a track of its own.
    const video = recording.tracks.filter((it) => it.participant === participant && it.codec === "h264");
    const length = video.reduce((sum, it) => sum + it.duration_ms, 0);
    assert.ok(length > 5000, `${participant}: ${length} ms of picture`);
  }
  const tracks = [];
  for (const track of recording.tracks) {
    const found = await probe(server, `/recordings/${recording.id}/tracks/${track.id}/media.mp4`);
    assert.equal(found.streams.length, 1);
    assert.ok(Math.abs(found.streams[0].seconds * 1000 - track.duration_ms) < 1000, `${track.codec}: ${found.streams[0].seconds} s of ${track.duration_ms} ms`);
    assert.equal(found.complaints, "", `${track.codec} of ${track.participant} decodes`);
    tracks.push(found);
  }
  const files = await download(server, recording.id);
  const told = JSON.stringify([files.map((it) => [it.name, it.seconds]), recording.tracks.map((it) => [it.participant_name, it.codec, it.width, it.start_ms, it.duration_ms])]);
  assert.equal(files.length, 3, `a file for each of the two people and the camera: ${told}`);
  for (const file of files) {
    assert.deepEqual(file.streams.map((it) => it.codec), ["h264", "opus"], `${file.name}: one track of pictures, one of sound`);
    assert.equal(file.complaints, "", `${file.name} decodes`);
    // The camera's picture begins with the group it had in store, a little before the recording.
    const lead = Math.max(0, ...recording.tracks.map((it) => -it.start_ms));
    assert.ok(file.seconds * 1000 < recording.duration_ms + lead + 500 && file.seconds > 5, `${file.name}: ${file.seconds} s of a recording of ${recording.duration_ms} ms`);
  }
  // Where a publisher changed its picture's size, its parts are one track with all their pictures.
  const pictures = (streams) => streams.filter((it) => it.kind === "video").reduce((sum, it) => sum + it.frames, 0);
  assert.equal(pictures(files.flatMap((it) => it.streams)), pictures(tracks.flatMap((it) => it.streams)));
});

test("the recording plays in the page and can be sought", async () => {
  await second.context().close();
  await first.goto(`${server.url}/recordings/${recording.id}`);
  await until("the player is there", () => first.evaluate(() => window.__rongtong?.player?.elements?.length > 0));
  const shown = () =>
    first.evaluate(() => {
      const { player } = window.__rongtong;
      return {
        position: player.position,
        duration: player.duration,
        videos: player.elements
          .filter((it) => it instanceof HTMLVideoElement)
          .map((it) => ({ time: it.currentTime, frames: it.getVideoPlaybackQuality().totalVideoFrames, width: it.videoWidth })),
      };
    });
  await first.getByTestId("rec-toggle").click();
  await until("all pictures play", async () => {
    const now = await shown();
    return now.position > 1 && now.videos.filter((it) => it.frames > 5 && it.width > 0).length >= 3;
  }, 30000);
  await first.evaluate(() => window.__rongtong.player.seek(4));
  await until("after the seek pictures go on from there", async () => {
    const now = await shown();
    return now.position >= 4 && now.position < 8.5 && now.videos.filter((it) => it.time > 2).length >= 2;
  }, 20000);
});

test("a deleted recording is gone", async () => {
  const response = await server.api("DELETE", `/recordings/${recording.id}`, undefined, true);
  assert.equal(response.status, 204);
  assert.equal((await server.api("GET", `/recordings/${recording.id}`, undefined, true)).status, 404);
});
