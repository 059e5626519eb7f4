//! The first fields of a slice header (H.264 7.3.3).

use super::bits::BitReader;
use super::{nal_type, type_of};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceType {
    B,
    I,
    P,
    Si,
    Sp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// 0 at the beginning of a picture.
    pub first_mb: u32,
    pub slice_type: SliceType,
    pub pps_id: u32,
}

/// Of a slice's NAL unit (its beginning is enough); `None` for other NAL units.
pub fn slice_header(nal: &[u8]) -> Option<Slice> {
    // Data partition A (2) has the same header.
    if !matches!(type_of(nal)?, nal_type::SLICE | 2 | nal_type::IDR) {
        return None;
    }
    let mut reader = BitReader::new(nal.get(1..)?);
    Some(Slice {
        first_mb: reader.ue()?,
        slice_type: match reader.ue()? {
            0 | 5 => SliceType::P,
            1 | 6 => SliceType::B,
            2 | 7 => SliceType::I,
            3 | 8 => SliceType::Sp,
            4 | 9 => SliceType::Si,
            _ => return None,
        },
        pps_id: reader.ue()?,
    })
}
