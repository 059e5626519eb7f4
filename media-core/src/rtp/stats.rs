//! What a receiver knows of a stream: loss, jitter, bit rate.
//!
//! Standard: RFC 3550 A.3 (loss), A.8 (jitter), 6.4.1 (report block).

use std::time::{Duration, Instant};

use super::rtcp::ReportBlock;

/// Statistics of one received source.
#[derive(Debug)]
pub struct ReceiverStats {
    clock_rate: u32,
    /// First and highest extended sequence number.
    range: Option<(u64, u64)>,
    received: u64,
    previous: Option<(Instant, u32)>,
    /// Ticks in 28.4 fixed point, as RFC 3550 A.8 keeps it.
    jitter: u64,
    /// Expected and received at the last report.
    reported: (u64, u64),
    sender_report: Option<(u32, Instant)>,
}

impl ReceiverStats {
    /// `clock_rate` in Hz.
    pub fn new(clock_rate: u32) -> Self {
        Self { clock_rate, range: None, received: 0, previous: None, jitter: 0, reported: (0, 0), sender_report: None }
    }

    /// Counts a packet; retransmissions belong here only under their original stream.
    pub fn on_packet(&mut self, seq: u64, rtp_time: u32, now: Instant) {
        self.received += 1;
        let (first, highest) = self.range.unwrap_or((seq, seq));
        self.range = Some((first.min(seq), highest.max(seq)));
        if let Some((at, time)) = self.previous {
            let passed = now.saturating_duration_since(at).as_micros();
            let arrival = passed * u128::from(self.clock_rate) / 1_000_000;
            let step = i64::from(rtp_time.wrapping_sub(time) as i32);
            let distance = (arrival.min(u128::from(u32::MAX)) as i64).abs_diff(step);
            self.jitter = self.jitter + distance - ((self.jitter + 8) >> 4).min(self.jitter);
        }
        self.previous = Some((now, rtp_time));
    }

    /// Notes a sender report: the middle 32 bits of its NTP time.
    pub fn on_sender_report(&mut self, middle_ntp: u32, now: Instant) {
        self.sender_report = Some((middle_ntp, now));
    }

    /// Starts counting anew, after the source restarted.
    pub fn restart(&mut self) {
        *self = Self { sender_report: self.sender_report, ..Self::new(self.clock_rate) };
    }

    /// The block about this source, and the beginning of the next interval. `None` before the
    /// first packet.
    pub fn report(&mut self, ssrc: u32, now: Instant) -> Option<ReportBlock> {
        let (_, highest) = self.range?;
        let expected = self.expected();
        let interval_expected = expected - self.reported.0.min(expected);
        let interval_received = self.received - self.reported.1;
        self.reported = (expected, self.received);
        let lost = interval_expected.saturating_sub(interval_received);
        let fraction = (lost << 8).checked_div(interval_expected).unwrap_or(0).min(255);
        let delay =
            self.sender_report.map_or(0, |(_, at)| now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000);
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction as u8,
            cumulative_lost: self.cumulative_lost(),
            highest_seq: highest as u32,
            jitter: self.jitter(),
            last_sr: self.sender_report.map_or(0, |(ntp, _)| ntp),
            delay_since_last_sr: u32::try_from(delay).unwrap_or(u32::MAX),
        })
    }

    /// Expected less received; below zero with duplicates, 24 bits.
    pub fn cumulative_lost(&self) -> i32 {
        (self.expected() as i64 - self.received as i64).clamp(-0x80_0000, 0x7f_ffff) as i32
    }

    /// Ticks of the payload's clock.
    pub fn jitter(&self) -> u32 {
        u32::try_from(self.jitter >> 4).unwrap_or(u32::MAX)
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    fn expected(&self) -> u64 {
        self.range.map_or(0, |(first, highest)| highest - first + 1)
    }
}

/// The round trip from a report block about us: `now_middle_ntp` is our NTP time when it came.
pub fn round_trip(block: &ReportBlock, now_middle_ntp: u32) -> Option<Duration> {
    if block.last_sr == 0 {
        return None;
    }
    let ticks = now_middle_ntp.wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
    // Clocks that disagree by a little give a small negative number.
    let ticks = u64::try_from(ticks as i32).unwrap_or(0);
    Some(Duration::from_micros(ticks * 1_000_000 / 65_536))
}

/// Bits per second over the last second, in steps of 50 ms.
#[derive(Debug, Default)]
pub struct BitrateMeter {
    start: Option<Instant>,
    slots: [u64; SLOTS as usize],
    current: u64,
    bytes: u64,
    total: u64,
}

impl BitrateMeter {
    pub fn add(&mut self, bytes: usize, now: Instant) {
        self.advance(now);
        if let Some(slot) = self.slots.get_mut((self.current % SLOTS) as usize) {
            *slot += bytes as u64;
        }
        self.bytes += bytes as u64;
        self.total += bytes as u64;
    }

    /// Bit/s; in the first second of a stream over the time it has run.
    pub fn bits_per_second(&mut self, now: Instant) -> u64 {
        self.advance(now);
        self.bytes * 8 * 1000 / ((self.current + 1).min(SLOTS) * SLOT_MS)
    }

    /// Bytes since the beginning.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    fn advance(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        let target = (now.saturating_duration_since(start).as_millis() / u128::from(SLOT_MS)) as u64;
        let steps = target.saturating_sub(self.current).min(SLOTS);
        for step in 1..=steps {
            if let Some(slot) = self.slots.get_mut(((target - steps + step) % SLOTS) as usize) {
                self.bytes -= std::mem::take(slot);
            }
        }
        self.current = self.current.max(target);
    }
}

const SLOTS: u64 = 20;
const SLOT_MS: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn loss_is_counted_in_total_and_since_the_last_report() {
        let now = Instant::now();
        let mut stats = ReceiverStats::new(90_000);
        assert_eq!(stats.report(7, now), None);
        for seq in [65_536, 65_537, 65_539, 65_540] {
            stats.on_packet(seq, 0, now);
        }
        let block = stats.report(7, now).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (51, 1));
        assert_eq!(block.highest_seq, 0x1_0004);
        stats.on_packet(65_541, 0, now);
        assert_eq!(stats.report(7, now).unwrap().fraction_lost, 0);
        assert_eq!(stats.cumulative_lost(), 1);
        stats.on_packet(65_541, 0, now);
        stats.on_packet(65_541, 0, now);
        assert_eq!(stats.cumulative_lost(), -1);
    }

    #[test]
    fn an_even_stream_has_no_jitter_and_an_uneven_one_has() {
        let now = Instant::now();
        let mut stats = ReceiverStats::new(48_000);
        (0..100).for_each(|i| stats.on_packet(i, i as u32 * 960, now + MS * 20 * i as u32));
        assert_eq!(stats.jitter(), 0);
        let mut stats = ReceiverStats::new(48_000);
        for i in 0..500u32 {
            stats.on_packet(i.into(), i * 960, now + MS * (20 * i + 5 * (i % 2)));
        }
        // Each step is 5 ms (240 ticks) off.
        assert!((230..=240).contains(&stats.jitter()), "{}", stats.jitter());
    }

    #[test]
    fn the_round_trip_is_what_the_report_leaves_over() {
        let now = Instant::now();
        let mut stats = ReceiverStats::new(48_000);
        stats.on_packet(1, 1, now);
        stats.on_sender_report(0x0001_0000, now);
        let block = stats.report(1, now + MS * 500).unwrap();
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x0001_0000, 0x8000));
        assert_eq!(round_trip(&block, 0x0001_c000), Some(MS * 250));
        assert_eq!(round_trip(&block, 0x0001_7fff), Some(Duration::ZERO));
        assert_eq!(round_trip(&ReportBlock::default(), 5), None);
    }

    #[test]
    fn the_bit_rate_is_that_of_the_last_second() {
        let now = Instant::now();
        let mut meter = BitrateMeter::default();
        (0..200).for_each(|i| meter.add(1250, now + MS * 10 * i));
        assert_eq!(meter.bits_per_second(now + MS * 1999), 1_000_000);
        assert_eq!(meter.bits_per_second(now + MS * 10_000), 0);
        assert_eq!(meter.total_bytes(), 250_000);
    }

    proptest! {
        #[test]
        fn any_stream_gives_a_report(packets in proptest::collection::vec((0u64..1 << 40, any::<u32>(), 0u32..5000), 1..100)) {
            let mut now = Instant::now();
            let mut stats = ReceiverStats::new(90_000);
            let mut meter = BitrateMeter::default();
            for (seq, time, wait) in packets {
                now += MS * wait;
                stats.on_packet(seq, time, now);
                prop_assert!(stats.report(1, now).is_some());
                meter.add(1000, now);
                prop_assert!(meter.bits_per_second(now) >= 8000);
            }
        }
    }
}
