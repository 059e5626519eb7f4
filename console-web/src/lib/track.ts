/** The track of a device: its length, fewer points to draw, and where it was at a time. */
import type { Point, TrackPoint } from '@/api/types'
import { metres, turnTo } from './geo'

export function trackMetres(points: readonly Point[]): number {
  let sum = 0
  for (let at = 1; at < points.length; at++) sum += metres(points[at - 1]!, points[at]!)
  return sum
}

/** At most so many points, evenly taken; the ends stay. */
export function thin<T>(points: readonly T[], most: number): T[] {
  if (points.length <= most || most < 2) return [...points]
  const step = (points.length - 1) / (most - 1)
  return Array.from({ length: most }, (_, n) => points[Math.round(n * step)]!)
}

export interface Moment extends Point {
  speed: number | null
  direction: number | null
}

/** Where it was at a time in milliseconds, between the reports before and after it. */
export function positionAt(points: readonly TrackPoint[], time: number): Moment | null {
  const first = points[0]
  const last = points.at(-1)
  if (!first || !last) return null
  if (time <= Date.parse(first.at)) return first
  if (time >= Date.parse(last.at)) return last
  let low = 0
  let high = points.length - 1
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (Date.parse(points[middle]!.at) <= time) low = middle
    else high = middle
  }
  const [a, b] = [points[low]!, points[high]!]
  const span = Date.parse(b.at) - Date.parse(a.at)
  const part = span > 0 ? (time - Date.parse(a.at)) / span : 0
  const between = (from: number, to: number) => from + (to - from) * part
  const end = a.direction === null ? null : turnTo(a.direction, b.direction)
  return {
    longitude: between(a.longitude, b.longitude),
    latitude: between(a.latitude, b.latitude),
    speed: a.speed,
    direction: a.direction === null || end === null ? a.direction : turnTo(null, between(a.direction, end)),
  }
}
