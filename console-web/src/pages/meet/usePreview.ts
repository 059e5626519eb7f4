/** One's own picture and sound level before joining. Invariant: no device stays open after it ends. */
import { onBeforeUnmount, ref, shallowRef } from 'vue'
import { deviceTrouble, devicesAllowed } from './useDevices'

type Trouble = ReturnType<typeof deviceTrouble> | 'insecure'

export function usePreview() {
  const video = shallowRef<MediaStream | null>(null)
  const level = ref(0)
  const trouble = ref<Trouble | null>(devicesAllowed() ? null : 'insecure')
  let audio: MediaStream | null = null
  let context: AudioContext | null = null
  let frame = 0
  let turn = 0

  const stop = (stream: MediaStream | null) => stream?.getTracks().forEach((track) => track.stop())

  function stopAudio(): void {
    cancelAnimationFrame(frame)
    stop(audio)
    audio = null
    level.value = 0
    void context?.close().catch(() => {})
    context = null
  }

  /** Opens what is wanted with the given devices; false when the browser or the person refused. */
  async function open(want: { mic: boolean; cam: boolean }, ids: { mic: string; cam: string }): Promise<boolean> {
    const mine = ++turn
    stop(video.value)
    video.value = null
    stopAudio()
    if (!devicesAllowed()) return false
    trouble.value = null
    const id = (value: string) => (value ? { deviceId: { ideal: value } } : {})
    try {
      if (want.cam) {
        const stream = await navigator.mediaDevices.getUserMedia({ video: { ...id(ids.cam), width: 1280, height: 720 } })
        if (mine !== turn) return stop(stream), true
        video.value = stream
      }
    } catch (error) {
      trouble.value = deviceTrouble(error)
    }
    try {
      if (want.mic) {
        const stream = await navigator.mediaDevices.getUserMedia({ audio: id(ids.mic) })
        if (mine !== turn) return stop(stream), true
        audio = stream
        meter(stream)
      }
    } catch (error) {
      trouble.value = deviceTrouble(error)
    }
    return trouble.value === null
  }

  function meter(stream: MediaStream): void {
    context = new AudioContext()
    const analyser = context.createAnalyser()
    analyser.fftSize = 512
    context.createMediaStreamSource(stream).connect(analyser)
    const samples = new Float32Array(analyser.fftSize)
    const beat = () => {
      analyser.getFloatTimeDomainData(samples)
      const rms = Math.sqrt(samples.reduce((sum, s) => sum + s * s, 0) / samples.length)
      level.value = Math.min(1, Math.max(level.value * 0.85, rms * 6))
      frame = requestAnimationFrame(beat)
    }
    beat()
  }

  function close(): void {
    turn++
    stop(video.value)
    video.value = null
    stopAudio()
  }

  onBeforeUnmount(close)
  return { video, level, trouble, open, close }
}
