//! One stream of RTP, in whatever order it comes, turned into pictures and sound.

use super::Item;
use bytes::Bytes;
use rongtong_media_core::mpeg::{self, AudioCodec, Demuxer, Timeline, VideoCodec};
use rongtong_media_core::rtp::order::{Order, Ordered};
use rongtong_media_core::rtp::packet::RtpView;
use rongtong_media_core::rtp::seq::Extender;
use rongtong_media_core::rtp::{h264, h265};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So long a missing packet is waited for over UDP.
const PATIENCE: Duration = Duration::from_millis(150);
/// A packet of another SSRC after so long a silence of the first is the stream's.
const TAKE_OVER: Duration = Duration::from_secs(1);
/// So many packets tell nothing, and bare NAL units are tried.
const UNDECIDED: u32 = 64;

#[derive(Debug, Clone)]
struct Packet {
    sequence: u64,
    timestamp: u32,
    marker: bool,
    payload_type: u8,
    payload: Bytes,
}

/// What the payloads are.
enum Format {
    Unknown {
        packets: u32,
    },
    Mpeg(Box<Demuxer>),
    H264(Box<h264::Depacketizer>),
    H265(Box<h265::Depacketizer>),
    /// G.711, one packet a piece.
    Audio(AudioCodec),
}

/// Everything that was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub packets: u64,
    pub bytes: u64,
    /// Never came, or too late.
    pub lost: u64,
    /// Of another sender than the one that was taken.
    pub foreign: u64,
    /// The sender changed.
    pub takeovers: u64,
    pub malformed: u64,
}

pub struct Unwrapper {
    /// As it was agreed, which is no more than a hint.
    agreed: Option<u32>,
    /// Encoding by payload type, as the device describes it.
    described: Vec<(u8, String)>,
    ssrc: Option<u32>,
    heard: Option<Instant>,
    extender: Extender,
    order: Order<Packet>,
    /// When numbers were first passed by, highest last: what is missing before them is waited for since then.
    passed: VecDeque<(u64, Instant)>,
    /// The number that is due.
    due: Option<u64>,
    format: Format,
    video_time: Timeline,
    audio_time: Timeline,
    counts: Counts,
    ordered: Vec<Ordered<Packet>>,
    items: Vec<mpeg::Item>,
}

impl Unwrapper {
    /// `agreed`: the SSRC of the call; `described`: encoding names by payload type.
    pub fn new(agreed: Option<u32>, described: Vec<(u8, String)>) -> Self {
        Self {
            agreed,
            described,
            ssrc: None,
            heard: None,
            extender: Extender::default(),
            order: Order::default(),
            passed: VecDeque::new(),
            due: None,
            format: Format::Unknown { packets: 0 },
            video_time: Timeline::default(),
            audio_time: Timeline::default(),
            counts: Counts::default(),
            ordered: Vec::new(),
            items: Vec::new(),
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How often its pictures went on from elsewhere.
    pub fn jumps(&self) -> u32 {
        self.video_time.jumps()
    }

    /// What the answer says, once it is there.
    pub fn describe(&mut self, agreed: Option<u32>, described: Vec<(u8, String)>) {
        (self.agreed, self.described) = (agreed.or(self.agreed), described);
    }

    /// A datagram or frame. RTCP is passed over.
    pub fn packet(&mut self, now: Instant, packet: &Bytes, out: &mut Vec<Item>) {
        if packet.len() >= 2 && (200..=206).contains(&packet[1]) {
            return;
        }
        let Ok(view) = RtpView::parse(packet) else {
            self.counts.malformed += 1;
            return;
        };
        if !self.is_ours(now, view.header.ssrc) {
            self.counts.foreign += 1;
            return;
        }
        self.heard = Some(now);
        self.counts.packets += 1;
        self.counts.bytes += packet.len() as u64;
        let sequence = self.extender.extend(view.header.sequence).seq;
        let packet = Packet {
            sequence,
            timestamp: view.header.timestamp,
            marker: view.header.marker,
            payload_type: view.header.payload_type,
            payload: packet.slice_ref(view.payload),
        };
        let bytes = packet.payload.len();
        if self.due.is_some_and(|due| sequence > due) && self.passed.back().is_none_or(|(last, _)| *last < sequence) {
            self.passed.push_back((sequence, now));
        }
        let mut ordered = std::mem::take(&mut self.ordered);
        self.order.push(sequence, packet, bytes, &mut ordered);
        self.ordered = ordered;
        self.turn(now, out);
    }

    /// To be called when [`Self::next_deadline`] is there.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Item>) {
        self.turn(now, out);
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        if self.order.is_empty() { None } else { self.passed.front().map(|(_, at)| *at + PATIENCE) }
    }

    /// The stream is over: what is held comes out.
    pub fn finish(&mut self, now: Instant, out: &mut Vec<Item>) {
        let mut ordered = std::mem::take(&mut self.ordered);
        self.order.finish(&mut ordered);
        self.ordered = ordered;
        self.turn(now, out);
        if let Format::Mpeg(demuxer) = &mut self.format {
            demuxer.finish(&mut self.items);
        }
        self.hand_out(now, 0, out);
    }

    fn is_ours(&mut self, now: Instant, ssrc: u32) -> bool {
        let Some(known) = self.ssrc else {
            self.ssrc = Some(ssrc);
            return true;
        };
        if known == ssrc {
            return true;
        }
        let silent = self.heard.is_none_or(|heard| now.saturating_duration_since(heard) >= TAKE_OVER);
        if !(silent || self.agreed == Some(ssrc)) {
            return false;
        }
        self.counts.takeovers += 1;
        self.ssrc = Some(ssrc);
        self.extender = Extender::default();
        (self.order, self.due) = (Order::default(), None);
        self.passed.clear();
        self.lost();
        true
    }

    fn turn(&mut self, now: Instant, out: &mut Vec<Item>) {
        if self.next_deadline().is_some_and(|at| at <= now) {
            let passed = &self.passed;
            let waited_for = |missing: u64| {
                let noticed = passed.iter().find(|(sequence, _)| *sequence > missing).map(|(_, at)| *at);
                noticed.is_none_or(|at| now.saturating_duration_since(at) < PATIENCE)
            };
            self.order.release(waited_for, &mut self.ordered);
        }
        for packet in std::mem::take(&mut self.ordered) {
            if let Ordered::Packet(packet) = packet {
                self.in_order(now, &packet, out);
            }
        }
    }

    fn in_order(&mut self, now: Instant, packet: &Packet, out: &mut Vec<Item>) {
        if let Some(due) = self.due.filter(|due| *due < packet.sequence) {
            self.counts.lost += packet.sequence - due;
            self.lost();
        }
        self.due = Some(packet.sequence + 1);
        while self.passed.front().is_some_and(|(sequence, _)| *sequence <= packet.sequence) {
            self.passed.pop_front();
        }
        if let Format::Unknown { packets } = &mut self.format {
            *packets += 1;
            let packets = *packets;
            if let Some(format) = self.decide(packet, packets) {
                self.format = format;
            }
        }
        match &mut self.format {
            Format::Unknown { .. } => {}
            Format::Mpeg(demuxer) => demuxer.push(&packet.payload, packet.marker, &mut self.items),
            Format::H264(depacketizer) => {
                for unit in depacketizer.push(packet.sequence, packet.timestamp, packet.marker, &packet.payload) {
                    self.items.push(mpeg::Item::Video { codec: VideoCodec::H264, pts: None, unit });
                }
            }
            Format::H265(depacketizer) => {
                for unit in depacketizer.push(packet.sequence, packet.timestamp, packet.marker, &packet.payload) {
                    self.items.push(mpeg::Item::Video { codec: VideoCodec::H265, pts: None, unit });
                }
            }
            Format::Audio(codec) => {
                let data = packet.payload.clone();
                self.items.push(mpeg::Item::Audio { codec: *codec, aac: None, pts: None, data });
            }
        }
        self.hand_out(now, packet.timestamp, out);
    }

    fn hand_out(&mut self, now: Instant, timestamp: u32, out: &mut Vec<Item>) {
        for item in self.items.drain(..) {
            out.push(match item {
                mpeg::Item::Video { codec, pts, mut unit } => {
                    let rtp = if matches!(self.format, Format::Mpeg(_)) { timestamp } else { unit.timestamp };
                    unit.timestamp = self.video_time.next(pts, rtp, now);
                    Item::Picture { codec, unit }
                }
                mpeg::Item::Audio { codec, aac, pts, data } => {
                    // The RTP clock of bare G.711 is 8 kHz.
                    let bare = matches!(self.format, Format::Audio(_));
                    let rtp = if bare { (u64::from(timestamp) * 45 / 4) as u32 } else { timestamp };
                    Item::Sound { codec, aac, time: self.audio_time.next(pts, rtp, now), data }
                }
                mpeg::Item::Refused(what) => Item::Refused(what),
            });
        }
    }

    fn lost(&mut self) {
        match &mut self.format {
            Format::Mpeg(demuxer) => demuxer.lost(),
            // They see it by the numbers.
            Format::Unknown { .. } | Format::H264(_) | Format::H265(_) | Format::Audio(_) => {}
        }
    }

    /// What the stream is, by its bytes before what was said of it.
    fn decide(&self, packet: &Packet, packets: u32) -> Option<Format> {
        let payload = &packet.payload;
        let is_program = payload.windows(4).any(|code| code[..3] == [0, 0, 1] && matches!(code[3], 0xBA | 0xE0 | 0xC0));
        let is_transport = payload.len() >= 188 && payload.chunks_exact(188).all(|part| part[0] == 0x47);
        if is_program || is_transport {
            return Some(Format::Mpeg(Box::default()));
        }
        let named =
            self.described.iter().find(|(known, _)| *known == packet.payload_type).map(|(_, name)| name.as_str());
        let max = rongtong_media_core::mpeg::MAX_UNIT;
        match (named.map(str::to_ascii_uppercase).as_deref(), packet.payload_type) {
            (Some("H264"), _) => Some(Format::H264(Box::new(h264::Depacketizer::new(max)))),
            (Some("H265" | "HEVC"), _) => Some(Format::H265(Box::new(h265::Depacketizer::new(max)))),
            (_, 8) => Some(Format::Audio(AudioCodec::Pcma)),
            (_, 0) => Some(Format::Audio(AudioCodec::Pcmu)),
            // Named a program stream, and is none.
            _ if packets >= UNDECIDED => match (h264::starts_keyframe(payload), h265::starts_keyframe(payload)) {
                (true, false) => Some(Format::H264(Box::new(h264::Depacketizer::new(max)))),
                (false, true) => Some(Format::H265(Box::new(h265::Depacketizer::new(max)))),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
