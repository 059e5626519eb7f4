// Alarms and positions of the mock server, and the stream that tells of them. MOCK_MANY=2000 makes that
// many places, MOCK_TILES names tiles, MOCK_EMPTY leaves both empty.
import { cameras } from './data.mjs'

const MANY = Number(process.env.MOCK_MANY ?? 0)
const EMPTY = !!process.env.MOCK_EMPTY
const ago = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString()
const KINDS = ['camera', 'dome', 'command_vehicle', 'monitoring_vehicle', 'handheld', 'body_camera', 'drone']
const WORDS = { camera: '摄像机', dome: '布控球', command_vehicle: '指挥车', monitoring_vehicle: '监测车', handheld: '单兵', body_camera: '记录仪', drone: '无人机' }
const code = (n) => `340200000013200000${String(n).padStart(2, '0')}`

const place = (n, kind, name, longitude, latitude, over = {}) => ({ source: 'gb28181', device: code(n), channel: code(n), name, camera_id: null, kind, longitude, latitude, altitude: null, speed: null, direction: null, at: ago(0), origin: 'reported', online: true, ...over })
const moving = (speed, direction, over = {}) => ({ speed, direction, ...over })
export const places = EMPTY
  ? []
  : [
      place(1, 'command_vehicle', '应急指挥车 01', 116.3912, 39.9163, moving(42, 90, { camera_id: 'c3', altitude: 48 })),
      place(2, 'monitoring_vehicle', '应急监测车 02', 116.412, 39.927, moving(31, 200)),
      place(3, 'dome', '河堤布控球', 116.372, 39.902, { camera_id: 'c7', at: ago(4) }),
      place(4, 'handheld', '移动单兵 王强', 116.4203, 39.9042, moving(4.5, 315, { camera_id: 'c8' })),
      place(5, 'body_camera', '执法记录仪 0417', 116.401, 39.896, moving(5, 20)),
      place(6, 'drone', '无人机 M30-2', 116.383, 39.931, moving(54, 135, { altitude: 118, camera_id: 'c9' })),
      place(7, 'dome', '化工园区东侧围墙布控球(临时架设，三号点位)', 116.436, 39.915, { online: false, at: ago(900) }),
      place(8, 'camera', '水文站', 116.352, 39.919, { origin: 'catalog', at: null }),
      { ...place(0, 'camera', '东门枪机', 116.3974, 39.9087), source: 'set', device: 'c1', channel: null, camera_id: 'c1', origin: 'set', at: null },
    ]
for (let n = 0; n < MANY; n++) {
  const kind = KINDS[n % KINDS.length]
  places.push({ ...place(0, kind, `${WORDS[kind]} ${n}`, 115.9 + Math.random(), 39.6 + Math.random() * 0.7, moving(Math.random() * 60, Math.random() * 360)), device: `many-${n}`, channel: `many-${n}`, online: n % 5 !== 0 })
}

const CAUSES = [
  [1, 'device', '人工报警按钮按下', '值班室一键报警', 4],
  [2, 'video', '运动目标检测', '', 3],
  [3, 'fault', '存储设备磁盘已满', 'disk full, slot 2', 7],
  [4, 'gps', '车辆超出围栏', '', 1],
  [2, 'video', '遗留物检测，目标在画面内停留超过 10 分钟，请核实现场情况', '东北角', 6],
]
let serial = 0
function alarm(minutes, over = {}) {
  const [level, cause, text, description, at] = CAUSES[serial % CAUSES.length]
  const where = places.find((item) => item.device === code(at))
  const camera = cameras.find((item) => item.id === where?.camera_id)
  serial++
  const moment = ago(minutes)
  return { id: `a${serial}`, source: 'gb28181', device: code(at), device_name: where?.name ?? '', channel: code(at), channel_name: where?.name ?? '', camera_id: where?.camera_id ?? null, camera_name: camera?.name ?? null, level, cause, kind: null, text, description, longitude: level === 3 ? null : (where?.longitude ?? null), latitude: level === 3 ? null : (where?.latitude ?? null), at: moment, received_at: moment, count: serial % 4 === 2 ? 7 : 1, last_at: moment, state: 'open', handled_by: null, handled_at: null, note: '', ...over }
}
export const alarms = []
if (!EMPTY) for (let n = 0; n < 74; n++) alarms.push(alarm(3 + n * 47, n < 6 ? {} : { state: 'handled', handled_by: '李建国', handled_at: ago(n * 46), note: n % 3 ? '' : '已派人到场，现场正常' }))

export function alarmRoute(method, id, body, query, who) {
  if (id === 'summary') {
    const open = alarms.filter((item) => item.state === 'open')
    return { open: open.length, levels: [1, 2, 3, 4].map((level) => open.filter((item) => item.level === level).length) }
  }
  if (id === 'handle') {
    const taken = alarms.filter((item) => body.ids.includes(item.id) && item.state === 'open')
    for (const item of taken) tell('alarm_changed', Object.assign(item, { state: 'handled', handled_by: who, handled_at: ago(0), note: body.note }))
    return { handled: taken.length }
  }
  if (id) return alarms.find((item) => item.id === id)
  const is = (name, value) => !query.get(name) || query.get(name) === String(value)
  const found = alarms.filter((item) => is('state', item.state) && is('level', item.level) && is('device', item.device) && is('camera_id', item.camera_id) && (!query.get('since') || item.at >= query.get('since')) && (!query.get('until') || item.at < query.get('until')))
  const from = Number(query.get('cursor') ?? 0)
  const to = from + Number(query.get('limit') ?? 50)
  return { items: found.slice(from, to), next_cursor: to < found.length ? String(to) : null }
}

export function positionRoute(what, query) {
  if (!what) return { items: places }
  const found = places.find((item) => item.device === query.get('device'))
  const since = Date.parse(query.get('since'))
  const span = Date.parse(query.get('until')) - since
  const count = !found?.speed ? 0 : Math.min(2000, Math.round(span / 10_000))
  const items = Array.from({ length: count }, (_, i) => {
    const angle = (i / count) * 5.5
    return { at: new Date(since + (i / count) * span).toISOString(), longitude: found.longitude + 0.018 * Math.sin(angle) + 0.003 * Math.sin(angle * 7), latitude: found.latitude - 0.014 * (1 - Math.cos(angle)), speed: 30 + 20 * Math.sin(angle * 3), direction: ((90 + (angle * 180) / Math.PI) % 360), altitude: null }
  })
  return { items, thinned: span > 20_000_000 }
}

export const mapSettings = () => ({ tiles: process.env.MOCK_TILES ?? null, attribution: process.env.MOCK_TILES ? '© 演示底图' : '', longitude: 116.397, latitude: 39.912, zoom: 13 })

const streams = new Set()
export function stream(response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' })
  response.write(': open\n\n')
  streams.add(response)
  response.on('close', () => streams.delete(response))
}
function tell(event, data) {
  for (const response of streams) response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}

setInterval(() => {
  for (const item of places.filter((one) => one.speed && one.online).slice(0, 60)) {
    const angle = (item.direction * Math.PI) / 180
    const step = item.speed / 3.6 / 111_000
    item.longitude += (step * Math.sin(angle)) / Math.cos((item.latitude * Math.PI) / 180)
    item.latitude += step * Math.cos(angle)
    item.direction = (item.direction + 3) % 360
    item.at = ago(0)
    tell('position', item)
  }
}, 1000).unref()

// One alarm on SIGUSR2, and one now and then.
function ring() {
  alarms.unshift(alarm(0))
  tell('alarm', alarms[0])
}
process.on('SIGUSR2', ring)
// The streams end on SIGHUP, and an alarm comes that none of them tells.
process.on('SIGHUP', () => {
  for (const response of streams) response.end()
  streams.clear()
  ring()
})
if (!EMPTY) setInterval(ring, Number(process.env.MOCK_ALARM_S ?? 20) * 1000).unref()
