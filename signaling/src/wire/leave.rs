//! Why a participant goes, and what its client should do next.

use livekit_protocol as proto;
use livekit_protocol::DisconnectReason;
use livekit_protocol::leave_request::Action;
use rongtong_media_core::room::LeaveReason;

pub use livekit_protocol::leave_request::Action as LeaveAction;

pub fn disconnect_reason(reason: LeaveReason) -> DisconnectReason {
    match reason {
        LeaveReason::ClientInitiated => DisconnectReason::ClientInitiated,
        LeaveReason::ConnectionLost => DisconnectReason::SignalClose,
        LeaveReason::DuplicateIdentity => DisconnectReason::DuplicateIdentity,
        LeaveReason::MediaFailed => DisconnectReason::MediaFailure,
        LeaveReason::Overrun => DisconnectReason::StateMismatch,
        LeaveReason::Removed => DisconnectReason::ParticipantRemoved,
        LeaveReason::RoomClosed => DisconnectReason::RoomDeleted,
        LeaveReason::ServerShutdown => DisconnectReason::ServerShutdown,
    }
}

pub fn leave(action: Action, reason: DisconnectReason) -> proto::LeaveRequest {
    proto::LeaveRequest {
        // Clients before protocol 13 know only this flag.
        can_reconnect: action != Action::Disconnect,
        reason: reason as i32,
        action: action as i32,
        regions: None,
    }
}

/// A client whose going was nobody's wish joins again by itself.
pub fn leave_for(reason: LeaveReason) -> proto::LeaveRequest {
    let action = match reason {
        LeaveReason::ConnectionLost | LeaveReason::MediaFailed | LeaveReason::Overrun | LeaveReason::ServerShutdown => {
            Action::Reconnect
        }
        LeaveReason::ClientInitiated
        | LeaveReason::DuplicateIdentity
        | LeaveReason::Removed
        | LeaveReason::RoomClosed => Action::Disconnect,
    };
    leave(action, disconnect_reason(reason))
}
