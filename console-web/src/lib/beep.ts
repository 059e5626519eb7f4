/** The sound of an alarm: short tones, more of them the graver it is. */
const KEY = 'rongtong.alarm.muted'
const GAP_MS = 2000
let context: AudioContext | undefined
let last = 0

export const savedMute = (): boolean => localStorage.getItem(KEY) === '1'
export const saveMute = (muted: boolean): void => localStorage.setItem(KEY, muted ? '1' : '0')

/** Silent where the browser allows no sound before the first click. */
export async function beep(level: number): Promise<void> {
  if (Date.now() - last < GAP_MS) return
  last = Date.now()
  try {
    context ??= new AudioContext()
    if (context.state !== 'running') await Promise.race([context.resume(), new Promise((done) => setTimeout(done, 200))])
    if (context.state !== 'running') return
    const tones = level === 1 ? [988, 740, 988, 740] : [880, 880]
    tones.forEach((pitch, at) => tone(context!, pitch, context!.currentTime + at * 0.2))
  } catch {
    // No sound device.
  }
}

function tone(audio: AudioContext, pitch: number, from: number): void {
  const source = audio.createOscillator()
  const gain = audio.createGain()
  source.frequency.value = pitch
  gain.gain.setValueAtTime(0, from)
  gain.gain.linearRampToValueAtTime(0.18, from + 0.02)
  gain.gain.linearRampToValueAtTime(0, from + 0.16)
  source.connect(gain).connect(audio.destination)
  source.start(from)
  source.stop(from + 0.18)
}
