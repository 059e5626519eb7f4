//! Packets since the last keyframe, so that a new viewer of a source that cannot be asked for a
//! keyframe has a picture at once.
//!
//! Invariant: the cache is empty or begins with a keyframe, and never passes its bounds; a group
//! that would is thrown away whole, because half of one shows nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct GopCache<T> {
    packets: VecDeque<T>,
    max_bytes: usize,
    max_duration: Duration,
    bytes: usize,
    /// When the keyframe began, and its RTP time.
    start: Option<(Instant, u32)>,
    overflows: u64,
}

impl<T> GopCache<T> {
    pub fn new(max_bytes: usize, max_duration: Duration) -> Self {
        Self { packets: VecDeque::new(), max_bytes, max_duration, bytes: 0, start: None, overflows: 0 }
    }

    /// Adds a packet of `size` bytes. `starts_keyframe` is what the payload format tells of this
    /// packet (parameter sets count); several such packets of one RTP time are one keyframe.
    /// Returns whether the packet was kept.
    pub fn push(&mut self, packet: T, size: usize, timestamp: u32, starts_keyframe: bool, now: Instant) -> bool {
        if starts_keyframe && self.start.is_none_or(|(_, of)| of != timestamp) {
            self.clear();
            self.start = Some((now, timestamp));
        }
        let Some((since, _)) = self.start else {
            return false;
        };
        let too_long = now.saturating_duration_since(since) > self.max_duration;
        if too_long || self.bytes.saturating_add(size) > self.max_bytes {
            self.overflows += 1;
            self.clear();
            return false;
        }
        self.bytes += size;
        self.packets.push_back(packet);
        true
    }

    /// From the keyframe on.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.packets.iter()
    }

    /// The packet for which `order` says equal, where the packets were added in that order.
    pub fn find(&self, order: impl FnMut(&T) -> std::cmp::Ordering) -> Option<&T> {
        self.packets.get(self.packets.binary_search_by(order).ok()?)
    }

    /// Empties the cache until the next keyframe, as after a loss or a restart.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.bytes = 0;
        self.start = None;
    }

    pub fn len(&self) -> usize {
        self.packets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Groups thrown away because they passed a bound.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn held(cache: &GopCache<char>) -> String {
        cache.iter().collect()
    }

    #[test]
    fn it_holds_what_came_since_the_last_keyframe() {
        let now = Instant::now();
        let mut cache = GopCache::new(1000, SECOND);
        assert!(!cache.push('x', 10, 0, false, now));
        for (packet, time, key) in [('s', 1, true), ('I', 1, true), ('p', 2, false)] {
            assert!(cache.push(packet, 10, time, key, now));
        }
        assert_eq!(held(&cache), "sIp");
        cache.push('I', 10, 3, true, now);
        assert_eq!((held(&cache).as_str(), cache.bytes()), ("I", 10));
    }

    #[test]
    fn a_group_past_a_bound_is_thrown_away_until_the_next_keyframe() {
        let now = Instant::now();
        let mut cache = GopCache::new(25, SECOND);
        cache.push('I', 10, 1, true, now);
        cache.push('p', 10, 2, false, now);
        assert!(!cache.push('p', 10, 3, false, now));
        assert!(!cache.push('p', 1, 4, false, now));
        assert!(cache.is_empty());
        cache.push('I', 10, 5, true, now);
        assert!(!cache.push('p', 1, 6, false, now + SECOND * 2));
        assert_eq!((cache.len(), cache.overflows()), (0, 2));
    }

    proptest! {
        #[test]
        fn bounds_hold_and_a_keyframe_comes_first(
            packets in proptest::collection::vec((0usize..200, 0u32..50, proptest::bool::weighted(0.1), 0u64..100), 0..200),
        ) {
            let mut now = Instant::now();
            let mut cache = GopCache::new(1000, SECOND);
            for (size, time, key, wait) in packets {
                now += Duration::from_millis(wait);
                cache.push((size, key), size, time, key, now);
                prop_assert!(cache.bytes() <= 1000);
                prop_assert_eq!(cache.bytes(), cache.iter().map(|(size, _)| size).sum::<usize>());
                prop_assert!(cache.iter().next().is_none_or(|(_, key)| *key));
            }
        }
    }
}
