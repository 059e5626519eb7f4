// Cameras for the tests, each its own process that ends with us.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { binary } from "../server.mjs";

/** Waits for a line of the process that matches; its error output explains a failure. */
function lineOf(child, pattern, what) {
  return new Promise((done, fail) => {
    let out = "";
    let errors = "";
    const timer = setTimeout(() => fail(new Error(`${what} did not start: ${out}${errors}`)), 20000);
    child.stderr.on("data", (text) => (errors += text));
    child.stdout.on("data", (text) => {
      out += text;
      const found = out.match(pattern);
      if (found) {
        clearTimeout(timer);
        done(found[1]);
      }
    });
    child.once("error", fail);
    child.once("exit", () => {
      clearTimeout(timer);
      fail(new Error(`${what} ended: ${out}${errors}`));
    });
  });
}

/** GStreamer's RTSP server: H.264 and a G.711 A-law sine of `hz`. */
export async function gstreamer(hz) {
  const script = fileURLToPath(new URL("gst_rtsp.py", import.meta.url));
  // The system's Python has the GObject bindings; another one in the path may not.
  const child = spawn("/usr/bin/python3", [script, String(hz)], { stdio: ["pipe", "pipe", "pipe"] });
  const port = await lineOf(child, /ready (\d+)/, "GStreamer's RTSP server (python3-gi, gir1.2-gst-rtsp-server-1.0)");
  return { url: `rtsp://127.0.0.1:${port}/cam`, stop: () => child.kill() };
}

/** Our simulator: its picture carries a counter that a program can read. */
export async function simulator({ fps = 15, gop = 2 } = {}) {
  const child = spawn(binary, ["simulate", "rtsp", "--listen", "127.0.0.1:0", "--cameras", "1", "--fps", String(fps), "--gop", String(gop)], { stdio: ["ignore", "pipe", "pipe"] });
  const url = await lineOf(child, /(rtsp:\/\/\S+)/, "rongtong simulate");
  return { url, stop: () => child.kill() };
}

/** Something on a TCP port that talks, but never RTSP; `say` gives what it answers to a request. */
export async function rubbish(say) {
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (request) => socket.write(say(request)));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const stop = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { url: `rtsp://127.0.0.1:${server.address().port}/`, stop };
}
