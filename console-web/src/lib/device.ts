/** What a device says of itself, and what of its parameters is to be changed. */
import type { GbBasics } from '@/api/types'
import { clock } from './format'

/** A clock farther off than this makes recordings hard to find. */
export const CLOCK_OFF = 5

export interface ClockOff {
  way: 'right' | 'fast' | 'slow'
  marked: boolean
  /** As `m:ss` or `h:mm:ss`. */
  by: string
}

export function clockOff(seconds: number | null): ClockOff | null {
  if (seconds === null || !Number.isFinite(seconds)) return null
  const by = Math.round(Math.abs(seconds))
  const way = by < 1 ? 'right' : seconds > 0 ? 'fast' : 'slow'
  return { way, marked: Math.abs(seconds) > CLOCK_OFF, by: clock(by) }
}

export const LIMITS = { expires: [60, 604_800], keepalive_seconds: [5, 600], keepalive_misses: [1, 20] } as const
export type Numbers = keyof typeof LIMITS

/** Only what differs, and is something: an empty field leaves the device as it is. */
export function changeOf(before: GbBasics, now: GbBasics): { [K in keyof GbBasics]?: NonNullable<GbBasics[K]> } {
  const name = now.name?.trim()
  const numbers = (Object.keys(LIMITS) as Numbers[]).filter((key) => now[key] !== null && now[key] !== before[key]).map((key) => [key, now[key]])
  return { ...(name && name !== before.name ? { name } : {}), ...Object.fromEntries(numbers) }
}
