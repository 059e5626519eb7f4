//! What ought to be, said without looking at how it is kept: who is in a room, who publishes what,
//! who wants what and may have it.

use crate::ids::{Identity, ParticipantSid, TrackSid};
use crate::media::Source;
use crate::room::{Audience, Listener, ParticipantKind, Permission, RoomError, Tracks};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Member {
    pub identity: Identity,
    pub kind: ParticipantKind,
    pub permission: Permission,
    pub audience: Audience,
    pub tracks: BTreeMap<TrackSid, Source>,
    /// What it has asked for and not given up.
    pub wishes: BTreeSet<TrackSid>,
}

pub(super) struct Tap {
    pub room: usize,
    /// None: a part of the server.
    pub holder: Option<ParticipantSid>,
    pub track: TrackSid,
}

#[derive(Default)]
pub(super) struct Room {
    pub members: BTreeMap<ParticipantSid, Member>,
}

impl Room {
    fn publisher(&self, track: &TrackSid) -> Option<(&ParticipantSid, &Member)> {
        self.members.iter().find(|(_, member)| member.tracks.contains_key(track))
    }

    /// Whether a participant may receive a track.
    pub fn may(&self, who: &ParticipantSid, track: &TrackSid) -> Result<(), RoomError> {
        let listener = self.members.get(who).ok_or(RoomError::NoParticipant)?;
        let (sid, publisher) = self.publisher(track).ok_or(RoomError::NoTrack)?;
        if sid == who {
            return Err(RoomError::OwnTrack);
        }
        if publisher.permission.hidden {
            return Err(RoomError::NoTrack);
        }
        if !listener.permission.can_subscribe {
            return Err(RoomError::NotAllowed("subscribe"));
        }
        let audience = &publisher.audience;
        let first = audience.listed.iter().find(|listed| match &listed.listener {
            Listener::Identity(identity) => *identity == listener.identity,
            Listener::Sid(sid) => sid == who,
        });
        let named = match first.map(|listed| &listed.tracks) {
            Some(Tracks::All) => true,
            Some(Tracks::These(tracks)) => tracks.contains(track),
            None => false,
        };
        if audience.everybody || named || listener.kind == ParticipantKind::Recorder {
            Ok(())
        } else {
            Err(RoomError::NotInAudience)
        }
    }

    /// What a participant receives by right and by its own wish.
    pub fn held(&self, who: &ParticipantSid) -> BTreeSet<TrackSid> {
        let wishes = self.members.get(who).map(|member| &member.wishes);
        wishes.into_iter().flatten().filter(|track| self.may(who, track).is_ok()).cloned().collect()
    }

    pub fn tracks(&self) -> BTreeSet<TrackSid> {
        self.members.values().flat_map(|member| member.tracks.keys().cloned()).collect()
    }

    pub fn take_out(&mut self, who: &ParticipantSid) {
        if let Some(member) = self.members.remove(who) {
            member.tracks.keys().for_each(|track| self.forget(track));
        }
    }

    pub fn unpublish(&mut self, track: &TrackSid) {
        for member in self.members.values_mut() {
            member.tracks.remove(track);
        }
        self.forget(track);
    }

    /// A wish for a track ends with it.
    fn forget(&mut self, track: &TrackSid) {
        for member in self.members.values_mut() {
            member.wishes.remove(track);
        }
    }

    pub fn keeps_open(&self) -> bool {
        self.members.values().any(|member| !matches!(member.kind, ParticipantKind::Camera | ParticipantKind::Recorder))
    }

    pub fn visible(&self) -> usize {
        self.members.values().filter(|member| !member.permission.hidden).count()
    }
}
