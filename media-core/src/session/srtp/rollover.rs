//! Numbers of a stream beyond 16 bits, and which of them have come.

/// How often a stream's sequence number has wrapped (RFC 3711 3.3.1 and appendix A).
#[derive(Clone, Copy, Debug, Default)]
pub struct Rollover {
    count: i64,
    highest: Option<u16>,
}

impl Rollover {
    /// The count that belongs to this number: that of the nearest one. −1 for what would have come
    /// before the stream began.
    pub fn of(&self, sequence: u16) -> i64 {
        let Some(highest) = self.highest else { return self.count };
        let ahead = sequence.wrapping_sub(highest) as i16;
        if ahead >= 0 { self.count + i64::from(sequence < highest) } else { self.count - i64::from(sequence > highest) }
    }

    /// A packet of this number was sent, or came and was genuine.
    pub fn note(&mut self, sequence: u16) {
        if self.highest.is_none_or(|highest| sequence.wrapping_sub(highest) as i16 > 0) {
            self.count = self.of(sequence);
            self.highest = Some(sequence);
        }
    }

    /// [`Self::of`] and [`Self::note`], for a packet that is about to be sent.
    pub fn send(&mut self, sequence: u16) -> u32 {
        let count = self.of(sequence);
        self.note(sequence);
        count.max(0) as u32
    }
}

/// Packets that a stream's numbers may be apart and still be told from ones that came before.
const WINDOW: u64 = 1024;

/// Numbers that came (RFC 3711 3.3.2).
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// One above the highest.
    end: u64,
    seen: [u64; (WINDOW / 64) as usize],
}

impl Default for Window {
    fn default() -> Self {
        Self { end: 0, seen: [0; (WINDOW / 64) as usize] }
    }
}

impl Window {
    pub fn is_new(&self, index: u64) -> bool {
        index >= self.end || (index + WINDOW >= self.end && !self.bit(index))
    }

    pub fn note(&mut self, index: u64) {
        if index >= self.end {
            let skipped = (index - self.end).min(WINDOW);
            for between in index - skipped..index {
                self.set(between, false);
            }
            self.end = index + 1;
        }
        self.set(index, true);
    }

    fn bit(&self, index: u64) -> bool {
        self.seen.get((index % WINDOW / 64) as usize).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn set(&mut self, index: u64, value: bool) {
        if let Some(word) = self.seen.get_mut((index % WINDOW / 64) as usize) {
            *word = *word & !(1 << (index % 64)) | u64::from(value) << (index % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_near_a_wrap_belong_to_the_side_they_are_on() {
        let mut rollover = Rollover::default();
        assert_eq!(rollover.of(65_000), 0);
        rollover.note(2);
        assert_eq!((rollover.of(65_535), rollover.of(40_000)), (-1, -1));
        rollover.note(30_000);
        rollover.note(60_000);
        assert_eq!((rollover.of(65_535), rollover.of(10), rollover.of(30_000)), (0, 1, 0));
        assert_eq!(rollover.send(5), 1);
        assert_eq!((rollover.of(65_535), rollover.of(6)), (0, 1));
    }

    proptest! {
        #[test]
        fn a_stream_with_late_packets_is_numbered_as_it_was_sent(
            first in any::<u16>(), steps in proptest::collection::vec(-2_000i64..4_000, 1..300),
        ) {
            let mut rollover = Rollover::default();
            let mut highest = i64::from(first);
            rollover.note(first);
            for step in steps {
                let number = (highest + step).max(i64::from(first));
                prop_assert_eq!(rollover.of(number as u16), number >> 16);
                rollover.note(number as u16);
                highest = highest.max(number);
            }
        }

        #[test]
        fn each_number_is_new_once(puts in proptest::collection::vec(0u64..3_000, 1..600)) {
            let mut window = Window::default();
            let mut seen = BTreeSet::new();
            let mut highest = 0;
            for number in puts {
                let old = number + WINDOW < highest + 1;
                prop_assert_eq!(window.is_new(number), !old && !seen.contains(&number));
                if window.is_new(number) {
                    window.note(number);
                    seen.insert(number);
                    highest = highest.max(number);
                }
            }
        }
    }
}
