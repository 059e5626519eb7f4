//! Participants, their permission, their connection quality.

use super::disconnect_reason;
use super::track::{self, TrackExtras};
use livekit_protocol as proto;
use livekit_protocol::participant_info::{Kind, State};
use rongtong_media_core::ids::TrackSid;
use rongtong_media_core::room::{LeaveReason, ParticipantInfo, ParticipantKind, ParticipantState, Permission, Quality};
use std::time::{SystemTime, UNIX_EPOCH};

/// `extras` gives what clients said about a track that rooms don't keep.
pub fn participant(info: &ParticipantInfo, extras: &dyn Fn(&TrackSid) -> TrackExtras) -> proto::ParticipantInfo {
    let joined_ms = unix_ms(info.joined_at);
    proto::ParticipantInfo {
        sid: info.sid.to_string(),
        identity: info.identity.to_string(),
        state: state(info.state) as i32,
        tracks: info.tracks.iter().map(|it| track::track(it, &extras(&it.sid))).collect(),
        metadata: info.metadata.clone(),
        joined_at: joined_ms / 1000,
        joined_at_ms: joined_ms,
        name: info.name.clone(),
        version: info.version,
        permission: Some(permission(&info.permission, info.kind)),
        is_publisher: !info.tracks.is_empty(),
        kind: kind(info.kind) as i32,
        attributes: info.attributes.clone().into_iter().collect(),
        ..Default::default()
    }
}

/// Somebody who is gone.
pub fn departed(info: &ParticipantInfo, reason: LeaveReason) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        state: State::Disconnected as i32,
        tracks: Vec::new(),
        disconnect_reason: disconnect_reason(reason) as i32,
        ..participant(info, &|_| TrackExtras::default())
    }
}

#[allow(deprecated)] // clients of some years still read `recorder` and `agent`
pub fn permission(permission: &Permission, kind: ParticipantKind) -> proto::ParticipantPermission {
    proto::ParticipantPermission {
        can_subscribe: permission.can_subscribe,
        can_publish: permission.can_publish,
        can_publish_data: permission.can_publish_data,
        can_publish_sources: permission.sources.iter().map(|it| track::source(*it) as i32).collect(),
        hidden: permission.hidden,
        recorder: kind == ParticipantKind::Recorder,
        can_update_metadata: permission.can_update_metadata,
        agent: kind == ParticipantKind::Agent,
        can_subscribe_metrics: false,
        can_manage_agent_session: false,
    }
}

pub fn quality(quality: Quality) -> proto::ConnectionQuality {
    match quality {
        Quality::Excellent => proto::ConnectionQuality::Excellent,
        Quality::Good => proto::ConnectionQuality::Good,
        Quality::Lost => proto::ConnectionQuality::Lost,
        Quality::Poor => proto::ConnectionQuality::Poor,
    }
}

fn state(state: ParticipantState) -> State {
    match state {
        ParticipantState::Active => State::Active,
        ParticipantState::Disconnected => State::Disconnected,
        ParticipantState::Joined => State::Joined,
        ParticipantState::Joining => State::Joining,
    }
}

fn kind(kind: ParticipantKind) -> Kind {
    match kind {
        ParticipantKind::Agent => Kind::Agent,
        ParticipantKind::Camera => Kind::Ingress,
        ParticipantKind::Person => Kind::Standard,
        ParticipantKind::Recorder => Kind::Egress,
        ParticipantKind::Terminal => Kind::Sip,
    }
}

pub(super) fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
