//! All rooms of this server, and the shards they live on.

use super::{Keyframes, LeaveReason, Room, RoomOptions, StreamSource};
use crate::clock::DeviceClock;
use crate::ids::RoomName;
use crate::media::{CodecParams, Source};
use crate::shard::{ShardConfig, ShardHandle, ShardStats};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc;

/// Rooms open and close.
#[derive(Clone)]
pub enum RoomsEvent {
    Closed(RoomName),
    Opened(Arc<Room>),
}

/// The server's rooms.
pub struct Rooms {
    shards: Vec<ShardHandle>,
    rooms: Mutex<HashMap<RoomName, Arc<Room>>>,
    observers: Mutex<Vec<mpsc::Sender<RoomsEvent>>>,
    runtime: tokio::runtime::Handle,
}

impl Rooms {
    /// Must be called within a tokio runtime: each room has a small task there, and each shard one that
    /// wakes the readers of taps.
    pub fn new(shards: Vec<ShardHandle>) -> Arc<Self> {
        for shard in &shards {
            tokio::spawn(shard.bell().clone().serve());
        }
        Arc::new(Self {
            shards,
            rooms: Mutex::new(HashMap::new()),
            observers: Mutex::new(Vec::new()),
            runtime: tokio::runtime::Handle::current(),
        })
    }

    /// One shard on free loopback ports, for tests.
    ///
    /// # Errors
    /// When a socket can't be bound.
    pub fn for_tests() -> std::io::Result<Arc<Self>> {
        let shard = ShardHandle::start(ShardConfig {
            name: "shard-test".into(),
            udp_port: 0,
            tcp_port: Some(0),
            advertise: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            gop_cache_bytes: 16 << 20,
            gop_cache_duration: Duration::from_secs(10),
            core: None,
            on_thread: None,
        })?;
        Ok(Self::new(vec![shard]))
    }

    /// A stream that is fed once for all rooms it will be in. All streams of a device share its `device` clock.
    pub fn source(
        &self,
        source: Source,
        codec: CodecParams,
        layers: usize,
        keyframes: Keyframes,
        device: Arc<DeviceClock>,
    ) -> StreamSource {
        let (home, shard) = self.quietest(&self.rooms.lock());
        StreamSource::new(shard, home, (source, codec, layers), keyframes, device)
    }

    /// The least populated shard.
    fn quietest(&self, rooms: &HashMap<RoomName, Arc<Room>>) -> (usize, ShardHandle) {
        let shard = self.shards.iter().enumerate().min_by_key(|(index, shard)| {
            (!shard.is_alive(), rooms.values().filter(|room| room.shard_index() == *index).count())
        });
        match shard {
            Some((index, shard)) => (index, shard.clone()),
            None => unreachable!("a server has at least one shard, see ShardConfig"),
        }
    }

    /// The room of this name, opened with `options` when it is not there.
    pub fn open(self: &Arc<Self>, name: &RoomName, options: impl FnOnce() -> RoomOptions) -> Arc<Room> {
        let room = {
            let mut rooms = self.rooms.lock();
            if let Some(room) = rooms.get(name) {
                return room.clone();
            }
            // A room stays where it is put.
            let (index, shard) = self.quietest(&rooms);
            let room = Room::start(name.clone(), options(), index, shard, Arc::downgrade(self), &self.runtime);
            rooms.insert(name.clone(), room.clone());
            room
        };
        self.tell(&RoomsEvent::Opened(room.clone()));
        room
    }

    pub fn find(&self, name: &RoomName) -> Option<Arc<Room>> {
        self.rooms.lock().get(name).cloned()
    }

    pub fn list(&self) -> Vec<Arc<Room>> {
        let mut rooms: Vec<_> = self.rooms.lock().values().cloned().collect();
        rooms.sort_by(|a, b| a.name().cmp(b.name()));
        rooms
    }

    /// Ends a room: everybody is out, the name is free again.
    pub fn close(&self, name: &RoomName, reason: LeaveReason) {
        let Some(room) = self.rooms.lock().remove(name) else { return };
        room.end(reason);
        self.tell(&RoomsEvent::Closed(name.clone()));
    }

    /// Ends a room in which nobody has been for long enough; nobody comes in meanwhile.
    pub(super) fn close_if_due(&self, room: &Arc<Room>) -> bool {
        {
            let mut rooms = self.rooms.lock();
            if !room.end_if_due() {
                return false;
            }
            // The name may be another room's by now.
            if rooms.get(room.name()).is_some_and(|known| Arc::ptr_eq(known, room)) {
                rooms.remove(room.name());
            }
        }
        self.tell(&RoomsEvent::Closed(room.name().clone()));
        true
    }

    /// Ends this very room, also when its name is another's by now.
    pub(super) fn close_this(&self, room: &Arc<Room>, reason: LeaveReason) {
        {
            let mut rooms = self.rooms.lock();
            if rooms.get(room.name()).is_some_and(|known| Arc::ptr_eq(known, room)) {
                rooms.remove(room.name());
            }
        }
        if room.end(reason) {
            self.tell(&RoomsEvent::Closed(room.name().clone()));
        }
    }

    /// Rooms opening and closing from now on. An observer that falls 256 behind is dropped.
    pub fn observe(&self) -> mpsc::Receiver<RoomsEvent> {
        let (sender, receiver) = mpsc::channel(256);
        self.observers.lock().push(sender);
        receiver
    }

    /// Ends all rooms, for a server going down.
    pub fn close_all(&self, reason: LeaveReason) {
        for room in self.list() {
            self.close(room.name(), reason);
        }
    }

    /// Whether all media threads run. One that ended by a fault does not come back: the server is to
    /// be started anew.
    pub fn shards_alive(&self) -> bool {
        self.shards.iter().all(ShardHandle::is_alive)
    }

    pub fn stop_shards(&self) {
        self.shards.iter().for_each(ShardHandle::stop);
    }

    pub async fn shard_stats(&self) -> Vec<ShardStats> {
        let mut all = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            all.push(shard.stats().await);
        }
        all
    }

    fn tell(&self, event: &RoomsEvent) {
        self.observers.lock().retain(|observer| observer.try_send(event.clone()).is_ok());
    }
}

pub(crate) type WeakRooms = Weak<Rooms>;
