// A password that somebody put into a camera's address is shown nowhere: not in an answer of any
// route, not in the log at its finest, not in a file of the data folder. The camera itself is a
// tell-tale that says back whatever it was sent.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Server } from "./harness.mjs";
import { until } from "./lib.mjs";

const word = "Zq7Canary";
// As it is, percent-encoded in part, and as Basic authentication says it for the user "admin".
const hidden = (password) => [word, Buffer.from(`admin:${password}`).toString("base64")];

let server, telltale;
const answers = [], passwords = [], cameras = [];

before(async () => {
  // Asks for Basic, then answers with everything that it was told.
  telltale = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      const request = data.toString("latin1");
      const number = /^CSeq: *(\d+)/im.exec(request)?.[1] ?? "1";
      const authorization = /^Authorization: *(.*)$/im.exec(request)?.[1];
      const decoded = authorization && Buffer.from(authorization.replace(/^Basic +/i, ""), "base64").toString();
      socket.write(
        authorization
          ? `RTSP/1.0 500 you said ${decoded} by ${authorization}\r\nCSeq: ${number}\r\nServer: ${decoded}\r\n\r\n`
          : /password=/.test(request)
            ? `RTSP/1.0 500 no ${request.split("\r\n")[0]}\r\nCSeq: ${number}\r\n\r\n`
            : `RTSP/1.0 401 Unauthorized\r\nCSeq: ${number}\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n`,
      );
    });
  });
  await new Promise((done) => telltale.listen(0, "127.0.0.1", done));
  server = await Server.start({ env: { RONGTONG__LOG__LEVEL: "trace", RONGTONG__RTSP__BACKOFF_FIRST_MS: "200" } });
  await server.signIn();
});

after(async () => {
  telltale?.close();
  await server?.stop();
});

async function ask(method, path, body) {
  const response = await server.api(method, path, body, true);
  const text = await response.text();
  answers.push({ what: `${method} ${path.replace(word, "…")}`, text: `${JSON.stringify([...response.headers])}${text}` });
  return { status: response.status, text };
}

test("every kind of password is taken in or refused", async () => {
  const host = `127.0.0.1:${telltale.address().port}`;
  for (const middle of ["/", "#", "?", "@", ":", " ", "%2F", "%40", "&", "a@b/", "密/"]) {
    const password = `12${middle}34${word}`;
    for (const url of [`rtsp://admin:${password}@${host}/x`, `rtsp://cam.example/x:${password}@${host}/`]) {
      const tried = await ask("POST", "/cameras/test", { url });
      const made = await ask("POST", "/cameras", { name: "telltale", url, keep: true });
      assert.ok([200, 422].includes(tried.status) && [201, 422].includes(made.status), `${tried.status} ${made.status}`);
      if (made.status === 201) {
        cameras.push(JSON.parse(made.text).id);
        passwords.push(decodeURIComponent(password));
      }
    }
  }
  assert.equal(cameras.length, 10, "all but the one with both @ and / were told apart");
  for (const url of [`rtsp://${host}/user=admin&password=${word}&channel=1`, `rtsp://${host}/x?user=admin&password=12/${word}`]) {
    cameras.push(JSON.parse((await ask("POST", "/cameras", { name: "parameters", url, keep: true })).text).id);
  }
  // Where it does not belong.
  for (const body of [{ name: word, url: 5 }, { name: "x", url: "rtsp://h/", keep: word }, { name: "x", url: { password: word } }, { name: "x", url: "rtsp://h/", password: [word] }]) {
    assert.ok((await ask("POST", "/cameras", body)).status >= 400);
  }
  await ask("PATCH", `/cameras/${cameras[0]}`, { url: `rtsp://admin:new/${word}@${host}/y` });
  await until("the cameras were called", async () => {
    const { items } = JSON.parse((await ask("GET", "/cameras")).text);
    return items.every((camera) => camera.state_reason);
  });
});

test("no route shows it", async () => {
  const openapi = await (await fetch(`${server.url}/api/openapi.json`)).json();
  await server.api("POST", "/rooms", { name: "canary", title: "canary" });
  await ask("POST", "/rooms/canary/cameras", { camera_id: cameras[0] });
  let walked = 0;
  for (const [path, methods] of Object.entries(openapi.paths)) {
    for (const method of Object.keys(methods).map((name) => name.toUpperCase())) {
      if (path.endsWith("/session") && method === "DELETE") continue; // would sign this walk out
      for (const id of path.includes("{") ? cameras.slice(0, 2) : [""]) {
        const filled = path.replace(/^\/api\/v1/, "").replace("{room}", "canary").replace(/\{[^}]+\}/g, path.includes("/rooms/") ? "canary" : id);
        await ask(method, filled, ["POST", "PUT", "PATCH"].includes(method) ? {} : undefined);
        walked++;
      }
    }
  }
  assert.ok(walked > 30, `${walked} routes`);
  for (const path of ["/metrics", "/readyz", "/healthz", "/api/openapi.json"]) {
    answers.push({ what: path, text: await (await fetch(`${server.url}${path}`)).text() });
  }
  const secrets = passwords.flatMap(hidden);
  for (const { what, text } of answers) {
    for (const secret of secrets) assert.ok(!text.includes(secret), `${what}: ${text.slice(0, 400)}`);
  }
});

test("neither the log nor a file of the data folder holds it", async () => {
  server.child.kill("SIGTERM");
  await server.exited;
  const secrets = passwords.flatMap(hidden);
  const log = server.lines.join("\n");
  assert.ok(log.length > 10_000, "the log was on");
  for (const secret of secrets) assert.ok(!log.includes(secret), server.lines.find((line) => line.includes(secret)));
  const files = (await readdir(join(server.dir, "data"), { recursive: true, withFileTypes: true })).filter((it) => it.isFile());
  assert.ok(files.some((it) => it.name === "rongtong.db"));
  for (const file of files) {
    const bytes = await readFile(join(file.parentPath, file.name));
    for (const secret of secrets) assert.ok(!bytes.includes(secret), file.name);
  }
});
