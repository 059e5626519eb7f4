//! Packets towards subscribers: numbered for each, sealed, sent; cached groups in steps.

use super::config::ExtensionIds;
use super::core::{Rest, ShardCore};
use super::sub::{Outgoing, Sent, Sink, Sub, rewrite_vp8};
use super::table::Table;
use super::transport::{CNAME, Outbound, Transport};
use super::{TrackKey, TransportKey};
use crate::media::{AudioLevel, Codec, MediaPacket};
use crate::rtp::munger::Mapped;
use crate::rtp::packet::RtpHeader;
use crate::rtp::rtcp::{self};
use crate::session::egress::Egress;
use smallvec::SmallVec;
use std::time::Instant;

impl ShardCore {
    /// Packets that wait their turn leave in steps, so that receivers' socket buffers hold, and
    /// several for one peer together.
    pub(super) fn send_bursts(&mut self, now: Instant) {
        let millisecond = self.millisecond(now);
        for _ in 0..self.bursting.len() {
            if self.egress.is_full() {
                self.rest.push_back(Rest::Bursts);
                return;
            }
            let Some(at) = self.bursting.pop_front() else { return };
            let Some(track) = self.tracks.at_mut(at.track) else { continue };
            let codec = track.config.codec.codec;
            let Some(sub) = track.subs.at_mut(at.sub) else { continue };
            while !sub.burst.is_empty() && sub.may_send(millisecond) {
                let Some((packet, timestamp)) = sub.burst.pop_front() else { break };
                deliver(sub, &packet, timestamp, codec, &mut self.transports, &mut self.egress, now);
            }
            if !sub.burst.is_empty() {
                self.bursting.push_back(at);
            }
        }
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
            if self.tracks.get(key).and_then(|track| track.layers.first()).is_some_and(|layer| layer.keyframe_pending) {
                self.request_keyframe(key, 0, now);
            }
        }
    }

    pub(super) fn request_keyframe(&mut self, key: TrackKey, layer: usize, now: Instant) {
        let Some(track) = self.tracks.get_mut(key).filter(|track| track.is_video()) else { return };
        if let Some(feed) = &track.config.feed {
            let feed = feed.clone();
            if !track.gops.is_empty() {
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
        let Some(transport) = self.transports.get_mut(publisher) else { return };
        let section = transport
            .config
            .as_ref()
            .and_then(|config| config.receive.iter().position(|section| section.track == Some(key)));
        // A stream of which nothing has come yet can't be asked, and begins with a keyframe.
        let Some((section, media)) = section.and_then(|section| Some((section, transport.ssrc_of(section, layer)?)))
        else {
            return;
        };
        if !track.may_request_keyframe(layer, now) {
            // Asked for when it may be, unless a keyframe comes first.
            self.tick_soon(publisher, now);
            return;
        }
        self.stats.keyframe_requests += 1;
        let takes = transport.config.as_ref().and_then(|config| config.receive.get(section)).is_some_and(|it| it.pli);
        if let Some(ask) = track.config.ask.as_ref().filter(|_| !takes) {
            ask.keyframe.notify_one();
            return;
        }
        let (ours, plain) = (transport.ssrc, transport.is_plain());
        transport.send_rtcp(&mut self.egress, |out| {
            rtcp::write_receiver_report(out, ours, &[]);
            if plain {
                rtcp::write_sdes_cname(out, ours, CNAME);
            }
            rtcp::write_pli(out, ours, media);
        });
    }
}

pub(super) fn ready_for_media(sub: &Sub, transports: &Table<TransportKey, Transport>, now: Instant) -> bool {
    if now < sub.ready_at {
        return false;
    }
    match &sub.sink {
        Sink::Unplaced => false,
        Sink::Tap(tap) => tap.writer.may_begin(),
        Sink::Transport(outgoing) => transports.at(outgoing.transport).is_some_and(Transport::is_connected),
    }
}

/// A packet to one reader: numbered for it, written and sealed where it is sent from.
pub(super) fn deliver(
    sub: &mut Sub,
    packet: &MediaPacket,
    timestamp: u32,
    codec: Codec,
    transports: &mut Table<TransportKey, Transport>,
    egress: &mut Egress,
    now: Instant,
) {
    let Some(mapped) = sub.number(packet, timestamp, now) else { return };
    let Sink::Transport(outgoing) = &sub.sink else {
        sub.deliver_tap(mapped, packet, codec);
        return;
    };
    let Some(transport) = transports.at_mut(outgoing.transport) else { return };
    send_media(sub, packet, mapped, codec, transport, egress);
}

/// What a peer's section says of a packet beside its payload.
struct Extras<'a> {
    mid: &'a [u8],
    level: Option<[u8; 1]>,
}

impl<'a> Extras<'a> {
    fn of(outgoing: &'a Outgoing, packet: &MediaPacket) -> Self {
        Self { mid: outgoing.mid.as_bytes(), level: packet.level.map(AudioLevel::build) }
    }

    fn list(&self, ids: ExtensionIds) -> SmallVec<[(u8, &[u8]); 2]> {
        let mut list: SmallVec<[(u8, &[u8]); 2]> = SmallVec::new();
        if ids.mid != 0 {
            list.push((ids.mid, self.mid));
        }
        if let Some(level) = &self.level
            && ids.audio_level != 0
        {
            list.push((ids.audio_level, level));
        }
        list
    }
}

/// The payload for this reader and its type: with redundancy for those who take it.
fn payload_of<'a>(outgoing: &Outgoing, packet: &'a MediaPacket) -> (&'a [u8], u8) {
    let red = packet.red.as_ref().zip(outgoing.red_pt);
    red.map_or((&packet.payload, outgoing.pt), |(payload, payload_type)| (payload, payload_type))
}

fn send_media(
    sub: &mut Sub,
    packet: &MediaPacket,
    mapped: Mapped,
    codec: Codec,
    transport: &Transport,
    egress: &mut Egress,
) {
    let Sub { sink: Sink::Transport(outgoing), vp8, epochs, .. } = sub else { return };
    let rollover = outgoing.rollover.send(mapped.sequence);
    let (payload, payload_type) = payload_of(outgoing, packet);
    let header = RtpHeader {
        marker: packet.marker,
        payload_type,
        sequence: mapped.sequence,
        timestamp: mapped.timestamp,
        ssrc: outgoing.ssrc,
        csrc_count: 0,
    };
    let patch = |payload: &mut [u8]| {
        if codec == Codec::Vp8 {
            rewrite_vp8(vp8, epochs, payload);
        }
    };
    let sent = {
        let extras = Extras::of(outgoing, packet);
        let extensions = extras.list(transport.extension_ids());
        let outbound = Outbound { header: &header, rollover, extensions: &extensions, prefix: &[], payload };
        transport.send_rtp(&outbound, patch, egress)
    };
    if sent {
        outgoing.packets = outgoing.packets.wrapping_add(1);
        outgoing.octets = outgoing.octets.wrapping_add(payload.len() as u32);
    }
}

/// A packet once more, on the retransmission stream; to a peer without one under its old number, and
/// then as it was to the last bit, since the cipher must not see another content under one number.
pub(super) fn send_again(
    outgoing: &mut Outgoing,
    sequence: u16,
    sent: Sent,
    packet: &MediaPacket,
    codec: Codec,
    transport: &Transport,
    egress: &mut Egress,
) -> bool {
    let timestamp = sent.time.of(packet);
    let patch = |payload: &mut [u8]| {
        if codec == Codec::Vp8 {
            let _ = sent.vp8.apply(payload);
        }
    };
    let header = RtpHeader { marker: packet.marker, timestamp, csrc_count: 0, ..RtpHeader::default() };
    let Some(payload_type) = outgoing.rtx_pt else {
        let (payload, payload_type) = payload_of(outgoing, packet);
        let header = RtpHeader { payload_type, sequence, ssrc: outgoing.ssrc, ..header };
        let extras = Extras::of(outgoing, packet);
        let extensions = extras.list(transport.extension_ids());
        let Ok(rollover) = u32::try_from(outgoing.rollover.of(sequence)) else { return false };
        let outbound = Outbound { header: &header, rollover, extensions: &extensions, prefix: &[], payload };
        return transport.send_rtp(&outbound, patch, egress);
    };
    outgoing.rtx_sequence = outgoing.rtx_sequence.wrapping_add(1);
    let rollover = outgoing.rtx_rollover.send(outgoing.rtx_sequence);
    let header = RtpHeader { payload_type, sequence: outgoing.rtx_sequence, ssrc: outgoing.rtx_ssrc, ..header };
    let extensions = Extras { mid: outgoing.mid.as_bytes(), level: None };
    let outbound = Outbound {
        header: &header,
        rollover,
        extensions: &extensions.list(transport.extension_ids()),
        prefix: &sequence.to_be_bytes(),
        payload: &packet.payload,
    };
    transport.send_rtp(&outbound, patch, egress)
}
