//! What the sessions of one room tell each other: what publishers said about their
//! tracks, and what clients can do.
//!
//! It holds no media state; rooms do. Invariant: a session is on the board from
//! before its join response until after it left, and messages to it never wait.

use crate::wire::TrackExtras;
use parking_lot::Mutex;
use rongtong_media_core::ids::{Identity, ParticipantSid, RoomName, TrackSid};
use std::collections::HashMap;
use std::sync::Arc;

use crate::session::{Command, Notice, SessionHandle};

/// What a participant's client says it can do; clients choose by it how to talk to each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientView {
    pub protocol: i32,
    /// Values of `ClientInfo.Capability`.
    pub capabilities: Vec<i32>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<ParticipantSid, ClientView>,
    sessions: HashMap<Identity, SessionHandle>,
    extras: HashMap<TrackSid, TrackExtras>,
}

#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<State>);

impl Board {
    pub fn extras(&self, track: &TrackSid) -> TrackExtras {
        self.0.lock().extras.get(track).cloned().unwrap_or_default()
    }

    pub fn set_extras(&self, track: &TrackSid, change: impl FnOnce(&mut TrackExtras)) {
        change(self.0.lock().extras.entry(track.clone()).or_default());
    }

    pub fn forget_track(&self, track: &TrackSid) {
        self.0.lock().extras.remove(track);
    }

    pub fn client(&self, sid: &ParticipantSid) -> ClientView {
        self.0.lock().clients.get(sid).cloned().unwrap_or_default()
    }

    pub fn tell_others(&self, me: &ParticipantSid, notice: &Notice) {
        let state = self.0.lock();
        for other in state.sessions.values().filter(|it| it.sid != *me) {
            let _ = other.commands.try_send(Command::Notice(notice.clone()));
        }
    }
}

/// The boards of all rooms that have sessions.
#[derive(Debug, Default)]
pub(crate) struct Boards(Mutex<HashMap<RoomName, Arc<Board>>>);

impl Boards {
    /// Puts a session on its room's board. A former session of this identity is replaced; `is_in` says
    /// whether this one is not the former itself by now, when several join at once.
    pub fn enter(
        &self,
        room: &RoomName,
        identity: &Identity,
        handle: SessionHandle,
        client: ClientView,
        is_in: impl FnOnce() -> bool,
    ) -> Arc<Board> {
        let mut boards = self.0.lock();
        let board = boards.entry(room.clone()).or_default();
        let mut state = board.0.lock();
        state.clients.insert(handle.sid.clone(), client);
        if is_in() {
            state.sessions.insert(identity.clone(), handle);
        }
        drop(state);
        board.clone()
    }

    /// Takes a session off, and the board with the last one. Leaves a session
    /// that replaced it alone.
    pub fn leave(&self, room: &RoomName, identity: &Identity, sid: &ParticipantSid) {
        let mut boards = self.0.lock();
        let Some(board) = boards.get(room) else { return };
        let mut state = board.0.lock();
        if state.sessions.get(identity).is_some_and(|it| it.sid == *sid) {
            state.sessions.remove(identity);
        }
        state.clients.remove(sid);
        let empty = state.sessions.is_empty();
        drop(state);
        if empty {
            boards.remove(room);
        }
    }

    pub fn find(&self, room: &RoomName, identity: &Identity) -> Option<SessionHandle> {
        let board = self.0.lock().get(room).cloned()?;
        let state = board.0.lock();
        state.sessions.get(identity).cloned()
    }
}
