import { describe, expect, it } from 'vitest'
import type { RecordingTrack } from '@/api/types'
import { playPlan } from '@/lib/tracks'

const track = (id: string, over: Partial<RecordingTrack>): RecordingTrack => ({
  id,
  participant: 'p',
  participant_name: 'P',
  kind: 'audio',
  source: 'microphone',
  codec: 'opus',
  playable: true,
  note: null,
  start_ms: 0,
  duration_ms: 1000,
  bytes: 1,
  ...over,
})

describe('what a recording plays', () => {
  it('prefers the Opus copy and does not report the original as missing', () => {
    const plan = playPlan([
      track('g711', { codec: 'pcma', playable: false, note: 'export only' }),
      track('copy', { original_of: 'g711' }),
      track('cam', { kind: 'video', source: 'camera', codec: 'h264' }),
    ])
    expect(plan.audios.map((t) => t.id)).toEqual(['copy'])
    expect(plan.videos.map((t) => t.id)).toEqual(['cam'])
    expect(plan.exportOnly).toEqual([])
  })

  it('names tracks that only the export has', () => {
    const plan = playPlan([track('vp8', { kind: 'video', codec: 'vp8', playable: false })])
    expect(plan.videos).toEqual([])
    expect(plan.exportOnly.map((t) => t.id)).toEqual(['vp8'])
  })

  it('keeps the original when its copy cannot be played', () => {
    const plan = playPlan([track('g711', { codec: 'pcma' }), track('copy', { original_of: 'g711', playable: false })])
    expect(plan.audios.map((t) => t.id)).toEqual(['g711'])
    expect(plan.exportOnly.map((t) => t.id)).toEqual(['copy'])
  })
})
