// What the browser tests share: a browser with a fake camera and microphone, a
// bare page that loads an unmodified livekit-client, tokens, waiting, counting.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { AccessToken } from "livekit-server-sdk";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

export const base = process.env.RONGTONG_URL ?? "http://127.0.0.1:7880";
const key = process.env.LIVEKIT_API_KEY ?? "devkey";
const secret = process.env.LIVEKIT_API_SECRET ?? "devsecretdevsecretdevsecretdevsecret";

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export async function token(identity, room, grants = {}) {
  const it = new AccessToken(key, secret, { identity, name: identity, ttl: "10m" });
  it.addGrant({ roomJoin: true, room, ...grants });
  return it.toJwt();
}

/** Waits until `probe` gives something truthy, and gives it back. */
export async function until(what, probe, ms = 20000) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    try {
      last = await probe();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what} (last: ${last?.message ?? JSON.stringify(last)})`);
    await sleep(100);
  }
}

export async function browser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--use-fake-ui-for-media-stream",
      "--use-fake-device-for-media-stream",
      "--autoplay-policy=no-user-gesture-required",
      "--ignore-certificate-errors",
      "--disable-features=WebRtcHideLocalIpsWithMdns",
    ],
  });
}

const clients = { "2.16": "livekit-client-216", latest: "livekit-client" };

/** Serves the bare page on a free port of this machine. */
export async function pages() {
  const server = createServer(async (request, response) => {
    const client = Object.entries(clients).find(([name]) => request.url === `/${name}.js`);
    if (client) {
      response.setHeader("content-type", "text/javascript");
      response.end(await readFile(here(`node_modules/${client[1]}/dist/livekit-client.umd.js`)));
      return;
    }
    const version = new URL(request.url, "http://x").searchParams.get("client") ?? "latest";
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(`<!doctype html><body><script src="/${version}.js"></script><script>${await readFile(here("page.js"))}</script>`);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** A page in a room by a bare livekit-client; options go to `Room` and `connect`. */
export async function guest(context, site, { url = base, identity, room, client = "latest", grants, options = {}, connect = {}, publish = true }) {
  const page = await context.newPage();
  const lines = [];
  page.on("console", (message) => lines.push(message.text()));
  page.on("pageerror", (error) => lines.push(`error: ${error.message}`));
  await page.goto(`${site.url}?client=${client}`);
  const jwt = await token(identity, room, grants);
  try {
    await page.evaluate(([url, jwt, options, connect, publish]) => window.enter(url, jwt, options, connect, publish), [url.replace(/^http/, "ws"), jwt, options, connect, publish]);
  } catch (error) {
    throw new Error(`${identity} could not enter: ${error.message}\n${lines.slice(-30).join("\n")}`);
  }
  return { page, identity, lines, seen: () => page.evaluate(() => window.seen()), tone: (who) => page.evaluate((who) => window.tone(who), who) };
}
