import { describe, expect, it } from 'vitest'
import { following, NARROWEST, recordedAt, within, zoomed } from '@/lib/dayaxis'

const HOUR = 3_600_000
const day = { from: 1_000 * HOUR, to: 1_024 * HOUR }

describe('the axis of a day', () => {
  it('keeps the moment under the pointer where it is', () => {
    const about = day.from + 6 * HOUR
    const seen = zoomed(day, day, about, 0.5)
    expect(seen.to - seen.from).toBe(12 * HOUR)
    expect((about - seen.from) / (seen.to - seen.from)).toBeCloseTo(0.25)
  })

  it('shows no more than the day and no less than ten minutes', () => {
    expect(zoomed(day, day, day.from, 2)).toEqual(day)
    let seen = day
    for (let n = 0; n < 20; n++) seen = zoomed(seen, day, day.to, 0.5)
    expect(seen).toEqual({ from: day.to - NARROWEST, to: day.to })
    expect(within({ from: day.to - HOUR, to: day.to + HOUR }, day)).toEqual({ from: day.to - 2 * HOUR, to: day.to })
  })

  it('goes with what is played', () => {
    const seen = { from: day.from, to: day.from + HOUR }
    expect(following(seen, day, day.from + HOUR / 2)).toBe(seen)
    const later = following(seen, day, day.from + 2 * HOUR)
    expect(later.from).toBeLessThan(day.from + 2 * HOUR)
    expect(later.to).toBeGreaterThan(day.from + 2.5 * HOUR)
  })

  it('plays what was recorded there, or next', () => {
    const items = [{ from: 50, to: 60, kind: '' }, { from: 10, to: 20, kind: '' }]
    expect([5, 15, 20, 55, 60].map((at) => recordedAt(items, at))).toEqual([10, 15, 50, 55, null])
  })
})
