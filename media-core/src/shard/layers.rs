//! Which simulcast layer a subscriber gets, and which ones anybody wants.

use std::time::{Duration, Instant};

/// A layer without packets for this long is not on offer.
const SILENT_AFTER: Duration = Duration::from_millis(1500);

/// The layer to aim at: the highest alive one not above the wish, else the lowest alive.
pub(super) fn choose(last_packet: &[Option<Instant>], wish: usize, now: Instant) -> Option<usize> {
    let alive = |index: usize| {
        last_packet.get(index).copied().flatten().is_some_and(|at| now.saturating_duration_since(at) < SILENT_AFTER)
    };
    (0..last_packet.len())
        .rev()
        .filter(|&index| index <= wish)
        .find(|&index| alive(index))
        .or_else(|| (0..last_packet.len()).find(|&index| alive(index)))
}

/// Folds subscribers' wishes into the three qualities a publisher is told about.
pub(super) fn wanted(layers: usize, wishes: impl Iterator<Item = usize>) -> [bool; 3] {
    let mut out = [false; 3];
    for wish in wishes {
        let top = wish.min(layers.saturating_sub(1)).min(2);
        // A lower layer stays on while a higher one is wanted: it is the fallback of a bad network.
        out.iter_mut().take(top + 1).for_each(|on| *on = true);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_living_layer_within_the_wish_is_chosen() {
        let now = Instant::now();
        let alive = Some(now);
        let dead = now.checked_sub(Duration::from_secs(5));
        assert_eq!(choose(&[alive, alive, alive], 2, now), Some(2));
        assert_eq!(choose(&[alive, alive, dead], 2, now), Some(1));
        assert_eq!(choose(&[alive, alive, alive], 0, now), Some(0));
        assert_eq!(choose(&[None, None, alive], 0, now), Some(2));
        assert_eq!(choose(&[None, dead, None], 2, now), None);
    }

    #[test]
    fn nobody_wants_nothing_and_one_viewer_of_the_top_wants_all_below() {
        assert_eq!(wanted(3, std::iter::empty()), [false; 3]);
        assert_eq!(wanted(3, [1].into_iter()), [true, true, false]);
        assert_eq!(wanted(1, [2].into_iter()), [true, false, false]);
    }
}
