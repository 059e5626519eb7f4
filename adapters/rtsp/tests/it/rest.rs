//! The cameras' routes.

use crate::support::{GstServer, PCMA, Site, h264, track};
use rongtong_media_core::media::Kind;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_shows_a_password_and_the_database_holds_none() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let id = site.add("rtsp://root:hunter2-xyz@192.0.2.1/live", json!({ "disabled": true })).await;
    let (_, list) = site.call("GET", "/cameras", Value::Null).await;
    let camera = &list["items"][0];
    assert_eq!((&camera["url"], &camera["username"]), (&json!("rtsp://192.0.2.1/live"), &json!("root")));
    assert_eq!((&camera["has_password"], &camera["state"]), (&json!(true), &json!("disabled")));
    let (_, audit) = site.call("GET", "/audit", Value::Null).await;
    assert!(audit.to_string().contains("camera.create"));
    site.platform.db.close().await;
    for file in std::fs::read_dir(dir.path().join("data")).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            let bytes = std::fs::read(file.path()).unwrap();
            assert!(!bytes.windows(11).any(|window| window == b"hunter2-xyz"), "{:?}", file.path());
        }
    }
    assert!(!format!("{list}{audit}").contains("hunter2-xyz"), "{id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_password_does_not_follow_to_another_host() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let id = site.add("rtsp://root:hunter2@192.0.2.1/live", json!({ "disabled": true })).await;
    let path = format!("/cameras/{id}");
    let (status, problem) = site.call("PATCH", &path, json!({ "url": "rtsp://192.0.2.66/live" })).await;
    assert_eq!((status.as_u16(), &problem["errors"][0]["field"]), (422, &json!("password")));
    assert_eq!(site.call("PATCH", &path, json!({ "url": "rtsp://192.0.2.1/other", "name": "Yard" })).await.0, 200);
    let (status, camera) =
        site.call("PATCH", &path, json!({ "url": "rtsp://192.0.2.66/live", "password": null })).await;
    assert_eq!((status.as_u16(), &camera["has_password"], &camera["name"]), (200, &json!(false), &json!("Yard")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_input_and_strangers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    for (body, field) in [
        (json!({ "name": "x", "url": "http://192.0.2.1/" }), "url"),
        (json!({ "name": "", "url": "rtsp://192.0.2.1/" }), "name"),
        (json!({ "name": "x", "url": "rtsp://192.0.2.1/", "username": "a\r\nb" }), "username"),
    ] {
        let (status, problem) = site.call("POST", "/cameras", body).await;
        assert_eq!((status.as_u16(), problem["errors"][0]["field"].as_str()), (422, Some(field)), "{problem}");
    }
    assert_eq!(site.call_as("", "GET", "/cameras", Value::Null).await.0, 401);
    assert_eq!(site.call("GET", "/cameras/nobody", Value::Null).await.0, 404);
    assert_eq!(site.call("POST", "/rooms/nowhere/cameras", json!({ "camera_id": "nobody" })).await.0, 404);

    let member = json!({ "account": "member", "name": "M", "role": "member", "password": "Correct-Horse-2" });
    assert_eq!(site.call("POST", "/people", member).await.0, 201);
    let (_, session) =
        site.call("POST", "/session", json!({ "account": "member", "password": "Correct-Horse-2" })).await;
    let token = session["token"].as_str().unwrap();
    assert_eq!(site.call_as(token, "GET", "/cameras", Value::Null).await.0, 200);
    let body = json!({ "name": "x", "url": "rtsp://192.0.2.1/" });
    assert_eq!(site.call_as(token, "POST", "/cameras", body.clone()).await.0, 403);
    assert_eq!(site.call_as(token, "POST", "/cameras/test", json!({ "url": "rtsp://192.0.2.1/" })).await.0, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_goes_step_by_step_and_says_where_it_failed() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let server = GstServer::start(0, "admin:secret1", &[("cam", &format!("{} {PCMA}", h264()))]).await;
    let names = |result: &Value| {
        let steps = result["steps"].as_array().unwrap();
        steps.iter().map(|step| step["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let good = json!({ "url": server.url("cam"), "username": "admin", "password": "secret1" });
    let (_, result) = site.call("POST", "/cameras/test", good).await;
    assert_eq!(names(&result), "resolve connect describe setup play first_frame");
    assert_eq!(
        (&result["ok"], &result["video"]["height"], &result["audio"]["codec"]),
        (&json!(true), &json!(360), &json!("pcma"))
    );
    assert_eq!(result["advice"], "");

    let (_, result) = site.call("POST", "/cameras/test", json!({ "url": server.url("cam") })).await;
    assert_eq!(names(&result), "resolve connect describe", "{result}");
    assert_eq!((&result["ok"], &result["reason"]), (&json!(false), &json!("auth_failed")));
    assert!(result["advice"].as_str().unwrap().contains("password"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_is_a_token_and_a_recording_holds_the_camera_live() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let server = GstServer::start(0, "-", &[("cam", &h264())]).await;
    let id = site.add(&server.url("cam"), json!({})).await;
    let (status, preview) = site.call("POST", &format!("/cameras/{id}/preview"), Value::Null).await;
    assert_eq!((status.as_u16(), preview["room"].as_str()), (200, Some(&*format!("cam-{id}"))));
    assert!(preview["token"].as_str().unwrap().starts_with(&format!("cam-{id}|preview:")));
    assert_eq!(site.camera(&id).await["state"], "idle", "a token alone pulls nothing");

    let (status, recording) = site.call("POST", &format!("/cameras/{id}/recordings"), Value::Null).await;
    assert_eq!((status.as_u16(), recording["subject"].as_str()), (201, Some(id.as_str())));
    site.reaches(&id, "live").await;
    let room = site.recorder.holds.lock().unwrap()[0].room().clone();
    track(&room, Kind::Video).await;
    site.recorder.holds.lock().unwrap().clear();
    site.reaches(&id, "idle").await;
}
