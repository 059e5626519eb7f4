use super::*;
use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use rongtong_media_core::media::{Codec, Kind, Source};
use rongtong_media_core::room::{CodecPolicy, LayerQuality, LeaveReason};

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
    let spec = track_spec(&camera("h264"), CodecPolicy::H264, true).unwrap();
    assert_eq!((spec.kind, spec.source, spec.codec.codec), (Kind::Video, Source::Camera, Codec::H264));
    let layers: Vec<_> = spec.layers.iter().map(|it| (it.quality, it.width, it.rid.as_str())).collect();
    assert_eq!(
        layers,
        [(LayerQuality::Low, 320, "q"), (LayerQuality::Medium, 640, "h"), (LayerQuality::High, 1280, "f")]
    );
    assert_eq!(spec.stream, "camera");
}

#[test]
fn a_codec_the_room_does_not_admit_is_replaced() {
    let codec = |asked, policy| track_spec(&camera(asked), policy, true).unwrap().codec.codec;
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
    let spec = |asked, policy| track_spec(&camera(asked), policy, false);
    assert_eq!(spec("vp8", CodecPolicy::H264).err(), Some(UnsupportedTrack::Codec));
    assert_eq!(spec("vp8", CodecPolicy::PreferH264).unwrap().codec.codec, Codec::Vp8);
    assert_eq!(spec("av1", CodecPolicy::Any).err(), Some(UnsupportedTrack::Codec));
    assert!(spec("h264", CodecPolicy::H264).is_ok() && spec("vp8", CodecPolicy::Any).is_ok());
}

#[test]
fn what_is_not_supported_is_said() {
    let encrypted = proto::AddTrackRequest { encryption: 1, ..camera("h264") };
    assert_eq!(track_spec(&encrypted, CodecPolicy::H264, true).err(), Some(UnsupportedTrack::Encrypted));
    let second = proto::AddTrackRequest { sid: "TR_x".into(), ..camera("h264") };
    assert_eq!(track_spec(&second, CodecPolicy::H264, true).err(), Some(UnsupportedTrack::SecondCodec));
    let data = proto::AddTrackRequest { r#type: proto::TrackType::Data as i32, ..camera("h264") };
    assert_eq!(track_spec(&data, CodecPolicy::H264, true).err(), Some(UnsupportedTrack::UnknownKind));
}

#[test]
fn a_source_of_the_wrong_kind_is_unknown() {
    let request = proto::AddTrackRequest { source: proto::TrackSource::Microphone as i32, ..camera("h264") };
    assert_eq!(track_spec(&request, CodecPolicy::H264, true).unwrap().source, Source::Unknown);
}

#[test]
fn a_single_layer_has_no_rid_and_doubles_are_dropped() {
    let layer = |quality| proto::VideoLayer { quality, width: 640, ..Default::default() };
    assert_eq!(layers_from(&[layer(2)])[0].rid, "");
    assert_eq!(layers_from(&[layer(0), layer(0), layer(0)]).len(), 1);
    assert_eq!(layers_from(&vec![layer(3); 1000]).len(), 0);
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
