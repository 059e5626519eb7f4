//! Sound: packets to samples without holes; silence takes the place of what did not come.
//!
//! A pause of the sender (mute, discontinuous transmission) and a loss look alike on the time
//! axis: both are filled, so that a player's clock goes on.

use super::aac::{AacFormat, AacUnits};
use super::clock::Timeline;
use super::opus_copy::{OPUS_TICKS, OpusCopy};
use super::part::Part;
use super::{Context, TrackFault};
use crate::fmp4::{G711Law, Sample, SampleEntry};
use bytes::Bytes;
use rongtong_media_core::media::{Codec, CodecParams, MediaPacket};

/// The longest pause that is filled, s; before a longer one the last sample just lasts.
const MAX_FILL: i64 = 600;

/// A frame of silence: CELT, full band, 20 ms (RFC 6716 table 2, configuration 31).
const OPUS_SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

pub(super) struct AudioTrack {
    form: Form,
    rate: u32,
    current: Option<Current>,
    lost: u64,
}

struct Current {
    timeline: Timeline,
    line: Line,
    copy: Option<(OpusCopy, Line)>,
}

enum Form {
    Aac { units: AacUnits, samples: u32, config: Bytes, channels: u8 },
    G711 { law: G711Law, channels: u8 },
    Opus { channels: u8 },
}

impl AudioTrack {
    pub fn new(codec: &CodecParams) -> Result<Self, TrackFault> {
        let channels = codec.channels.max(1);
        let form = match codec.codec {
            Codec::Aac => {
                let format = AacFormat::parse(&codec.fmtp).ok_or(TrackFault::AacFormat)?;
                let (samples, config) = (format.samples(), format.config.clone());
                Form::Aac { units: AacUnits::new(format), samples, config, channels }
            }
            Codec::Pcma => Form::G711 { law: G711Law::A, channels },
            Codec::Pcmu => Form::G711 { law: G711Law::Mu, channels },
            Codec::Opus => Form::Opus { channels: codec.channels.clamp(1, 2) },
            other => return Err(TrackFault::Codec(other)),
        };
        Ok(Self { form, rate: codec.clock_rate.max(1), current: None, lost: 0 })
    }

    pub fn packet(&mut self, packet: &MediaPacket, lost: u64, context: &mut Context) {
        self.lost += lost;
        let frames: Vec<(Bytes, u32)> = match &mut self.form {
            Form::Aac { units, samples, .. } => {
                if lost > 0 {
                    units.lost();
                }
                units.push(&packet.payload, packet.marker).into_iter().map(|unit| (unit, *samples)).collect()
            }
            Form::G711 { channels, .. } => {
                let ticks = packet.payload.len() / usize::from(*channels);
                vec![(packet.payload.clone(), ticks as u32)]
            }
            Form::Opus { .. } => match opus_ticks(&packet.payload) {
                Some(ticks) => vec![(packet.payload.clone(), ticks)],
                None => Vec::new(),
            },
        };
        let mut time = packet.time;
        for (data, ticks) in frames {
            if ticks > 0 {
                self.frame(time, data, ticks, context);
            }
            time = time.saturating_add(u64::from(ticks));
        }
    }

    fn frame(&mut self, time: u64, data: Bytes, ticks: u32, context: &mut Context) {
        if self.current.is_none() {
            self.current = self.begin(time, context);
        }
        let Some(Current { timeline, line, copy }) = &mut self.current else { return };
        let at = timeline.ticks(time, context.position(time));
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            line.part.gap(line.end(), lost);
        }
        let filled = line.fill_to(at, timeline, context);
        line.put(at, data.clone(), ticks, timeline, context);
        if let Some((encoder, copied)) = copy {
            // The copy names its original. A second of it may be there earlier, since long packets become
            // several of its frames.
            line.part.open(timeline, context);
            for (at, data) in filled {
                encoder.push(at, &data, |at, packet| copied.put(at, packet, OPUS_TICKS, timeline, context));
            }
            encoder.push(at, &data, |at, packet| copied.put(at, packet, OPUS_TICKS, timeline, context));
        }
    }

    fn begin(&self, time: u64, context: &Context) -> Option<Current> {
        let (entry, silence) = match &self.form {
            Form::Aac { config, channels, .. } => {
                (SampleEntry::Aac { rate: self.rate, channels: *channels, config: config.clone() }, None)
            }
            Form::G711 { law, channels } => {
                let byte = match law {
                    G711Law::A => 0xd5,
                    G711Law::Mu => 0xff,
                };
                let frame = self.rate / 50;
                let silence = vec![byte; frame as usize * usize::from(*channels)];
                let entry = SampleEntry::G711 { law: *law, rate: self.rate, channels: *channels };
                (entry, Some((Bytes::from(silence), frame)))
            }
            Form::Opus { channels } => {
                let entry = SampleEntry::Opus { channels: *channels, pre_skip: 0 };
                (entry, Some((Bytes::from_static(OPUS_SILENCE), self.rate / 50)))
            }
        };
        let copy = match &self.form {
            // A copy needs what it copies to be what the encoder takes: one channel, 8 kHz.
            Form::G711 { law, channels: 1 } if self.rate == 8000 => match OpusCopy::new(*law) {
                Ok(copy) => {
                    let entry = copy.entry();
                    Some((copy, Line::new(Part::new(1, entry, 48_000, Some(0)), 48_000, None)))
                }
                Err(fault) => {
                    tracing::warn!(%fault, "a G.711 track is recorded without its Opus copy");
                    None
                }
            },
            _ => None,
        };
        let line = Line::new(Part::new(0, entry, self.rate, None), self.rate, silence);
        Some(Current { timeline: Timeline::new(self.rate, time, context.position(time)), line, copy })
    }

    pub fn idle(&mut self, context: &mut Context) {
        if let Some(Current { timeline, line, copy }) = &mut self.current {
            line.part.flush(timeline, context);
            if let Some((_, copied)) = copy {
                copied.part.flush(timeline, context);
            }
        }
    }

    pub fn finish(&mut self, context: &mut Context) {
        let Some(Current { timeline, line, copy }) = self.current.take() else { return };
        line.close(&timeline, context);
        if let Some((mut encoder, mut copied)) = copy {
            encoder.finish(|at, packet| copied.put(at, packet, OPUS_TICKS, &timeline, context));
            copied.close(&timeline, context);
        }
    }
}

/// A part whose samples follow one another without holes. One sample waits until it is known
/// how long it lasts.
struct Line {
    part: Part,
    rate: i64,
    silence: Option<(Bytes, u32)>,
    waiting: Option<(i64, Bytes, u32)>,
}

impl Line {
    fn new(part: Part, rate: u32, silence: Option<(Bytes, u32)>) -> Self {
        Self { part, rate: i64::from(rate), silence, waiting: None }
    }

    fn end(&self) -> i64 {
        self.waiting.as_ref().map_or(0, |(at, _, ticks)| at + i64::from(*ticks))
    }

    /// Silence up to `at`; returns what was put in, and where.
    fn fill_to(&mut self, at: i64, timeline: &Timeline, context: &mut Context) -> Vec<(i64, Bytes)> {
        let mut filled = Vec::new();
        let Some((silence, ticks)) = self.silence.clone() else { return filled };
        let frame = i64::from(ticks);
        if self.waiting.is_none() || at - self.end() > MAX_FILL * self.rate {
            return filled;
        }
        while at - self.end() >= frame {
            let place = self.end();
            self.put(place, silence.clone(), ticks, timeline, context);
            filled.push((place, silence.clone()));
        }
        filled
    }

    /// `at` and `ticks` in the part's timescale. What lies wholly before its predecessor is dropped.
    fn put(&mut self, at: i64, data: Bytes, ticks: u32, timeline: &Timeline, context: &mut Context) {
        let at = at.max(0);
        if let Some((before, waited, own)) = self.waiting.take() {
            if at <= before {
                self.waiting = Some((before, waited, own));
                return;
            }
            let duration = u32::try_from(at - before).unwrap_or(own);
            let sample = Sample { data: waited, duration, composition: 0, sync: true };
            self.part.push(before, sample, timeline, context);
        }
        self.waiting = Some((at, data, ticks));
    }

    fn close(mut self, timeline: &Timeline, context: &mut Context) {
        if let Some((at, data, duration)) = self.waiting.take() {
            self.part.push(at, Sample { data, duration, composition: 0, sync: true }, timeline, context);
        }
        self.part.close(timeline, context);
    }
}

/// Length of an Opus packet in 48 kHz ticks (RFC 6716 3.1 and 3.2); `None` for none that is valid.
fn opus_ticks(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = u32::from(toc >> 3);
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][config as usize % 4],
        12..=15 => [480, 960][config as usize % 2],
        _ => [120, 240, 480, 960][config as usize % 4],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    let ticks = frame * count;
    (ticks > 0 && ticks <= 5760).then_some(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_packets_tell_their_length() {
        assert_eq!(opus_ticks(OPUS_SILENCE), Some(960));
        assert_eq!(opus_ticks(&[0x78]), Some(960), "hybrid, 20 ms");
        assert_eq!(opus_ticks(&[0x1b, 0x02]), Some(5760), "two SILK frames of 60 ms");
        assert_eq!(opus_ticks(&[0xfb, 0x3f]), None, "longer than 120 ms");
        assert_eq!(opus_ticks(&[]), None);
        assert_eq!(opus_ticks(&[0x03]), None);
    }
}
