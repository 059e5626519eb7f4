//! What the control side asks of a shard: transports, tracks, subscriptions come and go.

use super::config::{PeerConfig, SendSection, SessionInit, TrackConfig, TransportConfig};
use super::core::{Room, ShardCore};
use super::egress::ready_for_media;
use super::sub::{Outgoing, Sink, Sub, TapSink};
use super::track::{Place, Track};
use super::transport::Transport;
use super::{Command, ShardHandle, SubKey, TrackKey, TransportKey};
use crate::media::SourcePacket;
use crate::session::plain::LocalPorts;
use crate::session::srtp::Rollover;
use crate::session::{Path, PortKey, Session};
use rand::Rng;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a browser takes to apply an answer, beside the way to it.
const APPLY_TIME: Duration = Duration::from_millis(40);

impl ShardCore {
    pub(super) fn carry_out(&mut self, command: Command, now: Instant) {
        match command {
            Command::AddRoom { room, events } => {
                self.rooms.insert(room, Room { events, speaking: false });
            }
            Command::AddTap { track, sub, mut writer } => {
                let Some(state) = self.tracks.get_mut(track) else { return };
                writer.set_format(Arc::new(state.config.codec.clone()));
                writer.set_muted(state.place(track).is_some_and(|place| place.muted));
                self.add_sub(track, sub, Sink::Tap(Box::new(TapSink::new(writer))), now);
            }
            Command::AddSub { track, sub } => self.add_sub(track, sub, Sink::Unplaced, now),
            Command::AddTrack { key, config } => self.add_track(key, config),
            Command::AddTransport { key, init } => {
                if let SessionInit::WebRtc { local_ice, .. } = &init.session {
                    self.ufrags.insert(local_ice.ufrag.to_string(), key);
                }
                let ports = match &init.session {
                    SessionInit::Rtp(ports) => Some(*ports),
                    SessionInit::WebRtc { .. } => None,
                };
                let ssrc = self.random.random_range(1..u32::MAX);
                let at = self.transports.insert(key, Transport::new(key, init, ssrc, now));
                if let Some(transport) = self.transports.at_mut(at) {
                    transport.slot = at.slot;
                }
                for port in ports.into_iter().flat_map(LocalPorts::all) {
                    self.ports.insert(port, at);
                }
                self.schedule(key, now + super::core::TICK_IDLE);
            }
            Command::Configure { key, config } => self.configure(key, config, now),
            Command::Format { track, codec } => {
                if let Some(state) = self.tracks.get_mut(track) {
                    state.set_format(codec);
                }
            }
            Command::Keyframe { track, sub } => self.request_keyframe_for(track, sub, now),
            Command::Mute { track, muted } => {
                let Some(at) = self.tracks.find(track) else { return };
                let Some(state) = self.tracks.at_mut(at) else { return };
                if state.place(track).is_none_or(|place| place.muted == muted) {
                    return;
                }
                // What came before it was said is of before.
                for layer in 0..state.layers.len() {
                    self.finish_order(at, layer, now);
                }
                let Some(state) = self.tracks.at_mut(at) else { return };
                state.mute(track, muted);
                if !muted {
                    self.start_waiting_subs(track, now);
                }
            }
            Command::RemoveRoom { room } => {
                self.rooms.remove(&room);
            }
            Command::RemoveSub { track, sub } => self.remove_sub(track, sub, now),
            Command::Place { source, key, room, muted } => {
                if let Some(state) = self.tracks.get_mut(source) {
                    state.places.push(Place::new(key, room, muted));
                    self.tracks.alias(key, source);
                }
            }
            Command::Replicate { track, to, key } => self.replicate(track, to, key),
            Command::RemoveTrack { track } => self.remove_track(track, now),
            Command::Restart { track } => {
                let Some(state) = self.tracks.get_mut(track) else { return };
                state.restart();
                for (shard, key) in &state.replicas {
                    shard.send(Command::Restart { track: *key });
                }
            }
            Command::RemoveTransport { key } => self.remove_transport(key, now),
            Command::SendData { transport, kind, payload } => {
                if let Some(transport) = self.transports.get_mut(transport) {
                    let slot = transport.slot;
                    if let Some(session) = transport.webrtc() {
                        session.send_data(slot, kind, payload, &mut self.egress, now);
                    }
                    let (at, key) = (transport.next_timeout(), transport.key);
                    self.schedule(key, at);
                }
            }
            Command::Report { track, layer, timestamp, device_ns, arrival } => {
                self.fed_report(track, layer, timestamp, device_ns, arrival);
            }
            #[cfg(test)]
            Command::Fault { .. } => panic!("a fault, for a test"),
            // The loop's affairs.
            Command::OpenPort { .. } | Command::Snapshot { .. } | Command::Stop => {}
            Command::Want { track: key, sub, layer, paused } => {
                if let Some(track) = self.tracks.get_mut(key)
                    && let Some(sub) = track.subs.get_mut(sub)
                {
                    sub.wish = usize::from(layer);
                    if sub.paused && !paused {
                        // What was missed while paused can't be decoded across: start anew, also with what
                        // it got before.
                        sub.current = None;
                        sub.forget_newest();
                    }
                    sub.paused = paused;
                }
                self.update_wanted(key, now);
                self.start_waiting_subs(key, now);
            }
        }
    }

    pub(super) fn add_track(&mut self, key: TrackKey, config: TrackConfig) {
        let place = config.room.map(|room| Place::new(key, room, config.muted));
        let mut track = Track::new(config, self.config.gop_cache_bytes, self.config.gop_cache_duration);
        track.places.extend(place);
        self.tracks.insert(key, track);
    }

    /// A track of a room, or a source with all it is in.
    fn remove_track(&mut self, key: TrackKey, now: Instant) {
        let Some(at) = self.tracks.find(key) else { return };
        if at.key != key {
            if let Some(track) = self.tracks.at_mut(at) {
                track.places.retain(|place| place.key != key);
                let gone: Vec<SubKey> = track.subs.values().filter(|sub| sub.place == key).map(|sub| sub.key).collect();
                gone.into_iter().for_each(|sub| _ = track.subs.remove(sub));
            }
            self.tracks.unalias(key);
            self.update_wanted(at.key, now);
            return;
        }
        let layers = self.tracks.at(at).map_or(0, |state| state.layers.len());
        for layer in 0..layers {
            self.finish_order(at, layer, now);
        }
        let Some(track) = self.tracks.at(at) else { return };
        if let Some(feed) = &track.config.feed {
            feed.want(key, [false; 3]);
        }
        let places: SmallVec<[TrackKey; 4]> = track.places.iter().map(|place| place.key).collect();
        places.into_iter().for_each(|place| self.tracks.unalias(place));
        self.tracks.remove(key);
    }

    /// Another shard's track gets what this one is fed, and at once what it has cached of it.
    fn replicate(&mut self, track: TrackKey, to: ShardHandle, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(track) else { return };
        let mut batch: Vec<SourcePacket> = Vec::new();
        for (layer, gop) in track.gops.iter().enumerate() {
            batch.extend(gop.iter().map(|(packet, timestamp)| SourcePacket {
                layer,
                captured: Some(packet.room_ns),
                level: packet.level,
                ..SourcePacket::new(packet.sequence, *timestamp, packet.marker, packet.payload.clone())
            }));
        }
        if !batch.is_empty() {
            to.feed(key, batch);
        }
        track.replicas.push((to, key));
    }

    fn add_sub(&mut self, key: TrackKey, sub: SubKey, sink: Sink, now: Instant) {
        let Some(track) = self.tracks.get_mut(key) else { return };
        if track.subs.find(sub).is_some() {
            return;
        }
        let mut fresh = Sub::new(sub, key, sink, track.config.codec.clock_rate, &mut self.random, now);
        if let Some(place) = track.place(key) {
            (fresh.muted, fresh.not_before) = (place.muted, place.not_before.clone());
        }
        track.subs.insert(sub, fresh);
        self.update_wanted(key, now);
        self.start_waiting_subs(key, now);
    }

    /// A section was agreed for a subscription, or changed. One that the room has ended meanwhile
    /// is not there to be placed.
    fn place_sub(&mut self, transport: TransportKey, section: &SendSection, ready_at: Instant, now: Instant) {
        let Some(transport) = self.transports.find(transport) else { return };
        let Some(track) = self.tracks.get_mut(section.track) else { return };
        let Some(sub) = track.subs.get_mut(section.sub) else { return };
        let outgoing = Outgoing {
            transport,
            mid: section.mid.clone(),
            ssrc: section.ssrc,
            rtx_ssrc: section.rtx_ssrc,
            pt: section.pt,
            rtx_pt: section.rtx_pt,
            red_pt: section.red_pt,
            rtx_sequence: 1,
            rollover: Rollover::default(),
            rtx_rollover: Rollover::default(),
            packets: 0,
            octets: 0,
            last_report: None,
            loss: 0.0,
        };
        if sub.place(outgoing, ready_at) {
            self.update_wanted(section.track, now);
            self.start_waiting_subs(section.track, now);
        }
    }

    fn displace_sub(&mut self, key: TrackKey, sub: SubKey, now: Instant) {
        let found = self.tracks.get_mut(key).and_then(|track| track.subs.get_mut(sub));
        if let Some(sub) = found {
            sub.displace();
            self.update_wanted(key, now);
        }
    }

    fn remove_sub(&mut self, key: TrackKey, sub: SubKey, now: Instant) {
        if let Some(track) = self.tracks.get_mut(key) {
            track.subs.remove(sub);
        }
        self.update_wanted(key, now);
    }

    /// Gives subscriptions that have nothing yet the cached group, or asks for a keyframe.
    pub(super) fn start_waiting_subs(&mut self, key: TrackKey, now: Instant) {
        let transports = &self.transports;
        let Some(track) = self.tracks.get_mut(key) else { return };
        if track.silent || !track.is_video() {
            return;
        }
        let Track { subs, gops, paces, .. } = track;
        let mut wanting: SmallVec<[usize; 3]> = SmallVec::new();
        let mut bursting: SmallVec<[SubKey; 8]> = SmallVec::new();
        for sub in subs.values_mut().filter(|sub| sub.current.is_none() && !sub.paused && !sub.muted) {
            if !ready_for_media(sub, transports, now) {
                if now < sub.ready_at {
                    self.delayed.push((sub.ready_at, key));
                }
                continue;
            }
            // Layers of which nothing has come yet begin with a keyframe by themselves.
            let target = super::layers::choose(paces, sub.wish).or((paces.len() == 1).then_some(0));
            match target.and_then(|target| Some((target, gops.get(target)?))) {
                Some((layer, gop)) if gop.iter().next().is_some_and(|(first, _)| sub.is_new(layer, first)) => {
                    let group: Vec<_> = gop.iter().cloned().collect();
                    sub.begin_burst(layer, group.iter(), now);
                    bursting.push(sub.key);
                }
                Some(_) => {}
                None => {
                    wanting.extend(target.filter(|target| !wanting.contains(target)));
                }
            }
        }
        for sub in bursting {
            self.burst_later(key, sub);
        }
        for layer in wanting {
            self.request_keyframe(key, layer, now);
        }
    }

    pub(super) fn start_delayed(&mut self, now: Instant) {
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

    /// A reader asks for a keyframe: of the layer it is on, or is to be on.
    fn request_keyframe_for(&mut self, key: TrackKey, sub: SubKey, now: Instant) {
        let Some(track) = self.tracks.get(key) else { return };
        let Some(sub) = track.subs.get(sub) else { return };
        let layer = sub.current.or_else(|| super::layers::choose(&track.paces, sub.wish)).unwrap_or(0);
        self.request_keyframe(key, layer, now);
    }

    pub(super) fn configure(&mut self, key: TransportKey, config: Arc<TransportConfig>, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        if let PeerConfig::WebRtc { local_ice, .. } = &config.peer {
            self.ufrags.insert(local_ice.ufrag.to_string(), key);
        }
        transport.configure(config.clone(), now);
        transport.settle();
        // Where the peer offered, our answer is still on its way: what is sent before it has been
        // applied is lost, and with it the keyframe. Where we offered, the peer is ready.
        let delay = if transport.we_offer { Duration::ZERO } else { APPLY_TIME + transport.rtt };
        let old: Vec<(TrackKey, SubKey)> = transport.outgoing.values().copied().collect();
        transport.outgoing.clear();
        for section in &config.send {
            transport.outgoing.insert(section.ssrc, (section.track, section.sub));
            transport.outgoing.insert(section.rtx_ssrc, (section.track, section.sub));
        }
        for (track, sub) in old {
            if !config.send.iter().any(|section| section.sub == sub) {
                self.displace_sub(track, sub, now);
            }
        }
        for section in &config.send {
            self.place_sub(key, section, now + delay, now);
        }
        if config.receive.iter().any(|section| section.track.is_some())
            && let Some(transport) = self.transports.get_mut(key)
        {
            // What is lost of the first pictures is asked for at once.
            transport.next_tick = transport.next_tick.min(now + super::periodic::TICK_BUSY);
            let at = transport.next_timeout();
            self.schedule(key, at);
        }
        for section in &config.receive {
            let Some(track) = section.track.and_then(|track| self.tracks.get_mut(track)) else { continue };
            track.publisher = Some(key);
            if section.rids.len() > track.layers.len() {
                let mut config = track.config.clone();
                config.layers = section.rids.len();
                let fresh = Track::new(config, self.config.gop_cache_bytes, self.config.gop_cache_duration);
                track.layers = fresh.layers;
                track.paces = fresh.paces;
                track.config.layers = section.rids.len();
            }
        }
    }

    pub(super) fn remove_transport(&mut self, key: TransportKey, now: Instant) {
        let Some(mut transport) = self.transports.remove(key) else { return };
        if let Some(session) = transport.webrtc() {
            self.data_of_the_gone.add(session.data_counts());
        }
        transport.close(&mut self.egress, now);
        self.ufrags.retain(|_, owner| *owner != key);
        for path in transport.session.paths() {
            self.paths.remove(path);
            self.lost_paths.push(*path);
        }
        if let Session::Rtp(session) = &transport.session {
            for port in session.local().all() {
                self.ports.remove(&port);
                self.lost_ports.push(port);
            }
        }
        let subs: Vec<(TrackKey, SubKey)> = transport.outgoing.values().copied().collect();
        for (track, sub) in subs {
            self.displace_sub(track, sub, now);
        }
    }

    pub(super) fn lose_path(&mut self, path: Path) {
        if let Some(at) = self.paths.remove(&path)
            && let Some(transport) = self.transports.at_mut(at)
        {
            transport.session.forget_path(path);
            transport.settle();
        }
    }

    /// A TCP connection of a session's own port is up. Where the session does not take it, it is lost at once.
    pub(super) fn port_connected(&mut self, port: PortKey, path: Path, from: SocketAddr, now: Instant) {
        let at = self.ports.get(&port).copied();
        let Some((at, transport)) = at.and_then(|at| Some((at, self.transports.at_mut(at)?))) else {
            self.lost_paths.push(path);
            return;
        };
        let before = transport.is_connected();
        let Session::Rtp(session) = &mut transport.session else { return };
        let Ok(displaced) = session.connected(path, from) else {
            self.lost_paths.push(path);
            return;
        };
        if let Some(displaced) = displaced {
            self.paths.remove(&displaced);
            self.lost_paths.push(displaced);
        }
        self.paths.insert(path, at);
        if !before {
            self.transport_connected(at.key, now);
        }
    }

    /// A connection that was to be made from a session's own port cannot be.
    pub(super) fn port_failed(&mut self, port: PortKey, why: String) {
        if let Some(transport) = self.ports.get(&port).copied().and_then(|at| self.transports.at_mut(at)) {
            transport.fail(why);
        }
    }
}
