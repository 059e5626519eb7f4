// A stand-in for the server while the pages are being made: the contract of /api/v1 from memory, sign-in
// admin / admin (account "fresh" must change its password). Media of recordings is made by ffmpeg.
import { spawnSync } from 'node:child_process'
import { createReadStream, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { alarmRoute, mapSettings, positionRoute, stream } from './events.mjs'
import { gbRoute, pushRoute } from './gb.mjs'
import { audit, cameras, people, recordings, rooms, testResult, tracksOf } from './data.mjs'

const HERE = dirname(fileURLToPath(import.meta.url))
const MEDIA = join(HERE, 'media')
let session = process.env.MOCK_SIGNED_IN ? people[0] : null

function media(name, input, codec) {
  const folder = join(MEDIA, name)
  if (existsSync(join(folder, 'index.m3u8'))) return
  mkdirSync(folder, { recursive: true })
  const args = ['-y', '-loglevel', 'error', ...input, ...codec, '-f', 'hls', '-hls_time', '1', '-hls_playlist_type', 'vod', '-hls_segment_type', 'fmp4', '-hls_flags', 'single_file', '-hls_fmp4_init_filename', 'init.mp4', '-hls_segment_filename', join(folder, 'media.mp4'), join(folder, 'index.m3u8')]
  spawnSync('ffmpeg', args, { stdio: 'inherit' })
}

for (const track of tracksOf('rec-1').filter((item) => item.playable)) {
  const seconds = track.duration_ms / 1000
  if (track.kind === 'video') media(track.id, ['-f', 'lavfi', '-i', `testsrc2=size=640x360:rate=25:duration=${seconds}`, '-f', 'lavfi', '-t', '0.1', '-i', 'anullsrc'], ['-map', '0:v', '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-g', '25'])
  else media(track.id, ['-f', 'lavfi', '-i', `sine=frequency=440:duration=${seconds}:sample_rate=48000`], ['-c:a', 'aac'])
}

const page = (items) => ({ items, next_cursor: null })
const problem = (status, code, detail, more = {}) => ({ status, type: `urn:rongtong:problem:${code}`, code, title: '请求没有完成', detail, trace_id: '4f0c9a7be1d24c02', ...more })

function route(method, path, body, query) {
  const [a, b, c, d] = path.split('/').filter(Boolean)
  if (a === 'session') {
    if (b === 'password') {
      session.must_change_password = false
      return { status: 204 }
    }
    if (method === 'POST') {
      const person = people.find((item) => item.account === body.account)
      if (!person || body.password !== 'admin') return problem(401, 'bad_credentials', '账号或密码不正确。')
      session = person
    }
    if (method === 'DELETE') session = null
    if (!session) return method === 'DELETE' ? { status: 204 } : problem(401, 'unauthenticated', '没有登录。')
    return { token: 'x', person: session, expires_at: new Date(Date.now() + 3_600_000).toISOString() }
  }
  if (!session) return problem(401, 'unauthenticated', '没有登录。')
  if (a === 'rooms') return roomRoute(method, b, c, d, body)
  if (a === 'cameras') return cameraRoute(method, b, c, body)
  if (a === 'alarms') return alarmRoute(method, b, body, query, session.name) ?? problem(404, 'not_found', '没有这条告警。')
  if (a === 'gb28181') return gbRoute(method, path, body, session.name, problem) ?? problem(404, 'not_found', '没有这个地址。')
  if (a === 'pushes') return pushRoute(method, b, c, body, problem)
  if (a === 'positions') return positionRoute(b, query)
  if (a === 'map') return mapSettings()
  if (a === 'walls') return b === 'view' ? (method === 'PUT' ? { status: 204 } : { token: 'x', url: 'ws://mock', room: 'wall-1' }) : []
  if (a === 'recordings') {
    const found = recordings.find((item) => item.id === b)
    if (c === 'stop') return Object.assign(found, { state: 'finished', ended_at: new Date().toISOString() })
    if (method === 'DELETE') return recordings.splice(recordings.indexOf(found), 1), { status: 204 }
    return b ? (found ?? problem(404, 'not_found', '没有这个录像。')) : page(recordings.filter((item) => item.title.includes(query.get('q') ?? '')))
  }
  if (a === 'people') {
    if (c === 'password-reset') return { one_time_password: 'Qm7-vT2-xK9-pL4' }
    if (method === 'POST') return people.push({ id: `p${people.length + 1}`, created_at: new Date().toISOString(), ...body }), { ...people.at(-1), one_time_password: 'Hd4-wN8-rC6-yB3' }
    if (method === 'PATCH') return Object.assign(people.find((item) => item.id === b), body)
    if (method === 'DELETE') return b === 'p1' ? problem(409, 'last_admin', '不能删除最后一个管理员。') : (people.splice(people.findIndex((item) => item.id === b), 1), { status: 204 })
    return page(people)
  }
  if (a === 'audit') return page(audit.filter((row) => row.actor.includes(query.get('actor') ?? '') && row.action.includes(query.get('action') ?? '')))
  if (a === 'system') return systemState()
  return problem(404, 'not_found', '没有这个地址。')
}

function roomRoute(method, name, what, who, body) {
  const room = rooms.find((item) => item.name === name)
  if (!name && method === 'POST') return rooms.unshift({ name: `r-${Math.random().toString(36).slice(2, 10)}`, created_at: new Date().toISOString(), created_by: session.name, participants: 0, recording: null, ...body }), rooms[0]
  if (!name) return page(rooms)
  if (!room) return problem(404, 'not_found', `没有名为 ${name} 的会商室。`)
  if (what === 'token') return { token: 'x', url: 'ws://mock', room: name, identity: 'person-1' }
  if (what === 'recordings') {
    room.recording = { id: 'rec-live' }
    return recordings.find((item) => item.id === 'rec-live')
  }
  if (what) return { status: 204 }
  if (method === 'DELETE') return rooms.splice(rooms.indexOf(room), 1), { status: 204 }
  return method === 'PATCH' ? Object.assign(room, body) : { ...room, participants: [] }
}

function cameraRoute(method, id, what, body) {
  if (id === 'test') return testResult(body)
  const camera = cameras.find((item) => item.id === id)
  if (what === 'preview') return { token: 'x', url: 'ws://mock', room: `cam-${id}` }
  if (what === 'recordings') return recordings[0]
  if (!id && method === 'POST') return cameras.unshift({ id: `c${cameras.length + 1}`, state: 'connecting', state_reason: null, state_since: null, video: null, audio: null, rooms: [], has_password: !!body.password, ...body, password: undefined }), cameras[0]
  if (!id) return page(cameras)
  if (method === 'DELETE') return cameras.splice(cameras.indexOf(camera), 1), { status: 204 }
  return method === 'PATCH' ? Object.assign(camera, body) : camera
}

function systemState() {
  const indicators = [
    ['rongtong_rtp_packets_forwarded_total', 18_234_812, '', '转发的 RTP 包总数'],
    ['rongtong_rtp_bytes_forwarded_total', 21_934_812_334, 'bytes', '转发的字节总数'],
    ['rongtong_first_frame_p95', 182, 'ms', '打开画面到首帧的时间(95 分位)'],
    ['rongtong_nack_recovered_ratio', 98.42, '%', '丢包重传成功的比例'],
    ['rongtong_cpu', 37.25, '%', '本进程占用的处理器'],
  ]
  return { version: '0.1.0', uptime_s: 183_244, node: 'rt-node-1', rooms: 7, participants: 23, tracks: 61, storage: { total_bytes: 2e12, free_bytes: 7.2e11 }, indicators: indicators.map(([name, value, unit, help]) => ({ name, value, unit, help })) }
}

function file(request, response, path) {
  const [, , track, name] = path.match(/^\/recordings\/([^/]+)\/tracks\/([^/]+)\/(.+)$/) ?? []
  const target = join(MEDIA, track, name)
  if (!existsSync(target)) return send(response, problem(404, 'not_found', '没有这个文件。'))
  const size = statSync(target).size
  const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '')
  const type = name.endsWith('m3u8') ? 'application/vnd.apple.mpegurl' : 'video/mp4'
  if (!range) return response.writeHead(200, { 'Content-Type': type, 'Content-Length': size }), response.end(readFileSync(target))
  const from = Number(range[1])
  const to = range[2] ? Math.min(size - 1, Number(range[2])) : size - 1
  response.writeHead(206, { 'Content-Type': type, 'Content-Length': to - from + 1, 'Content-Range': `bytes ${from}-${to}/${size}` })
  createReadStream(target, { start: from, end: to }).pipe(response)
}

function send(response, value) {
  const status = typeof value?.status === 'number' && (value.code || value.status === 204) ? value.status : 200
  response.writeHead(status, { 'Content-Type': value?.code ? 'application/problem+json' : 'application/json' })
  response.end(status === 204 ? undefined : JSON.stringify(value))
}

createServer((request, response) => {
  const url = new URL(request.url, 'http://mock')
  const path = url.pathname.replace(/^\/api\/v1/, '')
  if (path === '/events' && session) return stream(response)
  if (path.includes('/tracks/')) return file(request, response, path)
  let text = ''
  request.on('data', (chunk) => (text += chunk))
  request.on('end', () => setTimeout(() => send(response, route(request.method, path, text ? JSON.parse(text) : {}, url.searchParams)), 60))
}).listen(7900, '127.0.0.1', () => console.log('mock on http://127.0.0.1:7900'))
