//! RTCP from peers: reports, losses, keyframe requests, clocks.

use super::core::ShardCore;
use super::egress::send_again;
use super::sub::{REPLAY_BYTES, Sink};
use super::track::{Track, kept};
use super::{Command, TrackKey, TransportKey};
use crate::clock::{ClockEstimator, Reading, ntp_to_unix_ns};

use crate::rtp::packet::RtpHeader;
use crate::rtp::rtcp::{self, ReportBlock, Rtcp, SenderReport};
use crate::rtp::stats::round_trip;
use crate::session::Path;
use crate::tap::Discontinuity;
use std::time::Instant;

impl ShardCore {
    pub(super) fn rtcp(&mut self, bytes: &mut [u8], path: Path, now: Instant) -> bool {
        let Some(at) = self.at_end_of(path) else { return false };
        let Some(transport) = self.transports.at_mut(at) else { return false };
        let before = transport.is_connected();
        let Some(length) = transport.session.open_rtcp(bytes, path, now) else { return false };
        let Ok(packets) = rtcp::parse_compound(bytes.get(..length).unwrap_or_default()) else { return false };
        let key = transport.key;
        if transport.is_plain() {
            self.heard(at, before, now);
        }
        for packet in packets {
            match packet {
                Rtcp::SenderReport(report) => {
                    self.incoming_report(key, &report, now);
                    self.receiver_blocks(key, &report.reports, now);
                }
                Rtcp::ReceiverReport { reports, .. } => self.receiver_blocks(key, &reports, now),
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

    pub(super) fn peer_wants_keyframe(&mut self, key: TransportKey, media: u32, now: Instant) {
        self.stats.plis_in += 1;
        let Some(&(track, sub)) = self.transports.get(key).and_then(|transport| transport.outgoing.get(&media)) else {
            return;
        };
        let Some(state) = self.tracks.get_mut(track) else { return };
        let Some(sub) = state.subs.get_mut(sub) else { return };
        let gop = state.gops.get(sub.current.unwrap_or(0));
        match (gop, sub.current) {
            (Some(gop), Some(layer)) if !gop.is_empty() && sub.burst.is_empty() => {
                // The source can't be asked: give it the cached group once more, if that helps soon.
                let newest = gop.iter().last().map_or(0, |(packet, _)| packet.sequence);
                if gop.bytes() > REPLAY_BYTES || !sub.may_replay(newest, now) {
                    return;
                }
                let group: Vec<_> = gop.iter().cloned().collect();
                let sub_key = sub.key;
                sub.begin_burst(layer, group.iter(), now);
                self.burst_later(track, sub_key);
            }
            (Some(_), _) => {}
            (None, current) => {
                let layer = current.unwrap_or(0);
                self.request_keyframe(track, layer, now);
            }
        }
    }

    pub(super) fn retransmit(&mut self, key: TransportKey, media: u32, lost: &[u16], now: Instant) {
        self.stats.nacks_in += 1;
        let Some(transport) = self.transports.get_mut(key) else { return };
        let Some(&(track, sub)) = transport.outgoing.get(&media) else { return };
        let Some(track) = self.tracks.get_mut(track) else { return };
        let codec = track.config.codec.codec;
        let Track { subs, layers, gops, .. } = track;
        let Some(sub) = subs.get_mut(sub) else { return };
        let rtt = transport.rtt;
        let alike = sub.transport().is_some_and(|outgoing| outgoing.rtx_pt.is_none());
        for &sequence in lost.iter().take(128) {
            let Some(sent) = sub.sent(sequence, alike) else { continue };
            if !sub.may_resend(sequence, rtt, now) {
                self.stats.nacks_refused += 1;
                continue;
            }
            let Some(packet) = kept(layers, gops, sent.layer, sent.source, now) else { continue };
            sub.resent(packet.payload.len());
            let Sink::Transport(outgoing) = &mut sub.sink else { continue };
            if send_again(outgoing, sequence, sent, packet, codec, transport, &mut self.egress) {
                self.stats.retransmitted += 1;
            }
        }
    }

    pub(super) fn receiver_blocks(&mut self, key: TransportKey, blocks: &[ReportBlock], now: Instant) {
        let middle = (self.clock.ntp(now) >> 16) as u32;
        for block in blocks {
            let Some(transport) = self.transports.get_mut(key) else { return };
            let outgoing = transport.outgoing.get(&block.ssrc).copied();
            if let Some(rtt) = round_trip(block, middle) {
                transport.note_rtt(rtt);
                if let Some(pair) = transport.pair.and_then(|pair| self.transports.get_mut(pair)) {
                    pair.note_rtt(rtt);
                }
            }
            let Some((track, sub)) = outgoing else { continue };
            if let Some(track) = self.tracks.get_mut(track)
                && let Some(sub) = track.subs.get_mut(sub)
                && let Sink::Transport(outgoing) = &mut sub.sink
                && outgoing.ssrc == block.ssrc
            {
                outgoing.loss = f32::from(block.fraction_lost) / 256.0;
            }
        }
    }

    /// A publisher's report.
    fn incoming_report(&mut self, key: TransportKey, report: &SenderReport, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else { return };
        let header = RtpHeader { ssrc: report.ssrc, payload_type: 127, ..RtpHeader::default() };
        let Some(route) = transport.route(&header, &Default::default()) else { return };
        let Some(track) = transport.track_of(route.section) else { return };
        if let Some(layer) = self.tracks.get_mut(track).and_then(|state| state.layers.get_mut(route.layer)) {
            layer.stats.on_sender_report(report.middle_ntp(), now);
        }
        let mut clock = std::mem::take(&mut transport.clock);
        self.note_report(track, route.layer, report.rtp_time, ntp_to_unix_ns(report.ntp), &mut clock, now);
        if let Some(transport) = self.transports.get_mut(key) {
            transport.clock = clock;
        }
    }

    /// A fed track's report.
    pub(super) fn fed_report(&mut self, key: TrackKey, layer: usize, timestamp: u32, device_ns: i64, arrival: Instant) {
        let Some(device) = self.tracks.get(key).map(|track| track.config.device.clone()) else { return };
        self.note_report(key, layer, timestamp, device_ns, &mut device.0.lock(), arrival);
        if let Some(track) = self.tracks.get(key) {
            for (shard, key) in &track.replicas {
                shard.send(Command::Report { track: *key, layer, timestamp, device_ns, arrival });
            }
        }
    }

    fn note_report(
        &mut self,
        key: TrackKey,
        layer: usize,
        timestamp: u32,
        device_ns: i64,
        clock: &mut ClockEstimator,
        arrival: Instant,
    ) {
        let room = self.clock.ns(arrival);
        let Some(track) = self.tracks.get_mut(key) else { return };
        let Some(state) = track.layers.get_mut(layer) else { return };
        let doubted = state.clock.is_doubted();
        let reading = state.clock.report(state.time.near(timestamp), device_ns, room, clock);
        let moved = reading == Reading::Stepped || state.clock.is_doubted() != doubted;
        self.stats.reports_refused += u64::from(reading == Reading::Doubtful);
        self.stats.clock_steps += u64::from(reading == Reading::Stepped);
        if moved {
            track.breaks(layer, Discontinuity::Clock);
        }
    }
}
