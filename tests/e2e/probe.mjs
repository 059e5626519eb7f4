// What ffprobe says of a recording.

import { execFile } from "node:child_process";
import { mkdtemp, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Fetches a file of the API and lists its streams: kind, codec, seconds. */
export async function probe(server, path) {
  return look(await fetched(server, path, "probe.mp4"));
}

/** The files of a recording's download, the one MP4 or those in the ZIP, each as `probe` tells it. */
export async function download(server, id) {
  const file = await fetched(server, `/recordings/${id}/download`, "download");
  if (!(await isZip(file))) return [{ file, ...(await look(file)) }];
  const folder = `${file}-files`;
  await run("python3", ["-m", "zipfile", "-e", file, folder]);
  const files = [];
  for (const name of (await readdir(folder)).sort()) files.push({ file: join(folder, name), name, ...(await look(join(folder, name))) });
  return files;
}

async function isZip(file) {
  const { stdout } = await run("head", ["-c", "2", file]);
  return stdout === "PK";
}

async function fetched(server, path, name) {
  const response = await server.api("GET", path, undefined, true);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  const file = join(await mkdtemp(join(server.dir, "probe-")), name);
  await writeFile(file, Buffer.from(await response.arrayBuffer()));
  return file;
}

async function look(file) {
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
