//! A program stream with one picture and one sound (ISO/IEC 13818-1 2.5, GB/T 28181 annex C).

use super::pes::write_timestamp;
use super::{AacHeader, AudioCodec, VideoCodec};
use crate::rtp::access_unit::AccessUnit;

const VIDEO_ID: u8 = 0xE0;
const AUDIO_ID: u8 = 0xC0;
/// Payload of one PES packet, so that its length can be said.
const MAX_PAYLOAD: usize = 65_000;

/// Writes a program stream. Before each keyframe it says anew what is inside.
#[derive(Clone, Debug)]
pub struct Muxer {
    video: Option<VideoCodec>,
    audio: Option<AudioCodec>,
    /// The newest system clock reference, 90 kHz.
    clock: Option<u64>,
}

impl Muxer {
    pub fn new(video: Option<VideoCodec>, audio: Option<AudioCodec>) -> Self {
        Self { video, audio, clock: None }
    }

    /// Appends one picture. `pts` in ticks of 90 kHz.
    pub fn video(&mut self, unit: &AccessUnit, pts: u64, out: &mut Vec<u8>) {
        self.pack(pts, out);
        if unit.key {
            self.describe(out);
        }
        let mut bytes = Vec::with_capacity(unit.nals.iter().map(|nal| nal.len() + 4).sum());
        for nal in &unit.nals {
            bytes.extend_from_slice(&[0, 0, 0, 1]);
            bytes.extend_from_slice(nal);
        }
        for (at, part) in bytes.chunks(MAX_PAYLOAD).enumerate() {
            pes(VIDEO_ID, (at == 0).then_some(pts), part, out);
        }
    }

    /// Appends sound: G.711 as it is, an AAC frame with its header.
    pub fn audio(&mut self, data: &[u8], aac: Option<AacHeader>, pts: u64, out: &mut Vec<u8>) {
        self.pack(pts, out);
        if self.video.is_none() {
            self.describe(out);
        }
        let mut bytes = Vec::with_capacity(data.len() + 7);
        if let Some(header) = aac {
            bytes.extend_from_slice(&adts(header, data.len()));
        }
        bytes.extend_from_slice(data);
        for (at, part) in bytes.chunks(MAX_PAYLOAD).enumerate() {
            pes(AUDIO_ID, (at == 0).then_some(pts), part, out);
        }
    }

    /// A pack header (2.5.3.3), with a clock a tenth of a second behind the time of what follows, and never behind
    /// what it was: sound and picture may come out of step.
    fn pack(&mut self, pts: u64, out: &mut Vec<u8>) {
        const MASK: u64 = 0x1_FFFF_FFFF;
        const TEN_SECONDS: u64 = 900_000;
        let due = pts.wrapping_sub(9_000) & MASK;
        let clock = match self.clock {
            Some(last) if last.wrapping_sub(due) & MASK < TEN_SECONDS => last,
            _ => due,
        };
        self.clock = Some(clock);
        out.extend_from_slice(&[0, 0, 1, 0xBA]);
        let high = clock >> 30 & 7;
        let (middle, low) = (clock >> 15 & 0x7FFF, clock & 0x7FFF);
        let bits: u64 = 1 << 46 | high << 43 | 1 << 42 | middle << 27 | 1 << 26 | low << 11 | 1 << 10 | 1;
        out.extend_from_slice(&bits.to_be_bytes()[2..]);
        // The rate in units of 50 bytes a second: as much as fits; no stuffing.
        out.extend_from_slice(&[0xFF, 0xFF, 0xFF, 0xF8]);
    }

    /// System header (2.5.3.5) and program stream map (2.5.4.1).
    fn describe(&self, out: &mut Vec<u8>) {
        let streams = [
            self.video.map(|codec| (VIDEO_ID, if codec == VideoCodec::H264 { 0x1B } else { 0x24 }, [0xE4, 0x00])),
            self.audio.map(|codec| {
                let kind = match codec {
                    AudioCodec::Pcma => 0x90,
                    AudioCodec::Pcmu => 0x91,
                    AudioCodec::Aac => 0x0F,
                };
                (AUDIO_ID, kind, [0xC0, 0x20])
            }),
        ];
        let mut system = vec![0xFF, 0xFF, 0xFF, 0x04, 0xE1, 0x7F];
        let mut map = vec![0xE0, 0xFF, 0, 0, 0, 0];
        for (id, kind, bound) in streams.into_iter().flatten() {
            system.extend_from_slice(&[id, bound[0], bound[1]]);
            map.extend_from_slice(&[kind, id, 0, 0]);
        }
        let listed = (map.len() - 6) as u16;
        map[4..6].copy_from_slice(&listed.to_be_bytes());
        part(0xBB, &system, out);
        let start = out.len();
        // Four more for the checksum, which the length counts.
        map.extend_from_slice(&[0; 4]);
        part(0xBC, &map, out);
        let end = out.len() - 4;
        let sum = crc(&out[start..end]);
        out[end..].copy_from_slice(&sum.to_be_bytes());
    }
}

fn part(id: u8, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 1, id]);
    out.extend_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend_from_slice(body);
}

fn pes(id: u8, pts: Option<u64>, payload: &[u8], out: &mut Vec<u8>) {
    let header = if pts.is_some() { 5 } else { 0 };
    out.extend_from_slice(&[0, 0, 1, id]);
    out.extend_from_slice(&((3 + header + payload.len()) as u16).to_be_bytes());
    // Data alignment; whether a PTS follows; how long it is.
    out.extend_from_slice(&[0x84, if pts.is_some() { 0x80 } else { 0 }, header as u8]);
    if let Some(pts) = pts {
        write_timestamp(out, 2, pts);
    }
    out.extend_from_slice(payload);
}

fn adts(header: AacHeader, data: usize) -> [u8; 7] {
    let length = data + 7;
    [
        0xFF,
        0xF1,
        (header.object_type.max(1) - 1) << 6 | header.rate_index << 2 | header.channels >> 2,
        header.channels << 6 | (length >> 11) as u8 & 3,
        (length >> 3) as u8,
        (length << 5) as u8 | 0x1F,
        0xFC,
    ]
}

/// CRC-32 of MPEG-2 (ISO/IEC 13818-1 annex A).
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8)
            .fold(sum ^ u32::from(*byte) << 24, |sum, _| if sum >> 31 == 1 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 })
    })
}
