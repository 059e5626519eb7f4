//! What a track carries: kinds, codecs, and one RTP packet inside the house.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Audio,
    Video,
}

/// What a track shows, as LiveKit and the console name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Camera,
    Microphone,
    ScreenShare,
    ScreenShareAudio,
    #[default]
    Unknown,
}

/// A codec as RTP payload formats name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// MPEG-4 AAC, RFC 3640. Recorded, not forwarded to browsers.
    Aac,
    Av1,
    /// RFC 7741's older relatives and newer ones keep their usual names.
    G722,
    H264,
    H265,
    Opus,
    Pcma,
    Pcmu,
    Vp8,
    Vp9,
}

impl Codec {
    pub fn kind(self) -> Kind {
        match self {
            Self::Aac | Self::G722 | Self::Opus | Self::Pcma | Self::Pcmu => Kind::Audio,
            Self::Av1 | Self::H264 | Self::H265 | Self::Vp8 | Self::Vp9 => Kind::Video,
        }
    }

    /// The encoding name of `a=rtpmap`.
    pub fn rtp_name(self) -> &'static str {
        match self {
            Self::Aac => "MPEG4-GENERIC",
            Self::Av1 => "AV1",
            Self::G722 => "G722",
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Opus => "opus",
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
        }
    }

    /// From `a=rtpmap`'s encoding name, in any case.
    pub fn from_rtp_name(name: &str) -> Option<Self> {
        [
            Self::Aac,
            Self::Av1,
            Self::G722,
            Self::H264,
            Self::H265,
            Self::Opus,
            Self::Pcma,
            Self::Pcmu,
            Self::Vp8,
            Self::Vp9,
        ]
        .into_iter()
        .find(|codec| codec.rtp_name().eq_ignore_ascii_case(name))
    }

    /// `video/H264`, `audio/opus`.
    pub fn mime(self) -> String {
        let kind = match self.kind() {
            Kind::Audio => "audio",
            Kind::Video => "video",
        };
        format!("{kind}/{}", self.rtp_name())
    }
}

/// A codec with the parameters its decoder must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecParams {
    pub codec: Codec,
    /// RTP clock, Hz (8000 for G.722 although it samples at 16 kHz, RFC 3551 4.5.2).
    pub clock_rate: u32,
    pub channels: u8,
    /// `a=fmtp` parameters as `key=value;…`; empty when there are none.
    pub fmtp: String,
}

impl CodecParams {
    pub fn opus() -> Self {
        Self { codec: Codec::Opus, clock_rate: 48_000, channels: 2, fmtp: "minptime=10;useinbandfec=1".into() }
    }
    pub fn pcma() -> Self {
        Self { codec: Codec::Pcma, clock_rate: 8_000, channels: 1, fmtp: String::new() }
    }
    pub fn pcmu() -> Self {
        Self { codec: Codec::Pcmu, clock_rate: 8_000, channels: 1, fmtp: String::new() }
    }
    /// Constrained baseline 3.1, packetization mode 1, unless the source says otherwise.
    pub fn h264() -> Self {
        Self {
            codec: Codec::H264,
            clock_rate: 90_000,
            channels: 0,
            fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
        }
    }
    pub fn video(codec: Codec) -> Self {
        Self { codec, clock_rate: 90_000, channels: 0, fmtp: String::new() }
    }
}

/// Sound level of one packet, RFC 6464: 0 is loudest, 127 silence, in −dBov.
pub use crate::rtp::ext::AudioLevel;

/// One RTP packet of a track on its way through the house. Cloning shares the payload.
#[derive(Clone, Debug)]
pub struct MediaPacket {
    /// Extended sequence number: continuous, no wrap.
    pub sequence: u64,
    /// Extended RTP time in the codec's clock: no wrap.
    pub time: u64,
    pub marker: bool,
    /// Payload in the codec's RTP format, after header extensions and padding are gone.
    pub payload: Bytes,
    pub arrival: Instant,
    /// When it was captured, as far as anybody knows ([`crate::clock::StreamClock`]): room time, ns since the Unix epoch.
    pub room_ns: i64,
    pub level: Option<AudioLevel>,
    /// The RFC 2198 payload this one was unpacked from, for subscribers who take `opus/red`.
    pub red: Option<Bytes>,
}

/// Whether the peer behind a track can be asked for a keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyframes {
    /// It can't: the shard keeps the newest group of pictures and bursts it to new viewers.
    Cached,
    /// It can: requests arrive at [`TrackSource::keyframe_wanted`].
    OnRequest,
}

/// Longest payload of a fed packet that goes out to browsers, bytes: with RTP header, extensions, RTX
/// number, SRTP tag, UDP and IPv6 it fits an Ethernet frame. Adapters that cut aim at 1,200.
pub const MAX_FED_PAYLOAD: usize = 1_400;

/// One RTP packet as an adapter hands it in. `payload` follows the codec's RTP
/// format; one longer than [`MAX_FED_PAYLOAD`] is dropped and counted, except where no browser takes
/// the codec (AAC).
#[derive(Clone, Debug)]
pub struct SourcePacket {
    /// Extended sequence number; a gap means loss.
    pub sequence: u64,
    /// RTP time in the codec's clock; wraps.
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Bytes,
    /// Room time of its capture, ns, where the adapter knows it; else it is found by arrival and sender reports.
    pub captured: Option<i64>,
    /// Sound level, where it is known.
    pub level: Option<AudioLevel>,
    /// Of a track in several layers, 0 the lowest. Each has its own numbers and times.
    pub layer: usize,
}

impl SourcePacket {
    pub fn new(sequence: u64, timestamp: u32, marker: bool, payload: Bytes) -> Self {
        Self { sequence, timestamp, marker, payload, captured: None, level: None, layer: 0 }
    }
}

/// Whether a message may get lost on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    Lossy,
    Reliable,
}
