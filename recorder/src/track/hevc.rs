//! What `hvcC` needs of an H.265 sequence parameter set (Rec. H.265 7.3.2.2, 7.3.3).

use crate::fmp4::HevcConfig;
use bytes::Bytes;

/// The longest parameter set that is read, bytes.
const MAX_SET: usize = 4096;

/// `None`: the sender's sequence parameter set cannot be read.
pub fn config(vps: &Bytes, sps: &Bytes, pps: &Bytes) -> Option<HevcConfig> {
    if vps.len().max(sps.len()).max(pps.len()) > MAX_SET {
        return None;
    }
    let body = unescape(sps.get(2..)?);
    let mut bits = Bits { bytes: &body, at: 0 };
    bits.take(4)?;
    let sub_layers = bits.take(3)?;
    let temporal_nested = bits.take(1)? == 1;
    let profile_tier_level = body.get(1..13)?.try_into().ok()?;
    bits.at += 96;
    if sub_layers > 0 {
        let present: Vec<_> = (0..8).map(|_| Some((bits.take(1)?, bits.take(1)?))).collect::<Option<_>>()?;
        for (profile, level) in present.into_iter().take(sub_layers as usize) {
            bits.at += profile as usize * 88 + level as usize * 8;
        }
    }
    bits.ue()?; // identifier
    let chroma_format = bits.ue()?;
    if chroma_format > 3 {
        return None;
    }
    if chroma_format == 3 {
        bits.take(1)?; // separate planes
    }
    let (mut width, mut height) = (bits.ue()?, bits.ue()?);
    if bits.take(1)? == 1 {
        let (across, down) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let (left, right, top, bottom) = (bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?);
        width = width.checked_sub(left.checked_add(right)?.checked_mul(across)?)?;
        height = height.checked_sub(top.checked_add(bottom)?.checked_mul(down)?)?;
    }
    let depth = |minus_8: u32| u8::try_from(minus_8).ok().filter(|d| *d <= 8).map(|d| d + 8);
    Some(HevcConfig {
        width: u16::try_from(width).ok().filter(|w| *w > 0)?,
        height: u16::try_from(height).ok().filter(|h| *h > 0)?,
        vps: vec![vps.clone()],
        sps: vec![sps.clone()],
        pps: vec![pps.clone()],
        profile_tier_level,
        temporal_layers: sub_layers as u8 + 1,
        temporal_nested,
        chroma_format: chroma_format as u8,
        bit_depth_luma: depth(bits.ue()?)?,
        bit_depth_chroma: depth(bits.ue()?)?,
    })
}

fn unescape(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut zeros = 0;
    for byte in body {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// Unsigned Exp-Golomb (9.2), up to 31 bits.
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 30 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_parameter_set_is_read_or_refused(sps in prop::collection::vec(any::<u8>(), 0..120)) {
            let other = Bytes::from_static(&[0x40, 1]);
            if let Some(config) = config(&other, &sps.into(), &other) {
                prop_assert!(config.width > 0 && config.height > 0);
            }
        }
    }
}
