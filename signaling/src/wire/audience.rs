//! Whom a publisher lets receive its tracks, as its client says it.

use livekit_protocol as proto;
use rongtong_media_core::ids::{Identity, ParticipantSid, TrackSid};
use rongtong_media_core::room::{Audience, Listed, Listener, Tracks};

/// Listeners, and tracks of each, that are read.
const MAX_LISTED: usize = 1000;

/// Reads a client's choice. Who is named by identity comes before who is named by sid.
pub fn audience(permission: &proto::SubscriptionPermission) -> Audience {
    let mut listed: Vec<Listed> = permission.track_permissions.iter().take(MAX_LISTED).map(of_listener).collect();
    listed.sort_by_key(|it| matches!(it.listener, Listener::Sid(_)));
    Audience { everybody: permission.all_participants, listed }
}

fn of_listener(it: &proto::TrackPermission) -> Listed {
    let listener = match it.participant_identity.as_str() {
        "" => Listener::Sid(ParticipantSid::new(&it.participant_sid)),
        identity => Listener::Identity(Identity::new(identity)),
    };
    let tracks = match it.all_tracks {
        true => Tracks::All,
        false => Tracks::These(it.track_sids.iter().take(MAX_LISTED).map(TrackSid::new).collect()),
    };
    Listed { listener, tracks }
}
