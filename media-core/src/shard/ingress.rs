//! Datagrams from outside, and the fan-out of what they carry.

use super::config::PayloadMap;
use super::core::ShardCore;
use super::egress::{deliver, ready_for_media};
use super::track::{InOrder, RETIRED_FOR, Readers, Track};
use super::transport::Transport;
use super::{TrackKey, TransportKey};
use crate::media::{AudioLevel, Codec, MAX_FED_PAYLOAD, MediaPacket, SourcePacket};
use crate::rtp::nack::Arrival;
use crate::rtp::order::Ordered;
use crate::rtp::packet::{Kind, RtpHeader, RtpView, classify};
use crate::rtp::red::RedUnpacker;
use crate::rtp::seq::Extended;
use crate::session::Path;
use crate::session::ice::addressed_ufrag;
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::time::Instant;

impl ShardCore {
    /// One datagram or frame from outside. A panic ends the transport it was for.
    pub(super) fn datagram(&mut self, bytes: &[u8], path: Path, source: SocketAddr, now: Instant) {
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
        if !whole
            && let Some(key) = self.paths.get(&path).copied()
            && let Some(transport) = self.transports.get_mut(&key)
        {
            transport.fail("an internal fault while handling its packet".into());
        }
    }

    pub(super) fn stun(&mut self, bytes: &[u8], path: Path, source: SocketAddr, now: Instant) -> bool {
        let Ok((message, ufrag)) = addressed_ufrag(bytes) else { return false };
        let Some(&key) = self.ufrags.get(&ufrag) else { return false };
        let Some(transport) = self.transports.get_mut(&key) else { return false };
        match transport.ice.handle(message, &ufrag, path, source, self.crypto.crypto(), now) {
            Ok(checked) => {
                let lost = transport.note_path(path);
                if let Some(lost) = lost {
                    self.paths.remove(&lost);
                    self.lost_paths.push(lost);
                    self.stats.paths_displaced += 1;
                }
                let before = self.paths.insert(path, key);
                self.egress.push(&checked, path);
                // An address that was another's: that one is gone from there.
                if let Some(before) = before.filter(|before| *before != key)
                    && let Some(other) = self.transports.get_mut(&before)
                {
                    other.forget_path(path);
                }
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn transport_of(&mut self, path: Path) -> Option<&mut Transport> {
        let key = self.paths.get(&path)?;
        self.transports.get_mut(key)
    }

    pub(super) fn dtls(&mut self, bytes: &[u8], path: Path, now: Instant) -> bool {
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
    pub(super) fn transport_connected(&mut self, key: TransportKey, now: Instant) {
        let Some(config) = self.transports.get(&key).and_then(|transport| transport.config.clone()) else { return };
        for section in &config.send {
            self.start_waiting_subs(section.track, now);
        }
    }

    pub(super) fn rtp(&mut self, bytes: &[u8], path: Path, now: Instant) -> bool {
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
        let red = if red { primary } else { None };
        self.ingest(key, route.layer, Incoming { sequence, header, payload, ssrc, level, red }, now);
        true
    }

    pub(super) fn pad(&mut self, key: TrackKey, layer: usize, header: RtpHeader, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let Some(state) = track.layers.get_mut(layer) else { return };
        let sequence = state.sequence.extend(header.sequence).seq;
        state.nack.on_packet(sequence, now);
        state.stats.on_packet(sequence, header.timestamp, now);
        self.leave_out(key, layer, sequence, now);
    }

    /// A packet that came and that nobody is to have.
    fn leave_out(&mut self, key: TrackKey, layer: usize, sequence: u64, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let mut ready = InOrder::new();
        match track.order(layer) {
            Some(order) => {
                order.skip(sequence, &mut ready);
                track.leave_out(layer, sequence, Readers::Peers);
            }
            None => track.leave_out(layer, sequence, Readers::All),
        }
        self.give_taps(key, layer, ready, now);
    }

    /// What a layer's taps can have now that nobody waits for what is missing before it.
    pub(super) fn release(&mut self, key: TrackKey, layer: usize, now: Instant) {
        let Some(state) = self.tracks.get_mut(&key).and_then(|track| track.layers.get_mut(layer)) else { return };
        let Some(order) = &mut state.order else { return };
        if order.is_empty() {
            return;
        }
        let mut ready = InOrder::new();
        let nack = &state.nack;
        order.release(|seq| nack.is_waiting(seq), &mut ready);
        self.give_taps(key, layer, ready, now);
    }

    /// Everything that is held for taps: the layer's stream ends here.
    pub(super) fn finish_order(&mut self, key: TrackKey, layer: usize, now: Instant) {
        let Some(state) = self.tracks.get_mut(&key).and_then(|track| track.layers.get_mut(layer)) else { return };
        let mut ready = InOrder::new();
        if let Some(order) = &mut state.order {
            order.finish(&mut ready);
        }
        self.give_taps(key, layer, ready, now);
    }

    fn give_taps(&mut self, key: TrackKey, layer: usize, ready: InOrder, now: Instant) {
        for ordered in ready {
            match ordered {
                Ordered::Packet((packet, timestamp)) => {
                    self.hand_out(key, layer, &packet, timestamp, Readers::Taps, now);
                }
                Ordered::Nothing(sequence) => {
                    if let Some(track) = self.tracks.get_mut(&key) {
                        track.leave_out(layer, sequence, Readers::Taps);
                    }
                }
            }
        }
    }

    /// Counts a packet and numbers it; `None` for one that is to be forgotten.
    fn account(&mut self, key: TrackKey, layer: usize, incoming: &Incoming, now: Instant) -> Option<u64> {
        let state = self.tracks.get_mut(&key)?.layers.get_mut(layer)?;
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
            self.finish_order(key, layer, now);
            let track = self.tracks.get_mut(&key)?;
            track.layers.get_mut(layer)?.begin_anew();
            // Its times have another base, too.
            track.wait_anew(layer);
        }
        let track = self.tracks.get_mut(&key)?;
        let state = track.layers.get_mut(layer)?;
        if incoming.ssrc.is_some() {
            state.stats.on_packet(sequence, incoming.header.timestamp, now);
        }
        if let Arrival::Recovered { after: Some(after), .. } = state.nack.on_packet(sequence, now)
            && let Some(transport) = track.publisher.and_then(|key| self.transports.get_mut(&key))
        {
            transport.note_answer(after);
        }
        Some(sequence)
    }

    fn ingest(&mut self, key: TrackKey, layer: usize, incoming: Incoming, now: Instant) {
        let Some(sequence) = self.account(key, layer, &incoming, now) else { return };
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let Some(state) = track.layers.get_mut(layer) else { return };
        let time = state.time.extend(incoming.header.timestamp);
        if track.config.muted {
            // Counted as received, and no gap to those who watch.
            self.leave_out(key, layer, sequence, now);
            return;
        }
        if let Some(primary) = incoming.red {
            let unpacker = state.red.get_or_insert_with(|| RedUnpacker::new(primary));
            let Ok(frames) = unpacker.unpack(sequence, incoming.header.timestamp, &incoming.payload) else {
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
            sequence,
            time,
            marker: incoming.header.marker,
            payload: incoming.payload,
            arrival: now,
            level: incoming.level,
            red: None,
        };
        self.fan_out(key, layer, packet, incoming.header.timestamp, now);
    }

    pub(super) fn feed_one(&mut self, key: TrackKey, source: SourcePacket, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if source.payload.len() > MAX_FED_PAYLOAD && track.config.codec.codec != Codec::Aac {
            // The gap that it leaves is seen with the next one.
            self.stats.feed_oversized += 1;
            return;
        }
        let Some(layer) = track.layers.first_mut() else { return };
        layer.stats.on_packet(source.sequence, source.timestamp, now);
        let time = layer.time.extend(source.timestamp);
        let expected = track.next_fed.filter(|expected| *expected < source.sequence);
        track.next_fed = Some(track.next_fed.unwrap_or(0).max(source.sequence + 1));
        if track.config.muted {
            track.leave_out(0, source.sequence, Readers::All);
            return;
        }
        if expected.is_some() && track.is_video() {
            // Nobody is shown a picture that refers to what was lost.
            track.begin_anew();
        }
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
    pub(super) fn fan_out(&mut self, key: TrackKey, layer: usize, packet: MediaPacket, timestamp: u32, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let keyframe = track.starts_keyframe(&packet.payload);
        track.note(layer, &packet, timestamp, keyframe, now);
        let mut ready = InOrder::new();
        let readers = match track.order(layer) {
            Some(order) => {
                order.push(packet.sequence, (packet.clone(), timestamp), packet.payload.len() + 64, &mut ready);
                Readers::Peers
            }
            None => Readers::All,
        };
        self.hand_out(key, layer, &packet, timestamp, readers, now);
        self.give_taps(key, layer, ready, now);
    }

    /// One packet to those of `readers` who are on its layer, or can go to it here.
    fn hand_out(
        &mut self,
        key: TrackKey,
        layer: usize,
        packet: &MediaPacket,
        timestamp: u32,
        readers: Readers,
        now: Instant,
    ) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let keyframe = track.starts_keyframe(&packet.payload);
        let video = track.is_video();
        let codec = track.config.codec.codec;
        let frame_ticks = track.config.codec.clock_rate / if video { 30 } else { 50 };
        let mut wanting: SmallVec<[usize; 3]> = SmallVec::new();
        let layers = track.layers.len();
        let Track { subs, paces, layers: states, .. } = track;
        for sub in subs.iter_mut() {
            if sub.paused || !sub.is_placed() || !readers.include(sub) {
                continue;
            }
            if !sub.burst.is_empty() {
                // Live packets queue behind the cached group, so that order holds.
                sub.burst.push_back((packet.clone(), timestamp));
                continue;
            }
            if video {
                let target = super::layers::choose(paces, sub.wish).unwrap_or(layer);
                if sub.current != Some(target) {
                    if layer == target && keyframe && !sub.waits_for_better(layer, layers, now) {
                        if ready_for_media(sub, &self.transports, now) {
                            let clock = |layer: usize| states.get(layer).and_then(|layer| layer.clock);
                            let clocks = sub.current.and_then(clock).zip(clock(layer));
                            sub.switch(layer, packet, timestamp, clocks, frame_ticks, now);
                        }
                    } else if !wanting.contains(&target) {
                        wanting.push(target);
                    }
                }
            } else if sub.current.is_none() && ready_for_media(sub, &self.transports, now) {
                sub.switch(layer, packet, timestamp, None, frame_ticks, now);
            }
            if sub.current != Some(layer) {
                continue;
            }
            deliver(sub, packet, timestamp, codec, &mut self.transports, &mut self.egress, now);
        }
        for layer in wanting {
            self.request_keyframe(key, layer, now);
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
