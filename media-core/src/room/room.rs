//! One room: who is in it, what they publish, and telling everybody about it.

use super::inbox::{DataReceiver, Inbox, inbox};
use super::registry::WeakRooms;
use super::subscription::{Audience, Held, Subscription};
use super::tell::Line;
use super::{
    CodecPolicy, DataMessage, Join, Layout, LeaveReason, ParticipantInfo, ParticipantState, Permission, RoomEvent,
    RoomInfo, RoomOptions, TrackInfo,
};
use crate::clock::DeviceClock;
use crate::ids::{Identity, ParticipantSid, RoomName, RoomSid, TrackSid};
use crate::leg::{self, LegInfo};
use crate::shard::{Command, RoomKey, ShardEvent, ShardHandle, TrackKey};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Events a participant may be behind before it is thrown out.
const EVENT_QUEUE: usize = 2048;
const MAX_NAME: usize = 256;
const MAX_METADATA: usize = 64 * 1024;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RoomError {
    #[error("the room is closed")]
    Closed,
    #[error("the room is full: it takes {0} participants")]
    Full(u32),
    #[error("the identity must have 1 to 256 characters")]
    Identity,
    #[error("the participant is not in the room")]
    NoParticipant,
    #[error("there is no such track in the room")]
    NoTrack,
    #[error("the participant may not do that: {0}")]
    NotAllowed(&'static str),
    #[error("the publisher does not let this participant receive the track")]
    NotInAudience,
    #[error("a participant does not receive its own tracks")]
    OwnTrack,
    #[error("too large: {0}")]
    TooLarge(&'static str),
}

/// A participant's hold on its room.
pub struct Membership {
    pub info: Arc<ParticipantInfo>,
    pub events: mpsc::Receiver<RoomEvent>,
}

/// A change to a participant; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ParticipantChange {
    pub name: Option<String>,
    pub metadata: Option<String>,
    /// Merged; an empty value deletes its key.
    pub attributes: Option<BTreeMap<String, String>>,
    pub permission: Option<Permission>,
    pub state: Option<ParticipantState>,
}

pub(super) struct Member {
    pub info: Arc<ParticipantInfo>,
    pub events: mpsc::Sender<RoomEvent>,
    /// For who receives data messages.
    pub inbox: Option<Inbox>,
    pub tracks: Vec<Published>,
    pub clock: Arc<DeviceClock>,
    /// Whom it lets receive its tracks.
    pub audience: Audience,
    /// What it receives.
    pub held: Vec<Held>,
    /// What it asked for and may not have.
    pub refused: Vec<TrackSid>,
    pub line: Line,
}

/// A track as its room keeps it.
pub(super) struct Published {
    pub info: Arc<TrackInfo>,
    pub key: TrackKey,
    /// Somebody has subscribed to it, and its publisher knows.
    pub was_subscribed: bool,
}

pub(super) struct State {
    pub title: String,
    pub metadata: String,
    pub policy: CodecPolicy,
    pub max_participants: u32,
    pub empty_timeout: u32,
    pub recording: bool,
    pub layout: Layout,
    pub members: Vec<Member>,
    /// What parts of the server receive.
    pub services: Vec<Held>,
    pub legs: Vec<Arc<leg::Shared>>,
    pub observers: Vec<mpsc::Sender<RoomEvent>>,
    pub speaking: Vec<ParticipantSid>,
    pub empty_since: Option<Instant>,
    /// Parts of the server for which it stays open.
    pub holds: usize,
    pub closed: bool,
    /// Members whose queue was full, still to be thrown out.
    pub overrun: Vec<ParticipantSid>,
    /// They are being thrown out just now.
    pub settling: bool,
}

pub struct Room {
    sid: RoomSid,
    name: RoomName,
    created_at: SystemTime,
    key: RoomKey,
    shard_index: usize,
    pub(super) shard: ShardHandle,
    rooms: WeakRooms,
    pub(super) state: Mutex<State>,
}

impl Room {
    pub(super) fn start(
        name: RoomName,
        options: RoomOptions,
        shard_index: usize,
        shard: ShardHandle,
        rooms: WeakRooms,
        runtime: &tokio::runtime::Handle,
    ) -> Arc<Self> {
        let room = Arc::new(Self {
            sid: RoomSid::random(),
            name,
            created_at: SystemTime::now(),
            key: RoomKey::next(),
            shard_index,
            shard,
            rooms,
            state: Mutex::new(State {
                title: options.title,
                metadata: options.metadata,
                policy: options.codec_policy,
                max_participants: options.max_participants,
                empty_timeout: options.empty_timeout,
                recording: false,
                layout: Layout::default(),
                members: Vec::new(),
                services: Vec::new(),
                legs: Vec::new(),
                observers: Vec::new(),
                speaking: Vec::new(),
                empty_since: Some(Instant::now()),
                holds: 0,
                closed: false,
                overrun: Vec::new(),
                settling: false,
            }),
        });
        let (sender, receiver) = mpsc::unbounded_channel();
        room.shard.send(Command::AddRoom { room: room.key, events: sender });
        runtime.spawn(watch(Arc::downgrade(&room), receiver));
        room
    }

    pub fn name(&self) -> &RoomName {
        &self.name
    }

    pub fn sid(&self) -> &RoomSid {
        &self.sid
    }

    pub fn codec_policy(&self) -> CodecPolicy {
        self.state.lock().policy
    }

    pub fn info(&self) -> Arc<RoomInfo> {
        Arc::new(self.describe(&self.state.lock()))
    }

    /// In the order they joined, hidden ones included.
    pub fn participants(&self) -> Vec<Arc<ParticipantInfo>> {
        self.state.lock().members.iter().map(|member| member.info.clone()).collect()
    }

    pub fn participant(&self, identity: &Identity) -> Option<Arc<ParticipantInfo>> {
        self.state
            .lock()
            .members
            .iter()
            .find(|member| member.info.identity == *identity)
            .map(|member| member.info.clone())
    }

    pub fn participant_by_sid(&self, sid: &ParticipantSid) -> Option<Arc<ParticipantInfo>> {
        self.state.lock().members.iter().find(|member| member.info.sid == *sid).map(|member| member.info.clone())
    }

    pub fn tracks(&self) -> Vec<Arc<TrackInfo>> {
        let state = self.state.lock();
        state.members.iter().flat_map(|member| member.tracks.iter().map(|track| track.info.clone())).collect()
    }

    pub fn track(&self, sid: &TrackSid) -> Option<Arc<TrackInfo>> {
        self.state.lock().find_track(sid).map(|(info, _)| info)
    }

    /// Comes in. A participant of the same identity that is there already is thrown out.
    pub fn join(self: &Arc<Self>, join: Join) -> Result<Membership, RoomError> {
        if join.identity.is_empty() || join.identity.chars().count() > MAX_NAME || join.name.chars().count() > MAX_NAME
        {
            return Err(RoomError::Identity);
        }
        check_metadata(Some(&join.metadata), Some(&join.attributes))?;
        let identity = Identity::new(&join.identity);
        let mut state = self.state.lock();
        if state.closed {
            return Err(RoomError::Closed);
        }
        let twin = state.members.iter().find(|member| member.info.identity == identity);
        if let Some(twin) = twin.map(|twin| twin.info.sid.clone()) {
            self.take_out(&mut state, &twin, LeaveReason::DuplicateIdentity);
        }
        let limit = state.max_participants;
        if limit > 0 && state.members.iter().filter(|member| !member.info.permission.hidden).count() >= limit as usize {
            return Err(RoomError::Full(limit));
        }
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let info = Arc::new(ParticipantInfo {
            sid: ParticipantSid::random(),
            identity,
            name: join.name,
            kind: join.kind,
            state: ParticipantState::Joined,
            permission: join.permission,
            metadata: join.metadata,
            attributes: join.attributes,
            joined_at: SystemTime::now(),
            version: 1,
            tracks: Vec::new(),
        });
        state.members.push(Member {
            info: info.clone(),
            events: sender,
            inbox: None,
            tracks: Vec::new(),
            clock: Arc::default(),
            audience: Audience::default(),
            held: Vec::new(),
            refused: Vec::new(),
            line: Line::default(),
        });
        if info.kind.keeps_room_open() {
            state.empty_since = None;
        }
        let event = RoomEvent::ParticipantJoined(info.clone());
        self.tell_others(&mut state, &info, &event);
        self.tell_room(&mut state);
        self.tell_qualities(&mut state, &info.sid);
        Ok(Membership { info, events })
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub fn leave(&self, sid: &ParticipantSid, reason: LeaveReason) {
        let mut state = self.state.lock();
        self.take_out(&mut state, sid, reason);
    }

    /// Everything that happens, hidden participants included, from now on.
    /// An observer that falls behind by the queue's length is dropped.
    pub fn observe(&self) -> mpsc::Receiver<RoomEvent> {
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        self.state.lock().observers.push(sender);
        receiver
    }

    pub fn update_participant(&self, sid: &ParticipantSid, change: ParticipantChange) -> Result<(), RoomError> {
        check_metadata(change.metadata.as_deref(), change.attributes.as_ref())?;
        let mut state = self.state.lock();
        let member = state.member_mut(sid)?;
        let mut info = (*member.info).clone();
        if let Some(name) = change.name {
            if name.chars().count() > MAX_NAME {
                return Err(RoomError::TooLarge("the name"));
            }
            info.name = name;
        }
        if let Some(metadata) = change.metadata {
            info.metadata = metadata;
        }
        for (key, value) in change.attributes.into_iter().flatten() {
            if value.is_empty() {
                info.attributes.remove(&key);
            } else {
                info.attributes.insert(key, value);
            }
        }
        if let Some(state) = change.state {
            info.state = state;
        }
        let permission = change.permission.filter(|permission| *permission != info.permission);
        if let Some(permission) = &permission {
            info.permission = permission.clone();
        }
        info.version += 1;
        let info = Arc::new(info);
        member.info = info.clone();
        if let Some(permission) = permission {
            let forbidden = |track: &&Published| !permission.allows_source(track.info.spec.source);
            let forbidden: Vec<TrackSid> =
                member.tracks.iter().filter(forbidden).map(|track| track.info.sid.clone()).collect();
            self.tell_one(&mut state, sid, RoomEvent::PermissionChanged(permission));
            for track in forbidden {
                self.take_track(&mut state, &track);
            }
            self.review(&mut state);
        }
        let event = RoomEvent::ParticipantUpdated(info.clone());
        self.tell_all(&mut state, &info, &event);
        Ok(())
    }

    /// Throws a participant out.
    pub fn remove(&self, identity: &Identity) -> Result<(), RoomError> {
        let sid = self.participant(identity).ok_or(RoomError::NoParticipant)?.sid.clone();
        self.leave(&sid, LeaveReason::Removed);
        Ok(())
    }

    /// Messages for a participant, from now on; nobody else gets them then. One that is out by now, as when
    /// its identity has joined again, gets none, and hears why it is out from its events.
    pub fn receive_data(&self, sid: &ParticipantSid) -> DataReceiver {
        let (inbox, receiver) = inbox();
        if let Ok(member) = self.state.lock().member_mut(sid) {
            member.inbox = Some(inbox);
        }
        receiver
    }

    /// Delivers to those it names, or to everybody but the sender. Returns how many were too far
    /// behind to get it.
    pub fn send_data(&self, message: &DataMessage) -> usize {
        let state = self.state.lock();
        let from = message.from.as_ref().map(|(sid, _)| sid);
        let addressed = |member: &&Member| {
            Some(&member.info.sid) != from && (message.to.is_empty() || message.to.contains(&member.info.identity))
        };
        let inboxes = state.members.iter().filter(addressed).filter_map(|member| member.inbox.as_ref());
        inboxes.filter(|inbox| !inbox.push(message)).count()
    }

    /// Keeps the room open for a part of the server that is nobody in it (a recording, a snapshot), until the
    /// hold is dropped or the room is closed.
    ///
    /// # Errors
    /// When the room is closed.
    pub fn hold(self: &Arc<Self>) -> Result<RoomHold, RoomError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(RoomError::Closed);
        }
        state.holds += 1;
        state.empty_since = None;
        self.tell_room(&mut state);
        Ok(RoomHold(self.clone()))
    }

    /// Whether a part of the server holds it.
    pub fn is_held(&self) -> bool {
        self.state.lock().holds > 0
    }

    /// Its legs, in the order in which they came.
    pub fn legs(&self) -> Vec<LegInfo> {
        self.state.lock().legs.iter().map(|leg| leg.info()).collect()
    }

    pub(crate) fn add_leg(&self, leg: &Arc<leg::Shared>) {
        self.state.lock().legs.push(leg.clone());
        self.tell_leg(leg);
    }

    pub(crate) fn remove_leg(&self, leg: &Arc<leg::Shared>) {
        self.state.lock().legs.retain(|known| !Arc::ptr_eq(known, leg));
        self.tell_leg(leg);
    }

    pub(crate) fn tell_leg(&self, leg: &leg::Shared) {
        let event = RoomEvent::Leg(Arc::new(leg.info()));
        self.tell_if(&mut self.state.lock(), &event, |_| false);
    }

    pub fn set_recording(&self, on: bool) {
        self.change(|state| state.recording = on);
    }

    pub fn set_layout(&self, layout: Layout) {
        self.change(|state| state.layout = layout);
    }

    pub fn set_metadata(&self, text: String) {
        self.change(|state| state.metadata = text);
    }

    pub fn set_title(&self, title: String) {
        self.change(|state| state.title = title);
    }

    #[cfg(test)]
    pub(crate) fn key_of(&self, track: &TrackSid) -> Option<TrackKey> {
        self.state.lock().find_track(track).map(|(_, key)| key)
    }

    // What a WebRTC peer needs beside the public verbs.

    pub(crate) fn shard(&self) -> &ShardHandle {
        &self.shard
    }

    pub(crate) fn key(&self) -> RoomKey {
        self.key
    }

    pub(super) fn shard_index(&self) -> usize {
        self.shard_index
    }

    /// Says whether it was open until now.
    pub(super) fn end(&self, reason: LeaveReason) -> bool {
        let mut state = self.state.lock();
        let open = !state.closed;
        self.end_locked(&mut state, reason);
        open
    }

    /// Ends the room if nobody has been there for long enough; says whether it did.
    pub(super) fn end_if_due(&self) -> bool {
        let mut state = self.state.lock();
        let timeout = Duration::from_secs(u64::from(state.empty_timeout));
        let due = !state.closed && state.empty_since.is_some_and(|since| since.elapsed() >= timeout);
        if due {
            self.end_locked(&mut state, LeaveReason::RoomClosed);
        }
        due
    }

    fn end_locked(&self, state: &mut State, reason: LeaveReason) {
        if state.closed {
            return;
        }
        let sids: Vec<ParticipantSid> = state.members.iter().map(|member| member.info.sid.clone()).collect();
        for sid in sids {
            self.take_out(state, &sid, reason);
        }
        state.closed = true;
        let event = RoomEvent::Closed(reason);
        state.observers.retain(|observer| observer.try_send(event.clone()).is_ok());
        state.observers.clear();
        self.shard.send(Command::RemoveRoom { room: self.key });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        self.tell_room(&mut state);
    }

    pub(super) fn describe(&self, state: &State) -> RoomInfo {
        let visible = || state.members.iter().filter(|member| !member.info.permission.hidden);
        RoomInfo {
            sid: self.sid.clone(),
            name: self.name.clone(),
            title: if state.title.is_empty() { self.name.to_string() } else { state.title.clone() },
            codec_policy: state.policy,
            created_at: self.created_at,
            empty_timeout: state.empty_timeout,
            max_participants: state.max_participants,
            metadata: state.metadata.clone(),
            participants: visible().count() as u32,
            publishers: visible().filter(|member| !member.tracks.is_empty()).count() as u32,
            recording: state.recording,
            layout: state.layout.clone(),
        }
    }

    pub(super) fn take_out(&self, state: &mut State, sid: &ParticipantSid, reason: LeaveReason) {
        let Ok(member) = state.member(sid) else { return };
        let tracks: Vec<TrackSid> = member.tracks.iter().map(|track| track.info.sid.clone()).collect();
        for track in tracks {
            self.take_track(state, &track);
        }
        let Some(at) = state.members.iter().position(|member| member.info.sid == *sid) else { return };
        let member = state.members.remove(at);
        let held: Vec<Subscription> = member.held.into_iter().map(|held| held.subscription).collect();
        self.release(&held);
        let _ = member.events.try_send(RoomEvent::Removed(reason));
        let mut info = (*member.info).clone();
        info.state = ParticipantState::Disconnected;
        info.version += 1;
        let info = Arc::new(info);
        let event = RoomEvent::ParticipantLeft(info.clone(), reason);
        self.tell_others(state, &info, &event);
        state.note_empty();
        self.tell_room(state);
    }
}

/// See [`Room::hold`].
#[must_use]
pub struct RoomHold(Arc<Room>);

impl Drop for RoomHold {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.holds -= 1;
        state.note_empty();
        self.0.tell_room(&mut state);
    }
}

impl State {
    /// The time of an empty room begins when the last for whom it stays open is gone.
    fn note_empty(&mut self) {
        let kept = self.holds > 0 || self.members.iter().any(|member| member.info.kind.keeps_room_open());
        if !kept {
            self.empty_since.get_or_insert_with(Instant::now);
        }
    }

    pub(super) fn member(&self, sid: &ParticipantSid) -> Result<&Member, RoomError> {
        self.members.iter().find(|member| member.info.sid == *sid).ok_or(RoomError::NoParticipant)
    }

    pub(super) fn member_mut(&mut self, sid: &ParticipantSid) -> Result<&mut Member, RoomError> {
        self.members.iter_mut().find(|member| member.info.sid == *sid).ok_or(RoomError::NoParticipant)
    }

    pub(super) fn find_track(&self, sid: &TrackSid) -> Option<(Arc<TrackInfo>, TrackKey)> {
        let mut tracks = self.members.iter().flat_map(|member| &member.tracks);
        tracks.find(|track| track.info.sid == *sid).map(|track| (track.info.clone(), track.key))
    }
}

fn check_metadata(metadata: Option<&str>, attributes: Option<&BTreeMap<String, String>>) -> Result<(), RoomError> {
    if metadata.is_some_and(|text| text.len() > MAX_METADATA) {
        return Err(RoomError::TooLarge("the metadata"));
    }
    let size: usize = attributes.into_iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_METADATA { Err(RoomError::TooLarge("the attributes")) } else { Ok(()) }
}

/// The room's own task: events of its shard, and closing when nobody is left.
async fn watch(room: Weak<Room>, mut events: mpsc::UnboundedReceiver<ShardEvent>) {
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(room) = room.upgrade() else { return };
                let Some(event) = event else {
                    // The shard is gone, unless the room is: nothing here would ever move again.
                    if let Some(rooms) = room.rooms.upgrade() {
                        rooms.close_this(&room, LeaveReason::MediaFailed);
                    }
                    return;
                };
                room.shard_event(event);
            }
            _ = clock.tick() => {
                let Some(room) = room.upgrade() else { return };
                if room.rooms.upgrade().is_none_or(|rooms| rooms.close_if_due(&room)) {
                    return;
                }
            }
        }
    }
}
