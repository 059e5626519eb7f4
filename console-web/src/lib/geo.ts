/** Coordinates: read, written, measured; and the lines of a graticule. */
import type { Point } from '@/api/types'

export const placeText = (point: Point): string => `${point.longitude.toFixed(6)}, ${point.latitude.toFixed(6)}`

const number = (text: string): number | null => {
  const value = Number(text.trim())
  return text.trim() !== '' && Number.isFinite(value) ? value : null
}
const inside = (value: number | null, most: number) => value !== null && Math.abs(value) <= most

export type PlaceInput = { place: Point | null; longitude: '' | 'bad' | 'half'; latitude: '' | 'bad' | 'half' }

/** What was typed for a place: both empty for none, both in their range for one. */
export function readPlace(longitudeText: string, latitudeText: string): PlaceInput {
  const [east, north] = [longitudeText.trim(), latitudeText.trim()]
  if (!east && !north) return { place: null, longitude: '', latitude: '' }
  const [longitude, latitude] = [number(east), number(north)]
  const eastSays = !east ? 'half' : inside(longitude, 180) ? '' : 'bad'
  const northSays = !north ? 'half' : inside(latitude, 90) ? '' : 'bad'
  const good = longitude !== null && latitude !== null && !eastSays && !northSays
  return { place: good ? { longitude, latitude } : null, longitude: eastSays, latitude: northSays }
}

/** Metres between two points, on a sphere. */
export function metres(a: Point, b: Point): number {
  const rad = Math.PI / 180
  const half = (degrees: number) => Math.sin((degrees * rad) / 2) ** 2
  const h = half(b.latitude - a.latitude) + Math.cos(a.latitude * rad) * Math.cos(b.latitude * rad) * half(b.longitude - a.longitude)
  return 2 * 6_371_009 * Math.asin(Math.min(1, Math.sqrt(h)))
}

const STEPS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30]

/** Degrees between the lines of a graticule when so many degrees are in view. */
export const graticuleStep = (span: number, lines = 8): number => STEPS.find((step) => span / step <= lines) ?? 30

/** Multiples of the step from `from` to `to`. */
export function ticks(from: number, to: number, step: number): number[] {
  const list: number[] = []
  for (let n = Math.ceil(from / step); n * step <= to && list.length < 100; n++) list.push(n * step)
  return list
}

/** A degree with as many places as its step has, and its side. */
export function degreeText(value: number, step: number, sides: readonly [string, string]): string {
  const places = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))
  const text = Math.abs(value).toFixed(places)
  return `${text}°${Number(text) === 0 ? '' : value > 0 ? sides[0] : sides[1]}`
}

/** The angle nearest to `previous` that points to `next`, so that an arrow turns the short way. */
export function turnTo(previous: number | null, next: number | null): number | null {
  if (next === null || !Number.isFinite(next)) return null
  const wanted = ((next % 360) + 360) % 360
  if (previous === null) return wanted
  const by = ((((wanted - previous) % 360) + 540) % 360) - 180
  return previous + by
}
