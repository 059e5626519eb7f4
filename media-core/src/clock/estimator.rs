//! A device's clock against room time, from readings that are all late by an unknown way.

use super::SECOND;

/// What one more reading of a device's clock said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As expected, if late.
    Agrees,
    /// Far from what was known: a lie, or the first sign of a step. Nothing is to be told by it.
    Doubtful,
    /// The device's clock was set, and is followed.
    Stepped,
}

/// Room time less one device's clock, in nanoseconds.
///
/// A reading is late by its way here, so the least of the last [`WINDOW`] to twice that is the one with the
/// least delay *d* in it. Bound: what [`Self::to_room`] gives is the true moment + *d* + *e*, where
/// *e* lies within 2 · `WINDOW` · drift (200 ppm: 8 ms) either way. A step of the device's clock is
/// followed
/// - at once, where its own RTP clock is witness ([`Self::stepped_by`]);
/// - with the second reading, where it is forward by more than [`STEP`], or back by more than
///   [`FAR`], by which no network delays;
/// - after [`PATIENCE`], where it is back by more than [`LATE`]: until then it looks like a queue
///   somewhere on the way;
/// - with the window, where it is smaller.
#[derive(Clone, Debug, Default)]
pub struct ClockEstimator {
    before: Option<i64>,
    now: Option<i64>,
    since: i64,
    doubtful: Option<Doubt>,
    late: Option<Late>,
    steps: u32,
}

/// A reading that was not believed.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    device: i64,
    offset: i64,
}

/// All readings since then were late.
#[derive(Clone, Copy, Debug)]
struct Late {
    since: i64,
    least: i64,
}

/// How long the quickest reading stands for the delay of all, ns.
const WINDOW: i64 = 20 * SECOND;
/// Beyond this a reading is not believed alone, ns.
const STEP: i64 = SECOND;
/// No network delays by more, ns.
const FAR: i64 = 30 * SECOND;
/// A queue on the way delays by so much, and not for longer than [`PATIENCE`], ns.
const LATE: i64 = SECOND / 4;
const PATIENCE: i64 = 10 * SECOND;

impl ClockEstimator {
    /// The device's clock said `device` in something that arrived at `room`, both ns.
    pub fn note(&mut self, device: i64, room: i64) -> Reading {
        let offset = room.saturating_sub(device);
        let Some(known) = self.offset() else {
            self.add(offset, room);
            return Reading::Agrees;
        };
        let later = offset.saturating_sub(known);
        if !(-STEP..=FAR).contains(&later) {
            let again = self.doubtful.is_some_and(|doubt| {
                doubt.device != device && offset.saturating_sub(doubt.offset).saturating_abs() <= STEP
            });
            if again {
                return self.begin_anew(offset, room);
            }
            self.doubtful = Some(Doubt { device, offset });
            return Reading::Doubtful;
        }
        self.doubtful = None;
        if later > LATE {
            let late = self.late.get_or_insert(Late { since: room, least: offset });
            late.least = late.least.min(offset);
            let late = *late;
            if room.saturating_sub(late.since) >= PATIENCE {
                return self.begin_anew(late.least, room);
            }
        } else {
            self.late = None;
        }
        self.add(offset, room);
        if later > STEP { Reading::Doubtful } else { Reading::Agrees }
    }

    /// The device's clock was set forward by so much, ns; its own RTP clock says so.
    pub fn stepped_by(&mut self, forward: i64) {
        for offset in [&mut self.before, &mut self.now].into_iter().flatten() {
            *offset = offset.saturating_sub(forward);
        }
        (self.doubtful, self.late) = (None, None);
        self.steps += 1;
    }

    fn begin_anew(&mut self, offset: i64, room: i64) -> Reading {
        (self.before, self.now, self.doubtful, self.late) = (None, None, None, None);
        self.steps += 1;
        self.add(offset, room);
        Reading::Stepped
    }

    fn add(&mut self, offset: i64, room: i64) {
        if self.now.is_none() {
            self.since = room;
        } else if room.saturating_sub(self.since) > WINDOW {
            (self.before, self.now, self.since) = (self.now, None, room);
        }
        self.now = Some(self.now.map_or(offset, |least| least.min(offset)));
    }

    /// `None` before the first reading.
    pub fn offset(&self) -> Option<i64> {
        match (self.before, self.now) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        }
    }

    /// Room time of a moment that the device's clock calls `device`.
    pub fn to_room(&self, device: i64) -> Option<i64> {
        Some(device.saturating_add(self.offset()?))
    }

    /// How often the device's clock was set while it was watched.
    pub fn steps(&self) -> u32 {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = SECOND;
    const MS: i64 = 1_000_000;

    /// Readings once a second, 5 ms to 45 ms late; `device` tells the device's time.
    fn follow(estimator: &mut ClockEstimator, from: i64, seconds: i64, device: impl Fn(i64) -> i64) -> i64 {
        let mut worst = 0;
        for second in from..from + seconds {
            let sent = second * S;
            let late = 5 * MS + (second * 7 % 5) * 10 * MS;
            estimator.note(device(sent), sent + late);
            let off = (estimator.to_room(device(sent)).unwrap() - sent).abs();
            if second > from + 1 {
                worst = worst.max(off);
            }
        }
        worst
    }

    #[test]
    fn a_clock_that_drifts_by_200_ppm_is_followed_for_a_day() {
        for drift in [-200, 200] {
            let mut estimator = ClockEstimator::default();
            let worst = follow(&mut estimator, 0, 86_400, |at| at + at / 1_000_000 * drift);
            assert!(worst <= 45 * MS, "{} ms", worst / MS);
            let settled = follow(&mut estimator, 86_400, 3600, |at| at + at / 1_000_000 * drift);
            assert!(settled <= 14 * MS, "{} ms", settled / MS);
            assert_eq!(estimator.steps(), 0);
        }
    }

    #[test]
    fn a_clock_that_is_set_by_an_hour_either_way_is_followed_with_the_second_reading() {
        for step in [-3600 * S, 3600 * S] {
            let mut estimator = ClockEstimator::default();
            follow(&mut estimator, 0, 100, |at| at);
            assert_eq!(estimator.note(100 * S + step, 100 * S + 5 * MS), Reading::Doubtful);
            assert_eq!(estimator.note(101 * S + step, 101 * S + 25 * MS), Reading::Stepped);
            assert!(follow(&mut estimator, 102, 20, |at| at + step) <= 25 * MS);
            assert_eq!(estimator.steps(), 1);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_is_followed_when_it_can_be_no_queue() {
        let mut estimator = ClockEstimator::default();
        follow(&mut estimator, 0, 100, |at| at);
        follow(&mut estimator, 100, 10, |at| at - S / 2);
        assert_eq!(estimator.steps(), 0, "a queue of half a second on the way would look the same");
        follow(&mut estimator, 110, 3, |at| at - S / 2);
        assert_eq!(estimator.steps(), 1);
        assert!(follow(&mut estimator, 113, 20, |at| at - S / 2) <= 45 * MS);
    }

    #[test]
    fn a_stall_of_some_seconds_moves_nothing() {
        let mut estimator = ClockEstimator::default();
        follow(&mut estimator, 0, 100, |at| at);
        let known = estimator.offset();
        for second in 100..108 {
            let late = (108 - second) * S;
            let reading = estimator.note(second * S, second * S + late);
            assert_eq!(reading, if late > S { Reading::Doubtful } else { Reading::Agrees });
        }
        assert_eq!(estimator.note(108 * S, 108 * S + 5 * MS), Reading::Agrees);
        assert_eq!((estimator.offset(), estimator.steps()), (known, 0));
    }

    #[test]
    fn a_single_lie_changes_nothing_however_often_it_is_repeated() {
        let mut estimator = ClockEstimator::default();
        follow(&mut estimator, 0, 10, |at| at);
        for lie in [i64::MIN, 0, -50 * S, 3000 * S, i64::MAX] {
            let known = estimator.offset();
            assert_eq!(estimator.note(lie, 100 * S), Reading::Doubtful);
            assert_eq!(estimator.note(lie, 100 * S), Reading::Doubtful);
            assert_eq!(estimator.offset(), known);
            assert_eq!(estimator.note(100 * S, 100 * S + 5 * MS), Reading::Agrees);
        }
    }
}
