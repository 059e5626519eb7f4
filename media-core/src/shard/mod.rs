//! The packet path: one pinned thread with its own UDP port, sessions, tracks,
//! fan-out and timers. No tokio, no locks; the control side talks to it by
//! commands and hears by events.
//!
//! Invariant: whatever a peer sends, the work done for one datagram is bounded,
//! and a panic while handling it ends that peer's transport only.
//!
//! Seams left for the cluster: a room names the shard it lives on, tracks are
//! reached by key only, and [`SourceFeed`] is how a packet stream of another
//! shard or node would be handed in.

mod compound;
mod config;
mod control;
mod core;
#[cfg(test)]
pub(crate) mod driven;
mod egress;
mod feedback;
mod ingress;
mod layers;
mod levels;
mod net;
mod periodic;
mod ports;
#[cfg(test)]
mod rig;
mod run;
mod sub;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod track;
mod transport;

pub use config::{
    ExtensionIds, PayloadMap, PeerConfig, ReceiveSection, SendSection, SessionInit, ShardConfig, TrackConfig,
    TransportConfig, TransportEvent, TransportInit,
};
pub(crate) use net::bind_udp;
pub use net::grow_buffers;
pub(crate) use ports::Opening;
pub(crate) use tcp::bind_tcp;

use crate::ids::ParticipantSid;
use crate::media::{CodecParams, DataKind, Source, SourcePacket};
use crate::session::PortKey;
use crate::tap::{Bell, TapWriter};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::{Notify, mpsc, oneshot, watch};

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);
        impl $name {
            /// A key no one else has.
            pub fn next() -> Self {
                static NEXT: AtomicU64 = AtomicU64::new(1);
                Self(NEXT.fetch_add(1, Ordering::Relaxed))
            }
        }
    };
}
key!(
    /// A room on a shard.
    RoomKey
);
key!(
    /// A subscription of a track: a browser's or a tap's.
    SubKey
);
key!(
    /// A track on a shard.
    TrackKey
);
key!(
    /// A WebRTC connection on a shard.
    TransportKey
);

/// How shards tell an adapter that feeds a track what is wanted of it.
pub struct SourceFeed {
    pub keyframe: Notify,
    /// Which layers somebody wants, by the shards' tracks that it feeds.
    wants: Mutex<Vec<(TrackKey, [bool; 3])>>,
    pub wanted: watch::Sender<[bool; 3]>,
}

impl Default for SourceFeed {
    fn default() -> Self {
        Self { keyframe: Notify::new(), wants: Mutex::default(), wanted: watch::Sender::new([false; 3]) }
    }
}

impl SourceFeed {
    /// What the readers of one of its tracks want; nothing of one that is gone.
    fn want(&self, track: TrackKey, wanted: [bool; 3]) {
        let mut wants = self.wants.lock();
        wants.retain(|(known, _)| *known != track);
        if wanted != [false; 3] {
            wants.push((track, wanted));
        }
        let mut all = [false; 3];
        for (_, one) in wants.iter() {
            all.iter_mut().zip(one).for_each(|(all, one)| *all |= one);
        }
        self.wanted.send_if_modified(|told| std::mem::replace(told, all) != all);
    }
}

/// What a shard tells a room.
#[derive(Debug)]
pub enum ShardEvent {
    /// Smoothed linear levels of the tracks that are loud enough to be speech.
    Levels(Vec<(TrackKey, f32)>),
    /// Which layers (low, medium, high) somebody wants.
    LayersWanted { track: TrackKey, wanted: [bool; 3] },
    /// Loss (0.0 … 1.0) and round trip of one of a participant's connections over the last interval; no
    /// loss in a direction in which it carries nothing.
    Quality { participant: ParticipantSid, loss_up: Option<f32>, loss_down: Option<f32>, rtt_ms: f32 },
}

pub(crate) enum Command {
    /// A defect, inside what one command does or outside of everything.
    #[cfg(test)]
    Fault {
        ends_thread: bool,
    },
    AddRoom {
        room: RoomKey,
        events: mpsc::UnboundedSender<ShardEvent>,
    },
    /// A subscription that a transport's section will carry: without this, or after
    /// [`Command::RemoveSub`], a section that names it carries nothing.
    AddSub {
        track: TrackKey,
        sub: SubKey,
    },
    AddTap {
        track: TrackKey,
        sub: SubKey,
        writer: TapWriter,
    },
    AddTrack {
        key: TrackKey,
        config: TrackConfig,
    },
    AddTransport {
        key: TransportKey,
        init: TransportInit,
    },
    Configure {
        key: TransportKey,
        config: Arc<TransportConfig>,
    },
    /// A track's codec has other parameters from here on.
    Format {
        track: TrackKey,
        codec: Arc<CodecParams>,
    },
    Keyframe {
        track: TrackKey,
        sub: SubKey,
    },
    Mute {
        track: TrackKey,
        muted: bool,
    },
    /// A port of a session's own, after the [`Command::AddTransport`] that names it.
    OpenPort {
        port: PortKey,
        opening: Opening,
    },
    /// A source is a track of this room from now on, by this key.
    Place {
        source: TrackKey,
        key: TrackKey,
        room: RoomKey,
        muted: bool,
    },
    /// What is fed to a track is handed on to one of another shard, from its cached group on.
    Replicate {
        track: TrackKey,
        to: ShardHandle,
        key: TrackKey,
    },
    RemoveRoom {
        room: RoomKey,
    },
    /// What is fed from here on is another stream, and nothing of the one before is kept.
    Restart {
        track: TrackKey,
    },
    RemoveSub {
        track: TrackKey,
        sub: SubKey,
    },
    RemoveTrack {
        track: TrackKey,
    },
    RemoveTransport {
        key: TransportKey,
    },
    SendData {
        transport: TransportKey,
        kind: DataKind,
        payload: Bytes,
    },
    /// A fed track's RTP time `timestamp` was when the device's clock said `device_ns`; that came at `arrival`.
    Report {
        track: TrackKey,
        layer: usize,
        timestamp: u32,
        device_ns: i64,
        arrival: Instant,
    },
    Snapshot {
        reply: oneshot::Sender<ShardStats>,
    },
    Stop,
    /// A subscriber's wish: highest layer index it has use for, or nothing at all for now.
    Want {
        track: TrackKey,
        sub: SubKey,
        layer: u8,
        paused: bool,
    },
}

impl Command {
    /// Whose work it is.
    fn transport(&self) -> Option<TransportKey> {
        match self {
            Self::AddTransport { key, .. } | Self::Configure { key, .. } | Self::RemoveTransport { key } => Some(*key),
            Self::SendData { transport, .. } => Some(*transport),
            _ => None,
        }
    }
}

/// What a shard holds and has done since its start.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ShardStats {
    pub transports: u64,
    pub tracks: u64,
    pub subscriptions: u64,
    pub tcp_connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Datagrams that were nobody's, or malformed, or failed authentication.
    pub garbage: u64,
    pub send_errors: u64,
    pub nacks_in: u64,
    pub nacks_out: u64,
    pub retransmitted: u64,
    /// Packets asked for again too soon or beyond the budget.
    pub nacks_refused: u64,
    pub keyframe_requests: u64,
    pub panics: u64,
    pub feed_dropped: u64,
    /// Lossy messages beyond what a peer may send or its session takes.
    pub data_refused: u64,
    /// Times that a reliable message had to wait for the same reasons.
    pub data_delayed: u64,
    /// Messages that a peer's line did not take.
    pub data_unsent: u64,
    /// Keyframe requests (PLI and FIR) of peers.
    pub plis_in: u64,
    /// Checked addresses of a peer that made room for newer ones of its.
    pub paths_displaced: u64,
    /// TCP connections closed because there were too many that had shown nothing yet.
    pub tcp_refused: u64,
    /// TCP connections closed because no valid connectivity check came in time.
    pub tcp_expired: u64,
    /// Packets of adapters and TCP peers that were larger than any that is sent.
    pub feed_oversized: u64,
    /// Packets for which there was no room while the system took none.
    pub send_refused: u64,
    /// System calls that sent UDP packets.
    pub send_calls: u64,
    /// Messages in them, each for one peer.
    pub send_messages: u64,
    /// Messages of several packets that the system divided.
    pub send_divided: u64,
    /// Times that the system took no UDP packet and the rest had to wait.
    pub send_waits: u64,
    /// Clocks of devices that were set, and followed.
    pub clock_steps: u64,
    /// Sender reports that cannot be true.
    pub reports_refused: u64,
}

impl ShardStats {
    /// Adds another shard's numbers.
    pub fn add(&mut self, other: &Self) {
        self.transports += other.transports;
        self.tracks += other.tracks;
        self.subscriptions += other.subscriptions;
        self.tcp_connections += other.tcp_connections;
        self.packets_in += other.packets_in;
        self.packets_out += other.packets_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.garbage += other.garbage;
        self.send_errors += other.send_errors;
        self.nacks_in += other.nacks_in;
        self.nacks_out += other.nacks_out;
        self.retransmitted += other.retransmitted;
        self.nacks_refused += other.nacks_refused;
        self.keyframe_requests += other.keyframe_requests;
        self.panics += other.panics;
        self.feed_dropped += other.feed_dropped;
        self.data_refused += other.data_refused;
        self.data_delayed += other.data_delayed;
        self.data_unsent += other.data_unsent;
        self.plis_in += other.plis_in;
        self.paths_displaced += other.paths_displaced;
        self.tcp_refused += other.tcp_refused;
        self.tcp_expired += other.tcp_expired;
        self.feed_oversized += other.feed_oversized;
        self.send_refused += other.send_refused;
        self.send_calls += other.send_calls;
        self.send_messages += other.send_messages;
        self.send_divided += other.send_divided;
        self.send_waits += other.send_waits;
        self.clock_steps += other.clock_steps;
        self.reports_refused += other.reports_refused;
    }
}

/// The control side's hold on a shard.
#[derive(Clone)]
pub struct ShardHandle {
    control: Sender<Command>,
    feed: Sender<(TrackKey, Vec<SourcePacket>)>,
    waker: Arc<mio::Waker>,
    /// A wake is under way and not yet consumed.
    awake: Arc<AtomicBool>,
    /// The thread runs.
    alive: Arc<AtomicBool>,
    candidates: Arc<Vec<(SocketAddr, bool)>>,
    feed_dropped: Arc<AtomicU64>,
    /// Wakes the readers of its taps, while somebody serves it.
    bell: Arc<Bell>,
}

impl ShardHandle {
    /// Binds the sockets and starts the thread.
    pub fn start(config: ShardConfig) -> std::io::Result<Self> {
        run::start(config)
    }

    /// Whether its thread runs. One that ended by a fault takes nothing any more; its rooms close.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Host candidates: address and whether it is TCP.
    pub fn candidates(&self) -> &[(SocketAddr, bool)] {
        &self.candidates
    }

    pub async fn stats(&self) -> ShardStats {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Snapshot { reply });
        let mut stats = answer.await.unwrap_or_default();
        stats.feed_dropped = self.feed_dropped.load(Ordering::Relaxed);
        stats
    }

    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    pub(crate) fn send(&self, command: Command) {
        if self.control.send(command).is_ok() {
            self.wake();
        }
    }

    pub(crate) fn feed(&self, track: TrackKey, batch: Vec<SourcePacket>) -> bool {
        match self.feed.try_send((track, batch)) {
            Ok(()) => {
                self.wake();
                true
            }
            Err(TrySendError::Full((_, batch))) => {
                self.feed_dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    pub(crate) fn report(&self, track: TrackKey, layer: usize, timestamp: u32, device_ns: i64) {
        self.send(Command::Report { track, layer, timestamp, device_ns, arrival: Instant::now() });
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    pub(crate) fn request_keyframe(&self, track: TrackKey, sub: SubKey) {
        self.send(Command::Keyframe { track, sub });
    }

    pub(crate) fn remove_sub(&self, track: TrackKey, sub: SubKey) {
        self.send(Command::RemoveSub { track, sub });
    }

    fn wake(&self) {
        // After the queue was written, and before the shard's store of `false`, which precedes its
        // reading of the queue: all four in one order, so that nothing stays unread.
        if !self.awake.swap(true, Ordering::SeqCst) {
            let _ = self.waker.wake();
        }
    }
}

pub(crate) struct Inbox {
    pub control: Receiver<Command>,
    pub feed: Receiver<(TrackKey, Vec<SourcePacket>)>,
    pub awake: Arc<AtomicBool>,
}

/// Rank of a source when it comes to who speaks: only microphones and cameras' sound count.
pub(crate) fn may_speak(source: Source) -> bool {
    !matches!(source, Source::ScreenShareAudio)
}
