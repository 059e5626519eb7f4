//! What survives a crash, at every byte of a file and under flipped bits.

use super::*;
use crate::disk::SystemDisk;
use crate::fmp4::{self, InitTrack, Sample, SampleEntry};
use bytes::Bytes;
use proptest::prelude::*;
use std::path::PathBuf;

struct Files {
    _dir: tempfile::TempDir,
    media: PathBuf,
    side: PathBuf,
    bytes: Vec<u8>,
    index: Index,
}

/// A G.711 track of `count` fragments, 100 ms each.
fn files(count: u64) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let entry = SampleEntry::G711 { law: fmp4::G711Law::A, rate: 8000, channels: 1 };
    let mut bytes = fmp4::init_segment(&InitTrack { id: 1, timescale: 8000, entry: &entry, name: "" });
    let header = Header { timescale: 8000, start_ms: 250, init: bytes.len() as u64, codecs: entry.codecs() };
    let mut index = Index { header, fragments: Vec::new(), gaps: Vec::new(), ended: true };
    for number in 0..count {
        let sample = |i: u64| Sample {
            data: Bytes::from(vec![(number * 5 + i) as u8 + 1; 160]),
            duration: 160,
            composition: 0,
            sync: true,
        };
        let samples: Vec<_> = (0..5).map(sample).collect();
        let start = number * 800;
        let wall_ms = 1_700_000_000_000 + number as i64 * 100;
        let fragment = fmp4::Fragment {
            sequence: number as u32 + 1,
            track: 1,
            decode_time: start,
            wall_ns: i128::from(wall_ms) * 1_000_000 + 500_000,
            samples: &samples,
        }
        .write();
        index.fragments.push(Entry {
            offset: bytes.len() as u64,
            length: fragment.len() as u64,
            start,
            duration: 800,
            wall_ms,
            key: true,
            crc: crc32fast::hash(&fragment),
        });
        bytes.extend_from_slice(&fragment);
    }
    let (media, side) = (dir.path().join("t.mp4"), dir.path().join("t.idx"));
    Files { _dir: dir, media, side, bytes, index }
}

impl Files {
    fn whole_at(&self, cut: usize) -> usize {
        self.index.fragments.iter().take_while(|e| e.offset + e.length <= cut as u64).count()
    }

    fn repair(&self) -> Option<Repaired> {
        repair(&SystemDisk, &self.media, &self.side, "alaw", |wall| wall - 1_700_000_000_000 + 250).unwrap()
    }
}

#[test]
fn an_index_reads_back_as_written() {
    let mut index = files(3).index;
    index.gaps.push(Gap { start: 900, packets: 17 });
    let text = index.write();
    assert_eq!(Index::read(text.as_bytes()), Some((index, text.len())));
}

#[test]
fn a_restated_origin_counts() {
    let index = files(1).index;
    let text = index.write() + &Line::Origin { start_ms: -40 }.write();
    let (read, _) = Index::read(text.as_bytes()).unwrap();
    assert_eq!(read.header.start_ms, -40);
}

#[test]
fn cut_at_any_byte_all_whole_fragments_are_kept_with_and_without_the_index() {
    let files = files(6);
    let text = files.index.write();
    for cut in (0..=files.bytes.len()).step_by(7) {
        let whole = files.whole_at(cut);
        for index in [Some(text.as_str()), None, Some(&text[..text.len() / 2])] {
            std::fs::write(&files.media, &files.bytes[..cut]).unwrap();
            let _ = std::fs::remove_file(&files.side);
            if let Some(index) = index {
                std::fs::write(&files.side, index).unwrap();
            }
            let repaired = files.repair();
            assert_eq!(repaired.as_ref().map_or(0, |r| r.index.fragments.len()), whole, "cut at {cut}");
            let Some(repaired) = repaired else { continue };
            assert_eq!(repaired.index.fragments, files.index.fragments[..whole]);
            assert_eq!(repaired.index.header, files.index.header);
            assert_eq!(std::fs::metadata(&files.media).unwrap().len(), repaired.bytes);
            assert_eq!(repaired.cut, cut as u64 - repaired.bytes);
            let side = std::fs::read(&files.side).unwrap();
            assert_eq!(Index::read(&side).unwrap().0, repaired.index);
        }
    }
}

#[test]
fn a_tail_of_zeros_is_not_taken_for_media() {
    let files = files(3);
    let mut bytes = files.bytes.clone();
    let length = bytes.len();
    bytes[length - 200..].fill(0);
    std::fs::write(&files.media, &bytes).unwrap();
    assert_eq!(files.repair().unwrap().index.fragments.len(), 2);
}

#[test]
fn a_damaged_payload_in_a_sound_fragment_is_kept_under_its_true_crc() {
    let files = files(5);
    let mut bytes = files.bytes.clone();
    let at = (files.index.fragments[4].offset + 300) as usize;
    bytes[at] ^= 0x10;
    std::fs::write(&files.media, &bytes).unwrap();
    std::fs::write(&files.side, files.index.write()).unwrap();
    let kept = files.repair().unwrap().index.fragments;
    assert!(kept.len() == 5 && kept[4].crc != files.index.fragments[4].crc);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn flipped_bits_never_panic_and_never_point_outside_the_file(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..6),
        cut in any::<prop::sample::Index>(),
        side in any::<bool>(),
    ) {
        let files = files(4);
        let mut bytes = files.bytes.clone();
        let mut text = files.index.write().into_bytes();
        for (place, bit) in flips {
            let target = if side { &mut text } else { &mut bytes };
            let at = place.index(target.len());
            target[at] ^= 1 << bit;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        std::fs::write(&files.media, &bytes).unwrap();
        std::fs::write(&files.side, &text).unwrap();
        if let Some(repaired) = files.repair() {
            prop_assert!(repaired.bytes <= bytes.len() as u64);
            prop_assert_eq!(repaired.index.media_end(), repaired.bytes);
            prop_assert!(repaired.index.fragments.windows(2).all(|w| w[1].start >= w[0].start));
        }
    }

    #[test]
    fn walking_noise_ends(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut file = std::io::Cursor::new(&bytes);
        let walk = fmp4::walk(&mut file, 0, bytes.len() as u64).unwrap();
        prop_assert!(walk.good <= bytes.len() as u64);
        let _ = fmp4::Moof::parse(&bytes);
        let mut copy = bytes.clone();
        let _ = fmp4::retarget(&mut copy, 1, 2, 3);
        let _ = Index::read(&bytes);
    }

    #[test]
    fn a_moof_with_absurd_lengths_is_refused(at in 0usize..160, value in any::<u32>()) {
        let files = files(1);
        let first = &files.index.fragments[0];
        let mut moof = files.bytes[first.offset as usize + 32..(first.offset + first.length) as usize - 808].to_vec();
        let at = at.min(moof.len() - 4);
        moof[at..at + 4].copy_from_slice(&value.to_be_bytes());
        if let Ok(parsed) = fmp4::Moof::parse(&moof) {
            prop_assert!(u64::from(parsed.samples) * 12 <= moof.len() as u64);
        }
    }
}
