//! One track's packets to fragments: a state machine without files, tasks or clocks of its own.
//!
//! Feed it what a tap gives ([`TrackRecorder::take`]), drain [`TrackRecorder::poll_output`]. A track becomes one or more
//! parts, each a file: a stream that changes its decoder configuration begins a new part, and
//! G.711 has an Opus copy as a part of its own.
//!
//! Invariant: a part's samples all decode with the part's one configuration, and a sample never
//! follows a picture that it needs and that was lost.

mod audio;
mod clock;
mod cut;
mod hevc;
mod opus_copy;
mod order;
mod part;
mod video;

pub use clock::RecordingClock;

use crate::fmp4::SampleEntry;
use audio::AudioTrack;
use rongtong_media_core::media::{Codec, CodecParams, Kind};
use rongtong_media_core::tap::TapItem;
use rongtong_media_core::tap::units::{UnitItem, Units, UnitsFault};
use std::collections::VecDeque;
use video::VideoTrack;

/// Files of one track, at most: a sender that changes its configuration again and again must not fill the disk
/// with headers.
const MAX_PARTS: u32 = 200;

/// Why a track cannot be recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackFault {
    #[error("this server does not record {0:?} yet")]
    Codec(Codec),
    #[error("the sender's description of its AAC is not one of RFC 3640")]
    AacFormat,
    #[error("the Opus encoder could not be made: {0}")]
    Encoder(String),
}

impl From<UnitsFault> for TrackFault {
    fn from(fault: UnitsFault) -> Self {
        match fault {
            UnitsFault::AacFormat => Self::AacFormat,
            UnitsFault::Codec(codec) => Self::Codec(codec),
        }
    }
}

/// What is to be done with files. `part` numbers this track's files from 0.
#[derive(Clone, Debug)]
pub enum Output {
    /// The part's file begins.
    Open {
        part: u32,
        opened: Opened,
    },
    Fragment {
        part: u32,
        fragment: Written,
    },
    /// From tick `start` on something is missing.
    Gap {
        part: u32,
        start: u64,
        packets: u64,
    },
    /// The part's tick 0 is better known now, ms on the recording's clock.
    Origin {
        part: u32,
        start_ms: i64,
    },
    Close {
        part: u32,
    },
}

#[derive(Clone, Debug)]
pub struct Opened {
    pub entry: SampleEntry,
    /// Ticks in a second.
    pub timescale: u32,
    /// Tick 0 on the recording's clock, ms.
    pub start_ms: i64,
    /// The part that this one is a copy of, for players that cannot play that.
    pub original: Option<u32>,
}

/// A fragment's bytes and what the index says of them.
#[derive(Clone, Debug)]
pub struct Written {
    pub bytes: Vec<u8>,
    /// Ticks.
    pub start: u64,
    pub duration: u64,
    pub wall_ms: i64,
    pub key: bool,
}

/// What both kinds of track need beside themselves.
struct Context {
    recording: RecordingClock,
    out: VecDeque<Output>,
}

pub struct TrackRecorder {
    context: Context,
    units: Units,
    media: Media,
    /// Room for what a packet makes.
    items: Vec<UnitItem>,
}

enum Media {
    Audio(Box<AudioTrack>),
    Video(Box<VideoTrack>),
}

impl TrackRecorder {
    pub fn new(codec: &CodecParams, recording: RecordingClock) -> Result<Self, TrackFault> {
        let media = match codec.codec.kind() {
            Kind::Audio => Media::Audio(Box::new(AudioTrack::new(codec)?)),
            Kind::Video => Media::Video(Box::new(VideoTrack::new(codec.clock_rate))),
        };
        let context = Context { recording, out: VecDeque::new() };
        Ok(Self { context, units: Units::new(codec)?, media, items: Vec::new() })
    }

    /// What a tap gives next.
    pub fn take(&mut self, item: TapItem) {
        let mut items = std::mem::take(&mut self.items);
        self.units.push(item, &mut items);
        for item in items.drain(..) {
            match &mut self.media {
                Media::Audio(audio) => audio.take(item, &mut self.context),
                Media::Video(video) => video.take(item, &mut self.context),
            }
        }
        self.items = items;
    }

    /// Nothing came for a while: what is complete goes to disk.
    pub fn idle(&mut self) {
        match &mut self.media {
            Media::Audio(audio) => audio.idle(&mut self.context),
            Media::Video(video) => video.idle(&mut self.context),
        }
    }

    /// The track ended; drain the outputs after this.
    pub fn finish(&mut self) {
        match &mut self.media {
            Media::Audio(audio) => audio.finish(&mut self.context),
            Media::Video(video) => video.finish(&mut self.context),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.context.out.pop_front()
    }

    /// Whether the sender should be asked for a keyframe; true once per need.
    pub fn take_keyframe_wish(&mut self) -> bool {
        let seeks = match &mut self.media {
            Media::Audio(_) => false,
            Media::Video(video) => std::mem::take(&mut video.wants_keyframe),
        };
        self.units.take_keyframe_wish() || seeks
    }
}

#[cfg(test)]
mod tests;
