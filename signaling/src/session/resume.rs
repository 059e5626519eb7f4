//! Coming back: a new connection for a session that is still here.
//!
//! The client reconnects, gets the reconnect response and the room as it is now,
//! sends its `SyncState`, and restarts ICE; reliable messages it missed are sent
//! again. A client whose session is gone is told to join afresh.

use super::link::Attach;
use super::run::{Flow, Session};
use crate::wire::{self, LeaveAction};
use livekit_protocol as proto;
use livekit_protocol::DisconnectReason;
use livekit_protocol::signal_response::Message as Response;
use rongtong_media_core::ids::TrackSid;
use rongtong_media_core::room::{DataKind, LeaveReason};
use rongtong_media_core::webrtc::TrackSettings;
use std::collections::HashMap;
use std::time::Instant;

/// For clients that test how they resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropOnResume {
    AfterFirstMessages,
    AtOnce,
    No,
}

impl Session {
    pub(super) fn attach(&mut self, attach: Attach) -> Flow {
        if let Some(former) = self.link.take() {
            former.close(1000, "resumed on another connection");
        }
        let drop = std::mem::replace(&mut self.drop_on_resume, DropOnResume::No);
        if drop == DropOnResume::AtOnce {
            self.away_since.get_or_insert_with(Instant::now);
            return Flow::Continue;
        }
        self.shared.metrics.resumes.inc();
        self.resumed_from = self.away_since.take().unwrap_or(self.last_heard);
        let departures = self.missed_departures();
        self.last_heard = Instant::now();
        self.link = Some(attach.link);

        let response = wire::reconnect_response(&self.shared.node, &self.shared.region, self.last_sequence);
        self.send(Response::Reconnect(response));
        if !departures.is_empty() {
            self.send(Response::Update(proto::ParticipantUpdate { participants: departures }));
        }
        let participants = self.everybody(true);
        self.send(Response::Update(proto::ParticipantUpdate { participants }));
        self.send(Response::RoomUpdate(proto::RoomUpdate { room: Some(wire::room(&self.room.info())) }));
        for message in std::mem::take(&mut self.backlog) {
            self.send(message);
        }
        self.refresh_token();

        self.peer.resume();
        let mut flow = Flow::Continue;
        if let Some(offer) = attach.publisher_offer {
            flow = self.offer(offer);
        }
        if let Some(state) = attach.sync_state
            && flow == Flow::Continue
        {
            flow = self.sync_state(state);
        }
        if drop == DropOnResume::AfterFirstMessages {
            self.detach();
        }
        flow
    }

    /// Brings the session to what the client believes: its subscriptions, what it
    /// has switched off, what it publishes, what it has received.
    pub(super) fn sync_state(&mut self, state: proto::SyncState) -> Flow {
        let lost = state.publish_tracks.iter().filter_map(|it| it.track.as_ref()).any(|track| {
            let sid = TrackSid::new(&track.sid);
            !self.announced.contains_key(&sid)
        });
        if lost {
            // Tracks are published again by joining again.
            self.send(Response::Leave(wire::leave(LeaveAction::Reconnect, DisconnectReason::StateMismatch)));
            return Flow::End { reason: LeaveReason::ConnectionLost, told: true };
        }
        if let Some(subscription) = &state.subscription {
            if self.params.auto_subscribe {
                self.unwanted.clear();
            }
            self.update_subscription(subscription);
            self.subscribe_to_all();
        }
        for sid in state.track_sids_disabled.iter().take(1000) {
            let off = TrackSettings { disabled: true, quality: None, width: 0, height: 0, fps: 0, priority: 0 };
            self.peer.adjust(&TrackSid::new(sid), off);
        }
        self.replay_missed(&state.datachannel_receive_states);
        Flow::Continue
    }

    fn replay_missed(&mut self, states: &[proto::DataChannelReceiveState]) {
        let received: HashMap<&str, u32> =
            states.iter().take(1000).map(|it| (it.publisher_sid.as_str(), it.last_seq)).collect();
        for message in self.replay.missed(Instant::now(), &received, self.resumed_from) {
            self.shared.metrics.replayed.inc();
            self.peer.send_data(DataKind::Reliable, wire::data_packet(message));
        }
    }
}
