//! Pictures for devices of `gb28181-rs`.

use bytes::Bytes;
use gb28181_rs::frame::{AccessUnit, Nalu};
use rongtong_media_core::mpeg::{Demuxer, Item};
use std::time::Instant;

/// The pictures of an MPEG transport stream of H.264, each as its NAL units.
pub fn pictures_of(stream: &[u8]) -> Vec<Vec<Bytes>> {
    let (mut demuxer, mut items) = (Demuxer::default(), Vec::new());
    demuxer.push(&stream[..stream.len() / 188 * 188], false, &mut items);
    demuxer.finish(&mut items);
    let nals = |item| if let Item::Video { unit, .. } = item { Some(unit.nals) } else { None };
    items.into_iter().filter_map(nals).collect()
}

pub fn access_unit(nals: &[Bytes]) -> AccessUnit {
    let nal = |nal: &Bytes| {
        let kind = nal[0] & 0x1F;
        Nalu {
            nalu_type: kind,
            data: nal.to_vec(),
            is_idr: kind == 5,
            is_sps: kind == 7,
            is_pps: kind == 8,
            is_aud: kind == 9,
        }
    };
    let nalus: Vec<Nalu> = nals.iter().map(nal).collect();
    let is_key_frame = nalus.iter().any(|nal| nal.is_idr);
    AccessUnit { nalus, timestamp: Instant::now(), is_key_frame }
}
