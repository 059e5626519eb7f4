//! Which of three clocks to believe: the times in the stream, those of RTP, or the arrival.
//!
//! Devices wrap (33 bits), jump when a file begins anew, stand still, or count milliseconds where ticks of 90 kHz are
//! due. What comes out goes forward at about the speed of time, and near to what the better clock says.

use std::time::{Duration, Instant};

/// So long a clock is watched before it is believed less than another.
const WINDOW: Duration = Duration::from_secs(1);
/// Steps beyond are jumps.
const MAX_STEP: i64 = 90_000 * 10;
/// Pictures out of order come back by so much at most.
const MAX_BACK: i64 = -90_000;
/// A picture's time when nothing better is known.
const USUAL_STEP: i64 = 3_600;

/// One clock of the device.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    last: Option<u64>,
    /// Start of the window: arrival, and the clock's advance since then.
    since: Option<(Instant, i64)>,
    trust: Trust,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    /// As 90 kHz, until it proves otherwise.
    #[default]
    Ticks,
    Milliseconds,
    None,
}

impl Clock {
    /// How far it went on, in ticks; `None` when it says nothing or nothing sensible.
    fn step(&mut self, value: Option<u64>, bits: u32, now: Instant) -> Option<i64> {
        let value = value?;
        let last = self.last.replace(value);
        let raw = sign_extend(value.wrapping_sub(last?), bits);
        let plausible = (MAX_BACK..=MAX_STEP).contains(&raw);
        let (since, advance) = self.since.get_or_insert((now, 0));
        *advance += if plausible { raw } else { 0 };
        let (elapsed, ticks) = (now.saturating_duration_since(*since), *advance);
        if elapsed >= WINDOW {
            let rate = ticks as f64 / elapsed.as_secs_f64();
            self.trust = match rate {
                // A file may be sent at many times its speed.
                20_000.0..3_000_000.0 => Trust::Ticks,
                333.0..3_000.0 => Trust::Milliseconds,
                _ => Trust::None,
            };
            self.since = Some((now, 0));
        }
        match self.trust {
            Trust::Ticks => plausible.then_some(raw),
            Trust::Milliseconds => plausible.then_some(raw.saturating_mul(90)),
            Trust::None => None,
        }
    }
}

fn sign_extend(difference: u64, bits: u32) -> i64 {
    let shift = 64 - bits;
    ((difference << shift) as i64) >> shift
}

/// One stream's time.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pts: Clock,
    rtp: Clock,
    arrived: Option<Instant>,
    /// Unwrapped, ticks of 90 kHz.
    now: i64,
    jumps: u32,
}

impl Timeline {
    /// The time of the next picture or sound, ticks of 90 kHz, wrapping as RTP does.
    pub fn next(&mut self, pts: Option<u64>, rtp: u32, arrival: Instant) -> u32 {
        let knew_pts = self.pts.last.is_some() && self.pts.trust == Trust::Ticks;
        let by_pts = self.pts.step(pts, 33, arrival);
        let by_rtp = self.rtp.step(Some(rtp.into()), 32, arrival);
        let step = match self.arrived {
            None => {
                self.now = pts.map_or(i64::from(rtp), |pts| pts as i64);
                0
            }
            Some(before) => by_pts.or(by_rtp).unwrap_or_else(|| {
                let elapsed = arrival.saturating_duration_since(before).as_micros() as i64 * 9 / 100;
                if elapsed == 0 { USUAL_STEP } else { elapsed.min(MAX_STEP) }
            }),
        };
        if let Some(before) = self.arrived {
            let elapsed = arrival.saturating_duration_since(before).as_micros() as i64 * 9 / 100;
            // Also at eight times its speed a stream goes no faster; pictures out of order go back by a few.
            let leaps = step > elapsed * 8 + 90_000 || step < -18_000;
            let jumped = leaps || (knew_pts && pts.is_some() && by_pts.is_none());
            self.jumps = self.jumps.saturating_add(u32::from(jumped));
        }
        self.arrived = Some(arrival);
        self.now += step;
        self.now as u32
    }

    /// How often the stream went on from elsewhere, as it does when a recording is played from another place.
    pub fn jumps(&self) -> u32 {
        self.jumps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times that come out for pictures 40 ms apart, beginning with the first.
    fn run(mut clocks: impl FnMut(u64) -> (Option<u64>, u32), pictures: u64) -> Vec<i64> {
        let (start, mut timeline) = (Instant::now(), Timeline::default());
        let mut first = None;
        (0..pictures)
            .map(|picture| {
                let (pts, rtp) = clocks(picture);
                let time = timeline.next(pts, rtp, start + Duration::from_millis(40) * picture as u32);
                i64::from(time.wrapping_sub(*first.get_or_insert(time)) as i32)
            })
            .collect()
    }

    fn at_speed(times: &[i64], from: usize) {
        for pair in times[from..].windows(2) {
            assert!((1_800..7_200).contains(&(pair[1] - pair[0])), "{pair:?}");
        }
    }

    #[test]
    fn the_streams_own_times_go_first() {
        let times = run(|n| (Some(((1 << 33) - 36_000 + n * 3_600) & ((1 << 33) - 1)), n as u32 * 40), 100);
        assert_eq!(times, (0..100).map(|n| n * 3_600).collect::<Vec<_>>(), "also where they wrap");
    }

    #[test]
    fn jumps_are_counted() {
        let (start, mut timeline) = (Instant::now(), Timeline::default());
        let places = [0, 3_600, 7_200, 900_000, 903_600, 0, 3_600, 90 * 90_000, 90 * 90_000 + 3_600u64];
        let counted: Vec<u32> = (0..)
            .zip(places)
            .map(|(n, pts)| {
                timeline.next(Some(pts), n * 3_600, start + Duration::from_millis(40) * n);
                timeline.jumps()
            })
            .collect();
        assert_eq!(counted, [0, 0, 0, 1, 1, 2, 2, 3, 3], "forward, back to the beginning, beyond what is plausible");
    }

    #[test]
    fn then_those_of_rtp() {
        at_speed(&run(|n| (None, (u32::MAX - 30_000).wrapping_add(n as u32 * 3_600)), 100), 0);
        // That stands still is known after a second.
        at_speed(&run(|n| (Some(7), n as u32 * 3_600), 100), 30);
    }

    #[test]
    fn milliseconds_are_known_after_a_second() {
        at_speed(&run(|n| (None, n as u32 * 40), 100), 30);
        at_speed(&run(|n| (Some(n * 40), 0), 100), 30);
    }

    #[test]
    fn then_the_arrival() {
        at_speed(&run(|_| (None, 0), 100), 30);
        at_speed(
            &run(|n| (Some(n.wrapping_mul(n).wrapping_mul(1_000_000_007)), (n as u32).wrapping_mul(77_777_777)), 100),
            30,
        );
    }

    #[test]
    fn a_file_that_begins_anew_is_no_jump() {
        at_speed(&run(|n| (Some(1_000_000 + n % 40 * 3_600), n as u32 * 3_600), 100), 0);
        at_speed(&run(|n| (Some(8_000_000 - n / 40 * 4_000_000 + n % 40 * 3_600), n as u32 * 3_600), 100), 0);
    }
}
