// Cameras: one that we did not write, one whose picture a program can read, and one
// that only pretends.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { binary } from "./harness.mjs";

const script = fileURLToPath(new URL("../../adapters/rtsp/tests/it/gst_server.py", import.meta.url));

/** Starts a process and waits for what it says when it serves. */
async function device(command, args, pattern, hint) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  const found = await new Promise((done, fail) => {
    let said = "";
    child.stdout.on("data", (chunk) => {
      said += chunk;
      const match = said.match(pattern);
      if (match) done(match[1]);
    });
    child.on("error", fail);
    child.on("exit", (code) => fail(new Error(`the camera ended (${code}); ${hint}`)));
  });
  return { found, stop: () => child.kill("SIGKILL") };
}

/** GStreamer's RTSP server: H.264 320x240 at 15 fps, a sine of `hz` in G.711 or as `sound` says. */
export async function gstCamera(hz = 700, profile = "high", sound = "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8") {
  const pipeline =
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! " +
    "x264enc tune=zerolatency speed-preset=superfast bitrate=300 key-int-max=30 bframes=0 ! " +
    `video/x-h264,profile=${profile} ! rtph264pay name=pay0 pt=96 config-interval=-1 ` +
    `audiotestsrc is-live=true freq=${hz} volume=0.4 ! ${sound}`;
  const { found, stop } = await device("/usr/bin/python3", [script, "0", "-", `cam=${pipeline}`], /ready (\d+)/, "are GStreamer and python3-gi installed?");
  return { url: `rtsp://127.0.0.1:${found}/cam`, stop };
}

/** `rongtong simulate`: 640x360, with a frame counter in the picture. */
export async function simulatedCamera({ fps = 15, gop = 2, cameras = 1, more = [] } = {}) {
  const args = ["simulate", "rtsp", "--listen", "127.0.0.1:0", "--cameras", String(cameras), "--fps", String(fps), "--gop", String(gop), ...more];
  const { found, stop } = await device(binary, args, /(rtsp:\/\/\S+)\n/, "see the message above");
  return { url: found, stop };
}

/** Answers everything with what `say` makes of it, which need not be RTSP at all. */
export async function pretender(say) {
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (request) => socket.write(say(request.toString("latin1"))));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const stop = () => {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  };
  return { url: `rtsp://127.0.0.1:${server.address().port}/`, stop };
}
