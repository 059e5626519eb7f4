//! Datagrams from outside, and the fan-out of what they carry.

use super::config::PeerConfig;
use super::core::{Rest, ShardCore};
use super::egress::{deliver, ready_for_media};
use super::net::DATAGRAM;
use super::table::{At, TrackAt, TransportAt};
use super::track::{InOrder, Layer, RETIRED_FOR, Readers, Track};
use super::transport::{Meaning, Transport};
use super::{SubKey, TrackKey, TransportKey};
use crate::clock::ticks_to_ns;
use crate::media::{AudioLevel, Codec, MAX_FED_PAYLOAD, MediaPacket, SourcePacket};
use crate::rtp::nack::Arrival;
use crate::rtp::order::Ordered;
use crate::rtp::packet::{Kind, RtpHeader, RtpView, classify};
use crate::rtp::red::RedUnpacker;
use crate::rtp::seq::Extended;
use crate::session::Path;
use crate::session::ice::addressed_ufrag;
use crate::tap::Discontinuity;
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::time::Instant;

/// Bytes of payload of the largest packet that is sent on.
const LARGEST_FORWARDED: usize = DATAGRAM - 128;

impl ShardCore {
    /// One datagram or frame from outside. A panic ends the transport it was for.
    pub(super) fn datagram(&mut self, bytes: &mut [u8], path: Path, source: SocketAddr, now: Instant) {
        self.finish_rest(now);
        self.stats.packets_in += 1;
        self.stats.bytes_in += bytes.len() as u64;
        let mut known = true;
        let whole = self.guarded("handling a datagram", |core| {
            known = match classify(bytes) {
                Kind::Stun => core.stun(bytes, path, source, now),
                Kind::Dtls => core.dtls(bytes, path, now),
                Kind::Rtp => core.rtp(bytes, path, now),
                Kind::Rtcp => core.rtcp(bytes, path, now),
                _ => false,
            }
        });
        if !known {
            self.stats.garbage += 1;
        }
        if !whole && let Some(transport) = self.transport_of(path) {
            transport.fail("an internal fault while handling its packet".into());
        }
    }

    pub(super) fn stun(&mut self, bytes: &[u8], path: Path, source: SocketAddr, now: Instant) -> bool {
        if self.is_plain(path) {
            return false;
        }
        let Ok((message, ufrag)) = addressed_ufrag(bytes) else { return false };
        let Some(&key) = self.ufrags.get(&ufrag) else { return false };
        let Some(at) = self.transports.find(key) else { return false };
        let Some(transport) = self.transports.at_mut(at) else { return false };
        let Some(session) = transport.webrtc() else { return false };
        match session.check(message, &ufrag, path, source, self.crypto.crypto(), now) {
            Ok((answer, lost)) => {
                if let Some(lost) = lost {
                    self.paths.remove(&lost);
                    self.lost_paths.push(lost);
                    self.stats.paths_displaced += 1;
                }
                let before = self.paths.insert(path, at);
                self.egress.push(at.slot, path, &answer);
                // An address that was another's: that one is gone from there.
                if let Some(before) = before.filter(|before| *before != at)
                    && let Some(other) = self.transports.at_mut(before)
                {
                    other.session.forget_path(path);
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Whose packets come by this path.
    pub(super) fn at_end_of(&self, path: Path) -> Option<TransportAt> {
        match path {
            Path::Port(port, _) => self.ports.get(&port).copied(),
            Path::Tcp(_) | Path::Udp(_) => self.paths.get(&path).copied(),
        }
    }

    pub(super) fn transport_of(&mut self, path: Path) -> Option<&mut Transport> {
        let at = self.at_end_of(path)?;
        self.transports.at_mut(at)
    }

    fn is_plain(&mut self, path: Path) -> bool {
        matches!(path, Path::Port(..)) || self.transport_of(path).is_some_and(|transport| transport.is_plain())
    }

    pub(super) fn dtls(&mut self, bytes: &[u8], path: Path, now: Instant) -> bool {
        let Some(&at) = self.paths.get(&path) else { return false };
        let Some(transport) = self.transports.at_mut(at) else { return false };
        let Some(config) = transport.config.clone() else { return true };
        let PeerConfig::WebRtc { fingerprint, .. } = &config.peer else { return false };
        let before = transport.is_connected();
        let Some(session) = transport.webrtc() else { return false };
        session.handle_dtls(at.slot, bytes, fingerprint, &mut self.egress, now);
        transport.settle();
        let connected = !before && transport.is_connected();
        let next = transport.next_timeout();
        self.schedule(at.key, next);
        if connected {
            self.transport_connected(at.key, now);
        }
        true
    }

    /// Everything it subscribed while connecting starts now, all at once.
    pub(super) fn transport_connected(&mut self, key: TransportKey, now: Instant) {
        let Some(config) = self.transports.get(key).and_then(|transport| transport.config.clone()) else { return };
        for section in &config.send {
            self.start_waiting_subs(section.track, now);
        }
    }

    pub(super) fn rtp(&mut self, bytes: &mut [u8], path: Path, now: Instant) -> bool {
        let Some(at) = self.at_end_of(path) else { return false };
        let Some(transport) = self.transports.at_mut(at) else { return false };
        let before = transport.is_connected();
        let Some(length) = transport.session.open_rtp(bytes, path, now) else { return false };
        if transport.is_plain() {
            self.heard(at, before, now);
        }
        let Some(transport) = self.transports.at_mut(at) else { return false };
        let Ok(view) = RtpView::parse(bytes.get(..length).unwrap_or_default()) else { return false };
        let header = view.header;
        let ids = transport.extension_ids();
        if ids.transport_cc != 0
            && let Some(sequence) = view.extensions.get(ids.transport_cc).and_then(crate::rtp::ext::transport_sequence)
        {
            transport.twcc.record(sequence, now);
            transport.twcc_media_ssrc = header.ssrc;
            let due = transport.twcc.poll_at();
            if transport.tick_by(due)
                && let Some(at) = due
            {
                let key = transport.key;
                self.schedule(key, at);
            }
        }
        let Some(transport) = self.transports.at_mut(at) else { return false };
        let Some(route) = transport.route(&header, &view.extensions) else { return true };
        let Some(key) = transport.track_of(route.section) else { return true };
        let meaning = transport.meaning(route.section, header.payload_type);
        let Some(track) = self.tracks.find(key) else { return true };
        let level =
            (ids.audio_level != 0).then(|| view.extensions.get(ids.audio_level)).flatten().and_then(AudioLevel::parse);
        if meaning == Meaning::Unknown || view.payload.is_empty() {
            // Padding probes keep the numbering whole but carry nothing.
            if !route.rtx {
                self.pad(track, route.layer, header, now);
            }
            return true;
        }
        let (sequence, payload, ssrc) = if route.rtx {
            let Some((original, payload)) = view.payload.split_first_chunk::<2>() else { return true };
            if payload.is_empty() {
                return true;
            }
            (u16::from_be_bytes(*original), payload, None)
        } else {
            (header.sequence, view.payload, Some(header.ssrc))
        };
        let payload = self.keep(payload);
        let red = match meaning {
            Meaning::Red(primary) => Some(primary),
            _ => None,
        };
        self.ingest(track, route.layer, Incoming { sequence, header, payload, ssrc, level, red }, now);
        true
    }

    /// A valid packet of a peer came: without a handshake that may be the first that is known of it.
    pub(super) fn heard(&mut self, at: TransportAt, before: bool, now: Instant) {
        let Some(transport) = self.transports.at_mut(at) else { return };
        transport.settle();
        if !before && transport.is_connected() {
            let (key, next) = (transport.key, transport.next_timeout());
            self.schedule(key, next);
            self.transport_connected(key, now);
        }
    }

    pub(super) fn pad(&mut self, at: TrackAt, layer: usize, header: RtpHeader, now: Instant) {
        let Some(track) = self.tracks.at_mut(at) else { return };
        let Some(state) = track.layers.get_mut(layer) else { return };
        let sequence = state.sequence.extend(header.sequence).seq;
        state.nack.on_packet(sequence, now);
        state.stats.on_packet(sequence, header.timestamp, now);
        self.leave_out(at, layer, sequence, now);
    }

    /// A packet that came and that nobody is to have.
    fn leave_out(&mut self, at: TrackAt, layer: usize, sequence: u64, now: Instant) {
        let Some(track) = self.tracks.at_mut(at) else { return };
        let mut ready = InOrder::new();
        match track.order(layer) {
            Some(order) => {
                order.skip(sequence, &mut ready);
                track.leave_out(layer, sequence, Readers::Peers);
            }
            None => track.leave_out(layer, sequence, Readers::All),
        }
        self.give_taps(at, layer, ready, now);
    }

    /// What a layer's taps can have now that nobody waits for what is missing before it.
    pub(super) fn release(&mut self, at: TrackAt, layer: usize, now: Instant) {
        let Some(state) = self.tracks.at_mut(at).and_then(|track| track.layers.get_mut(layer)) else { return };
        let Some(order) = &mut state.order else { return };
        if order.is_empty() {
            return;
        }
        let mut ready = InOrder::new();
        let nack = &state.nack;
        order.release(|seq| nack.is_waiting(seq), &mut ready);
        self.give_taps(at, layer, ready, now);
    }

    /// Everything that is held for taps: the layer's stream ends here.
    pub(super) fn finish_order(&mut self, at: TrackAt, layer: usize, now: Instant) {
        let Some(state) = self.tracks.at_mut(at).and_then(|track| track.layers.get_mut(layer)) else { return };
        let mut ready = InOrder::new();
        if let Some(order) = &mut state.order {
            order.finish(&mut ready);
        }
        self.give_taps(at, layer, ready, now);
    }

    fn give_taps(&mut self, at: TrackAt, layer: usize, ready: InOrder, now: Instant) {
        for ordered in ready {
            match ordered {
                Ordered::Packet((packet, timestamp)) => {
                    self.hand_out(Fan { track: at, layer, packet, timestamp, readers: Readers::Taps, next: 0 }, now);
                }
                Ordered::Nothing(sequence) => {
                    if let Some(track) = self.tracks.at_mut(at) {
                        track.leave_out(layer, sequence, Readers::Taps);
                    }
                }
            }
        }
    }

    /// Counts a packet and numbers it; `None` for one that is to be forgotten.
    fn account(&mut self, at: TrackAt, layer: usize, incoming: &Incoming, now: Instant) -> Option<u64> {
        let state = self.tracks.at_mut(at)?.layers.get_mut(layer)?;
        let (sequence, restarted) = match incoming.ssrc {
            Some(ssrc) => {
                let another = state.ssrc != 0 && state.ssrc != ssrc;
                if another {
                    if state.retired.is_some_and(|(old, until)| old == ssrc && now < until) {
                        return None;
                    }
                    state.retired = Some((state.ssrc, now + RETIRED_FOR));
                }
                let extended = if another {
                    Extended { seq: state.sequence.restart(incoming.sequence), restarted: true }
                } else {
                    state.sequence.extend(incoming.sequence)
                };
                state.ssrc = ssrc;
                (extended.seq, extended.restarted)
            }
            None => (state.sequence.recall(incoming.sequence)?, false),
        };
        if restarted {
            self.finish_order(at, layer, now);
            let track = self.tracks.at_mut(at)?;
            track.layers.get_mut(layer)?.begin_anew();
            // Its times have another base, too.
            track.wait_anew(layer, Discontinuity::Source);
        }
        let track = self.tracks.at_mut(at)?;
        let state = track.layers.get_mut(layer)?;
        if incoming.ssrc.is_some() {
            state.stats.on_packet(sequence, incoming.header.timestamp, now);
        }
        if let Arrival::Recovered { after: Some(after), .. } = state.nack.on_packet(sequence, now)
            && let Some(transport) = track.publisher.and_then(|key| self.transports.get_mut(key))
        {
            transport.note_answer(after);
        }
        if state.nack.outstanding() > 0
            && let Some(publisher) = track.publisher
        {
            self.tick_soon(publisher, now);
        }
        Some(sequence)
    }

    fn ingest(&mut self, at: TrackAt, layer: usize, incoming: Incoming, now: Instant) {
        let Some(sequence) = self.account(at, layer, &incoming, now) else { return };
        let Some(track) = self.tracks.at_mut(at) else { return };
        let Some(state) = track.layers.get_mut(layer) else { return };
        let time = state.time.extend(incoming.header.timestamp);
        // One that is sent again is late by what it took to ask for it.
        if incoming.ssrc.is_some() && state.clock.packet(time, self.clock.ns(now)) {
            // Its pictures refer to those before all the same.
            track.breaks(layer, Discontinuity::Rtp);
        }
        let Some(state) = track.layers.get_mut(layer) else { return };
        let room_ns = state.clock.room_ns(time).unwrap_or_else(|| self.clock.ns(now));
        if track.silent {
            // Counted as received, and no gap to those who watch.
            self.leave_out(at, layer, sequence, now);
            return;
        }
        if let Some(primary) = incoming.red {
            let rate = track.config.codec.clock_rate;
            let unpacker = state.red.get_or_insert_with(|| RedUnpacker::new(primary));
            let Ok(frames) = unpacker.unpack(sequence, incoming.header.timestamp, &incoming.payload) else {
                return;
            };
            for frame in frames {
                let back = u64::from(incoming.header.timestamp.wrapping_sub(frame.timestamp));
                let before = ticks_to_ns(back as i64, rate);
                let packet = MediaPacket {
                    sequence: frame.seq,
                    time: time.saturating_sub(back),
                    room_ns: room_ns.saturating_sub(before),
                    marker: incoming.header.marker && !frame.recovered,
                    payload: frame.payload,
                    arrival: now,
                    level: incoming.level,
                    red: (!frame.recovered).then(|| incoming.payload.clone()),
                };
                self.fan_out(at, layer, packet, frame.timestamp, now);
            }
            return;
        }
        let packet = MediaPacket {
            sequence,
            time,
            marker: incoming.header.marker,
            payload: incoming.payload,
            arrival: now,
            room_ns,
            level: incoming.level,
            red: None,
        };
        self.fan_out(at, layer, packet, incoming.header.timestamp, now);
    }

    pub(super) fn feed_one(&mut self, key: TrackKey, source: SourcePacket, now: Instant) {
        let Some(at) = self.tracks.find(key) else { return };
        let Some(track) = self.tracks.at_mut(at) else { return };
        if source.payload.len() > MAX_FED_PAYLOAD && track.config.codec.codec != Codec::Aac {
            // The gap that it leaves is seen with the next one.
            self.stats.feed_oversized += 1;
            return;
        }
        let index = source.layer;
        let Some(layer) = track.layers.get_mut(index) else { return };
        layer.stats.on_packet(source.sequence, source.timestamp, now);
        let time = layer.time.extend(source.timestamp);
        let arrival = self.clock.ns(now);
        let jumped = layer.clock.packet(time, arrival);
        let room_ns = source.captured.or_else(|| layer.clock.room_ns(time)).unwrap_or(arrival);
        let expected = layer.next_fed.filter(|expected| *expected < source.sequence);
        layer.next_fed = Some(layer.next_fed.unwrap_or(0).max(source.sequence + 1));
        if track.silent {
            track.leave_out(index, source.sequence, Readers::All);
            return;
        }
        if jumped {
            track.breaks(index, Discontinuity::Rtp);
        }
        if expected.is_some() && track.is_video() {
            // Nobody is shown a picture that refers to what was lost.
            track.begin_anew(Some(index));
        }
        let packet = MediaPacket {
            sequence: source.sequence,
            time,
            marker: source.marker,
            payload: source.payload,
            arrival: now,
            room_ns,
            level: source.level,
            red: None,
        };
        self.fan_out(at, index, packet, source.timestamp, now);
    }

    /// One packet to everybody who wants it.
    pub(super) fn fan_out(&mut self, at: TrackAt, layer: usize, packet: MediaPacket, timestamp: u32, now: Instant) {
        let Some(track) = self.tracks.at_mut(at) else { return };
        track.note(layer, &packet, timestamp, now);
        let mut ready = InOrder::new();
        let readers = match track.order(layer) {
            Some(order) => {
                order.push(packet.sequence, (packet.clone(), timestamp), packet.payload.len() + 64, &mut ready);
                Readers::Peers
            }
            None => Readers::All,
        };
        let readers = if packet.payload.len() <= LARGEST_FORWARDED {
            readers
        } else {
            // A frame of a TCP peer that no datagram holds: a gap to those who receive datagrams.
            self.stats.feed_oversized += 1;
            match readers {
                Readers::All => Readers::Taps,
                _ => Readers::Nobody,
            }
        };
        self.hand_out(Fan { track: at, layer, packet, timestamp, readers, next: 0 }, now);
        self.give_taps(at, layer, ready, now);
    }

    /// One packet to those of its readers who are on its layer, or can go to it here. Stops when enough
    /// waits to leave; the rest of the readers then have their turn after that.
    pub(super) fn hand_out(&mut self, mut fan: Fan, now: Instant) {
        let millisecond = self.millisecond(now);
        let Some(track) = self.tracks.at_mut(fan.track) else { return };
        let video = track.is_video();
        let codec = track.config.codec.codec;
        let frame_ticks = track.config.codec.clock_rate / if video { 30 } else { 50 };
        let layers = track.layers.len();
        let (layer, packet, timestamp) = (fan.layer, &fan.packet, fan.timestamp);
        let mut starts_keyframe: Option<bool> = None;
        let Track { subs, paces, layers: states, .. } = track;
        // For each wish the layer to aim at.
        let mut targets: [Option<usize>; 4] = [None; 4];
        if video {
            for (wish, target) in targets.iter_mut().enumerate().take(layers) {
                *target = Some(super::layers::choose(paces, wish).unwrap_or(layer));
            }
        }
        let mut wanting: SmallVec<[usize; 3]> = SmallVec::new();
        let mut waiting: SmallVec<[At<SubKey>; 8]> = SmallVec::new();
        let mut full = false;
        for (at, sub) in subs.iter_mut_from(fan.next) {
            if full {
                break;
            }
            fan.next = at.slot + 1;
            if sub.paused || !sub.is_placed() || !fan.readers.include(sub) {
                continue;
            }
            if sub.muted {
                if sub.current == Some(layer) {
                    sub.munger.drop_packet(packet.sequence);
                }
                continue;
            }
            let wished = targets.get(sub.wish.min(layers - 1)).copied().flatten();
            let target = wished.filter(|_| video).unwrap_or(layer);
            if sub.current != Some(target) && !sub.is_stuck() {
                let mut starts =
                    || *starts_keyframe.get_or_insert_with(|| super::track::starts_keyframe(codec, &packet.payload));
                if video && (layer != target || sub.waits_for_better(layer, layers, now) || !starts()) {
                    if !wanting.contains(&target) {
                        wanting.push(target);
                    }
                } else if ready_for_media(sub, &self.transports, now) {
                    let clock = |layer: usize| states.get(layer).and_then(Layer::clock_point);
                    let clocks = sub.current.and_then(clock).zip(clock(layer)).filter(|_| video);
                    sub.switch(layer, packet, timestamp, clocks, frame_ticks, now);
                }
            }
            if sub.current != Some(layer) {
                if layer == target {
                    sub.miss();
                }
                continue;
            }
            // Packets queue behind those of the layer that wait, so that order holds.
            if !sub.burst.is_empty() || !sub.may_send(millisecond) {
                if sub.wait(packet, timestamp) {
                    waiting.push(at);
                }
                continue;
            }
            deliver(sub, packet, timestamp, codec, &mut self.transports, &mut self.egress, now);
            full = self.egress.is_full();
        }
        let track = fan.track;
        for sub in waiting {
            self.burst_later(track.key, sub.key);
        }
        for layer in wanting {
            self.request_keyframe(track.key, layer, now);
        }
        if full {
            self.rest.push_front(Rest::Fan(fan));
        }
    }
}

/// A packet on its way to a track's readers.
pub(super) struct Fan {
    pub track: TrackAt,
    pub layer: usize,
    pub packet: MediaPacket,
    pub timestamp: u32,
    pub readers: Readers,
    /// The slot of the subscription that is next.
    pub next: usize,
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
