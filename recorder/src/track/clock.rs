//! A recording's clock, and what a file makes of room time.
//!
//! Room time itself, with its bound, is the core's: `media-core::clock`. Here it is only smoothed, so that
//! a file's times rise as its stream's do.

/// The recording's own clock: room time from its beginning.
#[derive(Clone, Copy, Debug)]
pub struct RecordingClock {
    /// Room time of the beginning, ns since the Unix epoch.
    pub started_ns: i64,
}

impl RecordingClock {
    /// Nanoseconds since the start; negative before it.
    pub fn at(self, room_ns: i64) -> i64 {
        room_ns.saturating_sub(self.started_ns)
    }

    pub fn wall_ns(self, position: i64) -> i64 {
        self.started_ns.saturating_add(position)
    }
}

/// A file's ticks: RTP time from the first sample on, kept on the recording's clock.
///
/// Differences up to [`SLACK`] are left alone; larger ones are worked off at 5 ms a second, and
/// from [`STEP`] on at once. In the first [`SETTLE`] the start itself is corrected instead.
#[derive(Debug)]
pub struct Timeline {
    rate: i64,
    base: u64,
    /// Tick 0 on the recording's clock, ns.
    origin: i64,
    adjust: i64,
    slewing: bool,
    last: i64,
}

const SLACK: i64 = 30; // ms
const CLOSE: i64 = 5; // ms
const STEP: i64 = 500; // ms
const SETTLE: i64 = 10; // s

impl Timeline {
    /// `base`: RTP time of the first sample, which is at `origin` on the recording's clock, ns.
    pub fn new(rate: u32, base: u64, origin: i64) -> Self {
        Self { rate: i64::from(rate.max(1)), base, origin, adjust: 0, slewing: false, last: 0 }
    }

    /// Nanoseconds from the recording's start to tick 0.
    pub fn origin(&self) -> i64 {
        self.origin
    }

    pub fn origin_ms(&self) -> i64 {
        self.origin.div_euclid(1_000_000)
    }

    /// The tick of an RTP time that is at `position` on the recording's clock, ns. Not always rising: reordered pictures go back and forth.
    pub fn ticks(&mut self, time: u64, position: i64) -> i64 {
        let raw = i64::try_from(i128::from(time) - i128::from(self.base)).unwrap_or(0);
        let ticks = raw.saturating_add(self.adjust);
        let error = i128::from(position.saturating_sub(self.origin)) * i128::from(self.rate) / 1_000_000_000
            - i128::from(ticks);
        let error = i64::try_from(error).unwrap_or(0);
        let ms = |n: i64| n * self.rate / 1000;
        let passed = (ticks - self.last).clamp(0, self.rate);
        self.last = self.last.max(ticks);
        if ticks < SETTLE * self.rate && error.abs() < ms(10_000) {
            self.origin = position.saturating_sub(self.ns(ticks));
            return ticks;
        }
        if error.abs() >= ms(STEP) {
            self.adjust = self.adjust.saturating_add(error);
            self.slewing = false;
        } else if self.slewing || error.abs() > ms(SLACK) {
            let most = passed / 200;
            self.adjust += error.clamp(-most, most);
            self.slewing = error.abs() > ms(CLOSE);
        }
        raw.saturating_add(self.adjust)
    }

    fn ns(&self, ticks: i64) -> i64 {
        i64::try_from(i128::from(ticks) * 1_000_000_000 / i128::from(self.rate)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A sender's clock that runs 200 ppm fast must not walk away from the recording.
    #[test]
    fn a_drifting_clock_is_held() {
        let mut timeline = Timeline::new(90_000, 0, 0);
        let mut before = -1;
        for frame in 1..90_000i64 {
            let position = frame * 40 * MS - frame * 40 * MS / 5_000;
            let ticks = timeline.ticks(frame as u64 * 3600, position);
            assert!(ticks > before);
            before = ticks;
            let off = (timeline.origin() + timeline.ns(ticks) - position).abs();
            assert!(off <= (SLACK + 2) * MS, "{off} ns off at frame {frame}");
        }
    }

    #[test]
    fn a_step_of_the_stream_is_taken_at_once_and_a_hair_not_at_all() {
        let mut timeline = Timeline::new(1000, 0, 0);
        for ms in (0..20_000).step_by(20) {
            timeline.ticks(ms, ms as i64 * MS);
        }
        assert_eq!(timeline.ticks(20_000, (20_000 + SLACK) * MS), 20_000);
        assert_eq!(timeline.ticks(20_020, 23_020 * MS), 23_020);
        assert_eq!(timeline.ticks(20_040, 23_040 * MS), 23_040);
    }
}
