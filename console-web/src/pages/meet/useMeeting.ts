/**
 * One stay in a room: token, connection, own devices, what is to be seen, and coming back after a loss.
 * Invariant: whatever ends the stay leaves `phase` at `left` with a reason a person can read.
 */
import { ConnectionState, DefaultReconnectPolicy, DisconnectReason, Room, RoomEvent, SubscriptionError, Track, VideoPresets, type RemoteTrack } from 'livekit-client'
import { onBeforeUnmount, ref, shallowRef, triggerRef } from 'vue'
import { rooms } from '@/api/endpoints'
import { asProblem, type Problem } from '@/api/problem'
import type { CodecPolicy } from '@/api/types'
import { sendsH264 } from '@/lib/codecs'
import { connectRoom } from '@/pages/meet/connect'
import { readPanes, type Pane } from './panes'
import type { DeviceChoice } from './useDevices'

export type Phase = 'prejoin' | 'joining' | 'in' | 'left'
export type Step = 'token' | 'signal' | 'media'
export type LeftReason = 'duplicate' | 'removed' | 'deleted' | 'shutdown' | 'client' | 'other'

const RETRIES = [300, 600, 1000, 2000, 2000, 3000, 3000, 3000, 3000, 3000, 3000, 3000]
const REJOIN_EVERY_MS = 3000
const REJOIN_FOR_MS = 180_000
const STAY_EVERY_MS = 60_000
const FINAL: Partial<Record<DisconnectReason, LeftReason>> = {
  [DisconnectReason.CLIENT_INITIATED]: 'client',
  [DisconnectReason.DUPLICATE_IDENTITY]: 'duplicate',
  [DisconnectReason.PARTICIPANT_REMOVED]: 'removed',
  [DisconnectReason.ROOM_DELETED]: 'deleted',
}

export function useMeeting(name: string, onMediaError: (kind: 'mic' | 'cam', error: unknown) => void) {
  const phase = ref<Phase>('prejoin')
  const step = ref<Step>('token')
  const reconnecting = ref(false)
  const leftReason = ref<LeftReason>('other')
  const problem = shallowRef<Problem | null>(null)
  const panes = shallowRef<Pane[]>([])
  const speakers = shallowRef<string[]>([])
  const people = ref(0)
  const audioBlocked = ref(false)
  const own = ref({ mic: false, cam: false, screen: false })
  const room = shallowRef<Room | null>(null)
  const sink = document.createElement('div')
  const failures = new Map<string, string>()
  let policy: CodecPolicy = 'prefer-h264'
  let choice: DeviceChoice | null = null
  let gone = false
  let rejoining = false
  let queued = false

  sink.hidden = true
  document.body.append(sink)

  function refresh(): void {
    if (queued) return
    queued = true
    queueMicrotask(() => {
      queued = false
      const now = room.value
      if (!now) return
      panes.value = readPanes(now, failures)
      people.value = now.remoteParticipants.size + 1
      const me = now.localParticipant
      own.value = { mic: me.isMicrophoneEnabled, cam: me.isCameraEnabled, screen: me.isScreenShareEnabled }
    })
  }

  function build(): Room {
    const made = new Room({
      adaptiveStream: true,
      dynacast: true,
      reconnectPolicy: new DefaultReconnectPolicy(RETRIES),
      videoCaptureDefaults: { deviceId: choice?.cam || undefined, resolution: VideoPresets.h720.resolution },
      audioCaptureDefaults: { deviceId: choice?.mic || undefined, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      audioOutput: choice?.speaker ? { deviceId: choice.speaker } : undefined,
      publishDefaults: { simulcast: true, backupCodec: false, ...(policy !== 'any' && sendsH264() ? { videoCodec: 'h264' as const } : {}) },
    })
    for (const event of REFRESH_ON) made.on(event, refresh)
    made.on(RoomEvent.ActiveSpeakersChanged, (list) => (speakers.value = list.map((p) => p.identity)))
    made.on(RoomEvent.TrackSubscribed, (track) => track.kind === Track.Kind.Audio && hear(track))
    made.on(RoomEvent.TrackUnsubscribed, (track) => track.kind === Track.Kind.Audio && track.detach().forEach((el) => el.remove()))
    made.on(RoomEvent.TrackSubscriptionFailed, (sid, _person, error) => {
      failures.set(sid, error === SubscriptionError.SE_CODEC_UNSUPPORTED ? 'codec' : 'other')
      refresh()
    })
    made.on(RoomEvent.AudioPlaybackStatusChanged, () => (audioBlocked.value = !made.canPlaybackAudio))
    made.on(RoomEvent.Reconnecting, () => (reconnecting.value = true))
    made.on(RoomEvent.SignalReconnecting, () => (reconnecting.value = true))
    made.on(RoomEvent.Reconnected, () => (reconnecting.value = false))
    made.on(RoomEvent.MediaDevicesError, (error, kind) => onMediaError(kind === 'audioinput' ? 'mic' : 'cam', error))
    made.on(RoomEvent.Disconnected, (reason) => void ended(made, reason))
    return made
  }

  function hear(track: RemoteTrack): void {
    const element = track.attach()
    sink.append(element)
  }

  async function join(devices: DeviceChoice): Promise<void> {
    choice = devices
    phase.value = 'joining'
    problem.value = null
    try {
      await enter()
      phase.value = 'in'
    } catch (error) {
      problem.value = asProblem(error)
      await drop()
      phase.value = 'prejoin'
    }
  }

  async function enter(): Promise<void> {
    step.value = 'token'
    policy = (await rooms.one(name)).codec_policy
    const token = await rooms.token(name, choice?.name || undefined)
    step.value = 'signal'
    failures.clear()
    const made = build()
    room.value = made
    window.__rongtong = { ...window.__rongtong, room: made }
    try {
      await connectRoom(made, token)
    } catch (error) {
      if (room.value === made) room.value = null
      throw error
    }
    step.value = 'media'
    refresh()
    audioBlocked.value = !made.canPlaybackAudio
    // Devices come after the person is in: a slow permission prompt must not keep others from seeing them.
    if (choice?.micOn) void setMic(true)
    if (choice?.camOn) void setCam(true)
  }

  async function ended(which: Room, reason?: DisconnectReason): Promise<void> {
    if (room.value !== which || gone || rejoining || phase.value === 'joining') return
    const final = FINAL[reason ?? DisconnectReason.UNKNOWN_REASON]
    const keep = own.value
    await drop()
    if (final) return leaveAs(final)
    reconnecting.value = true
    rejoining = true
    choice = choice && { ...choice, micOn: keep.mic, camOn: keep.cam }
    const until = Date.now() + REJOIN_FOR_MS
    while (!gone && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, REJOIN_EVERY_MS))
      if (gone) return
      try {
        await enter()
        reconnecting.value = false
        rejoining = false
        return
      } catch (error) {
        const status = asProblem(error).status
        if (status === 404) return leaveAs('deleted')
        if (status === 401 || status === 403) break
      }
    }
    leaveAs(reason === DisconnectReason.SERVER_SHUTDOWN ? 'shutdown' : 'other')
  }

  function leaveAs(reason: LeftReason): void {
    reconnecting.value = false
    rejoining = false
    leftReason.value = reason
    phase.value = 'left'
  }

  async function drop(): Promise<void> {
    const old = room.value
    room.value = null
    panes.value = []
    sink.replaceChildren()
    if (old && old.state !== ConnectionState.Disconnected) await old.disconnect().catch(() => {})
  }

  async function setMic(on: boolean): Promise<void> {
    await room.value?.localParticipant.setMicrophoneEnabled(on).catch((error: unknown) => onMediaError('mic', error))
    refresh()
  }

  async function setCam(on: boolean): Promise<void> {
    await room.value?.localParticipant.setCameraEnabled(on).catch((error: unknown) => onMediaError('cam', error))
    refresh()
  }

  async function setScreen(on: boolean): Promise<void> {
    try {
      await room.value?.localParticipant.setScreenShareEnabled(on, { audio: true, contentHint: 'detail' })
    } finally {
      refresh()
    }
  }

  async function leave(): Promise<void> {
    await drop()
    leaveAs('client')
  }

  const startAudio = () => room.value?.startAudio().catch(() => {})

  const staying = setInterval(() => {
    if (phase.value === 'in' && !reconnecting.value) void rooms.stay(name).catch(() => {})
  }, STAY_EVERY_MS)

  onBeforeUnmount(() => {
    gone = true
    clearInterval(staying)
    void drop()
    sink.remove()
    delete window.__rongtong?.room
  })

  return { phase, step, reconnecting, leftReason, problem, panes, speakers, people, audioBlocked, own, room, join, leave, setMic, setCam, setScreen, startAudio, touch: () => triggerRef(panes) }
}

const REFRESH_ON = [
  RoomEvent.Connected, RoomEvent.Reconnected, RoomEvent.ParticipantConnected, RoomEvent.ParticipantDisconnected, RoomEvent.ParticipantActive,
  RoomEvent.TrackPublished, RoomEvent.TrackUnpublished, RoomEvent.TrackSubscribed, RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackMuted, RoomEvent.TrackUnmuted, RoomEvent.LocalTrackPublished, RoomEvent.LocalTrackUnpublished,
  RoomEvent.ActiveSpeakersChanged, RoomEvent.ConnectionQualityChanged, RoomEvent.TrackStreamStateChanged,
  RoomEvent.ParticipantNameChanged, RoomEvent.ParticipantMetadataChanged, RoomEvent.ParticipantAttributesChanged,
] as const
