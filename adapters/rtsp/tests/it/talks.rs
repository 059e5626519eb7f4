//! Speaking to cameras over the API: who may, who hears, who is busy, how it ends.

use crate::support::Site;
use rongtong_media_core::audio::g711::Law;
use rongtong_media_core::media::{CodecParams, Keyframes, Source, SourcePacket};
use rongtong_media_core::room::TrackSpec;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn until(site: &Site, talk: &str, so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let (_, now) = site.call("GET", &format!("/talks/{talk}"), Value::Null).await;
        if so(&now) {
            return now;
        }
        assert!(began.elapsed() < Duration::from_secs(8), "{now}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_is_heard_by_those_who_can_hear() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let hears = site.add("gb28181://1/hears", json!({ "name": "Hears" })).await;
    let deaf = site.add("gb28181://1/deaf", json!({ "name": "Deaf" })).await;
    let rtsp = site.add("rtsp://192.0.2.1/s", json!({ "name": "Plain" })).await;
    let wish = json!({ "cameras": [hears, deaf, rtsp] });
    let (status, talk) = site.call("POST", "/talks", wish).await;
    assert_eq!(status, 201, "{talk}");
    let (id, room) = (talk["id"].as_str().unwrap(), talk["room"].as_str().unwrap());
    assert!(room.starts_with("talk-") && talk["token"].as_str().unwrap().starts_with(room), "{talk}");
    let now =
        until(&site, id, |talk| talk["targets"].as_array().unwrap().iter().all(|target| target["state"] != "calling"))
            .await;
    let of =
        |camera: &str| now["targets"].as_array().unwrap().iter().find(|target| target["camera"] == camera).unwrap();
    assert_eq!((of(&hears)["state"].as_str(), of(&hears)["way"].as_str()), (Some("live"), Some("broadcast")));
    assert_eq!((of(&deaf)["state"].as_str(), of(&deaf)["reason"].as_str()), (Some("failed"), Some("refused")));
    assert!(of(&deaf)["detail"].as_str().unwrap().contains("488") && of(&deaf)["advice"].is_string());
    assert_eq!(of(&rtsp)["reason"], "unable");

    // Something is said, and heard there.
    let (room, member) = site.enter(room, "speaker");
    let spec = TrackSpec::new(Source::Microphone, CodecParams::pcma());
    let source = room.publish(&member.info.sid, spec, Keyframes::OnRequest).unwrap();
    let loud: Vec<u8> = (0..160).map(|at| Law::A.encode(if at % 8 < 4 { 12_000 } else { -12_000 })).collect();
    for at in 0..60u64 {
        source.write(vec![SourcePacket::new(at, at as u32 * 160, false, loud.clone().into())]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(site.ears.loud("gb28181://1/hears") > 20, "{}", site.ears.loud("gb28181://1/hears"));
    assert_eq!(site.ears.open(), 1);

    let (status, busy) = site.call("POST", "/talks", json!({ "cameras": [hears] })).await;
    assert_eq!((status.as_u16(), busy["code"].as_str()), (409, Some("talk_busy")), "{busy}");
    assert!(busy["detail"].as_str().unwrap().contains("Hears"), "{busy}");
    assert_eq!(site.call("DELETE", &format!("/talks/{id}"), Value::Null).await.0, 204);
    let over = until(&site, id, |talk| talk["over"] == true).await;
    assert_eq!(over["targets"].as_array().unwrap().iter().filter(|target| target["state"] == "ended").count(), 1);
    assert_eq!(site.ears.open(), 0);
    assert!(site.rooms.find(room.name()).is_none(), "its room is gone");
    // And may be spoken to again; in a meeting that is not there nobody is heard.
    let (status, _) = site.call("POST", "/talks", json!({ "cameras": [hears], "room": "nowhere" })).await;
    assert_eq!(status, 404);
    let (_meeting, _member) = site.enter("meeting", "anna");
    let (status, talk) = site.call("POST", "/talks", json!({ "cameras": [hears], "room": "meeting" })).await;
    assert_eq!((status.as_u16(), &talk["token"]), (201, &Value::Null), "{talk}");
    let id = talk["id"].as_str().unwrap().to_owned();
    until(&site, &id, |talk| talk["targets"][0]["state"] == "live").await;
    // The device hangs up, and that is that.
    site.ears.hang_up();
    let over = until(&site, &id, |talk| talk["over"] == true).await;
    assert_eq!(over["targets"][0]["reason"], "closed", "{over}");
    site.cameras.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_wishes_and_strangers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let hears = site.add("gb28181://1/hears", json!({})).await;
    let rtsp = site.add("rtsp://192.0.2.1/s", json!({})).await;
    for (body, status) in [
        (json!({ "cameras": [] }), 422),
        (json!({ "cameras": (0..65).map(|at| at.to_string()).collect::<Vec<_>>() }), 422),
        (json!({ "cameras": ["nobody"] }), 404),
        (json!({ "cameras": [rtsp] }), 409),
        (json!({ "cameras": [hears], "way": "shouting" }), 422),
        (json!({ "cameras": [hears], "room": format!("cam-{hears}") }), 404),
        (json!({ "cameras": [hears], "loud": true }), 422),
    ] {
        let (got, problem) = site.call("POST", "/talks", body.clone()).await;
        assert_eq!(got, status, "{body} {problem}");
        assert!(problem["code"].is_string(), "{problem}");
    }
    for (method, path) in [("GET", "/talks"), ("GET", "/talks/x"), ("DELETE", "/talks/x"), ("POST", "/talks")] {
        assert_eq!(site.call_as("", method, path, Value::Null).await.0, 401, "{method} {path}");
    }
    assert_eq!(site.call("GET", "/talks/x", Value::Null).await.0, 404);
    assert_eq!(site.call("DELETE", "/talks/x", Value::Null).await.0, 404);
    // One that is called and does not answer is left, whoever waits.
    let slow = site.add("gb28181://1/slow", json!({})).await;
    let (_, talk) = site.call("POST", "/talks", json!({ "cameras": [slow] })).await;
    let id = talk["id"].as_str().unwrap();
    assert_eq!(site.call("DELETE", &format!("/talks/{id}"), Value::Null).await.0, 204);
    let over = until(&site, id, |talk| talk["over"] == true).await;
    assert_eq!(over["targets"][0]["state"], "ended");
    site.cameras.shutdown().await;
}
