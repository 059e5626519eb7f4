//! What `hvcC` says of a stream (ISO/IEC 14496-15 8.3.3.1).

use crate::fmp4::HevcConfig;
use bytes::Bytes;
use rongtong_media_core::rtp::h265::SpsInfo;

pub fn config(vps: &Bytes, sps: &Bytes, pps: &Bytes, info: &SpsInfo) -> HevcConfig {
    HevcConfig {
        width: info.width,
        height: info.height,
        vps: vec![vps.clone()],
        sps: vec![sps.clone()],
        pps: vec![pps.clone()],
        profile_tier_level: info.profile_tier_level,
        temporal_layers: info.temporal_layers,
        temporal_nested: info.temporal_nested,
        chroma_format: info.chroma_format,
        bit_depth_luma: info.bit_depth_luma,
        bit_depth_chroma: info.bit_depth_chroma,
    }
}
