//! Who speaks: levels of audio tracks, from RFC 6464 or from the samples of G.711.

use crate::media::{AudioLevel, Codec};

/// Frames quieter than this (−dBov) are not speech.
const THRESHOLD: u8 = 35;
/// Frames in an interval that must be loud, of those that came.
const MIN_SHARE: f32 = 0.4;
/// Weight of the newest interval.
const SMOOTHING: f32 = 0.5;

/// One interval's worth of levels of one track.
#[derive(Default)]
pub(super) struct LevelMeter {
    frames: u32,
    loud: u32,
    loudest: u8,
    sum: u32,
    smoothed: f32,
}

impl LevelMeter {
    pub fn add(&mut self, level: AudioLevel) {
        self.frames += 1;
        if level.level <= THRESHOLD {
            self.loud += 1;
            self.sum += u32::from(level.level);
            self.loudest = self.loudest.min(level.level);
        }
    }

    /// Ends the interval: the smoothed linear level, 0.0 when it is no speech.
    pub fn take(&mut self) -> f32 {
        let spoke = self.frames > 0 && self.loud as f32 / self.frames as f32 >= MIN_SHARE && self.loud >= 3;
        let current = if spoke {
            let mean = self.sum as f32 / self.loud as f32;
            10f32.powf(-mean / 20.0)
        } else {
            0.0
        };
        self.smoothed += (current - self.smoothed) * SMOOTHING;
        (self.frames, self.loud, self.sum, self.loudest) = (0, 0, 0, THRESHOLD);
        if self.smoothed < 0.01 {
            self.smoothed = 0.0;
        }
        self.smoothed
    }
}

/// The level of a G.711 payload (ITU-T G.711), where no header extension tells it.
pub(super) fn g711_level(codec: Codec, payload: &[u8]) -> Option<AudioLevel> {
    if payload.is_empty() {
        return None;
    }
    let square = |sample: i32| (sample as f64) * (sample as f64);
    let sum: f64 = match codec {
        Codec::Pcma => payload.iter().map(|&byte| square(expand_a_law(byte))).sum(),
        Codec::Pcmu => payload.iter().map(|&byte| square(expand_mu_law(byte))).sum(),
        _ => return None,
    };
    let rms = (sum / payload.len() as f64).sqrt() / 32768.0;
    let level = if rms <= 0.0 { 127.0 } else { (-20.0 * rms.log10()).clamp(0.0, 127.0) };
    Some(AudioLevel { level: level as u8, voice: level < f64::from(THRESHOLD) })
}

fn expand_a_law(byte: u8) -> i32 {
    let value = byte ^ 0x55;
    let mantissa = i32::from(value & 0x0f) << 4;
    let exponent = (value >> 4) & 0x07;
    let magnitude = if exponent == 0 { mantissa + 8 } else { (mantissa + 0x108) << (exponent - 1) };
    if value & 0x80 != 0 { magnitude } else { -magnitude }
}

fn expand_mu_law(byte: u8) -> i32 {
    let value = !byte;
    let magnitude = ((i32::from(value & 0x0f) << 3) + 0x84) << ((value >> 4) & 0x07);
    if value & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_in_both_laws_is_quiet_and_full_scale_is_loud() {
        assert!(g711_level(Codec::Pcma, &[0xd5; 160]).unwrap().level > 60);
        assert!(g711_level(Codec::Pcmu, &[0xff; 160]).unwrap().level > 60);
        assert!(g711_level(Codec::Pcma, &[0xaa; 160]).unwrap().level < 5);
        assert!(g711_level(Codec::Pcmu, &[0x80; 160]).unwrap().level < 5);
        assert!(g711_level(Codec::Pcmu, &[]).is_none());
    }

    #[test]
    fn speech_rises_and_silence_lets_go() {
        let mut meter = LevelMeter::default();
        for _ in 0..20 {
            meter.add(AudioLevel { level: 20, voice: true });
        }
        assert!(meter.take() > 0.01);
        for _ in 0..20 {
            meter.take();
        }
        assert_eq!(meter.take(), 0.0);
    }
}
