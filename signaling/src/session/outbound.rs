//! What happens in the room, and what other sessions say, told to the client.

use super::link::{Command, Notice};
use super::run::{Flow, Session};
use crate::wire;
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use rongtong_media_core::ids::ParticipantSid;
use rongtong_media_core::room::{Permission, Quality, RoomEvent, Speaker, TrackInfo};
use std::time::Instant;

impl Session {
    pub(super) fn on_room_event(&mut self, event: RoomEvent) -> Flow {
        match event {
            RoomEvent::Closed(reason) | RoomEvent::Removed(reason) => return Flow::End { reason, told: false },
            RoomEvent::FirstSubscribed(track) => {
                self.send(Response::TrackSubscribed(proto::TrackSubscribed { track_sid: track.to_string() }));
            }
            RoomEvent::LayersWanted { track, wanted } => {
                if let Some(info) = self.room.track(&track) {
                    self.send(Response::SubscribedQualityUpdate(wire::subscribed_quality(&info, wanted)));
                }
            }
            RoomEvent::MuteRequested { track, muted } => {
                self.send(Response::Mute(proto::MuteTrackRequest { sid: track.to_string(), muted }));
            }
            RoomEvent::ParticipantJoined(info) => self.updates.changed(&info.sid, &info.identity),
            RoomEvent::ParticipantLeft(info, reason) => {
                if info.sid != self.sid && !info.permission.hidden {
                    self.updates.departed(Instant::now(), wire::departed(&info, reason));
                }
            }
            RoomEvent::ParticipantUpdated(info) => self.updates.changed(&info.sid, &info.identity),
            RoomEvent::PermissionChanged(permission) => self.permission_changed(permission),
            RoomEvent::Qualities(all) => self.qualities(&all),
            RoomEvent::RoomUpdated(info) => self.updates.room(info),
            RoomEvent::Speakers(speakers) => self.speakers(&speakers),
            RoomEvent::Leg(_) => {}
            RoomEvent::Subscribable(track) => self.subscribable(&track),
            RoomEvent::SubscriptionEnded { subscription, why } => self.subscription_ended(&subscription, why),
            RoomEvent::TrackPublished(track) => {
                if track.participant != self.sid {
                    self.updates.changed(&track.participant, &track.identity);
                    // The client must know the participant before its media arrives.
                    self.flush_updates();
                    self.subscribe_by_itself(&track);
                }
            }
            RoomEvent::TrackUnpublished(track) => self.track_unpublished(&track),
            RoomEvent::TrackUpdated(track) => {
                if track.participant != self.sid {
                    self.updates.changed(&track.participant, &track.identity);
                }
            }
        }
        Flow::Continue
    }

    pub(super) fn on_command(&mut self, command: Command) -> Flow {
        match command {
            Command::Attach(attach) => return self.attach(*attach),
            Command::Notice(Notice::Touched { sid, identity }) => self.updates.changed(&sid, &identity),
        }
        Flow::Continue
    }

    fn track_unpublished(&mut self, track: &TrackInfo) {
        self.unwanted.remove(&track.sid);
        if track.participant == self.sid {
            // Also when it was the room that took it out.
            self.peer.unpublish(&track.sid);
            self.board.forget_track(&track.sid);
            self.announced.remove(&track.sid);
            let gone = proto::TrackUnpublishedResponse { track_sid: track.sid.to_string() };
            self.send(Response::TrackUnpublished(gone));
        } else {
            self.updates.changed(&track.participant, &track.identity);
        }
    }

    fn permission_changed(&mut self, permission: Permission) {
        let could_subscribe = std::mem::replace(&mut self.permission, permission).can_subscribe;
        if !could_subscribe && self.permission.can_subscribe {
            self.subscribe_to_all();
        }
        self.updates.changed(&self.sid.clone(), &self.identity.clone());
        self.refresh_token();
    }

    fn qualities(&mut self, all: &[(ParticipantSid, Quality, f32)]) {
        let updates = all
            .iter()
            .map(|(sid, quality, score)| proto::ConnectionQualityInfo {
                participant_sid: sid.to_string(),
                quality: wire::quality(*quality) as i32,
                // LiveKit's scale ends at 5, as MOS does.
                score: score * 5.0,
            })
            .collect();
        self.send(Response::ConnectionQuality(proto::ConnectionQualityUpdate { updates }));
    }

    fn speakers(&mut self, speakers: &[Speaker]) {
        let speakers = speakers
            .iter()
            .map(|it| proto::SpeakerInfo { sid: it.sid.to_string(), level: it.level, active: it.active })
            .collect();
        self.send(Response::SpeakersChanged(proto::SpeakersChanged { speakers }));
    }
}
