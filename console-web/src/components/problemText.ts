/** A problem in one sentence of the person's language: the server's own words where it has some. */
import type { Problem } from '@/api/problem'
import { i18n } from '@/i18n'

const KNOWN = ['unreachable', 'server_error', 'forbidden', 'not_found', 'unauthenticated', 'bad_credentials'] as const

export function problemText(problem: Problem): string {
  const { t } = i18n.global
  if (problem.code === 'locked' && problem.retryAfter !== null) return t('errors.locked', { n: problem.retryAfter })
  if (problem.detail) return problem.detail
  const known = KNOWN.find((code) => code === problem.code)
  if (known) return t(`errors.${known}`)
  return problem.title || t('errors.unknown', { code: problem.code })
}
