import { describe, expect, it } from 'vitest'
import type { Alarm, Place, TrackPoint } from '@/api/types'
import { degreeText, graticuleStep, metres, readPlace, ticks, turnTo } from '@/lib/geo'
import { byKey, countKinds, findPlaces, isOf, mergePlaces, placeKey, placeOf } from '@/lib/places'
import { positionAt, thin, trackMetres } from '@/lib/track'

const place = (name: string, over: Partial<Place> = {}): Place => ({
  source: 'gb28181', device: name, channel: `${name}1`, name, camera_id: null, kind: 'camera', longitude: 116, latitude: 39, altitude: null, speed: null, direction: null,
  at: '2026-11-23T09:00:00Z', origin: 'reported', online: true, ...over,
})
const alarm = (over: Partial<Alarm>) => ({ source: 'gb28181', device: 'a', channel: 'a1', camera_id: null, ...over }) as Alarm
const names = (list: readonly Place[]) => list.map((item) => item.name).join()

describe('places', () => {
  it('are told apart by source, device and channel', () => {
    const list = [place('a'), place('a', { channel: null }), place('a', { source: 'set' })]
    expect(new Set(list.map(placeKey)).size).toBe(3)
  })

  it('take news in, but none that came late', () => {
    const old = byKey([place('a'), place('b')])
    const news = [place('a', { longitude: 117, at: '2026-11-23T09:00:05Z' }), place('b', { longitude: 118, at: '2026-11-23T08:59:00Z' }), place('c')]
    const merged = mergePlaces(old, news)
    expect([...merged.values()].map((item) => item.longitude)).toEqual([117, 116, 116])
    expect(old.size).toBe(2)
    expect(mergePlaces(old, [place('a', { at: null, longitude: 1 })]).get(placeKey(place('a')))?.longitude).toBe(1)
  })

  it('are found by kind and words, the online ones first', () => {
    const list = [place('car 2', { kind: 'command_vehicle' }), place('car 10', { kind: 'command_vehicle' }), place('drone', { kind: 'drone', online: false }), place('gate')]
    expect(names(findPlaces(list, { kinds: [], words: '' }))).toBe('car 2,car 10,gate,drone')
    expect(names(findPlaces(list, { kinds: ['drone', 'camera'], words: '' }))).toBe('gate,drone')
    expect(names(findPlaces(list, { kinds: [], words: ' CAR 1' }))).toBe('car 2,car 10')
    expect(names(findPlaces(list, { kinds: [], words: 'nothing' }))).toBe('')
    expect(countKinds(list).get('command_vehicle')).toBe(2)
  })

  it('know the alarms that are of them', () => {
    expect(isOf(alarm({}), place('a'))).toBe(true)
    expect(isOf(alarm({ channel: 'a2' }), place('a'))).toBe(false)
    expect(isOf(alarm({ channel: 'a2' }), place('a', { channel: null }))).toBe(true)
    expect(isOf(alarm({ device: 'b', camera_id: 'c1' }), place('x', { source: 'set', camera_id: 'c1' }))).toBe(true)
    expect(isOf(alarm({ device: 'x', channel: 'x1' }), place('x', { source: 'set' }))).toBe(false)
    const list = [place('a', { channel: null }), place('a'), place('b')]
    expect(placeOf(alarm({}), list)).toBe(list[1])
    expect(placeOf(alarm({ channel: 'a9' }), list)).toBe(list[0])
    expect(placeOf(alarm({ device: 'z' }), list)).toBeUndefined()
  })
})

describe('coordinates', () => {
  it('are read when both are in range, and none when both are empty', () => {
    expect(readPlace(' 116.397 ', '39.909')).toEqual({ place: { longitude: 116.397, latitude: 39.909 }, longitude: '', latitude: '' })
    expect(readPlace('', ' ')).toEqual({ place: null, longitude: '', latitude: '' })
    expect(readPlace('116', '')).toEqual({ place: null, longitude: '', latitude: 'half' })
    expect(readPlace('181', '-90.1')).toEqual({ place: null, longitude: 'bad', latitude: 'bad' })
    expect(readPlace('east', '0')).toEqual({ place: null, longitude: 'bad', latitude: '' })
    expect(readPlace('-180', '90').place).toEqual({ longitude: -180, latitude: 90 })
  })

  it('are measured', () => {
    expect(metres({ longitude: 116, latitude: 39 }, { longitude: 116, latitude: 40 })).toBeCloseTo(111_195, -2)
    expect(trackMetres([])).toBe(0)
  })

  it('have lines as far apart as suits the view', () => {
    expect([300, 40, 1, 0.02].map((span) => graticuleStep(span))).toEqual([30, 5, 0.2, 0.005])
    expect(ticks(-0.5, 1, 0.5)).toEqual([-0.5, 0, 0.5, 1])
    expect([degreeText(116.4, 0.1, ['E', 'W']), degreeText(-30, 10, ['N', 'S']), degreeText(0, 1, ['E', 'W']), degreeText(39.9, 0.005, ['N', 'S'])]).toEqual(['116.4°E', '30°S', '0°', '39.900°N'])
  })

  it('turn an arrow the short way', () => {
    expect(turnTo(null, 370)).toBe(10)
    expect(turnTo(350, 10)).toBe(370)
    expect(turnTo(10, 350)).toBe(-10)
    expect(turnTo(370, 20)).toBe(380)
    expect([turnTo(10, null), turnTo(10, Number.NaN)]).toEqual([null, null])
  })
})

describe('a track', () => {
  const point = (second: number, longitude: number, direction: number | null = null): TrackPoint => ({ at: new Date(second * 1000).toISOString(), longitude, latitude: 0, speed: second, direction, altitude: null })
  const points = [point(0, 0, 350), point(10, 10, 10), point(20, 30)]

  it('is between two reports at a time between them', () => {
    expect(positionAt(points, 5000)).toEqual({ longitude: 5, latitude: 0, speed: 0, direction: 0 })
    expect(positionAt(points, 15_000)).toMatchObject({ longitude: 20, direction: 10 })
    expect(positionAt(points, -1)?.longitude).toBe(0)
    expect(positionAt(points, 99_000)?.longitude).toBe(30)
    expect(positionAt([], 0)).toBeNull()
    expect(positionAt([point(1, 1), point(1, 2), point(2, 3)], 1000)?.longitude).toBeGreaterThanOrEqual(1)
  })

  it('keeps its ends when it is drawn with fewer points', () => {
    const many = Array.from({ length: 1001 }, (_, n) => n)
    const few = thin(many, 11)
    expect(few).toEqual([0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000])
    expect(thin([1, 2], 10)).toEqual([1, 2])
  })
})
