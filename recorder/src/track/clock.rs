//! Three clocks brought together: the recording's, the sender's, and a track's RTP clock.
//!
//! Invariant: everything is told as nanoseconds since the recording began, on the server's
//! monotonic clock; a sender's idea of the time of day only ties its own tracks together.
//! Sender reports (RFC 3550 6.4.1) count as soon as there is one, arrival until then.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// How long the quickest packet stands for the delay of all, ns.
const WINDOW: i64 = 60_000_000_000;

/// RTP time and arrival further apart than this mean that the sender began anew, ns.
const JUMP: i128 = 5_000_000_000;

/// The recording's own clock: monotonic, and tied to the wall once.
#[derive(Clone, Copy, Debug)]
pub struct RecordingClock {
    pub started: Instant,
    /// Nanoseconds since the Unix epoch at `started`.
    pub started_wall_ns: i128,
}

impl RecordingClock {
    /// Nanoseconds since the start; negative before it.
    pub fn at(&self, instant: Instant) -> i64 {
        let ns = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        match instant.checked_duration_since(self.started) {
            Some(after) => ns(after),
            None => -ns(self.started.duration_since(instant)),
        }
    }

    pub fn wall_ns(&self, position: i64) -> i128 {
        self.started_wall_ns + i128::from(position)
    }
}

/// Recording's clock less one sender's clock, ns; shared by all tracks of a participant, so that
/// lips and voice stay together whatever the network does.
#[derive(Clone, Debug, Default)]
pub struct SenderOffset(Arc<Mutex<SlidingMin>>);

/// The smallest of the last one to two windows.
#[derive(Clone, Copy, Debug, Default)]
struct SlidingMin {
    before: Option<i128>,
    now: Option<i128>,
    since: i64,
}

impl SlidingMin {
    fn add(&mut self, value: i128, at: i64) {
        if self.now.is_none() {
            self.since = at;
        } else if at - self.since > WINDOW {
            (self.before, self.now, self.since) = (self.now, None, at);
        }
        self.now = Some(self.now.map_or(value, |least| least.min(value)));
    }

    fn least(&self) -> Option<i128> {
        match (self.before, self.now) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// One track's RTP clock against the recording's.
#[derive(Debug)]
pub struct TrackClock {
    rate: u32,
    sender: SenderOffset,
    /// RTP time and the sender's wall time of its newest report.
    report: Option<(u64, i128)>,
    arrival: SlidingMin,
    last: Option<(u64, i64)>,
}

impl TrackClock {
    pub fn new(rate: u32, sender: SenderOffset) -> Self {
        Self { rate: rate.max(1), sender, report: None, arrival: SlidingMin::default(), last: None }
    }

    /// Takes note of a packet; `arrival` on the recording's clock. True when the RTP clock jumped.
    pub fn packet(&mut self, time: u64, arrival: i64) -> bool {
        let mut jumped = false;
        if let Some((last_time, last_arrival)) = self.last {
            let moved = self.ns(i128::from(time) - i128::from(last_time));
            if (moved - i128::from(arrival - last_arrival)).abs() > JUMP {
                jumped = true;
                self.report = None;
                self.arrival = SlidingMin::default();
            }
        }
        self.last = Some((time, arrival));
        self.arrival.add(i128::from(arrival) - self.ns(time.into()), arrival);
        if let Some(wall) = self.sender_wall(time) {
            self.sender.0.lock().add(i128::from(arrival) - wall, arrival);
        }
        jumped
    }

    /// The sender's report: RTP `time` was at its `wall_ns`.
    pub fn report(&mut self, time: u64, wall_ns: i128) {
        self.report = Some((time, wall_ns));
        if let Some((last, arrival)) = self.last
            && let Some(wall) = self.sender_wall(last)
        {
            self.sender.0.lock().add(i128::from(arrival) - wall, arrival);
        }
    }

    /// Where an RTP time stands on the recording's clock, ns; `None` before the first packet.
    pub fn position(&self, time: u64) -> Option<i64> {
        let reported = self.sender_wall(time).and_then(|wall| Some(wall + self.sender.0.lock().least()?));
        let position = match reported {
            Some(position) => position,
            None => self.arrival.least()? + self.ns(time.into()),
        };
        i64::try_from(position).ok()
    }

    fn sender_wall(&self, time: u64) -> Option<i128> {
        let (at, wall) = self.report?;
        Some(wall + self.ns(i128::from(time) - i128::from(at)))
    }

    fn ns(&self, ticks: i128) -> i128 {
        ticks * 1_000_000_000 / i128::from(self.rate)
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
    pub fn new(rate: u32, base: u64, clock: &TrackClock) -> Self {
        let origin = clock.position(base).unwrap_or(0);
        Self { rate: i64::from(rate.max(1)), base, origin, adjust: 0, slewing: false, last: 0 }
    }

    /// Nanoseconds from the recording's start to tick 0.
    pub fn origin(&self) -> i64 {
        self.origin
    }

    pub fn origin_ms(&self) -> i64 {
        self.origin.div_euclid(1_000_000)
    }

    /// The tick of an RTP time. Not always rising: reordered pictures go back and forth.
    pub fn ticks(&mut self, time: u64, clock: &TrackClock) -> i64 {
        let raw = i64::try_from(i128::from(time) - i128::from(self.base)).unwrap_or(0);
        let ticks = raw.saturating_add(self.adjust);
        let Some(position) = clock.position(time) else { return ticks };
        let error = i128::from(position - self.origin) * i128::from(self.rate) / 1_000_000_000 - i128::from(ticks);
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

    #[test]
    fn two_tracks_of_a_sender_stand_together_whatever_their_delay() {
        let sender = SenderOffset::default();
        let mut audio = TrackClock::new(48_000, sender.clone());
        let mut video = TrackClock::new(90_000, sender);
        // Sound takes 20 ms, pictures 120 ms; the sender's clock is an hour off.
        let wall = |ms: i64| i128::from(ms * MS) + 3_600_000_000_000;
        audio.report(0, wall(0));
        video.report(0, wall(0));
        for ms in (0..2000).step_by(20) {
            audio.packet(ms as u64 * 48, (ms + 20) * MS);
            video.packet(ms as u64 * 90, (ms + 120) * MS);
        }
        assert_eq!(audio.position(48_000), Some(1020 * MS));
        assert_eq!(video.position(90_000), Some(1020 * MS));
    }

    #[test]
    fn before_the_first_report_the_quickest_arrival_counts() {
        let mut clock = TrackClock::new(90_000, SenderOffset::default());
        clock.packet(0, 50 * MS);
        clock.packet(3600, 60 * MS);
        clock.packet(7200, 130 * MS);
        assert_eq!(clock.position(9000), Some(120 * MS));
    }

    #[test]
    fn a_sender_that_begins_anew_is_noticed() {
        let mut clock = TrackClock::new(90_000, SenderOffset::default());
        assert!(!clock.packet(1 << 40, 0));
        assert!(!clock.packet((1 << 40) + 90_000, 1000 * MS));
        assert!(clock.packet(5, 1040 * MS));
        assert_eq!(clock.position(5), Some(1040 * MS));
    }

    /// A sender's clock that runs 100 ppm fast must not walk away from the recording.
    #[test]
    fn a_drifting_clock_is_held() {
        let mut clock = TrackClock::new(90_000, SenderOffset::default());
        clock.packet(0, 0);
        let mut timeline = Timeline::new(90_000, 0, &clock);
        let mut before = -1;
        for frame in 1..90_000i64 {
            let time = frame as u64 * 3600;
            let arrival = frame * 40 * MS - frame * 40 * MS / 10_000;
            clock.packet(time, arrival);
            let ticks = timeline.ticks(time, &clock);
            assert!(ticks > before);
            before = ticks;
            // A window of arrivals lags by at most two minutes: 12 ms.
            let off = (timeline.origin() + timeline.ns(ticks) - arrival).abs();
            assert!(off < 50 * MS, "{off} ns off at frame {frame}");
        }
    }
}
