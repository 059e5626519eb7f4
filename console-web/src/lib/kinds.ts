/** The kinds of devices, in the order they are listed, and the glyph of each. */
import type { Kind } from '@/api/types'
import type { GlyphName } from '@/components/glyphs'

export const KIND_GLYPH: Record<Kind, GlyphName> = {
  camera: 'fixed',
  dome: 'ball',
  command_vehicle: 'commandCar',
  monitoring_vehicle: 'monitorCar',
  handheld: 'handheld',
  body_camera: 'bodyCamera',
  drone: 'drone',
}

export const KINDS = Object.keys(KIND_GLYPH) as Kind[]
