/** The server's codes in words; a code we do not know is shown as it is. */
import { i18n } from '@/i18n'

export function codeText(family: 'reason' | 'note' | 'break', code: string | null | undefined): string {
  if (!code) return ''
  const key = `${family}.${code}`
  return i18n.global.te(key) || i18n.global.te(key, 'zh-CN') ? i18n.global.t(key) : code
}
