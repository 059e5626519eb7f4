//! Taps: a track's packets, in order and on room time, for code in this process that is no browser: the
//! recorder, legs, a decoder's process.
//!
//! The shard writes into a ring of one writer and one reader, and wakes all readers it wrote for once a
//! turn, by one [`Bell`]. A reader that is behind costs the shard nothing: it loses what there is no
//! room for, of pictures everything to the next keyframe, and is told how much.
//!
//! Invariants: numbers of packets rise, and each number that is missing lies in exactly one
//! [`TapItem::Gap`], which comes before the packet behind it; what is told of the stream (codec, layer,
//! mute) is told before the packets it holds for, also to a reader that was behind when it happened.

mod bell;
mod ring;
#[cfg(test)]
mod tests;
pub mod units;

pub(crate) use bell::Bell;
pub use ring::TapReader;
pub(crate) use ring::{TapWriter, ring};

use crate::media::{CodecParams, MediaPacket};
use std::sync::Arc;

/// What a tap hands over.
#[derive(Clone, Debug)]
pub enum TapItem {
    /// What follows is not the continuation of what came before.
    Discontinuity(Discontinuity),
    /// The codec's parameters from here on; the first thing of all.
    Format(Arc<CodecParams>),
    /// Packets numbered `from` up to, not including, `to` will not come.
    Gap {
        from: u64,
        to: u64,
        cause: GapCause,
    },
    /// The layer that what follows is of, 0 the lowest; said at the beginning only where it is another.
    Layer(usize),
    /// Whether the publisher, or the host, has muted the track; said at the beginning only where it is.
    Muted(bool),
    Packet(MediaPacket),
}

/// Where a stream does not go on as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discontinuity {
    /// Room time is told by something else from there on: the device's clock was set, or what it reports is
    /// not believed any more, or is again.
    Clock,
    /// The RTP clock began anew.
    Rtp,
    /// The publisher began anew, with another stream.
    Source,
}

/// Why packets do not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// This reader was behind.
    Behind,
    /// They did not reach us.
    Lost,
}

/// Which of a track's layers a reader wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerWish {
    #[default]
    Best,
    /// This one or the best below it, 0 the lowest.
    Index(u8),
    /// The smallest that covers so many pixels, or nearly does.
    Pixels { width: u32, height: u32 },
}

/// What a reader wants of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    pub layer: LayerWish,
    /// Nothing for now.
    pub paused: bool,
}
