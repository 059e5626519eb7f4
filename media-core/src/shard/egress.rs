//! Packets towards subscribers: numbered for each, sealed, sent; cached groups in steps.

use super::core::ShardCore;
use super::sub::{Sink, Sub};
use super::transport::Transport;
use super::{TrackKey, TransportKey};
use crate::media::{AudioLevel, MediaPacket};
use crate::rtp::packet::RtpHeader;
use crate::rtp::rtcp::{self};
use crate::session::Path;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::time::Instant;

/// Packets that are to leave, in order.
#[derive(Default)]
pub(super) struct Egress {
    pub(super) bytes: Vec<u8>,
    /// Start and length in `bytes`.
    pub(super) queue: Vec<(usize, usize, Path)>,
}

impl Egress {
    pub fn push(&mut self, packet: &[u8], path: Path) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(packet);
        self.queue.push((start, packet.len(), path));
    }

    pub fn is_full(&self) -> bool {
        self.queue.len() >= 512
    }

    pub fn clear(&mut self) {
        self.queue.clear();
        self.bytes.clear();
    }
}

impl ShardCore {
    /// Cached groups leave in steps, so that the receiver's socket buffer holds.
    pub(super) fn send_bursts(&mut self, now: Instant) {
        let mut bursting = std::mem::take(&mut self.bursting);
        bursting.retain(|&(key, sub)| {
            let Some(track) = self.tracks.get_mut(&key) else { return false };
            let codec = track.config.codec.codec;
            let Some(sub) = track.subs.iter_mut().find(|other| other.key == sub) else { return false };
            for _ in 0..sub.burst_step() {
                let Some((packet, timestamp)) = sub.burst.pop_front() else { return false };
                deliver(sub, &packet, timestamp, codec, &mut self.transports, &mut self.egress, now);
            }
            !sub.burst.is_empty()
        });
        self.bursting.extend(bursting);
    }

    /// Asks fed tracks for keyframes that were wanted too soon after others, unless one came since.
    /// Publishers' connections are served by [`Self::receive_feedback`].
    pub(super) fn serve_held_back(&mut self, now: Instant) {
        let mut due: SmallVec<[TrackKey; 8]> = SmallVec::new();
        self.held_back.retain(|&(at, key)| {
            if at <= now {
                due.push(key);
            }
            at > now
        });
        for key in due {
            if self.tracks.get(&key).and_then(|track| track.layers.first()).is_some_and(|layer| layer.keyframe_pending)
            {
                self.request_keyframe(key, 0, now);
            }
        }
    }

    pub(super) fn request_keyframe(&mut self, key: TrackKey, layer: usize, now: Instant) {
        let Some(track) = self.tracks.get_mut(&key).filter(|track| track.is_video()) else { return };
        if let Some(feed) = &track.config.feed {
            let feed = feed.clone();
            if track.gop.is_some() {
                return;
            }
            if track.may_request_keyframe(layer, now) {
                self.stats.keyframe_requests += 1;
                feed.keyframe.notify_one();
            } else if let Some(at) = track.may_ask_at(layer)
                && !self.held_back.contains(&(at, key))
            {
                self.held_back.push((at, key));
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
}

pub(super) fn ready_for_media(sub: &Sub, transports: &HashMap<TransportKey, Transport>, now: Instant) -> bool {
    if now < sub.ready_at {
        return false;
    }
    match &sub.sink {
        Sink::Unplaced => false,
        Sink::Tap { .. } => true,
        Sink::Transport(outgoing) => transports.get(&outgoing.transport).is_some_and(Transport::is_connected),
    }
}

pub(super) fn deliver(
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
