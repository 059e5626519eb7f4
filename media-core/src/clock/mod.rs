//! The one clock of all media, and the clocks of devices brought onto it.
//!
//! Invariant: room time never steps. It is the system's time of day at the first use, and runs on
//! with the monotonic clock from there; what NTP does to the system's clock later moves no picture.

mod estimator;
mod stream;

pub use estimator::{ClockEstimator, Reading};
pub use stream::StreamClock;

use parking_lot::Mutex;

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

/// A device's clock, shared by its streams so that they stay in step.
#[derive(Debug, Default)]
pub struct DeviceClock(pub Mutex<ClockEstimator>);

/// Ticks of an RTP clock as nanoseconds.
pub fn ticks_to_ns(ticks: i64, rate: u32) -> i64 {
    let rate = i64::from(rate.max(1));
    let (seconds, rest) = (ticks.div_euclid(rate), ticks.rem_euclid(rate));
    seconds.saturating_mul(SECOND).saturating_add(rest * SECOND / rate)
}

const SECOND: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = SECOND;

    #[test]
    fn ntp_and_unix_time_are_the_same_moment() {
        assert_eq!(ntp_to_unix_ns(NTP_EPOCH << 32), 0);
        assert_eq!(ntp_to_unix_ns(((NTP_EPOCH + 1) << 32) | 0x8000_0000), S + S / 2);
        for ns in [0, 1, 999_999_999, 1_790_000_000 * S + 123_456_789] {
            assert_eq!(ntp_to_unix_ns(unix_ns_to_ntp(ns)), ns);
        }
    }

    #[test]
    fn ticks_are_nanoseconds_to_the_last_one() {
        assert_eq!(ticks_to_ns(90_000 * 3600, 90_000), 3600 * S);
        assert_eq!(ticks_to_ns(-1, 90_000), -11_112);
        assert_eq!(ticks_to_ns(1, 48_000), 20_833);
        assert_eq!(ticks_to_ns(i64::MAX, 0), i64::MAX);
    }

    #[test]
    fn room_time_runs_with_the_monotonic_clock() {
        let anchor = Instant::now() + Duration::from_secs(10);
        let clock = RoomClock::anchored(anchor, 100 * S);
        assert_eq!(clock.ns(anchor + Duration::from_secs(5)), 105 * S);
        assert_eq!(clock.ns(anchor - Duration::from_secs(5)), 95 * S);
    }
}
