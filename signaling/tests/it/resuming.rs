use crate::client::Client;
use crate::server::{Server, start, start_with, token};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use rongtong_media_core::ids::Identity;
use rongtong_signaling::Limits;
use rongtong_signaling::join::encode_join_request;
use std::time::Duration;

async fn resume(server: &Server, identity: &str, sid: &str) -> Client {
    let path = format!("/rtc?access_token={}&protocol=16&reconnect=1&sid={sid}", token(identity));
    Client::open(server, &path).await.unwrap()
}

#[tokio::test]
async fn a_dropped_connection_is_resumed_with_the_room_as_it_is_now() {
    let server = start().await;
    let (alice, join) = Client::join(&server, &token("alice")).await;
    let sid = join.participant.unwrap().sid;
    let (bob, _) = Client::join(&server, &token("bob")).await;
    drop(alice);
    tokio::time::sleep(Duration::from_millis(50)).await;
    // While she is away Bob goes and Carol comes.
    let mut bob = bob;
    bob.send(Request::Leave(proto::LeaveRequest::default())).await;
    bob.closed().await;
    let _carol = Client::join(&server, &token("carol")).await;

    let mut alice = resume(&server, "alice", &sid).await;
    let Response::Reconnect(response) = alice.next().await else { panic!("not a reconnect response") };
    assert!(!response.server_info.unwrap().version.is_empty());
    let gone = alice.told_of("bob").await;
    assert_eq!(gone.state(), proto::participant_info::State::Disconnected);
    assert_eq!(alice.told_of("carol").await.identity, "carol");
    // The subscriber connection restarts ICE.
    let offer = alice.until(|it| if let Response::Offer(it) = it { Some(it) } else { None }).await;
    assert!(offer.sdp.contains("ice-ufrag"));
    assert_eq!(server.room().participant(&Identity::new("alice")).unwrap().sid.as_str(), sid);
    assert_eq!(server.signaling.metrics().resumes.get(), 1);
}

#[tokio::test]
async fn a_single_connection_resumes_by_join_request() {
    let server = start().await;
    let (_alice, join) = Client::join(&server, &token("alice")).await;
    let request =
        proto::JoinRequest { reconnect: true, participant_sid: join.participant.unwrap().sid, ..Default::default() };
    let path = format!("/rtc/v1?access_token={}&join_request={}", token("alice"), encode_join_request(&request));
    let mut again = Client::open(&server, &path).await.unwrap();
    assert!(matches!(again.next().await, Response::Reconnect(_)));
}

#[tokio::test]
async fn a_session_that_is_not_here_is_told_to_join_afresh() {
    let server = start().await;
    let mut lost = resume(&server, "alice", "PA_of_a_former_life").await;
    let Response::Leave(leave) = lost.next().await else { panic!("not a leave") };
    assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
    assert_eq!(leave.reason(), proto::DisconnectReason::StateMismatch);
    assert_eq!(lost.closed().await, 1000);
    assert_eq!(server.refused("unknown_session"), 1);
    assert!(server.rooms.list().is_empty());
}

#[tokio::test]
async fn another_persons_session_can_not_be_taken() {
    let server = start().await;
    let (_alice, join) = Client::join(&server, &token("alice")).await;
    let mut mallory = resume(&server, "mallory", &join.participant.unwrap().sid).await;
    assert!(matches!(mallory.next().await, Response::Leave(_)));
    assert!(server.room().participant(&Identity::new("alice")).is_some());
}

#[tokio::test]
async fn who_does_not_come_back_in_time_is_out() {
    let server = start_with(Limits { resume_window: Duration::from_millis(200), ..Limits::default() }).await;
    let (mut bob, _) = Client::join(&server, &token("bob")).await;
    let (alice, join) = Client::join(&server, &token("alice")).await;
    drop(alice);
    loop {
        let told = bob.told_of("alice").await;
        if told.state() == proto::participant_info::State::Disconnected {
            break;
        }
    }
    let mut late = resume(&server, "alice", &join.participant.unwrap().sid).await;
    assert!(matches!(late.next().await, Response::Leave(_)));
}

#[tokio::test]
async fn a_silent_client_is_taken_for_gone_but_may_resume() {
    let server = start_with(Limits { silence: Duration::from_millis(150), ..Limits::default() }).await;
    let (mut alice, join) = Client::join(&server, &token("alice")).await;
    alice.closed().await;
    let mut again = resume(&server, "alice", &join.participant.unwrap().sid).await;
    assert!(matches!(again.next().await, Response::Reconnect(_)));
}

#[tokio::test]
async fn tracks_the_server_has_never_heard_of_mean_joining_afresh() {
    let server = start().await;
    let (alice, join) = Client::join(&server, &token("alice")).await;
    drop(alice);
    let mut alice = resume(&server, "alice", &join.participant.unwrap().sid).await;
    let track = proto::TrackInfo { sid: "TR_unheard".into(), ..Default::default() };
    let publish_tracks = vec![proto::TrackPublishedResponse { cid: "c".into(), track: Some(track) }];
    alice.send(Request::SyncState(proto::SyncState { publish_tracks, ..Default::default() })).await;
    let leave = alice.until(|it| if let Response::Leave(leave) = it { Some(leave) } else { None }).await;
    assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
}

#[tokio::test]
async fn a_client_may_ask_for_a_full_reconnect_to_try_itself() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let scenario = Some(proto::simulate_scenario::Scenario::LeaveRequestFullReconnect(true));
    alice.send(Request::Simulate(proto::SimulateScenario { scenario })).await;
    let leave = alice.until(|it| if let Response::Leave(leave) = it { Some(leave) } else { None }).await;
    assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
}
