//! What is on the disk when, and after what goes wrong.

use super::*;
use crate::index::{Index, repair};
use crate::testing::*;

struct Site {
    dir: tempfile::TempDir,
    disk: Watched,
    files: RecordingFiles,
}

impl Site {
    /// With that many tracks, each of one part, `t1` and up.
    fn with(tracks: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Watched::default();
        let files = RecordingFiles::new(disk.shared(), dir.path().to_owned(), true);
        let mut site = Self { dir, disk, files };
        for track in 1..=tracks {
            site.apply(track, open_g711(0, None)).unwrap();
        }
        site
    }

    fn apply(&mut self, track: u32, output: Output) -> io::Result<()> {
        let list = |_: &Opened, _| track_row("r1", &format!("t{track}"), "pcma");
        self.files.apply(track, output, list).map(drop)
    }

    fn fragments(&mut self, track: u32, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.apply(track, g711_fragment(0, number)).unwrap();
        }
    }

    fn settle(&mut self) {
        let settled = self.files.settle();
        assert!(settled.fault.is_none(), "{settled:?}");
    }

    fn index(&self, id: &str) -> Index {
        let bytes = std::fs::read(index_path(self.dir.path(), id)).unwrap();
        let (index, good) = Index::read(&bytes).unwrap();
        assert_eq!(good, bytes.len(), "no torn line");
        index
    }

    fn length(&self, id: &str) -> u64 {
        std::fs::metadata(media_path(self.dir.path(), id)).unwrap().len()
    }

    /// Fragments that the index tells of, all of which are there, and nothing else is.
    fn agreed(&self, id: &str) -> usize {
        let index = self.index(id);
        assert_eq!((index.ended, index.media_end()), (true, self.length(id)), "{id}");
        index.fragments.len()
    }
}

#[test]
fn all_tracks_are_written_first_and_each_file_is_synced_once_a_round() {
    let mut site = Site::with(20);
    for number in 0..3 {
        (1..=20).for_each(|track| site.fragments(track, number..number + 1));
    }
    assert!(site.disk.steps().iter().all(|step| !step.starts_with("sync")), "not before the round");
    assert!(site.index("t1").fragments.is_empty(), "and no line before that");
    site.settle();
    let steps = site.disk.steps();
    let syncs: Vec<_> = steps.iter().take_while(|step| step.starts_with("sync")).collect();
    let of = |kind: &str| syncs.iter().filter(|step| step.ends_with(kind)).count();
    assert_eq!((syncs.len(), of(".mp4"), of(".json")), (41, 20, 20), "the folder once");
    let told: Vec<_> = (1..=20).map(|track| format!("write t{track}.idx")).collect();
    assert_eq!(steps[41..], told, "only then the indexes");
    assert_eq!(site.index("t20").fragments.len(), 3);
    site.fragments(7, 3..5);
    site.disk.steps();
    site.settle();
    assert_eq!(site.disk.steps(), ["sync t7.mp4", "write t7.idx"]);
    site.settle();
    assert_eq!(site.disk.steps(), [""; 0]);
}

#[test]
fn what_a_killed_process_had_written_is_there_without_a_round() {
    let mut site = Site::with(1);
    site.fragments(1, 0..2);
    site.settle();
    site.fragments(1, 2..4);
    let (media, side) = (media_path(site.dir.path(), "t1"), index_path(site.dir.path(), "t1"));
    let repaired = repair(&crate::disk::SystemDisk, &media, &side, "alaw", |_| 0).unwrap().unwrap();
    assert_eq!((repaired.index.fragments.len(), repaired.cut), (4, 0));
}

#[test]
fn what_did_not_reach_the_disk_is_taken_back_and_the_others_are_kept() {
    let mut site = Site::with(2);
    (1..=2).for_each(|track| site.fragments(track, 0..1));
    site.settle();
    let durable = site.length("t1");
    (1..=2).for_each(|track| site.fragments(track, 1..3));
    site.disk.fail("sync t1.mp4");
    let settled = site.files.settle();
    assert_eq!(settled.fault.unwrap().raw_os_error(), Some(5));
    assert!(matches!(&settled.events[..], [PartEvent::Grown { id, duration_ms: 300, .. }] if id == "t2"));
    assert_eq!(site.length("t1"), durable);
    assert!(site.files.abandon().fault.is_none());
    assert_eq!((site.agreed("t1"), site.agreed("t2")), (1, 3));
}

#[test]
fn a_first_sync_that_fails_leaves_nothing() {
    let mut site = Site::with(1);
    site.fragments(1, 0..2);
    site.disk.fail("sync t1.mp4");
    let settled = site.files.settle();
    assert!(settled.fault.is_some() && settled.events.is_empty());
    assert_eq!((site.length("t1"), site.index("t1").fragments.len()), (0, 0));
}

#[test]
fn a_fragment_that_fits_in_part_is_taken_back_and_those_before_it_are_kept() {
    let mut site = Site::with(2);
    (1..=2).for_each(|track| site.fragments(track, 0..2));
    site.disk.fail("write t1.mp4");
    assert!(site.apply(1, g711_fragment(0, 2)).is_err());
    let settled = site.files.abandon();
    assert_eq!((settled.fault.is_none(), settled.events.len()), (true, 2));
    assert_eq!((site.agreed("t1"), site.agreed("t2")), (2, 2));
}

#[test]
fn an_index_that_could_not_be_written_is_written_when_it_closes() {
    let mut site = Site::with(1);
    site.fragments(1, 0..2);
    site.apply(1, Output::Gap { part: 0, start: 1600, packets: 9 }).unwrap();
    site.disk.fail("write t1.idx");
    assert!(site.files.settle().fault.is_some());
    assert!(site.index("t1").fragments.is_empty());
    assert!(site.files.abandon().fault.is_none());
    assert_eq!((site.agreed("t1"), site.index("t1").gaps.len()), (2, 1));
}

#[test]
fn a_folder_that_could_not_be_synced_is_synced_in_the_next_round() {
    let mut site = Site::with(1);
    let folder = site.dir.path().file_name().unwrap().to_string_lossy().into_owned();
    site.disk.fail(&format!("sync_dir {folder}"));
    assert!(site.files.settle().fault.is_some());
    site.disk.steps();
    assert!(site.files.abandon().fault.is_none());
    assert!(site.disk.steps().contains(&format!("sync_dir {folder}")));
}

#[test]
fn what_else_does_not_reach_the_disk_is_said_and_costs_no_media() {
    for step in ["sync t1.json", "sync t1.idx"] {
        let mut site = Site::with(1);
        site.fragments(1, 0..2);
        site.apply(1, Output::Close { part: 0 }).unwrap();
        site.disk.fail(step);
        let settled = site.files.settle();
        assert!(settled.fault.is_some(), "{step}");
        assert!(matches!(&settled.events[..], [PartEvent::Grown { duration_ms: 200, .. }]), "{step}");
        assert_eq!(site.agreed("t1"), 2);
        assert!(site.disk.steps().contains(&"sync t1.mp4".to_owned()));
    }
}

#[test]
fn a_track_that_ends_is_closed_in_its_round() {
    let mut site = Site::with(2);
    (1..=2).for_each(|track| site.fragments(track, 0..1));
    site.apply(1, Output::Close { part: 0 }).unwrap();
    site.settle();
    assert_eq!((site.agreed("t1"), site.index("t2").ended), (1, false));
    assert!(site.disk.steps().ends_with(&["write t1.idx".into(), "sync t1.idx".into(), "write t2.idx".into()]));
}

/// By the first servers; the CRCs of the fragments stand for the media file's form.
const INDEX_OF_VERSION_1: &str = "\
T 1 8000 250 549 alaw fbdb4206
F 549 988 0 800 1700000000250 K 8b5e4e30 2662cf80
F 1537 988 800 800 1700000000350 K 562e6e50 f593a97b
G 1600 9 764105b4
O 240 06af651e
F 2525 988 1600 800 1700000000450 K 4f51c833 7bb7ba09
E d4b45a92
";

#[test]
fn files_have_the_form_that_they_always_had() {
    let mut site = Site::with(1);
    site.fragments(1, 0..2);
    site.apply(1, Output::Gap { part: 0, start: 1600, packets: 9 }).unwrap();
    site.apply(1, Output::Origin { part: 0, start_ms: 240 }).unwrap();
    site.fragments(1, 2..3);
    site.apply(1, Output::Close { part: 0 }).unwrap();
    site.settle();
    let index = std::fs::read_to_string(index_path(site.dir.path(), "t1")).unwrap();
    assert_eq!(index, INDEX_OF_VERSION_1);
}
