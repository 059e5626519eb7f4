/**
 * Plays the tracks of a recording in step: one media element a track, all following one clock.
 * Invariant: while it plays, an element inside its time is within 150 ms of the clock or on its way
 * there; when one has nothing to show, the clock waits for it, but not for ever.
 */
import Hls from 'hls.js/light'
import { shallowReactive } from 'vue'
import { recordings } from '@/api/endpoints'
import type { RecordingTrack } from '@/api/types'
import { correct, MasterClock } from '@/lib/sync'
import { trackMoment } from '@/lib/timeaxis'

export type LanePhase = 'loading' | 'before' | 'within' | 'after' | 'failed'

export interface Lane {
  track: RecordingTrack
  element: HTMLMediaElement
  phase: LanePhase
}

const BEAT_MS = 100
/** How long the clock waits for one element before it goes on without it. */
const PATIENCE_MS = 8000
const SETTLE_MS = 700

interface Inner {
  lane: Lane
  hls: Hls | null
  waitingSince: number | null
  soughtAt: number
  retried: boolean
}

export class RecordingPlayer {
  readonly lanes: Lane[]
  readonly state = shallowReactive({ position: 0, duration: 0, playing: false, buffering: false, rate: 1, volume: 1, muted: false, drift: 0 })
  #inner: Inner[]
  #clock: MasterClock
  #timer: ReturnType<typeof setInterval>

  constructor(recordingId: string, tracks: readonly RecordingTrack[], durationMs: number) {
    this.#clock = new MasterClock(durationMs / 1000)
    this.state.duration = durationMs / 1000
    this.#inner = tracks.map((track) => this.#open(recordingId, track))
    this.lanes = this.#inner.map((inner) => inner.lane)
    this.#timer = setInterval(() => this.#beat(), BEAT_MS)
  }

  get duration(): number {
    return this.#clock.end
  }

  get position(): number {
    return this.#clock.position
  }

  get elements(): HTMLMediaElement[] {
    return this.lanes.map((lane) => lane.element)
  }

  play(): void {
    if (this.#clock.position >= this.#clock.end - 0.05) this.seek(0)
    this.state.playing = true
    this.#beat()
  }

  pause(): void {
    this.state.playing = false
    this.#clock.hold()
    this.#beat()
  }

  seek(seconds: number): void {
    this.#clock.seek(seconds)
    for (const inner of this.#inner) {
      inner.soughtAt = 0
      inner.waitingSince = null
    }
    this.#beat()
  }

  setRate(rate: number): void {
    this.state.rate = rate
    this.#clock.rate = rate
    this.#beat()
  }

  setVolume(volume: number, muted: boolean): void {
    this.state.volume = volume
    this.state.muted = muted
    for (const { element } of this.lanes) {
      if (element instanceof HTMLVideoElement) continue
      element.volume = volume
      element.muted = muted
    }
  }

  /** A recording that is still being written grows. */
  grow(tracks: readonly RecordingTrack[], durationMs: number): void {
    this.#clock.end = Math.max(this.#clock.end, durationMs / 1000)
    this.state.duration = this.#clock.end
    for (const lane of this.lanes) {
      const now = tracks.find((track) => track.id === lane.track.id)
      if (now) lane.track = now
    }
  }

  destroy(): void {
    clearInterval(this.#timer)
    for (const { hls, lane } of this.#inner) {
      hls?.destroy()
      lane.element.pause()
      lane.element.removeAttribute('src')
      lane.element.remove()
    }
  }

  #open(recordingId: string, track: RecordingTrack): Inner {
    const element = document.createElement(track.kind === 'video' ? 'video' : 'audio')
    if (element instanceof HTMLVideoElement) {
      element.muted = true
      element.playsInline = true
    }
    element.preload = 'auto'
    const lane = shallowReactive<Lane>({ track, element, phase: 'loading' })
    const inner: Inner = { lane, hls: null, waitingSince: null, soughtAt: 0, retried: false }
    const playlist = recordings.playlistUrl(recordingId, track.id)
    if (Hls.isSupported()) {
      const hls = new Hls({ maxBufferLength: 20, maxMaxBufferLength: 60, backBufferLength: 30, startPosition: 0, liveSyncDurationCount: 100_000, lowLatencyMode: false })
      hls.on(Hls.Events.ERROR, (_event, data) => {
        if (!data.fatal) return
        if (data.type === Hls.ErrorTypes.MEDIA_ERROR && !inner.retried) {
          inner.retried = true
          return hls.recoverMediaError()
        }
        lane.phase = 'failed'
      })
      hls.loadSource(playlist)
      hls.attachMedia(element)
      inner.hls = hls
    } else {
      element.src = element.canPlayType('application/vnd.apple.mpegurl') ? playlist : recordings.trackUrl(recordingId, track.id)
    }
    element.addEventListener('error', () => {
      if (!inner.hls) lane.phase = 'failed'
    })
    return inner
  }

  #beat(): void {
    const position = this.#clock.position
    const now = performance.now()
    let mustWait = false
    let drift = 0
    for (const inner of this.#inner) {
      const { element, track } = inner.lane
      if (inner.lane.phase === 'failed') continue
      const { phase, at } = trackMoment(track.start_ms, track.duration_ms, position)
      if (phase !== 'within') {
        inner.lane.phase = phase
        if (!element.paused) element.pause()
        if (phase === 'before' && element.readyState > 0 && element.currentTime > 0.2 && !element.seeking) element.currentTime = 0
        continue
      }
      if (this.#waits(inner, now)) mustWait = true
      inner.lane.phase = element.readyState >= 2 ? 'within' : 'loading'
      this.#steer(inner, at, now)
      if (element.readyState >= 2 && !element.seeking) drift = Math.max(drift, Math.abs(element.currentTime - at))
    }
    if (this.state.playing && position >= this.#clock.end) this.state.playing = false
    if (this.state.playing && !mustWait) this.#clock.start()
    else this.#clock.hold()
    this.state.buffering = this.state.playing && mustWait
    this.state.position = this.#clock.position
    this.state.drift = drift
  }

  /** Whether the clock should stand still for this element. */
  #waits(inner: Inner, now: number): boolean {
    const ready = inner.lane.element.readyState >= 3 && !inner.lane.element.seeking
    if (ready) {
      inner.waitingSince = null
      return false
    }
    inner.waitingSince ??= now
    return now - inner.waitingSince < PATIENCE_MS
  }

  #steer(inner: Inner, at: number, now: number): void {
    const { element } = inner.lane
    if (element.readyState < 1) return
    const running = this.state.playing && this.#clock.running
    if (running && element.paused) void element.play().catch(() => {})
    if (!running && !element.paused) element.pause()
    if (element.seeking) return
    const step = correct(element.currentTime, at, this.state.rate)
    if (step.kind === 'rate') {
      const rate = running ? step.rate : this.state.rate
      if (Math.abs(element.playbackRate - rate) > 0.004) element.playbackRate = rate
    } else if (now - inner.soughtAt > SETTLE_MS) {
      inner.soughtAt = now
      element.currentTime = step.to
    }
  }
}
