//! What the client has to be told of people and the room, in order, each once.

use super::run::Session;
use crate::wire;
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use rongtong_media_core::ids::{Identity, ParticipantSid};
use rongtong_media_core::room::{ParticipantInfo, RoomInfo};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Departures remembered for a client that was away when they happened.
const DEPARTURES: usize = 256;

#[derive(Debug)]
enum Pending {
    Changed { sid: ParticipantSid, identity: Identity },
    Departed(Box<proto::ParticipantInfo>),
}

#[derive(Debug, Default)]
pub(super) struct Updates {
    pending: Vec<Pending>,
    /// The newest version of each participant the client has been sent.
    versions: HashMap<ParticipantSid, u32>,
    departures: VecDeque<(Instant, proto::ParticipantInfo)>,
    room: Option<Arc<RoomInfo>>,
}

impl Updates {
    pub fn changed(&mut self, sid: &ParticipantSid, identity: &Identity) {
        let known = self.pending.iter().any(|it| matches!(it, Pending::Changed { sid: other, .. } if other == sid));
        if !known {
            self.pending.push(Pending::Changed { sid: sid.clone(), identity: identity.clone() });
        }
    }

    pub fn departed(&mut self, now: Instant, info: proto::ParticipantInfo) {
        let sid = ParticipantSid::new(&info.sid);
        self.pending.retain(|it| !matches!(it, Pending::Changed { sid: other, .. } if *other == sid));
        self.versions.remove(&sid);
        self.departures.truncate(DEPARTURES - 1);
        self.departures.push_front((now, info.clone()));
        self.pending.push(Pending::Departed(Box::new(info)));
    }

    pub fn room(&mut self, info: Arc<RoomInfo>) {
        self.room = Some(info);
    }

    pub fn departures_since(&self, since: Instant) -> Vec<proto::ParticipantInfo> {
        let recent = self.departures.iter().take_while(|(at, _)| *at >= since);
        recent.map(|(_, info)| info.clone()).collect()
    }

    /// Notes that the client has this version; `false` when it has a newer one already.
    pub fn note(&mut self, info: &ParticipantInfo) -> bool {
        let seen = self.versions.entry(info.sid.clone()).or_default();
        if info.version < *seen {
            return false;
        }
        *seen = info.version;
        true
    }

    fn take(&mut self) -> Vec<Pending> {
        std::mem::take(&mut self.pending)
    }
}

impl Session {
    /// Everything that changed since the last time: people in one message, the room in another.
    pub(super) fn flush_updates(&mut self) {
        let pending = self.updates.take();
        let room = self.updates.room.take();
        if self.link.is_none() {
            // Who comes back is told everything anew.
            return;
        }
        let mut participants = Vec::with_capacity(pending.len());
        for it in pending {
            match it {
                Pending::Departed(info) => participants.push(*info),
                Pending::Changed { sid, identity } => {
                    // Somebody who left or came again meanwhile is told of by an event of its own.
                    let Some(info) = self.room.participant(&identity).filter(|it| it.sid == sid) else { continue };
                    if self.is_visible(&info) && self.updates.note(&info) {
                        participants.push(self.describe(&info));
                    }
                }
            }
        }
        if !participants.is_empty() {
            self.send(Response::Update(proto::ParticipantUpdate { participants }));
        }
        if let Some(room) = room {
            self.send(Response::RoomUpdate(proto::RoomUpdate { room: Some(wire::room(&room)) }));
        }
    }

    /// Everybody the client may see; with itself when `and_me`.
    pub(super) fn everybody(&mut self, and_me: bool) -> Vec<proto::ParticipantInfo> {
        let mut all = Vec::new();
        for info in self.room.participants() {
            if self.is_visible(&info) && (and_me || info.sid != self.sid) {
                self.updates.note(&info);
                all.push(self.describe(&info));
            }
        }
        all
    }

    pub(super) fn describe(&self, info: &ParticipantInfo) -> proto::ParticipantInfo {
        let mut described = wire::participant(info, &|track| self.board.extras(track));
        let client = self.board.client(&info.sid);
        described.client_protocol = client.protocol;
        described.capabilities = client.capabilities;
        described
    }

    /// Departures this client may have missed. Clients know people by identity, so whoever came
    /// again is left out: told of the old presence, a client would take down the new one.
    pub(super) fn missed_departures(&self) -> Vec<proto::ParticipantInfo> {
        let margin = Duration::from_secs(5);
        let since = self.last_heard.checked_sub(margin).unwrap_or(self.last_heard);
        let mut missed = self.updates.departures_since(since);
        missed.retain(|info| self.room.participant(&Identity::new(&info.identity)).is_none());
        missed
    }

    pub(super) fn is_visible(&self, info: &ParticipantInfo) -> bool {
        !info.permission.hidden || info.sid == self.sid
    }
}
