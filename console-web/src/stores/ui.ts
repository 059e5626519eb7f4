/** How the console looks: a theme for the desk and another for the wall, and the language. */
import { defineStore } from 'pinia'
import { computed, ref, watchEffect } from 'vue'
import { i18n, setLocale, type Locale } from '@/i18n'

export type Theme = 'light' | 'dark'
export type Place = 'desk' | 'wall'

const saved = (key: string, fallback: Theme): Theme => {
  const value = localStorage.getItem(key)
  return value === 'light' || value === 'dark' ? value : fallback
}

export const useUi = defineStore('ui', () => {
  const place = ref<Place>('desk')
  const themes = ref<Record<Place, Theme>>({
    desk: saved('rongtong.theme.desk', 'light'),
    wall: saved('rongtong.theme.wall', 'dark'),
  })
  const theme = computed(() => themes.value[place.value])
  const locale = computed(() => i18n.global.locale.value)

  const phoneQuery = window.matchMedia('(max-width: 767px)')
  const phone = ref(phoneQuery.matches)
  phoneQuery.addEventListener('change', (event) => (phone.value = event.matches))

  watchEffect(() => document.documentElement.classList.toggle('dark', theme.value === 'dark'))

  function toggleTheme(): void {
    const next: Theme = theme.value === 'dark' ? 'light' : 'dark'
    themes.value[place.value] = next
    localStorage.setItem(`rongtong.theme.${place.value}`, next)
  }

  async function toggleLocale(): Promise<void> {
    const next: Locale = locale.value === 'en' ? 'zh-CN' : 'en'
    await setLocale(next)
  }

  return { place, theme, locale, phone, toggleTheme, toggleLocale }
})
