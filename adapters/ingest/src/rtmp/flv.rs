//! Media in the bodies of audio and video messages (Adobe, Video File Format 10.1 annex E; Veovera, Enhanced RTMP 2).
//!
//! Pictures come in decoding order with the time at which they are shown, as RTP has them. Parameter sets stand
//! before each picture that a decoder can start at.

use super::clock::Clock;
use bytes::Bytes;
use rongtong_media_core::device::DeviceItem;
use rongtong_media_core::media::Codec;
use rongtong_media_core::mpeg::AacHeader;
use rongtong_media_core::rtp::access_unit::AccessUnit;
use rongtong_media_core::rtp::{h264, h265};
use std::collections::BTreeSet;

/// NAL units of one picture.
const MAX_NALS: usize = 4_096;
/// Parameter sets that a decoder's configuration has, and the longest.
const MAX_SETS: usize = 32;
const LONGEST_SET: usize = 16 << 10;
/// Extensions before the kind of packet.
const MAX_EXTENSIONS: usize = 8;

#[derive(Debug, Default)]
pub struct Media {
    clock: Clock,
    video: Option<Video>,
    aac: Option<AacHeader>,
    refused: BTreeSet<&'static str>,
}

/// A decoder's configuration.
#[derive(Debug)]
struct Video {
    codec: Codec,
    /// Of the length before each NAL unit.
    length_size: usize,
    sets: Vec<Bytes>,
}

/// What is wrong with a body. The peer's fault; the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    #[error("the body ends too early")]
    Short,
    #[error("pictures come before their decoder's configuration")]
    NoConfiguration,
    #[error("a decoder's configuration that cannot be")]
    Configuration,
}

/// Takes from the front.
fn take<'a, const N: usize>(body: &mut &'a [u8]) -> Result<&'a [u8; N], FlvError> {
    let (taken, rest) = body.split_first_chunk::<N>().ok_or(FlvError::Short)?;
    *body = rest;
    Ok(taken)
}

fn take_some<'a>(body: &mut &'a [u8], count: usize) -> Result<&'a [u8], FlvError> {
    let (taken, rest) = body.split_at_checked(count).ok_or(FlvError::Short)?;
    *body = rest;
    Ok(taken)
}

fn signed_24([high, middle, low]: [u8; 3]) -> i32 {
    i32::from_be_bytes([high, middle, low, 0]) >> 8
}

enum Packet {
    Configuration,
    /// With the offset of the presentation time in ms.
    Frames(i32),
    Nothing,
}

impl Media {
    /// The body of a video message.
    pub fn video(&mut self, time: u32, body: &Bytes, out: &mut Vec<DeviceItem>) -> Result<(), FlvError> {
        let mut rest = &body[..];
        let Ok(&[first]) = take::<1>(&mut rest) else { return Ok(()) };
        if first & 0x80 != 0 {
            return self.enhanced_video(time, body, first, rest, out);
        }
        // Frame type 5 is a command to the viewer.
        if first >> 4 == 5 {
            return Ok(());
        }
        let codec = match first & 0x0F {
            7 => Codec::H264,
            // Nobody's standard, but what cameras and drones sent before there was one.
            12 => Codec::H265,
            2 => return self.refuse("H.263 video", out),
            3 | 6 => return self.refuse("screen video", out),
            4 | 5 => return self.refuse("VP6 video", out),
            13 => return self.refuse("AV1 video", out),
            _ => return self.refuse("unknown video", out),
        };
        let packet = match *take::<4>(&mut rest)? {
            [0, ..] => Packet::Configuration,
            [1, high, middle, low] => Packet::Frames(signed_24([high, middle, low])),
            _ => Packet::Nothing,
        };
        self.pictures(time, codec, packet, &body.slice_ref(rest), out)
    }

    fn enhanced_video(
        &mut self,
        time: u32,
        body: &Bytes,
        first: u8,
        mut rest: &[u8],
        out: &mut Vec<DeviceItem>,
    ) -> Result<(), FlvError> {
        let mut kind = first & 0x0F;
        let command = first >> 4 & 7 == 5;
        skip_extensions(&mut kind, &mut rest)?;
        if kind == 6 {
            return self.refuse("multitrack video", out);
        }
        if command && kind != 4 {
            return Ok(());
        }
        let codec = match take::<4>(&mut rest)? {
            b"avc1" => Codec::H264,
            b"hvc1" => Codec::H265,
            b"av01" => return self.refuse("AV1 video", out),
            b"vp08" => return self.refuse("VP8 video", out),
            b"vp09" => return self.refuse("VP9 video", out),
            b"vvc1" => return self.refuse("H.266 video", out),
            _ => return self.refuse("unknown video", out),
        };
        let packet = match kind {
            0 => Packet::Configuration,
            1 => Packet::Frames(signed_24(*take(&mut rest)?)),
            3 => Packet::Frames(0),
            _ => Packet::Nothing,
        };
        self.pictures(time, codec, packet, &body.slice_ref(rest), out)
    }

    fn pictures(
        &mut self,
        time: u32,
        codec: Codec,
        packet: Packet,
        body: &Bytes,
        out: &mut Vec<DeviceItem>,
    ) -> Result<(), FlvError> {
        match packet {
            Packet::Nothing => Ok(()),
            Packet::Configuration => {
                self.video = Some(if codec == Codec::H264 { avc(body)? } else { hevc(body)? });
                Ok(())
            }
            Packet::Frames(offset) => {
                let timestamp = self.clock.ticks(time, offset);
                let video = self.video.as_mut().filter(|video| video.codec == codec);
                let unit = video.ok_or(FlvError::NoConfiguration)?.unit(timestamp, body);
                if !unit.nals.is_empty() {
                    out.push(DeviceItem::Picture { codec, unit });
                }
                Ok(())
            }
        }
    }

    /// The body of an audio message.
    pub fn audio(&mut self, time: u32, body: &Bytes, out: &mut Vec<DeviceItem>) -> Result<(), FlvError> {
        let mut rest = &body[..];
        let Ok(&[first]) = take::<1>(&mut rest) else { return Ok(()) };
        let codec = match first >> 4 {
            7 => Codec::Pcma,
            8 => Codec::Pcmu,
            9 => return self.enhanced_audio(time, body, first, rest, out),
            10 => {
                let [kind] = *take::<1>(&mut rest)?;
                return self.aac(time, kind, &body.slice_ref(rest), out);
            }
            0 | 3 => return self.refuse("PCM", out),
            1 => return self.refuse("ADPCM", out),
            2 | 14 => return self.refuse("MP3", out),
            4..=6 => return self.refuse("Nellymoser", out),
            11 => return self.refuse("Speex", out),
            13 => return self.refuse("Opus", out),
            _ => return self.refuse("unknown sound", out),
        };
        if !rest.is_empty() {
            let time = self.clock.ticks(time, 0);
            out.push(DeviceItem::Sound { codec, aac: None, time, data: body.slice_ref(rest) });
        }
        Ok(())
    }

    fn enhanced_audio(
        &mut self,
        time: u32,
        body: &Bytes,
        first: u8,
        mut rest: &[u8],
        out: &mut Vec<DeviceItem>,
    ) -> Result<(), FlvError> {
        let mut kind = first & 0x0F;
        skip_extensions(&mut kind, &mut rest)?;
        if kind == 5 {
            return self.refuse("multitrack sound", out);
        }
        match take::<4>(&mut rest)? {
            b"mp4a" => self.aac(time, kind, &body.slice_ref(rest), out),
            b"Opus" => self.refuse("Opus", out),
            b"fLaC" => self.refuse("FLAC", out),
            b".mp3" => self.refuse("MP3", out),
            b"ac-3" | b"ec-3" => self.refuse("AC-3", out),
            _ => self.refuse("unknown sound", out),
        }
    }

    /// 0 is the configuration, 1 a frame, in both forms of the header.
    fn aac(&mut self, time: u32, kind: u8, body: &Bytes, out: &mut Vec<DeviceItem>) -> Result<(), FlvError> {
        match (kind, self.aac) {
            (0, _) => match aac(body) {
                Some(header) => self.aac = Some(header),
                None => {
                    self.aac = None;
                    return self.refuse("AAC of an unusual kind", out);
                }
            },
            (1, Some(header)) if !body.is_empty() && body.len() < 1 << 13 => {
                let time = self.clock.ticks(time, 0);
                out.push(DeviceItem::Sound { codec: Codec::Aac, aac: Some(header), time, data: body.clone() });
            }
            _ => {}
        }
        Ok(())
    }

    /// Said once.
    fn refuse(&mut self, name: &'static str, out: &mut Vec<DeviceItem>) -> Result<(), FlvError> {
        if self.refused.insert(name) {
            out.push(DeviceItem::Refused(name));
        }
        Ok(())
    }
}

/// Enhanced RTMP 2, ModEx: each has its length less one, its bytes, and the next kind.
fn skip_extensions(kind: &mut u8, rest: &mut &[u8]) -> Result<(), FlvError> {
    for _ in 0..MAX_EXTENSIONS {
        if *kind != 7 {
            return Ok(());
        }
        let mut length = usize::from(take::<1>(rest)?[0]) + 1;
        if length == 256 {
            length = usize::from(u16::from_be_bytes(*take(rest)?)) + 1;
        }
        take_some(rest, length)?;
        *kind = take::<1>(rest)?[0] & 0x0F;
    }
    Err(FlvError::Short)
}

impl Video {
    fn set_kind(&self, nal: &[u8]) -> bool {
        match self.codec {
            Codec::H264 => matches!(h264::type_of(nal), Some(h264::nal_type::SPS | h264::nal_type::PPS)),
            _ => matches!(h265::type_of(nal), Some(h265::nal_type::VPS..=h265::nal_type::PPS)),
        }
    }

    fn unit(&mut self, timestamp: u32, body: &Bytes) -> AccessUnit {
        let mut unit = AccessUnit { timestamp, complete: true, ..AccessUnit::default() };
        let mut rest = &body[..];
        while !rest.is_empty() {
            let nal = take_some(&mut rest, self.length_size).and_then(|length| {
                let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
                take_some(&mut rest, length)
            });
            match nal {
                Ok([]) => {}
                Ok(nal) if unit.nals.len() < MAX_NALS => unit.nals.push(body.slice_ref(nal)),
                Ok(_) | Err(_) => {
                    unit.complete = false;
                    break;
                }
            }
        }
        unit.key = unit.nals.iter().any(|nal| match self.codec {
            Codec::H264 => h264::type_of(nal) == Some(5),
            _ => matches!(h265::type_of(nal), Some(16..=21)),
        });
        if !unit.key {
            return unit;
        }
        let own: Vec<Bytes> = unit.nals.iter().filter(|nal| self.set_kind(nal)).take(MAX_SETS).cloned().collect();
        if own.is_empty() {
            // A delimiter of access units stands before them.
            let delimiter = unit.nals.first().is_some_and(|nal| match self.codec {
                Codec::H264 => h264::type_of(nal) == Some(9),
                _ => h265::type_of(nal) == Some(35),
            });
            let at = usize::from(delimiter);
            unit.nals.splice(at..at, self.sets.iter().cloned());
        }
        unit
    }
}

/// Sets of a configuration, copied so that they hold nothing else.
fn read_sets(rest: &mut &[u8], count: usize, sets: &mut Vec<Bytes>) -> Result<(), FlvError> {
    for _ in 0..count {
        let length = usize::from(u16::from_be_bytes(*take(rest)?));
        let set = take_some(rest, length)?;
        if sets.len() >= MAX_SETS || length > LONGEST_SET {
            return Err(FlvError::Configuration);
        }
        if !set.is_empty() {
            sets.push(Bytes::copy_from_slice(set));
        }
    }
    Ok(())
}

/// AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1).
fn avc(body: &[u8]) -> Result<Video, FlvError> {
    let mut rest = body;
    let head = take::<6>(&mut rest)?;
    let length_size = usize::from(head[4] & 3) + 1;
    let mut sets = Vec::new();
    read_sets(&mut rest, usize::from(head[5] & 0x1F), &mut sets)?;
    let [count] = *take::<1>(&mut rest)?;
    read_sets(&mut rest, count.into(), &mut sets)?;
    Ok(Video { codec: Codec::H264, length_size, sets })
}

/// HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 8.3.3.1).
fn hevc(body: &[u8]) -> Result<Video, FlvError> {
    let mut rest = body;
    let head = take::<23>(&mut rest)?;
    let length_size = usize::from(head[21] & 3) + 1;
    let mut sets = Vec::new();
    for _ in 0..head[22] {
        let [kind, high, low] = *take::<3>(&mut rest)?;
        let mut found = Vec::new();
        read_sets(&mut rest, usize::from(u16::from_be_bytes([high, low])), &mut found)?;
        // Others are messages that belong to no picture.
        if matches!(kind & 0x3F, h265::nal_type::VPS..=h265::nal_type::PPS) {
            sets.extend(found);
        }
    }
    if sets.len() > MAX_SETS {
        return Err(FlvError::Configuration);
    }
    Ok(Video { codec: Codec::H265, length_size, sets })
}

/// AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1), of kinds that fit the cameras' two bytes.
fn aac(config: &[u8]) -> Option<AacHeader> {
    let [first, second, ..] = *config else { return None };
    let mut bits = u64::from(first) << 24 | u64::from(second) << 16;
    for (at, byte) in config.iter().skip(2).take(2).enumerate() {
        bits |= u64::from(*byte) << (8 - at * 8);
    }
    let at = |from: u32, count: u32| (bits >> (32 - from - count) & ((1 << count) - 1)) as u8;
    let (mut object_type, rate_index, channels) = (at(0, 5), at(5, 4), at(9, 4));
    // Spectral band replication over a core that a plain decoder plays.
    if matches!(object_type, 5 | 29) {
        if at(13, 4) == 15 {
            return None;
        }
        object_type = at(17, 5);
    }
    let usual = (1..=4).contains(&object_type) && rate_index <= 12 && (1..=7).contains(&channels);
    usual.then_some(AacHeader { object_type, rate_index, channels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AVCC: [u8; 19] = [1, 66, 0, 30, 0xFF, 0xE1, 0, 4, 0x67, 66, 0, 30, 1, 0, 4, 0x68, 1, 2, 3];

    fn video(media: &mut Media, time: u32, parts: &[&[u8]]) -> Vec<DeviceItem> {
        let mut out = Vec::new();
        media.video(time, &Bytes::from(parts.concat()), &mut out).unwrap();
        out
    }

    fn hvcc() -> Vec<u8> {
        let mut record = vec![1; 21];
        record.extend([0xFF, 3]);
        for kind in [32u8, 33, 34] {
            record.extend([0x80 | kind, 0, 1, 0, 3, kind << 1, 1, 7]);
        }
        record
    }

    #[test]
    fn parameter_sets_stand_before_each_keyframe() {
        let mut media = Media::default();
        assert!(video(&mut media, 0, &[&[0x17, 0, 0, 0, 0], &AVCC]).is_empty());
        let [DeviceItem::Picture { codec: Codec::H264, unit }] =
            &video(&mut media, 0, &[&[0x17, 1, 0, 0, 40], &[0, 0, 0, 2, 0x65, 1]])[..]
        else {
            panic!()
        };
        assert_eq!((unit.timestamp, unit.key, unit.complete), (3_600, true, true), "shown 40 ms later");
        let kinds: Vec<_> = unit.nals.iter().map(|nal| nal[0] & 0x1F).collect();
        assert_eq!(kinds, [7, 8, 5]);
        let inter = video(&mut media, 40, &[&[0x27, 1, 0xFF, 0xFF, 0xD8], &[0, 0, 0, 2, 0x41, 1]]);
        let [DeviceItem::Picture { unit, .. }] = &inter[..] else { panic!() };
        assert_eq!((unit.timestamp, unit.nals.len(), unit.key), (0, 1, false), "shown 40 ms earlier");
    }

    #[test]
    fn h265_in_all_its_forms() {
        let picture = [&[0, 0, 0, 3][..], &[19 << 1, 1, 0x80]].concat();
        let forms: [(&[u8], &[u8]); 4] = [
            (&[0x1C, 0, 0, 0, 0], &[0x1C, 1, 0, 0, 0]),
            (b"\x90hvc1", b"\x91hvc1\0\0\0"),
            (b"\x90hvc1", b"\x93hvc1"),
            // With an extension of three bytes before the kind.
            (b"\x90hvc1", b"\x97\x02\0\0\0\x01hvc1\0\0\0"),
        ];
        for (configuration, frames) in forms {
            let mut media = Media::default();
            assert!(video(&mut media, 0, &[configuration, &hvcc()]).is_empty());
            let items = video(&mut media, 0, &[frames, &picture]);
            let [DeviceItem::Picture { codec: Codec::H265, unit }] = &items[..] else { panic!("{frames:?}") };
            assert_eq!((unit.key, unit.nals.len(), unit.complete), (true, 4, true));
            assert!(video(&mut media, 40, &[b"\x94hvc1", b"colours"]).is_empty());
            assert!(video(&mut media, 40, &[b"\x92hvc1"]).is_empty());
        }
    }

    #[test]
    fn a_picture_that_ends_too_early_is_marked() {
        let mut media = Media::default();
        video(&mut media, 0, &[&[0x17, 0, 0, 0, 0], &AVCC]);
        for cut in [&[0, 0, 0, 9, 0x65, 1][..], &[0, 0, 0, 2, 0x65, 1, 0, 0], &[0xFF; 9]] {
            let items = video(&mut media, 0, &[&[0x17, 1, 0, 0, 0], cut]);
            assert!(items.iter().all(|item| matches!(item, DeviceItem::Picture { unit, .. } if !unit.complete)));
        }
    }

    #[test]
    fn what_is_not_taken_is_named_once() {
        let mut media = Media::default();
        let mut out = Vec::new();
        for _ in 0..3 {
            media.video(0, &Bytes::from_static(b"\x90av01"), &mut out).unwrap();
            media.video(0, &Bytes::from_static(&[0x12, 0]), &mut out).unwrap();
            media.audio(0, &Bytes::from_static(&[0x2F, 0]), &mut out).unwrap();
            media.audio(0, &Bytes::from_static(b"\x90Opus"), &mut out).unwrap();
        }
        let names: Vec<_> =
            out.iter().map(|item| if let DeviceItem::Refused(name) = item { *name } else { "" }).collect();
        assert_eq!(names, ["AV1 video", "H.263 video", "MP3", "Opus"]);
    }

    #[test]
    fn sound() {
        let mut media = Media::default();
        let mut out = Vec::new();
        for body in [&[0xAF, 0, 0x12, 0x10][..], &[0xAF, 1, 1, 2, 3], &[0x7E, 0xD5], &[0x8E, 0xFF], b"\x91mp4a\x01"] {
            media.audio(20, &Bytes::copy_from_slice(body), &mut out).unwrap();
        }
        let told: Vec<_> = out
            .iter()
            .map(|item| {
                let DeviceItem::Sound { codec, aac, data, .. } = item else { panic!() };
                (*codec, aac.map(AacHeader::rate), data.len())
            })
            .collect();
        let expected = [(Codec::Aac, Some(44_100), 3), (Codec::Pcma, None, 1), (Codec::Pcmu, None, 1)];
        assert_eq!(told[..3], expected);
        assert_eq!(told[3], (Codec::Aac, Some(44_100), 1));
    }

    #[test]
    fn configurations_of_aac() {
        let header = |object_type, rate_index, channels| Some(AacHeader { object_type, rate_index, channels });
        assert_eq!(aac(&[0x11, 0x90]), header(2, 3, 2));
        // HE-AAC that says so: 24 kHz, played as 48.
        assert_eq!(aac(&[0x2B, 0x11, 0x88, 0x00]), header(2, 6, 2));
        for odd in [&[][..], &[0x12], &[0x12, 0x00], &[0x17, 0x80], &[0xFF, 0xFF]] {
            assert_eq!(aac(odd), None, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bodies_are_read_or_refused(
            bodies in proptest::collection::vec((any::<bool>(), any::<u32>(), proptest::collection::vec(any::<u8>(), 0..80)), 0..20),
            configured: bool,
        ) {
            let (mut media, mut out) = (Media::default(), Vec::new());
            if configured {
                video(&mut media, 0, &[&[0x17, 0, 0, 0, 0], &AVCC]);
            }
            for (picture, time, body) in bodies {
                let body = Bytes::from(body);
                let _ = if picture { media.video(time, &body, &mut out) } else { media.audio(time, &body, &mut out) };
            }
            prop_assert!(out.len() <= 20 + 8);
        }
    }
}
