//! Sound out of PES payloads: G.711 as it is, AAC frames by their ADTS headers (ISO/IEC 14496-3 1.A.2.2).

use super::{AudioCodec, Item};
use bytes::{Buf, Bytes, BytesMut};

/// What each ADTS header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacHeader {
    /// 2 is LC.
    pub object_type: u8,
    /// As ISO/IEC 14496-3 table 1.18 numbers the rates.
    pub rate_index: u8,
    pub channels: u8,
}

impl AacHeader {
    /// Hz.
    pub fn rate(self) -> u32 {
        const RATES: [u32; 13] =
            [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
        RATES[usize::from(self.rate_index).min(RATES.len() - 1)]
    }

    /// The AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1).
    pub fn config(self) -> [u8; 2] {
        [self.object_type << 3 | self.rate_index >> 1, self.rate_index << 7 | self.channels << 3]
    }
}

/// One sound stream.
#[derive(Debug, Default)]
pub(super) struct AudioUnits {
    declared: Option<AudioCodec>,
    guessed: Option<AudioCodec>,
    buffer: BytesMut,
    pts: Option<u64>,
}

/// Two frames of the longest kind.
const MAX_BUFFER: usize = 16_384;

impl AudioUnits {
    pub fn declare(&mut self, codec: AudioCodec) {
        self.declared = Some(codec);
    }

    /// The payload of one PES packet.
    pub fn push(&mut self, payload: &[u8], pts: Option<u64>, out: &mut Vec<Item>) {
        let codec = self.declared.unwrap_or_else(|| *self.guessed.get_or_insert_with(|| guess(payload)));
        if codec != AudioCodec::Aac {
            if !payload.is_empty() {
                out.push(Item::Audio { codec, aac: None, pts, data: Bytes::copy_from_slice(payload) });
            }
            return;
        }
        if self.buffer.is_empty() {
            self.pts = pts;
        }
        self.buffer.extend_from_slice(payload);
        while let Some((header, data)) = self.frame() {
            out.push(Item::Audio { codec, aac: Some(header), pts: self.pts, data });
            // A frame is 1,024 samples; those of one packet follow each other.
            self.pts = self.pts.map(|pts| pts + 1_024 * 90_000 / u64::from(header.rate()));
        }
        if self.buffer.is_empty() {
            self.pts = None;
        } else if self.buffer.len() > MAX_BUFFER {
            self.lost();
        }
    }

    pub fn lost(&mut self) {
        self.buffer.clear();
        self.pts = None;
    }

    fn frame(&mut self) -> Option<(AacHeader, Bytes)> {
        loop {
            let is_sync = |pair: &[u8]| pair[0] == 0xFF && pair[1] & 0xF6 == 0xF0;
            let skip = self.buffer.windows(2).position(is_sync).unwrap_or(self.buffer.len().saturating_sub(1));
            self.buffer.advance(skip);
            let head = self.buffer.get(..7)?;
            let header = AacHeader {
                object_type: (head[2] >> 6) + 1,
                rate_index: head[2] >> 2 & 0x0F,
                channels: (head[2] & 1) << 2 | head[3] >> 6,
            };
            let length = usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5] >> 5);
            let start = if head[1] & 1 == 0 { 9 } else { 7 };
            if header.rate_index > 12 || length <= start {
                self.buffer.advance(2);
                continue;
            }
            if self.buffer.len() < length {
                return None;
            }
            let mut frame = self.buffer.split_to(length).freeze();
            frame.advance(start);
            return Some((header, frame));
        }
    }
}

/// By the bytes alone: ADTS shows itself, and what does not is G.711 A-law, the one that every device has.
fn guess(payload: &[u8]) -> AudioCodec {
    match payload {
        [0xFF, second, ..] if second & 0xF6 == 0xF0 && payload.len() > 7 => AudioCodec::Aac,
        _ => AudioCodec::Pcma,
    }
}
