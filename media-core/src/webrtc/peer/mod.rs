//! One WebRTC participant: its connection or pair of connections, what it
//! publishes and what it subscribes.
//!
//! Invariant: the shard is told a transport's whole state after every
//! negotiation; nothing is sent for a subscription before the peer has agreed
//! to receive it.

#[cfg(test)]
mod churn;
mod publishing;
mod subscribing;

use super::Endpoint;
use super::connection::{Connection, Use, Wanted};
use super::sdp::SdpError;
use crate::ids::{ParticipantSid, TrackSid};
use crate::media::Codec;
use crate::room::{DataKind, LayerQuality, ParticipantInfo, Room, RoomError, TrackInfo, TrackSpec};
use crate::session::flow::{Backlog, DataLink, INBOX};
use crate::session::ice::IceCredentials;
use crate::shard::{Command, SessionInit, ShardHandle, TrackKey, TransportEvent, TransportInit, TransportKey};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Offers of ours are collected for this long, so that a burst of subscriptions is one negotiation.
const OFFER_DELAY: Duration = Duration::from_millis(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Publisher (the client offers) and subscriber (the server offers).
    Dual,
    /// One connection; the client always offers.
    Single,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Publisher,
    Subscriber,
}

#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("the track's codec {codec} can't be decoded by this client")]
    CodecUnsupported { codec: String },
    #[error("the connection is closed")]
    Closed,
    #[error("the client may not do that: {0}")]
    NotAllowed(&'static str),
    #[error("the room takes {room}, and the client offers none of these")]
    NoCommonCodec { room: String },
    #[error("there is no such track of this client's")]
    NotFound,
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Sdp(#[from] SdpError),
    #[error("too many: {0}")]
    TooMany(&'static str),
    #[error("the client's description does not fit the state of the session: {0}")]
    WrongState(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpAnswer {
    pub sdp: String,
    pub mid_to_track: BTreeMap<String, String>,
}

/// How a subscriber shows a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackSettings {
    pub disabled: bool,
    pub quality: Option<LayerQuality>,
    /// Pixels of the tile; 0 when not known.
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub priority: u32,
}

/// What a peer has for its session.
#[derive(Debug)]
pub struct PeerInputs {
    pub events: mpsc::Receiver<PeerEvent>,
    /// Messages from the client; those of a flood have been dropped or wait where they come from.
    pub data: mpsc::Receiver<(DataKind, Bytes)>,
}

#[derive(Debug)]
pub enum PeerEvent {
    Connected(Target),
    Disconnected(Target),
    Failed(Target),
    /// The server's offer for the subscriber connection.
    Offer {
        sdp: String,
        id: u32,
        mid_to_track: BTreeMap<String, String>,
    },
    /// An announced track is not taken: no codec in common, or not allowed any more.
    PublishRefused {
        cid: String,
        info: Arc<TrackInfo>,
        error: PeerError,
    },
    /// The client should add this many sections and offer again; zeros ask for an offer only.
    SectionsWanted {
        audio: u32,
        video: u32,
    },
    /// The client answered that it can't take this track.
    SubscriptionRefused {
        track: TrackSid,
    },
    /// A track's section, `a=mid` in the client's own session, is negotiated and the room has been told.
    TrackPublished {
        cid: String,
        info: Arc<TrackInfo>,
        mid: String,
    },
}

/// What a client says of a track before it is negotiated.
#[derive(Clone, Debug)]
pub struct Announcement {
    pub spec: TrackSpec,
    /// Names of its simulcast streams (RFC 8851), one a layer, lowest first; empty without simulcast.
    pub rids: Vec<String>,
    pub sound: SoundOptions,
}

impl From<TrackSpec> for Announcement {
    fn from(spec: TrackSpec) -> Self {
        Self { spec, rids: Vec::new(), sound: SoundOptions::default() }
    }
}

/// What the answer asks of an Opus publisher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoundOptions {
    /// Silence is sent, too.
    pub no_dtx: bool,
    pub stereo: bool,
    /// Redundancy, RFC 2198.
    pub red: bool,
}

/// A track between being announced and being negotiated.
struct Pending {
    cid: String,
    info: Arc<TrackInfo>,
    rids: Vec<String>,
    sound: SoundOptions,
}

struct Published {
    cid: String,
    sid: TrackSid,
    key: TrackKey,
    codec: Codec,
    /// Stream names of its simulcast layers, lowest first: a layer's place here is its index on the shard.
    rids: Vec<String>,
}

struct State {
    publisher: Connection,
    subscriber: Option<Connection>,
    pending: Vec<Pending>,
    published: Vec<Published>,
    subscriptions: Vec<Wanted>,
    /// An offer of ours is not answered yet.
    outstanding: Option<u32>,
    dirty: bool,
    scheduled: bool,
    next_offer: u32,
    /// Single: sections asked for since the last offer.
    asked: (u32, u32),
    nudged: bool,
    closed: bool,
}

impl State {
    /// The connection that carries what the client receives.
    fn carrier(&self) -> &Connection {
        self.subscriber.as_ref().unwrap_or(&self.publisher)
    }
}

pub struct Peer {
    room: Arc<Room>,
    sid: ParticipantSid,
    topology: Topology,
    endpoint: Arc<Endpoint>,
    shard: ShardHandle,
    events: mpsc::Sender<PeerEvent>,
    overrun: Arc<Notify>,
    /// Of the connection that data goes out on.
    backlog: Arc<Backlog>,
    runtime: tokio::runtime::Handle,
    state: Mutex<State>,
    me: Weak<Peer>,
}

impl Peer {
    /// Must be called within a tokio runtime.
    pub fn new(
        endpoint: Arc<Endpoint>,
        room: Arc<Room>,
        participant: &ParticipantInfo,
        topology: Topology,
    ) -> (Arc<Self>, PeerInputs) {
        let shard = room.shard().clone();
        let (events, receiver) = mpsc::channel(1024);
        let (data_inbox, data) = mpsc::channel(INBOX);
        let backlog = Arc::new(Backlog::default());
        let runtime = tokio::runtime::Handle::current();
        let sid = participant.sid.clone();
        let connect = |target: Target, opens_data: bool, pair: Option<TransportKey>, backlog: Arc<Backlog>| {
            let key = TransportKey::next();
            let local_ice = IceCredentials::random();
            let (sender, transport_events) = mpsc::unbounded_channel();
            let init = TransportInit {
                room: room.key(),
                participant: sid.clone(),
                events: sender,
                session: SessionInit::WebRtc {
                    local_ice: local_ice.clone(),
                    identity: endpoint.identity.clone(),
                    opens_data,
                    data: DataLink { inbox: data_inbox.clone(), backlog },
                    pair,
                },
            };
            shard.send(Command::AddTransport { key, init });
            runtime.spawn(relay(target, transport_events, events.clone()));
            Connection::new(key, local_ice)
        };
        // Data goes out on the connection that carries subscriptions: only that one's counts.
        let (publisher, subscriber) = match topology {
            Topology::Single => (connect(Target::Publisher, false, None, backlog.clone()), None),
            Topology::Dual => {
                let publisher = connect(Target::Publisher, false, None, Arc::default());
                let pair = Some(publisher.transport);
                (publisher, Some(connect(Target::Subscriber, true, pair, backlog.clone())))
            }
        };
        let peer = Arc::new_cyclic(|me| Self {
            room: room.clone(),
            sid,
            topology,
            endpoint,
            shard,
            events,
            overrun: Arc::default(),
            backlog,
            runtime,
            state: Mutex::new(State {
                publisher,
                subscriber,
                pending: Vec::new(),
                published: Vec::new(),
                subscriptions: Vec::new(),
                outstanding: None,
                dirty: false,
                scheduled: false,
                next_offer: 1,
                asked: (0, 0),
                nudged: false,
                closed: false,
            }),
            me: me.clone(),
        });
        if topology == Topology::Dual {
            // The client waits for its subscriber connection even when there is nothing to see.
            peer.schedule(&mut peer.state.lock());
        }
        (peer, PeerInputs { events: receiver, data })
    }

    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Sends a message on. Who sends many waits for [`Self::takes_data`] between them.
    pub fn send_data(&self, kind: DataKind, payload: Bytes) {
        self.backlog.hand_over(payload.len());
        let state = self.state.lock();
        self.shard.send(Command::SendData { transport: state.carrier().transport, kind, payload });
    }

    /// Whether what is on its way to the client is little enough for more.
    pub fn takes_data(&self) -> bool {
        self.backlog.is_open()
    }

    /// Waits until [`Self::takes_data`].
    pub async fn data_taken(&self) {
        self.backlog.opened().await;
    }

    /// The client is back on another signalling connection; what was said to it on the old one may be
    /// lost. Dual: the subscriber connection gets new ICE credentials and a new offer. Single: places
    /// that are missing are asked for once more.
    pub fn resume(&self) {
        let mut state = self.state.lock();
        // The old offer, if there was one, went down with the old signalling connection.
        state.outstanding = None;
        match &mut state.subscriber {
            Some(subscriber) => {
                subscriber.local_ice = IceCredentials::random();
                self.schedule(&mut state);
            }
            None => {
                state.asked = (0, 0);
                state.nudged = false;
                self.ask_for_sections(&mut state);
            }
        }
    }

    pub fn close(&self) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.closed = true;
        for wanted in std::mem::take(&mut state.subscriptions) {
            self.room.unsubscribe(&self.sid, &wanted.info.sid);
        }
        let transports = std::iter::once(state.publisher.transport)
            .chain(state.subscriber.as_ref().map(|subscriber| subscriber.transport));
        for transport in transports {
            self.shard.send(Command::RemoveTransport { key: transport });
        }
    }

    /// A session that does not take these is not coming back to them: it is told to end.
    fn tell(&self, event: PeerEvent) {
        if self.events.try_send(event).is_err() {
            self.overrun.notify_one();
        }
    }

    /// Waits until the session has missed something that it can't do without.
    pub async fn overrun(&self) {
        self.overrun.notified().await;
    }

    fn configure(&self, connection: &Connection) {
        if connection.fingerprint.is_empty() {
            return;
        }
        self.shard.send(Command::Configure { key: connection.transport, config: Arc::new(connection.config()) });
    }

    /// Dual: makes an offer soon, or after the one that is under way.
    fn schedule(&self, state: &mut State) {
        if state.outstanding.is_some() {
            state.dirty = true;
            return;
        }
        if state.scheduled {
            return;
        }
        state.scheduled = true;
        let me = self.me.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(OFFER_DELAY).await;
            if let Some(peer) = me.upgrade() {
                peer.offer();
            }
        });
    }

    fn offer(&self) {
        let mut state = self.state.lock();
        state.scheduled = false;
        if state.closed || state.outstanding.is_some() {
            return;
        }
        let State { subscriber, subscriptions, .. } = &mut *state;
        let Some(subscriber) = subscriber else { return };
        let waiting = subscriptions.iter().filter(|wanted| !subscriber.sends(&wanted.info.sid)).cloned().collect();
        let cooling = subscriber.sections.iter().any(|section| matches!(section.usage, Use::Free { cooling: true }));
        let sections = subscriber.make_offer(waiting);
        let sdp = subscriber.write(&sections, "actpass", self.endpoint.fingerprint(), &self.shard);
        let mid_to_track = subscriber.mid_to_track();
        let id = state.next_offer;
        state.next_offer += 1;
        state.outstanding = Some(id);
        // Sections that were just said to be free can be used in the offer after this one.
        state.dirty |= cooling && state.subscriptions.iter().any(|wanted| !state.carrier().sends(&wanted.info.sid));
        self.tell(PeerEvent::Offer { sdp, id, mid_to_track });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Turns a transport's events into the peer's.
async fn relay(
    target: Target,
    mut incoming: mpsc::UnboundedReceiver<TransportEvent>,
    outgoing: mpsc::Sender<PeerEvent>,
) {
    while let Some(event) = incoming.recv().await {
        let event = match event {
            TransportEvent::Connected | TransportEvent::Recovered => PeerEvent::Connected(target),
            TransportEvent::Disconnected => PeerEvent::Disconnected(target),
            TransportEvent::Failed(why) => {
                tracing::info!(?target, why, "webrtc transport failed");
                PeerEvent::Failed(target)
            }
        };
        if outgoing.send(event).await.is_err() {
            return;
        }
    }
}
