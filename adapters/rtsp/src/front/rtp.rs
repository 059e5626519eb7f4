//! One stream of RTP (RFC 3550), whatever the camera changes in it without a word, as one that
//! never changes: one SSRC, rising numbers, times without a jump.
//!
//! A packet out of step is held until two more follow it in order (A.1 asks for two); then the
//! stream goes on from it, behind a gap of one number, and the break is told. Others are strays of
//! another session or repeated, and left out. Invariant: at most 96 packets are held.

use super::report::Heard;
use std::time::{Duration, Instant};

const RUN: usize = 3;
const LONGEST_RUN: usize = 96;
/// Changes within it want longer and longer runs, so that two sources at once don't take turns.
const CALM: Duration = Duration::from_secs(10);
const MOST_LOST: u16 = 3_000;
/// Ticks that a time may go ahead, 10 s of video, and back, as pictures out of order do.
const AHEAD: i32 = 900_000;
const BACK: i32 = -90_000;
/// So many in a row that are no RTP are an error.
const MOST_BROKEN: u32 = 16;
/// Sent by cameras of one maker beside the stream, with numbers of its packets.
const BESIDE: u8 = 50;
const WINDOW: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    source: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3, ..] = *bytes else { return None };
        let mut end = 12 + 4 * usize::from(first & 15);
        if first & 16 != 0 {
            let words = bytes.get(end + 2..end + 4).and_then(|words| words.try_into().ok()).map(u16::from_be_bytes)?;
            end += 4 + 4 * usize::from(words);
        }
        let padding = if first & 32 != 0 { usize::from(*bytes.last()?).max(1) } else { 0 };
        let payload_type = second & 0x7f;
        // 72 to 76 would be reports (RFC 5761 4).
        let sound = first >> 6 == 2 && end + padding <= bytes.len() && !(72..=76).contains(&payload_type);
        sound.then_some(Self {
            payload_type,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            source: u32::from_be_bytes([c0, c1, c2, c3]),
        })
    }
}

/// What the packets that pass have in common.
#[derive(Debug)]
struct Current {
    /// As the camera sent it.
    last: Header,
    last_at: Instant,
    shift_sequence: u16,
    shift_time: u32,
    /// Ticks between the newest two times.
    step: u32,
}

/// The clock as it is seen: ticks a second.
#[derive(Debug, Default)]
struct Clock {
    window: Option<(Instant, u32)>,
    rate: Option<f64>,
    doubted: bool,
}

impl Clock {
    /// Whether it goes at another rate than before, for two windows.
    fn tick(&mut self, timestamp: u32, now: Instant) -> bool {
        let (began, start) = *self.window.get_or_insert((now, timestamp));
        if now - began < WINDOW {
            return false;
        }
        self.window = Some((now, timestamp));
        let seen = f64::from(timestamp.wrapping_sub(start) as i32) / (now - began).as_secs_f64();
        let known = *self.rate.get_or_insert(seen);
        let other = !(known / 1.5..known * 1.5).contains(&seen);
        let changed = other && self.doubted;
        self.doubted = other && !changed;
        if changed {
            self.rate = Some(seen);
        }
        changed
    }
}

#[derive(Debug, Default)]
pub struct Stream {
    pub heard: Heard,
    /// The one SSRC.
    source: u32,
    current: Option<Current>,
    held: Vec<(Header, Vec<u8>)>,
    changed: Option<(Instant, usize)>,
    clock: Clock,
    broken: u32,
}

/// More packets in a row are no RTP than are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Stream {
    /// Takes the camera's next packet; gives those to pass on, and the field whose change broke the
    /// stream. A payload type that changed is seen in the packets.
    ///
    /// # Errors
    /// [`Broken`]: nothing but broken packets comes.
    pub fn packet(
        &mut self,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<Option<&'static str>, Broken> {
        let Some(header) = Header::read(bytes) else {
            self.broken += 1;
            return if self.broken >= MOST_BROKEN { Err(Broken) } else { Ok(None) };
        };
        self.broken = 0;
        if header.payload_type == BESIDE {
            return Ok(None);
        }
        let Some(current) = &self.current else {
            self.heard.packet(bytes);
            self.source = header.source;
            self.current = Some(Current { last: header, last_at: now, shift_sequence: 0, shift_time: 0, step: 1 });
            out.push(bytes.to_vec());
            return Ok(None);
        };
        if follows(&current.last, &header) {
            self.held.clear();
            return Ok(self.pass(header, bytes, now, out));
        }
        if !self.held.last().is_some_and(|(last, _)| follows(last, &header)) {
            self.held.clear();
        }
        self.held.push((header, bytes.to_vec()));
        let run = self.changed.filter(|(at, _)| now - *at < CALM).map_or(RUN, |(_, run)| (2 * run).min(LONGEST_RUN));
        if self.held.len() < run {
            return Ok(None);
        }
        self.changed = Some((now, run));
        Ok(self.go_on(now, out))
    }

    /// With the packets held.
    fn go_on(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) -> Option<&'static str> {
        let held = std::mem::take(&mut self.held);
        let (Some(current), Some((first, _))) = (&mut self.current, held.first()) else { return None };
        let before = current.last;
        let reason = if first.payload_type != before.payload_type {
            // What it means is seen by who knows the description; its clock may be another one.
            self.clock = Clock::default();
            None
        } else if first.source != before.source {
            Some("ssrc")
        } else {
            Some("sequence")
        };
        // The number before the first one's stays free.
        let next = before.sequence.wrapping_add(current.shift_sequence).wrapping_add(2);
        current.shift_sequence = next.wrapping_sub(first.sequence);
        current.last = Header { sequence: first.sequence.wrapping_sub(1), timestamp: before.timestamp, ..*first };
        for (header, bytes) in held {
            self.pass(header, &bytes, now, out);
        }
        reason
    }

    fn pass(&mut self, header: Header, bytes: &[u8], now: Instant, out: &mut Vec<Vec<u8>>) -> Option<&'static str> {
        self.heard.packet(bytes);
        let current = self.current.as_mut()?;
        let ahead = header.timestamp.wrapping_sub(current.last.timestamp) as i32;
        let mut reason = None;
        if (BACK..=AHEAD).contains(&ahead) {
            if ahead > 0 {
                current.step = ahead as u32;
            }
            if self.clock.tick(header.timestamp, now) {
                reason = Some("clock_rate");
            }
        } else {
            let elapsed = now.saturating_duration_since(current.last_at).as_secs_f64();
            let ticks = self.clock.rate.map_or(0.0, |rate| rate * elapsed).clamp(0.0, f64::from(AHEAD)) as u32;
            let wanted = current.last.timestamp.wrapping_add(current.shift_time).wrapping_add(ticks.max(current.step));
            current.shift_time = wanted.wrapping_sub(header.timestamp);
            self.clock.window = None;
            reason = Some("timestamp");
        }
        (current.last, current.last_at) = (header, now);
        let mut bytes = bytes.to_vec();
        let sequence = header.sequence.wrapping_add(current.shift_sequence).to_be_bytes();
        let timestamp = header.timestamp.wrapping_add(current.shift_time).to_be_bytes();
        bytes.splice(2..12, sequence.into_iter().chain(timestamp).chain(self.source.to_be_bytes()));
        out.push(bytes);
        reason
    }

    /// A report of the camera's (6.4.1) in the terms of the stream; `None` for what is none of this
    /// source's, or of a time that the packets are not near.
    pub fn report(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.heard.report(bytes);
        let current = self.current.as_ref()?;
        let source = bytes.get(4..8)?;
        let timestamp = u32::from_be_bytes(bytes.get(16..20)?.try_into().ok()?);
        let near = (timestamp.wrapping_sub(current.last.timestamp) as i32).unsigned_abs() <= AHEAD.unsigned_abs();
        if bytes.get(1) != Some(&200) || source != current.last.source.to_be_bytes() || !near {
            return None;
        }
        // The report alone: what follows in the compound names the camera's own SSRC.
        let mut report = bytes.get(..28)?.to_vec();
        report.splice(..4, [0x80, 200, 0, 6]);
        report.splice(4..8, self.source.to_be_bytes());
        report.splice(16..20, timestamp.wrapping_add(current.shift_time).to_be_bytes());
        Some(report)
    }
}

/// What stands in the place of a packet.
pub fn broken(bytes: &[u8]) -> String {
    let head: String = bytes.iter().take(12).map(|byte| format!("{byte:02x} ")).collect();
    format!("{MOST_BROKEN} packets in a row are no RTP; the last has {} bytes: {}", bytes.len(), head.trim_end())
}

fn follows(last: &Header, next: &Header) -> bool {
    let lost = next.sequence.wrapping_sub(last.sequence).wrapping_sub(1);
    last.source == next.source && last.payload_type == next.payload_type && lost < MOST_LOST
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(source: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
        let mut bytes = vec![0x80, 96];
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&source.to_be_bytes());
        bytes
    }

    #[test]
    fn strays_and_repeated_packets_are_left_out_and_a_new_source_goes_on_in_the_old_ones_terms() {
        let (mut stream, mut out, now) = (Stream::default(), Vec::new(), Instant::now());
        let mut push = |source, sequence, timestamp| {
            let mut out = Vec::new();
            let reason = stream.packet(&packet(source, sequence, timestamp), now, &mut out).unwrap();
            (reason, out.into_iter().map(|bytes| Header::read(&bytes).unwrap()).collect::<Vec<_>>())
        };
        for (source, sequence, timestamp) in [(1, 10, 0), (1, 11, 3_000), (9, 5, 5), (1, 11, 3_000), (1, 12, 6_000)] {
            out.extend(push(source, sequence, timestamp).1);
        }
        assert_eq!(out.iter().map(|header| header.sequence).collect::<Vec<_>>(), [10, 11, 12]);
        assert!(push(2, 40_000, 5_000_000).1.is_empty() && push(2, 40_001, 5_003_000).1.is_empty());
        let (reason, went_on) = push(2, 40_002, 5_006_000);
        let seen: Vec<_> = went_on.iter().map(|header| (header.source, header.sequence, header.timestamp)).collect();
        assert_eq!((reason, seen), (Some("ssrc"), vec![(1, 14, 9_000), (1, 15, 12_000), (1, 16, 15_000)]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn numbers_rise_whatever_comes(
            packets in proptest::collection::vec((0u32..3, any::<u16>(), 1usize..9, any::<u32>()), 0..20),
            rubbish in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let (mut stream, mut out, now) = (Stream::default(), Vec::new(), Instant::now());
            for (source, sequence, run, timestamp) in packets {
                for at in 0..run as u16 {
                    let _ = stream.packet(&packet(source, sequence.wrapping_add(at), timestamp), now, &mut out);
                }
                let _ = stream.packet(&rubbish, now, &mut Vec::new());
                stream.report(&rubbish);
                prop_assert!(stream.held.len() <= LONGEST_RUN);
            }
            let found: Vec<_> = out.iter().filter_map(|bytes| Header::read(bytes)).collect();
            for pair in found.windows(2) {
                prop_assert!(pair[1].sequence.wrapping_sub(pair[0].sequence) < 0x8000);
            }
        }
    }
}
