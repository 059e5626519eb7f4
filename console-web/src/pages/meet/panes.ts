/**
 * What the wall shows, read from the livekit room at one moment. Invariant: every participant has at
 * least one pane, and a pane without a picture has words (see {@link paneStatus}).
 */
import { ConnectionQuality, Track, type Participant, type Room, type TrackPublication } from 'livekit-client'
import { markRaw } from 'vue'
import { parseUndecodable } from '@/lib/undecodable'

export interface Pane {
  id: string
  identity: string
  name: string
  kind: 'person' | 'camera' | 'screen'
  local: boolean
  publication: TrackPublication | null
  track: Track | null
  /** A picture may be expected: published and not muted. */
  sending: boolean
  paused: boolean
  micOn: boolean
  hasMic: boolean
  speaking: boolean
  quality: ConnectionQuality
  cameraState: string
  cameraReason: string
  /** Why its picture cannot come into a room, as a code such as `h265`. */
  cameraNote: string
  /** The codec this browser, or somebody, cannot decode. */
  undecodable: string
  failure: string
}

const CAMERA_PREFIX = 'camera:'
export const isCamera = (p: Participant) => p.attributes['rongtong.kind'] === 'camera' || p.identity.startsWith(CAMERA_PREFIX)
export const cameraIdOf = (identity: string) => (identity.startsWith(CAMERA_PREFIX) ? identity.slice(CAMERA_PREFIX.length) : null)

export function readPanes(room: Room, failures: ReadonlyMap<string, string>): Pane[] {
  const everyone: Participant[] = [...room.remoteParticipants.values()].sort(byArrival)
  const panes = [room.localParticipant as Participant, ...everyone].flatMap((person) => panesOf(person, failures))
  return panes.sort((a, b) => rank(a) - rank(b))
}

/** Screens first, then pictures of others, then everybody else: what is watched comes first. */
const rank = (pane: Pane) => (pane.kind === 'screen' ? 0 : pane.local ? 2 : pane.kind === 'camera' || pane.sending ? 1 : 3)
const byArrival = (a: Participant, b: Participant) => (a.joinedAt?.getTime() ?? 0) - (b.joinedAt?.getTime() ?? 0)

function panesOf(person: Participant, failures: ReadonlyMap<string, string>): Pane[] {
  const videos = [...person.videoTrackPublications.values()]
  const screens = videos.filter((pub) => pub.source === Track.Source.ScreenShare)
  const cameras = videos.filter((pub) => pub.source !== Track.Source.ScreenShare)
  const kind = isCamera(person) ? 'camera' : 'person'
  const first = pane(person, kind, cameras[0] ?? null, `${person.identity}/main`, failures)
  const others = cameras.slice(1).map((pub) => pane(person, kind, pub, `${person.identity}/${pub.trackSid}`, failures))
  const shared = screens.map((pub) => pane(person, 'screen', pub, `${person.identity}/${pub.trackSid}`, failures))
  return [...shared, first, ...others]
}

function pane(person: Participant, kind: Pane['kind'], pub: TrackPublication | null, id: string, failures: ReadonlyMap<string, string>): Pane {
  const mic = person.getTrackPublication(Track.Source.Microphone) ?? [...person.audioTrackPublications.values()][0]
  const blocked = parseUndecodable(person.attributes['rongtong.undecodable'], pub?.trackSid)
  const track = pub?.track ?? null
  const failure = pub ? failures.get(pub.trackSid) : undefined
  const codec = pub?.mimeType?.split('/')[1]?.toUpperCase() ?? '?'
  return {
    id,
    identity: person.identity,
    name: person.name || person.attributes['rongtong.name'] || person.identity,
    kind,
    local: person.isLocal,
    publication: pub && markRaw(pub),
    track: track && markRaw(track),
    sending: pub !== null && !pub.isMuted,
    paused: track?.streamState === Track.StreamState.Paused,
    micOn: mic !== undefined && !mic.isMuted,
    hasMic: mic !== undefined,
    speaking: kind !== 'screen' && person.isSpeaking,
    quality: person.connectionQuality,
    cameraState: person.attributes['rongtong.state'] ?? '',
    cameraReason: person.attributes['rongtong.reason'] ?? '',
    cameraNote: person.attributes['rongtong.video_note'] ?? '',
    undecodable: blocked ?? (failure === 'codec' ? codec : ''),
    failure: failure === 'other' ? codec : '',
  }
}

export type PaneStatus =
  | { show: 'picture'; overlay?: 'paused' | 'waiting' }
  | { show: 'words'; word: 'connecting' | 'noVideo' | 'stopped' | 'noSignal' | 'cameraConnecting' | 'undecodable' | 'failed' | 'engine'; reason?: string; busy?: boolean }

/** What to show instead of black. `decoded` is whether a frame has been seen. */
export function paneStatus(pane: Pane, decoded: boolean): PaneStatus {
  if (pane.failure) return { show: 'words', word: 'failed', reason: pane.failure }
  if (pane.undecodable && !decoded && !pane.local) return { show: 'words', word: 'undecodable', reason: pane.undecodable }
  if (pane.kind === 'camera') {
    if (pane.cameraState === 'failed') return { show: 'words', word: 'noSignal', reason: pane.cameraReason }
    // One that rests with its track comes back when its picture is wanted.
    if (pane.cameraState === 'disabled' || (pane.cameraState === 'idle' && !pane.sending)) return { show: 'words', word: 'stopped', reason: pane.cameraReason }
    if (!pane.sending) {
      if (!pane.publication && pane.cameraNote) return { show: 'words', word: 'engine', reason: pane.cameraNote }
      return pane.publication ? { show: 'words', word: 'stopped' } : { show: 'words', word: 'cameraConnecting', busy: true, reason: pane.cameraReason }
    }
  }
  if (!pane.sending) return { show: 'words', word: pane.kind === 'screen' ? 'stopped' : 'noVideo' }
  if (!pane.track) return { show: 'words', word: 'connecting', busy: true }
  if (pane.paused) return { show: 'picture', overlay: 'paused' }
  return decoded || pane.local ? { show: 'picture' } : { show: 'picture', overlay: 'waiting' }
}
