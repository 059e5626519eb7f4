import { describe, expect, it } from 'vitest'
import type { Alarm } from '@/api/types'
import { applied, arrivedSince, badge, CARD_MS, changedCards, gravest, lasting, levelColour, matches, shownCards, subjectOf, withCard, type AlarmCard } from '@/lib/alarms'

const alarm = (id: string, over: Partial<Alarm> = {}): Alarm => ({
  id, source: 'gb28181', device: 'd1', device_name: 'Gate', channel: 'ch1', channel_name: '', camera_id: null, camera_name: null, level: 3, cause: 'video', kind: null,
  text: 'Motion', description: '', longitude: null, latitude: null, at: '2026-11-23T09:00:00Z', received_at: '2026-11-23T09:00:01Z', count: 1, last_at: '2026-11-23T09:00:00Z',
  state: 'open', handled_by: null, handled_at: null, note: '', ...over,
})
const ids = (list: readonly { id: string }[]) => list.map((item) => item.id).join()
const cardIds = (cards: readonly AlarmCard[]) => ids(cards.map((card) => card.alarm))

describe('the level of alarms', () => {
  it('has a colour each, whatever is said', () => {
    expect([1, 2, 3, 4].map(levelColour)).toEqual(['var(--rt-level-1)', 'var(--rt-level-2)', 'var(--rt-level-3)', 'var(--rt-level-4)'])
    expect([levelColour(0), levelColour(9), levelColour(Number.NaN)]).toEqual(['var(--rt-level-4)', 'var(--rt-level-4)', 'var(--rt-level-4)'])
  })

  it('shows the gravest that is open, and a count that fits', () => {
    expect(gravest({ open: 3, levels: [0, 1, 2, 0] })).toBe(2)
    expect(gravest({ open: 0, levels: [0, 0, 0, 0] })).toBeNull()
    expect([badge(7), badge(99), badge(100)]).toEqual(['7', '99', '99+'])
  })
})

describe('a list of alarms', () => {
  it('holds what fits its filters', () => {
    const one = alarm('a', { level: 2, camera_id: 'c1' })
    expect(matches(one, {})).toBe(true)
    expect(matches(one, { state: 'open', level: 2, device: 'd1', camera_id: 'c1' })).toBe(true)
    expect([{ state: 'handled' as const }, { level: 1 }, { device: 'd2' }, { camera_id: 'c2' }].map((filter) => matches(one, filter))).toEqual([false, false, false, false])
    expect(matches(one, { since: '2026-11-23T09:00:00Z', until: '2026-11-23T09:00:01Z' })).toBe(true)
    expect(matches(one, { until: '2026-11-23T09:00:00Z' })).toBe(false)
  })

  it('takes in a new one, a change, and lets go of what no longer fits', () => {
    const list = [alarm('b'), alarm('a')]
    expect(ids(applied(list, alarm('c'), { state: 'open' }, true))).toBe('c,b,a')
    expect(ids(applied(list, alarm('c'), { level: 1 }, true))).toBe('b,a')
    expect(ids(applied(list, alarm('x'), {}, false))).toBe('b,a')
    expect(applied(list, alarm('a', { count: 4 }), {}, true)[1]?.count).toBe(4)
    expect(ids(applied(list, alarm('b', { state: 'handled' }), { state: 'open' }, false))).toBe('a')
  })

  it('tells what came while nobody listened', () => {
    const known = [alarm('b'), alarm('a', { received_at: '2026-11-23T08:00:00Z' })]
    const now = [alarm('c', { received_at: '2026-11-23T09:05:00Z' }), ...known, alarm('old', { received_at: '2026-11-23T07:00:00Z' })]
    expect(ids(arrivedSince(known, now))).toBe('c')
    expect(ids(arrivedSince([], [alarm('a')]))).toBe('a')
  })

  it('names what an alarm is of', () => {
    expect(subjectOf(alarm('a', { camera_name: 'Yard', channel_name: 'ch' }))).toBe('Yard')
    expect(subjectOf(alarm('a'))).toBe('Gate')
    expect(subjectOf(alarm('a', { device_name: '' }))).toBe('d1')
  })
})

describe('cards of new alarms', () => {
  it('go after their time, but for the gravest', () => {
    const cards = withCard(withCard([], alarm('a', { level: 1 }), 0), alarm('b'), 0)
    expect(cardIds(lasting(cards, CARD_MS - 1))).toBe('a,b')
    expect(cardIds(lasting(cards, CARD_MS))).toBe('a')
  })

  it('come once for an alarm, change with it, and go when it is handled', () => {
    const cards = withCard(withCard(withCard([], alarm('a'), 0), alarm('b'), 0), alarm('a', { count: 2 }), 5)
    expect(cardIds(cards)).toBe('b,a')
    expect(changedCards(cards, alarm('b', { count: 3 }))[0]?.alarm.count).toBe(3)
    expect(cardIds(changedCards(cards, alarm('b', { state: 'handled' })))).toBe('a')
  })

  it('are shown graver ones first, in the order they came', () => {
    let cards: AlarmCard[] = []
    for (const [id, level] of [['a', 1], ['b', 4], ['c', 2], ['d', 4], ['e', 4]] as const) cards = withCard(cards, alarm(id, { level }), 0)
    expect(cardIds(shownCards(cards, 3))).toBe('a,c,e')
    expect(cardIds(shownCards(cards, 1))).toBe('a')
  })
})
