/** Lines of longitude and latitude with their degrees, drawn over a map in the theme's colours. */
import L from 'leaflet'
import { degreeText, graticuleStep, ticks } from '@/lib/geo'

export function graticule(map: L.Map): { redraw: () => void; remove: () => void } {
  const canvas = L.DomUtil.create('canvas', 'map-graticule', map.getContainer())
  const draw = () => {
    const size = map.getSize()
    const scale = window.devicePixelRatio || 1
    canvas.width = size.x * scale
    canvas.height = size.y * scale
    canvas.style.width = `${size.x}px`
    canvas.style.height = `${size.y}px`
    canvas.style.opacity = '1'
    const paper = canvas.getContext('2d')
    if (!paper || !size.x || !size.y) return
    const style = getComputedStyle(map.getContainer())
    paper.scale(scale, scale)
    paper.strokeStyle = style.getPropertyValue('--map-line')
    paper.fillStyle = style.getPropertyValue('--rt-text-3')
    paper.font = `11px ${style.fontFamily}`
    paper.lineWidth = 1
    const bounds = map.getBounds()
    const step = graticuleStep(Math.max(bounds.getEast() - bounds.getWest(), bounds.getNorth() - bounds.getSouth()), size.x < 600 ? 5 : 10)
    paper.beginPath()
    for (const longitude of ticks(bounds.getWest(), bounds.getEast(), step)) {
      const x = Math.round(map.latLngToContainerPoint([0, longitude]).x) + 0.5
      paper.moveTo(x, 0)
      paper.lineTo(x, size.y)
      paper.fillText(degreeText(longitude, step, ['E', 'W']), x + 4, size.y - 6)
    }
    for (const latitude of ticks(Math.max(-85, bounds.getSouth()), Math.min(85, bounds.getNorth()), step)) {
      const y = Math.round(map.latLngToContainerPoint([latitude, 0]).y) + 0.5
      paper.moveTo(0, y)
      paper.lineTo(size.x, y)
      if (y > 100 && y < size.y - 60) paper.fillText(degreeText(latitude, step, ['N', 'S']), 4, y - 4)
    }
    paper.stroke()
  }
  const hide = () => (canvas.style.opacity = '0')
  map.on('move zoomend resize viewreset', draw).on('zoomanim', hide)
  draw()
  return {
    redraw: draw,
    remove: () => {
      map.off('move zoomend resize viewreset', draw).off('zoomanim', hide)
      canvas.remove()
    },
  }
}
