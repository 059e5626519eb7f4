import { describe, expect, it } from 'vitest'
import { parseUndecodable } from '@/lib/undecodable'
import { cameraIdOf, paneStatus, type Pane } from '@/pages/meet/panes'

const pane = (over: Partial<Pane>): Pane =>
  ({ id: 'a/main', identity: 'a', name: 'A', kind: 'person', local: false, publication: null, track: null, sending: false, paused: false, micOn: false, hasMic: false, speaking: false, quality: 'unknown', cameraState: '', cameraReason: '', cameraNote: '', undecodable: '', failure: '', ...over }) as Pane
const track = {} as Pane['track']
const publication = {} as Pane['publication']

describe('a pane is never black without a word', () => {
  it('says why a camera has no picture', () => {
    expect(paneStatus(pane({ kind: 'camera', cameraState: 'failed', cameraReason: '401' }), false)).toMatchObject({ word: 'noSignal', reason: '401' })
    expect(paneStatus(pane({ kind: 'camera', cameraState: 'connecting' }), false)).toMatchObject({ word: 'cameraConnecting', busy: true })
    expect(paneStatus(pane({ kind: 'camera', cameraState: 'disabled' }), false)).toMatchObject({ word: 'stopped' })
    expect(paneStatus(pane({ kind: 'camera', cameraState: 'idle' }), false)).toMatchObject({ word: 'stopped' })
    expect(paneStatus(pane({ kind: 'camera', cameraState: 'idle', publication, sending: true, track }), false)).toEqual({ show: 'picture', overlay: 'waiting' })
    expect(paneStatus(pane({ kind: 'camera', cameraState: 'live', cameraNote: 'h265' }), false)).toMatchObject({ word: 'engine', reason: 'h265' })
    expect(paneStatus(pane({ kind: 'camera', cameraState: 'live', publication }), false)).toMatchObject({ word: 'stopped' })
  })

  it('waits for the first frame before it calls it a picture', () => {
    expect(paneStatus(pane({ publication, sending: true }), false)).toMatchObject({ word: 'connecting' })
    expect(paneStatus(pane({ publication, sending: true, track }), false)).toEqual({ show: 'picture', overlay: 'waiting' })
    expect(paneStatus(pane({ publication, sending: true, track }), true)).toEqual({ show: 'picture' })
    expect(paneStatus(pane({ publication, sending: true, track, paused: true }), true)).toEqual({ show: 'picture', overlay: 'paused' })
  })

  it('says what this browser cannot decode, unless it evidently can', () => {
    const blocked = pane({ publication, sending: true, track, undecodable: 'H265' })
    expect(paneStatus(blocked, false)).toMatchObject({ word: 'undecodable', reason: 'H265' })
    expect(paneStatus(blocked, true)).toEqual({ show: 'picture' })
  })
})

describe('attributes', () => {
  it('reads the codec notice in each of its shapes', () => {
    expect(parseUndecodable('TR_1=VP8,TR_2=AV1', 'TR_2')).toBe('AV1')
    expect(parseUndecodable('TR_1=VP8', 'TR_2')).toBeNull()
    expect(parseUndecodable('{"TR_1":"VP8"}', 'TR_1')).toBe('VP8')
    expect(parseUndecodable('["TR_1"]', 'TR_1')).toBe('?')
    expect(parseUndecodable('H265', undefined)).toBe('H265')
    expect(parseUndecodable('{rubbish', 'TR_1')).toBe('{rubbish')
    expect(parseUndecodable(undefined, 'TR_1')).toBeNull()
  })

  it('knows a camera by its identity', () => {
    expect(cameraIdOf('camera:c1')).toBe('c1')
    expect(cameraIdOf('person-1')).toBeNull()
  })
})
