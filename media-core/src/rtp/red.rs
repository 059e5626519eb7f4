//! Redundant audio: several frames in one packet, unpacked once at ingress.
//!
//! Standard: RFC 2198; `opus/red` of libwebrtc, in which each block is the frame of one earlier
//! packet, oldest first, without a gap before the primary.
//!
//! Invariant: the unpacker yields each sequence number at most once.

use bytes::Bytes;
use smallvec::SmallVec;

/// Blocks in one packet; libwebrtc sends at most 10.
pub const MAX_BLOCKS: usize = 16;

/// What is wrong with a payload. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedError {
    #[error("the sender's primary RED block has payload type {0}, which was not negotiated")]
    PayloadType(u8),
    #[error("the sender's RED blocks need more bytes than the packet has")]
    TooShort,
    #[error("the sender put more than {MAX_BLOCKS} RED blocks into one packet")]
    TooManyBlocks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedBlock<'a> {
    pub payload_type: u8,
    /// Ticks before the time of the packet, below 16,384; 0 for the primary.
    pub timestamp_offset: u16,
    pub payload: &'a [u8],
}

/// The blocks of a payload in the order of the wire: the oldest first, the primary last.
pub fn red_blocks(payload: &[u8]) -> Result<SmallVec<[RedBlock<'_>; 4]>, RedError> {
    let mut headers: SmallVec<[(u8, u16, usize); 4]> = SmallVec::new();
    let mut rest = payload;
    let primary = loop {
        let (&first, after) = rest.split_first().ok_or(RedError::TooShort)?;
        if first & 0x80 == 0 {
            rest = after;
            break first;
        }
        let (&[a, b, c], after) = after.split_first_chunk::<3>().ok_or(RedError::TooShort)?;
        if headers.len() + 1 == MAX_BLOCKS {
            return Err(RedError::TooManyBlocks);
        }
        let offset = u16::from(a) << 6 | u16::from(b >> 2);
        headers.push((first & 0x7f, offset, usize::from(b & 3) << 8 | usize::from(c)));
        rest = after;
    };
    let mut blocks = SmallVec::new();
    for (payload_type, timestamp_offset, len) in headers {
        let (payload, after) = rest.split_at_checked(len).ok_or(RedError::TooShort)?;
        blocks.push(RedBlock { payload_type, timestamp_offset, payload });
        rest = after;
    }
    blocks.push(RedBlock { payload_type: primary, timestamp_offset: 0, payload: rest });
    Ok(blocks)
}

/// A frame out of a redundant stream, as the packet it would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Extended, as the packet's.
    pub seq: u64,
    pub timestamp: u32,
    pub payload: Bytes,
    /// It was lost on the way and comes from a later packet.
    pub recovered: bool,
}

/// Unpacks one source.
#[derive(Debug)]
pub struct RedUnpacker {
    primary: u8,
    highest: Option<u64>,
    /// Bit n: `highest` − n was yielded.
    yielded: u64,
}

impl RedUnpacker {
    /// `primary` is the payload type of the frames inside.
    pub fn new(primary: u8) -> Self {
        Self { primary, highest: None, yielded: 0 }
    }

    /// The frames of a packet that were not yielded yet, in order; the packet's own is the last.
    /// A packet that comes late, before its frame was recovered, yields that frame late.
    pub fn unpack(&mut self, seq: u64, timestamp: u32, payload: &Bytes) -> Result<SmallVec<[Unpacked; 4]>, RedError> {
        let blocks = red_blocks(payload)?;
        if let Some(primary) = blocks.last().filter(|block| block.payload_type != self.primary) {
            return Err(RedError::PayloadType(primary.payload_type));
        }
        let mut frames = SmallVec::new();
        for (back, block) in (0..blocks.len() as u64).rev().zip(&blocks) {
            let Some(seq) = seq.checked_sub(back) else {
                continue;
            };
            let usable = block.payload_type == self.primary && !block.payload.is_empty();
            // Nothing is recovered from before the first packet.
            if (back > 0 && (self.highest.is_none() || !usable)) || !self.take(seq) {
                continue;
            }
            frames.push(Unpacked {
                seq,
                timestamp: timestamp.wrapping_sub(block.timestamp_offset.into()),
                payload: payload.slice_ref(block.payload),
                recovered: back > 0,
            });
        }
        Ok(frames)
    }

    /// Notes a packet that was sent without redundancy; false if its frame was yielded already.
    pub fn take(&mut self, seq: u64) -> bool {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            self.yielded = u64::MAX;
            return true;
        };
        if seq > highest {
            let step = u32::try_from(seq - highest).unwrap_or(u32::MAX);
            self.yielded = self.yielded.checked_shl(step).unwrap_or(0) | 1;
            self.highest = Some(seq);
            return true;
        }
        let Some(bit) = u32::try_from(highest - seq).ok().and_then(|n| 1u64.checked_shl(n)) else {
            return false;
        };
        let fresh = self.yielded & bit == 0;
        self.yielded |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two redundant frames of 20 ms steps and the primary.
    fn packet(frames: &[&[u8]]) -> Bytes {
        let mut out = Vec::new();
        let (primary, redundant) = frames.split_last().unwrap();
        for (i, frame) in redundant.iter().enumerate() {
            let offset = 960 * (redundant.len() - i) as u32;
            let word = 0x80 << 24 | 111 << 24 | offset << 10 | frame.len() as u32;
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.push(111);
        redundant.iter().for_each(|frame| out.extend_from_slice(frame));
        out.extend_from_slice(primary);
        out.into()
    }

    fn summary(frames: &[Unpacked]) -> Vec<(u64, u32, &[u8], bool)> {
        frames.iter().map(|f| (f.seq, f.timestamp, &f.payload[..], f.recovered)).collect()
    }

    #[test]
    fn blocks_are_read_oldest_first() {
        // One block of type 111, offset 960, two bytes; then the primary.
        let payload = [0xef, 0x0f, 0x00, 0x02, 0x6f, 1, 2, 3];
        let blocks = red_blocks(&payload).unwrap();
        assert_eq!(blocks[0], RedBlock { payload_type: 111, timestamp_offset: 960, payload: &[1, 2] });
        assert_eq!(blocks[1], RedBlock { payload_type: 111, timestamp_offset: 0, payload: &[3] });
        assert_eq!(red_blocks(&[0xef, 0x0f, 0x00, 0x02, 0x6f, 1]), Err(RedError::TooShort));
        assert_eq!(red_blocks(&[]), Err(RedError::TooShort));
        assert_eq!(red_blocks(&[0x80; 400]), Err(RedError::TooManyBlocks));
    }

    #[test]
    fn lost_frames_are_filled_in_order_and_none_comes_twice() {
        let mut red = RedUnpacker::new(111);
        let first = red.unpack(10, 9600, &packet(&[b"y", b"z", b"a"])).unwrap();
        assert_eq!(summary(&first), [(10, 9600, &b"a"[..], false)]);
        let filled = red.unpack(13, 12_480, &packet(&[b"b", b"c", b"d"])).unwrap();
        assert_eq!(
            summary(&filled),
            [(11, 10_560, &b"b"[..], true), (12, 11_520, b"c", true), (13, 12_480, b"d", false)]
        );
        assert!(red.unpack(12, 11_520, &packet(&[b"a", b"b", b"c"])).unwrap().is_empty());
        assert!(!red.take(11));
        assert!(red.take(14));
    }

    #[test]
    fn an_unknown_primary_is_refused_and_empty_blocks_are_skipped() {
        let mut red = RedUnpacker::new(96);
        assert_eq!(red.unpack(1, 1, &packet(&[b"a"])), Err(RedError::PayloadType(111)));
        let mut red = RedUnpacker::new(111);
        red.unpack(1, 0, &packet(&[b"a"])).unwrap();
        assert_eq!(red.unpack(3, 1920, &packet(&[b"", b"c"])).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(blocks) = red_blocks(&payload) {
                prop_assert!(!blocks.is_empty() && blocks.len() <= MAX_BLOCKS);
                prop_assert!(blocks.iter().map(|b| b.payload.len()).sum::<usize>() < payload.len());
            }
        }

        #[test]
        fn no_frame_comes_twice_and_two_losses_in_a_row_are_healed(lost in proptest::collection::vec(any::<bool>(), 1..100)) {
            let mut red = RedUnpacker::new(111);
            let mut seen = Vec::new();
            let (mut run, mut healed) = (0, true);
            for (i, lost) in lost.iter().enumerate() {
                run = if *lost { run + 1 } else { 0 };
                healed &= run <= 2;
                if *lost { continue; }
                let payload = packet(&[b"b", b"c", b"d"]);
                seen.extend(red.unpack(100 + i as u64, 960 * i as u32, &payload).unwrap().into_iter().map(|f| f.seq));
            }
            prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
            if healed && seen.len() > 1 {
                prop_assert_eq!(seen[seen.len() - 1] - seen[0] + 1, seen.len() as u64);
            }
        }
    }
}
