//! Which simulcast layer a subscriber gets, and which ones anybody wants.

use std::time::{Duration, Instant};

/// A layer is not out of use sooner after its last packet, however fast the others are.
const PATIENCE: Duration = Duration::from_millis(300);
/// Frames of its own pace, and of the fastest other layer's, that a living layer may miss.
const OWN_FRAMES: u32 = 4;
const FRAMES: u32 = 8;
/// A longer pause says nothing of a layer's pace.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// The pace of a layer: when it last had a packet, and how far apart its frames are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    pub first: Option<Instant>,
    pub last: Option<Instant>,
    frame: Option<(u32, Instant)>,
    /// Smoothed, between frames; zero while unknown.
    gap: Duration,
}

impl Pace {
    /// A packet of a frame with this RTP time.
    pub fn packet(&mut self, timestamp: u32, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
        match self.frame {
            Some((frame, _)) if timestamp.wrapping_sub(frame) as i32 <= 0 => return,
            Some((_, at)) => {
                let gap = now.saturating_duration_since(at);
                if gap < LONGEST_GAP {
                    self.gap = if self.gap.is_zero() { gap } else { (self.gap * 3 + gap) / 4 };
                }
            }
            None => {}
        }
        self.frame = Some((timestamp, now));
    }

    /// Its source begins anew, with other times.
    pub fn restart(&mut self) {
        self.frame = None;
    }
}

/// Whether a layer has fallen silent while another one goes on. When all are silent it is the way
/// that is at fault, or nothing moves in the picture, and no other layer would help.
fn alive(paces: &[Pace], index: usize) -> bool {
    let Some((pace, last)) = paces.get(index).and_then(|pace| Some((pace, pace.last?))) else { return false };
    let others = || paces.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other);
    let Some(newest) = others().filter_map(|other| other.last).max() else { return true };
    let silent = newest.saturating_duration_since(last);
    let fastest = others().filter(|other| other.last > Some(last)).map(|other| other.gap).min().unwrap_or_default();
    silent <= PATIENCE.max(pace.gap * OWN_FRAMES).max(fastest * FRAMES)
}

/// The layer to aim at: the highest living one not above the wish, else the lowest living one.
pub(super) fn choose(paces: &[Pace], wish: usize) -> Option<usize> {
    let layers = 0..paces.len();
    let within = layers.clone().rev().filter(|&index| index <= wish).find(|&index| alive(paces, index));
    within.or_else(|| layers.clone().find(|&index| alive(paces, index)))
}

/// Folds subscribers' wishes into the three qualities a publisher is told about.
pub(super) fn wanted(layers: usize, wishes: impl Iterator<Item = usize>) -> [bool; 3] {
    let mut out = [false; 3];
    for wish in wishes {
        let top = wish.min(layers.saturating_sub(1)).min(2);
        // A lower layer stays on while a higher one is wanted: it is the fallback of a bad network.
        out.iter_mut().take(top + 1).for_each(|on| *on = true);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers of so many milliseconds between frames, run until `end`; each stops at its own time.
    fn run(layers: &[(u64, u64)], end: u64) -> Vec<Pace> {
        let start = Instant::now();
        let mut paces = vec![Pace::default(); layers.len()];
        for ms in 0..=end {
            for (pace, &(gap, until)) in paces.iter_mut().zip(layers) {
                if ms.is_multiple_of(gap) && ms <= until {
                    pace.packet(ms as u32 * 90, start + Duration::from_millis(ms));
                }
            }
        }
        paces
    }

    #[test]
    fn the_highest_living_layer_within_the_wish_is_chosen() {
        let on = u64::MAX;
        assert_eq!(choose(&run(&[(33, on), (33, on), (33, on)], 5_000), 2), Some(2));
        assert_eq!(choose(&run(&[(33, on), (33, on), (33, 1_000)], 5_000), 2), Some(1));
        assert_eq!(choose(&run(&[(33, on), (33, on), (33, on)], 5_000), 0), Some(0));
        assert_eq!(choose(&[Pace::default(); 3], 2), None);
        assert_eq!(choose(&run(&[(33, 0), (33, 0), (33, on)], 5_000), 0), Some(2));
    }

    #[test]
    fn a_layer_that_stops_is_left_within_a_third_of_a_second() {
        for (at, layer) in [(1_200, 2), (1_300, 2), (1_340, 1), (1_500, 1)] {
            assert_eq!(choose(&run(&[(33, u64::MAX), (33, u64::MAX), (33, 1_000)], at), 2), Some(layer), "{at}");
        }
    }

    #[test]
    fn a_slow_layer_and_a_still_picture_are_not_taken_for_dead() {
        let on = u64::MAX;
        assert_eq!(choose(&run(&[(33, on), (330, on)], 10_200), 1), Some(1));
        assert_eq!(choose(&run(&[(330, on), (33, on)], 10_200), 0), Some(0));
        // A screen that is still: a frame every three seconds, and the lower layer's comes first.
        for after in 0..50 {
            assert_eq!(choose(&run(&[(3_000, on), (3_000, 12_000)], 15_000 + after), 1), Some(1));
        }
        assert_eq!(choose(&run(&[(33, 1_000), (33, 1_000)], 9_000), 1), Some(1), "all are silent");
    }

    #[test]
    fn nobody_wants_nothing_and_one_viewer_of_the_top_wants_all_below() {
        assert_eq!(wanted(3, std::iter::empty()), [false; 3]);
        assert_eq!(wanted(3, [1].into_iter()), [true, true, false]);
        assert_eq!(wanted(1, [2].into_iter()), [true, false, false]);
    }
}
