//! Round trips through a real file.

use super::cameras::CameraRow;
use super::recordings::{RecordingFilter, RecordingRow, RecordingTrackRow};
use super::rooms::RoomRow;
use super::*;
use crate::config::Synchronous;
use crate::crypto::{EnvelopeError, Keys, MasterKey};
use crate::storage::Db;

async fn db(dir: &tempfile::TempDir) -> Db {
    let url = format!("sqlite:{}", dir.path().join("s.db").display());
    Db::open(&url, Synchronous::Normal).await.unwrap()
}

fn room(name: &str, created_at: i64) -> RoomRow {
    RoomRow {
        name: name.to_owned(),
        title: "会商".to_owned(),
        codec_policy: "h264".to_owned(),
        created_at,
        created_by: "p".to_owned(),
        closed_at: None,
    }
}

#[tokio::test]
async fn rooms_are_paged_newest_first_without_skips() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    for (name, at) in [("a", 1), ("b", 2), ("c", 2), ("d", 3)] {
        rooms::insert(&db, room(name, at)).await.unwrap();
    }
    assert!(rooms::insert(&db, room("a", 9)).await.unwrap_err().is_duplicate());
    let mut seen = Vec::new();
    let mut after: Option<(i64, String)> = None;
    loop {
        let from = after.as_ref().map(|(at, name)| (*at, name.as_str()));
        let page = rooms::list(&db, from, 1).await.unwrap();
        let Some(row) = page.into_iter().next() else {
            break;
        };
        after = Some((row.created_at, row.name.clone()));
        seen.push(row.name);
    }
    assert_eq!(seen, ["d", "c", "b", "a"]);
}

#[tokio::test]
async fn a_room_is_changed_and_takes_its_cameras_along() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    rooms::insert(&db, room("a", 1)).await.unwrap();
    let changed = RoomRow { title: "新".to_owned(), closed_at: Some(5), ..room("a", 1) };
    assert!(rooms::update(&db, changed.clone()).await.unwrap());
    assert_eq!(rooms::get(&db, "a").await.unwrap(), Some(changed));
    assert!(!rooms::update(&db, room("nowhere", 1)).await.unwrap());
    rooms::add_camera(&db, "a", "c1").await.unwrap();
    rooms::add_camera(&db, "a", "c1").await.unwrap();
    assert_eq!(rooms::camera_places(&db).await.unwrap().len(), 1);
    assert!(rooms::delete(&db, "a").await.unwrap());
    assert!(rooms::camera_places(&db).await.unwrap().is_empty());
    assert!(!rooms::remove_camera(&db, "a", "c1").await.unwrap());
}

#[tokio::test]
async fn a_cameras_password_is_sealed_for_its_row() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let keys = Keys::derive(&MasterKey::ephemeral());
    let camera = CameraRow {
        id: "c1".to_owned(),
        name: "东门".to_owned(),
        url: "rtsp://192.0.2.1/main".to_owned(),
        username: "admin".to_owned(),
        secret: Some(cameras::seal_password(&keys, "c1", "秘密123").unwrap()),
        url_secret: cameras::seal_withheld(&keys, "c1", &["a&b".to_owned(), "密".to_owned()]).unwrap(),
        transport: "tcp".to_owned(),
        keep: true,
        disabled: false,
        created_at: 1,
        updated_at: 1,
    };
    cameras::insert(&db, camera.clone()).await.unwrap();
    let mut read = cameras::get(&db, "c1").await.unwrap().unwrap();
    assert_eq!(read, camera);
    assert_eq!(cameras::open_password(&keys, &read).unwrap().as_deref(), Some("秘密123"));
    assert_eq!(cameras::open_withheld(&keys, &read).unwrap(), ["a&b", "密"]);
    read.id = "c2".to_owned();
    assert_eq!(cameras::open_password(&keys, &read), Err(EnvelopeError::Sealed));
    let update = CameraRow { keep: false, secret: None, ..camera };
    assert!(cameras::update(&db, update.clone()).await.unwrap());
    assert_eq!(cameras::list(&db, None, 10).await.unwrap(), [update]);
    assert!(cameras::list(&db, Some(("东门", "c1")), 10).await.unwrap().is_empty());
    assert!(cameras::delete(&db, "c1").await.unwrap());
    assert_eq!(cameras::get(&db, "c1").await.unwrap(), None);
}

#[tokio::test]
async fn recordings_are_saved_again_and_found_by_time_subject_and_text() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let running = RecordingRow {
        id: "r1".to_owned(),
        kind: "room".to_owned(),
        subject: "daily".to_owned(),
        title: "100% Drill".to_owned(),
        started_at: 1_000,
        ended_at: None,
        state: "recording".to_owned(),
        started_by: "p".to_owned(),
        bytes: 0,
        duration_ms: 0,
    };
    let track = RecordingTrackRow {
        recording_id: "r1".to_owned(),
        id: "t1".to_owned(),
        participant: "i".to_owned(),
        participant_name: "李".to_owned(),
        kind: "video".to_owned(),
        source: "camera".to_owned(),
        codec: "h264".to_owned(),
        playable: true,
        note: String::new(),
        start_ms: 20,
        duration_ms: 0,
        bytes: 0,
        width: Some(1920),
        height: None,
        original_of: None,
    };
    recordings::save(&db, running.clone(), vec![track.clone()]).await.unwrap();
    let ended = RecordingRow { ended_at: Some(9_000), state: "finished".to_owned(), ..running };
    recordings::save(&db, ended.clone(), vec![RecordingTrackRow { bytes: 7, ..track.clone() }]).await.unwrap();
    assert_eq!(recordings::get(&db, "r1").await.unwrap(), Some(ended));
    assert_eq!(recordings::tracks(&db, "r1").await.unwrap(), [RecordingTrackRow { bytes: 7, ..track }]);
    let none = RecordingFilter::default();
    let some = |text: &str| Some(text.to_owned());
    for (filter, found) in [
        (none.clone(), 1),
        (RecordingFilter { text: some("drill"), ..none.clone() }, 1),
        (RecordingFilter { text: some("0%"), ..none.clone() }, 1),
        (RecordingFilter { text: some("%%"), ..none.clone() }, 0),
        (RecordingFilter { text: some("1_0"), ..none.clone() }, 0),
        (RecordingFilter { subject: some("daily"), kind: some("room"), ..none.clone() }, 1),
        (RecordingFilter { state: some("recording"), ..none.clone() }, 0),
        (RecordingFilter { from: Some(9_001), ..none.clone() }, 0),
        (RecordingFilter { from: Some(5_000), to: Some(6_000), ..none.clone() }, 1),
        (RecordingFilter { to: Some(1_000), ..none.clone() }, 0),
        (RecordingFilter { after: Some((1_000, "r1".to_owned())), ..none }, 0),
    ] {
        assert_eq!(recordings::list(&db, &filter, 10).await.unwrap().len(), found, "{filter:?}");
    }
    assert!(recordings::delete(&db, "r1").await.unwrap());
    assert!(recordings::tracks(&db, "r1").await.unwrap().is_empty());
}
