//! Rooms of video walls: one for each wall that somebody looks at, with the cameras that are on it.
//!
//! A browser has one connection for a wall however many panes it has, and a camera is pulled once however many walls
//! it is on, and only while a pane shows it.

use crate::presence::camera_of_room;
use crate::service::Cameras;
use crate::talk::is_talk;
use rongtong_media_core::ids::RoomName;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Cameras on one wall, those that are to come next among them.
pub const MAX_ON_WALL: usize = 200;
/// Walls that are looked at.
pub const MAX_WALLS: usize = 256;
/// Of one person.
const MAX_OF_ONE: usize = 64;
const PREFIX: &str = "wall-";
/// Whoever asked for a wall comes within so long.
const JOINED_WITHIN: Duration = Duration::from_secs(60);

/// Whether the room is a wall's.
pub fn is_wall(room: &RoomName) -> bool {
    room.as_str().starts_with(PREFIX)
}

/// Whether the room belongs to the cameras: a camera's own, a wall's, or a talk's.
pub fn is_of_cameras(room: &RoomName) -> bool {
    is_wall(room) || is_talk(room) || camera_of_room(room).is_some()
}

/// A wall that is looked at.
pub struct Wall {
    /// Who looks at it.
    person: String,
    cameras: BTreeSet<String>,
    made: Instant,
}

impl Cameras {
    /// Makes a room for a wall with these cameras; `None` when there are [`MAX_WALLS`], or too many of that person.
    pub(crate) fn make_wall(&self, person: &str, cameras: BTreeSet<String>) -> Option<RoomName> {
        let mut walls = self.walls().lock();
        let own = walls.values().filter(|wall| wall.person == person).count();
        if walls.len() >= MAX_WALLS || own >= MAX_OF_ONE {
            return None;
        }
        let cameras = self.without_lent(cameras);
        let room = RoomName::new(format!("{PREFIX}{:024x}", rand::random::<u128>() >> 32));
        walls.insert(room.clone(), Wall { person: person.to_owned(), cameras, made: Instant::now() });
        Some(room)
    }

    /// Puts other cameras on a wall; false when that person looks at no such wall.
    pub(crate) fn change_wall(&self, room: &RoomName, person: &str, cameras: BTreeSet<String>) -> bool {
        // Until all is done, so that of two changes the later one holds.
        let mut walls = self.walls().lock();
        let Some(wall) = walls.get_mut(room).filter(|wall| wall.person == person) else { return false };
        let cameras = self.without_lent(cameras);
        let before = std::mem::replace(&mut wall.cameras, cameras.clone());
        for gone in before.difference(&cameras) {
            self.leave_one(gone, room);
        }
        for new in cameras.difference(&before) {
            self.enter_one(new, room);
        }
        true
    }

    /// What a device has recorded is for those who see recordings, and on no wall.
    fn without_lent(&self, cameras: BTreeSet<String>) -> BTreeSet<String> {
        cameras.into_iter().filter(|id| self.lent_name(id).is_none()).collect()
    }

    /// The cameras of a wall whose room has opened.
    pub(crate) fn on_wall(&self, room: &RoomName) -> Vec<String> {
        self.walls().lock().get(room).map(|wall| wall.cameras.iter().cloned().collect()).unwrap_or_default()
    }

    /// Forgets walls that nobody looks at any more.
    pub(crate) fn forget_walls(&self) {
        let stays =
            |room: &RoomName, wall: &Wall| wall.made.elapsed() < JOINED_WITHIN || self.rooms().find(room).is_some();
        self.walls().lock().retain(|room, wall| stays(room, wall));
    }
}
