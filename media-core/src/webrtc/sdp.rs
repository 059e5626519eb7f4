//! Session descriptions (RFC 8866) as WebRTC uses them (RFC 8829, JSEP).
//!
//! Reading turns a peer's description into typed sections and refuses what we
//! could not keep; writing is plain text from typed values. Everything in a
//! description is bounded: sections, codecs, streams, lengths.

use crate::media::Codec;
use crate::rtp::ext;
use crate::shard::ExtensionIds;
use rtc_sdp::description::session::SessionDescription;
use std::fmt::Write as _;
use std::io::Cursor;

/// Largest description accepted, bytes.
pub const MAX_DESCRIPTION: usize = 512 * 1024;
pub(super) const MAX_SECTIONS: usize = 400;
const MAX_CODECS: usize = 128;

#[derive(Debug, thiserror::Error)]
pub enum SdpError {
    #[error("the peer's session description can't be read: {0}")]
    Malformed(String),
    #[error("the peer's session description is too large")]
    TooLarge,
    #[error("the peer's session description lacks {0}")]
    Missing(&'static str),
    #[error("the peer's session description asks for {0}, which is not supported")]
    Unsupported(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    Application,
    Audio,
    Video,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Inactive,
    RecvOnly,
    SendOnly,
    SendRecv,
}

impl Direction {
    pub fn sends(self) -> bool {
        matches!(self, Self::SendOnly | Self::SendRecv)
    }
    pub fn receives(self) -> bool {
        matches!(self, Self::RecvOnly | Self::SendRecv)
    }
    fn text(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::RecvOnly => "recvonly",
            Self::SendOnly => "sendonly",
            Self::SendRecv => "sendrecv",
        }
    }
}

/// One `a=rtpmap` with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCodec {
    pub pt: u8,
    pub name: String,
    pub clock_rate: u32,
    pub channels: u8,
    pub fmtp: String,
    pub feedback: Vec<String>,
}

impl RemoteCodec {
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_rtp_name(&self.name)
    }

    /// A value of `a=fmtp`.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.fmtp
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(k, _)| k.eq_ignore_ascii_case(key))
            .map(|(_, v)| v)
    }
}

#[derive(Clone, Debug)]
pub struct RemoteSection {
    pub kind: SectionKind,
    pub mid: String,
    pub rejected: bool,
    pub direction: Direction,
    pub codecs: Vec<RemoteCodec>,
    pub extensions: Vec<(u8, String)>,
    /// Stream and track of `a=msid`.
    pub msid: Option<(String, String)>,
    /// Media stream and its RTX, by `a=ssrc` and `a=ssrc-group:FID`.
    pub ssrcs: Vec<(u32, Option<u32>)>,
    /// Stream names of `a=simulcast:send`, lowest first.
    pub rids: Vec<String>,
    /// The simulcast line's own order, to be answered as it came.
    pub simulcast: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct RemoteDescription {
    pub ufrag: String,
    pub fingerprint: String,
    /// `active`, `passive`, `actpass`.
    pub setup: String,
    pub sections: Vec<RemoteSection>,
}

impl RemoteDescription {
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_DESCRIPTION {
            return Err(SdpError::TooLarge);
        }
        let parsed = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
            .map_err(|error| SdpError::Malformed(error.to_string()))?;
        if parsed.media_descriptions.len() > MAX_SECTIONS {
            return Err(SdpError::TooLarge);
        }
        let find = |key: &str| -> Option<String> {
            parsed.attribute(key).cloned().or_else(|| {
                parsed
                    .media_descriptions
                    .iter()
                    .filter(|media| media.media_name.port.value != 0 || media.has_attribute("bundle-only"))
                    .find_map(|media| media.attribute(key).flatten().map(str::to_owned))
            })
        };
        let ufrag = find("ice-ufrag").ok_or(SdpError::Missing("ice-ufrag"))?;
        let fingerprint = find("fingerprint").ok_or(SdpError::Missing("fingerprint"))?;
        let (hash, fingerprint) = fingerprint.split_once(' ').ok_or(SdpError::Missing("fingerprint"))?;
        if !hash.eq_ignore_ascii_case("sha-256") {
            return Err(SdpError::Unsupported("a certificate fingerprint other than SHA-256"));
        }
        let sections = parsed.media_descriptions.iter().map(section).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            ufrag,
            fingerprint: fingerprint.trim().to_owned(),
            setup: find("setup").unwrap_or_else(|| "actpass".into()),
            sections,
        })
    }

    /// Ids of the header extensions we know, over all sections of the bundle.
    pub fn extension_ids(&self) -> ExtensionIds {
        let mut ids = ExtensionIds::default();
        for (id, uri) in self.sections.iter().flat_map(|section| &section.extensions) {
            note_extension(&mut ids, *id, uri);
        }
        ids
    }
}

pub(super) fn note_extension(ids: &mut ExtensionIds, id: u8, uri: &str) {
    match uri {
        ext::ABS_SEND_TIME => ids.abs_send_time = id,
        ext::AUDIO_LEVEL => ids.audio_level = id,
        ext::MID => ids.mid = id,
        ext::PLAYOUT_DELAY => ids.playout_delay = id,
        ext::REPAIRED_RID => ids.repaired_rid = id,
        ext::RID => ids.rid = id,
        ext::TRANSPORT_CC => ids.transport_cc = id,
        ext::VIDEO_ORIENTATION => ids.video_orientation = id,
        _ => {}
    }
}

fn section(media: &rtc_sdp::description::media::MediaDescription) -> Result<RemoteSection, SdpError> {
    let kind = match media.media_name.media.as_str() {
        "audio" => SectionKind::Audio,
        "video" => SectionKind::Video,
        "application" => SectionKind::Application,
        _ => return Err(SdpError::Unsupported("a media kind other than audio, video, application")),
    };
    let mut out = RemoteSection {
        kind,
        mid: String::new(),
        rejected: media.media_name.port.value == 0 && !media.has_attribute("bundle-only"),
        direction: Direction::SendRecv,
        codecs: Vec::new(),
        extensions: Vec::new(),
        msid: None,
        ssrcs: Vec::new(),
        rids: Vec::new(),
        simulcast: Vec::new(),
    };
    if kind != SectionKind::Application {
        for format in media.media_name.formats.iter().take(MAX_CODECS) {
            if let Ok(pt) = format.parse::<u8>()
                && pt < 128
            {
                out.codecs.push(static_codec(pt));
            }
        }
    }
    let mut streams: Vec<u32> = Vec::new();
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for attribute in &media.attributes {
        let value = attribute.value.as_deref().unwrap_or_default();
        match attribute.key.as_str() {
            "mid" if value.len() <= 64 => out.mid = value.to_owned(),
            "inactive" => out.direction = Direction::Inactive,
            "recvonly" => out.direction = Direction::RecvOnly,
            "sendonly" => out.direction = Direction::SendOnly,
            "sendrecv" => out.direction = Direction::SendRecv,
            "rtpmap" => {
                if let Some((pt, map)) = numbered(value)
                    && let Some(codec) = out.codecs.iter_mut().find(|codec| codec.pt == pt)
                {
                    let mut parts = map.split('/');
                    codec.name = parts.next().unwrap_or_default().to_owned();
                    codec.clock_rate = parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
                    codec.channels = parts.next().and_then(|text| text.parse().ok()).unwrap_or(1);
                }
            }
            "fmtp" => {
                if let Some((pt, parameters)) = numbered(value)
                    && let Some(codec) = out.codecs.iter_mut().find(|codec| codec.pt == pt)
                {
                    codec.fmtp = parameters.to_owned();
                }
            }
            "rtcp-fb" => {
                let (which, feedback) = value.split_once(' ').unwrap_or_default();
                for codec in &mut out.codecs {
                    if (which == "*" || which.parse() == Ok(codec.pt)) && codec.feedback.len() < 16 {
                        codec.feedback.push(feedback.to_owned());
                    }
                }
            }
            "extmap" => {
                let (id, rest) = value.split_once(' ').unwrap_or_default();
                let id = id.split('/').next().and_then(|id| id.parse::<u8>().ok());
                if let (Some(id), Some(uri)) = (id, rest.split(' ').next())
                    && out.extensions.len() < 64
                {
                    out.extensions.push((id, uri.to_owned()));
                }
            }
            "msid" => {
                let (stream, track) = value.split_once(' ').unwrap_or((value, ""));
                out.msid = Some((stream.trim().to_owned(), track.trim().to_owned()));
            }
            "ssrc" => {
                if let Some(ssrc) = value.split(' ').next().and_then(|text| text.parse().ok())
                    && !streams.contains(&ssrc)
                    && streams.len() < 16
                {
                    streams.push(ssrc);
                }
            }
            "ssrc-group" => {
                let mut words = value.split(' ');
                if words.next() == Some("FID")
                    && let (Some(media), Some(rtx)) =
                        (words.next().and_then(|w| w.parse().ok()), words.next().and_then(|w| w.parse().ok()))
                    && pairs.len() < 16
                {
                    pairs.push((media, rtx));
                }
            }
            "simulcast" => {
                let mut words = value.split(' ');
                while let (Some(way), Some(list)) = (words.next(), words.next()) {
                    if way == "send" {
                        let name = |alternatives: &str| {
                            alternatives.split(',').next().unwrap_or_default().trim_start_matches('~').to_owned()
                        };
                        out.simulcast = list
                            .split(';')
                            .map(name)
                            .filter(|rid| !rid.is_empty() && rid.len() <= 16)
                            .take(3)
                            .collect();
                    }
                }
            }
            _ => {}
        }
    }
    let is_rtx = |ssrc: u32| pairs.iter().any(|&(_, rtx)| rtx == ssrc);
    out.ssrcs = streams
        .iter()
        .filter(|&&ssrc| !is_rtx(ssrc))
        .map(|&ssrc| (ssrc, pairs.iter().find(|&&(media, _)| media == ssrc).map(|&(_, rtx)| rtx)))
        .collect();
    out.rids = out.simulcast.clone();
    // `q`, `h`, `f` say how large they are; other names keep the order they were offered in.
    let rank = |rid: &str| ["q", "h", "f"].iter().position(|known| *known == rid);
    if out.rids.iter().all(|rid| rank(rid).is_some()) {
        out.rids.sort_by_key(|rid| rank(rid));
    }
    if out.mid.is_empty() {
        return Err(SdpError::Missing("a mid"));
    }
    Ok(out)
}

fn numbered(value: &str) -> Option<(u8, &str)> {
    let (pt, rest) = value.split_once(' ')?;
    Some((pt.parse().ok()?, rest.trim()))
}

/// Static payload types need no rtpmap (RFC 3551 6).
fn static_codec(pt: u8) -> RemoteCodec {
    let (name, clock_rate) = match pt {
        0 => ("PCMU", 8000),
        8 => ("PCMA", 8000),
        9 => ("G722", 8000),
        _ => ("", 0),
    };
    RemoteCodec { pt, name: name.into(), clock_rate, channels: 1, fmtp: String::new(), feedback: Vec::new() }
}

/// One codec of a section we write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCodec {
    pub pt: u8,
    /// `H264/90000`, `opus/48000/2`.
    pub map: String,
    pub fmtp: String,
    pub feedback: Vec<&'static str>,
}

/// A stream we announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalStream {
    pub ssrc: u32,
    pub rtx: Option<u32>,
    pub stream: String,
    pub track: String,
}

#[derive(Clone, Debug)]
pub struct LocalSection {
    pub kind: SectionKind,
    pub mid: String,
    pub rejected: bool,
    pub direction: Direction,
    pub codecs: Vec<LocalCodec>,
    pub extensions: Vec<(u8, &'static str)>,
    pub stream: Option<LocalStream>,
    /// Answered simulcast, in the offer's order.
    pub simulcast: Vec<String>,
    /// Formats to repeat when the section is rejected.
    pub formats: Vec<u8>,
}

/// What all sections of a description of ours share.
pub struct LocalTransport<'a> {
    pub ufrag: &'a str,
    pub password: &'a str,
    pub fingerprint: &'a str,
    /// `passive` in answers, `actpass` in offers.
    pub setup: &'a str,
    pub candidates: &'a [(std::net::SocketAddr, bool)],
    pub session_id: u64,
    pub version: u64,
}

/// Writes a description with one bundle.
pub fn write(transport: &LocalTransport<'_>, sections: &[LocalSection]) -> String {
    let mut out = String::with_capacity(2048 + sections.len() * 800);
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = out.write_fmt(text);
        out.push_str("\r\n");
    };
    line(format_args!("v=0"));
    line(format_args!("o=- {} {} IN IP4 0.0.0.0", transport.session_id, transport.version));
    line(format_args!("s=-"));
    line(format_args!("t=0 0"));
    let bundle: Vec<&str> =
        sections.iter().filter(|section| !section.rejected).map(|section| section.mid.as_str()).collect();
    if !bundle.is_empty() {
        line(format_args!("a=group:BUNDLE {}", bundle.join(" ")));
    }
    line(format_args!("a=msid-semantic: WMS *"));
    line(format_args!("a=ice-lite"));
    for section in sections {
        let port = if section.rejected { 0 } else { 9 };
        match section.kind {
            SectionKind::Application => {
                line(format_args!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel"));
            }
            kind => {
                let name = if kind == SectionKind::Audio { "audio" } else { "video" };
                let mut formats: Vec<String> = section.codecs.iter().map(|codec| codec.pt.to_string()).collect();
                if formats.is_empty() {
                    formats = section.formats.iter().map(u8::to_string).collect();
                }
                if formats.is_empty() {
                    formats.push("0".into());
                }
                line(format_args!("m={name} {port} UDP/TLS/RTP/SAVPF {}", formats.join(" ")));
            }
        }
        line(format_args!("c=IN IP4 0.0.0.0"));
        line(format_args!("a=mid:{}", section.mid));
        if section.rejected {
            line(format_args!("a=inactive"));
            continue;
        }
        line(format_args!("a=ice-ufrag:{}", transport.ufrag));
        line(format_args!("a=ice-pwd:{}", transport.password));
        line(format_args!("a=fingerprint:sha-256 {}", transport.fingerprint));
        line(format_args!("a=setup:{}", transport.setup));
        for (index, (address, tcp)) in transport.candidates.iter().enumerate() {
            // RFC 8445 5.1.2.1: host type preference 126; UDP is preferred over TCP by the local preference.
            let local = if *tcp { 0x7fff } else { 0xffff } - index as u32;
            let priority = (126u32 << 24) + (local << 8) + 255;
            let (ip, port) = (address.ip(), address.port());
            if *tcp {
                line(format_args!("a=candidate:{index} 1 tcp {priority} {ip} {port} typ host tcptype passive"));
            } else {
                line(format_args!("a=candidate:{index} 1 udp {priority} {ip} {port} typ host"));
            }
        }
        line(format_args!("a=end-of-candidates"));
        if section.kind == SectionKind::Application {
            line(format_args!("a=sctp-port:5000"));
            line(format_args!("a=max-message-size:{}", crate::session::data::MAX_MESSAGE));
            continue;
        }
        line(format_args!("a={}", section.direction.text()));
        line(format_args!("a=rtcp-mux"));
        line(format_args!("a=rtcp-rsize"));
        for (id, uri) in &section.extensions {
            line(format_args!("a=extmap:{id} {uri}"));
        }
        for codec in &section.codecs {
            line(format_args!("a=rtpmap:{} {}", codec.pt, codec.map));
            for feedback in &codec.feedback {
                line(format_args!("a=rtcp-fb:{} {feedback}", codec.pt));
            }
            if !codec.fmtp.is_empty() {
                line(format_args!("a=fmtp:{} {}", codec.pt, codec.fmtp));
            }
        }
        if !section.simulcast.is_empty() {
            for rid in &section.simulcast {
                line(format_args!("a=rid:{rid} recv"));
            }
            line(format_args!("a=simulcast:recv {}", section.simulcast.join(";")));
        }
        if let Some(stream) = &section.stream {
            line(format_args!("a=msid:{} {}", stream.stream, stream.track));
            if let Some(rtx) = stream.rtx {
                line(format_args!("a=ssrc-group:FID {} {rtx}", stream.ssrc));
            }
            for ssrc in std::iter::once(stream.ssrc).chain(stream.rtx) {
                line(format_args!("a=ssrc:{ssrc} cname:rongtong"));
                line(format_args!("a=ssrc:{ssrc} msid:{} {}", stream.stream, stream.track));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 102\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\na=mid:0\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
        a=sendonly\r\na=msid:s t\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\n\
        a=fmtp:97 apt=96\r\na=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n\
        a=rid:q send\r\na=rid:f send\r\na=simulcast:send f;q\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sctp-port:5000\r\n";

    #[test]
    fn an_offer_is_read_into_sections() {
        let offer = RemoteDescription::parse(OFFER).unwrap();
        assert_eq!(offer.ufrag, "abcd");
        let video = &offer.sections[0];
        assert_eq!(video.codecs[2].codec(), Some(Codec::H264));
        assert_eq!(video.codecs[1].parameter("apt"), Some("96"));
        assert_eq!(video.simulcast, ["f", "q"]);
        assert_eq!(video.rids, ["q", "f"]);
        assert_eq!(video.msid, Some(("s".into(), "t".into())));
        assert_eq!(offer.extension_ids().mid, 4);
        assert_eq!(offer.sections[1].kind, SectionKind::Application);
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let section = LocalSection {
            kind: SectionKind::Audio,
            mid: "0".into(),
            rejected: false,
            direction: Direction::SendOnly,
            codecs: vec![LocalCodec {
                pt: 111,
                map: "opus/48000/2".into(),
                fmtp: "minptime=10".into(),
                feedback: vec!["transport-cc"],
            }],
            extensions: vec![(1, ext::MID)],
            stream: Some(LocalStream { ssrc: 7, rtx: Some(8), stream: "PA_1|a".into(), track: "TR_1".into() }),
            simulcast: vec![],
            formats: vec![],
        };
        let transport = LocalTransport {
            ufrag: "u",
            password: "p",
            fingerprint: "AA",
            setup: "actpass",
            candidates: &[("127.0.0.1:1".parse().unwrap(), false)],
            session_id: 1,
            version: 1,
        };
        let read = RemoteDescription::parse(&write(&transport, &[section])).unwrap();
        assert_eq!(read.sections[0].ssrcs, [(7, Some(8))]);
        assert_eq!(read.sections[0].msid, Some(("PA_1|a".into(), "TR_1".into())));
        assert_eq!(read.sections[0].codecs[0].name, "opus");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn truncated_and_damaged_offers_never_panic(cut in 0usize..2000, at in 0usize..2000, byte in 0u8..128) {
            let mut bytes = OFFER.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut.min(bytes.len()));
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let _ = RemoteDescription::parse(text);
            }
        }
    }
}
