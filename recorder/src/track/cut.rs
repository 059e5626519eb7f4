//! Where one fragment ends and the next begins.
//!
//! A fragment is about a second: it ends before a keyframe when one comes in its second half, at
//! one second when none does, and early when it grows too large.

use crate::fmp4::Sample;

/// Bytes of samples in one fragment, at most about.
const MAX_BYTES: usize = 8 << 20;

/// A finished fragment's samples.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    /// Decode time of the first, ticks.
    pub start: u64,
    pub duration: u64,
    pub samples: Vec<Sample>,
}

/// Collects samples, gives fragments.
#[derive(Debug)]
pub struct Cutter {
    rate: u64,
    video: bool,
    start: u64,
    end: u64,
    bytes: usize,
    samples: Vec<Sample>,
}

impl Cutter {
    /// `rate`: ticks in a second.
    pub fn new(rate: u32, video: bool) -> Self {
        Self { rate: u64::from(rate.max(1)), video, start: 0, end: 0, bytes: 0, samples: Vec::new() }
    }

    /// Takes the next sample in decode order; returns the fragment that it does not belong to.
    pub fn push(&mut self, decode: u64, sample: Sample) -> Option<Cut> {
        let span = decode.saturating_sub(self.start);
        let full = span >= self.rate
            || self.video && sample.sync && span >= self.rate / 2
            || self.bytes.saturating_add(sample.data.len()) > MAX_BYTES
            || decode != self.end;
        let done = if full { self.flush() } else { None };
        if self.samples.is_empty() {
            self.start = decode;
        }
        self.end = decode.saturating_add(u64::from(sample.duration));
        self.bytes += sample.data.len();
        self.samples.push(sample);
        done
    }

    /// What there is now, as a fragment.
    pub fn flush(&mut self) -> Option<Cut> {
        if self.samples.is_empty() {
            return None;
        }
        self.bytes = 0;
        let samples = std::mem::take(&mut self.samples);
        Some(Cut { start: self.start, duration: self.end - self.start, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn cuts(group: usize, frames: usize) -> Vec<(u64, bool)> {
        let mut cutter = Cutter::new(1000, true);
        let mut cuts: Vec<_> = (0..frames)
            .filter_map(|i| {
                let sample = Sample { data: Bytes::new(), duration: 40, composition: 0, sync: i % group == 0 };
                cutter.push(i as u64 * 40, sample)
            })
            .collect();
        cuts.extend(cutter.flush());
        assert!(cuts.windows(2).all(|w| w[0].start + w[0].duration == w[1].start));
        cuts.iter().map(|cut| (cut.start, cut.samples[0].sync)).collect()
    }

    #[test]
    fn a_keyframe_inside_the_second_ends_the_fragment() {
        assert_eq!(cuts(20, 60), [(0, true), (800, true), (1600, true)]);
    }

    #[test]
    fn a_longer_group_is_cut_inside() {
        assert_eq!(cuts(50, 75), [(0, true), (1000, false), (2000, true)]);
        assert_eq!(cuts(40, 80), [(0, true), (1000, false), (1600, true), (2600, false)]);
    }

    #[test]
    fn keyframes_only_still_make_fragments_of_half_a_second() {
        assert_eq!(cuts(1, 30).len(), 3);
    }
}
