//! All that is said in a room.

use super::{Frame, Input, Limiter, Mixer};
use crate::ids::{Identity, TrackSid};
use crate::media::Kind;
use crate::room::{Holder, Room, RoomEvent, Tap, TrackInfo};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Packets that wait of one track; two seconds of it.
const CAPACITY: usize = 128;
/// Tracks that are listened to. Of more, those that came first.
const MAX_TRACKS: usize = 64;

struct Source {
    key: Key,
    tap: Tap,
}

type Key = (TrackSid, Identity);

/// Mixes a room's sound, for as many listeners as there are.
pub struct RoomMix {
    room: Arc<Room>,
    who: &'static str,
    events: mpsc::Receiver<RoomEvent>,
    sources: Vec<Source>,
    mixer: Mixer<Key>,
    clock: Interval,
}

impl RoomMix {
    /// For a part of the server.
    pub fn new(room: &Arc<Room>, who: &'static str) -> Self {
        let mut clock = interval(Duration::from_millis(20));
        // What was missed by a moment is made up for; what listens would run dry.
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let events = room.observe();
        let mut mix = Self { room: room.clone(), who, events, sources: Vec::new(), mixer: Mixer::default(), clock };
        room.tracks().iter().for_each(|track| mix.listen(track));
        mix
    }

    /// Waits for the next 20 ms. False when the room is closed.
    pub async fn step(&mut self) -> bool {
        self.clock.tick().await;
        if !self.hear_of() {
            return false;
        }
        for source in &mut self.sources {
            while let Some(item) = source.tap.reader.try_next() {
                self.mixer.push(&source.key, item);
            }
        }
        self.mixer.step();
        true
    }

    /// What a listener hears who is in the room by that name, or is not; false where it is silence.
    pub fn without(&self, listener: Option<&Identity>, limiter: &mut Limiter, out: &mut Frame) -> bool {
        self.mixer.without(|(_, identity)| Some(identity) == listener, limiter, out)
    }

    fn hear_of(&mut self) -> bool {
        loop {
            match self.events.try_recv() {
                Ok(RoomEvent::TrackPublished(track)) => self.listen(&track),
                Ok(RoomEvent::TrackUnpublished(track)) => self.forget(&track.sid),
                Ok(RoomEvent::Closed(_)) => return false,
                Ok(_) => {}
                Err(mpsc::error::TryRecvError::Empty) => return true,
                // It was behind: what is there now is all it needs to know.
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.events = self.room.observe();
                    let tracks = self.room.tracks();
                    let gone = |source: &Source| !tracks.iter().any(|track| track.sid == source.key.0);
                    for sid in self
                        .sources
                        .iter()
                        .filter(|source| gone(source))
                        .map(|source| source.key.0.clone())
                        .collect::<Vec<_>>()
                    {
                        self.forget(&sid);
                    }
                    tracks.iter().for_each(|track| self.listen(track));
                    return !self.room.is_closed();
                }
            }
        }
    }

    fn listen(&mut self, track: &TrackInfo) {
        let known = self.sources.iter().any(|source| source.key.0 == track.sid);
        if track.spec.codec.codec.kind() != Kind::Audio || known || self.sources.len() >= MAX_TRACKS {
            return;
        }
        let input = Input::new(&track.spec.codec);
        if !input.is_heard() {
            return;
        }
        let Ok(tap) = self.room.tap(&Holder::Service(self.who), &track.sid, CAPACITY) else { return };
        let key = (track.sid.clone(), track.identity.clone());
        self.mixer.add(key.clone(), input);
        self.sources.push(Source { key, tap });
    }

    fn forget(&mut self, sid: &TrackSid) {
        if let Some(at) = self.sources.iter().position(|source| source.key.0 == *sid) {
            let source = self.sources.swap_remove(at);
            self.mixer.remove(&source.key);
        }
    }
}
