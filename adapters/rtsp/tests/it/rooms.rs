//! Cameras in rooms: pulled on demand, once, and back by themselves.

use crate::support::{GstServer, PCMA, Site, camera_in, h264, track, wait_for};
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::media::Kind;
use rongtong_media_core::room::{Holder, LeaveReason, ParticipantKind};
use serde_json::{Value, json};
use std::time::Duration;

pub async fn make_room(site: &Site, name: &str) {
    use rongtong_platform::store::rooms::{RoomRow, insert};
    let row = RoomRow {
        name: name.into(),
        title: name.into(),
        codec_policy: "h264".into(),
        created_at: 1,
        created_by: "test".into(),
        closed_at: None,
    };
    insert(&site.platform.db, row).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_serves_all_rooms_and_ends_after_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let server = GstServer::start(0, "-", &[("cam", &format!("{} {PCMA}", h264()))]).await;
    let id = site.add(&server.url("cam"), json!({})).await;
    assert_eq!(site.camera(&id).await["state"], "idle");

    make_room(&site, "ops").await;
    let (own, viewer) = site.enter(&format!("cam-{id}"), "viewer");
    let (ops, person) = site.enter("ops", "alice");
    let (status, _) = site.call("POST", "/rooms/ops/cameras", json!({ "camera_id": id })).await;
    assert_eq!(status, 204);
    site.reaches(&id, "live").await;
    for room in [&own, &ops] {
        track(room, Kind::Video).await;
        let info = camera_in(room, &id).await;
        assert_eq!((info.kind, info.name.as_str()), (ParticipantKind::Camera, "Gate"));
        assert_eq!(info.attributes["rongtong.state"], "live");
    }
    assert_eq!(site.counter("rongtong_camera_connects_total"), 1);

    let shown = track(&ops, Kind::Video).await;
    let _tile = ops.tap(&Holder::Participant(person.info.sid.clone()), &shown.sid, 100).unwrap();
    own.leave(&viewer.info.sid, LeaveReason::ClientInitiated);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(site.camera(&id).await["state"], "live", "the other room still has it");
    let (status, _) = site.call("DELETE", &format!("/rooms/ops/cameras/{id}"), Value::Null).await;
    assert_eq!(status, 204);
    site.reaches(&id, "idle").await;
    assert!(ops.participant(&rongtong_rtsp::identity(&id)).is_none());
    ops.leave(&person.info.sid, LeaveReason::ClientInitiated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assigned_cameras_come_back_when_a_room_opens_again_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let server = GstServer::start(0, "-", &[("cam", &h264())]).await;
    let id = site.add(&server.url("cam"), json!({})).await;
    make_room(&site, "ops").await;
    assert_eq!(site.call("POST", "/rooms/ops/cameras", json!({ "camera_id": id })).await.0, 204);
    let ops = RoomName::new("ops");

    let (room, _person) = site.enter("ops", "alice");
    track(&room, Kind::Video).await;
    site.rooms.close(&ops, LeaveReason::RoomClosed);
    let (again, _person) = site.enter("ops", "alice");
    track(&again, Kind::Video).await;
    assert_eq!(site.camera(&id).await["rooms"], json!(["ops"]));
    site.cameras.shutdown().await;
    site.rooms.close_all(LeaveReason::ServerShutdown);
    site.platform.db.close().await;

    let site = Site::open(dir.path()).await;
    let (room, _person) = site.enter("ops", "alice");
    track(&room, Kind::Video).await;

    // A host who throws the camera out means it.
    room.remove(&rongtong_rtsp::identity(&id)).unwrap();
    wait_for("the assignment to go", || room.participant(&rongtong_rtsp::identity(&id)).is_none().then_some(())).await;
    site.reaches(&id, "idle").await;
    assert_eq!(site.camera(&id).await["rooms"], json!([]));
}
