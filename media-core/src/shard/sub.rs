//! One subscription: which layer it is on, how source numbers become its own,
//! and what it has sent, so that a lost packet can be sent again.

use super::track::ClockPoint;
use super::{SubKey, TransportKey};
use crate::media::{Codec, MediaPacket, TapItem};
use crate::rtp::munger::Munger;
use crate::rtp::seq::{Extender, Extender32};
use crate::rtp::vp8::{Vp8Moves, Vp8Munger};
use bytes::Bytes;
use rand::Rng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Packets that can be asked for again.
const SENT: usize = 1024;
/// Burst packets sent each time the shard comes by, about every millisecond: 230 Mbit/s to a receiver
/// that loses nothing, 40 and 10 to one that does.
const BURST_STEP: [(f32, usize); 3] = [(0.02, 24), (0.1, 4), (f32::INFINITY, 1)];
/// A cached group is sent again on request after this long, and each time after twice as long,
/// until nobody has asked for [`REPLAY_CALM`].
const REPLAY_FIRST: Duration = Duration::from_secs(2);
const REPLAY_LAST: Duration = Duration::from_secs(16);
const REPLAY_CALM: Duration = Duration::from_secs(30);
/// A longer group is not sent again on request: the next keyframe is cheaper.
pub(super) const REPLAY_BYTES: usize = 1 << 20;
/// RTP ticks between the frames of a burst: the decoder is to run through them, not to play them.
const BURST_TICKS: u32 = 90;

/// Bytes that one subscription may have sent again in a second, and at once.
const RESEND_A_SECOND: i64 = 250_000;
const RESEND_BURST: i64 = 250_000;
/// The same packet is not sent again sooner, whatever the round trip.
const RESEND_PAUSE: Duration = Duration::from_millis(20);

/// How long a tap holds out for the best layer.
const TAP_PATIENCE: Duration = Duration::from_millis(1500);

/// Where a subscription's packets go.
pub(super) enum Sink {
    /// No section has been agreed for it, or none any more.
    Unplaced,
    Tap {
        sender: mpsc::Sender<TapItem>,
        dropped: u64,
        sequence: Extender,
        time: Extender32,
        clock: Option<ClockPoint>,
    },
    Transport(Outgoing),
}

pub(super) struct Outgoing {
    pub transport: TransportKey,
    pub mid: String,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub pt: u8,
    pub rtx_pt: Option<u8>,
    pub red_pt: Option<u8>,
    pub rtx_sequence: u16,
    pub packets: u32,
    pub octets: u32,
    pub last_report: Option<Instant>,
    /// Loss the receiver last reported, 0.0 … 1.0.
    pub loss: f32,
}

/// A packet as it was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    sequence: u16,
    pub layer: u8,
    valid: bool,
    /// Its extended number at the source.
    pub source: u64,
    /// The time it was given.
    pub timestamp: u32,
    pub vp8: Vp8Moves,
    /// When it was last sent again.
    again: Option<Instant>,
}

pub(super) struct Sub {
    pub key: SubKey,
    pub sink: Sink,
    /// Highest layer index it has use for.
    pub wish: usize,
    pub paused: bool,
    pub current: Option<usize>,
    clock_rate: u32,
    pub munger: Munger,
    pub vp8: Vp8Munger,
    /// Packets of the cached group that still have to go out, with their squeezed times.
    pub burst: VecDeque<(MediaPacket, u32)>,
    /// When the cached group may be sent once more on request, and after how long again.
    replay_at: Option<Instant>,
    replay_pause: Duration,
    /// The newest packet of the group that was last sent once more.
    replayed: Option<u64>,
    created: Instant,
    /// Nothing is sent before: the peer has to have applied our answer first.
    pub ready_at: Instant,
    sent: Box<[Sent]>,
    /// Bytes that may be sent again now; below zero after a packet that was larger than what was left.
    resend_budget: i64,
    resend_counted: Instant,
}

/// A packet as it is to leave.
pub(super) struct Ready {
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Bytes,
    pub red: bool,
}

impl Sub {
    pub fn new(key: SubKey, sink: Sink, clock_rate: u32, random: &mut impl Rng, now: Instant) -> Self {
        // The first number stays low: receivers must agree on the roll-over count without a hint (RFC 3711 3.3.1).
        let first = random.random_range(1..0x7000);
        Self {
            key,
            sent: Box::new([]),
            sink,
            wish: 2,
            paused: false,
            current: None,
            clock_rate,
            munger: Munger::new(clock_rate, first, random.random()),
            vp8: Vp8Munger::default(),
            burst: VecDeque::new(),
            resend_budget: RESEND_BURST,
            resend_counted: now,
            replay_at: None,
            replay_pause: REPLAY_FIRST,
            replayed: None,
            created: now,
            ready_at: now,
        }
    }

    /// Whether a first keyframe of `layer` should be let pass: a recording that is to begin waits a
    /// moment for the best layer, which its publisher may have switched off while nobody looked.
    pub fn waits_for_better(&self, layer: usize, layers: usize, now: Instant) -> bool {
        self.is_tap()
            && self.current.is_none()
            && layer + 1 < layers
            && now.saturating_duration_since(self.created) < TAP_PATIENCE
    }

    /// Whether the cached group may be sent once more; if so, it counts as sent. Of a source that has stopped
    /// this is once: viewers ask because nothing comes, and would see the same second again and again.
    pub fn may_replay(&mut self, newest: u64, now: Instant) -> bool {
        if self.replayed == Some(newest) {
            return false;
        }
        match self.replay_at {
            Some(at) if now < at => return false,
            Some(at) if now < at + REPLAY_CALM => self.replay_pause = (self.replay_pause * 2).min(REPLAY_LAST),
            _ => self.replay_pause = REPLAY_FIRST,
        }
        self.replay_at = Some(now + self.replay_pause);
        self.replayed = Some(newest);
        true
    }

    /// How many packets of a burst may leave at once.
    pub fn burst_step(&self) -> usize {
        let loss = self.transport().map_or(0.0, |outgoing| outgoing.loss);
        BURST_STEP.iter().find(|(most, _)| loss < *most).map_or(1, |(_, step)| *step)
    }

    pub fn is_tap(&self) -> bool {
        matches!(self.sink, Sink::Tap { .. })
    }

    pub fn transport(&self) -> Option<&Outgoing> {
        match &self.sink {
            Sink::Transport(outgoing) => Some(outgoing),
            Sink::Tap { .. } | Sink::Unplaced => None,
        }
    }

    pub fn is_placed(&self) -> bool {
        !matches!(self.sink, Sink::Unplaced)
    }

    /// Its packets go out by this section from now on; says whether that begins a new stream. One
    /// that goes on keeps its numbers and counts, whatever else of the section has changed.
    pub fn place(&mut self, outgoing: Outgoing, ready_at: Instant) -> bool {
        if let Sink::Transport(old) = &mut self.sink
            && old.transport == outgoing.transport
            && old.ssrc == outgoing.ssrc
        {
            let Outgoing { mid, rtx_ssrc, pt, rtx_pt, red_pt, .. } = outgoing;
            (old.mid, old.rtx_ssrc, old.pt, old.rtx_pt, old.red_pt) = (mid, rtx_ssrc, pt, rtx_pt, red_pt);
            return false;
        }
        self.displace();
        self.sent = vec![Sent::default(); SENT].into_boxed_slice();
        self.sink = Sink::Transport(outgoing);
        self.ready_at = ready_at;
        true
    }

    /// Its section is gone; it waits for another.
    pub fn displace(&mut self) {
        self.sink = Sink::Unplaced;
        self.current = None;
        self.burst.clear();
    }

    /// Begins with a cached group: its frames leave at once, a millisecond of
    /// RTP time apart, ending where the live stream goes on.
    pub fn begin_burst<'a>(&mut self, group: impl Iterator<Item = &'a (MediaPacket, u32)> + Clone, now: Instant) {
        let newest = group.clone().last().map(|(_, timestamp)| *timestamp);
        let (Some(newest), Some((first, first_time))) = (newest, group.clone().next()) else { return };
        let squeeze = matches!(self.sink, Sink::Transport(_));
        let mut frames = 1u32;
        let mut previous = *first_time;
        for (_, timestamp) in group.clone() {
            if *timestamp != previous {
                frames += 1;
                previous = *timestamp;
            }
        }
        let mut index = 0u32;
        let mut previous = *first_time;
        let start = newest.wrapping_sub((frames - 1).wrapping_mul(BURST_TICKS));
        for (packet, timestamp) in group {
            if *timestamp != previous {
                index += 1;
                previous = *timestamp;
            }
            let time = if squeeze { start.wrapping_add(index * BURST_TICKS) } else { *timestamp };
            self.burst.push_back((packet.clone(), time));
        }
        let first_out = if squeeze { start } else { *first_time };
        self.current = Some(0);
        self.munger.switch_source(first.sequence, first_out, now, 1);
        self.vp8.switch_source();
    }

    /// Moves to a layer at `packet`, which a decoder can start at. `clocks` are those of the layer it
    /// leaves and of the one it goes to: with both the capture times of the two meet exactly.
    pub fn switch(
        &mut self,
        layer: usize,
        packet: &MediaPacket,
        timestamp: u32,
        clocks: Option<(ClockPoint, ClockPoint)>,
        frame_ticks: u32,
        now: Instant,
    ) {
        self.current = Some(layer);
        let known = clocks.map(|(old, new)| {
            let passed = new.room_ns_at(timestamp, self.clock_rate) - old.room_ns;
            let ticks = (i128::from(passed) * i128::from(self.clock_rate) + 500_000_000).div_euclid(1_000_000_000);
            self.map_time(old.rtp).wrapping_add(ticks as u32)
        });
        self.munger.switch_source_at(packet.sequence, timestamp, known, now, frame_ticks);
        self.vp8.switch_source();
    }

    /// Numbers a packet for this subscriber; `None` when it must not be sent.
    pub fn prepare(&mut self, packet: &MediaPacket, timestamp: u32, codec: Codec, now: Instant) -> Option<Ready> {
        let mapped = self.munger.map(packet.sequence, timestamp, now)?;
        let payload = self.rewrite(packet, codec);
        let layer = self.current.unwrap_or(0) as u8;
        if !self.sent.is_empty() {
            let slot = usize::from(mapped.sequence) % self.sent.len();
            if let Some(sent) = self.sent.get_mut(slot) {
                *sent = Sent {
                    sequence: mapped.sequence,
                    layer,
                    valid: true,
                    source: packet.sequence,
                    timestamp: mapped.timestamp,
                    vp8: self.vp8.moves(),
                    again: None,
                };
            }
        }
        let takes_red = self.transport().is_some_and(|outgoing| outgoing.red_pt.is_some());
        let (payload, red) = match (&packet.red, takes_red) {
            (Some(red), true) => (red.clone(), true),
            _ => (payload, false),
        };
        Some(Ready { sequence: mapped.sequence, timestamp: mapped.timestamp, marker: packet.marker, payload, red })
    }

    /// VP8's descriptor numbers pictures; they must run on over a switch. Other payloads are shared as they are.
    fn rewrite(&mut self, packet: &MediaPacket, codec: Codec) -> Bytes {
        if codec != Codec::Vp8 {
            return packet.payload.clone();
        }
        let mut copy = packet.payload.to_vec();
        match self.vp8.rewrite(&mut copy) {
            Ok(()) => copy.into(),
            Err(_) => packet.payload.clone(),
        }
    }

    /// A packet that was sent under this number.
    pub fn sent(&self, sequence: u16) -> Option<Sent> {
        let slot = self.sent.get(usize::from(sequence) % self.sent.len().max(1))?;
        (slot.valid && slot.sequence == sequence).then_some(*slot)
    }

    /// Whether a packet may be sent again: once a round trip, and within the budget.
    pub fn may_resend(&mut self, sequence: u16, rtt: Duration, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.resend_counted);
        let earned = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX).saturating_mul(RESEND_A_SECOND) / 1_000_000;
        if earned > 0 {
            self.resend_budget = self.resend_budget.saturating_add(earned).min(RESEND_BURST);
            self.resend_counted = now;
        }
        let slot = usize::from(sequence) % self.sent.len().max(1);
        let Some(sent) = self.sent.get_mut(slot).filter(|sent| sent.valid && sent.sequence == sequence) else {
            return false;
        };
        let pause = rtt.clamp(RESEND_PAUSE, Duration::from_secs(1));
        let soon = sent.again.is_some_and(|at| now.saturating_duration_since(at) < pause);
        if soon || self.resend_budget <= 0 {
            return false;
        }
        sent.again = Some(now);
        true
    }

    /// So many bytes were sent again.
    pub fn resent(&mut self, bytes: usize) {
        self.resend_budget -= bytes as i64;
    }

    /// The sender report's RTP time for a source's clock point, in this subscriber's numbering.
    pub fn map_time(&self, source: u32) -> u32 {
        source.wrapping_add(self.munger.timestamp_offset())
    }

    /// Hands a packet to a tap; a full tap loses it, and hears how many were lost.
    pub fn deliver_tap(&mut self, ready: Ready, packet: &MediaPacket) {
        let offset = self.munger.timestamp_offset();
        let Sink::Tap { sender, dropped, sequence, time, clock } = &mut self.sink else { return };
        let item = MediaPacket {
            sequence: sequence.extend(ready.sequence).seq,
            time: time.extend(ready.timestamp),
            marker: ready.marker,
            payload: ready.payload,
            arrival: packet.arrival,
            level: packet.level,
            red: None,
        };
        if let Some(point) = clock.take() {
            let time = time.extend(point.rtp.wrapping_add(offset));
            if sender.try_send(TapItem::Clock { time, room_ns: point.room_ns }).is_err() {
                *clock = Some(point);
            }
        }
        if *dropped > 0 {
            if sender.try_send(TapItem::Gap { dropped: *dropped }).is_err() {
                *dropped += 1;
                return;
            }
            *dropped = 0;
        }
        if sender.try_send(TapItem::Packet(item)).is_err() {
            *dropped += 1;
        }
    }

    pub fn note_clock(&mut self, point: ClockPoint) {
        if let Sink::Tap { clock, .. } = &mut self.sink {
            *clock = Some(point);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u64) -> MediaPacket {
        MediaPacket {
            sequence,
            time: 0,
            marker: false,
            payload: Bytes::from_static(&[1]),
            arrival: Instant::now(),
            level: None,
            red: None,
        }
    }

    #[test]
    fn a_burst_is_squeezed_and_the_live_stream_follows_it() {
        let now = Instant::now();
        let outgoing = Outgoing {
            transport: TransportKey::next(),
            mid: String::new(),
            ssrc: 1,
            rtx_ssrc: 2,
            pt: 96,
            rtx_pt: None,
            red_pt: None,
            rtx_sequence: 0,
            packets: 0,
            octets: 0,
            last_report: None,
            loss: 0.0,
        };
        let mut sub = Sub::new(SubKey::next(), Sink::Unplaced, 90_000, &mut rand::rng(), now);
        assert!(sub.place(outgoing, now));
        let group: Vec<(MediaPacket, u32)> =
            (0..50u32).map(|i| (packet(1000 + u64::from(i)), 5000 + i / 2 * 3600)).collect();
        sub.begin_burst(group.iter(), now);
        let mut previous: Option<(u16, u32)> = None;
        while let Some((packet, time)) = sub.burst.pop_front() {
            let ready = sub.prepare(&packet, time, Codec::H264, now).unwrap();
            if let Some((sequence, timestamp)) = previous {
                assert_eq!(ready.sequence, sequence.wrapping_add(1));
                assert!(ready.timestamp.wrapping_sub(timestamp) <= BURST_TICKS);
            }
            previous = Some((ready.sequence, ready.timestamp));
        }
        let live = sub.prepare(&packet(1050), 5000 + 25 * 3600, Codec::H264, now).unwrap();
        let (sequence, timestamp) = previous.unwrap();
        assert_eq!(live.sequence, sequence.wrapping_add(1));
        assert_eq!(live.timestamp.wrapping_sub(timestamp), 3600);
        let sent = sub.sent(live.sequence).unwrap();
        assert_eq!((sent.layer, sent.source, sent.timestamp), (0, 1050, live.timestamp));
    }
}
