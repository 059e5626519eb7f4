/** The walls that were saved: opened, saved, renamed and deleted. The address says which one is open. */
import { computed, ref, shallowRef } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRoute, useRouter } from 'vue-router'
import { walls as api } from '@/api/endpoints'
import { asProblem } from '@/api/problem'
import type { Wall } from '@/api/types'
import { confirmed, done, failed } from '@/components/notify'
import type { WallOnScreen } from './useWall'

export function useSavedWalls(wall: WallOnScreen) {
  const { t } = useI18n()
  const route = useRoute()
  const router = useRouter()
  const list = shallowRef<Wall[]>([])
  const loading = ref(true)
  const saving = ref(false)
  const title = computed(() => wall.saved.value?.name ?? t('wall.untitled'))

  const place = (saved: Wall) => (list.value = [...list.value.filter((item) => item.id !== saved.id), saved].sort((a, b) => a.name.localeCompare(b.name, 'zh-CN')))
  const note = (id: string | undefined) => void router.replace({ query: { ...route.query, id } })

  async function reload(): Promise<void> {
    try {
      list.value = await api.list()
    } catch (error) {
      failed(error)
    } finally {
      loading.value = false
    }
  }

  /** What the address names, else what was on the screen last, with its unsaved changes. */
  async function start(): Promise<void> {
    await reload()
    const kept = wall.kept()
    const named = list.value.find((item) => item.id === route.query.id)
    const last = list.value.find((item) => item.id === kept?.id)
    const opened = named ?? last
    if (opened) wall.load(opened)
    if (kept && (!opened || opened.id === kept.id)) wall.show(kept.panes, kept.slots)
    note(opened?.id)
    wall.keepOn()
  }

  async function open(id: string | null): Promise<void> {
    if (wall.dirty.value && !(await confirmed(t('wall.discardTitle'), t('wall.discardText', { name: title.value }), t('wall.discard')))) return
    const found = list.value.find((item) => item.id === id) ?? null
    wall.load(found)
    note(found?.id)
  }

  async function store(work: () => Promise<Wall>): Promise<boolean> {
    saving.value = true
    try {
      const saved = await work()
      wall.saved.value = saved
      place(saved)
      note(saved.id)
      done(t('wall.saved', { name: saved.name }))
      return true
    } catch (error) {
      const problem = asProblem(error)
      if (problem.status === 404 && wall.saved.value) {
        list.value = list.value.filter((item) => item.id !== wall.saved.value?.id)
        wall.saved.value = null
        note(undefined)
        failed(new Error(t('wall.gone')))
      } else failed(error)
      return false
    } finally {
      saving.value = false
    }
  }

  const saveAs = (name: string, shared: boolean) => store(() => api.create(wall.toDraft(name, shared)))
  function save(name = wall.saved.value?.name, shared = wall.saved.value?.shared ?? false): Promise<boolean> {
    const { saved } = wall
    if (!saved.value || !name) return Promise.resolve(false)
    const { id } = saved.value
    return store(() => api.update(id, wall.toDraft(name, shared)))
  }

  async function remove(): Promise<void> {
    const victim = wall.saved.value
    if (!victim || !(await confirmed(t('wall.deleteTitle'), t('wall.deleteText', { name: victim.name }), t('common.delete')))) return
    try {
      await api.remove(victim.id)
      list.value = list.value.filter((item) => item.id !== victim.id)
      wall.load(null)
      note(undefined)
      done(t('wall.deleted'))
    } catch (error) {
      failed(error)
    }
  }

  return { list, loading, saving, title, start, open, save, saveAs, remove, reload }
}
