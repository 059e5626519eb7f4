//! Finds lost packets of a received stream and says when to ask for them (RFC 4585 6.2.1).
//!
//! Invariant: at most [`NackConfig::max_outstanding`] packets are being asked for, each at most
//! `max_tries` times and for at most `max_age`; beyond that a keyframe is the cheaper repair.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

#[derive(Debug, Clone, Copy)]
pub struct NackConfig {
    /// Or four round trips, if that is longer.
    pub max_age: Duration,
    pub max_outstanding: usize,
    pub max_tries: u8,
    /// The least time between the first two requests for one packet; the round trip if that is longer.
    /// Then twice, then four times as long.
    pub min_interval: Duration,
    /// A packet is only late, not lost, until this time has passed...
    pub reorder_delay: Duration,
    /// ...or this many later packets have come.
    pub reorder_packets: u64,
}

impl Default for NackConfig {
    fn default() -> Self {
        Self {
            max_age: Duration::from_millis(1000),
            max_outstanding: 1000,
            max_tries: 10,
            min_interval: Duration::from_millis(20),
            reorder_delay: Duration::from_millis(10),
            reorder_packets: 3,
        }
    }
}

/// No packet is asked for longer, however long the round trip.
const MOST_AGE: Duration = Duration::from_secs(3);

/// What a packet meant to the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first packet, or the next one, or one after a gap.
    InOrder,
    /// It filled a gap, `after` it was first asked for; `None` when it came by itself.
    Recovered { tries: u8, after: Option<Duration> },
    /// A duplicate, or one that was given up.
    Stale,
}

#[derive(Debug, Default)]
pub struct NackGenerator {
    config: NackConfig,
    highest: Option<u64>,
    /// Rising by `seq`.
    missing: VecDeque<Missing>,
    overflowed: bool,
    abandoned: u64,
}

impl NackGenerator {
    pub fn new(config: NackConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Tells of a received packet, retransmitted ones under their original number.
    pub fn on_packet(&mut self, seq: u64, now: Instant) -> Arrival {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return Arrival::InOrder;
        };
        if seq <= highest {
            return match self.missing.binary_search_by_key(&seq, |missing| missing.seq) {
                Ok(at) => {
                    let found = self.missing.remove(at);
                    let tries = found.as_ref().map_or(0, |missing| missing.tries);
                    let first = found.and_then(|missing| missing.first_asked);
                    Arrival::Recovered { tries, after: first.map(|at| now.saturating_duration_since(at)) }
                }
                Err(_) => Arrival::Stale,
            };
        }
        self.highest = Some(seq);
        let lost = seq - highest - 1;
        if lost + self.missing.len() as u64 > self.config.max_outstanding as u64 {
            self.abandoned = self.abandoned.saturating_add(lost + self.missing.len() as u64);
            self.missing.clear();
            self.overflowed = true;
        } else {
            let new = |seq| Missing { seq, since: now, first_asked: None, asked: None, tries: 0 };
            self.missing.extend((highest + 1..seq).map(new));
        }
        Arrival::InOrder
    }

    /// The packets to ask for now, at the round-trip time `rtt`; they count as asked for.
    pub fn poll(&mut self, now: Instant, rtt: Duration) -> SmallVec<[u16; 16]> {
        let mut due = SmallVec::new();
        let Self { config, missing, abandoned, highest, overflowed } = self;
        let highest = highest.unwrap_or(0);
        let interval = rtt.max(config.min_interval);
        let max_age = config.max_age.max((rtt * 4).min(MOST_AGE));
        missing.retain_mut(|packet| {
            let age = now.saturating_duration_since(packet.since);
            let ready = match packet.asked {
                None => age >= config.reorder_delay || highest - packet.seq >= config.reorder_packets,
                // Rarer each time: the round trip may be longer than is known.
                Some(at) => now.saturating_duration_since(at) >= interval * (1 << (packet.tries.max(1) - 1).min(2)),
            };
            if age > max_age || (ready && packet.tries >= config.max_tries) {
                *abandoned = abandoned.saturating_add(1);
                *overflowed = true;
                return false;
            }
            if ready {
                packet.asked = Some(now);
                packet.first_asked.get_or_insert(now);
                packet.tries += 1;
                due.push(packet.seq as u16);
            }
            true
        });
        due
    }

    /// True once after too many packets were missing, or one was asked for in vain: ask for a keyframe instead.
    pub fn overflowed(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }

    /// Whether a packet is missing and has not been given up.
    pub fn is_waiting(&self, seq: u64) -> bool {
        self.missing.binary_search_by_key(&seq, |missing| missing.seq).is_ok()
    }

    /// Gives up what has been missing for `patience`, where nobody can be asked.
    pub fn expire(&mut self, now: Instant, patience: Duration) {
        while self.missing.front().is_some_and(|packet| now.saturating_duration_since(packet.since) >= patience) {
            self.missing.pop_front();
            self.abandoned = self.abandoned.saturating_add(1);
        }
    }

    /// Packets given up so far.
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Packets being waited for.
    pub fn outstanding(&self) -> usize {
        self.missing.len()
    }

    /// Forgets packets before `seq`, as when a keyframe starting there has arrived whole.
    pub fn forget_before(&mut self, seq: u64) {
        while self.missing.front().is_some_and(|missing| missing.seq < seq) {
            self.missing.pop_front();
        }
    }

    /// Starts anew with the next packet, after a restart of the source.
    pub fn reset(&mut self) {
        self.highest = None;
        self.missing.clear();
    }
}

#[derive(Debug)]
struct Missing {
    seq: u64,
    since: Instant,
    first_asked: Option<Instant>,
    asked: Option<Instant>,
    tries: u8,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RTT: Duration = Duration::from_millis(40);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn reordering_alone_asks_for_nothing() {
        let now = Instant::now();
        let mut nack = NackGenerator::default();
        nack.on_packet(1, now);
        nack.on_packet(3, now);
        assert!(nack.poll(now, RTT).is_empty());
        assert_eq!(nack.on_packet(2, now), Arrival::Recovered { tries: 0, after: None });
        assert!(nack.poll(now + MS * 50, RTT).is_empty());
        assert_eq!(nack.on_packet(2, now), Arrival::Stale);
    }

    #[test]
    fn what_is_given_up_calls_for_a_keyframe_once() {
        let now = Instant::now();
        let mut nack = NackGenerator::default();
        nack.on_packet(1, now);
        nack.on_packet(3, now);
        assert_eq!(nack.poll(now + MS * 10, RTT)[..], [2]);
        assert!(!nack.overflowed());
        assert!(nack.poll(now + MS * 1_100, RTT).is_empty());
        assert_eq!((nack.overflowed(), nack.overflowed(), nack.abandoned()), (true, false, 1));
    }

    #[test]
    fn a_lost_packet_is_asked_for_once_a_round_trip_until_it_comes() {
        let now = Instant::now();
        let mut nack = NackGenerator::default();
        nack.on_packet(65_535, now);
        nack.on_packet(65_538, now);
        assert_eq!(nack.poll(now + MS * 10, RTT).as_slice(), [0, 1]);
        assert!(nack.poll(now + MS * 30, RTT).is_empty());
        assert_eq!(nack.on_packet(65_536, now + MS * 55), Arrival::Recovered { tries: 1, after: Some(MS * 45) });
        assert_eq!(nack.poll(now + MS * 50, RTT).as_slice(), [1]);
    }

    #[test]
    fn three_later_packets_prove_a_loss_at_once() {
        let now = Instant::now();
        let mut nack = NackGenerator::default();
        for seq in [1, 3, 4, 5] {
            nack.on_packet(seq, now);
        }
        assert_eq!(nack.poll(now, RTT).as_slice(), [2]);
    }

    #[test]
    fn a_packet_is_given_up_after_its_tries_or_its_age() {
        let mut now = Instant::now();
        let mut nack = NackGenerator::default();
        nack.on_packet(1, now);
        nack.on_packet(3, now);
        let mut asked = 0;
        for _ in 0..100 {
            now += RTT;
            asked += nack.poll(now, RTT).len();
        }
        assert_eq!((asked, nack.outstanding(), nack.abandoned()), (8, 0, 1));
        nack.on_packet(5, now);
        assert!(nack.poll(now + MS * 1001, RTT).is_empty());
        assert_eq!(nack.abandoned(), 2);
    }

    #[test]
    fn too_many_lost_packets_ask_for_a_keyframe_once() {
        let now = Instant::now();
        let mut nack = NackGenerator::default();
        nack.on_packet(1, now);
        nack.on_packet(1002, now);
        assert_eq!((nack.outstanding(), nack.overflowed()), (1000, false));
        nack.on_packet(1004, now);
        assert_eq!(nack.outstanding(), 0);
        assert!(nack.overflowed());
        assert!(!nack.overflowed());
        nack.on_packet(1006, now);
        assert_eq!(nack.poll(now + MS * 10, RTT).as_slice(), [1005u64 as u16]);
    }

    proptest! {
        #[test]
        fn only_missing_packets_are_asked_for(
            steps in proptest::collection::vec((0u64..500, 0u64..30), 1..300), rtt in 0u64..200,
        ) {
            let mut now = Instant::now();
            let mut nack = NackGenerator::new(NackConfig { max_outstanding: 50, ..NackConfig::default() });
            let mut seen = std::collections::HashSet::new();
            for (seq, wait) in steps {
                now += MS * wait as u32;
                nack.on_packet(seq, now);
                seen.insert(seq);
                prop_assert!(nack.outstanding() <= 50);
                for asked in nack.poll(now, MS * rtt as u32) {
                    prop_assert!(!seen.contains(&u64::from(asked)));
                }
            }
        }
    }
}
