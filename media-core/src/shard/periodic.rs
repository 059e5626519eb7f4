//! What happens by the clock: timers of transports, reports, speech, layers out of use.

use super::compound::Compound;
use super::config::TransportConfig;
use super::core::ShardCore;
use super::layers::Pace;
use super::sub::Sink;
use super::track::Layer;
use super::transport::CNAME;
use super::{RoomKey, ShardEvent, TrackKey, TransportKey, may_speak};
use crate::rtp::rtcp::{self, SenderReport};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

pub(super) const TICK_BUSY: Duration = Duration::from_millis(20);
const REPORT_EVERY: Duration = Duration::from_secs(1);
const QUALITY_EVERY: Duration = Duration::from_secs(2);
/// How long a reader that needs order waits for a packet that cannot be asked for.
const LATE: Duration = Duration::from_millis(100);
/// How long a layer nobody wants goes on before its publisher is told.
const UNWANTED_FOR: Duration = Duration::from_secs(3);

/// How long after its first packet a layer may be without a sender report.
const FIRST_REPORT: Duration = Duration::from_secs(5);

fn reports_expected(paces: &[Pace], layer: usize, now: Instant) -> bool {
    let first = paces.get(layer).and_then(|pace| pace.first);
    first.is_some_and(|first| now.saturating_duration_since(first) < FIRST_REPORT)
}

impl ShardCore {
    pub(super) fn timers(&mut self, now: Instant) {
        for _ in 0..4096 {
            match self.timers.peek() {
                Some(Reverse((at, _))) if *at <= now => {}
                _ => break,
            }
            let Some(Reverse((at, key))) = self.timers.pop() else { break };
            let Some(transport) = self.transports.get_mut(key) else { continue };
            if transport.scheduled != Some(at) {
                continue;
            }
            transport.scheduled = None;
            if !self.guarded("serving a timer", |core| core.tick(key, now))
                && let Some(transport) = self.transports.get_mut(key)
            {
                transport.fail("an internal fault in its timers".into());
            }
            if let Some(transport) = self.transports.get(key)
                && !transport.dead
            {
                let at = transport.next_timeout().max(now + Duration::from_millis(1));
                self.schedule(key, at);
            }
        }
    }

    /// Makes sure the transport is looked at by `at`. One live entry each; older ones are skipped when popped.
    pub(super) fn schedule(&mut self, key: TransportKey, at: Instant) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        if transport.scheduled.is_none_or(|scheduled| at < scheduled) {
            transport.scheduled = Some(at);
            self.timers.push(Reverse((at, key)));
        }
    }

    pub(super) fn tick(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        transport.tick(&mut self.egress, now);
        if transport.next_tick > now {
            return;
        }
        let Some(config) = transport.config.clone() else {
            transport.next_tick = now + super::core::TICK_IDLE;
            return;
        };
        transport.next_tick = now + super::core::TICK_IDLE;
        if !transport.is_connected() {
            return;
        }
        let report = now >= transport.next_report;
        if report {
            transport.next_report = now + REPORT_EVERY;
        }
        let mut compound = std::mem::take(&mut self.compound);
        for (index, section) in config.receive.iter().enumerate() {
            let Some(track_key) = section.track else { continue };
            self.receive_feedback(key, index, track_key, section.nack, report, &mut compound, now);
        }
        if report {
            self.sender_reports(key, &config, &mut compound, now);
        }
        if let Some(transport) = self.transports.get_mut(key) {
            if config.extensions.transport_cc != 0 {
                let (ours, media) = (transport.ssrc, transport.twcc_media_ssrc);
                let mut more = true;
                while more {
                    let mut twcc = std::mem::take(&mut transport.twcc);
                    compound.add(transport, &mut self.egress, |out| more = twcc.poll(now, media, ours, out));
                    transport.twcc = twcc;
                }
                transport.tick_by(transport.twcc.poll_at());
            }
            transport.tick_by(Some(transport.next_report));
            compound.send(transport, &mut self.egress);
        }
        self.compound = compound;
        if report {
            self.quality(key, &config, now);
        }
    }

    /// NACKs, receiver reports and held-back keyframe requests towards a publisher.
    #[expect(clippy::too_many_arguments, reason = "one section of a tick, with what the tick knows")]
    fn receive_feedback(
        &mut self,
        key: TransportKey,
        section: usize,
        track: TrackKey,
        nack: bool,
        report: bool,
        compound: &mut Compound,
        now: Instant,
    ) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        let Some(at) = self.tracks.find(track) else { return };
        let Some(state) = self.tracks.at_mut(at) else { return };
        let ours = transport.ssrc;
        let rtt = transport.rtt;
        let mut wanting: SmallVec<[usize; 3]> = SmallVec::new();
        for (index, layer) in state.layers.iter_mut().enumerate() {
            let Some(media) = transport.ssrc_of(section, index) else { continue };
            if nack {
                let due = layer.nack.poll(now, rtt);
                if !due.is_empty() {
                    self.stats.nacks_out += due.len() as u64;
                    compound.add(transport, &mut self.egress, |out| rtcp::write_nack(out, ours, media, &due));
                }
            } else {
                layer.nack.expire(now, LATE);
            }
            if layer.nack.overflowed() || layer.keyframe_pending {
                wanting.push(index);
            }
            if layer.nack.outstanding() > 0 || layer.keyframe_pending {
                transport.tick_by(Some(now + TICK_BUSY));
            }
            if report && let Some(block) = layer.stats.report(media, now) {
                compound.report(block);
            }
        }
        let layers = state.layers.len();
        for layer in wanting {
            self.request_keyframe(track, layer, now);
        }
        for layer in 0..layers {
            self.release(at, layer, now);
        }
    }

    fn sender_reports(&mut self, key: TransportKey, config: &TransportConfig, compound: &mut Compound, now: Instant) {
        for section in &config.send {
            let Some(track) = self.tracks.get_mut(section.track) else { continue };
            let clock_rate = track.config.codec.clock_rate;
            let Some(sub) = track.subs.get_mut(section.sub) else { continue };
            let Some(layer) = sub.current else { continue };
            let clock = track.layers.get(layer).and_then(Layer::clock_point);
            let ntp = self.clock.ntp(now);
            let rtp_time = match (clock, sub.munger.last_sent()) {
                (Some(point), _) => {
                    let elapsed = i128::from(self.clock.ns(now)) - i128::from(point.room_ns);
                    let ticks = (elapsed * i128::from(clock_rate)).div_euclid(1_000_000_000) as i64;
                    sub.map_time(point.rtp).wrapping_add(ticks as u32)
                }
                // The publisher's own report is on its way: a guess now would have to be taken back.
                (None, _) if reports_expected(&track.paces, layer, now) => continue,
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
            let Some(transport) = self.transports.get_mut(key) else { return };
            compound.add(transport, &mut self.egress, |out| {
                rtcp::write_sender_report(out, &report);
                rtcp::write_sdes_cname(out, report.ssrc, CNAME);
            });
        }
    }

    pub(super) fn quality(&mut self, key: TransportKey, config: &TransportConfig, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        if now.saturating_duration_since(transport.last_quality) < QUALITY_EVERY {
            return;
        }
        transport.last_quality = now;
        let (mut loss_down, mut loss_up): (Option<f32>, Option<f32>) = (None, None);
        let worse = |known: Option<f32>, loss: f32| Some(known.unwrap_or(0.0).max(loss));
        for section in &config.send {
            if let Some(track) = self.tracks.get(section.track)
                && let Some(sub) = track.subs.get(section.sub)
                && let Some(outgoing) = sub.transport()
            {
                loss_down = worse(loss_down, outgoing.loss);
            }
        }
        for section in &config.receive {
            if let Some(track) = section.track.and_then(|track| self.tracks.get(track)) {
                for layer in &track.layers {
                    let missing = layer.nack.outstanding() as f32;
                    loss_up = worse(loss_up, (missing / 100.0).min(1.0));
                }
            }
        }
        let rtt_ms = transport.rtt.as_secs_f32() * 1000.0;
        if let Some(room) = self.rooms.get(&transport.room) {
            let _ = room.events.send(ShardEvent::Quality {
                participant: transport.participant.clone(),
                loss_up,
                loss_down,
                rtt_ms,
            });
        }
    }

    /// Speech levels of every room, and layers that fell out of use.
    pub(super) fn levels(&mut self, now: Instant) {
        let mut spoken: HashMap<RoomKey, Vec<(TrackKey, f32)>> = HashMap::new();
        let mut unwanted: Vec<TrackKey> = Vec::new();
        for (key, track) in self.tracks.iter_mut() {
            if track.unwanted_since.is_some() {
                unwanted.push(key);
            }
            if track.is_video() {
                continue;
            }
            let level = track.meter.take();
            if level > 0.0 && may_speak(track.config.source) {
                for place in track.places.iter().filter(|place| !place.muted) {
                    spoken.entry(place.room).or_default().push((place.key, level));
                }
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
    pub(super) fn update_wanted(&mut self, key: TrackKey, now: Instant) {
        let Some(at) = self.tracks.find(key) else { return };
        let Some(track) = self.tracks.at_mut(at) else { return };
        if !track.is_video() && track.config.feed.is_none() {
            return;
        }
        let wanted = track.wanted_now();
        let told = track.wanted.unwrap_or([track.config.feed.is_none(); 3]);
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
        if let Some(feed) = &track.config.feed {
            feed.want(at.key, wanted);
            return;
        }
        for place in &track.places {
            if let Some(room) = self.rooms.get(&place.room) {
                let _ = room.events.send(ShardEvent::LayersWanted { track: place.key, wanted });
            }
        }
    }
}
