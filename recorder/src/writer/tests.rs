//! The thread's rounds, and what it says at its end.

use super::*;
use crate::testing::*;
use rongtong_platform::metrics::Metrics;

struct Running {
    _dir: tempfile::TempDir,
    disk: Watched,
    live: Arc<Mutex<Live>>,
    jobs: mpsc::Sender<Job>,
    thread: JoinHandle<Option<Ending>>,
    failed: mpsc::Receiver<Ending>,
}

/// A writer with that many tracks begun and opened, each with one fragment, on a disk that fails
/// once so.
fn running(tracks: u32, failing: &[&str]) -> Running {
    let (dir, disk, metrics) = (tempfile::tempdir().unwrap(), Watched::default(), Metrics::default());
    failing.iter().for_each(|step| disk.fail(step));
    let live = Arc::new(Mutex::new(Live::new(recording_row("r1", "recording"))));
    let writing = Writing {
        disk: disk.shared(),
        dir: dir.path().to_owned(),
        sync: true,
        min_free: 0,
        live: live.clone(),
        bytes: metrics.counter("recorder_bytes", ""),
        gaps: metrics.counter("recorder_gaps", ""),
    };
    let (fail, failed) = mpsc::channel(4);
    let (jobs, thread) = writing.start(fail).unwrap();
    let running = Running { _dir: dir, disk, live, jobs, thread, failed };
    for track in 0..tracks {
        running.send(Job::Begin { track, about: TrackAbout::for_tests("zhang", "PCMA") });
        running.send(Job::Output { track, output: open_g711(0, None) });
        running.send(Job::Output { track, output: g711_fragment(0, 0) });
    }
    running
}

impl Running {
    fn send(&self, job: Job) {
        self.jobs.blocking_send(job).unwrap();
    }

    fn wait_for(&self, durations: &[i64]) {
        for _ in 0..500 {
            if self.durations() == durations {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.durations(), durations);
    }

    fn durations(&self) -> Vec<i64> {
        self.live.lock().tracks.iter().map(|track| track.duration_ms).collect()
    }

    fn end(self) -> Option<Ending> {
        drop(self.jobs);
        self.thread.join().unwrap()
    }
}

#[test]
fn a_round_follows_within_a_fifth_of_a_second_and_syncs_all_tracks_once() {
    let running = running(20, &[]);
    for number in 1..10 {
        (0..20).for_each(|track| running.send(Job::Output { track, output: g711_fragment(0, number) }));
    }
    // Though nothing more is sent.
    running.wait_for(&[1000; 20]);
    let steps = running.disk.steps();
    let syncs = steps.iter().filter(|step| step.starts_with("sync t") && step.ends_with(".mp4")).count();
    let folders = steps.iter().filter(|step| step.starts_with("sync_dir")).count();
    // One round of 20; more when 200 fragments took longer than that to come.
    assert!(syncs <= 80 && folders <= 4, "{syncs} and {folders}");
    assert_eq!(running.end(), None);
}

#[test]
fn what_fails_in_the_last_round_is_said_too() {
    let running = running(2, &["sync t1.mp4"]);
    let live = running.live.clone();
    assert_eq!(running.end(), Some(Ending::WriteFailed));
    let rows: Vec<_> = live.lock().tracks.iter().map(|track| (track.id.clone(), track.duration_ms)).collect();
    assert_eq!(rows, [("t1".to_owned(), 0), ("t2".to_owned(), 100)]);
}

#[test]
fn a_recording_is_told_at_once_that_it_cannot_be_written() {
    let mut running = running(1, &[]);
    running.wait_for(&[100]);
    running.disk.fail("write t1.mp4");
    running.send(Job::Output { track: 0, output: g711_fragment(0, 1) });
    assert_eq!(running.failed.blocking_recv(), Some(Ending::WriteFailed));
    // Until the tracks have heard of it, they go on.
    running.send(Job::Output { track: 0, output: g711_fragment(0, 2) });
    let live = running.live.clone();
    assert_eq!(running.end(), Some(Ending::WriteFailed));
    assert_eq!(live.lock().tracks[0].duration_ms, 100, "what was whole before is kept");
}
