//! Adding up, for each listener without itself.

use super::{FRAME, Frame, Input};
use crate::tap::TapItem;

struct Voice<K> {
    key: K,
    input: Input,
    frame: Frame,
    heard: bool,
}

/// All that is said, by whom.
pub struct Mixer<K> {
    voices: Vec<Voice<K>>,
    sum: [i32; FRAME],
}

impl<K: PartialEq> Default for Mixer<K> {
    fn default() -> Self {
        Self { voices: Vec::new(), sum: [0; FRAME] }
    }
}

impl<K: PartialEq> Mixer<K> {
    pub fn add(&mut self, key: K, input: Input) {
        self.remove(&key);
        self.voices.push(Voice { key, input, frame: [0; FRAME], heard: false });
    }

    pub fn remove(&mut self, key: &K) {
        self.voices.retain(|voice| voice.key != *key);
    }

    pub fn push(&mut self, key: &K, item: TapItem) {
        if let Some(voice) = self.voices.iter_mut().find(|voice| voice.key == *key) {
            voice.input.push(item);
        }
    }

    /// Goes on by 20 ms.
    pub fn step(&mut self) {
        self.sum.fill(0);
        for voice in &mut self.voices {
            voice.heard = voice.input.frame(&mut voice.frame);
            if voice.heard {
                self.sum.iter_mut().zip(&voice.frame).for_each(|(sum, sample)| *sum += i32::from(*sample));
            }
        }
    }

    /// What there is to be heard by someone; false where it is silence.
    pub fn without(&self, is_own: impl Fn(&K) -> bool, limiter: &mut Limiter, out: &mut Frame) -> bool {
        let mut sum = self.sum;
        let mut others = false;
        for voice in self.voices.iter().filter(|voice| voice.heard) {
            if is_own(&voice.key) {
                sum.iter_mut().zip(&voice.frame).for_each(|(sum, sample)| *sum -= i32::from(*sample));
            } else {
                others = true;
            }
        }
        limiter.limit(&sum, out);
        others
    }
}

/// Keeps a sum within what sixteen bits hold: down at once, and up again slowly.
pub struct Limiter {
    /// In 65,536ths.
    gain: i64,
}

const ONE: i64 = 1 << 16;
const CEILING: i64 = 30_000;
/// Of a frame; from a half to the whole in 0.4 s.
const RISE: i64 = ONE / 40;

impl Default for Limiter {
    fn default() -> Self {
        Self { gain: ONE }
    }
}

impl Limiter {
    fn limit(&mut self, sum: &[i32; FRAME], out: &mut Frame) {
        let peak = sum.iter().map(|sample| i64::from(sample.unsigned_abs())).max().unwrap_or(0);
        let wanted = if peak > CEILING { CEILING * ONE / peak } else { ONE };
        let from = self.gain;
        let to = wanted.min(from + RISE);
        // Down within the first quarter, so that no peak is cut; up over the whole.
        let over = if to < from { FRAME as i64 / 4 } else { FRAME as i64 };
        for (at, (sample, out)) in sum.iter().zip(out).enumerate() {
            let gain = from + (to - from) * (at as i64 + 1).min(over) / over;
            let limited = i64::from(*sample) * gain / ONE;
            *out = limited.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
        self.gain = to;
    }
}
