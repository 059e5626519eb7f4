/** What went wrong, in the shape of RFC 9457 `application/problem+json` plus our code and trace id. */
export interface FieldError {
  field: string
  message: string
}

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    readonly traceId: string,
    readonly errors: FieldError[] = [],
    /** Seconds, when the server says when to try again. */
    readonly retryAfter: number | null = null,
    /** Whatever else this kind of problem says. */
    readonly more: Readonly<Record<string, unknown>> = {},
  ) {
    super(detail || title || code)
    this.name = 'Problem'
  }

  /** The message for one form field, or undefined. */
  field(name: string): string | undefined {
    return this.errors.find((error) => error.field === name)?.message
  }
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Reads a response body that should be a problem; anything else becomes one with a code by status. */
export function parseProblem(status: number, body: unknown, retryAfterHeader?: string | null): Problem {
  const raw = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {}
  const errors = Array.isArray(raw.errors)
    ? raw.errors.flatMap((item: unknown) => {
        if (typeof item !== 'object' || item === null) return []
        const entry = item as Record<string, unknown>
        return [{ field: text(entry.field), message: text(entry.message) }]
      })
    : []
  const code = text(raw.code) || text(raw.type).split(':').pop() || codeOf(status)
  const seconds = Number(raw.retry_after ?? retryAfterHeader ?? Number.NaN)
  return new Problem(
    status,
    code,
    text(raw.title),
    text(raw.detail),
    text(raw.trace_id),
    errors,
    Number.isFinite(seconds) && seconds >= 0 ? Math.ceil(seconds) : null,
    raw,
  )
}

function codeOf(status: number): string {
  if (status === 0) return 'unreachable'
  if (status === 401) return 'unauthenticated'
  if (status === 403) return 'forbidden'
  if (status === 404) return 'not_found'
  return status >= 500 ? 'server_error' : `http_${status}`
}

/** Whatever was thrown, as a Problem. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  return new Problem(0, 'client', '', error instanceof Error ? error.message : String(error), '')
}
