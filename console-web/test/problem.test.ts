import { describe, expect, it } from 'vitest'
import { withQuery } from '@/api/http'
import { asProblem, parseProblem, Problem } from '@/api/problem'

describe('problems', () => {
  it('reads code, trace id and field errors', () => {
    const problem = parseProblem(422, {
      type: 'urn:rongtong:problem:invalid',
      title: '请求有误',
      detail: '名称不能为空',
      code: 'invalid',
      trace_id: 'ab12',
      errors: [{ field: 'name', message: '必填' }, 'rubbish'],
    })
    expect(problem.code).toBe('invalid')
    expect(problem.traceId).toBe('ab12')
    expect(problem.field('name')).toBe('必填')
    expect(problem.field('url')).toBeUndefined()
    expect(problem.message).toBe('名称不能为空')
  })

  it('takes the code from the type when there is no code', () => {
    expect(parseProblem(429, { type: 'urn:rongtong:problem:locked', retry_after: 12.2 })).toMatchObject({
      code: 'locked',
      retryAfter: 13,
    })
  })

  it('makes something of a proxy page, an empty body and no answer at all', () => {
    expect(parseProblem(502, '<html>').code).toBe('server_error')
    expect(parseProblem(404, null).code).toBe('not_found')
    expect(parseProblem(0, null).code).toBe('unreachable')
    expect(parseProblem(429, null, '7').retryAfter).toBe(7)
    expect(parseProblem(429, null, 'soon').retryAfter).toBeNull()
  })

  it('wraps what is no problem and keeps what is one', () => {
    const problem = new Problem(500, 'x', '', '', '')
    expect(asProblem(problem)).toBe(problem)
    expect(asProblem(new Error('boom'))).toMatchObject({ code: 'client', detail: 'boom' })
  })

  it('leaves empty filters out of the address', () => {
    expect(withQuery('/a', { q: '东门', room: '', cursor: null, limit: 5 })).toBe('/a?q=%E4%B8%9C%E9%97%A8&limit=5')
    expect(withQuery('/a')).toBe('/a')
  })
})
