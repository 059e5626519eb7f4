/**
 * Who is in focus. Invariant: the focus never changes twice within the hold time, so that a
 * cough or a short "yes" does not throw the picture about.
 */
export const SPEAKER_HOLD_MS = 1500

export class SpeakerFocus {
  #focus: string | null = null
  #lastSpoke = 0
  #changed = 0
  #challenger: string | null = null
  #challengerSince = 0

  constructor(readonly holdMs = SPEAKER_HOLD_MS) {}

  get focus(): string | null {
    return this.#focus
  }

  /**
   * Takes the speakers of this moment, loudest first, and the time in ms; returns the focus.
   * The focus moves when whoever has it was silent for the hold time, or somebody else was
   * loudest for the hold time without a break.
   */
  update(speakers: readonly string[], now: number): string | null {
    const loudest = speakers[0] ?? null
    if (this.#focus !== null && speakers.includes(this.#focus)) this.#lastSpoke = now
    if (loudest === null || loudest === this.#focus) {
      this.#challenger = null
      return this.#focus
    }
    if (this.#challenger !== loudest) {
      this.#challenger = loudest
      this.#challengerSince = now
    }
    if (this.#focus === null) return this.#take(loudest, now)
    const held = now - this.#changed >= this.holdMs
    const silent = now - this.#lastSpoke >= this.holdMs
    const insistent = now - this.#challengerSince >= this.holdMs
    return held && (silent || insistent) ? this.#take(loudest, now) : this.#focus
  }

  /** Somebody left: nobody is in focus until the next speaker. */
  forget(identity: string): void {
    if (this.#focus === identity) this.#focus = null
    if (this.#challenger === identity) this.#challenger = null
  }

  #take(identity: string, now: number): string {
    this.#focus = identity
    this.#lastSpoke = now
    this.#changed = now
    this.#challenger = null
    return identity
  }
}
