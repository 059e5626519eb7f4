//! The recorder as the rest of the server sees it.

use crate::disk::{self, SharedDisk, SystemDisk, blocking};
use crate::files::{index_path, media_path};
use crate::index::Index;
use crate::recover::{self, doom};
use crate::session::{Active, Ending, Live, Session};
use crate::store::{self, Wanted};
use crate::track::RecordingClock;
use crate::writer::free_bytes;
use parking_lot::Mutex;
use rongtong_media_core::clock::RoomClock;
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::room::{Room, RoomError, RoomHold, RoomOptions, Rooms, RoomsEvent};
use rongtong_platform::Platform;
use rongtong_platform::clock::now_ms;
use rongtong_platform::config::Config;
use rongtong_platform::metrics::Gauge;
use rongtong_platform::storage::StorageError;
use rongtong_platform::store::recordings::{self, RecordingFilter, RecordingRow, RecordingTrackRow};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Where and how recordings are written.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    pub dir: PathBuf,
    /// Recordings end, and none begin, when less than this is free.
    pub min_free_mib: u64,
    /// Every fragment is on the disk before it counts (fdatasync); survives a loss of power.
    pub sync: bool,
}

impl RecorderOptions {
    pub fn of(config: &Config) -> Self {
        Self { dir: config.recordings_dir(), min_free_mib: config.recorder.min_free_mib, sync: true }
    }
}

/// A recording with its tracks.
#[derive(Clone, Debug)]
pub struct Recording {
    pub row: RecordingRow,
    pub tracks: Vec<RecordingTrackRow>,
    /// Why it ended: `disk_full`, `server_stopped`, `write_failed`, or empty.
    pub reason: String,
}

/// Why the recorder did not do it.
#[derive(Debug, thiserror::Error)]
pub enum RecordFault {
    #[error("the disk is nearly full; nothing is recorded until there is room")]
    DiskFull,
    #[error("the recording's files could not be written or read: {0}")]
    File(#[from] std::io::Error),
    #[error("there is no such recording")]
    NotFound,
    #[error("the room did not let the recorder in: {0}")]
    Room(#[from] RoomError),
    #[error("it is being recorded already")]
    Running(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Records rooms and cameras. One a server.
pub struct Recorder {
    platform: Arc<Platform>,
    rooms: Arc<Rooms>,
    options: RecorderOptions,
    disk: SharedDisk,
    active: Mutex<HashMap<String, Arc<Active>>>,
    /// Starting is done one at a time, so that nothing is recorded twice.
    starting: tokio::sync::Mutex<()>,
    wanted: Mutex<Vec<Wanted>>,
    running: Gauge,
    this: Weak<Self>,
}

impl Recorder {
    /// Repairs what a crash left, then watches for rooms whose recordings are to go on.
    pub async fn start(
        platform: Arc<Platform>,
        rooms: Arc<Rooms>,
        options: RecorderOptions,
    ) -> Result<Arc<Self>, RecordFault> {
        Self::start_on(Arc::new(SystemDisk), platform, rooms, options).await
    }

    pub(crate) async fn start_on(
        disk: SharedDisk,
        platform: Arc<Platform>,
        rooms: Arc<Rooms>,
        options: RecorderOptions,
    ) -> Result<Arc<Self>, RecordFault> {
        let (made_on, dir) = (disk.clone(), options.dir.clone());
        blocking(move || disk::create_dir_all(&*made_on, &dir)).await?;
        let events = rooms.observe();
        let wanted = recover::recover(&platform.db, &options, &disk).await?;
        let running = platform.metrics.gauge("recorder_recordings", "Recordings that are running");
        let shown = running.clone();
        let help = "Recordings that are running";
        platform.metrics.indicator("recordings_running", "", help, move || shown.get() as f64);
        let recorder = Arc::new_cyclic(|this| Self {
            platform,
            rooms,
            options,
            disk,
            active: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            wanted: Mutex::new(wanted),
            running,
            this: this.clone(),
        });
        recorder.resume(events).await;
        Ok(recorder)
    }

    pub fn platform(&self) -> &Arc<Platform> {
        &self.platform
    }

    pub fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    /// Records all tracks of a room until it closes or [`Recorder::stop`]. `by`: a person's id.
    pub async fn start_room(&self, room: Arc<Room>, by: &str) -> Result<Recording, RecordFault> {
        let info = room.info();
        let title = if info.title.is_empty() { info.name.to_string() } else { info.title.clone() };
        let subject = room.name().to_string();
        self.begin(room, "room", subject, title, by, None).await
    }

    /// Records one camera in its own room, `cam-<id>`, which is opened and held open for it.
    pub async fn start_camera(&self, camera: &str, title: &str, by: &str) -> Result<Recording, RecordFault> {
        let name = RoomName::new(format!("cam-{camera}"));
        let room = self.rooms.open(&name, || RoomOptions { title: title.to_owned(), ..RoomOptions::default() });
        let hold = room.hold()?;
        self.begin(room, "camera", camera.to_owned(), title.to_owned(), by, Some(hold)).await
    }

    /// Ends a recording and returns it when all is written; one that has ended is just returned.
    pub async fn stop(&self, id: &str) -> Result<Recording, RecordFault> {
        let active = self.active.lock().get(id).cloned();
        if let Some(active) = active {
            let subject = active.live.lock().row.clone();
            store::unwant(&self.platform.db, &subject.kind, &subject.subject).await?;
            active.end(Ending::Stopped).await;
        }
        self.get(id).await
    }

    pub async fn get(&self, id: &str) -> Result<Recording, RecordFault> {
        if let Some(running) = self.running(id) {
            return Ok(running);
        }
        let row = recordings::get(&self.platform.db, id).await?.ok_or(RecordFault::NotFound)?;
        self.complete(row).await
    }

    /// Newest first.
    pub async fn list(&self, filter: &RecordingFilter, limit: u32) -> Result<Vec<Recording>, RecordFault> {
        let mut list = Vec::new();
        for row in recordings::list(&self.platform.db, filter, limit).await? {
            list.push(match self.running(&row.id) {
                Some(running) => running,
                None => self.complete(row).await?,
            });
        }
        Ok(list)
    }

    /// Removes a recording that has ended, files first out of sight.
    pub async fn delete(&self, id: &str) -> Result<(), RecordFault> {
        if self.running(id).is_some() {
            return Err(RecordFault::Running(id.to_owned()));
        }
        recordings::get(&self.platform.db, id).await?.ok_or(RecordFault::NotFound)?;
        let (disk, dir, name) = (self.disk.clone(), self.options.dir.clone(), id.to_owned());
        let doomed = blocking(move || doom(&*disk, &dir, &name)).await?;
        recordings::delete(&self.platform.db, id).await?;
        match tokio::fs::remove_dir_all(&doomed).await {
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => Err(fault.into()),
            _ => Ok(()),
        }
    }

    /// The id of the running recording of a room (`kind` `room`) or a camera (`camera`).
    pub fn recording_of(&self, kind: &str, subject: &str) -> Option<String> {
        let active = self.active.lock();
        let mut rows = active.iter().map(|(id, active)| (id, active.live.lock()));
        rows.find(|(_, live)| live.row.kind == kind && live.row.subject == subject).map(|(id, _)| id.clone())
    }

    /// Ends everything in good order, for a server going down; rooms that come back soon are
    /// recorded on by the next one.
    pub async fn close(&self) {
        let all: Vec<_> = self.active.lock().values().cloned().collect();
        for active in all {
            let want = recover::wanted(&active.live.lock().row);
            if let Err(fault) = store::want(&self.platform.db, want).await {
                tracing::error!(%fault, "a recording will not go on after the restart");
            }
            active.end(Ending::ServerStopped).await;
        }
    }

    /// A track's media file.
    pub(crate) fn media(&self, id: &str, track: &str) -> PathBuf {
        media_path(&self.options.dir.join(id), track)
    }

    /// A track's index as it is on disk now.
    pub(crate) async fn index(&self, id: &str, track: &str) -> Result<Index, RecordFault> {
        let bytes = match tokio::fs::read(index_path(&self.options.dir.join(id), track)).await {
            Ok(bytes) => bytes,
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Err(RecordFault::NotFound),
            Err(fault) => return Err(fault.into()),
        };
        Index::read(&bytes).map(|(index, _)| index).ok_or(RecordFault::NotFound)
    }

    fn running(&self, id: &str) -> Option<Recording> {
        let active = self.active.lock().get(id).cloned()?;
        let (row, tracks) = active.live.lock().snapshot();
        Some(Recording { row, tracks, reason: String::new() })
    }

    async fn complete(&self, row: RecordingRow) -> Result<Recording, RecordFault> {
        let tracks = recordings::tracks(&self.platform.db, &row.id).await?;
        let reason = store::reason(&self.platform.db, &row.id).await?;
        Ok(Recording { row, tracks, reason })
    }

    async fn begin(
        &self,
        room: Arc<Room>,
        kind: &str,
        subject: String,
        title: String,
        by: &str,
        hold: Option<RoomHold>,
    ) -> Result<Recording, RecordFault> {
        let _one_at_a_time = self.starting.lock().await;
        if let Some(id) = self.recording_of(kind, &subject) {
            return Err(RecordFault::Running(id));
        }
        if self.is_disk_full().await? {
            return Err(RecordFault::DiskFull);
        }
        let row = RecordingRow {
            id: uuid::Uuid::now_v7().to_string(),
            kind: kind.to_owned(),
            subject,
            title,
            started_at: now_ms(),
            ended_at: None,
            state: "recording".to_owned(),
            started_by: by.to_owned(),
            bytes: 0,
            duration_ms: 0,
        };
        let (id, dir) = (row.id.clone(), self.options.dir.join(&row.id));
        // Before the row, so that a row never stands without its folder.
        let (disk, folder) = (self.disk.clone(), dir.clone());
        blocking(move || disk::create_dir(&*disk, &folder)).await?;
        if let Err(fault) = recordings::save(&self.platform.db, row.clone(), Vec::new()).await {
            tokio::fs::remove_dir(&dir).await?;
            return Err(fault.into());
        }
        let session = Session {
            rooms: self.rooms.clone(),
            room,
            live: Arc::new(Mutex::new(Live::new(row))),
            disk: self.disk.clone(),
            dir,
            db: self.platform.db.clone(),
            options: self.options.clone(),
            metrics: self.platform.metrics.clone(),
            clock: RecordingClock { started_ns: RoomClock::process().ns(Instant::now()) },
            _hold: hold,
        };
        let (this, ended_id) = (self.this.clone(), id.clone());
        // Held while it starts, so that its end finds it here.
        let mut active = self.active.lock();
        let started = session.start(move |ending| {
            if let Some(recorder) = this.upgrade() {
                recorder.ended(&ended_id, ending);
            }
        });
        let started = match started {
            Ok(started) => started,
            Err(fault) => {
                drop(active);
                recordings::delete(&self.platform.db, &id).await?;
                tokio::fs::remove_dir(self.options.dir.join(&id)).await?;
                return Err(fault.into());
            }
        };
        active.insert(id.clone(), Arc::new(started));
        self.running.set(i64::try_from(active.len()).unwrap_or(i64::MAX));
        drop(active);
        self.running(&id).ok_or(RecordFault::NotFound)
    }

    async fn is_disk_full(&self) -> std::io::Result<bool> {
        let (dir, least) = (self.options.dir.clone(), self.options.min_free_mib.saturating_mul(1 << 20));
        blocking(move || Ok(free_bytes(&dir).is_some_and(|free| free < least))).await
    }

    fn ended(&self, id: &str, ending: Ending) {
        let mut active = self.active.lock();
        let ended = active.remove(id);
        self.running.set(i64::try_from(active.len()).unwrap_or(i64::MAX));
        drop(active);
        if ending == Ending::ServerStopped
            && let Some(ended) = ended
        {
            let want = recover::wanted(&ended.live.lock().row);
            let db = self.platform.db.clone();
            tokio::spawn(async move {
                if let Err(fault) = store::want(&db, want).await {
                    tracing::error!(%fault, "a recording will not go on after the restart");
                }
            });
        }
    }

    /// Goes on with what the last server was recording, as rooms come back.
    async fn resume(self: &Arc<Self>, mut events: tokio::sync::mpsc::Receiver<RoomsEvent>) {
        let wanted = self.wanted.lock().clone();
        for want in wanted.iter().filter(|want| want.kind == "camera") {
            self.go_on(want, None).await;
        }
        for room in self.rooms.list() {
            self.came_back(&room).await;
        }
        let this = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let Some(recorder) = this.upgrade() else { return };
                if let RoomsEvent::Opened(room) = event {
                    recorder.came_back(&room).await;
                }
            }
        });
    }

    async fn came_back(&self, room: &Arc<Room>) {
        let found = {
            let wanted = self.wanted.lock();
            wanted.iter().find(|want| want.kind == "room" && want.subject == room.name().as_str()).cloned()
        };
        if let Some(want) = found {
            self.go_on(&want, Some(room.clone())).await;
        }
    }

    async fn go_on(&self, want: &Wanted, room: Option<Arc<Room>>) {
        self.wanted.lock().retain(|other| other != want);
        if let Err(fault) = store::unwant(&self.platform.db, &want.kind, &want.subject).await {
            tracing::warn!(%fault, "a wanted recording could not be ticked off");
        }
        if want.until_ms < now_ms() {
            return;
        }
        let title =
            if want.title.ends_with("（续）") { want.title.clone() } else { format!("{}（续）", want.title) };
        let begun = match room {
            Some(room) => self.begin(room, "room", want.subject.clone(), title, &want.started_by, None).await,
            None => self.start_camera(&want.subject, &title, &want.started_by).await,
        };
        match begun {
            Ok(recording) => tracing::info!(recording = recording.row.id, "a recording goes on after a restart"),
            Err(fault) => tracing::error!(%fault, "a recording does not go on after the restart"),
        }
    }
}
