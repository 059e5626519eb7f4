/** True after the pointer and keys have rested; touching anything ends it. */
import { onBeforeUnmount, onMounted, ref } from 'vue'

const REST_MS = 4000
const SIGNS = ['pointermove', 'pointerdown', 'keydown', 'focusin'] as const

export function useIdle(busy: () => boolean) {
  const idle = ref(false)
  let timer: ReturnType<typeof setTimeout> | undefined
  const wake = () => {
    idle.value = false
    clearTimeout(timer)
    timer = setTimeout(rest, REST_MS)
  }
  const rest = () => (busy() ? wake() : void (idle.value = true))
  onMounted(() => {
    SIGNS.forEach((sign) => window.addEventListener(sign, wake, { passive: true }))
    wake()
  })
  onBeforeUnmount(() => {
    SIGNS.forEach((sign) => window.removeEventListener(sign, wake))
    clearTimeout(timer)
  })
  return { idle, wake }
}
