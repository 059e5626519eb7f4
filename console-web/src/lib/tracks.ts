/** Which tracks of a recording the player plays: every picture, and each sound once. */
import type { RecordingTrack } from '@/api/types'

export interface PlayPlan {
  videos: RecordingTrack[]
  audios: RecordingTrack[]
  /** Tracks that only exist in the export. */
  exportOnly: RecordingTrack[]
}

/**
 * A playable Opus copy takes the place of the G.711 track it copies; an original that has a
 * playable copy is neither played nor reported as missing.
 */
export function playPlan(tracks: readonly RecordingTrack[]): PlayPlan {
  const copied = new Set(tracks.filter((track) => track.playable && track.original_of).map((track) => track.original_of))
  const used = tracks.filter((track) => !copied.has(track.id))
  return {
    videos: used.filter((track) => track.kind === 'video' && track.playable),
    audios: used.filter((track) => track.kind === 'audio' && track.playable),
    exportOnly: used.filter((track) => !track.playable),
  }
}
