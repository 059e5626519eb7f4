/** A list that comes page by page, is asked for again when its filters change, and can be refreshed quietly. */
import { onBeforeUnmount, ref, shallowRef, watch, type Ref } from 'vue'
import { asProblem, type Problem } from '@/api/problem'
import type { Page } from '@/api/types'
import type { PageQuery } from '@/api/endpoints'

const PAGE = 50

export function usePaged<T>(fetchPage: (query: PageQuery, signal: AbortSignal) => Promise<Page<T>>, filters: Ref<PageQuery> = ref({})) {
  const items = shallowRef<T[]>([])
  const cursor = ref<string | null>(null)
  const loading = ref(true)
  const problem = shallowRef<Problem | null>(null)
  let controller: AbortController | null = null
  let debounce: ReturnType<typeof setTimeout> | undefined

  async function ask(from: string | null, limit: number): Promise<void> {
    controller?.abort()
    const mine = (controller = new AbortController())
    loading.value = true
    try {
      const page = await fetchPage({ ...filters.value, limit, cursor: from }, mine.signal)
      if (mine.signal.aborted) return
      items.value = from === null ? page.items : [...items.value, ...page.items]
      cursor.value = page.next_cursor
      problem.value = null
    } catch (error) {
      if (!mine.signal.aborted) problem.value = asProblem(error)
    } finally {
      if (!mine.signal.aborted) loading.value = false
    }
  }

  const reload = () => ask(null, Math.min(200, Math.max(PAGE, items.value.length)))
  const more = () => (cursor.value === null ? Promise.resolve() : ask(cursor.value, PAGE))

  /** Asks again on a beat while the page is in view. */
  function every(ms: number): void {
    const timer = setInterval(() => {
      if (!document.hidden && !loading.value && items.value.length <= 200) void reload()
    }, ms)
    onBeforeUnmount(() => clearInterval(timer))
  }

  watch(filters, () => {
    clearTimeout(debounce)
    debounce = setTimeout(() => void ask(null, PAGE), 250)
  }, { deep: true })
  onBeforeUnmount(() => {
    clearTimeout(debounce)
    controller?.abort()
  })
  void ask(null, PAGE)

  return { items, cursor, loading, problem, reload, more, every }
}
