/** The map itself: its base, the markers in view, a track and its replay. No Vue state in here but what it is told. */
import L from 'leaflet'
import 'leaflet/dist/leaflet.css'
import type { Alarm, Level, MapSettings, Place, Point, TrackPoint } from '@/api/types'
import { levelColour } from '@/lib/alarms'
import { placeKey } from '@/lib/places'
import { thin, type Moment } from '@/lib/track'
import { graticule } from './graticule'
import { PlaceMarker } from './marker'
import './map.css'

/** With more in view than this, places are dots on a canvas; names are shown for fewer still. */
const MOST_MARKERS = 300
const MOST_NAMES = 60
const NAMES_FROM_ZOOM = 11
const MOST_TRACK = 4000
/** Where nothing is known: the whole of China. */
const HOME: [number, number, number] = [35, 104, 4]

const escaped = (text: string) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)
const colour = (map: L.Map, name: string) => getComputedStyle(map.getContainer()).getPropertyValue(name).trim()

export interface Shown {
  places: readonly Place[]
  levels: ReadonlyMap<string, Level>
  selected: string | null
}

export interface MapHooks {
  pick: (key: string) => void
  leave: () => void
  tiles: (good: boolean) => void
  words: { start: string; end: string; zoomIn: string; zoomOut: string }
}

export function createMap(box: HTMLElement, hooks: MapHooks) {
  const map = L.map(box, { preferCanvas: true, zoomControl: false, attributionControl: false, minZoom: 2, maxZoom: 19, maxBounds: [[-86, -540], [86, 540]], worldCopyJump: true }).setView([HOME[0], HOME[1]], HOME[2])
  L.control.zoom({ position: 'topleft', zoomInTitle: hooks.words.zoomIn, zoomOutTitle: hooks.words.zoomOut }).addTo(map)
  L.control.scale({ position: 'bottomleft', imperial: false, maxWidth: 120 }).addTo(map)
  const dots = L.canvas({ padding: 0.3 })
  const markers = new Map<string, PlaceMarker>()
  const dotted = new Map<string, L.CircleMarker>()
  let shown: Shown = { places: [], levels: new Map(), selected: null }
  let lines: ReturnType<typeof graticule> | null = null
  let track: L.LayerGroup | null = null
  let runner: PlaceMarker | null = null
  let replayed: string | null = null
  let pin: L.Marker | null = null
  let framed = false
  let loaded = 0

  function base(settings: MapSettings | null): void {
    if (settings?.tiles) {
      const tiles = L.tileLayer(settings.tiles, { maxZoom: 19, maxNativeZoom: 18 }).addTo(map)
      tiles.on('tileload', () => (loaded++, hooks.tiles(true)))
      tiles.on('tileerror', () => loaded === 0 && hooks.tiles(false))
      if (settings.attribution) L.control.attribution({ position: 'bottomleft', prefix: false }).addAttribution(escaped(settings.attribution)).addTo(map)
    } else lines ??= graticule(map)
    if (settings?.longitude != null && settings.latitude != null && !framed) {
      framed = true
      map.setView([settings.latitude, settings.longitude], settings.zoom ?? 12)
    }
  }

  function frame(): void {
    if (!shown.places.length) return
    framed = true
    map.fitBounds(L.latLngBounds(shown.places.map((place) => [place.latitude, place.longitude])), { padding: [60, 60], maxZoom: 16, animate: false })
  }

  /** Markers for what is in view; those that stay are moved, not made anew. */
  function sync(): void {
    const view = map.getBounds().pad(0.15)
    const inView = shown.places.filter((place) => view.contains([place.latitude, place.longitude]))
    const asDots = inView.length > MOST_MARKERS
    box.classList.toggle('no-names', asDots || inView.length > MOST_NAMES || map.getZoom() < NAMES_FROM_ZOOM)
    const whole = new Set<string>()
    const dot = new Set<string>()
    for (const place of inView) {
      const key = placeKey(place)
      if (key === replayed) continue
      const level = shown.levels.get(key) ?? null
      const selected = key === shown.selected
      if (!asDots || selected || level) {
        whole.add(key)
        const old = markers.get(key)
        if (old) old.show({ place, level, selected })
        else {
          const made = new PlaceMarker({ place, level, selected }, () => hooks.pick(key))
          made.marker.addTo(map)
          markers.set(key, made)
        }
      } else {
        dot.add(key)
        const fillColor = colour(map, place.online ? '--rt-ok' : '--rt-idle')
        const old = dotted.get(key)
        if (old) {
          if (!old.getLatLng().equals([place.latitude, place.longitude], 0)) old.setLatLng([place.latitude, place.longitude])
          if (old.options.fillColor !== fillColor) old.setStyle({ fillColor })
        } else {
          const made = L.circleMarker([place.latitude, place.longitude], { renderer: dots, radius: 5, weight: 1, color: colour(map, '--rt-surface'), fillColor, fillOpacity: 1 })
          made.bindTooltip(escaped(place.name), { direction: 'top', offset: [0, -6], className: 'mk-tip' })
          made.on('click', (event) => (L.DomEvent.stopPropagation(event), hooks.pick(key)))
          made.addTo(map)
          dotted.set(key, made)
        }
      }
    }
    for (const [key, old] of markers) if (!whole.has(key)) old.marker.remove(), markers.delete(key)
    for (const [key, old] of dotted) if (!dot.has(key)) old.remove(), dotted.delete(key)
  }

  function show(next: Shown): void {
    const first = !framed && !shown.places.length && next.places.length > 0
    shown = next
    if (first) frame()
    sync()
  }

  function go(point: Point, zoom = 15): void {
    framed = true
    map.setView([point.latitude, point.longitude], Math.max(map.getZoom(), zoom), { animate: false })
    // In the hand the card covers the lower half.
    if (box.clientWidth < 700) map.panBy([0, Math.round(box.clientHeight * 0.26)], { animate: false })
  }

  function drawTrack(points: readonly TrackPoint[]): void {
    track?.remove()
    runner?.marker.remove()
    track = runner = replayed = null
    if (!points.length) return
    const line = thin(points, MOST_TRACK).map((point): [number, number] => [point.latitude, point.longitude])
    const end = (at: [number, number], word: string, kind: string) => {
      const mark = document.createElement('span')
      mark.textContent = word
      return L.marker(at, { interactive: false, zIndexOffset: 500, icon: L.divIcon({ html: mark, className: `track-end ${kind}`, iconSize: [40, 20], iconAnchor: [20, 26] }) })
    }
    track = L.layerGroup([
      L.polyline(line, { color: colour(map, '--rt-surface'), weight: 7, opacity: 0.9, interactive: false }),
      L.polyline(line, { color: colour(map, '--rt-accent'), weight: 4, interactive: false }),
      end(line[0]!, hooks.words.start, 'first'),
      end(line.at(-1)!, hooks.words.end, 'last'),
    ]).addTo(map)
    map.fitBounds(L.latLngBounds(line), { paddingTopLeft: [40, 60], paddingBottomRight: [box.clientWidth > 700 ? 340 : 40, 170], maxZoom: 17, animate: false })
  }

  /** The device as it was at a moment of its track, in place of where it is. */
  function replay(place: Place | null, moment: Moment | null): void {
    if (!place || !moment) {
      runner?.marker.remove()
      runner = null
      if (replayed) {
        replayed = null
        sync()
      }
      return
    }
    const look = { place: { ...place, ...moment, online: true }, level: null, selected: true }
    if (runner) runner.show(look)
    else {
      runner = new PlaceMarker(look, () => {})
      runner.marker.addTo(map)
      replayed = placeKey(place)
      sync()
    }
  }

  /** Where an alarm was. */
  function mark(alarm: Alarm | null): void {
    pin?.remove()
    pin = null
    if (!alarm || alarm.longitude === null || alarm.latitude === null) return
    const html = document.createElement('span')
    html.style.setProperty('--level', levelColour(alarm.level))
    pin = L.marker([alarm.latitude, alarm.longitude], { interactive: false, zIndexOffset: -500, icon: L.divIcon({ html, className: 'alarm-spot', iconSize: [64, 64] }) }).addTo(map)
  }

  map.on('moveend', sync)
  map.on('click', hooks.leave)
  const observer = new ResizeObserver(() => map.invalidateSize({ animate: false }))
  observer.observe(box)

  function repaint(): void {
    lines?.redraw()
    for (const old of dotted.values()) old.remove()
    dotted.clear()
    sync()
  }

  function remove(): void {
    observer.disconnect()
    lines?.remove()
    map.remove()
  }

  return { base, frame, show, go, drawTrack, replay, mark, repaint, remove }
}

export type MapView = ReturnType<typeof createMap>
