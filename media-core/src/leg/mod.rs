//! Legs: the far ends of a room that are no browser: a telephone, a room system, a push-out.
//!
//! A leg takes a programme of the room in the form that it asks for ([`Leg::take`], [`Leg::take_units`]),
//! gives the room its own tracks ([`Leg::give`]), and says in which state its far end is. What it is
//! spoken to in is the adapter's affair; this is what every adapter has in common, so that what rooms do
//! with participants works on each of them.
//!
//! Invariants: a leg is a participant of its room for exactly as long as it lives; it has an owner and
//! a deadline, and what outlives both is ended here; it ends once, and then its takings end, its tracks
//! are unpublished, and it is out of the room.

mod intake;
#[cfg(test)]
mod tests;

pub use intake::{PacketIntake, UnitIntake};

use crate::ids::{Identity, ParticipantSid, TrackSid};
use crate::media::{Keyframes, SourcePacket};
use crate::room::{
    Holder, Join, LeaveReason, Membership, Room, RoomError, RoomEvent, TrackInfo, TrackSource, TrackSpec,
};
use crate::tap::Wish;
use crate::tap::units::UnitsFault;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Who is answerable for a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// By the account's id.
    Person(String),
    /// A part of the server, by its name (a schedule, a dial plan).
    Service(&'static str),
}

/// What is to be made.
#[derive(Clone, Debug)]
pub struct LegSpec {
    /// Who it is in the room, and what it may do there.
    pub join: Join,
    pub owner: Owner,
    /// `sip`, `h323`, `rtmp`, …
    pub protocol: &'static str,
    /// The far end as people read it; nothing secret.
    pub far_end: String,
    /// It ends when this has passed and nobody has [renewed](Leg::renew) it.
    pub lifetime: Duration,
}

/// How far the far end is. It goes from left to right, but for `Live` and `Held`, and may skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegState {
    Dialing,
    Ringing,
    Live,
    /// Nothing is taken until it is live again.
    Held,
    Ended(LegEnd),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegEnd {
    /// Nobody renewed it.
    Deadline,
    /// The other side hung up.
    FarEnd,
    /// It could not be made, or its medium broke.
    Failed,
    /// As its owner wanted.
    Finished,
    /// It was taken out of the room, or its identity came in anew.
    Removed,
    RoomClosed,
}

/// What of the room a leg takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programme {
    /// One track, for as long as it is there.
    Track(TrackSid),
}

/// What went through a leg so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegCounts {
    pub taken_packets: u64,
    pub taken_bytes: u64,
    /// Packets of what it takes that did not come, or that it was too slow for.
    pub missed_packets: u64,
    pub given_packets: u64,
    pub given_bytes: u64,
    /// Packets of its own that the room had no room for.
    pub refused_packets: u64,
}

#[derive(Default)]
struct Counters {
    taken_packets: AtomicU64,
    taken_bytes: AtomicU64,
    missed_packets: AtomicU64,
    given_packets: AtomicU64,
    given_bytes: AtomicU64,
    refused_packets: AtomicU64,
}

impl Counters {
    fn now(&self) -> LegCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LegCounts {
            taken_packets: of(&self.taken_packets),
            taken_bytes: of(&self.taken_bytes),
            missed_packets: of(&self.missed_packets),
            given_packets: of(&self.given_packets),
            given_bytes: of(&self.given_bytes),
            refused_packets: of(&self.refused_packets),
        }
    }
}

/// A leg as it is at one moment.
#[derive(Clone, Debug)]
pub struct LegInfo {
    pub participant: ParticipantSid,
    pub identity: Identity,
    pub owner: Owner,
    pub protocol: &'static str,
    pub far_end: String,
    pub state: LegState,
    /// What the adapter said about the state.
    pub detail: String,
    pub began: SystemTime,
    /// Until its deadline.
    pub left: Duration,
    pub counts: LegCounts,
}

/// Why a leg takes nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    #[error("the leg has ended")]
    Ended,
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Units(#[from] UnitsFault),
}

/// A leg as its room knows it, too.
pub(crate) struct Shared {
    participant: ParticipantSid,
    identity: Identity,
    owner: Owner,
    protocol: &'static str,
    far_end: String,
    began: SystemTime,
    state: watch::Sender<LegState>,
    detail: Mutex<String>,
    deadline: watch::Sender<Instant>,
    counters: Counters,
}

impl Shared {
    pub(crate) fn info(&self) -> LegInfo {
        LegInfo {
            participant: self.participant.clone(),
            identity: self.identity.clone(),
            owner: self.owner.clone(),
            protocol: self.protocol,
            far_end: self.far_end.clone(),
            state: *self.state.borrow(),
            detail: self.detail.lock().clone(),
            began: self.began,
            left: self.deadline.borrow().saturating_duration_since(Instant::now()),
            counts: self.counters.now(),
        }
    }

    /// False where that does not follow from the state it is in.
    fn set_state(&self, state: LegState, detail: &str) -> bool {
        let changed = self.state.send_if_modified(|now| {
            let may = match (*now, state) {
                (LegState::Ended(_), _) => false,
                (LegState::Live | LegState::Held, LegState::Dialing | LegState::Ringing) => false,
                (LegState::Ringing, LegState::Dialing) => false,
                (now, state) => now != state,
            };
            if may {
                *now = state;
                detail.clone_into(&mut self.detail.lock());
            }
            may
        });
        if changed {
            tracing::debug!(leg = %self.identity, protocol = self.protocol, ?state, detail, "a leg");
        }
        changed
    }
}

/// An adapter's hold on a leg. Dropping it ends the leg as its owner wanted.
pub struct Leg {
    room: Arc<Room>,
    shared: Arc<Shared>,
}

impl Leg {
    /// Comes into the room, dialing.
    ///
    /// # Errors
    /// As [`Room::join`].
    pub fn open(room: &Arc<Room>, spec: LegSpec) -> Result<Self, RoomError> {
        let LegSpec { join, owner, protocol, far_end, lifetime } = spec;
        let Membership { info, events } = room.join(join)?;
        let shared = Arc::new(Shared {
            participant: info.sid.clone(),
            identity: info.identity.clone(),
            owner,
            protocol,
            far_end,
            began: SystemTime::now(),
            state: watch::Sender::new(LegState::Dialing),
            detail: Mutex::default(),
            deadline: watch::Sender::new(Instant::now() + lifetime),
            counters: Counters::default(),
        });
        room.add_leg(&shared);
        tokio::spawn(follow(Arc::downgrade(room), shared.clone(), events));
        Ok(Self { room: room.clone(), shared })
    }

    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Who it is in the room.
    pub fn participant(&self) -> &ParticipantSid {
        &self.shared.participant
    }

    pub fn info(&self) -> LegInfo {
        self.shared.info()
    }

    /// What the far end does; `detail` for people. False where that does not follow from the state it is in.
    pub fn set_state(&self, state: LegState, detail: &str) -> bool {
        let changed = self.shared.set_state(state, detail);
        if changed {
            self.room.tell_leg(&self.shared);
        }
        changed
    }

    pub fn state(&self) -> watch::Receiver<LegState> {
        self.shared.state.subscribe()
    }

    /// Its owner still wants it: from now on it may live as long again.
    pub fn renew(&self, lifetime: Duration) {
        self.shared.deadline.send_replace(Instant::now() + lifetime);
    }

    /// Waits for its end.
    pub async fn ended(&self) -> LegEnd {
        ended(&mut self.state()).await
    }

    /// Takes a programme as packets in order, at most `capacity` of them waiting.
    ///
    /// # Errors
    /// When the leg has ended, or may not have it.
    pub fn take(&self, programme: &Programme, wish: Wish, capacity: usize) -> Result<PacketIntake, TakeError> {
        PacketIntake::new(self, programme, wish, capacity)
    }

    /// Takes a programme as whole pictures, or frames of sound.
    ///
    /// # Errors
    /// As [`Self::take`], and when nobody here knows the codec's units.
    pub fn take_units(&self, programme: &Programme, wish: Wish, capacity: usize) -> Result<UnitIntake, TakeError> {
        UnitIntake::new(self.take(programme, wish, capacity)?)
    }

    /// Publishes a track of the far end's.
    ///
    /// # Errors
    /// As [`Room::publish`].
    pub fn give(&self, spec: TrackSpec, keyframes: Keyframes) -> Result<Given, RoomError> {
        let source = self.room.publish(&self.shared.participant, spec, keyframes)?;
        Ok(Given { source, shared: self.shared.clone() })
    }

    fn holder(&self) -> Holder {
        Holder::Participant(self.shared.participant.clone())
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.set_state(LegState::Ended(LegEnd::Finished), "");
    }
}

async fn ended(state: &mut watch::Receiver<LegState>) -> LegEnd {
    let ended = state.wait_for(|state| matches!(state, LegState::Ended(_))).await;
    match ended.map(|state| *state) {
        Ok(LegState::Ended(end)) => end,
        _ => LegEnd::Finished,
    }
}

/// A track that a leg gives its room. Dropping it unpublishes the track.
pub struct Given {
    source: TrackSource,
    shared: Arc<Shared>,
}

impl Given {
    pub fn info(&self) -> &TrackInfo {
        self.source.info()
    }

    /// As [`crate::room::Feeder::write`]; says whether the room took it.
    pub fn write(&self, batch: Vec<SourcePacket>) -> bool {
        let count = batch.len() as u64;
        let bytes: usize = batch.iter().map(|packet| packet.payload.len()).sum();
        let counters = &self.shared.counters;
        let taken = !matches!(*self.shared.state.borrow(), LegState::Ended(_)) && self.source.write(batch);
        if taken {
            counters.given_packets.fetch_add(count, Ordering::Relaxed);
            counters.given_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        } else {
            counters.refused_packets.fetch_add(count, Ordering::Relaxed);
        }
        taken
    }

    /// Reports, and what is wanted of it.
    pub fn source(&self) -> &TrackSource {
        &self.source
    }
}

/// Ends the leg when it must, and takes it out of the room when it has ended.
async fn follow(room: Weak<Room>, shared: Arc<Shared>, mut events: mpsc::Receiver<RoomEvent>) {
    let mut state = shared.state.subscribe();
    let mut deadline = shared.deadline.subscribe();
    let end = loop {
        let until = *deadline.borrow_and_update();
        tokio::select! {
            end = ended(&mut state) => break end,
            () = tokio::time::sleep_until(until) => break LegEnd::Deadline,
            _ = deadline.changed() => {}
            event = events.recv() => match event {
                Some(RoomEvent::Removed(LeaveReason::RoomClosed | LeaveReason::ServerShutdown)) => {
                    break LegEnd::RoomClosed;
                }
                Some(RoomEvent::Removed(_)) | None => break LegEnd::Removed,
                Some(_) => {}
            },
        }
    };
    shared.set_state(LegState::Ended(end), "");
    if let Some(room) = room.upgrade() {
        room.remove_leg(&shared);
        room.leave(&shared.participant, LeaveReason::ClientInitiated);
    }
}
