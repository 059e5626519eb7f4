/** Speaking to cameras: a microphone in a room of its own, and devices that are called to hear it. */
import { Room, RoomEvent } from 'livekit-client'
import { computed, onBeforeUnmount, ref, shallowRef } from 'vue'
import { useI18n } from 'vue-i18n'
import { talks } from '@/api/endpoints'
import type { Talk } from '@/api/types'
import { failed } from '@/components/notify'
import { connectRoom } from '@/pages/meet/connect'
import { deviceTrouble, devicesAllowed } from '@/pages/meet/useDevices'

/** How often the server is asked who hears. */
const ASK_MS = 700

export type TalkPhase = 'idle' | 'calling' | 'live'

export function useTalk() {
  const { t } = useI18n()
  const phase = ref<TalkPhase>('idle')
  const talk = shallowRef<Talk | null>(null)
  const since = ref(0)
  const level = ref(0)
  let room: Room | null = null
  let timer: ReturnType<typeof setInterval> | undefined
  let gone = false

  const hearing = computed(() => talk.value?.targets.filter((target) => target.state === 'live').length ?? 0)

  async function start(cameras: string[]): Promise<void> {
    if (phase.value !== 'idle') return
    if (!devicesAllowed()) return void failed(new Error(t('talk.noMic')))
    phase.value = 'calling'
    try {
      const begun = await talks.begin(cameras)
      talk.value = begun
      if (gone) return await stop()
      room = new Room()
      room.on(RoomEvent.Disconnected, () => void stop())
      await connectRoom(room, { token: begun.token ?? '', url: begun.url ?? '' })
      await room.localParticipant.setMicrophoneEnabled(true, { echoCancellation: true, noiseSuppression: true }).catch((error: unknown) => {
        throw new Error(`${t('meet.micDenied')}:${t(`meet.${deviceTrouble(error)}`)}`)
      })
      if (gone || !talk.value) return await stop()
      timer = setInterval(() => void look(), ASK_MS)
    } catch (error) {
      if (!gone) failed(error)
      await stop()
    }
  }

  async function look(): Promise<void> {
    const id = talk.value?.id
    if (!id) return
    level.value = room?.localParticipant.audioLevel ?? 0
    const now = await talks.get(id).catch(() => null)
    if (!now || talk.value?.id !== id) return
    talk.value = now
    if (hearing.value && phase.value === 'calling') {
      phase.value = 'live'
      since.value = Date.now()
    }
    if (!now.over) return
    const lost = now.targets.find((target) => target.state === 'failed')
    const words = lost ? t(phase.value === 'live' ? 'talk.lost' : 'talk.notReached', { name: lost.name, advice: lost.advice ?? '' }) : t('talk.ended')
    await stop()
    failed(new Error(words))
  }

  async function stop(): Promise<void> {
    clearInterval(timer)
    const [ending, leaving] = [talk.value, room]
    talk.value = null
    room = null
    phase.value = 'idle'
    level.value = 0
    leaving?.removeAllListeners()
    await leaving?.disconnect()
    if (ending && !ending.over) await talks.end(ending.id).catch(() => {})
  }

  onBeforeUnmount(() => {
    gone = true
    void stop()
  })
  return { phase, talk, since, level, hearing, start, stop }
}
