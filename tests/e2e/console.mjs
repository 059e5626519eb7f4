// The console as a person uses it.

import { sleep, until } from "./lib.mjs";
import { password } from "./harness.mjs";

/** A page that keeps what its console says in `lines`. */
async function pageOf(context) {
  const page = await context.newPage();
  page.lines = [];
  page.on("console", (message) => page.lines.push(message.text().slice(0, 300)));
  page.on("pageerror", (error) => page.lines.push(`error: ${error.message}`));
  return page;
}

/** Signs in by the page. */
export async function signIn(context, server) {
  const page = await pageOf(context);
  await page.goto(`${server.url}/rooms`);
  const account = page.getByTestId("signin-account");
  await account.waitFor({ timeout: 15000 }).catch(async () => {
    throw new Error(`no sign-in page; was the console built before the server? ${(await page.content()).slice(0, 300)}`);
  });
  await account.fill("admin");
  await page.getByTestId("signin-password").fill(password);
  await page.getByTestId("signin-submit").click();
  await page.getByTestId("signin-submit").waitFor({ state: "detached", timeout: 15000 });
  return page;
}

/** A page of a new person, signed in without the form. */
export async function newPerson(context, server, account, role = "dispatcher") {
  const secret = "Rongtong-2027!";
  await server.api("POST", "/people", { account, name: account, role, password: secret });
  const answer = await context.request.post(`${server.url}/api/v1/session`, { data: { account, password: secret } });
  if (!answer.ok()) throw new Error(`${account} can't sign in: ${answer.status()} ${await answer.text()}`);
  return pageOf(context);
}

/** Joins a meeting with camera and microphone. */
export async function join(page, server, room) {
  await page.goto(`${server.url}/meet/${room}`);
  await page.getByTestId("prejoin-join").click({ timeout: 15000 });
  await until("the meeting is joined", () => page.evaluate(() => window.__rongtong?.room?.state === "connected"), 20000).catch((error) => {
    throw new Error(`${error.message}\n${page.lines.slice(-10).join("\n")}`);
  });
}

/** Frames decoded, the H.264 profile agreed for them, and audio packets, by identity. */
export const seen = (page) =>
  page.evaluate(async () => {
    const out = {};
    for (const participant of window.__rongtong.room.remoteParticipants.values()) {
      const entry = (out[participant.identity] = { frames: 0, packets: 0 });
      for (const publication of participant.trackPublications.values()) {
        const report = await publication.track?.getRTCStatsReport();
        for (const it of report?.values() ?? []) {
          if (it.type !== "inbound-rtp") continue;
          if (it.kind === "video") {
            entry.frames = it.framesDecoded ?? 0;
            entry.profile = report.get(it.codecId)?.sdpFmtpLine?.match(/profile-level-id=(\w{6})/)?.[1];
          } else entry.packets = it.packetsReceived ?? 0;
        }
      }
    }
    return out;
  });

/** The loudest frequency in a participant's sound, Hz. */
export async function tone(page, identity) {
  await page.evaluate(async (identity) => {
    const context = new AudioContext();
    await context.resume();
    const analyser = context.createAnalyser();
    analyser.fftSize = 8192;
    const participant = window.__rongtong.room.remoteParticipants.get(identity);
    const publication = [...participant.trackPublications.values()].find((it) => it.kind === "audio");
    context.createMediaStreamSource(new MediaStream([publication.track.mediaStreamTrack])).connect(analyser);
    window.loudest = () => {
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      const best = bins.reduce((best, value, index) => (index > 0 && value > bins[best] ? index : best), 1);
      return { hz: (best * context.sampleRate) / analyser.fftSize, db: bins[best] };
    };
  }, identity);
  await sleep(1500);
  return page.evaluate(() => window.loudest());
}
