/**
 * The one connection of a wall: a room with the cameras that it shows or is about to show, and the pictures of
 * those that are seen. A camera is pulled only while somebody takes its picture, so none is taken in advance.
 */
import { ConnectionState, DefaultReconnectPolicy, Room, RoomEvent, Track } from 'livekit-client'
import { onBeforeUnmount, ref, shallowRef } from 'vue'
import { walls } from '@/api/endpoints'
import { asProblem, type Problem } from '@/api/problem'
import { diff, type Wanted } from '@/lib/turns'
import { connectRoom } from '@/pages/meet/connect'
import { cameraIdOf, readPanes, type Pane } from '@/pages/meet/panes'

const RETRY_MS = 2000
/** One pane in full may be for a moment: the others stay so long. */
const LINGER_MS = 10_000

/** A wall is made afresh in a moment, so it is not long tried to come back into the old one. */
const REJOIN_MS = [0, 300, 1200, 2700]

const SIGNS = [
  RoomEvent.Connected, RoomEvent.ParticipantConnected, RoomEvent.ParticipantDisconnected, RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished, RoomEvent.TrackSubscribed, RoomEvent.TrackUnsubscribed, RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted, RoomEvent.TrackStreamStateChanged, RoomEvent.ParticipantAttributesChanged, RoomEvent.ParticipantNameChanged,
] as const

export function useWallRoom() {
  const panes = shallowRef<ReadonlyMap<string, Pane>>(new Map())
  const problem = shallowRef<Problem | null>(null)
  const lost = ref(false)
  const failures = new Map<string, string>()
  const room = new Room({ adaptiveStream: true, dynacast: true, reconnectPolicy: new DefaultReconnectPolicy(REJOIN_MS) })
  let want: Wanted = { view: [], pictures: [] }
  /** The wall's room, and who is in it as far as the server was told. */
  let name = ''
  let told: string[] = []
  let busy = false
  let gone = false
  let refreshing = false
  let linger: ReturnType<typeof setTimeout> | undefined
  let retry: ReturnType<typeof setTimeout> | undefined

  function read(): void {
    refreshing = false
    const next = new Map<string, Pane>()
    for (const pane of readPanes(room, failures)) {
      const id = cameraIdOf(pane.identity)
      if (id && pane.kind === 'camera' && !next.has(id)) next.set(id, pane)
    }
    panes.value = next
  }

  /** Many things happen at once when a wall opens: they are read together. */
  function refresh(): void {
    if (refreshing) return
    refreshing = true
    queueMicrotask(read)
  }

  function subscribe(dropToo: boolean): void {
    const pictures = new Set(want.pictures)
    for (const person of room.remoteParticipants.values()) {
      const wanted = pictures.has(cameraIdOf(person.identity) ?? '')
      for (const track of person.videoTrackPublications.values()) {
        if (track.kind === Track.Kind.Video && track.isDesired !== wanted && (wanted || dropToo)) track.setSubscribed(wanted)
      }
    }
    refresh()
  }

  function settle(): void {
    clearTimeout(linger)
    const hidden = want.pictures.length < want.view.length
    subscribe(!hidden)
    if (hidden) linger = setTimeout(() => subscribe(true), LINGER_MS)
  }

  async function open(): Promise<void> {
    const asked = want.view
    const view = await walls.view(asked)
    if (gone) return
    await connectRoom(room, view, true)
    if (gone) return void room.disconnect()
    name = view.room
    told = asked
    window.__rongtong = { ...window.__rongtong, room }
    settle()
  }

  /** One request after the other; whatever has changed meanwhile is told in the next one. */
  async function tell(): Promise<void> {
    if (busy || gone) return
    busy = true
    clearTimeout(retry)
    try {
      for (;;) {
        const { add, drop } = diff(told, want.view)
        if (!name) {
          if (!want.view.length) break
          await open()
        } else {
          if (!add.length && !drop.length) break
          const asked = want.view
          await walls.changeView(name, asked)
          told = asked
        }
        if (gone) break
      }
      problem.value = null
      lost.value = name !== '' && room.state !== ConnectionState.Connected
    } catch (error) {
      const found = asProblem(error)
      if (found.status === 404) forget()
      // Without a server there is nothing to read: the mark says that it is tried again.
      const away = found.status === 0 || found.status === 404
      if (away) lost.value = true
      problem.value = away ? null : found
      later()
    } finally {
      busy = false
    }
  }

  function later(): void {
    clearTimeout(retry)
    if (!gone) retry = setTimeout(() => void tell(), RETRY_MS)
  }

  function forget(): void {
    name = ''
    told = []
    void room.disconnect()
  }

  function set(next: Wanted): void {
    want = next
    settle()
    void tell()
  }

  for (const event of SIGNS) room.on(event, refresh)
  room.on(RoomEvent.TrackPublished, settle)
  room.on(RoomEvent.ParticipantConnected, settle)
  room.on(RoomEvent.TrackSubscriptionFailed, (sid) => {
    failures.set(sid, 'other')
    refresh()
  })
  room.on(RoomEvent.TrackSubscribed, (_track, publication) => failures.delete(publication.trackSid))
  room.on(RoomEvent.Reconnecting, () => (lost.value = true))
  room.on(RoomEvent.Reconnected, () => {
    lost.value = false
    settle()
  })
  room.on(RoomEvent.Disconnected, () => {
    refresh()
    if (gone || !name) return
    name = ''
    told = []
    lost.value = true
    later()
  })

  onBeforeUnmount(() => {
    gone = true
    clearTimeout(linger)
    clearTimeout(retry)
    if (window.__rongtong?.room === room) delete window.__rongtong.room
    void room.disconnect()
  })

  return { panes, problem, lost, set, again: () => void tell() }
}
