//! Tracks coming into a room, changing, and going.

use super::room::{Member, Published, Room, RoomError, State};
use super::source::{Feeder, Publication, StreamSource};
use super::{Keyframes, ParticipantInfo, RoomEvent, TrackInfo, TrackSource, TrackSpec};
use crate::ids::{ParticipantSid, TrackSid};
use crate::shard::{Command, SourceFeed, TrackConfig, TrackKey};
use std::sync::Arc;
use std::time::SystemTime;

/// Tracks one participant may publish at once.
const MAX_TRACKS: usize = 64;

impl Room {
    /// Publishes a track that the caller feeds.
    ///
    /// # Errors
    /// When the participant is not there, may not publish such a source, or has too many tracks.
    pub fn publish(
        self: &Arc<Self>,
        sid: &ParticipantSid,
        spec: TrackSpec,
        keyframes: Keyframes,
    ) -> Result<TrackSource, RoomError> {
        let feed = Arc::new(SourceFeed::default());
        let (info, key) = {
            let mut state = self.state.lock();
            let info = state.draft(sid, spec)?;
            let key = self.enter(&mut state, &info, keyframes, Some(feed.clone()), None)?;
            (info, key)
        };
        let publication = Publication { info, room: Arc::downgrade(self) };
        Ok(TrackSource { publication, feeder: Feeder::new(self.shard.clone(), key, feed) })
    }

    /// Publishes a source that is fed once for all rooms it is in.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn publish_source(
        self: &Arc<Self>,
        sid: &ParticipantSid,
        spec: TrackSpec,
        source: &StreamSource,
    ) -> Result<Publication, RoomError> {
        let mut state = self.state.lock();
        let info = state.draft(sid, spec)?;
        let key = TrackKey::next();
        let (source, muted) = (source.on_shard(&self.shard, self.shard_index()), info.spec.muted);
        self.shard.send(Command::Place { source, key, room: self.key(), muted });
        self.announce(&mut state, &info, key)?;
        Ok(Publication { info, room: Arc::downgrade(self) })
    }

    /// A track's description with its new sid, for who must name it before it is negotiated. It is
    /// not part of the room until [`Self::publish_draft`].
    pub(crate) fn draft(&self, sid: &ParticipantSid, spec: TrackSpec) -> Result<Arc<TrackInfo>, RoomError> {
        self.state.lock().draft(sid, spec)
    }

    /// Makes a drafted track part of the room. Whether it may be is asked once more: what was allowed
    /// when it was described may have been taken back since.
    /// `ask` is notified for a keyframe where the publisher's connection takes no such request.
    pub(crate) fn publish_draft(
        &self,
        info: &Arc<TrackInfo>,
        keyframes: Keyframes,
        ask: Option<Arc<SourceFeed>>,
    ) -> Result<TrackKey, RoomError> {
        self.enter(&mut self.state.lock(), info, keyframes, None, ask)
    }

    pub fn unpublish(&self, track: &TrackSid) {
        let mut state = self.state.lock();
        self.take_track(&mut state, track);
    }

    /// The publisher's own word that its track is muted, enforced on the shard.
    pub fn set_muted(&self, track: &TrackSid, muted: bool) -> Result<(), RoomError> {
        let mut state = self.state.lock();
        let key = self.edit_track(&mut state, track, |spec| spec.muted = muted)?;
        self.shard.send(Command::Mute { track: key, muted });
        Ok(())
    }

    /// New dimensions, layers or name of a track.
    pub fn change_track(&self, track: &TrackSid, change: impl FnOnce(&mut TrackSpec)) -> Result<(), RoomError> {
        self.edit_track(&mut self.state.lock(), track, change).map(|_| ())
    }

    /// The host's word: the publisher is asked to mute or unmute, and a mute holds at once.
    pub fn request_mute(&self, track: &TrackSid, muted: bool) -> Result<(), RoomError> {
        let mut state = self.state.lock();
        let (info, key) = state.find_track(track).ok_or(RoomError::NoTrack)?;
        if muted {
            self.edit_track(&mut state, track, |spec| spec.muted = true)?;
            self.shard.send(Command::Mute { track: key, muted });
        }
        self.tell_one(&mut state, &info.participant, RoomEvent::MuteRequested { track: track.clone(), muted });
        Ok(())
    }

    fn edit_track(
        &self,
        state: &mut State,
        track: &TrackSid,
        change: impl FnOnce(&mut TrackSpec),
    ) -> Result<TrackKey, RoomError> {
        let mut found = state.members.iter_mut().filter_map(|member| {
            let at = member.tracks.iter().position(|published| published.info.sid == *track)?;
            Some((member, at))
        });
        let (member, at) = found.next().ok_or(RoomError::NoTrack)?;
        let published = member.tracks.get_mut(at).ok_or(RoomError::NoTrack)?;
        let mut fresh = (*published.info).clone();
        change(&mut fresh.spec);
        if fresh.spec.codec != published.info.spec.codec {
            let codec = Arc::new(fresh.spec.codec.clone());
            self.shard.send(Command::Format { track: published.key, codec });
        }
        published.info = Arc::new(fresh);
        let (updated, key) = (published.info.clone(), published.key);
        let participant = member.refresh();
        self.tell_all(state, &participant, &RoomEvent::TrackUpdated(updated));
        Ok(key)
    }

    /// One decision: whether it may be, and then the track on the shard, in the room, and told to all.
    fn enter(
        &self,
        state: &mut State,
        info: &Arc<TrackInfo>,
        keyframes: Keyframes,
        feed: Option<Arc<SourceFeed>>,
        ask: Option<Arc<SourceFeed>>,
    ) -> Result<TrackKey, RoomError> {
        state.may_publish(&info.participant, &info.spec)?;
        let (key, spec) = (TrackKey::next(), &info.spec);
        let config = TrackConfig {
            room: Some(self.key()),
            source: spec.source,
            codec: spec.codec.clone(),
            layers: spec.layers.len().max(1),
            muted: spec.muted,
            keyframes,
            feed,
            device: state.member(&info.participant)?.clock.clone(),
            ask,
        };
        // Before the room names it, so that who hears of it finds it on the shard.
        self.shard.send(Command::AddTrack { key, config });
        self.announce(state, info, key)?;
        Ok(key)
    }

    /// A track that is on the shard by this key is in the room, and all hear of it.
    fn announce(&self, state: &mut State, info: &Arc<TrackInfo>, key: TrackKey) -> Result<(), RoomError> {
        let member = state.member_mut(&info.participant)?;
        member.tracks.push(Published { info: info.clone(), key, was_subscribed: false });
        let participant = member.refresh();
        self.tell_all(state, &participant, &RoomEvent::TrackPublished(info.clone()));
        self.tell_room(state);
        Ok(())
    }

    pub(super) fn take_track(&self, state: &mut State, sid: &TrackSid) {
        let found = |member: &&mut Member| member.tracks.iter().any(|track| track.info.sid == *sid);
        let Some(member) = state.members.iter_mut().find(found) else { return };
        let Some(at) = member.tracks.iter().position(|track| track.info.sid == *sid) else { return };
        let Published { info, key, .. } = member.tracks.remove(at);
        let participant: Arc<ParticipantInfo> = member.refresh();
        self.shard.send(Command::RemoveTrack { track: key });
        self.end_subscriptions_of(state, sid);
        self.tell_all(state, &participant, &RoomEvent::TrackUnpublished(info));
    }
}

impl State {
    fn draft(&self, sid: &ParticipantSid, spec: TrackSpec) -> Result<Arc<TrackInfo>, RoomError> {
        let member = self.may_publish(sid, &spec)?;
        Ok(Arc::new(TrackInfo {
            sid: TrackSid::random(spec.kind, spec.source),
            participant: sid.clone(),
            identity: member.info.identity.clone(),
            spec,
            published_at: SystemTime::now(),
        }))
    }

    /// The publisher, if it may publish a track like this now.
    fn may_publish(&self, sid: &ParticipantSid, spec: &TrackSpec) -> Result<&Member, RoomError> {
        if self.closed {
            return Err(RoomError::Closed);
        }
        let member = self.member(sid)?;
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
    /// What is told of the participant, with its tracks as they are now.
    fn refresh(&mut self) -> Arc<ParticipantInfo> {
        let mut info = (*self.info).clone();
        info.tracks = self.tracks.iter().map(|track| (*track.info).clone()).collect();
        info.version += 1;
        self.info = Arc::new(info);
        self.info.clone()
    }
}
