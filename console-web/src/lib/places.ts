/** Places: told apart, kept up to date, found. */
import type { Alarm, Kind, Place } from '@/api/types'

type Named = Pick<Place, 'source' | 'device' | 'channel'>

export const placeKey = (place: Named): string => `${place.source}:${place.device}/${place.channel ?? ''}`

export const byKey = (list: readonly Place[]): Map<string, Place> => new Map(list.map((place) => [placeKey(place), place]))

/** The places with newer ones in; a report that came late changes nothing. */
export function mergePlaces(places: ReadonlyMap<string, Place>, news: readonly Place[]): Map<string, Place> {
  const merged = new Map(places)
  for (const place of news) {
    const key = placeKey(place)
    const old = merged.get(key)
    if (old?.at && place.at && Date.parse(place.at) < Date.parse(old.at)) continue
    merged.set(key, place)
  }
  return merged
}

export interface PlaceFilter {
  /** Empty for all. */
  kinds: readonly Kind[]
  words: string
}

const order = new Intl.Collator('zh-CN', { numeric: true })

/** Those that fit the filter, the online ones first, then by name. */
export function findPlaces(places: Iterable<Place>, filter: PlaceFilter): Place[] {
  return fitting(places, filter).sort((a, b) => Number(b.online) - Number(a.online) || order.compare(a.name, b.name))
}

function fitting(places: Iterable<Place>, filter: PlaceFilter): Place[] {
  const words = filter.words.trim().toLowerCase().split(/\s+/).filter(Boolean)
  const found: Place[] = []
  for (const place of places) {
    if (filter.kinds.length && !filter.kinds.includes(place.kind)) continue
    const text = `${place.name} ${place.device} ${place.channel ?? ''}`.toLowerCase()
    if (words.every((word) => text.includes(word))) found.push(place)
  }
  return found
}

/** How many of each kind the words find. */
export function countKinds(places: Iterable<Place>, words = ''): Map<Kind, number> {
  const counts = new Map<Kind, number>()
  for (const place of fitting(places, { kinds: [], words })) counts.set(place.kind, (counts.get(place.kind) ?? 0) + 1)
  return counts
}

/** Whether an alarm is of what is at a place; a device's own place stands for all its channels. */
export function isOf(alarm: Alarm, place: Place): boolean {
  if (place.camera_id && alarm.camera_id === place.camera_id) return true
  if (place.source !== alarm.source || place.device !== alarm.device) return false
  return place.channel === null || place.channel === place.device || place.channel === alarm.channel
}

/** The place an alarm is of: that of the channel before that of the device. */
export function placeOf(alarm: Alarm, places: Iterable<Place>): Place | undefined {
  const of = [...places].filter((place) => isOf(alarm, place))
  return of.find((place) => place.camera_id !== null && place.camera_id === alarm.camera_id) ?? of.find((place) => place.channel === alarm.channel) ?? of[0]
}
