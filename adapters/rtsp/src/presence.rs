//! A camera in one room: its membership and the tracks it publishes there.
//!
//! Everything the adapter wants of rooms goes through here. Dropping it leaves the room.

use crate::plan::goes_on;
use rongtong_media_core::ids::{Identity, ParticipantSid, RoomName};
use rongtong_media_core::room::{
    Join, LeaveReason, ParticipantChange, ParticipantKind, Permission, Publication, Room, RoomError, RoomEvent,
    StreamSource, TrackSpec,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::mpsc;

/// Index of a camera's stream: at most one video, one audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Video,
    Audio,
}

/// The room in which a camera is previewed and recorded alone.
pub fn own_room(camera: &str) -> RoomName {
    RoomName::new(format!("cam-{camera}"))
}

/// The camera whose own room this would be.
pub fn camera_of_room(room: &RoomName) -> Option<&str> {
    room.as_str().strip_prefix("cam-")
}

/// Who a camera is in its rooms.
pub fn identity(camera: &str) -> Identity {
    Identity::new(format!("camera:{camera}"))
}

pub struct Presence {
    room: Arc<Room>,
    sid: ParticipantSid,
    identity: Identity,
    events: mpsc::Receiver<RoomEvent>,
    tracks: [Option<Publication>; 2],
    own: bool,
    /// Somebody else is in the room, or a part of the server holds it.
    watched: bool,
}

/// What a presence has heard of its room.
pub enum Heard {
    /// The host took the camera out of the room.
    TakenOut(Arc<Room>),
    /// The room ended, or the camera's place in it was taken.
    Ended(Arc<Room>),
    Nothing,
}

impl Presence {
    pub fn join(
        room: Arc<Room>,
        camera: &str,
        name: &str,
        attributes: BTreeMap<String, String>,
    ) -> Result<Self, RoomError> {
        let identity = identity(camera);
        let membership = room.join(Join {
            identity: identity.as_str().to_owned(),
            name: name.to_owned(),
            kind: ParticipantKind::Camera,
            permission: Permission { can_subscribe: false, ..Permission::full() },
            metadata: String::new(),
            attributes,
        })?;
        let own = *room.name() == own_room(camera);
        let mut presence = Self {
            sid: membership.info.sid.clone(),
            events: membership.events,
            room,
            identity,
            tracks: [None, None],
            own,
            watched: false,
        };
        presence.look_around();
        Ok(presence)
    }

    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Whether the camera must be pulled for this room: always, but for its own
    /// room only while somebody else is there.
    pub fn wants_media(&self) -> bool {
        !self.own || self.watched
    }

    /// Whether it is a meeting, in which the camera's tracks are there to be wanted.
    pub fn is_meeting(&self) -> bool {
        !self.own
    }

    /// Publishes a stream. A track whose codec is the same stays, with its sid, and the room is told what is
    /// new of it.
    pub fn publish(&mut self, slot: Slot, source: &StreamSource, spec: TrackSpec) {
        if let Some(published) = self.track(slot).as_ref() {
            let sid = published.info().sid.clone();
            let known = self.room.track(&sid);
            if known.is_some_and(|known| goes_on((&known.spec.codec, &known.spec.notice), (&spec.codec, &spec.notice)))
            {
                let change = |known: &mut TrackSpec| *known = TrackSpec { muted: known.muted, ..spec };
                if let Err(error) = self.room.change_track(&sid, change) {
                    tracing::debug!(room = %self.room.name(), %error, "a camera's new picture could not be told to its room");
                }
                return;
            }
        }
        *self.track(slot) = None;
        match self.room.publish_source(&self.sid, spec, source) {
            Ok(published) => *self.track(slot) = Some(published),
            Err(error) => tracing::warn!(room = %self.room.name(), %error, "a camera could not publish"),
        }
    }

    pub fn unpublish(&mut self) {
        self.tracks = [None, None];
    }

    /// Ends the track of one stream.
    pub fn unpublish_one(&mut self, slot: Slot) {
        *self.track(slot) = None;
    }

    pub fn describe(&self, name: Option<&str>, attributes: BTreeMap<String, String>) {
        let change =
            ParticipantChange { name: name.map(str::to_owned), attributes: Some(attributes), ..Default::default() };
        if let Err(error) = self.room.update_participant(&self.sid, change) {
            tracing::debug!(room = %self.room.name(), %error, "a camera's state could not be told to its room");
        }
    }

    /// Takes in what was said in the room.
    pub fn hear(&mut self, event: Option<RoomEvent>) -> Heard {
        match event {
            Some(RoomEvent::Removed(LeaveReason::Removed)) => Heard::TakenOut(self.room.clone()),
            None | Some(RoomEvent::Removed(_) | RoomEvent::Closed(_)) => Heard::Ended(self.room.clone()),
            Some(RoomEvent::MuteRequested { track, muted: false }) => {
                // A mute holds already; taking it back is the publisher's part.
                let _ = self.room.set_muted(&track, false);
                Heard::Nothing
            }
            Some(RoomEvent::ParticipantJoined(_) | RoomEvent::ParticipantLeft(..) | RoomEvent::RoomUpdated(_)) => {
                self.look_around();
                Heard::Nothing
            }
            Some(_) => Heard::Nothing,
        }
    }

    fn look_around(&mut self) {
        // Only the camera's own room is pulled by demand, so only there it matters.
        self.watched = self.own
            && (self.room.is_held() || self.room.participants().iter().any(|info| info.identity != self.identity));
    }

    fn track(&mut self, slot: Slot) -> &mut Option<Publication> {
        let [video, audio] = &mut self.tracks;
        match slot {
            Slot::Video => video,
            Slot::Audio => audio,
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.unpublish();
        self.room.leave(&self.sid, LeaveReason::ClientInitiated);
    }
}

/// The next thing said in any of the rooms: index of the presence, and the event.
pub async fn next_event(presences: &mut [Presence]) -> (usize, Option<RoomEvent>) {
    std::future::poll_fn(|context| {
        for (index, presence) in presences.iter_mut().enumerate() {
            if let Poll::Ready(event) = presence.events.poll_recv(context) {
                return Poll::Ready((index, event));
            }
        }
        Poll::Pending
    })
    .await
}
