import { describe, expect, it } from 'vitest'
import { Attendance } from '@/lib/attended'

describe('who is in front of the page', () => {
  it('has gone when nothing was touched for two minutes, unless the place is watched', () => {
    const attendance = new Attendance(0)
    expect(attendance.attended(119_000, false)).toBe(true)
    expect(attendance.attended(121_000, false)).toBe(false)
    expect(attendance.attended(121_000, true)).toBe(true)
    attendance.touch(200_000)
    expect(attendance.attended(300_000, false)).toBe(true)
  })
})
