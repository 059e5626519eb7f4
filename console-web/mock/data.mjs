// What the mock server starts with: enough of everything to judge a page by.
const ago = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString()

export const people = [
  { id: 'p1', account: 'admin', name: '系统管理员', role: 'admin', disabled: false, created_at: ago(90000), last_sign_in_at: ago(3) },
  { id: 'p2', account: 'fresh', name: '新同事', role: 'dispatcher', disabled: false, must_change_password: true, created_at: ago(100) },
  { id: 'p3', account: 'lijg', name: '李建国', role: 'dispatcher', disabled: false, created_at: ago(50000), last_sign_in_at: ago(90) },
  { id: 'p4', account: 'wangxy', name: '王秀英', role: 'member', disabled: false, created_at: ago(50000), last_sign_in_at: ago(4000) },
  { id: 'p5', account: 'old.account', name: '赵磊', role: 'member', disabled: true, created_at: ago(80000), last_sign_in_at: ago(60000) },
]

const room = (name, title, participants, recording, policy = 'h264') => ({ name, title, codec_policy: policy, created_at: ago(4000), created_by: '李建国', participants, recording })
export const rooms = [
  room('r-duty', '值班会商室', 9, { id: 'rec-live', started_at: ago(12) }),
  room('r-flood', '防汛应急指挥部(省厅、市局、各县区联合会商)', 4, null),
  room('r-train', '业务培训', 0, null, 'any'),
  room('r-night', '夜间巡检', 0, null),
  room('r-traffic', '交通调度', 2, null),
]

const camera = (id, name, state, over = {}) => ({ id, name, url: `rtsp://192.168.1.${60 + Number(id.slice(1))}:554/Streaming/Channels/101`, username: 'admin', has_password: true, transport: 'tcp', keep: false, state, state_reason: null, state_since: ago(40), video: null, audio: null, rooms: [], created_at: ago(9000), kind: 'camera', place: null, ...over })
const h264 = { codec: 'H.264', width: 1920, height: 1080, fps: 25 }
export const cameras = [
  camera('c1', '东门枪机', 'live', { place: { longitude: 116.3974, latitude: 39.9087 }, keep: true, video: h264, audio: { codec: 'PCMA', rate: 8000 }, rooms: ['r-duty'] }),
  camera('c2', '北侧球机', 'failed', { state_reason: '连接 192.168.1.62:554 超时,请检查电源和网线' }),
  camera('c3', '指挥车云台', 'connecting', { kind: 'command_vehicle', state_since: ago(0) }),
  camera('c4', '仓库 4K', 'live', { video: { codec: 'H.265', width: 3840, height: 2160, fps: 20, note: 'H.265 只录制;进会商需要媒体引擎' }, audio: { codec: 'AAC', rate: 16000, note: 'AAC 只录制' } }),
  camera('c5', '停车场', 'idle', { video: h264 }),
  camera('c6', '旧办公楼', 'disabled'),
  camera('c7', '河堤布控球', 'live', { kind: 'dome', video: h264, url: 'gb28181://34020000001320000003/34020000001320000003' }),
  camera('c8', '移动单兵 王强', 'idle', { kind: 'handheld', url: 'gb28181://34020000001320000004/34020000001320000004' }),
  camera('c9', '无人机 M30-2', 'live', { kind: 'drone', video: h264, url: 'gb28181://34020000001320000006/34020000001320000006' }),
]

const track = (id, over) => ({ id, participant: 'person-1', participant_name: '李建国', kind: 'video', source: 'camera', codec: 'H.264', playable: true, note: null, start_ms: 0, duration_ms: 40_000, bytes: 8_200_000, ...over })
const TRACKS = [
  track('t1', { width: 1280, height: 720 }),
  track('t2', { kind: 'audio', source: 'microphone', codec: 'AAC', start_ms: 500, duration_ms: 39_500, bytes: 320_000 }),
  track('t3', { participant: 'camera:c1', participant_name: '东门枪机', start_ms: 4000, duration_ms: 36_000, width: 1920, height: 1080 }),
  track('t4', { participant: 'camera:c1', participant_name: '东门枪机', kind: 'audio', source: 'microphone', codec: 'PCMA', playable: false, note: 'G.711 原始声音,仅供导出', start_ms: 4000, duration_ms: 36_000, bytes: 288_000 }),
  track('t5', { participant: 'camera:c1', participant_name: '东门枪机', kind: 'audio', source: 'microphone', codec: 'AAC', start_ms: 4000, duration_ms: 36_000, bytes: 290_000, original_of: 't4' }),
  track('t6', { participant: 'person-2', participant_name: '王秀英', source: 'screen_share', start_ms: 10_000, duration_ms: 15_000, width: 1920, height: 1080 }),
  track('t7', { participant: 'person-4', participant_name: '刘洋', codec: 'VP8', playable: false, note: 'VP8 仅供导出', start_ms: 8000, duration_ms: 20_000 }),
]
export const tracksOf = (id) => (id === 'rec-1' ? TRACKS : TRACKS.slice(0, 2))

const recording = (id, kind, title, minutes, state, over = {}) => ({ id, kind, subject: 'r-duty', title, started_at: ago(minutes), ended_at: state === 'recording' ? null : ago(minutes - 1), duration_ms: 40_000, bytes: 32_400_000, state, started_by: '李建国', tracks: tracksOf(id), ...over })
export const recordings = [
  recording('rec-live', 'room', '值班会商室', 12, 'recording'),
  recording('rec-1', 'room', '防汛应急指挥部', 90, 'finished'),
  recording('rec-2', 'camera', '东门枪机', 1500, 'recovered', { duration_ms: 3_723_000, bytes: 2_812_000_000 }),
]

const ACTIONS = [['session.sign_in', 'ok'], ['camera.create', 'ok'], ['room.recording.start', 'ok'], ['session.sign_in', 'failed'], ['person.password_reset', 'ok'], ['recording.delete', 'denied']]
export const audit = Array.from({ length: 24 }, (_, i) => {
  const [action, result] = ACTIONS[i % ACTIONS.length]
  return { seq: 240 - i, time: ago(i * 17), actor: i % 3 ? 'admin' : 'lijg', action, object: ['-', 'camera c1', 'room r-duty'][i % 3], result, detail: result === 'failed' ? '密码不正确' : null, address: '192.168.1.20' }
})

export function testResult(body) {
  const good = !String(body.url).includes('bad')
  const step = (name, ok, detail, ms) => ({ name, ok, detail, ms })
  const first = [step('resolve', true, '192.168.1.61', 2), step('connect', true, 'TCP 554 已连上', 14)]
  if (!good) return { ok: false, steps: [...first, step('describe', false, '摄像机说用户名或密码不对(401)', 38)], video: null, audio: null, advice: '检查用户名和密码;海康设备连续输错会锁定 30 分钟。' }
  return { ok: true, steps: [...first, step('describe', true, 'H.264 + PCMA', 41), step('setup', true, 'TCP 交织', 12), step('play', true, 'Range npt=0-', 9), step('first_frame', true, '关键帧 41 KB', 212)], video: h264, audio: { codec: 'PCMA', rate: 8000 }, advice: null }
}
