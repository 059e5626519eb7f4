//! What a sequence parameter set tells (Rec. H.265 7.3.2.2, 7.3.3).

use super::{H265Error, nal_type, type_of};
use crate::rtp::h264::bits::BitReader;

/// The longest parameter set that is read, bytes.
const MAX_SET: usize = 4096;

/// A sequence parameter set, as far as decoders' configurations need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpsInfo {
    /// `general_profile_space` to `general_level_idc`, as they stand in the set (and in `hvcC`).
    pub profile_tier_level: [u8; 12],
    /// Temporal layers, at least 1.
    pub temporal_layers: u8,
    pub temporal_nested: bool,
    /// 0 is monochrome, 1 is 4:2:0.
    pub chroma_format: u8,
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
    /// Pixels, after cropping; above 0.
    pub width: u16,
    pub height: u16,
    /// Pictures that a decoder must hold back to put them into order, of the highest temporal layer.
    pub reorder_frames: u32,
}

impl SpsInfo {
    /// Reads a whole NAL unit.
    ///
    /// # Errors
    /// When it is not one, too long, or says what cannot be.
    pub fn parse(nal: &[u8]) -> Result<Self, H265Error> {
        if type_of(nal) != Some(nal_type::SPS) || nal.len() > MAX_SET {
            return Err(H265Error::TooShort);
        }
        read(&mut BitReader::new(nal.get(2..).unwrap_or_default())).ok_or(H265Error::TooShort)
    }
}

fn read(r: &mut BitReader<'_>) -> Option<SpsInfo> {
    r.bits(4)?;
    let sub_layers = r.bits(3)? as u8;
    let temporal_nested = r.bit()?;
    let mut profile_tier_level = [0; 12];
    for byte in &mut profile_tier_level {
        *byte = r.bits(8)? as u8;
    }
    if sub_layers > 0 {
        let mut present = [(false, false); 8];
        for layer in &mut present {
            *layer = (r.bit()?, r.bit()?);
        }
        for (profile, level) in present.into_iter().take(usize::from(sub_layers)) {
            for _ in 0..u8::from(profile) * 11 + u8::from(level) {
                r.bits(8)?;
            }
        }
    }
    r.ue()?; // identifier
    let chroma_format = r.ue().filter(|format| *format <= 3)?;
    if chroma_format == 3 {
        r.bit()?; // separate planes
    }
    let (mut width, mut height) = (r.ue()?, r.ue()?);
    if r.bit()? {
        let (across, down) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
        width = width.checked_sub(left.checked_add(right)?.checked_mul(across)?)?;
        height = height.checked_sub(top.checked_add(bottom)?.checked_mul(down)?)?;
    }
    let depth = |minus_8: u32| u8::try_from(minus_8).ok().filter(|d| *d <= 8).map(|d| d + 8);
    let (bit_depth_luma, bit_depth_chroma) = (depth(r.ue()?)?, depth(r.ue()?)?);
    r.ue()?; // bits of picture order counts
    let all = r.bit()?;
    let mut reorder_frames = 0;
    for _ in if all { 0 } else { sub_layers }..=sub_layers {
        r.ue()?;
        reorder_frames = r.ue()?.min(16);
        r.ue()?;
    }
    Some(SpsInfo {
        profile_tier_level,
        temporal_layers: sub_layers + 1,
        temporal_nested,
        chroma_format: chroma_format as u8,
        bit_depth_luma,
        bit_depth_chroma,
        width: u16::try_from(width).ok().filter(|w| *w > 0)?,
        height: u16::try_from(height).ok().filter(|h| *h > 0)?,
        reorder_frames,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_set_of_x265_is_read() {
        let nal =
            hex::decode("4201010408000003009e0800000300003c9001410080b2caca94985e02dc080800000100030010000003019080");
        let nal = nal.unwrap();
        let info = SpsInfo::parse(&nal).unwrap();
        assert_eq!((info.width, info.height, info.chroma_format, info.reorder_frames), (320, 256, 3, 2));
        for end in 0..12 {
            assert!(SpsInfo::parse(&nal[..end]).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_parameter_set_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120)) {
            let nal = [&[0x42, 1][..], &body].concat();
            if let Ok(info) = SpsInfo::parse(&nal) {
                prop_assert!(info.width > 0 && info.height > 0 && info.reorder_frames <= 16);
            }
        }
    }
}
