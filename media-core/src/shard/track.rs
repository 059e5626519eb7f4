//! A track on its shard: its layers, the newest group of pictures where the
//! source can't be asked for one, and its subscriptions.

use super::config::TrackConfig;
use super::layers::{self, Pace};
use super::levels::{LevelMeter, g711_level};
use super::sub::{Sink, Sub, TapSink};
use super::table::Table;
use super::{RoomKey, ShardHandle, SubKey, TrackKey, TransportKey};
use crate::clock::StreamClock;
use crate::media::{Codec, CodecParams, Keyframes, Kind, MediaPacket};
use crate::rtp::gop::GopCache;
use crate::rtp::history::PacketHistory;
use crate::rtp::nack::{NackConfig, NackGenerator};
use crate::rtp::order::{Order, Ordered};
use crate::rtp::red::RedUnpacker;
use crate::rtp::seq::{Extender, Extender32};
use crate::rtp::stats::ReceiverStats;
use crate::rtp::{h264, h265, vp8};
use crate::tap::Discontinuity;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At most one keyframe request a layer in this time.
const KEYFRAME_EVERY: Duration = Duration::from_millis(500);
/// After a layer's stream was replaced, packets of the old one are dropped for so long.
pub(super) const RETIRED_FOR: Duration = Duration::from_secs(2);
/// Packets kept for retransmission, per layer.
const HISTORY: usize = 1024;
const HISTORY_AGE: Duration = Duration::from_secs(2);

/// Where a stream's RTP clock stands by its newest report: room time `room_ns` at RTP time `rtp`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockPoint {
    pub room_ns: i64,
    pub rtp: u32,
}

impl ClockPoint {
    /// Room time of an RTP time near this point, ns.
    pub fn room_ns_at(self, rtp: u32, clock_rate: u32) -> i64 {
        let ticks = i128::from(rtp.wrapping_sub(self.rtp) as i32);
        self.room_ns + (ticks * 1_000_000_000).div_euclid(i128::from(clock_rate.max(1))) as i64
    }
}

pub(super) struct Layer {
    /// The publisher's stream, when it is a WebRTC one.
    pub ssrc: u32,
    /// The stream before it, and until when its stragglers are not taken for another change.
    pub retired: Option<(u32, Instant)>,
    clock_rate: u32,
    pub sequence: Extender,
    pub time: Extender32,
    /// The number that a fed packet must have if none was lost.
    pub next_fed: Option<u64>,
    pub nack: NackGenerator,
    pub stats: ReceiverStats,
    pub history: PacketHistory<MediaPacket>,
    pub red: Option<RedUnpacker>,
    /// Made for the first tap: taps get the stream in order.
    pub order: Option<Box<Order<(MediaPacket, u32)>>>,
    pub clock: StreamClock,
    pub last_keyframe_request: Option<Instant>,
    /// A keyframe was asked for while requests were being held back, and none came since.
    pub keyframe_pending: bool,
}

impl Layer {
    fn new(clock_rate: u32) -> Self {
        Self {
            ssrc: 0,
            retired: None,
            clock_rate,
            sequence: Extender::default(),
            time: Extender32::default(),
            next_fed: None,
            nack: NackGenerator::new(NackConfig::default()),
            stats: ReceiverStats::new(clock_rate),
            history: PacketHistory::new(HISTORY, HISTORY_AGE),
            red: None,
            order: None,
            clock: StreamClock::new(clock_rate),
            last_keyframe_request: None,
            keyframe_pending: false,
        }
    }
}

impl Layer {
    /// By the newest report, as those who receive it see the stream's times.
    pub fn clock_point(&self) -> Option<ClockPoint> {
        self.clock.point().map(|(time, room_ns)| ClockPoint { room_ns, rtp: time as u32 })
    }

    /// Nothing that is known of the source's earlier packets holds any more.
    pub fn begin_anew(&mut self) {
        self.nack.reset();
        self.stats.restart();
        self.history.clear();
        self.red = None;
        self.clock = StreamClock::new(self.clock_rate);
    }
}

/// Packets of a layer in order, ready for its taps.
pub(super) type InOrder = Vec<Ordered<(MediaPacket, u32)>>;

/// Which of a track's subscriptions a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    All,
    Nobody,
    /// Those that take packets as they come: browsers put them in order themselves.
    Peers,
    Taps,
}

impl Readers {
    pub fn include(self, sub: &Sub) -> bool {
        match self {
            Self::All => true,
            Self::Nobody => false,
            Self::Peers => !sub.is_tap(),
            Self::Taps => sub.is_tap(),
        }
    }
}

/// A track in one room.
pub(super) struct Place {
    /// What the room calls it by.
    pub key: TrackKey,
    pub room: RoomKey,
    pub muted: bool,
    /// What was cached before these numbers, of each layer, was not meant to be seen there.
    pub not_before: SmallVec<[Option<u64>; 3]>,
}

impl Place {
    pub fn new(key: TrackKey, room: RoomKey, muted: bool) -> Self {
        Self { key, room, muted, not_before: SmallVec::new() }
    }
}

pub(super) struct Track {
    pub config: TrackConfig,
    pub layers: Vec<Layer>,
    /// The pace of each layer; beside `layers` so that both can be borrowed.
    pub paces: Vec<Pace>,
    /// The newest group of each layer, where the source can't be asked for one.
    pub gops: Vec<GopCache<(MediaPacket, u32)>>,
    pub subs: Table<SubKey, Sub>,
    /// The rooms it is in.
    pub places: SmallVec<[Place; 1]>,
    /// It is muted wherever it is: nothing of it is kept.
    pub silent: bool,
    /// Tracks of other shards that get what this one is fed.
    pub replicas: Vec<(ShardHandle, TrackKey)>,
    pub publisher: Option<TransportKey>,
    pub meter: LevelMeter,
    pub wanted: Option<[bool; 3]>,
    /// Since when fewer layers are wanted than the publisher was told.
    pub unwanted_since: Option<Instant>,
}

impl Track {
    pub fn new(config: TrackConfig, gop_bytes: usize, gop_duration: Duration) -> Self {
        let count = config.layers.clamp(1, 3);
        let cached = config.keyframes == Keyframes::Cached && config.codec.codec.kind() == Kind::Video;
        Self {
            layers: (0..count).map(|_| Layer::new(config.codec.clock_rate)).collect(),
            paces: vec![Pace::default(); count],
            gops: (0..if cached { count } else { 0 }).map(|_| GopCache::new(gop_bytes, gop_duration)).collect(),
            subs: Table::default(),
            places: SmallVec::new(),
            silent: config.muted && config.room.is_some(),
            replicas: Vec::new(),
            publisher: None,
            meter: LevelMeter::default(),
            wanted: None,
            unwanted_since: None,
            config,
        }
    }

    pub fn taps(&mut self) -> impl Iterator<Item = &mut TapSink> {
        self.subs.values_mut().filter_map(|sub| match &mut sub.sink {
            Sink::Tap(tap) => Some(&mut **tap),
            _ => None,
        })
    }

    /// The codec's parameters are others from here on. With another clock rate its times begin anew.
    pub fn set_format(&mut self, codec: Arc<CodecParams>) {
        if *codec == self.config.codec {
            return;
        }
        if codec.clock_rate != self.config.codec.clock_rate {
            for layer in 0..self.layers.len() {
                self.wait_anew(layer, Discontinuity::Source);
            }
            self.layers = (0..self.layers.len()).map(|_| Layer::new(codec.clock_rate)).collect();
            self.subs.values_mut().for_each(|sub| sub.set_clock_rate(codec.clock_rate));
        }
        self.config.codec = (*codec).clone();
        self.taps().for_each(|tap| tap.writer.set_format(codec.clone()));
    }

    /// A packet that subscribers are not to have, without a gap in their numbers.
    pub fn leave_out(&mut self, layer: usize, sequence: u64, readers: Readers) {
        for sub in self.subs.values_mut().filter(|sub| sub.current == Some(layer) && readers.include(sub)) {
            sub.munger.drop_packet(sequence);
        }
    }

    /// The stage that a layer's taps read from; none while there are none, or where the source
    /// is fed in order.
    pub fn order(&mut self, layer: usize) -> Option<&mut Order<(MediaPacket, u32)>> {
        if self.config.feed.is_some() {
            return None;
        }
        let taps = self.subs.values().any(Sub::is_tap);
        let layer = self.layers.get_mut(layer)?;
        if !taps {
            layer.order = None;
            return None;
        }
        Some(layer.order.get_or_insert_default())
    }

    /// The layer's times have another base from here on: who watches it waits for a picture to start at,
    /// or for sound.
    pub fn wait_anew(&mut self, layer: usize, why: Discontinuity) {
        if let Some(pace) = self.paces.get_mut(layer) {
            pace.restart();
        }
        for sub in self.subs.values_mut().filter(|sub| sub.current == Some(layer)) {
            sub.breaks(why);
            sub.current = None;
        }
    }

    /// Readers of a layer are told that it does not go on as it was.
    pub fn breaks(&mut self, layer: usize, why: Discontinuity) {
        self.subs.values_mut().filter(|sub| sub.current == Some(layer)).for_each(|sub| sub.breaks(why));
    }

    /// What was sent so far of this layer, or of all, is no ground for what comes: a keyframe is waited for.
    pub fn begin_anew(&mut self, layer: Option<usize>) {
        for (index, gop) in self.gops.iter_mut().enumerate() {
            if layer.is_none_or(|layer| layer == index) {
                gop.clear();
            }
        }
        for sub in self.subs.values_mut().filter(|sub| layer.is_none() || sub.current == layer) {
            sub.current = None;
            sub.burst.clear();
        }
    }

    /// What is fed from here on is another stream.
    pub fn restart(&mut self) {
        self.begin_anew(None);
        for index in 0..self.layers.len() {
            if let Some(layer) = self.layers.get_mut(index) {
                layer.begin_anew();
                layer.next_fed = None;
            }
            if let Some(pace) = self.paces.get_mut(index) {
                pace.restart();
            }
        }
        self.subs.values_mut().for_each(|sub| {
            sub.breaks(Discontinuity::Source);
            sub.current = None;
        });
    }

    pub fn place(&mut self, key: TrackKey) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.key == key)
    }

    /// Mutes or unmutes the track in one of its rooms.
    pub fn mute(&mut self, key: TrackKey, muted: bool) {
        let next = self.layers.iter().map(|layer| layer.next_fed).collect::<SmallVec<[_; 3]>>();
        let Some(place) = self.place(key) else { return };
        place.muted = muted;
        place.not_before = next.clone();
        self.silent = self.config.room.is_some() && muted;
        let video = self.is_video();
        if video && self.config.room.is_some() {
            self.begin_anew(None);
        }
        for sub in self.subs.values_mut().filter(|sub| sub.place == key) {
            sub.muted = muted;
            if video {
                sub.current = None;
                sub.burst.clear();
            }
            sub.not_before = next.clone();
            if let Sink::Tap(tap) = &mut sub.sink {
                tap.writer.set_muted(muted);
            }
        }
    }

    pub fn is_video(&self) -> bool {
        self.config.codec.codec.kind() == Kind::Video
    }

    /// Files a packet that just arrived: history, level, group of pictures.
    pub fn note(&mut self, index: usize, packet: &MediaPacket, timestamp: u32, now: Instant) {
        if let Some(pace) = self.paces.get_mut(index) {
            pace.packet(timestamp, now);
        }
        let codec = self.config.codec.codec;
        if let Some(layer) = self.layers.get_mut(index) {
            if layer.keyframe_pending && starts_keyframe(codec, &packet.payload) {
                layer.keyframe_pending = false;
            }
            layer.history.insert(packet.sequence, packet.clone(), now);
        }
        if !self.is_video() {
            if let Some(level) = packet.level.or_else(|| g711_level(self.config.codec.codec, &packet.payload)) {
                self.meter.add(level);
            }
        } else if let Some(gop) = self.gops.get_mut(index) {
            let keyframe = starts_keyframe(codec, &packet.payload);
            gop.push((packet.clone(), timestamp), packet.payload.len() + 64, timestamp, keyframe, now);
        }
    }

    /// When a layer may be asked for a keyframe again.
    pub fn may_ask_at(&self, index: usize) -> Option<Instant> {
        Some(self.layers.get(index)?.last_keyframe_request? + KEYFRAME_EVERY)
    }

    /// Whether a keyframe may be asked for now; if not, it is remembered.
    pub fn may_request_keyframe(&mut self, index: usize, now: Instant) -> bool {
        let Some(layer) = self.layers.get_mut(index) else { return false };
        let soon = layer.last_keyframe_request.is_some_and(|at| now.saturating_duration_since(at) < KEYFRAME_EVERY);
        layer.keyframe_pending = soon;
        if !soon {
            layer.last_keyframe_request = Some(now);
        }
        !soon
    }

    /// The three qualities somebody wants at this moment.
    pub fn wanted_now(&self) -> [bool; 3] {
        let wishes = self.subs.values().filter(|sub| !sub.paused && sub.is_placed()).map(|sub| sub.wish);
        layers::wanted(self.layers.len(), wishes)
    }
}

/// A packet that came a short while ago, or belongs to the group that new viewers are given:
/// of what they are given at once, most is older than what went out live.
pub(super) fn kept<'a>(
    layers: &'a [Layer],
    gops: &'a [GopCache<(MediaPacket, u32)>],
    layer: usize,
    sequence: u64,
    now: Instant,
) -> Option<&'a MediaPacket> {
    let fresh = layers.get(layer).and_then(|layer| layer.history.get(sequence, now));
    fresh.or_else(|| {
        let cached = gops.get(layer)?.find(|(packet, _)| packet.sequence.cmp(&sequence))?;
        Some(&cached.0)
    })
}

/// Whether a decoder can start at this payload.
pub(super) fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::starts_keyframe(payload),
        Codec::H265 => h265::starts_keyframe(payload),
        Codec::Vp8 => vp8::starts_keyframe(payload),
        codec => codec.kind() == Kind::Audio,
    }
}
