/** The one step between a token and a connected room; the mock replaces this file. */
import type { Room } from 'livekit-client'
import type { RoomToken } from '@/api/types'

/** `chosen`: the page says which tracks it wants; else all come. */
export async function connectRoom(room: Room, token: Pick<RoomToken, 'url' | 'token'>, chosen = false): Promise<void> {
  const own = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}`
  await room.connect(/^wss?:\/\//.test(token.url) ? token.url : own, token.token, { autoSubscribe: !chosen })
}
