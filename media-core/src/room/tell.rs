//! Telling everybody, in order; who does not listen is thrown out.

use super::room::{Member, Room, State};
use super::{LeaveReason, ParticipantInfo, Quality, RoomEvent, Speaker};
use crate::ids::ParticipantSid;
use crate::shard::{ShardEvent, TrackKey};
use std::sync::Arc;

impl Room {
    /// To everybody, the one it is about included.
    pub(super) fn tell_all(&self, state: &mut State, about: &ParticipantInfo, event: &RoomEvent) {
        self.tell_if(state, event, |member| !about.permission.hidden || member.info.sid == about.sid);
    }

    /// To everybody but the one it is about.
    pub(super) fn tell_others(&self, state: &mut State, about: &ParticipantInfo, event: &RoomEvent) {
        self.tell_if(state, event, |member| !about.permission.hidden && member.info.sid != about.sid);
    }

    pub(super) fn tell_room(&self, state: &mut State) {
        let event = RoomEvent::RoomUpdated(Arc::new(self.describe(state)));
        self.tell_if(state, &event, |_| true);
    }

    /// To one participant, and to no observer.
    pub(super) fn tell_one(&self, state: &mut State, sid: &ParticipantSid, event: RoomEvent) {
        let Ok(member) = state.member(sid) else { return };
        if member.events.try_send(event).is_err() {
            state.overrun.push(sid.clone());
        }
        self.throw_out(state);
    }

    pub(super) fn tell_if(&self, state: &mut State, event: &RoomEvent, wanted: impl Fn(&Member) -> bool) {
        let State { members, overrun, observers, .. } = state;
        for member in members.iter().filter(|member| wanted(member)) {
            if member.events.try_send(event.clone()).is_err() {
                overrun.push(member.info.sid.clone());
            }
        }
        observers.retain(|observer| observer.try_send(event.clone()).is_ok());
        self.throw_out(state);
    }

    /// Those whose queue was full, one after another: each departure is told, and may find more.
    fn throw_out(&self, state: &mut State) {
        if std::mem::replace(&mut state.settling, true) {
            return;
        }
        while let Some(sid) = state.overrun.pop() {
            self.take_out(state, &sid, LeaveReason::Overrun);
        }
        state.settling = false;
    }

    pub(super) fn shard_event(&self, event: ShardEvent) {
        let mut state = self.state.lock();
        match event {
            ShardEvent::Levels(levels) => self.speakers(&mut state, &levels),
            ShardEvent::LayersWanted { track, wanted } => {
                let owner = state.members.iter().find_map(|member| {
                    let published = member.tracks.iter().find(|published| published.key == track)?;
                    Some((member.info.sid.clone(), published.info.sid.clone()))
                });
                if let Some((sid, track)) = owner {
                    self.tell_one(&mut state, &sid, RoomEvent::LayersWanted { track, wanted });
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

    fn speakers(&self, state: &mut State, levels: &[(TrackKey, f32)]) {
        let mut speakers: Vec<Speaker> = Vec::new();
        for member in state.members.iter().filter(|member| !member.info.permission.hidden) {
            let loudest = member
                .tracks
                .iter()
                .filter_map(|published| levels.iter().find(|(track, _)| *track == published.key))
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
            self.tell_if(state, &RoomEvent::Speakers(speakers.into()), |_| true);
        }
    }
}
