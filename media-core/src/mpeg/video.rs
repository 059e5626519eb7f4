//! Pictures out of an H.264 or H.265 byte stream (annex B of either standard), found by their NAL units alone.

use super::{Item, MAX_UNIT, VideoCodec};
use crate::rtp::access_unit::AccessUnit;
use bytes::{Bytes, BytesMut};
use memchr::memmem;
use std::collections::VecDeque;

/// Unused times beyond are forgotten; a picture has a few at most.
const MAX_MARKS: usize = 64;
/// NAL units of one picture.
const MAX_NALS: usize = 4_096;

/// Invariant: `buffer` begins where the picture in the making does, or with bytes before its first start code.
#[derive(Debug, Default)]
pub(super) struct VideoUnits {
    /// By the map.
    declared: Option<VideoCodec>,
    /// By the bytes, which are right when the two differ.
    seen: Option<VideoCodec>,
    buffer: BytesMut,
    /// Where `buffer` begins in the stream.
    base: u64,
    /// Start codes were looked for up to here.
    searched: usize,
    /// Where NAL units begin in `buffer`, after their start codes, with the place of the code.
    nals: Vec<(usize, usize)>,
    /// A slice is among them.
    has_picture: bool,
    /// Times with the place in the stream from which on they count.
    marks: VecDeque<(u64, u64)>,
    /// Something before or within is missing.
    damaged: bool,
    /// The last picture was ended from outside.
    flushed: bool,
    /// And was not at its end.
    cut: bool,
}

enum Start {
    /// Begins another picture.
    Picture { slice: bool },
    /// Goes on with this one.
    More { slice: bool },
}

impl VideoUnits {
    pub fn declare(&mut self, codec: VideoCodec) {
        self.declared = Some(codec);
    }

    pub fn codec(&self) -> Option<VideoCodec> {
        self.seen.or(self.declared)
    }

    /// A time for the picture that begins next.
    pub fn mark(&mut self, pts: u64) {
        if self.marks.len() >= MAX_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((self.base + self.buffer.len() as u64, pts));
    }

    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Item>) {
        self.buffer.extend_from_slice(bytes);
        self.search(out);
        if self.buffer.len() > MAX_UNIT {
            self.lost();
        }
    }

    /// What is there is a whole picture, if it is one at all.
    pub fn flush(&mut self, out: &mut Vec<Item>) {
        if self.has_picture {
            self.emit(self.buffer.len(), out);
            self.flushed = true;
        }
    }

    /// Bytes are missing. The picture in the making is given up.
    pub fn lost(&mut self) {
        self.base += self.buffer.len() as u64;
        self.buffer.clear();
        self.reset();
        self.marks.clear();
        self.damaged = true;
        self.flushed = false;
    }

    /// Whether [`Self::flush`] turned out to come in the middle of a picture, since last asked.
    pub fn was_cut(&mut self) -> bool {
        std::mem::take(&mut self.cut)
    }

    #[cfg(test)]
    pub fn is_bounded(&self) -> bool {
        self.buffer.len() <= MAX_UNIT && self.marks.len() <= MAX_MARKS && self.nals.len() <= MAX_NALS
    }

    fn reset(&mut self) {
        self.searched = 0;
        self.nals.clear();
        self.has_picture = false;
    }

    fn search(&mut self, out: &mut Vec<Item>) {
        // A flush is followed by a search of a shorter buffer.
        loop {
            let from = self.searched.min(self.buffer.len());
            let Some(found) = memmem::find(&self.buffer[from..], &[0, 0, 1]) else {
                self.searched = from.max(self.buffer.len().saturating_sub(2));
                return;
            };
            let code = from + found;
            // Up to the flag at the beginning of a slice.
            let Some(head) = self.buffer.get(code + 3..code + 6) else {
                self.searched = code;
                return;
            };
            let head = [head[0], head[1], head[2]];
            self.learn(head);
            let start = self.start(head);
            if self.nals.is_empty() {
                // One that begins at its beginning is whole, whatever was lost before.
                match start {
                    Start::Picture { .. } => self.damaged = false,
                    Start::More { slice } => self.damaged |= slice,
                }
            }
            let slice = match start {
                Start::Picture { .. } if self.has_picture => {
                    let zero = usize::from(code > 0 && self.buffer[code - 1] == 0);
                    self.emit(code - zero, out);
                    continue;
                }
                Start::Picture { slice } => slice,
                Start::More { slice } => {
                    self.cut |= slice && self.flushed && !self.has_picture;
                    slice
                }
            };
            self.flushed &= !slice;
            self.has_picture |= slice;
            self.searched = code + 3;
            if self.nals.len() >= MAX_NALS {
                self.lost();
                return;
            }
            self.nals.push((code, code + 3));
        }
    }

    fn learn(&mut self, [first, second, _]: [u8; 3]) {
        // A sequence parameter set says it: of H.265 layer 0, temporal id 0 (7.3.1.2); of H.264 the profiles of annex A.
        let h265 = matches!(first, 0x40 | 0x42) && second == 1;
        let h264 = first & 0x9F == 7 && matches!(second, 66 | 77 | 88 | 100 | 110 | 122 | 244);
        let found = match (h264, h265) {
            (true, false) => VideoCodec::H264,
            (false, true) => VideoCodec::H265,
            _ => return,
        };
        self.seen = Some(found);
    }

    /// ITU-T H.264 7.4.1.2.3, ITU-T H.265 7.4.2.4.4.
    fn start(&self, [first, second, third]: [u8; 3]) -> Start {
        match self.codec().unwrap_or(VideoCodec::H264) {
            VideoCodec::H264 => match first & 0x1F {
                1 | 2 | 5 if second & 0x80 != 0 => Start::Picture { slice: true },
                1..=5 => Start::More { slice: true },
                6..=9 | 14..=18 => Start::Picture { slice: false },
                _ => Start::More { slice: false },
            },
            VideoCodec::H265 => match first >> 1 & 0x3F {
                0..=31 if third & 0x80 != 0 => Start::Picture { slice: true },
                0..=31 => Start::More { slice: true },
                32..=35 | 39 | 41..=44 | 48..=55 => Start::Picture { slice: false },
                _ => Start::More { slice: false },
            },
        }
    }

    /// Ends the picture at a place of the buffer.
    fn emit(&mut self, end: usize, out: &mut Vec<Item>) {
        let pts = self.take_mark();
        let bytes = self.buffer.split_to(end).freeze();
        self.base += end as u64;
        let ends = self.nals.iter().skip(1).map(|(code, _)| *code).chain([end]);
        let nals: Vec<Bytes> = self
            .nals
            .iter()
            .zip(ends)
            .map(|((_, start), end)| {
                // Zeros before the next start code belong to no NAL unit (annex B.1).
                let zeros = bytes[*start..end].iter().rev().take_while(|byte| **byte == 0).count();
                bytes.slice(*start..end - zeros)
            })
            .filter(|nal| !nal.is_empty())
            .collect();
        let codec = self.codec().unwrap_or(VideoCodec::H264);
        let key = nals.iter().any(|nal| match codec {
            VideoCodec::H264 => nal[0] & 0x1F == 5,
            VideoCodec::H265 => (16..=21).contains(&(nal[0] >> 1 & 0x3F)),
        });
        let complete = !std::mem::take(&mut self.damaged);
        self.reset();
        let unit = AccessUnit { timestamp: pts.unwrap_or(0) as u32, nals, key, complete };
        out.push(Item::Video { codec, pts, unit });
    }

    /// The newest time given at or before the picture's first byte.
    fn take_mark(&mut self) -> Option<u64> {
        let start = self.base + self.nals.first().map_or(0, |(code, _)| *code) as u64;
        let mut newest = None;
        while self.marks.front().is_some_and(|(at, _)| *at <= start) {
            newest = self.marks.pop_front();
        }
        newest.map(|(_, pts)| pts)
    }
}
