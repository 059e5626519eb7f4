//! A steady tone in G.711 A-law (RFC 3551 4.5.14): 8 kHz, 20 ms a packet.

use audio_codec_algorithms::encode_alaw;

pub const SAMPLES_PER_PACKET: u32 = 160;
pub const CLOCK_RATE: u32 = 8_000;

pub struct Tone {
    hz: u32,
}

impl Tone {
    pub fn new(hz: u32) -> Self {
        Self { hz }
    }

    /// The `index`th packet since the start of time; phase is continuous between packets.
    pub fn packet(&self, index: u64) -> Vec<u8> {
        let first = index * u64::from(SAMPLES_PER_PACKET);
        (first..first + u64::from(SAMPLES_PER_PACKET))
            .map(|sample| {
                let turns = (sample * u64::from(self.hz)) % u64::from(CLOCK_RATE);
                let phase = turns as f32 / CLOCK_RATE as f32 * std::f32::consts::TAU;
                encode_alaw((phase.sin() * 8_000.0) as i16)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use audio_codec_algorithms::decode_alaw;

    #[test]
    fn a_tone_crosses_zero_as_often_as_its_frequency_says() {
        let tone = Tone::new(440);
        let samples: Vec<i16> = (0..50).flat_map(|i| tone.packet(i)).map(decode_alaw).collect();
        let rising = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!((438..=441).contains(&rising), "{rising} periods in one second");
    }
}
