/** The track of one place, and its replay. */
import { computed, onBeforeUnmount, ref, shallowRef } from 'vue'
import { positions } from '@/api/endpoints'
import { asProblem, type Problem } from '@/api/problem'
import type { Place, Track } from '@/api/types'
import { positionAt, trackMetres } from '@/lib/track'

export const HOURS = [1, 6, 24] as const
const HOUR_MS = 3_600_000
/** A replay takes this long, whatever it covers. */
const REPLAY_MS = 30_000

export function useTrack() {
  const place = shallowRef<Place | null>(null)
  const hours = ref<number>(1)
  const track = shallowRef<Track | null>(null)
  const loading = ref(false)
  const problem = shallowRef<Problem | null>(null)
  const at = ref(0)
  const playing = ref(false)
  let turn = 0
  let frame = 0

  const points = computed(() => track.value?.items ?? [])
  const from = computed(() => (points.value[0] ? Date.parse(points.value[0].at) : 0))
  const to = computed(() => Date.parse(points.value.at(-1)?.at ?? '') || 0)
  const moment = computed(() => positionAt(points.value, at.value))
  const length = computed(() => trackMetres(points.value))

  async function load(of: Place, back: number): Promise<void> {
    const mine = ++turn
    pause()
    place.value = of
    hours.value = back
    loading.value = true
    problem.value = null
    try {
      const now = Date.now()
      const found = await positions.track(of, new Date(now - back * HOUR_MS).toISOString(), new Date(now).toISOString())
      if (mine !== turn) return
      track.value = found
      at.value = to.value
    } catch (error) {
      if (mine !== turn) return
      track.value = null
      problem.value = asProblem(error)
    } finally {
      if (mine === turn) loading.value = false
    }
  }

  function close(): void {
    turn++
    pause()
    place.value = track.value = problem.value = null
    loading.value = false
  }

  function pause(): void {
    cancelAnimationFrame(frame)
    playing.value = false
  }

  function play(): void {
    if (at.value >= to.value) at.value = from.value
    playing.value = true
    let last = performance.now()
    const step = (now: number) => {
      at.value = Math.min(to.value, at.value + ((now - last) * (to.value - from.value)) / REPLAY_MS)
      last = now
      if (at.value >= to.value) return pause()
      frame = requestAnimationFrame(step)
    }
    frame = requestAnimationFrame(step)
  }

  function seek(time: number): void {
    pause()
    at.value = time
  }

  onBeforeUnmount(close)
  return { place, hours, track, loading, problem, points, from, to, at, playing, moment, length, load, close, play, pause, seek }
}

export type TrackReplay = ReturnType<typeof useTrack>
