//! Whole pictures, from a keyframe on.

use super::{GapCause, StreamFormat, Unit, UnitData, UnitItem};
use crate::clock::ticks_to_ns;
use crate::media::{Codec, CodecParams, MediaPacket};
use crate::rtp::access_unit::AccessUnit;
use crate::rtp::{h264, h265, vp8};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// One access unit, at most, bytes.
const MAX_UNIT: usize = 8 << 20;
/// A parameter set, at most, bytes.
const MAX_SET: usize = 4096;
/// While nothing can be decoded a keyframe is asked for this often, s.
const KEYFRAME_AGAIN: u64 = 1;

enum Parts {
    H264 { depacketizer: h264::Depacketizer, sets: h264::ParameterSets },
    H265 { depacketizer: h265::Depacketizer, sets: h265::ParameterSets },
    Vp8 { frame: BytesMut, time: u64, whole: bool, size: Option<(u16, u16)> },
}

/// A picture before it is known whether it can be decoded.
struct Picture {
    time: u64,
    data: UnitData,
    key: bool,
    /// Set where the unit carries or completes one.
    format: Option<StreamFormat>,
}

pub(super) struct Pictures {
    rate: u32,
    parts: Parts,
    format: Option<Arc<StreamFormat>>,
    /// Everything up to the next keyframe is useless.
    need_key: bool,
    /// RTP time of a keyframe after a break: pictures shown before it need lost ones.
    leading_before: Option<u64>,
    pub wants_keyframe: bool,
    /// RTP time of the last keyframe, or of the last wish for one.
    last_wish: u64,
    /// Packets that did not come, not yet told.
    missing: u64,
    /// RTP time and room time of the newest packet.
    newest: (u64, i64),
}

impl Pictures {
    pub fn new(codec: &CodecParams) -> Self {
        let parts = match codec.codec {
            Codec::H265 => {
                Parts::H265 { depacketizer: h265::Depacketizer::new(MAX_UNIT), sets: h265::ParameterSets::default() }
            }
            Codec::Vp8 => Parts::Vp8 { frame: BytesMut::new(), time: 0, whole: false, size: None },
            _ => Parts::H264 { depacketizer: h264::Depacketizer::new(MAX_UNIT), sets: described_sets(&codec.fmtp) },
        };
        Self {
            rate: codec.clock_rate,
            parts,
            format: None,
            need_key: true,
            leading_before: None,
            wants_keyframe: false,
            last_wish: 0,
            missing: 0,
            newest: (0, 0),
        }
    }

    /// Other parameters of the same codec.
    pub fn describe(&mut self, codec: &CodecParams) {
        self.rate = codec.clock_rate;
        if let Parts::H264 { sets, .. } = &mut self.parts {
            for nal in described_sets(&codec.fmtp).iter() {
                sets.update(nal);
            }
        }
    }

    pub fn packet(&mut self, packet: &MediaPacket, lost: u64, cause: GapCause, out: &mut Vec<UnitItem>) {
        self.newest = (packet.time, packet.room_ns);
        self.missing = self.missing.saturating_add(lost);
        match &mut self.parts {
            Parts::H264 { depacketizer, .. } => {
                let units = depacketizer.push(packet.sequence, packet.time as u32, packet.marker, &packet.payload);
                self.take(units, cause, out);
            }
            Parts::H265 { depacketizer, .. } => {
                let units = depacketizer.push(packet.sequence, packet.time as u32, packet.marker, &packet.payload);
                self.take(units, cause, out);
            }
            Parts::Vp8 { .. } => self.vp8(packet, lost, cause, out),
        }
        if self.need_key && packet.time.abs_diff(self.last_wish) > KEYFRAME_AGAIN * u64::from(self.rate) {
            self.last_wish = packet.time;
            self.wants_keyframe = true;
        }
    }

    fn take(&mut self, units: impl IntoIterator<Item = AccessUnit>, cause: GapCause, out: &mut Vec<UnitItem>) {
        for unit in units {
            // The low half is near the newest, before or after it.
            let now = self.newest.0;
            let time = now.wrapping_sub_signed(i64::from((now as u32).wrapping_sub(unit.timestamp) as i32));
            if !unit.complete {
                self.lost(cause, out);
                continue;
            }
            let picture = match &mut self.parts {
                Parts::H264 { sets, .. } => h264_picture(unit, time, sets, self.format.as_deref()),
                Parts::H265 { sets, .. } => h265_picture(unit, time, sets),
                Parts::Vp8 { .. } => None,
            };
            if let Some(picture) = picture {
                self.picture(picture, cause, out);
            }
        }
    }

    fn vp8(&mut self, packet: &MediaPacket, lost: u64, cause: GapCause, out: &mut Vec<UnitItem>) {
        let Parts::Vp8 { frame, time, whole, size } = &mut self.parts else { return };
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
        if !*whole {
            if packet.marker || lost > 0 {
                self.lost(cause, out);
            }
            return;
        }
        frame.extend_from_slice(data);
        if !packet.marker {
            return;
        }
        let data = frame.split().freeze();
        *whole = false;
        let key = data.first().is_some_and(|byte| byte & 1 == 0);
        let format = size.filter(|_| key).map(|(width, height)| StreamFormat::Vp8 { width, height });
        let picture = Picture { time: packet.time, data: UnitData::Frame(data), key, format };
        if self.missing > 0 {
            // Whole frames may be missing before it.
            self.lost(cause, out);
        }
        self.picture(picture, cause, out);
    }

    fn picture(&mut self, picture: Picture, cause: GapCause, out: &mut Vec<UnitItem>) {
        if self.need_key && !picture.key {
            return;
        }
        let Picture { time, data, key, format } = picture;
        let changed = match (&format, &self.format) {
            (Some(format), Some(known)) => *format != **known,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        if changed {
            let Some(format) = format.filter(|_| key) else {
                self.lost(cause, out);
                return;
            };
            let format = Arc::new(format);
            out.push(UnitItem::Format(format.clone()));
            self.format = Some(format);
            self.need_key = true;
        }
        if key {
            self.last_wish = time;
            if std::mem::take(&mut self.need_key) {
                self.leading_before = Some(time);
            }
        } else if let Some(key) = self.leading_before {
            if time < key {
                return;
            }
            self.leading_before = None;
        }
        let Some(format) = self.format.clone() else { return };
        let (newest, room_ns) = self.newest;
        let before = ticks_to_ns(newest.wrapping_sub(time) as i64, self.rate);
        let room_ns = room_ns.saturating_sub(before);
        out.push(UnitItem::Unit(Unit { format, time, room_ns, key, data, ticks: 0, level: None }));
    }

    /// Something is missing; what follows is useless until a keyframe.
    fn lost(&mut self, cause: GapCause, out: &mut Vec<UnitItem>) {
        let packets = std::mem::take(&mut self.missing);
        if self.need_key {
            self.wants_keyframe |= packets > 0;
            return;
        }
        self.need_key = true;
        self.wants_keyframe = true;
        self.last_wish = self.newest.0;
        out.push(UnitItem::Gap { packets, cause });
    }
}

fn described_sets(fmtp: &str) -> h264::ParameterSets {
    fmtp.split(';')
        .find_map(|pair| pair.trim().strip_prefix("sprop-parameter-sets="))
        .and_then(|value| h264::parse_sprop(value).ok())
        .unwrap_or_default()
}

fn h264_picture(
    mut unit: AccessUnit,
    time: u64,
    sets: &mut h264::ParameterSets,
    known: Option<&StreamFormat>,
) -> Option<Picture> {
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
    let same = matches!(known, Some(StreamFormat::H264 { sets: known, .. }) if known == sets);
    let format = if !(key || described) || same {
        None
    } else {
        let sps = sets.sps.first().and_then(|sps| h264::SpsInfo::parse(sps).ok());
        sps.filter(|_| sets.is_complete()).map(|sps| StreamFormat::H264 { sets: sets.clone(), sps })
    };
    // Parameter sets are the format's; delimiters and filler say nothing.
    unit.nals.retain(|nal| h264::type_of(nal).is_some_and(|kind| (1..=6).contains(&kind) || (14..24).contains(&kind)));
    (!unit.nals.is_empty()).then_some(Picture { time, data: UnitData::Nals(unit.nals), key, format })
}

fn h265_picture(mut unit: AccessUnit, time: u64, sets: &mut h265::ParameterSets) -> Option<Picture> {
    sets.update(&unit);
    let described = unit.nals.iter().any(|nal| matches!(h265::type_of(nal), Some(32..=34)));
    let format = match (&sets.vps, &sets.sps, &sets.pps) {
        (Some(vps), Some(sps), Some(pps)) if (unit.key || described) && vps.len().max(pps.len()) <= MAX_SET => {
            let info = h265::SpsInfo::parse(sps).ok();
            info.map(|info| StreamFormat::H265 { vps: vps.clone(), sps: sps.clone(), pps: pps.clone(), info })
        }
        _ => None,
    };
    // 35 delimiter, 36 and 37 ends, 38 filler.
    unit.nals.retain(|nal: &Bytes| !matches!(h265::type_of(nal), None | Some(32..=38)));
    (!unit.nals.is_empty()).then_some(Picture { time, data: UnitData::Nals(unit.nals), key: unit.key, format })
}
