//! H.264 in RTP: looking into payloads, access units, and cutting them to a packet size.
//!
//! Standards: RFC 6184 (payload format), ITU-T H.264 7.3 (parameter sets, slice headers).

pub(super) mod bits;
mod depacketize;
mod repacketize;
mod slice;
mod sprop;
mod sps;

#[cfg(test)]
mod tests;

pub use depacketize::Depacketizer;
pub use repacketize::{Repacketized, Repacketizer};
pub use slice::{Slice, SliceType, slice_header};
pub use sprop::{ParameterSets, parse_sprop};
pub use sps::SpsInfo;

/// What is wrong with a payload or a parameter set. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum H264Error {
    #[error("the sender's sprop-parameter-sets are not base64")]
    Base64,
    #[error("the sender's parameter set says {0}, which no camera can mean")]
    Absurd(&'static str),
    #[error("the sender's H.264 packet type {0} is not one of single, STAP-A and FU-A")]
    PacketType(u8),
    #[error("the sender's H.264 data ends too early")]
    TooShort,
}

/// NAL unit types, H.264 table 7-1.
pub mod nal_type {
    pub const SLICE: u8 = 1;
    pub const IDR: u8 = 5;
    pub const SEI: u8 = 6;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const DELIMITER: u8 = 9;
    pub const FILLER: u8 = 12;
    pub const STAP_A: u8 = 24;
    pub const FU_A: u8 = 28;
}

/// The low five bits of a NAL unit's or payload's first byte.
pub fn type_of(nal: &[u8]) -> Option<u8> {
    nal.first().map(|header| header & 0x1f)
}

/// A part of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nal<'a> {
    /// `header` is that of the NAL unit the piece belongs to; `data` goes behind it.
    Fragment {
        header: u8,
        start: bool,
        end: bool,
        data: &'a [u8],
    },
    Whole(&'a [u8]),
}

impl Nal<'_> {
    pub fn nal_type(&self) -> u8 {
        match self {
            Self::Fragment { header, .. } => header & 0x1f,
            Self::Whole(nal) => type_of(nal).unwrap_or(0),
        }
    }
}

/// The NAL units of one payload (single, STAP-A, FU-A). Ends after the first error.
pub fn nals(payload: &[u8]) -> NalIter<'_> {
    NalIter { rest: payload, aggregate: false }
}

#[derive(Debug, Clone)]
pub struct NalIter<'a> {
    rest: &'a [u8],
    aggregate: bool,
}

impl<'a> Iterator for NalIter<'a> {
    type Item = Result<Nal<'a>, H264Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let payload = std::mem::take(&mut self.rest);
        let (&header, body) = payload.split_first()?;
        if self.aggregate {
            return Some(self.next_aggregated(payload));
        }
        Some(match header & 0x1f {
            1..=23 => Ok(Nal::Whole(payload)),
            nal_type::STAP_A => {
                self.aggregate = true;
                self.next_aggregated(body)
            }
            nal_type::FU_A => match body.split_first() {
                Some((&fu, data)) => Ok(Nal::Fragment {
                    header: header & 0xe0 | fu & 0x1f,
                    start: fu & 0x80 != 0,
                    end: fu & 0x40 != 0,
                    data,
                }),
                None => Err(H264Error::TooShort),
            },
            other => Err(H264Error::PacketType(other)),
        })
    }
}

impl<'a> NalIter<'a> {
    fn next_aggregated(&mut self, units: &'a [u8]) -> Result<Nal<'a>, H264Error> {
        let (len, rest) = units.split_first_chunk::<2>().ok_or(H264Error::TooShort)?;
        let (nal, rest) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(*len)))
            .filter(|(nal, _)| !nal.is_empty())
            .ok_or(H264Error::TooShort)?;
        self.rest = rest;
        Ok(Nal::Whole(nal))
    }
}

/// The payload begins a keyframe: it has a sequence parameter set, or the first piece of the
/// first slice of an IDR picture.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    nals(payload).map_while(Result::ok).any(|nal| match (nal.nal_type(), nal) {
        (nal_type::SPS, Nal::Whole(_)) => true,
        (nal_type::SPS, Nal::Fragment { start, .. }) => start,
        // A slice header begins with first_mb_in_slice; a set bit is zero in Exp-Golomb.
        (nal_type::IDR, Nal::Whole(nal)) => nal.get(1).is_some_and(|byte| byte & 0x80 != 0),
        (nal_type::IDR, Nal::Fragment { start, data, .. }) => {
            start && data.first().is_some_and(|byte| byte & 0x80 != 0)
        }
        _ => false,
    })
}

/// Any part of the payload belongs to an IDR picture or a sequence parameter set.
pub fn is_idr_or_sps(payload: &[u8]) -> bool {
    nals(payload).map_while(Result::ok).any(|nal| matches!(nal.nal_type(), nal_type::IDR | nal_type::SPS))
}
