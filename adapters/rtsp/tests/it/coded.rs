//! H.264 pictures that say their number, as the simulator's do, of any size; and who reads them.

use crate::script::{Media, Rtp};
use crate::support::next;
use openh264::encoder::{Encoder, EncoderConfig, IntraFramePeriod};
use openh264::formats::{YUVSlices, YUVSource};
use openh264::{OpenH264API, decoder::Decoder};
use rongtong_media_core::room::{Tap, TapItem};
use rongtong_media_core::rtp::h264::Depacketizer;
use rongtong_simulator::read_code;

/// Of 90 kHz, at 25 pictures a second.
pub const STEP: u32 = 3_600;
const CELLS: usize = 20;

/// Luma of a picture whose two lowest rows of blocks are this number.
fn draw(width: usize, height: usize, number: u16) -> Vec<u8> {
    let row = (height / 24).max(8) & !1;
    let edge = |cell: usize| (width * cell / CELLS) & !1;
    let ones = |mask: u16| (number & mask).count_ones() % 2;
    let mut luma = vec![90; width * height];
    for (y, line) in luma.chunks_mut(width).enumerate().skip(height - 2 * row) {
        assert!(y < height);
        for cell in 0..CELLS {
            let white = match cell {
                0 => true,
                1 => false,
                18 => ones(0x5555) == 1,
                19 => ones(0xaaaa) == 0,
                _ => number & (0x8000 >> (cell - 2)) != 0,
            };
            line[edge(cell)..edge(cell + 1)].fill(if white { 235 } else { 16 });
        }
    }
    luma
}

/// NAL units of each picture of these numbers, the first a keyframe with its parameter sets.
pub fn pictures(width: usize, height: usize, numbers: std::ops::Range<u16>) -> Vec<Vec<Vec<u8>>> {
    let config = EncoderConfig::new().skip_frames(false).intra_frame_period(IntraFramePeriod::from_num_frames(0));
    let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).unwrap();
    let chroma = vec![128; width * height / 4];
    let coded = numbers.map(|number| {
        let luma = draw(width, height, number);
        let source = YUVSlices::new((&luma, &chroma, &chroma), (width, height), (width, width / 2, width / 2));
        let coded = encoder.encode(&source).unwrap().to_vec();
        units(&coded)
    });
    coded.collect()
}

/// Of an Annex B stream.
fn units(stream: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, code)| *code == [0, 0, 1]).map(|(at, _)| at + 3).collect();
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([stream.len()]);
    let nals = starts.iter().zip(ends).map(|(start, end)| &stream[*start..end]);
    nals.map(|nal| nal[..nal.len() - nal.iter().rev().take_while(|byte| **byte == 0).count()].to_vec()).collect()
}

/// RTP packets of pictures at 25 a second, each NAL unit in pieces (RFC 6184 5.8) where it must be.
pub fn media(pictures: Vec<Vec<Vec<u8>>>, payload_type: u8) -> Media {
    let mut sequence = 0;
    let packets: Vec<Vec<Vec<u8>>> = pictures
        .into_iter()
        .enumerate()
        .map(|(at, nals)| {
            let payloads: Vec<Vec<u8>> = nals.iter().flat_map(|nal| pieces(nal)).collect();
            let last = payloads.len() - 1;
            let packet = |(index, payload): (usize, &Vec<u8>)| {
                sequence += 1;
                let rtp = Rtp { payload_type, sequence, timestamp: at as u32 * STEP, ssrc: 7 };
                rtp.packet(index == last, payload)
            };
            payloads.iter().enumerate().map(packet).collect()
        })
        .collect();
    Box::new(move |tick| match tick % 2 {
        0 => packets.get(tick as usize / 2).cloned().unwrap_or_default(),
        _ => Vec::new(),
    })
}

fn pieces(nal: &[u8]) -> Vec<Vec<u8>> {
    const MOST: usize = 1_300;
    if nal.len() <= MOST {
        return vec![nal.to_vec()];
    }
    let count = nal[1..].chunks(MOST).count();
    let piece = |(at, data): (usize, &[u8])| {
        let ends = u8::from(at == 0) << 7 | u8::from(at + 1 == count) << 6;
        [&[nal[0] & 0x60 | 28, ends | nal[0] & 0x1f], data].concat()
    };
    nal[1..].chunks(MOST).enumerate().map(piece).collect()
}

/// A viewer with a decoder.
pub struct Viewer {
    tap: Tap,
    depacketizer: Depacketizer,
    decoder: Decoder,
}

impl Viewer {
    pub fn new(tap: Tap) -> Self {
        Self { tap, depacketizer: Depacketizer::new(1 << 20), decoder: Decoder::new().unwrap() }
    }

    /// Size, number and RTP time of the pictures up to the one of this number.
    pub async fn watch(&mut self, last: u16) -> Vec<((usize, usize), u16, u64)> {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|(_, number, _)| *number < last) {
            let packet = match next(&mut self.tap).await {
                TapItem::Packet(packet) => packet,
                TapItem::Gap { from, to, cause } => panic!("{cause:?} {from}..{to}"),
                TapItem::Discontinuity(_) | TapItem::Format(_) | TapItem::Layer(_) | TapItem::Muted(_) => continue,
            };
            let found = self.depacketizer.push(packet.sequence, packet.time as u32, packet.marker, &packet.payload);
            for unit in found {
                assert!(unit.complete, "behind {seen:?}");
                let stream: Vec<u8> = unit.nals.iter().flat_map(|nal| [&[0, 0, 0, 1], &nal[..]].concat()).collect();
                let Some(picture) = self.decoder.decode(&stream).unwrap() else { continue };
                let (width, height) = picture.dimensions();
                let code = read_code(picture.y(), picture.strides().0, width, height);
                seen.push(((width, height), code.expect("a number in the picture").frame, packet.time));
            }
        }
        seen
    }
}
