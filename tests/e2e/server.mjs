// A server of our own for one test file: free ports, its own data folder, REST
// as the administrator, kill -9 and start again on the same ports and data.

import { spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { readFile } from "node:fs/promises";
import { key, secret, sleep, until } from "./lib.mjs";

export const binary =
  process.env.RONGTONG_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(homedir(), ".cache/rongtong/target"), "debug/rongtong");

/** What the administrator's password is changed to; also for signing in through the page. */
export const password = "Test-only-2026!";

const freeTcp = () =>
  new Promise((done, fail) => {
    const server = createServer().once("error", fail);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

const freeUdp = () =>
  new Promise((done, fail) => {
    const socket = createSocket("udp4").once("error", fail);
    socket.bind(0, () => {
      const { port } = socket.address();
      socket.close(() => done(port));
    });
  });

export class Server {
  /** Starts a server and signs in; `extra` are more environment variables. */
  static async start(extra = {}) {
    if (!existsSync(binary)) throw new Error(`no server at ${binary}: run \`make build\`, or set RONGTONG_BIN`);
    const it = new Server();
    it.data = await mkdtemp(join(tmpdir(), "rongtong-e2e-"));
    const [http, https, tcp, udp] = [await freeTcp(), await freeTcp(), await freeTcp(), await freeUdp()];
    Object.assign(it, { http, https, tcp, udp, base: `http://127.0.0.1:${http}`, socket: `ws://127.0.0.1:${http}`, log: [] });
    it.environment = {
      ...process.env,
      RONGTONG__SERVER__HTTP_LISTEN: `127.0.0.1:${http}`,
      RONGTONG__SERVER__HTTPS_LISTEN: `127.0.0.1:${https}`,
      RONGTONG__MEDIA__UDP_PORT: String(udp),
      RONGTONG__MEDIA__TCP_PORT: String(tcp),
      RONGTONG__DATA__DIR: it.data,
      RONGTONG__LIVEKIT__API_KEY: key,
      RONGTONG__LIVEKIT__API_SECRET: secret,
      RONGTONG__SECURITY__PASSWORD_ROUNDS: "1000",
      RONGTONG__SECURITY__SIGN_IN_PER_MINUTE: "1000",
      RONGTONG__RECORDER__MIN_FREE_MIB: "100",
      RONGTONG__LOG__LEVEL: process.env.RONGTONG_TEST_LOG ?? "info",
      ...extra,
    };
    try {
      await it.run();
      await it.signIn();
    } catch (error) {
      await it.stop();
      throw error;
    }
    return it;
  }

  /** Runs the process and waits until it is ready; also after {@link kill}. */
  async run() {
    const child = spawn(binary, ["serve"], { env: this.environment, stdio: ["ignore", "pipe", "pipe"] });
    this.child = child;
    this.ended = new Promise((done) => child.once("exit", (code, signal) => done({ code, signal })));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text) => this.log.push(...text.split("\n").filter(Boolean)));
    }
    await until("the server is ready", async () => {
      if (child.exitCode !== null) return "ended";
      return (await fetch(`${this.base}/readyz`)).ok && "ready";
    }, 30000).then((state) => {
      if (state === "ended") throw new Error(`the server ended at once:\n${this.tail()}`);
    });
  }

  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  /** SIGTERM; the data folder goes too. */
  async stop() {
    if (this.child && this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGTERM");
      const ended = await Promise.race([this.ended, sleep(15000)]);
      if (!ended) await this.kill();
    }
    if (process.env.RONGTONG_TEST_KEEP) console.log(`# data kept in ${this.data}`);
    else await rm(this.data, { recursive: true, force: true });
  }

  tail(count = 40) {
    return this.log.slice(-count).join("\n");
  }

  /** The first sign-in: with the one-time password, which must be changed. */
  async signIn() {
    const first = await readFile(join(this.data, "first-sign-in.txt"), "utf8");
    const once = first.match(/one-time password: (\S+)/)[1];
    this.session = (await this.api("POST", "/session", { account: "admin", password: once })).token;
    await this.api("POST", "/session/password", { old_password: once, new_password: password });
    this.session = (await this.api("POST", "/session", { account: "admin", password })).token;
  }

  /** The answer as it is, without judging it. */
  request(method, path, body, headers = {}) {
    return fetch(`${this.base}/api/v1${path}`, {
      method,
      headers: {
        "accept-language": "en",
        ...(this.session ? { authorization: `Bearer ${this.session}` } : {}),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  }

  /** The answer's JSON; anything but success is an error with the server's words. */
  async api(method, path, body) {
    const response = await this.request(method, path, body);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  room = (name, codec_policy = "h264") => this.api("POST", "/rooms", { name, title: name, codec_policy });

  /** A camera; with `room`, it comes into that room at once. Gives its id. */
  async camera(name, url, room, more = {}) {
    const { id } = await this.api("POST", "/cameras", { name, url, transport: "tcp", ...more });
    if (room) await this.api("POST", `/rooms/${room}/cameras`, { camera_id: id });
    return id;
  }

  /** Every sample of /metrics by `name{labels}`, without the common prefix. */
  async metrics() {
    const text = await (await fetch(`${this.base}/metrics`)).text();
    const samples = {};
    for (const line of text.split("\n")) {
      const at = line.lastIndexOf(" ");
      if (at > 0 && !line.startsWith("#")) samples[line.slice(0, at).replace(/^rongtong_/, "")] = Number(line.slice(at + 1));
    }
    return samples;
  }

  /** Refuses to go on without the console in the binary, and says what to do. */
  async needConsole() {
    const page = await (await fetch(`${this.base}/`)).text();
    const script = page.match(/src="(\/assets\/[^"]+\.js)"/)?.[1];
    const served = script && (await fetch(this.base + script)).ok;
    if (!served) {
      throw new Error(
        "the server has no console in it: build console-web (`npm ci && npm run build`) before `cargo build`, or simply run `make build`",
      );
    }
  }
}

/** The system's ffprobe on a file or address, as JSON. */
export function ffprobe(input, headers = "") {
  const ran = spawnSync("ffprobe", ["-v", "error", ...(headers ? ["-headers", headers] : []), "-show_streams", "-show_format", "-of", "json", input], { encoding: "utf8", timeout: 30000 });
  if (ran.error) throw new Error(`ffprobe can't run: ${ran.error.message}`);
  if (ran.status !== 0) throw new Error(`ffprobe ${input}: ${ran.stderr}`);
  return { ...JSON.parse(ran.stdout), complaints: ran.stderr.trim() };
}
