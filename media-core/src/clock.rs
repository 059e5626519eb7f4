//! The one clock of all media, and the clocks of devices brought onto it.
//!
//! Invariant: room time never steps. It is the system's time of day at the first use, and runs on
//! with the monotonic clock from there; what NTP does to the system's clock later moves no picture.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds between 1900 (NTP) and 1970 (Unix).
const NTP_EPOCH: u64 = 2_208_988_800;

/// Room time in nanoseconds since the Unix epoch. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct RoomClock {
    anchor: Instant,
    anchor_ns: i64,
}

impl RoomClock {
    /// This process's clock.
    pub fn process() -> Self {
        static CLOCK: OnceLock<RoomClock> = OnceLock::new();
        *CLOCK.get_or_init(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Self::anchored(Instant::now(), nanoseconds(since))
        })
    }

    /// A clock that says `unix_ns` at `anchor`, for tests in virtual time.
    pub fn anchored(anchor: Instant, unix_ns: i64) -> Self {
        Self { anchor, anchor_ns: unix_ns }
    }

    pub fn ns(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.anchor) {
            Some(after) => self.anchor_ns.saturating_add(nanoseconds(after)),
            None => self.anchor_ns.saturating_sub(nanoseconds(self.anchor.saturating_duration_since(at))),
        }
    }

    /// The same as NTP time, 32.32 (RFC 5905 6).
    pub fn ntp(&self, at: Instant) -> u64 {
        unix_ns_to_ntp(self.ns(at))
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// NTP time, 32.32 since 1900 (era 0), as nanoseconds since the Unix epoch.
pub fn ntp_to_unix_ns(ntp: u64) -> i64 {
    let ns = (i128::from(ntp) * 1_000_000_000) >> 32;
    i64::try_from(ns - i128::from(NTP_EPOCH) * 1_000_000_000).unwrap_or(0)
}

/// The reverse of [`ntp_to_unix_ns`]; wraps in 2036 as NTP does.
pub fn unix_ns_to_ntp(ns: i64) -> u64 {
    let since_1900 = i128::from(ns) + i128::from(NTP_EPOCH) * 1_000_000_000;
    // Rounded up, so that going there and back gives the same nanosecond.
    (((since_1900 << 32) + 999_999_999).div_euclid(1_000_000_000)) as u64
}

/// What one more reading of a device's clock said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As expected.
    Agrees,
    /// Far from what was known, once: a lie or the first sign of a step. Not believed yet.
    Doubtful,
    /// The second in a row that says so: the device's clock was set, and is followed.
    Stepped,
}

/// Room time less one device's clock, in nanoseconds.
///
/// Each reading is late by its way here; the least of the last [`WINDOW`] to twice that is the one
/// with the least delay in it. A device that drifts by *d* is therefore followed within
/// 2 · WINDOW · *d* (200 ppm: 8 ms), plus the least delay itself. A reading more than [`STEP`] from
/// what is known counts only when the next one agrees with it.
#[derive(Clone, Debug, Default)]
pub struct ClockEstimator {
    before: Option<i64>,
    now: Option<i64>,
    since: i64,
    doubtful: Option<i64>,
    steps: u32,
}

/// How long the quickest reading stands for the delay of all, ns.
const WINDOW: i64 = 20_000_000_000;
/// No network delays by more, ns.
const STEP: i64 = 1_000_000_000;

impl ClockEstimator {
    /// The device's clock said `device_ns` in something that arrived at `room_ns`.
    pub fn note(&mut self, device_ns: i64, room_ns: i64) -> Reading {
        let offset = room_ns.saturating_sub(device_ns);
        let far = |from: i64| offset.saturating_sub(from).saturating_abs() > STEP;
        let mut reading = Reading::Agrees;
        if self.offset().is_some_and(far) {
            if self.doubtful.is_none_or(far) {
                self.doubtful = Some(offset);
                return Reading::Doubtful;
            }
            (self.before, self.now) = (None, None);
            self.steps += 1;
            reading = Reading::Stepped;
        }
        self.doubtful = None;
        if self.now.is_none() {
            self.since = room_ns;
        } else if room_ns.saturating_sub(self.since) > WINDOW {
            (self.before, self.now, self.since) = (self.now, None, room_ns);
        }
        self.now = Some(self.now.map_or(offset, |least| least.min(offset)));
        reading
    }

    /// `None` before the first reading.
    pub fn offset(&self) -> Option<i64> {
        match (self.before, self.now) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        }
    }

    /// Room time of a moment that the device's clock calls `device_ns`.
    pub fn to_room(&self, device_ns: i64) -> Option<i64> {
        Some(device_ns.saturating_add(self.offset()?))
    }

    /// How often the device's clock was set while it was watched.
    pub fn steps(&self) -> u32 {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    const MS: i64 = 1_000_000;

    #[test]
    fn ntp_and_unix_time_are_the_same_moment() {
        assert_eq!(ntp_to_unix_ns(NTP_EPOCH << 32), 0);
        assert_eq!(ntp_to_unix_ns(((NTP_EPOCH + 1) << 32) | 0x8000_0000), S + S / 2);
        for ns in [0, 1, 999_999_999, 1_790_000_000 * S + 123_456_789] {
            assert_eq!(ntp_to_unix_ns(unix_ns_to_ntp(ns)), ns);
        }
    }

    #[test]
    fn room_time_runs_with_the_monotonic_clock() {
        let anchor = Instant::now() + Duration::from_secs(10);
        let clock = RoomClock::anchored(anchor, 100 * S);
        assert_eq!(clock.ns(anchor + Duration::from_secs(5)), 105 * S);
        assert_eq!(clock.ns(anchor - Duration::from_secs(5)), 95 * S);
    }

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
    fn a_single_lie_changes_nothing() {
        let mut estimator = ClockEstimator::default();
        follow(&mut estimator, 0, 10, |at| at);
        for lie in [i64::MIN, 0, -5 * S, 3000 * S, i64::MAX] {
            let known = estimator.offset();
            assert_eq!(estimator.note(lie, 10 * S), Reading::Doubtful);
            assert_eq!(estimator.offset(), known);
            assert_eq!(estimator.note(10 * S, 10 * S + 5 * MS), Reading::Agrees);
        }
    }
}
