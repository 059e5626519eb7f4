/** Who did it, from what the server keeps: one's own id becomes one's name, another's bare id nothing. */
import { useSession } from '@/stores/session'

const BARE_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function useWho() {
  const session = useSession()
  return (value: string) => {
    if (value === session.person?.id) return session.person.name
    return BARE_ID.test(value) ? '—' : value
  }
}
