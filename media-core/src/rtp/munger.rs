//! Rewrites the sequence and time of forwarded packets, so that a subscriber sees one unbroken
//! stream whatever source or simulcast layer feeds it.
//!
//! Invariants: an outgoing number is given to one packet only; a packet dropped in order leaves
//! no gap; a packet lost or late before us leaves a gap that it still fits into; nothing from
//! before a switch is forwarded after it. Memory is bounded by [`MAX_RUNS`] and [`WINDOW`].

use std::collections::VecDeque;
use std::time::Instant;

/// Outgoing packets that can still be filled in late, or traced back for a NACK.
pub const WINDOW: u64 = 2048;
/// Runs remembered; a run ends at each dropped packet and each switch.
pub const MAX_RUNS: usize = 512;

/// The outgoing header fields of a forwarded packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    pub sequence: u16,
    pub timestamp: u32,
}

/// Where an outgoing packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Counts the switches: 1 for the first source.
    pub epoch: u32,
    /// Extended sequence number at the source of that epoch.
    pub seq: u64,
    /// Outgoing time is source time plus this, wrapping.
    pub timestamp_offset: u32,
    /// The extended outgoing number, as [`Munger::next_out`] counts.
    pub out: u64,
}

/// One outgoing stream. Numbers of sources are extended by [`super::seq::Extender`].
#[derive(Debug)]
pub struct Munger {
    clock_rate: u32,
    epoch: u32,
    /// The lowest and the next expected number of the current source.
    floor: u64,
    next_src: u64,
    next_out: u64,
    timestamp_offset: u32,
    last: Option<(u32, Instant)>,
    first_timestamp: u32,
    runs: VecDeque<Run>,
    forwarded: [u64; (WINDOW / 64) as usize],
}

impl Munger {
    /// The source counts its times otherwise from its next switch on.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        self.clock_rate = clock_rate;
    }

    /// `clock_rate` in Hz. The first packet leaves with these numbers (best chosen at random,
    /// the sequence below 32,768 so that no SRTP rollover comes early).
    pub fn new(clock_rate: u32, first_sequence: u16, first_timestamp: u32) -> Self {
        Self {
            clock_rate,
            epoch: 0,
            floor: 0,
            next_src: 0,
            // One cycle up, so that numbers below the first exist.
            next_out: (1 << 16) + u64::from(first_sequence),
            timestamp_offset: 0,
            last: None,
            first_timestamp,
            runs: VecDeque::new(),
            forwarded: [0; (WINDOW / 64) as usize],
        }
    }

    /// Makes the source of this packet the current one; the packet itself is mapped next.
    ///
    /// Outgoing time advances by the time passed since the last forwarded packet, and by at least
    /// `ts_gap` ticks (one tick if that is 0).
    pub fn switch_source(&mut self, seq: u64, timestamp: u32, now: Instant, ts_gap: u32) {
        self.switch_source_at(seq, timestamp, None, now, ts_gap);
    }

    /// As [`Self::switch_source`], where the outgoing time of this packet is known from sender reports
    /// of both sources: it holds if it is after what was sent, and within two seconds of the estimate.
    pub fn switch_source_at(&mut self, seq: u64, timestamp: u32, known: Option<u32>, now: Instant, ts_gap: u32) {
        let first = match self.last {
            None => self.first_timestamp,
            Some((last, at)) => {
                let passed = now.saturating_duration_since(at).as_micros();
                let ticks = passed * u128::from(self.clock_rate) / 1_000_000;
                let estimate = last.wrapping_add((ticks as u32).max(ts_gap).max(1));
                let holds = |known: &u32| {
                    let off = known.wrapping_sub(estimate) as i32;
                    known.wrapping_sub(last) as i32 > 0 && off.unsigned_abs() < 2 * self.clock_rate
                };
                known.filter(holds).unwrap_or(estimate)
            }
        };
        self.timestamp_offset = first.wrapping_sub(timestamp);
        self.epoch = self.epoch.wrapping_add(1);
        self.floor = seq;
        self.next_src = seq;
    }

    /// The outgoing numbers of a packet of the current source, or `None` if it must not be
    /// forwarded: no source yet, from before the switch, dropped before, forwarded before, too old.
    pub fn map(&mut self, seq: u64, timestamp: u32, now: Instant) -> Option<Mapped> {
        if self.epoch == 0 || seq < self.floor {
            return None;
        }
        let out = if seq >= self.next_src {
            self.reserve_until(seq);
            self.append(seq, 1);
            self.next_out - 1
        } else {
            let out = self.run_of(seq)?;
            if out + WINDOW < self.next_out || self.is_forwarded(out) {
                return None;
            }
            out
        };
        self.set_forwarded(out, true);
        let timestamp = timestamp.wrapping_add(self.timestamp_offset);
        if self.last.is_none_or(|(last, _)| timestamp.wrapping_sub(last) as i32 >= 0) {
            self.last = Some((timestamp, now));
        }
        Some(Mapped { sequence: out as u16, timestamp })
    }

    /// Leaves a packet of the current source out. Packets behind it move up, unless some were
    /// forwarded already; then the gap stays.
    pub fn drop_packet(&mut self, seq: u64) {
        if self.epoch > 0 && seq >= self.next_src {
            self.reserve_until(seq);
            self.next_src = seq + 1;
        }
    }

    /// Where a forwarded packet came from, for the subscriber's NACK.
    pub fn origin(&self, sequence: u16) -> Option<Origin> {
        let back = u64::from((self.next_out as u16).wrapping_sub(sequence));
        if back == 0 || back > WINDOW {
            return None;
        }
        let out = self.next_out.checked_sub(back)?;
        let run = self.runs.get(self.runs.partition_point(|run| run.out <= out).checked_sub(1)?)?;
        let offset = out.checked_sub(run.out).filter(|offset| *offset < run.len)?;
        self.is_forwarded(out).then_some(Origin {
            epoch: run.epoch,
            seq: run.src + offset,
            timestamp_offset: run.timestamp_offset,
            out,
        })
    }

    /// The extended source number behind an outgoing one, if it is of the current source.
    pub fn source_seq(&self, sequence: u16) -> Option<u64> {
        self.origin(sequence).filter(|origin| origin.epoch == self.epoch).map(|origin| origin.seq)
    }

    /// The extended number that the next packet in order leaves with.
    pub fn next_out(&self) -> u64 {
        self.next_out
    }

    /// Switches so far.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What to add (wrapping) to a time of the current source, for outgoing sender reports.
    pub fn timestamp_offset(&self) -> u32 {
        self.timestamp_offset
    }

    /// The highest outgoing time and when it was sent.
    pub fn last_sent(&self) -> Option<(u32, Instant)> {
        self.last
    }

    /// Keeps numbers for packets that are missing between the last one and `seq`. A gap as long
    /// as the window is not kept: nobody could fill it.
    fn reserve_until(&mut self, seq: u64) {
        let missing = seq - self.next_src;
        if missing > 0 && missing < WINDOW {
            self.append(self.next_src, missing);
        } else {
            self.next_src = seq;
        }
    }

    /// Gives the next `len` outgoing numbers to the source numbers from `src` on.
    fn append(&mut self, src: u64, len: u64) {
        let (epoch, timestamp_offset, out) = (self.epoch, self.timestamp_offset, self.next_out);
        match self.runs.back_mut() {
            Some(run) if run.epoch == epoch && run.src + run.len == src => run.len += len,
            _ => {
                if self.runs.len() == MAX_RUNS {
                    self.runs.pop_front();
                }
                self.runs.push_back(Run { epoch, src, out, len, timestamp_offset });
            }
        }
        for out in out..out + len {
            self.set_forwarded(out, false);
        }
        self.next_src = src + len;
        self.next_out += len;
        while self.runs.front().is_some_and(|run| run.out + run.len + WINDOW < self.next_out) {
            self.runs.pop_front();
        }
    }

    /// The outgoing number kept for a source number of the current source.
    fn run_of(&self, seq: u64) -> Option<u64> {
        let key = (self.epoch, seq);
        let after = self.runs.partition_point(|run| (run.epoch, run.src) <= key);
        let run = self.runs.get(after.checked_sub(1)?).filter(|run| run.epoch == self.epoch)?;
        let offset = seq.checked_sub(run.src).filter(|offset| *offset < run.len)?;
        Some(run.out + offset)
    }

    fn is_forwarded(&self, out: u64) -> bool {
        self.forwarded.get((out % WINDOW / 64) as usize).is_some_and(|w| w >> (out % 64) & 1 == 1)
    }

    fn set_forwarded(&mut self, out: u64, value: bool) {
        if let Some(word) = self.forwarded.get_mut((out % WINDOW / 64) as usize) {
            *word = *word & !(1 << (out % 64)) | u64::from(value) << (out % 64);
        }
    }
}

/// Source numbers without a dropped one between them; outgoing numbers rise along with them.
#[derive(Debug)]
struct Run {
    epoch: u32,
    src: u64,
    out: u64,
    len: u64,
    timestamp_offset: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::Duration;

    fn started(now: Instant) -> Munger {
        let mut munger = Munger::new(90_000, 1000, 5000);
        munger.switch_source(70_000, 100, now, 0);
        munger
    }

    fn sequence(munger: &mut Munger, seq: u64, now: Instant) -> Option<u16> {
        munger.map(seq, 100, now).map(|mapped| mapped.sequence)
    }

    #[test]
    fn nothing_leaves_before_a_source_is_chosen() {
        let now = Instant::now();
        assert_eq!(Munger::new(90_000, 0, 0).map(1, 1, now), None);
    }

    #[test]
    fn numbers_go_on_across_a_switch() {
        let now = Instant::now();
        let mut munger = started(now);
        assert_eq!(munger.map(70_000, 100, now), Some(Mapped { sequence: 1000, timestamp: 5000 }));
        assert_eq!(munger.map(70_001, 3100, now), Some(Mapped { sequence: 1001, timestamp: 8000 }));
        let later = now + Duration::from_millis(100);
        munger.switch_source(5, 77, later, 3000);
        assert_eq!(munger.map(4, 70, later), None);
        assert_eq!(munger.map(5, 77, later), Some(Mapped { sequence: 1002, timestamp: 17_000 }));
        munger.switch_source(900, 0, later, 3000);
        assert_eq!(munger.map(900, 0, later), Some(Mapped { sequence: 1003, timestamp: 20_000 }));
    }

    #[test]
    fn a_known_time_holds_across_a_switch_unless_it_cannot_be() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_millis(100));
        for (known, first) in [(13_100, 13_100), (17_500, 17_500), (7_999, 17_000), (8_000, 17_000), (400_000, 17_000)]
        {
            let mut munger = started(now);
            munger.map(70_000, 100, now);
            munger.map(70_001, 3100, now);
            munger.switch_source_at(5, 77, Some(known), now + Duration::from_millis(100), 3000);
            assert_eq!(munger.map(5, 77, later), Some(Mapped { sequence: 1002, timestamp: first }), "{known}");
        }
    }

    #[test]
    fn a_dropped_packet_leaves_no_gap_and_stays_dropped() {
        let now = Instant::now();
        let mut munger = started(now);
        assert_eq!(sequence(&mut munger, 70_000, now), Some(1000));
        munger.drop_packet(70_001);
        assert_eq!(sequence(&mut munger, 70_002, now), Some(1001));
        assert_eq!(sequence(&mut munger, 70_001, now), None);
        assert_eq!(munger.source_seq(1001), Some(70_002));
    }

    #[test]
    fn a_late_packet_fits_into_its_gap_once() {
        let now = Instant::now();
        let mut munger = started(now);
        sequence(&mut munger, 70_000, now);
        munger.drop_packet(70_002);
        assert_eq!(sequence(&mut munger, 70_004, now), Some(1003));
        assert_eq!(munger.source_seq(1001), None);
        assert_eq!(sequence(&mut munger, 70_003, now), Some(1002));
        assert_eq!(sequence(&mut munger, 70_001, now), Some(1001));
        assert_eq!(sequence(&mut munger, 70_001, now), None);
        assert_eq!(munger.source_seq(1001), Some(70_001));
    }

    #[test]
    fn a_nack_after_a_switch_is_traced_to_the_earlier_source() {
        let now = Instant::now();
        let mut munger = started(now);
        sequence(&mut munger, 70_000, now);
        munger.switch_source(5, 0, now, 1);
        sequence(&mut munger, 5, now);
        let origin = munger.origin(1000).unwrap();
        assert_eq!((origin.epoch, origin.seq, origin.timestamp_offset), (1, 70_000, 4900));
        assert_eq!(munger.source_seq(1000), None);
        assert_eq!(munger.source_seq(1001), Some(5));
        assert_eq!(munger.origin(1002), None);
        assert_eq!(munger.origin(999), None);
    }

    #[test]
    fn a_gap_longer_than_the_window_is_closed() {
        let now = Instant::now();
        let mut munger = started(now);
        sequence(&mut munger, 70_000, now);
        assert_eq!(sequence(&mut munger, 70_000 + WINDOW + 1, now), Some(1001));
        assert_eq!(sequence(&mut munger, 70_001, now), None);
    }

    #[test]
    fn a_gap_a_window_later_can_still_be_filled() {
        let now = Instant::now();
        let mut munger = started(now);
        for seq in 70_000..70_000 + WINDOW {
            assert!(sequence(&mut munger, seq, now).is_some());
        }
        let late = 70_000 + WINDOW;
        assert!(sequence(&mut munger, late + 1, now).is_some());
        assert_eq!(munger.source_seq((1000 + WINDOW) as u16), None);
        assert!(sequence(&mut munger, late, now).is_some());
        assert_eq!(sequence(&mut munger, 70_001, now), None, "too old");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Drop(u64),
        Map(u64),
        Switch(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            12 => (0u64..60).prop_map(Step::Map),
            4 => (0u64..60).prop_map(Step::Drop),
            1 => (0u64..100_000).prop_map(Step::Switch),
        ]
    }

    proptest! {
        #[test]
        fn outgoing_numbers_are_unique_ordered_and_traceable(
            first: u16, steps in proptest::collection::vec(step(), 1..400),
        ) {
            let now = Instant::now();
            let mut munger = Munger::new(90_000, first, 0);
            munger.switch_source(1000, 0, now, 0);
            let (mut base, mut epoch) = (1000u64, 1u32);
            let mut sent: HashMap<u16, (u32, u64)> = HashMap::new();
            for (at, step) in steps.into_iter().enumerate() {
                // The source moves on slowly, so steps come early, late, and repeated.
                let head = base + at as u64 / 2;
                match step {
                    Step::Drop(ahead) => munger.drop_packet(head + ahead / 3),
                    Step::Map(ahead) => {
                        let seq = head + ahead / 3;
                        if let Some(mapped) = munger.map(seq, 0, now) {
                            prop_assert_eq!(sent.insert(mapped.sequence, (epoch, seq)), None);
                            for (&other, &(e, s)) in &sent {
                                let ahead = mapped.sequence.wrapping_sub(other) as i16 > 0;
                                prop_assert_eq!(ahead, (epoch, seq) > (e, s));
                            }
                        }
                    }
                    Step::Switch(to) => {
                        munger.switch_source(to, 0, now, 0);
                        base = to.saturating_sub(at as u64 / 2);
                        epoch += 1;
                    }
                }
            }
            for (sequence, (epoch, seq)) in sent {
                let origin = munger.origin(sequence).unwrap();
                prop_assert_eq!((origin.epoch, origin.seq), (epoch, seq));
            }
        }

        #[test]
        fn any_numbers_keep_the_tables_bounded(seqs in proptest::collection::vec((any::<u64>(), any::<bool>()), 1..200)) {
            let now = Instant::now();
            let mut munger = Munger::new(48_000, 0, 0);
            munger.switch_source(0, 0, now, 0);
            for (seq, forward) in seqs {
                let seq = seq % (1 << 48);
                if forward { munger.map(seq, 0, now); } else { munger.drop_packet(seq); }
                prop_assert!(munger.runs.len() <= MAX_RUNS);
            }
        }
    }
}
