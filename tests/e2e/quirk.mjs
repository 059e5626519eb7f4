// A camera with a habit: the simulator behind a relay that changes what it says and sends. Everything goes
// interleaved in TCP.

import { createHash } from "node:crypto";
import { connect, createServer } from "node:net";

const END = Buffer.from("\r\n\r\n");

/** Takes a stream apart: requests or answers as text, `$` frames as channel and packet. */
function splitter(onText, onFrame) {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      if (rest[0] === 0x24) {
        if (rest.length < 4 || rest.length < 4 + rest.readUInt16BE(2)) return;
        const end = 4 + rest.readUInt16BE(2);
        onFrame(rest[1], Buffer.from(rest.subarray(4, end)));
        rest = rest.subarray(end);
        continue;
      }
      const head = rest.indexOf(END);
      if (head < 0) return;
      const length = Number(/^content-length: *(\d+)/im.exec(rest.toString("latin1", 0, head))?.[1] ?? 0);
      if (rest.length < head + 4 + length) return;
      onText(rest.toString("latin1", 0, head + 4 + length));
      rest = rest.subarray(head + 4 + length);
    }
  };
}

const frame = (channel, packet) => {
  const out = Buffer.alloc(4 + packet.length);
  out.writeUInt8(0x24, 0);
  out.writeUInt8(channel, 1);
  out.writeUInt16BE(packet.length, 2);
  packet.copy(out, 4);
  return out;
};

const session = (text) => /^session: *([^;\r\n]+)/im.exec(text)?.[1];
const withSession = (text, id) => text.replace(/^(session: *)[^;\r\n]+/im, `$1${id}`);

/** Whether a request answers to `login` by Digest in SHA-256 without `qop` (RFC 7616 3.4, RFC 2069's form). */
function opens(login, text) {
  const field = (name) => new RegExp(`^authorization: *digest .*\\b${name}="?([^",\r]*)`, "im").exec(text)?.[1];
  const hash = (...of) => createHash("sha256").update(of.join(":")).digest("hex");
  const wanted = hash(hash(login.user, "gate", login.password), login.nonce, hash(text.slice(0, text.indexOf(" ")), field("uri")));
  return field("username") === login.user && field("nonce") === login.nonce && field("algorithm") === "SHA-256" && field("response") === wanted;
}

/** Two challenges: one that nobody knows, then the one that holds. */
const challenge = (login, text) =>
  `RTSP/1.0 401 Unauthorized\r\n${/^cseq:.*$/im.exec(text)[0].trim()}\r\nWWW-Authenticate: Digest realm="gate", nonce="0", algorithm=SHA-1024\r\n` +
  `WWW-Authenticate: Digest realm="gate", nonce="${login.nonce}", algorithm=SHA-256\r\n\r\n`;

/** Replaces an answer's body. */
export const withBody = (text, change) => {
  const at = text.indexOf("\r\n\r\n") + 4;
  const body = change(text.slice(at));
  return text.slice(0, at).replace(/^content-length: *\d+/im, `Content-Length: ${body.length}`) + body;
};

/**
 * `habit.answer(text, method)` gives the answer as the camera would say it; `habit.packet(channel, packet, changed)`
 * gives the packet as it would send it, or nothing; `habit.only`: the method that alone keeps a session alive, else
 * it ends after `habit.lives` ms; `habit.login`: every request has to answer to it. `change()` makes the packets `changed`, or, with `other`, has everything come from
 * that simulator from then on.
 */
export async function quirkyCamera(upstream, habit, other) {
  const { port, pathname } = new URL(upstream);
  let changed = false;
  const switches = new Set();
  const sockets = new Set();
  const track = (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    return socket;
  };
  const server = createServer((client) => {
    track(client);
    const methods = new Map();
    const opened = [];
    let said = Date.now();
    let [camera, id, first] = [null, null, null];
    const forward = (channel, packet) => {
      const out = habit.packet ? habit.packet(channel, packet, changed) : packet;
      if (out) client.write(frame(channel, out));
    };
    const from = (port) => {
      const socket = track(connect(port, "127.0.0.1"));
      socket.on("close", () => socket === camera && client.destroy());
      return socket;
    };
    camera = from(port);
    camera.on("data", splitter((text) => {
      const method = methods.get(/^cseq: *(\d+)/im.exec(text)?.[1]);
      first ??= session(text);
      client.write(Buffer.from(habit.answer ? habit.answer(text, method) : text, "latin1"));
    }, (...it) => changed && other ? undefined : forward(...it)));
    const replay = async () => {
      const next = from(new URL(other).port);
      let answered;
      next.on("data", splitter((text) => {
        id = session(text) ?? id;
        if (answered) answered();
        else client.write(Buffer.from(withSession(text, first), "latin1"));
      }, forward));
      for (const text of opened) {
        const there = text.replace(pathname, new URL(other).pathname);
        next.write(Buffer.from(id ? withSession(there, id) : there, "latin1"));
        await new Promise((done) => (answered = done));
      }
      const old = camera;
      [camera, answered] = [next, undefined];
      old.destroy();
    };
    switches.add(replay);
    client.on("close", () => (switches.delete(replay), camera.destroy()));
    client.on("data", splitter((text) => {
      const method = text.slice(0, text.indexOf(" "));
      methods.set(/^cseq: *(\d+)/im.exec(text)?.[1], method);
      if (habit.login && !opens(habit.login, text)) return client.write(challenge(habit.login, text));
      if (method === habit.only || ["DESCRIBE", "SETUP", "PLAY"].includes(method)) said = Date.now();
      if (["DESCRIBE", "SETUP", "PLAY"].includes(method)) opened.push(text);
      camera.write(Buffer.from(id ? withSession(text.replace(pathname, new URL(other).pathname), id) : text, "latin1"));
    }, () => {}));
    if (habit.only) {
      const timer = setInterval(() => Date.now() - said > habit.lives && client.destroy(), 200);
      client.on("close", () => clearInterval(timer));
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `rtsp://127.0.0.1:${server.address().port}${pathname}`,
    change: () => {
      changed = true;
      if (other) switches.forEach((replay) => replay());
    },
    stop: () => {
      sockets.forEach((socket) => socket.destroy());
      server.close();
    },
  };
}
