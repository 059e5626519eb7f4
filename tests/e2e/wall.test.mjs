// The video wall in the console: cameras put on it, swapped, taking turns, saved and opened again.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { signIn } from "./console.mjs";
import { Server } from "./harness.mjs";
import { browser, sleep, until } from "./lib.mjs";

const SHOTS = process.env.RONGTONG_SHOTS;
let server, chrome, page, cameras;

before(async () => {
  server = await Server.start({ demo: 3 });
  await server.signIn();
  await server.api("POST", "/cameras", { name: "北侧球机", url: "rtsp://127.0.0.1:9/none", transport: "tcp", keep: false });
  await server.api("POST", "/rooms", { name: "duty", title: "值班会商室" });
  cameras = await until("the demo cameras are known", async () => {
    const { items } = await server.api("GET", "/cameras?limit=200");
    const ours = items.filter((camera) => camera.name !== "北侧球机");
    return ours.length === 3 && ours;
  });
  chrome = await browser();
  const context = await chrome.newContext({ viewport: { width: 1366, height: 768 }, locale: "zh-CN" });
  page = await signIn(context, server);
});

after(async () => {
  await chrome?.close();
  await server?.stop();
});

async function look(name) {
  if (!SHOTS) return;
  for (const theme of ["dark", "light"]) {
    for (const [width, height] of [[1920, 1080], [1366, 768], [390, 844]]) {
      await page.setViewportSize({ width, height });
      await page.mouse.move(width - 1, 1);
      await sleep(400);
      await page.screenshot({ path: join(SHOTS, `${name}-${theme}-${width}.png`) });
    }
    await page.setViewportSize({ width: 1366, height: 768 });
    await page.getByTestId("theme-toggle").click();
  }
}

async function snap(name) {
  if (!SHOTS) return;
  await sleep(500);
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

const pane = (at) => page.locator(`[data-testid="wall-pane"][data-at="${at}"]`);
const row = (index) => page.locator(`[data-testid="wall-camera"][data-camera="${cameras[index].id}"]`);
/** Of the dialog that is open: one that was closed stays in the page. */
const open = (id) => page.getByTestId(id).filter({ visible: true });
const shown = (at) => pane(at).getAttribute("data-shown");

/** A pane plays this camera: the picture has a size, and goes on. */
async function plays(at, index) {
  await until(`pane ${at} shows camera ${index}`, async () => (await shown(at)) === cameras[index].id && (await pane(at).getAttribute("data-status")) === "picture", 20000);
  const video = pane(at).locator('[data-front="true"] video');
  const time = () => video.evaluate((it) => (it.videoWidth > 0 ? it.currentTime : 0));
  const before = await until("it has a picture", time);
  await until("it goes on", async () => (await time()) > before);
}

/** Cameras whose picture comes to the page. */
const taken = () => page.evaluate(() => [...window.__rongtong.room.remoteParticipants.values()].filter((it) => [...it.trackPublications.values()].some((track) => track.isDesired)).map((it) => it.identity).sort());

test("cameras are put on the wall, swapped, and take turns", { timeout: 60000 }, async () => {
  await page.getByTestId("nav-wall").click();
  await row(0).waitFor();
  assert.equal(await page.getByTestId("wall-camera").count(), 4);
  await look("empty");

  await row(0).dragTo(pane(1));
  await plays(1, 0);
  await row(1).dblclick();
  await until("a double click takes the first free pane", async () => (await shown(0)) === cameras[1].id);
  await plays(0, 1);

  await pane(0).dragTo(pane(1));
  await plays(1, 1);
  await plays(0, 0);

  await page.getByTestId("wall-panes-9").click();
  assert.equal(await page.getByTestId("wall-pane").count(), 9);
  await plays(1, 1);
  await page.getByTestId("wall-panes-4").click();
  await plays(0, 0);

  // One in full, and back.
  await pane(1).dblclick();
  await pane(0).waitFor({ state: "hidden" });
  await page.keyboard.press("Escape");
  await pane(0).waitFor();

  // A camera that cannot be reached has words.
  await page.getByTestId("wall-camera").filter({ hasText: "北侧球机" }).dragTo(pane(3));
  await until("it says why", async () => (await pane(3).getAttribute("data-status")) === "noSignal", 20000);
  await snap("no-signal");
  await pane(3).hover();
  await pane(3).getByTestId("pane-close").click();
  await until("it is off", async () => (await shown(3)) === "");
  assert.deepEqual(await taken(), [0, 1].map((index) => `camera:${cameras[index].id}`).sort());

  // Dropped on the right half of a pane, another takes turns with it.
  const box = await pane(0).boundingBox();
  await row(2).dragTo(pane(0), { targetPosition: { x: box.width * 0.75, y: box.height / 2 } });
  await pane(0).getByTestId("pane-turn").waitFor();
  await pane(0).click();
  await page.getByTestId("pane-turns").click();
  const seconds = page.getByTestId("turns-seconds").locator("input");
  await seconds.fill("5");
  await seconds.press("Tab");
  await snap("turns-dialog");
  await page.getByTestId("turns-save").click();
  await plays(0, 0);
  // From one turn to the next there is always a picture in front.
  await page.evaluate(() => {
    window.fronts = {};
    const look = () => {
      const pane = document.querySelector('[data-at="0"]');
      const video = pane.querySelector('[data-front="true"] video');
      const seen = `${pane.dataset.status}, ${video?.readyState >= 2 && video.videoWidth > 0 ? "filled" : "bare"}`;
      window.fronts[seen] = (window.fronts[seen] ?? 0) + 1;
      requestAnimationFrame(look);
    };
    look();
  });
  await plays(0, 2);
  const fronts = await page.evaluate(() => window.fronts);
  console.log(`# frames of the page over a turn: ${JSON.stringify(fronts)}`);
  assert.deepEqual(Object.keys(fronts), ["picture, filled"]);
  await page.getByTestId("wall-turns").click();
  const stands = await shown(0);
  await sleep(5500);
  assert.equal(await shown(0), stands, "turns that are paused stand still");
  await look("wall");
});

test("a wall is saved, and is there again", { timeout: 60000 }, async () => {
  await page.getByTestId("fit-fill").click();
  await page.getByTestId("wall-dirty").waitFor();
  await page.getByTestId("wall-save").click();
  await page.getByTestId("wall-name").fill("东区值班墙");
  await page.getByTestId("wall-save-confirm").click();
  await page.getByTestId("wall-dirty").waitFor({ state: "detached" });
  const [saved] = await server.api("GET", "/walls");
  assert.deepEqual([saved.name, saved.panes, saved.shared, saved.slots], ["东区值班墙", 4, false, [
    { cameras: [cameras[0].id, cameras[2].id], seconds: 5, fit: "fill" },
    { cameras: [cameras[1].id], seconds: 15, fit: "fit" },
  ]]);

  await page.reload();
  await plays(1, 1);
  await plays(0, 0);
  assert.match(page.url(), new RegExp(`id=${saved.id}`));
  await page.getByTestId("wall-menu").click();
  await page.getByTestId("wall-fresh").click();
  await until("it is empty", async () => (await shown(1)) === "");
  await page.getByTestId("wall-pick").click();
  await page.getByRole("option", { name: "东区值班墙" }).click();
  await plays(1, 1);
});

test("a wall is shared under another name, and deleted", { timeout: 60000 }, async () => {
  await page.getByTestId("wall-menu").click();
  await page.getByTestId("wall-edit").click();
  await open("wall-name").fill("东区白班墙");
  await open("wall-shared").click();
  await open("wall-save-confirm").click();
  await until("it is shared", async () => (await server.api("GET", "/walls")).some((wall) => wall.shared && wall.name === "东区白班墙"));
  await open("wall-name").waitFor({ state: "detached" });
  await page.getByTestId("wall-menu").click();
  await page.getByTestId("wall-save-as").click();
  await open("wall-name").fill("备用墙");
  await open("wall-save-confirm").click();
  await until("there are two", async () => (await server.api("GET", "/walls")).length === 2);
  await open("wall-name").waitFor({ state: "detached" });
  await page.getByTestId("wall-menu").click();
  await page.getByTestId("wall-delete").click();
  await page.getByText("将删除监控墙“备用墙”").waitFor();
  await page.getByRole("button", { name: "删除", exact: true }).click();
  await until("there is one", async () => (await server.api("GET", "/walls")).length === 1);
  await page.getByTestId("wall-pick").click();
  await page.getByRole("option", { name: "东区白班墙" }).click();
  await plays(1, 1);
});

test("a camera goes into a meeting, and the whole wall takes turns", { timeout: 60000 }, async () => {
  await pane(1).click();
  const [picture] = await Promise.all([page.waitForEvent("download"), page.getByTestId("pane-snapshot").click()]);
  assert.match(picture.suggestedFilename(), /^演示摄像机.*\.jpg$/);
  await page.getByTestId("pane-record").click();
  await until("it is recorded", async () => (await server.api("GET", "/recordings")).items.some((it) => it.kind === "camera" && it.subject === cameras[1].id && it.state === "recording"));
  await page.getByTestId("pane-meeting").click();
  const room = page.getByTestId("meeting-room").filter({ hasText: "值班会商室" });
  await room.waitFor();
  await snap("meeting-dialog");
  await room.getByRole("button").click();
  await page.getByText("拉入“值班会商室”").waitFor();
  assert.ok((await server.api("GET", "/cameras?limit=200")).items.find((camera) => camera.id === cameras[1].id).rooms.includes("duty"));

  for (const index of [0, 1, 2]) await row(index).locator(".el-checkbox").click();
  await page.getByTestId("wall-panes-1").click();
  await page.getByTestId("poll-all").click();
  await page.getByTestId("poll-start").click();
  await pane(0).getByText("1/3").waitFor();
  await plays(0, 0);
  await page.keyboard.press("f");
  await page.getByTestId("wall-list").waitFor({ state: "detached" });
  await snap("full");
  await page.keyboard.press("f");
  await page.getByTestId("wall-list").waitFor();
  await page.getByTestId("wall-panes-25").click();
  await look("many");
});

test("a wall comes back with its server", { timeout: 60000 }, async () => {
  await page.getByTestId("wall-panes-4").click();
  await server.kill();
  await page.getByTestId("wall-lost").waitFor({ timeout: 20000 });
  await snap("lost");
  await server.run();
  await page.getByTestId("wall-lost").waitFor({ state: "detached", timeout: 20000 });
  await until("there is a picture", async () => (await pane(0).getAttribute("data-status")) === "picture", 20000);
});
