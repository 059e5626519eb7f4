//! A few seconds of a camera's picture, coded at once.

use crate::config::CameraSpec;
use crate::encoder::VideoEncoder;
use crate::picture::Picture;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One coded picture.
pub struct Frame {
    pub key: bool,
    /// NAL units without start codes, parameter sets before a keyframe.
    pub nals: Vec<Vec<u8>>,
}

/// So many seconds of the picture, with a keyframe at the beginning and every [`CameraSpec::gop_seconds`].
pub fn film(spec: &CameraSpec, seconds: u32) -> Result<Vec<Frame>, openh264::Error> {
    let mut encoder = VideoEncoder::new(spec)?;
    let mut picture = Picture::new(spec.width as usize, spec.height as usize, &spec.name, spec.hue);
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut frames = Vec::new();
    let every = u64::from((spec.fps * spec.gop_seconds).max(1));
    for number in 0..u64::from(spec.fps * seconds) {
        let at = Duration::from_micros(number * 1_000_000 / u64::from(spec.fps.max(1)));
        picture.draw(number, at, began + at);
        if let Some(unit) = encoder.encode(&picture, at, number % every == 0)? {
            frames.push(Frame { key: unit.key, nals: unit.nals });
        }
    }
    Ok(frames)
}
