//! Round trips through a real file.

use super::alarms::{AlarmFilter, AlarmRow};
use super::cameras::CameraRow;
use super::positions::PositionRow;
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
        kind: "drone".to_owned(),
        longitude: Some(117.1),
        latitude: Some(39.1),
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
    assert_eq!(cameras::of_address(&db, "rtsp://192.0.2.1/", 10).await.unwrap().len(), 1);
    assert!(cameras::of_address(&db, "rtsp://192.0.2.1/main/", 10).await.unwrap().is_empty());
    let update = CameraRow { keep: false, secret: None, longitude: None, latitude: None, ..camera };
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

fn alarm(id: &str, device: &str, level: i64, received_at: i64) -> AlarmRow {
    AlarmRow {
        id: id.to_owned(),
        source: "gb28181".to_owned(),
        device: device.to_owned(),
        device_name: "东门".to_owned(),
        channel: (id != "a1").then(|| "c1".to_owned()),
        channel_name: String::new(),
        level,
        cause: "video".to_owned(),
        kind: Some("motion".to_owned()),
        description: "有人".to_owned(),
        longitude: Some(117.1),
        latitude: Some(39.1),
        raised_at: received_at - 1,
        received_at,
        last_at: received_at,
        times: 1,
        handled: false,
        handled_by: None,
        handled_at: None,
        note: String::new(),
    }
}

#[tokio::test]
async fn alarms_are_listed_counted_handled_once_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let all = vec![alarm("a1", "d1", 1, 10), alarm("a2", "d1", 4, 20), alarm("a3", "d2", 4, 20)];
    alarms::put(&db, all.clone()).await.unwrap();
    let ids = |rows: Vec<AlarmRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    let none = AlarmFilter::default();
    assert_eq!(ids(alarms::list(&db, &none, None, 10).await.unwrap()), ["a3", "a2", "a1"]);
    assert_eq!(ids(alarms::list(&db, &none, Some((20, "a3")), 10).await.unwrap()), ["a2", "a1"]);
    assert_eq!(ids(alarms::list(&db, &none, Some((20, "a2")), 10).await.unwrap()), ["a1"]);
    let of = |device: &str, channel: Option<&str>| AlarmFilter {
        device: Some(device.to_owned()),
        channel: channel.map(str::to_owned),
        ..AlarmFilter::default()
    };
    assert_eq!(ids(alarms::list(&db, &of("d1", None), None, 10).await.unwrap()), ["a2", "a1"]);
    assert_eq!(ids(alarms::list(&db, &of("d1", Some("c2")), None, 10).await.unwrap()), ["a1"]);
    let within = AlarmFilter { since: Some(10), until: Some(20), level: Some(1), ..AlarmFilter::default() };
    assert_eq!(ids(alarms::list(&db, &within, None, 10).await.unwrap()), ["a1"]);
    // Once more: the count goes up, what people wrote stays.
    let ids_of = vec!["a2".to_owned(), "a9".to_owned()];
    let changed = alarms::handle(&db, ids_of.clone(), "王".to_owned(), "误报".to_owned(), 30).await.unwrap();
    assert_eq!(changed.len(), 1);
    assert!(alarms::handle(&db, ids_of, "李".to_owned(), "又一次".to_owned(), 31).await.unwrap().is_empty());
    alarms::put(&db, vec![AlarmRow { times: 7, last_at: 40, ..all[1].clone() }]).await.unwrap();
    let read = alarms::get(&db, "a2").await.unwrap().unwrap();
    assert_eq!((read.times, read.handled, read.note.as_str()), (7, true, "误报"));
    assert_eq!(alarms::open_by_level(&db).await.unwrap(), [(1, 1), (4, 1)]);
    let open = AlarmFilter { handled: Some(false), ..AlarmFilter::default() };
    assert_eq!(ids(alarms::list(&db, &open, None, 10).await.unwrap()), ["a3", "a1"]);
    assert_eq!(alarms::forget_before(&db, 15, 10).await.unwrap(), 1);
    assert_eq!(alarms::get(&db, "a1").await.unwrap(), None);
}

#[tokio::test]
async fn a_way_is_kept_in_order_and_forgotten_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let place = |device: &str, measured_at: i64| PositionRow {
        source: "gb28181".to_owned(),
        device: device.to_owned(),
        channel: String::new(),
        measured_at,
        name: "单兵".to_owned(),
        longitude: 117.0 + measured_at as f64 / 1000.0,
        latitude: 39.0,
        altitude: None,
        speed: Some(3.5),
        direction: Some(90.0),
    };
    let places: Vec<_> = (0..130).rev().map(|at| place("d1", at)).chain([place("d2", 5)]).collect();
    positions::add(&db, places.clone()).await.unwrap();
    positions::add(&db, places).await.unwrap();
    let way = positions::track(&db, ("gb28181", "d1", ""), 10, 20, 100).await.unwrap();
    assert_eq!(way.iter().map(|place| place.measured_at).collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());
    assert_eq!(way[0], place("d1", 10));
    assert!(positions::track(&db, ("gb28181", "d1", "c1"), 0, 99, 100).await.unwrap().is_empty());
    let mut newest = positions::newest(&db, 3).await.unwrap();
    newest.sort_by(|a, b| a.device.cmp(&b.device));
    assert_eq!(newest, [place("d1", 129), place("d2", 5)]);
    assert_eq!(positions::forget_before(&db, 100, 50).await.unwrap(), 50);
    assert!(positions::forget_before(&db, 100, 500).await.unwrap() > 0);
    assert_eq!(positions::forget_before(&db, 100, 500).await.unwrap(), 0);
    assert_eq!(positions::track(&db, ("gb28181", "d1", ""), 0, 999, 500).await.unwrap().len(), 30);
}
