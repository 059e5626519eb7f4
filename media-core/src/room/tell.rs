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
            ShardEvent::Quality { participant, loss_up, loss_down, rtt_ms } => {
                let Ok(member) = state.member_mut(&participant) else { return };
                let Some((quality, score)) = member.line.measure(loss_up, loss_down, rtt_ms) else { return };
                let about = member.info.clone();
                self.tell_all(&mut state, &about, &RoomEvent::Qualities(Arc::new([(participant, quality, score)])));
            }
        }
    }

    /// To who just came: how everybody's line is, as far as the others know.
    pub(super) fn tell_qualities(&self, state: &mut State, to: &ParticipantSid) {
        let known = state.members.iter().filter(|member| !member.info.permission.hidden && member.info.sid != *to);
        let known: Vec<_> = known
            .filter_map(|member| member.line.told.map(|(quality, score)| (member.info.sid.clone(), quality, score)))
            .collect();
        if !known.is_empty() {
            self.tell_one(state, to, RoomEvent::Qualities(known.into()));
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

/// How well a participant's connections go, and what the room was told of it.
#[derive(Debug, Default)]
pub(super) struct Line {
    up: Direction,
    down: Direction,
    pub told: Option<(Quality, f32)>,
}

/// Loss in one direction, 0.0 … 1.0, and how often since it was not measured.
#[derive(Debug, Default)]
struct Direction {
    loss: f32,
    silent: u8,
}

impl Direction {
    /// Reports without a measurement until it counts as a direction in which nothing is carried any
    /// more. A participant's two connections report in turn and measure one direction each.
    const STALE: u8 = 4;

    fn note(&mut self, measured: Option<f32>) -> f32 {
        match measured {
            Some(loss) => *self = Self { loss, silent: 0 },
            None if self.silent == Self::STALE => self.loss = 0.0,
            None => self.silent += 1,
        }
        self.loss
    }
}

impl Line {
    /// Another word, or a score so far from the last one, is told.
    const CHANGE: f32 = 0.1;

    /// What to tell now, if anything.
    fn measure(&mut self, loss_up: Option<f32>, loss_down: Option<f32>, rtt_ms: f32) -> Option<(Quality, f32)> {
        let loss = self.up.note(loss_up).max(self.down.note(loss_down));
        let score = (1.0 - loss * 8.0 - (rtt_ms - 150.0).max(0.0) / 1000.0).clamp(0.0, 1.0);
        let quality = match score {
            score if score > 0.8 => Quality::Excellent,
            score if score > 0.5 => Quality::Good,
            _ => Quality::Poor,
        };
        let same = |(before, told): (Quality, f32)| before == quality && (told - score).abs() < Self::CHANGE;
        if self.told.is_some_and(same) {
            return None;
        }
        self.told = Some((quality, score));
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_of_when_it_changes_whichever_connection_measured_it() {
        let mut line = Line::default();
        assert_eq!(line.measure(Some(0.0), None, 20.0), Some((Quality::Excellent, 1.0)));
        assert_eq!(line.measure(None, Some(0.0), 30.0), None);
        assert_eq!(line.measure(None, Some(0.05), 30.0), Some((Quality::Good, 0.6)));
        assert_eq!(line.measure(Some(0.0), None, 30.0), None, "the other direction is as bad as it was");
        assert_eq!(line.measure(None, Some(0.052), 30.0), None);
        assert_eq!(line.measure(None, Some(0.0), 30.0), Some((Quality::Excellent, 1.0)));
        assert_eq!(line.measure(None, None, 900.0).map(|(quality, _)| quality), Some(Quality::Poor));
    }

    #[test]
    fn loss_of_what_is_not_sent_any_more_is_forgotten() {
        let mut line = Line::default();
        assert_eq!(line.measure(Some(0.2), None, 20.0).map(|(quality, _)| quality), Some(Quality::Poor));
        // The publishing connection is idle now, the other goes on.
        let told: Vec<_> = (0..6).filter_map(|at| line.measure(None, (at % 2 == 0).then_some(0.0), 20.0)).collect();
        assert_eq!(told, [(Quality::Excellent, 1.0)]);
    }
}
