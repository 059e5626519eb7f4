use super::*;
use crate::media::MediaPacket;
use proptest::prelude::*;
use std::time::Instant;

fn packet(sequence: u64, time: u64, marker: bool, payload: &[u8]) -> TapItem {
    TapItem::Packet(MediaPacket {
        sequence,
        time,
        marker,
        payload: Bytes::copy_from_slice(payload),
        arrival: Instant::now(),
        room_ns: time as i64 * 1_000,
        level: None,
        red: None,
    })
}

/// What comes out, in short: the first byte of each unit's data, `!` a keyframe.
fn out(units: &mut Units, items: impl IntoIterator<Item = TapItem>) -> Vec<String> {
    let mut out = Vec::new();
    items.into_iter().for_each(|item| units.push(item, &mut out));
    out.iter()
        .map(|item| match item {
            UnitItem::Discontinuity(why) => format!("{why:?}"),
            UnitItem::Format(format) => match format.size() {
                Some((width, height)) => format!("{width}x{height}"),
                None => "sound".to_owned(),
            },
            UnitItem::Gap { packets, cause } => format!("{cause:?} {packets}"),
            UnitItem::Muted(muted) => format!("muted {muted}"),
            UnitItem::Unit(unit) => {
                let data = unit.length_prefixed();
                let last = data.last().copied().unwrap_or_default();
                format!("{last}{}", if unit.key { "!" } else { "" })
            }
        })
        .collect()
}

/// A VP8 frame in one packet: descriptor that starts a partition, then the frame (RFC 7741 4.2, RFC 6386 9.1).
fn vp8(key: bool, width: u16, last: u8) -> Vec<u8> {
    let mut frame = vec![0x10, u8::from(!key), 0, 0];
    if key {
        frame.extend([0x9d, 0x01, 0x2a]);
        frame.extend(width.to_le_bytes());
        frame.extend(48u16.to_le_bytes());
    }
    frame.push(last);
    frame
}

#[test]
fn pictures_begin_with_a_keyframe_and_again_after_whole_ones_are_lost() {
    let mut units = Units::new(&CodecParams::video(Codec::Vp8)).unwrap();
    let early = out(&mut units, [packet(0, 90_000 * 9, true, &vp8(false, 0, 1))]);
    assert_eq!(early, [""; 0]);
    assert!(units.take_keyframe_wish() && !units.take_keyframe_wish());
    let time = |n: u64| 90_000 * 9 + n * 3000;
    let stream = [
        packet(1, time(1), true, &vp8(true, 64, 2)),
        packet(2, time(2), true, &vp8(false, 0, 3)),
        TapItem::Gap { from: 3, to: 5, cause: GapCause::Behind },
        packet(5, time(5), true, &vp8(false, 0, 5)),
        TapItem::Muted(true),
        packet(6, time(6), true, &vp8(true, 64, 6)),
        packet(7, time(7), true, &vp8(true, 128, 7)),
        packet(7, time(7), true, &vp8(true, 128, 8)),
    ];
    let wanted = ["64x48", "2!", "3", "Behind 2", "muted true", "6!", "128x48", "7!"];
    assert_eq!(out(&mut units, stream), wanted);
    assert!(units.take_keyframe_wish());
}

#[test]
fn h264_has_its_parameter_sets_wherever_they_came_from() {
    let sps = "Z0LAHtkDxWhAAAADAEAAAAwDxYuS";
    let codec = CodecParams {
        fmtp: format!("packetization-mode=1;sprop-parameter-sets={sps},aMuMsg=="),
        ..CodecParams::h264()
    };
    let mut units = Units::new(&codec).unwrap();
    let mut got = Vec::new();
    units.push(packet(1, 3000, true, &[0x65, 0x88, 0x84, 9]), &mut got);
    units.push(packet(2, 6000, true, &[0x41, 0x9a, 0x02, 8]), &mut got);
    let [UnitItem::Format(format), UnitItem::Unit(key), UnitItem::Unit(next)] = &got[..] else { panic!("{got:?}") };
    assert!(Arc::ptr_eq(format, &key.format) && format.size().is_some());
    let stream = key.byte_stream();
    let kinds: Vec<u8> = stream.windows(5).filter(|w| w[..4] == [0, 0, 0, 1]).map(|w| w[4] & 0x1f).collect();
    assert_eq!(kinds, [7, 8, 5]);
    assert_eq!(next.byte_stream(), &[0, 0, 0, 1, 0x41, 0x9a, 0x02, 8][..]);
    assert_eq!((next.time, next.room_ns, key.key, next.key), (6000, 6_000_000, true, false));
}

#[test]
fn frames_of_sound_know_their_length_and_their_moment() {
    for (codec, payload, ticks) in [
        (CodecParams::opus(), vec![0xf8, 0xff, 0xfe], 960),
        (CodecParams::pcma(), vec![0x55; 160], 160),
        (CodecParams { codec: Codec::G722, ..CodecParams::pcma() }, vec![0; 160], 160),
    ] {
        let mut units = Units::new(&codec).unwrap();
        let mut got = Vec::new();
        units.push(packet(7, 1000, false, &payload), &mut got);
        units.push(packet(9, 2000, false, &payload), &mut got);
        let [UnitItem::Format(_), UnitItem::Unit(unit), UnitItem::Gap { packets: 1, .. }, UnitItem::Unit(_)] = &got[..]
        else {
            panic!("{got:?}")
        };
        assert_eq!((unit.ticks, unit.time, unit.room_ns), (ticks, 1000, 1_000_000));
    }
    let fault = Units::new(&CodecParams::video(Codec::Av1)).err();
    assert_eq!(fault, Some(UnitsFault::Codec(Codec::Av1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_packets_hold_units_are_bounded_and_begin_with_a_keyframe(
        codec in 0usize..7,
        steps in prop::collection::vec((0u64..4, 0u64..9000, any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 1..80),
    ) {
        let aac = "config=1210; sizelength=13; indexlength=3; indexdeltalength=3";
        let codecs = [
            CodecParams::h264(),
            CodecParams::video(Codec::H265),
            CodecParams::video(Codec::Vp8),
            CodecParams::opus(),
            CodecParams::pcmu(),
            CodecParams { codec: Codec::G722, ..CodecParams::pcma() },
            CodecParams { codec: Codec::Aac, clock_rate: 44_100, channels: 2, fmtp: aac.into() },
        ];
        let mut units = Units::new(&codecs[codec]).unwrap();
        let (mut out, mut sequence, mut time, mut bytes) = (Vec::new(), 0, 1 << 32, 0);
        for (step, later, marker, payload) in steps {
            (sequence, time, bytes) = (sequence + step, time + later, bytes + payload.len());
            units.push(packet(sequence, time, marker, &payload), &mut out);
        }
        let (mut format, mut begun) = (false, false);
        for item in out {
            match item {
                UnitItem::Format(_) => format = true,
                UnitItem::Gap { .. } => begun = begun && codec > 2,
                UnitItem::Unit(unit) => {
                    prop_assert!(format && (begun || unit.key));
                    begun = true;
                    prop_assert!(unit.length_prefixed().len() <= bytes * 8);
                }
                _ => {}
            }
        }
    }
}
