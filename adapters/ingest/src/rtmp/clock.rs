//! A peer's milliseconds as ticks of 90 kHz that go on.
//!
//! Sound and pictures share one clock, so that they stay together where it jumps.

/// Sound and pictures are sent so far apart at most; what goes back further has begun anew.
const BACK: i32 = -5_000;
/// A longer silence is a clock that was set.
const AHEAD: i32 = 15_000;
/// Where a clock was set, the next moment lies so far behind the one before, in ms.
const STEP: i64 = 40;

#[derive(Debug, Default)]
pub struct Clock {
    /// The newest time of the peer, with ours, in ms.
    newest: Option<(u32, i64)>,
}

impl Clock {
    /// Ticks of a decoding time in ms, with the offset of the presentation time in ms.
    pub fn ticks(&mut self, time: u32, offset: i32) -> u32 {
        let ours = match self.newest {
            None => 0,
            Some((newest, ours)) => match time.wrapping_sub(newest).cast_signed() {
                ahead @ BACK..=AHEAD => ours + i64::from(ahead),
                _ => ours + STEP,
            },
        };
        match self.newest {
            // Of two streams that are interleaved, the older one does not pull it back.
            Some((newest, before)) if ours < before && time.wrapping_sub(newest).cast_signed() >= BACK => {}
            _ => self.newest = Some((time, ours)),
        }
        ((ours + i64::from(offset)) * 90) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_where_milliseconds_begin_anew() {
        let mut clock = Clock::default();
        let start = u32::MAX - 100;
        let ticks: Vec<_> = (0..10).map(|n| clock.ticks(start.wrapping_add(n * 40), 0)).collect();
        assert_eq!(ticks, (0..10).map(|n| n * 3_600).collect::<Vec<_>>());
    }

    #[test]
    fn ticks_begin_anew_by_themselves() {
        let mut clock = Clock::default();
        let mut last = clock.ticks(0, 0);
        // 14 hours, beyond the 13.25 that 32 bits of 90 kHz hold.
        for second in 1..14 * 3_600u32 {
            let now = clock.ticks(second * 1_000, 0);
            assert_eq!(now.wrapping_sub(last), 90_000);
            last = now;
        }
    }

    #[test]
    fn a_clock_that_is_set_goes_on_with_both_streams() {
        let mut clock = Clock::default();
        assert_eq!(clock.ticks(7_000_000, 0), 0);
        assert_eq!(clock.ticks(7_000_040, 0), 3_600);
        assert_eq!(clock.ticks(7_000_020, 0), 1_800, "sound that comes a little later");
        assert_eq!(clock.ticks(5, 0), 3_600 + 3_600);
        assert_eq!(clock.ticks(10, 80), 7_200 + 450 + 7_200);
        assert_eq!(clock.ticks(0, 0), 7_200 - 450);
        assert_eq!(clock.ticks(9_000_000, 0), 7_200 + 450 + 3_600);
    }

    #[test]
    fn a_presentation_before_the_first_time_is_no_jump() {
        let mut clock = Clock::default();
        assert_eq!(clock.ticks(0, -40), 0u32.wrapping_sub(3_600));
    }
}
