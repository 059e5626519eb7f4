//! What should be with a camera: written by the service, read by the camera's task.
//!
//! A state and a wake-up instead of a queue of commands: nothing can pile up, and
//! doing a thing twice is doing it once.

use crate::front::Habits;
use crate::reason::Failure;
use crate::session::Target;
use crate::status::Status;
use parking_lot::Mutex;
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::room::Room;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// How a camera is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub name: String,
    /// An address that does not parse any more, or a password that does not open, is a failure to tell.
    pub target: Result<Target, Failure>,
    pub keep: bool,
    pub enabled: bool,
}

/// What should be.
pub struct Desired {
    pub recipe: Recipe,
    pub rooms: BTreeMap<RoomName, Arc<Room>>,
    /// Those in this process who want it live whoever watches.
    pub holds: usize,
    pub ended: bool,
}

/// Called with the camera's id when a host removes it from a room.
pub type TakenOut = Box<dyn Fn(&str, &RoomName) + Send + Sync>;

/// Between the service and the camera's task.
pub struct Shared {
    pub id: String,
    pub(crate) desired: Mutex<Desired>,
    pub(crate) changed: Notify,
    pub(crate) status: Mutex<Status>,
    pub(crate) taken_out: TakenOut,
    pub(crate) habits: Habits,
}

impl Shared {
    pub fn new(id: String, recipe: Recipe, taken_out: TakenOut) -> Arc<Self> {
        let desired = Desired { recipe, rooms: BTreeMap::new(), holds: 0, ended: false };
        Arc::new(Self {
            id,
            desired: Mutex::new(desired),
            changed: Notify::new(),
            status: Mutex::default(),
            taken_out,
            habits: Habits::default(),
        })
    }

    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    pub fn recipe(&self) -> Recipe {
        self.desired.lock().recipe.clone()
    }

    /// Changes what should be and wakes the camera's task.
    pub fn change(&self, change: impl FnOnce(&mut Desired)) {
        change(&mut self.desired.lock());
        self.changed.notify_one();
    }

    /// Takes this room, and not a later one of the same name, from the list.
    pub fn forget(&self, room: &Arc<Room>) {
        let mut desired = self.desired.lock();
        if desired.rooms.get(room.name()).is_some_and(|known| Arc::ptr_eq(known, room)) {
            desired.rooms.remove(room.name());
        }
    }
}
