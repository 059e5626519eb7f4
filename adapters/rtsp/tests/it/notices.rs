//! What devices tell, as people learn of it.

use crate::support::Site;
use rongtong_media_core::device::{AlarmCause, DeviceAlarm, DeviceKind, DeviceNotice, DevicePart, DevicePosition, Fix};
use serde_json::{Value, json};
use std::time::Duration;

const DEVICE: &str = "34020000001110000001";
const CHANNEL: &str = "34020000001320000001";

fn part(channel: Option<&str>) -> DevicePart {
    DevicePart { scheme: "gb28181", device: DEVICE.to_owned(), channel: channel.map(str::to_owned) }
}

fn alarm(channel: Option<&str>, level: u8, description: &str) -> DeviceNotice {
    DeviceNotice::Alarm(DeviceAlarm {
        part: part(channel),
        device_name: "录像机".to_owned(),
        channel_name: "东门".to_owned(),
        level,
        cause: AlarmCause::Video,
        kind: Some("intrusion"),
        description: description.to_owned(),
        fix: Some((117.2, 39.1)),
        raised_at: None,
    })
}

fn position(longitude: f64, seconds_ago: i64) -> DeviceNotice {
    let now = rongtong_platform::clock::now_ms();
    DeviceNotice::Position(DevicePosition {
        part: part(None),
        name: "单兵一".to_owned(),
        kind: DeviceKind::BodyCamera,
        fix: Fix { longitude, latitude: 39.0, altitude: Some(3.0), speed: Some(4.5), direction: Some(90.0) },
        measured_at: Some(now - seconds_ago * 1_000),
    })
}

async fn until(site: &Site, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..200 {
        let (status, body) = site.call("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{body}");
        if is(&body) {
            return body;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} never said so");
}

#[tokio::test]
async fn an_alarm_is_told_listed_and_seen_to_once() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let camera = site.add(&format!("gb28181://{DEVICE}/{CHANNEL}"), json!({ "name": "东门球机" })).await;
    let telling = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for description in ["a", "a", "b"] {
            site.tell.send(alarm(Some(CHANNEL), 1, description)).await.unwrap();
        }
    };
    let (events, ()) = tokio::join!(site.listen("/events", 2), telling);
    assert!(events.iter().all(|(name, alarm)| name == "alarm" && alarm["camera_id"] == camera), "{events:?}");
    assert_eq!(events[0].1["text"], "Intrusion");

    let list = until(&site, "/alarms?state=open", |list| list["items"].as_array().unwrap().len() == 2).await;
    let first = &list["items"][1];
    assert_eq!((&first["count"], &first["level"], &first["camera_name"]), (&json!(2), &json!(1), &json!("东门球机")));
    assert_eq!(first["longitude"], 117.2);
    let summary = site.call("GET", "/alarms/summary", Value::Null).await.1;
    assert_eq!(summary, json!({ "open": 2, "levels": [2, 0, 0, 0] }));
    let of_camera = site.call("GET", &format!("/alarms?camera_id={camera}&limit=1"), Value::Null).await.1;
    assert_eq!(of_camera["items"].as_array().unwrap().len(), 1);
    let rest = format!("/alarms?camera_id={camera}&cursor={}", of_camera["next_cursor"].as_str().unwrap());
    assert_eq!(site.call("GET", &rest, Value::Null).await.1["items"][0]["id"], first["id"]);

    let handling = json!({ "ids": [first["id"], "nobody"], "note": " 误报 " });
    let handle = || site.call("POST", "/alarms/handle", handling.clone());
    assert_eq!(handle().await.1, json!({ "handled": 1 }));
    assert_eq!(handle().await.1, json!({ "handled": 0 }));
    let read = site.call("GET", &format!("/alarms/{}", first["id"].as_str().unwrap()), Value::Null).await.1;
    assert_eq!((&read["state"], &read["note"]), (&json!("handled"), &json!("误报")));
    // The same again is another one.
    site.tell.send(alarm(Some(CHANNEL), 1, "a")).await.unwrap();
    until(&site, "/alarms?state=open", |list| list["items"].as_array().unwrap().len() == 2).await;

    for (path, status) in [
        ("/alarms/nobody", 404),
        ("/alarms?level=5", 422),
        ("/alarms?since=yesterday", 422),
        ("/alarms?camera_id=nobody", 404),
        ("/alarms?cursor=!", 400),
        ("/alarms?nonsense=1", 400),
    ] {
        assert_eq!(site.call("GET", path, Value::Null).await.0, status, "{path}");
    }
    for body in
        [json!({ "ids": [] }), json!({ "ids": vec!["a"; 101] }), json!({ "ids": ["a"], "note": "x".repeat(501) })]
    {
        assert_eq!(site.call("POST", "/alarms/handle", body).await.0, 422);
    }
    assert_eq!(site.call_as("", "GET", "/alarms", Value::Null).await.0, 401);
    assert_eq!(site.call_as("", "GET", "/events", Value::Null).await.0, 401);
}

#[tokio::test]
async fn those_who_listen_are_sent_home_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let (listened, ()) = tokio::join!(
        async { tokio::time::timeout(Duration::from_secs(5), site.call("GET", "/events", Value::Null)).await },
        async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            site.notices.end();
        }
    );
    assert_eq!(listened.expect("the stream ends").0, 200);
}

#[tokio::test]
async fn devices_are_on_the_map_and_have_a_way() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let place = json!({ "longitude": 117.5, "latitude": 39.5 });
    let fixed = site.add("rtsp://192.0.2.1/a", json!({ "kind": "dome", "place": place, "name": "布控球" })).await;
    site.add("rtsp://192.0.2.1/b", json!({})).await;
    let telling = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for (longitude, ago) in [(117.0, 30), (117.1, 20), (116.9, 60), (117.2, 10)] {
            site.tell.send(position(longitude, ago)).await.unwrap();
        }
    };
    let (events, ()) = tokio::join!(site.listen("/events", 1), telling);
    assert_eq!(events[0].0, "position");

    let moved = |list: &Value| list["items"].as_array().unwrap().iter().any(|place| place["longitude"] == 117.2);
    let list = until(&site, "/positions", moved).await;
    let of = |source: &str| list["items"].as_array().unwrap().iter().find(|place| place["source"] == source).cloned();
    let body_camera = of("gb28181").unwrap();
    assert_eq!((&body_camera["kind"], &body_camera["camera_id"]), (&json!("body_camera"), &Value::Null));
    assert_eq!((&body_camera["speed"], &body_camera["online"]), (&json!(4.5), &json!(true)));
    let dome = of("set").unwrap();
    assert_eq!((&dome["camera_id"], &dome["kind"], &dome["origin"]), (&json!(fixed), &json!("dome"), &json!("set")));
    assert_eq!(list["items"].as_array().unwrap().len(), 2);

    let path = format!("/positions/track?source=gb28181&device={DEVICE}");
    let way = until(&site, &path, |way| way["items"].as_array().unwrap().len() == 4).await;
    let longitudes: Vec<_> = way["items"].as_array().unwrap().iter().map(|point| point["longitude"].clone()).collect();
    assert_eq!(longitudes, [116.9, 117.0, 117.1, 117.2], "in the order of their times");
    assert_eq!(way["thinned"], false);

    // A camera of it is the device's, and takes what people say it is.
    let kind = json!({ "kind": "drone", "name": "无人机" });
    let camera = site.add(&format!("gb28181://{DEVICE}/{CHANNEL}"), kind).await;
    let list = site.call("GET", "/positions", Value::Null).await.1;
    let drone = list["items"].as_array().unwrap().iter().find(|place| place["camera_id"] == camera).cloned().unwrap();
    assert_eq!((&drone["kind"], &drone["name"]), (&json!("drone"), &json!("无人机")));

    let changed = site.call("PATCH", &format!("/cameras/{fixed}"), json!({ "place": null })).await.1;
    assert_eq!((&changed["place"], &changed["kind"]), (&Value::Null, &json!("dome")));
    for (method, path, body, status) in [
        ("GET", "/positions/track?source=gb28181&device=x&since=2020-01-01T00:00:00Z".to_owned(), Value::Null, 422),
        ("GET", "/positions/track?source=gb28181".to_owned(), Value::Null, 400),
        ("PATCH", format!("/cameras/{fixed}"), json!({ "place": { "longitude": 181, "latitude": 0 } }), 422),
        ("PATCH", format!("/cameras/{fixed}"), json!({ "kind": "balloon" }), 422),
        ("GET", "/map/tiles/1/0/9".to_owned(), Value::Null, 404),
        ("GET", "/map/tiles/1/0/..%2f..%2fetc".to_owned(), Value::Null, 400),
    ] {
        assert_eq!(site.call(method, &path, body).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn the_map_lies_on_a_folder_of_tiles() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("3/6")).unwrap();
    std::fs::write(folder.path().join("3/6/2.jpg"), br#"{"not":"really a picture"}"#).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tiles = folder.path().display().to_string();
    let site = Site::open_with(dir.path(), |config| config.map.tiles = tiles).await;
    let map = site.call("GET", "/map", Value::Null).await.1;
    assert_eq!(map["tiles"], "/api/v1/map/tiles/{z}/{x}/{y}");
    let (status, tile) = site.call("GET", "/map/tiles/3/6/2", Value::Null).await;
    assert_eq!((status.as_u16(), &tile["not"]), (200, &json!("really a picture")));
    assert_eq!(site.call_as("", "GET", "/map/tiles/3/6/2", Value::Null).await.0, 401);
}
