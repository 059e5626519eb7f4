/** Whether the room is being recorded, since when, and the button for it. */
import { computed, onBeforeUnmount, ref } from 'vue'
import { recordings, rooms } from '@/api/endpoints'
import type { Room } from '@/api/types'
import { failed } from '@/components/notify'
import { clock } from '@/lib/format'

export function useRoomRecording(name: string, canDispatch: () => boolean) {
  const info = ref<Room | null>(null)
  const id = ref<string | null>(null)
  const since = ref(0)
  const now = ref(Date.now())
  const busy = ref(false)

  async function took(recordingId: string | null, startedAt?: string): Promise<void> {
    if (recordingId === id.value) return
    id.value = recordingId
    since.value = startedAt ? Date.parse(startedAt) : Date.now()
    if (!recordingId || startedAt || !canDispatch()) return
    const known = await recordings.one(recordingId).catch(() => null)
    if (known && id.value === recordingId) since.value = Date.parse(known.started_at)
  }

  async function poll(): Promise<void> {
    if (busy.value) return
    const room = await rooms.one(name).catch(() => null)
    if (!room || busy.value) return
    info.value = room
    await took(room.recording?.id ?? null, room.recording?.started_at)
  }

  async function toggle(): Promise<void> {
    busy.value = true
    try {
      if (id.value) {
        await recordings.stop(id.value)
        await took(null)
      } else {
        const made = await rooms.record(name)
        await took(made.id, made.started_at)
      }
    } catch (error) {
      failed(error)
    } finally {
      busy.value = false
    }
  }

  void poll()
  const slow = setInterval(() => void poll(), 5000)
  const tick = setInterval(() => (now.value = Date.now()), 1000)
  onBeforeUnmount(() => {
    clearInterval(slow)
    clearInterval(tick)
  })
  const elapsed = computed(() => clock((now.value - since.value) / 1000))
  return { info, id, elapsed, busy, toggle }
}
