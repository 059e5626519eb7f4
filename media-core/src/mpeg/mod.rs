//! Program streams and transport streams (ISO/IEC 13818-1), as cameras of GB/T 28181 and SRT senders wrap their media.
//!
//! [`Demuxer`] takes a stream in pieces of any size and gives whole access units and sound; [`Muxer`] does the
//! reverse for program streams. Neither decodes. What senders get wrong is borne: no or wrong program stream map,
//! wrong checksums, lengths of 0 or 65,535, pictures spread over many PES packets or several in one, padding, private
//! streams, MPEG-1 headers, a start in the middle.
//!
//! Invariants: buffers are bounded ([`MAX_UNIT`] a picture, 64 KiB a packet); after a loss nothing damaged is said
//! to be whole; any bytes whatever cost a bounded amount of work each.

mod audio;
mod mux;
mod pes;
mod program;
mod timeline;
mod transport;
mod video;

pub use audio::AacHeader;
pub use mux::Muxer;
pub use timeline::Timeline;

use crate::rtp::access_unit::AccessUnit;
use audio::AudioUnits;
use bytes::Bytes;
use program::ProgramStream;
use transport::TransportStream;
use video::VideoUnits;

/// A picture of more bytes is given up.
pub const MAX_UNIT: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    H264,
    H265,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// G.711 A-law, 8 kHz, one channel.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    Aac,
}

/// What came of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// One picture. Its timestamp is the low half of its PTS (90 kHz), or 0 when it has none.
    Video { codec: VideoCodec, pts: Option<u64>, unit: AccessUnit },
    /// Sound as it is in RTP: of G.711 the samples, of AAC one frame without its ADTS header.
    Audio { codec: AudioCodec, aac: Option<AacHeader>, pts: Option<u64>, data: Bytes },
    /// A stream of a kind that is not taken; said once.
    Refused(Unsupported),
}

/// By stream type of ISO/IEC 13818-1 table 2-34 and GB/T 28181 annex C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub u8);

impl Unsupported {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self.0 {
            0x01 | 0x02 => "MPEG-1/2 video",
            0x03 | 0x04 => "MPEG audio",
            0x10 => "MPEG-4 Visual",
            0x11 => "AAC (LATM)",
            0x80 => "SVAC video",
            0x92 => "G.722.1",
            0x93 => "G.723.1",
            0x99 => "G.729",
            0x9B => "SVAC audio",
            _ => "unknown stream type",
        }
    }
}

/// What a stream type of a map means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Declared {
    Video(VideoCodec),
    Audio(AudioCodec),
    Unsupported(Unsupported),
}

fn declared(stream_type: u8) -> Declared {
    match stream_type {
        0x1B => Declared::Video(VideoCodec::H264),
        0x24 => Declared::Video(VideoCodec::H265),
        0x0F => Declared::Audio(AudioCodec::Aac),
        0x90 => Declared::Audio(AudioCodec::Pcma),
        0x91 => Declared::Audio(AudioCodec::Pcmu),
        other => Declared::Unsupported(Unsupported(other)),
    }
}

/// The streams inside, whatever they are wrapped in.
#[derive(Debug, Default)]
struct Streams {
    video: VideoUnits,
    audio: AudioUnits,
    refused: Vec<Unsupported>,
}

impl Streams {
    fn refuse(&mut self, what: Unsupported, out: &mut Vec<Item>) {
        if !self.refused.contains(&what) && self.refused.len() < 16 {
            self.refused.push(what);
            out.push(Item::Refused(what));
        }
    }
}

#[derive(Debug)]
enum Wrapping {
    /// Nothing came yet that would tell; what did, as far as it may still belong to what tells.
    Unknown(Vec<u8>),
    Program(ProgramStream),
    Transport(TransportStream),
}

/// Takes one stream apart. It finds out by itself whether it is a program or a transport stream.
#[derive(Debug)]
pub struct Demuxer {
    wrapping: Wrapping,
    streams: Streams,
    /// The end of an RTP frame was not the end of a picture, so that it means nothing.
    ends_lie: bool,
}

impl Default for Demuxer {
    fn default() -> Self {
        Self { wrapping: Wrapping::Unknown(Vec::new()), streams: Streams::default(), ends_lie: false }
    }
}

impl Demuxer {
    /// The next bytes. `end`: they are the last of a picture, as the RTP marker says; without it, a picture is known
    /// to be whole when the next one begins.
    pub fn push(&mut self, bytes: &[u8], end: bool, out: &mut Vec<Item>) {
        let mut before = Vec::new();
        if let Wrapping::Unknown(undecided) = &mut self.wrapping {
            undecided.extend_from_slice(bytes);
            let found = if is_transport(undecided) {
                Some(Wrapping::Transport(TransportStream::default()))
            } else if undecided.windows(4).any(|code| code == [0, 0, 1, 0xBA] || code == [0, 0, 1, 0xE0]) {
                Some(Wrapping::Program(ProgramStream::default()))
            } else {
                if undecided.len() > MAX_UNDECIDED {
                    undecided.drain(..undecided.len() - 3);
                }
                None
            };
            if let Some(found) = found {
                before = std::mem::take(undecided);
                self.wrapping = found;
            }
        }
        let bytes = if before.is_empty() { bytes } else { &before };
        match &mut self.wrapping {
            Wrapping::Unknown(_) => {}
            Wrapping::Program(program) => program.push(bytes, end, &mut self.streams, out),
            Wrapping::Transport(transport) => transport.push(bytes, &mut self.streams, out),
        }
        if end && !self.ends_lie {
            self.streams.video.flush(out);
        }
        self.ends_lie |= self.streams.video.was_cut();
    }

    /// Something is missing before what comes next.
    pub fn lost(&mut self) {
        match &mut self.wrapping {
            Wrapping::Unknown(undecided) => undecided.clear(),
            Wrapping::Program(program) => program.lost(),
            Wrapping::Transport(transport) => transport.lost(),
        }
        self.streams.video.lost();
        self.streams.audio.lost();
    }

    /// The stream is over.
    pub fn finish(&mut self, out: &mut Vec<Item>) {
        match &mut self.wrapping {
            Wrapping::Unknown(_) => {}
            Wrapping::Program(program) => program.finish(&mut self.streams, out),
            Wrapping::Transport(transport) => transport.finish(&mut self.streams, out),
        }
        self.streams.video.flush(out);
    }

    /// Which of the two it turned out to be.
    pub fn is_transport_stream(&self) -> Option<bool> {
        match self.wrapping {
            Wrapping::Unknown(_) => None,
            Wrapping::Program(_) => Some(false),
            Wrapping::Transport(_) => Some(true),
        }
    }

    /// What was skipped since it made no sense, bytes.
    pub fn skipped(&self) -> u64 {
        match &self.wrapping {
            Wrapping::Unknown(_) => 0,
            Wrapping::Program(program) => program.skipped(),
            Wrapping::Transport(transport) => transport.skipped(),
        }
    }
}

/// Bytes of which it is not known yet what they are.
const MAX_UNDECIDED: usize = 4_096;

/// Sync bytes where they belong; of a lone packet its first.
fn is_transport(bytes: &[u8]) -> bool {
    bytes.len() >= transport::PACKET
        && bytes.chunks_exact(transport::PACKET).all(|packet| packet.first() == Some(&transport::SYNC))
}

#[cfg(test)]
mod tests;
