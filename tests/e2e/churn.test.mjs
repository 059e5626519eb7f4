// A source that comes and goes hundreds of times beside viewers who stay: the next one is seen,
// and what browser and server describe to each other has not grown.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, guest, pages, until } from "./lib.mjs";
import { Server } from "./harness.mjs";

// Three hundred tracks take two minutes; `RONGTONG_CHURN_ROUNDS=6` asks for them.
const ROUNDS = Number(process.env.RONGTONG_CHURN_ROUNDS ?? 2);
const EACH = 50;

let server, chrome, site, context;

before(async () => {
  server = await Server.start();
  await server.signIn();
  chrome = await browser();
  site = await pages();
  context = await chrome.newContext({ permissions: ["camera", "microphone"] });
  // Every connection that the page ever makes.
  await context.addInitScript(() => {
    window.connections = [];
    const Native = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Native {
      constructor(...given) {
        super(...given);
        window.connections.push(this);
      }
    };
  });
  await server.api("POST", "/rooms", { name: "churn", title: "churn" });
});

after(async () => {
  await chrome?.close();
  site?.close();
  await server?.stop();
});

/** Sections of the largest description that the viewer has from the server. */
const sections = (viewer) =>
  viewer.page.evaluate(() =>
    Math.max(...window.connections.map((it) => it.remoteDescription?.sdp.split("\r\nm=").length - 1 || 0)));

/** Publishes and drops a small picture or a tone, again and again. */
const comeAndGo = (publisher, times) =>
  publisher.page.evaluate(async (times) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 120 });
    const context = canvas.getContext("2d");
    const drawing = setInterval(() => context.fillRect(Math.random() * 160, Math.random() * 120, 8, 8), 50);
    const sound = new AudioContext();
    for (let i = 0; i < times; i++) {
      const tone = sound.createMediaStreamDestination();
      const track = i % 3 ? canvas.captureStream(15).getVideoTracks()[0] : tone.stream.getAudioTracks()[0];
      const { track: local } = await window.room.localParticipant.publishTrack(track, { name: `${i}`, simulcast: false });
      await window.room.localParticipant.unpublishTrack(local);
    }
    clearInterval(drawing);
    await sound.close();
  }, times);

test("tracks come and go by the hundred, and the next is seen in a description that has not grown", { timeout: 300000 }, async () => {
  const enter = (identity, singlePeerConnection, publish) =>
    guest(context, site, { url: server.url, identity, room: "churn", options: { singlePeerConnection }, publish });
  const viewers = [await enter("two-connections", false, false), await enter("one-connection", true, false)];
  const told = (viewer) => viewer.page.evaluate(() => window.subscribed ?? 0);
  for (const viewer of viewers) {
    await viewer.page.evaluate(() =>
      window.room.on(window.LivekitClient.RoomEvent.TrackSubscribed, () => (window.subscribed = (window.subscribed ?? 0) + 1)));
  }
  let first;
  for (let round = 0; round < ROUNDS; round++) {
    const publisher = await enter(`publisher-${round}`, round % 2 === 0, false);
    await comeAndGo(publisher, EACH);
    await publisher.page.close();
    first ??= await Promise.all(viewers.map(sections));
  }
  const subscribed = await Promise.all(viewers.map(told));
  const last = await enter("last", false, true);
  for (const viewer of viewers) {
    await until(`${viewer.identity} sees the last`, async () => {
      const seen = (await viewer.seen()).last;
      return seen?.frames >= 10 && seen.packets >= 20;
    }, 30000);
  }
  const now = await Promise.all(viewers.map(sections));
  console.log(`sections after ${EACH} and ${ROUNDS * EACH} tracks: ${first} and ${now}; subscribed: ${subscribed}`);
  // One for data; sound and pictures that are still being given up when the next comes.
  for (const count of now) assert.ok(count >= 3 && count <= 9, `${count} sections`);
  // Some are gone before a viewer has heard of them.
  for (const count of subscribed) assert.ok(count > (ROUNDS * EACH) / 2, `${count} subscriptions`);
  await last.page.close();
});
