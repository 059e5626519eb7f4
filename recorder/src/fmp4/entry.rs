//! Sample entries: how a track says what decoder it needs, and the same as RFC 6381's string.

use super::boxes::Boxes;
use bytes::Bytes;

/// Opus in MP4 always counts at this rate, Hz.
const OPUS_RATE: u32 = 48_000;

/// Bytes of a visual sample entry before its own boxes, its header included (ISO/IEC 14496-12 12.1.3).
pub(super) const VISUAL_ENTRY: usize = 86;

/// The same of an audio one (12.2.3).
pub(super) const AUDIO_ENTRY: usize = 36;

/// What a decoder must know before the first sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleEntry {
    /// `config` is the AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1).
    Aac {
        rate: u32,
        channels: u8,
        config: Bytes,
    },
    Avc(AvcConfig),
    /// G.711 under QuickTime's names; desktop players read it, browsers do not.
    G711 {
        law: G711Law,
        rate: u32,
        channels: u8,
    },
    Hevc(HevcConfig),
    /// `pre_skip` is in 48 kHz samples (RFC 7845 5.1).
    Opus {
        channels: u8,
        pre_skip: u16,
    },
    Vp8 {
        width: u16,
        height: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum G711Law {
    A,
    Mu,
}

/// Parameter sets as whole NAL units, header included, emulation bytes in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvcConfig {
    pub width: u16,
    pub height: u16,
    pub sps: Vec<Bytes>,
    pub pps: Vec<Bytes>,
    pub chroma_format: u8,
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
}

/// As [`AvcConfig`]; `profile_tier_level` is the SPS's twelve bytes of that name
/// (profile space to level, Rec. H.265 7.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HevcConfig {
    pub width: u16,
    pub height: u16,
    pub vps: Vec<Bytes>,
    pub sps: Vec<Bytes>,
    pub pps: Vec<Bytes>,
    pub profile_tier_level: [u8; 12],
    pub temporal_layers: u8,
    pub temporal_nested: bool,
    pub chroma_format: u8,
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
}

impl SampleEntry {
    /// The `codecs` parameter of RFC 6381, as HLS and MSE want it.
    pub fn codecs(&self) -> String {
        match self {
            Self::Aac { config, .. } => {
                let object = config.first().map_or(2, |byte| byte >> 3);
                format!("mp4a.40.{object}")
            }
            Self::Avc(avc) => {
                let head = avc.sps.first().and_then(|sps| sps.get(1..4)).unwrap_or(&[0x42, 0xe0, 0x1f]);
                format!("avc1.{:02X}{:02X}{:02X}", head[0], head[1], head[2])
            }
            Self::G711 { law: G711Law::A, .. } => "alaw".to_owned(),
            Self::G711 { law: G711Law::Mu, .. } => "ulaw".to_owned(),
            Self::Hevc(hevc) => hevc.codecs(),
            Self::Opus { .. } => "opus".to_owned(),
            Self::Vp8 { .. } => "vp08.00.10.08".to_owned(),
        }
    }

    pub fn is_video(&self) -> bool {
        self.dimensions().is_some()
    }

    /// Width and height in pixels; `None` for sound.
    pub fn dimensions(&self) -> Option<(u16, u16)> {
        match self {
            Self::Avc(AvcConfig { width, height, .. })
            | Self::Hevc(HevcConfig { width, height, .. })
            | Self::Vp8 { width, height } => Some((*width, *height)),
            Self::Aac { .. } | Self::G711 { .. } | Self::Opus { .. } => None,
        }
    }

    pub(super) fn write(&self, b: &mut Boxes) {
        match self {
            Self::Aac { rate, channels, config } => sound(b, b"mp4a", *channels, *rate, |b| esds(b, config)),
            Self::Avc(avc) => picture(b, b"avc1", avc.width, avc.height, |b| avc.write(b)),
            Self::G711 { law, rate, channels } => {
                let kind = match law {
                    G711Law::A => b"alaw",
                    G711Law::Mu => b"ulaw",
                };
                sound(b, kind, *channels, *rate, |_| ());
            }
            Self::Hevc(hevc) => picture(b, b"hvc1", hevc.width, hevc.height, |b| hevc.write(b)),
            Self::Opus { channels, pre_skip } => sound(b, b"Opus", *channels, OPUS_RATE, |b| {
                b.boxed(b"dOps", |b| {
                    b.u8(0);
                    b.u8(*channels);
                    b.u16(*pre_skip);
                    // Meant to be the source's rate; Chromium refuses any but the entry's.
                    b.u32(OPUS_RATE);
                    b.u16(0); // output gain
                    b.u8(0); // mapping family
                });
            }),
            Self::Vp8 { width, height } => picture(b, b"vp08", *width, *height, |b| {
                b.full(b"vpcC", 1, 0, |b| {
                    // profile 0, level 1.0, 8 bit 4:2:0 video range, colours unspecified
                    b.bytes(&[0, 10, 8 << 4 | 1 << 1, 2, 2, 2]);
                    b.u16(0);
                });
            }),
        }
    }
}

impl AvcConfig {
    fn write(&self, b: &mut Boxes) {
        let head: [u8; 3] = self
            .sps
            .first()
            .and_then(|sps| sps.get(1..4))
            .and_then(|h| h.try_into().ok())
            .unwrap_or([0x42, 0xe0, 0x1f]);
        b.boxed(b"avcC", |b| {
            b.u8(1);
            b.bytes(&head);
            b.u8(0xfc | 3); // four length bytes
            sets(b, 0xe0, self.sps.iter().take(31));
            sets(b, 0, self.pps.iter().take(255));
            if matches!(head[0], 100 | 110 | 122 | 144) {
                b.u8(0xfc | self.chroma_format & 3);
                b.u8(0xf8 | self.bit_depth_luma.saturating_sub(8) & 7);
                b.u8(0xf8 | self.bit_depth_chroma.saturating_sub(8) & 7);
                b.u8(0);
            }
        });
    }
}

fn sets<'a>(b: &mut Boxes, high_bits: u8, sets: impl Iterator<Item = &'a Bytes> + Clone) {
    b.u8(high_bits | u8::try_from(sets.clone().count()).unwrap_or(0));
    for set in sets {
        let length = u16::try_from(set.len()).unwrap_or(0);
        b.u16(length);
        b.bytes(&set[..usize::from(length)]);
    }
}

impl HevcConfig {
    fn write(&self, b: &mut Boxes) {
        b.boxed(b"hvcC", |b| {
            b.u8(1);
            b.bytes(&self.profile_tier_level);
            b.u16(0xf000); // no spatial segmentation known
            b.u8(0xfc); // parallelism unknown
            b.u8(0xfc | self.chroma_format & 3);
            b.u8(0xf8 | self.bit_depth_luma.saturating_sub(8) & 7);
            b.u8(0xf8 | self.bit_depth_chroma.saturating_sub(8) & 7);
            b.u16(0); // frame rate unknown
            b.u8((self.temporal_layers & 7) << 3 | u8::from(self.temporal_nested) << 2 | 3);
            b.u8(3);
            for (nal, list) in [(32u8, &self.vps), (33, &self.sps), (34, &self.pps)] {
                b.u8(0x80 | nal);
                b.u8(0);
                sets(b, 0, list.iter().take(16));
            }
        });
    }

    /// ISO/IEC 14496-15 annex E.3: `hvc1.1.6.L93.B0`.
    fn codecs(&self) -> String {
        let ptl = &self.profile_tier_level;
        let space = ["", "A", "B", "C"][usize::from(ptl[0] >> 6)];
        let tier = if ptl[0] & 0x20 == 0 { 'L' } else { 'H' };
        let compatible = u32::from_be_bytes([ptl[1], ptl[2], ptl[3], ptl[4]]).reverse_bits();
        let mut text = format!("hvc1.{space}{}.{compatible:X}.{tier}{}", ptl[0] & 0x1f, ptl[11]);
        let last = ptl[5..11].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        for byte in &ptl[5..5 + last] {
            text.push_str(&format!(".{byte:X}"));
        }
        text
    }
}

fn picture(b: &mut Boxes, kind: &[u8; 4], width: u16, height: u16, config: impl FnOnce(&mut Boxes)) {
    b.boxed(kind, |b| {
        b.zeros(6);
        b.u16(1); // data reference
        b.zeros(16);
        b.u16(width);
        b.u16(height);
        b.u32(0x0048_0000); // 72 dpi
        b.u32(0x0048_0000);
        b.zeros(4);
        b.u16(1); // frames in a sample
        b.zeros(32); // compressor's name
        b.u16(24);
        b.u16(0xffff);
        config(b);
    });
}

fn sound(b: &mut Boxes, kind: &[u8; 4], channels: u8, rate: u32, config: impl FnOnce(&mut Boxes)) {
    b.boxed(kind, |b| {
        b.zeros(6);
        b.u16(1);
        b.zeros(8);
        b.u16(u16::from(channels));
        b.u16(16);
        b.zeros(4);
        b.u32(rate.min(0xffff) << 16);
        config(b);
    });
}

/// ISO/IEC 14496-1 7.2.6: ES descriptor around the AudioSpecificConfig.
fn esds(b: &mut Boxes, config: &[u8]) {
    let config = &config[..config.len().min(64)];
    let length = config.len() as u8;
    b.full(b"esds", 0, 0, |b| {
        b.bytes(&[3, 3 + 5 + 10 + 5 + length, 0, 1, 0]);
        // audio stream, MPEG-4 audio, no buffer size or rates
        b.bytes(&[4, 13 + 2 + length, 0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        b.bytes(&[5, length]);
        b.bytes(config);
        b.bytes(&[6, 1, 2]);
    });
}
