//! The recorder in a whole server's surroundings: room, database, disk, HTTP.

use crate::testing::*;
use crate::{Recorder, RecorderOptions, rest};
use bytes::Bytes;
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::media::{Codec, CodecParams, Source};
use rongtong_media_core::room::{
    Join, Keyframes, Membership, Permission, Room, RoomOptions, Rooms, SourcePacket, TrackSource, TrackSpec,
};
use rongtong_platform::Platform;
use rongtong_platform::audit::AuditFilter;
use rongtong_platform::bootstrap::Bootstrap;
use rongtong_platform::config::{Config, Synchronous};
use rongtong_platform::identity::{NewPerson, Role};
use rongtong_platform::storage::{Db, StorageError};
use rongtong_platform::store::recordings::{RecordingFilter, RecordingTrackRow};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const X264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25"];

struct Site {
    dir: tempfile::TempDir,
    platform: Arc<Platform>,
    rooms: Arc<Rooms>,
    recorder: Arc<Recorder>,
}

async fn site_in(dir: tempfile::TempDir, min_free_mib: u64) -> Site {
    site_on(&Watched::default(), dir, min_free_mib).await
}

async fn site_on(disk: &Watched, dir: tempfile::TempDir, min_free_mib: u64) -> Site {
    let mut config = Config::default();
    config.data.dir = dir.path().join("data");
    config.security.password_rounds = 20;
    let opened = Bootstrap::open(&config).await.unwrap();
    let platform = opened.platform;
    let rooms = Rooms::for_tests().unwrap();
    let options = RecorderOptions { min_free_mib, ..RecorderOptions::of(&config) };
    let recorder = Recorder::start_on(disk.shared(), platform.clone(), rooms.clone(), options).await.unwrap();
    Site { dir, platform, rooms, recorder }
}

async fn site() -> Site {
    site_in(tempfile::tempdir().unwrap(), 1).await
}

struct Publisher {
    member: Membership,
    room: Arc<Room>,
    video: TrackSource,
    audio: TrackSource,
    next: std::sync::atomic::AtomicU64,
}

impl Publisher {
    fn join(room: &Arc<Room>, identity: &str) -> Self {
        let member = room
            .join(Join {
                identity: identity.into(),
                name: "张三".into(),
                permission: Permission::full(),
                ..Join::default()
            })
            .unwrap();
        let publish =
            |source, codec| room.publish(&member.info.sid, TrackSpec::new(source, codec), Keyframes::Cached).unwrap();
        let video = publish(Source::Camera, CodecParams::h264());
        let audio = publish(Source::Microphone, CodecParams::pcma());
        Self { video, audio, room: room.clone(), member, next: Default::default() }
    }

    /// Sends the pictures, and a tone beside them, as they would come from a camera.
    async fn send(&self, units: &[Unit], from: &mut u64) {
        let started = Instant::now();
        for (i, unit) in units.iter().enumerate() {
            tokio::time::sleep_until((started + Duration::from_millis(i as u64 * 40)).into()).await;
            let mut sequence = *from * 1000;
            let mut batch = Vec::new();
            for packet in packets(std::slice::from_ref(unit), "h264", &mut sequence, started) {
                batch.push((packet.marker, packet.payload));
            }
            let first = self.sent(&batch);
            let source = |(n, (marker, payload)): (usize, &(bool, Bytes))| {
                SourcePacket::new(first + n as u64, (*from * 3600) as u32, *marker, payload.clone())
            };
            self.video.write(batch.iter().enumerate().map(source).collect());
            for half in 0..2 {
                let number = *from * 2 + half;
                let tone = (0..160).map(|n| {
                    let at = (number * 160 + n) as f64 / 8000.0;
                    audio_codec_algorithms::encode_alaw(((at * 440.0 * std::f64::consts::TAU).sin() * 8000.0) as i16)
                });
                let timestamp = (number * 160) as u32;
                let payload = tone.collect::<Vec<u8>>().into();
                self.audio.write(vec![SourcePacket::new(number, timestamp, false, payload)]);
            }
            *from += 1;
        }
    }

    /// Sequence number of the batch's first packet.
    fn sent(&self, batch: &[(bool, Bytes)]) -> u64 {
        self.next.fetch_add(batch.len() as u64, std::sync::atomic::Ordering::Relaxed)
    }

    fn leave(self) {
        self.room.leave(&self.member.info.sid, rongtong_media_core::room::LeaveReason::ClientInitiated);
    }
}

fn near(ms: i64, wanted: i64) {
    assert!((ms - wanted).abs() < 250, "{ms} ms instead of {wanted} ms");
}

fn open(site: &Site, name: &str, title: &str) -> Arc<Room> {
    site.rooms.open(&RoomName::new(name), || RoomOptions { title: title.into(), ..RoomOptions::default() })
}

/// The API behind a real socket; the address and a session of an administrator.
async fn serve(site: &Site) -> (String, String) {
    let api = utoipa_axum::router::OpenApiRouter::<()>::new().nest(
        "/api/v1",
        rest::routes(site.recorder.clone()).merge(rongtong_platform::rest::routes(site.platform.clone())),
    );
    let (router, document) = api.split_for_parts();
    assert!(document.paths.paths.contains_key("/api/v1/recordings/{id}/tracks/{track}/index.m3u8"));
    let app = rongtong_platform::web::stack(router, site.platform.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/api/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });
    let token = sign_in(site, "boss", Role::Dispatcher).await;
    (base, token)
}

async fn sign_in(site: &Site, account: &str, role: Role) -> String {
    let password = "Correct-Horse-1".to_owned();
    let person = NewPerson { account: account.into(), name: account.into(), role, password: Some(password.clone()) };
    site.platform.identity.add(person).await.unwrap();
    site.platform.identity.sign_in(account, &password, "127.0.0.1").await.unwrap().token
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }
}

/// curl, as a client that is not ours.
async fn call(method: &str, url: &str, token: &str, headers: &[&str]) -> Answer {
    let dir = tempfile::tempdir().unwrap();
    let (head, body) = (dir.path().join("head"), dir.path().join("body"));
    let mut command = tokio::process::Command::new("curl");
    command.args(["-s", "-X", method, "-D"]).arg(&head).arg("-o").arg(&body);
    command.args(["-H", &format!("Authorization: Bearer {token}")]);
    for header in headers {
        command.args(["-H", header]);
    }
    let status = command.arg(url).status().await.unwrap();
    assert!(status.success(), "{method} {url}");
    let headers = std::fs::read_to_string(&head).unwrap().to_lowercase();
    let code = headers.split_whitespace().nth(1).unwrap().parse().unwrap();
    Answer { status: code, headers, body: std::fs::read(&body).unwrap_or_default() }
}

async fn ffmpeg(args: &[&str]) -> String {
    let output = tokio::process::Command::new("ffmpeg").args(args).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_recorded_listed_watched_downloaded_and_deleted() {
    let site = site().await;
    let room = open(&site, "r-1", "调度会");
    let units = clip(site.dir.path(), "h264", "320x240", 5, X264);
    let publisher = Publisher::join(&room, "zhang");
    let (base, token) = serve(&site).await;

    let answer = call("POST", &format!("{base}/rooms/r-1/recordings"), &token, &[]).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((answer.json()["title"].as_str(), answer.json()["state"].as_str()), (Some("调度会"), Some("recording")));
    assert!(room.info().recording);
    let again = call("POST", &format!("{base}/rooms/r-1/recordings"), &token, &[]).await;
    assert_eq!((again.status, again.json()["code"].as_str()), (409, Some("recording_running")));

    let mut frame = 0;
    publisher.send(&units[..100], &mut frame).await;
    let one = format!("{base}/recordings/{id}");
    let growing = call("GET", &one, &token, &[]).await.json();
    let tracks = growing["tracks"].as_array().unwrap();
    assert_eq!(tracks.len(), 3, "{growing}");
    let id_of = |codec: &str| tracks.iter().find(|t| t["codec"] == codec).unwrap()["id"].as_str().unwrap().to_owned();
    let (video, original, copy) = (id_of("h264"), id_of("pcma"), id_of("opus"));
    let list = call("GET", &format!("{one}/tracks/{video}/index.m3u8"), &token, &[]).await;
    let text = String::from_utf8(list.body).unwrap();
    assert!(text.contains("EVENT") && text.contains("#EXTINF:1.000,") && !text.contains("ENDLIST"), "{text}");
    assert_eq!(call("DELETE", &one, &token, &[]).await.status, 409);

    publisher.send(&units[100..], &mut frame).await;
    let done = call("POST", &format!("{one}/stop"), &token, &[]).await.json();
    assert!(!room.info().recording);
    assert_eq!((done["state"].as_str(), done["reason"].as_str()), (Some("finished"), Some("")));
    near(done["duration_ms"].as_i64().unwrap(), 5000);
    for track in done["tracks"].as_array().unwrap() {
        near(track["duration_ms"].as_i64().unwrap(), 5000);
        assert!(track["start_ms"].as_i64().unwrap().abs() < 300, "{track}");
        assert_eq!(track["participant_name"], "张三");
    }
    let row = |id: &str| done["tracks"].as_array().unwrap().iter().find(|t| t["id"] == id).unwrap().clone();
    assert_eq!((row(&video)["width"].as_i64(), row(&video)["playable"].as_bool()), (Some(320), Some(true)));
    assert_eq!(
        (row(&original)["note"].as_str(), row(&original)["playable"].as_bool()),
        (Some("has_copy"), Some(false))
    );
    assert_eq!(row(&copy)["original_of"].as_str(), Some(original.as_str()));

    // ffmpeg plays the playlists over HTTP.
    for track in [&video, &copy] {
        let url = format!("{one}/tracks/{track}/index.m3u8");
        let header = format!("Authorization: Bearer {token}\r\n");
        let said = ffmpeg(&["-v", "warning", "-headers", &header, "-i", &url, "-f", "null", "-"]).await;
        assert!(said.trim().is_empty(), "{said}");
    }
    ranges(&format!("{one}/tracks/{video}/media.mp4"), &token).await;

    let all = call("GET", &format!("{one}/download"), &token, &[]).await;
    assert!(all.headers.contains("content-disposition: attachment; filename=\"recording-"), "{}", all.headers);
    assert!(all.headers.contains("filename*=utf-8''%e8%b0%83"), "{}", all.headers);
    assert!(all.headers.contains(&format!("content-length: {}", all.body.len())));
    let file = site.dir.path().join("all.mp4");
    std::fs::write(&file, &all.body).unwrap();
    let probed = probe(&file);
    let mut codecs = probed.codecs.clone();
    codecs.sort();
    assert_eq!(codecs, ["h264", "opus"]);
    assert!(probed.durations.iter().all(|d| (d - 5.0).abs() < 0.3), "{:?}", probed.durations);
    decodes_cleanly(&file);

    assert_eq!(call("DELETE", &one, &token, &[]).await.status, 204);
    assert_eq!(call("GET", &one, &token, &[]).await.status, 404);
    assert_eq!(std::fs::read_dir(site.dir.path().join("data/recordings")).unwrap().count(), 0);
    let audit =
        site.platform.audit.list(&AuditFilter { action: Some("recording".into()), ..AuditFilter::default() }, 50).await;
    let actions: Vec<_> = audit.unwrap().into_iter().rev().map(|row| (row.action, row.result)).collect();
    let wanted = [
        ("recording.start", "ok"),
        ("recording.watch", "ok"),
        ("recording.delete", "recording_running"),
        ("recording.stop", "ok"),
        ("recording.download", "ok"),
        ("recording.delete", "ok"),
    ];
    assert_eq!(actions, wanted.map(|(action, result)| (action.to_owned(), result.to_owned())));
}

async fn ranges(url: &str, token: &str) {
    let whole = call("GET", url, token, &[]).await;
    assert_eq!(whole.status, 200);
    let length = whole.body.len();
    let etag = whole.headers.lines().find_map(|l| l.strip_prefix("etag: ")).unwrap().trim().to_owned();
    let part = call("GET", url, token, &["Range: bytes=100-299"]).await;
    assert_eq!((part.status, &part.body[..]), (206, &whole.body[100..300]));
    assert!(part.headers.contains(&format!("content-range: bytes 100-299/{length}")));
    let same = call("GET", url, token, &["Range: bytes=-50", &format!("If-Range: {etag}")]).await;
    assert_eq!((same.status, &same.body[..]), (206, &whole.body[length - 50..]));
    let other = call("GET", url, token, &["Range: bytes=0-9", "If-Range: \"another\""]).await;
    assert_eq!((other.status, other.body.len()), (200, length));
    let outside = call("GET", url, token, &[&format!("Range: bytes={length}-")]).await;
    assert_eq!(outside.status, 416);
    assert!(outside.headers.contains(&format!("content-range: bytes */{length}")), "{}", outside.headers);
    let head = call("GET", &url.replace("media.mp4", "../../../secret/media.mp4"), token, &[]).await;
    assert_eq!(head.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_and_only_pages_that_fit() {
    let site = site().await;
    let (base, token) = serve(&site).await;
    let member = sign_in(&site, "guest", Role::Member).await;
    assert_eq!(call("GET", &format!("{base}/recordings"), "", &[]).await.status, 401);
    assert_eq!(call("GET", &format!("{base}/recordings"), &member, &[]).await.status, 403);
    assert_eq!(call("POST", &format!("{base}/rooms/none/recordings"), &token, &[]).await.status, 404);
    for name in ["a", "b", "c"] {
        let room = open(&site, name, "");
        let recording = site.recorder.start_room(room, "p").await.unwrap();
        site.recorder.stop(&recording.row.id).await.unwrap();
    }
    let first = call("GET", &format!("{base}/recordings?limit=2"), &token, &[]).await.json();
    let subjects = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|r| r["subject"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(subjects(&first), ["c", "b"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = call("GET", &format!("{base}/recordings?limit=2&cursor={cursor}"), &token, &[]).await.json();
    assert_eq!((subjects(&second), &second["next_cursor"]), (vec!["a".to_owned()], &Value::Null));
    let by_room = call("GET", &format!("{base}/recordings?room=b"), &token, &[]).await.json();
    assert_eq!(subjects(&by_room), ["b"]);
    let wrong = call("GET", &format!("{base}/recordings?from=yesterday"), &token, &[]).await;
    assert_eq!(wrong.status, 422);
    let empty =
        call("GET", &format!("{base}/recordings/{}/download", first["items"][0]["id"].as_str().unwrap()), &token, &[])
            .await;
    assert_eq!((empty.status, empty.json()["code"].as_str()), (404, Some("recording_empty")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_published_later_joins_and_a_room_that_closes_ends_it() {
    let site = site().await;
    let room = open(&site, "late", "");
    let units = clip(site.dir.path(), "h264", "320x240", 2, X264);
    let recording = site.recorder.start_room(room.clone(), "p").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let publisher = Publisher::join(&room, "li");
    // Nothing of this kind is recorded yet; it is listed and says so.
    let av1 = TrackSpec::new(Source::ScreenShare, CodecParams::video(Codec::Av1));
    let _screen = room.publish(&publisher.member.info.sid, av1, Keyframes::OnRequest).unwrap();
    publisher.send(&units, &mut 0).await;
    site.rooms.close(room.name(), rongtong_media_core::room::LeaveReason::RoomClosed);
    let done = wait_for_end(&site, &recording.row.id).await;
    assert_eq!((done.row.state.as_str(), done.reason.as_str()), ("finished", ""));
    let h264 = done.tracks.iter().find(|t| t.codec == "h264").unwrap();
    near(h264.start_ms, 1000);
    near(h264.duration_ms, 2000);
    let av1 = done.tracks.iter().find(|t| t.codec == "av1").unwrap();
    assert_eq!((av1.note.as_str(), av1.playable, av1.bytes), ("not_recorded", false, 0));
}

async fn wait_for_end(site: &Site, id: &str) -> crate::Recording {
    for _ in 0..100 {
        let recording = site.recorder.get(id).await.unwrap();
        if recording.row.ended_at.is_some() {
            return recording;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the recording did not end");
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What is on disk in the middle of a recording is what a killed server leaves.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_all_but_the_last_fragment_plays_and_the_recording_goes_on() {
    let site = site().await;
    let room = open(&site, "r-9", "值班");
    let units = clip(site.dir.path(), "h264", "320x240", 8, X264);
    let publisher = Publisher::join(&room, "wang");
    let recording = site.recorder.start_room(room.clone(), "p").await.unwrap();
    let mut frame = 0;
    publisher.send(&units[..100], &mut frame).await;
    let after = tempfile::tempdir().unwrap();
    copy_all(&site.dir.path().join("data"), &after.path().join("data"));
    publisher.leave();
    let folder = after.path().join("data/recordings").join(&recording.row.id);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "mp4") {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(file.metadata().unwrap().len() - 100).unwrap();
        }
    }

    let next = site_in(after, 1).await;
    let listed = next.recorder.list(&RecordingFilter::default(), 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    let old = &listed[0];
    assert_eq!(old.row.state, "recovered");
    assert_eq!(old.tracks.len(), 3);
    assert!((1_500..=4_200).contains(&old.row.duration_ms), "{}", old.row.duration_ms);
    assert_eq!(old.row.ended_at, Some(old.row.started_at + old.row.duration_ms));
    for track in &old.tracks {
        let file = folder.join(format!("{}.mp4", track.id));
        decodes_cleanly(&file);
        let seconds = probe(&file).durations[0];
        assert!((seconds * 1000.0 - track.duration_ms as f64).abs() < 100.0);
        assert_eq!(track.bytes as u64, std::fs::metadata(&file).unwrap().len());
        let index = next.recorder.index(&old.row.id, &track.id).await.unwrap();
        assert!(index.ended && index.media_end() == track.bytes as u64);
    }

    let back = open(&next, "r-9", "值班");
    let mut running = None;
    for _ in 0..50 {
        running = next.recorder.recording_of("room", "r-9");
        if running.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let more = next.recorder.get(&running.unwrap()).await.unwrap();
    assert_eq!(
        (more.row.title.as_str(), more.row.state.as_str(), more.row.started_by.as_str()),
        ("值班（续）", "recording", "p")
    );
    assert!(back.info().recording);
    next.recorder.stop(&more.row.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_in_good_order_goes_on_after_the_restart() {
    let site = site().await;
    let room = open(&site, "r-3", "值班");
    let recording = site.recorder.start_room(room, "p").await.unwrap();
    site.recorder.close().await;
    let ended = site.recorder.get(&recording.row.id).await.unwrap();
    assert_eq!((ended.row.state.as_str(), ended.reason.as_str()), ("finished", "server_stopped"));
    let wanted = crate::store::all_wanted(&site.platform.db).await.unwrap();
    assert_eq!(wanted.iter().map(|w| w.subject.as_str()).collect::<Vec<_>>(), ["r-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_recorded_in_its_own_room_which_stays_open() {
    let site = site().await;
    let recording = site.recorder.start_camera("c7", "大门", "p").await.unwrap();
    let room = site.rooms.find(&RoomName::new("cam-c7")).unwrap();
    assert!(room.is_held(), "so it stays open, and the camera is pulled");
    assert_eq!(room.participants().len(), 0, "with nobody in it");
    let twice = site.recorder.start_camera("c7", "大门", "p").await;
    assert!(matches!(twice, Err(crate::RecordFault::Running(id)) if id == recording.row.id));
    assert!(room.is_held());
    let units = clip(site.dir.path(), "h264", "320x240", 2, X264);
    let publisher = Publisher::join(&room, "camera:c7");
    publisher.send(&units, &mut 0).await;
    let done = site.recorder.stop(&recording.row.id).await.unwrap();
    assert_eq!((done.row.kind.as_str(), done.row.subject.as_str()), ("camera", "c7"));
    near(done.tracks.iter().find(|t| t.codec == "h264").unwrap().duration_ms, 2000);
    assert!(!room.is_held(), "the recorder lets go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_says_so() {
    let site = site_in(tempfile::tempdir().unwrap(), 1 << 40).await;
    let room = open(&site, "r-4", "");
    let refused = site.recorder.start_room(room, "p").await;
    assert!(matches!(refused, Err(crate::RecordFault::DiskFull)));
}

/// A track's row is saved up to half a second after the track is opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_track_whose_row_the_crash_forestalled_is_listed_all_the_same() {
    let site = site().await;
    let room = open(&site, "r-5", "");
    let units = clip(site.dir.path(), "h264", "320x240", 3, X264);
    let publisher = Publisher::join(&room, "zhao");
    let recording = site.recorder.start_room(room.clone(), "p").await.unwrap();
    publisher.send(&units, &mut 0).await;
    let after = tempfile::tempdir().unwrap();
    copy_all(&site.dir.path().join("data"), &after.path().join("data"));
    publisher.leave();
    let known = site.recorder.stop(&recording.row.id).await.unwrap().tracks;
    forget_tracks(&after.path().join("data")).await;

    let next = site_in(after, 1).await;
    let found = next.recorder.get(&recording.row.id).await.unwrap();
    assert_eq!((found.row.state.as_str(), found.tracks.len()), ("recovered", 3));
    for track in &found.tracks {
        let wanted = known.iter().find(|known| known.id == track.id).unwrap();
        let told = |t: &RecordingTrackRow| RecordingTrackRow { start_ms: 0, duration_ms: 0, bytes: 0, ..t.clone() };
        assert_eq!(told(track), told(wanted));
        assert!((1_000..=3_200).contains(&track.duration_ms), "{track:?}");
    }
}

async fn forget_tracks(data: &Path) {
    let database = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let database = database.into_iter().find(|path| path.extension().is_some_and(|e| e == "db")).unwrap();
    let db = Db::open(&format!("sqlite:{}", database.display()), Synchronous::Full).await.unwrap();
    let forgotten: Result<(), StorageError> = db
        .write(|conn| {
            Box::pin(async move {
                sqlx::query("delete from recording_tracks").execute(conn).await?;
                Ok(())
            })
        })
        .await;
    forgotten.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recordings_folder_comes_and_goes_for_good() {
    let disk = Watched::default();
    let site = site_on(&disk, tempfile::tempdir().unwrap(), 1).await;
    assert_eq!(disk.steps(), ["sync_dir data"]);
    let room = open(&site, "r-6", "");
    let id = site.recorder.start_room(room, "p").await.unwrap().row.id;
    assert_eq!(disk.steps(), [format!("create_dir {id}"), "sync_dir recordings".to_owned()]);
    site.recorder.stop(&id).await.unwrap();
    site.recorder.delete(&id).await.unwrap();
    assert_eq!(disk.steps(), [format!("rename {id} .deleted-{id}"), "sync_dir recordings".to_owned()]);
}
