//! Puts a received stream back in order for readers that cannot take it as it came (recorders,
//! decoders): holds what follows a missing packet until that comes or nobody waits for it any more.
//!
//! Invariants: numbers leave rising, each at most once; whatever leaves was pushed or skipped; at
//! most [`MAX_HELD`] entries and [`MAX_BYTES`] are held, beyond that the oldest gap is given up.

use std::collections::BTreeMap;

/// Entries held at most: three seconds of 30 Mbit/s.
pub const MAX_HELD: usize = 8192;
/// Bytes held at most.
pub const MAX_BYTES: usize = 16 << 20;

/// What leaves the stage. A jump in the numbers is a loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ordered<T> {
    Packet(T),
    /// A number that came but carries nothing for readers (padding, a muted packet).
    Nothing(u64),
}

#[derive(Debug)]
struct Held<T> {
    what: Ordered<T>,
    bytes: usize,
}

/// One stream. Numbers are extended ones (no wrap).
#[derive(Debug)]
pub struct Order<T> {
    /// The number that may leave next; none before the first packet.
    next: Option<u64>,
    held: BTreeMap<u64, Held<T>>,
    bytes: usize,
    late: u64,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { next: None, held: BTreeMap::new(), bytes: 0, late: 0 }
    }
}

impl<T> Order<T> {
    /// A packet came; whatever may leave now is appended to `out`.
    pub fn push(&mut self, seq: u64, packet: T, bytes: usize, out: &mut Vec<Ordered<T>>) {
        self.take(seq, Ordered::Packet(packet), bytes, out);
    }

    /// A packet came that readers do not get.
    pub fn skip(&mut self, seq: u64, out: &mut Vec<Ordered<T>>) {
        self.take(seq, Ordered::Nothing(seq), 0, out);
    }

    fn take(&mut self, seq: u64, what: Ordered<T>, bytes: usize, out: &mut Vec<Ordered<T>>) {
        let next = *self.next.get_or_insert(seq);
        if seq < next {
            self.late += 1;
            return;
        }
        if seq == next {
            self.next = Some(seq + 1);
            out.push(what);
            self.run(out);
            return;
        }
        if self.held.contains_key(&seq) {
            return;
        }
        self.bytes += bytes;
        self.held.insert(seq, Held { what, bytes });
        while self.held.len() > MAX_HELD || self.bytes > MAX_BYTES {
            self.give_up(out);
        }
    }

    /// Whatever is held and not kept back by a packet that `waited_for` says may still come.
    pub fn release(&mut self, waited_for: impl Fn(u64) -> bool, out: &mut Vec<Ordered<T>>) {
        while let (Some(next), Some(first)) = (self.next, self.first_held()) {
            if (next..first).take(MAX_HELD).any(&waited_for) {
                return;
            }
            self.give_up(out);
        }
    }

    /// Everything that is held; the next packet that comes is the first of a new stream.
    pub fn finish(&mut self, out: &mut Vec<Ordered<T>>) {
        while !self.held.is_empty() {
            self.give_up(out);
        }
        self.next = None;
    }

    /// The gap before the first held packet is a loss.
    fn give_up(&mut self, out: &mut Vec<Ordered<T>>) {
        self.next = self.first_held();
        self.run(out);
    }

    fn run(&mut self, out: &mut Vec<Ordered<T>>) {
        while let Some(next) = self.next
            && let Some(held) = self.held.remove(&next)
        {
            self.bytes -= held.bytes;
            self.next = Some(next + 1);
            out.push(held.what);
        }
    }

    fn first_held(&self) -> Option<u64> {
        self.held.first_key_value().map(|(&seq, _)| seq)
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Packets that came after they had been given up, or twice.
    pub fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packets(out: &[Ordered<u64>]) -> Vec<u64> {
        out.iter()
            .filter_map(|ordered| match ordered {
                Ordered::Packet(seq) => Some(*seq),
                Ordered::Nothing(_) => None,
            })
            .collect()
    }

    #[test]
    fn what_comes_late_is_put_in_its_place() {
        let (mut order, mut out) = (Order::default(), Vec::new());
        for seq in [10, 12, 13, 11, 14] {
            order.push(seq, seq, 100, &mut out);
        }
        assert_eq!(packets(&out), [10, 11, 12, 13, 14]);
        assert!(order.is_empty());
    }

    #[test]
    fn a_gap_is_held_as_long_as_somebody_waits_for_it() {
        let (mut order, mut out) = (Order::default(), Vec::new());
        for seq in [10, 13, 15] {
            order.push(seq, seq, 100, &mut out);
        }
        order.release(|seq| seq == 12, &mut out);
        assert_eq!(packets(&out), [10]);
        order.release(|seq| seq == 14, &mut out);
        assert_eq!(packets(&out), [10, 13]);
        order.release(|_| false, &mut out);
        order.push(14, 14, 100, &mut out);
        assert_eq!(packets(&out), [10, 13, 15]);
        assert_eq!(order.late(), 1);
    }

    #[test]
    fn the_stage_is_bounded_in_packets_and_in_bytes() {
        let (mut order, mut out) = (Order::default(), Vec::new());
        order.push(0, 0, 100, &mut out);
        for seq in 2..2 * MAX_HELD as u64 {
            order.push(seq, seq, 100, &mut out);
        }
        assert!(order.held.len() <= MAX_HELD);
        assert!(out.len() > MAX_HELD / 2);
        let (mut order, mut out) = (Order::default(), Vec::new());
        order.push(0, 0, 100, &mut out);
        order.push(2, 2, MAX_BYTES, &mut out);
        order.push(3, 3, 1, &mut out);
        assert_eq!(packets(&out), [0, 2, 3]);
        assert_eq!(order.bytes, 0);
    }

    proptest! {
        /// Against a model: shuffled within a window, some lost, some twice, some skipped.
        #[test]
        fn readers_get_what_came_once_and_in_order(
            jitter in prop::collection::vec((0u64..8, 0u8..20), 1..300),
        ) {
            let mut arrivals: Vec<(u64, u64, u8)> =
                jitter.iter().enumerate().map(|(seq, (late, fate))| (seq as u64 + late, seq as u64, *fate)).collect();
            arrivals.sort_by_key(|(at, seq, _)| (*at, *seq));
            // The first defines where the stream begins.
            let first = arrivals.first().map_or(0, |(_, seq, _)| *seq);
            let (mut order, mut out) = (Order::default(), Vec::new());
            order.push(first, first, 10, &mut out);
            for (_, seq, fate) in &arrivals {
                match fate {
                    0 => {}
                    1 => order.skip(*seq, &mut out),
                    2 => {
                        order.push(*seq, *seq, 10, &mut out);
                        order.push(*seq, *seq, 10, &mut out);
                    }
                    _ => order.push(*seq, *seq, 10, &mut out),
                }
            }
            order.finish(&mut out);
            let mut wanted: Vec<u64> =
                arrivals.iter().filter(|(_, seq, fate)| *seq > first && *fate > 1).map(|(_, seq, _)| *seq).collect();
            wanted.push(first);
            wanted.sort_unstable();
            prop_assert_eq!(packets(&out), wanted);
            prop_assert!(order.is_empty() && order.bytes == 0);
        }
    }
}
