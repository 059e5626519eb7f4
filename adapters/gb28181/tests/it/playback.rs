//! Recordings that a device has, and plays.
//!
//! `gb28181-rs` takes bodies of MANSRTSP with 200 and does nothing, as many devices do; it is steered all the same.

use crate::device::*;
use crate::frames::Shelf;
use gb28181_rs::config::Transport;
use gb28181_rs::mock::MockFrameHub;
use gb28181_rs::server::Gb28181Server;
use parking_lot::Mutex;
use rongtong_gb28181::platform::Carriage;
use rongtong_gb28181::playback::{Phase, Playback, PlaybackError, Playbacks, Wanted};
use rongtong_media_core::device::{DeviceItem, DeviceSession, Lender, Opener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Writes a recording of two seconds that begins at a moment, Unix milliseconds.
fn record(folder: &Path, begin: u64) {
    let mut file = Vec::new();
    for nals in pictures() {
        for nal in nals {
            file.extend_from_slice(&[0, 0, 0, 1]);
            file.extend_from_slice(&nal);
        }
    }
    std::fs::write(folder.join(format!("{begin}-{}.h264", begin + 2_000)), file).unwrap();
}

/// What was lent and not taken back.
#[derive(Default)]
pub struct Lent(Mutex<Vec<String>>);

impl Lender for Lent {
    fn lend(&self, id: &str, _: &str, address: &str) {
        assert!(address.ends_with(id));
        self.0.lock().push(address.to_owned());
    }

    fn take_back(&self, id: &str) {
        self.0.lock().retain(|address| !address.ends_with(id));
    }

    fn failure(&self, _: &str) -> Option<(&'static str, String)> {
        None
    }
}

const BEGIN: u64 = 1_790_000_000;

/// A device with recordings: 24 s in files of 2 s, a gap, and 2 s a minute later.
async fn device(bench: &Bench, folder: &Path) -> gb28181_rs::server::ServerHandle {
    for second in (0..24).step_by(2).chain([60]) {
        record(folder, (BEGIN + second) * 1_000);
    }
    let config = config(bench, Transport::Udp);
    let hub = Arc::new(MockFrameHub::new());
    let shelf = Arc::new(Shelf::read(folder));
    let handle = Gb28181Server::with_recording_index(config, hub, Some(shelf)).spawn().await.unwrap();
    until("it is online", || bench.platform.device(&code(DEVICE)).is_some_and(|known| known.whole)).await;
    handle
}

fn wanted(begin: u64, end: u64, carriage: Carriage) -> Wanted {
    let (begin, end) = ((BEGIN + begin) as i64, (BEGIN + end) as i64);
    Wanted { device: code(DEVICE), channel: code(CHANNEL), name: "gate".into(), begin, end, carriage }
}

/// Somebody who watches: pictures that came, and their times.
pub struct Watching {
    session: Box<dyn DeviceSession>,
    pub times: Vec<(u32, Instant)>,
}

impl Watching {
    pub async fn begin(all: &Arc<Playbacks>, playback: &Playback) -> Self {
        let session = all.open(&format!("gb28181-record://{}", playback.id)).await.unwrap();
        Self { session, times: Vec::new() }
    }

    /// Watches until something is so.
    pub async fn until(&mut self, what: &str, mut so: impl FnMut(&[(u32, Instant)]) -> bool) {
        let (end, mut items) = (Instant::now() + Duration::from_secs(20), Vec::new());
        while !so(&self.times) {
            assert!(Instant::now() < end, "not within 20 s: {what}; {} pictures", self.times.len());
            self.session.receive(&mut items).await.unwrap();
            for item in items.drain(..) {
                if let DeviceItem::Picture { unit, .. } = item {
                    self.times.push((unit.timestamp, Instant::now()));
                }
            }
        }
    }

    pub async fn pictures(&mut self, more: usize) {
        let enough = self.times.len() + more;
        self.until("pictures", |times| times.len() >= enough).await;
    }
}

fn place(playback: &Playback) -> f64 {
    playback.progress().position as f64 / 1_000.0 - BEGIN as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_are_listed_over_pages() {
    let (bench, folder) = (platform().await, tempfile::tempdir().unwrap());
    let device = device(&bench, folder.path()).await;
    let ask = |begin: u64, end: u64| {
        let period = ((BEGIN + begin) as i64, (BEGIN + end) as i64);
        let platform = bench.platform.clone();
        async move { platform.records(&code(DEVICE), &code(CHANNEL), period.0, period.1).await.unwrap() }
    };
    let found = ask(0, 3_600).await;
    assert!(found.whole);
    let begins: Vec<i64> = found.records.iter().map(|record| record.begin - BEGIN as i64).collect();
    assert_eq!(begins, (0..24).step_by(2).chain([60]).collect::<Vec<_>>());
    assert!(found.records.iter().all(|record| record.end - record.begin == 2 && record.kind == "time"));
    let found = ask(3, 7).await;
    assert_eq!(found.records.len(), 3);
    assert!(ask(30, 50).await.records.is_empty());
    device.abort();
    bench.platform.end().await;
}

/// Over every way: it is played at the speed of life, over the gap, and has an end; then nothing is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_played_to_its_end() {
    let (bench, folder) = (platform().await, tempfile::tempdir().unwrap());
    let device = device(&bench, folder.path()).await;
    let (all, lent) = (Playbacks::new(bench.platform.clone()), Arc::new(Lent::default()));
    let nothing = all.begin(wanted(30, 50, Carriage::Udp), lent.clone()).await;
    assert!(matches!(nothing, Err(PlaybackError::Nothing)));
    for carriage in [Carriage::Udp, Carriage::TcpPassive, Carriage::TcpActive] {
        let playback = all.begin(wanted(20, 90, carriage), lent.clone()).await.unwrap();
        assert_eq!(playback.spans, [(20, 24), (60, 62)].map(|(a, b)| ((BEGIN + a) as i64, (BEGIN + b) as i64)));
        assert_eq!(lent.0.lock().len(), 1);
        let mut watching = Watching::begin(&all, &playback).await;
        watching.until("the first four seconds", |_| place(&playback) >= 23.8).await;
        let first = watching.times.len();
        assert!((90..=101).contains(&first), "{carriage:?}: {first} pictures of 100");
        let lasted = watching.times.last().unwrap().1 - watching.times[0].1;
        assert!((3_500..4_600).contains(&lasted.as_millis()), "at the speed of life: {lasted:?}");
        watching.until("the end", |_| playback.progress().phase == Phase::Ended).await;
        let second = watching.times.len() - first;
        assert!((44..=56).contains(&second), "{carriage:?}: {second} pictures of 50 beyond the gap");
        let forward = watching.times.windows(2).all(|pair| (1..270_000).contains(&pair[1].0.wrapping_sub(pair[0].0)));
        assert!(forward, "times go forward, also over the gap");
        assert_eq!(bench.platform.calls(), 0, "hung up");
        // Once more, from the beginning.
        playback.pause(false);
        watching.pictures(10).await;
        assert!(place(&playback) < 22.0);
        drop(watching);
        assert!(all.end(&playback.id, lent.as_ref()) && lent.0.lock().is_empty());
    }
    until("all is hung up", || bench.platform.calls() == 0).await;
    device.abort();
    let load = bench.platform.end().await.unwrap();
    assert_eq!((load.calls, load.queries), (0, 0));
    assert_eq!(bench.ports.free(), bench.ports.pairs());
}

/// A device that takes orders and goes on as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deaf_device_is_steered_all_the_same() {
    let (bench, folder) = (platform().await, tempfile::tempdir().unwrap());
    let device = device(&bench, folder.path()).await;
    let (all, lent) = (Playbacks::new(bench.platform.clone()), Arc::new(Lent::default()));
    let playback = all.begin(wanted(0, 90, Carriage::Udp), lent.clone()).await.unwrap();
    let mut watching = Watching::begin(&all, &playback).await;
    watching.pictures(20).await;

    playback.pause(true);
    let calls = || bench.platform.calls();
    watching.until("it is hung up", |_| calls() == 0).await;
    assert_eq!(playback.progress().phase, Phase::Paused);
    let (paused_at, pictures) = (place(&playback), watching.times.len());
    let still = Instant::now() + Duration::from_secs(1);
    watching.until("a second is over", |_| Instant::now() >= still).await;
    assert_eq!(watching.times.len(), pictures, "it stands still");
    playback.pause(false);
    watching.pictures(5).await;
    assert!((place(&playback) - paused_at).abs() < 1.3, "{} after {paused_at}", place(&playback));

    // Elsewhere, and into the gap, which is what comes after it.
    playback.seek((BEGIN + 14) as i64);
    watching.until("it is there", |_| (14.0..15.5).contains(&place(&playback))).await;
    watching.pictures(10).await;
    playback.seek((BEGIN + 40) as i64);
    watching.until("it is beyond the gap", |_| (60.0..62.0).contains(&place(&playback))).await;

    playback.seek(BEGIN as i64);
    watching.until("it is at the beginning", |_| (0.1..2.0).contains(&place(&playback))).await;
    playback.set_speed(4.0);
    watching.until("it is known that it has one speed", |_| playback.progress().speed_ignored).await;
    assert_eq!(playback.progress().speed, 1.0);
    drop(watching);
    until("all is hung up", || calls() == 0).await;

    // Whoever comes later goes on there.
    let before = place(&playback);
    let mut watching = Watching::begin(&all, &playback).await;
    watching.pictures(5).await;
    assert!((place(&playback) - before).abs() < 2.0);
    drop(watching);
    until("all is hung up", || calls() == 0).await;
    device.abort();
    bench.platform.end().await;
}
