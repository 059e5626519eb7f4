/** Streams that are pushed: their addresses as encoders want them. */
import type { Push } from '@/api/types'

/** The push that a camera's address names. */
export const pushOf = (url: string): string | null => /^push:\/\/([\w-]+)$/.exec(url)?.[1] ?? null

export interface Target {
  /** Up to the application. */
  server: string
  /** What goes into the field for the stream key. */
  key: string
}

/** An address in the two halves that most encoders have fields for. */
export function halves(address: string): Target | null {
  const found = /^(rtmps?:\/\/[^/]+\/[^/]+)\/(.+)$/.exec(address)
  return found?.[1] && found[2] ? { server: found[1], key: found[2] } : null
}

/** Without an address of any the server does not listen; without that of one alone its key cannot be read. */
export function troubleOf(push: Push, all: readonly Push[]): '' | 'off' | 'key' {
  if (!push.addresses || push.addresses.rtmp || push.addresses.rtmps) return ''
  return all.some((other) => other.addresses?.rtmp || other.addresses?.rtmps) ? 'key' : 'off'
}

/** As `850 kbit/s` or `4.2 Mbit/s`. */
export const bitrate = (kbit: number): string => (kbit < 1000 ? `${Math.round(kbit)} kbit/s` : `${(kbit / 1000).toFixed(1)} Mbit/s`)

const NAMES: Record<string, string> = { h264: 'H.264', h265: 'H.265', aac: 'AAC', pcma: 'G.711A', pcmu: 'G.711μ' }
export const codecName = (codec: string): string => NAMES[codec] ?? codec.toUpperCase()
