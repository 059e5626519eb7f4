//! Tracks: as clients announce them, and as everybody is told of them.

use super::participant::unix_ms;
use livekit_protocol as proto;
use livekit_protocol::{AudioTrackFeature, TrackType, VideoQuality, encryption, video_layer};
use rongtong_media_core::media::{Codec, CodecParams, Kind, Source};
use rongtong_media_core::room::{CodecPolicy, Layer, LayerQuality, TrackInfo, TrackSpec};
use rongtong_media_core::webrtc::{Announcement, SoundOptions};
use thiserror::Error;

/// What clients are told of a track beyond what the room knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackExtras {
    /// Values of `AudioTrackFeature`; replaces what the track began with.
    pub features: Option<Vec<i32>>,
    /// `a=mid` in the publisher's own session, once it is negotiated.
    pub mid: String,
    /// Stream names of the layers, lowest first; empty without simulcast.
    pub rids: Vec<String>,
    pub sound: SoundOptions,
}

/// Why a track can't be published here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnsupportedTrack {
    #[error("this room takes H.264 only; publish with that codec")]
    Codec,
    #[error("end-to-end encrypted tracks are not supported by this server")]
    Encrypted,
    #[error("a second codec for one track is not supported by this server")]
    SecondCodec,
    #[error("this server publishes audio and video tracks only")]
    UnknownKind,
}

#[allow(deprecated)] // older clients read the fields that newer ones moved into `codecs` and `audio_features`
pub fn track(info: &TrackInfo, extras: &TrackExtras) -> proto::TrackInfo {
    let spec = &info.spec;
    let rids = extras.rids.iter().map(String::as_str).chain(std::iter::repeat(""));
    let layers: Vec<proto::VideoLayer> = spec.layers.iter().zip(rids).map(|(it, rid)| layer(it, rid)).collect();
    let video_layer_mode = match spec.kind {
        Kind::Audio => video_layer::Mode::Unused,
        Kind::Video => video_layer::Mode::OneSpatialLayerPerStream,
    } as i32;
    proto::TrackInfo {
        sid: info.sid.to_string(),
        r#type: match spec.kind {
            Kind::Audio => TrackType::Audio,
            Kind::Video => TrackType::Video,
        } as i32,
        name: spec.name.clone(),
        muted: spec.muted,
        width: spec.width,
        height: spec.height,
        simulcast: spec.layers.len() > 1,
        disable_dtx: extras.sound.no_dtx,
        source: source(spec.source) as i32,
        layers: layers.clone(),
        mime_type: spec.codec.codec.mime(),
        mid: extras.mid.clone(),
        codecs: vec![proto::SimulcastCodecInfo {
            mime_type: spec.codec.codec.mime(),
            mid: extras.mid.clone(),
            layers,
            video_layer_mode,
            ..Default::default()
        }],
        stereo: extras.sound.stereo,
        disable_red: !extras.sound.red,
        encryption: encryption::Type::None as i32,
        stream: spec.stream.clone(),
        version: Some(proto::TimedVersion { unix_micro: unix_ms(info.published_at) * 1000, ticks: 0 }),
        audio_features: extras.features.clone().unwrap_or_else(|| features(extras.sound)),
        ..Default::default()
    }
}

/// Reads a client's announcement. A codec the room does not admit is replaced by
/// one it does; a client that `follows` sees that in the answer and uses it.
#[allow(deprecated)] // clients before `audio_features` set `stereo` and `disable_dtx`
pub fn announcement(
    request: &proto::AddTrackRequest,
    policy: CodecPolicy,
    follows: bool,
) -> Result<Announcement, UnsupportedTrack> {
    if request.encryption != encryption::Type::None as i32 {
        return Err(UnsupportedTrack::Encrypted);
    }
    if !request.sid.is_empty() {
        return Err(UnsupportedTrack::SecondCodec);
    }
    let has = |feature: AudioTrackFeature| request.audio_features.contains(&(feature as i32));
    let first = request.simulcast_codecs.first();
    let asked = first.and_then(|it| Codec::from_rtp_name(it.codec.rsplit('/').next().unwrap_or_default()));

    let (source, codec) = match request.r#type() {
        TrackType::Audio => (source_of(request.source(), Kind::Audio), CodecParams::opus()),
        TrackType::Video => {
            let codec = match (policy, asked) {
                (CodecPolicy::Any, Some(Codec::Vp8) | None) => Codec::Vp8,
                // Who can't follow an answer offers what it announced and nothing else.
                (CodecPolicy::PreferH264, Some(Codec::Vp8)) if !follows => Codec::Vp8,
                (_, Some(Codec::H264) | None) => Codec::H264,
                _ if follows => Codec::H264,
                _ => return Err(UnsupportedTrack::Codec),
            };
            let codec = CodecParams::video(codec);
            (source_of(request.source(), Kind::Video), codec)
        }
        TrackType::Data => return Err(UnsupportedTrack::UnknownKind),
    };
    let layers = match first {
        Some(codec) if !codec.layers.is_empty() => &codec.layers,
        _ => &request.layers,
    };
    let stream = if request.stream.is_empty() { default_stream(source) } else { &request.stream };
    let (layers, rids) = layers_from(layers);
    let is_sound = codec.codec.kind() == Kind::Audio;
    let spec = TrackSpec {
        name: clip(&request.name),
        width: request.width,
        height: request.height,
        muted: request.muted,
        layers,
        stream: clip(stream),
        ..TrackSpec::new(source, codec)
    };
    let sound = SoundOptions {
        no_dtx: request.disable_dtx || has(AudioTrackFeature::TfNoDtx),
        stereo: request.stereo || has(AudioTrackFeature::TfStereo),
        red: is_sound && !request.disable_red,
    };
    Ok(Announcement { spec, rids, sound: if is_sound { sound } else { SoundOptions::default() } })
}

/// At most one layer for each quality, low to high, and with more than one the names of their streams.
pub fn layers_from(layers: &[proto::VideoLayer]) -> (Vec<Layer>, Vec<String>) {
    let (mut found, mut rids): (Vec<Layer>, Vec<String>) = (Vec::new(), Vec::new());
    let sorted = {
        let mut layers: Vec<&proto::VideoLayer> = layers.iter().take(8).collect();
        layers.sort_by_key(|it| it.quality);
        layers
    };
    for it in sorted {
        let (quality, usual_rid) = match it.quality() {
            VideoQuality::Low => (LayerQuality::Low, "q"),
            VideoQuality::Medium => (LayerQuality::Medium, "h"),
            VideoQuality::High => (LayerQuality::High, "f"),
            VideoQuality::Off => continue,
        };
        if found.last().is_some_and(|last| last.quality == quality) {
            continue;
        }
        let rid = if it.rid.is_empty() { usual_rid } else { &it.rid };
        found.push(Layer { quality, width: it.width, height: it.height, bitrate: it.bitrate });
        rids.push(clip(rid));
    }
    if found.len() == 1 {
        rids.clear();
    }
    (found, rids)
}

/// Which layers of a track somebody wants, low to high.
#[allow(deprecated)] // clients before `subscribed_codecs` read `subscribed_qualities`
pub fn subscribed_quality(info: &TrackInfo, wanted: [bool; 3]) -> proto::SubscribedQualityUpdate {
    let qualities: Vec<proto::SubscribedQuality> = [VideoQuality::Low, VideoQuality::Medium, VideoQuality::High]
        .into_iter()
        .zip(wanted)
        .map(|(quality, enabled)| proto::SubscribedQuality { quality: quality as i32, enabled })
        .collect();
    proto::SubscribedQualityUpdate {
        track_sid: info.sid.to_string(),
        subscribed_qualities: qualities.clone(),
        subscribed_codecs: vec![proto::SubscribedCodec {
            codec: info.spec.codec.codec.rtp_name().to_ascii_lowercase(),
            qualities,
        }],
    }
}

pub(super) fn source(source: Source) -> proto::TrackSource {
    match source {
        Source::Camera => proto::TrackSource::Camera,
        Source::Microphone => proto::TrackSource::Microphone,
        Source::ScreenShare => proto::TrackSource::ScreenShare,
        Source::ScreenShareAudio => proto::TrackSource::ScreenShareAudio,
        Source::Unknown => proto::TrackSource::Unknown,
    }
}

/// A source of the wrong kind (a microphone that sends pictures) is unknown.
fn source_of(source: proto::TrackSource, kind: Kind) -> Source {
    match (source, kind) {
        (proto::TrackSource::Camera, Kind::Video) => Source::Camera,
        (proto::TrackSource::Microphone, Kind::Audio) => Source::Microphone,
        (proto::TrackSource::ScreenShare, Kind::Video) => Source::ScreenShare,
        (proto::TrackSource::ScreenShareAudio, Kind::Audio) => Source::ScreenShareAudio,
        _ => Source::Unknown,
    }
}

/// Pictures and sound that belong together share a stream.
fn default_stream(source: Source) -> &'static str {
    match source {
        Source::Camera | Source::Microphone => "camera",
        Source::ScreenShare | Source::ScreenShareAudio => "screen_share",
        Source::Unknown => "unknown",
    }
}

fn features(sound: SoundOptions) -> Vec<i32> {
    let flags = [(sound.stereo, AudioTrackFeature::TfStereo), (sound.no_dtx, AudioTrackFeature::TfNoDtx)];
    flags.into_iter().filter(|(on, _)| *on).map(|(_, it)| it as i32).collect()
}

fn layer(layer: &Layer, rid: &str) -> proto::VideoLayer {
    let quality = match layer.quality {
        LayerQuality::Low => VideoQuality::Low,
        LayerQuality::Medium => VideoQuality::Medium,
        LayerQuality::High => VideoQuality::High,
    };
    proto::VideoLayer {
        quality: quality as i32,
        width: layer.width,
        height: layer.height,
        bitrate: layer.bitrate,
        spatial_layer: quality as i32,
        rid: rid.to_owned(),
        ..Default::default()
    }
}

/// Names come from outside: at most 256 characters of them are kept.
fn clip(text: &str) -> String {
    text.chars().take(256).collect()
}
