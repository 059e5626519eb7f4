/**
 * Whether somebody is in front of the page. Pictures that play are watched without being touched, and so is the map;
 * else nobody is there when nothing was touched for a while.
 */
const AWAY_MS = 120_000

export class Attendance {
  #touched: number

  constructor(now: number) {
    this.#touched = now
  }

  touch(now: number): void {
    this.#touched = now
  }

  attended(now: number, watched: boolean): boolean {
    return watched || now - this.#touched < AWAY_MS
  }
}

/** Follows the page's input; `watched` says whether the place is one that is watched. */
export function followAttendance(watched: () => boolean): () => boolean {
  const attendance = new Attendance(Date.now())
  const touch = () => attendance.touch(Date.now())
  for (const name of ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart']) window.addEventListener(name, touch, { passive: true, capture: true })
  return () => attendance.attended(Date.now(), watched())
}
