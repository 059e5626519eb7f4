// A camera that we did not write: GStreamer's RTSP server with a test picture and a sine.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("../../adapters/rtsp/tests/it/gst_server.py", import.meta.url));

/** Serves `rtsp://127.0.0.1:port/cam`: H.264 320x240 at 15 fps, PCMA of `hz`. */
export async function gstCamera(hz = 700) {
  const pipeline =
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! " +
    "x264enc tune=zerolatency speed-preset=ultrafast bitrate=300 key-int-max=30 bframes=0 ! " +
    "video/x-h264,profile=constrained-baseline ! rtph264pay name=pay0 pt=96 config-interval=-1 " +
    `audiotestsrc is-live=true freq=${hz} volume=0.4 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8`;
  const child = spawn("/usr/bin/python3", [script, "0", "-", `cam=${pipeline}`], { stdio: ["pipe", "pipe", "inherit"] });
  const port = await new Promise((done, fail) => {
    child.stdout.on("data", (chunk) => {
      const ready = chunk.toString().match(/ready (\d+)/);
      if (ready) done(Number(ready[1]));
    });
    child.on("exit", (code) => fail(new Error(`the camera ended (${code}); are GStreamer and python3-gi installed?`)));
  });
  return { url: `rtsp://127.0.0.1:${port}/cam`, stop: () => child.kill("SIGKILL") };
}
