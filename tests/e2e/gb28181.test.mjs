// A GB/T 28181 device in the console: found, added, watched, steered. The device is the crate `gb28181-rs`.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { link, mkdir, readFile, writeFile } from "node:fs/promises";
import { createWriteStream } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { signIn } from "./console.mjs";
import { Server, binary } from "./harness.mjs";
import { browser, sleep, until } from "./lib.mjs";

const CODE = "34020000001320000001";
const SECRET = "gate-secret-1";
const SHOTS = process.env.RONGTONG_SHOTS;
let server, chrome, page, device, bodyCamera, said, heard, lines, stream, sip;

const configure = (file, lines) => writeFile(file, Object.entries(lines).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join(""));

/** Of the day in which the browser is. */
const midnight = () => new Date().setHours(0, 0, 0, 0);

before(async () => {
  sip = 20000 + Math.floor(Math.random() * 9000);
  server = await Server.start({
    env: {
      RONGTONG__GB28181__ENABLED: "true",
      RONGTONG__GB28181__LISTEN: `127.0.0.1:${sip}`,
      RONGTONG__GB28181__PASSWORD: SECRET,
    },
  });
  await server.signIn();
  stream = join(server.dir, "pictures.ts");
  const encode = "-v error -y -f lavfi -i testsrc2=s=1280x720:r=25:d=4 -c:v libx264 -preset ultrafast -g 50 -bf 0 -pix_fmt yuv420p -f mpegts";
  assert.equal(spawnSync("ffmpeg", [...encode.split(" "), stream]).status, 0);
  const config = join(server.dir, "device.toml");
  lines = {
    platform_sip_address: "127.0.0.1", platform_sip_port: sip, device_id: CODE, channel_id: CODE, sip_domain: "3402000000",
    password: SECRET, local_sip_port: sip + 1, heartbeat_interval_secs: 2, device_name: "东门半球", manufacturer: "Testwerk", protocol_version: "3.0",
  };
  await configure(config, lines);
  said = join(server.dir, "device.log");
  heard = join(server.dir, "heard.alaw");
  // It has recorded the first minutes of the day, and a while later a little more.
  const shelf = join(server.dir, "shelf");
  await mkdir(shelf);
  const recording = join(shelf, "one.bin");
  const annexB = encode.replace("d=4", "d=60").replace("mpegts", "h264");
  assert.equal(spawnSync("ffmpeg", [...annexB.split(" "), recording]).status, 0);
  for (const minute of [0, 1, 2, 20]) {
    const begin = midnight() + minute * 60_000;
    await link(recording, join(shelf, `${begin}-${begin + 60_000}.h264`));
  }
  device = spawn(join(dirname(binary), "examples/gb28181_device"), [config, stream, shelf], { stdio: ["ignore", "pipe", "ignore"], env: { ...process.env, TZ: "CST-8", HEARD: heard } });
  device.on("error", (error) => console.error(error));
  device.stdout.pipe(createWriteStream(said));
  chrome = await browser();
  const context = await chrome.newContext({ viewport: { width: 1366, height: 768 }, locale: "zh-CN" });
  page = await signIn(context, server);
});

after(async () => {
  device?.kill("SIGKILL");
  bodyCamera?.kill("SIGKILL");
  await chrome?.close();
  await server?.stop();
});

async function look(name) {
  if (!SHOTS) return;
  for (const [width, height] of [[1920, 1080], [1366, 768], [390, 844]]) {
    await page.setViewportSize({ width, height });
    await sleep(400);
    await page.screenshot({ path: join(SHOTS, `${name}-${width}.png`) });
  }
  await page.setViewportSize({ width: 1366, height: 768 });
}

test("a device's channel becomes a camera, is seen and steered", { timeout: 90000 }, async () => {
  await until("the device is registered", async () => (await server.api("GET", "/gb28181/devices")).some((found) => found.complete && found.name));
  await page.goto(`${server.url}/cameras`);
  await page.getByTestId("gb-open").click();
  await page.getByTestId("gb-devices").getByText("东门半球").first().waitFor();
  await page.getByTestId("gb-channel").first().click();
  await look("devices");
  // One that is to come is announced beforehand, with a password of its own.
  await page.getByTestId("gb-announce").click();
  await page.getByTestId("gb-code").fill("34020000001320000002");
  await page.getByTestId("gb-name").fill("西门枪机");
  await page.getByTestId("gb-password").fill("west-gate-secret");
  await look("announce");
  await page.getByTestId("gb-save").click();
  await page.getByTestId("gb-devices").getByText("未注册过").waitFor();
  await page.getByTestId("gb-devices").getByText("东门半球").first().click();
  await page.getByTestId("gb-channel").first().click();
  await page.getByTestId("gb-add").click();
  await page.getByText("已添加 1 路监控").first().waitFor();
  await page.getByRole("button", { name: "关闭", exact: true }).click();
  await page.locator(".camera-row").getByTestId("camera-preview").click();
  await page.locator('[data-testid="preview-screen"][data-status="picture"]').waitFor({ timeout: 30000 });
  const size = await page.getByTestId("preview-screen").locator("video").evaluate((video) => [video.videoWidth, video.videoHeight]);
  assert.deepEqual(size, [1280, 720]);
  await look("preview");
  const left = page.getByTestId("ptz-left");
  await left.scrollIntoViewIfNeeded();
  await left.hover();
  await page.mouse.down();
  await until("it moves", async () => /ptz Move \{ bits: 2, pan_speed: 125/.test(await readFile(said, "utf8")));
  assert.doesNotMatch(await readFile(said, "utf8"), /bits: 0/, "it goes on while the button is held");
  await page.mouse.up();
  await until("it stops, once it is let go", async () => /ptz Move \{ bits: 0/.test(await readFile(said, "utf8")));
  // Whoever ordered a movement and is gone leaves no camera turning.
  const stops = async () => (await readFile(said, "utf8")).match(/ptz Move \{ bits: 0/g)?.length ?? 0;
  const before = await stops();
  await server.api("POST", `/gb28181/devices/${CODE}/channels/${CODE}/ptz`, { action: "move", tilt: -50 });
  await until("the server ends it", async () => (await stops()) > before, 15000);
});

/** How many of the last second's samples at the device's loudspeaker are louder than a murmur. */
async function loud() {
  const law = (await readFile(heard)).subarray(-8000);
  return law.filter((code) => ((code ^ 0x55) & 0x7f) >= 0x40).length;
}

test("a person speaks at the device's loudspeaker", { timeout: 90000 }, async () => {
  await page.goto(`${server.url}/cameras`);
  await page.locator(".camera-row").getByTestId("camera-preview").click();
  const talk = page.getByTestId("talk");
  await talk.click();
  await page.locator('[data-testid="talk"][data-phase="live"]').waitFor({ timeout: 20000 });
  await until("Chromium's beep is heard at the device", async () => (await loud()) > 400, 15000);
  await look("talk");
  // Nobody else speaks to it meanwhile.
  const [camera] = (await server.api("GET", "/cameras")).items;
  const busy = await server.api("POST", "/talks", { cameras: [camera.id] }, true);
  assert.deepEqual([busy.status, (await busy.json()).code], [409, "talk_busy"]);
  await talk.click();
  await page.locator('[data-testid="talk"][data-phase="idle"]').waitFor();
  await until("it is over", async () => (await server.api("GET", "/talks")).every((one) => one.over));
  await page.locator('[data-testid="preview-screen"][data-status="picture"]').waitFor({ timeout: 30000 });
});

test("what the device recorded is found on the axis, played, and played from elsewhere", { timeout: 90000 }, async () => {
  await page.goto(`${server.url}/cameras`);
  await page.locator(".camera-row").getByTestId("camera-menu").click();
  await page.getByTestId("camera-replay").click();
  await page.getByText("4 段录像").waitFor({ timeout: 20000 });
  await look("recorded");
  await page.getByTestId("playback-start").click();
  await page.locator('[data-testid="preview-screen"][data-status="picture"]').waitFor({ timeout: 30000 });
  const position = async () => (await page.getByTestId("playback-position").innerText()).slice(11);
  await until("it goes on", async () => /^00:00:(0[3-9]|1)/.test(await position()), 20000);
  await look("playing");
  // Nearer, so that a minute is something to point at.
  const axis = page.getByTestId("day-axis");
  for (let n = 0; n < 6; n++) await page.getByRole("button", { name: "放大时间轴" }).click();
  const box = await axis.boundingBox();
  const near = 24 * 60 / 2 ** 6;
  await axis.click({ position: { x: (box.width * 20.5) / near, y: 30 } });
  await until("it is where it was told to be", async () => /^00:20:(3[0-9]|4)/.test(await position()), 20000);
  await until("a picture from there", async () => (await page.getByTestId("preview-screen").getAttribute("data-status")) === "picture", 20000);
  await page.getByTestId("playback-toggle").click();
  await page.getByTestId("playback-toggle").and(page.getByLabel("播放", { exact: true })).waitFor();
  await look("paused");
  const stands = await position();
  await sleep(2500);
  await until("it stands still", async () => (await position()) === (await sleep(700), await position()), 10000);
  console.log(`# paused at ${stands}, stands at ${await position()}`);
  await page.getByRole("button", { name: "关闭此对话框" }).click();
  await until("nothing is played any more", async () => (await page.evaluate(() => window.__rongtong?.room === undefined)));
});

test("a body camera raises an alarm whose picture opens, moves on the map, and is seen to", { timeout: 90000 }, async () => {
  const code = "34020000001380000009";
  const config = join(server.dir, "body-camera.toml");
  await configure(config, { ...lines, device_id: code, channel_id: code, local_sip_port: sip + 2, device_name: "单兵" });
  await page.goto(`${server.url}/alarms`);
  await page.getByText("没有").first().waitFor();
  await look("alarms-none");
  await server.api("POST", "/cameras", { name: "移动单兵一号", url: `gb28181://${code}/${code}`, kind: "handheld" });
  bodyCamera = spawn(join(dirname(binary), "examples/gb28181_device"), [config, stream], { stdio: ["ignore", "ignore", "ignore"], env: { ...process.env, TZ: "CST-8", MOVES: "117.2,39.12" } });

  // It is told at once, wherever one is, and its picture is two clicks away.
  const card = page.getByTestId("alarm-card").first();
  await card.waitFor({ timeout: 20000 });
  assert.match(await card.innerText(), /移动侦测[\s\S]*移动单兵一号/);
  await page.getByTestId("alarm-count").getByText("1").waitFor();
  await look("alarms-one");
  await card.getByTestId("alarm-look").click();
  await page.locator('[data-testid="preview-screen"][data-status="picture"]').waitFor({ timeout: 30000 });
  await look("alarms-picture");
  await page.keyboard.press("Escape");

  // It goes east on the map.
  await page.goto(`${server.url}/map`);
  const row = page.getByTestId("map-row").filter({ hasText: "移动单兵一号" });
  await row.waitFor({ timeout: 20000 });
  await row.click();
  const place = page.getByTestId("map-card");
  const longitude = async () => Number(/117\.\d+/.exec(await place.innerText())[0]);
  const before = await longitude();
  await until("it moves", async () => (await longitude()) > before);
  await look("map");
  await place.getByTestId("map-track").click();
  await page.getByTestId("map-track-panel").waitFor();
  await look("map-track");

  await page.goto(`${server.url}/alarms`);
  await page.getByTestId("alarm-handle").first().click();
  await page.getByTestId("alarm-note").locator("textarea, input").or(page.getByTestId("alarm-note")).last().fill("已核实，系人员路过");
  bodyCamera.kill("SIGKILL");
  await look("alarms-handle");
  await page.getByTestId("alarm-handle-ok").click();
  await until("it is seen to", async () => (await server.api("GET", "/alarms?state=handled")).items.some((alarm) => alarm.note === "已核实，系人员路过"));
  await page.getByTestId("alarms-handled").click();
  await page.getByText("已核实，系人员路过").first().waitFor();
  await look("alarms-handled");
});
