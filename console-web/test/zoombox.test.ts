import { describe, expect, it } from 'vitest'
import { nudged, pictureIn, rectOf, seenOf, wayOf, within, zoomOrder } from '@/lib/zoombox'

const box = { width: 1000, height: 500 }
const video = { width: 1920, height: 1080 }

describe('a box on a picture', () => {
  it('knows where the picture lies', () => {
    const whole = pictureIn(box, video, 'contain')
    expect(whole.height).toBe(500)
    expect(whole.width).toBeCloseTo(888.89, 1)
    expect(whole.left).toBeCloseTo(55.56, 1)
    const over = pictureIn(box, video, 'cover')
    expect(over.left).toBeCloseTo(0)
    expect(over.width).toBeCloseTo(1000)
    expect(over.top).toBeCloseTo(-31.25)
    expect(over.height).toBeCloseTo(562.5)
    const seen = seenOf(over, box)
    expect(seen.top).toBe(0)
    expect(seen.width).toBeCloseTo(1000)
    expect(seen.height).toBeCloseTo(500)
    expect(pictureIn(box, { width: 640, height: 360 }, 'none')).toEqual({ left: 180, top: 70, width: 640, height: 360 })
    expect(pictureIn(box, { width: 0, height: 0 }, 'contain')).toEqual({ left: 0, top: 0, ...box })
  })

  it('comes nearer from left to right and goes away from right to left', () => {
    expect(wayOf({ x: 10, y: 50 }, { x: 90, y: 10 })).toBe('zoom_in')
    expect(wayOf({ x: 90, y: 10 }, { x: 10, y: 50 })).toBe('zoom_out')
  })

  it('becomes an order in the px of the picture, by its centre', () => {
    const picture = { left: 100, top: 0, width: 800, height: 450 }
    const drawn = rectOf({ x: 500, y: 225 }, { x: 300, y: 125 })
    expect(zoomOrder('zoom_out', drawn, picture)).toEqual({ action: 'zoom_out', width: 800, height: 450, x: 300, y: 175, box_width: 200, box_height: 100 })
    expect(zoomOrder('zoom_in', rectOf({ x: 300, y: 100 }, { x: 305, y: 300 }), picture)).toBeNull()
  })

  it('does not leave what is seen', () => {
    const seen = { left: 100, top: 0, width: 800, height: 450 }
    expect(within({ x: 20, y: 600 }, seen)).toEqual({ x: 100, y: 450 })
    const first = { left: 300, top: 112.5, width: 400, height: 225 }
    expect(nudged(first, seen, { x: -1, y: 0 }, { x: 0, y: 0 })).toEqual({ left: 100, top: 112.5, width: 400, height: 225 })
    expect(nudged(first, seen, { x: 0, y: 0 }, { x: 2, y: 2 })).toEqual(seen)
    expect(nudged(first, seen, { x: 0, y: 0 }, { x: -2, y: -2 })).toMatchObject({ width: 40, height: 22.5 })
  })
})
