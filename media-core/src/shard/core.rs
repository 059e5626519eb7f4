//! The shard without sockets, clock or randomness of its own: datagrams, commands and feeds go in
//! with the time at which they came, packets and the next moment to be woken come out. The loop
//! around it is [`super::run`]; tests drive it in virtual time.

use super::compound::Compound;
use super::config::ShardConfig;
use super::ingress::Fan;
use super::table::{KeyMap, SubAt, Table, TransportAt};
use super::track::Track;
use super::transport::Transport;
use super::{Command, RoomKey, ShardEvent, ShardStats, SubKey, TrackKey, TransportKey};
use crate::clock::RoomClock;
use crate::media::SourcePacket;
use crate::session::egress::Egress;
use crate::session::flow::DataCounts;
use crate::session::{Path, PortKey, Session};
use crate::tap::Bell;
use bytes::{Bytes, BytesMut};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rtc_srtp::crypto::RTCCryptoProvider;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub(super) const TICK_IDLE: Duration = Duration::from_millis(250);
const LEVELS_EVERY: Duration = Duration::from_millis(300);
/// How soon a cached group goes on.
const BURST_EVERY: Duration = Duration::from_millis(1);

pub(super) struct Room {
    pub(super) events: mpsc::UnboundedSender<ShardEvent>,
    pub(super) speaking: bool,
}

/// Work that waits until what it produced so far has left.
pub(super) enum Rest {
    /// Packets that wait their turn, [`ShardCore::send_bursts`].
    Bursts,
    /// A packet that has reached only a part of its readers.
    Fan(Fan),
    Feed(TrackKey, std::vec::IntoIter<SourcePacket>),
}

/// Payloads of received packets share memory in pieces of this size.
const CHUNK: usize = 64 << 10;

pub(super) struct ShardCore {
    pub(super) config: ShardConfig,
    pub(super) clock: RoomClock,
    pub(super) random: StdRng,
    pub(super) crypto: Arc<dyn RTCCryptoProvider>,
    /// What is to leave; whoever drives the core takes it after each call.
    pub(super) egress: Egress,
    /// For the readers of taps; to be rung once a turn.
    pub(super) bell: Arc<Bell>,
    pub(super) rest: VecDeque<Rest>,
    /// Room for what a tick tells a peer.
    pub(super) compound: Compound,
    /// Room for payloads of received packets.
    chunk: BytesMut,
    started: Instant,
    pub(super) transports: Table<TransportKey, Transport>,
    pub(super) ufrags: HashMap<String, TransportKey>,
    /// Anybody's addresses: hashed with a secret of this process.
    pub(super) paths: foldhash::HashMap<Path, TransportAt>,
    /// Whose a session's own port is.
    pub(super) ports: KeyMap<PortKey, TransportAt>,
    /// Ports that no session uses any more: the loop closes them.
    pub(super) lost_ports: Vec<PortKey>,
    /// Paths that no transport uses any more: the loop closes those that are connections.
    pub(super) lost_paths: Vec<Path>,
    pub(super) tracks: Table<TrackKey, Track>,
    pub(super) rooms: KeyMap<RoomKey, Room>,
    pub(super) timers: BinaryHeap<Reverse<(Instant, TransportKey)>>,
    /// Subscriptions with packets that wait their turn.
    pub(super) bursting: VecDeque<SubAt>,
    /// When the next of them may leave.
    next_burst: Instant,
    /// Tracks with a subscription that may start at a later moment.
    pub(super) delayed: Vec<(Instant, TrackKey)>,
    /// Fed tracks with a keyframe request that was too soon after another.
    pub(super) held_back: Vec<(Instant, TrackKey)>,
    next_levels: Instant,
    pub(super) stats: ShardStats,
    /// Of transports that are no more.
    pub(super) data_of_the_gone: DataCounts,
}

impl ShardCore {
    /// `seed` decides every number that is to be hard to guess.
    pub fn new(
        config: ShardConfig,
        clock: RoomClock,
        seed: [u8; 32],
        crypto: Arc<dyn RTCCryptoProvider>,
        now: Instant,
    ) -> Self {
        Self {
            config,
            clock,
            random: StdRng::from_seed(seed),
            crypto,
            egress: Egress::default(),
            bell: Arc::default(),
            rest: VecDeque::new(),
            compound: Compound::default(),
            chunk: BytesMut::new(),
            started: now,
            transports: Table::default(),
            ufrags: HashMap::new(),
            paths: foldhash::HashMap::default(),
            ports: KeyMap::default(),
            lost_ports: Vec::new(),
            lost_paths: Vec::new(),
            tracks: Table::default(),
            rooms: KeyMap::default(),
            timers: BinaryHeap::new(),
            bursting: VecDeque::new(),
            next_burst: now,
            delayed: Vec::new(),
            held_back: Vec::new(),
            next_levels: now + LEVELS_EVERY,
            stats: ShardStats::default(),
            data_of_the_gone: DataCounts::default(),
        }
    }

    /// When [`Self::handle_timeout`] has something to do, unless something else comes first.
    pub fn poll_timeout(&self) -> Instant {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let delayed = self.delayed.iter().chain(&self.held_back).map(|(at, _)| *at).min();
        let burst = (!self.bursting.is_empty()).then_some(self.next_burst);
        [timer, delayed, burst].into_iter().flatten().fold(self.next_levels, Instant::min)
    }

    /// Everything that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.finish_rest(now);
        self.guarded("starting subscriptions", |core| core.start_delayed(now));
        if now >= self.next_burst {
            self.next_burst = now + BURST_EVERY;
            self.guarded("sending what waits its turn", |core| core.send_bursts(now));
        }
        self.guarded("asking for keyframes", |core| core.serve_held_back(now));
        self.timers(now);
        if now >= self.next_levels {
            self.next_levels = now + LEVELS_EVERY;
            self.guarded("finding speakers", |core| core.levels(now));
        }
    }

    /// Whether what was produced should leave before more is asked of the core.
    pub fn must_flush(&self) -> bool {
        self.egress.is_full() || !self.rest.is_empty()
    }

    /// Goes on with what had to wait for room; to be called until [`Self::must_flush`] says no.
    pub fn go_on(&mut self, now: Instant) {
        while !self.egress.is_full()
            && let Some(rest) = self.rest.pop_front()
        {
            self.guarded("going on with what waited", |core| match rest {
                Rest::Bursts => core.send_bursts(now),
                Rest::Fan(fan) => core.hand_out(fan, now),
                Rest::Feed(track, batch) => core.feed_all(track, batch, now),
            });
        }
    }

    /// For whoever asks for more without having made room: bounds are the egress's own then.
    pub(super) fn finish_rest(&mut self, now: Instant) {
        if !self.rest.is_empty() {
            let blocked = self.egress.is_blocked();
            self.egress.set_blocked(true);
            self.go_on(now);
            self.egress.set_blocked(blocked);
        }
    }

    /// Milliseconds since the start, by which packets are paced.
    pub(super) fn millisecond(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64
    }

    /// The transport has something to say by then, [`super::periodic::TICK_BUSY`] after it came up.
    pub(super) fn tick_soon(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        let at = now + super::periodic::TICK_BUSY;
        if transport.tick_by(Some(at)) {
            self.schedule(key, at);
        }
    }

    /// A subscription has packets that wait their turn.
    pub(super) fn burst_later(&mut self, track: TrackKey, sub: SubKey) {
        let Some(track) = self.tracks.find(track) else { return };
        let Some(sub) = self.tracks.at(track).and_then(|track| track.subs.find(sub)) else { return };
        let at = SubAt { track, sub };
        if !self.bursting.contains(&at) {
            self.bursting.push_back(at);
        }
    }

    /// A payload in memory that it shares with others.
    pub(super) fn keep(&mut self, payload: &[u8]) -> Bytes {
        if self.chunk.capacity() < payload.len() {
            self.chunk = BytesMut::with_capacity(CHUNK.max(payload.len()));
        }
        self.chunk.extend_from_slice(payload);
        self.chunk.split().freeze()
    }

    /// What the control side asks for. A panic ends the transport it was for.
    pub fn command(&mut self, command: Command, now: Instant) {
        self.finish_rest(now);
        let transport = command.transport();
        if !self.guarded("carrying out a command", |core| core.carry_out(command, now))
            && let Some(transport) = transport.and_then(|key| self.transports.get_mut(key))
        {
            transport.fail("an internal fault while carrying out a command".into());
        }
    }

    /// Packets of an adapter.
    pub fn feed(&mut self, track: TrackKey, batch: Vec<SourcePacket>, now: Instant) {
        self.finish_rest(now);
        if let Some(state) = self.tracks.get(track) {
            for (shard, key) in &state.replicas {
                shard.feed(*key, batch.clone());
            }
        }
        let whole =
            self.guarded("forwarding an adapter's packets", |core| core.feed_all(track, batch.into_iter(), now));
        if !whole && let Some(track) = self.tracks.get_mut(track) {
            track.begin_anew(None);
        }
    }

    fn feed_all(&mut self, track: TrackKey, mut batch: std::vec::IntoIter<SourcePacket>, now: Instant) {
        for packet in batch.by_ref() {
            self.feed_one(track, packet, now);
            if self.must_flush() {
                break;
            }
        }
        if !batch.as_slice().is_empty() {
            self.rest.push_back(Rest::Feed(track, batch));
        }
    }

    /// Runs a part of the work so that a panic in it costs that part only; says whether it ended well.
    pub(super) fn guarded(&mut self, what: &'static str, work: impl FnOnce(&mut Self)) -> bool {
        let done = catch_unwind(AssertUnwindSafe(|| work(self))).is_ok();
        if !done {
            self.stats.panics += 1;
            tracing::error!(shard = self.config.name, "an internal fault while {what}");
        }
        done
    }

    /// Says goodbye to all peers.
    pub fn close(&mut self, now: Instant) {
        for transport in self.transports.values_mut() {
            transport.close(&mut self.egress, now);
        }
    }

    /// Counts of its own; the loop adds those of the sockets.
    pub fn snapshot(&self) -> ShardStats {
        let mut data = self.data_of_the_gone;
        for transport in self.transports.values() {
            if let Session::WebRtc(session) = &transport.session {
                data.add(session.data_counts());
            }
        }
        ShardStats {
            transports: self.transports.len() as u64,
            tracks: self.tracks.len() as u64,
            subscriptions: self.tracks.values().map(|track| track.subs.len() as u64).sum(),
            data_refused: data.refused,
            data_delayed: data.delayed,
            data_unsent: data.unsent,
            send_refused: self.egress.refused,
            ..self.stats.clone()
        }
    }
}
