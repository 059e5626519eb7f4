/** What is on the panes of a wall, and what a change makes of it. Nothing here changes its arguments. */
import type { WallFit, WallSlot } from '@/api/types'

export const WALL_PANES = [1, 4, 9, 16, 25] as const
export const FITS: readonly WallFit[] = ['fit', 'fill', 'original']
export const MAX_TURNS = 64
export const SECONDS = { least: 5, usual: 15, most: 3600 }
const MOST = 25

/** How far the turns of a pane have come: `passed` ms at the moment `since`; at a standstill `since` is null. */
export interface TurnClock {
  passed: number
  since: number | null
}

export interface LiveSlot extends WallSlot {
  clock: TurnClock
}

/** There are always as many as the largest wall has; those beyond its panes wait out of sight. */
export type Slots = readonly LiveSlot[]

export const emptySlot = (): LiveSlot => ({ cameras: [], seconds: SECONDS.usual, fit: 'fit', clock: { passed: 0, since: 0 } })
export const emptySlots = (): LiveSlot[] => Array.from({ length: MOST }, emptySlot)

const replaced = (slots: Slots, at: number, slot: LiveSlot): LiveSlot[] => slots.map((old, index) => (index === at ? slot : old))
const unique = (cameras: readonly string[]) => [...new Set(cameras)].slice(0, MAX_TURNS)

/** Puts cameras on a pane in place of what is there; the pane keeps how pictures fit it. */
export function put(slots: Slots, at: number, cameras: readonly string[], now: number, seconds?: number): LiveSlot[] {
  const old = slots[at]
  if (!old) return [...slots]
  return replaced(slots, at, { ...old, cameras: unique(cameras), seconds: seconds ?? old.seconds, clock: { passed: 0, since: now } })
}

/** Lets cameras take turns with those that are on the pane; the one that is seen stays. */
export function join(slots: Slots, at: number, cameras: readonly string[], now: number): LiveSlot[] {
  const old = slots[at]
  if (!old) return [...slots]
  if (old.cameras.length < 2) return put(slots, at, [...old.cameras, ...cameras], now)
  return replaced(slots, at, { ...old, cameras: unique([...old.cameras, ...cameras]) })
}

export function swap(slots: Slots, a: number, b: number): LiveSlot[] {
  const [first, second] = [slots[a], slots[b]]
  if (!first || !second) return [...slots]
  return replaced(replaced(slots, a, second), b, first)
}

export function setFit(slots: Slots, at: number, fit: WallFit): LiveSlot[] {
  const old = slots[at]
  return old ? replaced(slots, at, { ...old, fit }) : [...slots]
}

export function setClock(slots: Slots, at: number, clock: TurnClock): LiveSlot[] {
  const old = slots[at]
  return old ? replaced(slots, at, { ...old, clock }) : [...slots]
}

/** For another number of panes: what would fall off the wall moves to panes that are empty. */
export function resize(slots: Slots, panes: number): LiveSlot[] {
  const next = [...slots]
  for (let from = panes; from < next.length; from++) {
    const moved = next[from]
    if (!moved?.cameras.length) continue
    const to = next.findIndex((slot, index) => index < panes && !slot.cameras.length)
    const free = next[to]
    if (!free) break
    next[to] = moved
    next[from] = free
  }
  return next
}

/** Where the next camera goes: the chosen pane if it is empty, else the first empty one, else the chosen one. */
export function placeFor(slots: Slots, panes: number, selected: number | null): number {
  if (selected !== null && selected < panes && !slots[selected]?.cameras.length) return selected
  const free = slots.findIndex((slot, index) => index < panes && !slot.cameras.length)
  return free >= 0 ? free : Math.min(selected ?? 0, panes - 1)
}

/** Deals cameras to all panes in turn, so that the first round is the first of the list. */
export function distribute(slots: Slots, panes: number, cameras: readonly string[], seconds: number, now: number): LiveSlot[] {
  const all = [...new Set(cameras)].slice(0, panes * MAX_TURNS)
  return slots.map((slot, pane) => {
    const mine = pane < panes ? all.filter((_, index) => index % panes === pane) : []
    return { ...slot, cameras: mine, seconds, clock: { passed: 0, since: now } }
  })
}

/** What is saved: the panes that are seen, without the empty ones at the end. */
export function toSaved(slots: Slots, panes: number): WallSlot[] {
  const seen = slots.slice(0, panes).map(({ cameras, seconds, fit }) => ({ cameras: [...cameras], seconds, fit }))
  while (seen.length && !seen.at(-1)?.cameras.length && seen.at(-1)?.fit === 'fit') seen.pop()
  return seen.map((slot) => (slot.cameras.length > 1 ? slot : { ...slot, seconds: SECONDS.usual }))
}

export function fromSaved(saved: readonly WallSlot[], now: number): LiveSlot[] {
  return emptySlots().map((empty, index) => {
    const slot = saved[index]
    return slot ? { cameras: unique(slot.cameras), seconds: slot.seconds, fit: slot.fit, clock: { passed: 0, since: now } } : { ...empty, clock: { passed: 0, since: now } }
  })
}

/** A number of panes that a wall may have: the given one, or the next larger. */
export const panesFor = (count: number): number => WALL_PANES.find((panes) => panes >= count) ?? MOST
