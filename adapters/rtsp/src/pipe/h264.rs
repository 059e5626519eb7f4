//! H.264: put together, looked at, and cut anew (RFC 6184 packetization mode 1), with
//! the parameter sets in-band before each IDR picture.
//!
//! Browsers show a stream in the order it comes, progressive, 8 bits, 4:2:0. What is
//! otherwise gets a notice: a declared reordering (VUI `max_num_reorder_frames`) at
//! once, an undeclared one with the first B slice.

use super::cut::Cutter;
use super::{FrameRate, Incoming, MAX_PAYLOAD, Outcome};
use crate::plan::{StreamPlan, VideoDescription, fmtp_parameter};
use bytes::Bytes;
use rongtong_media_core::media::{Codec, CodecParams};
use rongtong_media_core::room::SourcePacket;
use rongtong_media_core::rtp::access_unit::AccessUnit;
use rongtong_media_core::rtp::h264::{Depacketizer, Repacketizer, SpsInfo, nal_type, parse_sprop, type_of};
use rongtong_media_core::rtp::seq::Extender;

/// A keyframe of 4K at the highest quality is below this.
const MAX_ACCESS_UNIT: usize = 4 << 20;

pub struct H264Pipe {
    plan: StreamPlan,
    extender: Extender,
    cutter: Cutter,
    depacketizer: Depacketizer,
    repacketizer: Repacketizer,
    next_sequence: u64,
    waits_for_key: bool,
    sps: Option<(Bytes, SpsInfo)>,
    /// As it came in-band; cameras may keep several, by their identifiers (H.264 7.4.2.1.1).
    newest_sps: Option<Bytes>,
    b_slices: bool,
    rate: FrameRate,
}

impl H264Pipe {
    pub fn new(plan: &StreamPlan) -> Self {
        let mut repacketizer = Repacketizer::new(MAX_PAYLOAD, MAX_ACCESS_UNIT);
        let sprop = fmtp_parameter(&plan.codec.fmtp, "sprop-parameter-sets");
        if let Some(Ok(sets)) = sprop.map(parse_sprop) {
            repacketizer.set_parameter_sets(sets);
        }
        let mut pipe = Self {
            plan: plan.clone(),
            extender: Extender::default(),
            cutter: Cutter::new(Codec::H264),
            depacketizer: Depacketizer::new(MAX_ACCESS_UNIT),
            repacketizer,
            next_sequence: 0,
            waits_for_key: true,
            sps: None,
            newest_sps: None,
            b_slices: false,
            rate: FrameRate::default(),
        };
        pipe.learn_parameters();
        pipe
    }

    pub fn push(&mut self, packet: Incoming) -> Outcome {
        let sequence = self.extender.extend(packet.sequence).seq;
        self.cutter.fields = self.sps.as_ref().is_some_and(|(_, sps)| sps.interlaced);
        let mut outcome = Outcome::default();
        for packet in self.cutter.push(sequence, packet) {
            let units = self.depacketizer.push(packet.sequence, packet.timestamp, packet.marker, &packet.payload);
            for unit in units {
                self.access_unit(&unit, &mut outcome);
            }
        }
        outcome
    }

    /// A picture that is whole already.
    pub fn unit(&mut self, unit: &AccessUnit) -> Outcome {
        let mut outcome = Outcome::default();
        self.access_unit(unit, &mut outcome);
        outcome
    }

    /// `None` until a sequence parameter set is known.
    pub fn codec(&self) -> Option<CodecParams> {
        let (_, sps) = self.sps.as_ref()?;
        let fmtp =
            format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={}", sps.profile_level_id());
        Some(CodecParams { fmtp, ..CodecParams::h264() })
    }

    pub fn notice(&self) -> &'static str {
        let Some((_, sps)) = &self.sps else { return "" };
        let declared = sps.b_frames_possible() && sps.reorder_frames.is_some_and(|frames| frames > 0);
        if sps.interlaced {
            "interlaced"
        } else if self.b_slices || declared {
            "b-frames"
        } else if sps.chroma_format > 1 || sps.bit_depth_luma > 8 {
            "profile"
        } else {
            ""
        }
    }

    pub fn size(&self) -> (u32, u32) {
        self.sps.as_ref().map_or(self.plan.size.unwrap_or_default(), |(_, sps)| (sps.width, sps.height))
    }

    pub fn describe(&self) -> VideoDescription {
        let (width, height) = self.size();
        let declared = || self.sps.as_ref().and_then(|(_, sps)| sps.frames_per_second).map(|fps| fps as f32);
        let fps =
            if self.rate.fps > 0.0 { self.rate.fps } else { self.plan.framerate.or_else(declared).unwrap_or_default() };
        VideoDescription { codec: "h264".into(), width, height, fps, note: self.notice().into() }
    }

    fn access_unit(&mut self, unit: &AccessUnit, outcome: &mut Outcome) {
        let mut payloads = Vec::new();
        let result = self.repacketizer.packetize(unit, &mut payloads);
        if let Some(sps) = unit.nals.iter().rfind(|nal| type_of(nal) == Some(nal_type::SPS)) {
            self.newest_sps = Some(Bytes::copy_from_slice(sps));
        }
        let picture = unit.nals.iter().any(|nal| matches!(type_of(nal), Some(nal_type::SLICE..=nal_type::IDR)));
        if !picture && unit.complete {
            // Parameter sets that some cameras end with a marker of their own; they go out with the IDR picture.
            return;
        }
        if !unit.complete || result.no_parameter_sets {
            outcome.damaged += 1;
            self.lose();
            return;
        }
        self.rate.picture(unit.timestamp);
        if self.waits_for_key && !result.key {
            return;
        }
        self.waits_for_key = false;
        let notice = self.notice();
        self.b_slices |= result.b_slices;
        outcome.changed |= result.key && self.learn_parameters() || self.notice() != notice;
        if result.key {
            outcome.key = true;
        }
        let last = payloads.len().saturating_sub(1);
        for (at, payload) in payloads.into_iter().enumerate() {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            outcome.packets.push(SourcePacket::new(sequence, unit.timestamp, at == last, payload));
        }
    }

    /// Leaves a gap in the numbers and goes on with the next keyframe.
    fn lose(&mut self) {
        if !self.waits_for_key {
            self.waits_for_key = true;
            self.next_sequence += 1;
        }
    }

    /// Whether the sequence parameter set is another one than before: the newest of the stream, else the
    /// first of the description.
    fn learn_parameters(&mut self) -> bool {
        let first = || self.repacketizer.parameter_sets().sps.first().cloned();
        let Some(newest) = self.newest_sps.clone().or_else(first) else { return false };
        if self.sps.as_ref().is_some_and(|(known, _)| *known == newest) {
            return false;
        }
        match SpsInfo::parse(&newest) {
            Ok(info) => {
                self.sps = Some((newest, info));
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use proptest::prelude::*;
    use rongtong_media_core::rtp::h264::starts_keyframe;

    /// Constrained baseline, 640x360, and its picture parameter set.
    const SPROP: &str = "Z0LAFoxoCgL3lgHhEI1A,aM48gA==";

    fn sets() -> (Bytes, Bytes) {
        let decode = |text: &str| Bytes::from(base64::prelude::BASE64_STANDARD.decode(text).unwrap());
        let (sps, pps) = SPROP.split_once(',').unwrap();
        (decode(sps), decode(pps))
    }

    fn pipe(sprop: bool) -> H264Pipe {
        let mut codec = CodecParams::h264();
        codec.fmtp = if sprop { format!("packetization-mode=1; sprop-parameter-sets={SPROP}") } else { String::new() };
        let (framerate, size, formats) = (None, None, Vec::new());
        H264Pipe::new(&StreamPlan { index: 0, codec, notice: "", framerate, size, payload_type: 96, formats })
    }

    /// A slice of a picture: first_mb 0 and this slice_type in Exp-Golomb (7 is I, 5 is P, 6 is B), then filling.
    fn picture(header: u8, slice_type: u8, length: usize) -> Bytes {
        let mut nal = vec![
            header,
            match slice_type {
                7 => 0x88,
                6 => 0x9c,
                _ => 0x98,
            },
        ];
        nal.resize(length, 0x5a);
        Bytes::from(nal)
    }

    struct Camera {
        sequence: u16,
        timestamp: u32,
    }

    impl Camera {
        fn send(&mut self, pipe: &mut H264Pipe, payload: Bytes) -> Outcome {
            self.sequence = self.sequence.wrapping_add(1);
            self.timestamp = self.timestamp.wrapping_add(3_600);
            pipe.push(Incoming { sequence: self.sequence, timestamp: self.timestamp, marker: true, payload })
        }
    }

    #[test]
    fn a_keyframe_goes_out_small_with_its_parameter_sets_and_numbers_run_on() {
        let (mut pipe, mut camera) = (pipe(true), Camera { sequence: 65_534, timestamp: 0 });
        assert_eq!((pipe.size(), pipe.notice()), ((640, 360), ""));
        assert!(camera.send(&mut pipe, picture(0x41, 5, 100)).packets.is_empty(), "it begins with a keyframe");
        assert!(camera.send(&mut pipe, picture(0x65, 7, 5_000)).packets.is_empty(), "its marker may be wrong");
        let both = camera.send(&mut pipe, picture(0x41, 5, 100));
        assert!(both.key && starts_keyframe(&both.packets[0].payload));
        assert!(both.packets.iter().all(|packet| packet.payload.len() <= MAX_PAYLOAD));
        let ends: Vec<usize> = (0..both.packets.len()).filter(|at| both.packets[*at].marker).collect();
        assert_eq!(ends, [both.packets.len() - 2, both.packets.len() - 1]);
        let next = camera.send(&mut pipe, picture(0x41, 5, 100));
        assert_eq!(next.packets[0].sequence, both.packets.last().unwrap().sequence + 1);
    }

    #[test]
    fn after_a_loss_there_is_a_gap_and_then_a_keyframe() {
        let (mut pipe, mut camera) = (pipe(true), Camera { sequence: 7, timestamp: 0 });
        camera.send(&mut pipe, picture(0x65, 7, 500));
        let last = camera.send(&mut pipe, picture(0x41, 5, 100)).packets.last().unwrap().sequence;
        camera.sequence += 1;
        assert_eq!(camera.send(&mut pipe, picture(0x41, 5, 100)).damaged, 1);
        assert!(camera.send(&mut pipe, picture(0x41, 5, 100)).packets.is_empty());
        let key = camera.send(&mut pipe, picture(0x65, 7, 500));
        assert!(key.key && key.packets[0].sequence > last + 1);
    }

    #[test]
    fn without_parameter_sets_in_the_description_those_of_the_stream_count() {
        let (mut pipe, mut camera) = (pipe(false), Camera { sequence: 0, timestamp: 0 });
        let (sps, pps) = sets();
        assert!(pipe.codec().is_none());
        camera.send(&mut pipe, picture(0x65, 7, 50));
        assert_eq!(camera.send(&mut pipe, picture(0x65, 7, 50)).damaged, 2, "nobody could decode them");
        camera.send(&mut pipe, sps);
        camera.send(&mut pipe, pps);
        let key = camera.send(&mut pipe, picture(0x65, 7, 50));
        assert!(key.changed && key.key && pipe.codec().is_some());
    }

    #[test]
    fn an_undeclared_b_slice_changes_the_stream_once() {
        let (mut pipe, mut camera) = (pipe(true), Camera { sequence: 0, timestamp: 0 });
        camera.send(&mut pipe, picture(0x65, 7, 50));
        assert!(camera.send(&mut pipe, picture(0x01, 6, 50)).changed);
        assert_eq!(pipe.notice(), "b-frames");
        assert!(!camera.send(&mut pipe, picture(0x01, 6, 50)).changed);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn any_packets_are_survived_and_what_comes_out_fits(
            packets in proptest::collection::vec((any::<u16>(), 0u32..5, any::<bool>(), 0u8..40, 0usize..3_000, any::<u8>()), 0..40),
        ) {
            let mut pipe = pipe(true);
            let mut last = None;
            for (jump, time, marker, kind, length, fill) in packets {
                let mut payload = vec![fill; length];
                if let Some(first) = payload.first_mut() { *first = kind; }
                let packet = Incoming { sequence: jump % 8, timestamp: time, marker, payload: Bytes::from(payload) };
                let outcome = pipe.push(packet);
                for packet in &outcome.packets {
                    prop_assert!(packet.payload.len() <= MAX_PAYLOAD);
                    prop_assert!(last.is_none_or(|last| packet.sequence > last));
                    last = Some(packet.sequence);
                }
            }
        }
    }
}
