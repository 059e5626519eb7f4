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
    assert_nothing_holds(dir.path(), b"hunter2-xyz");
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
        (json!({ "name": "\u{200b}\u{2060}", "url": "rtsp://192.0.2.1/" }), "name"),
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
    assert_eq!((&result["ok"], &result["reason"]), (&json!(false), &json!("login_required")));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_of_any_characters_is_taken_out_or_refused_with_its_character() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    for url in
        ["rtsp://admin:12/34secretword@host/x", "rtsp://admin:a#b@192.0.2.1/x", "rtsp://admin:a b@192.0.2.1:8554/x"]
    {
        let camera = site.camera(&site.add(url, json!({ "disabled": true })).await).await;
        assert!(camera["url"].as_str().unwrap().ends_with("/x") && !camera["url"].as_str().unwrap().contains('@'));
        assert_eq!((&camera["username"], &camera["has_password"]), (&json!("admin"), &json!(true)));
    }
    for (url, field, word) in [
        ("rtsp://admin:p@ss/word@host/x", "url", "A \"/\" in the address"),
        ("rtsp://cam.example/live@1", "url", "%40"),
        ("rtsp://h/x?password=a#b", "url", "%23"),
        ("rtsp://:secret@host/x", "username", "user name"),
        ("rtsp://admin:x#34", "url", "password"),
        ("rtsp://h/x?password=***", "url", "***"),
    ] {
        let (status, problem) = site.call("POST", "/cameras", json!({ "name": "x", "url": url })).await;
        assert_eq!((status.as_u16(), &problem["errors"][0]["field"]), (422, &json!(field)), "{url} {problem}");
        assert!(problem["errors"][0]["message"].as_str().unwrap().contains(word), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_among_the_parameters_is_hidden_kept_and_does_not_follow_to_another_host() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let id = site.add("rtsp://192.0.2.1/user=a&password=hunter2xyz&channel=1", json!({ "disabled": true })).await;
    let path = format!("/cameras/{id}");
    let camera = site.camera(&id).await;
    assert_eq!(camera["url"], "rtsp://192.0.2.1/user=a&password=***&channel=1");
    let (status, camera) =
        site.call("PATCH", &path, json!({ "url": "rtsp://192.0.2.1/user=a&password=***&channel=2" })).await;
    assert_eq!((status.as_u16(), camera["url"].as_str().unwrap().ends_with("channel=2")), (200, true));
    let (status, _) =
        site.call("PATCH", &path, json!({ "url": "rtsp://192.0.2.9/user=a&password=***&channel=2" })).await;
    assert_eq!(status, 422);
    site.platform.db.close().await;
    assert_nothing_holds(dir.path(), b"hunter2xyz");
}

/// A database as version 0.1 left it: passwords in rows and in the audit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_in_an_older_database_are_sealed_and_gone_from_its_file() {
    use rongtong_platform::audit::Entry;
    use rongtong_platform::storage::StorageError;
    use rongtong_platform::store::cameras::{get, open_password, open_withheld};
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let rows = [
        ("plain", "rtsp://192.0.2.1/live", ""),
        ("slash", "rtsp://admin:12/34canary7@host/x", ""),
        ("query", "rtsp://192.0.2.1/user=a&password=canary7&channel=1", ""),
        ("both", "rtsp://a:12/canary7@host/x", "root"),
        ("open", "rtsp://first.last:1/canary7@host/x", ""),
    ];
    for (id, url, username) in rows {
        site.add(&format!("rtsp://192.0.2.1/{id}"), json!({ "name": id, "disabled": false })).await;
        let detail = json!({ "name": id, "url": url });
        site.platform
            .audit
            .append(Entry::new("admin", "camera.create", format!("camera:{id}")).detail(detail))
            .await
            .unwrap();
        let sql = format!("update cameras set id = '{id}', url = '{url}', username = '{username}' where name = '{id}'");
        site.platform
            .db
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(conn).await?;
                    Ok::<_, StorageError>(())
                })
            })
            .await
            .unwrap();
    }
    site.platform.db.write(|conn| Box::pin(async move {
        sqlx::raw_sql("alter table cameras drop column url_secret; drop table upkeep; delete from _sqlx_migrations where version = 3").execute(conn).await?;
        Ok::<_, StorageError>(())
    })).await.unwrap();
    site.cameras.shutdown().await;
    site.platform.db.close().await;

    let site = Site::open(dir.path()).await;
    let (db, keys) = (&site.platform.db, &site.platform.keys);
    let row = |id: &'static str| async move { get(db, id).await.unwrap().unwrap() };
    let shown =
        |row: &rongtong_platform::store::cameras::CameraRow| (row.url.clone(), row.username.clone(), row.disabled);
    assert_eq!(shown(&row("plain").await), ("rtsp://192.0.2.1/live".into(), String::new(), false));
    assert_eq!(shown(&row("slash").await), ("rtsp://host/x".into(), "admin".into(), false));
    assert_eq!(open_password(keys, &row("slash").await).unwrap().as_deref(), Some("12/34canary7"));
    assert_eq!(shown(&row("query").await).0, "rtsp://192.0.2.1/user=a&password=***&channel=1");
    assert_eq!(open_withheld(keys, &row("query").await).unwrap(), ["canary7"]);
    assert_eq!(shown(&row("both").await), ("rtsp://host/x".into(), "root".into(), false));
    assert_eq!(shown(&row("open").await), (rongtong_rtsp::upkeep::WITHHELD_ADDRESS.into(), String::new(), true));
    assert_eq!(open_withheld(keys, &row("open").await).unwrap(), ["rtsp://first.last:1/canary7@host/x"]);
    let (_, list) = site.call("GET", "/cameras", Value::Null).await;
    let (_, audit) = site.call("GET", "/audit", Value::Null).await;
    assert!(!format!("{list}{audit}").contains("canary7"));
    assert!(audit.to_string().contains("audit.redact"));
    assert_eq!(site.platform.audit.verify().await.unwrap().fault, None);
    site.platform.db.close().await;
    assert_nothing_holds(dir.path(), b"canary7");
}

fn assert_nothing_holds(dir: &std::path::Path, secret: &[u8]) {
    for file in std::fs::read_dir(dir.join("data")).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            let bytes = std::fs::read(file.path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{:?}", file.path());
        }
    }
}
