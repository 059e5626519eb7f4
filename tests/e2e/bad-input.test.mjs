// Rubbish from everywhere, while a meeting goes on: every time a clear answer and a
// counter that rises, and nobody in the meeting notices.

import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { request } from "node:http";
import { connect } from "node:net";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";
import { pretender } from "./camera.mjs";
import { browser, guest, pages, sleep, token, until } from "./lib.mjs";
import { Server } from "./harness.mjs";

let server, chrome, site, anna, bert, earlier;

before(async () => {
  server = await Server.start({ env: { RONGTONG__RTSP__CONNECT_TIMEOUT_MS: "2000" } });
  await server.signIn();
  chrome = await browser();
  site = await pages();
  await server.api("POST", "/rooms", { name: "calm", title: "calm" });
  const context = await chrome.newContext({ permissions: ["camera", "microphone"] });
  const options = { publishDefaults: { videoCodec: "h264", simulcast: false }, videoCaptureDefaults: { resolution: { width: 320, height: 180, frameRate: 15 } } };
  for (const identity of ["anna", "bert"]) {
    const it = await guest(context, site, { url: server.url, identity, room: "calm", options });
    if (identity === "anna") anna = it;
    else bert = it;
  }
  await until("the meeting runs", async () => (await bert.seen()).anna?.frames > 30 && (await anna.seen()).bert?.frames > 30, 30000);
});

after(async () => {
  await chrome?.close();
  site?.close();
  await server?.stop();
});

const meeting = async () => ({ anna: (await bert.seen()).anna, bert: (await anna.seen()).bert });

beforeEach(async () => {
  earlier = await meeting();
});

/** Whatever the test did, the meeting has gone on. */
afterEach(async () => {
  const later = await until("frames keep coming", async () => {
    const now = await meeting();
    return ["anna", "bert"].every((who) => now[who].frames > earlier[who].frames + 10) && now;
  });
  // Two browsers, their encoders and the server share two cores here: a hiccup is the machine's, a
  // standstill would be the server's.
  for (const who of ["anna", "bert"]) assert.ok(later[who].freezes - earlier[who].freezes <= 3, `${who}'s picture froze`);
  const events = [...(await anna.page.evaluate(() => window.events)), ...(await bert.page.evaluate(() => window.events))];
  assert.deepEqual(events, [], "nobody had to reconnect");
});

/** Waits until a counter is above what it was. */
const rises = (name, before) => until(`${name} rises`, async () => (await server.metric(name)) > before, 10000);

/** A WebSocket handshake by hand: the status, the socket when it was accepted, the body otherwise. */
function upgrade(path) {
  return new Promise((done, fail) => {
    const asked = request(server.url + path, {
      headers: { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": randomBytes(16).toString("base64") },
    });
    asked.on("upgrade", (response, socket) => {
      socket.on("error", () => {});
      done({ status: response.statusCode, socket });
    });
    asked.on("response", async (response) => {
      let body = "";
      for await (const chunk of response) body += chunk;
      done({ status: response.statusCode, type: response.headers["content-type"], body });
    });
    asked.on("error", fail);
    asked.end();
  });
}

/** A masked frame as a client sends it (RFC 6455, 5.2). */
function frame(opcode, payload) {
  const mask = randomBytes(4);
  const head = payload.length < 126 ? Buffer.from([0x80 | opcode, 0x80 | payload.length]) : Buffer.from([0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([head, mask, payload.map((byte, index) => byte ^ mask[index % 4])]);
}

/** Whether the other side ends the connection within the time. */
const closed = (socket, ms = 15000) =>
  new Promise((done) => {
    const timer = setTimeout(() => done(false), ms);
    socket.resume().once("close", () => {
      clearTimeout(timer);
      done(true);
    });
  });

const ours = { key: "devkey", secret: "devsecretdevsecretdevsecretdevsecret" };

/** A JSON Web Token as LiveKit's libraries make it, with what is to be wrong about it. */
function jwt({ key = ours.key, secret = ours.secret, age = 0, video = { roomJoin: true, room: "calm" } }) {
  const now = Math.floor(Date.now() / 1000) - age;
  const part = (it) => Buffer.from(JSON.stringify(it)).toString("base64url");
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part({ iss: key, sub: "eve", nbf: now, exp: now + 600, video })}`;
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
}

test("a wrong, expired or empty token is refused with words, on every path", async () => {
  const cases = {
    "signed by somebody else": jwt({ secret: "another-secret-of-thirty-two-bytes!!" }),
    "of a key that does not exist": jwt({ key: "nobody" }),
    "expired": jwt({ age: 3600 }),
    "not yet valid": jwt({ age: -3600 }),
    "without a grant": jwt({ video: {} }),
    "that may not join": jwt({ video: { roomJoin: false, room: "calm" } }),
    "not a token": "garbage",
    "missing": "",
  };
  const codes = {};
  const before = await server.metric("rongtong_signaling_refused_total");
  for (const [what, text] of Object.entries(cases)) {
    for (const path of ["/rtc", "/rtc/v1"]) {
      const query = `?access_token=${text}`;
      const answer = await fetch(`${server.url}${path}/validate${query}`);
      const problem = answer.ok ? {} : await answer.json();
      const wanted = what === "missing" || what === "not a token" ? [400, 401] : [401];
      assert.ok(wanted.includes(answer.status), `${what} at ${path}/validate: ${answer.status} ${JSON.stringify(problem)}`);
      assert.match(answer.headers.get("content-type"), /^application\/problem\+json/);
      assert.ok(problem.code && problem.detail, JSON.stringify(problem));
      const socket = await upgrade(path + query);
      assert.equal(socket.status, answer.status, `${what}: the WebSocket says the same`);
      assert.match(socket.type, /^application\/problem\+json/);
      assert.equal(JSON.parse(socket.body).code, problem.code);
      codes[what] = problem.code;
    }
  }
  console.log(Object.entries(codes).map(([what, code]) => `${what}: ${code}`).join("; "));
  assert.ok((await server.metric("rongtong_signaling_refused_total")) >= before + 4 * Object.keys(cases).length);
  const good = await fetch(`${server.url}/rtc/validate?access_token=${await token("eve", "calm")}`);
  assert.equal(good.status, 200);
});

test("garbage on the UDP port", async () => {
  const before = await server.metric("rongtong_media_garbage");
  const socket = createSocket("udp4");
  const send = (bytes) => new Promise((done) => socket.send(bytes, server.udp, "127.0.0.1", done));
  const first = (byte, length = 200) => Buffer.concat([Buffer.from([byte]), randomBytes(length - 1)]);
  // A STUN binding request with a user name of nobody and no valid integrity.
  const stun = Buffer.concat([Buffer.from([0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]), randomBytes(12), Buffer.from([0, 6, 0, 8]), Buffer.from("no:body!")]);
  for (let i = 0; i < 300; i++) {
    for (const bytes of [stun, first(0x16), first(0x80), first(0x81, 60), first(0xff, 1400), first(0), Buffer.alloc(0), randomBytes(1 + (i % 40))]) await send(bytes);
    if (i % 20 === 0) await sleep(5);
  }
  socket.close();
  await until("they are counted", async () => (await server.metric("rongtong_media_garbage")) >= before + 1000, 10000);
});

test("garbage on the media TCP port", async () => {
  const before = await server.metric("rongtong_media_garbage");
  const open = () =>
    new Promise((done, fail) => {
      const socket = connect(server.tcp, "127.0.0.1", () => done(socket));
      socket.on("error", fail);
    });
  const chaos = await Promise.all(Array.from({ length: 20 }, open));
  const ended = chaos.map((socket) => closed(socket));
  for (const socket of chaos) {
    socket.on("error", () => {});
    socket.write(randomBytes(20000));
  }
  // Frames of the right form (RFC 4571), with nothing sensible in them.
  const framed = await open();
  framed.on("error", () => {});
  for (let i = 0; i < 50; i++) framed.write(Buffer.concat([Buffer.from([0, 100]), randomBytes(100)]));
  await rises("rongtong_media_garbage", before);
  assert.ok((await Promise.all(ended)).every(Boolean), "who sends nonsense is hung up on");
  framed.destroy();
});

test("garbage on the WebSocket, within frames and instead of frames", async () => {
  const before = await server.metric('rongtong_signaling_discarded_total{reason="garbage"}');
  for (const path of ["/rtc", "/rtc/v1"]) {
    const extra = path === "/rtc" ? "" : `&join_request=${join({ compression: 0, bytes: Buffer.alloc(0) })}`;
    const talk = await upgrade(`${path}?access_token=${await token(`eve${path.length}`, "calm")}${extra}`);
    assert.equal(talk.status, 101, talk.body);
    const ended = closed(talk.socket, 30000);
    for (let i = 0; i < 200 && !talk.socket.destroyed; i++) {
      talk.socket.write(frame(2, Buffer.concat([Buffer.from([0xff]), randomBytes(100)])));
      await sleep(5);
    }
    assert.ok(await ended, "after much garbage the server closes");

    const noise = await upgrade(`${path}?access_token=${await token(`mallory${path.length}`, "calm")}${extra}`);
    const hung = closed(noise.socket);
    noise.socket.write(Buffer.concat([Buffer.from([0xff, 0xff]), randomBytes(5000)]));
    assert.ok(await hung, "what is no WebSocket frame ends the connection");

    const huge = await upgrade(`${path}?access_token=${await token(`trudy${path.length}`, "calm")}${extra}`);
    const refused = closed(huge.socket);
    // A frame that claims to be of 2^40 bytes.
    huge.socket.write(Buffer.from([0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4]));
    assert.ok(await refused, "an absurd length ends the connection");
  }
  assert.ok((await server.metric('rongtong_signaling_discarded_total{reason="garbage"}')) > before);
});

/** A WrappedJoinRequest (compression: field 1, join_request: field 2) in base64url. */
function join({ compression, bytes }) {
  let length = bytes.length;
  const varint = [];
  while (length > 127) {
    varint.push((length & 127) | 128);
    length >>>= 7;
  }
  varint.push(length);
  return Buffer.concat([Buffer.from([8, compression, 18, ...varint]), bytes]).toString("base64url");
}

test("a compressed bomb as join request", async () => {
  const reason = 'rongtong_signaling_refused_total{reason="join_request_too_large"}';
  const [before, memory] = [await server.metric(reason), await server.metric("rongtong_process_resident_bytes")];
  const bomb = join({ compression: 1, bytes: gzipSync(Buffer.alloc(40 << 20), { level: 9 }) });
  assert.ok(bomb.length < 60000, `${bomb.length} characters for 40 MiB`);
  const good = await token("eve", "calm");
  for (let i = 0; i < 10; i++) {
    const answer = await fetch(`${server.url}/rtc/v1/validate?access_token=${good}&join_request=${bomb}`);
    assert.equal(answer.status, 400);
    assert.equal((await answer.json()).code, "join_request_too_large");
  }
  assert.equal((await upgrade(`/rtc/v1?access_token=${good}&join_request=${bomb}`)).status, 400);
  const unsigned = await fetch(`${server.url}/rtc/v1/validate?access_token=no&join_request=${bomb}`);
  assert.notEqual((await unsigned.json()).code, "join_request_too_large", "without a good token nothing is inflated");
  for (const bad of [join({ compression: 1, bytes: randomBytes(500) }), join({ compression: 9, bytes: randomBytes(5) }), join({ compression: 0, bytes: Buffer.alloc(50, 0xff) }), "*not-base64*"]) {
    const answer = await fetch(`${server.url}/rtc/v1/validate?access_token=${good}&join_request=${bad}`);
    assert.equal(answer.status, 400);
    assert.ok((await answer.json()).detail);
  }
  await rises(reason, before + 10);
  const grown = (await server.metric("rongtong_process_resident_bytes")) - memory;
  assert.ok(grown < 64 << 20, `memory grew by ${grown} bytes`);
});

/** Sends a body of 100 MB as long as the server takes it, and reads what it says meanwhile. */
function flood(path, headers) {
  return new Promise((done) => {
    const chunked = !headers["content-length"];
    const socket = connect(server.http, "127.0.0.1");
    const result = { sent: 0, text: "" };
    const size = 1 << 20;
    const chunk = Buffer.concat([Buffer.from(chunked ? `${size.toString(16)}\r\n` : ""), Buffer.alloc(size, 0x20), Buffer.from(chunked ? "\r\n" : "")]);
    socket.on("data", (bytes) => (result.text += bytes));
    socket.on("error", (error) => (result.error = error.code));
    socket.on("close", () => {
      const [head, body] = result.text.split("\r\n\r\n");
      done({ sent: result.sent, error: result.error, status: Number(head.split(" ")[1]), type: head.match(/content-type: *(\S+)/i)?.[1], body });
    });
    const lines = Object.entries({ host: "127.0.0.1", "content-type": "application/json", ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`POST /api/v1${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
    // As a client does that looks for an answer while it sends, and stops when there is one.
    const more = () => {
      if (result.sent >= 100 || socket.destroyed || result.text) return;
      result.sent++;
      socket.write(chunk, () => setImmediate(more));
    };
    more();
  });
}

test("a body of 100 MB", async () => {
  const [before, memory] = [await server.metric("rongtong_http_requests_total"), await server.metric("rongtong_process_resident_bytes")];
  const signedIn = { authorization: `Bearer ${server.token}` };
  for (const length of [{ "content-length": String(100 << 20) }, { "transfer-encoding": "chunked" }]) {
    const answer = await flood("/rooms", { ...signedIn, ...length });
    assert.equal(answer.status, 413, JSON.stringify(answer));
    assert.match(answer.type, /^application\/problem\+json/);
    assert.equal(JSON.parse(answer.body.match(/\{.*\}/s)[0]).code, "too_large");
    assert.ok(answer.sent < 100, "the connection ends before all of it is sent");
  }
  const stranger = await flood("/session", { "content-length": String(100 << 20) });
  assert.equal(stranger.status, 413, JSON.stringify(stranger));
  const grown = (await server.metric("rongtong_process_resident_bytes")) - memory;
  assert.ok(grown < 64 << 20, `memory grew by ${grown} bytes`);
  assert.ok((await server.metric("rongtong_http_requests_total")) >= before + 3);
});

test("a camera that sends rubbish", async () => {
  const sdp = "v=0\r\nm=video nonsense RTP/AVP x\r\na=rtpmap:\r\na=fmtp:96 sprop-parameter-sets=@@@,\r\n";
  const rtsp = (asked, head, body = "") => `RTSP/1.0 200 OK\r\nCSeq: ${asked.match(/CSeq: *(\d+)/i)?.[1] ?? 1}\r\n${head}Content-Length: ${body.length}\r\n\r\n${body}`;
  const liars = {
    "random bytes": () => randomBytes(3000),
    "a web server": () => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "a broken description": (asked) => (asked.startsWith("DESCRIBE") ? rtsp(asked, "Content-Type: application/sdp\r\n", sdp) : rtsp(asked, "Public: DESCRIBE, SETUP, PLAY\r\n")),
  };
  for (const [what, say] of Object.entries(liars)) {
    const camera = await pretender(say);
    try {
      const report = await server.api("POST", "/cameras/test", { url: camera.url });
      assert.equal(report.ok, false, what);
      const failed = report.steps.find((step) => !step.ok);
      assert.ok(failed?.detail && report.advice, `${what}: ${JSON.stringify(report)}`);

      const before = await server.metric("rongtong_camera_failures_total");
      const { id } = await server.api("POST", "/cameras", { name: what, url: camera.url });
      await server.api("POST", "/rooms/calm/cameras", { camera_id: id });
      const state = await until(`${what}: the camera's state says so`, async () => {
        const it = await server.api("GET", `/cameras/${id}`);
        return it.state === "failed" && it;
      });
      assert.ok(state.state_reason, JSON.stringify(state));
      console.log(`${what}: ${failed.name}: ${failed.detail}; ${state.state_reason}`);
      await rises("rongtong_camera_failures_total", before);
      await server.api("DELETE", `/cameras/${id}`);
    } finally {
      camera.stop();
    }
  }
});
