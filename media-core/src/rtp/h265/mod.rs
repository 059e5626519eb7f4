//! H.265 in RTP: keyframes, parameter sets, and access units for recording.
//!
//! Standards: RFC 7798 4.4 (payload structures, without DONL), ITU-T H.265 table 7-1.

mod sps;

pub use sps::SpsInfo;

use bytes::Bytes;
use smallvec::SmallVec;

use super::access_unit::{AccessUnit, Assembler};

/// What is wrong with a payload. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum H265Error {
    #[error("the sender's H.265 packet type {0} is not one of single, aggregation and fragment")]
    PacketType(u8),
    #[error("the sender's H.265 payload ends too early")]
    TooShort,
}

/// NAL unit types, H.265 table 7-1 and RFC 7798 4.4.
pub mod nal_type {
    /// First and last of the random access pictures.
    pub const IRAP_FIRST: u8 = 16;
    pub const IRAP_LAST: u8 = 23;
    pub const VPS: u8 = 32;
    pub const SPS: u8 = 33;
    pub const PPS: u8 = 34;
    pub const AGGREGATION: u8 = 48;
    pub const FRAGMENT: u8 = 49;
}

/// The type in a NAL unit's or payload's two-byte header.
pub fn type_of(nal: &[u8]) -> Option<u8> {
    nal.first_chunk::<2>().map(|[high, _]| high >> 1 & 0x3f)
}

/// A part of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nal<'a> {
    /// `header` is that of the NAL unit the piece belongs to; `data` goes behind it.
    Fragment {
        header: [u8; 2],
        start: bool,
        end: bool,
        data: &'a [u8],
    },
    Whole(&'a [u8]),
}

impl Nal<'_> {
    pub fn nal_type(&self) -> u8 {
        match self {
            Self::Fragment { header, .. } => type_of(header).unwrap_or(0),
            Self::Whole(nal) => type_of(nal).unwrap_or(0),
        }
    }
}

/// The NAL units of one payload. Ends after the first error.
pub fn nals(payload: &[u8]) -> NalIter<'_> {
    NalIter { rest: payload, aggregate: false }
}

#[derive(Debug, Clone)]
pub struct NalIter<'a> {
    rest: &'a [u8],
    aggregate: bool,
}

impl<'a> Iterator for NalIter<'a> {
    type Item = Result<Nal<'a>, H265Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let payload = std::mem::take(&mut self.rest);
        if payload.is_empty() {
            return None;
        }
        if self.aggregate {
            return Some(self.next_aggregated(payload));
        }
        let Some((&[high, low], body)) = payload.split_first_chunk::<2>() else {
            return Some(Err(H265Error::TooShort));
        };
        Some(match high >> 1 & 0x3f {
            0..=47 => Ok(Nal::Whole(payload)),
            nal_type::AGGREGATION => {
                self.aggregate = true;
                self.next_aggregated(body)
            }
            nal_type::FRAGMENT => match body.split_first() {
                Some((&fu, data)) => Ok(Nal::Fragment {
                    header: [high & 0x81 | (fu & 0x3f) << 1, low],
                    start: fu & 0x80 != 0,
                    end: fu & 0x40 != 0,
                    data,
                }),
                None => Err(H265Error::TooShort),
            },
            other => Err(H265Error::PacketType(other)),
        })
    }
}

impl<'a> NalIter<'a> {
    fn next_aggregated(&mut self, units: &'a [u8]) -> Result<Nal<'a>, H265Error> {
        let (len, rest) = units.split_first_chunk::<2>().ok_or(H265Error::TooShort)?;
        let (nal, rest) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(*len)))
            .filter(|(nal, _)| nal.len() >= 2)
            .ok_or(H265Error::TooShort)?;
        self.rest = rest;
        Ok(Nal::Whole(nal))
    }
}

/// The payload begins a keyframe: it has a VPS or SPS, or the first piece of the first slice of a
/// random access picture.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    nals(payload).map_while(Result::ok).any(|nal| {
        // first_slice_segment_in_pic_flag is the first bit behind the header.
        let first_slice = |data: &[u8]| data.first().is_some_and(|byte| byte & 0x80 != 0);
        match (nal.nal_type(), nal) {
            (nal_type::VPS | nal_type::SPS, Nal::Whole(_)) => true,
            (nal_type::VPS | nal_type::SPS, Nal::Fragment { start, .. }) => start,
            (nal_type::IRAP_FIRST..=nal_type::IRAP_LAST, Nal::Whole(nal)) => nal.get(2..).is_some_and(first_slice),
            (nal_type::IRAP_FIRST..=nal_type::IRAP_LAST, Nal::Fragment { start, data, .. }) => {
                start && first_slice(data)
            }
            _ => false,
        }
    })
}

/// The parameter sets of an access unit, for the decoder configuration of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParameterSets {
    pub vps: Option<Bytes>,
    pub sps: Option<Bytes>,
    pub pps: Option<Bytes>,
}

impl ParameterSets {
    /// Takes over those that the unit has.
    pub fn update(&mut self, unit: &AccessUnit) {
        for nal in &unit.nals {
            match type_of(nal) {
                Some(nal_type::VPS) => self.vps = Some(nal.clone()),
                Some(nal_type::SPS) => self.sps = Some(nal.clone()),
                Some(nal_type::PPS) => self.pps = Some(nal.clone()),
                _ => {}
            }
        }
    }

    pub fn is_complete(&self) -> bool {
        self.vps.is_some() && self.sps.is_some() && self.pps.is_some()
    }
}

/// Puts the access units of one stream together.
#[derive(Debug)]
pub struct Depacketizer {
    assembler: Assembler,
}

impl Depacketizer {
    /// `max_bytes` bounds one access unit.
    pub fn new(max_bytes: usize) -> Self {
        Self { assembler: Assembler::new(max_bytes, read_payload, is_irap) }
    }

    /// Takes packets in order of extended sequence number; late ones are ignored. A unit ends with
    /// the marker or when the time changes, so one packet can end two.
    pub fn push(&mut self, seq: u64, timestamp: u32, marker: bool, payload: &Bytes) -> SmallVec<[AccessUnit; 2]> {
        self.assembler.push(seq, timestamp, marker, payload)
    }

    /// The unit under construction, at the end of the stream.
    pub fn finish(&mut self) -> Option<AccessUnit> {
        self.assembler.finish()
    }

    /// Units that were not complete so far.
    pub fn incomplete(&self) -> u64 {
        self.assembler.incomplete()
    }
}

fn read_payload(payload: &Bytes, assembler: &mut Assembler) {
    for nal in nals(payload) {
        match nal {
            Ok(Nal::Whole(nal)) => assembler.nal(payload, nal),
            Ok(Nal::Fragment { header, start, end, data }) => {
                assembler.fragment(&header, start, end, data);
            }
            Err(_) => assembler.damage(),
        }
    }
}

fn is_irap(nal: &[u8]) -> bool {
    matches!(type_of(nal), Some(nal_type::IRAP_FIRST..=nal_type::IRAP_LAST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VPS: &[u8] = &[0x40, 0x01, 0x0c];
    const SPS: &[u8] = &[0x42, 0x01, 0x01];
    const PPS: &[u8] = &[0x44, 0x01, 0xc1];

    fn aggregation() -> Bytes {
        let mut payload = vec![0x60, 0x01];
        for nal in [VPS, SPS, PPS] {
            payload.extend_from_slice(&(nal.len() as u16).to_be_bytes());
            payload.extend_from_slice(nal);
        }
        payload.into()
    }

    #[test]
    fn keyframes_begin_with_parameter_sets_or_a_first_slice() {
        assert!(starts_keyframe(&aggregation()));
        assert!(starts_keyframe(&[0x26, 0x01, 0xaf]), "IDR_W_RADL");
        assert!(starts_keyframe(&[0x2a, 0x01, 0x80]), "CRA");
        assert!(!starts_keyframe(&[0x26, 0x01, 0x2f]), "a later slice");
        assert!(starts_keyframe(&[0x62, 0x01, 0x93, 0xaf]), "the first fragment of an IDR");
        assert!(!starts_keyframe(&[0x62, 0x01, 0x13, 0xaf]), "a later fragment");
        assert!(!starts_keyframe(&[0x02, 0x01, 0xd0]), "TRAIL_R");
    }

    #[test]
    fn an_access_unit_is_put_together_from_aggregates_and_fragments() {
        let mut depacketizer = Depacketizer::new(10_000);
        assert!(depacketizer.push(1, 9, false, &aggregation()).is_empty());
        assert!(depacketizer.push(2, 9, false, &Bytes::from_static(&[0x62, 1, 0x93, 1, 2])).is_empty());
        let units = depacketizer.push(3, 9, true, &Bytes::from_static(&[0x62, 1, 0x53, 3]));
        let [unit] = units.as_slice() else { panic!("{units:?}") };
        assert!(unit.key && unit.complete);
        assert_eq!(unit.nals.last().unwrap()[..], [0x26, 1, 1, 2, 3]);
        let mut sets = ParameterSets::default();
        sets.update(unit);
        assert!(sets.is_complete());
        assert_eq!(sets.sps.as_deref(), Some(SPS));
    }

    #[test]
    fn a_lost_fragment_marks_the_unit() {
        let mut depacketizer = Depacketizer::new(10_000);
        depacketizer.push(1, 9, false, &Bytes::from_static(&[0x62, 1, 0x93, 1, 2]));
        let units = depacketizer.push(3, 9, true, &Bytes::from_static(&[0x62, 1, 0x53, 3]));
        assert!(!units[0].complete && units[0].nals.is_empty());
        assert_eq!(depacketizer.incomplete(), 1);
    }

    proptest! {
        #[test]
        fn any_payloads_are_read_and_bounded(
            payloads in proptest::collection::vec((0u64..3, 0u32..3, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..40),
        ) {
            let mut depacketizer = Depacketizer::new(500);
            let mut seq = 0;
            for (step, time, marker, payload) in payloads {
                seq += step;
                starts_keyframe(&payload);
                for unit in depacketizer.push(seq, time, marker, &payload.into()) {
                    prop_assert!(unit.nals.iter().map(|nal| nal.len()).sum::<usize>() <= 500);
                }
            }
        }
    }
}
