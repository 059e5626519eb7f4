//! The shard without sockets, clock or randomness of its own: datagrams, commands and feeds go in
//! with the time at which they came, packets and the next moment to be woken come out. The loop
//! around it is [`super::run`]; tests drive it in virtual time.

use super::config::ShardConfig;
use super::egress::Egress;
use super::track::Track;
use super::transport::Transport;
use super::{Command, RoomKey, ShardEvent, ShardStats, SubKey, TrackKey, TransportKey};
use crate::clock::RoomClock;
use crate::media::SourcePacket;
use crate::session::Path;
use crate::session::flow::DataCounts;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rtc_srtp::crypto::RTCCryptoProvider;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
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

pub(super) struct ShardCore {
    pub(super) config: ShardConfig,
    pub(super) clock: RoomClock,
    pub(super) random: StdRng,
    pub(super) crypto: Arc<dyn RTCCryptoProvider>,
    /// What is to leave; whoever drives the core takes it after each call.
    pub(super) egress: Egress,
    pub(super) transports: HashMap<TransportKey, Transport>,
    pub(super) ufrags: HashMap<String, TransportKey>,
    pub(super) paths: HashMap<Path, TransportKey>,
    /// Paths that no transport uses any more: the loop closes those that are connections.
    pub(super) lost_paths: Vec<Path>,
    pub(super) tracks: HashMap<TrackKey, Track>,
    pub(super) rooms: HashMap<RoomKey, Room>,
    pub(super) timers: BinaryHeap<Reverse<(Instant, TransportKey)>>,
    /// Subscriptions with a cached group still to send.
    pub(super) bursting: Vec<(TrackKey, SubKey)>,
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
            transports: HashMap::new(),
            ufrags: HashMap::new(),
            paths: HashMap::new(),
            lost_paths: Vec::new(),
            tracks: HashMap::new(),
            rooms: HashMap::new(),
            timers: BinaryHeap::new(),
            bursting: Vec::new(),
            delayed: Vec::new(),
            held_back: Vec::new(),
            next_levels: now + LEVELS_EVERY,
            stats: ShardStats::default(),
            data_of_the_gone: DataCounts::default(),
        }
    }

    /// When [`Self::handle_timeout`] has something to do, unless something else comes first.
    pub fn poll_timeout(&self, now: Instant) -> Instant {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let delayed = self.delayed.iter().chain(&self.held_back).map(|(at, _)| *at).min();
        let burst = (!self.bursting.is_empty()).then(|| now + BURST_EVERY);
        [timer, delayed, burst].into_iter().flatten().fold(self.next_levels, Instant::min)
    }

    /// Everything that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.guarded("starting subscriptions", |core| core.start_delayed(now));
        self.guarded("sending cached groups", |core| core.send_bursts(now));
        self.guarded("asking for keyframes", |core| core.serve_held_back(now));
        self.timers(now);
        if now >= self.next_levels {
            self.next_levels = now + LEVELS_EVERY;
            self.guarded("finding speakers", |core| core.levels(now));
        }
    }

    /// What the control side asks for. A panic ends the transport it was for.
    pub fn command(&mut self, command: Command, now: Instant) {
        let transport = command.transport();
        if !self.guarded("carrying out a command", |core| core.carry_out(command, now))
            && let Some(transport) = transport.and_then(|key| self.transports.get_mut(&key))
        {
            transport.fail("an internal fault while carrying out a command".into());
        }
    }

    /// Packets of an adapter.
    pub fn feed(&mut self, track: TrackKey, batch: Vec<SourcePacket>, now: Instant) {
        let whole = self.guarded("forwarding an adapter's packets", |core| {
            for packet in batch {
                core.feed_one(track, packet, now);
            }
        });
        if !whole && let Some(track) = self.tracks.get_mut(&track) {
            track.begin_anew();
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
        self.transports.values().for_each(|transport| data.add(transport.data_counts()));
        ShardStats {
            transports: self.transports.len() as u64,
            tracks: self.tracks.len() as u64,
            subscriptions: self.tracks.values().map(|track| track.subs.len() as u64).sum(),
            data_refused: data.refused,
            data_delayed: data.delayed,
            data_unsent: data.unsent,
            ..self.stats.clone()
        }
    }
}
