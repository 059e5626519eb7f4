//! The shard's loop: read, feed, tick, flush.

use super::config::ShardConfig;
use super::net::{BATCH, Connections, Egress, LISTENER, Receiver, UDP, WAKER, bind_tcp, bind_udp};
use super::track::Track;
use super::transport::Transport;
use super::{Command, Inbox, RoomKey, ShardEvent, ShardHandle, ShardStats, SubKey, TrackKey, TransportKey};
use crate::webrtc::ice::Path;
use mio::net::{TcpListener, UdpSocket};
use mio::{Events, Interest, Poll, Waker};
use rtc_srtp::crypto::RTCCryptoProvider;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub(super) const TICK_IDLE: Duration = Duration::from_millis(250);
const LEVELS_EVERY: Duration = Duration::from_millis(300);
const FEED_RING: usize = 4096;

pub(super) fn start(config: ShardConfig) -> std::io::Result<ShardHandle> {
    let poll = Poll::new()?;
    let (mut udp, dual) = bind_udp(config.udp_port)?;
    let udp_port = udp.local_addr()?.port();
    poll.registry().register(&mut udp, UDP, Interest::READABLE)?;
    let listener = match config.tcp_port {
        Some(port) => {
            let mut listener = bind_tcp(port)?;
            poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
            Some(listener)
        }
        None => None,
    };
    let mut candidates: Vec<(SocketAddr, bool)> =
        config.advertise.iter().map(|&ip| (SocketAddr::new(ip, udp_port), false)).collect();
    if let Some(listener) = &listener {
        let port = listener.local_addr()?.port();
        candidates.extend(config.advertise.iter().map(|&ip| (SocketAddr::new(ip, port), true)));
    }
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (control, control_in) = crossbeam_channel::unbounded();
    let (feed, feed_in) = crossbeam_channel::bounded(FEED_RING);
    let awake = Arc::new(AtomicBool::new(false));
    let crypto = rtc_srtp::crypto::default_provider().map_err(|error| std::io::Error::other(error.to_string()))?;
    let inbox = Inbox { control: control_in, feed: feed_in, awake: awake.clone() };
    let name = config.name.clone();
    std::thread::Builder::new().name(name).spawn(move || {
        if let Some(core) = config.core {
            pin(core);
        }
        let shard = Shard {
            config,
            udp,
            listener,
            connections: Connections::default(),
            egress: Egress::new(dual),
            crypto,
            transports: HashMap::new(),
            ufrags: HashMap::new(),
            paths: HashMap::new(),
            tracks: HashMap::new(),
            rooms: HashMap::new(),
            timers: BinaryHeap::new(),
            bursting: Vec::new(),
            delayed: Vec::new(),
            next_levels: Instant::now() + LEVELS_EVERY,
            stats: ShardStats::default(),
        };
        shard.run(poll, inbox);
    })?;
    Ok(ShardHandle {
        control,
        feed,
        waker,
        awake,
        candidates: Arc::new(candidates),
        feed_dropped: Arc::new(AtomicU64::new(0)),
    })
}

fn pin(core: usize) {
    // SAFETY: the set is a plain bit field, and the call only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

pub(super) struct Room {
    pub(super) events: mpsc::UnboundedSender<ShardEvent>,
    pub(super) speaking: bool,
}

pub(super) struct Shard {
    pub(super) config: ShardConfig,
    pub(super) udp: UdpSocket,
    pub(super) listener: Option<TcpListener>,
    pub(super) connections: Connections,
    pub(super) egress: Egress,
    pub(super) crypto: Arc<dyn RTCCryptoProvider>,
    pub(super) transports: HashMap<TransportKey, Transport>,
    pub(super) ufrags: HashMap<String, TransportKey>,
    pub(super) paths: HashMap<Path, TransportKey>,
    pub(super) tracks: HashMap<TrackKey, Track>,
    pub(super) rooms: HashMap<RoomKey, Room>,
    pub(super) timers: BinaryHeap<Reverse<(Instant, TransportKey)>>,
    /// Subscriptions with a cached group still to send.
    pub(super) bursting: Vec<(TrackKey, SubKey)>,
    /// Tracks with a subscription that may start at a later moment.
    pub(super) delayed: Vec<(Instant, TrackKey)>,
    pub(super) next_levels: Instant,
    pub(super) stats: ShardStats,
}

impl Shard {
    fn run(mut self, mut poll: Poll, inbox: Inbox) {
        let mut events = Events::with_capacity(256);
        let mut receiver = Receiver::new();
        let mut frames: Vec<Vec<u8>> = Vec::new();
        // Something is left over from the bounds of the turn before.
        let mut more = false;
        loop {
            let now = Instant::now();
            let mut until = self.next_levels;
            if let Some(Reverse((at, _))) = self.timers.peek() {
                until = until.min(*at);
            }
            if let Some(at) = self.delayed.iter().map(|(at, _)| *at).min() {
                until = until.min(at);
            }
            let mut timeout = until.saturating_duration_since(now);
            if !self.bursting.is_empty() {
                timeout = timeout.min(Duration::from_millis(1));
            }
            if more {
                timeout = Duration::ZERO;
            }
            if poll.poll(&mut events, Some(timeout)).is_err() {
                events.clear();
            }
            for event in &events {
                match event.token() {
                    UDP | WAKER => {}
                    LISTENER => {
                        if let Some(listener) = &self.listener {
                            self.connections.accept(listener, poll.registry());
                        }
                    }
                    token => {
                        if event.is_writable() {
                            self.connections.write_ready(token.0);
                        }
                        if event.is_readable() {
                            let Some(peer) = self.connections.peer(token.0) else { continue };
                            let alive = self.connections.read(token.0, &mut frames);
                            for frame in frames.drain(..) {
                                self.datagram(&frame, Path::Tcp(token.0), peer, Instant::now());
                            }
                            if !alive {
                                self.connections.close(token.0, poll.registry());
                                self.lose_path(Path::Tcp(token.0));
                            }
                        }
                    }
                }
            }
            inbox.awake.store(false, Ordering::Release);
            while let Ok(command) = inbox.control.try_recv() {
                if matches!(command, Command::Stop) {
                    self.stop();
                    return;
                }
                self.command(command, Instant::now());
            }
            // Bounded, so that feeds can't starve connectivity checks.
            for _ in 0..256 {
                let Ok((track, batch)) = inbox.feed.try_recv() else { break };
                let now = Instant::now();
                for packet in batch {
                    self.feed(track, packet, now);
                }
                self.flush_if_full();
            }
            // Edge-triggered: read until the socket is empty, but no more than this much a turn
            // before timers get their turn too.
            for _ in 0..16 {
                let count = receiver.fill(&self.udp);
                let now = Instant::now();
                for index in 0..count {
                    let (bytes, source) = receiver.datagram(index);
                    self.datagram(bytes, Path::Udp(source), source, now);
                }
                self.flush_if_full();
                more = count == BATCH;
                if !more {
                    break;
                }
            }
            let now = Instant::now();
            self.start_delayed(now);
            self.send_bursts(now);
            self.timers(now);
            if now >= self.next_levels {
                self.levels(now);
                self.next_levels = now + LEVELS_EVERY;
            }
            self.egress.flush(&self.udp, &mut self.connections);
            more |= !inbox.feed.is_empty();
        }
    }

    fn stop(&mut self) {
        let now = Instant::now();
        for transport in self.transports.values_mut() {
            transport.close(&mut self.egress, now);
        }
        self.egress.flush(&self.udp, &mut self.connections);
    }

    pub(super) fn flush_if_full(&mut self) {
        if self.egress.is_full() {
            self.egress.flush(&self.udp, &mut self.connections);
        }
    }

    pub(super) fn snapshot(&self) -> ShardStats {
        ShardStats {
            transports: self.transports.len() as u64,
            tracks: self.tracks.len() as u64,
            subscriptions: self.tracks.values().map(|track| track.subs.len() as u64).sum(),
            tcp_connections: self.connections.len() as u64,
            packets_out: self.egress.packets,
            bytes_out: self.egress.octets,
            send_errors: self.egress.errors,
            ..self.stats.clone()
        }
    }
}
