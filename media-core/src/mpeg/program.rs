//! Program streams (ISO/IEC 13818-1 2.5).
//!
//! The payload of a video packet goes on until the next start code of the program stream, whatever its length
//! says: in H.264 and H.265 no such code can occur (their NAL headers begin with a zero bit, the stream ids here
//! with a one). Sound and maps go by their lengths.

use super::pes::{self, Parsed};
use super::{Declared, Item, Streams, declared};
use bytes::{Buf, BytesMut};
use memchr::memmem;

const PACK: u8 = 0xBA;
const MAP: u8 = 0xBC;
const FIRST: u8 = 0xB9;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Looking for a start code; what is before it is nothing.
    #[default]
    Lost,
    /// Where a start code should be.
    Between,
    /// Within a video packet, of which so many bytes should follow.
    Video { rest: Option<usize> },
}

#[derive(Debug, Default)]
pub(super) struct ProgramStream {
    buffer: BytesMut,
    state: State,
    video_id: Option<u8>,
    audio_id: Option<u8>,
    /// Sound of a kind that is not taken, and video.
    no_audio: bool,
    no_video: bool,
    skipped: u64,
}

impl ProgramStream {
    pub fn push(&mut self, bytes: &[u8], end: bool, streams: &mut Streams, out: &mut Vec<Item>) {
        self.buffer.extend_from_slice(bytes);
        while self.step(streams, out) {}
        if end
            && let State::Video { rest } = self.state
            && rest.is_none_or(|rest| rest <= self.buffer.len())
        {
            // What was kept back in case it were the beginning of a start code.
            self.video(self.buffer.len(), streams, out);
        }
    }

    pub fn lost(&mut self) {
        self.buffer.clear();
        self.state = State::Lost;
    }

    pub fn finish(&mut self, streams: &mut Streams, out: &mut Vec<Item>) {
        if let State::Video { .. } = self.state {
            self.video(self.buffer.len(), streams, out);
        }
    }

    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// One part; whether there may be another.
    fn step(&mut self, streams: &mut Streams, out: &mut Vec<Item>) -> bool {
        let code = self.find();
        match (self.state, code) {
            (State::Lost, Some(0)) | (State::Between, Some(0)) => self.part(streams, out),
            (State::Lost, at) => {
                let skip = at.unwrap_or(self.buffer.len().saturating_sub(3));
                self.skipped += skip as u64;
                self.buffer.advance(skip);
                at.is_some()
            }
            // The length before was wrong.
            (State::Between, Some(_)) => {
                self.state = State::Lost;
                true
            }
            (State::Between, None) => {
                if self.buffer.len() > 3 {
                    self.state = State::Lost;
                }
                self.buffer.len() > 3
            }
            (State::Video { .. }, Some(at)) => {
                self.video(at, streams, out);
                self.state = State::Between;
                true
            }
            (State::Video { .. }, None) => {
                let sure = self.buffer.len().saturating_sub(3);
                self.video(sure, streams, out);
                false
            }
        }
    }

    /// Where the next start code is whose four bytes are all there.
    fn find(&self) -> Option<usize> {
        let mut from = 0;
        while let Some(found) = memmem::find(&self.buffer[from..], &[0, 0, 1]) {
            let at = from + found;
            match self.buffer.get(at + 3) {
                Some(id) if *id >= FIRST => return Some(at),
                Some(_) => from = at + 3,
                None => return None,
            }
        }
        None
    }

    fn video(&mut self, length: usize, streams: &mut Streams, out: &mut Vec<Item>) {
        if length == 0 {
            return;
        }
        let bytes = self.buffer.split_to(length);
        if let State::Video { rest: Some(rest) } = &mut self.state {
            *rest = rest.saturating_sub(length);
        }
        streams.video.push(&bytes, out);
    }

    /// A part whose start code is at the beginning of the buffer; whether it was whole.
    fn part(&mut self, streams: &mut Streams, out: &mut Vec<Item>) -> bool {
        let id = self.buffer[3];
        let length = match id {
            FIRST => 4,
            PACK => match self.pack_length() {
                Some(length) => length,
                None => return false,
            },
            0xE0..=0xEF => return self.video_packet(id, streams),
            _ => match self.buffer.get(4..6) {
                Some(field) => 6 + usize::from(u16::from_be_bytes([field[0], field[1]])),
                None => return false,
            },
        };
        if self.buffer.len() < length {
            return false;
        }
        let part = self.buffer.split_to(length);
        self.state = State::Between;
        match id {
            MAP => self.map(&part, streams, out),
            0xC0..=0xDF => self.audio_packet(id, &part, streams, out),
            // Padding, system headers, and private streams: subtitles, what a vendor adds to the picture.
            _ => {}
        }
        true
    }

    fn pack_length(&self) -> Option<usize> {
        let first = self.buffer.get(4)?;
        if first & 0xC0 == 0x40 {
            Some(14 + usize::from(self.buffer.get(13)? & 7))
        } else {
            // Of MPEG-1; and of whoever writes neither, whose next start code is found all the same.
            Some(if first & 0xF0 == 0x20 { 12 } else { 4 })
        }
    }

    fn video_packet(&mut self, id: u8, streams: &mut Streams) -> bool {
        let header = match pes::parse(&self.buffer) {
            Parsed::Short => return false,
            Parsed::Bad => {
                self.skipped += 4;
                self.buffer.advance(4);
                self.state = State::Lost;
                return true;
            }
            Parsed::Whole(header) => header,
        };
        self.buffer.advance(header.length);
        if self.no_video || *self.video_id.get_or_insert(id) != id {
            self.state = State::Lost;
            return true;
        }
        if let Some(pts) = header.pts {
            streams.video.mark(pts);
        }
        self.state = State::Video { rest: header.payload };
        true
    }

    fn audio_packet(&mut self, id: u8, part: &[u8], streams: &mut Streams, out: &mut Vec<Item>) {
        if self.no_audio || *self.audio_id.get_or_insert(id) != id {
            return;
        }
        match pes::parse(part) {
            Parsed::Whole(header) => {
                if let Some(payload) = part.get(header.length..) {
                    streams.audio.push(payload, header.pts, out);
                }
            }
            Parsed::Short | Parsed::Bad => self.skipped += part.len() as u64,
        }
    }

    /// The program stream map (2.5.4). Its checksum is not looked at: too many get it wrong.
    fn map(&mut self, part: &[u8], streams: &mut Streams, out: &mut Vec<Item>) {
        let size = |at: usize| Some(usize::from(u16::from_be_bytes([*part.get(at)?, *part.get(at + 1)?])));
        let Some(info) = size(8) else { return };
        let Some(listed) = size(10 + info) else { return };
        let mut at = 12 + info;
        let end = (at + listed).min(part.len());
        while let (Some([stream_type, id]), Some(info)) = (part.get(at..at + 2), size(at + 2)) {
            if at + 4 > end {
                return;
            }
            match (declared(*stream_type), *id) {
                (Declared::Video(codec), 0xE0..=0xEF) => {
                    self.no_video = false;
                    streams.video.declare(codec);
                }
                (Declared::Audio(codec), 0xC0..=0xDF) => {
                    self.no_audio = false;
                    streams.audio.declare(codec);
                }
                (Declared::Unsupported(what), 0xE0..=0xEF) if streams.video.codec().is_none() => {
                    self.no_video = true;
                    streams.refuse(what, out);
                }
                (Declared::Unsupported(what), 0xC0..=0xDF) => {
                    self.no_audio = true;
                    streams.refuse(what, out);
                }
                _ => {}
            }
            at += 4 + info;
        }
    }
}
