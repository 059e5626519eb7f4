//! Sequence numbers and RTP times that never wrap.
//!
//! Standard: RFC 3550 A.1 (`MAX_DROPOUT` 3000). Unlike A.1 one packet is enough for a restart,
//! because a forwarder cannot hold the packet back; the restart is reported instead.
//!
//! Invariant: the low bits of an extended number are the number on the wire, and no packet of a
//! restarted source gets a number that a packet before the restart had.

/// A jump of more than this many packets, either way, is a restart of the source.
pub const MAX_JUMP: u64 = 3000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    pub seq: u64,
    /// The source started anew; what was known of its earlier packets is void.
    pub restarted: bool,
}

/// Extends the 16-bit sequence numbers of one source. Starts one cycle up, so that packets
/// reordered before the first one have room.
#[derive(Debug, Clone, Default)]
pub struct Extender {
    highest: Option<u64>,
}

impl Extender {
    pub fn extend(&mut self, seq: u16) -> Extended {
        let Some(highest) = self.highest else {
            let seq = CYCLE + u64::from(seq);
            self.highest = Some(seq);
            return Extended { seq, restarted: false };
        };
        let step = i64::from(seq.wrapping_sub(highest as u16) as i16);
        let restarted = step.unsigned_abs() > MAX_JUMP;
        let extended = if restarted {
            // The next number with these low bits that is above all numbers given so far.
            highest + u64::from(seq.wrapping_sub(highest as u16))
        } else {
            highest.saturating_add_signed(step)
        };
        self.highest = Some(highest.max(extended));
        Extended { seq: extended, restarted }
    }

    /// The number of a packet that is sent again: at or below the highest, which it does not move.
    /// `None` when it is so old that nobody can have asked for it.
    pub fn recall(&self, seq: u16) -> Option<u64> {
        let highest = self.highest?;
        let back = u64::from((highest as u16).wrapping_sub(seq));
        highest.checked_sub(back).filter(|_| back <= MAX_JUMP)
    }

    /// A source that is known to start anew at `seq`: its numbers lie above all given so far.
    pub fn restart(&mut self, seq: u16) -> u64 {
        let Some(highest) = self.highest else { return self.extend(seq).seq };
        let next = highest + 1;
        let extended = next + u64::from(seq.wrapping_sub(next as u16));
        self.highest = Some(extended);
        extended
    }

    /// The highest number so far.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// Extends 32-bit RTP times: each is the one nearest to the highest so far.
#[derive(Debug, Clone, Default)]
pub struct Extender32 {
    highest: Option<u64>,
}

impl Extender32 {
    pub fn extend(&mut self, time: u32) -> u64 {
        let Some(highest) = self.highest else {
            let time = (1 << 32) + u64::from(time);
            self.highest = Some(time);
            return time;
        };
        let step = i64::from(time.wrapping_sub(highest as u32) as i32);
        let extended = highest.saturating_add_signed(step);
        self.highest = Some(highest.max(extended));
        extended
    }

    /// The same without taking note of it.
    pub fn near(&self, time: u32) -> u64 {
        self.clone().extend(time)
    }

    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

const CYCLE: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extend_all(seqs: &[u16]) -> Vec<u64> {
        let mut extender = Extender::default();
        seqs.iter().map(|seq| extender.extend(*seq).seq - CYCLE).collect()
    }

    #[test]
    fn numbers_go_on_after_a_wrap_and_late_packets_keep_theirs() {
        assert_eq!(extend_all(&[65534, 0, 65535, 1]), [65534, 65536, 65535, 65537]);
    }

    #[test]
    fn a_packet_from_before_the_first_has_room() {
        let mut extender = Extender::default();
        let first = extender.extend(0).seq;
        assert_eq!(extender.extend(65535).seq, first - 1);
    }

    #[test]
    fn a_packet_sent_again_keeps_its_number_and_moves_nothing() {
        let mut extender = Extender::default();
        let first = extender.extend(65_534).seq;
        extender.extend(3);
        assert_eq!(extender.recall(65_534), Some(first));
        assert_eq!(extender.recall(3), Some(first + 5));
        assert_eq!(extender.recall(4), None);
        assert_eq!(extender.extend(4).seq, first + 6);
        let again = extender.restart(4);
        assert!(again > first + 6 && again as u16 == 4);
    }

    #[test]
    fn a_big_jump_either_way_is_a_restart_above_everything_before() {
        for (from, to) in [(10, 3011), (5000, 1999), (100, 40_000)] {
            let mut extender = Extender::default();
            let before = extender.extend(from).seq;
            let after = extender.extend(to);
            assert!(after.restarted && after.seq > before, "{from} to {to}");
        }
        let mut extender = Extender::default();
        extender.extend(10);
        assert!(!extender.extend(3010).restarted);
    }

    #[test]
    fn rtp_time_wraps_and_steps_back() {
        let mut extender = Extender32::default();
        let start = extender.extend(u32::MAX - 10);
        assert_eq!(extender.extend(89), start + 100);
        assert_eq!(extender.extend(u32::MAX), start + 10);
        assert_eq!(extender.highest(), Some(start + 100));
    }

    proptest! {
        #[test]
        fn low_bits_are_the_wire_and_restarts_only_rise(seqs in proptest::collection::vec(any::<u16>(), 1..200)) {
            let mut extender = Extender::default();
            for seq in seqs {
                let highest = extender.highest();
                let extended = extender.extend(seq);
                prop_assert_eq!(extended.seq as u16, seq);
                if extended.restarted {
                    prop_assert!(Some(extended.seq) > highest);
                }
            }
        }

        #[test]
        fn bounded_reordering_is_undone(start: u16, moves in proptest::collection::vec(0u64..50, 1..300)) {
            let mut extender = Extender::default();
            extender.extend(start);
            let base = CYCLE + u64::from(start);
            for (i, back) in moves.iter().enumerate() {
                let truth = (base + 1 + i as u64).saturating_sub(*back).max(base.saturating_sub(40));
                let extended = extender.extend(truth as u16);
                prop_assert_eq!(extended, Extended { seq: truth, restarted: false });
            }
        }

        #[test]
        fn times_keep_their_low_bits(times in proptest::collection::vec(any::<u32>(), 1..100)) {
            let mut extender = Extender32::default();
            for time in times {
                prop_assert_eq!(extender.extend(time) as u32, time);
            }
        }
    }
}
