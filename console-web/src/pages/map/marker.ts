/** A marker: glyph in a disc, an arrow for the direction, a ring for open alarms, the name below. */
import L from 'leaflet'
import type { Level, Place } from '@/api/types'
import { PATHS } from '@/components/glyphs'
import { levelColour } from '@/lib/alarms'
import { turnTo } from '@/lib/geo'
import { KIND_GLYPH } from '@/lib/kinds'

const SVG = 'http://www.w3.org/2000/svg'

function svg(path: string, kind: string, filled = false): SVGSVGElement {
  const image = document.createElementNS(SVG, 'svg')
  image.setAttribute('viewBox', '0 0 24 24')
  image.setAttribute('class', kind)
  const line = document.createElementNS(SVG, 'path')
  line.setAttribute('d', path)
  if (!filled) for (const [name, value] of [['fill', 'none'], ['stroke', 'currentColor'], ['stroke-width', '1.8'], ['stroke-linecap', 'round'], ['stroke-linejoin', 'round']] as const) line.setAttribute(name, value)
  image.append(line)
  return image
}

export interface Look {
  place: Place
  level: Level | null
  selected: boolean
}

export class PlaceMarker {
  readonly marker: L.Marker
  private readonly box = document.createElement('div')
  private readonly label = document.createElement('span')
  private readonly disc = document.createElement('span')
  private readonly arrow = svg('M12 1 15.800 6.500h-7.600z', 'mk-arrow', true)
  private kind = ''
  private angle: number | null = null

  constructor(look: Look, onClick: () => void) {
    this.disc.className = 'mk-disc'
    this.label.className = 'mk-label'
    this.box.append(this.arrow, this.disc, this.label)
    const { latitude, longitude } = look.place
    this.marker = L.marker([latitude, longitude], { icon: L.divIcon({ html: this.box, className: 'mk-icon', iconSize: [32, 32] }), keyboard: true, alt: look.place.name, riseOnHover: true })
    this.marker.on('click', onClick)
    this.show(look)
  }

  /** Moves and repaints; the marker stays the same. */
  show({ place, level, selected }: Look): void {
    const at = this.marker.getLatLng()
    if (at.lat !== place.latitude || at.lng !== place.longitude) this.marker.setLatLng([place.latitude, place.longitude])
    if (this.kind !== place.kind) {
      this.kind = place.kind
      this.disc.replaceChildren(svg(PATHS[KIND_GLYPH[place.kind] ?? 'fixed'], 'mk-glyph'))
    }
    if (this.label.textContent !== place.name) this.label.textContent = place.name
    this.box.className = `mk${place.online ? ' on' : ''}${selected ? ' selected' : ''}${level ? ' alarmed' : ''}`
    this.box.style.setProperty('--level', level ? levelColour(level) : '')
    this.angle = turnTo(this.angle, place.direction)
    this.arrow.style.display = this.angle === null ? 'none' : ''
    if (this.angle !== null) this.arrow.style.transform = `rotate(${this.angle}deg)`
    this.marker.setZIndexOffset(selected ? 2000 : level ? 1000 : place.online ? 100 : 0)
  }
}
