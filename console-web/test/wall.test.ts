import { describe, expect, it } from 'vitest'
import { distribute, emptySlots, fromSaved, join, panesFor, placeFor, put, resize, setFit, swap, toSaved } from '@/lib/wall'
import { diff, PREPARE_MS, pause, proceed, showing, turnBy, turnOf, wanted } from '@/lib/turns'

const names = (slots: readonly { cameras: string[] }[], count = 9) => slots.slice(0, count).map((slot) => slot.cameras.join('+'))
const wall = (...cameras: string[]) => cameras.reduce((slots, id, at) => (id ? put(slots, at, id.split('+'), 0, 10) : slots), emptySlots())

describe('what is on a wall', () => {
  it('swaps panes with all that belongs to them', () => {
    const slots = swap(setFit(wall('a', 'b+c'), 1, 'fill'), 0, 1)
    expect(names(slots, 3)).toEqual(['b+c', 'a', ''])
    expect(slots[0]?.fit).toBe('fill')
    expect(names(swap(slots, 0, 99), 2)).toEqual(['b+c', 'a'])
  })

  it('keeps what fits when there are fewer panes, and brings back the rest', () => {
    const slots = wall('a', '', 'c', '', 'e', 'f', 'g')
    const four = resize(slots, 4)
    expect(names(four, 4)).toEqual(['a', 'e', 'c', 'f'])
    expect(names(resize(four, 9), 9).filter(Boolean).sort()).toEqual(['a', 'c', 'e', 'f', 'g'])
    expect(names(resize(wall('a', 'b'), 9), 3)).toEqual(['a', 'b', ''])
  })

  it('finds the place for the next camera', () => {
    expect(placeFor(wall('a'), 4, null)).toBe(1)
    expect(placeFor(wall('a'), 4, 3)).toBe(3)
    expect(placeFor(wall('a', '', 'c'), 4, 0)).toBe(1)
    expect(placeFor(wall('a', 'b', 'c', 'd'), 4, 2)).toBe(2)
    expect(placeFor(wall('a'), 1, 7)).toBe(0)
  })

  it('lets cameras join, none twice', () => {
    expect(names(join(wall('a'), 0, ['b', 'a'], 0), 1)).toEqual(['a+b'])
    const running = join(wall('a+b'), 0, ['c'], 9_000)
    expect(turnOf(running[0]!, 9_500)).toMatchObject({ index: 0, left: 1 })
  })

  it('deals cameras to all panes', () => {
    const slots = distribute(wall('x', 'y'), 4, ['a', 'b', 'c', 'd', 'e', 'f'], 20, 0)
    expect(names(slots, 5)).toEqual(['a+e', 'b+f', 'c', 'd', ''])
    expect(slots[0]?.seconds).toBe(20)
  })

  it('is saved without what cannot be seen, and read again', () => {
    const saved = toSaved(setFit(wall('a', '', 'b+c', '', 'hidden'), 0, 'original'), 4)
    expect(saved).toEqual([{ cameras: ['a'], seconds: 15, fit: 'original' }, { cameras: [], seconds: 15, fit: 'fit' }, { cameras: ['b', 'c'], seconds: 10, fit: 'fit' }])
    expect(toSaved(fromSaved(saved, 5), 4)).toEqual(saved)
    expect(panesFor(5)).toBe(9)
  })
})

describe('turns', () => {
  const slot = wall('a+b+c')[0]!

  it('go round, and call the next one in time', () => {
    expect(turnOf(slot, 0)).toEqual({ index: 0, left: 10, next: null, paused: false })
    expect(turnOf(slot, 10_000 - PREPARE_MS)).toMatchObject({ index: 0, next: 1 })
    expect(turnOf(slot, 10_000)).toMatchObject({ index: 1, next: null })
    expect(turnOf(slot, 29_000)).toMatchObject({ index: 2, next: 0, left: 1 })
    expect(turnOf(slot, 30_000)).toMatchObject({ index: 0 })
    expect(turnOf(wall('a')[0]!, 99_000)).toBeNull()
  })

  it('stand still, and go on where they stood', () => {
    const still = { ...slot, clock: pause(slot.clock, 9_000) }
    expect(turnOf(still, 60_000)).toEqual({ index: 0, left: 1, next: null, paused: true })
    expect(turnOf({ ...still, clock: proceed(still.clock, 60_000) }, 61_000)).toMatchObject({ index: 1 })
    expect(turnOf({ ...still, clock: turnBy(still, -1, 60_000) }, 90_000)).toMatchObject({ index: 2, left: 10, paused: true })
  })

  it('say who is to be in the room, and whose picture is to come', () => {
    const slots = wall('x', 'a+b', 'x', '', 'hidden')
    expect(wanted(slots, 4, 0, null)).toEqual({ view: ['a', 'x'], pictures: ['a', 'x'] })
    expect(wanted(slots, 4, 9_000, null).view).toEqual(['a', 'b', 'x'])
    expect(wanted(slots, 4, 0, 0)).toEqual({ view: ['a', 'x'], pictures: ['x'] })
    expect(showing(slots[1], 9_000)).toEqual({ seen: 'a', ready: 'b' })
    expect(showing(undefined, 0)).toEqual({ seen: null, ready: null })
  })

  it('tell what changes', () => {
    expect(diff(['a', 'b'], ['b', 'c'])).toEqual({ add: ['c'], drop: ['a'] })
  })
})
