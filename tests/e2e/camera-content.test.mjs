// Cameras with habits that people report, by what is in their pictures and sound: every picture says its own
// number, every camera has a tone of its own. Looked at by a viewer in Chromium and in the downloaded recording.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { gstCamera, simulatedCamera } from "./camera.mjs";
import { Server } from "./harness.mjs";
import { browser, guest, pages, sleep, until } from "./lib.mjs";
import { download } from "./probe.mjs";
import { quirkyCamera, withBody } from "./quirk.mjs";

const FPS = 10;
/** Pictures from one keyframe to the next. */
const GROUP = 2 * FPS;
const [WIDTH, HEIGHT] = [320, 180];
const TONES = [440, 554, 659, 880, 1109, 1319];
/** 东门 in GBK. */
const GBK = "\xb6\xab\xc3\xc5";

const restarted = (packet) => {
  packet.writeUInt16BE((packet.readUInt16BE(2) + 30_000) & 0xffff, 2);
  packet.writeUInt32BE((packet.readUInt32BE(4) + 1_000_000_000) >>> 0, 4);
  packet.writeUInt32BE((packet.readUInt32BE(8) ^ 0x5a5a5a5a) >>> 0, 8);
  return packet;
};

/** What is told of a camera that changes under way, the newest of it. */
const TOLD = { "everything new on the way": "ssrc", "another size on the way": "size" };

const HABITS = {
  "no channels, another SSRC": {
    answer: (text, method) => (method === "SETUP" ? text.replace(/;interleaved=[\d-]+/i, "").replace(/(;ssrc=)[0-9a-f]+/i, "$1DEADBEEF").replace(/^(transport:[^\r]*)(?=\r)/im, (line) => (/ssrc/i.test(line) ? line : `${line};ssrc=DEADBEEF`)) : text),
  },
  "a description against the rules": {
    answer: (text, method) =>
      method === "DESCRIBE"
        ? withBody(text, (body) => body.replace(/^o=.*$/m, "o=-").replace(/^s=.*$/m, `s=${GBK}`).replace(/^m=video \d+/m, "m=video -1").replace(/^t=.*\r\n/m, ""))
        : text,
  },
  "a marker on every packet": {
    packet: (channel, packet) => {
      if (channel === 0) packet[1] |= 0x80;
      return packet;
    },
  },
  "everything new on the way": {
    packet: (channel, packet, changed) => (changed ? (channel % 2 === 0 ? restarted(packet) : undefined) : packet),
  },
  "kept alive by GET_PARAMETER alone": {
    only: "GET_PARAMETER",
    lives: 6_000,
    answer: (text) => text.replace(/^(session:[^;\r\n]+).*$/im, "$1;timeout=5"),
  },
  "another size on the way": {},
  "a login on every request": { login: { user: "admin", password: "12/34#门 ", nonce: "f1a7" } },
};

let server, chrome, site, simulator, larger, sounding;
const cameras = [];

before(async () => {
  server = await Server.start();
  await server.signIn();
  const names = Object.keys(HABITS);
  simulator = await simulatedCamera({ fps: FPS, cameras: names.length, more: ["--width", String(WIDTH), "--height", String(HEIGHT), "--kbit", "300"] });
  larger = await simulatedCamera({ fps: FPS, more: ["--kbit", "400"] });
  for (const [index, name] of names.entries()) {
    const url = simulator.url.replace(/cam1$/, `cam${index + 1}`);
    const other = name === "another size on the way" ? larger.url : undefined;
    cameras.push({ name, hz: TONES[index % 6], login: HABITS[name].login, breaks: name in TOLD, ...(await quirkyCamera(url, HABITS[name], other)) });
  }
  // The larger one is another simulator's first camera.
  const grows = cameras.find((camera) => camera.name === "another size on the way");
  grows.tones = [grows.hz, TONES[0]];
  sounding = await gstCamera(1000, "baseline", "audio/x-raw,rate=16000,channels=1 ! avenc_aac ! aacparse ! rtpmp4gpay name=pay1 pt=97");
  cameras.push({ name: "AAC at 16 kHz", hz: 1000, pictures: false, ...sounding });
  await server.api("POST", "/rooms", { name: "gate", title: "门" });
  for (const camera of cameras) {
    camera.id = (await server.api("POST", "/cameras", { name: camera.name, url: camera.url, username: camera.login?.user, password: camera.login?.password })).id;
    await server.api("POST", "/rooms/gate/cameras", { camera_id: camera.id });
  }
  chrome = await browser();
  site = await pages();
});

after(async () => {
  await chrome?.close();
  site?.close();
  cameras.forEach((camera) => camera.stop());
  simulator?.stop();
  larger?.stop();
  await server?.stop();
});

/** The number in the lowest row of blocks (16 bits between marks and parities), or null when it is damaged. */
function code(luma, stride, width, height) {
  const CELLS = 20;
  const edge = (cell) => Math.floor((width * cell) / CELLS) & ~1;
  const ones = (value) => value.toString(2).replaceAll("0", "").length;
  const row = Math.max(8, Math.floor(height / 24)) & ~1;
  const y = height - row + row / 2;
  const cells = Array.from({ length: CELLS }, (_, cell) => luma[y * stride + ((edge(cell) + edge(cell + 1)) >> 1)] > 128);
  const value = cells.slice(2, 18).reduce((value, bit) => (value << 1) | bit, 0);
  const right = cells[0] && !cells[1] && cells[18] === (ones(value & 0x5555) % 2 === 1) && cells[19] === (ones(value & 0xaaaa) % 2 === 0);
  return right ? value : null;
}

/** In the page: reads all that comes of these people until `window.enough`. */
async function watch([identities, source]) {
  const code = new Function(`return ${source}`)();
  const read = async (identity) => {
    const publication = [...window.room.remoteParticipants.get(identity).trackPublications.values()].find((it) => it.kind === "video");
    const reader = new MediaStreamTrackProcessor({ track: publication.track.mediaStreamTrack, maxBufferSize: 30 }).readable.getReader();
    const frames = [];
    while (!window.enough) {
      const { value: frame, done } = await reader.read();
      if (done) break;
      const luma = new Uint8Array(frame.allocationSize());
      const [{ offset, stride }] = await frame.copyTo(luma);
      const { width, height } = frame.visibleRect;
      frames.push({ width, number: code(luma.subarray(offset), stride, width, height) });
      frame.close();
    }
    await reader.cancel();
    return frames;
  };
  return Promise.all(identities.map(read));
}

/** Each picture of a file as its number, at the size of the first. */
async function numbers(file) {
  const child = spawn("ffmpeg", ["-v", "error", "-i", file, "-map", "0:v", "-fps_mode", "passthrough", "-s", `${WIDTH}x${HEIGHT}`, "-pix_fmt", "gray", "-f", "rawvideo", "-"]);
  const chunks = [];
  for await (const chunk of child.stdout) chunks.push(chunk);
  const all = Buffer.concat(chunks);
  return Array.from({ length: all.length / (WIDTH * HEIGHT) }, (_, at) => code(all.subarray(at * WIDTH * HEIGHT, (at + 1) * WIDTH * HEIGHT), WIDTH, WIDTH, HEIGHT));
}

/** The frequency between two times of a file's sound (s), by its passages through zero. */
async function pitch(file, from, to) {
  const child = spawn("ffmpeg", ["-v", "error", "-i", file, "-map", "0:a", "-ss", String(from), "-to", String(to), "-ac", "1", "-ar", "48000", "-f", "s16le", "-"]);
  const chunks = [];
  for await (const chunk of child.stdout) chunks.push(chunk);
  const all = Buffer.concat(chunks);
  const sound = new Int16Array(all.buffer, all.byteOffset, all.length >> 1);
  let passages = 0;
  for (let at = 1; at < sound.length; at++) passages += sound[at - 1] < 0 !== sound[at] < 0;
  return (passages * 48_000) / 2 / sound.length;
}

/** Splits numbers where they do not go on by one. */
function runs(all) {
  const out = [];
  for (const number of all) {
    if (out.length && number === ((out.at(-1).at(-1) + 1) & 0xffff)) out.at(-1).push(number);
    else out.push([number]);
  }
  return out;
}

const looked = {};
let recording;

test("a viewer sees each camera's pictures, each once and in order, and hears its tone", async () => {
  const context = await chrome.newContext();
  const viewer = await guest(context, site, { url: server.url, identity: "viewer", room: "gate", publish: false });
  const seen = cameras.filter((camera) => camera.pictures !== false);
  const identities = seen.map((camera) => `camera:${camera.id}`);
  await until("every camera is seen", async () => {
    const all = await viewer.seen();
    return identities.every((identity) => all[identity]?.frames > 5 && all[identity].packets > 20);
  }, 30_000);
  recording = await server.api("POST", "/rooms/gate/recordings");
  const reading = viewer.page.evaluate(watch, [identities, code.toString()]);
  await sleep(4_000);
  seen.forEach((camera) => camera.change?.());
  await sleep(5_000);
  for (const camera of seen) looked[camera.name] = { heard: (await viewer.tone(`camera:${camera.id}`)).hz };
  await viewer.page.evaluate(() => (window.enough = true));
  const frames = await reading;
  recording = await server.api("POST", `/recordings/${recording.id}/stop`);
  for (const camera of cameras) {
    const { state, last_break } = await server.api("GET", `/cameras/${camera.id}`);
    assert.equal(state, "live", camera.name);
    assert.equal(last_break?.reason, TOLD[camera.name], `${camera.name}: what changed under way is told, with its reason`);
  }
  for (const [index, camera] of seen.entries()) {
    const all = frames[index];
    const what = `${camera.name}: ${all.map((it) => it.number).join(" ")}`;
    assert.ok(all.every((it) => it.number !== null), `a picture can't be read of ${what}`);
    const steps = all.slice(1).map((it, at) => ((it.number - all[at].number + 0x8000) & 0xffff) - 0x8000);
    assert.ok(steps.every((step) => step > 0), `a picture twice, or one of before, of ${what}`);
    // What a camera changes without a word ends its group of pictures: nothing says that none is missing.
    const missing = steps.filter((step) => step > 5);
    assert.ok(camera.breaks ? missing.length === 1 && missing[0] <= GROUP + 3 : missing.length === 0, `missing are ${missing} of ${what}`);
    assert.ok(all.length > 9 * FPS * 0.85 - (camera.breaks ? GROUP : 0), `${all.length} pictures of ${what}`);
    assert.deepEqual([...new Set(all.map((it) => it.width))], camera.tones ? [WIDTH, 640] : [WIDTH], camera.name);
    const hz = camera.tones?.[1] ?? camera.hz;
    assert.ok(Math.abs(looked[camera.name].heard - hz) < 15, `${camera.name} is heard at ${looked[camera.name].heard} Hz instead of ${hz}`);
  }
  await context.close();
});

test("the downloaded recording holds every picture once, and each tone", async () => {
  const files = await download(server, recording.id);
  assert.equal(files.length, cameras.length, files.map((it) => it.name).join(", "));
  for (const camera of cameras) {
    const file = files.find((it) => it.name.startsWith(camera.name.replaceAll(/[^\p{L}\p{N}\-_. ]/gu, "_")));
    assert.ok(file, `${camera.name} is among ${files.map((it) => it.name)}`);
    assert.deepEqual(file.streams.map((it) => it.kind), ["video", "audio"], camera.name);
    assert.equal(file.complaints, "", camera.name);
    // It begins with the group of pictures that was there before.
    assert.ok(Math.abs(file.seconds - recording.duration_ms / 1000) < 2.6, `${camera.name}: ${file.seconds} s of ${recording.duration_ms} ms`);
    if (camera.pictures !== false) {
      const all = await numbers(file.file);
      assert.ok(all.every((number) => number !== null), `a picture can't be read of ${camera.name}: ${all}`);
      const found = runs(all);
      const told = `${camera.name}: ${found.map((run) => `${run[0]}-${run.at(-1)}`)}`;
      assert.equal(found.length, camera.breaks ? 2 : 1, told);
      assert.ok(!camera.breaks || (found[1][0] - found[0].at(-1) > 1 && found[1][0] - found[0].at(-1) <= GROUP + 3), told);
      assert.ok(all.length > 9 * FPS - 5 - (camera.breaks ? GROUP : 0), told);
    }
    const [first, last] = camera.tones ?? [camera.hz, camera.hz];
    const [begin, end] = [await pitch(file.file, 2.5, 3.5), await pitch(file.file, file.seconds - 3, file.seconds - 1)];
    assert.ok(Math.abs(begin - first) < 8, `${camera.name} begins at ${begin} Hz instead of ${first}`);
    assert.ok(Math.abs(end - last) < 8, `${camera.name} ends at ${end} Hz instead of ${last}`);
  }
});
