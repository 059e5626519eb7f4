/** Who steers a channel, asked now and then and told by what orders meet. */
import { computed, onBeforeUnmount, onMounted, ref, shallowRef } from 'vue'
import { gb28181 } from '@/api/endpoints'
import { asProblem } from '@/api/problem'
import type { PtzLease } from '@/api/types'
import { failed } from '@/components/notify'
import { afterOrder, holderOf, leaseOf, secondsLeft } from '@/lib/lease'
import type { Steered } from './steered'

const ASK_MS = 3000

export function useLease(target: Steered) {
  const { device, channel } = target
  /** Null until it is known, and where the server knows nothing of it. */
  const lease = shallowRef<PtzLease | null>(null)
  const now = ref(Date.now())
  const busy = ref(false)
  let asked = 0
  let asking: ReturnType<typeof setInterval> | undefined
  let ticking: ReturnType<typeof setInterval> | undefined

  const holder = computed(() => holderOf(lease.value))
  const left = computed(() => (holder.value === 'nobody' ? 0 : secondsLeft(lease.value?.until, now.value)))

  async function ask(): Promise<void> {
    const mine = ++asked
    try {
      const found = await gb28181.lease(device, channel)
      if (mine === asked) lease.value = found
    } catch {
      // What is not known is not shown; an order says what is wrong.
    }
  }

  /** What an order met: true when it was that somebody else steers. */
  function met(error: unknown): boolean {
    const found = leaseOf(asProblem(error))
    if (!found) return false
    asked++
    lease.value = found
    return true
  }

  /** One's own order was taken. */
  function ordered(): void {
    if (lease.value?.by_me) lease.value = afterOrder(lease.value, Date.now())
    else void ask()
  }

  async function change(act: () => Promise<PtzLease | void>): Promise<void> {
    busy.value = true
    asked++
    try {
      const found = await act()
      if (found) lease.value = found
      else await ask()
    } catch (error) {
      if (!met(error)) failed(error)
    } finally {
      busy.value = false
    }
  }
  const pin = (minutes: number) => change(() => gb28181.pin(device, channel, minutes))
  const release = () => change(() => gb28181.release(device, channel))

  onMounted(() => {
    void ask()
    asking = setInterval(() => !document.hidden && !busy.value && void ask(), ASK_MS)
    ticking = setInterval(() => {
      const before = left.value
      now.value = Date.now()
      if (before > 0 && left.value === 0) void ask()
    }, 500)
  })
  onBeforeUnmount(() => {
    clearInterval(asking)
    clearInterval(ticking)
  })

  return { lease, holder, left, busy, met, ordered, pin, release }
}
