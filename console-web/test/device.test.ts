import { describe, expect, it } from 'vitest'
import { parseProblem } from '@/api/problem'
import type { GbBasics, PtzLease, Push } from '@/api/types'
import { changeOf, clockOff } from '@/lib/device'
import { afterOrder, holderOf, leaseOf, secondsLeft } from '@/lib/lease'
import { bitrate, halves, pushOf, troubleOf } from '@/lib/push'

const NOW = Date.parse('2026-11-23T09:30:00Z')
const lease = (over: Partial<PtzLease> = {}): PtzLease => ({ held_by: null, by_me: false, until: null, pinned: false, may_take: true, ...over })

describe('who steers', () => {
  it('is nobody, me or another', () => {
    expect(holderOf(null)).toBe('nobody')
    expect(holderOf(lease())).toBe('nobody')
    expect(holderOf(lease({ held_by: '李建国', by_me: true }))).toBe('me')
    expect(holderOf(lease({ held_by: '李建国' }))).toBe('other')
  })

  it('counts what is left, never below nothing', () => {
    expect(secondsLeft('2026-11-23T09:30:14.2Z', NOW)).toBe(15)
    expect(secondsLeft('2026-11-23T09:29:00Z', NOW)).toBe(0)
    for (const none of [null, undefined, '', 'soon']) expect(secondsLeft(none, NOW)).toBe(0)
  })

  it('is read from the problem that an order met', () => {
    const body = { code: 'ptz_held', held_by: '王秀英', held_until: '2026-11-23T09:30:09Z', may_take: true }
    expect(leaseOf(parseProblem(409, body))).toEqual({ held_by: '王秀英', by_me: false, until: '2026-11-23T09:30:09Z', pinned: false, may_take: true })
    expect(holderOf(leaseOf(parseProblem(409, { code: 'ptz_held' })))).toBe('other')
    expect(leaseOf(parseProblem(409, { code: 'device_offline' }))).toBeNull()
  })

  it('an order keeps the lease for 15 s, and does not shorten one that is pinned', () => {
    expect(afterOrder(lease({ by_me: true }), NOW).until).toBe('2026-11-23T09:30:15.000Z')
    const pinned = lease({ by_me: true, pinned: true, until: '2026-11-23T09:45:00.000Z' })
    expect(afterOrder(pinned, NOW).until).toBe(pinned.until)
  })
})

describe('a device', () => {
  it('has a clock that is marked when it is off by more than 5 s', () => {
    expect(clockOff(null)).toBeNull()
    expect(clockOff(0.3)).toEqual({ way: 'right', marked: false, by: '0:00' })
    expect(clockOff(5)).toEqual({ way: 'fast', marked: false, by: '0:05' })
    expect(clockOff(-3725)).toEqual({ way: 'slow', marked: true, by: '1:02:05' })
  })

  it('is told only what was changed', () => {
    const before: GbBasics = { name: '河堤', expires: 3600, keepalive_seconds: null, keepalive_misses: 3 }
    expect(changeOf(before, { ...before })).toEqual({})
    expect(changeOf(before, { name: ' 河堤东 ', expires: 3600, keepalive_seconds: 30, keepalive_misses: null })).toEqual({ name: '河堤东', keepalive_seconds: 30 })
    expect(changeOf(before, { ...before, name: '  ' })).toEqual({})
  })
})

describe('what is pushed', () => {
  const push = (id: string, rtmp: string | null): Push => ({ id, name: id, url: `push://${id}`, addresses: { rtmp, rtmps: null }, live: null, created_at: '', updated_at: '' })

  it('has an address in two halves, the key with what is asked of it', () => {
    expect(halves('rtmp://10.0.0.5:1935/live/k3v9?key=Zz1')).toEqual({ server: 'rtmp://10.0.0.5:1935/live', key: 'k3v9?key=Zz1' })
    expect(halves('rtmps://[2001:db8::1]:1936/live/a?key=b')?.server).toBe('rtmps://[2001:db8::1]:1936/live')
    expect(halves('http://x/live/a')).toBeNull()
  })

  it('is a camera by its address', () => {
    expect(pushOf('push://k3v9-x')).toBe('k3v9-x')
    for (const other of ['push://', 'rtmp://a', 'push://a/b']) expect(pushOf(other)).toBeNull()
  })

  it('tells a server that does not listen from a key that cannot be read', () => {
    const [good, bare] = [push('a', 'rtmp://x/live/a?key=1'), push('b', null)]
    expect(troubleOf(good, [good, bare])).toBe('')
    expect(troubleOf(bare, [good, bare])).toBe('key')
    expect(troubleOf(bare, [bare])).toBe('off')
    expect(troubleOf({ ...bare, addresses: null }, [bare])).toBe('')
  })

  it('has a rate that people read', () => {
    expect(bitrate(850)).toBe('850 kbit/s')
    expect(bitrate(4210)).toBe('4.2 Mbit/s')
  })
})
