import { describe, expect, it } from 'vitest'
import { bestGrid, cells, pageOf } from '@/lib/grid'

describe('the wall', () => {
  it('gives 4, 9 and 16 panes a square grid on a wide wall', () => {
    for (const [count, side] of [[1, 1], [4, 2], [9, 3], [16, 4]] as const) {
      const grid = bestGrid(count, 1920, 1080)
      expect([grid.columns, grid.rows]).toEqual([side, side])
    }
  })

  it('puts two panes side by side on a wall and on top of each other in the hand', () => {
    expect(bestGrid(2, 1920, 1000).columns).toBe(2)
    expect(bestGrid(2, 390, 700).columns).toBe(1)
  })

  it('keeps all panes inside the area for any count', () => {
    for (let count = 1; count <= 25; count++) {
      const grid = bestGrid(count, 1366, 700, 8)
      expect(grid.columns * grid.rows).toBeGreaterThanOrEqual(count)
      expect(grid.columns * grid.tileWidth + (grid.columns - 1) * 8).toBeLessThanOrEqual(1366.001)
      expect(grid.rows * grid.tileHeight + (grid.rows - 1) * 8).toBeLessThanOrEqual(700.001)
    }
  })

  it('turns pages and falls back to the last one when people leave', () => {
    const people = Array.from({ length: 11 }, (_, i) => i)
    expect(pageOf(people, 4, 2)).toEqual({ items: [8, 9, 10], page: 2, pages: 3 })
    expect(pageOf(people.slice(0, 5), 4, 2)).toEqual({ items: [4], page: 1, pages: 2 })
    expect(pageOf([], 9, 3)).toEqual({ items: [], page: 0, pages: 1 })
  })

  it('keeps the shape on a later page and shrinks a lone one', () => {
    expect(cells(3, 9, 1)).toBe(3)
    expect(cells(11, 9, 2)).toBe(9)
    expect(cells(0, 9, 1)).toBe(1)
  })
})
