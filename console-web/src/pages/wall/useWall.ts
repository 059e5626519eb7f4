/** The wall that is on the screen: its panes, what of it is saved, and how far its turns are. */
import { computed, onBeforeUnmount, ref, shallowRef, watch } from 'vue'
import type { Wall, WallDraft, WallFit, WallSlot } from '@/api/types'
import * as turns from '@/lib/turns'
import * as layout from '@/lib/wall'
import { useSession } from '@/stores/session'

const KEY = 'rongtong.wall'
const TICK_MS = 250

interface Kept {
  id: string | null
  panes: number
  slots: WallSlot[]
}

export function useWall() {
  const session = useSession()
  const panes = ref(4)
  const slots = shallowRef(layout.emptySlots())
  const selected = ref<number | null>(null)
  const solo = ref<number | null>(null)
  const now = ref(Date.now())
  /** What is saved of it; null for one that never was. */
  const saved = shallowRef<Wall | null>(null)

  const seen = computed(() => slots.value.slice(0, panes.value))
  const used = computed(() => seen.value.filter((slot) => slot.cameras.length).length)
  const current = computed(() => (selected.value === null ? null : (seen.value[selected.value] ?? null)))
  const shown = computed(() => (current.value ? turns.showing(current.value, now.value).seen : null))
  const turning = computed(() => seen.value.some((slot) => slot.cameras.length > 1))
  const paused = computed(() => turning.value && seen.value.every((slot) => slot.cameras.length < 2 || slot.clock.since === null))
  const wanted = computed(() => turns.wanted(slots.value, panes.value, now.value, solo.value))

  const print = (count: number, list: readonly WallSlot[]) => JSON.stringify([count, list])
  const draft = computed(() => layout.toSaved(slots.value, panes.value))
  const dirty = computed(() => (saved.value ? print(panes.value, draft.value) !== print(saved.value.panes, layout.toSaved(layout.fromSaved(saved.value.slots, 0), saved.value.panes)) : used.value > 0))
  /** It is the caller's to change. */
  const own = computed(() => !!saved.value && (saved.value.mine || session.isAdmin))

  const timer = setInterval(() => turning.value && (now.value = Date.now()), TICK_MS)
  onBeforeUnmount(() => clearInterval(timer))

  function change(next: layout.LiveSlot[]): void {
    slots.value = next
  }
  function moment(): number {
    return (now.value = Date.now())
  }

  function setPanes(count: number): void {
    slots.value = layout.resize(slots.value, count)
    panes.value = count
    solo.value = null
    if (selected.value !== null && selected.value >= count) selected.value = null
  }

  /** Puts a camera where there is room, and gives back where. */
  function add(camera: string): number {
    const at = layout.placeFor(slots.value, panes.value, selected.value)
    change(layout.put(slots.value, at, [camera], moment()))
    return (selected.value = at)
  }
  const put = (at: number, cameras: string[], seconds?: number) => change(layout.put(slots.value, at, cameras, moment(), seconds))
  const join = (at: number, cameras: string[]) => change(layout.join(slots.value, at, cameras, moment()))
  const fit = (at: number, how: WallFit) => change(layout.setFit(slots.value, at, how))
  const poll = (cameras: string[], seconds: number) => change(layout.distribute(slots.value, panes.value, cameras, seconds, moment()))

  function swap(from: number, to: number): void {
    change(layout.swap(slots.value, from, to))
    selected.value = to
  }

  function clear(at: number): void {
    put(at, [])
    if (solo.value === at) solo.value = null
  }

  function clearAll(): void {
    slots.value = layout.emptySlots()
    solo.value = null
  }

  function toggleTurns(at?: number): void {
    const moved = moment()
    const still = at === undefined ? paused.value : slots.value[at]?.clock.since === null
    const set = still ? turns.proceed : turns.pause
    change(slots.value.map((slot, index) => (at === undefined || at === index ? { ...slot, clock: set(slot.clock, moved) } : slot)))
  }

  function turnBy(at: number, by: number): void {
    const slot = slots.value[at]
    if (slot) change(layout.setClock(slots.value, at, turns.turnBy(slot, by, moment())))
  }

  const toggleSolo = (at: number) => (solo.value = solo.value === at ? null : at)

  function show(count: number, list: readonly WallSlot[]): void {
    panes.value = layout.panesFor(count)
    slots.value = layout.fromSaved(list, moment())
    selected.value = null
    solo.value = null
  }
  function load(wall: Wall | null): void {
    saved.value = wall
    show(wall?.panes ?? panes.value, wall?.slots ?? [])
  }
  const toDraft = (name: string, shared: boolean): WallDraft => ({ name, shared, panes: panes.value, slots: draft.value })

  /** On a shared machine each person has their own. */
  const key = () => `${KEY}.${session.person?.id ?? ''}`
  function kept(): Kept | null {
    try {
      const value = JSON.parse(localStorage.getItem(key()) ?? 'null') as Kept | null
      return value && typeof value.panes === 'number' && Array.isArray(value.slots) ? value : null
    } catch {
      return null
    }
  }
  function keep(): void {
    localStorage.setItem(key(), JSON.stringify({ id: saved.value?.id ?? null, panes: panes.value, slots: draft.value } satisfies Kept))
  }
  /** Called once what was kept has been read, so that it is not overwritten before. */
  const keepOn = () => watch([saved, panes, draft], keep)

  return {
    panes, slots, seen, used, selected, solo, now, saved, current, shown, turning, paused, wanted, dirty, own,
    setPanes, add, put, join, fit, poll, swap, clear, clearAll, toggleTurns, turnBy, toggleSolo, show, load, toDraft, kept, keepOn,
  }
}

export type WallOnScreen = ReturnType<typeof useWall>
