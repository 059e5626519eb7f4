/**
 * The attribute `rongtong.undecodable`: which tracks cannot be decoded, as `sid=codec` pairs parted by
 * commas, as a JSON object of the same, or as a bare codec that holds for every track.
 */
export function parseUndecodable(value: string | undefined, sid: string | undefined): string | null {
  if (!value) return null
  const entries = fromJson(value) ?? value.split(/[,;]/).map((part) => part.trim().split('=') as [string, string?])
  for (const [key, codec] of entries) {
    if (!key) continue
    if (codec === undefined && !key.startsWith('TR_')) return key
    if (sid !== undefined && key === sid) return codec || '?'
  }
  return null
}

function fromJson(value: string): [string, string?][] | null {
  if (!/^[[{]/.test(value.trim())) return null
  try {
    const data: unknown = JSON.parse(value)
    if (Array.isArray(data)) return data.filter((item) => typeof item === 'string').map((item: string) => [item])
    return Object.entries(data as Record<string, unknown>).map(([key, codec]) => [key, String(codec)])
  } catch {
    return null
  }
}
