//! A camera in a meeting is pulled while somebody wants to see or hear it.

use crate::rooms::make_room;
use crate::support::{GstServer, PCMA, Site, h264, next, track, wait_for};
use rongtong_media_core::media::Kind;
use rongtong_media_core::room::{Discontinuity, Holder, TapItem};
use rongtong_media_core::rtp::h264::starts_keyframe;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_nobody_looks_at_rests_with_its_tracks_and_comes_back_when_somebody_does() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let server = GstServer::start(0, "-", &[("cam", &format!("{} {PCMA}", h264()))]).await;
    let id = site.add(&server.url("cam"), json!({})).await;
    make_room(&site, "ops").await;
    let (room, _alice) = site.enter("ops", "alice");
    assert_eq!(site.call("POST", "/rooms/ops/cameras", json!({ "camera_id": id })).await.0, 204);
    let video = track(&room, Kind::Video).await;
    let audio = track(&room, Kind::Audio).await;
    site.reaches(&id, "live").await;
    site.reaches(&id, "idle").await;
    assert_eq!(site.counter("rongtong_camera_connects_total"), 1);
    for track in [&video, &audio] {
        assert!(room.track(&track.sid).is_some(), "its tracks are there to be wanted");
    }
    // Somebody looks, twice.
    let mut last = 0;
    for connects in 2..4 {
        let mut tap = room.tap(&Holder::Service("test"), &video.sid, 1000).unwrap();
        let (mut pictures, mut begun) = (0, false);
        while pictures < 20 {
            match next(&mut tap).await {
                TapItem::Packet(packet) => {
                    assert!(std::mem::replace(&mut begun, true) || starts_keyframe(&packet.payload));
                    assert!(packet.room_ns >= last, "nothing of before is shown");
                    pictures += u32::from(packet.marker);
                    last = packet.room_ns;
                }
                TapItem::Format(_) | TapItem::Discontinuity(Discontinuity::Source) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(site.counter("rongtong_camera_connects_total"), connects);
        assert_eq!(site.camera(&id).await["state"], "live");
        drop(tap);
        site.reaches(&id, "idle").await;
    }
    // Its sound is wanted, too; and a camera that is elsewhere from now on is not what rests.
    let mut ears = room.tap(&Holder::Service("test"), &audio.sid, 1000).unwrap();
    for _ in 0..20 {
        next(&mut ears).await;
    }
    drop(ears);
    site.reaches(&id, "idle").await;
    let (status, _) = site.call("PATCH", &format!("/cameras/{id}"), json!({ "disabled": true })).await;
    assert_eq!(status, 200);
    wait_for("its tracks to go", || room.tracks().is_empty().then_some(())).await;
}
