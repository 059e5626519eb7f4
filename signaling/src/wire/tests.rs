use super::*;
use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use rongtong_media_core::ids::{Identity, ParticipantSid, TrackSid};
use rongtong_media_core::media::{Codec, Kind, Source};
use rongtong_media_core::room::{CodecPolicy, LayerQuality, LeaveReason, TrackInfo};
use rongtong_media_core::webrtc::Announcement;

fn camera(codec: &str) -> proto::AddTrackRequest {
    let layer = |quality, width| proto::VideoLayer { quality, width, height: width * 9 / 16, ..Default::default() };
    proto::AddTrackRequest {
        cid: "c".into(),
        r#type: proto::TrackType::Video as i32,
        source: proto::TrackSource::Camera as i32,
        width: 1280,
        height: 720,
        simulcast_codecs: vec![proto::SimulcastCodec {
            codec: codec.into(),
            layers: vec![layer(2, 1280), layer(0, 320), layer(1, 640)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn an_announced_camera_becomes_a_track_with_layers_low_to_high() {
    let Announcement { spec, rids, .. } = announcement(&camera("h264"), CodecPolicy::H264, true).unwrap();
    assert_eq!((spec.kind, spec.source, spec.codec.codec), (Kind::Video, Source::Camera, Codec::H264));
    let layers: Vec<_> = spec.layers.iter().map(|it| (it.quality, it.width)).collect();
    assert_eq!(layers, [(LayerQuality::Low, 320), (LayerQuality::Medium, 640), (LayerQuality::High, 1280)]);
    assert_eq!(rids, ["q", "h", "f"]);
    assert_eq!(spec.stream, "camera");
}

#[test]
fn a_codec_the_room_does_not_admit_is_replaced() {
    let codec = |asked, policy| announcement(&camera(asked), policy, true).unwrap().spec.codec.codec;
    assert_eq!(codec("vp8", CodecPolicy::H264), Codec::H264);
    assert_eq!(codec("vp8", CodecPolicy::Any), Codec::Vp8);
    assert_eq!(codec("av1", CodecPolicy::Any), Codec::H264);
    assert_eq!(codec("vp8", CodecPolicy::PreferH264), Codec::H264);
    assert_eq!(enabled_codecs(CodecPolicy::H264)[0].mime, "video/H264");
    assert!(enabled_codecs(CodecPolicy::H264).iter().all(|it| it.mime != "video/VP8"));
    assert_eq!(enabled_codecs(CodecPolicy::Any)[0].mime, "video/VP8");
}

#[test]
fn a_client_that_insists_on_another_codec_is_told_instead_of_left_dark() {
    let spec = |asked, policy| announcement(&camera(asked), policy, false);
    assert_eq!(spec("vp8", CodecPolicy::H264).err(), Some(UnsupportedTrack::Codec));
    assert_eq!(spec("vp8", CodecPolicy::PreferH264).unwrap().spec.codec.codec, Codec::Vp8);
    assert_eq!(spec("av1", CodecPolicy::Any).err(), Some(UnsupportedTrack::Codec));
    assert!(spec("h264", CodecPolicy::H264).is_ok() && spec("vp8", CodecPolicy::Any).is_ok());
}

#[test]
fn what_is_not_supported_is_said() {
    let encrypted = proto::AddTrackRequest { encryption: 1, ..camera("h264") };
    assert_eq!(announcement(&encrypted, CodecPolicy::H264, true).err(), Some(UnsupportedTrack::Encrypted));
    let second = proto::AddTrackRequest { sid: "TR_x".into(), ..camera("h264") };
    assert_eq!(announcement(&second, CodecPolicy::H264, true).err(), Some(UnsupportedTrack::SecondCodec));
    let data = proto::AddTrackRequest { r#type: proto::TrackType::Data as i32, ..camera("h264") };
    assert_eq!(announcement(&data, CodecPolicy::H264, true).err(), Some(UnsupportedTrack::UnknownKind));
}

#[test]
fn a_source_of_the_wrong_kind_is_unknown() {
    let request = proto::AddTrackRequest { source: proto::TrackSource::Microphone as i32, ..camera("h264") };
    assert_eq!(announcement(&request, CodecPolicy::H264, true).unwrap().spec.source, Source::Unknown);
}

#[test]
fn a_single_layer_has_no_rid_and_doubles_are_dropped() {
    let layer = |quality| proto::VideoLayer { quality, width: 640, ..Default::default() };
    let found = |layers: &[proto::VideoLayer]| {
        let (layers, rids) = layers_from(layers);
        (layers.len(), rids.len())
    };
    assert_eq!(found(&[layer(2)]), (1, 0));
    assert_eq!(found(&[layer(0), layer(0), layer(0)]), (1, 0));
    assert_eq!(found(&vec![layer(3); 1000]), (0, 0));
}

#[test]
#[allow(deprecated)] // clients before `audio_features` and `codecs`
fn everybody_is_told_how_the_sound_is_sent_and_what_the_layers_are_called() {
    let request = proto::AddTrackRequest {
        r#type: proto::TrackType::Audio as i32,
        disable_dtx: true,
        stereo: true,
        ..proto::AddTrackRequest::default()
    };
    let told = |request: &proto::AddTrackRequest| {
        let Announcement { spec, rids, sound } = announcement(request, CodecPolicy::H264, true).unwrap();
        let info = TrackInfo {
            sid: TrackSid::new("TR_x"),
            participant: ParticipantSid::random(),
            identity: Identity::new("anna"),
            spec,
            published_at: std::time::SystemTime::now(),
        };
        track(&info, &TrackExtras { features: None, mid: "3".into(), rids, sound })
    };
    let sound = told(&request);
    let features = [proto::AudioTrackFeature::TfStereo as i32, proto::AudioTrackFeature::TfNoDtx as i32];
    assert_eq!((sound.mid.as_str(), sound.audio_features.as_slice()), ("3", features.as_slice()));
    assert!(!told(&proto::AddTrackRequest { disable_red: false, ..request.clone() }).disable_red);
    assert!(told(&proto::AddTrackRequest { disable_red: true, ..request }).disable_red);
    let rids: Vec<String> = told(&camera("h264")).layers.into_iter().map(|it| it.rid).collect();
    assert_eq!(rids, ["q", "h", "f"]);
}

#[test]
fn who_goes_by_nobodys_wish_comes_back() {
    for reason in
        [LeaveReason::ConnectionLost, LeaveReason::MediaFailed, LeaveReason::Overrun, LeaveReason::ServerShutdown]
    {
        assert_eq!(leave_for(reason).action(), Action::Reconnect, "{reason:?}");
        assert!(leave_for(reason).can_reconnect);
    }
    for reason in [LeaveReason::DuplicateIdentity, LeaveReason::Removed, LeaveReason::RoomClosed] {
        assert_eq!(leave_for(reason).action(), Action::Disconnect, "{reason:?}");
        assert!(!leave_for(reason).can_reconnect);
    }
}
