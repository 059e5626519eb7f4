/** Whose turn it is on each pane, who comes next, and what the wall's room is to have. Times in ms. */
import type { LiveSlot, Slots, TurnClock } from './wall'

/** So long before its turn a camera is called, so that its picture is there when it comes. */
export const PREPARE_MS = 2500

export interface Turn {
  /** Of the camera that is seen. */
  index: number
  /** Seconds until the next one. */
  left: number
  /** Of the one that is to be prepared. */
  next: number | null
  paused: boolean
}

export const passed = (clock: TurnClock, now: number) => clock.passed + (clock.since === null ? 0 : Math.max(0, now - clock.since))

/** Null where there are not several to take turns. */
export function turnOf(slot: Pick<LiveSlot, 'cameras' | 'seconds' | 'clock'>, now: number): Turn | null {
  const count = slot.cameras.length
  if (count < 2) return null
  const each = slot.seconds * 1000
  const done = passed(slot.clock, now)
  const index = Math.floor(done / each) % count
  const left = each - (done % each)
  const paused = slot.clock.since === null
  return { index, left: Math.ceil(left / 1000), next: !paused && left <= PREPARE_MS ? (index + 1) % count : null, paused }
}

export const pause = (clock: TurnClock, now: number): TurnClock => ({ passed: passed(clock, now), since: null })
export const proceed = (clock: TurnClock, now: number): TurnClock => (clock.since === null ? { passed: clock.passed, since: now } : clock)

/** To the beginning of another camera's turn. */
export function turnBy(slot: LiveSlot, by: number, now: number): TurnClock {
  const count = Math.max(1, slot.cameras.length)
  const index = turnOf(slot, now)?.index ?? 0
  const to = (((index + by) % count) + count) % count
  return { passed: to * slot.seconds * 1000, since: slot.clock.since === null ? null : now }
}

/** On one pane: the camera that is seen and the one that gets ready behind it. */
export interface Showing {
  seen: string | null
  ready: string | null
}

export function showing(slot: LiveSlot | undefined, now: number): Showing {
  if (!slot) return { seen: null, ready: null }
  const turn = turnOf(slot, now)
  if (!turn) return { seen: slot.cameras[0] ?? null, ready: null }
  return { seen: slot.cameras[turn.index] ?? null, ready: turn.next === null ? null : (slot.cameras[turn.next] ?? null) }
}

export interface Wanted {
  /** Who is to be in the wall's room. */
  view: string[]
  /** Whose picture is to come: less than the view while one pane hides the others. */
  pictures: string[]
}

export function wanted(slots: Slots, panes: number, now: number, solo: number | null): Wanted {
  const all = slots.slice(0, panes).map((slot) => showing(slot, now))
  const ids = (list: readonly Showing[]) => [...new Set(list.flatMap((pane) => [pane.seen, pane.ready]).filter((id) => id !== null))].sort()
  return { view: ids(all), pictures: ids(solo === null ? all : all.slice(solo, solo + 1)) }
}

export interface Diff {
  add: string[]
  drop: string[]
}

/** What makes one set of cameras out of another. */
export function diff(before: Iterable<string>, after: Iterable<string>): Diff {
  const [old, next] = [new Set(before), new Set(after)]
  return { add: [...next].filter((id) => !old.has(id)), drop: [...old].filter((id) => !next.has(id)) }
}
