/** The time axis of a recording: seconds from its start on one side, pixels on the other. */
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200]

export interface Axis {
  /** Seconds at the left and right edge. */
  from: number
  to: number
  /** CSS pixels. */
  width: number
}

export function toX(axis: Axis, seconds: number): number {
  const span = axis.to - axis.from
  return span > 0 ? ((seconds - axis.from) / span) * axis.width : 0
}

/** The time under a pixel, kept inside the axis. */
export function toSeconds(axis: Axis, x: number): number {
  if (axis.width <= 0) return axis.from
  const seconds = axis.from + (x / axis.width) * (axis.to - axis.from)
  return Math.min(axis.to, Math.max(axis.from, seconds))
}

/** Round times at least `minGap` pixels apart. */
export function ticks(axis: Axis, minGap = 72): number[] {
  const span = axis.to - axis.from
  if (span <= 0 || axis.width <= 0) return []
  const wanted = (span * minGap) / axis.width
  const step = STEPS.find((candidate) => candidate >= wanted) ?? Math.ceil(wanted / 86400) * 86400
  const out: number[] = []
  for (let n = Math.ceil(axis.from / step - 1e-9) + 0; n * step <= axis.to + 1e-9; n++) out.push(n * step)
  return out
}

/** What a track does at a moment of the recording. `at` is the track's own time, seconds. */
export type TrackMoment = { phase: 'before' | 'within' | 'after'; at: number }

export function trackMoment(startMs: number, durationMs: number, position: number): TrackMoment {
  const at = position - startMs / 1000
  const length = durationMs / 1000
  if (at < 0) return { phase: 'before', at: 0 }
  if (at >= length) return { phase: 'after', at: length }
  return { phase: 'within', at }
}
