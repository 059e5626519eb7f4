//! Receiver reports (RFC 3550 6.4.2) to cameras whose packets come interleaved.

use std::time::Instant;

/// Our own source, which sends nothing.
const OURS: u32 = 0x526f_6e67;
const NAME: &[u8] = b"rongtong";

/// What came of one stream.
#[derive(Debug, Default)]
pub struct Heard {
    source: Option<u32>,
    first: u32,
    /// Highest sequence number with its cycles.
    highest: u32,
    received: u32,
    before: (u32, u32),
    /// Middle of the newest sender report's NTP time, and when it came.
    report: Option<(u32, Instant)>,
}

impl Heard {
    /// A packet of RTP, which may be anything.
    pub fn packet(&mut self, bytes: &[u8]) {
        let [_, _, high, low, _, _, _, _, a, b, c, d, ..] = *bytes else { return };
        let (sequence, source) = (u16::from_be_bytes([high, low]), u32::from_be_bytes([a, b, c, d]));
        let step = sequence.wrapping_sub(self.highest as u16);
        if self.source != Some(source) {
            *self = Self { source: Some(source), first: sequence.into(), highest: sequence.into(), ..Self::default() };
        } else if step < 0x8000 {
            self.highest = self.highest.wrapping_add(step.into());
        }
        self.received = self.received.wrapping_add(1);
    }

    /// A packet of RTCP, which may be anything.
    pub fn report(&mut self, bytes: &[u8]) {
        if let [_, 200, _, _, _, _, _, _, _, _, a, b, c, d, ..] = *bytes {
            self.report = Some((u32::from_be_bytes([a, b, c, d]), Instant::now()));
        }
    }

    /// With SDES CNAME (6.5.1), to be sent on this channel; `None` before the first packet.
    pub fn interleaved(&mut self, channel: u8) -> Option<Vec<u8>> {
        let source = self.source?;
        let expected = self.highest.wrapping_sub(self.first).wrapping_add(1);
        let lost = (i64::from(expected) - i64::from(self.received)).clamp(0, 0x7f_ffff) as u32;
        let (all, came) = (expected.wrapping_sub(self.before.0), self.received.wrapping_sub(self.before.1));
        let fraction = all.saturating_sub(came).saturating_mul(256).checked_div(all).unwrap_or(0).min(255);
        self.before = (expected, self.received);
        let (time, delay) =
            self.report.map_or((0, 0), |(time, at)| (time, (at.elapsed().as_secs_f64() * 65_536.0) as u32));
        let mut out = vec![b'$', channel, 0, 0, 0x81, 201, 0, 7];
        // The last but two is the jitter, which is not measured.
        for word in [OURS, source, fraction << 24 | lost, self.highest, 0, time, delay] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&[0x81, 202, 0, 4]);
        out.extend_from_slice(&OURS.to_be_bytes());
        out.extend_from_slice(&[1, NAME.len() as u8]);
        out.extend_from_slice(NAME);
        out.extend_from_slice(&[0, 0]);
        let length = (out.len() - 4) as u16;
        out.splice(2..4, length.to_be_bytes());
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn losses_are_counted_over_the_wrap() {
        let mut heard = Heard::default();
        for sequence in [65_534_u16, 65_535, 1, 2] {
            let mut packet = vec![0x80, 8];
            packet.extend_from_slice(&sequence.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 7]);
            heard.packet(&packet);
        }
        let report = heard.interleaved(1).unwrap();
        assert_eq!(report.len() % 4, 0);
        assert_eq!(report[12..16], [0, 0, 0, 7]);
        assert_eq!(report[16..24], [51, 0, 0, 1, 0, 1, 0, 2], "one of five");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_packets_are_survived(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..30)) {
            let mut heard = Heard::default();
            for packet in &packets {
                heard.packet(packet);
                heard.report(packet);
                let report = heard.interleaved(1);
                prop_assert!(report.is_none_or(|report| report.len() == 56));
            }
        }
    }
}
