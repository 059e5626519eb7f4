//! Which streams of a camera are taken, and what is known of them before the first packet.
//!
//! One video and one audio stream at most. Format parameters come from the session
//! description (RFC 8866 6.15), which retina does not hand on as they are.

use rongtong_media_core::media::{Codec, CodecParams, Kind};
use serde::Serialize;

/// A stream that will be set up.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamPlan {
    /// retina's index of the stream.
    pub index: usize,
    pub codec: CodecParams,
    /// Why browsers won't be shown it as it is; empty when they can.
    pub notice: &'static str,
    /// `a=framerate`, frames per second.
    pub framerate: Option<f32>,
    /// Pixels, when the session description tells.
    pub size: Option<(u32, u32)>,
}

/// What the camera offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub video: Option<StreamPlan>,
    pub audio: Option<StreamPlan>,
    /// Encoding names of streams that no part of the server understands.
    pub unknown: Vec<String>,
}

/// A stream as the session description has it.
#[derive(Clone, Debug)]
pub struct Offered {
    pub media: String,
    /// In lower case.
    pub encoding: String,
    pub payload_type: u8,
    pub clock_rate: u32,
    pub channels: Option<u16>,
    pub framerate: Option<f32>,
    pub size: Option<(u32, u32)>,
}

/// A picture or a sound as the camera's page shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct VideoDescription {
    pub codec: String,
    /// Pixels; 0 until the stream has said so.
    pub width: u32,
    pub height: u32,
    /// Frames per second, measured; 0 until it is known.
    pub fps: f32,
    /// Why browsers don't show it (`b-frames`, `interlaced`, `h265`, `profile`); empty when they do.
    pub note: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AudioDescription {
    pub codec: String,
    /// Hz.
    pub rate: u32,
    /// Why browsers don't play it (`aac`, `g722`); empty when they do.
    pub note: String,
}

impl Plan {
    pub fn choose(offered: &[Offered], sdp: &[u8]) -> Self {
        let mut plan = Self::default();
        for (index, stream) in offered.iter().enumerate() {
            if stream.media != "video" && stream.media != "audio" {
                continue;
            }
            let Some((mut codec, notice)) = usable(stream) else {
                plan.unknown.push(stream.encoding.chars().take(32).collect());
                continue;
            };
            let slot = match codec.codec.kind() {
                Kind::Video => &mut plan.video,
                Kind::Audio => &mut plan.audio,
            };
            if slot.is_none() {
                codec.fmtp = fmtp(sdp, &stream.media, stream.payload_type).unwrap_or_default();
                *slot = Some(StreamPlan { index, codec, notice, framerate: stream.framerate, size: stream.size });
            }
        }
        plan
    }

    pub fn is_empty(&self) -> bool {
        self.video.is_none() && self.audio.is_none()
    }
}

fn usable(stream: &Offered) -> Option<(CodecParams, &'static str)> {
    let codec = Codec::from_rtp_name(&stream.encoding)?;
    let notice = match codec {
        Codec::Aac => "aac",
        Codec::G722 => "g722",
        Codec::H265 => "h265",
        Codec::H264 | Codec::Opus | Codec::Pcma | Codec::Pcmu => "",
        Codec::Av1 | Codec::Vp8 | Codec::Vp9 => return None,
    };
    if (codec.kind() == Kind::Video) != (stream.media == "video") || stream.clock_rate == 0 {
        return None;
    }
    let channels = match codec.kind() {
        Kind::Audio => stream.channels.unwrap_or(1).min(8) as u8,
        Kind::Video => 0,
    };
    Some((CodecParams { codec, clock_rate: stream.clock_rate, channels, fmtp: String::new() }, notice))
}

/// Value of the first `a=fmtp:<payload type>` in the first media section of this
/// kind that has the payload type, at most 4,000 bytes.
pub fn fmtp(sdp: &[u8], media: &str, payload_type: u8) -> Option<String> {
    let mut section = "";
    let text = std::str::from_utf8(sdp).unwrap_or_default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("m=") {
            section = rest.split(' ').next().unwrap_or_default();
        } else if section == media
            && let Some(rest) = line.strip_prefix("a=fmtp:")
            && let Some((number, value)) = rest.trim().split_once(' ')
            && number.parse() == Ok(payload_type)
            && value.len() <= 4_000
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

/// One parameter of an `a=fmtp` value.
pub fn fmtp_parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offered(media: &str, encoding: &str, payload_type: u8) -> Offered {
        Offered {
            media: media.into(),
            encoding: encoding.into(),
            payload_type,
            clock_rate: 90_000,
            channels: None,
            framerate: None,
            size: None,
        }
    }

    const SDP: &[u8] =
        b"v=0\r\nm=video 0 RTP/AVP 96\r\na=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0I=,aM4=\r\n\
        m=audio 0 RTP/AVP 96\r\na=fmtp:96 streamtype=5;config=1408\r\n";

    #[test]
    fn the_first_usable_stream_of_each_kind_is_taken_with_its_parameters() {
        let streams = [
            offered("application", "vnd.onvif.metadata", 107),
            offered("video", "jpeg", 26),
            offered("video", "h264", 96),
            offered("video", "h265", 97),
            offered("audio", "mpeg4-generic", 96),
        ];
        let plan = Plan::choose(&streams, SDP);
        let (video, audio) = (plan.video.unwrap(), plan.audio.unwrap());
        assert_eq!((video.index, video.notice), (2, ""));
        assert_eq!(fmtp_parameter(&video.codec.fmtp, "Sprop-Parameter-Sets"), Some("Z0I=,aM4="));
        assert_eq!((audio.index, audio.notice), (4, "aac"));
        assert_eq!(fmtp_parameter(&audio.codec.fmtp, "config"), Some("1408"));
        assert_eq!(plan.unknown, ["jpeg"]);
    }

    proptest! {
        #[test]
        fn any_session_description_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..150) {
            fmtp(&bytes, "video", 96);
            let mut cut_sdp = SDP.to_vec();
            cut_sdp.truncate(cut);
            cut_sdp.extend_from_slice(&bytes);
            if let Some(value) = fmtp(&cut_sdp, "video", 96) {
                fmtp_parameter(&value, "sprop-parameter-sets");
            }
        }
    }
}
