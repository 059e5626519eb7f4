// Pictures of every page at three sizes in both themes, into mock/shots. Needs `npm run mock` and
// `npm run dev:mock` running. Arguments pick pages by name.
import { mkdirSync } from 'node:fs'
import { chromium } from 'playwright-core'

const BASE = process.env.BASE ?? 'http://127.0.0.1:5173'
const SIZES = { wall: [1920, 1080], desk: [1366, 768], hand: [390, 844] }
const join = async (page) => {
  await page.getByTestId('prejoin-join').click()
  await page.getByTestId('meet-tile').first().waitFor()
  await page.waitForTimeout(1200)
}
const PAGES = {
  signin: ['/signin', null, false],
  rooms: ['/rooms'],
  roomdialog: ['/rooms', (page) => page.getByTestId('room-create').first().click()],
  cameras: ['/cameras'],
  cameradrawer: ['/cameras', async (page) => {
    await page.getByTestId('camera-add').click()
    await page.getByTestId('camera-name').fill('东门枪机')
    await page.getByTestId('camera-url').fill('rtsp://192.168.1.61/bad')
    await page.getByTestId('camera-test').click()
    await page.waitForTimeout(500)
  }],
  preview: ['/cameras', async (page) => {
    await page.getByTestId('camera-preview').first().click()
    await page.waitForTimeout(1500)
  }],
  steer: ['/cameras', async (page) => {
    await page.locator('tr, li').filter({ has: page.locator('[data-camera=c7]') }).getByTestId('camera-preview').click()
    await page.waitForTimeout(1800)
  }],
  steermine: ['/cameras', async (page) => {
    await PAGES.steer[1](page)
    await page.getByTestId('ptz-pin').click()
    await page.getByTestId('ptz-pin-15').click()
    await page.waitForTimeout(700)
  }],
  devicemenu: ['/cameras', async (page) => {
    await PAGES.steer[1](page)
    await page.getByTestId('device-menu').click()
  }],
  devicestatus: ['/cameras', async (page) => {
    await PAGES.devicemenu[1](page)
    await page.getByTestId('device-status').click()
    await page.waitForTimeout(600)
  }],
  devicehome: ['/cameras', async (page) => {
    await PAGES.devicemenu[1](page)
    await page.getByTestId('device-home').click()
    await page.waitForTimeout(600)
  }],
  zoombox: ['/cameras', async (page) => {
    await PAGES.steer[1](page)
    await page.getByTestId('preview-zoom').click()
    const box = await page.getByTestId('zoombox').boundingBox()
    await page.mouse.move(box.x + box.width * 0.6, box.y + box.height * 0.7)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width * 0.35, box.y + box.height * 0.4, { steps: 4 })
  }],
  wallsteer: ['/wall', async (page) => {
    await page.waitForTimeout(800)
    await page.getByTestId('wall-pane').first().click()
    await page.getByTestId('pane-ptz').click()
    await page.waitForTimeout(800)
  }],
  wallzoom: ['/wall', async (page) => {
    await PAGES.wallsteer[1](page)
    await page.getByTestId('wall-zoom').click()
    const box = await page.getByTestId('zoombox').boundingBox()
    await page.mouse.move(box.x + box.width * 0.3, box.y + box.height * 0.35)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width * 0.6, box.y + box.height * 0.75, { steps: 4 })
  }],
  devices: ['/cameras', (page) => page.getByTestId('gb-open').click()],
  deviceconfig: ['/cameras', async (page) => {
    await page.getByTestId('gb-open').click()
    await page.getByTestId('gb-settings').click()
    await page.getByRole('tab').nth(1).click()
    await page.waitForTimeout(500)
    await page.getByText(/设备上报的全部参数|All that the device told/).click()
    await page.waitForTimeout(500)
  }],
  pushes: ['/cameras', (page) => page.getByTestId('push-open').click()],
  pushidle: ['/cameras', async (page) => {
    await page.getByTestId('push-open').click()
    await page.getByTestId('push-item').nth(2).click()
  }],
  alarms: ['/alarms?state=all'],
  alarmcards: ['/alarms', (page) => page.waitForTimeout(9000)],
  wallcards: ['/wall', (page) => page.waitForTimeout(9000)],
  bell: ['/rooms', (page) => page.getByTestId('alarm-bell').click()],
  handle: ['/alarms', async (page) => {
    await page.getByTestId('row-pick').nth(1).click()
    await page.getByTestId('row-pick').nth(2).click()
    await page.getByTestId('alarms-handle').click()
  }],
  map: ['/map'],
  mapcard: ['/map?camera=c3', (page) => page.waitForTimeout(500)],
  maptrack: ['/map?camera=c3', async (page) => {
    await page.getByTestId('map-track').click()
    await page.waitForTimeout(800)
    await page.getByTestId('map-track-play').click()
    await page.waitForTimeout(3000)
  }],
  mapalarm: ['/map?alarm=a1'],
  noalarms: ['/alarms?state=handled&level=1&until=2026-01-01T00:00:00Z'],
  recordings: ['/recordings'],
  player: ['/recordings/rec-1', async (page) => {
    await page.getByTestId('rec-toggle').click()
    await page.waitForTimeout(6000)
  }],
  people: ['/people'],
  audit: ['/audit'],
  system: ['/system'],
  prejoin: ['/meet/r-duty'],
  meet: ['/meet/r-duty', join],
  meet16: ['/meet/r-duty?n=19&layout=16', join],
  focus: ['/meet/r-duty?layout=focus', join],
  alone: ['/meet/r-flood?n=1', join],
  meetpeople: ['/meet/r-duty', async (page) => {
    await join(page)
    await page.getByTestId('meet-people').click()
    await page.waitForTimeout(500)
  }],
  left: ['/meet/r-duty', async (page) => {
    await join(page)
    await page.getByTestId('meet-leave').click()
  }],
}

const wanted = process.argv.slice(2)
const pick = (list, name) => !wanted.some((word) => list.includes(word)) || wanted.includes(name)
mkdirSync(new URL('shots/', import.meta.url), { recursive: true })
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', '--autoplay-policy=no-user-gesture-required'] })

for (const [size, [width, height]] of Object.entries(SIZES)) {
  if (!pick(Object.keys(SIZES), size)) continue
  for (const theme of ['light', 'dark']) {
    if (!pick(['light', 'dark'], theme)) continue
    const context = await browser.newContext({ viewport: { width, height }, hasTouch: size === 'hand', isMobile: size === 'hand', locale: 'zh-CN' })
    await context.addInitScript(([look, language]) => {
      const slots = [['c7'], ['c9'], ['c1'], ['c4']].map((cameras) => ({ cameras, seconds: 15, fit: 'fit' }))
      localStorage.setItem('rongtong.wall.p1', localStorage.getItem('rongtong.wall.p1') ?? JSON.stringify({ id: null, panes: 4, slots }))
      localStorage.setItem('rongtong.theme.desk', look)
      localStorage.setItem('rongtong.theme.wall', look)
      localStorage.setItem('rongtong.locale', language)
    }, [theme, process.env.LANGUAGE_SHOT ?? 'zh-CN'])
    for (const [name, [path, act, signedIn = true]] of Object.entries(PAGES)) {
      if (!pick(Object.keys(PAGES), name)) continue
      const page = await context.newPage()
      page.setDefaultTimeout(15_000)
      page.on('pageerror', (error) => console.log(`${name}: ${error.message}`))
      page.on('console', (message) => ['error', 'warning'].includes(message.type()) && console.log(`${name}: ${message.text().slice(0, 300)}`))
      await page.request[signedIn ? 'post' : 'delete'](`${BASE}/api/v1/session`, signedIn ? { data: { account: 'admin', password: 'admin' } } : {})
      await page.goto(BASE + path, { waitUntil: 'load' }).catch((error) => console.log(`${name}: ${error.message}`))
      await page.waitForTimeout(900)
      await act?.(page).catch((error) => console.log(`${name}: ${error.message.slice(0, 400)}`))
      await page.waitForTimeout(400)
      await page.screenshot({ path: new URL(`shots/${name}-${size}-${theme}.png`, import.meta.url).pathname })
      await page.close()
    }
    await context.close()
  }
}
await browser.close()
