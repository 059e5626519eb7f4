/**
 * The JSON of /api/v1. Names are the server's (snake_case); times are RFC 3339 UTC strings,
 * durations milliseconds, sizes bytes.
 */
export type Role = 'admin' | 'dispatcher' | 'member'
export type CodecPolicy = 'prefer-h264' | 'h264' | 'any'

export interface Page<T> {
  items: T[]
  next_cursor: string | null
}

export interface Person {
  id: string
  account: string
  name: string
  role: Role
  disabled?: boolean
  must_change_password?: boolean
  created_at?: string
  last_sign_in_at?: string | null
  one_time_password?: string
}

export interface Session {
  person: Person
  expires_at: string
}

export interface RoomTrack {
  sid: string
  kind: 'video' | 'audio'
  source: string
  name: string
  codec: string
  muted: boolean
  width?: number
  height?: number
}

export interface RoomParticipant {
  sid: string
  identity: string
  name: string
  kind: string
  joined_at: string
  tracks: RoomTrack[]
}

export interface Room {
  name: string
  title: string
  codec_policy: CodecPolicy
  created_at: string
  created_by: string
  participants: number | RoomParticipant[]
  recording: { id: string; started_at?: string } | null
}

export interface RoomToken {
  token: string
  url: string
  room: string
  identity?: string
}

export type CameraState = 'idle' | 'connecting' | 'live' | 'failed' | 'disabled'

/** What a camera or a device with a position is. */
export type Kind = 'camera' | 'dome' | 'command_vehicle' | 'monitoring_vehicle' | 'handheld' | 'body_camera' | 'drone'

/** Degrees of WGS 84. */
export interface Point {
  longitude: number
  latitude: number
}

export interface Camera {
  id: string
  name: string
  kind: Kind
  /** Set by hand. */
  place: Point | null
  url: string
  username: string | null
  has_password: boolean
  transport: 'tcp' | 'udp'
  keep: boolean
  state: CameraState
  /** A code such as `auth_failed`. */
  state_reason: string | null
  /** The same in the caller's language, and one line for experts. */
  state_text?: string | null
  state_detail?: string | null
  disabled?: boolean
  state_since: string | null
  video: { codec: string; width?: number; height?: number; fps?: number; note?: string | null } | null
  audio: { codec: string; rate?: number; channels?: number; note?: string | null } | null
  /** What of the stream last changed in mid-session: a code such as `size`. */
  last_break?: { reason: string; at: string } | null
  rooms: string[]
  created_at: string
}

/** One camera that is spoken to. */
export interface TalkTarget {
  camera: string
  name: string
  state: 'calling' | 'live' | 'ended' | 'failed'
  way: string | null
  /** A code such as `refused`. */
  reason: string | null
  detail: string | null
  advice: string | null
}

export interface Talk {
  id: string
  room: string
  by: string
  began_at: string
  over: boolean
  targets: TalkTarget[]
}

export type WallFit = 'fit' | 'fill' | 'original'

/** What one pane of a wall shows; several cameras take turns. */
export interface WallSlot {
  cameras: string[]
  seconds: number
  fit: WallFit
}

export interface WallDraft {
  name: string
  panes: number
  slots: WallSlot[]
  shared: boolean
}

export interface Wall extends WallDraft {
  id: string
  mine: boolean
  updated_at: string
}

/** A room in which the cameras of a wall are, for one who looks at it. */
export interface WallView {
  room: string
  token: string
  url: string
}

export interface GbDevice {
  code: string
  name: string
  manufacturer: string
  model: string
  firmware: string
  /** Year of the standard's edition. */
  edition: string
  online: boolean
  transport: 'udp' | 'tcp'
  address: string
  channels: number
  complete: boolean
  /** It does not register with the platform's. */
  own_password: boolean
  /** It may not register. */
  blocked: boolean
  /** Null for one that never was here. */
  seen_at: string | null
}

export interface GbChannel {
  code: string
  name: string
  online: boolean
  kind: string
  folder: boolean
  parents: string[]
  /** What makes it a camera; null for what has no picture. */
  url: string | null
}

export interface GbDeviceDetail {
  device: GbDevice
  channels: GbChannel[]
}

export interface GbRecordings {
  items: { name: string; path: string; from: string; to: string; kind: string; secret: boolean; bytes: number | null }[]
  complete: boolean
}

export interface GbPlayback {
  /** Also that of the camera it is watched as. */
  id: string
  from: string
  to: string
  spans: { from: string; to: string }[]
  state: 'opening' | 'playing' | 'paused' | 'ended'
  position: string
  paused: boolean
  speed: number
  speed_ignored: boolean
  reason: string | null
  detail: string | null
}

/** Who steers a channel; nobody without `held_by`. */
export interface PtzLease {
  held_by: string | null
  by_me: boolean
  until: string | null
  /** Held until then even without orders. */
  pinned: boolean
  /** The caller may take it over. */
  may_take: boolean
}

export interface GbPreset {
  preset: number
  name: string
}

export type Duty = 'on' | 'off' | 'alarm' | 'unknown'

/** What a device says of itself; null for what it does not say. */
export interface GbStatus {
  online: boolean
  working: boolean | null
  encoding: boolean | null
  recording: boolean | null
  /** The device's clock, and how far it is ahead of the server's. */
  time: string | null
  clock_off_seconds: number | null
  alarms: { channel: string; duty: Duty }[]
}

export interface GbBasics {
  name: string | null
  expires: number | null
  keepalive_seconds: number | null
  keepalive_misses: number | null
}

export interface GbConfig extends GbBasics {
  /** All that the device told, in its own words. */
  sections: Record<string, Record<string, string>>
}

/** A box on the picture as it is shown, in px. */
export interface ZoomOrder {
  action: 'zoom_in' | 'zoom_out'
  width: number
  height: number
  /** The centre of the box. */
  x: number
  y: number
  box_width: number
  box_height: number
}

export type GbControl =
  | { action: 'guard' | 'unguard' | 'alarm_reset' | 'record' | 'record_stop' | 'reboot' | 'keyframe' }
  | { action: 'home'; enabled: boolean; preset?: number; seconds?: number }
  | ZoomOrder

/** A stream that others may push. */
export interface Push {
  id: string
  name: string
  /** What makes it a camera. */
  url: string
  /** Null for who may not manage cameras; each null where the server does not listen, or its key cannot be read. */
  addresses: { rtmp: string | null; rtmps: string | null } | null
  live: {
    protocol: string
    peer: string | null
    video: string | null
    width: number | null
    height: number | null
    audio: string | null
    kbit_per_second: number
    since: string
    dropped: number
  } | null
  created_at: string
  updated_at: string
}

export interface CameraDraft {
  name: string
  url: string
  username?: string
  password?: string
  transport: 'tcp' | 'udp'
  keep: boolean
  kind?: Kind
  /** Null takes it off the map. */
  place?: Point | null
}

export interface CameraTest {
  ok: boolean
  steps: { name: string; ok: boolean; detail: string; ms: number }[]
  video: Camera['video']
  audio: Camera['audio']
  advice: string | null
}

export interface RecordingTrack {
  id: string
  participant: string
  participant_name: string
  kind: 'video' | 'audio'
  source: string
  codec: string
  playable: boolean
  note: string | null
  start_ms: number
  duration_ms: number
  bytes: number
  width?: number
  height?: number
  original_of?: string | null
}

export interface Recording {
  id: string
  kind: 'room' | 'camera'
  subject: string
  title: string
  started_at: string
  ended_at: string | null
  duration_ms: number
  bytes: number
  state: 'recording' | 'finished' | 'recovered'
  started_by: string
  tracks: RecordingTrack[]
}

export interface AuditRow {
  seq: number
  time: string
  actor: string
  action: string
  object: string
  result: string
  detail: string | Record<string, unknown> | null
  address: string
}

export interface SystemState {
  version: string
  uptime_s: number
  node: string
  rooms: number
  participants: number
  tracks: number
  storage: Record<string, unknown>
  indicators: { name: string; value: number | string; unit: string; help: string }[]
}

/** 1 is the gravest. */
export type Level = 1 | 2 | 3 | 4
export type AlarmState = 'open' | 'handled'

export interface Alarm {
  id: string
  source: 'gb28181'
  device: string
  device_name: string
  channel: string | null
  channel_name: string
  camera_id: string | null
  camera_name: string | null
  level: Level
  cause: 'telephone' | 'device' | 'sms' | 'gps' | 'video' | 'fault' | 'other'
  kind: string | null
  /** In the caller's language. */
  text: string
  /** The device's own words. */
  description: string
  longitude: number | null
  latitude: number | null
  at: string
  received_at: string
  /** Equal alarms are joined. */
  count: number
  last_at: string
  state: AlarmState
  handled_by: string | null
  handled_at: string | null
  note: string
}

export interface AlarmSummary {
  open: number
  /** The open ones by level, the gravest first. */
  levels: [number, number, number, number]
}

/** Where a device, a channel or a camera is. */
export interface Place extends Point {
  source: 'gb28181' | 'set'
  device: string
  channel: string | null
  name: string
  camera_id: string | null
  kind: Kind
  /** Metres. */
  altitude: number | null
  /** Kilometres an hour. */
  speed: number | null
  /** Degrees from north. */
  direction: number | null
  at: string | null
  origin: 'reported' | 'catalog' | 'set'
  online: boolean
}

export interface TrackPoint extends Point {
  at: string
  speed: number | null
  direction: number | null
  altitude: number | null
}

export interface Track {
  items: TrackPoint[]
  /** Not every point is in it. */
  thinned: boolean
}

export interface MapSettings {
  /** A template with {z}, {x}, {y} and perhaps {s}. */
  tiles: string | null
  attribution: string
  longitude: number | null
  latitude: number | null
  zoom: number | null
}
