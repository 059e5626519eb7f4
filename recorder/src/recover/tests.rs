//! What a repair finds in a recording's folder.

use super::*;
use crate::disk::SystemDisk;
use crate::files::RecordingFiles;
use crate::testing::*;
use crate::track::Opened;

struct Crashed {
    dir: tempfile::TempDir,
    db: Db,
    disk: Watched,
}

impl Crashed {
    /// A recording that was running, of which the database knows `known`.
    async fn with(known: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("r1")).unwrap();
        let db = database(dir.path()).await;
        let rows = known.iter().map(|id| track_row("r1", id, "pcma")).collect();
        recordings::save(&db, recording_row("r1", "recording"), rows).await.unwrap();
        Self { dir, db, disk: Watched::default() }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("r1")
    }

    /// A part of three fragments of 100 ms, as the process leaves it when it is killed.
    fn part(&self, id: &str, name: &str, original_of: Option<&str>) {
        let mut files = RecordingFiles::new(std::sync::Arc::new(SystemDisk), self.folder(), false);
        for output in [open_g711(0, None), g711_fragment(0, 0), g711_fragment(0, 1), g711_fragment(0, 2)] {
            let list = |_: &Opened, _| RecordingTrackRow {
                participant_name: name.to_owned(),
                original_of: original_of.map(str::to_owned),
                ..track_row("r1", id, "pcma")
            };
            files.apply(0, output, list).unwrap();
        }
        assert!(files.settle().fault.is_none());
    }

    async fn recover(&self) -> Vec<RecordingTrackRow> {
        let options = RecorderOptions { dir: self.dir.path().to_owned(), min_free_mib: 0, sync: false };
        recover(&self.db, &options, &self.disk.shared()).await.unwrap();
        assert_eq!(recordings::get(&self.db, "r1").await.unwrap().unwrap().state, "recovered");
        recordings::tracks(&self.db, "r1").await.unwrap()
    }
}

#[tokio::test]
async fn tracks_that_the_database_had_not_heard_of_are_found_with_whose_they_are() {
    let crashed = Crashed::with(&["t1"]).await;
    crashed.part("t1", "张三", None);
    crashed.part("t2", "李四", None);
    crashed.part("t10", "李四", Some("t2"));
    let tracks = crashed.recover().await;
    let told: Vec<_> = tracks.iter().map(|t| (t.id.as_str(), t.participant_name.as_str(), t.note.as_str())).collect();
    assert_eq!(told, [("t1", "张三", ""), ("t10", "李四", ""), ("t2", "李四", "has_copy")]);
    for track in &tracks {
        assert_eq!((track.start_ms, track.duration_ms), (250, 300));
        assert_eq!((track.participant.as_str(), track.kind.as_str(), track.codec.as_str()), ("zhang", "audio", "pcma"));
        assert_eq!(track.bytes as u64, std::fs::metadata(media_path(&crashed.folder(), &track.id)).unwrap().len());
    }
    assert_eq!(tracks[1].original_of.as_deref(), Some("t2"));
    let row = recordings::get(&crashed.db, "r1").await.unwrap().unwrap();
    assert_eq!((row.duration_ms, row.bytes), (550, tracks.iter().map(|t| t.bytes).sum()));
}

/// As servers wrote them before there was a file that says whose a track is.
#[tokio::test]
async fn an_older_recordings_unknown_tracks_are_found_by_index_or_media_alone() {
    let crashed = Crashed::with(&[]).await;
    for id in ["t1", "t2", "t3"] {
        crashed.part(id, "", None);
        std::fs::remove_file(about_path(&crashed.folder(), id)).unwrap();
    }
    std::fs::remove_file(index_path(&crashed.folder(), "t2")).unwrap();
    // A line of a later server, or a torn one, is no worse than none.
    std::fs::write(about_path(&crashed.folder(), "t3"), b"{\"version\":1,\"particip").unwrap();
    let tracks = crashed.recover().await;
    let told = |t: &RecordingTrackRow| (t.id.clone(), t.codec.clone(), t.source.clone(), t.start_ms, t.duration_ms);
    let wanted = |id: &str| (id.to_owned(), "pcma".to_owned(), "microphone".to_owned(), 250, 300);
    assert_eq!(tracks.iter().map(told).collect::<Vec<_>>(), ["t1", "t2", "t3"].map(wanted));
}

#[tokio::test]
async fn torn_and_foreign_files_are_left_as_they_are() {
    let crashed = Crashed::with(&["t1"]).await;
    crashed.part("t1", "张三", None);
    crashed.part("t2", "李四", None);
    let folder = crashed.folder();
    let whole = std::fs::read(media_path(&folder, "t2")).unwrap();
    let files = [
        ("t3.mp4", &whole[..700]), // its first fragment is torn
        ("t4.mp4", &[][..]),
        ("t5.mp4", &b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x08free\0\0\0\x08mdat"[..]),
        ("t6.mp4", &[0xff; 3000][..]),
        ("t07.mp4", &whole[..]),
        ("holiday.mp4", &whole[..]),
        ("t8.txt", &b"notes"[..]),
    ];
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    std::fs::write(index_path(&folder, "t6"), [0xfe; 700]).unwrap();
    std::fs::create_dir(folder.join("t9.mp4")).unwrap();
    std::os::unix::fs::symlink(folder.join("holiday.mp4"), folder.join("t10.mp4")).unwrap();
    let ids: Vec<_> = crashed.recover().await.into_iter().map(|track| track.id).collect();
    assert_eq!(ids, ["t1", "t2"]);
    for (name, bytes) in files {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), bytes, "{name}");
    }
}

#[tokio::test]
async fn a_torn_unknown_track_keeps_its_whole_fragments() {
    let crashed = Crashed::with(&[]).await;
    crashed.part("t1", "张三", None);
    let media = media_path(&crashed.folder(), "t1");
    let length = std::fs::metadata(&media).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&media).unwrap().set_len(length - 30).unwrap();
    let tracks = crashed.recover().await;
    assert_eq!((tracks[0].participant_name.as_str(), tracks[0].duration_ms), ("张三", 200));
}

#[tokio::test]
async fn a_recording_without_its_folder_is_listed_empty() {
    let crashed = Crashed::with(&["t1"]).await;
    std::fs::remove_dir(crashed.folder()).unwrap();
    let tracks = crashed.recover().await;
    assert_eq!(tracks.iter().map(|t| (t.bytes, t.playable)).collect::<Vec<_>>(), [(0, false)]);
}

#[tokio::test]
async fn a_rewritten_index_has_its_name_on_the_disk() {
    let crashed = Crashed::with(&["t1"]).await;
    crashed.part("t1", "张三", None);
    crashed.recover().await;
    assert_eq!(crashed.disk.steps(), ["rename t1.idx.new t1.idx", "sync_dir r1"]);
}
