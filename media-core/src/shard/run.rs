//! The shard's loop: read, feed, tick, flush.

use super::config::{PayloadMap, ShardConfig, TrackConfig, TransportConfig, TransportEvent};
use super::net::{BATCH, Connections, Egress, LISTENER, Receiver, UDP, WAKER, bind_tcp, bind_udp};
use super::sub::{BURST_STEP, Outgoing, Sink, Sub, ntp_now};
use super::track::{ClockPoint, Track};
use super::transport::Transport;
use super::{Command, Inbox, RoomKey, ShardEvent, ShardHandle, ShardStats, SubKey, TrackKey, TransportKey, may_speak};
use crate::media::{AudioLevel, MediaPacket};
use crate::room::SourcePacket;
use crate::rtp::packet::{Kind, RtpHeader, RtpView, classify};
use crate::rtp::red::RedUnpacker;
use crate::rtp::rtcp::{self, ReportBlock, Rtcp, SenderReport};
use crate::rtp::stats::round_trip;
use crate::webrtc::ice::{Path, addressed_ufrag};
use bytes::Bytes;
use mio::net::{TcpListener, UdpSocket};
use mio::{Events, Interest, Poll, Waker};
use rtc_srtp::crypto::RTCCryptoProvider;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const TICK_BUSY: Duration = Duration::from_millis(20);
const TICK_IDLE: Duration = Duration::from_millis(250);
const LEVELS_EVERY: Duration = Duration::from_millis(300);
const REPORT_EVERY: Duration = Duration::from_secs(1);
const QUALITY_EVERY: Duration = Duration::from_secs(2);
/// How long a layer nobody wants goes on before its publisher is told.
const UNWANTED_FOR: Duration = Duration::from_secs(3);
const FEED_RING: usize = 4096;
/// What a browser takes to apply an answer, beside the way to it.
const APPLY_TIME: Duration = Duration::from_millis(40);

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

struct Room {
    events: mpsc::UnboundedSender<ShardEvent>,
    speaking: bool,
}

struct Shard {
    config: ShardConfig,
    udp: UdpSocket,
    listener: Option<TcpListener>,
    connections: Connections,
    egress: Egress,
    crypto: Arc<dyn RTCCryptoProvider>,
    transports: HashMap<TransportKey, Transport>,
    ufrags: HashMap<String, TransportKey>,
    paths: HashMap<Path, TransportKey>,
    tracks: HashMap<TrackKey, Track>,
    rooms: HashMap<RoomKey, Room>,
    timers: BinaryHeap<Reverse<(Instant, TransportKey)>>,
    /// Subscriptions with a cached group still to send.
    bursting: Vec<(TrackKey, SubKey)>,
    /// Tracks with a subscription that may start at a later moment.
    delayed: Vec<(Instant, TrackKey)>,
    next_levels: Instant,
    stats: ShardStats,
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

    fn flush_if_full(&mut self) {
        if self.egress.is_full() {
            self.egress.flush(&self.udp, &mut self.connections);
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::AddRoom { room, events } => {
                self.rooms.insert(room, Room { events, speaking: false });
            }
            Command::AddTap { track, sub, sender } => {
                let sink = Sink::Tap {
                    sender,
                    dropped: 0,
                    sequence: Default::default(),
                    time: Default::default(),
                    clock: None,
                };
                self.add_sub(track, sub, sink, Duration::ZERO, now);
            }
            Command::AddTrack { key, config } => self.add_track(key, config),
            Command::AddTransport { key, init } => {
                self.ufrags.insert(init.local_ice.ufrag.to_string(), key);
                self.transports.insert(key, Transport::new(key, init, now));
                self.schedule(key, now + TICK_IDLE);
            }
            Command::Configure { key, config } => self.configure(key, config, now),
            Command::Keyframe { track } => self.request_all_keyframes(track, now),
            Command::Mute { track, muted } => {
                if let Some(track) = self.tracks.get_mut(&track) {
                    track.config.muted = muted;
                }
            }
            Command::RemoveRoom { room } => {
                self.rooms.remove(&room);
            }
            Command::RemoveSub { track, sub } => {
                if let Some(track) = self.tracks.get_mut(&track) {
                    track.subs.retain(|other| other.key != sub);
                }
                self.update_wanted(track, now);
            }
            Command::RemoveTrack { track } => {
                self.tracks.remove(&track);
            }
            Command::RemoveTransport { key } => self.remove_transport(key, now),
            Command::SendData { transport, kind, payload } => {
                if let Some(transport) = self.transports.get_mut(&transport) {
                    transport.send_data(kind, payload, &mut self.egress, now);
                    let (at, key) = (transport.next_timeout(), transport.key);
                    self.schedule(key, at);
                }
            }
            Command::SenderReport { track, timestamp, ntp } => {
                self.note_clock(track, 0, ClockPoint { ntp, rtp: timestamp });
            }
            Command::Snapshot { reply } => {
                let _ = reply.send(self.snapshot());
            }
            Command::Stop => {}
            Command::Want { track: key, sub, layer, paused } => {
                if let Some(track) = self.tracks.get_mut(&key)
                    && let Some(sub) = track.subs.iter_mut().find(|other| other.key == sub)
                {
                    sub.wish = usize::from(layer);
                    if sub.paused && !paused {
                        // What was missed while paused can't be decoded across: start anew.
                        sub.current = None;
                    }
                    sub.paused = paused;
                }
                self.update_wanted(key, now);
                self.start_waiting_subs(key, now);
            }
        }
    }

    fn add_track(&mut self, key: TrackKey, config: TrackConfig) {
        let track = Track::new(config, self.config.gop_cache_bytes, self.config.gop_cache_duration);
        self.tracks.insert(key, track);
    }

    fn add_sub(&mut self, key: TrackKey, sub: SubKey, sink: Sink, delay: Duration, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if track.subs.iter().any(|other| other.key == sub) {
            return;
        }
        let mut sub = Sub::new(sub, sink, track.config.codec.clock_rate, now);
        sub.ready_at = now + delay;
        track.subs.push(sub);
        self.update_wanted(key, now);
        self.start_waiting_subs(key, now);
    }

    /// Gives subscriptions that have nothing yet the cached group, or asks for a keyframe.
    fn start_waiting_subs(&mut self, key: TrackKey, now: Instant) {
        let transports = &self.transports;
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if track.config.muted || !track.is_video() {
            return;
        }
        let Track { subs, gop, .. } = track;
        let mut wanting = false;
        for sub in subs.iter_mut().filter(|sub| sub.current.is_none() && !sub.paused) {
            if !ready_for_media(sub, transports, now) {
                if now < sub.ready_at {
                    self.delayed.push((sub.ready_at, key));
                }
                continue;
            }
            match gop {
                Some(gop) if !gop.is_empty() => {
                    let group: Vec<_> = gop.iter().cloned().collect();
                    sub.begin_burst(group.iter(), now);
                    self.bursting.push((key, sub.key));
                }
                Some(_) => {}
                None => wanting = true,
            }
        }
        if wanting {
            self.request_all_keyframes(key, now);
        }
    }

    fn start_delayed(&mut self, now: Instant) {
        let mut due: SmallVec<[TrackKey; 8]> = SmallVec::new();
        self.delayed.retain(|&(at, key)| {
            if at <= now && !due.contains(&key) {
                due.push(key);
            }
            at > now
        });
        for key in due {
            self.start_waiting_subs(key, now);
        }
    }

    fn request_all_keyframes(&mut self, key: TrackKey, now: Instant) {
        let layers = self.tracks.get(&key).map_or(0, |track| track.layers.len());
        for layer in 0..layers {
            let alive = self.tracks.get(&key).is_some_and(|track| {
                track.layers.len() == 1 || track.last_packet.get(layer).is_some_and(Option::is_some)
            });
            if alive {
                self.request_keyframe(key, layer, now);
            }
        }
    }

    fn configure(&mut self, key: TransportKey, config: Arc<TransportConfig>, now: Instant) {
        let Some(transport) = self.transports.get_mut(&key) else { return };
        self.ufrags.insert(config.local_ice.ufrag.to_string(), key);
        transport.configure(config.clone());
        // Where the peer offered, our answer is still on its way: what is sent before it has been
        // applied is lost, and with it the keyframe. Where we offered, the peer is ready.
        let delay = if transport.opens_data { Duration::ZERO } else { APPLY_TIME + transport.rtt };
        let old: Vec<(TrackKey, SubKey)> = transport.outgoing.values().copied().collect();
        transport.outgoing.clear();
        for section in &config.send {
            transport.outgoing.insert(section.ssrc, (section.track, section.sub));
            transport.outgoing.insert(section.rtx_ssrc, (section.track, section.sub));
        }
        for (track, sub) in old {
            if !config.send.iter().any(|section| section.sub == sub) {
                self.command(Command::RemoveSub { track, sub }, now);
            }
        }
        for section in &config.send {
            let sink = Sink::Transport(Outgoing {
                transport: key,
                mid: section.mid.clone(),
                ssrc: section.ssrc,
                rtx_ssrc: section.rtx_ssrc,
                pt: section.pt,
                rtx_pt: section.rtx_pt,
                red_pt: section.red_pt,
                rtx_sequence: 1,
                packets: 0,
                octets: 0,
                last_report: None,
                loss: 0.0,
            });
            self.add_sub(section.track, section.sub, sink, delay, now);
        }
        for section in &config.receive {
            let Some(track) = section.track.and_then(|track| self.tracks.get_mut(&track)) else { continue };
            track.publisher = Some(key);
            if section.rids.len() > track.layers.len() {
                let mut config = track.config.clone();
                config.layers = section.rids.len();
                let fresh = Track::new(config, self.config.gop_cache_bytes, self.config.gop_cache_duration);
                track.layers = fresh.layers;
                track.last_packet = fresh.last_packet;
                track.config.layers = section.rids.len();
            }
        }
    }

    fn remove_transport(&mut self, key: TransportKey, now: Instant) {
        let Some(mut transport) = self.transports.remove(&key) else { return };
        transport.close(&mut self.egress, now);
        self.ufrags.retain(|_, owner| *owner != key);
        self.paths.retain(|_, owner| *owner != key);
        let subs: Vec<(TrackKey, SubKey)> = transport.outgoing.values().copied().collect();
        for (track, sub) in subs {
            self.command(Command::RemoveSub { track, sub }, now);
        }
    }

    fn lose_path(&mut self, path: Path) {
        if let Some(key) = self.paths.remove(&path)
            && let Some(transport) = self.transports.get_mut(&key)
        {
            transport.ice.lose(path);
        }
    }

    /// One datagram or frame from outside. A panic ends the transport it was for.
    fn datagram(&mut self, bytes: &[u8], path: Path, source: SocketAddr, now: Instant) {
        self.stats.packets_in += 1;
        self.stats.bytes_in += bytes.len() as u64;
        let result = catch_unwind(AssertUnwindSafe(|| match classify(bytes) {
            Kind::Stun => self.stun(bytes, path, source, now),
            Kind::Dtls => self.dtls(bytes, path, now),
            Kind::Rtp => self.rtp(bytes, path, now),
            Kind::Rtcp => self.rtcp(bytes, path, now),
            _ => false,
        }));
        match result {
            Ok(true) => {}
            Ok(false) => self.stats.garbage += 1,
            Err(_) => {
                self.stats.panics += 1;
                if let Some(key) = self.paths.get(&path).copied()
                    && let Some(transport) = self.transports.get_mut(&key)
                {
                    transport.fail("an internal fault while handling its packet".into());
                }
            }
        }
    }

    fn stun(&mut self, bytes: &[u8], path: Path, source: SocketAddr, now: Instant) -> bool {
        let Ok((message, ufrag)) = addressed_ufrag(bytes) else { return false };
        let Some(&key) = self.ufrags.get(&ufrag) else { return false };
        let Some(transport) = self.transports.get_mut(&key) else { return false };
        match transport.ice.handle(message, &ufrag, path, source, self.crypto.crypto(), now) {
            Ok(checked) => {
                if self.paths.len() > 65_536 {
                    self.paths.clear();
                }
                self.paths.insert(path, key);
                self.egress.push(&checked.response, path);
                if checked.path_changed {
                    transport.tell(TransportEvent::Path { tcp: matches!(path, Path::Tcp(_)), remote: source });
                }
                true
            }
            Err(_) => false,
        }
    }

    fn transport_of(&mut self, path: Path) -> Option<&mut Transport> {
        let key = self.paths.get(&path)?;
        self.transports.get_mut(key)
    }

    fn dtls(&mut self, bytes: &[u8], path: Path, now: Instant) -> bool {
        let Some(&key) = self.paths.get(&path) else { return false };
        let Some(transport) = self.transports.get_mut(&key) else { return false };
        let before = transport.is_connected();
        transport.handle_dtls(bytes, &mut self.egress, now);
        let connected = !before && transport.is_connected();
        let at = transport.next_timeout();
        self.schedule(key, at);
        if connected {
            self.transport_connected(key, now);
        }
        true
    }

    /// Everything it subscribed while connecting starts now, all at once.
    fn transport_connected(&mut self, key: TransportKey, now: Instant) {
        let Some(config) = self.transports.get(&key).and_then(|transport| transport.config.clone()) else { return };
        for section in &config.send {
            self.start_waiting_subs(section.track, now);
        }
    }

    fn rtp(&mut self, bytes: &[u8], path: Path, now: Instant) -> bool {
        let Some(transport) = self.transport_of(path) else { return false };
        let Some(plain) = transport.open_rtp(bytes) else { return false };
        let Ok(view) = RtpView::parse(&plain) else { return false };
        let Some(config) = transport.config.clone() else { return false };
        let header = view.header;
        if config.extensions.transport_cc != 0
            && let Some(sequence) =
                view.extensions.get(config.extensions.transport_cc).and_then(crate::rtp::ext::transport_sequence)
        {
            transport.twcc.record(sequence, now);
            transport.twcc_media_ssrc = header.ssrc;
        }
        let Some(route) = transport.route(&header, &view.extensions) else { return true };
        let Some(section) = config.receive.get(route.section) else { return true };
        let Some(key) = section.track else { return true };
        let level = (config.extensions.audio_level != 0)
            .then(|| view.extensions.get(config.extensions.audio_level))
            .flatten()
            .and_then(AudioLevel::parse);
        let red = section
            .payloads
            .iter()
            .any(|payload| matches!(payload, PayloadMap::Red { pt } if *pt == header.payload_type));
        let primary = section.payloads.iter().find_map(|payload| match payload {
            PayloadMap::Media { pt } => Some(*pt),
            _ => None,
        });
        let known = section.payloads.iter().any(|payload| payload.pt() == header.payload_type);
        if !known || view.payload.is_empty() {
            // Padding probes keep the numbering whole but carry nothing.
            if !route.rtx {
                self.pad(key, route.layer, header, now);
            }
            return true;
        }
        let payload = plain.slice(view.payload_offset..view.payload_offset + view.payload.len());
        let (sequence, payload, ssrc) = if route.rtx {
            let Some(original) = payload.first_chunk::<2>() else { return true };
            let original = u16::from_be_bytes(*original);
            if payload.len() == 2 {
                return true;
            }
            (original, payload.slice(2..), None)
        } else {
            (header.sequence, payload, Some(header.ssrc))
        };
        let transport_key = transport.key;
        if let Some(track) = self.tracks.get_mut(&key)
            && !track.started
        {
            track.started = true;
            if let Some(transport) = self.transports.get(&transport_key) {
                transport.tell(TransportEvent::TrackStarted { track: key });
            }
        }
        let red = if red { primary } else { None };
        self.ingest(key, route.layer, Incoming { sequence, header, payload, ssrc, level, red }, now);
        true
    }

    fn pad(&mut self, key: TrackKey, layer: usize, header: RtpHeader, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let Some(state) = track.layers.get_mut(layer) else { return };
        let sequence = state.sequence.extend(header.sequence).seq;
        state.nack.on_packet(sequence, now);
        state.stats.on_packet(sequence, header.timestamp, now);
        for sub in track.subs.iter_mut().filter(|sub| sub.current == Some(layer)) {
            sub.munger.drop_packet(sequence);
        }
    }

    fn ingest(&mut self, key: TrackKey, layer: usize, incoming: Incoming, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if track.config.muted {
            return;
        }
        let Some(state) = track.layers.get_mut(layer) else { return };
        let extended = state.sequence.extend(incoming.sequence);
        if let Some(ssrc) = incoming.ssrc {
            if state.ssrc != ssrc || extended.restarted {
                if state.ssrc != 0 {
                    state.nack.reset();
                    state.stats.restart();
                    state.history.clear();
                    state.red = None;
                }
                state.ssrc = ssrc;
            }
            state.stats.on_packet(extended.seq, incoming.header.timestamp, now);
        }
        state.nack.on_packet(extended.seq, now);
        let time = state.time.extend(incoming.header.timestamp);
        if let Some(primary) = incoming.red {
            let unpacker = state.red.get_or_insert_with(|| RedUnpacker::new(primary));
            let Ok(frames) = unpacker.unpack(extended.seq, incoming.header.timestamp, &incoming.payload) else {
                return;
            };
            for frame in frames {
                let back = incoming.header.timestamp.wrapping_sub(frame.timestamp);
                let packet = MediaPacket {
                    sequence: frame.seq,
                    time: time.saturating_sub(u64::from(back)),
                    marker: incoming.header.marker && !frame.recovered,
                    payload: frame.payload,
                    arrival: now,
                    level: incoming.level,
                    red: (!frame.recovered).then(|| incoming.payload.clone()),
                };
                self.fan_out(key, layer, packet, frame.timestamp, now);
            }
            return;
        }
        let packet = MediaPacket {
            sequence: extended.seq,
            time,
            marker: incoming.header.marker,
            payload: incoming.payload,
            arrival: now,
            level: incoming.level,
            red: None,
        };
        self.fan_out(key, layer, packet, incoming.header.timestamp, now);
    }

    fn feed(&mut self, key: TrackKey, source: SourcePacket, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if track.config.muted {
            return;
        }
        let Some(layer) = track.layers.first_mut() else { return };
        layer.stats.on_packet(source.sequence, source.timestamp, now);
        let time = layer.time.extend(source.timestamp);
        let packet = MediaPacket {
            sequence: source.sequence,
            time,
            marker: source.marker,
            payload: source.payload,
            arrival: now,
            level: None,
            red: None,
        };
        self.fan_out(key, 0, packet, source.timestamp, now);
    }

    /// One packet to everybody who wants it.
    fn fan_out(&mut self, key: TrackKey, layer: usize, packet: MediaPacket, timestamp: u32, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let keyframe = track.starts_keyframe(&packet.payload);
        track.note(layer, &packet, timestamp, keyframe, now);
        let video = track.is_video();
        let codec = track.config.codec.codec;
        let frame_ticks = track.config.codec.clock_rate / if video { 30 } else { 50 };
        let mut wanting: SmallVec<[usize; 3]> = SmallVec::new();
        let layers = track.layers.len();
        let Track { subs, last_packet, .. } = track;
        for sub in subs.iter_mut() {
            if sub.paused {
                continue;
            }
            if !sub.burst.is_empty() {
                // Live packets queue behind the cached group, so that order holds.
                sub.burst.push_back((packet.clone(), timestamp));
                continue;
            }
            if video {
                let target = super::layers::choose(last_packet, sub.wish, now).unwrap_or(layer);
                if sub.current != Some(target) {
                    if layer == target && keyframe && !sub.waits_for_better(layer, layers, now) {
                        if ready_for_media(sub, &self.transports, now) {
                            sub.switch(layer, &packet, timestamp, frame_ticks, now);
                        }
                    } else if !wanting.contains(&target) {
                        wanting.push(target);
                    }
                }
            } else if sub.current.is_none() && ready_for_media(sub, &self.transports, now) {
                sub.switch(layer, &packet, timestamp, frame_ticks, now);
            }
            if sub.current != Some(layer) {
                continue;
            }
            deliver(sub, &packet, timestamp, codec, &mut self.transports, &mut self.egress, now);
        }
        for layer in wanting {
            self.request_keyframe(key, layer, now);
        }
    }

    /// Cached groups leave in steps, so that the receiver's socket buffer holds.
    fn send_bursts(&mut self, now: Instant) {
        let mut bursting = std::mem::take(&mut self.bursting);
        bursting.retain(|&(key, sub)| {
            let Some(track) = self.tracks.get_mut(&key) else { return false };
            let codec = track.config.codec.codec;
            let Some(sub) = track.subs.iter_mut().find(|other| other.key == sub) else { return false };
            for _ in 0..BURST_STEP {
                let Some((packet, timestamp)) = sub.burst.pop_front() else { return false };
                deliver(sub, &packet, timestamp, codec, &mut self.transports, &mut self.egress, now);
            }
            !sub.burst.is_empty()
        });
        self.bursting.extend(bursting);
    }

    fn request_keyframe(&mut self, key: TrackKey, layer: usize, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if let Some(feed) = &track.config.feed {
            let feed = feed.clone();
            if track.gop.is_none() && track.may_request_keyframe(layer, now) {
                self.stats.keyframe_requests += 1;
                feed.keyframe.notify_one();
            }
            return;
        }
        let Some(publisher) = track.publisher else { return };
        if !track.may_request_keyframe(layer, now) {
            return;
        }
        let Some(transport) = self.transports.get_mut(&publisher) else { return };
        let Some(section) = transport
            .config
            .as_ref()
            .and_then(|config| config.receive.iter().position(|section| section.track == Some(key)))
        else {
            return;
        };
        let Some(media) = transport.ssrc_of(section, layer) else { return };
        self.stats.keyframe_requests += 1;
        let ours = transport.ssrc;
        transport.send_rtcp(&mut self.egress, |out| {
            rtcp::write_receiver_report(out, ours, &[]);
            rtcp::write_pli(out, ours, media);
        });
    }

    fn rtcp(&mut self, bytes: &[u8], path: Path, now: Instant) -> bool {
        let Some(transport) = self.transport_of(path) else { return false };
        let Some(plain) = transport.open_rtcp(bytes) else { return false };
        let Ok(packets) = rtcp::parse_compound(&plain) else { return false };
        let key = transport.key;
        for packet in packets {
            match packet {
                Rtcp::SenderReport(report) => {
                    self.incoming_report(key, &report, now);
                    self.receiver_blocks(key, &report.reports);
                }
                Rtcp::ReceiverReport { reports, .. } => self.receiver_blocks(key, &reports),
                Rtcp::Nack { media, lost, .. } => self.retransmit(key, media, &lost, now),
                Rtcp::Pli { media, .. } => self.peer_wants_keyframe(key, media, now),
                Rtcp::Fir { entries, .. } => {
                    for entry in entries {
                        self.peer_wants_keyframe(key, entry.ssrc, now);
                    }
                }
                _ => {}
            }
        }
        true
    }

    fn peer_wants_keyframe(&mut self, key: TransportKey, media: u32, now: Instant) {
        let Some(&(track, sub)) = self.transports.get(&key).and_then(|transport| transport.outgoing.get(&media)) else {
            return;
        };
        let Some(state) = self.tracks.get_mut(&track) else { return };
        let Some(sub) = state.subs.iter_mut().find(|other| other.key == sub) else { return };
        match (&state.gop, sub.current) {
            (Some(gop), Some(_)) if !gop.is_empty() && sub.burst.is_empty() => {
                // The source can't be asked: give it the cached group once more.
                let group: Vec<_> = gop.iter().cloned().collect();
                let sub_key = sub.key;
                sub.begin_burst(group.iter(), now);
                self.bursting.push((track, sub_key));
            }
            (Some(_), _) => {}
            (None, current) => {
                let layer = current.unwrap_or(0);
                self.request_keyframe(track, layer, now);
            }
        }
    }

    fn retransmit(&mut self, key: TransportKey, media: u32, lost: &[u16], now: Instant) {
        self.stats.nacks_in += 1;
        let Some(transport) = self.transports.get_mut(&key) else { return };
        let Some(&(track, sub)) = transport.outgoing.get(&media) else { return };
        let Some(track) = self.tracks.get_mut(&track) else { return };
        let codec = track.config.codec.codec;
        let Some(sub) = track.subs.iter_mut().find(|other| other.key == sub) else { return };
        let mid_id = transport.config.as_ref().map_or(0, |config| config.extensions.mid);
        for &sequence in lost.iter().take(128) {
            let Some((layer, source, timestamp)) = sub.sent(sequence) else { continue };
            let Some(packet) = track.layers.get(layer).and_then(|layer| layer.history.get(source, now)) else {
                continue;
            };
            let Sink::Transport(outgoing) = &mut sub.sink else { continue };
            // VP8 needs the descriptor it was sent with; only continuous runs on one layer keep theirs.
            let mut payload = packet.payload.clone();
            if codec == crate::media::Codec::Vp8 {
                let mut copy = payload.to_vec();
                if sub.vp8.clone().rewrite(&mut copy).is_ok() {
                    payload = copy.into();
                }
            }
            let (header, prefix) = match outgoing.rtx_pt {
                Some(pt) => {
                    outgoing.rtx_sequence = outgoing.rtx_sequence.wrapping_add(1);
                    let header = RtpHeader {
                        marker: packet.marker,
                        payload_type: pt,
                        sequence: outgoing.rtx_sequence,
                        timestamp,
                        ssrc: outgoing.rtx_ssrc,
                        csrc_count: 0,
                    };
                    (header, Some(sequence.to_be_bytes()))
                }
                None => {
                    let header = RtpHeader {
                        marker: packet.marker,
                        payload_type: outgoing.pt,
                        sequence,
                        timestamp,
                        ssrc: outgoing.ssrc,
                        csrc_count: 0,
                    };
                    (header, None)
                }
            };
            let mid = outgoing.mid.as_bytes();
            let with_mid = [(mid_id, mid)];
            let extensions: &[(u8, &[u8])] = if mid_id != 0 { &with_mid } else { &[] };
            let prefix = prefix.as_ref().map_or(&[][..], |prefix| prefix.as_slice());
            if transport.send_rtp(&header, extensions, prefix, &payload, &mut self.egress) {
                self.stats.retransmitted += 1;
            }
        }
    }

    fn receiver_blocks(&mut self, key: TransportKey, blocks: &[ReportBlock]) {
        let Some(transport) = self.transports.get_mut(&key) else { return };
        let middle = (ntp_now() >> 16) as u32;
        for block in blocks {
            if let Some(rtt) = round_trip(block, middle) {
                transport.rtt = (transport.rtt * 7 + rtt.min(Duration::from_secs(5))) / 8;
            }
            let Some(&(track, sub)) = transport.outgoing.get(&block.ssrc) else { continue };
            if let Some(track) = self.tracks.get_mut(&track)
                && let Some(sub) = track.subs.iter_mut().find(|other| other.key == sub)
                && let Sink::Transport(outgoing) = &mut sub.sink
                && outgoing.ssrc == block.ssrc
            {
                outgoing.loss = f32::from(block.fraction_lost) / 256.0;
            }
        }
    }

    /// A publisher's report, moved onto our clock by the smallest offset seen.
    fn incoming_report(&mut self, key: TransportKey, report: &SenderReport, now: Instant) {
        let Some(transport) = self.transports.get_mut(&key) else { return };
        let offset = ntp_now().wrapping_sub(report.ntp) as i64;
        let smallest = transport.clock_offset.map_or(offset, |known| known.min(offset));
        transport.clock_offset = Some(smallest);
        let Some(config) = transport.config.clone() else { return };
        let header = RtpHeader { ssrc: report.ssrc, payload_type: 127, ..RtpHeader::default() };
        let Some(route) = transport.route(&header, &Default::default()) else { return };
        let Some(track) = config.receive.get(route.section).and_then(|section| section.track) else { return };
        if let Some(state) = self.tracks.get_mut(&track)
            && let Some(layer) = state.layers.get_mut(route.layer)
        {
            layer.stats.on_sender_report(report.middle_ntp(), now);
        }
        let ntp = report.ntp.wrapping_add(smallest as u64);
        self.note_clock(track, route.layer, ClockPoint { ntp, rtp: report.rtp_time });
    }

    fn note_clock(&mut self, key: TrackKey, layer: usize, point: ClockPoint) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if let Some(state) = track.layers.get_mut(layer) {
            state.clock = Some(point);
        }
        for sub in track.subs.iter_mut().filter(|sub| sub.current == Some(layer)) {
            sub.note_clock(point);
        }
    }

    fn timers(&mut self, now: Instant) {
        for _ in 0..4096 {
            match self.timers.peek() {
                Some(Reverse((at, _))) if *at <= now => {}
                _ => break,
            }
            let Some(Reverse((at, key))) = self.timers.pop() else { break };
            let Some(transport) = self.transports.get_mut(&key) else { continue };
            if transport.scheduled != Some(at) {
                continue;
            }
            transport.scheduled = None;
            let result = catch_unwind(AssertUnwindSafe(|| self.tick(key, now)));
            if result.is_err() {
                self.stats.panics += 1;
                if let Some(transport) = self.transports.get_mut(&key) {
                    transport.fail("an internal fault in its timers".into());
                }
            }
            if let Some(transport) = self.transports.get(&key)
                && !transport.dead
            {
                let at = transport.next_timeout().max(now + Duration::from_millis(1));
                self.schedule(key, at);
            }
        }
    }

    /// Makes sure the transport is looked at by `at`. One live entry each; older ones are skipped when popped.
    fn schedule(&mut self, key: TransportKey, at: Instant) {
        let Some(transport) = self.transports.get_mut(&key) else { return };
        if transport.scheduled.is_none_or(|scheduled| at < scheduled) {
            transport.scheduled = Some(at);
            self.timers.push(Reverse((at, key)));
        }
    }

    fn tick(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.get_mut(&key) else { return };
        transport.tick(&mut self.egress, now);
        if transport.next_tick > now {
            return;
        }
        let Some(config) = transport.config.clone() else {
            transport.next_tick = now + TICK_IDLE;
            return;
        };
        let receives = config.receive.iter().any(|section| section.track.is_some());
        transport.next_tick = now + if receives { TICK_BUSY } else { TICK_IDLE };
        if !transport.is_connected() {
            return;
        }
        let report = now >= transport.next_report;
        if report {
            transport.next_report = now + REPORT_EVERY;
        }
        let (ours, media) = (transport.ssrc, transport.twcc_media_ssrc);
        if config.extensions.transport_cc != 0 {
            let mut feedback = Vec::new();
            while transport.twcc.poll(now, media, ours, &mut feedback) {
                transport.send_rtcp(&mut self.egress, |out| out.extend_from_slice(&feedback));
                feedback.clear();
            }
        }
        for (index, section) in config.receive.iter().enumerate() {
            let Some(track_key) = section.track else { continue };
            self.receive_feedback(key, index, track_key, section.nack, report, now);
        }
        if report {
            self.sender_reports(key, &config, now);
            self.quality(key, &config, now);
        }
    }

    /// NACKs, receiver reports and held-back keyframe requests towards a publisher.
    fn receive_feedback(
        &mut self,
        key: TransportKey,
        section: usize,
        track: TrackKey,
        nack: bool,
        report: bool,
        now: Instant,
    ) {
        let Some(transport) = self.transports.get_mut(&key) else { return };
        let Some(state) = self.tracks.get_mut(&track) else { return };
        let ours = transport.ssrc;
        let rtt = transport.rtt;
        let mut wanting: SmallVec<[usize; 3]> = SmallVec::new();
        for (index, layer) in state.layers.iter_mut().enumerate() {
            let Some(media) = transport.ssrc_of(section, index) else { continue };
            if nack {
                let due = layer.nack.poll(now, rtt);
                if !due.is_empty() {
                    self.stats.nacks_out += due.len() as u64;
                    transport.send_rtcp(&mut self.egress, |out| {
                        rtcp::write_receiver_report(out, ours, &[]);
                        rtcp::write_nack(out, ours, media, &due);
                    });
                }
            }
            if layer.nack.overflowed() || layer.keyframe_pending {
                wanting.push(index);
            }
            if report && let Some(block) = layer.stats.report(media, now) {
                transport.send_rtcp(&mut self.egress, |out| rtcp::write_receiver_report(out, ours, &[block]));
            }
        }
        for layer in wanting {
            self.request_keyframe(track, layer, now);
        }
    }

    fn sender_reports(&mut self, key: TransportKey, config: &TransportConfig, now: Instant) {
        for section in &config.send {
            let Some(track) = self.tracks.get_mut(&section.track) else { continue };
            let clock_rate = track.config.codec.clock_rate;
            let Some(sub) = track.subs.iter_mut().find(|sub| sub.key == section.sub) else { continue };
            let Some(layer) = sub.current else { continue };
            let clock = track.layers.get(layer).and_then(|layer| layer.clock);
            let ntp = ntp_now();
            let rtp_time = match (clock, sub.munger.last_sent()) {
                (Some(point), _) => {
                    let elapsed = ntp.wrapping_sub(point.ntp) as i64;
                    let ticks = ((i128::from(elapsed) * i128::from(clock_rate)) >> 32) as i64;
                    sub.map_time(point.rtp).wrapping_add(ticks as u32)
                }
                (None, Some((last, at))) => {
                    let ticks = now.saturating_duration_since(at).as_micros() * u128::from(clock_rate) / 1_000_000;
                    last.wrapping_add(ticks as u32)
                }
                (None, None) => continue,
            };
            let Sink::Transport(outgoing) = &mut sub.sink else { continue };
            outgoing.last_report = Some(now);
            let report = SenderReport {
                ssrc: outgoing.ssrc,
                ntp,
                rtp_time,
                packets: outgoing.packets,
                octets: outgoing.octets,
                reports: SmallVec::new(),
            };
            let Some(transport) = self.transports.get_mut(&key) else { return };
            transport.send_rtcp(&mut self.egress, |out| {
                rtcp::write_sender_report(out, &report);
                rtcp::write_sdes_cname(out, report.ssrc, "rongtong");
            });
        }
    }

    fn quality(&mut self, key: TransportKey, config: &TransportConfig, now: Instant) {
        let Some(transport) = self.transports.get_mut(&key) else { return };
        if now.saturating_duration_since(transport.last_quality) < QUALITY_EVERY {
            return;
        }
        transport.last_quality = now;
        let mut loss_down: f32 = 0.0;
        let mut loss_up: f32 = 0.0;
        for section in &config.send {
            if let Some(track) = self.tracks.get(&section.track)
                && let Some(sub) = track.subs.iter().find(|sub| sub.key == section.sub)
                && let Some(outgoing) = sub.transport()
            {
                loss_down = loss_down.max(outgoing.loss);
            }
        }
        for section in &config.receive {
            if let Some(track) = section.track.and_then(|track| self.tracks.get(&track)) {
                for layer in &track.layers {
                    let missing = layer.nack.outstanding() as f32;
                    loss_up = loss_up.max((missing / 100.0).min(1.0));
                }
            }
        }
        let rtt_ms = transport.rtt.as_secs_f32() * 1000.0;
        if let Some(room) = self.rooms.get(&transport.room) {
            let _ = room.events.send(ShardEvent::Quality { transport: key, loss_up, loss_down, rtt_ms });
        }
    }

    /// Speech levels of every room, and layers that fell out of use.
    fn levels(&mut self, now: Instant) {
        let mut spoken: HashMap<RoomKey, Vec<(TrackKey, f32)>> = HashMap::new();
        let mut unwanted: Vec<TrackKey> = Vec::new();
        for (&key, track) in &mut self.tracks {
            if track.unwanted_since.is_some() {
                unwanted.push(key);
            }
            if track.is_video() {
                continue;
            }
            let level = track.meter.take();
            if level > 0.0 && !track.config.muted && may_speak(track.config.source) {
                spoken.entry(track.config.room).or_default().push((key, level));
            }
        }
        for (room, state) in &mut self.rooms {
            let levels = spoken.remove(room).unwrap_or_default();
            let silent = levels.is_empty();
            if !silent || state.speaking {
                let _ = state.events.send(ShardEvent::Levels(levels));
            }
            state.speaking = !silent;
        }
        for key in unwanted {
            self.update_wanted(key, now);
        }
    }

    /// Tells a publisher which layers have viewers: more at once, fewer after a while.
    fn update_wanted(&mut self, key: TrackKey, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if !track.is_video() || track.config.feed.is_some() {
            return;
        }
        let wanted = track.wanted_now();
        let told = track.wanted.unwrap_or([true; 3]);
        if wanted == told {
            track.unwanted_since = None;
            return;
        }
        let grows = wanted.iter().zip(told).any(|(&new, old)| new && !old);
        let since = *track.unwanted_since.get_or_insert(now);
        if !grows && now.saturating_duration_since(since) < UNWANTED_FOR {
            return;
        }
        track.unwanted_since = None;
        track.wanted = Some(wanted);
        if let Some(room) = self.rooms.get(&track.config.room) {
            let _ = room.events.send(ShardEvent::LayersWanted { track: key, wanted });
        }
    }

    fn snapshot(&self) -> ShardStats {
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

struct Incoming {
    sequence: u16,
    header: RtpHeader,
    payload: Bytes,
    /// None for a retransmission, which says nothing of loss.
    ssrc: Option<u32>,
    level: Option<AudioLevel>,
    /// The primary payload type, when the payload is RFC 2198.
    red: Option<u8>,
}

fn ready_for_media(sub: &Sub, transports: &HashMap<TransportKey, Transport>, now: Instant) -> bool {
    if now < sub.ready_at {
        return false;
    }
    match sub.transport() {
        Some(outgoing) => transports.get(&outgoing.transport).is_some_and(Transport::is_connected),
        None => true,
    }
}

fn deliver(
    sub: &mut Sub,
    packet: &MediaPacket,
    timestamp: u32,
    codec: crate::media::Codec,
    transports: &mut HashMap<TransportKey, Transport>,
    egress: &mut Egress,
    now: Instant,
) {
    let Some(ready) = sub.prepare(packet, timestamp, codec, now) else { return };
    let Sink::Transport(outgoing) = &mut sub.sink else {
        sub.deliver_tap(ready, packet);
        return;
    };
    let Some(transport) = transports.get_mut(&outgoing.transport) else { return };
    let ids = transport.config.as_ref().map(|config| config.extensions).unwrap_or_default();
    let header = RtpHeader {
        marker: ready.marker,
        payload_type: if ready.red { outgoing.red_pt.unwrap_or(outgoing.pt) } else { outgoing.pt },
        sequence: ready.sequence,
        timestamp: ready.timestamp,
        ssrc: outgoing.ssrc,
        csrc_count: 0,
    };
    let level = packet.level.map(AudioLevel::build);
    let mut extensions: SmallVec<[(u8, &[u8]); 2]> = SmallVec::new();
    if ids.mid != 0 {
        extensions.push((ids.mid, outgoing.mid.as_bytes()));
    }
    if let Some(level) = &level
        && ids.audio_level != 0
    {
        extensions.push((ids.audio_level, level));
    }
    if transport.send_rtp(&header, &extensions, &[], &ready.payload, egress) {
        outgoing.packets = outgoing.packets.wrapping_add(1);
        outgoing.octets = outgoing.octets.wrapping_add(ready.payload.len() as u32);
    }
}
