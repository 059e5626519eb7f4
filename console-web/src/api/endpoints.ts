/** Every route the console uses, by the thing it is about. */
import { del, get, patch, post, put, API } from './http'
import type {
  Alarm,
  AlarmSummary,
  AuditRow,
  Camera,
  CameraDraft,
  CameraTest,
  CodecPolicy,
  GbBasics,
  GbConfig,
  GbControl,
  GbDevice,
  GbDeviceDetail,
  GbPlayback,
  GbPreset,
  GbRecordings,
  GbStatus,
  MapSettings,
  Page,
  Person,
  Place,
  PtzLease,
  Push,
  Recording,
  Role,
  Room,
  RoomToken,
  Session,
  SystemState,
  Talk,
  Track,
  Wall,
  WallDraft,
  WallView,
} from './types'

const e = encodeURIComponent

export interface PageQuery {
  limit?: number
  cursor?: string | null
  [filter: string]: string | number | null | undefined
}

export const sessions = {
  current: () => get<Session>('/session'),
  signIn: (account: string, password: string) => post<Session>('/session', { account, password }),
  signOut: () => del('/session'),
  changePassword: (old_password: string, new_password: string) =>
    post<void>('/session/password', { old_password, new_password }),
}

export const rooms = {
  list: (query?: PageQuery, signal?: AbortSignal) => get<Page<Room>>('/rooms', query, signal),
  one: (name: string) => get<Room>(`/rooms/${e(name)}`),
  create: (body: { title: string; codec_policy: CodecPolicy; name?: string }) => post<Room>('/rooms', body),
  update: (name: string, body: { title?: string; codec_policy?: CodecPolicy }) => patch<Room>(`/rooms/${e(name)}`, body),
  remove: (name: string) => del(`/rooms/${e(name)}`),
  token: (name: string, displayName?: string) =>
    post<RoomToken>(`/rooms/${e(name)}/token`, displayName ? { name: displayName } : {}),
  /** Said now and then by who is in the meeting, so that it does not end with the session. */
  stay: (name: string) => post<void>(`/rooms/${e(name)}/stay`),
  addCamera: (name: string, camera_id: string) => post<unknown>(`/rooms/${e(name)}/cameras`, { camera_id }),
  removeCamera: (name: string, cameraId: string) => del(`/rooms/${e(name)}/cameras/${e(cameraId)}`),
  removeParticipant: (name: string, identity: string) => post<void>(`/rooms/${e(name)}/participants/${e(identity)}/remove`),
  mute: (name: string, identity: string, track_sid: string, muted: boolean) =>
    post<void>(`/rooms/${e(name)}/participants/${e(identity)}/mute`, { track_sid, muted }),
  record: (name: string) => post<Recording>(`/rooms/${e(name)}/recordings`),
}

const channelOf = (code: string, channel: string) => `/gb28181/devices/${e(code)}/channels/${e(channel)}`

/** Devices that registered by GB/T 28181. */
export const gb28181 = {
  devices: () => get<GbDevice[]>('/gb28181/devices'),
  device: (code: string) => get<GbDeviceDetail>(`/gb28181/devices/${e(code)}`),
  announce: (body: { code: string; name: string; password?: string }) => post<GbDevice>('/gb28181/devices', body),
  change: (code: string, body: { name?: string; password?: string | null; blocked?: boolean }) => patch<GbDevice>(`/gb28181/devices/${e(code)}`, body),
  forget: (code: string) => del(`/gb28181/devices/${e(code)}`),
  refresh: (code: string) => post<void>(`/gb28181/devices/${e(code)}/refresh`),
  ptz: (code: string, channel: string, order: Record<string, unknown>) =>
    post<void>(`${channelOf(code, channel)}/ptz`, order),
  lease: (code: string, channel: string) => get<PtzLease>(`${channelOf(code, channel)}/ptz/lease`),
  pin: (code: string, channel: string, minutes: number) => put<PtzLease>(`${channelOf(code, channel)}/ptz/lease`, { minutes }),
  release: (code: string, channel: string) => del(`${channelOf(code, channel)}/ptz/lease`),
  /** Null when the device has the order and does not say what came of it. */
  control: (code: string, channel: string, order: GbControl) => post<undefined | null>(`${channelOf(code, channel)}/controls`, order),
  presets: (code: string, channel: string) => get<{ items: GbPreset[] }>(`${channelOf(code, channel)}/presets`),
  status: (code: string, channel: string) => get<GbStatus>(`${channelOf(code, channel)}/status`),
  config: (code: string) => get<GbConfig>(`/gb28181/devices/${e(code)}/config`),
  configure: (code: string, change: { [K in keyof GbBasics]?: NonNullable<GbBasics[K]> }) => patch<void>(`/gb28181/devices/${e(code)}/config`, change),
  recordings: (code: string, channel: string, from: string, to: string) =>
    get<GbRecordings>(`${channelOf(code, channel)}/recordings`, { from, to }),
  play: (code: string, channel: string, from: string, to: string) =>
    post<GbPlayback>(`${channelOf(code, channel)}/playbacks`, { from, to }),
  playback: (id: string) => get<GbPlayback>(`/gb28181/playbacks/${e(id)}`),
  steerPlayback: (id: string, order: { paused?: boolean; speed?: number; position?: string }) =>
    patch<GbPlayback>(`/gb28181/playbacks/${e(id)}`, order),
  endPlayback: (id: string) => del(`/gb28181/playbacks/${e(id)}`),
}

/** Streams that encoders, drones and other servers push. */
export const pushes = {
  list: () => get<Push[]>('/pushes'),
  create: (name: string) => post<Push>('/pushes', { name }),
  rename: (id: string, name: string) => patch<Push>(`/pushes/${e(id)}`, { name }),
  remove: (id: string) => del(`/pushes/${e(id)}`),
  newKey: (id: string) => post<Push>(`/pushes/${e(id)}/key`),
}

export const cameras = {
  list: (query?: PageQuery, signal?: AbortSignal) => get<Page<Camera>>('/cameras', query, signal),
  one: (id: string) => get<Camera>(`/cameras/${e(id)}`),
  create: (body: CameraDraft) => post<Camera>('/cameras', body),
  update: (id: string, body: Partial<CameraDraft> & { disabled?: boolean }) => patch<Camera>(`/cameras/${e(id)}`, body),
  remove: (id: string) => del(`/cameras/${e(id)}`),
  test: (body: { url: string; username?: string; password?: string; transport?: string }) =>
    post<CameraTest>('/cameras/test', body),
  preview: (id: string) => post<RoomToken>(`/cameras/${e(id)}/preview`),
  record: (id: string) => post<Recording>(`/cameras/${e(id)}/recordings`),
}

export const alarms = {
  list: (query?: PageQuery, signal?: AbortSignal) => get<Page<Alarm>>('/alarms', query, signal),
  summary: () => get<AlarmSummary>('/alarms/summary'),
  one: (id: string) => get<Alarm>(`/alarms/${e(id)}`),
  handle: (ids: string[], note: string) => post<{ handled: number }>('/alarms/handle', { ids, note }),
}

export const positions = {
  list: () => get<{ items: Place[] }>('/positions'),
  track: (place: Pick<Place, 'source' | 'device' | 'channel'>, since: string, until: string) =>
    get<Track>('/positions/track', { source: place.source, device: place.device, channel: place.channel, since, until }),
}

export const map = {
  settings: () => get<MapSettings>('/map'),
}

/** Server-sent events: alarms and positions as they come. */
export const EVENTS_URL = `${API}/events`

export const talks = {
  begin: (cameras: string[]) => post<Talk & { token: string | null; url: string | null }>('/talks', { cameras }),
  get: (id: string) => get<Talk>(`/talks/${e(id)}`),
  end: (id: string) => del(`/talks/${e(id)}`),
}

export const walls = {
  list: () => get<Wall[]>('/walls'),
  create: (body: WallDraft) => post<Wall>('/walls', body),
  update: (id: string, body: WallDraft) => put<Wall>(`/walls/${e(id)}`, body),
  remove: (id: string) => del(`/walls/${e(id)}`),
  view: (cameras: string[]) => post<WallView>('/walls/view', { cameras }),
  changeView: (room: string, cameras: string[]) => put<void>(`/walls/view/${e(room)}`, { cameras }),
}

export const recordings = {
  list: (query?: PageQuery, signal?: AbortSignal) => get<Page<Recording>>('/recordings', query, signal),
  one: (id: string) => get<Recording>(`/recordings/${e(id)}`),
  stop: (id: string) => post<Recording>(`/recordings/${e(id)}/stop`),
  remove: (id: string) => del(`/recordings/${e(id)}`),
  playlistUrl: (id: string, track: string) => `${API}/recordings/${e(id)}/tracks/${e(track)}/index.m3u8`,
  trackUrl: (id: string, track: string) => `${API}/recordings/${e(id)}/tracks/${e(track)}/media.mp4`,
  downloadUrl: (id: string) => `${API}/recordings/${e(id)}/download`,
}

export const people = {
  list: (query?: PageQuery, signal?: AbortSignal) => get<Page<Person>>('/people', query, signal),
  create: (body: { account: string; name: string; role: Role; password?: string }) => post<Person>('/people', body),
  update: (id: string, body: { name?: string; role?: Role; disabled?: boolean }) => patch<Person>(`/people/${e(id)}`, body),
  remove: (id: string) => del(`/people/${e(id)}`),
  resetPassword: (id: string) => post<{ one_time_password: string }>(`/people/${e(id)}/password-reset`),
}

export const audit = {
  list: (query?: PageQuery, signal?: AbortSignal) => get<Page<AuditRow>>('/audit', query, signal),
}

export const system = {
  state: () => get<SystemState>('/system'),
}
