/** All cameras, however many pages they are, asked for again on a beat for their states. */
import { computed, onBeforeUnmount, ref, shallowRef } from 'vue'
import { cameras as api } from '@/api/endpoints'
import { asProblem, type Problem } from '@/api/problem'
import type { Camera } from '@/api/types'

const BEAT_MS = 5000
const MOST = 10_000

export function useCameraList() {
  const list = shallowRef<Camera[]>([])
  const loaded = ref(false)
  const problem = shallowRef<Problem | null>(null)
  const byId = computed(() => new Map(list.value.map((camera) => [camera.id, camera])))
  let busy = false

  async function load(): Promise<void> {
    if (busy) return
    busy = true
    try {
      const all: Camera[] = []
      let cursor: string | null = null
      do {
        const page = await api.list({ limit: 200, cursor })
        all.push(...page.items)
        cursor = page.next_cursor
      } while (cursor && all.length < MOST)
      list.value = all
      loaded.value = true
      problem.value = null
    } catch (error) {
      // A list that was there once stays; the connection mark says that it may be old.
      if (!loaded.value) problem.value = asProblem(error)
    } finally {
      busy = false
    }
  }

  void load()
  const timer = setInterval(() => !document.hidden && void load(), BEAT_MS)
  onBeforeUnmount(() => clearInterval(timer))
  return { list, loaded, problem, byId, load }
}
