// A server of its own for each test file: free ports, a folder of its own, killed
// and started again at will.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./lib.mjs";

export const binary = process.env.RONGTONG_BIN ?? join(homedir(), ".cache/rongtong/target/debug/rongtong");
export const password = "Rongtong-2026!";

/** Below the ports that the system gives to clients: a server that is down keeps its own. */
async function freePorts(count) {
  const servers = [];
  while (servers.length < count) {
    const server = createServer();
    const port = 10000 + Math.floor(Math.random() * 22000);
    const taken = await new Promise((done) => server.once("error", done).listen(port, "127.0.0.1", () => done(null)));
    if (!taken) servers.push(server);
  }
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

export class Server {
  /** `demo`: how many demo cameras. */
  static async start({ demo = 0, env = {} } = {}) {
    const it = new Server();
    const [http, https, udp, tcp] = await freePorts(4);
    it.dir = await mkdtemp(join(tmpdir(), "rongtong-e2e-"));
    Object.assign(it, { http, udp, tcp, demo, lines: [] });
    it.url = `http://127.0.0.1:${http}`;
    it.env = {
      ...process.env,
      RONGTONG__SERVER__HTTP_LISTEN: `127.0.0.1:${http}`,
      RONGTONG__SERVER__HTTPS_LISTEN: `127.0.0.1:${https}`,
      RONGTONG__MEDIA__UDP_PORT: String(udp),
      RONGTONG__MEDIA__TCP_PORT: String(tcp),
      RONGTONG__DATA__DIR: join(it.dir, "data"),
      RONGTONG__LIVEKIT__API_KEY: "devkey",
      RONGTONG__LIVEKIT__API_SECRET: "devsecretdevsecretdevsecretdevsecret",
      RONGTONG__SECURITY__PASSWORD_ROUNDS: "1000",
      RONGTONG__SECURITY__SIGN_IN_PER_MINUTE: "1000",
      RONGTONG__RECORDER__MIN_FREE_MIB: "100",
      ...env,
    };
    await it.run();
    return it;
  }

  async run() {
    this.child = spawn(binary, ["serve", "--demo", String(this.demo)], { env: this.env, stdio: ["ignore", "pipe", "pipe"] });
    const note = (chunk) => this.lines.push(...chunk.toString().split("\n"));
    this.child.stdout.on("data", note);
    this.child.stderr.on("data", note);
    this.child.on("error", (error) => this.lines.push(`could not start ${binary}: ${error.message}`));
    this.exited = new Promise((done) => this.child.on("exit", done));
    try {
      await until("the server is ready", async () => (await fetch(`${this.url}/readyz`)).ok, 30000);
    } catch (error) {
      throw new Error(`${error.message}\n${this.log()}`);
    }
  }

  log = () => this.lines.slice(-40).join("\n");

  async kill() {
    this.child.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    this.child.kill("SIGTERM");
    const hard = setTimeout(() => this.child.kill("SIGKILL"), 15000);
    await this.exited;
    clearTimeout(hard);
    await rm(this.dir, { recursive: true, force: true });
  }

  /** Signs in as the first administrator, changing the one-time password. */
  async signIn() {
    if (this.token) return this.token;
    const text = await readFile(join(this.dir, "data/first-sign-in.txt"), "utf8");
    const once = text.match(/password: (\S+)/)[1];
    const first = await this.api("POST", "/session", { account: "admin", password: once });
    this.token = first.token;
    await this.api("POST", "/session/password", { old_password: once, new_password: password });
    const again = await this.api("POST", "/session", { account: "admin", password });
    this.token = again.token;
    return this.token;
  }

  /** One API call; throws on a status that is not 2xx unless `raw`. */
  async api(method, path, body, raw = false) {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: {
        ...(this.token ? { authorization: `Bearer ${this.token}` } : {}),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (raw) return response;
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** A counter or gauge of /metrics; with labels, their sum. */
  async metric(name) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text.split("\n").filter((line) => line.startsWith(name) && /^[\w]+(\{[^}]*\})? /.test(line));
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }
}
