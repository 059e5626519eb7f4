//! Against the captures of devices, and against a line that loses and reorders.

use super::*;
use proptest::prelude::*;
use rongtong_media_core::mpeg::Muxer;
use rongtong_media_core::rtp::access_unit::AccessUnit;
use rongtong_media_core::rtp::packet::{RtpHeader, write_header};

fn capture(name: &str) -> Vec<Bytes> {
    let path = format!("{}/../../tests/captures/{name}.rtp2", env!("CARGO_MANIFEST_DIR"));
    let bytes = Bytes::from(std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")));
    let (mut packets, mut at) = (Vec::new(), 0);
    while at + 2 <= bytes.len() {
        let length = usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let end = (at + 2 + length).min(bytes.len());
        packets.push(bytes.slice(at + 2..end));
        at = end;
    }
    packets
}

/// Plays packets at a steady pace.
fn play(unwrapper: &mut Unwrapper, packets: &[Bytes], pace: Duration) -> Vec<Item> {
    let (start, mut out) = (Instant::now(), Vec::new());
    for (at, packet) in packets.iter().enumerate() {
        unwrapper.packet(start + pace * at as u32, packet, &mut out);
    }
    unwrapper.finish(start + pace * packets.len() as u32, &mut out);
    out
}

fn pictures(items: &[Item]) -> Vec<(&VideoCodec, &AccessUnit)> {
    items
        .iter()
        .filter_map(|item| if let Item::Picture { codec, unit } = item { Some((codec, unit)) } else { None })
        .collect()
}

/// A device that sends a transport stream with payload type 33 where a program stream was agreed.
#[test]
fn a_transport_stream_in_place_of_a_program_stream() {
    let mut unwrapper = Unwrapper::new(None, vec![(96, "PS".into())]);
    let items = play(&mut unwrapper, &capture("gb28181_ts_instead_of_ps"), Duration::from_millis(4));
    let pictures = pictures(&items);
    assert!(pictures.len() > 20, "{}", pictures.len());
    assert!(pictures.iter().all(|(codec, unit)| **codec == VideoCodec::H264 && unit.complete));
    assert!(pictures.iter().any(|(_, unit)| unit.key));
}

/// A device whose RTP time counts milliseconds, with H.265 and no markers.
#[test]
fn rtp_time_in_milliseconds() {
    let mut unwrapper = Unwrapper::new(None, vec![(96, "PS".into())]);
    let items = play(&mut unwrapper, &capture("gb28181_udp_h265_ms_timestamps"), Duration::from_millis(2));
    let pictures = pictures(&items);
    assert!(pictures.len() > 20, "{}", pictures.len());
    assert!(pictures.iter().all(|(codec, _)| **codec == VideoCodec::H265));
    assert!(pictures.iter().any(|(_, unit)| unit.key));
    let steps: Vec<u32> =
        pictures.windows(2).map(|pair| pair[1].1.timestamp.wrapping_sub(pair[0].1.timestamp)).collect();
    assert!(steps.iter().all(|step| (*step as i32).abs() < 90_000), "{steps:?}");
}

fn stream(pictures: usize, pieces: usize) -> Vec<Bytes> {
    let mut muxer = Muxer::new(Some(VideoCodec::H264), None);
    let (mut packets, mut sequence) = (Vec::new(), 65_500u16);
    for at in 0..pictures {
        let mut nals =
            vec![Bytes::from_static(&[0x67, 66, 0, 30, 0xAB]), Bytes::from_static(&[0x68, 0xCE, 0x3C, 0x80])];
        let mut slice = vec![if at == 0 { 0x65 } else { 0x41 }, 0x80, at as u8 | 1];
        slice.extend((0..pieces * 1_200).map(|byte| byte as u8 | 1));
        if at > 0 {
            nals.clear();
        }
        nals.push(slice.into());
        let unit = AccessUnit { timestamp: 0, nals, key: at == 0, complete: true };
        let mut bytes = Vec::new();
        muxer.video(&unit, 3_600 * at as u64, &mut bytes);
        let count = bytes.chunks(1_400).len();
        for (piece, payload) in bytes.chunks(1_400).enumerate() {
            let header = RtpHeader {
                marker: piece + 1 == count,
                payload_type: 96,
                sequence,
                timestamp: 3_600 * at as u32,
                ssrc: 7,
                ..RtpHeader::default()
            };
            let mut packet = Vec::new();
            write_header(&mut packet, &header, &[]);
            packet.extend_from_slice(payload);
            packets.push(packet.into());
            sequence = sequence.wrapping_add(1);
        }
    }
    packets
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Reordering within the patience costs nothing; a loss costs its own picture, and is counted.
    #[test]
    fn a_line_that_loses_and_reorders(
        delays in prop::collection::vec(0u32..80, 100),
        lost in prop::collection::btree_set(12usize..300, 0..6),
        doubled: bool,
    ) {
        let packets = stream(40, 5);
        let start = Instant::now();
        let pace = Duration::from_millis(3);
        let mut arrivals: Vec<(Duration, usize)> = (0..packets.len())
            .filter(|at| !lost.contains(at))
            .flat_map(|at| {
                let delay = Duration::from_millis(delays[at % delays.len()].into());
                std::iter::repeat_n((pace * at as u32 + delay, at), if doubled { 2 } else { 1 })
            })
            .collect();
        // The first tells where it begins.
        arrivals[0].0 = Duration::ZERO;
        arrivals.sort();
        let (mut unwrapper, mut out) = (Unwrapper::new(None, Vec::new()), Vec::new());
        for (at, which) in &arrivals {
            unwrapper.packet(start + *at, &packets[*which], &mut out);
        }
        unwrapper.finish(start + Duration::from_secs(10), &mut out);
        let gone: std::collections::BTreeSet<u64> = out.iter().filter_map(|item| match item {
            Item::Picture { unit, .. } if unit.complete => Some(u64::from(unit.timestamp) / 3_600),
            _ => None,
        }).collect();
        let lost_in_range = lost.iter().filter(|at| **at < packets.len()).count();
        prop_assert!(gone.len() + lost_in_range >= 40, "{:?} whole of 40 with {:?} lost, {:?}", gone, lost, unwrapper.counts());
        prop_assert!(unwrapper.counts().lost <= lost_in_range as u64, "{:?}", unwrapper.counts());
        if lost_in_range == 0 {
            prop_assert_eq!(gone.len(), 40);
        }
    }

    #[test]
    fn any_datagrams_are_borne(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..60), version: bool) {
        let (mut unwrapper, mut out) = (Unwrapper::new(Some(7), vec![(96, "PS".into()), (98, "H264".into())]), Vec::new());
        let now = Instant::now();
        for (at, mut datagram) in datagrams.into_iter().enumerate() {
            if version && datagram.len() > 1 {
                datagram[0] = 0x80;
                datagram[1] = [96, 98, 33, 8][at % 4];
            }
            unwrapper.packet(now + Duration::from_millis(at as u64 * 300), &datagram.into(), &mut out);
        }
        unwrapper.finish(now + Duration::from_secs(60), &mut out);
    }
}

#[test]
fn another_sender_is_taken_when_the_first_is_silent() {
    let packets = stream(10, 1);
    let other: Vec<Bytes> = packets
        .iter()
        .map(|packet| {
            let mut packet = packet.to_vec();
            packet[11] = 9;
            packet.into()
        })
        .collect();
    let (mut unwrapper, mut out, now) = (Unwrapper::new(None, Vec::new()), Vec::new(), Instant::now());
    packets.iter().for_each(|packet| unwrapper.packet(now, packet, &mut out));
    other.iter().for_each(|packet| unwrapper.packet(now, packet, &mut out));
    assert_eq!(unwrapper.counts().foreign, other.len() as u64, "nobody breaks into a stream");
    other.iter().for_each(|packet| unwrapper.packet(now + TAKE_OVER, packet, &mut out));
    assert_eq!(unwrapper.counts().takeovers, 1);
    assert!(pictures(&out).len() >= 18);
}
