//! Tracks: announcing, negotiating, subscribing.

use super::run::{Flow, Session, description};
use crate::wire;
use livekit_protocol as proto;
use livekit_protocol::request_response::{Reason, Request};
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{SubscriptionError, VideoQuality};
use rongtong_media_core::ids::TrackSid;
use rongtong_media_core::room::{
    LayerQuality, LeaveReason, ParticipantChange, ParticipantState, RoomError, Subscription, SubscriptionEnd, TrackInfo,
};
use rongtong_media_core::webrtc::{PeerError, PeerEvent, TrackSettings};
use std::sync::Arc;
use std::time::Instant;

impl Session {
    pub(super) fn add_track(&mut self, request: proto::AddTrackRequest) {
        let announced = match wire::announcement(&request, self.room.codec_policy(), self.params.follows_codec) {
            Ok(announced) => announced,
            Err(error) => {
                self.shared.metrics.discard("unsupported_track");
                tracing::info!(participant = %self.sid, client = %self.params.client, %error, "track refused");
                return self.respond(0, Reason::UnsupportedType, error.to_string(), Some(Request::AddTrack(request)));
            }
        };
        let (rids, sound) = (announced.rids.clone(), announced.sound);
        match self.peer.add_track(&request.cid, announced) {
            Ok(info) => {
                self.board.set_extras(&info.sid, |extras| (extras.rids, extras.sound) = (rids, sound));
                self.announced.insert(info.sid.clone(), request.cid.clone());
                let track = Some(wire::track(&info, &self.board.extras(&info.sid)));
                self.send(Response::TrackPublished(proto::TrackPublishedResponse { cid: request.cid, track }));
            }
            Err(error) => {
                self.shared.metrics.discard("refused_track");
                tracing::info!(participant = %self.sid, %error, "track refused");
                self.respond(0, reason_of(&error), error.to_string(), Some(Request::AddTrack(request)));
            }
        }
    }

    /// The client's offer, for publishing (and, on a single connection, for everything).
    pub(super) fn offer(&mut self, offer: proto::SessionDescription) -> Flow {
        match self.peer.publisher_offer(&offer.sdp) {
            Ok(answer) => {
                self.send(Response::Answer(description("answer", answer.sdp, offer.id, answer.mid_to_track)));
                self.take_back_undecodable(&offer.sdp);
                Flow::Continue
            }
            Err(error) => self.negotiation_failed(&error),
        }
    }

    /// Tracks that an offer carries and that were not taken have no codec in common
    /// with the room. Their publisher is told, instead of sending to nobody.
    fn take_back_undecodable(&mut self, offer: &str) {
        let offered = |cid: &str| {
            let named = offer.lines().filter_map(|line| line.strip_prefix("a=msid:"));
            named.filter_map(|ids| ids.split_whitespace().nth(1)).any(|id| id == cid)
        };
        let not_taken =
            |(sid, cid): (&TrackSid, &String)| (self.room.track(sid).is_none() && offered(cid)).then(|| sid.clone());
        let refused: Vec<TrackSid> = self.announced.iter().filter_map(not_taken).collect();
        for sid in refused {
            self.shared.metrics.discard("no_common_codec");
            tracing::info!(participant = %self.sid, client = %self.params.client, "track taken back: no codec in common");
            self.announced.remove(&sid);
            self.board.forget_track(&sid);
            self.peer.unpublish(&sid);
            let message = "the track's codec is not admitted in this room".to_owned();
            self.respond(0, Reason::UnsupportedType, message, None);
            if !self.params.follows_codec {
                // These clients know no unpublishing by the server, but they show a mute.
                self.send(Response::Mute(proto::MuteTrackRequest { sid: sid.to_string(), muted: true }));
            }
            let gone = proto::TrackUnpublishedResponse { track_sid: sid.to_string() };
            self.send(Response::TrackUnpublished(gone));
        }
    }

    pub(super) fn answer(&mut self, answer: &proto::SessionDescription) -> Flow {
        match self.peer.subscriber_answer(&answer.sdp, Some(answer.id).filter(|id| *id > 0)) {
            Ok(()) => Flow::Continue,
            // An answer that was under way when the connection changed.
            Err(PeerError::WrongState(_)) => {
                self.shared.metrics.discard("stale_answer");
                Flow::Continue
            }
            Err(error) => self.negotiation_failed(&error),
        }
    }

    pub(super) fn on_peer_event(&mut self, event: PeerEvent) -> Flow {
        match event {
            PeerEvent::Connected(target) => {
                tracing::debug!(participant = %self.sid, ?target, "media connected");
                self.media_failed_at = None;
                let active =
                    ParticipantChange { state: Some(ParticipantState::Active), ..ParticipantChange::default() };
                let _ = self.room.update_participant(&self.sid, active);
            }
            PeerEvent::Disconnected(target) => tracing::debug!(participant = %self.sid, ?target, "media disconnected"),
            PeerEvent::Failed(target) => {
                tracing::debug!(participant = %self.sid, ?target, "media failed");
                self.media_failed_at.get_or_insert_with(Instant::now);
            }
            PeerEvent::Offer { sdp, id, mid_to_track } => {
                self.send(Response::Offer(description("offer", sdp, id, mid_to_track)));
            }
            PeerEvent::SectionsWanted { audio, video } => {
                let wanted = proto::MediaSectionsRequirement { num_audios: audio, num_videos: video };
                self.send(Response::MediaSectionsRequirement(wanted));
            }
            PeerEvent::SubscriptionRefused { track } => {
                self.subscription_error(track.as_str(), SubscriptionError::SeCodecUnsupported);
            }
            PeerEvent::PublishRefused { info, error, .. } => {
                self.announced.remove(&info.sid);
                self.board.forget_track(&info.sid);
                // Clients take the track down on the first and can show the second.
                let gone = proto::TrackUnpublishedResponse { track_sid: info.sid.to_string() };
                self.send(Response::TrackUnpublished(gone));
                self.respond(0, reason_of(&error), error.to_string(), None);
            }
            PeerEvent::TrackPublished { cid, info, mid } => {
                // The room may have taken it out since.
                if self.room.track(&info.sid).is_some() {
                    self.board.set_extras(&info.sid, |extras| extras.mid = mid);
                    self.announced.insert(info.sid.clone(), cid);
                }
            }
        }
        Flow::Continue
    }

    /// Every track of the room that this client takes by itself.
    pub(super) fn subscribe_to_all(&mut self) {
        if self.params.auto_subscribe {
            for track in self.room.tracks() {
                self.subscribe_by_itself(&track);
            }
        }
    }

    pub(super) fn subscribe_by_itself(&mut self, track: &Arc<TrackInfo>) {
        let seen = self.room.participant(&track.identity).is_some_and(|publisher| self.is_visible(&publisher));
        let wanted = self.params.auto_subscribe && !self.unwanted.contains(&track.sid);
        if wanted && seen && self.permission.can_subscribe && track.participant != self.sid {
            self.subscribe(track);
        }
    }

    pub(super) fn subscribe(&mut self, track: &TrackInfo) {
        let error = match self.peer.subscribe(&track.sid) {
            Ok(()) | Err(PeerError::Room(RoomError::OwnTrack)) => return,
            Err(PeerError::Room(RoomError::NotAllowed(_) | RoomError::NotInAudience)) => {
                return self.say_allowed(track, false);
            }
            Err(PeerError::CodecUnsupported { .. }) => SubscriptionError::SeCodecUnsupported,
            Err(PeerError::Room(RoomError::NoTrack)) => SubscriptionError::SeTrackNotfound,
            Err(_) => SubscriptionError::SeUnknown,
        };
        self.subscription_error(track.sid.as_str(), error);
    }

    /// What the client asked for before may be had now.
    pub(super) fn subscribable(&mut self, track: &TrackInfo) {
        self.say_allowed(track, true);
        if !self.unwanted.contains(&track.sid) {
            self.subscribe(track);
        }
    }

    pub(super) fn subscription_ended(&mut self, subscription: &Subscription, why: SubscriptionEnd) {
        self.peer.subscription_ended(subscription);
        match why {
            SubscriptionEnd::Audience | SubscriptionEnd::Revoked => self.say_allowed(&subscription.track, false),
            SubscriptionEnd::Unpublished => {}
        }
    }

    pub(super) fn update_subscription(&mut self, update: &proto::UpdateSubscription) {
        let by_participant = update.participant_tracks.iter().flat_map(|it| &it.track_sids);
        for sid in update.track_sids.iter().chain(by_participant).take(1000) {
            let sid = TrackSid::new(sid);
            if !update.subscribe {
                self.unwanted.insert(sid.clone());
                self.peer.unsubscribe(&sid);
                continue;
            }
            self.unwanted.remove(&sid);
            match self.room.track(&sid) {
                Some(track) => self.subscribe(&track),
                None => self.subscription_error(sid.as_str(), SubscriptionError::SeTrackNotfound),
            }
        }
        // Clients name tracks that are long gone; there is no need to remember those.
        let room = self.room.clone();
        self.unwanted.retain(|sid| room.track(sid).is_some());
    }

    pub(super) fn track_settings(&mut self, update: &proto::UpdateTrackSettings) {
        let sized = update.width > 0 || update.height > 0;
        let quality = match update.quality() {
            VideoQuality::Low => Some(LayerQuality::Low),
            VideoQuality::Medium => Some(LayerQuality::Medium),
            VideoQuality::High => Some(LayerQuality::High),
            VideoQuality::Off => None,
        };
        for sid in update.track_sids.iter().take(1000) {
            let settings = TrackSettings {
                disabled: update.disabled || update.quality() == VideoQuality::Off,
                // The field is 0, "low", when a client gives dimensions instead.
                quality: quality.filter(|_| !sized),
                width: update.width,
                height: update.height,
                fps: update.fps,
                priority: update.priority,
            };
            self.peer.adjust(&TrackSid::new(sid), settings);
        }
    }

    fn negotiation_failed(&mut self, error: &PeerError) -> Flow {
        self.shared.metrics.discard("bad_description");
        tracing::warn!(participant = %self.sid, %error, "negotiation failed");
        Flow::End { reason: LeaveReason::MediaFailed, told: false }
    }

    fn subscription_error(&mut self, track_sid: &str, error: SubscriptionError) {
        let response = proto::SubscriptionResponse { track_sid: track_sid.to_owned(), err: error as i32 };
        self.send(Response::SubscriptionResponse(response));
    }

    fn say_allowed(&mut self, track: &TrackInfo, allowed: bool) {
        self.send(Response::SubscriptionPermissionUpdate(proto::SubscriptionPermissionUpdate {
            participant_sid: track.participant.to_string(),
            track_sid: track.sid.to_string(),
            allowed,
        }));
    }
}

pub(super) fn reason_of(error: &PeerError) -> Reason {
    match error {
        PeerError::NotAllowed { .. } | PeerError::Room(RoomError::NotAllowed(_)) => Reason::NotAllowed,
        PeerError::NoCommonCodec { .. } => Reason::UnsupportedType,
        PeerError::NotFound => Reason::NotFound,
        _ => Reason::UnclassifiedError,
    }
}
