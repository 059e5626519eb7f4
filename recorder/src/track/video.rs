//! Pictures: units to samples, and what to do when some are missing.

use super::clock::Timeline;
use super::order::Order;
use super::part::Part;
use super::{Context, MAX_PARTS, hevc};
use crate::fmp4::{AvcConfig, SampleEntry};
use rongtong_media_core::tap::units::{StreamFormat, Unit, UnitItem};

/// Without a keyframe for so long one is asked for, so that the recording can be sought, s.
const KEYFRAME_EVERY: u64 = 10;

pub(super) struct VideoTrack {
    rate: u32,
    /// What the next unit's part is to be; none while what comes cannot be recorded.
    entry: Option<(SampleEntry, usize)>,
    current: Option<Current>,
    next_part: u32,
    pub wants_keyframe: bool,
    /// RTP time of the last keyframe, or of the last wish for one.
    last_key: u64,
}

struct Current {
    part: Part,
    timeline: Timeline,
    order: Order,
    last_shown: i64,
}

impl VideoTrack {
    pub fn new(rate: u32) -> Self {
        Self { rate, entry: None, current: None, next_part: 0, wants_keyframe: false, last_key: 0 }
    }

    pub fn take(&mut self, item: UnitItem, context: &mut Context) {
        match item {
            UnitItem::Format(format) => {
                let entry = entry(&format).map(|entry| (entry, format.reorder()));
                if self.current.as_ref().map(|current| current.part.entry()) != entry.as_ref().map(|(entry, _)| entry) {
                    self.close(context);
                }
                self.entry = entry;
            }
            UnitItem::Gap { packets, .. } => self.lost(packets, context),
            UnitItem::Unit(unit) => self.picture(unit, context),
            // A file's times follow room time whatever the stream's do.
            UnitItem::Discontinuity(_) | UnitItem::Muted(_) => {}
        }
    }

    fn picture(&mut self, unit: Unit, context: &mut Context) {
        if unit.key {
            self.last_key = unit.time;
        } else if unit.time.abs_diff(self.last_key) > KEYFRAME_EVERY * u64::from(self.rate) {
            self.last_key = unit.time;
            self.wants_keyframe = true;
        }
        let position = context.recording.at(unit.room_ns);
        if self.current.is_none() {
            let Some((entry, reorder)) = self.entry.clone().filter(|_| unit.key && self.next_part < MAX_PARTS) else {
                return;
            };
            self.current = Some(Current {
                part: Part::new(self.next_part, entry, self.rate, None),
                timeline: Timeline::new(self.rate, unit.time, position),
                order: Order::new(reorder, self.rate / 25),
                last_shown: 0,
            });
            self.next_part += 1;
        }
        let Some(current) = &mut self.current else { return };
        let shown = current.timeline.ticks(unit.time, position);
        current.last_shown = current.last_shown.max(shown);
        let mut ready = Vec::new();
        current.order.push(shown, unit.length_prefixed(), unit.key, &mut ready);
        for (decode, sample) in ready {
            current.part.push(decode, sample, &current.timeline, context);
        }
    }

    fn lost(&mut self, packets: u64, context: &mut Context) {
        let Some(current) = &mut self.current else { return };
        let mut ready = Vec::new();
        // The newest picture stays, to be shown until the next; the rest is settled.
        current.order.settle(&mut ready);
        for (decode, sample) in ready {
            current.part.push(decode, sample, &current.timeline, context);
        }
        current.part.gap(current.last_shown, packets);
    }

    pub fn idle(&mut self, context: &mut Context) {
        if let Some(current) = &mut self.current {
            current.part.flush(&current.timeline, context);
        }
    }

    /// A unit that is not known to be whole is none.
    pub fn finish(&mut self, context: &mut Context) {
        self.close(context);
    }

    fn close(&mut self, context: &mut Context) {
        if let Some(mut current) = self.current.take() {
            let mut ready = Vec::new();
            current.order.finish(&mut ready);
            for (decode, sample) in ready {
                current.part.push(decode, sample, &current.timeline, context);
            }
            current.part.close(&current.timeline, context);
        }
    }
}

/// How a file describes such pictures; `None`: it cannot.
fn entry(format: &StreamFormat) -> Option<SampleEntry> {
    match format {
        StreamFormat::H264 { sets, sps } => Some(SampleEntry::Avc(AvcConfig {
            width: u16::try_from(sps.width).ok()?,
            height: u16::try_from(sps.height).ok()?,
            sps: sets.sps.to_vec(),
            pps: sets.pps.to_vec(),
            chroma_format: sps.chroma_format,
            bit_depth_luma: sps.bit_depth_luma,
            bit_depth_chroma: sps.bit_depth_luma,
        })),
        StreamFormat::H265 { vps, sps, pps, info } => Some(SampleEntry::Hevc(hevc::config(vps, sps, pps, info))),
        StreamFormat::Vp8 { width, height } => Some(SampleEntry::Vp8 { width: *width, height: *height }),
        StreamFormat::Aac { .. } | StreamFormat::G7xx { .. } | StreamFormat::Opus { .. } => None,
    }
}
