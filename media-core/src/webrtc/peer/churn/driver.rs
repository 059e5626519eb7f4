//! Does one thing after the other, to the rooms and to the model, and compares.

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

    fn join(&mut self) {
        let index = self.rng.random_range(0..ROOMS);
        let name = RoomName::new(format!("room-{index}"));
        let policy = [CodecPolicy::PreferH264, CodecPolicy::Any, CodecPolicy::H264][index % 3];
        if self.halls[index].is_none() {
            let room = self.rooms.open(&name, || RoomOptions {
                codec_policy: policy,
                empty_timeout: EMPTY_TIMEOUT.as_secs() as u32,
                max_participants: MAX_PARTICIPANTS,
                ..RoomOptions::default()
            });
            self.all_rooms.push(Arc::downgrade(&room));
            self.halls[index] = Some(Hall { room, model: model::Room::default(), empty_since: Some(Instant::now()) });
        }
        let identity = format!("person-{}", self.rng.random_range(0..IDENTITIES));
        let kind =
            [ParticipantKind::Person, ParticipantKind::Person, ParticipantKind::Recorder, ParticipantKind::Camera]
                [self.rng.random_range(0..4)];
        let permission = self.any_permission();
        self.note(format!("{identity} ({kind:?}) comes to {index}"));
        let join = Join { identity: identity.clone(), kind, permission: permission.clone(), ..Join::default() };
        let hall = self.halls[index].as_mut().unwrap();
        let came = hall.room.join(join);
        let identity = Identity::new(&identity);
        let twin =
            hall.model.members.iter().find(|(_, member)| member.identity == identity).map(|(sid, _)| sid.clone());
        if let Some(twin) = twin {
            hall.model.take_out(&twin);
        }
        if hall.model.visible() >= MAX_PARTICIPANTS as usize {
            assert_eq!(came.err(), Some(RoomError::Full(MAX_PARTICIPANTS)));
            hall.note_empty();
            return;
        }
        let came = came.unwrap();
        let sid = came.info.sid.clone();
        let member = model::Member {
            identity,
            kind,
            permission,
            audience: Audience::default(),
            tracks: BTreeMap::new(),
            wishes: BTreeSet::new(),
        };
        hall.model.members.insert(sid.clone(), member);
        hall.note_empty();
        let client = (kind != ParticipantKind::Camera).then(|| {
            let single = self.rng.random_bool(0.5);
            let decodes = match self.rng.random_range(0..6) {
                0 => vec![Codec::Opus, Codec::Vp8],
                1 => vec![Codec::Opus, Codec::H264],
                _ => vec![Codec::Opus, Codec::H264, Codec::Vp8],
            };
            let topology = if single { Topology::Single } else { Topology::Dual };
            let (peer, inputs) = Peer::new(self.endpoint.clone(), hall.room.clone(), &came.info, topology);
            self.peers.push(Arc::downgrade(&peer));
            Client {
                peer,
                inputs,
                browser: Browser::new(decodes, single),
                auto: self.rng.random_bool(0.7),
                slow: false,
                offered: None,
                announced: BTreeMap::new(),
                next_cid: 0,
                peak: 0,
            }
        });
        self.seats.push(Seat { hall: index, sid, events: came.events, client, sources: Vec::new() });
        let at = self.seats.len() - 1;
        if self.seats[at].client.as_ref().is_some_and(|client| client.peer.topology() == Topology::Single) {
            self.offer(at);
        }
        if self.seats[at].client.as_ref().is_some_and(|client| client.auto) {
            for track in self.hall(index).model.tracks() {
                self.subscribe_to(at, &track);
            }
        }
    }

    fn leave(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let seat = self.seats.remove(at);
        if let Some(client) = &seat.client {
            client.check_sections();
        }
        self.note(format!("{} goes", seat.sid));
        let hall = self.halls[seat.hall].as_mut().unwrap();
        hall.model.take_out(&seat.sid);
        hall.note_empty();
        // In any order, as sessions end.
        if self.rng.random_bool(0.5) {
            hall.room.leave(&seat.sid, LeaveReason::ClientInitiated);
        } else {
            let (room, sid) = (hall.room.clone(), seat.sid.clone());
            drop(seat);
            room.leave(&sid, LeaveReason::ClientInitiated);
        }
    }

    fn close(&mut self) {
        if self.chance(70) {
            return;
        }
        let index = self.rng.random_range(0..ROOMS);
        if self.halls[index].is_none() {
            return;
        }
        self.note(format!("{index} is closed"));
        self.rooms.close(&RoomName::new(format!("room-{index}")), LeaveReason::RoomClosed);
        let hall = self.hall(index);
        hall.model.members.clear();
        let room = hall.room.clone();
        self.seats.retain_mut(|seat| {
            let out = seat.hall == index;
            if out {
                let mut told = std::iter::from_fn(|| seat.events.try_recv().ok());
                assert!(told.any(|event| matches!(event, RoomEvent::Removed(LeaveReason::RoomClosed))));
            }
            !out
        });
        self.halls[index] = None;
        assert!(room.join(Join { identity: "late".into(), ..Join::default() }).is_err());
    }

    /// A track that the client sends itself.
    fn publish(&mut self) {
        let Some(at) = self.any_client() else { return };
        let source = [Source::Microphone, Source::Camera, Source::ScreenShare][self.rng.random_range(0..3)];
        let codecs = match (source, self.rng.random_range(0..4)) {
            (Source::Microphone, _) => vec![Codec::Opus],
            (_, 0) => vec![Codec::Vp8],
            (_, 1) => vec![Codec::H264],
            _ => vec![Codec::H264, Codec::Vp8],
        };
        let (again, at_once) = (self.chance(50), self.chance(80));
        let seat = &mut self.seats[at];
        let client = seat.client.as_mut().unwrap();
        let cid = format!("cid-{}", client.next_cid);
        client.next_cid += 1;
        let params = if is_sound(codecs[0]) { CodecParams::opus() } else { CodecParams::video(codecs[0]) };
        let added = client.peer.add_track(&cid, TrackSpec::new(source, params));
        let allowed = self.halls[seat.hall].as_ref().unwrap().model.members[&seat.sid].permission.allows_source(source);
        let sid = match added {
            Ok(info) => info.sid.clone(),
            Err(PeerError::Room(RoomError::NotAllowed(_))) if !allowed => return,
            Err(error) => panic!("{error}"),
        };
        assert!(allowed);
        client.browser.send(&cid, &codecs, again);
        client
            .announced
            .insert(cid.clone(), Announced { sid: sid.clone(), source, codecs: codecs.clone(), published: false });
        let what = format!("{} announces {cid}, {source:?} {codecs:?}, as {sid}", seat.sid);
        self.note(what);
        if at_once {
            self.offer(at);
        }
    }

    fn offer(&mut self, at: usize) {
        if self.is_over(self.seats[at].hall) {
            return;
        }
        let seat = &mut self.seats[at];
        let client = seat.client.as_mut().unwrap();
        let sdp = client.browser.offer();
        let single = client.peer.topology() == Topology::Single;
        let answer = client.peer.publisher_offer(&sdp).unwrap();
        client.browser.take_answer(&answer.sdp, single);
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let sends = client.browser.sends();
        // What it has stopped sending ends, and what it announced begins.
        let ended: Vec<String> = client.announced.keys().filter(|cid| !sends.contains(cid)).cloned().collect();
        for cid in ended {
            let was = client.announced.remove(&cid).unwrap();
            hall.model.unpublish(&was.sid);
        }
        let strict = hall.room.codec_policy() == CodecPolicy::H264;
        for announced in client.announced.values_mut().filter(|announced| !announced.published) {
            let member = hall.model.members.get_mut(&seat.sid).unwrap();
            let fits = !strict || announced.codecs.contains(&Codec::H264) || is_sound(announced.codecs[0]);
            announced.published = fits && member.permission.allows_source(announced.source);
            if announced.published {
                member.tracks.insert(announced.sid.clone(), announced.source);
                self.known.push_back(announced.sid.clone());
            }
        }
        self.known.drain(..self.known.len().saturating_sub(100));
        let what = format!("{} offers {sends:?}", seat.sid);
        self.note(what);
    }

    fn unpublish(&mut self) {
        let Some(at) = self.any_client() else { return };
        let way = self.rng.random_range(0..10);
        let seat = &mut self.seats[at];
        let client = seat.client.as_mut().unwrap();
        let cids: Vec<String> = client.announced.keys().cloned().collect();
        let Some(cid) = cids.choose(&mut self.rng).cloned() else { return };
        client.browser.stop_sending(&cid);
        let sid = client.announced[&cid].sid.clone();
        let what = format!(
            "{} takes {cid} back, {}",
            seat.sid,
            match way {
                0 => "by its word",
                1..6 => "by an offer",
                _ => "later",
            }
        );
        if way == 0 {
            client.peer.unpublish(&sid);
            client.announced.remove(&cid);
            self.halls[seat.hall].as_mut().unwrap().model.unpublish(&sid);
        }
        self.note(what);
        // Otherwise with whatever it offers next; its place may be another's by then.
        if (1..6).contains(&way) {
            self.offer(at);
        }
    }

    /// A track that an adapter feeds.
    fn feed(&mut self) {
        let Some(at) = self.any_seat() else { return };
        if self.chance(40) {
            return self.write(at);
        }
        let (source, codec) = match self.rng.random_range(0..8) {
            0..3 => (Source::Microphone, CodecParams::opus()),
            3 => (Source::Camera, CodecParams::video(Codec::H265)),
            4 => (Source::Camera, CodecParams::video(Codec::Vp8)),
            _ => (Source::Camera, CodecParams::h264()),
        };
        let keyframes = if self.chance(50) { Keyframes::OnRequest } else { Keyframes::Cached };
        let seat = &mut self.seats[at];
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let member = hall.model.members.get_mut(&seat.sid).unwrap();
        let published = hall.room.publish(&seat.sid, TrackSpec::new(source, codec), keyframes);
        if !member.permission.allows_source(source) {
            assert_eq!(published.err(), Some(RoomError::NotAllowed("publish this source")));
            return;
        }
        let published = published.unwrap();
        let sid = published.info().sid.clone();
        member.tracks.insert(sid.clone(), source);
        self.known.push_back(sid.clone());
        seat.sources.push(published);
        let what = format!("{} is fed {sid}", seat.sid);
        self.note(what);
    }

    /// A group of pictures, or of sound.
    fn write(&mut self, at: usize) {
        let Some(source) = self.seats[at].sources.first() else { return };
        let start = self.count as u64 * 10;
        let batch = (0..6u64).map(|index| SourcePacket {
            sequence: start + index,
            timestamp: ((start + index) * 3000) as u32,
            marker: true,
            payload: Bytes::from_static(if index == 0 { &[0x65, 0x88, 0x84, 0x21] } else { &[0x41, 0x9a, 0x02, 0x03] }),
        });
        source.write(batch.collect());
    }

    fn stop_feeding(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let seat = &mut self.seats[at];
        if seat.sources.is_empty() {
            return;
        }
        let source = seat.sources.remove(self.rng.random_range(0..seat.sources.len()));
        let sid = source.info().sid.clone();
        self.halls[seat.hall].as_mut().unwrap().model.unpublish(&sid);
        let what = format!("{} is not fed {sid} any more", seat.sid);
        drop(source);
        self.note(what);
    }

    fn subscribe(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let Some(track) = self.any_track(self.seats[at].hall) else { return };
        self.subscribe_to(at, &track);
    }

    fn subscribe_to(&mut self, at: usize, track: &TrackSid) {
        if self.is_over(self.seats[at].hall) {
            return;
        }
        let seat = &mut self.seats[at];
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let expected = hall.model.may(&seat.sid, track);
        let got = match &mut seat.client {
            None => hall.room.subscribe(&seat.sid, track).map(|_| ()),
            Some(client) => match client.peer.subscribe(track) {
                Ok(()) => {
                    client.peak = client.peak.max(client.peer.state.lock().subscriptions.len());
                    Ok(())
                }
                Err(PeerError::Room(error)) => Err(error),
                Err(PeerError::CodecUnsupported { .. }) => {
                    assert_eq!(hall.room.track(track).unwrap().spec.codec.codec, Codec::H265);
                    return;
                }
                Err(other) => panic!("{other}"),
            },
        };
        let wishes = &mut hall.model.members.get_mut(&seat.sid).unwrap().wishes;
        match expected {
            Ok(()) | Err(RoomError::NotAllowed(_) | RoomError::NotInAudience) => drop(wishes.insert(track.clone())),
            Err(_) => drop(wishes.remove(track)),
        }
        let what = format!("{} asks for {track}: {got:?}", seat.sid);
        self.note(what);
        assert_eq!(got, expected);
    }

    fn unsubscribe(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let seat = &mut self.seats[at];
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let wishes = &mut hall.model.members.get_mut(&seat.sid).unwrap().wishes;
        let all: Vec<TrackSid> = wishes.iter().cloned().collect();
        let Some(track) = all.choose(&mut self.rng) else { return };
        wishes.remove(track);
        match &seat.client {
            None => drop(hall.room.unsubscribe(&seat.sid, track)),
            Some(client) => client.peer.unsubscribe(track),
        }
        let what = format!("{} gives {track} up", seat.sid);
        self.note(what);
    }

    fn any_permission(&mut self) -> Permission {
        let full = Permission::full();
        match self.rng.random_range(0..10) {
            0 => Permission { can_subscribe: false, ..full },
            1 => Permission { can_publish: false, ..full },
            2 => Permission { sources: vec![Source::Camera], ..full },
            3 => Permission { hidden: true, ..full },
            _ => full,
        }
    }

    fn permit(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let permission = self.any_permission();
        let seat = &self.seats[at];
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let change = ParticipantChange { permission: Some(permission.clone()), ..ParticipantChange::default() };
        hall.room.update_participant(&seat.sid, change).unwrap();
        let member = hall.model.members.get_mut(&seat.sid).unwrap();
        let gone: Vec<TrackSid> = member
            .tracks
            .iter()
            .filter(|(_, source)| !permission.allows_source(**source))
            .map(|(track, _)| track.clone())
            .collect();
        let what = format!("{} may now {permission:?}", seat.sid);
        member.permission = permission;
        gone.iter().for_each(|track| hall.model.unpublish(track));
        self.note(what);
    }

    fn choose_audience(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let index = self.seats[at].hall;
        let mut audience = Audience::default();
        if self.chance(70) {
            audience.everybody = false;
            for _ in 0..self.rng.random_range(0..4) {
                let sids: Vec<ParticipantSid> = self.hall(index).model.members.keys().cloned().collect();
                let listener = if self.chance(50) {
                    Listener::Sid(sids.choose(&mut self.rng).unwrap().clone())
                } else {
                    Listener::Identity(Identity::new(format!("person-{}", self.rng.random_range(0..IDENTITIES))))
                };
                let tracks = match (self.chance(50), self.any_track(index)) {
                    (true, Some(track)) => Tracks::These(vec![track]),
                    _ => Tracks::All,
                };
                audience.listed.push(Listed { listener, tracks });
            }
        }
        let sid = self.seats[at].sid.clone();
        let hall = self.hall(index);
        hall.room.set_audience(&sid, audience.clone()).unwrap();
        hall.model.members.get_mut(&sid).unwrap().audience = audience.clone();
        self.note(format!("{sid} chooses {audience:?}"));
    }

    fn mute(&mut self) {
        let index = self.rng.random_range(0..ROOMS);
        if self.halls[index].is_none() {
            return;
        }
        let Some(track) = self.any_track(index) else { return };
        let (muted, asked) = (self.chance(60), self.chance(50));
        self.note(format!("{track} muted: {muted}, {}", if asked { "by the host" } else { "by its publisher" }));
        let hall = self.halls[index].as_ref().unwrap();
        let done = if asked { hall.room.request_mute(&track, muted) } else { hall.room.set_muted(&track, muted) };
        assert_eq!(done.is_ok(), hall.model.tracks().contains(&track));
    }

    fn adjust(&mut self) {
        let Some(at) = self.any_client() else { return };
        let Some(track) = self.any_track(self.seats[at].hall) else { return };
        let settings = TrackSettings {
            disabled: self.chance(40),
            quality: [None, Some(LayerQuality::Low), Some(LayerQuality::High)][self.rng.random_range(0..3)],
            width: self.rng.random_range(0..2000),
            height: self.rng.random_range(0..1000),
            fps: 0,
            priority: 0,
        };
        self.seats[at].client.as_ref().unwrap().peer.adjust(&track, settings);
    }

    fn tap(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let seat = &self.seats[at];
        let (index, sid) = (seat.hall, seat.sid.clone());
        let Some(track) = self.any_track(index) else { return };
        let holder = if self.chance(50) { Holder::Participant(sid.clone()) } else { Holder::Service("test") };
        let hall = self.hall(index);
        let (expected, named) = match &holder {
            Holder::Participant(sid) => (hall.model.may(sid, &track), Some(sid.clone())),
            Holder::Service(_) if hall.model.tracks().contains(&track) => (Ok(()), None),
            Holder::Service(_) => (Err(RoomError::NoTrack), None),
        };
        match hall.room.tap(&holder, &track, 16) {
            Ok(tap) => {
                assert_eq!(expected, Ok(()));
                let model = model::Tap { room: index, holder: named, track: track.clone() };
                self.taps.push(Tapped { tap, model });
            }
            Err(error) => assert_eq!(expected, Err(error)),
        }
        self.note(format!("{holder:?} taps {track}"));
    }

    fn drop_tap(&mut self) {
        if self.taps.is_empty() {
            return;
        }
        let tapped = self.taps.remove(self.rng.random_range(0..self.taps.len()));
        self.note(format!("a tap of {} is dropped", tapped.model.track));
    }

    /// A client stops answering for a while, or answers what has waited.
    fn be_slow(&mut self) {
        let Some(at) = self.any_client() else { return };
        let client = self.seats[at].client.as_mut().unwrap();
        client.slow = !client.slow;
        let what = format!(
            "{} is {}",
            self.seats[at].sid,
            if self.seats[at].client.as_ref().unwrap().slow { "slow" } else { "quick" }
        );
        self.note(what);
        self.answer(at);
    }

    fn answer(&mut self, at: usize) {
        let client = self.seats[at].client.as_mut().unwrap();
        if client.slow {
            return;
        }
        let Some(offered) = client.offered.take() else { return };
        let before = client.browser.receives.clone();
        let answer = client.browser.answer(&offered.sdp, &offered.mid_to_track);
        match client.peer.subscriber_answer(&answer, Some(offered.id)) {
            Ok(()) => assert!(!offered.stale),
            Err(PeerError::WrongState(_)) if offered.stale => client.browser.receives = before,
            Err(error) => panic!("{error}"),
        }
    }

    /// The signalling connection was lost and is back.
    fn resume(&mut self) {
        let Some(at) = self.any_client() else { return };
        let lost = self.chance(50);
        let client = self.seats[at].client.as_mut().unwrap();
        if client.peer.topology() == Topology::Single {
            return;
        }
        client.peer.restart_ice();
        match &mut client.offered {
            Some(offered) if !lost => offered.stale = true,
            offered => *offered = None,
        }
        let what = format!("{} resumes", self.seats[at].sid);
        self.note(what);
        self.answer(at);
    }

    /// The host takes a track out.
    fn take_back(&mut self) {
        let index = self.rng.random_range(0..ROOMS);
        if self.halls[index].is_none() {
            return;
        }
        let Some(track) = self.any_track(index) else { return };
        self.note(format!("{track} is taken out"));
        let hall = self.hall(index);
        hall.room.unpublish(&track);
        if hall.model.tracks().contains(&track) {
            hall.model.unpublish(&track);
        }
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
            let ended = tap.receiver.is_closed();
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
            let settled = client.offered.is_none();
            assert_eq!(state.outstanding.is_some(), !settled && client.peer.topology() == Topology::Dual);
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
