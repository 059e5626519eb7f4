/** Where the panes of a wall go. All lengths in CSS pixels. */
export type Capacity = 1 | 4 | 9 | 16
export const CAPACITIES: readonly Capacity[] = [1, 4, 9, 16]

export interface Grid {
  columns: number
  rows: number
  tileWidth: number
  tileHeight: number
}

/**
 * The columns and rows that give `count` panes of `aspect` the largest picture in the area.
 * Panes fill their cell, so the cell may be wider or taller than the picture.
 */
export function bestGrid(count: number, width: number, height: number, gap = 8, aspect = 16 / 9): Grid {
  const panes = Math.max(1, Math.floor(count))
  let best: Grid = { columns: 1, rows: panes, tileWidth: 0, tileHeight: 0 }
  let bestPicture = -1
  for (let columns = 1; columns <= panes; columns++) {
    const rows = Math.ceil(panes / columns)
    const tileWidth = Math.max(0, (width - gap * (columns - 1)) / columns)
    const tileHeight = Math.max(0, (height - gap * (rows - 1)) / rows)
    const picture = Math.min(tileWidth, tileHeight * aspect)
    if (picture > bestPicture + 0.5) {
      bestPicture = picture
      best = { columns, rows, tileWidth, tileHeight }
    }
  }
  return best
}

export interface PageOf<T> {
  items: T[]
  page: number
  pages: number
}

/** The part of the list on one page; a page past the end is the last one. */
export function pageOf<T>(items: readonly T[], capacity: number, page: number): PageOf<T> {
  const pages = Math.max(1, Math.ceil(items.length / capacity))
  const current = Math.min(Math.max(0, page), pages - 1)
  return { items: items.slice(current * capacity, (current + 1) * capacity), page: current, pages }
}

/** How many panes to lay out: a lone page shrinks to what is there, later pages keep the shape. */
export function cells(total: number, capacity: number, pages: number): number {
  return pages > 1 ? capacity : Math.max(1, Math.min(total, capacity))
}
