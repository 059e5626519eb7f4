//! Decode times for pictures that come with presentation times only.
//!
//! RTP carries when a picture is shown; in streams with B-frames that is not the order in which
//! pictures come. Decode times are the presentation times sorted, so the first of both are equal
//! and composition offsets may be negative (`trun` version 1, ISO/IEC 14496-12 8.8.8).
//!
//! Invariant: decode times are not negative and rise strictly, and decode time + composition is the presentation
//! time exactly.

use crate::fmp4::Sample;
use bytes::Bytes;
use std::collections::VecDeque;

/// Pictures that H.264 and H.265 let a decoder hold back, at most.
const MOST: usize = 16;

/// Frames after which a stream that could reorder and did not is taken at its deeds.
const TRUST: u32 = 60;

struct Picture {
    shown: i64,
    data: Bytes,
    sync: bool,
}

/// Takes pictures in the order they came, gives samples with decode times.
pub struct Order {
    /// What the stream said of itself, until it is known.
    announced: usize,
    observed: usize,
    seen: u32,
    recent: VecDeque<i64>,
    waiting: VecDeque<Picture>,
    /// Sorted presentation times not yet used as decode times; as many as `waiting`.
    slots: Vec<i64>,
    last_decode: i64,
    last_duration: u32,
}

impl Order {
    /// `announced`: pictures that may have to wait; 0 when none can. `nominal`: a duration for
    /// the last picture of a stream of one, ticks.
    pub fn new(announced: usize, nominal: u32) -> Self {
        Self {
            announced: announced.min(MOST),
            observed: 0,
            seen: 0,
            recent: VecDeque::new(),
            waiting: VecDeque::new(),
            slots: Vec::new(),
            last_decode: -1,
            last_duration: nominal,
        }
    }

    /// `shown` in ticks. Gives samples that are ready, with their decode times.
    pub fn push(&mut self, shown: i64, data: Bytes, sync: bool, out: &mut Vec<(i64, Sample)>) {
        let later = self.recent.iter().filter(|other| **other > shown).count();
        self.observed = self.observed.max(later.min(MOST));
        if self.recent.len() == MOST {
            self.recent.pop_front();
        }
        self.recent.push_back(shown);
        self.seen = self.seen.saturating_add(1);
        self.waiting.push_back(Picture { shown, data, sync });
        let place = self.slots.partition_point(|slot| *slot <= shown);
        self.slots.insert(place, shown);
        let depth = if self.seen < TRUST { self.observed.max(self.announced) } else { self.observed };
        while self.waiting.len() > depth + 1 {
            self.emit(out);
        }
    }

    /// Nothing shown earlier than what is here will come: all but the newest goes out.
    pub fn settle(&mut self, out: &mut Vec<(i64, Sample)>) {
        while self.waiting.len() > 1 {
            self.emit(out);
        }
    }

    /// All that is left, as at the end of a stream.
    pub fn finish(&mut self, out: &mut Vec<(i64, Sample)>) {
        while !self.waiting.is_empty() {
            self.emit(out);
        }
    }

    fn emit(&mut self, out: &mut Vec<(i64, Sample)>) {
        let Some(picture) = self.waiting.pop_front() else { return };
        let slot = if self.slots.is_empty() { picture.shown } else { self.slots.remove(0) };
        let decode = slot.max(self.last_decode + 1);
        let duration = match self.slots.first() {
            Some(next) => u32::try_from((next - decode).max(1)).unwrap_or(u32::MAX),
            None => self.last_duration,
        };
        self.last_decode = decode;
        self.last_duration = duration.min(self.last_duration.saturating_mul(4)).max(1);
        let composition = i32::try_from(picture.shown - decode).unwrap_or(0);
        out.push((decode, Sample { data: picture.data, duration, composition, sync: picture.sync }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(announced: usize, shown: &[i64]) -> Vec<(i64, Sample)> {
        let mut order = Order::new(announced, 10);
        let mut out = Vec::new();
        for at in shown {
            order.push(*at, Bytes::new(), false, &mut out);
        }
        order.finish(&mut out);
        out
    }

    #[test]
    fn without_reordering_decode_is_presentation() {
        let out = run(0, &[0, 10, 20, 35]);
        let plain: Vec<_> = out.iter().map(|(d, s)| (*d, s.duration, s.composition)).collect();
        assert_eq!(plain, [(0, 10, 0), (10, 10, 0), (20, 15, 0), (35, 15, 0)]);
    }

    #[test]
    fn b_frames_get_decode_times_that_rise() {
        let shown = [0, 30, 10, 20, 60, 40, 50];
        let out = run(2, &shown);
        let decode: Vec<_> = out.iter().map(|(d, _)| *d).collect();
        assert_eq!(decode, [0, 10, 20, 30, 40, 50, 60]);
        let again: Vec<_> = out.iter().map(|(d, s)| d + i64::from(s.composition)).collect();
        assert_eq!(again, shown);
    }

    proptest! {
        #[test]
        fn decode_times_rise_and_presentation_times_stay(
            shown in prop::collection::vec(-1000i64..100_000, 1..80), announced in 0usize..5,
        ) {
            let out = run(announced, &shown);
            prop_assert_eq!(out.len(), shown.len());
            prop_assert!(out.iter().all(|(decode, _)| *decode >= 0));
            prop_assert!(out.windows(2).all(|w| w[0].0 < w[1].0));
            for ((decode, sample), at) in out.iter().zip(&shown) {
                prop_assert_eq!(decode + i64::from(sample.composition), *at);
            }
        }
    }
}
