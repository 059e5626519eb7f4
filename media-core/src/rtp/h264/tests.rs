//! Parameter sets and slices here were made by x264 and agree with ffprobe.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::rtp::access_unit::AccessUnit;

const BASELINE_SPS: &str = "6742c01ed900a03db011000003000100000300320f162e48";
const BASELINE_PPS: &str = "68cb83cb20";
const MAIN_SPS: &str = "674d4028eca03c0113f2e022000003000200000300781e30632c";
const INTERLACED_SPS: &str = "67640028acd94078044fde022000000300200000064c4c001e848003d09498601f162d96";
const HIGH_422_SPS: &str = "677a001eb6cd941709788bc044000003000400000301903c58b658";

fn bytes(hex: &str) -> Bytes {
    hex::decode(hex).unwrap().into()
}

fn sps(hex: &str) -> SpsInfo {
    SpsInfo::parse(&bytes(hex)).unwrap()
}

fn idr(len: usize) -> Bytes {
    let mut nal = vec![0x65, 0x88];
    nal.extend((2..len).map(|i| i as u8 | 1));
    nal.into()
}

fn unit(nals: &[Bytes]) -> AccessUnit {
    AccessUnit { timestamp: 1, nals: nals.to_vec(), key: false, complete: true }
}

/// Puts payloads together again.
fn assembled(payloads: &[Bytes]) -> AccessUnit {
    let mut depacketizer = Depacketizer::new(1 << 20);
    let mut units = Vec::new();
    for (i, payload) in payloads.iter().enumerate() {
        units.extend(depacketizer.push(i as u64, 1, i + 1 == payloads.len(), payload));
    }
    assert_eq!(units.len(), 1);
    units.remove(0)
}

#[test]
fn a_baseline_set_has_no_b_frames() {
    let info = sps(BASELINE_SPS);
    assert_eq!((info.width, info.height), (640, 480));
    assert_eq!(info.frames_per_second, Some(25.0));
    assert_eq!((info.profile_idc, info.level_idc, info.pic_order_cnt_type), (66, 30, 2));
    assert!(!info.b_frames_possible() && !info.interlaced);
    assert_eq!(info.profile_level_id(), "42c01e");
}

#[test]
fn a_main_set_is_cropped_and_may_have_b_frames() {
    let info = sps(MAIN_SPS);
    assert_eq!((info.width, info.height), (1920, 1080));
    assert_eq!(info.frames_per_second, Some(30.0));
    assert_eq!((info.reorder_frames, info.pic_order_cnt_type), (Some(2), 0));
    assert!(info.b_frames_possible());
}

#[test]
fn an_interlaced_set_with_buffer_model_is_read() {
    let info = sps(INTERLACED_SPS);
    assert_eq!((info.width, info.height), (1920, 1080));
    assert_eq!(info.frames_per_second, Some(25.0));
    assert!(info.interlaced);
    assert!(info.reorder_frames.is_some());
}

#[test]
fn a_high_set_tells_chroma_and_depth() {
    let info = sps(HIGH_422_SPS);
    assert_eq!((info.width, info.height), (354, 286));
    assert_eq!((info.chroma_format, info.bit_depth_luma), (2, 10));
    assert_eq!(info.frames_per_second, Some(50.0));
}

#[test]
fn a_set_cut_off_in_its_vui_still_has_a_size() {
    let whole = bytes(MAIN_SPS);
    let info = SpsInfo::parse(&whole[..14]).unwrap();
    assert_eq!((info.width, info.height, info.reorder_frames), (1920, 1080, None));
    assert_eq!(SpsInfo::parse(&whole[..6]), Err(H264Error::TooShort));
    assert!(matches!(SpsInfo::parse(&bytes(BASELINE_PPS)), Err(H264Error::Absurd(_))));
}

#[test]
fn slices_tell_their_type() {
    let kind = |hex| slice_header(&bytes(hex)).map(|slice| (slice.first_mb, slice.slice_type));
    assert_eq!(kind("6588840af262"), Some((0, SliceType::I)));
    assert_eq!(kind("419a3815e03d"), Some((0, SliceType::P)));
    assert_eq!(kind("019e417884ff"), Some((0, SliceType::B)));
    assert_eq!(kind(BASELINE_SPS), None);
    assert_eq!(kind("41"), None);
}

#[test]
fn parameter_sets_come_out_of_sdp() {
    // RFC 6184 8.2.1.
    let sets = parse_sprop("Z0IACpZTBYmI,aMljiA==").unwrap();
    assert_eq!((sets.sps.len(), sets.pps.len()), (1, 1));
    assert_eq!(SpsInfo::parse(&sets.sps[0]).map(|info| info.profile_idc), Ok(66));
    let unpadded = parse_sprop("AAAAAWdCAAqWUwWJiA,aMljiA, ").unwrap();
    assert_eq!(unpadded.sps, sets.sps);
    assert_eq!(parse_sprop("Z0IA*"), Err(H264Error::Base64));
    assert!(!parse_sprop("").unwrap().is_complete());
    assert!(matches!(parse_sprop(&"A".repeat(20_000)), Err(H264Error::Absurd(_))));
}

#[test]
fn keyframes_are_told_by_their_first_packet() {
    assert!(starts_keyframe(&bytes(BASELINE_SPS)));
    assert!(starts_keyframe(&[0x65, 0x88, 0x84]));
    assert!(!starts_keyframe(&[0x65, 0x48, 0x84]), "a later slice of the picture");
    assert!(is_idr_or_sps(&[0x65, 0x48, 0x84]));
    assert!(starts_keyframe(&[0x7c, 0x85, 0x88]), "the first fragment");
    assert!(!starts_keyframe(&[0x7c, 0x05, 0x88]), "a later fragment");
    assert!(!starts_keyframe(&[0x7c, 0x45, 0x88]), "the last fragment");
    assert!(starts_keyframe(&[0x78, 0, 2, 0x09, 0x10, 0, 2, 0x67, 0x42]), "a STAP-A");
    assert!(!starts_keyframe(&[0x41, 0x9a]));
    assert!(!starts_keyframe(&[0x78, 0, 9, 0x67, 0x42]), "an aggregate cut off");
}

#[test]
fn other_packet_types_are_named() {
    assert_eq!(nals(&[0x19, 1]).next(), Some(Err(H264Error::PacketType(25))));
    assert_eq!(nals(&[0x7c]).next(), Some(Err(H264Error::TooShort)));
    assert_eq!(nals(&[]).next(), None);
}

#[test]
fn units_end_by_marker_or_by_time() {
    let slice = Bytes::from_static(&[0x41, 0x9a, 0x38]);
    let mut depacketizer = Depacketizer::new(1000);
    assert!(depacketizer.push(1, 10, false, &slice).is_empty());
    let units = depacketizer.push(2, 20, true, &idr(5));
    assert_eq!(units.len(), 2);
    assert_eq!((units[0].timestamp, units[0].key, units[0].complete), (10, false, true));
    assert_eq!((units[1].timestamp, units[1].key, units[1].complete), (20, true, true));
    assert!(depacketizer.push(2, 20, true, &idr(5)).is_empty(), "a repeated packet");
    assert!(!depacketizer.push(4, 30, true, &slice)[0].complete, "a gap before it");
    assert!(depacketizer.push(5, 40, true, &slice)[0].complete);
    assert_eq!(depacketizer.finish(), None);
}

#[test]
fn a_unit_past_its_bound_is_marked_and_stays_small() {
    let mut depacketizer = Depacketizer::new(100);
    let mut units = depacketizer.push(1, 1, false, &idr(60));
    units.extend(depacketizer.push(2, 1, true, &idr(60)));
    assert_eq!((units.len(), units[0].nals.len(), units[0].complete), (1, 1, false));
}

#[test]
fn parameter_sets_go_in_front_of_a_keyframe_that_has_none() {
    let mut repacketizer = Repacketizer::new(1100, 1 << 20);
    let mut out = Vec::new();
    assert!(repacketizer.repacketize(&[idr(50)], &mut out).no_parameter_sets);
    let mut sets = ParameterSets::default();
    assert!(sets.update(&bytes(BASELINE_SPS)) && sets.update(&bytes(BASELINE_PPS)));
    repacketizer.set_parameter_sets(sets);
    out.clear();
    let result = repacketizer.repacketize(&[Bytes::from_static(&[0x09, 0x10]), idr(3000)], &mut out);
    assert!(result.key && result.complete && !result.no_parameter_sets && !result.b_slices);
    assert_eq!(out[0][0] & 0x1f, nal_type::STAP_A);
    assert_eq!(out.len(), 4, "a STAP-A and three fragments of equal size");
    assert!(starts_keyframe(&out[0]) && out.iter().all(|payload| payload.len() <= 1100));
    let back = assembled(&out);
    assert_eq!(back.nals, [bytes(BASELINE_SPS), bytes(BASELINE_PPS), idr(3000)]);
}

#[test]
fn parameter_sets_of_the_stream_are_learned_and_not_doubled() {
    let mut repacketizer = Repacketizer::new(1100, 1 << 20);
    let mut out = Vec::new();
    let nals = [bytes(MAIN_SPS), bytes(BASELINE_PPS), idr(20)];
    repacketizer.repacketize(&nals, &mut out);
    assert_eq!(assembled(&out).nals, nals);
    out.clear();
    // Only the picture set comes with the next keyframe.
    repacketizer.repacketize(&nals[1..], &mut out);
    assert_eq!(assembled(&out).nals, nals);
    out.clear();
    let b_slice = bytes("019e417884ff");
    assert!(repacketizer.repacketize(std::slice::from_ref(&b_slice), &mut out).b_slices);
    assert_eq!(out, [b_slice]);
}

#[test]
fn a_fragment_without_its_end_is_left_out_and_told() {
    let mut repacketizer = Repacketizer::new(1100, 1 << 20);
    let mut out = Vec::new();
    let start = Bytes::from_static(&[0x5c, 0x81, 0x9a, 0x38]);
    assert!(!repacketizer.repacketize(&[start], &mut out).complete);
    assert!(out.is_empty());
    assert!(repacketizer.repacketize(&[bytes("419a3815")], &mut out).complete);
    assert!(!repacketizer.repacketize(&[], &mut out).complete);
}

proptest! {
    #[test]
    fn repacketizing_keeps_the_nal_units_within_the_size(
        max in 16usize..1300,
        list in vec((prop_oneof![Just(1u8), Just(6), Just(5)], 2usize..4000), 1..6),
    ) {
        let nals: Vec<Bytes> = list.iter().map(|(kind, len)| {
            let mut nal = idr(*len).to_vec();
            nal[0] = 0x60 | kind;
            nal.into()
        }).collect();
        let mut repacketizer = Repacketizer::new(max, 1 << 20);
        let mut out = Vec::new();
        let result = repacketizer.packetize(&unit(&nals), &mut out);
        prop_assert!(result.complete);
        prop_assert!(out.iter().all(|payload| !payload.is_empty() && payload.len() <= max));
        prop_assert_eq!(&assembled(&out).nals, &nals);
        // Once more, from its own payloads to another size.
        let mut again = Vec::new();
        prop_assert!(repacketizer.repacketize(&out, &mut again).complete);
        prop_assert_eq!(&assembled(&again).nals, &nals);
    }

    #[test]
    fn any_payloads_are_read_and_bounded(
        payloads in vec((0u64..3, 0u32..3, any::<bool>(), vec(any::<u8>(), 0..60)), 0..40),
    ) {
        let mut depacketizer = Depacketizer::new(500);
        let mut repacketizer = Repacketizer::new(100, 500);
        let mut seq = 0;
        for (step, time, marker, payload) in payloads {
            seq += step;
            let payload = Bytes::from(payload);
            let starts = starts_keyframe(&payload);
            prop_assert!(!starts || is_idr_or_sps(&payload));
            slice_header(&payload);
            let mut out = Vec::new();
            repacketizer.repacketize(std::slice::from_ref(&payload), &mut out);
            prop_assert!(out.iter().all(|payload| payload.len() <= 100));
            for unit in depacketizer.push(seq, time, marker, &payload) {
                prop_assert!(unit.nals.iter().map(Bytes::len).sum::<usize>() <= 500);
            }
        }
    }

    #[test]
    fn damaged_parameter_sets_are_read_or_refused(which in 0usize..4, cut in 0usize..40, at in 1usize..24, flip: u8) {
        let mut nal = bytes([BASELINE_SPS, MAIN_SPS, INTERLACED_SPS, HIGH_422_SPS][which]).to_vec();
        nal[at] ^= flip;
        nal.truncate(cut);
        if let Ok(info) = SpsInfo::parse(&nal) {
            prop_assert!((1..=16_384).contains(&info.width) && (1..=32_768).contains(&info.height));
        }
    }

    #[test]
    fn any_parameter_set_is_read_or_refused(body in vec(any::<u8>(), 0..80), text in "[A-Za-z0-9+/=, ]{0,200}") {
        let mut nal = vec![0x67];
        nal.extend(body);
        let _ = SpsInfo::parse(&nal);
        if let Ok(sets) = parse_sprop(&text) {
            prop_assert!(sets.iter().count() <= 16);
        }
    }
}
