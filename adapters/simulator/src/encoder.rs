//! H.264 constrained baseline (ITU-T H.264 A.2.1.1) by OpenH264: no B-frames, one
//! slice a picture, a keyframe every so many frames and whenever one is asked for.

use crate::config::CameraSpec;
use crate::picture::Picture;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile, RateControlMode,
};
use openh264::formats::YUVSlices;
use openh264::{OpenH264API, Timestamp};
use std::time::Duration;

/// One coded picture.
pub struct AccessUnit {
    pub key: bool,
    /// NAL units without start codes, in order.
    pub nals: Vec<Vec<u8>>,
}

pub struct VideoEncoder {
    encoder: Encoder,
}

impl VideoEncoder {
    pub fn new(spec: &CameraSpec) -> Result<Self, openh264::Error> {
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(spec.bitrate))
            .max_frame_rate(FrameRate::from_hz(spec.fps as f32))
            .rate_control_mode(RateControlMode::Bitrate)
            .skip_frames(true)
            .profile(Profile::Baseline)
            .complexity(Complexity::Low)
            .scene_change_detect(false)
            .adaptive_quantization(false)
            .background_detection(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(spec.fps * spec.gop_seconds))
            .num_threads(1);
        Ok(Self { encoder: Encoder::with_api_config(OpenH264API::from_source(), config)? })
    }

    /// `None` when the encoder left the picture out.
    pub fn encode(
        &mut self,
        picture: &Picture,
        at: Duration,
        key: bool,
    ) -> Result<Option<AccessUnit>, openh264::Error> {
        let (width, height) = picture.dimensions();
        let source = YUVSlices::new(picture.planes(), (width, height), (width, width / 2, width / 2));
        if key {
            self.encoder.force_intra_frame();
        }
        let coded = self.encoder.encode_at(&source, Timestamp::from_millis(at.as_millis() as u64))?;
        if matches!(coded.frame_type(), FrameType::Skip | FrameType::Invalid) {
            return Ok(None);
        }
        let mut nals = Vec::new();
        for layer in (0..coded.num_layers()).filter_map(|index| coded.layer(index)) {
            nals.extend((0..layer.nal_count()).filter_map(|index| layer.nal_unit(index)).map(without_start_code));
        }
        nals.retain(|nal| !nal.is_empty());
        Ok(Some(AccessUnit { key: coded.frame_type() == FrameType::IDR, nals }))
    }
}

/// Sequence and picture parameter set of a camera's stream, as SDP carries them.
pub fn parameter_sets(spec: &CameraSpec) -> Result<(Vec<u8>, Vec<u8>), openh264::Error> {
    let picture = Picture::new(spec.width as usize, spec.height as usize, "", 0);
    let unit = VideoEncoder::new(spec)?.encode(&picture, Duration::ZERO, false)?;
    let nals = unit.map(|unit| unit.nals).unwrap_or_default();
    let of_type = |wanted: u8| nals.iter().find(|nal| nal.first().is_some_and(|first| first & 0x1f == wanted)).cloned();
    of_type(7).zip(of_type(8)).ok_or_else(|| openh264::Error::msg("the first picture came without parameter sets"))
}

fn without_start_code(nal: &[u8]) -> Vec<u8> {
    let zeros = nal.iter().take_while(|byte| **byte == 0).count();
    match nal.get(zeros) {
        Some(1) if zeros >= 2 => nal.get(zeros + 1..).unwrap_or_default().to_vec(),
        _ => nal.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_constrained_baseline_with_keyframes_on_time_and_on_demand() {
        let spec = CameraSpec { gop_seconds: 1, ..CameraSpec::demo(0) }.bounded();
        let (sps, pps) = parameter_sets(&spec).unwrap();
        assert_eq!(sps[1], 66, "profile_idc");
        assert_eq!(sps[2] & 0x40, 0x40, "constraint_set1_flag");
        assert!(!pps.is_empty());

        let mut encoder = VideoEncoder::new(&spec).unwrap();
        let mut picture = Picture::new(640, 360, "T", 0);
        let mut keys = Vec::new();
        for index in 0..40u64 {
            let at = Duration::from_millis(index * 66);
            picture.draw(index, at, at);
            let unit = encoder.encode(&picture, at, index == 20).unwrap().expect("no frame is skipped");
            if unit.key {
                keys.push(index);
                assert_eq!(unit.nals[0], sps, "parameter sets never change");
            }
        }
        assert!(keys.starts_with(&[0, 15, 20]), "{keys:?}");
    }
}
