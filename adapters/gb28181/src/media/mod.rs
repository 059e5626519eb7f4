//! The media of a call: RTP over UDP or TCP in, access units and sound out.
//!
//! What devices do is not always what was agreed: a transport stream or bare H.264 in place of a program stream, RTP in
//! milliseconds, another SSRC, no markers, `$` frames over TCP. All of that is found out from the bytes.

mod framing;
mod receiver;
mod speaker;
mod unwrap;

pub use framing::Framing;
pub use receiver::{MediaError, Receiver, Totals, listen};
pub use speaker::{Speaker, SpeechPort};
pub use unwrap::{Counts, Unwrapper};

use rongtong_media_core::mpeg::{AacHeader, AudioCodec, Unsupported, VideoCodec};
use rongtong_media_core::rtp::access_unit::AccessUnit;

/// What comes of a device's media. Times are ticks of 90 kHz of the device, going on through its jumps.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Its timestamp is that of the unit.
    Picture {
        codec: VideoCodec,
        unit: AccessUnit,
    },
    Sound {
        codec: AudioCodec,
        aac: Option<AacHeader>,
        time: u32,
        data: bytes::Bytes,
    },
    Refused(Unsupported),
}
