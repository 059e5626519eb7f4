//! One room: who is in it, what they publish, and telling everybody about it.

use super::inbox::{DataReceiver, Inbox, inbox};
use super::registry::WeakRooms;
use super::{
    CodecPolicy, DataMessage, Join, Keyframes, Layout, LeaveReason, ParticipantInfo, ParticipantState, Permission,
    Quality, RoomEvent, RoomInfo, RoomOptions, SourceClock, Speaker, Tap, TrackInfo, TrackSource, TrackSpec,
};
use crate::ids::{Identity, ParticipantSid, RoomName, RoomSid, TrackSid};
use crate::shard::{
    Command, RoomKey, ShardEvent, ShardHandle, SourceFeed, SubKey, TrackConfig, TrackKey, TransportKey,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// Events a participant may be behind before it is thrown out.
const EVENT_QUEUE: usize = 2048;
const MAX_NAME: usize = 256;
const MAX_METADATA: usize = 64 * 1024;
const MAX_TRACKS: usize = 64;

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

struct Member {
    info: Arc<ParticipantInfo>,
    events: mpsc::Sender<RoomEvent>,
    /// For who receives data messages.
    inbox: Option<Inbox>,
    tracks: Vec<(Arc<TrackInfo>, TrackKey)>,
    clock: Arc<SourceClock>,
}

struct State {
    title: String,
    metadata: String,
    policy: CodecPolicy,
    max_participants: u32,
    empty_timeout: u32,
    recording: bool,
    layout: Layout,
    members: Vec<Member>,
    observers: Vec<mpsc::Sender<RoomEvent>>,
    transports: HashMap<TransportKey, ParticipantSid>,
    speaking: Vec<ParticipantSid>,
    empty_since: Option<Instant>,
    closed: bool,
}

pub struct Room {
    sid: RoomSid,
    name: RoomName,
    created_at: SystemTime,
    key: RoomKey,
    shard_index: usize,
    shard: ShardHandle,
    rooms: WeakRooms,
    state: Mutex<State>,
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
                observers: Vec::new(),
                transports: HashMap::new(),
                speaking: Vec::new(),
                empty_since: Some(Instant::now()),
                closed: false,
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
        state.members.iter().flat_map(|member| member.tracks.iter().map(|(info, _)| info.clone())).collect()
    }

    pub fn track(&self, sid: &TrackSid) -> Option<Arc<TrackInfo>> {
        self.find_track(sid).map(|(info, _)| info)
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
        });
        if info.kind.keeps_room_open() {
            state.empty_since = None;
        }
        let event = RoomEvent::ParticipantJoined(info.clone());
        self.tell_others(&mut state, &info, &event);
        self.tell_room(&mut state);
        Ok(Membership { info, events })
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

    /// Publishes a track that the caller feeds.
    pub fn publish(
        self: &Arc<Self>,
        sid: &ParticipantSid,
        spec: TrackSpec,
        keyframes: Keyframes,
    ) -> Result<TrackSource, RoomError> {
        let feed = Arc::new(SourceFeed::default());
        let info = self.new_track(sid, spec)?;
        let clock = {
            let state = self.state.lock();
            let member = state.members.iter().find(|member| member.info.sid == *sid);
            member.map(|member| member.clock.clone()).ok_or(RoomError::NoParticipant)?
        };
        let key = TrackKey::next();
        self.announce(info.clone(), key, keyframes, Some(feed.clone()))?;
        let (room, track) = (Arc::downgrade(self), info.sid.clone());
        let unpublish = move || {
            if let Some(room) = room.upgrade() {
                room.unpublish(&track);
            }
        };
        Ok(TrackSource {
            info,
            shard: self.shard.clone(),
            key,
            feed,
            clock,
            unpublish: Some(Box::new(unpublish)),
            dropped: AtomicU64::new(0),
        })
    }

    /// A tap on a track, holding at most `capacity` packets.
    pub fn tap(&self, track: &TrackSid, capacity: usize) -> Result<Tap, RoomError> {
        let (info, key) = self.find_track(track).ok_or(RoomError::NoTrack)?;
        let (sender, receiver) = mpsc::channel(capacity.max(16));
        let sub = SubKey::next();
        self.shard.send(Command::AddTap { track: key, sub, sender });
        Ok(Tap { info, receiver, shard: self.shard.clone(), track: key, sub })
    }

    pub fn update_participant(&self, sid: &ParticipantSid, change: ParticipantChange) -> Result<(), RoomError> {
        check_metadata(change.metadata.as_deref(), change.attributes.as_ref())?;
        let mut state = self.state.lock();
        let member = state.members.iter_mut().find(|member| member.info.sid == *sid).ok_or(RoomError::NoParticipant)?;
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
            let _ = member.events.try_send(RoomEvent::PermissionChanged(permission.clone()));
            let forbidden: Vec<TrackSid> = member
                .tracks
                .iter()
                .filter(|(track, _)| !permission.allows_source(track.spec.source))
                .map(|(track, _)| track.sid.clone())
                .collect();
            for track in forbidden {
                self.take_track(&mut state, &track);
            }
        }
        let event = RoomEvent::ParticipantUpdated(info.clone());
        self.tell_all(&mut state, &info, &event);
        Ok(())
    }

    /// The publisher's own word that its track is muted, enforced on the shard.
    pub fn set_muted(&self, track: &TrackSid, muted: bool) -> Result<(), RoomError> {
        self.change_track(track, |spec| spec.muted = muted)?;
        if let Some((_, key)) = self.find_track(track) {
            self.shard.send(Command::Mute { track: key, muted });
        }
        Ok(())
    }

    /// New dimensions, layers or name of a track.
    pub fn change_track(&self, track: &TrackSid, change: impl FnOnce(&mut TrackSpec)) -> Result<(), RoomError> {
        let mut state = self.state.lock();
        let member = state
            .members
            .iter_mut()
            .find(|member| member.tracks.iter().any(|(info, _)| info.sid == *track))
            .ok_or(RoomError::NoTrack)?;
        let (slot, _) = member.tracks.iter_mut().find(|(info, _)| info.sid == *track).ok_or(RoomError::NoTrack)?;
        let mut fresh = (**slot).clone();
        change(&mut fresh.spec);
        *slot = Arc::new(fresh);
        let updated = slot.clone();
        let info = member.refresh();
        let event = RoomEvent::TrackUpdated(updated);
        self.tell_all(&mut state, &info, &event);
        Ok(())
    }

    /// The host's word: the publisher is asked to mute or unmute, and a mute holds at once.
    pub fn request_mute(&self, track: &TrackSid, muted: bool) -> Result<(), RoomError> {
        let owner = self.find_track(track).map(|(info, _)| info.participant.clone()).ok_or(RoomError::NoTrack)?;
        if muted {
            self.set_muted(track, true)?;
        }
        let state = self.state.lock();
        let member = state.members.iter().find(|member| member.info.sid == owner).ok_or(RoomError::NoParticipant)?;
        let _ = member.events.try_send(RoomEvent::MuteRequested { track: track.clone(), muted });
        Ok(())
    }

    /// Throws a participant out.
    pub fn remove(&self, identity: &Identity) -> Result<(), RoomError> {
        let sid = self.participant(identity).ok_or(RoomError::NoParticipant)?.sid.clone();
        self.leave(&sid, LeaveReason::Removed);
        Ok(())
    }

    /// Messages for a participant, from now on; nobody else gets them then.
    pub fn receive_data(&self, sid: &ParticipantSid) -> Result<DataReceiver, RoomError> {
        let mut state = self.state.lock();
        let member = state.members.iter_mut().find(|member| member.info.sid == *sid).ok_or(RoomError::NoParticipant)?;
        let (inbox, receiver) = inbox();
        member.inbox = Some(inbox);
        Ok(receiver)
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

    pub fn unpublish(&self, track: &TrackSid) {
        let mut state = self.state.lock();
        self.take_track(&mut state, track);
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

    pub(crate) fn rooms(&self) -> Option<Arc<super::Rooms>> {
        self.rooms.upgrade()
    }

    pub(crate) fn bind_transport(&self, transport: TransportKey, sid: ParticipantSid) {
        self.state.lock().transports.insert(transport, sid);
    }

    pub(crate) fn unbind_transport(&self, transport: TransportKey) {
        self.state.lock().transports.remove(&transport);
    }

    /// A track's description with its new sid, not yet part of the room.
    pub(crate) fn new_track(&self, sid: &ParticipantSid, spec: TrackSpec) -> Result<Arc<TrackInfo>, RoomError> {
        let state = self.state.lock();
        let member = state.may_publish(sid, &spec)?;
        Ok(Arc::new(TrackInfo {
            sid: TrackSid::random(spec.kind, spec.source),
            participant: sid.clone(),
            identity: member.info.identity.clone(),
            spec,
            published_at: SystemTime::now(),
            mid: String::new(),
        }))
    }

    fn track_config(&self, spec: &TrackSpec, keyframes: Keyframes, feed: Option<Arc<SourceFeed>>) -> TrackConfig {
        TrackConfig {
            room: self.key,
            source: spec.source,
            codec: spec.codec.clone(),
            layers: spec.layers.iter().filter(|layer| !layer.rid.is_empty()).count().max(1),
            muted: spec.muted,
            keyframes,
            feed,
        }
    }

    /// Makes a track part of the room and of its shard, and tells everybody. Whether it may be is
    /// asked once more: what was allowed when it was described may have been taken back since.
    pub(crate) fn announce(
        &self,
        info: Arc<TrackInfo>,
        key: TrackKey,
        keyframes: Keyframes,
        feed: Option<Arc<SourceFeed>>,
    ) -> Result<(), RoomError> {
        let mut state = self.state.lock();
        state.may_publish(&info.participant, &info.spec)?;
        let member = state
            .members
            .iter_mut()
            .find(|member| member.info.sid == info.participant)
            .ok_or(RoomError::NoParticipant)?;
        self.shard.send(Command::AddTrack { key, config: self.track_config(&info.spec, keyframes, feed) });
        member.tracks.push((info.clone(), key));
        let participant = member.refresh();
        let event = RoomEvent::TrackPublished(info);
        self.tell_all(&mut state, &participant, &event);
        self.tell_room(&mut state);
        Ok(())
    }

    pub(crate) fn find_track(&self, sid: &TrackSid) -> Option<(Arc<TrackInfo>, TrackKey)> {
        let state = self.state.lock();
        state.members.iter().flat_map(|member| &member.tracks).find(|(info, _)| info.sid == *sid).cloned()
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

    fn describe(&self, state: &State) -> RoomInfo {
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

    fn take_out(&self, state: &mut State, sid: &ParticipantSid, reason: LeaveReason) {
        let Some(at) = state.members.iter().position(|member| member.info.sid == *sid) else { return };
        let tracks: Vec<TrackSid> = state.members[at].tracks.iter().map(|(info, _)| info.sid.clone()).collect();
        for track in tracks {
            self.take_track(state, &track);
        }
        let Some(at) = state.members.iter().position(|member| member.info.sid == *sid) else { return };
        let member = state.members.remove(at);
        let _ = member.events.try_send(RoomEvent::Removed(reason));
        let mut info = (*member.info).clone();
        info.state = ParticipantState::Disconnected;
        info.version += 1;
        let info = Arc::new(info);
        let event = RoomEvent::ParticipantLeft(info.clone(), reason);
        self.tell_others(state, &info, &event);
        if !state.members.iter().any(|member| member.info.kind.keeps_room_open()) && state.empty_since.is_none() {
            state.empty_since = Some(Instant::now());
        }
        self.tell_room(state);
    }

    fn take_track(&self, state: &mut State, sid: &TrackSid) {
        let Some(member) =
            state.members.iter_mut().find(|member| member.tracks.iter().any(|(info, _)| info.sid == *sid))
        else {
            return;
        };
        let Some(at) = member.tracks.iter().position(|(info, _)| info.sid == *sid) else { return };
        let (info, key) = member.tracks.remove(at);
        let participant = member.refresh();
        self.shard.send(Command::RemoveTrack { track: key });
        let event = RoomEvent::TrackUnpublished(info);
        self.tell_all(state, &participant, &event);
    }

    /// To everybody, the one it is about included.
    fn tell_all(&self, state: &mut State, about: &ParticipantInfo, event: &RoomEvent) {
        self.tell_if(state, event, |member| !about.permission.hidden || member.info.sid == about.sid);
    }

    /// To everybody but the one it is about.
    fn tell_others(&self, state: &mut State, about: &ParticipantInfo, event: &RoomEvent) {
        self.tell_if(state, event, |member| !about.permission.hidden && member.info.sid != about.sid);
    }

    fn tell_room(&self, state: &mut State) {
        let event = RoomEvent::RoomUpdated(Arc::new(self.describe(state)));
        self.tell_if(state, &event, |_| true);
    }

    fn tell_if(&self, state: &mut State, event: &RoomEvent, wanted: impl Fn(&Member) -> bool) {
        let overrun: Vec<ParticipantSid> = state
            .members
            .iter()
            .filter(|member| wanted(member))
            .filter(|member| member.events.try_send(event.clone()).is_err())
            .map(|member| member.info.sid.clone())
            .collect();
        state.observers.retain(|observer| observer.try_send(event.clone()).is_ok());
        self.throw_out(state, overrun);
    }

    fn throw_out(&self, state: &mut State, overrun: Vec<ParticipantSid>) {
        for sid in overrun {
            self.take_out(state, &sid, LeaveReason::Overrun);
        }
    }

    fn shard_event(&self, event: ShardEvent) {
        let mut state = self.state.lock();
        match event {
            ShardEvent::Levels(levels) => {
                let mut speakers: Vec<Speaker> = Vec::new();
                for member in state.members.iter().filter(|member| !member.info.permission.hidden) {
                    let loudest = member
                        .tracks
                        .iter()
                        .filter_map(|(_, key)| levels.iter().find(|(track, _)| track == key))
                        .map(|(_, level)| *level)
                        .fold(0.0f32, f32::max);
                    if loudest > 0.0 {
                        speakers.push(Speaker { sid: member.info.sid.clone(), level: loudest, active: true });
                    }
                }
                let active: Vec<ParticipantSid> = speakers.iter().map(|speaker| speaker.sid.clone()).collect();
                for quiet in state.speaking.iter().filter(|sid| !active.contains(sid)) {
                    speakers.push(Speaker { sid: quiet.clone(), level: 0.0, active: false });
                }
                state.speaking = active;
                if !speakers.is_empty() {
                    self.tell_if(&mut state, &RoomEvent::Speakers(speakers.into()), |_| true);
                }
            }
            ShardEvent::LayersWanted { track, wanted } => {
                let owner = state.members.iter().find_map(|member| {
                    let (info, _) = member.tracks.iter().find(|(_, key)| *key == track)?;
                    Some((member.events.clone(), info.sid.clone()))
                });
                if let Some((events, track)) = owner {
                    let _ = events.try_send(RoomEvent::LayersWanted { track, wanted });
                }
            }
            ShardEvent::Quality { transport, loss_up, loss_down, rtt_ms } => {
                let Some(sid) = state.transports.get(&transport).cloned() else { return };
                let loss = loss_up.max(loss_down);
                let score = (1.0 - loss * 8.0 - (rtt_ms - 150.0).max(0.0) / 1000.0).clamp(0.0, 1.0);
                let quality = match score {
                    score if score > 0.8 => Quality::Excellent,
                    score if score > 0.5 => Quality::Good,
                    _ => Quality::Poor,
                };
                let event = RoomEvent::Qualities(Arc::new([(sid, quality, score)]));
                self.tell_if(&mut state, &event, |_| true);
            }
        }
    }
}

impl State {
    /// The publisher, if it may publish a track like this now.
    fn may_publish(&self, sid: &ParticipantSid, spec: &TrackSpec) -> Result<&Member, RoomError> {
        if self.closed {
            return Err(RoomError::Closed);
        }
        let member = self.members.iter().find(|member| member.info.sid == *sid).ok_or(RoomError::NoParticipant)?;
        if !member.info.permission.allows_source(spec.source) {
            return Err(RoomError::NotAllowed("publish this source"));
        }
        if member.tracks.len() >= MAX_TRACKS {
            return Err(RoomError::TooLarge("the number of tracks"));
        }
        Ok(member)
    }
}

impl Member {
    fn refresh(&mut self) -> Arc<ParticipantInfo> {
        let mut info = (*self.info).clone();
        info.tracks = self.tracks.iter().map(|(track, _)| (**track).clone()).collect();
        info.version += 1;
        self.info = Arc::new(info);
        self.info.clone()
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
                    if let Some(rooms) = room.rooms() {
                        rooms.close_this(&room, LeaveReason::MediaFailed);
                    }
                    return;
                };
                room.shard_event(event);
            }
            _ = clock.tick() => {
                let Some(room) = room.upgrade() else { return };
                if room.rooms().is_none_or(|rooms| rooms.close_if_due(&room)) {
                    return;
                }
            }
        }
    }
}
