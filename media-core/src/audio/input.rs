//! One track as an even flow of samples: put in order by the tap, evened out here, decoded, and concealed where
//! something is missing.

use super::g711::Law;
use super::{FRAME, Frame, RATE};
use crate::media::{Codec, CodecParams, MediaPacket};
use crate::rtp::opus as opus_packet;
use crate::tap::TapItem;
use std::collections::VecDeque;

/// What is kept waiting so that a late packet is not missed, in samples: at first, at least, and at most.
const TARGET: usize = 60 * RATE as usize / 1000;
const MAX_TARGET: usize = 200 * RATE as usize / 1000;
/// So many frames in a row are made up; then it is silence.
const MAX_CONCEALED: u32 = 5;
/// A hole of more than this is a pause, not a loss; in samples.
const PAUSE: u64 = 60 * RATE as u64 / 1000;
/// Packets that wait. The oldest go.
const MAX_QUEUE: usize = 128;
/// Frames over which is looked at how much waits.
const LOOK: u32 = 50;
/// The same where far too much does.
const HURRY: u32 = 8;
/// Frames without a miss after which less is kept waiting.
const CALM: u32 = 500;
/// Samples that two pieces are faded over where a frame was left out.
const FADE: usize = 40;

enum Decoder {
    Opus(Box<opus::Decoder>),
    Law(Law),
    /// What can't be heard here.
    None,
}

impl Decoder {
    fn of(params: &CodecParams) -> Self {
        match params.codec {
            Codec::Pcma => Self::Law(Law::A),
            Codec::Pcmu => Self::Law(Law::Mu),
            Codec::Opus => match opus::Decoder::new(RATE, opus::Channels::Mono) {
                Ok(decoder) => Self::Opus(Box::new(decoder)),
                Err(error) => {
                    tracing::warn!(%error, "a decoder of Opus could not be made");
                    Self::None
                }
            },
            _ => Self::None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until enough waits.
    Filling,
    Playing,
}

/// A track as it is heard: takes what a tap gives, whenever it comes, and gives a frame every 20 ms.
pub struct Input {
    decoder: Decoder,
    /// Ticks of the codec's clock for each sample.
    ticks: u64,
    queue: VecDeque<MediaPacket>,
    ready: VecDeque<i16>,
    /// The time of the next packet, if nothing is missing.
    expected: Option<u64>,
    state: State,
    /// Frames since the first packet came that waits.
    waited: u32,
    target: usize,
    concealed: u32,
    /// Frames since something was missed.
    calm: u32,
    /// Since it was last looked, and the least that waited then.
    looked: (u32, usize),
    muted: bool,
}

impl Input {
    pub fn new(params: &CodecParams) -> Self {
        let mut input = Self {
            decoder: Decoder::None,
            ticks: 1,
            queue: VecDeque::new(),
            ready: VecDeque::new(),
            expected: None,
            state: State::Filling,
            waited: 0,
            target: TARGET,
            concealed: 0,
            calm: 0,
            looked: (0, usize::MAX),
            muted: false,
        };
        input.set_format(params);
        input
    }

    /// Whether it is of a codec that can be heard here.
    pub fn is_heard(&self) -> bool {
        !matches!(self.decoder, Decoder::None)
    }

    fn set_format(&mut self, params: &CodecParams) {
        self.decoder = Decoder::of(params);
        self.ticks = u64::from(params.clock_rate / RATE).max(1);
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.queue.clear();
        self.expected = None;
        self.fill();
    }

    fn fill(&mut self) {
        (self.state, self.waited, self.concealed) = (State::Filling, 0, 0);
    }

    pub fn push(&mut self, item: TapItem) {
        match item {
            TapItem::Packet(packet) => {
                if self.muted || matches!(self.decoder, Decoder::None) {
                    return;
                }
                if self.queue.len() >= MAX_QUEUE {
                    self.queue.pop_front();
                }
                self.queue.push_back(packet);
            }
            TapItem::Format(params) => self.set_format(&params),
            TapItem::Muted(muted) => {
                self.muted = muted;
                self.begin_anew();
            }
            TapItem::Discontinuity(_) => self.begin_anew(),
            // Times tell what is missing.
            TapItem::Gap { .. } | TapItem::Layer(_) => {}
        }
    }

    /// Samples of a packet; none of one that can't be read.
    fn samples_of(&self, packet: &MediaPacket) -> usize {
        match self.decoder {
            Decoder::Opus(_) => opus_packet::ticks(&packet.payload).map_or(0, |ticks| ticks as usize / 6),
            Decoder::Law(_) => packet.payload.len(),
            Decoder::None => 0,
        }
    }

    /// Samples that wait.
    fn waiting(&self) -> usize {
        self.ready.len() + self.queue.iter().map(|packet| self.samples_of(packet)).sum::<usize>()
    }

    /// The next 20 ms; false where they are silence.
    pub fn frame(&mut self, out: &mut Frame) -> bool {
        if self.state == State::Filling {
            self.waited += u32::from(!self.queue.is_empty());
            // One who sends less often than that is heard, too.
            let long = self.waited as usize * FRAME >= MAX_TARGET;
            if self.queue.is_empty() || (self.waiting() < self.target && !long) {
                return self.last_words(out);
            }
            self.state = State::Playing;
        }
        self.even_out();
        while self.ready.len() < FRAME {
            if !self.decode_next() {
                return self.last_words(out);
            }
        }
        for (sample, ready) in out.iter_mut().zip(self.ready.drain(..FRAME)) {
            *sample = ready;
        }
        true
    }

    /// What is left, and silence.
    fn last_words(&mut self, out: &mut Frame) -> bool {
        out.fill(0);
        let left = !self.ready.is_empty();
        let count = self.ready.len().min(FRAME);
        out.iter_mut().zip(self.ready.drain(..count)).for_each(|(sample, ready)| *sample = ready);
        left
    }

    /// Decodes what comes next, or makes it up. False when there is nothing to be heard for now.
    fn decode_next(&mut self) -> bool {
        let Some(front) = self.queue.front() else { return self.make_up() };
        let (time, samples) = (front.time, self.samples_of(front));
        if samples == 0 {
            self.queue.pop_front();
            return true;
        }
        let missing = match self.expected {
            // What is older than what was heard is of no use; a clock that went back is another story.
            Some(expected) if time < expected => {
                let back = (expected - time) / self.ticks;
                if back < u64::from(RATE) {
                    self.queue.pop_front();
                    return true;
                }
                0
            }
            Some(expected) => (time - expected) / self.ticks,
            None => 0,
        };
        if missing > PAUSE {
            self.expected = Some(time);
            self.fill();
            return false;
        }
        let Some(packet) = self.queue.pop_front() else { return false };
        if missing > 0 {
            self.conceal(missing as usize, Some((&packet.payload, samples)));
        }
        self.decode(&packet.payload, samples);
        self.expected = Some(time.saturating_add(samples as u64 * self.ticks));
        self.concealed = 0;
        true
    }

    fn decode(&mut self, payload: &[u8], samples: usize) {
        match &mut self.decoder {
            Decoder::Law(law) => self.ready.extend(payload.iter().map(|code| law.decode(*code))),
            Decoder::Opus(decoder) => {
                let mut pcm = vec![0; samples];
                let decoded = decoder.decode(payload, &mut pcm, false).unwrap_or(0);
                pcm[decoded.min(samples)..].fill(0);
                self.ready.extend(pcm);
            }
            Decoder::None => {}
        }
    }

    /// Makes up what is missing before a packet, of which Opus may know its end (RFC 6716 2.1.7).
    fn conceal(&mut self, missing: usize, before: Option<(&[u8], usize)>) {
        let Decoder::Opus(decoder) = &mut self.decoder else {
            self.ready.extend(std::iter::repeat_n(0, missing));
            return;
        };
        // It conceals in steps of 2.5 ms.
        let step = RATE as usize / 400;
        let known = before.map_or(0, |(_, samples)| samples.min(missing) / step * step);
        let mut left = missing;
        while left > known {
            let count = (left - known).min(FRAME).next_multiple_of(step);
            let mut pcm = vec![0; count];
            if decoder.decode(&[], &mut pcm, false).is_err() {
                pcm.fill(0);
            }
            self.ready.extend(pcm);
            left = left.saturating_sub(count);
        }
        if let Some((payload, _)) = before.filter(|_| known > 0) {
            let mut pcm = vec![0; known];
            if decoder.decode(payload, &mut pcm, true).is_err() {
                pcm.fill(0);
            }
            self.ready.extend(pcm);
        }
    }

    /// The next packet is not there yet. What is made up comes in between, so that it is not too late for good.
    fn make_up(&mut self) -> bool {
        if self.calm > 0 {
            self.target = (self.target + FRAME).min(MAX_TARGET);
            self.calm = 0;
        }
        if self.concealed >= MAX_CONCEALED || self.expected.is_none() {
            self.fill();
            return false;
        }
        self.concealed += 1;
        self.conceal(FRAME, None);
        true
    }

    /// Leaves a frame out where more waits than has to, all the time.
    fn even_out(&mut self) {
        self.calm = self.calm.saturating_add(1);
        if self.calm.is_multiple_of(CALM) {
            self.target = (self.target - FRAME / 2).max(TARGET);
        }
        let waiting = self.waiting();
        let (frames, least) = &mut self.looked;
        (*frames, *least) = (*frames + 1, (*least).min(waiting));
        if *frames < LOOK {
            return;
        }
        let surplus = least.saturating_sub(self.target + FRAME);
        // Far behind, it is looked again soon.
        self.looked = (if surplus > 3 * FRAME { LOOK - HURRY } else { 0 }, usize::MAX);
        if surplus >= FRAME && (self.ready.len() >= 2 * FRAME || self.decode_next() && self.decode_next()) {
            self.leave_out();
        }
    }

    fn leave_out(&mut self) {
        if self.ready.len() < FRAME + FADE {
            return;
        }
        for at in 0..FADE {
            let (from, to) = (i32::from(self.ready[at]), i32::from(self.ready[at + FRAME]));
            let weight = at as i32;
            self.ready[at + FRAME] = ((from * (FADE as i32 - weight) + to * weight) / FADE as i32) as i16;
        }
        self.ready.drain(..FRAME);
    }
}
