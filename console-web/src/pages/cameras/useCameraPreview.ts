/** Opens the picture of a camera of which only the id is known. */
import { ref, shallowRef } from 'vue'
import { cameras } from '@/api/endpoints'
import type { Camera } from '@/api/types'
import { failed } from '@/components/notify'

export function useCameraPreview() {
  const camera = shallowRef<Camera | null>(null)
  const asked = ref<string | null>(null)

  async function show(id: string): Promise<void> {
    asked.value = id
    try {
      const found = await cameras.one(id)
      if (asked.value === id) camera.value = found
    } catch (error) {
      failed(error)
    } finally {
      if (asked.value === id) asked.value = null
    }
  }

  return { camera, asked, show, hide: () => void (camera.value = null) }
}
