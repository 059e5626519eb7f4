/**
 * What the server tells by itself: alarms and positions, over one connection while somebody is signed in.
 * Whatever may have been missed is fetched anew when the connection opens and when the server says so.
 */
import { defineStore } from 'pinia'
import { ref, shallowRef, watch } from 'vue'
import { alarms as alarmApi, EVENTS_URL, positions } from '@/api/endpoints'
import { asProblem, type Problem } from '@/api/problem'
import type { Alarm, AlarmSummary, Place } from '@/api/types'
import { applied, arrivedSince, changedCards, lasting, withCard, type AlarmCard } from '@/lib/alarms'
import { i18n } from '@/i18n'
import { beep, savedMute, saveMute } from '@/lib/beep'
import { byKey, mergePlaces } from '@/lib/places'
import { useSession } from './session'

const KEPT = 200
const SUMMARY_MS = 400
const PLACES_MS = 250
const LONGEST_WAIT_MS = 30_000
/** A connection that died without a word is not noticed: ask now and then all the same. */
const CHECK_MS = 60_000

type Listener = (alarm: Alarm, fresh: boolean) => void

export const useEvents = defineStore('events', () => {
  const session = useSession()
  const connected = ref(false)
  const muted = ref(savedMute())
  const summary = ref<AlarmSummary>({ open: 0, levels: [0, 0, 0, 0] })
  /** Open alarms, the newest first, as many as are worth keeping. */
  const recent = shallowRef<Alarm[]>([])
  const cards = shallowRef<AlarmCard[]>([])
  const places = shallowRef<ReadonlyMap<string, Place>>(new Map())
  const placesLoaded = ref(false)
  const placesProblem = shallowRef<Problem | null>(null)
  /** Rises when lists are to be fetched anew. */
  const missed = ref(0)

  const listeners = new Set<Listener>()
  let source: EventSource | null = null
  let retry: ReturnType<typeof setTimeout> | undefined
  let summaryTimer: ReturnType<typeof setTimeout> | undefined
  let placesTimer: ReturnType<typeof setTimeout> | undefined
  let cardTimer: ReturnType<typeof setInterval> | undefined
  let wait = 1000
  let known = false
  let opened = false
  let wantPlaces = false
  let news: Place[] = []
  let held = false

  function open(): void {
    close()
    // An event source can't say its language in a header.
    source = new EventSource(`${EVENTS_URL}?language=${i18n.global.locale.value === 'en' ? 'en' : 'zh'}`)
    source.onopen = () => {
      connected.value = true
      wait = 1000
      void refetch()
      if (opened) missed.value++
      opened = true
    }
    source.onerror = () => {
      connected.value = false
      if (!known) void refetch()
      // A refusal ends an EventSource for good; a lost connection it takes up again by itself.
      if (source?.readyState !== EventSource.CLOSED) return
      clearTimeout(retry)
      retry = setTimeout(open, wait)
      wait = Math.min(wait * 2, LONGEST_WAIT_MS)
    }
    on<Alarm>('alarm', (alarm) => take(alarm, true))
    on<Alarm>('alarm_changed', (alarm) => take(alarm, false))
    on<Place>('position', (place) => {
      if (!wantPlaces) return
      news.push(place)
      placesTimer ??= setTimeout(mergeNews, PLACES_MS)
    })
    on('reload', () => {
      missed.value++
      void refetch()
    })
  }

  function on<T>(name: string, act: (data: T) => void): void {
    source?.addEventListener(name, (event) => {
      try {
        act(JSON.parse((event as MessageEvent<string>).data) as T)
      } catch {
        missed.value++
      }
    })
  }

  function close(): void {
    clearTimeout(retry)
    source?.close()
    source = null
    connected.value = false
  }

  function take(alarm: Alarm, fresh: boolean): void {
    recent.value = applied(recent.value, alarm, { state: 'open' }, fresh).slice(0, KEPT)
    if (fresh && alarm.state === 'open') announce(alarm)
    else cards.value = changedCards(cards.value, alarm)
    for (const listener of listeners) listener(alarm, fresh)
    summaryTimer ??= setTimeout(() => {
      summaryTimer = undefined
      void fetchSummary()
    }, SUMMARY_MS)
  }

  function announce(alarm: Alarm): void {
    cards.value = withCard(cards.value, alarm, Date.now())
    if (alarm.level <= 2 && !muted.value) void beep(alarm.level)
    cardTimer ??= setInterval(() => {
      if (held) return
      const left = lasting(cards.value, Date.now())
      if (left.length !== cards.value.length) cards.value = left
      if (left.length) return
      clearInterval(cardTimer)
      cardTimer = undefined
    }, 500)
  }

  async function fetchSummary(): Promise<void> {
    try {
      summary.value = await alarmApi.summary()
    } catch {
      // The next event or connection asks again.
    }
  }

  async function refetch(): Promise<void> {
    void fetchSummary()
    if (wantPlaces) void loadPlaces()
    try {
      const { items } = await alarmApi.list({ state: 'open', limit: 100 })
      if (known) for (const alarm of arrivedSince(recent.value, items).reverse()) announce(alarm)
      recent.value = items
      cards.value = cards.value.filter((card) => items.length === 100 || items.some((alarm) => alarm.id === card.alarm.id))
      known = true
    } catch {
      // As above.
    }
  }

  function mergeNews(): void {
    placesTimer = undefined
    if (placesLoaded.value) {
      places.value = mergePlaces(places.value, news)
      news = []
    }
  }

  /** Fetches all places; from then on they are kept up to date. */
  async function loadPlaces(): Promise<void> {
    wantPlaces = true
    try {
      const { items } = await positions.list()
      places.value = mergePlaces(byKey(items), news)
      news = []
      placesLoaded.value = true
      placesProblem.value = null
    } catch (error) {
      if (!placesLoaded.value) placesProblem.value = asProblem(error)
    }
  }

  function dismiss(id: string): void {
    cards.value = cards.value.filter((card) => card.alarm.id !== id)
  }

  /** Cards stay while the pointer is on them. */
  function hold(now: boolean): void {
    held = now
  }

  function toggleMute(): void {
    muted.value = !muted.value
    saveMute(muted.value)
    if (!muted.value) void beep(2)
  }

  /** Calls back on every alarm that comes or changes, until what it returns is called. */
  function listen(listener: Listener): () => void {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  function forget(): void {
    close()
    clearTimeout(placesTimer)
    clearTimeout(summaryTimer)
    placesTimer = summaryTimer = undefined
    known = opened = wantPlaces = false
    wait = 1000
    news = []
    summary.value = { open: 0, levels: [0, 0, 0, 0] }
    recent.value = []
    cards.value = []
    places.value = new Map()
    placesLoaded.value = false
    placesProblem.value = null
  }

  setInterval(() => session.person && !document.hidden && void refetch(), CHECK_MS)
  window.addEventListener('online', () => session.person && open())

  watch(
    () => session.person?.id,
    (id) => {
      forget()
      if (id) open()
    },
    { immediate: true },
  )

  return { connected, muted, summary, recent, cards, places, placesLoaded, placesProblem, missed, refetch, loadPlaces, dismiss, hold, toggleMute, listen }
})
