/** What is dragged to a pane: cameras of the list, or another pane. */
const CAMERAS = 'application/x-rongtong-cameras'
const PANE = 'application/x-rongtong-pane'

export type Dragged = { cameras: string[] } | { pane: number }
export type Drop = { cameras: string[]; join: boolean } | { pane: number }

export function startDrag(event: DragEvent, what: Dragged, name: string): void {
  const data = event.dataTransfer
  if (!data) return
  data.effectAllowed = 'all'
  data.setData('text/plain', name)
  if ('pane' in what) data.setData(PANE, String(what.pane))
  else data.setData(CAMERAS, JSON.stringify(what.cameras))
}

/** Only kinds are told before the drop. */
export function dragged(event: DragEvent): 'cameras' | 'pane' | null {
  const types = event.dataTransfer?.types ?? []
  return types.includes(CAMERAS) ? 'cameras' : types.includes(PANE) ? 'pane' : null
}

export function dropOf(event: DragEvent, join: boolean): Drop | null {
  const kind = dragged(event)
  if (kind === 'pane') return { pane: Number(event.dataTransfer?.getData(PANE)) }
  if (kind !== 'cameras') return null
  const cameras: unknown = JSON.parse(event.dataTransfer?.getData(CAMERAS) || '[]')
  return Array.isArray(cameras) && cameras.every((id) => typeof id === 'string') ? { cameras, join } : null
}
