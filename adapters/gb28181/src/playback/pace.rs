//! Times for pictures of a recording, as if they were live.
//!
//! A viewer shows a picture when its time is there. What a device plays at four times its speed has times that go on
//! four times as fast as they come; what it plays from elsewhere has times from elsewhere. Out of here times go on at
//! the speed of life, through every pause and every leap.

use std::time::{Duration, Instant};

/// Pictures that come so much too early or too late are not early or late: the device plays at another speed, or from
/// elsewhere.
const TOLERANCE: f64 = 90_000.0;
/// The least between two pictures, ticks.
const SHORTEST: u32 = 900;

#[derive(Clone, Copy, Debug)]
struct Anchor {
    media: u32,
    out: u32,
    at: Instant,
}

#[derive(Debug)]
pub struct Pacer {
    /// As it was told, until it shows that it is another.
    speed: f64,
    is_usual: bool,
    anchor: Option<Anchor>,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    media: u32,
    out: u32,
    at: Instant,
}

impl Default for Pacer {
    fn default() -> Self {
        Self { speed: 1.0, is_usual: true, anchor: None, last: None }
    }
}

impl Pacer {
    /// What comes from now on comes so many times as fast as it was recorded.
    pub fn set_speed(&mut self, speed: f64) {
        (self.speed, self.is_usual) = (speed, speed == 1.0);
        self.anchor = None;
    }

    /// What comes from now on is from elsewhere.
    pub fn leap(&mut self) {
        self.anchor = None;
    }

    /// The time of a picture that the recording has at `media`, both in ticks of 90 kHz.
    pub fn picture(&mut self, media: u32, now: Instant) -> u32 {
        let ahead = |from: u32, since: Instant, speed: f64| {
            let step = f64::from(media.wrapping_sub(from) as i32);
            (step, step / speed - ticks(now.saturating_duration_since(since)))
        };
        let kept = self.anchor.and_then(|anchor| {
            let (step, lead) = ahead(anchor.media, anchor.at, self.speed);
            (lead.abs() <= TOLERANCE).then(|| anchor.out.wrapping_add((step / self.speed) as i32 as u32))
        });
        let out = kept.unwrap_or_else(|| {
            if let (Some(anchor), Some(last)) = (self.anchor, self.last)
                && ahead(last.media, last.at, self.speed).1.abs() <= TOLERANCE
            {
                // By and by, not by a leap.
                let pace =
                    ahead(anchor.media, anchor.at, 1.0).0 / ticks(now.saturating_duration_since(anchor.at)).max(1.0);
                self.speed = pace.clamp(0.05, 64.0);
            }
            let out = self.last.map_or(media, |last| {
                let since = ticks(now.saturating_duration_since(last.at)) as u64 as u32;
                last.out.wrapping_add(since.max(SHORTEST))
            });
            self.anchor = Some(Anchor { media, out, at: now });
            out
        });
        self.last = Some(Last { media, out, at: now });
        out
    }

    /// The time of sound, which is heard at the speed of life alone, and not before the first picture.
    pub fn sound(&self, media: u32) -> Option<u32> {
        let anchor = self.anchor.filter(|_| self.is_usual)?;
        Some(anchor.out.wrapping_add(media.wrapping_sub(anchor.media)))
    }
}

fn ticks(time: Duration) -> f64 {
    time.as_secs_f64() * 90_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of what comes out, in ticks.
    fn steps(pacer: &mut Pacer, start: Instant, pictures: &[(u32, u64)]) -> Vec<i32> {
        let times: Vec<u32> =
            pictures.iter().map(|(media, ms)| pacer.picture(*media, start + Duration::from_millis(*ms))).collect();
        times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as i32).collect()
    }

    #[test]
    fn at_every_speed_times_go_on_as_life() {
        let start = Instant::now();
        for (speed, every) in [(1.0, 40u64), (4.0, 10), (0.5, 80), (0.25, 160)] {
            let mut pacer = Pacer::default();
            pacer.set_speed(speed);
            let pictures: Vec<(u32, u64)> = (0..500)
                .map(|n| ((u32::MAX - 90_000).wrapping_add(3_600 * n), every * u64::from(n) + u64::from(n % 3) * 9))
                .collect();
            for step in steps(&mut pacer, start, &pictures) {
                assert_eq!(step as u64, every * 90, "at {speed}");
            }
        }
    }

    #[test]
    fn a_leap_and_a_pause_cost_no_time_and_gain_none() {
        let mut pacer = Pacer::default();
        let start = Instant::now();
        let played =
            [(0, 0), (3_600, 40), (90_000 * 600, 80), (90_000 * 600 + 3_600, 120), (7_200, 160), (10_800, 30_160)];
        assert_eq!(steps(&mut pacer, start, &played), [3_600, 3_600, 3_600, 3_600, 30_000 * 90]);
    }

    #[test]
    fn a_device_at_another_speed_than_it_was_told_is_followed() {
        let mut pacer = Pacer::default();
        let pictures: Vec<(u32, u64)> = (0..1_000).map(|n| (3_600 * n, 10 * u64::from(n))).collect();
        let out: i32 = steps(&mut pacer, Instant::now(), &pictures).iter().sum();
        assert!((i64::from(out) - 9_990 * 90).abs() <= 92_000, "{out}");
    }

    #[test]
    fn sound_goes_with_the_picture() {
        let mut pacer = Pacer::default();
        let now = Instant::now();
        assert_eq!(pacer.sound(5), None);
        pacer.picture(1_000, now);
        pacer.leap();
        let out = pacer.picture(900_000, now + Duration::from_millis(40));
        assert_eq!(pacer.sound(900_720), Some(out.wrapping_add(720)));
        pacer.set_speed(2.0);
        pacer.picture(903_600, now + Duration::from_millis(60));
        assert_eq!(pacer.sound(903_600), None);
    }
}
