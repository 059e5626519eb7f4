//! H.265: goes on for recording, cut to size (RFC 7798 4.4.1 … 4.4.3).
//!
//! A payload that is too long is an aggregate, which is taken apart, or a NAL unit
//! or a piece of one, which is cut into (smaller) pieces.

use super::cut::{Cut, Cutter};
use super::{FrameRate, Incoming, MAX_PAYLOAD, Outcome};
use crate::plan::{StreamPlan, VideoDescription};
use bytes::{BufMut, Bytes, BytesMut};
use rongtong_media_core::media::Codec;
use rongtong_media_core::room::SourcePacket;
use rongtong_media_core::rtp::access_unit::AccessUnit;
use rongtong_media_core::rtp::h265::{Nal, SpsInfo, nal_type, nals, starts_keyframe, type_of};
use rongtong_media_core::rtp::seq::Extender;

pub struct H265Pipe {
    plan: StreamPlan,
    extender: Extender,
    cutter: Cutter,
    /// Packets that cutting added.
    added: u64,
    rate: FrameRate,
    last_time: Option<u32>,
}

impl H265Pipe {
    pub fn new(plan: &StreamPlan) -> Self {
        Self {
            plan: plan.clone(),
            extender: Extender::default(),
            cutter: Cutter::new(Codec::H265),
            added: 0,
            rate: FrameRate::default(),
            last_time: None,
        }
    }

    pub fn plan(&self) -> &StreamPlan {
        &self.plan
    }

    pub fn describe(&self) -> VideoDescription {
        let (width, height) = self.plan.size.unwrap_or_default();
        let fps = if self.rate.fps > 0.0 { self.rate.fps } else { self.plan.framerate.unwrap_or_default() };
        VideoDescription { codec: "h265".into(), width, height, fps, note: self.plan.notice.into() }
    }

    pub fn push(&mut self, packet: Incoming) -> Outcome {
        let sequence = self.extender.extend(packet.sequence).seq;
        let mut outcome = Outcome::default();
        for packet in self.cutter.push(sequence, packet) {
            self.packet(packet, &mut outcome);
        }
        outcome
    }

    /// A picture that is whole already.
    pub fn unit(&mut self, unit: &AccessUnit) -> Outcome {
        let mut outcome = Outcome { key: unit.key, ..Outcome::default() };
        self.rate.picture(unit.timestamp);
        if !unit.complete {
            // A number is left out, which says so.
            self.added += 1;
            outcome.damaged = 1;
            return outcome;
        }
        if let Some(sps) = unit.nals.iter().find(|nal| type_of(nal) == Some(nal_type::SPS))
            && let Ok(info) = SpsInfo::parse(sps)
            && self.plan.size != Some((info.width.into(), info.height.into()))
        {
            self.plan.size = Some((info.width.into(), info.height.into()));
            outcome.changed = true;
        }
        let mut payloads = Vec::new();
        for nal in &unit.nals {
            cut(nal, &mut payloads);
        }
        let last = payloads.len().saturating_sub(1);
        for (at, payload) in payloads.into_iter().enumerate() {
            outcome.packets.push(SourcePacket::new(self.added, unit.timestamp, at == last, payload));
            self.added += 1;
        }
        outcome
    }

    fn packet(&mut self, packet: Cut, outcome: &mut Outcome) {
        let Cut { sequence, timestamp, marker, payload } = packet;
        if self.last_time.replace(timestamp) != Some(timestamp) {
            self.rate.picture(timestamp);
        }
        outcome.key |= starts_keyframe(&payload);
        let first = sequence + self.added;
        let mut payloads = Vec::new();
        cut(&payload, &mut payloads);
        let Some(last) = payloads.len().checked_sub(1) else {
            outcome.damaged += 1;
            return;
        };
        self.added += last as u64;
        outcome.packets.extend(
            payloads
                .into_iter()
                .enumerate()
                .map(|(at, payload)| SourcePacket::new(first + at as u64, timestamp, marker && at == last, payload)),
        );
    }
}

fn cut(payload: &Bytes, out: &mut Vec<Bytes>) {
    if payload.len() <= MAX_PAYLOAD {
        if payload.len() > 2 {
            out.push(payload.clone());
        }
        return;
    }
    let aggregate = type_of(payload) == Some(nal_type::AGGREGATION);
    for nal in nals(payload).map_while(Result::ok) {
        match nal {
            Nal::Whole(nal) if aggregate && nal.len() <= MAX_PAYLOAD => out.push(payload.slice_ref(nal)),
            Nal::Whole(nal) => {
                if let Some((&header, body)) = nal.split_first_chunk::<2>() {
                    pieces(header, true, true, body, out);
                }
            }
            Nal::Fragment { header, start, end, data } => pieces(header, start, end, data, out),
        }
    }
}

/// `start` and `end` say whether `data` reaches to the ends of its NAL unit.
fn pieces(header: [u8; 2], start: bool, end: bool, data: &[u8], out: &mut Vec<Bytes>) {
    let chunks = data.chunks(MAX_PAYLOAD - 3);
    let count = chunks.len();
    for (at, chunk) in chunks.enumerate() {
        let mut payload = BytesMut::with_capacity(3 + chunk.len());
        let [high, low] = header;
        payload.put_u8(high & 0x81 | nal_type::FRAGMENT << 1);
        payload.put_u8(low);
        let (first, last) = (start && at == 0, end && at + 1 == count);
        payload.put_u8(u8::from(first) << 7 | u8::from(last) << 6 | high >> 1 & 0x3f);
        payload.put_slice(chunk);
        out.push(payload.freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_unit_is_cut_and_whole_again() {
        let nal: Vec<u8> = [0x26, 0x01].into_iter().chain((0..3000u32).map(|i| i as u8)).collect();
        let mut out = Vec::new();
        cut(&Bytes::from(nal.clone()), &mut out);
        let mut whole = vec![0x26, 0x01];
        for payload in &out {
            assert!(payload.len() <= MAX_PAYLOAD);
            whole.extend_from_slice(&payload[3..]);
        }
        assert_eq!(whole, nal);
        let flags: Vec<u8> = out.iter().map(|payload| payload[2] >> 6).collect();
        assert_eq!(flags, [2, 0, 1]);
        assert_eq!(out[0][2] & 0x3f, 19, "IDR_W_RADL");
    }

    proptest! {
        #[test]
        fn any_payload_is_cut_to_size(bytes in proptest::collection::vec(any::<u8>(), 0..4000), kind in 0u8..64) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() { *first = kind << 1; }
            let mut out = Vec::new();
            cut(&Bytes::from(bytes), &mut out);
            prop_assert!(out.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        }
    }
}
