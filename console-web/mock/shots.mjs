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
      localStorage.setItem('rongtong.theme.desk', look)
      localStorage.setItem('rongtong.theme.wall', look)
      localStorage.setItem('rongtong.locale', language)
    }, [theme, process.env.LANGUAGE_SHOT ?? 'zh-CN'])
    for (const [name, [path, act, signedIn = true]] of Object.entries(PAGES)) {
      if (!pick(Object.keys(PAGES), name)) continue
      const page = await context.newPage()
      page.setDefaultTimeout(6000)
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
