//! Sound: packets to samples without holes; silence takes the place of what did not come.
//!
//! A pause of the sender (mute, discontinuous transmission) and a loss look alike on the time
//! axis: both are filled, so that a player's clock goes on.

use super::clock::Timeline;
use super::opus_copy::{OPUS_TICKS, OpusCopy};
use super::part::Part;
use super::{Context, MAX_PARTS, TrackFault};
use crate::fmp4::{G711Law, Sample, SampleEntry};
use bytes::Bytes;
use rongtong_media_core::media::{Codec, CodecParams};
use rongtong_media_core::rtp::opus;
use rongtong_media_core::tap::units::{StreamFormat, Unit, UnitData, UnitItem};
use std::sync::Arc;

/// The longest pause that is filled, s; before a longer one the last sample just lasts.
const MAX_FILL: i64 = 600;

pub(super) struct AudioTrack {
    rate: u32,
    format: Option<Arc<StreamFormat>>,
    current: Option<Current>,
    /// Files begun so far.
    parts: u32,
    lost: u64,
}

struct Current {
    timeline: Timeline,
    line: Line,
    copy: Option<(OpusCopy, Line)>,
}

impl AudioTrack {
    pub fn new(codec: &CodecParams) -> Result<Self, TrackFault> {
        if codec.codec == Codec::G722 {
            return Err(TrackFault::Codec(codec.codec));
        }
        Ok(Self { rate: codec.clock_rate.max(1), format: None, current: None, parts: 0, lost: 0 })
    }

    pub fn take(&mut self, item: UnitItem, context: &mut Context) {
        match item {
            UnitItem::Format(format) => {
                if self.format.is_some() {
                    self.finish(context);
                }
                self.rate = match &*format {
                    StreamFormat::Aac { rate, .. } | StreamFormat::G7xx { rate, .. } => *rate,
                    _ => self.rate,
                };
                self.format = Some(format);
            }
            UnitItem::Gap { packets, .. } => self.lost += packets,
            UnitItem::Unit(unit) => self.frame(unit, context),
            UnitItem::Discontinuity(_) | UnitItem::Muted(_) => {}
        }
    }

    fn frame(&mut self, unit: Unit, context: &mut Context) {
        let (time, ticks, position) = (unit.time, unit.ticks, context.recording.at(unit.room_ns));
        let UnitData::Frame(data) = unit.data else { return };
        if self.current.is_none() {
            self.current = self.begin(&unit.format, time, position);
        }
        let Some(Current { timeline, line, copy }) = &mut self.current else { return };
        let at = timeline.ticks(time, position);
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

    fn begin(&mut self, format: &StreamFormat, time: u64, position: i64) -> Option<Current> {
        if self.parts >= MAX_PARTS {
            return None;
        }
        let (entry, silence, law) = match format {
            StreamFormat::Aac { rate, channels, config } => {
                (SampleEntry::Aac { rate: *rate, channels: *channels, config: config.clone() }, None, None)
            }
            StreamFormat::G7xx { codec, rate, channels } => {
                let (law, byte) = match codec {
                    Codec::Pcma => (G711Law::A, 0xd5),
                    Codec::Pcmu => (G711Law::Mu, 0xff),
                    _ => return None,
                };
                let frame = rate / 50;
                let silence = vec![byte; frame as usize * usize::from(*channels)];
                let entry = SampleEntry::G711 { law, rate: *rate, channels: *channels };
                // A copy needs what it copies to be what the encoder takes: one channel, 8 kHz.
                (entry, Some((Bytes::from(silence), frame)), (*rate == 8000 && *channels == 1).then_some(law))
            }
            StreamFormat::Opus { channels } => {
                let entry = SampleEntry::Opus { channels: *channels, pre_skip: 0 };
                (entry, Some((Bytes::from_static(opus::SILENCE), self.rate / 50)), None)
            }
            StreamFormat::H264 { .. } | StreamFormat::H265 { .. } | StreamFormat::Vp8 { .. } => return None,
        };
        let number = self.parts;
        self.parts += 1;
        let copy = match law {
            Some(law) => match OpusCopy::new(law) {
                Ok(copy) => {
                    let entry = copy.entry();
                    let part = Part::new(self.parts, entry, 48_000, Some(number));
                    self.parts += 1;
                    Some((copy, Line::new(part, 48_000, None)))
                }
                Err(fault) => {
                    tracing::warn!(%fault, "a G.711 track is recorded without its Opus copy");
                    None
                }
            },
            None => None,
        };
        let line = Line::new(Part::new(number, entry, self.rate, None), self.rate, silence);
        Some(Current { timeline: Timeline::new(self.rate, time, position), line, copy })
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
