/** Alarms: their colours, which belong in a list, and which are shown as cards. */
import type { Alarm, AlarmState, AlarmSummary, Level } from '@/api/types'

export const LEVELS: readonly Level[] = [1, 2, 3, 4]
export const CARD_MS = 15_000
const MOST_CARDS = 20

export const levelColour = (level: number): string => `var(--rt-level-${Math.min(4, Math.max(1, Math.round(level) || 4))})`

/** The gravest level of the open alarms, or null without any. */
export function gravest(summary: AlarmSummary): Level | null {
  return LEVELS.find((level) => (summary.levels[level - 1] ?? 0) > 0) ?? null
}

export const badge = (count: number): string => (count > 99 ? '99+' : String(count))

/** What an alarm is of: the camera where there is one, else the channel or the device. */
export const subjectOf = (alarm: Alarm): string => alarm.camera_name || alarm.channel_name || alarm.device_name || alarm.device

export interface AlarmFilter {
  state?: AlarmState
  level?: number
  device?: string
  camera_id?: string
  since?: string
  until?: string
}

export function matches(alarm: Alarm, filter: AlarmFilter): boolean {
  const at = Date.parse(alarm.at)
  return (
    (!filter.state || alarm.state === filter.state) &&
    (!filter.level || alarm.level === filter.level) &&
    (!filter.device || alarm.device === filter.device) &&
    (!filter.camera_id || alarm.camera_id === filter.camera_id) &&
    (!filter.since || at >= Date.parse(filter.since)) &&
    (!filter.until || at < Date.parse(filter.until))
  )
}

/** The list after an alarm came or changed; `fresh` ones are put first. */
export function applied(list: readonly Alarm[], alarm: Alarm, filter: AlarmFilter, fresh: boolean): Alarm[] {
  const fits = matches(alarm, filter)
  if (list.some((other) => other.id === alarm.id)) {
    return list.flatMap((other) => (other.id === alarm.id ? (fits ? [alarm] : []) : [other]))
  }
  return fits && fresh ? [alarm, ...list] : [...list]
}

/** Those that came after the newest one known. */
export function arrivedSince(known: readonly Alarm[], now: readonly Alarm[]): Alarm[] {
  const newest = Math.max(0, ...known.map((alarm) => Date.parse(alarm.received_at)))
  const ids = new Set(known.map((alarm) => alarm.id))
  return now.filter((alarm) => !ids.has(alarm.id) && Date.parse(alarm.received_at) > newest)
}

export interface AlarmCard {
  alarm: Alarm
  /** When it goes by itself; null for one that stays. */
  until: number | null
}

/** A card for a new alarm, the newest last. */
export function withCard(cards: readonly AlarmCard[], alarm: Alarm, now: number): AlarmCard[] {
  const card = { alarm, until: alarm.level === 1 ? null : now + CARD_MS }
  return [...cards.filter((other) => other.alarm.id !== alarm.id), card].slice(-MOST_CARDS)
}

/** The cards after an alarm changed: a handled one needs none. */
export function changedCards(cards: readonly AlarmCard[], alarm: Alarm): AlarmCard[] {
  return cards.flatMap((card) => (card.alarm.id !== alarm.id ? [card] : alarm.state === 'open' ? [{ ...card, alarm }] : []))
}

export const lasting = (cards: readonly AlarmCard[], now: number): AlarmCard[] => cards.filter((card) => card.until === null || card.until > now)

/** The cards there is room for: graver ones first, then newer ones, in the order they came. */
export function shownCards(cards: readonly AlarmCard[], most: number): AlarmCard[] {
  const chosen = cards
    .map((card, at) => ({ card, at }))
    .sort((a, b) => a.card.alarm.level - b.card.alarm.level || b.at - a.at)
    .slice(0, most)
  return chosen.sort((a, b) => a.at - b.at).map(({ card }) => card)
}
