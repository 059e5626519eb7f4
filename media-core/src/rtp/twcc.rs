//! Tells a sender when its packets arrived, so that it can estimate the bandwidth.
//!
//! Standard: draft-holmer-rmcat-transport-wide-cc-extensions-01. As libwebrtc does, a packet that
//! comes after it was reported lost is reported again, together with what followed it.
//!
//! Invariant: at most [`CAPACITY`] numbers are remembered, and one feedback covers at most
//! [`MAX_STATUSES`] of them, so that it fits a datagram.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rtcp::{Twcc, TwccPacket, write_twcc};
use super::seq::Extender;

/// Numbers remembered, reported or not.
pub const CAPACITY: usize = 4096;
/// Below 1,000 bytes at two bytes a delta.
pub const MAX_STATUSES: usize = 400;
/// Time between two feedbacks...
pub const INTERVAL: Duration = Duration::from_millis(50);
/// ...unless so many packets came before.
pub const MAX_PENDING: usize = 100;

/// Arrival times of one transport.
#[derive(Debug, Default)]
pub struct TwccReceiver {
    extender: Extender,
    epoch: Option<Instant>,
    /// Ticks of 250 µs since the epoch; the first is that of number `front`. The last is `Some`.
    arrivals: VecDeque<Option<u64>>,
    front: u64,
    /// The first number that the next feedback covers.
    start: u64,
    pending: usize,
    last_feedback: Option<Instant>,
    feedback_count: u8,
    reference_time: i32,
    scratch: Vec<TwccPacket>,
}

impl TwccReceiver {
    /// Notes a packet by its transport-wide sequence number.
    pub fn record(&mut self, seq: u16, arrival: Instant) {
        let epoch = *self.epoch.get_or_insert(arrival);
        let tick = (arrival.saturating_duration_since(epoch).as_micros() / 250) as u64;
        let extended = self.extender.extend(seq);
        let seq = extended.seq;
        if extended.restarted || self.arrivals.is_empty() {
            self.arrivals.clear();
            self.front = seq;
            self.start = seq;
        }
        let Some(at) = seq.checked_sub(self.front).and_then(|at| usize::try_from(at).ok()) else {
            return;
        };
        match self.arrivals.get_mut(at) {
            Some(Some(_)) => return,
            Some(slot) => *slot = Some(tick),
            None => {
                self.arrivals.resize(at, None);
                self.arrivals.push_back(Some(tick));
            }
        }
        self.start = self.start.min(seq);
        self.pending += 1;
        self.last_feedback.get_or_insert(arrival);
        self.trim(CAPACITY);
    }

    /// Appends one feedback to `out` if it is due. Call again until it returns false.
    pub fn poll(&mut self, now: Instant, media_ssrc: u32, sender_ssrc: u32, out: &mut Vec<u8>) -> bool {
        if self.pending < MAX_PENDING && self.poll_at().is_none_or(|due| now < due) {
            return false;
        }
        let mut packets = std::mem::take(&mut self.scratch);
        packets.clear();
        let mut last_tick = None;
        let skip = self.start.saturating_sub(self.front) as usize;
        for (seq, arrival) in (self.start..).zip(self.arrivals.iter().skip(skip)).take(MAX_STATUSES) {
            let mut delta_us = None;
            if let Some(tick) = *arrival {
                let last = *last_tick.get_or_insert_with(|| {
                    let reference = tick / TICKS_PER_REFERENCE;
                    self.reference_time = (reference as u32) as i32;
                    reference * TICKS_PER_REFERENCE
                });
                let delta = tick.wrapping_sub(last) as i64;
                if i16::try_from(delta).is_err() {
                    break;
                }
                last_tick = Some(tick);
                delta_us = Some(delta * 250);
            }
            packets.push(TwccPacket { seq: seq as u16, delta_us });
        }
        let feedback = Twcc {
            sender: sender_ssrc,
            media: media_ssrc,
            base_seq: self.start as u16,
            reference_time: self.reference_time,
            feedback_count: self.feedback_count,
            packets,
        };
        write_twcc(out, &feedback);
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.start += feedback.packets.len() as u64;
        self.scratch = feedback.packets;
        if self.start >= self.front + self.arrivals.len() as u64 {
            self.pending = 0;
            self.last_feedback = Some(now);
        }
        let reported = self.start.saturating_sub(self.front) as usize;
        self.trim(self.arrivals.len() - reported.min(self.arrivals.len()) + KEPT_AFTER_REPORT);
        true
    }

    /// When the next feedback is due at the latest; `None` with nothing to report.
    pub fn poll_at(&self) -> Option<Instant> {
        self.last_feedback.filter(|_| self.pending > 0).map(|at| at + INTERVAL)
    }

    fn trim(&mut self, len: usize) {
        let surplus = self.arrivals.len().saturating_sub(len);
        self.arrivals.drain(..surplus);
        self.front += surplus as u64;
        self.start = self.start.max(self.front);
    }
}

const TICKS_PER_REFERENCE: u64 = 256;
/// Numbers that a late packet may go back.
const KEPT_AFTER_REPORT: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::rtcp::{Rtcp, parse_compound};
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn feedback(receiver: &mut TwccReceiver, now: Instant) -> Option<Twcc> {
        let mut out = Vec::new();
        receiver.poll(now, 2, 1, &mut out).then(|| {
            assert!(out.len() < 1000);
            match parse_compound(&out).unwrap().remove(0) {
                Rtcp::Twcc(twcc) => twcc,
                other => panic!("{other:?}"),
            }
        })
    }

    #[test]
    fn arrivals_and_losses_are_reported_every_fifty_milliseconds() {
        let now = Instant::now();
        let mut receiver = TwccReceiver::default();
        assert_eq!(receiver.poll_at(), None);
        receiver.record(65_534, now);
        receiver.record(65_535, now + MS * 10);
        receiver.record(1, now + MS * 30);
        assert_eq!(feedback(&mut receiver, now + MS * 49), None);
        let twcc = feedback(&mut receiver, now + MS * 50).unwrap();
        assert_eq!((twcc.sender, twcc.media, twcc.base_seq, twcc.feedback_count), (1, 2, 65_534, 0));
        let deltas: Vec<_> = twcc.packets.iter().map(|p| p.delta_us).collect();
        assert_eq!(deltas, [Some(0), Some(10_000), None, Some(20_000)]);
        assert_eq!(feedback(&mut receiver, now + MS * 100), None);
        receiver.record(2, now + MS * 130);
        let twcc = feedback(&mut receiver, now + MS * 130).unwrap();
        assert_eq!((twcc.base_seq, twcc.feedback_count, twcc.reference_time), (2, 1, 2));
        assert_eq!(twcc.packets[0].delta_us, Some(2000));
    }

    #[test]
    fn a_late_packet_is_reported_again() {
        let now = Instant::now();
        let mut receiver = TwccReceiver::default();
        receiver.record(10, now);
        receiver.record(12, now);
        assert_eq!(feedback(&mut receiver, now + MS * 50).unwrap().packets.len(), 3);
        receiver.record(11, now + MS * 60);
        let twcc = feedback(&mut receiver, now + MS * 100).unwrap();
        assert_eq!(twcc.base_seq, 11);
        let deltas: Vec<_> = twcc.packets.iter().map(|p| p.delta_us).collect();
        assert_eq!(deltas, [Some(60_000), Some(-60_000)]);
    }

    #[test]
    fn a_silence_too_long_for_a_delta_starts_another_feedback() {
        let now = Instant::now();
        let mut receiver = TwccReceiver::default();
        receiver.record(1, now);
        receiver.record(2, now + Duration::from_secs(10));
        let later = now + Duration::from_secs(10);
        assert_eq!(feedback(&mut receiver, later).unwrap().packets.len(), 1);
        let second = feedback(&mut receiver, later).unwrap();
        assert_eq!((second.base_seq, second.reference_time), (2, 156));
        assert_eq!(feedback(&mut receiver, later), None);
    }

    #[test]
    fn many_packets_do_not_wait_for_the_interval() {
        let now = Instant::now();
        let mut receiver = TwccReceiver::default();
        (0..100).for_each(|seq| receiver.record(seq, now));
        assert_eq!(feedback(&mut receiver, now).unwrap().packets.len(), 100);
    }

    proptest! {
        #[test]
        fn every_packet_is_reported_at_its_time(
            start: u16, steps in proptest::collection::vec((0u16..40, 0u64..30), 1..200), poll_every in 1usize..40,
        ) {
            let base = Instant::now();
            let mut now = base;
            let mut receiver = TwccReceiver::default();
            let (mut arrived, mut reported) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
            for (at, (ahead, wait)) in steps.iter().enumerate() {
                now += MS * *wait as u32;
                let seq = start.wrapping_add(20 + at as u16 + ahead / 4);
                receiver.record(seq, now);
                arrived.entry(seq).or_insert((now - base).as_micros() as i64);
                if at % poll_every == 0 || at + 1 == steps.len() {
                    let due = if at + 1 == steps.len() { now + INTERVAL } else { now };
                    while let Some(twcc) = feedback(&mut receiver, due) {
                        let mut time = i64::from(twcc.reference_time) * 64_000;
                        for packet in twcc.packets {
                            if let Some(delta) = packet.delta_us {
                                time += delta;
                                reported.insert(packet.seq, time);
                            }
                        }
                    }
                }
            }
            let first = arrived.values().min().copied().unwrap_or(0);
            let expected: Vec<_> = arrived.into_iter().map(|(seq, at)| (seq, at - first)).collect();
            // Those before the first packet of all have no place in any feedback.
            let expected: Vec<_> = expected.into_iter().filter(|(seq, _)| reported.contains_key(seq)
                || seq.wrapping_sub(start) >= 20 + steps[0].0 / 4).collect();
            prop_assert_eq!(expected, reported.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_numbers_keep_it_bounded(seqs in proptest::collection::vec((any::<u16>(), 0u64..20_000), 1..200)) {
            let mut now = Instant::now();
            let mut receiver = TwccReceiver::default();
            for (seq, wait) in seqs {
                now += MS * wait as u32;
                receiver.record(seq, now);
                prop_assert!(receiver.arrivals.len() <= CAPACITY);
                if wait % 3 == 0 {
                    let mut rounds = 0;
                    while feedback(&mut receiver, now).is_some() {
                        rounds += 1;
                        prop_assert!(rounds <= CAPACITY);
                    }
                }
            }
        }
    }
}
