/** One way to the server: same origin, session cookie, JSON both ways, every failure a {@link Problem}. */
import { Problem, parseProblem } from './problem'

export const API = '/api/v1'

type Query = Record<string, string | number | boolean | null | undefined>

export interface RequestOptions {
  query?: Query
  body?: unknown
  signal?: AbortSignal
}

const state = { language: 'zh-CN', attended: () => true, onUnauthenticated: (_problem: Problem) => {} }

/** Says whether somebody is in front of the page: what it asks by itself else does not keep the session open. */
export function setAttended(attended: () => boolean): void {
  state.attended = attended
}

/** Sets the language that titles and details of problems come in. */
export function setRequestLanguage(language: string): void {
  state.language = language
}

/** Called when a request other than sign-in says that the session is no more. */
export function onUnauthenticated(handler: (problem: Problem) => void): void {
  state.onUnauthenticated = handler
}

export function withQuery(path: string, query: Query = {}): string {
  const params = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') params.set(key, String(value))
  }
  const text = params.toString()
  return text ? `${path}?${text}` : path
}

export async function request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json', 'Accept-Language': state.language }
  if (options.body !== undefined) headers['Content-Type'] = 'application/json'
  if (method === 'GET' && !state.attended()) headers['X-Rongtong-Unattended'] = '1'
  let response: Response
  try {
    response = await fetch(withQuery(API + path, options.query), {
      method,
      headers,
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      credentials: 'same-origin',
      signal: options.signal,
    })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw parseProblem(0, null)
  }
  if (response.status === 204) return undefined as T
  const body: unknown = await response.json().catch(() => null)
  if (response.ok) return body as T
  const problem = parseProblem(response.status, body, response.headers.get('Retry-After'))
  if (problem.status === 401 && problem.code !== 'bad_credentials') state.onUnauthenticated(problem)
  throw problem
}

export const get = <T>(path: string, query?: Query, signal?: AbortSignal) => request<T>('GET', path, { query, signal })
export const post = <T>(path: string, body: unknown = {}) => request<T>('POST', path, { body })
export const put = <T>(path: string, body: unknown) => request<T>('PUT', path, { body })
export const patch = <T>(path: string, body: unknown) => request<T>('PATCH', path, { body })
export const del = (path: string) => request<void>('DELETE', path)
