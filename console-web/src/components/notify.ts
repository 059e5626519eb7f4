/** What just happened, said once: done in a line, a problem with its code and trace id to copy. */
import { ElMessage } from 'element-plus/es/components/message/index.mjs'
import { ElMessageBox } from 'element-plus/es/components/message-box/index.mjs'
import 'element-plus/es/components/message/style/css'
import 'element-plus/es/components/message-box/style/css'
import { h } from 'vue'
import { asProblem, type Problem } from '@/api/problem'
import { problemText } from '@/components/problemText'
import { i18n } from '@/i18n'

export function done(text: string): void {
  ElMessage({ type: 'success', message: text, duration: 2500 })
}

export function failed(error: unknown): Problem {
  const problem = asProblem(error)
  if (problem.status === 401 && problem.code !== 'bad_credentials') return problem
  const { t } = i18n.global
  const trace = problem.traceId ? `${t('errors.code')} ${problem.code} · ${t('errors.trace')} ${problem.traceId}` : ''
  ElMessage({
    type: 'error',
    duration: 6000,
    showClose: true,
    message: h('div', [
      h('div', problemText(problem)),
      trace ? h('div', { class: 'rt-mono', style: 'margin-top:4px;opacity:.8;user-select:all' }, trace) : null,
    ]),
  })
  return problem
}

/** Asks before something is destroyed; true when the person means it. */
export async function confirmed(title: string, text: string, button: string, danger = true): Promise<boolean> {
  try {
    await ElMessageBox.confirm(text, title, {
      confirmButtonText: button,
      cancelButtonText: i18n.global.t('common.cancel'),
      type: 'warning',
      confirmButtonClass: danger ? 'el-button--danger' : '',
      autofocus: false,
    })
    return true
  } catch {
    return false
  }
}

export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    const area = document.createElement('textarea')
    area.value = text
    document.body.append(area)
    area.select()
    document.execCommand('copy')
    area.remove()
  }
  done(i18n.global.t('common.copied'))
}
