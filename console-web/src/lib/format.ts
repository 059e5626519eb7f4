/** Times, lengths and sizes as people read them: `2026-11-23 09:30`, `1:02:03`, `12.4 MB`. */
const two = (n: number) => String(n).padStart(2, '0')

export function dateTime(value: string | Date | null | undefined, seconds = false): string {
  if (!value) return '—'
  const date = typeof value === 'string' ? new Date(value) : value
  if (Number.isNaN(date.getTime())) return '—'
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`
  return seconds ? `${day} ${time}:${two(date.getSeconds())}` : `${day} ${time}`
}

/** Seconds as `m:ss` or `h:mm:ss`. */
export function clock(seconds: number): string {
  const total = Number.isFinite(seconds) ? Math.max(0, Math.floor(seconds)) : 0
  const h = Math.floor(total / 3600)
  const m = Math.floor((total % 3600) / 60)
  return h > 0 ? `${h}:${two(m)}:${two(total % 60)}` : `${m}:${two(total % 60)}`
}

export function bytes(value: number): string {
  if (!Number.isFinite(value) || value < 0) return '—'
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  let amount = value
  let unit = 0
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000
    unit++
  }
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`
}

/** A name that every file system takes, with the moment in it. */
export function fileName(name: string, extension: string, at = new Date()): string {
  const safe = name.replace(/[\\/:*?"<>|\s]+/g, '_').slice(0, 80) || 'rongtong'
  return `${safe}_${dateTime(at, true).replace(/[-:]/g, '').replace(' ', '-')}.${extension}`
}
