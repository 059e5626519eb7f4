//! RTCP from peers: reports, losses, keyframe requests, clocks.

use super::run::Shard;
use super::sub::{Sink, ntp_now};
use super::track::ClockPoint;
use super::{TrackKey, TransportKey};
use crate::rtp::packet::RtpHeader;
use crate::rtp::rtcp::{self, ReportBlock, Rtcp, SenderReport};
use crate::rtp::stats::round_trip;
use crate::webrtc::ice::Path;
use std::time::{Duration, Instant};

impl Shard {
    pub(super) fn rtcp(&mut self, bytes: &[u8], path: Path, now: Instant) -> bool {
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

    pub(super) fn peer_wants_keyframe(&mut self, key: TransportKey, media: u32, now: Instant) {
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

    pub(super) fn retransmit(&mut self, key: TransportKey, media: u32, lost: &[u16], now: Instant) {
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

    pub(super) fn receiver_blocks(&mut self, key: TransportKey, blocks: &[ReportBlock]) {
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
    pub(super) fn incoming_report(&mut self, key: TransportKey, report: &SenderReport, now: Instant) {
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

    pub(super) fn note_clock(&mut self, key: TrackKey, layer: usize, point: ClockPoint) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if let Some(state) = track.layers.get_mut(layer) {
            state.clock = Some(point);
        }
        for sub in track.subs.iter_mut().filter(|sub| sub.current == Some(layer)) {
            sub.note_clock(point);
        }
    }
}
