//! The session's task: one loop over client, room, peer, other sessions, time.

use super::link::{Command, FromClient, Link, LinkId, Unsent};
use super::replay::Replay;
use super::resume::DropOnResume;
use super::start::Seat;
use super::updates::Updates;
use crate::Shared;
use crate::board::Board;
use crate::join::JoinParams;
use crate::token::Claims;
use crate::wire::{self, LeaveAction};
use bytes::Bytes;
use livekit_protocol as proto;
use livekit_protocol::DisconnectReason;
use livekit_protocol::signal_response::Message as Response;
use rongtong_media_core::ids::{Identity, ParticipantSid, TrackSid};
use rongtong_media_core::room::{DataKind, DataReceiver, LeaveReason, Permission, Room, RoomEvent};
use rongtong_media_core::webrtc::{Peer, PeerEvent};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep_until};

/// Tokens given to a participant in the room last ten minutes, so it gets a new one in time.
pub(super) const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// Answers kept for a client that is away.
const BACKLOG: usize = 64;
/// Media that failed and did not come back for so long is given up.
const MEDIA_GRACE: Duration = Duration::from_secs(20);

/// Whether the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    /// The participant goes, for this reason, without a word if its client knows already.
    End {
        reason: LeaveReason,
        told: bool,
    },
}

pub(crate) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) room: Arc<Room>,
    pub(super) sid: ParticipantSid,
    pub(super) identity: Identity,
    pub(super) permission: Permission,
    pub(super) claims: Claims,
    pub(super) params: JoinParams,
    pub(super) peer: Arc<Peer>,
    pub(super) board: Arc<Board>,

    pub(super) link: Option<Link>,
    /// Since when there is no connection.
    pub(super) away_since: Option<Instant>,
    pub(super) last_heard: Instant,
    /// Since when the client was away before its last resume.
    pub(super) resumed_from: Instant,
    pub(super) backlog: VecDeque<Response>,
    pub(super) updates: Updates,
    pub(super) replay: Replay,
    /// Number of the last reliable message taken from the client.
    pub(super) last_sequence: u32,
    /// Tracks the client does not want although it subscribes by itself.
    pub(super) unwanted: HashSet<TrackSid>,
    /// Own tracks that were announced, negotiated or not, with the client's name for each.
    pub(super) announced: HashMap<TrackSid, String>,
    pub(super) media_failed_at: Option<Instant>,
    pub(super) drop_on_resume: DropOnResume,

    /// Leaves the room when the session ends, however it ends.
    pub(super) seat: Seat,
}

/// Where a session hears from.
pub(crate) struct Inputs {
    pub room: mpsc::Receiver<RoomEvent>,
    /// From other participants to the client.
    pub room_data: DataReceiver,
    pub peer: mpsc::Receiver<PeerEvent>,
    /// From the client to other participants.
    pub data: mpsc::Receiver<(DataKind, Bytes)>,
    pub commands: mpsc::Receiver<Command>,
    pub client: mpsc::Receiver<(LinkId, FromClient)>,
}

impl Session {
    /// Runs until the participant is out of its room.
    pub async fn run(mut self, mut inputs: Inputs) {
        let mut refresh = every(REFRESH_EVERY);
        let (reason, told) = loop {
            let deadline = self.deadline();
            let flow = tokio::select! {
                Some((id, message)) = inputs.client.recv() => self.on_client(id, message),
                event = inputs.room.recv() => match event {
                    Some(event) => self.on_room_events(event, &mut inputs.room),
                    None => Flow::End { reason: LeaveReason::Overrun, told: false },
                },
                Some(event) = inputs.peer.recv() => self.on_peer_event(event),
                Some((kind, payload)) = inputs.data.recv() => {
                    self.data_from_client(kind, &payload);
                    Flow::Continue
                }
                message = inputs.room_data.recv(), if self.peer.takes_data() => {
                    self.data_to_client(&message);
                    Flow::Continue
                }
                // Only to look again: what waited may go now.
                () = self.peer.data_taken(), if !self.peer.takes_data() => Flow::Continue,
                () = self.peer.overrun() => Flow::End { reason: LeaveReason::Overrun, told: false },
                Some(command) = inputs.commands.recv() => self.on_command(command),
                _ = refresh.tick() => self.refresh_token(),
                () = sleep_until(deadline.into()) => self.time_is_up(Instant::now()),
            };
            self.flush_updates();
            if let Flow::End { reason, told } = flow {
                break (reason, told);
            }
        };
        self.end(reason, told);
    }

    /// Sends to the client; what it must not miss waits for it when it is away.
    pub(super) fn send(&mut self, message: Response) {
        match self.link.as_ref().map(|link| link.send(message.clone())) {
            Some(Ok(())) => {}
            Some(Err(reason)) => {
                if reason == Unsent::NotReading {
                    self.shared.metrics.discard("client_does_not_read");
                }
                self.detach();
                self.keep(message);
            }
            None => self.keep(message),
        }
    }

    /// The connection is gone; the session waits for another.
    pub(super) fn detach(&mut self) {
        self.link = None;
        if self.away_since.is_none() {
            self.away_since = Some(Instant::now());
        }
    }

    /// Describes this participant again with what is allowed now.
    pub(super) fn refresh_token(&mut self) -> Flow {
        let token = self.shared.minter.refresh(&self.claims, &self.permission);
        if self.link.is_some() {
            self.send(Response::RefreshToken(token));
        }
        Flow::Continue
    }

    fn keep(&mut self, message: Response) {
        if matches!(message, Response::TrackPublished(_) | Response::TrackUnpublished(_) | Response::RequestResponse(_))
        {
            if self.backlog.len() == BACKLOG {
                self.backlog.pop_front();
            }
            self.backlog.push_back(message);
        }
    }

    fn on_client(&mut self, id: LinkId, message: FromClient) -> Flow {
        if self.link.as_ref().is_none_or(|link| link.id != id) {
            return Flow::Continue;
        }
        self.last_heard = Instant::now();
        match message {
            FromClient::Request(request) => {
                self.shared.metrics.messages.inc();
                self.request(*request)
            }
            FromClient::Flood => {
                self.send(Response::Leave(wire::leave(LeaveAction::Disconnect, DisconnectReason::StateMismatch)));
                if let Some(link) = self.link.take() {
                    link.close(1008, "too many messages");
                }
                Flow::End { reason: LeaveReason::Removed, told: true }
            }
            FromClient::Gone => {
                self.detach();
                Flow::Continue
            }
        }
    }

    /// Takes everything that waits, so that one update tells all of it.
    fn on_room_events(&mut self, first: RoomEvent, more: &mut mpsc::Receiver<RoomEvent>) -> Flow {
        let mut flow = self.on_room_event(first);
        while flow == Flow::Continue
            && let Ok(event) = more.try_recv()
        {
            flow = self.on_room_event(event);
        }
        flow
    }

    fn deadline(&self) -> Instant {
        let away = self.away_since.map(|at| at + self.shared.limits.resume_window);
        let media = self.media_failed_at.map(|at| at + MEDIA_GRACE);
        let far = Instant::now() + Duration::from_secs(3600);
        [away, media].into_iter().flatten().fold(far, Instant::min)
    }

    fn time_is_up(&mut self, now: Instant) -> Flow {
        let over = |since: Option<Instant>, limit| since.is_some_and(|at| now.saturating_duration_since(at) >= limit);
        if over(self.away_since, self.shared.limits.resume_window) {
            Flow::End { reason: LeaveReason::ConnectionLost, told: false }
        } else if over(self.media_failed_at, MEDIA_GRACE) {
            Flow::End { reason: LeaveReason::MediaFailed, told: false }
        } else {
            Flow::Continue
        }
    }

    fn end(mut self, reason: LeaveReason, told: bool) {
        tracing::info!(room = %self.room.name(), participant = %self.sid, ?reason, "session ended");
        if !told {
            self.send(Response::Leave(wire::leave_for(reason)));
        }
        self.seat.reason = reason;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.peer.close();
        self.announced.keys().for_each(|track| self.board.forget_track(track));
        self.shared.boards.leave(self.room.name(), &self.identity, &self.sid);
        self.shared.metrics.sessions.dec();
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// A description of a session, `offer` or `answer`.
pub(super) fn description(
    kind: &str,
    sdp: String,
    id: u32,
    tracks: impl IntoIterator<Item = (String, String)>,
) -> proto::SessionDescription {
    proto::SessionDescription { r#type: kind.to_owned(), sdp, id, mid_to_track_id: tracks.into_iter().collect() }
}
