/** Microphones, cameras and speakers, and what the person chose last time. */
import { onBeforeUnmount, ref } from 'vue'

export interface DeviceChoice {
  name: string
  mic: string
  cam: string
  speaker: string
  micOn: boolean
  camOn: boolean
}

const KEY = 'rongtong.devices'

export function savedChoice(): DeviceChoice {
  const fallback: DeviceChoice = { name: '', mic: '', cam: '', speaker: '', micOn: true, camOn: true }
  try {
    return { ...fallback, ...(JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<DeviceChoice>), name: '' }
  } catch {
    return fallback
  }
}

export function saveChoice(choice: DeviceChoice): void {
  localStorage.setItem(KEY, JSON.stringify(choice))
}

/** Browsers hand out devices on secure pages only. */
export const devicesAllowed = () => typeof navigator.mediaDevices?.getUserMedia === 'function'

export function useDevices() {
  const mics = ref<MediaDeviceInfo[]>([])
  const cams = ref<MediaDeviceInfo[]>([])
  const speakers = ref<MediaDeviceInfo[]>([])

  async function list(): Promise<void> {
    if (!devicesAllowed()) return
    const all = (await navigator.mediaDevices.enumerateDevices().catch(() => [])).filter((device) => device.deviceId)
    mics.value = all.filter((device) => device.kind === 'audioinput')
    cams.value = all.filter((device) => device.kind === 'videoinput')
    speakers.value = all.filter((device) => device.kind === 'audiooutput')
  }

  const changed = () => void list()
  navigator.mediaDevices?.addEventListener('devicechange', changed)
  onBeforeUnmount(() => navigator.mediaDevices?.removeEventListener('devicechange', changed))
  void list()

  return { mics, cams, speakers, list }
}

/** Why a device did not come, as a key under `meet`. */
export function deviceTrouble(error: unknown): 'denied' | 'busy' | 'deviceMissing' {
  const name = error instanceof Error ? error.name : ''
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return 'deviceMissing'
  return name === 'NotReadableError' || name === 'AbortError' ? 'busy' : 'denied'
}
