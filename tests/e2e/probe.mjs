// What ffprobe says of a recording.

import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Fetches a file of the API and lists its streams: kind, codec, seconds. */
export async function probe(server, path) {
  const response = await server.api("GET", path, undefined, true);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  const file = join(server.dir, `probe-${Date.now()}.mp4`);
  await writeFile(file, Buffer.from(await response.arrayBuffer()));
  const { stdout } = await run("ffprobe", ["-v", "error", "-show_streams", "-count_packets", "-show_format", "-of", "json", file]);
  const { streams, format } = JSON.parse(stdout);
  // Frames come when they come: no frame rate is imposed on them.
  const decode = await run("ffmpeg", ["-v", "error", "-i", file, "-map", "0", "-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "null", "-"]);
  return {
    seconds: Number(format.duration),
    streams: streams.map((it) => ({ kind: it.codec_type, codec: it.codec_name, seconds: Number(it.duration ?? format.duration), width: it.width, frames: Number(it.nb_read_packets) })),
    complaints: decode.stderr.trim(),
  };
}
