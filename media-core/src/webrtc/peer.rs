//! One WebRTC participant: its connection or pair of connections, what it
//! publishes and what it subscribes.
//!
//! Invariant: the shard is told a transport's whole state after every
//! negotiation; nothing is sent for a subscription before the peer has agreed
//! to receive it.

use super::codecs::{self, forwardable};
use super::connection::{Binding, Connection, Taken, Use, Wanted, kind_of};
use super::sdp::{RemoteDescription, SdpError, SectionKind};
use crate::ids::{ParticipantSid, TrackSid};
use crate::media::{Codec, Kind};
use crate::room::{DataKind, Keyframes, LayerQuality, ParticipantInfo, Room, RoomError, TrackInfo, TrackSpec};
use crate::session::dtls::DtlsIdentity;
use crate::session::flow::{Backlog, DataLink, INBOX};
use crate::session::ice::IceCredentials;
use crate::shard::{Command, ShardHandle, SubKey, TrackKey, TransportEvent, TransportInit, TransportKey};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Offers of ours are collected for this long, so that a burst of subscriptions is one negotiation.
const OFFER_DELAY: Duration = Duration::from_millis(15);
const MAX_SUBSCRIPTIONS: usize = 256;

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
    #[error("there is no such track")]
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
    /// A track's section is negotiated and the room has been told.
    TrackPublished {
        cid: String,
        info: Arc<TrackInfo>,
    },
}

/// A track between being announced and being negotiated.
struct Pending {
    cid: String,
    info: Arc<TrackInfo>,
}

struct Published {
    cid: String,
    sid: TrackSid,
    key: TrackKey,
    codec: Codec,
}

struct Subscription {
    wanted: Wanted,
    settings: TrackSettings,
}

struct State {
    publisher: Connection,
    subscriber: Option<Connection>,
    pending: Vec<Pending>,
    published: Vec<Published>,
    subscriptions: Vec<Subscription>,
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

pub struct Peer {
    room: Arc<Room>,
    sid: ParticipantSid,
    topology: Topology,
    identity: Arc<DtlsIdentity>,
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
    ///
    /// # Errors
    /// [`PeerError::Closed`] when the server is going down.
    pub fn new(
        room: Arc<Room>,
        participant: &ParticipantInfo,
        topology: Topology,
    ) -> Result<(Arc<Self>, PeerInputs), PeerError> {
        let identity = room.rooms().ok_or(PeerError::Closed)?.identity.clone();
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
                local_ice: local_ice.clone(),
                identity: identity.clone(),
                opens_data,
                events: sender,
                data: DataLink { inbox: data_inbox.clone(), backlog },
                pair,
            };
            shard.send(Command::AddTransport { key, init });
            room.bind_transport(key, sid.clone());
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
            identity,
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
        Ok((peer, PeerInputs { events: receiver, data }))
    }

    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Announces a track; its sid holds from now on, the room sees it once it is negotiated.
    pub fn add_track(&self, cid: &str, mut spec: TrackSpec) -> Result<Arc<TrackInfo>, PeerError> {
        if cid.is_empty() || cid.len() > 256 {
            return Err(PeerError::NotAllowed("announce a track without a client id"));
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(PeerError::Closed);
        }
        if let Some(pending) = state.pending.iter().find(|pending| pending.cid == cid) {
            return Ok(pending.info.clone());
        }
        if state.pending.len() >= 32 {
            return Err(PeerError::TooMany("announced tracks"));
        }
        // The room's codec policy decides; the answer will say so to the browser.
        spec.codec = codecs::admitted(self.room.codec_policy(), spec.codec);
        let info = self.room.new_track(&self.sid, spec)?;
        state.pending.push(Pending { cid: cid.to_owned(), info: info.clone() });
        Ok(info)
    }

    /// Answers the client's offer, binds announced tracks, places subscriptions (Single).
    pub fn publisher_offer(&self, sdp: &str) -> Result<SdpAnswer, PeerError> {
        let offer = RemoteDescription::parse(sdp)?;
        if offer.setup == "passive" {
            return Err(SdpError::Unsupported("the DTLS server role").into());
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(PeerError::Closed);
        }
        let policy = self.room.codec_policy();
        let mut bound: Vec<(String, Arc<TrackInfo>, TrackKey, String)> = Vec::new();
        let State { publisher, pending, published, subscriptions, .. } = &mut *state;
        let mut waiting: Vec<Wanted> = match self.topology {
            Topology::Dual => Vec::new(),
            Topology::Single => subscriptions
                .iter()
                .filter(|subscription| !publisher.sends(&subscription.wanted.info.sid))
                .map(|subscription| subscription.wanted.clone())
                .collect(),
        };
        let known: Vec<(String, Option<TrackKey>)> = publisher
            .sections
            .iter()
            .map(|section| match &section.usage {
                Use::Receive { track, .. } => (section.mid.clone(), *track),
                _ => (section.mid.clone(), None),
            })
            .collect();
        let Taken { answers, ended, refused } = publisher.take_offer(
            &offer,
            policy,
            |remote, choice| {
                let bound_before = known.iter().find(|(mid, _)| *mid == remote.mid).and_then(|(_, track)| *track);
                if let Some(key) = bound_before {
                    let codec = published.iter().find(|track| track.key == key).map(|track| track.codec)?;
                    return Some(Binding { key, preferred: codec, red_first: false, opus_extra: "" });
                }
                let kind = if remote.kind == SectionKind::Audio { Kind::Audio } else { Kind::Video };
                let (stream, track) = remote.msid.clone().unwrap_or_default();
                let at = pending
                    .iter()
                    .position(|pending| {
                        pending.info.spec.kind == kind && (pending.cid == track || pending.cid == stream)
                    })
                    // Some clients' ids differ between signalling and description; a single candidate is it.
                    .or_else(|| {
                        let mut of_kind =
                            pending.iter().enumerate().filter(|(_, pending)| pending.info.spec.kind == kind);
                        let first = of_kind.next()?.0;
                        of_kind.next().is_none().then_some(first)
                    })?;
                let announced = pending.remove(at);
                let mut info = (*announced.info).clone();
                let chosen = codecs::choose_published(remote, policy, info.spec.codec.codec);
                if let Some(params) = chosen.as_ref().unwrap_or(choice).params() {
                    info.spec.codec = params;
                }
                info.mid = remote.mid.clone();
                let key = TrackKey::next();
                let red_first = !info.spec.disable_red;
                let opus_extra = match (info.spec.disable_dtx, info.spec.stereo) {
                    (false, false) => "usedtx=1",
                    (false, true) => "usedtx=1;stereo=1;maxaveragebitrate=510000",
                    (true, true) => "stereo=1;maxaveragebitrate=510000",
                    (true, false) => "",
                };
                let preferred = info.spec.codec.codec;
                published.push(Published { cid: announced.cid.clone(), sid: info.sid.clone(), key, codec: preferred });
                bound.push((announced.cid, Arc::new(info), key, remote.mid.clone()));
                Some(Binding { key, preferred, red_first, opus_extra })
            },
            |remote| {
                let at = waiting.iter().position(|wanted| {
                    wanted.kind() == remote.kind && codecs::choose(remote, &[wanted.info.spec.codec.codec]).is_some()
                })?;
                Some(waiting.remove(at))
            },
        );
        for (stream, track) in refused {
            if let Some(at) = pending.iter().position(|pending| pending.cid == track || pending.cid == stream) {
                let Pending { cid, info } = pending.remove(at);
                let codecs = codecs::publishable(policy, info.spec.kind).iter().map(|codec| codec.rtp_name());
                let error = PeerError::NoCommonCodec { room: codecs.collect::<Vec<_>>().join(", ") };
                self.tell(PeerEvent::PublishRefused { cid, info, error });
            }
        }
        // The shard must know a track before a transport names it. What the room does not take (any
        // more) is answered like a section that nobody listens to.
        bound.retain(|(cid, info, key, _)| {
            let Err(error) = self.room.announce(info.clone(), *key, Keyframes::OnRequest, None) else { return true };
            publisher.unbind(*key);
            published.retain(|track| track.key != *key);
            self.tell(PeerEvent::PublishRefused { cid: cid.clone(), info: info.clone(), error: error.into() });
            false
        });
        let answer = publisher.write(&answers, "passive", self.identity.fingerprint(), &self.shard);
        let mid_to_track = if self.topology == Topology::Single { publisher.mid_to_track() } else { BTreeMap::new() };
        self.configure(&state.publisher);
        state.asked = (0, 0);
        state.nudged = false;
        let ended: Vec<TrackSid> = {
            let gone = state.published.iter().filter(|track| ended.contains(&track.key)).map(|track| track.sid.clone());
            gone.collect()
        };
        state.published.retain(|track| !ended.contains(&track.sid));
        if self.topology == Topology::Single {
            self.refuse_undecodable(&mut state, &offer);
            self.apply_settings(&state);
            self.ask_for_sections(&mut state);
        }
        drop(state);
        for sid in ended {
            self.room.unpublish(&sid);
        }
        for (cid, info, ..) in bound {
            self.tell(PeerEvent::TrackPublished { cid, info });
        }
        Ok(SdpAnswer { sdp: answer, mid_to_track })
    }

    /// Takes the client's answer to our offer (Dual).
    pub fn subscriber_answer(&self, sdp: &str) -> Result<(), PeerError> {
        let answer = RemoteDescription::parse(sdp)?;
        if answer.setup == "passive" {
            return Err(SdpError::Unsupported("the DTLS server role").into());
        }
        let mut state = self.state.lock();
        if state.outstanding.take().is_none() {
            return Err(PeerError::WrongState("there is no offer to answer"));
        }
        let subscriber = state.subscriber.as_mut().ok_or(PeerError::WrongState("there is no subscriber connection"))?;
        let refused = subscriber.take_answer(&answer);
        if let Some(subscriber) = &state.subscriber {
            self.configure(subscriber);
        }
        for wanted in &refused {
            state.subscriptions.retain(|subscription| subscription.wanted.sub != wanted.sub);
            self.tell(PeerEvent::SubscriptionRefused { track: wanted.info.sid.clone() });
        }
        self.apply_settings(&state);
        if state.dirty {
            state.dirty = false;
            self.schedule(&mut state);
        }
        Ok(())
    }

    pub fn subscribe(&self, track: &TrackSid) -> Result<(), PeerError> {
        let (info, key) = self.room.find_track(track).ok_or(PeerError::NotFound)?;
        if info.participant == self.sid {
            return Err(PeerError::NotAllowed("subscribe to its own track"));
        }
        let me = self.room.participant_by_sid(&self.sid).ok_or(PeerError::Closed)?;
        if !me.permission.can_subscribe {
            return Err(PeerError::NotAllowed("subscribe"));
        }
        let codec = info.spec.codec.codec;
        if !info.spec.notice.is_empty() || !forwardable(codec) {
            return Err(PeerError::CodecUnsupported { codec: codec.mime() });
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(PeerError::Closed);
        }
        if state.subscriptions.iter().any(|subscription| subscription.wanted.info.sid == *track) {
            return Ok(());
        }
        if state.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return Err(PeerError::TooMany("subscriptions"));
        }
        let mut rng = rand::rng();
        let wanted = Wanted {
            info,
            key,
            sub: SubKey::next(),
            ssrc: rng.random_range(1..u32::MAX),
            rtx_ssrc: rng.random_range(1..u32::MAX),
        };
        state.subscriptions.push(Subscription { wanted, settings: TrackSettings::default() });
        match self.topology {
            Topology::Dual => self.schedule(&mut state),
            Topology::Single => self.ask_for_sections(&mut state),
        }
        Ok(())
    }

    pub fn unsubscribe(&self, track: &TrackSid) {
        let mut state = self.state.lock();
        let before = state.subscriptions.len();
        state.subscriptions.retain(|subscription| subscription.wanted.info.sid != *track);
        if before == state.subscriptions.len() || state.closed {
            return;
        }
        let State { publisher, subscriber, .. } = &mut *state;
        let connection = subscriber.as_mut().unwrap_or(publisher);
        if !connection.drop_sub(track) {
            return;
        }
        match self.topology {
            Topology::Dual => {
                if let Some(subscriber) = &state.subscriber {
                    self.configure(subscriber);
                }
                self.schedule(&mut state);
            }
            Topology::Single => {
                self.configure(&state.publisher);
                if !state.nudged {
                    state.nudged = true;
                    self.tell(PeerEvent::SectionsWanted { audio: 0, video: 0 });
                }
            }
        }
    }

    pub fn subscriptions(&self) -> Vec<TrackSid> {
        self.state.lock().subscriptions.iter().map(|subscription| subscription.wanted.info.sid.clone()).collect()
    }

    /// How the client shows a track: decides the layer, or pauses it.
    pub fn adjust(&self, track: &TrackSid, settings: TrackSettings) {
        let mut state = self.state.lock();
        for subscription in &mut state.subscriptions {
            if subscription.wanted.info.sid == *track {
                subscription.settings = settings;
                self.want(subscription);
            }
        }
    }

    /// The client's own word about its own track.
    pub fn set_muted(&self, track: &TrackSid, muted: bool) -> Result<(), PeerError> {
        {
            let mut state = self.state.lock();
            if let Some(pending) = state.pending.iter_mut().find(|pending| pending.info.sid == *track) {
                let mut info = (*pending.info).clone();
                info.spec.muted = muted;
                pending.info = Arc::new(info);
                return Ok(());
            }
            if !state.published.iter().any(|published| published.sid == *track) {
                return Err(PeerError::NotFound);
            }
        }
        Ok(self.room.set_muted(track, muted)?)
    }

    /// The sid of a track this peer announced under `cid`, if it is still there.
    pub fn track_of(&self, cid: &str) -> Option<TrackSid> {
        let state = self.state.lock();
        let published = state.published.iter().find(|track| track.cid == cid).map(|track| track.sid.clone());
        published.or_else(|| state.pending.iter().find(|track| track.cid == cid).map(|track| track.info.sid.clone()))
    }

    pub fn unpublish(&self, track: &TrackSid) {
        let mut state = self.state.lock();
        state.pending.retain(|pending| pending.info.sid != *track);
        let Some(at) = state.published.iter().position(|published| published.sid == *track) else { return };
        let key = state.published.remove(at).key;
        state.publisher.unbind(key);
        self.configure(&state.publisher);
        drop(state);
        self.room.unpublish(track);
    }

    /// Sends a message on. Who sends many waits for [`Self::takes_data`] between them.
    pub fn send_data(&self, kind: DataKind, payload: Bytes) {
        self.backlog.hand_over(payload.len());
        let state = self.state.lock();
        let connection = state.subscriber.as_ref().unwrap_or(&state.publisher);
        self.shard.send(Command::SendData { transport: connection.transport, kind, payload });
    }

    /// Whether what is on its way to the client is little enough for more.
    pub fn takes_data(&self) -> bool {
        self.backlog.is_open()
    }

    /// Waits until [`Self::takes_data`].
    pub async fn data_taken(&self) {
        self.backlog.opened().await;
    }

    /// After a resume: the subscriber connection gets new ICE credentials and a new offer (Dual).
    pub fn restart_ice(&self) {
        let mut state = self.state.lock();
        let Some(subscriber) = &mut state.subscriber else { return };
        subscriber.local_ice = IceCredentials::random();
        // The old offer, if there was one, went down with the old signalling connection.
        state.outstanding = None;
        self.schedule(&mut state);
    }

    /// Offers, or asks for an offer, once more.
    pub fn negotiate(&self) {
        let mut state = self.state.lock();
        match self.topology {
            Topology::Dual => {
                state.outstanding = None;
                self.schedule(&mut state);
            }
            Topology::Single => {
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
        let transports = std::iter::once(state.publisher.transport)
            .chain(state.subscriber.as_ref().map(|subscriber| subscriber.transport));
        for transport in transports {
            self.shard.send(Command::RemoveTransport { key: transport });
            self.room.unbind_transport(transport);
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

    fn apply_settings(&self, state: &State) {
        state.subscriptions.iter().for_each(|subscription| self.want(subscription));
    }

    fn want(&self, subscription: &Subscription) {
        let (settings, info) = (subscription.settings, &subscription.wanted.info);
        self.shard.send(Command::Want {
            track: subscription.wanted.key,
            sub: subscription.wanted.sub,
            layer: layer_for(settings, &info.spec),
            paused: settings.disabled,
        });
    }

    /// Single: gives up waiting subscriptions whose codec the client's sections do not name; asking
    /// for more sections would bring the same answer for ever.
    fn refuse_undecodable(&self, state: &mut State, offer: &RemoteDescription) {
        let State { publisher, subscriptions, .. } = state;
        subscriptions.retain(|subscription| {
            let wanted = &subscription.wanted;
            let mut fitting = offer
                .sections
                .iter()
                .filter(|section| section.kind == wanted.kind() && !section.rejected && section.direction.receives())
                .peekable();
            let refused = !publisher.sends(&wanted.info.sid)
                && fitting.peek().is_some()
                && fitting.all(|section| codecs::choose(section, &[wanted.info.spec.codec.codec]).is_none());
            if refused {
                self.tell(PeerEvent::SubscriptionRefused { track: wanted.info.sid.clone() });
            }
            !refused
        });
    }

    /// Single: tells the client how many more sections the waiting subscriptions need.
    fn ask_for_sections(&self, state: &mut State) {
        let mut missing = [0u32; 2];
        let mut waiting = false;
        for subscription in &state.subscriptions {
            if state.publisher.sends(&subscription.wanted.info.sid) {
                continue;
            }
            waiting = true;
            let slot = usize::from(subscription.wanted.kind() == SectionKind::Video);
            if let Some(count) = missing.get_mut(slot) {
                *count += 1;
            }
        }
        if !waiting {
            return;
        }
        let free = |kind| state.publisher.free(kind_of(kind)) as u32;
        let audio = missing[0].saturating_sub(free(Kind::Audio)).saturating_sub(state.asked.0);
        let video = missing[1].saturating_sub(free(Kind::Video)).saturating_sub(state.asked.1);
        if audio + video > 0 || !state.nudged {
            state.asked = (state.asked.0 + audio, state.asked.1 + video);
            state.nudged = true;
            self.tell(PeerEvent::SectionsWanted { audio, video });
        }
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
        let waiting = subscriptions
            .iter()
            .filter(|subscription| !subscriber.sends(&subscription.wanted.info.sid))
            .map(|subscription| subscription.wanted.clone())
            .collect();
        let cooling = subscriber.sections.iter().any(|section| matches!(section.usage, Use::Free { cooling: true }));
        let sections = subscriber.make_offer(waiting);
        let sdp = subscriber.write(&sections, "actpass", self.identity.fingerprint(), &self.shard);
        let mid_to_track = subscriber.mid_to_track();
        let id = state.next_offer;
        state.next_offer += 1;
        state.outstanding = Some(id);
        // Sections that were just said to be free can be used in the offer after this one.
        state.dirty |= cooling
            && state.subscriptions.iter().any(|subscription| {
                state.subscriber.as_ref().is_some_and(|subscriber| !subscriber.sends(&subscription.wanted.info.sid))
            });
        self.tell(PeerEvent::Offer { sdp, id, mid_to_track });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.close();
    }
}

/// The layer a tile of this size has use for: the smallest that covers it.
fn layer_for(settings: TrackSettings, spec: &TrackSpec) -> u8 {
    let count = spec.layers.len().clamp(1, 3);
    if let Some(quality) = settings.quality.filter(|_| settings.width == 0) {
        return match quality {
            LayerQuality::Low => 0,
            LayerQuality::Medium => (count - 1).min(1) as u8,
            LayerQuality::High => 2,
        };
    }
    if settings.width == 0 || settings.height == 0 {
        return 2;
    }
    let mut layers: Vec<(u32, u32)> = spec.layers.iter().map(|layer| (layer.width, layer.height)).collect();
    layers.sort_unstable();
    let covers = |&(width, height): &(u32, u32)| {
        // A little too small is near enough to the eye.
        width * 10 >= settings.width * 9 || height * 10 >= settings.height * 9
    };
    layers.iter().position(covers).map_or(2, |index| index as u8)
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
