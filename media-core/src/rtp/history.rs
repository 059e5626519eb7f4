//! Packets kept for a while so that they can be sent again (RFC 4588 retransmission).
//!
//! Invariant: never more packets than the capacity, and none older than the age limit is returned.

use std::time::{Duration, Instant};

/// A ring by extended sequence number. `T` is cheap to clone or shared, such as `bytes::Bytes`.
#[derive(Debug)]
pub struct PacketHistory<T> {
    slots: Vec<Option<Slot<T>>>,
    capacity: u64,
    max_age: Duration,
    /// The lowest number that may still be in the ring.
    oldest: u64,
    /// One above the highest number put in.
    end: u64,
}

impl<T> PacketHistory<T> {
    /// `capacity` in packets, raised to 1; memory is taken as the ring fills.
    pub fn new(capacity: usize, max_age: Duration) -> Self {
        let capacity = capacity.max(1);
        Self { slots: Vec::new(), capacity: capacity as u64, max_age, oldest: 0, end: 0 }
    }

    /// Keeps a packet. One that is older than the whole ring is not kept.
    pub fn insert(&mut self, seq: u64, packet: T, now: Instant) {
        if seq.saturating_add(self.capacity) < self.end || seq == u64::MAX {
            return;
        }
        self.expire(now);
        if seq >= self.end {
            // A jump past the ring must not leave packets from before it.
            if seq - self.end >= self.capacity {
                self.clear();
                self.oldest = seq;
            }
            self.end = seq + 1;
        }
        let lowest = self.end.saturating_sub(self.capacity);
        while self.oldest < lowest {
            self.remove(self.oldest);
            self.oldest += 1;
        }
        if seq < lowest {
            return;
        }
        self.oldest = self.oldest.min(seq);
        let index = self.index(seq);
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(Slot { seq, at: now, resent: None, packet });
        }
    }

    pub fn get(&self, seq: u64, now: Instant) -> Option<&T> {
        let slot = self.slots.get(self.index(seq))?.as_ref()?;
        (slot.seq == seq && self.is_fresh(slot.at, now)).then_some(&slot.packet)
    }

    /// As [`Self::get`], but at most once in `min_gap` (about one round trip) for each packet.
    pub fn get_to_resend(&mut self, seq: u64, now: Instant, min_gap: Duration) -> Option<&T> {
        let (index, max_age) = (self.index(seq), self.max_age);
        let slot = self.slots.get_mut(index)?.as_mut().filter(|slot| slot.seq == seq)?;
        let soon = slot.resent.is_some_and(|at| now.saturating_duration_since(at) < min_gap);
        if soon || now.saturating_duration_since(slot.at) > max_age {
            return None;
        }
        slot.resent = Some(now);
        Some(&slot.packet)
    }

    /// Frees packets past the age limit; also done by each [`Self::insert`].
    pub fn expire(&mut self, now: Instant) {
        while self.oldest < self.end {
            let kept = self.slots.get(self.index(self.oldest)).and_then(Option::as_ref);
            if kept.is_some_and(|slot| slot.seq == self.oldest && self.is_fresh(slot.at, now)) {
                return;
            }
            self.remove(self.oldest);
            self.oldest += 1;
        }
    }

    pub fn clear(&mut self) {
        self.slots.clear();
        self.oldest = self.end;
    }

    /// Packets held.
    pub fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    fn index(&self, seq: u64) -> usize {
        (seq % self.capacity) as usize
    }

    fn is_fresh(&self, at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) <= self.max_age
    }

    fn remove(&mut self, seq: u64) {
        let index = self.index(seq);
        if let Some(slot) = self.slots.get_mut(index)
            && slot.as_ref().is_some_and(|slot| slot.seq == seq)
        {
            *slot = None;
        }
    }
}

#[derive(Debug)]
struct Slot<T> {
    seq: u64,
    at: Instant,
    resent: Option<Instant>,
    packet: T,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_packet_is_found_until_it_is_pushed_out_or_too_old() {
        let now = Instant::now();
        let mut history = PacketHistory::new(4, SECOND);
        for seq in 10..15 {
            history.insert(seq, seq, now);
        }
        assert_eq!(history.get(10, now), None);
        assert_eq!(history.get(11, now), Some(&11));
        assert_eq!(history.get(15, now), None);
        assert_eq!(history.get(14, now + SECOND * 2), None);
        history.expire(now + SECOND * 2);
        assert!(history.is_empty());
    }

    #[test]
    fn a_jump_frees_what_was_before_it() {
        let now = Instant::now();
        let mut history = PacketHistory::new(8, SECOND);
        history.insert(1, 'a', now);
        history.insert(1_000_000, 'b', now);
        assert_eq!(history.len(), 1);
        history.insert(2, 'c', now);
        assert_eq!(history.get(2, now), None);
    }

    #[test]
    fn repeated_requests_are_served_once_a_round_trip() {
        let now = Instant::now();
        let gap = Duration::from_millis(50);
        let mut history = PacketHistory::new(8, SECOND);
        history.insert(1, 'a', now);
        assert_eq!(history.get_to_resend(1, now, gap), Some(&'a'));
        assert_eq!(history.get_to_resend(1, now + gap / 2, gap), None);
        assert_eq!(history.get_to_resend(1, now + gap, gap), Some(&'a'));
    }

    proptest! {
        #[test]
        fn what_is_returned_is_what_was_put_in(
            capacity in 1usize..40, puts in proptest::collection::vec((0u64..200, 0u64..100), 1..200),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut history = PacketHistory::new(capacity, SECOND);
            let mut highest = 0;
            for (seq, wait_ms) in puts {
                now += Duration::from_millis(wait_ms);
                history.insert(seq, (seq, now), now);
                highest = highest.max(seq);
                prop_assert!(history.len() <= capacity);
                if seq + capacity as u64 > highest {
                    prop_assert_eq!(history.get(seq, now), Some(&(seq, now)));
                }
                for probe in 0..200 {
                    if let Some((have, at)) = history.get(probe, now) {
                        prop_assert_eq!(*have, probe);
                        prop_assert!(now - *at <= SECOND && probe + capacity as u64 > highest);
                    }
                }
            }
        }
    }
}
