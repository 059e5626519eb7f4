/** A channel that can be steered. */
export interface Steered {
  device: string
  channel: string
}

/** The channel that a camera's address names, if it is one of GB/T 28181. */
export function steered(url: string): Steered | null {
  const found = /^gb28181:\/\/([\w-]+)\/([\w-]+)(\?|$)/.exec(url)
  return found?.[1] && found[2] ? { device: found[1], channel: found[2] } : null
}
