//! Which codec of an offer is taken, and how ours are written.

use super::sdp::{LocalCodec, RemoteCodec, RemoteSection};
use crate::media::{Codec, CodecParams, Kind};
use crate::room::CodecPolicy;
use crate::shard::PayloadMap;

/// Lost sound is asked for again, too; browsers take part when their client says so.
const AUDIO_FEEDBACK: [&str; 2] = ["transport-cc", "nack"];
const VIDEO_FEEDBACK: [&str; 4] = ["transport-cc", "ccm fir", "nack", "nack pli"];

/// Payload types of descriptions that we start (RFC 3551 leaves 96–127 to us).
const OPUS: u8 = 111;
const RED: u8 = 63;

/// Codecs a room of this policy takes from publishers, best first.
pub fn publishable(policy: CodecPolicy, kind: Kind) -> &'static [Codec] {
    match (policy, kind) {
        (_, Kind::Audio) => &[Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu],
        (CodecPolicy::H264, Kind::Video) => &[Codec::H264],
        (CodecPolicy::Any | CodecPolicy::PreferH264, Kind::Video) => &[Codec::H264, Codec::Vp8],
    }
}

/// The announced codec, or what a room of this policy takes instead; the offer decides in the end.
pub fn admitted(policy: CodecPolicy, announced: CodecParams) -> CodecParams {
    let kind = announced.codec.kind();
    match kind {
        _ if publishable(policy, kind).contains(&announced.codec) => announced,
        Kind::Audio => CodecParams::opus(),
        Kind::Video => CodecParams::h264(),
    }
}

/// The best codec of a publisher's section that the room takes: the announced one, unless the room prefers another.
pub fn choose_published(section: &RemoteSection, policy: CodecPolicy, announced: Codec) -> Option<Choice> {
    let allowed = publishable(policy, announced.kind());
    let kept = policy != CodecPolicy::PreferH264 || announced.kind() == Kind::Audio;
    kept.then(|| choose(section, &[announced])).flatten().or_else(|| choose(section, allowed))
}

/// Codecs that can go to a browser as they are.
pub fn forwardable(codec: Codec) -> bool {
    matches!(codec, Codec::G722 | Codec::H264 | Codec::Opus | Codec::Pcma | Codec::Pcmu | Codec::Vp8)
}

/// What every decoder of browsers takes: constrained baseline, level 3.1.
const BASELINE: &str = "42e01f";

/// The profile and level of an H.264 description, six hexadecimal digits (RFC 6184 8.1).
fn profile_level_id(fmtp: &str) -> Option<String> {
    let value = fmtp.split(';').find_map(|part| part.trim().strip_prefix("profile-level-id="))?;
    (value.len() == 6 && value.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| value.to_ascii_lowercase())
}

/// How well an offered codec fits a wanted one; `None` when it does not.
fn fit(offered: &RemoteCodec, wanted: Codec) -> Option<u32> {
    if offered.codec() != Some(wanted) {
        return None;
    }
    if wanted != Codec::H264 {
        return Some(1);
    }
    // Only mode 1 can carry our fragments (RFC 6184 6.3).
    if offered.parameter("packetization-mode") != Some("1") {
        return None;
    }
    let profile = offered.parameter("profile-level-id").unwrap_or(BASELINE).to_ascii_lowercase();
    Some(match profile.get(..4) {
        Some("42e0") => 3,
        Some("4200") => 2,
        _ => 1,
    })
}

/// The offered codec to use, with its RTX and RED payload types.
pub struct Choice {
    pub codec: RemoteCodec,
    pub rtx: Option<u8>,
    pub red: Option<u8>,
}

/// The best offered codec of `wanted`, in their order.
pub fn choose(section: &RemoteSection, wanted: &[Codec]) -> Option<Choice> {
    let best = wanted.iter().find_map(|&codec| best(section, |offered| fit(offered, codec)))?;
    Some(with_companions(section, best))
}

/// What a section takes a source's packets as: its own profile where the peer has it.
pub fn choose_for(section: &RemoteSection, source: &CodecParams) -> Option<Choice> {
    let own = profile_level_id(&source.fmtp);
    let best = best(section, |offered| {
        let score = fit(offered, source.codec)?;
        let theirs = profile_level_id(&offered.fmtp);
        // The first byte: the other two are constraints, which decoders of a profile take or not, and the level.
        let same = own.as_ref().zip(theirs).is_some_and(|(own, theirs)| own[..2] == theirs[..2]);
        Some(score + if same { 10 } else { 0 })
    })?;
    Some(with_companions(section, best))
}

/// The first of those with the highest score: the offerer's own preference.
fn best(section: &RemoteSection, score: impl Fn(&RemoteCodec) -> Option<u32>) -> Option<&RemoteCodec> {
    let offered = section.codecs.iter().filter_map(|offered| Some((score(offered)?, offered)));
    offered.rev().max_by_key(|(score, _)| *score).map(|(_, offered)| offered)
}

fn with_companions(section: &RemoteSection, best: &RemoteCodec) -> Choice {
    let apt = best.pt.to_string();
    let rtx = section
        .codecs
        .iter()
        .find(|other| other.name.eq_ignore_ascii_case("rtx") && other.parameter("apt") == Some(apt.as_str()))
        .map(|other| other.pt);
    let red = (best.codec() == Some(Codec::Opus))
        .then(|| {
            section.codecs.iter().find(|other| {
                other.name.eq_ignore_ascii_case("red") && other.fmtp.split('/').all(|pt| pt.trim() == apt)
            })
        })
        .flatten()
        .map(|other| other.pt);
    Choice { codec: best.clone(), rtx, red }
}

impl Choice {
    pub fn params(&self) -> Option<CodecParams> {
        Some(CodecParams {
            codec: self.codec.codec()?,
            clock_rate: self.codec.clock_rate,
            channels: self.codec.channels,
            fmtp: self.codec.fmtp.clone(),
        })
    }

    pub fn payloads(&self) -> Vec<PayloadMap> {
        let mut all = vec![PayloadMap::Media { pt: self.codec.pt }];
        all.extend(self.rtx.map(|pt| PayloadMap::Rtx { pt }));
        all.extend(self.red.map(|pt| PayloadMap::Red { pt }));
        all
    }

    /// The codecs of the answer. `red_first` asks an Opus publisher for redundancy.
    pub fn answer(&self, red_first: bool, opus_extra: &str) -> Vec<LocalCodec> {
        let kind = self.codec.codec().map(Codec::kind);
        let offered = &self.codec.feedback;
        let ours: &[&'static str] = if kind == Some(Kind::Video) { &VIDEO_FEEDBACK } else { &AUDIO_FEEDBACK };
        let agreed = ours.iter().copied().filter(|ours| offered.iter().any(|theirs| theirs == ours));
        let feedback: Vec<&'static str> = agreed.collect();
        let channels = if self.codec.channels > 1 { format!("/{}", self.codec.channels) } else { String::new() };
        let mut fmtp = self.codec.fmtp.clone();
        if self.codec.codec() == Some(Codec::Opus) && !opus_extra.is_empty() {
            if !fmtp.is_empty() {
                fmtp.push(';');
            }
            fmtp.push_str(opus_extra);
        }
        let media = LocalCodec {
            pt: self.codec.pt,
            map: format!("{}/{}{channels}", self.codec.name, self.codec.clock_rate),
            fmtp,
            feedback,
        };
        let red = self.red.map(|pt| LocalCodec {
            pt,
            map: "red/48000/2".into(),
            fmtp: format!("{0}/{0}", self.codec.pt),
            feedback: Vec::new(),
        });
        let rtx = self.rtx.map(|pt| LocalCodec {
            pt,
            map: format!("rtx/{}", self.codec.clock_rate),
            fmtp: format!("apt={}", self.codec.pt),
            feedback: Vec::new(),
        });
        let mut all = vec![media];
        match red {
            Some(red) if red_first => all.insert(0, red),
            Some(red) => all.push(red),
            None => {}
        }
        all.extend(rtx);
        all
    }
}

/// A section of an offer of ours that sends this codec.
pub fn offer(params: &CodecParams) -> Vec<LocalCodec> {
    let feedback = match params.codec.kind() {
        Kind::Video => VIDEO_FEEDBACK[1..].to_vec(),
        Kind::Audio => AUDIO_FEEDBACK[1..].to_vec(),
    };
    let media = |pt: u8, map: &str, fmtp: &str| LocalCodec {
        pt,
        map: map.into(),
        fmtp: fmtp.into(),
        feedback: feedback.clone(),
    };
    let rtx =
        |pt: u8, of: u8| LocalCodec { pt, map: "rtx/90000".into(), fmtp: format!("apt={of}"), feedback: Vec::new() };
    match params.codec {
        Codec::G722 => vec![media(9, "G722/8000", "")],
        // What the source says it is, for decoders that set themselves up by it; then what negotiation
        // knows everywhere: decoders take a higher profile under that name too.
        Codec::H264 => {
            let h264 = |pt: u8, profile: &str| {
                let fmtp = format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}");
                [media(pt, "H264/90000", &fmtp), rtx(pt + 1, pt)]
            };
            let own = profile_level_id(&params.fmtp).filter(|own| own != BASELINE);
            let own = own.into_iter().flat_map(|own| h264(104, &own));
            own.chain(h264(102, BASELINE)).collect()
        }
        Codec::Opus => vec![
            media(OPUS, "opus/48000/2", "minptime=10;useinbandfec=1"),
            LocalCodec { pt: RED, map: "red/48000/2".into(), fmtp: format!("{OPUS}/{OPUS}"), feedback: Vec::new() },
        ],
        Codec::Pcma => vec![media(8, "PCMA/8000", "")],
        Codec::Pcmu => vec![media(0, "PCMU/8000", "")],
        Codec::Vp8 => vec![media(96, "VP8/90000", ""), rtx(97, 96)],
        Codec::Aac | Codec::Av1 | Codec::H265 | Codec::Vp9 => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webrtc::sdp::{Direction, SectionKind};

    fn offered(pt: u8, name: &str, fmtp: &str) -> RemoteCodec {
        RemoteCodec { pt, name: name.into(), clock_rate: 90_000, channels: 1, fmtp: fmtp.into(), feedback: vec![] }
    }

    fn section(codecs: Vec<RemoteCodec>) -> RemoteSection {
        RemoteSection {
            kind: SectionKind::Video,
            mid: "0".into(),
            rejected: false,
            direction: Direction::SendOnly,
            codecs,
            extensions: vec![],
            msid: None,
            ssrcs: vec![],
            rids: vec![],
            simulcast: vec![],
        }
    }

    #[test]
    fn constrained_baseline_in_mode_1_is_preferred() {
        let section = section(vec![
            offered(96, "VP8", ""),
            offered(100, "H264", "packetization-mode=0;profile-level-id=42e01f"),
            offered(101, "H264", "packetization-mode=1;profile-level-id=42001f"),
            offered(102, "H264", "packetization-mode=1;profile-level-id=42e01f"),
            offered(103, "rtx", "apt=102"),
        ]);
        let choice = choose(&section, publishable(CodecPolicy::H264, Kind::Video)).unwrap();
        assert_eq!((choice.codec.pt, choice.rtx), (102, Some(103)));
    }

    #[test]
    fn a_camera_of_high_profile_is_offered_as_such_and_as_what_everybody_knows() {
        let source = |profile: &str| CodecParams { fmtp: format!("profile-level-id={profile}"), ..CodecParams::h264() };
        let profiles = |profile: &str| {
            let offered = offer(&source(profile));
            offered
                .iter()
                .map(|codec| (codec.pt, codec.fmtp.rsplit('=').next().unwrap().to_owned()))
                .collect::<Vec<_>>()
        };
        let known = [(102, "42e01f".to_owned()), (103, "102".to_owned())];
        let own = [(104, "640028".to_owned()), (105, "104".to_owned())];
        assert_eq!(profiles("640028"), [own, known.clone()].concat());
        assert_eq!(profiles("42E01F"), known);
        assert_eq!((profiles("64"), profiles("zzzzzz")), (known.to_vec(), known.to_vec()));
        let answered = section(vec![
            offered(102, "H264", "packetization-mode=1;profile-level-id=42e01f"),
            offered(104, "H264", "packetization-mode=1;profile-level-id=64001f"),
            offered(105, "rtx", "apt=104"),
        ]);
        let taken = |section: &RemoteSection, profile| {
            let choice = choose_for(section, &source(profile)).unwrap();
            (choice.codec.pt, choice.rtx)
        };
        assert_eq!(taken(&answered, "640028"), (104, Some(105)));
        assert_eq!(taken(&answered, "42001e"), (102, None));
        assert_eq!(taken(&answered, "4d0029"), (102, None));
        let refused = section(vec![offered(102, "H264", "packetization-mode=1;profile-level-id=42e01f")]);
        assert_eq!(taken(&refused, "640028"), (102, None));
        assert!(choose_for(&section(vec![offered(96, "VP8", "")]), &source("640028")).is_none());
    }

    #[test]
    fn lost_sound_is_asked_for_where_the_peer_offers_it_and_offered_by_us() {
        let opus = |feedback: &[&str]| RemoteCodec {
            feedback: feedback.iter().map(ToString::to_string).collect(),
            clock_rate: 48_000,
            channels: 2,
            ..offered(111, "opus", "")
        };
        let answered = |feedback: &[&str]| {
            let section = section(vec![opus(feedback)]);
            choose(&section, publishable(CodecPolicy::H264, Kind::Audio)).unwrap().answer(false, "")[0].feedback.clone()
        };
        assert_eq!(answered(&["transport-cc", "nack", "nack pli"]), ["transport-cc", "nack"]);
        assert!(answered(&[]).is_empty());
        assert_eq!(offer(&CodecParams::opus())[0].feedback, ["nack"]);
    }

    #[test]
    fn a_room_of_h264_takes_no_vp8() {
        let section = section(vec![offered(96, "VP8", "")]);
        assert!(choose(&section, publishable(CodecPolicy::H264, Kind::Video)).is_none());
        assert!(choose(&section, publishable(CodecPolicy::Any, Kind::Video)).is_some());
    }

    #[test]
    fn a_room_that_prefers_h264_takes_vp8_from_who_has_nothing_else() {
        let policy = CodecPolicy::PreferH264;
        let both =
            section(vec![offered(96, "VP8", ""), offered(102, "H264", "packetization-mode=1;profile-level-id=42e01f")]);
        let taken = |section: &RemoteSection, policy| choose_published(section, policy, Codec::Vp8).unwrap().codec.pt;
        assert_eq!(taken(&both, policy), 102);
        assert_eq!(taken(&both, CodecPolicy::Any), 96);
        assert_eq!(taken(&section(vec![offered(96, "VP8", "")]), policy), 96);
    }
}
