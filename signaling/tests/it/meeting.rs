use crate::client::Client;
use crate::server::{start, token, token_with};
use livekit_protocol as proto;
use livekit_protocol::participant_info::State;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use rongtong_media_core::ids::Identity;
use rongtong_media_core::media::{CodecParams, Source};
use rongtong_media_core::room::{Keyframes, LeaveReason, ParticipantChange, Permission, TrackSpec};

#[tokio::test]
async fn people_are_told_who_comes_and_goes() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let (mut bob, join) = Client::join(&server, &token("bob")).await;
    assert_eq!(join.other_participants.len(), 1);
    assert_eq!(alice.told_of("bob").await.identity, "bob");

    bob.send(Request::Leave(proto::LeaveRequest::default())).await;
    let gone = loop {
        let told = alice.told_of("bob").await;
        if told.state() == State::Disconnected {
            break told;
        }
    };
    assert_eq!(gone.disconnect_reason(), proto::DisconnectReason::ClientInitiated);
    assert!(server.room().participant(&Identity::new("bob")).is_none());
}

#[tokio::test]
async fn hidden_people_are_not_shown() {
    let server = start().await;
    let hidden = token_with("ghost", |claims| claims.video.as_mut().unwrap().hidden = true);
    let (_ghost, _) = Client::join(&server, &hidden).await;
    let (_alice, join) = Client::join(&server, &token("alice")).await;
    assert!(join.other_participants.is_empty());
}

#[tokio::test]
async fn the_same_identity_again_throws_the_first_out() {
    let server = start().await;
    let (mut first, _) = Client::join(&server, &token("alice")).await;
    let (_second, _) = Client::join(&server, &token("alice")).await;
    let leave = first.until(|it| if let Response::Leave(leave) = it { Some(leave) } else { None }).await;
    assert_eq!(leave.reason(), proto::DisconnectReason::DuplicateIdentity);
    assert_eq!(leave.action(), proto::leave_request::Action::Disconnect);
    assert_eq!(first.closed().await, 1000);
    assert_eq!(server.room().participants().len(), 1);
}

/// Reads until the server says that this session is over, and why.
async fn put_out(mut client: Client) -> i32 {
    loop {
        match client.next_or_close().await {
            Ok(Response::Leave(leave)) => {
                assert_eq!(client.closed().await, 1000);
                return leave.reason;
            }
            Ok(_) => {}
            Err(code) => panic!("closed with {code} and no word"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_six_that_join_at_once_as_one_identity_five_hear_why_they_are_out() {
    let server = start().await;
    for round in 0..20 {
        let path = format!("/rtc?access_token={}&protocol=16&sdk=js", token("alice"));
        let clients = futures_util::future::join_all((0..6).map(|_| Client::open(&server, &path))).await;
        let mut out = tokio::task::JoinSet::new();
        for client in clients {
            out.spawn(put_out(client.unwrap()));
        }
        for _ in 0..5 {
            let reason = out.join_next().await.unwrap().unwrap();
            assert_eq!(reason, proto::DisconnectReason::DuplicateIdentity as i32, "round {round}");
        }
        // Who is left is reached by whoever looks for this identity.
        let room = server.room();
        let left = room.participants();
        assert_eq!(left.len(), 1);
        let mut back = Client::open(&server, &format!("{path}&reconnect=1&sid={}", left[0].sid)).await.unwrap();
        assert!(matches!(back.next().await, Response::Reconnect(_)));
        room.remove(&left[0].identity).unwrap();
        assert_eq!(put_out(back).await, proto::DisconnectReason::ParticipantRemoved as i32);
        out.shutdown().await;
    }
}

#[tokio::test]
async fn pings_of_both_forms_are_answered() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    alice.send(Request::PingReq(proto::Ping { timestamp: 42, rtt: 0 })).await;
    let pong = alice.until(|it| if let Response::PongResp(pong) = it { Some(pong) } else { None }).await;
    assert_eq!(pong.last_ping_timestamp, 42);
    alice.send(Request::Ping(1)).await;
    assert!(alice.until(|it| if let Response::Pong(at) = it { Some(at) } else { None }).await > 0);
}

#[tokio::test]
async fn names_metadata_and_attributes_reach_the_others() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let (mut bob, _) = Client::join(&server, &token("bob")).await;
    let update = proto::UpdateParticipantMetadata {
        name: "Alice 2".into(),
        metadata: "m".into(),
        attributes: [("unit".to_owned(), "fire".to_owned())].into(),
        request_id: 7,
    };
    alice.send(Request::UpdateMetadata(update)).await;
    let answer = alice.until(|it| if let Response::RequestResponse(it) = it { Some(it) } else { None }).await;
    assert_eq!((answer.request_id, answer.reason()), (7, Reason::Ok));
    let told = loop {
        let told = bob.told_of("alice").await;
        if told.name == "Alice 2" {
            break told;
        }
    };
    assert_eq!((told.metadata.as_str(), told.attributes["unit"].as_str()), ("m", "fire"));
}

#[tokio::test]
async fn metadata_without_the_grant_is_refused() {
    let server = start().await;
    let plain = token_with("alice", |claims| claims.video.as_mut().unwrap().can_update_own_metadata = None);
    let (mut alice, _) = Client::join(&server, &plain).await;
    let update = proto::UpdateParticipantMetadata { name: "x".into(), request_id: 9, ..Default::default() };
    alice.send(Request::UpdateMetadata(update)).await;
    let answer = alice.until(|it| if let Response::RequestResponse(it) = it { Some(it) } else { None }).await;
    assert_eq!((answer.request_id, answer.reason()), (9, Reason::NotAllowed));
}

#[tokio::test]
async fn an_announced_track_gets_its_sid_and_one_that_is_not_granted_does_not() {
    let server = start().await;
    let speaks = token_with("alice", |claims| {
        claims.video.as_mut().unwrap().can_publish_sources = vec!["microphone".into()];
    });
    let (mut alice, _) = Client::join(&server, &speaks).await;
    let track = |cid: &str, kind: proto::TrackType, source: proto::TrackSource| proto::AddTrackRequest {
        cid: cid.into(),
        r#type: kind as i32,
        source: source as i32,
        ..Default::default()
    };
    alice.send(Request::AddTrack(track("mic", proto::TrackType::Audio, proto::TrackSource::Microphone))).await;
    let published = alice.until(|it| if let Response::TrackPublished(it) = it { Some(it) } else { None }).await;
    assert_eq!(published.cid, "mic");
    assert!(published.track.unwrap().sid.starts_with("TR_A"));

    alice.send(Request::AddTrack(track("cam", proto::TrackType::Video, proto::TrackSource::Camera))).await;
    let refused = alice.until(|it| if let Response::RequestResponse(it) = it { Some(it) } else { None }).await;
    assert_ne!(refused.reason(), Reason::Ok);
    assert!(matches!(refused.request, Some(proto::request_response::Request::AddTrack(it)) if it.cid == "cam"));
}

#[tokio::test]
async fn what_is_not_supported_is_answered() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let encrypted = proto::AddTrackRequest { cid: "c".into(), encryption: 1, ..Default::default() };
    let data_track = proto::PublishDataTrackRequest { pub_handle: 1, name: "d".into(), ..Default::default() };
    for request in [Request::AddTrack(encrypted), Request::PublishDataTrackRequest(data_track)] {
        alice.send(request).await;
        let answer = alice.until(|it| if let Response::RequestResponse(it) = it { Some(it) } else { None }).await;
        assert_eq!(answer.reason(), Reason::UnsupportedType);
        assert!(!answer.message.is_empty());
    }
}

#[tokio::test]
async fn a_track_of_the_house_is_described_offered_and_its_end_told() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let room = server.room();
    let camera = room
        .join(rongtong_media_core::room::Join {
            identity: "camera:1".into(),
            permission: Permission::full(),
            kind: rongtong_media_core::room::ParticipantKind::Camera,
            ..Default::default()
        })
        .unwrap();
    let spec = TrackSpec::new(Source::Camera, CodecParams::h264());
    let source = room.publish(&camera.info.sid, spec, Keyframes::Cached).unwrap();
    let sid = source.info().sid.to_string();
    let with_track = loop {
        let told = alice.told_of("camera:1").await;
        if !told.tracks.is_empty() {
            break told;
        }
    };
    assert_eq!(
        (with_track.tracks[0].sid.as_str(), with_track.tracks[0].mime_type.as_str()),
        (sid.as_str(), "video/H264")
    );
    let offer = alice.until(|it| if let Response::Offer(it) = it { Some(it) } else { None }).await;
    assert!(offer.r#type == "offer" && offer.sdp.starts_with("v=0"));
    drop(source);
    loop {
        if alice.told_of("camera:1").await.tracks.is_empty() {
            break;
        }
    }
}

/// A camera that comes and goes all day must not use up its viewers' sections.
#[tokio::test]
async fn three_hundred_tracks_that_came_and_went_leave_room_for_the_next() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let room = server.room();
    let join = rongtong_media_core::room::Join {
        identity: "camera:1".into(),
        permission: Permission::full(),
        kind: rongtong_media_core::room::ParticipantKind::Camera,
        ..Default::default()
    };
    let camera = room.join(join).unwrap();
    let mut longest = 0;
    for round in 0..301 {
        let spec = TrackSpec::new(Source::Camera, CodecParams::h264());
        let source = room.publish(&camera.info.sid, spec, Keyframes::Cached).unwrap();
        let sid = source.info().sid.to_string();
        loop {
            let offer = alice.answer_offer().await;
            longest = longest.max(offer.sdp.matches("\nm=").count());
            if offer.mid_to_track_id.values().any(|it| *it == sid) {
                // A browser keeps the track id of a section's first track; its stream must name this one.
                assert!(round == 0 || offer.sdp.contains(&format!("|{sid} {sid}")), "{}", offer.sdp);
                break;
            }
        }
        drop(source);
        assert!(longest <= 4, "{longest} sections in round {round}");
    }
}

#[tokio::test]
async fn an_unknown_track_can_not_be_subscribed() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let wish = proto::UpdateSubscription { track_sids: vec!["TR_none".into()], subscribe: true, ..Default::default() };
    alice.send(Request::Subscription(wish)).await;
    let answer = alice.until(|it| if let Response::SubscriptionResponse(it) = it { Some(it) } else { None }).await;
    assert_eq!((answer.track_sid.as_str(), answer.err()), ("TR_none", proto::SubscriptionError::SeTrackNotfound));
}

#[tokio::test]
async fn a_changed_permission_brings_a_new_token() {
    let server = start().await;
    let (mut alice, join) = Client::join(&server, &token("alice")).await;
    let change = ParticipantChange { permission: Some(Permission::default()), ..Default::default() };
    server.room().update_participant(&join.participant.unwrap().sid.into(), change).unwrap();
    let mut token = None;
    let told = loop {
        match alice.next().await {
            Response::RefreshToken(fresh) => token = Some(fresh),
            Response::Update(update) => {
                let mine = update.participants.into_iter().find(|it| it.identity == "alice");
                if let Some(mine) = mine.filter(|it| !it.permission.as_ref().unwrap().can_publish) {
                    break mine;
                }
            }
            _ => {}
        }
    };
    assert!(told.permission.unwrap().can_subscribe);
    let keys = rongtong_signaling::token::ApiKeys::new([(crate::server::KEY.into(), crate::server::SECRET.into())]);
    let token = match token {
        Some(token) => token,
        None => alice.until(|it| if let Response::RefreshToken(it) = it { Some(it) } else { None }).await,
    };
    assert!(!keys.verify(&token).unwrap().admission(None).unwrap().permission.can_publish);
}

#[tokio::test]
async fn hosts_and_the_server_say_goodbye_with_a_reason() {
    use proto::DisconnectReason as Why;
    use proto::leave_request::Action;
    let server = start().await;
    let (mut removed, _) = Client::join(&server, &token("removed")).await;
    server.room().remove(&Identity::new("removed")).unwrap();
    let leave = removed.until(|it| if let Response::Leave(leave) = it { Some(leave) } else { None }).await;
    assert_eq!((leave.action(), leave.reason()), (Action::Disconnect, Why::ParticipantRemoved));

    let (mut other, _) = Client::join(&server, &token("other")).await;
    server.rooms.close_all(LeaveReason::ServerShutdown);
    let leave = other.until(|it| if let Response::Leave(leave) = it { Some(leave) } else { None }).await;
    assert_eq!((leave.action(), leave.reason()), (Action::Reconnect, Why::ServerShutdown));
}

/// What a client offers that has VP8 and nothing else, for a track it calls `cam`.
const VP9_ONLY: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n\
a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n\
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
a=msid:- cam\r\na=rtpmap:96 VP9/90000\r\n";

#[tokio::test]
async fn a_track_without_a_codec_in_common_is_taken_back() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    alice
        .send(Request::AddTrack(proto::AddTrackRequest {
            cid: "cam".into(),
            r#type: proto::TrackType::Video as i32,
            source: proto::TrackSource::Camera as i32,
            ..Default::default()
        }))
        .await;
    let published = alice.until(|it| if let Response::TrackPublished(it) = it { Some(it) } else { None }).await;
    let sid = published.track.unwrap().sid;
    let offer = proto::SessionDescription { r#type: "offer".into(), sdp: VP9_ONLY.into(), id: 3, ..Default::default() };
    alice.send(Request::Offer(offer)).await;
    let answer = alice.until(|it| if let Response::Answer(it) = it { Some(it) } else { None }).await;
    assert_eq!((answer.id, answer.r#type.as_str()), (3, "answer"));
    let told = alice.until(|it| if let Response::RequestResponse(it) = it { Some(it) } else { None }).await;
    assert_eq!(told.reason(), Reason::UnsupportedType);
    let gone = alice.until(|it| if let Response::TrackUnpublished(it) = it { Some(it) } else { None }).await;
    assert_eq!(gone.track_sid, sid);
    assert!(server.room().tracks().is_empty());
}
