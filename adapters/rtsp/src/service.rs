//! All cameras of the server: one supervised task each, and who should be in which room.
//!
//! Invariant: a camera that is assigned to a room (table `room_cameras`) is in it
//! whenever the room is open, also after a restart; its own room `cam-<id>` has it
//! whenever that is open.

use crate::address::{CameraUrl, Credentials};
use crate::camera;
use crate::config::CamerasConfig;
use crate::desired::{Recipe, Shared};
use crate::live::Openers;
use crate::metrics::CameraMetrics;
use crate::presence::{camera_of_room, identity, own_room};
use crate::reason::{Failure, Reason};
use crate::session::{Target, Transport};
use crate::status::{CameraState, Status};
use crate::talk::Talks;
use crate::wall::{Wall, is_wall};
use parking_lot::Mutex;
use rongtong_media_core::device::Lender;
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::room::{LeaveReason, Room, RoomError, RoomHold, RoomOptions, Rooms, RoomsEvent};
use rongtong_platform::crypto::Keys;
use rongtong_platform::metrics::{Gauges, Metrics};
use rongtong_platform::storage::{Db, StorageError};
use rongtong_platform::store::cameras::{self, CameraRow, open_password, open_withheld};
use rongtong_platform::store::rooms::{camera_places, remove_camera};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The cameras. Share it by `Arc`.
pub struct Cameras {
    db: Db,
    rooms: Arc<Rooms>,
    keys: Arc<Keys>,
    config: CamerasConfig,
    openers: Openers,
    metrics: Arc<CameraMetrics>,
    by_state: Gauges,
    running: Mutex<HashMap<String, Running>>,
    walls: Mutex<HashMap<RoomName, Wall>>,
    talks: Talks,
    ended: watch::Sender<bool>,
    me: Weak<Self>,
}

struct Running {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    /// It is nobody's camera: see [`Lender`].
    lent: bool,
}

impl Cameras {
    /// `openers` are for addresses of other schemes than RTSP's.
    pub fn new(
        db: Db,
        rooms: Arc<Rooms>,
        keys: Arc<Keys>,
        metrics: &Metrics,
        config: CamerasConfig,
        openers: Openers,
    ) -> Arc<Self> {
        let cameras = Arc::new_cyclic(|me: &Weak<Self>| Self {
            db,
            rooms,
            keys,
            config,
            openers,
            metrics: Arc::new(CameraMetrics::new(metrics)),
            by_state: metrics.gauges("cameras", "Cameras by state"),
            running: Mutex::default(),
            walls: Mutex::default(),
            talks: Talks::default(),
            ended: watch::channel(false).0,
            me: me.clone(),
        });
        for (name, state, help) in [
            ("cameras_live", CameraState::Live, "Cameras that are pulled now"),
            ("cameras_failed", CameraState::Failed, "Cameras that can't be had"),
        ] {
            let me = cameras.me.clone();
            metrics.indicator(name, "", help, move || me.upgrade().map_or(0, |me| me.count(state)) as f64);
        }
        cameras
    }

    /// Starts the cameras of the database and follows the rooms until [`Self::shutdown`].
    pub async fn run(&self) -> Result<(), StorageError> {
        let mut ended = self.ended.subscribe();
        let mut rooms = self.rooms.observe();
        self.load().await?;
        self.enter_open_rooms().await;
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        while !*ended.borrow_and_update() {
            tokio::select! {
                _ = ended.changed() => {}
                _ = tick.tick() => {
                    self.count_states();
                    self.forget_walls();
                }
                event = rooms.recv() => match event {
                    Some(RoomsEvent::Opened(room)) => self.enter(room).await,
                    Some(RoomsEvent::Closed(name)) => self.left(&name),
                    // Too far behind: look anew.
                    None => {
                        rooms = self.rooms.observe();
                        self.enter_open_rooms().await;
                    }
                },
            }
        }
        Ok(())
    }

    /// Ends all sessions and leaves all rooms; takes at most 3 s.
    pub async fn shutdown(&self) {
        self.ended.send_replace(true);
        self.end_talks();
        let all: Vec<Running> = self.running.lock().drain().map(|(_, running)| running).collect();
        for running in &all {
            running.shared.change(|desired| desired.ended = true);
        }
        let finish = futures_util::future::join_all(all.into_iter().map(|running| running.task));
        if tokio::time::timeout(Duration::from_secs(3), finish).await.is_err() {
            tracing::warn!("some cameras did not end in time");
        }
    }

    /// `None` for a camera that does not exist.
    pub fn status(&self, id: &str) -> Option<Status> {
        self.running.lock().get(id).map(|running| running.shared.status())
    }

    /// Keeps a camera live and its own room open until the hold is dropped, as a recording does.
    pub fn hold(&self, id: &str) -> Result<Hold, HoldError> {
        let shared = self.shared(id).ok_or(HoldError::NoCamera)?;
        let recipe = shared.recipe();
        if !recipe.enabled {
            return Err(HoldError::Disabled);
        }
        let room = self.open_own_room(id, &recipe.name);
        let hold = room.hold()?;
        shared.change(|desired| desired.holds += 1);
        Ok(Hold { shared, room, _hold: hold })
    }

    /// Opens (or finds) the room in which the camera is alone.
    pub fn open_own_room(&self, id: &str, title: &str) -> Arc<Room> {
        self.rooms.open(&own_room(id), || RoomOptions { title: title.to_owned(), ..RoomOptions::default() })
    }

    pub(crate) fn walls(&self) -> &Mutex<HashMap<RoomName, Wall>> {
        &self.walls
    }

    pub(crate) fn talks(&self) -> &Talks {
        &self.talks
    }

    pub(crate) fn recipe_of(&self, id: &str) -> Option<Recipe> {
        self.shared(id).map(|shared| shared.recipe())
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    pub(crate) fn openers(&self) -> &Openers {
        &self.openers
    }

    pub(crate) fn config(&self) -> &CamerasConfig {
        &self.config
    }

    /// Starts a camera, or tells a running one how it is to be had now.
    pub(crate) async fn put(&self, row: &CameraRow) {
        let recipe = self.recipe(row);
        if let Some(shared) = self.shared(&row.id) {
            shared.change(|desired| desired.recipe = recipe);
            return;
        }
        self.begin(&row.id, recipe, false);
    }

    fn begin(&self, id: &str, recipe: Recipe, lent: bool) {
        let me = self.me.clone();
        let taken_out = Box::new(move |camera: &str, room: &RoomName| {
            let (me, camera, room) = (me.clone(), camera.to_owned(), room.clone());
            tokio::spawn(async move {
                let Some(me) = me.upgrade() else { return };
                if let Err(error) = remove_camera(&me.db, room.as_str(), &camera).await {
                    tracing::error!(%error, "a camera's place in a room could not be deleted");
                }
            });
        });
        let shared = Shared::new(id.to_owned(), recipe, taken_out);
        let task = tokio::spawn(camera::run(
            shared.clone(),
            self.rooms.clone(),
            self.config.clone(),
            self.metrics.clone(),
            self.openers.clone(),
        ));
        self.running.lock().insert(id.to_owned(), Running { shared, task, lent });
    }

    /// Ends a camera's task; it leaves its rooms.
    pub(crate) async fn remove(&self, id: &str) {
        let Some(running) = self.running.lock().remove(id) else { return };
        running.shared.change(|desired| desired.ended = true);
        if tokio::time::timeout(Duration::from_secs(3), running.task).await.is_err() {
            tracing::warn!(camera = id, "a removed camera did not end in time");
        }
        self.rooms.close(&own_room(id), LeaveReason::RoomClosed);
    }

    /// Brings a camera into a room if the room is open.
    pub(crate) fn enter_one(&self, id: &str, room: &RoomName) {
        if let (Some(shared), Some(room)) = (self.shared(id), self.rooms.find(room)) {
            shared.change(|desired| {
                desired.rooms.insert(room.name().clone(), room);
            });
        }
    }

    pub(crate) fn leave_one(&self, id: &str, room: &RoomName) {
        if let Some(shared) = self.shared(id) {
            shared.change(|desired| {
                desired.rooms.remove(room);
            });
        }
    }

    async fn load(&self) -> Result<(), StorageError> {
        let mut after: Option<(String, String)> = None;
        loop {
            let key = after.as_ref().map(|(name, id)| (name.as_str(), id.as_str()));
            let rows = cameras::list(&self.db, key, 500).await?;
            for row in &rows {
                self.put(row).await;
            }
            match rows.last() {
                Some(last) if rows.len() == 500 => after = Some((last.name.clone(), last.id.clone())),
                _ => return Ok(()),
            }
        }
    }

    async fn enter_open_rooms(&self) {
        for room in self.rooms.list() {
            self.enter(room).await;
        }
    }

    async fn enter(&self, room: Arc<Room>) {
        let name = room.name().clone();
        if let Some(id) = camera_of_room(&name) {
            self.enter_one(id, &name);
            return;
        }
        if is_wall(&name) {
            self.on_wall(&name).iter().for_each(|id| self.enter_one(id, &name));
            return;
        }
        match camera_places(&self.db).await {
            Ok(places) => {
                for (_, id) in places.iter().filter(|(place, _)| place == name.as_str()) {
                    self.enter_one(id, &name);
                }
            }
            Err(error) => tracing::error!(room = %name, %error, "the cameras of a room could not be read"),
        }
    }

    fn left(&self, name: &RoomName) {
        // The name may be in use again by now; then the cameras are to be in the new room.
        if self.rooms.find(name).is_none() {
            for running in self.running.lock().values() {
                running.shared.change(|desired| {
                    desired.rooms.remove(name);
                });
            }
        }
    }

    /// What a lent camera is called; `None` for all others.
    pub(crate) fn lent_name(&self, id: &str) -> Option<String> {
        let running = self.running.lock();
        running.get(id).filter(|running| running.lent).map(|running| running.shared.recipe().name)
    }

    fn shared(&self, id: &str) -> Option<Arc<Shared>> {
        self.running.lock().get(id).map(|running| running.shared.clone())
    }

    fn recipe(&self, row: &CameraRow) -> Recipe {
        let target = self.target(row).map_err(|error| Failure::new(Reason::Internal, error));
        Recipe { name: row.name.clone(), target, keep: row.keep, enabled: !row.disabled }
    }

    fn target(&self, row: &CameraRow) -> Result<Target, String> {
        let withheld = open_withheld(&self.keys, row).map_err(|error| error.to_string())?;
        let password = open_password(&self.keys, row).map_err(|error| error.to_string())?;
        let username = row.username.clone();
        Ok(Target {
            url: CameraUrl::stored(&row.url, &withheld).map_err(|error| error.to_string())?,
            credentials: (!username.is_empty())
                .then(|| Credentials { username, password: password.unwrap_or_default() }),
            transport: if row.transport == "udp" { Transport::Udp } else { Transport::Tcp },
        })
    }

    fn count(&self, state: CameraState) -> usize {
        self.running.lock().values().filter(|running| running.shared.status().state == state).count()
    }

    fn count_states(&self) {
        for state in CameraState::ALL {
            let labels = vec![("state", state.as_str().to_owned())];
            self.by_state.get_or_create(&labels).set(self.count(state) as i64);
        }
    }
}

impl Lender for Cameras {
    fn lend(&self, id: &str, name: &str, address: &str) {
        let target = match CameraUrl::parse(address) {
            Ok((url, _)) => Ok(Target { url, credentials: None, transport: Transport::Udp }),
            Err(error) => Err(Failure::new(Reason::Internal, error.to_string())),
        };
        self.begin(id, Recipe { name: name.to_owned(), target, keep: false, enabled: true }, true);
    }

    fn take_back(&self, id: &str) {
        let (me, id) = (self.me.clone(), id.to_owned());
        tokio::spawn(async move {
            if let Some(me) = me.upgrade() {
                me.remove(&id).await;
            }
        });
    }

    fn failure(&self, id: &str) -> Option<(&'static str, String)> {
        let failure = self.status(id)?.failure?;
        Some((failure.reason.code(), failure.detail))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    #[error("the camera is disabled")]
    Disabled,
    #[error("there is no such camera")]
    NoCamera,
    #[error("the camera's own room refused: {0}")]
    Room(#[from] RoomError),
}

/// Somebody's wish that a camera be live. Its tracks are those of [`Self::room`].
pub struct Hold {
    shared: Arc<Shared>,
    room: Arc<Room>,
    _hold: RoomHold,
}

impl Hold {
    /// The camera's own room.
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Who the camera is in that room.
    pub fn camera(&self) -> rongtong_media_core::ids::Identity {
        identity(&self.shared.id)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.change(|desired| desired.holds = desired.holds.saturating_sub(1));
    }
}
