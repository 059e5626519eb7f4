// GB/T 28181 devices and pushed streams of the mock server. MOCK_HELD=1 lets somebody else steer, MOCK_PINNED=1 so
// that it cannot be taken, MOCK_SILENT=1 makes devices not answer, MOCK_RTMP=off switches RTMP off.
const ago = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString()
const EMPTY = !!process.env.MOCK_EMPTY
const SILENT = !!process.env.MOCK_SILENT
const code = (n) => `340200000013200000${String(n).padStart(2, '0')}`
const device = (n, name, manufacturer, model, online) => ({ code: code(n), name, manufacturer, model, firmware: 'V5.7.11', edition: '2022', online, transport: 'udp', address: `192.168.1.${80 + n}:5060`, channels: 1, complete: true, own_password: n === 3, blocked: false, seen_at: ago(online ? 0 : 900) })
const devices = EMPTY ? [] : [device(3, '河堤布控球', 'Hikvision', 'iDS-MCD202', true), device(4, '移动单兵 王强', 'Dahua', 'DH-MPT320', true), device(6, '无人机 M30-2', 'DJI', 'M30T', true), device(7, '化工园区东侧围墙布控球(临时架设，三号点位)', 'Uniview', 'IPC-B8', false)]
const channelOf = (item) => ({ code: item.code, name: item.name, online: item.online, kind: 'camera', folder: false, parents: [], url: `gb28181://${item.code}/${item.code}` })

const presets = [[1, '大堤全景'], [2, '闸门'], [3, '水位尺'], [5, '下游弯道，含两岸护坡和应急通道全景'], [8, '值守房'], [12, '停车区']].map(([preset, name]) => ({ preset, name }))
const leases = new Map()
if (process.env.MOCK_HELD || process.env.MOCK_PINNED) leases.set(code(3), { who: '李建国', until: Date.now() + 3_600_000, pinned: true })
const may = !process.env.MOCK_PINNED

function leaseOf(key, me) {
  const held = leases.get(key)
  if (!held || held.until <= Date.now()) return { held_by: null, by_me: false, until: null, pinned: false, may_take: may }
  return { held_by: held.who, by_me: held.who === me, until: new Date(held.until).toISOString(), pinned: held.pinned, may_take: may }
}

const config = { name: '河堤布控球', expires: 3600, keepalive_seconds: 60, keepalive_misses: 3 }
const SECTIONS = { BasicParam: { Name: 'IP DOME', Expiration: '3600', HeartBeatInterval: '60', HeartBeatCount: '3', PositionCapability: '2', Longitude: '116.372', Latitude: '39.902' }, VideoParamOpt: { DownloadSpeed: '1/2/4', Resolution: '4/5/6' }, SVACEncodeConfig: {} }

export function gbRoute(method, path, body, me, problem) {
  const [, kind, id, what, channel, ...rest] = path.split('/').filter(Boolean)
  if (kind !== 'devices') return null
  const found = devices.find((item) => item.code === id)
  if (!id) return devices
  if (!found) return problem(404, 'no_such_device', '没有这个国标设备。')
  if (what === 'refresh') return { status: 204 }
  if (!what) return method === 'GET' ? { device: found, channels: [channelOf(found)] } : { ...found, ...body }
  if (!found.online) return problem(409, 'device_offline', '设备不在线。')
  if (SILENT) return problem(503, 'device_silent', '设备没有应答。')
  if (what === 'config') {
    if (method === 'PATCH') return Object.assign(config, body), { status: 204 }
    return id === code(4) ? { name: null, expires: null, keepalive_seconds: null, keepalive_misses: null, sections: {} } : { ...config, sections: SECTIONS }
  }
  const does = rest.join('/')
  if (does === 'presets') return id === code(4) ? problem(503, 'device_silent', '设备没有应答。') : { items: presets }
  if (does === 'status') return { online: true, working: true, encoding: true, recording: id === code(4) ? null : false, time: new Date(Date.now() + 137_000).toISOString(), clock_off_seconds: id === code(6) ? 0.4 : 137, alarms: id === code(6) ? [] : [{ channel, duty: 'on' }, { channel: '34020000001340000001', duty: 'alarm' }] }
  const now = leaseOf(id, me)
  if (does === 'ptz/lease' && method === 'GET') return now
  if (does === 'ptz/lease' && method === 'DELETE') return now.by_me && leases.delete(id), { status: 204 }
  const held = now.held_by && !now.by_me
  const refused = () => problem(409, 'ptz_held', `${now.held_by}正在控制云台。`, { held_by: now.held_by, held_until: now.until, may_take: now.may_take })
  if (does === 'ptz/lease') {
    if (held && !may) return refused()
    leases.set(id, { who: me, until: Date.now() + body.minutes * 60_000, pinned: true })
    return leaseOf(id, me)
  }
  if (does === 'ptz') {
    if (held) return refused()
    const old = leases.get(id)
    leases.set(id, { who: me, until: Math.max(Date.now() + 15_000, now.pinned ? old.until : 0), pinned: now.pinned })
    if (body.action === 'preset_set') presets.push({ preset: body.preset, name: `预置位 ${body.preset}` })
    if (body.action === 'preset_delete') presets.splice(presets.findIndex((item) => item.preset === body.preset), 1)
    return { status: 204 }
  }
  if (does === 'controls') return { status: 204 }
  return null
}

const OFF = process.env.MOCK_RTMP === 'off'
const live = (over) => ({ protocol: 'RTMP', peer: '10.20.3.41:51344', video: 'h264', width: 1920, height: 1080, audio: 'aac', kbit_per_second: 4210, since: ago(18), dropped: 0, ...over })
const pushes = EMPTY ? [] : [{ id: 'k3v9q2', name: '无人机 M30-2 云台画面', key: 'Zq7mT4xK9pL2vB8n', live: live() }, { id: 'h7w1c5', name: '直播编码器', key: 'Ht5rW3yN6dJ1sC4m', live: live({ protocol: 'RTMPS', video: 'h265', width: 3840, height: 2160, audio: null, kbit_per_second: 850, dropped: 12 }) }, { id: 'p2m8z4', name: '应急现场 OBS(第二联络点，备用链路)', key: 'Pd8gX2fR5kV7tQ1b', live: null }]
const pushBody = ({ id, name, key, live: now }) => {
  const address = (scheme, port) => (OFF ? null : `${scheme}://10.20.1.5:${port}/live/${id}?key=${key}`)
  return { id, name, url: `push://${id}`, addresses: { rtmp: address('rtmp', 1935), rtmps: address('rtmps', 1936) }, live: OFF ? null : now, created_at: ago(4000), updated_at: ago(40) }
}
const random = () => Math.random().toString(36).slice(2, 10)

export function pushRoute(method, id, what, body, problem) {
  if (!id && method === 'POST') return pushes.push({ id: random().slice(0, 6), name: body.name, key: random() + random(), live: null }), pushBody(pushes.at(-1))
  if (!id) return pushes.map(pushBody)
  const found = pushes.find((item) => item.id === id)
  if (!found) return problem(404, 'no_such_push', '没有这个推流。')
  if (what === 'key') return pushBody(Object.assign(found, { key: random() + random(), live: null }))
  if (method === 'DELETE') return pushes.splice(pushes.indexOf(found), 1), { status: 204 }
  return pushBody(Object.assign(found, method === 'PATCH' ? { name: body.name } : {}))
}
