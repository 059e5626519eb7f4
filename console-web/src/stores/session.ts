/**
 * Who is signed in. The token itself lives in an HttpOnly cookie and never reaches this code.
 * Invariant: `person` is null exactly when the server would answer 401.
 */
import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { sessions } from '@/api/endpoints'
import type { Person, Session } from '@/api/types'

export const useSession = defineStore('session', () => {
  const person = ref<Person | null>(null)
  const known = ref(false)
  const expired = ref(false)
  const mustChange = ref(false)
  let timer: ReturnType<typeof setTimeout> | undefined

  const isAdmin = computed(() => person.value?.role === 'admin')
  const canDispatch = computed(() => person.value?.role === 'admin' || person.value?.role === 'dispatcher')

  function take(session: Session): void {
    person.value = session.person
    mustChange.value = session.person.must_change_password === true
    known.value = true
    expired.value = false
    clearTimeout(timer)
    const left = new Date(session.expires_at).getTime() - Date.now()
    // The server may extend a session that is used: ask at the end instead of assuming.
    if (left > 0) timer = setTimeout(() => void sessions.current().then(take, () => {}), Math.min(left + 500, 2 ** 31 - 1))
  }

  /** Asks the server once who we are. */
  async function load(): Promise<void> {
    if (known.value) return
    try {
      take(await sessions.current())
    } catch {
      person.value = null
      known.value = true
      expired.value = false
    }
  }

  async function signIn(account: string, password: string): Promise<void> {
    take(await sessions.signIn(account, password))
  }

  async function signOut(): Promise<void> {
    await sessions.signOut().catch(() => {})
    drop(false)
  }

  async function changePassword(old: string, fresh: string): Promise<void> {
    await sessions.changePassword(old, fresh)
    mustChange.value = false
    take(await sessions.current())
  }

  /** The session is over; `byServer` when nobody asked for that. */
  function drop(byServer: boolean): void {
    clearTimeout(timer)
    expired.value = byServer && person.value !== null
    person.value = null
    mustChange.value = false
    known.value = true
  }

  return { person, known, expired, mustChange, isAdmin, canDispatch, load, signIn, signOut, changePassword, drop }
})
