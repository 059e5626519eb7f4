use crate::client::Client;
use crate::server::{start, start_with, token};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use rongtong_signaling::Limits;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn garbage_is_counted_and_then_ends_the_connection_and_nobody_else_notices() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let (mut mallory, _) = Client::join(&server, &token("mallory")).await;
    mallory.raw(Message::Text("{\"ping\":1}".into())).await;
    // A message of a later protocol: well-formed, unknown.
    mallory.raw(Message::Binary(vec![0x9a, 0x06, 0x01, 0x00].into())).await;
    mallory.raw(Message::Binary(Vec::new().into())).await;
    for _ in 0..11 {
        mallory.raw(Message::Binary(vec![0xff; 40].into())).await;
    }
    assert_eq!(mallory.closed().await, 1007);
    assert_eq!((server.discarded("text"), server.discarded("unknown"), server.discarded("garbage")), (1, 2, 11));

    alice.send(Request::PingReq(proto::Ping { timestamp: 1, rtt: 0 })).await;
    alice.until(|it| if let Response::PongResp(pong) = it { Some(pong) } else { None }).await;
}

#[tokio::test]
async fn a_flood_is_told_to_leave() {
    let server = start_with(Limits { messages_per_second: 20, ..Limits::default() }).await;
    let (mut mallory, _) = Client::join(&server, &token("mallory")).await;
    for _ in 0..100 {
        mallory.send(Request::PingReq(proto::Ping::default())).await;
    }
    mallory.until(|it| if let Response::Leave(leave) = it { Some(leave) } else { None }).await;
    assert_eq!(mallory.closed().await, 1008);
    assert!(server.discarded("flood") > 0);
}

#[tokio::test]
async fn a_message_beyond_the_limit_ends_the_connection() {
    let server = start_with(Limits { message_bytes: 4096, ..Limits::default() }).await;
    let (mut mallory, _) = Client::join(&server, &token("mallory")).await;
    let _ = futures_util::SinkExt::send(&mut mallory.socket, Message::Binary(vec![0; 100_000].into())).await;
    mallory.closed().await;
}

#[tokio::test]
async fn a_description_that_is_none_ends_the_session_with_a_reason() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let offer =
        proto::SessionDescription { r#type: "offer".into(), sdp: "rubbish".into(), id: 1, ..Default::default() };
    alice.send(Request::Offer(offer)).await;
    let leave = alice.until(|it| if let Response::Leave(leave) = it { Some(leave) } else { None }).await;
    assert_eq!(leave.reason(), proto::DisconnectReason::MediaFailure);
    assert_eq!(server.discarded("bad_description"), 1);
}

#[tokio::test]
async fn candidates_are_looked_at_and_rubbish_is_answered() {
    let server = start().await;
    let (mut alice, _) = Client::join(&server, &token("alice")).await;
    let trickle =
        |text: &str| Request::Trickle(proto::TrickleRequest { candidate_init: text.into(), ..Default::default() });
    alice.send(trickle("{\"candidate\":\"candidate:1 1 udp 1 127.0.0.1 9 typ host\",\"sdpMid\":\"0\"}")).await;
    alice.send(trickle("rubbish")).await;
    let answer = alice.until(|it| if let Response::RequestResponse(it) = it { Some(it) } else { None }).await;
    assert_eq!(answer.reason(), proto::request_response::Reason::InvalidRequest);
    assert_eq!(server.discarded("bad_candidate"), 1);
}
