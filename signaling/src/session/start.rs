//! How a session begins: a seat in the room, a peer, and the first messages.

use super::connection::say_and_close;
use super::link::{Command, FromClient, Link, LinkId, Outgoing, SessionHandle};
use super::replay::Replay;
use super::resume::DropOnResume;
use super::run::{Inputs, REFRESH_EVERY, Session};
use super::updates::Updates;
use crate::Shared;
use crate::board::ClientView;
use crate::join::JoinParams;
use crate::token::{Admission, now_s};
use crate::wire::{self, JoinView, LeaveAction};
use axum::extract::ws::WebSocket;
use livekit_protocol::DisconnectReason;
use livekit_protocol::signal_response::Message as Response;
use rongtong_media_core::ids::ParticipantSid;
use rongtong_media_core::room::{Join, LeaveReason, ParticipantChange, ParticipantState, Room, RoomError, RoomOptions};
use rongtong_media_core::webrtc::Peer;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Requests waiting for a session; the connection reads no further meanwhile.
const FROM_CLIENT: usize = 64;
const COMMANDS: usize = 256;

/// A participant's place in its room: given up when dropped.
pub(crate) struct Seat {
    room: Arc<Room>,
    sid: ParticipantSid,
    pub reason: LeaveReason,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.leave(&self.sid, self.reason);
    }
}

/// A participant that is in its room and waits for its WebSocket to open.
pub(crate) struct Entrance {
    session: Session,
    inputs: Inputs,
    from_client: mpsc::Sender<(LinkId, FromClient)>,
}

/// Takes the participant into its room. A former session of the same identity is out by then.
pub(crate) fn open(
    shared: &Arc<Shared>,
    admission: Admission,
    params: JoinParams,
    options: RoomOptions,
) -> Result<Entrance, RoomError> {
    let room = shared.rooms.open(&admission.room, || options);
    let membership = room.join(Join {
        identity: admission.identity.to_string(),
        name: admission.name,
        kind: admission.kind,
        permission: admission.permission,
        metadata: admission.metadata,
        attributes: admission.attributes,
    })?;
    let info = membership.info;
    let seat = Seat { room: room.clone(), sid: info.sid.clone(), reason: LeaveReason::ConnectionLost };
    let room_data = room.receive_data(&info.sid);
    let (peer, peer_inputs) = Peer::new(shared.endpoint.clone(), room.clone(), &info, params.topology);

    let (commands, command_inputs) = mpsc::channel::<Command>(COMMANDS);
    let (from_client, client_inputs) = mpsc::channel(FROM_CLIENT);
    let handle = SessionHandle { sid: info.sid.clone(), commands, from_client: from_client.clone() };
    let client = ClientView { protocol: params.client_protocol, capabilities: params.capabilities.clone() };
    let is_in = || room.participant_by_sid(&info.sid).is_some();
    let board = shared.boards.enter(&admission.room, &info.identity, handle, client, is_in);
    shared.metrics.sessions.inc();

    let session = Session {
        shared: shared.clone(),
        sid: info.sid.clone(),
        identity: info.identity.clone(),
        permission: info.permission.clone(),
        claims: admission.claims,
        params,
        peer,
        board,
        link: None,
        away_since: None,
        last_heard: Instant::now(),
        resumed_from: Instant::now(),
        backlog: VecDeque::new(),
        updates: Updates::default(),
        replay: Replay::new(shared.limits.resume_window + Duration::from_secs(15)),
        last_sequence: 0,
        unwanted: HashSet::new(),
        announced: HashMap::new(),
        media_failed_at: None,
        drop_on_resume: DropOnResume::No,
        room,
        seat,
    };
    let inputs = Inputs {
        room: membership.events,
        room_data,
        peer: peer_inputs.events,
        data: peer_inputs.data,
        commands: command_inputs,
        client: client_inputs,
    };
    Ok(Entrance { session, inputs, from_client })
}

impl Entrance {
    /// Sends the first messages and sets the session running.
    pub fn start(self) -> (LinkId, mpsc::Sender<(LinkId, FromClient)>, mpsc::Receiver<Outgoing>) {
        let Self { mut session, inputs, from_client } = self;
        let (link, outgoing) = Link::pair();
        let id = link.id;
        session.link = Some(link);
        session.last_heard = Instant::now();
        session.greet();
        tracing::info!(
            room = %session.room.name(), participant = %session.sid, client = %session.params.client,
            topology = ?session.params.topology, "participant joined"
        );
        session.shared.metrics.joins.inc();
        tokio::spawn(session.run(inputs));
        (id, from_client, outgoing)
    }
}

impl Session {
    /// The join response, what the request brought along, and the answer to its offer.
    fn greet(&mut self) {
        let others = self.everybody(false);
        let Some(me) = self.room.participant(&self.identity).filter(|it| it.sid == self.sid) else {
            // Thrown out already; the event that says so is waiting.
            return;
        };
        self.updates.note(&me);
        let join = wire::join_response(JoinView {
            room: &self.room.info(),
            me: self.describe(&me),
            others,
            topology: self.params.topology,
            can_publish: self.permission.can_publish,
            can_subscribe: self.permission.can_subscribe,
            node: &self.shared.node,
            region: &self.shared.region,
        });
        self.send(Response::Join(join));
        // One that ends before the next would be of no use for coming back.
        if self.claims.exp < now_s() + REFRESH_EVERY.as_secs() + 60 {
            self.refresh_token();
        }
        let joined = ParticipantChange { state: Some(ParticipantState::Joined), ..ParticipantChange::default() };
        let _ = self.room.update_participant(&self.sid, joined);

        for request in std::mem::take(&mut self.params.add_tracks).into_iter().take(16) {
            self.add_track(request);
        }
        // Before the offer is answered, so that the answer can carry them.
        self.subscribe_to_all();
        if let Some(offer) = self.params.publisher_offer.take() {
            self.offer(offer);
        }
    }
}

/// Tells a client whose session is not here to join afresh.
pub(crate) async fn refuse_resume(socket: WebSocket) {
    let leave = wire::leave(LeaveAction::Reconnect, DisconnectReason::StateMismatch);
    say_and_close(socket, Response::Leave(leave)).await;
}
