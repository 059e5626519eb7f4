/** A day on a line: which part of it is seen, and where a moment lies. Moments are Unix milliseconds. */
export interface Window {
  from: number
  to: number
}

/** The shortest part that is seen. */
export const NARROWEST = 10 * 60_000

/** Nearer or farther by a factor, about a moment that stays where it is; never beyond the day. */
export function zoomed(seen: Window, day: Window, about: number, factor: number): Window {
  const whole = day.to - day.from
  const span = Math.min(whole, Math.max(NARROWEST, (seen.to - seen.from) * factor))
  const share = (about - seen.from) / (seen.to - seen.from)
  return within({ from: about - share * span, to: about + (1 - share) * span }, day)
}

/** Moved into the day. */
export function within(seen: Window, day: Window): Window {
  const span = Math.min(seen.to - seen.from, day.to - day.from)
  const from = Math.min(Math.max(seen.from, day.from), day.to - span)
  return { from, to: from + span }
}

/** So that the moment is seen, and what comes after it. */
export function following(seen: Window, day: Window, moment: number): Window {
  if (moment >= seen.from && moment <= seen.to) return seen
  const span = seen.to - seen.from
  return within({ from: moment - span * 0.1, to: moment + span * 0.9 }, day)
}

export interface Recorded {
  from: number
  to: number
  kind: string
}

/** The recording that holds a moment, or the first after it; null when there is none. */
export function recordedAt(items: Recorded[], moment: number): number | null {
  const next = items.filter((item) => item.to > moment).sort((a, b) => a.from - b.from)[0]
  return next ? Math.max(next.from, moment) : null
}
