//! One stream's RTP clock on room time.

use super::estimator::{ClockEstimator, Reading};
use super::{SECOND, ticks_to_ns};

/// RTP time and arrival that move apart by more than this mean that the clock began anew, ns.
const JUMP: i64 = 5 * SECOND;
/// By a report's word a packet is not captured later after it arrived than this, ns, …
const AHEAD: i64 = SECOND / 2;
/// … and no longer before it did: encoders and the device's own buffers.
const BEHIND: i64 = 5 * SECOND;
/// Reports whose clocks have moved apart by more than this say that the device's clock was set, ns.
const WITNESS: i64 = SECOND / 10;
/// After so long without a report the last one is no guide any more, ns: 200 ppm have made 12 ms of it.
const STALE: i64 = 60 * SECOND;

/// When packets of one RTP stream were captured, on room time.
///
/// By sender reports (RFC 3550 6.4.1) as soon as there is one that can be true: the moment the device
/// names, on room time by the device's [`ClockEstimator`], with the bound given there. Until then, and
/// where reports lie, by arrival: the quickest packet of the last 20 s to 40 s stands for all, so
/// what is told lies between the moment of capture plus the least way here, and the arrival.
#[derive(Clone, Debug)]
pub struct StreamClock {
    rate: u32,
    arrival: ClockEstimator,
    /// RTP time and arrival of the newest packet.
    last: Option<(u64, i64)>,
    /// The newest report that was believed, as the device gave it: RTP time, and its own clock.
    said: Option<(u64, i64)>,
    /// One since then whose two times are not that far apart: believed when the next one agrees.
    odd: Option<(u64, i64)>,
    /// Steps of the device's clock until the report in `said`.
    steps: u32,
    /// RTP time and room time by the newest report that was believed.
    point: Option<(u64, i64)>,
    /// Reports refused since one was believed.
    refused: u32,
}

impl StreamClock {
    /// `rate`: ticks in a second.
    pub fn new(rate: u32) -> Self {
        let arrival = ClockEstimator::default();
        Self { rate: rate.max(1), arrival, last: None, said: None, odd: None, steps: 0, point: None, refused: 0 }
    }

    /// A packet with RTP time `time` arrived at room time `room`. True when the clock began anew:
    /// what was known of it is forgotten.
    pub fn packet(&mut self, time: u64, room: i64) -> bool {
        let jumped = self.last.is_some_and(|(last, arrived)| {
            let moved = self.between(last, time);
            moved.saturating_sub(room.saturating_sub(arrived)).saturating_abs() > JUMP
        });
        if jumped {
            *self = Self::new(self.rate);
        }
        self.last = Some((time, room));
        self.arrival.note(self.ns(time), room);
        jumped
    }

    /// A report came at room time `room`: RTP time `time` was when the device's clock said `device`, ns.
    pub fn report(&mut self, time: u64, device: i64, room: i64, estimator: &mut ClockEstimator) -> Reading {
        let mut stepped = false;
        if let Some(said) = self.said
            && let Some(known) = estimator.offset()
        {
            let forward = self.apart(said, (time, device));
            let late = room.saturating_sub(device).saturating_add(forward).saturating_sub(known);
            let likely = (-WITNESS..=STEP_DELAY).contains(&late);
            // Its other streams' reports may have told of it already.
            let told = estimator.steps() != self.steps
                && late.saturating_sub(forward).saturating_abs() <= late.saturating_abs();
            if forward.saturating_abs() > WITNESS && !told {
                if likely {
                    estimator.stepped_by(forward);
                    stepped = true;
                } else if self.odd.is_none_or(|odd| self.apart(odd, (time, device)).saturating_abs() > WITNESS) {
                    self.odd = Some((time, device));
                    return self.refuse();
                }
            }
        }
        (self.said, self.odd, self.steps) = (Some((time, device)), None, estimator.steps());
        let reading = estimator.note(device, room);
        if reading == Reading::Doubtful {
            return reading;
        }
        let Some(at) = estimator.to_room(device) else { return Reading::Doubtful };
        if let Some(arrival) = self.arrival.to_room(self.ns(time))
            && !(-BEHIND..=AHEAD).contains(&at.saturating_sub(arrival))
        {
            return self.refuse();
        }
        self.refused = 0;
        self.point = Some((time, at));
        if stepped { Reading::Stepped } else { reading }
    }

    fn refuse(&mut self) -> Reading {
        self.refused = self.refused.saturating_add(1);
        if self.refused > 1 {
            self.point = None;
        }
        Reading::Doubtful
    }

    /// By how much more the device's clock went on than its RTP clock did, ns.
    fn apart(&self, before: (u64, i64), after: (u64, i64)) -> i64 {
        after.1.saturating_sub(before.1).saturating_sub(self.between(before.0, after.0))
    }

    /// Room time of an RTP time, ns; `None` before the first packet or report.
    pub fn room_ns(&self, time: u64) -> Option<i64> {
        if let Some((at, room)) = self.point {
            let after = self.between(at, time);
            if after < STALE {
                return Some(room.saturating_add(after));
            }
        }
        self.arrival.to_room(self.ns(time))
    }

    /// RTP time and room time by the newest report that was believed.
    pub fn point(&self) -> Option<(u64, i64)> {
        self.point
    }

    /// Whether what the device reports of its clock is not believed at present.
    pub fn is_doubted(&self) -> bool {
        self.refused > 1
    }

    fn ns(&self, time: u64) -> i64 {
        ticks_to_ns(i64::try_from(time).unwrap_or(i64::MAX), self.rate)
    }

    /// From `then` to `time`, ns.
    fn between(&self, then: u64, time: u64) -> i64 {
        ticks_to_ns(time.wrapping_sub(then) as i64, self.rate)
    }
}

/// Later than the quickest report by this much a report still proves a step, ns.
const STEP_DELAY: i64 = SECOND / 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = SECOND;
    const MS: i64 = 1_000_000;
    const HOUR: i64 = 3600 * S;

    /// A device with a stream of pictures and one of sound, on a way that delays.
    struct Device {
        video: StreamClock,
        audio: StreamClock,
        estimator: ClockEstimator,
        /// Its clock less true time.
        offset: i64,
        /// Its clocks run so much too fast, parts in a million.
        ppm: i64,
        worst: i64,
        seed: u64,
    }

    impl Device {
        fn new(offset: i64, ppm: i64) -> Self {
            Self {
                video: StreamClock::new(90_000),
                audio: StreamClock::new(48_000),
                estimator: ClockEstimator::default(),
                offset,
                ppm,
                worst: 0,
                seed: 1,
            }
        }

        fn own(&self, at: i64) -> i64 {
            at + at / 1_000_000 * self.ppm
        }

        /// 5 ms to 45 ms.
        fn way(&mut self) -> i64 {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            5 * MS + ((self.seed >> 33) % 40) as i64 * MS
        }

        /// Lives from second to second: 25 pictures, encoded for 60 ms, 50 frames of sound, a
        /// report of each every second. `settled`: from when on the error counts.
        fn live(&mut self, from: i64, to: i64, settled: i64) -> Vec<Reading> {
            let mut readings = Vec::new();
            for frame in from * 50..to * 50 {
                let at = frame * 20 * MS;
                let (video, audio) = (self.ticks(at, 90_000), self.ticks(at, 48_000));
                if frame % 2 == 0 {
                    let arrival = at + 60 * MS + self.way();
                    self.video.packet(video, arrival);
                }
                let arrival = at + 20 * MS + self.way();
                self.audio.packet(audio, arrival);
                if frame % 50 == 25 {
                    let device = self.own(at) + self.offset;
                    let room = at + self.way();
                    readings.push(self.video.report(video, device, room, &mut self.estimator));
                    let room = at + self.way();
                    self.audio.report(audio, device, room, &mut self.estimator);
                }
                if at >= settled * S {
                    let video = self.video.room_ns(video).unwrap();
                    let audio = self.audio.room_ns(audio).unwrap();
                    self.worst = self.worst.max((video - at).abs()).max((audio - at).abs());
                    assert!((video - audio).abs() <= 12 * MS, "lips {} ms off at {at}", (video - audio) / MS);
                }
            }
            readings
        }

        fn ticks(&self, at: i64, rate: i64) -> u64 {
            let own = i128::from(self.own(at)) * i128::from(rate) / i128::from(S);
            (1i64 << 33) as u64 + own as u64
        }
    }

    #[test]
    fn a_device_that_drifts_stays_within_the_bound() {
        for ppm in [-200, 0, 200] {
            let mut device = Device::new(77 * HOUR, ppm);
            device.live(0, 600, 10);
            // The least delay of 5 ms, and of what the least of twenty readings still has too much; 8 ms drift.
            assert!(device.worst <= 30 * MS, "{ppm} ppm: {} ms", device.worst / MS);
        }
    }

    #[test]
    fn a_device_whose_clock_is_set_is_followed_with_the_next_report() {
        for step in [-HOUR, HOUR, -S / 2, S / 2, 150 * MS, -150 * MS] {
            let mut device = Device::new(0, 0);
            device.live(0, 30, 10);
            device.offset += step;
            let readings = device.live(30, 60, 31);
            assert_eq!(readings.first(), Some(&Reading::Stepped), "{step}");
            assert!(readings[1..].iter().all(|reading| *reading == Reading::Agrees), "{step}: {readings:?}");
            assert!(device.worst <= 30 * MS, "{step}: {} ms", device.worst / MS);
            assert_eq!(device.estimator.steps(), 1);
        }
    }

    #[test]
    fn reports_that_cannot_be_true_are_not_believed() {
        let mut device = Device::new(0, 0);
        device.live(0, 30, 10);
        // Its RTP times are another stream's.
        for second in 30..40 {
            device.video.report(12_345, second * S, second * S + 5 * MS, &mut device.estimator);
            let time = device.ticks(second * S, 90_000);
            device.video.packet(time, second * S + 65 * MS);
            let off = device.video.room_ns(time).unwrap() - second * S;
            assert!((0..=70 * MS).contains(&off), "{} ms", off / MS);
        }
        assert!(device.video.is_doubted() && !device.audio.is_doubted());
        let time = device.ticks(41 * S, 90_000);
        device.video.report(time, 41 * S, 41 * S + 5 * MS, &mut device.estimator);
        assert!(!device.video.is_doubted());
    }

    #[test]
    fn before_the_first_report_the_quickest_packet_counts() {
        let mut clock = StreamClock::new(90_000);
        assert_eq!(clock.room_ns(0), None);
        for (time, arrival) in [(0, 50), (3600, 60), (7200, 130)] {
            clock.packet(time, arrival * MS);
        }
        assert_eq!(clock.room_ns(9000), Some(120 * MS));
    }

    #[test]
    fn a_clock_that_begins_anew_is_noticed() {
        let mut clock = StreamClock::new(90_000);
        assert!(!clock.packet(1 << 40, 0));
        assert!(!clock.packet((1 << 40) + 90_000, S));
        assert!(clock.packet(5, S + 40 * MS));
        assert_eq!(clock.room_ns(5), Some(S + 40 * MS));
    }

    #[test]
    fn a_report_is_no_guide_for_ever() {
        let mut clock = StreamClock::new(90_000);
        let mut estimator = ClockEstimator::default();
        clock.report(0, 0, 5 * MS, &mut estimator);
        for second in 0..100 {
            clock.packet(second * 90_000, second as i64 * S + 65 * MS);
        }
        assert_eq!(clock.room_ns(90_000), Some(S + 5 * MS));
        assert_eq!(clock.room_ns(99 * 90_000), Some(99 * S + 65 * MS));
    }

    proptest! {
        /// Whatever a device says, nothing overflows, and room time stays near arrival.
        #[test]
        fn no_report_takes_a_stream_far_from_its_arrival(
            reports in prop::collection::vec((any::<u64>(), any::<i64>()), 1..50),
        ) {
            let (mut clock, mut estimator) = (StreamClock::new(90_000), ClockEstimator::default());
            for (second, (time, device)) in reports.into_iter().enumerate() {
                let (at, ticks) = (second as i64 * S, (1 << 33) + second as u64 * 90_000);
                clock.packet(ticks, at);
                clock.report(time, device, at, &mut estimator);
                let off = clock.room_ns(ticks).unwrap() - at;
                prop_assert!((-BEHIND - AHEAD..=BEHIND + AHEAD).contains(&off), "{off} ns");
            }
        }
    }
}
