//! Whole pictures and frames of sound out of a tap, for readers that have no use for packets: the
//! recorder, multiplexers, decoders.
//!
//! It runs where the reader runs, not on the shard: what it costs falls on nobody else, and so does
//! what hostile bytes do to it.
//!
//! Invariants: a unit is complete and can be decoded after those that came before it: after anything
//! is missing, pictures begin again with a keyframe; its format was told before it.

mod audio;
mod video;

#[cfg(test)]
mod tests;

use super::{Discontinuity, GapCause, TapItem};
use crate::media::{AudioLevel, Codec, CodecParams};
use crate::rtp::{h264, h265};
use audio::Sound;
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;
use video::Pictures;

/// What a reader of whole units gets.
#[derive(Clone, Debug)]
pub enum UnitItem {
    Discontinuity(Discontinuity),
    /// What the units from here on are; before the first unit, and whenever it changes.
    Format(Arc<StreamFormat>),
    /// Something is missing here: so many packets as far as known, and of pictures everything up to
    /// the next unit.
    Gap {
        packets: u64,
        cause: GapCause,
    },
    Muted(bool),
    Unit(Unit),
}

/// What a decoder must know before the first unit.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamFormat {
    /// `config`: AudioSpecificConfig (ISO/IEC 14496-3).
    Aac {
        rate: u32,
        channels: u8,
        config: Bytes,
    },
    /// G.711 of both laws, and G.722.
    G7xx {
        codec: Codec,
        rate: u32,
        channels: u8,
    },
    H264 {
        sets: h264::ParameterSets,
        sps: h264::SpsInfo,
    },
    H265 {
        vps: Bytes,
        sps: Bytes,
        pps: Bytes,
        info: h265::SpsInfo,
    },
    Opus {
        channels: u8,
    },
    Vp8 {
        width: u16,
        height: u16,
    },
}

impl StreamFormat {
    /// Pixels, of pictures.
    pub fn size(&self) -> Option<(u32, u32)> {
        match self {
            Self::H264 { sps, .. } => Some((sps.width, sps.height)),
            Self::H265 { info, .. } => Some((info.width.into(), info.height.into())),
            Self::Vp8 { width, height } => Some(((*width).into(), (*height).into())),
            Self::Aac { .. } | Self::G7xx { .. } | Self::Opus { .. } => None,
        }
    }

    /// Pictures that a decoder may have to hold back to put them into order.
    pub fn reorder(&self) -> usize {
        match self {
            Self::H264 { sps, .. } if sps.b_frames_possible() => sps.reorder_frames.unwrap_or(2) as usize,
            Self::H265 { info, .. } => info.reorder_frames as usize,
            _ => 0,
        }
    }

    /// Parameter sets in the order in which a stream has them.
    pub fn parameter_sets(&self) -> Vec<&Bytes> {
        match self {
            Self::H264 { sets, .. } => sets.iter().collect(),
            Self::H265 { vps, sps, pps, .. } => vec![vps, sps, pps],
            _ => Vec::new(),
        }
    }
}

/// A coded picture, or a frame of sound.
#[derive(Clone, Debug)]
pub struct Unit {
    pub format: Arc<StreamFormat>,
    /// RTP time, extended, in the tap's numbering.
    pub time: u64,
    /// Room time of its capture, ns.
    pub room_ns: i64,
    /// A decoder can start here; always so of sound.
    pub key: bool,
    pub data: UnitData,
    /// How long a frame of sound lasts, in RTP ticks; 0 of pictures.
    pub ticks: u32,
    /// Its packet's sound level.
    pub level: Option<AudioLevel>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitData {
    Frame(Bytes),
    /// NAL units of H.264 or H.265 without start codes; a keyframe's parameter sets are
    /// [`StreamFormat::parameter_sets`] and are not among them, nor are delimiters and filler.
    Nals(Vec<Bytes>),
}

impl Unit {
    /// As a byte stream (Annex B of H.264 and H.265), a keyframe behind its parameter sets; other codecs'
    /// data as it is.
    pub fn byte_stream(&self) -> Bytes {
        const START: &[u8] = &[0, 0, 0, 1];
        let nals = match &self.data {
            UnitData::Frame(frame) => return frame.clone(),
            UnitData::Nals(nals) => nals,
        };
        let sets = if self.key { self.format.parameter_sets() } else { Vec::new() };
        let all = || sets.iter().copied().chain(nals);
        let mut out = BytesMut::with_capacity(all().map(|nal| nal.len() + START.len()).sum());
        for nal in all() {
            out.extend_from_slice(START);
            out.extend_from_slice(nal);
        }
        out.freeze()
    }

    /// NAL units each behind its length in four bytes, as ISO/IEC 14496-15 has them; other codecs'
    /// data as it is.
    pub fn length_prefixed(&self) -> Bytes {
        let nals = match &self.data {
            UnitData::Frame(frame) => return frame.clone(),
            UnitData::Nals(nals) => nals,
        };
        let mut out = BytesMut::with_capacity(nals.iter().map(|nal| nal.len() + 4).sum());
        for nal in nals {
            out.put_u32(u32::try_from(nal.len()).unwrap_or(u32::MAX));
            out.extend_from_slice(nal);
        }
        out.freeze()
    }
}

/// Why there are no units of a track.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitsFault {
    #[error("units of {0:?} are not put together yet")]
    Codec(Codec),
    #[error("the sender's description of its AAC is not one of RFC 3640")]
    AacFormat,
}

enum Media {
    Pictures(Box<Pictures>),
    Sound(Box<Sound>),
}

/// Puts units together: a state machine without a clock.
pub struct Units {
    media: Media,
    /// The number that the next packet has if none is missing.
    expected: Option<u64>,
    cause: GapCause,
}

impl Units {
    /// # Errors
    /// For a codec that is not known here, or not described.
    pub fn new(codec: &CodecParams) -> Result<Self, UnitsFault> {
        let media = match codec.codec {
            Codec::H264 | Codec::H265 | Codec::Vp8 => Media::Pictures(Box::new(Pictures::new(codec))),
            Codec::Aac | Codec::G722 | Codec::Opus | Codec::Pcma | Codec::Pcmu => {
                Media::Sound(Box::new(Sound::new(codec)?))
            }
            other @ (Codec::Av1 | Codec::Vp9) => return Err(UnitsFault::Codec(other)),
        };
        Ok(Self { media, expected: None, cause: GapCause::Lost })
    }

    /// What the tap gives next; what that makes is appended to `out`.
    pub fn push(&mut self, item: TapItem, out: &mut Vec<UnitItem>) {
        match item {
            TapItem::Packet(packet) => {
                let lost = match self.expected {
                    Some(expected) if packet.sequence < expected => return,
                    Some(expected) => packet.sequence - expected,
                    None => 0,
                };
                self.expected = Some(packet.sequence + 1);
                match &mut self.media {
                    Media::Pictures(pictures) => pictures.packet(&packet, lost, self.cause, out),
                    Media::Sound(sound) => sound.packet(&packet, lost, self.cause, out),
                }
            }
            // How many are missing the next packet's number says.
            TapItem::Gap { cause, .. } => self.cause = cause,
            TapItem::Format(codec) => match &mut self.media {
                Media::Pictures(pictures) => pictures.describe(&codec),
                Media::Sound(sound) => sound.describe(&codec),
            },
            TapItem::Discontinuity(why) => out.push(UnitItem::Discontinuity(why)),
            TapItem::Muted(muted) => out.push(UnitItem::Muted(muted)),
            // What is new of it the keyframe's format says.
            TapItem::Layer(_) => {}
        }
    }

    /// Whether the publisher should be asked for a keyframe; true once a need, and again each second
    /// of the stream that it stays.
    pub fn take_keyframe_wish(&mut self) -> bool {
        match &mut self.media {
            Media::Pictures(pictures) => std::mem::take(&mut pictures.wants_keyframe),
            Media::Sound(_) => false,
        }
    }
}
