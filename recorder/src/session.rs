//! One recording while it runs: follows the room, one task a track, one thread for the files.

use crate::disk::SharedDisk;
use crate::service::RecorderOptions;
use crate::track::{RecordingClock, TrackFault, TrackRecorder};
use crate::writer::{Job, Writing};
use parking_lot::Mutex;
use rongtong_media_core::ids::{Identity, TrackSid};
use rongtong_media_core::media::{Kind, Source};
use rongtong_media_core::room::{Holder, LeaveReason, Room, RoomEvent, RoomHold, Rooms, Tap, TrackInfo};
use rongtong_platform::clock::now_ms;
use rongtong_platform::metrics::Metrics;
use rongtong_platform::storage::Db;
use rongtong_platform::store::recordings::{self, RecordingRow, RecordingTrackRow};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Packets a tap holds: four seconds at 10 Mbit/s of pictures, or of 20 ms sound packets and room.
const VIDEO_TAP: usize = 4096;
const AUDIO_TAP: usize = 256;

/// A track that sends nothing for so long has what it sent written.
const IDLE: Duration = Duration::from_secs(2);

/// How often the database hears of a running recording's new tracks.
const LOOK: Duration = Duration::from_millis(500);

/// How many looks pass until it hears of growth alone: five seconds.
const SAVE: u32 = 10;

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    DiskFull,
    RoomClosed,
    ServerStopped,
    /// Somebody ended it.
    Stopped,
    WriteFailed,
}

impl Ending {
    /// As the API and the database say it; empty when it ended as it should.
    pub fn reason(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::RoomClosed | Self::Stopped => "",
            Self::ServerStopped => "server_stopped",
            Self::WriteFailed => "write_failed",
        }
    }
}

/// The rows of a running recording, as they will be saved.
#[derive(Clone, Debug)]
pub struct Live {
    pub row: RecordingRow,
    pub tracks: Vec<RecordingTrackRow>,
    started: Instant,
}

impl Live {
    pub fn new(row: RecordingRow) -> Self {
        Self { row, tracks: Vec::new(), started: Instant::now() }
    }

    pub fn put(&mut self, track: RecordingTrackRow) {
        self.tracks.push(track);
    }

    pub fn track(&mut self, id: &str) -> Option<&mut RecordingTrackRow> {
        self.tracks.iter_mut().find(|track| track.id == id)
    }

    pub fn change(&mut self, id: &str, change: impl FnOnce(&mut RecordingTrackRow)) {
        if let Some(track) = self.track(id) {
            change(track);
        }
    }

    /// The rows with the sums as they are now.
    pub fn snapshot(&self) -> (RecordingRow, Vec<RecordingTrackRow>) {
        let mut row = self.row.clone();
        row.bytes = self.tracks.iter().map(|track| track.bytes).sum();
        if row.ended_at.is_none() {
            row.duration_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        }
        (row, self.tracks.clone())
    }
}

/// What is known of a track beside its media.
#[derive(Clone, Debug)]
pub struct TrackAbout {
    pub(crate) participant: Identity,
    participant_name: String,
    pub(crate) kind: Kind,
    source: Source,
    pub(crate) codec: &'static str,
}

impl TrackAbout {
    #[cfg(test)]
    pub fn for_tests(participant: &str, codec: &'static str) -> Self {
        Self {
            participant: participant.into(),
            participant_name: participant.to_owned(),
            kind: Kind::Audio,
            source: Source::Microphone,
            codec,
        }
    }

    fn of(info: &TrackInfo, room: &Room) -> Self {
        Self {
            participant: info.identity.clone(),
            participant_name: room.participant(&info.identity).map(|p| p.name.clone()).unwrap_or_default(),
            kind: info.spec.kind,
            source: info.spec.source,
            codec: info.spec.codec.codec.rtp_name(),
        }
    }

    /// A row for one of the track's parts, before anything is written.
    pub fn row(&self, recording: &str, id: &str, start_ms: i64, note: &str) -> RecordingTrackRow {
        let source = match (self.source, self.kind) {
            (Source::Camera, _) | (Source::Unknown, Kind::Video) => "camera",
            (Source::Microphone, _) | (Source::Unknown, Kind::Audio) => "microphone",
            (Source::ScreenShare, _) => "screen_share",
            (Source::ScreenShareAudio, _) => "screen_share_audio",
        };
        let kind = match self.kind {
            Kind::Audio => "audio",
            Kind::Video => "video",
        };
        RecordingTrackRow {
            recording_id: recording.to_owned(),
            id: id.to_owned(),
            participant: self.participant.as_str().to_owned(),
            participant_name: self.participant_name.clone(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            codec: self.codec.to_ascii_lowercase(),
            playable: false,
            note: note.to_owned(),
            start_ms,
            duration_ms: 0,
            bytes: 0,
            width: None,
            height: None,
            original_of: None,
        }
    }
}

/// A running recording's handles.
pub struct Active {
    pub live: Arc<Mutex<Live>>,
    stop: watch::Sender<Option<Ending>>,
    done: watch::Receiver<bool>,
}

impl Active {
    /// Asks it to end and waits until its files and rows are written.
    pub async fn end(&self, ending: Ending) {
        self.stop.send_if_modified(|asked| {
            let first = asked.is_none();
            asked.get_or_insert(ending);
            first
        });
        let mut done = self.done.clone();
        // An error means that its task is gone, which is the same.
        let _ = done.wait_for(|done| *done).await;
    }
}

/// What a recording needs to run.
pub struct Session {
    pub rooms: Arc<Rooms>,
    pub room: Arc<Room>,
    pub live: Arc<Mutex<Live>>,
    pub disk: SharedDisk,
    pub dir: PathBuf,
    pub db: Db,
    pub options: RecorderOptions,
    pub metrics: Arc<Metrics>,
    pub clock: RecordingClock,
    /// Held until the end: keeps a camera's own room open and its camera pulled.
    pub _hold: Option<RoomHold>,
}

impl Session {
    /// Starts the recording's task. `ended` is called when all is written.
    pub fn start(self, ended: impl FnOnce(Ending) + Send + 'static) -> std::io::Result<Active> {
        let (stop, stopping) = watch::channel(None);
        let (finished, done) = watch::channel(false);
        let (fail, failed) = mpsc::channel(4);
        let writing = Writing {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            sync: self.options.sync,
            min_free: self.options.min_free_mib.saturating_mul(1 << 20),
            live: self.live.clone(),
            bytes: self.metrics.counter("recorder_bytes", "Bytes of media written by recordings"),
            gaps: self.metrics.counter("recorder_gaps", "Places where a recording lacks packets"),
        };
        let (jobs, thread) = writing.start(fail)?;
        let active = Active { live: self.live.clone(), stop, done };
        tokio::spawn(async move {
            let ending = self.run(jobs, stopping, failed, thread).await;
            ended(ending);
            let _ = finished.send(true);
        });
        Ok(active)
    }

    async fn run(
        self,
        jobs: mpsc::Sender<Job>,
        mut stopping: watch::Receiver<Option<Ending>>,
        mut failed: mpsc::Receiver<Ending>,
        thread: std::thread::JoinHandle<Option<Ending>>,
    ) -> Ending {
        let (end_tracks, track_end) = watch::channel(false);
        let mut following = Following {
            room: self.room.clone(),
            clock: self.clock,
            jobs,
            end: track_end,
            known: HashSet::new(),
            tasks: JoinSet::new(),
            next: 0,
        };
        let mut events = self.room.observe();
        self.room.set_recording(true);
        following.add_all();
        if self.room_is_gone() {
            events.close();
        }
        let mut look = tokio::time::interval(LOOK);
        let (mut looks, mut saved_tracks) = (0, 0);
        let ending = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(RoomEvent::TrackPublished(info)) => following.add(&info),
                    Some(RoomEvent::Closed(LeaveReason::ServerShutdown)) => break Ending::ServerStopped,
                    Some(RoomEvent::Closed(_)) => break Ending::RoomClosed,
                    Some(_) => {}
                    // The room is gone, or this is too far behind with its events.
                    None if self.room_is_gone() => break Ending::RoomClosed,
                    None => {
                        events = self.room.observe();
                        following.add_all();
                    }
                },
                // Nobody writes any more without having said why: the thread panicked.
                why = failed.recv() => break why.unwrap_or(Ending::WriteFailed),
                _ = look.tick() => {
                    looks += 1;
                    // A crash must not find media that the database has never heard of.
                    let tracks = self.live.lock().tracks.len();
                    if tracks != saved_tracks || looks >= SAVE {
                        self.save().await;
                        (looks, saved_tracks) = (0, tracks);
                    }
                }
                asked = asked(&mut stopping) => break asked,
            }
        };
        let _ = end_tracks.send(true);
        while following.tasks.join_next().await.is_some() {}
        drop(following);
        let ending = match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(written)) => written.unwrap_or(ending),
            Ok(Err(_)) | Err(_) => {
                tracing::error!("a recording's writer panicked");
                Ending::WriteFailed
            }
        };
        self.room.set_recording(false);
        {
            let mut live = self.live.lock();
            live.row.ended_at = Some(now_ms());
            live.row.state = "finished".to_owned();
            let end = live.tracks.iter().map(|t| t.start_ms.saturating_add(t.duration_ms)).max();
            live.row.duration_ms = end.unwrap_or(0).max(0);
        }
        self.save().await;
        let id = self.live.lock().row.id.clone();
        if let Err(fault) = crate::store::set_reason(&self.db, &id, ending.reason()).await {
            tracing::error!(%fault, recording = id, "why a recording ended could not be saved");
        }
        ending
    }

    fn room_is_gone(&self) -> bool {
        !self.rooms.find(self.room.name()).is_some_and(|open| Arc::ptr_eq(&open, &self.room))
    }

    async fn save(&self) {
        let (row, tracks) = self.live.lock().snapshot();
        let id = row.id.clone();
        if let Err(fault) = recordings::save(&self.db, row, tracks).await {
            tracing::error!(%fault, recording = id, "a recording's rows could not be saved");
        }
    }
}

/// What the recording was asked to end for.
async fn asked(stopping: &mut watch::Receiver<Option<Ending>>) -> Ending {
    let asked = stopping.wait_for(Option::is_some).await;
    asked.ok().and_then(|asked| *asked).unwrap_or(Ending::ServerStopped)
}

/// Waits for the end of all tracks.
async fn told(end: &mut watch::Receiver<bool>) {
    let _ = end.wait_for(|end| *end).await;
}

/// The tracks that are being recorded.
struct Following {
    room: Arc<Room>,
    clock: RecordingClock,
    jobs: mpsc::Sender<Job>,
    end: watch::Receiver<bool>,
    known: HashSet<TrackSid>,
    tasks: JoinSet<()>,
    next: u32,
}

impl Following {
    fn add_all(&mut self) {
        for track in self.room.tracks() {
            self.add(&track);
        }
    }

    fn add(&mut self, info: &TrackInfo) {
        while self.tasks.try_join_next().is_some() {}
        if !self.known.insert(info.sid.clone()) {
            return;
        }
        let capacity = match info.spec.kind {
            Kind::Audio => AUDIO_TAP,
            Kind::Video => VIDEO_TAP,
        };
        let tap = match self.room.tap(&Holder::Service("recorder"), &info.sid, capacity) {
            Ok(tap) => tap,
            Err(fault) => {
                tracing::debug!(track = %info.sid, %fault, "a track was gone before it was recorded");
                return;
            }
        };
        let recorder = TrackRecorder::new(&info.spec.codec, self.clock);
        let about = TrackAbout::of(info, &self.room);
        let track = self.next;
        self.next += 1;
        let pump = Pump { track, tap, jobs: self.jobs.clone(), end: self.end.clone() };
        self.tasks.spawn(pump.run(about, recorder));
    }
}

/// Moves one track from its tap to the writer.
struct Pump {
    track: u32,
    tap: Tap,
    jobs: mpsc::Sender<Job>,
    end: watch::Receiver<bool>,
}

impl Pump {
    async fn run(mut self, about: TrackAbout, recorder: Result<TrackRecorder, TrackFault>) {
        let track = self.track;
        if self.jobs.send(Job::Begin { track, about }).await.is_err() {
            return;
        }
        let mut recorder = match recorder {
            Ok(recorder) => recorder,
            Err(fault) => {
                tracing::warn!(%fault, "a track is not recorded");
                let _ = self.jobs.send(Job::Refused { track, note: "not_recorded" }).await;
                return;
            }
        };
        if self.tap.info().spec.kind == Kind::Video {
            self.tap.request_keyframe();
        }
        let mut end = self.end.clone();
        let mut batch = Vec::new();
        loop {
            let more = tokio::select! {
                more = tokio::time::timeout(IDLE, self.tap.batch(&mut batch)) => more,
                () = told(&mut end) => break,
            };
            match more {
                Ok(true) => batch.drain(..).for_each(|item| recorder.take(item)),
                Ok(false) => break,
                Err(_) => recorder.idle(),
            }
            if recorder.take_keyframe_wish() {
                self.tap.request_keyframe();
            }
            if !drain(&self.jobs, track, &mut recorder).await {
                return;
            }
        }
        recorder.finish();
        drain(&self.jobs, track, &mut recorder).await;
    }
}

/// Hands on what a track puts out; false when nobody writes any more.
async fn drain(jobs: &mpsc::Sender<Job>, track: u32, recorder: &mut TrackRecorder) -> bool {
    while let Some(output) = recorder.poll_output() {
        if jobs.send(Job::Output { track, output }).await.is_err() {
            return false;
        }
    }
    true
}
