/** Who steers a channel, and for how long still. */
import type { Problem } from '@/api/problem'
import type { PtzLease } from '@/api/types'

/** An order keeps the lease so long. */
export const ORDER_MS = 15_000
export const PIN_MINUTES = [5, 15, 60] as const

export type Holder = 'nobody' | 'me' | 'other'

export function holderOf(lease: PtzLease | null): Holder {
  if (!lease || (lease.held_by === null && !lease.by_me)) return 'nobody'
  return lease.by_me ? 'me' : 'other'
}

/** Whole seconds until a moment, 0 once it has passed. */
export function secondsLeft(until: string | null | undefined, now: number): number {
  const at = until ? Date.parse(until) : Number.NaN
  return Number.isNaN(at) ? 0 : Math.max(0, Math.ceil((at - now) / 1000))
}

/** The lease that stood in the way of an order, or null when something else did. */
export function leaseOf(problem: Problem): PtzLease | null {
  if (problem.code !== 'ptz_held') return null
  const { held_by, held_until, may_take } = problem.more
  return {
    held_by: typeof held_by === 'string' ? held_by : '',
    by_me: false,
    until: typeof held_until === 'string' ? held_until : null,
    pinned: false,
    may_take: may_take === true,
  }
}

/** The lease after an order of one's own: it never gets shorter by that. */
export function afterOrder(lease: PtzLease, now: number): PtzLease {
  const until = Math.max(now + ORDER_MS, lease.until ? Date.parse(lease.until) || 0 : 0)
  return { ...lease, until: new Date(until).toISOString() }
}
