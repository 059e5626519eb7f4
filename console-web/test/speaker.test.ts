import { describe, expect, it } from 'vitest'
import { SpeakerFocus } from '@/lib/speaker'

describe('speaker focus', () => {
  it('takes the first speaker at once', () => {
    expect(new SpeakerFocus().update(['ana'], 0)).toBe('ana')
  })

  it('does not follow a cough', () => {
    const focus = new SpeakerFocus()
    focus.update(['ana'], 0)
    focus.update(['bo', 'ana'], 5000)
    expect(focus.update(['ana'], 5800)).toBe('ana')
    expect(focus.update(['bo', 'ana'], 6000)).toBe('ana')
    expect(focus.update(['bo', 'ana'], 7400)).toBe('ana')
  })

  it('follows whoever stays loudest for the hold time', () => {
    const focus = new SpeakerFocus()
    focus.update(['ana'], 0)
    focus.update(['bo', 'ana'], 5000)
    expect(focus.update(['bo', 'ana'], 6499)).toBe('ana')
    expect(focus.update(['bo', 'ana'], 6500)).toBe('bo')
  })

  it('follows at once when the one in focus has been silent for the hold time', () => {
    const focus = new SpeakerFocus()
    focus.update(['ana'], 0)
    focus.update([], 1000)
    expect(focus.update(['bo'], 1600)).toBe('bo')
  })

  it('never changes twice within the hold time', () => {
    const focus = new SpeakerFocus()
    const changes: number[] = []
    let last: string | null = null
    for (let now = 0; now < 20_000; now += 100) {
      const next = focus.update([['ana', 'bo', 'cy', 'di'][Math.floor(now / 700) % 4] ?? 'ana'], now)
      if (next !== last) changes.push(now)
      last = next
    }
    expect(changes.length).toBeGreaterThan(3)
    for (let i = 1; i < changes.length; i++) expect(changes[i]! - changes[i - 1]!).toBeGreaterThanOrEqual(1500)
  })

  it('keeps the focus in silence and drops it when the person leaves', () => {
    const focus = new SpeakerFocus()
    focus.update(['ana'], 0)
    expect(focus.update([], 60_000)).toBe('ana')
    focus.forget('ana')
    expect(focus.focus).toBeNull()
    expect(focus.update(['bo'], 60_001)).toBe('bo')
  })
})
