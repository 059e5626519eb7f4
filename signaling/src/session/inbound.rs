//! Requests of the client, one method each where there is something to decide.

use super::link::Notice;
use super::media::reason_of;
use super::resume::DropOnResume;
use super::run::{Flow, Session};
use crate::wire::{self, LeaveAction};
use livekit_protocol as proto;
use livekit_protocol::DisconnectReason;
use livekit_protocol::request_response::{Reason, Request};
use livekit_protocol::signal_request::Message as Req;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::simulate_scenario::Scenario;
use rongtong_media_core::ids::TrackSid;
use rongtong_media_core::media::Kind;
use rongtong_media_core::room::{LeaveReason, ParticipantChange};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest ICE candidate as JSON, bytes.
const MAX_CANDIDATE: usize = 4096;
const MAX_NAME: usize = 256;
/// Metadata, and all attributes together, bytes.
const MAX_METADATA: usize = 64 * 1024;

impl Session {
    #[allow(deprecated)] // clients of some years still send `Ping` and `UpdateLayers`
    pub(super) fn request(&mut self, request: Req) -> Flow {
        match request {
            Req::AddTrack(it) => self.add_track(it),
            Req::Answer(it) => return self.answer(&it),
            Req::GetDataBlobRequest(it) => self.unsupported(it.request_id, "data blobs", None),
            Req::Leave(_) => return Flow::End { reason: LeaveReason::ClientInitiated, told: true },
            Req::Mute(it) => self.mute(it),
            Req::Offer(it) => return self.offer(it),
            Req::Ping(_) => self.send(Response::Pong(now_ms())),
            Req::PingReq(it) => self.pong(it),
            Req::PublishDataTrackRequest(it) => self.unsupported(0, "data tracks", Some(Request::PublishDataTrack(it))),
            Req::Simulate(it) => return self.simulate(it),
            Req::StoreDataBlobRequest(it) => self.unsupported(it.request_id, "data blobs", None),
            Req::Subscription(it) => self.update_subscription(&it),
            Req::SubscriptionPermission(it) => {
                // The participant is there, or its session is about to end anyway.
                let _ = self.room.set_audience(&self.sid, wire::audience(&it));
            }
            Req::SyncState(it) => return self.sync_state(it),
            Req::TrackSetting(it) => self.track_settings(&it),
            Req::Trickle(it) => self.trickle(it),
            Req::UnpublishDataTrackRequest(it) => {
                self.unsupported(0, "data tracks", Some(Request::UnpublishDataTrack(it)));
            }
            Req::UpdateAudioTrack(it) => self.update_audio_track(it),
            Req::UpdateDataSubscription(_) => self.shared.metrics.discard("unsupported"),
            Req::UpdateLayers(it) => self.update_layers(&it),
            Req::UpdateMetadata(it) => self.update_metadata(it),
            Req::UpdateVideoTrack(it) => self.update_video_track(it),
        }
        Flow::Continue
    }

    /// Tells how a request went; `request_id` 0 stands for requests that have none.
    pub(super) fn respond(&mut self, request_id: u32, reason: Reason, message: String, request: Option<Request>) {
        let response = proto::RequestResponse { request_id, reason: reason as i32, message, request };
        self.send(Response::RequestResponse(response));
    }

    fn unsupported(&mut self, request_id: u32, what: &str, request: Option<Request>) {
        self.shared.metrics.discard("unsupported");
        self.respond(request_id, Reason::UnsupportedType, format!("{what} are not supported by this server"), request);
    }

    /// The server is ICE-lite and finds the client by its checks, so candidates are only looked at.
    fn trickle(&mut self, trickle: proto::TrickleRequest) {
        let text = &trickle.candidate_init;
        let good = text.is_empty()
            || text.len() <= MAX_CANDIDATE && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        if !good {
            self.shared.metrics.discard("bad_candidate");
            let short = proto::TrickleRequest { candidate_init: String::new(), ..trickle };
            let message = "the candidate is not JSON, or longer than 4 KiB".to_owned();
            self.respond(0, Reason::InvalidRequest, message, Some(Request::Trickle(short)));
        }
    }

    fn mute(&mut self, mute: proto::MuteTrackRequest) {
        if let Err(error) = self.peer.set_muted(&TrackSid::new(&mute.sid), mute.muted) {
            self.respond(0, reason_of(&error), error.to_string(), Some(Request::Mute(mute)));
        }
    }

    fn pong(&mut self, ping: proto::Ping) {
        let timestamp = now_ms();
        // Clients before protocol 9 look for the first form only.
        self.send(Response::Pong(timestamp));
        self.send(Response::PongResp(proto::Pong { last_ping_timestamp: ping.timestamp, timestamp }));
    }

    fn update_metadata(&mut self, update: proto::UpdateParticipantMetadata) {
        let request_id = update.request_id;
        let attributes: usize = update.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        let large = update.metadata.len() > MAX_METADATA || attributes > MAX_METADATA || update.name.len() > MAX_NAME;
        let (reason, message) = if !self.permission.can_update_metadata {
            (Reason::NotAllowed, "the access token does not grant canUpdateOwnMetadata".to_owned())
        } else if large {
            (Reason::LimitExceeded, "name, metadata or attributes are too long".to_owned())
        } else {
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let change = ParticipantChange {
                name: text(&update.name),
                metadata: text(&update.metadata),
                attributes: Some(update.attributes.clone().into_iter().collect()).filter(|_| attributes > 0),
                ..ParticipantChange::default()
            };
            match self.room.update_participant(&self.sid, change) {
                Ok(()) => (Reason::Ok, String::new()),
                Err(error) => (Reason::UnclassifiedError, error.to_string()),
            }
        };
        self.respond(request_id, reason, message, Some(Request::UpdateMetadata(update)));
    }

    fn update_audio_track(&mut self, mut update: proto::UpdateLocalAudioTrack) {
        update.features.truncate(16);
        if let Some(track) = self.own(&update.track_sid, Kind::Audio) {
            self.board.set_extras(&track, |extras| extras.features = Some(update.features));
            let (sid, identity) = (self.sid.clone(), self.identity.clone());
            self.board.tell_others(&self.sid, &Notice::Touched { sid, identity });
        } else {
            let message = "there is no such audio track of yours".to_owned();
            self.respond(0, Reason::NotFound, message, Some(Request::UpdateAudioTrack(update)));
        }
    }

    fn update_video_track(&mut self, update: proto::UpdateLocalVideoTrack) {
        if let Some(track) = self.own(&update.track_sid, Kind::Video) {
            self.resize(&track, update.width, update.height);
        } else {
            let message = "there is no such video track of yours".to_owned();
            self.respond(0, Reason::NotFound, message, Some(Request::UpdateVideoTrack(update)));
        }
    }

    /// Older clients tell new dimensions by their layers: those of the largest count.
    fn update_layers(&mut self, update: &proto::UpdateVideoLayers) {
        let (layers, _) = wire::layers_from(&update.layers);
        if let (Some(top), Some(track)) = (layers.last(), self.own(&update.track_sid, Kind::Video)) {
            self.resize(&track, top.width, top.height);
        }
    }

    /// One of this participant's own tracks.
    fn own(&self, sid: &str, kind: Kind) -> Option<TrackSid> {
        let track = self.room.track(&TrackSid::new(sid))?;
        (track.participant == self.sid && track.spec.kind == kind).then(|| track.sid.clone())
    }

    fn resize(&self, track: &TrackSid, width: u32, height: u32) {
        // A track that is gone by now needs no size.
        let _ = self.room.change_track(track, |spec| (spec.width, spec.height) = (width, height));
    }

    /// What SDKs ask for to test themselves; it concerns nobody but the asking client.
    fn simulate(&mut self, simulate: proto::SimulateScenario) -> Flow {
        match simulate.scenario {
            Some(Scenario::SpeakerUpdate(_)) => {
                let me = proto::SpeakerInfo { sid: self.sid.to_string(), level: 0.9, active: true };
                self.send(Response::SpeakersChanged(proto::SpeakersChanged { speakers: vec![me] }));
            }
            Some(Scenario::NodeFailure(_)) => {
                self.detach();
                return Flow::End { reason: LeaveReason::ConnectionLost, told: true };
            }
            Some(Scenario::Migration(_)) => self.detach(),
            Some(Scenario::ServerLeave(_)) => {
                self.send(Response::Leave(wire::leave(LeaveAction::Disconnect, DisconnectReason::ServerShutdown)));
                return Flow::End { reason: LeaveReason::Removed, told: true };
            }
            Some(Scenario::LeaveRequestFullReconnect(_)) => {
                return Flow::End { reason: LeaveReason::ServerShutdown, told: false };
            }
            Some(Scenario::DisconnectSignalOnResume(_)) => self.drop_on_resume = DropOnResume::AfterFirstMessages,
            Some(Scenario::DisconnectSignalOnResumeNoMessages(_)) => self.drop_on_resume = DropOnResume::AtOnce,
            Some(Scenario::SwitchCandidateProtocol(_) | Scenario::SubscriberBandwidth(_)) | None => {
                self.shared.metrics.discard("unsupported");
            }
        }
        Flow::Continue
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
