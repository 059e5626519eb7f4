/** Words in two languages. Chinese ships with the first page; English is fetched when asked for. */
import { createI18n } from 'vue-i18n'
import { setRequestLanguage } from '@/api/http'
import zh, { type Messages } from './zh'

export type Locale = 'zh-CN' | 'en'
const KEY = 'rongtong.locale'

export const i18n = createI18n<[Messages], Locale, false>({
  legacy: false,
  locale: 'zh-CN',
  fallbackLocale: 'zh-CN',
  messages: { 'zh-CN': zh } as Record<Locale, Messages>,
})

export async function setLocale(locale: Locale): Promise<void> {
  if (locale === 'en' && !i18n.global.availableLocales.includes('en')) {
    i18n.global.setLocaleMessage('en', (await import('./en')).default)
  }
  i18n.global.locale.value = locale
  document.documentElement.lang = locale
  setRequestLanguage(locale)
  localStorage.setItem(KEY, locale)
}

export function savedLocale(): Locale {
  return localStorage.getItem(KEY) === 'en' ? 'en' : 'zh-CN'
}
