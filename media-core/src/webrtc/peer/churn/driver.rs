//! Does one thing after the other, to the rooms and to the model, and compares.

mod acts;

use super::browser::Browser;
use super::model;
use crate::ids::{Identity, ParticipantSid, RoomName, TrackSid};
use crate::media::{Codec, CodecParams, Keyframes, Source, SourcePacket};
use crate::room::{
    Audience, CodecPolicy, Holder, Join, LayerQuality, LeaveReason, Listed, Listener, ParticipantChange,
    ParticipantKind, Permission, Room, RoomError, RoomEvent, RoomOptions, Rooms, Tap, TrackSource, TrackSpec, Tracks,
};
use crate::shard::driven::{DrivenShard, Subs, Tables};
use crate::shard::{ShardConfig, TransportKey};
use crate::webrtc::{Endpoint, Peer, PeerError, PeerEvent, PeerInputs, Topology, TrackSettings};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

const ROOMS: usize = 3;
const IDENTITIES: usize = 8;
const MAX_PARTICIPANTS: u32 = 6;
const EMPTY_TIMEOUT: Duration = Duration::from_secs(10);

/// An open room.
struct Hall {
    room: Arc<Room>,
    model: model::Room,
    empty_since: Option<Instant>,
}

/// Somebody in a room.
struct Seat {
    hall: usize,
    sid: ParticipantSid,
    events: mpsc::Receiver<RoomEvent>,
    client: Option<Client>,
    sources: Vec<TrackSource>,
}

struct Client {
    peer: Arc<Peer>,
    inputs: PeerInputs,
    browser: Browser,
    /// Takes every track that is published.
    auto: bool,
    /// Does not answer for now.
    slow: bool,
    /// Its signalling is away: what is said to it on a single connection is lost.
    away: bool,
    offered: Option<Offered>,
    /// What it has announced, by its own name for it.
    announced: BTreeMap<String, Announced>,
    next_cid: u32,
    /// Most tracks that it was to receive at once.
    peak: usize,
}

struct Offered {
    sdp: String,
    id: u32,
    mid_to_track: BTreeMap<String, String>,
    /// The server has asked for another beginning since.
    stale: bool,
}

struct Announced {
    sid: TrackSid,
    source: Source,
    codecs: Vec<Codec>,
    published: bool,
}

struct Tapped {
    tap: Tap,
    model: model::Tap,
}

pub(super) struct World {
    rng: StdRng,
    rooms: Arc<Rooms>,
    shard: DrivenShard,
    endpoint: Arc<Endpoint>,
    began: (std::time::Instant, Instant),
    halls: [Option<Hall>; ROOMS],
    seats: Vec<Seat>,
    taps: Vec<Tapped>,
    /// Tracks of long ago, too.
    known: VecDeque<TrackSid>,
    peers: Vec<Weak<Peer>>,
    all_rooms: Vec<Weak<Room>>,
    tasks: usize,
    /// The last things that happened, for whoever has to understand a failure.
    log: VecDeque<String>,
    count: usize,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "after {} operations, the last of which were:\n{}",
                self.count,
                Vec::from(self.log.clone()).join("\n")
            );
        }
    }
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

fn is_sound(codec: Codec) -> bool {
    codec == Codec::Opus
}

impl World {
    pub fn new(seed: u64) -> Self {
        let began = (std::time::Instant::now(), Instant::now());
        let config = ShardConfig {
            name: "churn".into(),
            udp_port: 0,
            tcp_port: None,
            advertise: Vec::new(),
            gop_cache_bytes: 1 << 20,
            gop_cache_duration: Duration::from_secs(10),
            core: None,
            on_thread: None,
        };
        let (handle, shard) = DrivenShard::new(config, began.0).unwrap();
        Self {
            rng: StdRng::seed_from_u64(seed),
            rooms: Rooms::new(vec![handle]),
            shard,
            endpoint: Endpoint::new().unwrap(),
            began,
            halls: Default::default(),
            seats: Vec::new(),
            taps: Vec::new(),
            known: VecDeque::new(),
            peers: Vec::new(),
            all_rooms: Vec::new(),
            tasks: tasks(),
            log: VecDeque::new(),
            count: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    fn note(&mut self, what: String) {
        if self.log.len() == 40 {
            self.log.pop_front();
        }
        self.log.push_back(format!("{:>6} {what}", self.count));
    }

    fn hall(&mut self, index: usize) -> &mut Hall {
        self.halls[index].as_mut().unwrap()
    }

    /// Whether a room has closed, having been empty, and its people are about to hear it.
    fn is_over(&self, index: usize) -> bool {
        self.rooms.find(&RoomName::new(format!("room-{index}"))).is_none()
    }

    fn any_seat(&mut self) -> Option<usize> {
        (!self.seats.is_empty()).then(|| self.rng.random_range(0..self.seats.len()))
    }

    fn any_client(&mut self) -> Option<usize> {
        let with: Vec<usize> = (0..self.seats.len()).filter(|at| self.seats[*at].client.is_some()).collect();
        with.choose(&mut self.rng).copied()
    }

    /// A track, mostly of this room.
    fn any_track(&mut self, hall: usize) -> Option<TrackSid> {
        if self.chance(5) {
            let known: Vec<TrackSid> = self.known.iter().cloned().collect();
            return known.choose(&mut self.rng).cloned();
        }
        let tracks: Vec<TrackSid> = self.hall(hall).model.tracks().into_iter().collect();
        tracks.choose(&mut self.rng).cloned()
    }

    pub async fn step(&mut self) {
        self.count += 1;
        match self.rng.random_range(0..100) {
            0..11 => self.join(),
            11..16 => self.leave(),
            16..28 => self.publish(),
            28..34 => self.unpublish(),
            34..40 => self.feed(),
            40..44 => self.stop_feeding(),
            44..54 => self.subscribe(),
            54..61 => self.unsubscribe(),
            61..68 => self.permit(),
            68..74 => self.choose_audience(),
            74..78 => self.mute(),
            78..82 => self.adjust(),
            82..87 => self.tap(),
            87..91 => self.drop_tap(),
            91..95 => self.be_slow(),
            95..97 => self.resume(),
            97..98 => self.take_back(),
            98 => {
                let time = Duration::from_millis(self.rng.random_range(100..20_000));
                self.note(format!("{time:?} pass"));
                tokio::time::sleep(time).await;
            }
            _ => self.close(),
        }
        self.settle().await;
    }

    /// Lets everybody hear and answer until nobody has anything to say.
    async fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < 200, "they never come to an end");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.began.0 + self.began.1.elapsed();
            let mut busy = self.shard.turn(now);
            let mut at = 0;
            while at < self.seats.len() {
                busy |= self.hear(at);
                busy |= self.hear_peer(at);
                if self.seats[at].events.is_closed() && self.seats[at].events.is_empty() {
                    // It is out; sessions then drop what they hold.
                    drop(self.seats.remove(at));
                    busy = true;
                } else {
                    at += 1;
                }
            }
            if !busy {
                break;
            }
        }
        for index in 0..ROOMS {
            let name = RoomName::new(format!("room-{index}"));
            let Some(hall) = &self.halls[index] else { continue };
            let empty = hall.empty_since.map_or(Duration::ZERO, |since| since.elapsed());
            match self.rooms.find(&name) {
                Some(room) => {
                    assert!(Arc::ptr_eq(&room, &hall.room));
                    assert!(empty < EMPTY_TIMEOUT + Duration::from_secs(2), "{index} stays open");
                }
                None => {
                    assert!(empty >= EMPTY_TIMEOUT, "{index} closed too soon");
                    assert!(!hall.model.keeps_open());
                    self.halls[index] = None;
                    self.seats.retain(|seat| seat.hall != index);
                    self.note(format!("{index} closed, being empty"));
                }
            }
        }
    }

    /// What the room says to a participant, as its session takes it.
    fn hear(&mut self, at: usize) -> bool {
        let mut busy = false;
        while let Ok(event) = self.seats[at].events.try_recv() {
            busy = true;
            if let RoomEvent::Subscribable(track) = &event {
                self.subscribe_to(at, &track.sid);
                continue;
            }
            let seat = &mut self.seats[at];
            let Some(client) = &mut seat.client else { continue };
            match event {
                RoomEvent::TrackPublished(track) if client.auto && track.participant != seat.sid => {
                    self.subscribe_to(at, &track.sid);
                }
                RoomEvent::TrackUnpublished(track) if track.participant == seat.sid => {
                    client.peer.unpublish(&track.sid);
                    let cid = client.announced.iter().find(|(_, it)| it.sid == track.sid).map(|(cid, _)| cid.clone());
                    if let Some(cid) = cid {
                        client.announced.remove(&cid);
                        client.browser.stop_sending(&cid);
                    }
                }
                RoomEvent::SubscriptionEnded { subscription, .. } => client.peer.subscription_ended(&subscription),
                _ => {}
            }
        }
        busy
    }

    /// What negotiation asks of a client.
    fn hear_peer(&mut self, at: usize) -> bool {
        let mut busy = false;
        loop {
            let Some(client) = &mut self.seats[at].client else { return busy };
            let Ok(event) = client.inputs.events.try_recv() else { return busy };
            busy = true;
            match event {
                PeerEvent::Offer { sdp, id, mid_to_track } => {
                    client.offered = Some(Offered { sdp, id, mid_to_track, stale: false });
                    self.answer(at);
                }
                PeerEvent::SectionsWanted { .. } if client.away => {}
                PeerEvent::SectionsWanted { audio, video } => {
                    client.browser.make_places(audio, video);
                    self.offer(at);
                }
                PeerEvent::SubscriptionRefused { track } => {
                    let seat = &self.seats[at];
                    let hall = self.halls[seat.hall].as_mut().unwrap();
                    hall.model.members.get_mut(&seat.sid).unwrap().wishes.remove(&track);
                    if let Some(info) = hall.room.track(&track) {
                        let decodes = &seat.client.as_ref().unwrap().browser.decodes;
                        assert!(!decodes.contains(&info.spec.codec.codec), "{track} could be decoded");
                    }
                    self.note(format!("{track} can't be decoded"));
                }
                PeerEvent::PublishRefused { cid, error, .. } => {
                    client.browser.stop_sending(&cid);
                    let was = client.announced.remove(&cid);
                    assert!(was.is_none_or(|was| !was.published), "{cid}: {error}");
                    self.note(format!("{cid} is refused"));
                }
                PeerEvent::Connected(_)
                | PeerEvent::Disconnected(_)
                | PeerEvent::Failed(_)
                | PeerEvent::TrackPublished { .. } => {}
            }
        }
    }

    /// That everybody holds what the model says.
    pub fn check(&mut self) {
        let halls = &self.halls;
        self.taps.retain_mut(|Tapped { tap, model }| {
            let alive = halls[model.room].as_ref().is_some_and(|hall| match &model.holder {
                Some(sid) => hall.model.may(sid, &model.track).is_ok(),
                None => hall.model.tracks().contains(&model.track),
            });
            let ended = tap.reader.is_abandoned();
            assert_eq!(alive, !ended, "the tap of {}", model.track);
            alive
        });
        let mut expected = Tables::default();
        let mut carriers: BTreeMap<ParticipantSid, (TransportKey, bool)> = BTreeMap::new();
        for seat in &mut self.seats {
            let Some(client) = &mut seat.client else { continue };
            let hall = self.halls[seat.hall].as_ref().unwrap();
            let held: BTreeSet<String> = hall.model.held(&seat.sid).iter().map(ToString::to_string).collect();
            let state = client.peer.state.lock();
            expected.transports.insert(state.publisher.transport);
            expected.transports.extend(state.subscriber.as_ref().map(|subscriber| subscriber.transport));
            let settled = client.offered.is_none() && !client.away;
            assert_eq!(state.outstanding.is_some(), client.offered.is_some());
            carriers.insert(seat.sid.clone(), (state.carrier().transport, settled));
            let wanted: BTreeSet<String> =
                state.subscriptions.iter().map(|wanted| wanted.info.sid.to_string()).collect();
            assert_eq!(wanted, held, "what the peer of {} negotiates", seat.sid);
            if settled {
                assert_eq!(client.browser.receives, held, "what {} receives", seat.sid);
            }
        }
        for hall in self.halls.iter().flatten() {
            expected.rooms.insert(hall.room.key());
            let members: BTreeSet<ParticipantSid> =
                hall.room.participants().iter().map(|info| info.sid.clone()).collect();
            assert_eq!(members, hall.model.members.keys().cloned().collect());
            let tracks: BTreeSet<TrackSid> = hall.room.tracks().iter().map(|info| info.sid.clone()).collect();
            assert_eq!(tracks, hall.model.tracks());
            for track in &tracks {
                expected.tracks.insert(hall.room.key_of(track).unwrap(), Subs::default());
            }
            for sid in &members {
                let subscriptions = hall.room.subscriptions(sid);
                let held: BTreeSet<TrackSid> = subscriptions.iter().map(|it| it.track.sid.clone()).collect();
                assert_eq!(held, hall.model.held(sid), "what {sid} is subscribed to");
                assert_eq!(held.len(), subscriptions.len());
                for subscription in subscriptions {
                    let subs = expected.tracks.get_mut(&subscription.key).unwrap();
                    match carriers.get(sid) {
                        Some((transport, _)) => drop(subs.placed.insert(subscription.sub, *transport)),
                        None => drop(subs.unplaced.insert(subscription.sub)),
                    }
                }
            }
        }
        for Tapped { tap, .. } in &self.taps {
            expected.tracks.get_mut(&tap.subscription.key).unwrap().taps.insert(tap.subscription.sub);
        }
        // A subscription of which the client has not heard yet has no place.
        let tables = self.shard.tables();
        let slow: BTreeSet<TransportKey> =
            carriers.values().filter(|(_, settled)| !settled).map(|(transport, _)| *transport).collect();
        for (key, subs) in &mut expected.tracks {
            let Some(real) = tables.tracks.get(key) else { continue };
            let waiting: Vec<_> = subs
                .placed
                .iter()
                .filter(|(sub, transport)| slow.contains(transport) && real.unplaced.contains(sub))
                .map(|(sub, _)| *sub)
                .collect();
            for sub in waiting {
                subs.placed.remove(&sub);
                subs.unplaced.insert(sub);
            }
        }
        assert_eq!(tables, expected);
    }

    /// Everybody goes, in their own order, and nothing is left.
    pub async fn end(mut self) {
        while !self.seats.is_empty() {
            self.leave();
            self.settle().await;
            self.check();
        }
        self.taps.clear();
        for _ in 0..(EMPTY_TIMEOUT.as_secs() * 4) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.settle().await;
        }
        assert!(self.halls.iter().all(Option::is_none));
        assert!(self.rooms.list().is_empty());
        assert_eq!(self.shard.tables(), Tables::default());
        assert_eq!(self.shard.entries(), 0);
        assert_eq!(self.peers.iter().filter(|peer| peer.strong_count() > 0).count(), 0, "peers");
        assert_eq!(self.all_rooms.iter().filter(|room| room.strong_count() > 0).count(), 0, "rooms");
        assert_eq!(tasks(), self.tasks, "tasks");
    }
}

impl Client {
    /// A description grows with what it carries at once, not with what it ever carried. Sections that
    /// are being given up can't be used yet, hence twice.
    fn check_sections(&self) {
        let most = 4 + 2 * self.peak;
        let own = if self.peer.topology() == Topology::Single { self.browser.sending_sections() } else { 0 };
        let sections = self.browser.most_sections;
        assert!(sections <= most + own, "{sections} sections, and never more than {} tracks", self.peak);
    }
}

impl Hall {
    fn note_empty(&mut self) {
        if self.model.keeps_open() {
            self.empty_since = None;
        } else if self.empty_since.is_none() {
            self.empty_since = Some(Instant::now());
        }
    }
}
