/** A box drawn on a picture, and the order that it makes. */
import type { ZoomOrder } from '@/api/types'

export interface Size {
  width: number
  height: number
}
export interface Spot {
  x: number
  y: number
}
export interface Rect extends Size {
  left: number
  top: number
}

/** A box less wide or high was a slip of the hand. */
export const LEAST = 12

/** Where a picture lies in the element that shows it; it may reach beyond. */
export function pictureIn(box: Size, video: Size, fit: string): Rect {
  if (!(video.width > 0 && video.height > 0)) return { left: 0, top: 0, ...box }
  const scales = [box.width / video.width, box.height / video.height]
  const scale = fit === 'none' ? 1 : fit === 'cover' ? Math.max(...scales) : Math.min(...scales)
  const [width, height] = fit === 'fill' ? [box.width, box.height] : [video.width * scale, video.height * scale]
  return { left: (box.width - width) / 2, top: (box.height - height) / 2, width, height }
}

/** What is seen of the picture. */
export function seenOf(picture: Rect, box: Size): Rect {
  const left = Math.max(0, picture.left)
  const top = Math.max(0, picture.top)
  return { left, top, width: Math.min(box.width, picture.left + picture.width) - left, height: Math.min(box.height, picture.top + picture.height) - top }
}

export const within = (spot: Spot, rect: Rect): Spot => ({
  x: Math.min(rect.left + rect.width, Math.max(rect.left, spot.x)),
  y: Math.min(rect.top + rect.height, Math.max(rect.top, spot.y)),
})

export const rectOf = (from: Spot, to: Spot): Rect => ({ left: Math.min(from.x, to.x), top: Math.min(from.y, to.y), width: Math.abs(to.x - from.x), height: Math.abs(to.y - from.y) })

/** From left to right comes nearer, from right to left goes away. */
export const wayOf = (from: Spot, to: Spot): ZoomOrder['action'] => (to.x < from.x ? 'zoom_out' : 'zoom_in')

/** The order for a box in the element's px; null for one that is too small. */
export function zoomOrder(action: ZoomOrder['action'], box: Rect, picture: Rect): ZoomOrder | null {
  if (box.width < LEAST || box.height < LEAST) return null
  return {
    action,
    width: Math.round(picture.width),
    height: Math.round(picture.height),
    x: Math.round(box.left + box.width / 2 - picture.left),
    y: Math.round(box.top + box.height / 2 - picture.top),
    box_width: Math.round(box.width),
    box_height: Math.round(box.height),
  }
}

/** A box moved and stretched by the keyboard, in steps of the picture; it stays on what is seen. */
export function nudged(box: Rect, seen: Rect, move: Spot, grow: Spot): Rect {
  const size = (now: number, by: number, most: number) => Math.min(most, Math.max(most / 20, now + by * most))
  const width = size(box.width, grow.x, seen.width)
  const height = size(box.height, grow.y, seen.height)
  const place = (centre: number, extent: number, start: number, room: number) => Math.min(start + room - extent, Math.max(start, centre - extent / 2))
  return {
    width,
    height,
    left: place(box.left + box.width / 2 + move.x * seen.width, width, seen.left, seen.width),
    top: place(box.top + box.height / 2 + move.y * seen.height, height, seen.top, seen.height),
  }
}
