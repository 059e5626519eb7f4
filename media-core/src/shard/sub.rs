//! One subscription: which layer it is on, how source numbers become its own,
//! and what it has sent, so that a lost packet can be sent again.

use super::table::TransportAt;
use super::track::ClockPoint;
use super::{SubKey, TrackKey};
use crate::media::{Codec, Kind, MediaPacket};
use crate::rtp::munger::{Mapped, Munger};
use crate::rtp::seq::{Extender, Extender32};
use crate::rtp::vp8::{Vp8Moves, Vp8Munger};
use crate::session::srtp::Rollover;
use crate::tap::{Discontinuity, TapWriter};
use bytes::Bytes;
use rand::Rng;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets sent in a millisecond; what is more waits its turn: 230 Mbit/s to a receiver that loses
/// nothing, 40 and 10 to one that does.
const BURST_STEP: [(f32, usize); 3] = [(0.02, 24), (0.1, 4), (f32::INFINITY, 1)];
/// A request that comes sooner after a group was begun was made before it arrived: browsers ask for a
/// picture when a new stream has been silent for a fifth of a second.
const REPLAY_GRACE: Duration = Duration::from_millis(500);
/// A cached group is sent again on request after this long, and each time after twice as long,
/// until nobody has asked for [`REPLAY_CALM`].
const REPLAY_FIRST: Duration = Duration::from_secs(2);
const REPLAY_LAST: Duration = Duration::from_secs(16);
const REPLAY_CALM: Duration = Duration::from_secs(30);
/// A longer group is not sent again on request: the next keyframe is cheaper.
pub(super) const REPLAY_BYTES: usize = 1 << 20;
/// Packets that may wait beside a cached group. Whoever is further behind begins anew.
const MAX_WAITING: usize = 2048;
/// Switches that are remembered, so that what was sent before them can be sent again.
const EPOCHS: usize = 8;
/// Packets sent again of which the moment is remembered.
const RESENT: usize = 256;
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
    Tap(Box<TapSink>),
    Transport(Outgoing),
}

/// A reader in this process.
pub(super) struct TapSink {
    pub writer: TapWriter,
    sequence: Extender,
    time: Extender32,
    /// Numbers that were not used up while it was behind.
    shift: u64,
    /// Packets that it missed since it has been behind.
    missed: u64,
    /// The source's number of the newest packet that it got.
    newest: Option<u64>,
}

impl TapSink {
    pub fn new(writer: TapWriter) -> Self {
        Self { writer, sequence: Extender::default(), time: Extender32::default(), shift: 0, missed: 0, newest: None }
    }
}

pub(super) struct Outgoing {
    pub transport: TransportAt,
    pub mid: String,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub pt: u8,
    pub rtx_pt: Option<u8>,
    pub red_pt: Option<u8>,
    pub rtx_sequence: u16,
    /// Wraps of the media's and the retransmissions' numbers, which SRTP counts.
    pub rollover: Rollover,
    pub rtx_rollover: Rollover,
    pub packets: u32,
    pub octets: u32,
    pub last_report: Option<Instant>,
    /// Loss the receiver last reported, 0.0 … 1.0.
    pub loss: f32,
}

/// How a packet was sent that is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub layer: usize,
    /// Its extended number at the source.
    pub source: u64,
    pub time: SentTime,
    pub vp8: Vp8Moves,
}

/// The time that a packet was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentTime {
    /// The source's, moved by this.
    Moved(u32),
    /// Its own, in a burst.
    Squeezed(u32),
}

impl SentTime {
    pub fn of(self, packet: &MediaPacket) -> u32 {
        match self {
            Self::Moved(offset) => (packet.time as u32).wrapping_add(offset),
            Self::Squeezed(time) => time,
        }
    }
}

/// A switch of the source: of what layer packets are from then on, and how VP8's numbers are moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    number: u32,
    layer: u8,
    vp8: Vp8Moves,
}

pub(super) struct Sub {
    pub key: SubKey,
    /// By which of the track's keys it was made: in which room it is.
    pub place: TrackKey,
    /// The track is muted there.
    pub muted: bool,
    /// Numbers of each layer before which nothing of a cached group is for it.
    pub not_before: SmallVec<[Option<u64>; 3]>,
    pub sink: Sink,
    /// Highest layer index it has use for.
    pub wish: usize,
    pub paused: bool,
    pub current: Option<usize>,
    clock_rate: u32,
    pub munger: Munger,
    pub vp8: Vp8Munger,
    /// Packets that wait their turn, of the cached group with their squeezed times.
    pub burst: VecDeque<(MediaPacket, u32)>,
    /// How many of them may wait.
    burst_room: usize,
    /// The millisecond in which packets were last sent, and how many were in it.
    sent_in: (u64, usize),
    /// When the cached group may be sent once more on request, and after how long again.
    replay_at: Option<Instant>,
    replay_pause: Duration,
    /// Until then the group that was begun last is on its way.
    begun_until: Instant,
    /// The newest packet of the group that was last sent once more.
    replayed: Option<u64>,
    created: Instant,
    /// Nothing is sent before: the peer has to have applied our answer first.
    pub ready_at: Instant,
    pub epochs: SmallVec<[Epoch; EPOCHS]>,
    /// Frames of the last burst: their first numbers and their times; and the number behind the last one.
    squeezed: Vec<(u16, u32)>,
    squeezed_end: u16,
    /// What was sent again, and when.
    resent: VecDeque<(u16, Instant)>,
    /// Packets before this outgoing number were written otherwise than now.
    written_alike_from: u64,
    /// Bytes that may be sent again now; below zero after a packet that was larger than what was left.
    resend_budget: i64,
    resend_counted: Instant,
}

impl Sub {
    pub fn new(key: SubKey, place: TrackKey, sink: Sink, clock_rate: u32, random: &mut impl Rng, now: Instant) -> Self {
        // The first number stays low: receivers must agree on the roll-over count without a hint (RFC 3711 3.3.1).
        let first = random.random_range(1..0x7000);
        Self {
            key,
            place,
            muted: false,
            not_before: SmallVec::new(),
            epochs: SmallVec::new(),
            squeezed: Vec::new(),
            squeezed_end: 0,
            resent: VecDeque::new(),
            written_alike_from: 0,
            burst_room: MAX_WAITING,
            sent_in: (0, 0),
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
            begun_until: now,
            created: now,
            ready_at: now,
        }
    }

    /// Whether a first keyframe of `layer` should be let pass: a recording that is to begin waits a
    /// moment for the best layer, which its publisher may have switched off while nobody looked.
    pub fn waits_for_better(&self, layer: usize, layers: usize, now: Instant) -> bool {
        self.is_tap()
            && self.current.is_none()
            && layer < self.wish.min(layers - 1)
            && now.saturating_duration_since(self.created) < TAP_PATIENCE
    }

    /// Whether the cached group may be sent once more; if so, it counts as sent. Of a source that has stopped
    /// this is once: viewers ask because nothing comes, and would see the same second again and again.
    pub fn may_replay(&mut self, newest: u64, now: Instant) -> bool {
        if self.replayed == Some(newest) || now < self.begun_until {
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

    /// Whether one more packet may leave in this millisecond; if so, it counts as sent.
    pub fn may_send(&mut self, millisecond: u64) -> bool {
        if self.sent_in.0 != millisecond {
            self.sent_in = (millisecond, 0);
        }
        let loss = self.transport().map_or(0.0, |outgoing| outgoing.loss);
        let step = BURST_STEP.iter().find(|(most, _)| loss < *most).map_or(1, |(_, step)| *step);
        let may = self.sent_in.1 < step;
        self.sent_in.1 += usize::from(may);
        may
    }

    /// A packet waits its turn; says whether that is the first one. One that is too far behind begins anew.
    pub fn wait(&mut self, packet: &MediaPacket, timestamp: u32) -> bool {
        if self.burst.len() >= self.burst_room {
            self.burst.clear();
            self.current = None;
            return false;
        }
        self.burst.push_back((packet.clone(), timestamp));
        self.burst.len() == 1
    }

    pub fn is_tap(&self) -> bool {
        matches!(self.sink, Sink::Tap(_))
    }

    pub fn transport(&self) -> Option<&Outgoing> {
        match &self.sink {
            Sink::Transport(outgoing) => Some(outgoing),
            Sink::Tap(_) | Sink::Unplaced => None,
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
            if old.rtx_ssrc != rtx_ssrc {
                old.rtx_rollover = Rollover::default();
            }
            self.written_alike_from = self.munger.next_out();
            (old.mid, old.rtx_ssrc, old.pt, old.rtx_pt, old.red_pt) = (mid, rtx_ssrc, pt, rtx_pt, red_pt);
            return false;
        }
        self.displace();
        self.written_alike_from = self.munger.next_out();
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
    pub fn begin_burst<'a>(
        &mut self,
        layer: usize,
        group: impl Iterator<Item = &'a (MediaPacket, u32)> + Clone,
        now: Instant,
    ) {
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
        self.burst_room = self.burst.len() + MAX_WAITING;
        self.begun_until = now + REPLAY_GRACE;
        self.current = Some(layer);
        if let Sink::Tap(tap) = &mut self.sink {
            tap.writer.set_layer(layer);
        }
        self.munger.switch_source(first.sequence, first_out, now, 1);
        self.vp8.switch_source();
        self.squeezed.clear();
        self.note_epoch(layer);
    }

    fn note_epoch(&mut self, layer: usize) {
        if self.epochs.len() == EPOCHS {
            self.epochs.remove(0);
        }
        // VP8's moves are known with the first packet.
        self.epochs.push(Epoch { number: self.munger.epoch(), layer: layer as u8, vp8: Vp8Moves::default() });
    }

    /// Moves to a layer at `packet`, which a decoder can start at. `clocks` are those of the layer it
    /// leaves and of the one it goes to: with both the capture times of the two meet exactly. What still waits
    /// is of the layer, or of the source, that it leaves, and goes no more.
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
        self.burst.clear();
        let known = clocks.map(|(old, new)| {
            let passed = new.room_ns_at(timestamp, self.clock_rate) - old.room_ns;
            let ticks = (i128::from(passed) * i128::from(self.clock_rate) + 500_000_000).div_euclid(1_000_000_000);
            self.map_time(old.rtp).wrapping_add(ticks as u32)
        });
        self.munger.switch_source_at(packet.sequence, timestamp, known, now, frame_ticks);
        self.vp8.switch_source();
        self.note_epoch(layer);
        if let Sink::Tap(tap) = &mut self.sink {
            tap.writer.set_layer(layer);
        }
    }

    /// Numbers a packet for this subscriber; `None` when it must not be sent.
    pub fn number(&mut self, packet: &MediaPacket, timestamp: u32, now: Instant) -> Option<Mapped> {
        let mapped = self.munger.map(packet.sequence, timestamp, now)?;
        if timestamp != packet.time as u32 {
            if self.squeezed.last().is_none_or(|(_, time)| *time != mapped.timestamp) {
                self.squeezed.push((mapped.sequence, mapped.timestamp));
            }
            self.squeezed_end = mapped.sequence.wrapping_add(1);
        }
        Some(mapped)
    }

    /// A packet that was sent under this number. `alike`: it must have been written as it would be now.
    pub fn sent(&self, sequence: u16, alike: bool) -> Option<Sent> {
        let origin = self.munger.origin(sequence)?;
        if alike && origin.out < self.written_alike_from {
            return None;
        }
        let epoch = self.epochs.iter().rev().find(|epoch| epoch.number == origin.epoch)?;
        let squeezed = self
            .squeezed
            .first()
            .filter(|(first, _)| sequence.wrapping_sub(*first) < self.squeezed_end.wrapping_sub(*first));
        let time = match squeezed {
            Some((first, _)) => {
                let offset = sequence.wrapping_sub(*first);
                let after = self.squeezed.partition_point(|(at, _)| at.wrapping_sub(*first) <= offset);
                SentTime::Squeezed(self.squeezed.get(after.checked_sub(1)?)?.1)
            }
            None => SentTime::Moved(origin.timestamp_offset),
        };
        Some(Sent { layer: usize::from(epoch.layer), source: origin.seq, time, vp8: epoch.vp8 })
    }

    /// Whether a packet may be sent again: once a round trip, and within the budget.
    pub fn may_resend(&mut self, sequence: u16, rtt: Duration, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.resend_counted);
        let earned = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX).saturating_mul(RESEND_A_SECOND) / 1_000_000;
        if earned > 0 {
            self.resend_budget = self.resend_budget.saturating_add(earned).min(RESEND_BURST);
            self.resend_counted = now;
        }
        let pause = rtt.clamp(RESEND_PAUSE, Duration::from_secs(1));
        let last = self.resent.iter().rev().find(|(number, _)| *number == sequence);
        let soon = last.is_some_and(|(_, at)| now.saturating_duration_since(*at) < pause);
        if soon || self.resend_budget <= 0 {
            return false;
        }
        if self.resent.len() == RESENT {
            self.resent.pop_front();
        }
        self.resent.push_back((sequence, now));
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

    /// Hands a packet to a tap. One that has no room loses it, and of pictures everything to the next keyframe.
    pub fn deliver_tap(&mut self, mapped: Mapped, packet: &MediaPacket, codec: Codec) {
        let payload = self.payload_for_tap(packet, codec);
        let Sink::Tap(tap) = &mut self.sink else { return };
        tap.shift += std::mem::take(&mut tap.missed);
        let item = MediaPacket {
            sequence: tap.sequence.extend(mapped.sequence).seq + tap.shift,
            time: tap.time.extend(mapped.timestamp),
            payload,
            red: None,
            ..packet.clone()
        };
        if tap.writer.packet(item) {
            tap.newest = tap.newest.max(Some(packet.sequence));
        } else if codec.kind() == Kind::Video {
            tap.missed += self.burst.len() as u64;
            self.burst.clear();
            self.current = None;
        }
    }

    /// Whether it has fallen behind and has no room yet to begin anew.
    pub fn is_stuck(&self) -> bool {
        matches!(&self.sink, Sink::Tap(tap) if self.current.is_none() && !tap.writer.may_begin())
    }

    /// A packet of its layer passes it by.
    pub fn miss(&mut self) {
        if let Sink::Tap(tap) = &mut self.sink
            && tap.writer.is_behind()
        {
            tap.missed += 1;
        }
    }

    /// It may have again what it got before.
    pub fn forget_newest(&mut self) {
        if let Sink::Tap(tap) = &mut self.sink {
            tap.newest = None;
        }
    }

    /// Whether a layer's cached group that begins with `first` holds nothing that it got before, or was not to see.
    pub fn is_new(&self, layer: usize, first: &MediaPacket) -> bool {
        if self.not_before.get(layer).copied().flatten().is_some_and(|bound| first.sequence < bound) {
            return false;
        }
        match &self.sink {
            Sink::Tap(tap) => tap.newest.is_none_or(|newest| first.sequence > newest),
            _ => true,
        }
    }

    /// Times are counted otherwise from here on.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        self.clock_rate = clock_rate;
        self.munger.set_clock_rate(clock_rate);
    }

    fn payload_for_tap(&mut self, packet: &MediaPacket, codec: Codec) -> Bytes {
        if codec != Codec::Vp8 {
            return packet.payload.clone();
        }
        let mut copy = packet.payload.to_vec();
        rewrite_vp8(&mut self.vp8, &mut self.epochs, &mut copy);
        copy.into()
    }

    /// What comes from here on does not continue what came before; a reader in this process is told.
    pub fn breaks(&mut self, why: Discontinuity) {
        if let Sink::Tap(tap) = &mut self.sink {
            tap.writer.breaks(why);
        }
    }
}

/// VP8's descriptor numbers pictures; they must run on over a switch. Changes an outgoing payload.
pub(super) fn rewrite_vp8(vp8: &mut Vp8Munger, epochs: &mut [Epoch], payload: &mut [u8]) {
    if vp8.rewrite(payload).is_ok()
        && let Some(epoch) = epochs.last_mut()
    {
        epoch.vp8 = vp8.moves();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::TransportKey;

    fn packet(sequence: u64) -> MediaPacket {
        MediaPacket {
            sequence,
            time: 0,
            marker: false,
            payload: Bytes::from_static(&[1]),
            arrival: Instant::now(),
            room_ns: 0,
            level: None,
            red: None,
        }
    }

    #[test]
    fn a_burst_is_squeezed_and_the_live_stream_follows_it() {
        let now = Instant::now();
        let outgoing = Outgoing {
            transport: TransportAt { key: TransportKey::next(), slot: 0 },
            mid: String::new(),
            ssrc: 1,
            rtx_ssrc: 2,
            pt: 96,
            rtx_pt: None,
            red_pt: None,
            rtx_sequence: 0,
            rollover: Rollover::default(),
            rtx_rollover: Rollover::default(),
            packets: 0,
            octets: 0,
            last_report: None,
            loss: 0.0,
        };
        let mut sub = Sub::new(SubKey::next(), TrackKey::next(), Sink::Unplaced, 90_000, &mut rand::rng(), now);
        assert!(sub.place(outgoing, now));
        let group: Vec<(MediaPacket, u32)> =
            (0..50u32).map(|i| (packet(1000 + u64::from(i)), 5000 + i / 2 * 3600)).collect();
        sub.begin_burst(0, group.iter(), now);
        let mut previous: Option<(u16, u32)> = None;
        while let Some((packet, time)) = sub.burst.pop_front() {
            let ready = sub.number(&packet, time, now).unwrap();
            if let Some((sequence, timestamp)) = previous {
                assert_eq!(ready.sequence, sequence.wrapping_add(1));
                assert!(ready.timestamp.wrapping_sub(timestamp) <= BURST_TICKS);
            }
            previous = Some((ready.sequence, ready.timestamp));
        }
        let newest = MediaPacket { time: 5000 + 25 * 3600, ..packet(1050) };
        let live = sub.number(&newest, 5000 + 25 * 3600, now).unwrap();
        let (sequence, timestamp) = previous.unwrap();
        assert_eq!(live.sequence, sequence.wrapping_add(1));
        assert_eq!(live.timestamp.wrapping_sub(timestamp), 3600);
        let sent = sub.sent(live.sequence, false).unwrap();
        assert_eq!((sent.layer, sent.source, sent.time.of(&newest)), (0, 1050, live.timestamp));
        let last = sub.sent(sequence, false).unwrap();
        assert_eq!((last.source, last.time), (1049, SentTime::Squeezed(timestamp)));
        // Two packets a frame.
        let second = sub.sent(sequence.wrapping_sub(47), false).unwrap();
        assert_eq!((second.source, second.time), (1002, SentTime::Squeezed(timestamp.wrapping_sub(23 * BURST_TICKS))));
    }
}
