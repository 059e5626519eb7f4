import { describe, expect, it } from 'vitest'
import { bytes, clock, fileName } from '@/lib/format'
import { correct, MasterClock } from '@/lib/sync'
import { ticks, toSeconds, toX, trackMoment } from '@/lib/timeaxis'

describe('the time axis', () => {
  const axis = { from: 0, to: 3600, width: 900 }

  it('maps both ways and stays inside', () => {
    for (const seconds of [0, 1, 1234.5, 3600]) expect(toSeconds(axis, toX(axis, seconds))).toBeCloseTo(seconds, 6)
    expect(toSeconds(axis, -50)).toBe(0)
    expect(toSeconds(axis, 5000)).toBe(3600)
    expect(toX({ from: 0, to: 0, width: 900 }, 10)).toBe(0)
  })

  it('has round ticks that do not crowd', () => {
    const marks = ticks(axis)
    expect(marks).toEqual(Array.from({ length: 13 }, (_, i) => i * 300))
    for (const to of [3, 47, 600, 86_400, 900_000]) {
      const some = ticks({ from: 0, to, width: 900 })
      expect(some.length).toBeGreaterThan(1)
      expect(toX({ from: 0, to, width: 900 }, some[1]!)).toBeGreaterThanOrEqual(72)
    }
  })

  it('knows what a track does before, within and after its time', () => {
    expect(trackMoment(4000, 10_000, 1)).toEqual({ phase: 'before', at: 0 })
    expect(trackMoment(4000, 10_000, 5.5)).toEqual({ phase: 'within', at: 1.5 })
    expect(trackMoment(4000, 10_000, 14)).toEqual({ phase: 'after', at: 10 })
  })
})

describe('elements in step', () => {
  it('leaves a good one alone, bends a late one, moves a lost one', () => {
    expect(correct(10, 10.01, 1)).toEqual({ kind: 'rate', rate: 1 })
    const late = correct(9.9, 10, 1)
    expect(late.kind === 'rate' && late.rate > 1 && late.rate <= 1.1).toBe(true)
    const early = correct(10.1, 10, 2)
    expect(early.kind === 'rate' && early.rate < 2).toBe(true)
    expect(correct(9, 10, 1)).toEqual({ kind: 'seek', to: 10 })
  })

  it('runs a clock that can stand, jump and change speed', () => {
    let time = 100
    const master = new MasterClock(20, () => time)
    time += 5
    expect(master.position).toBe(0)
    master.start()
    time += 2
    expect(master.position).toBe(2)
    master.rate = 4
    time += 1
    expect(master.position).toBe(6)
    master.hold()
    time += 9
    expect(master.position).toBe(6)
    master.seek(19)
    master.start()
    time += 60
    expect(master.position).toBe(20)
  })
})

describe('words for numbers', () => {
  it('writes lengths and sizes', () => {
    expect(clock(59.9)).toBe('0:59')
    expect(clock(3723)).toBe('1:02:03')
    expect(clock(Number.NaN)).toBe('0:00')
    expect(bytes(999)).toBe('999 B')
    expect(bytes(12_400_000)).toBe('12.4 MB')
  })

  it('makes file names every system takes', () => {
    expect(fileName('东门/1号 枪机', 'jpg', new Date(2026, 10, 23, 9, 5, 7))).toBe('东门_1号_枪机_20261123-090507.jpg')
  })
})
