// Unmodified livekit-client, an older one and the latest, each with one and with two
// peer connections: what people do in a meeting, as they see it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { browser, guest, pages, until } from "./lib.mjs";
import { Server } from "./harness.mjs";

let server, chrome, site;

before(async () => {
  server = await Server.start();
  await server.signIn();
  chrome = await browser();
  site = await pages();
});

after(async () => {
  await chrome?.close();
  site?.close();
  await server?.stop();
});

/** Small pictures: two browsers encode and decode on the machine that also runs the server. */
const small = { videoCaptureDefaults: { resolution: { width: 640, height: 360, frameRate: 15 } } };

for (const client of ["2.16", "latest"]) {
  for (const singlePeerConnection of [true, false]) {
    describe(`livekit-client ${client}, ${singlePeerConnection ? "one connection" : "two connections"}`, () => {
      const room = `c-${client.replace(".", "")}-${singlePeerConnection ? 1 : 2}`;
      let context, anna, bert;

      const enter = (identity, { options = {}, ...more } = {}) =>
        guest(context, site, { url: server.url, identity, room, client, options: { singlePeerConnection, ...small, ...options }, ...more });

      const decodes = (who, names, frames = 10, packets = 20) =>
        until(`${who.identity} sees and hears ${names}`, async () => {
          const seen = await who.seen();
          return names.every((name) => seen[name]?.frames >= frames && seen[name]?.packets >= packets);
        }, 30000);

      /** A remote publication of `name` as `who` sees it. */
      const publication = (who, name, source) =>
        who.page.evaluate(([name, source]) => {
          const it = window.room.remoteParticipants.get(name)?.getTrackPublication(source);
          return it ? { sid: it.trackSid, muted: it.isMuted, subscribed: it.isSubscribed, simulcasted: it.simulcasted } : null;
        }, [name, source]);

      before(async () => {
        context = await chrome.newContext({ permissions: ["camera", "microphone"] });
        await server.api("POST", "/rooms", { name: room, title: room });
        anna = await enter("anna");
        bert = await enter("bert");
      });

      after(() => context?.close());

      test("two guests see and hear each other, in H.264 and Opus", async () => {
        await Promise.all([decodes(anna, ["bert"]), decodes(bert, ["anna"])]);
        for (const [who, other] of [[anna, "bert"], [bert, "anna"]]) {
          const seen = (await who.seen())[other];
          assert.equal(seen.codec, "video/H264");
          assert.match(seen.audioCodec, /^audio\/(opus|red)$/);
        }
      });

      test("reliable and lossy data arrives, both ways", async () => {
        for (const [from, to] of [[anna, bert], [bert, anna]]) {
          const words = `reliable from ${from.identity}`;
          await from.page.evaluate((words) => window.room.localParticipant.publishData(new TextEncoder().encode(words), { reliable: true }), words);
          await until(words, () => to.page.evaluate(([name, words]) => window.data.some(([who, text]) => who === name && text === words), [from.identity, words]));
          const lossy = `lossy from ${from.identity}`;
          // Lossy may be lost: it is said until it is heard.
          await until(lossy, async () => {
            await from.page.evaluate((words) => window.room.localParticipant.publishData(new TextEncoder().encode(words), { reliable: false }), lossy);
            return to.page.evaluate(([name, words]) => window.data.some(([who, text]) => who === name && text === words), [from.identity, lossy]);
          });
          const count = await to.page.evaluate((words) => window.data.filter(([, text]) => text === words).length, words);
          assert.equal(count, 1, "what is reliable comes once");
        }
      });

      test("who speaks is seen", async () => {
        await anna.page.evaluate(() => window.hum(440));
        await until("bert sees anna speak", () => bert.page.evaluate(() => window.room.activeSpeakers.some((it) => it.identity === "anna")));
        await until("anna sees herself speak", () => anna.page.evaluate(() => window.room.localParticipant.isSpeaking));
        await until("bert hears her tone", async () => Math.abs((await bert.tone("anna"))?.hz - 440) < 12);
        await anna.page.evaluate(() => {
          const { localParticipant } = window.room;
          return localParticipant.unpublishTrack([...localParticipant.trackPublications.values()].find((it) => it.trackName === "hum").track);
        });
        await until("bert sees anna be silent", () => bert.page.evaluate(() => !window.room.activeSpeakers.some((it) => it.identity === "anna")));
      });

      test("a muted microphone is seen, and heard again after", async () => {
        await anna.page.evaluate(() => window.room.localParticipant.setMicrophoneEnabled(false));
        await until("bert sees anna muted", async () => (await publication(bert, "anna", "microphone"))?.muted);
        await anna.page.evaluate(() => window.room.localParticipant.setMicrophoneEnabled(true));
        await until("bert sees anna unmuted", async () => (await publication(bert, "anna", "microphone"))?.muted === false);
        const { packets } = (await bert.seen()).anna;
        await decodes(bert, ["anna"], 1, packets + 20);
      });

      test("a subscriber chooses the layer", async () => {
        const choose = (quality) =>
          bert.page.evaluate((quality) => window.room.remoteParticipants.get("anna").getTrackPublication("camera").setVideoQuality(window.LivekitClient.VideoQuality[quality]), quality);
        const width = async () => (await bert.seen()).anna?.width;
        assert.ok((await publication(bert, "anna", "camera")).simulcasted);
        await until("the big picture is there", async () => (await width()) === 640, 30000);
        await choose("LOW");
        await until("the small picture is there", async () => (await width()) > 0 && (await width()) < 640, 30000);
        await choose("HIGH");
        await until("the big picture is back", async () => (await width()) === 640, 30000);
        await bert.page.evaluate(() => window.room.remoteParticipants.get("anna").getTrackPublication("camera").setVideoDimensions({ width: 160, height: 90 }));
        await until("dimensions choose as well", async () => (await width()) < 640, 30000);
        await bert.page.evaluate(() => window.room.remoteParticipants.get("anna").getTrackPublication("camera").setVideoDimensions({ width: 640, height: 360 }));
      });

      test("a camera that is unpublished is gone, and published again is seen again", async () => {
        const old = await publication(bert, "anna", "camera");
        await anna.page.evaluate(async () => {
          const { localParticipant } = window.room;
          await localParticipant.unpublishTrack(localParticipant.getTrackPublication("camera").track);
        });
        await until("bert sees it go", async () => (await publication(bert, "anna", "camera")) === null);
        await anna.page.evaluate(() => window.room.localParticipant.setCameraEnabled(true));
        const now = await until("bert gets the new one", async () => {
          const it = await publication(bert, "anna", "camera");
          return it?.subscribed && it;
        });
        assert.notEqual(now.sid, old.sid);
        await decodes(bert, ["anna"]);
      });

      test("who comes late sees everybody, who may not publish can't, who leaves is gone", async () => {
        const carl = await enter("carl", { publish: false, grants: { canPublish: false } });
        await decodes(carl, ["anna", "bert"]);
        const refused = await carl.page.evaluate(() => window.room.localParticipant.setMicrophoneEnabled(true).then(() => "published", (error) => error.message));
        assert.match(refused, /permission/i);
        const isThere = (name) => anna.page.evaluate((name) => window.room.remoteParticipants.has(name), name);
        assert.ok(await isThere("carl"));
        const shown = await anna.page.evaluate(() => window.room.remoteParticipants.get("carl").trackPublications.size);
        assert.equal(shown, 0);
        await carl.page.evaluate(() => window.room.disconnect());
        await until("anna sees carl leave", async () => !(await isThere("carl")));
        await carl.page.close();
      });

      test("where H.264 is preferred, VP8 is published as H.264", async () => {
        const dora = await enter("dora", { options: { publishDefaults: { videoCodec: "vp8" } } });
        await decodes(bert, ["dora"]);
        assert.equal((await bert.seen()).dora.codec, "video/H264");
        await dora.page.close();
        await until("anna sees dora go", () => anna.page.evaluate(() => !window.room.remoteParticipants.has("dora")), 40000);
      });
    });
  }
}
