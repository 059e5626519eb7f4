/** Which panes are on the stage: layout, page, pin, and the speaker in focus. The address keeps layout and pin. */
import { computed, onBeforeUnmount, ref, watch, type Ref } from 'vue'
import { useRoute, useRouter } from 'vue-router'
import { CAPACITIES, pageOf, type Capacity } from '@/lib/grid'
import { SpeakerFocus } from '@/lib/speaker'
import type { Pane } from './panes'

export type Layout = Capacity | 'focus'
export const LAYOUTS: readonly Layout[] = [...CAPACITIES, 'focus']
const KEY = 'rongtong.layout'

function parseLayout(value: unknown): Layout | null {
  return LAYOUTS.find((layout) => String(layout) === value) ?? null
}

export function useStage(panes: Ref<Pane[]>, speakers: Ref<string[]>, phone: Ref<boolean>) {
  const route = useRoute()
  const router = useRouter()
  const layout = ref<Layout>(parseLayout(route.query.layout) ?? parseLayout(localStorage.getItem(KEY)) ?? (phone.value ? 4 : 9))
  const pinned = ref<string | null>(typeof route.query.pin === 'string' ? route.query.pin : null)
  const page = ref(0)
  const speaker = ref<string | null>(null)
  const focus = new SpeakerFocus()
  const knownScreens = new Set<string>()

  const listen = () => {
    const me = panes.value.find((pane) => pane.local)?.identity
    speaker.value = focus.update(speakers.value.filter((identity) => identity !== me), performance.now())
  }
  watch(speakers, listen)
  const timer = setInterval(listen, 250)
  onBeforeUnmount(() => clearInterval(timer))

  watch(panes, (now) => {
    if (speaker.value && !now.some((pane) => pane.identity === speaker.value)) {
      focus.forget(speaker.value)
      speaker.value = null
    }
    for (const pane of now) {
      if (pane.kind !== 'screen' || knownScreens.has(pane.id)) continue
      knownScreens.add(pane.id)
      // A new screen is what people came to see, unless they hold on to something else.
      if (!pane.local && !pinned.value) pin(pane.id)
    }
    for (const id of knownScreens) {
      if (now.some((pane) => pane.id === id)) continue
      knownScreens.delete(id)
      if (pinned.value === id) pin(null)
    }
  })

  const main = computed<Pane | null>(() => {
    const held = panes.value.find((pane) => pane.id === pinned.value)
    if (held) return held
    if (layout.value !== 'focus') return null
    const screen = panes.value.find((pane) => pane.kind === 'screen')
    const talking = panes.value.find((pane) => pane.identity === speaker.value && pane.kind !== 'screen')
    return screen ?? talking ?? panes.value.find((pane) => !pane.local) ?? panes.value[0] ?? null
  })

  const capacity = computed(() => (layout.value === 'focus' ? 9 : layout.value))
  const shown = computed(() => pageOf(panes.value, capacity.value, page.value))
  const strip = computed(() => panes.value.filter((pane) => pane.id !== main.value?.id))

  function remember(): void {
    void router.replace({ query: { ...route.query, layout: String(layout.value), pin: pinned.value ?? undefined } })
  }

  function setLayout(next: Layout): void {
    layout.value = next
    page.value = 0
    pinned.value = null
    localStorage.setItem(KEY, String(next))
    remember()
  }

  function pin(id: string | null): void {
    pinned.value = id
    remember()
  }

  const togglePin = (id: string) => pin(pinned.value === id ? null : id)
  const nextLayout = () => setLayout(LAYOUTS[(LAYOUTS.indexOf(layout.value) + 1) % LAYOUTS.length] ?? 9)
  const turn = (by: number) => (page.value = Math.max(0, Math.min(shown.value.pages - 1, shown.value.page + by)))

  return { layout, pinned, main, shown, strip, capacity, setLayout, nextLayout, togglePin, turn }
}
