use crate::client::Client;
use crate::server::{KEY, start, token, token_with};
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use rongtong_signaling::join::encode_join_request;
use rongtong_signaling::token::{TokenMinter, TokenRequest};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Status, headers and body of a plain GET.
async fn get(server: &crate::server::Server, path: &str, header: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test]
async fn the_first_message_is_a_join_response_that_clients_accept() {
    let server = start().await;
    let (_client, join) = Client::join(&server, &token("alice")).await;
    assert!(!join.server_version.is_empty());
    assert_eq!((join.ping_timeout, join.ping_interval), (15, 5));
    assert!(join.subscriber_primary && join.fast_publish);
    let info = join.server_info.unwrap();
    assert_eq!((info.node_id.as_str(), info.region.as_str()), ("node-1", "here"));
    assert_eq!(join.room.unwrap().name, "duty");
    let me = join.participant.unwrap();
    assert!(me.sid.starts_with("PA_") && me.identity == "alice");
    assert!(join.enabled_publish_codecs.iter().any(|it| it.mime == "video/H264"));
    assert!(join.other_participants.is_empty());
}

#[tokio::test]
async fn the_new_path_joins_on_a_single_connection() {
    let server = start().await;
    let request = proto::JoinRequest {
        connection_settings: Some(proto::ConnectionSettings { auto_subscribe: true, ..Default::default() }),
        metadata: "from the request".into(),
        ..Default::default()
    };
    let path = format!("/rtc/v1?access_token={}&join_request={}", token("alice"), encode_join_request(&request));
    let mut client = Client::open(&server, &path).await.unwrap();
    let Response::Join(join) = client.next().await else { panic!("not a join response") };
    assert!(!join.subscriber_primary);
    assert_eq!(join.participant.unwrap().metadata, "from the request");
}

#[tokio::test]
async fn a_token_that_ends_soon_is_followed_by_one_that_lasts() {
    let server = start().await;
    let short = token_with("alice", |claims| claims.exp -= 570);
    let (mut client, _) = Client::join(&server, &short).await;
    let lasting = client.until(|it| if let Response::RefreshToken(it) = it { Some(it) } else { None }).await;
    let (_again, join) = Client::join(&server, &lasting).await;
    assert_eq!(join.participant.unwrap().identity, "alice");
    let end = |token: &str| {
        let claims = token.split('.').nth(1).unwrap();
        let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims).unwrap();
        serde_json::from_slice::<serde_json::Value>(&claims).unwrap()["exp"].as_u64().unwrap()
    };
    assert!(end(&lasting) > end(&short) + 500);
}

#[tokio::test]
async fn tokens_are_asked_for_before_anything_else() {
    let server = start().await;
    let expired = token_with("a", |claims| claims.exp = 1);
    let no_join = token_with("a", |claims| claims.video.as_mut().unwrap().room_join = false);
    let forged = TokenMinter::new(KEY, "some other secret", Duration::from_secs(60)).participant(TokenRequest {
        room: "duty",
        identity: "a",
        name: "",
    });
    let absent = token_with("a", |claims| claims.video.as_mut().unwrap().room = "absent".into());
    let nobody = token_with("", |_| {});
    for (query, status) in [
        (String::new(), 401),
        ("access_token=rubbish&join_request=%21%21".to_owned(), 401),
        (format!("access_token={expired}"), 401),
        (format!("access_token={no_join}"), 401),
        (format!("access_token={forged}"), 401),
        (format!("access_token={}&room=other", token("a")), 401),
        (format!("access_token={nobody}"), 400),
        (format!("access_token={}&join_request=%21%21", token("a")), 400),
        (format!("access_token={absent}"), 404),
    ] {
        assert_eq!(Client::open(&server, &format!("/rtc?{query}")).await.err(), Some(status), "{query}");
        assert_eq!(get(&server, &format!("/rtc/validate?{query}"), "").await.0, status, "{query}");
    }
    assert_eq!(server.refused("expired"), 2);
    assert_eq!(server.refused("bad_signature"), 2);
    assert_eq!(server.refused("bad_join_request"), 2);
    assert!(server.rooms.list().is_empty());
}

#[tokio::test]
async fn validate_says_success_to_any_origin() {
    let server = start().await;
    let (status, answer) = get(&server, &format!("/rtc/validate?access_token={}", token("a")), "").await;
    assert!(status == 200 && answer.ends_with("success"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("access-control-allow-origin: *"));
    let bearer = format!("Authorization: Bearer {}\r\n", token("a"));
    assert_eq!(get(&server, "/rtc/validate", &bearer).await.0, 200);
    assert_eq!(get(&server, "/rtc/v1/validate", &bearer).await.0, 400);
    assert_eq!(get(&server, "/rtc/validate", "Authorization: Basic x\r\n").await.0, 401);
}

#[tokio::test]
async fn a_refusal_never_repeats_the_token() {
    let server = start().await;
    let token = token_with("a", |claims| claims.exp = 1);
    let (_, answer) = get(&server, &format!("/rtc/validate?access_token={token}"), "").await;
    assert!(answer.contains("expired") && !answer.contains(&token), "{answer}");
}

#[tokio::test]
async fn without_an_upgrade_there_is_nothing() {
    let server = start().await;
    assert_eq!(get(&server, &format!("/rtc?access_token={}", token("a")), "").await.0, 404);
}

#[tokio::test]
async fn a_full_room_says_so() {
    let server = start().await;
    let token = |identity| token_with(identity, |claims| claims.video.as_mut().unwrap().room = "full".into());
    let _first = Client::join(&server, &token("a")).await;
    assert_eq!(Client::open(&server, &format!("/rtc?access_token={}", token("b"))).await.err(), Some(503));
    assert_eq!(server.refused("room_unavailable"), 1);
}

#[tokio::test]
async fn metadata_from_the_request_needs_the_grant() {
    let server = start().await;
    let plain = token_with("a", |claims| claims.video.as_mut().unwrap().can_update_own_metadata = None);
    let request = proto::JoinRequest { metadata: "m".into(), ..Default::default() };
    let path = format!("/rtc/v1?access_token={plain}&join_request={}", encode_join_request(&request));
    assert_eq!(Client::open(&server, &path).await.err(), Some(401));
}
