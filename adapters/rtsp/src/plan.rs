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
    /// Of its packets.
    pub payload_type: u8,
    /// What the other payload types mean that it may change to.
    pub(crate) formats: Vec<Format>,
}

/// One payload type of a stream; `None` when no part of the server understands it.
pub(crate) type Format = (u8, Option<(CodecParams, &'static str)>);

impl StreamPlan {
    /// The stream when its packets have another payload type from now on; `None` when that is unknown
    /// or not understood. A dynamic one in place of another, never described, changes nothing else.
    pub fn turned(&self, payload_type: u8) -> Option<Self> {
        let described = self.formats.iter().find(|(number, _)| *number == payload_type);
        let (codec, notice) = match described {
            Some((_, format)) => format.clone()?,
            None if payload_type.min(self.payload_type) >= FIRST_DYNAMIC => (self.codec.clone(), self.notice),
            None => return None,
        };
        Some(Self { payload_type, codec, notice, ..self.clone() })
    }

    /// Whether packets of the other plan go on where those of this one end.
    pub fn goes_on_as(&self, other: &Self) -> bool {
        goes_on((&self.codec, self.notice), (&other.codec, other.notice))
    }
}

/// Whether a stream can become another one within a track: who subscribed may keep on, and their
/// decoders find in the stream itself whatever is new. H.264 and H.265 have their parameter sets there
/// (RFC 6184 8.2.2, RFC 7798 7.2.2); sound is described outside it alone.
pub fn goes_on((was, notice): (&CodecParams, &str), (is, new_notice): (&CodecParams, &str)) -> bool {
    let alike = (was.codec, was.clock_rate, was.channels) == (is.codec, is.clock_rate, is.channels);
    alike && notice == new_notice && (is.codec.kind() == Kind::Video || was.fmtp == is.fmtp)
}

/// What the camera offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub video: Option<StreamPlan>,
    pub audio: Option<StreamPlan>,
    /// The first stream of each kind that no part of the server understands, when there is no other.
    pub refused_video: Option<VideoDescription>,
    pub refused_audio: Option<AudioDescription>,
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
    /// Why browsers don't show it (`b-frames`, `interlaced`, `h265`, `profile`), or why nothing is done with
    /// it (`unsupported`); empty when they do.
    pub note: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AudioDescription {
    pub codec: String,
    /// Samples a second, Hz.
    pub rate: u32,
    pub channels: u8,
    /// Why browsers don't play it (`aac`, `g722`, `audio-rate`: G.711 of another form than 8 kHz mono), or why
    /// nothing is done with it (`unsupported`); empty when they do.
    pub note: String,
}

impl Plan {
    pub fn choose(offered: &[Offered], sdp: &[u8]) -> Self {
        let mut plan = Self::default();
        for (index, stream) in offered.iter().enumerate() {
            if stream.media != "video" && stream.media != "audio" {
                continue;
            }
            let parameters = fmtp(sdp, &stream.media, stream.payload_type).unwrap_or_default();
            let Some((codec, notice)) = usable(stream, parameters) else {
                plan.refuse(stream);
                continue;
            };
            let slot = match codec.codec.kind() {
                Kind::Video => &mut plan.video,
                Kind::Audio => &mut plan.audio,
            };
            if slot.is_none() {
                *slot = Some(StreamPlan {
                    index,
                    codec,
                    notice,
                    framerate: stream.framerate,
                    size: stream.size,
                    payload_type: stream.payload_type,
                    formats: formats(sdp, index, stream),
                });
            }
        }
        if plan.video.is_some() {
            plan.refused_video = None;
        }
        if plan.audio.is_some() {
            plan.refused_audio = None;
        }
        plan
    }

    fn refuse(&mut self, stream: &Offered) {
        let codec = stream.encoding.chars().take(32).collect();
        let note = "unsupported".to_owned();
        if stream.media == "audio" {
            let channels = stream.channels.unwrap_or(1).min(u16::from(u8::MAX)) as u8;
            self.refused_audio.get_or_insert(AudioDescription { codec, rate: stream.clock_rate, channels, note });
        } else {
            let (width, height) = stream.size.unwrap_or_default();
            let fps = stream.framerate.unwrap_or_default();
            self.refused_video.get_or_insert(VideoDescription { codec, width, height, fps, note });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.video.is_none() && self.audio.is_none()
    }
}

fn usable(stream: &Offered, fmtp: String) -> Option<(CodecParams, &'static str)> {
    let codec = Codec::from_rtp_name(&stream.encoding)?;
    if (codec.kind() == Kind::Video) != (stream.media == "video") || stream.clock_rate == 0 {
        return None;
    }
    let mut channels = stream.channels;
    let notice = match codec {
        Codec::Aac => {
            let (_, described) = aac(&fmtp)?;
            channels = described.or(channels);
            "aac"
        }
        Codec::G722 => "g722",
        Codec::H265 => "h265",
        // Browsers have it as RFC 7874 3 asks: 8 kHz, one channel.
        Codec::Pcma | Codec::Pcmu if stream.clock_rate != 8_000 || channels.unwrap_or(1) != 1 => "audio-rate",
        Codec::H264 | Codec::Opus | Codec::Pcma | Codec::Pcmu => "",
        Codec::Av1 | Codec::Vp8 | Codec::Vp9 => return None,
    };
    let channels = match codec.kind() {
        Kind::Audio => channels.unwrap_or(1).min(8) as u8,
        Kind::Video => 0,
    };
    Some((CodecParams { codec, clock_rate: stream.clock_rate, channels, fmtp }, notice))
}

/// Sampling rate in Hz and, where it is told, the number of channels, from the AudioSpecificConfig
/// (ISO/IEC 14496-3 1.6.2.1) of a description by RFC 3640; `None` when it is no such one.
pub fn aac(fmtp: &str) -> Option<(u32, Option<u16>)> {
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    let number = |name| fmtp_parameter(fmtp, name).map_or(Some(0), |text| text.parse::<u32>().ok());
    if number("sizelength")? == 0 || number("indexlength")? != number("indexdeltalength")? {
        return None;
    }
    let config: String = fmtp_parameter(fmtp, "config")?.chars().take(16).collect();
    if config.len() < 4 || !config.is_ascii() {
        return None;
    }
    let bits = u64::from_str_radix(&format!("{config:0<16}"), 16).ok()?;
    let read = |from: u32, count: u32| (bits << from >> (64 - count)) as u32;
    // An object type of 31 and more has six bits more.
    let at = if read(0, 5) == 31 { 11 } else { 5 };
    let (rate, at) = match read(at, 4) {
        15 => (read(at + 4, 24), at + 28),
        index => (*RATES.get(index as usize)?, at + 4),
    };
    let channels = match read(at, 4) {
        count @ 1..=6 => Some(count as u16),
        7 => Some(8),
        _ => None,
    };
    (rate > 0).then_some((rate, channels))
}

/// What the payload types mean of the stream that is described with the line `m=` of this index, and
/// those that mean the same everywhere (RFC 3551 6).
fn formats(sdp: &[u8], index: usize, stream: &Offered) -> Vec<Format> {
    let text = std::str::from_utf8(sdp).unwrap_or_default();
    let section = text.split("\nm=").nth(index + 1).unwrap_or_default();
    let mut found: Vec<Format> = Vec::new();
    for line in section.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")).take(MOST_FORMATS) {
        let Some((number, map)) = line.trim().split_once(' ') else { continue };
        let (Ok(payload_type), mut map) = (number.parse(), map.trim().split('/')) else { continue };
        let (encoding, rate, channels) = (map.next().unwrap_or_default(), map.next(), map.next());
        let clock_rate = rate.and_then(|rate| rate.parse().ok()).unwrap_or_default();
        let channels = channels.and_then(|channels| channels.parse().ok());
        let offered =
            Offered { encoding: encoding.to_ascii_lowercase(), payload_type, clock_rate, channels, ..stream.clone() };
        let parameters = fmtp(sdp, &stream.media, payload_type).unwrap_or_default();
        found.push((payload_type, usable(&offered, parameters)));
    }
    for (payload_type, encoding) in [(0, "pcmu"), (8, "pcma"), (9, "g722")] {
        if !found.iter().any(|(number, _)| *number == payload_type) {
            let encoding = encoding.to_owned();
            let offered = Offered { encoding, payload_type, clock_rate: 8_000, channels: Some(1), ..stream.clone() };
            found.push((payload_type, usable(&offered, String::new())));
        }
    }
    found
}

/// Payload types below mean the same everywhere, or are not to be used (RFC 3551 6).
const FIRST_DYNAMIC: u8 = 96;
const MOST_FORMATS: usize = 32;

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
        m=audio 0 RTP/AVP 96\r\na=fmtp:96 streamtype=5;sizelength=13;indexlength=3;indexdeltalength=3;config=1408\r\n";

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
        assert_eq!(plan.refused_video, None, "another one is taken");
    }

    #[test]
    fn a_payload_type_turns_a_stream_into_what_is_described_or_means_the_same_everywhere() {
        let sdp = b"v=0\r\nm=audio 0 RTP/AVP 8 97 98\r\na=rtpmap:97 PCMA/8000\r\na=rtpmap:98 PCMA/16000/2\r\n";
        let stream = Offered { clock_rate: 8_000, ..offered("audio", "pcma", 8) };
        let audio = Plan::choose(&[stream], sdp).audio.unwrap();
        let turned = |number| audio.turned(number).map(|plan| (plan.codec.codec, plan.notice, audio.goes_on_as(&plan)));
        assert_eq!(turned(97), Some((Codec::Pcma, "", true)));
        assert_eq!(turned(98), Some((Codec::Pcma, "audio-rate", false)));
        assert_eq!(turned(0), Some((Codec::Pcmu, "", false)));
        assert_eq!((turned(3), turned(110)), (None, None));
    }

    #[test]
    fn aac_says_its_rate_and_channels() {
        let of = |config: &str| aac(&format!("sizelength=13;indexlength=3;indexdeltalength=3;config={config}"));
        assert_eq!(of("1588"), Some((8_000, Some(1))));
        assert_eq!(of("1410"), Some((16_000, Some(2))));
        assert_eq!(of("1290"), Some((32_000, Some(2))));
        assert_eq!(of("1210"), Some((44_100, Some(2))));
        assert_eq!(of("1188"), Some((48_000, Some(1))));
        assert_eq!(of("17802b1408"), Some((22_056, Some(1))), "a rate of no index");
        assert_eq!((of("15"), of("1f9"), aac("config=1588")), (None, None, None));
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
