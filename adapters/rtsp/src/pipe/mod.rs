//! From the camera's RTP packets to a room's: payloads of at most 1,200 bytes with
//! continuous numbers, and what the stream turns out to be.
//!
//! Invariant: a gap in the numbers that come out means that something was lost, and
//! after a gap H.264 goes on with a keyframe, so that nobody is shown a broken picture.

mod cut;
mod h264;
mod h265;
mod plain;

pub use h264::H264Pipe;

use crate::plan::{AudioDescription, StreamPlan, VideoDescription, aac};
use bytes::Bytes;
use h265::H265Pipe;
use plain::PlainPipe;
use rongtong_media_core::media::{Codec, Kind, Source};
use rongtong_media_core::room::{Layer, LayerQuality, SourcePacket, TrackSpec};
use rongtong_media_core::rtp::access_unit::AccessUnit;

/// Longest payload a room takes, bytes.
pub const MAX_PAYLOAD: usize = 1_200;

/// One RTP packet of the camera.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Bytes,
}

/// What came of a packet.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The stream is not what it was: codec parameters or size. Tell the rooms before writing.
    pub changed: bool,
    pub packets: Vec<SourcePacket>,
    /// The packets begin with a keyframe.
    pub key: bool,
    /// So many pictures could not be used: packets lost or malformed.
    pub damaged: u32,
}

/// One stream of one session.
pub enum Pipe {
    H264(Box<H264Pipe>),
    H265(H265Pipe),
    Plain(PlainPipe),
}

impl Pipe {
    pub fn new(plan: &StreamPlan) -> Self {
        match plan.codec.codec {
            Codec::H264 => Self::H264(Box::new(H264Pipe::new(plan))),
            Codec::H265 => Self::H265(H265Pipe::new(plan)),
            _ => Self::Plain(PlainPipe::new(plan)),
        }
    }

    pub fn push(&mut self, packet: Incoming) -> Outcome {
        match self {
            Self::H264(pipe) => pipe.push(packet),
            Self::H265(pipe) => pipe.push(packet),
            Self::Plain(pipe) => pipe.push(packet),
        }
    }

    /// A whole picture; the stream's packets come from here alone.
    pub fn unit(&mut self, unit: &AccessUnit) -> Outcome {
        match self {
            Self::H264(pipe) => pipe.unit(unit),
            Self::H265(pipe) => pipe.unit(unit),
            Self::Plain(_) => Outcome::default(),
        }
    }

    /// Sound in packets that need no order.
    pub fn sound(&mut self, timestamp: u32, payload: Bytes) -> Outcome {
        match self {
            Self::Plain(pipe) => pipe.sound(timestamp, payload),
            Self::H264(_) | Self::H265(_) => Outcome::default(),
        }
    }

    /// How to publish it; `None` while the stream has not said enough.
    pub fn spec(&self, name: &str) -> Option<TrackSpec> {
        let (codec, notice, size) = match self {
            Self::H264(pipe) => (pipe.codec()?, pipe.notice(), pipe.size()),
            Self::H265(pipe) => (pipe.plan().codec.clone(), pipe.plan().notice, pipe.plan().size.unwrap_or_default()),
            Self::Plain(pipe) => (pipe.plan().codec.clone(), pipe.plan().notice, (0, 0)),
        };
        let source = match codec.codec.kind() {
            Kind::Audio => Source::Microphone,
            Kind::Video => Source::Camera,
        };
        let mut spec = TrackSpec::new(source, codec);
        spec.name = name.to_owned();
        spec.notice = notice.to_owned();
        (spec.width, spec.height) = size;
        if spec.kind == Kind::Video {
            spec.layers = vec![Layer { quality: LayerQuality::High, width: size.0, height: size.1, bitrate: 0 }];
        }
        Some(spec)
    }

    /// Width and height in pixels; 0 while they are unknown, and of sound.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::H264(pipe) => pipe.size(),
            Self::H265(pipe) => pipe.plan().size.unwrap_or_default(),
            Self::Plain(_) => (0, 0),
        }
    }

    pub fn video(&self) -> Option<VideoDescription> {
        match self {
            Self::H264(pipe) => Some(pipe.describe()),
            Self::H265(pipe) => Some(pipe.describe()),
            Self::Plain(_) => None,
        }
    }

    pub fn audio(&self) -> Option<AudioDescription> {
        match self {
            Self::Plain(pipe) => {
                let codec = &pipe.plan().codec;
                let rate = match codec.codec {
                    Codec::Aac => aac(&codec.fmtp).map_or(codec.clock_rate, |(rate, _)| rate),
                    // Its RTP clock is a mistake that stays (RFC 3551 4.5.2).
                    Codec::G722 => 16_000,
                    _ => codec.clock_rate,
                };
                Some(AudioDescription {
                    codec: codec.codec.rtp_name().to_ascii_lowercase(),
                    rate,
                    channels: codec.channels,
                    note: pipe.plan().notice.to_owned(),
                })
            }
            Self::H264(_) | Self::H265(_) => None,
        }
    }
}

/// Measures frames per second from the RTP times (90 kHz) of pictures in the order they come.
#[derive(Default)]
struct FrameRate {
    window: Option<(u32, u32)>,
    fps: f32,
}

impl FrameRate {
    fn picture(&mut self, timestamp: u32) {
        const TWO_SECONDS: u32 = 180_000;
        let (start, count) = *self.window.get_or_insert((timestamp, 0));
        let ticks = timestamp.wrapping_sub(start);
        if ticks > 10 * TWO_SECONDS {
            self.window = Some((timestamp, 1));
        } else if ticks >= TWO_SECONDS {
            let fps = count as f32 * 90_000.0 / ticks as f32;
            self.fps = (fps * 10.0).round() / 10.0;
            self.window = Some((timestamp, 1));
        } else {
            self.window = Some((start, count + 1));
        }
    }
}
