//! Pictures: packets to access units to samples, and what to do when some are missing.

use super::clock::Timeline;
use super::order::Order;
use super::part::Part;
use super::{Context, hevc};
use crate::fmp4::{AvcConfig, SampleEntry};
use bytes::{BufMut, Bytes, BytesMut};
use rongtong_media_core::media::{Codec, CodecParams, MediaPacket};
use rongtong_media_core::rtp::access_unit::AccessUnit;
use rongtong_media_core::rtp::{h264, h265, vp8};

/// One access unit, at most, bytes.
const MAX_UNIT: usize = 8 << 20;

/// Files of one track, at most: a sender that changes its configuration with every keyframe
/// must not fill the disk with headers.
const MAX_PARTS: u32 = 200;

/// Without a keyframe for so long one is asked for, so that the recording can be sought, s.
const KEYFRAME_EVERY: u64 = 10;

/// While nothing can be decoded one is asked for this often, s.
const KEYFRAME_AGAIN: u64 = 1;

pub(super) struct VideoTrack {
    rate: u32,
    units: Units,
    current: Option<Current>,
    next_part: u32,
    /// Everything up to the next keyframe is useless.
    need_key: bool,
    pub wants_keyframe: bool,
    /// RTP time of the last keyframe, or of the last wish for one.
    last_key: u64,
    /// Packets that did not come, not yet told as a gap.
    missing: u64,
}

struct Current {
    part: Part,
    timeline: Timeline,
    order: Order,
    /// Presentation tick of a keyframe after a break: pictures shown before it need lost ones.
    leading_before: Option<i64>,
    last_shown: i64,
}

enum Units {
    H264 { depacketizer: h264::Depacketizer, sets: h264::ParameterSets },
    H265 { depacketizer: h265::Depacketizer, sets: h265::ParameterSets },
    Vp8 { frame: BytesMut, time: u64, whole: bool, size: Option<(u16, u16)> },
}

/// A coded picture, ready to be a sample.
struct Picture {
    time: u64,
    data: Bytes,
    key: bool,
    /// Set where the unit carries or completes a configuration.
    entry: Option<SampleEntry>,
    reorder: usize,
}

impl VideoTrack {
    pub fn new(codec: &CodecParams) -> Self {
        let units = match codec.codec {
            Codec::H265 => {
                Units::H265 { depacketizer: h265::Depacketizer::new(MAX_UNIT), sets: h265::ParameterSets::default() }
            }
            Codec::Vp8 => Units::Vp8 { frame: BytesMut::new(), time: 0, whole: false, size: None },
            _ => Units::H264 { depacketizer: h264::Depacketizer::new(MAX_UNIT), sets: described_sets(&codec.fmtp) },
        };
        Self {
            rate: codec.clock_rate,
            units,
            current: None,
            next_part: 0,
            need_key: true,
            wants_keyframe: false,
            last_key: 0,
            missing: 0,
        }
    }

    pub fn packet(&mut self, packet: &MediaPacket, lost: u64, context: &mut Context) {
        self.missing = self.missing.saturating_add(lost);
        match &mut self.units {
            Units::H264 { depacketizer, .. } => {
                let units = depacketizer.push(packet.sequence, packet.time as u32, packet.marker, &packet.payload);
                self.take(units, packet.time, context);
            }
            Units::H265 { depacketizer, .. } => {
                let units = depacketizer.push(packet.sequence, packet.time as u32, packet.marker, &packet.payload);
                self.take(units, packet.time, context);
            }
            Units::Vp8 { .. } => self.vp8(packet, lost, context),
        }
        let every = if self.need_key { KEYFRAME_AGAIN } else { KEYFRAME_EVERY };
        if packet.time.abs_diff(self.last_key) > every * u64::from(self.rate) {
            self.last_key = packet.time;
            self.wants_keyframe = true;
        }
    }

    fn take(&mut self, units: impl IntoIterator<Item = AccessUnit>, now: u64, context: &mut Context) {
        for unit in units {
            // The low half is near `now`, before or after it.
            let time = now.wrapping_sub_signed(i64::from((now as u32).wrapping_sub(unit.timestamp) as i32));
            if !unit.complete {
                self.lost(context);
                continue;
            }
            let picture = match &mut self.units {
                Units::H264 { sets, .. } => h264_picture(unit, time, sets),
                Units::H265 { sets, .. } => h265_picture(unit, time, sets),
                Units::Vp8 { .. } => None,
            };
            if let Some(picture) = picture {
                self.picture(picture, context);
            }
        }
    }

    fn vp8(&mut self, packet: &MediaPacket, lost: u64, context: &mut Context) {
        let Units::Vp8 { frame, time, whole, size } = &mut self.units else { return };
        let Ok(descriptor) = vp8::Descriptor::parse(&packet.payload) else { return };
        if lost > 0 {
            *whole = false;
        }
        if descriptor.starts_frame() {
            frame.clear();
            (*time, *whole) = (packet.time, true);
            *size = vp8::dimensions(&packet.payload).or(*size);
        }
        let data = packet.payload.get(descriptor.len..).unwrap_or_default();
        *whole &= packet.time == *time && frame.len() + data.len() <= MAX_UNIT;
        let mut picture = None;
        if *whole {
            frame.extend_from_slice(data);
            if packet.marker {
                let data = frame.split().freeze();
                *whole = false;
                let key = data.first().is_some_and(|byte| byte & 1 == 0);
                let entry = size.map(|(width, height)| SampleEntry::Vp8 { width, height });
                picture = Some(Picture { time: packet.time, data, key, entry: entry.filter(|_| key), reorder: 0 });
            }
        } else if packet.marker || lost > 0 {
            return self.lost(context);
        }
        if let Some(picture) = picture {
            self.picture(picture, context);
        }
    }

    fn picture(&mut self, picture: Picture, context: &mut Context) {
        if self.need_key && !picture.key {
            return;
        }
        let changed = match (&picture.entry, &self.current) {
            (Some(entry), Some(current)) => entry != current.part.entry(),
            (_, None) => true,
            (None, Some(_)) => false,
        };
        if changed {
            let Some(entry) = picture.entry.filter(|_| picture.key) else {
                self.lost(context);
                return;
            };
            self.close(context);
            if self.next_part >= MAX_PARTS {
                self.need_key = true;
                return;
            }
            self.current = Some(Current {
                part: Part::new(self.next_part, entry, self.rate, None),
                timeline: Timeline::new(self.rate, picture.time, context.position(picture.time)),
                order: Order::new(picture.reorder, self.rate / 25),
                leading_before: None,
                last_shown: 0,
            });
            self.next_part += 1;
            self.need_key = true;
        }
        let Some(current) = &mut self.current else { return };
        let shown = current.timeline.ticks(picture.time, context.position(picture.time));
        if picture.key {
            self.last_key = picture.time;
            if std::mem::take(&mut self.need_key) {
                current.leading_before = Some(shown);
            }
        } else if let Some(key) = current.leading_before {
            if shown < key {
                return;
            }
            current.leading_before = None;
        }
        current.last_shown = current.last_shown.max(shown);
        let mut ready = Vec::new();
        current.order.push(shown, picture.data, picture.key, &mut ready);
        for (decode, sample) in ready {
            current.part.push(decode, sample, &current.timeline, context);
        }
    }

    /// Something is missing; what follows is useless until a keyframe.
    fn lost(&mut self, context: &mut Context) {
        let packets = std::mem::take(&mut self.missing);
        if self.need_key {
            self.wants_keyframe |= packets > 0;
            return;
        }
        self.need_key = true;
        self.wants_keyframe = true;
        if let Some(current) = &mut self.current {
            let mut ready = Vec::new();
            // The newest picture stays, to be shown until the next; the rest is settled.
            current.order.settle(&mut ready);
            for (decode, sample) in ready {
                current.part.push(decode, sample, &current.timeline, context);
            }
            current.part.gap(current.last_shown, packets);
        }
    }

    pub fn idle(&mut self, context: &mut Context) {
        if let Some(current) = &mut self.current {
            current.part.flush(&current.timeline, context);
        }
    }

    pub fn finish(&mut self, context: &mut Context) {
        let unit = match &mut self.units {
            Units::H264 { depacketizer, .. } => depacketizer.finish(),
            Units::H265 { depacketizer, .. } => depacketizer.finish(),
            Units::Vp8 { .. } => None,
        };
        // Without a marker or a next picture nobody knows whether it was whole.
        drop(unit);
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

fn described_sets(fmtp: &str) -> h264::ParameterSets {
    fmtp.split(';')
        .find_map(|pair| pair.trim().strip_prefix("sprop-parameter-sets="))
        .and_then(|value| h264::parse_sprop(value).ok())
        .unwrap_or_default()
}

fn h264_picture(unit: AccessUnit, time: u64, sets: &mut h264::ParameterSets) -> Option<Picture> {
    let mut described = false;
    for nal in &unit.nals {
        described |= sets.update(nal);
    }
    // Some encoders never send IDR pictures after the first: parameter sets and an I picture.
    let intra = || {
        let mut slices = unit.nals.iter().filter_map(|nal| h264::slice_header(nal)).peekable();
        slices.peek().is_some() && slices.all(|s| matches!(s.slice_type, h264::SliceType::I | h264::SliceType::Si))
    };
    let key = unit.key || described && intra();
    let sps = sets.sps.first().and_then(|sps| h264::SpsInfo::parse(sps).ok());
    let entry = match &sps {
        Some(sps) if sets.is_complete() && (key || described) => Some(SampleEntry::Avc(AvcConfig {
            width: u16::try_from(sps.width).ok()?,
            height: u16::try_from(sps.height).ok()?,
            sps: sets.sps.to_vec(),
            pps: sets.pps.to_vec(),
            chroma_format: sps.chroma_format,
            bit_depth_luma: sps.bit_depth_luma,
            bit_depth_chroma: sps.bit_depth_luma,
        })),
        _ => None,
    };
    let reorder = match &sps {
        Some(sps) if sps.b_frames_possible() => sps.reorder_frames.unwrap_or(2) as usize,
        _ => 0,
    };
    let data = lengths(&unit.nals, |nal| match h264::type_of(nal) {
        // Parameter sets are in the sample entry; delimiters and filler say nothing.
        Some(kind) => (1..=6).contains(&kind) || (14..24).contains(&kind),
        None => false,
    })?;
    Some(Picture { time, data, key, entry, reorder })
}

fn h265_picture(unit: AccessUnit, time: u64, sets: &mut h265::ParameterSets) -> Option<Picture> {
    sets.update(&unit);
    let described = unit.nals.iter().any(|nal| matches!(h265::type_of(nal), Some(32..=34)));
    let entry = match (&sets.vps, &sets.sps, &sets.pps) {
        (Some(vps), Some(sps), Some(pps)) if unit.key || described => {
            hevc::config(vps, sps, pps).map(SampleEntry::Hevc)
        }
        _ => None,
    };
    // 35 delimiter, 36 and 37 ends, 38 filler.
    let data = lengths(&unit.nals, |nal| !matches!(h265::type_of(nal), None | Some(32..=38)))?;
    Some(Picture { time, data, key: unit.key, entry, reorder: 2 })
}

/// NAL units each behind its length in four bytes; `None` when none is left.
fn lengths(nals: &[Bytes], keep: impl Fn(&[u8]) -> bool) -> Option<Bytes> {
    let mut data = BytesMut::with_capacity(nals.iter().map(|nal| nal.len() + 4).sum());
    for nal in nals.iter().filter(|nal| keep(nal)) {
        data.put_u32(u32::try_from(nal.len()).ok()?);
        data.extend_from_slice(nal);
    }
    (!data.is_empty()).then(|| data.freeze())
}
