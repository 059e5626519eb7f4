//! The routes as a client meets them, through the whole stack.

use super::*;
use crate::metrics::SignalingMetrics;
use crate::token::{ApiKeys, TokenMinter};
use crate::{Limits, RoomEntry, SignalingConfig};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::media::{CodecParams, Source};
use rongtong_media_core::room::{CodecPolicy, Join, Keyframes, Permission, RoomEvent, Rooms, TrackSpec};
use rongtong_media_core::webrtc::Endpoint;
use rongtong_platform::bootstrap::Bootstrap;
use rongtong_platform::config::Config;
use rongtong_platform::identity::{NewPerson, Role};
use rongtong_platform::web::stack;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt as _;

const SECRET: &str = "a-secret-of-sufficient-length-for-hs256";
const PASSWORD: &str = "Correct-Horse-1";

struct Site {
    app: axum::Router,
    platform: Arc<Platform>,
    signaling: Signaling,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.dir = dir.path().join("data");
        config.security.password_rounds = 20;
        let platform = Bootstrap::open(&config).await.unwrap().platform;
        let signaling = Signaling::new(SignalingConfig {
            keys: ApiKeys::new([("key".into(), SECRET.into())]),
            minter: TokenMinter::new("key", SECRET, Duration::from_secs(60)),
            rooms: Rooms::for_tests().unwrap(),
            endpoint: Endpoint::new().unwrap(),
            lookup: lookup(platform.db.clone(), AutoCreate::Refused),
            node: String::new(),
            region: String::new(),
            limits: Limits::default(),
            metrics: SignalingMetrics::new(&platform.metrics),
        });
        let (api, _) = OpenApiRouter::<()>::new()
            .nest("/api/v1", routes(platform.clone(), signaling.clone()))
            .merge(rongtong_platform_rest(platform.clone()))
            .split_for_parts();
        Self { app: stack(api.merge(signaling.router()), platform.clone()), platform, signaling, _dir: dir }
    }

    /// Somebody of this role, signed in.
    async fn person(&self, account: &str, role: Role) -> String {
        let new = NewPerson { account: account.into(), name: "张三".into(), role, password: Some(PASSWORD.into()) };
        self.platform.identity.add(new).await.unwrap();
        let body = json!({ "account": account, "password": PASSWORD });
        let (status, answer) = self.call("POST", "/session", "", Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let token = answer["token"].as_str().unwrap().to_owned();
        if answer["person"]["must_change_password"] == true {
            let change = json!({ "old_password": PASSWORD, "new_password": "Other-Horse-22" });
            assert_eq!(self.call("POST", "/session/password", &token, Some(change)).await.0, StatusCode::NO_CONTENT);
        }
        token
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request =
            Request::builder().method(method).uri(format!("/api/v1{path}")).header("host", "rt.example:7443");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = self.app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn status(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> u16 {
        self.call(method, path, token, body).await.0.as_u16()
    }
}

fn rongtong_platform_rest(platform: Arc<Platform>) -> OpenApiRouter {
    OpenApiRouter::new().nest("/api/v1", rongtong_platform::rest::routes(platform))
}

#[tokio::test]
async fn a_room_is_made_read_changed_and_closed() {
    let site = Site::open().await;
    let host = site.person("host", Role::Dispatcher).await;
    let (status, made) = site.call("POST", "/rooms", &host, Some(json!({ "title": "值班室" }))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let name = made["name"].as_str().unwrap();
    assert!(name.starts_with("r-") && name.len() == 10);
    assert_eq!(
        (&made["title"], &made["codec_policy"], &made["participants"]),
        (&json!("值班室"), &json!("prefer-h264"), &json!(0))
    );

    let path = format!("/rooms/{name}");
    let patch = json!({ "title": "指挥部", "codec_policy": "any" });
    let (status, changed) = site.call("PATCH", &path, &host, Some(patch)).await;
    assert_eq!(
        (status, &changed["title"], &changed["codec_policy"]),
        (StatusCode::OK, &json!("指挥部"), &json!("any"))
    );

    let (_, listed) = site.call("GET", "/rooms", &host, None).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);

    assert_eq!(site.status("DELETE", &path, &host, None).await, 204);
    assert_eq!(site.status("GET", &path, &host, None).await, 404);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let site = Site::open().await;
    let host = site.person("host", Role::Dispatcher).await;
    for n in 0..5 {
        let body = json!({ "title": "x", "name": format!("room-{n}") });
        assert_eq!(site.status("POST", "/rooms", &host, Some(body)).await, 201);
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let (_, page) = site.call("GET", &format!("/rooms?limit=2{cursor}"), &host, None).await;
        names.extend(page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    names.sort();
    assert_eq!(names, (0..5).map(|n| format!("room-{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn names_and_titles_are_checked() {
    let site = Site::open().await;
    let host = site.person("host", Role::Dispatcher).await;
    for body in [
        json!({ "title": "" }),
        json!({ "title": "x".repeat(129) }),
        json!({ "title": "a\nb" }),
        json!({ "title": "\u{200b}\u{200b}" }),
        json!({ "title": "夜\u{202e}班" }),
        json!({ "title": "x", "name": "a b" }),
        json!({ "title": "x", "name": "" }),
        json!({ "title": "x", "name": "n".repeat(65) }),
        json!({ "title": "x", "name": "cam-1" }),
        json!({ "title": "x", "codec_policy": "av1" }),
        json!({ "title": "x", "extra": 1 }),
    ] {
        assert_eq!(site.status("POST", "/rooms", &host, Some(body.clone())).await, 422, "{body}");
    }
    let body = json!({ "title": "\u{200b} x\u{3000}", "name": "once" });
    let (status, room) = site.call("POST", "/rooms", &host, Some(body.clone())).await;
    assert_eq!((status, &room["title"]), (StatusCode::CREATED, &json!("x")));
    let (status, problem) = site.call("POST", "/rooms", &host, Some(body)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("room_taken")));
}

#[tokio::test]
async fn roles_decide() {
    let site = Site::open().await;
    let host = site.person("host", Role::Dispatcher).await;
    let member = site.person("member", Role::Member).await;
    site.call("POST", "/rooms", &host, Some(json!({ "title": "x", "name": "duty" }))).await;

    assert_eq!(site.status("GET", "/rooms", "", None).await, 401);
    assert_eq!(site.status("GET", "/rooms", &member, None).await, 200);
    assert_eq!(site.status("GET", "/rooms/duty", &member, None).await, 200);
    assert_eq!(site.status("POST", "/rooms/duty/token", &member, None).await, 200);
    assert_eq!(site.status("POST", "/rooms", &member, Some(json!({ "title": "x" }))).await, 403);
    assert_eq!(site.status("PATCH", "/rooms/duty", &member, Some(json!({ "title": "y" }))).await, 403);
    assert_eq!(site.status("DELETE", "/rooms/duty", &member, None).await, 403);
    assert_eq!(site.status("POST", "/rooms/duty/participants/x/remove", &member, None).await, 403);
}

#[tokio::test]
async fn a_ticket_lets_the_person_in_under_their_name() {
    let site = Site::open().await;
    let host = site.person("host", Role::Dispatcher).await;
    site.call("POST", "/rooms", &host, Some(json!({ "title": "x", "name": "duty", "codec_policy": "any" }))).await;
    let (_, ticket) = site.call("POST", "/rooms/duty/token", &host, Some(json!({ "name": "台长" }))).await;
    assert_eq!((&ticket["url"], &ticket["identity"]), (&json!("ws://rt.example:7443"), &json!("host")));
    let keys = ApiKeys::new([("key".into(), SECRET.into())]);
    let admission = keys.verify(ticket["token"].as_str().unwrap()).unwrap().admission(None).unwrap();
    assert_eq!((admission.room.as_str(), admission.name.as_str()), ("duty", "台长"));
    assert_eq!(admission.permission, Permission::full());

    assert_eq!(site.status("POST", "/rooms/nowhere/token", &host, None).await, 404);
    assert_eq!(site.status("POST", "/rooms/cam-1/token", &host, None).await, 404);
    assert_eq!(site.status("POST", "/rooms/duty/token", &host, Some(json!({ "name": "" }))).await, 422);
    assert_eq!(site.status("POST", "/rooms/duty/token", &host, Some(json!({ "name": "\u{3164}" }))).await, 422);
}

#[tokio::test]
async fn only_who_is_in_a_meeting_renews_a_session_by_it() {
    let site = Site::open().await;
    let host = site.person("host", Role::Dispatcher).await;
    site.call("POST", "/rooms", &host, Some(json!({ "title": "x", "name": "duty" }))).await;
    assert_eq!(site.status("POST", "/rooms/duty/stay", "", None).await, 401);
    assert_eq!(site.status("POST", "/rooms/nowhere/stay", &host, None).await, 404);
    let (status, problem) = site.call("POST", "/rooms/duty/stay", &host, None).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("not_in_room")));
    let room = site.signaling.rooms().open(&RoomName::new("duty"), Default::default);
    let _host = room.join(Join { identity: "host".into(), ..Join::default() }).unwrap();
    assert_eq!(site.status("POST", "/rooms/duty/stay", &host, None).await, 204);
}

#[tokio::test]
async fn rooms_open_with_what_their_row_says() {
    let site = Site::open().await;
    let host = site.person("host", Role::Dispatcher).await;
    site.call("POST", "/rooms", &host, Some(json!({ "title": "题", "name": "duty", "codec_policy": "any" }))).await;
    let ask = |name: &str, auto| lookup(site.platform.db.clone(), auto)(RoomName::new(name));
    let RoomEntry::Known(options) = ask("duty", AutoCreate::Refused).await else { panic!("the room is known") };
    assert_eq!((options.title.as_str(), options.codec_policy), ("题", CodecPolicy::Any));
    assert!(matches!(ask("nowhere", AutoCreate::Refused).await, RoomEntry::Absent));
    assert!(matches!(ask("nowhere", AutoCreate::Allowed).await, RoomEntry::Known(_)));
    assert!(matches!(ask("cam-1", AutoCreate::Refused).await, RoomEntry::Known(_)));
}

#[tokio::test]
async fn the_host_sees_mutes_and_removes_who_is_there() {
    let site = Site::open().await;
    let host = site.person("host", Role::Dispatcher).await;
    site.call("POST", "/rooms", &host, Some(json!({ "title": "x", "name": "duty" }))).await;
    let room = site.signaling.rooms().open(&RoomName::new("duty"), Default::default);
    let mut guest =
        room.join(Join { identity: "guest".into(), permission: Permission::full(), ..Join::default() }).unwrap();
    let spec = TrackSpec::new(Source::Microphone, CodecParams::opus());
    let source = room.publish(&guest.info.sid, spec, Keyframes::OnRequest).unwrap();
    let sid = source.info().sid.to_string();

    let (_, seen) = site.call("GET", "/rooms/duty", &host, None).await;
    let guest_seen = &seen["participants"][0];
    assert_eq!((&guest_seen["identity"], &guest_seen["kind"]), (&json!("guest"), &json!("person")));
    assert_eq!((&guest_seen["tracks"][0]["sid"], &guest_seen["tracks"][0]["codec"]), (&json!(sid), &json!("opus")));

    let mute = json!({ "track_sid": sid, "muted": true });
    assert_eq!(site.status("POST", "/rooms/duty/participants/nobody/mute", &host, Some(mute.clone())).await, 404);
    assert_eq!(site.status("POST", "/rooms/duty/participants/guest/mute", &host, Some(mute)).await, 204);
    assert!(room.track(&source.info().sid).unwrap().spec.muted);

    assert_eq!(site.status("POST", "/rooms/duty/participants/guest/remove", &host, None).await, 204);
    assert_eq!(site.status("POST", "/rooms/duty/participants/guest/remove", &host, None).await, 404);
    let mut removed = false;
    while let Ok(event) = guest.events.try_recv() {
        removed |= matches!(event, RoomEvent::Removed(_));
    }
    assert!(removed);
}

#[tokio::test]
async fn refusals_of_the_client_protocol_pass_the_stack_as_they_are() {
    let site = Site::open().await;
    let minter = site.signaling.minter();
    let request = crate::token::TokenRequest { room: "nowhere", identity: "a", name: "" };
    let path = format!("/rtc/validate?access_token={}", minter.participant(request));
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let response = site.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    // The words by which clients know that it is the room and not the address.
    assert!(String::from_utf8_lossy(&body).contains("requested room does not exist"));
}
