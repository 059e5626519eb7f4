//! Pictures for devices of `gb28181-rs`.

use bytes::Bytes;
use gb28181_rs::frame::{AccessUnit, Nalu};
use gb28181_rs::{RecordingSource, SegmentMeta};
use rongtong_media_core::mpeg::{Demuxer, Item};
use std::path::{Path, PathBuf};
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

/// Recordings in a folder: files of H.264 as `BEGIN-END.h264`, Unix milliseconds.
pub struct Shelf {
    folder: PathBuf,
    segments: Vec<SegmentMeta>,
}

impl Shelf {
    pub fn read(folder: &Path) -> Self {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(folder).expect("a folder of recordings") {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let times = file.strip_suffix(".h264").and_then(|name| name.split_once('-'));
            if let Some((begin, end)) = times {
                let (start_ms, end_ms) = (begin.parse().unwrap(), end.parse().unwrap());
                segments.push(SegmentMeta { file, start_ms, end_ms });
            }
        }
        segments.sort_by_key(|segment| segment.start_ms);
        Self { folder: folder.to_owned(), segments }
    }
}

impl RecordingSource for Shelf {
    fn lookup(&self, start_ms: u64, end_ms: u64) -> Vec<SegmentMeta> {
        let meets = |segment: &&SegmentMeta| segment.start_ms <= end_ms && segment.end_ms >= start_ms;
        self.segments.iter().filter(meets).cloned().collect()
    }

    fn resolve_path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }
}
