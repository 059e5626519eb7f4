import { describe, expect, it } from 'vitest'
import { steered } from '@/pages/cameras/steered'

describe('a camera that can be steered', () => {
  it('is one whose address names a GB/T 28181 channel', () => {
    const target = { device: '34020000001180000001', channel: '34020000001320000001' }
    expect(steered('gb28181://34020000001180000001/34020000001320000001')).toEqual(target)
    expect(steered('gb28181://34020000001180000001/34020000001320000001?stream=1')).toEqual(target)
    for (const url of ['rtsp://1/2', 'gb28181://1', 'gb28181://1/2/3', 'gb28181:///2', '']) expect(steered(url)).toBeNull()
  })
})
