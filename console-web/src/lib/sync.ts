/**
 * How one element follows the master clock. Invariant: an element that is further than
 * {@link MAX_DRIFT_S} off jumps; one that is a little off bends its speed instead, which nobody hears.
 */
export const MAX_DRIFT_S = 0.15
const STEER_FROM_S = 0.03

export type Correction = { kind: 'seek'; to: number } | { kind: 'rate'; rate: number }

/** Both times in seconds on the track's own axis; `rate` is the speed the person chose. */
export function correct(actual: number, target: number, rate: number): Correction {
  const drift = actual - target
  if (Math.abs(drift) > MAX_DRIFT_S * Math.max(1, rate)) return { kind: 'seek', to: target }
  if (Math.abs(drift) < STEER_FROM_S) return { kind: 'rate', rate }
  const bend = Math.max(-0.08, Math.min(0.08, -drift))
  return { kind: 'rate', rate: rate * (1 + bend) }
}

/** A clock in seconds that runs at a rate, can stand still, and never runs past its end. */
export class MasterClock {
  #base = 0
  #since: number | null = null
  #rate = 1

  constructor(
    public end: number,
    readonly now: () => number = () => performance.now() / 1000,
  ) {}

  get position(): number {
    const run = this.#since === null ? 0 : (this.now() - this.#since) * this.#rate
    return Math.min(this.end, Math.max(0, this.#base + run))
  }

  get running(): boolean {
    return this.#since !== null
  }

  set rate(rate: number) {
    this.seek(this.position)
    this.#rate = rate
  }

  get rate(): number {
    return this.#rate
  }

  seek(seconds: number): void {
    this.#base = Math.min(this.end, Math.max(0, seconds))
    if (this.#since !== null) this.#since = this.now()
  }

  start(): void {
    this.#since ??= this.now()
  }

  hold(): void {
    this.#base = this.position
    this.#since = null
  }
}
