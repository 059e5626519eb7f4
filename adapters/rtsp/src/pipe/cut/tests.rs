use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A camera's habits: what it does with a NAL unit that is the `at`th of its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Markers {
    /// On the last packet of a picture.
    Right,
    EverySlice,
    EveryPacket,
    None,
    /// On the last, and on every packet of parameter sets.
    Sets,
}

const HABITS: [Markers; 5] = [Markers::Right, Markers::EverySlice, Markers::EveryPacket, Markers::None, Markers::Sets];

struct Camera {
    codec: Codec,
    /// Parameter sets stand ahead of every slice of a keyframe, not only of the first.
    repeats: bool,
    cutter: Cutter,
    sequence: u64,
    out: Vec<Cut>,
}

impl Camera {
    fn new(codec: Codec) -> Self {
        Self { codec, repeats: false, cutter: Cutter::new(codec), sequence: 100, out: Vec::new() }
    }

    fn send(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> usize {
        self.sequence += 1;
        let payload = Bytes::copy_from_slice(payload);
        let out =
            self.cutter.push(self.sequence, Incoming { sequence: self.sequence as u16, timestamp, marker, payload });
        let ended = out.iter().filter(|packet| packet.marker).count();
        self.out.extend(out);
        ended
    }

    /// Parameter sets when it is a keyframe, then slices of `pieces` packets; returns how many
    /// pictures ended on the way.
    fn picture(&mut self, timestamp: u32, key: bool, slices: u8, pieces: u8, markers: Markers) -> usize {
        let mut ended = 0;
        let sets: &[&[u8]] = match self.codec {
            _ if !key => &[],
            Codec::H265 => &[&[0x40, 1, 1], &[0x42, 1, 1], &[0x44, 1, 1]],
            _ => &[&[0x67, 1, 1], &[0x68, 1, 1]],
        };
        for slice in 0..slices {
            let sets = if slice == 0 || self.repeats { sets } else { &[] };
            for set in sets {
                ended += self.send(timestamp, matches!(markers, Markers::Sets | Markers::EveryPacket), set);
            }
            for piece in 0..pieces {
                let last_piece = piece + 1 == pieces;
                let marker = match markers {
                    Markers::Right | Markers::Sets => last_piece && slice + 1 == slices,
                    Markers::EverySlice => last_piece,
                    Markers::EveryPacket => true,
                    Markers::None => false,
                };
                // first_mb_in_slice, or first_slice_segment_in_pic_flag.
                let first = if slice == 0 { 0x80 } else { 0x20 };
                let fu = u8::from(piece == 0) << 7 | u8::from(last_piece) << 6;
                let payload = match (self.codec, pieces) {
                    (Codec::H265, 1) => vec![if key { 0x26 } else { 0x02 }, 1, first],
                    (Codec::H265, _) => {
                        vec![0x62, 1, fu | if key { 19 } else { 1 }, if piece == 0 { first } else { 7 }]
                    }
                    (_, 1) => vec![if key { 0x65 } else { 0x41 }, first],
                    (_, _) => vec![0x7c, fu | if key { 5 } else { 1 }, if piece == 0 { first } else { 7 }],
                };
                ended += self.send(timestamp, marker, &payload);
            }
        }
        ended
    }

    /// Packets of each picture that ended.
    fn pictures(&self) -> Vec<&[Cut]> {
        let ended = self.out.iter().rposition(|packet| packet.marker).map_or(0, |at| at + 1);
        self.out[..ended].split_inclusive(|packet| packet.marker).collect()
    }
}

#[test]
fn each_picture_is_cut_once_whatever_the_marker_does() {
    for codec in [Codec::H264, Codec::H265] {
        for markers in HABITS {
            for (slices, pieces, step) in [(1, 1, 3_600), (4, 1, 3_600), (4, 3, 3_600), (1, 5, 3_600), (3, 2, 0)] {
                let mut camera = Camera::new(codec);
                for number in 0..60 {
                    camera.picture(number * step, number % 20 == 0, slices, pieces, markers);
                }
                let what = format!("{codec:?} {markers:?} {slices} slices of {pieces}, {step}");
                let pictures = camera.pictures();
                assert!((59..=60).contains(&pictures.len()), "{what}: {}", pictures.len());
                let sets = if codec == Codec::H265 { 3 } else { 2 };
                for (number, picture) in pictures.iter().enumerate() {
                    let wanted = usize::from(slices * pieces) + if number % 20 == 0 { sets } else { 0 };
                    assert_eq!(picture.len(), wanted, "{what}, picture {number}");
                    assert!(picture.iter().all(|packet| packet.timestamp == picture[0].timestamp), "{what}");
                }
                let times: BTreeSet<u32> = pictures.iter().map(|picture| picture[0].timestamp).collect();
                assert_eq!(times.len(), pictures.len(), "{what}: each has a time of its own");
                assert!(camera.out.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1), "{what}");
            }
        }
    }
}

#[test]
fn parameter_sets_between_the_slices_of_a_picture_do_not_end_it() {
    for codec in [Codec::H264, Codec::H265] {
        for markers in HABITS {
            for first_key in [0, 40] {
                let mut camera = Camera { repeats: true, ..Camera::new(codec) };
                for number in 0..80 {
                    camera.picture(number * 3_600, number % 20 == 0 && number >= first_key, 3, 2, markers);
                }
                let what = format!("{codec:?} {markers:?}, keyframes from picture {first_key} on");
                let pictures = camera.pictures();
                assert!((79..=80).contains(&pictures.len()), "{what}: {}", pictures.len());
                let sets = if codec == Codec::H265 { 9 } else { 6 };
                let lengths = pictures.iter().map(|picture| picture.len());
                let wanted =
                    (0..80u32).map(|number| 6 + if number % 20 == 0 && number >= first_key { sets } else { 0 });
                assert!(lengths.zip(wanted).all(|(length, wanted)| length == wanted), "{what}");
            }
        }
    }
}

#[test]
fn a_marker_that_was_right_ends_pictures_at_once_and_one_within_a_picture_never_again() {
    let mut camera = Camera::new(Codec::H264);
    assert_eq!(camera.picture(0, true, 2, 2, Markers::Right), 0, "nothing is known of it yet");
    assert_eq!(camera.picture(3_600, false, 2, 2, Markers::Right), 2, "the keyframe, and itself at once");
    for number in 2..10 {
        assert_eq!(camera.picture(number * 3_600, false, 1, 1, Markers::Right), 1);
    }
    camera.picture(36_000, false, 3, 1, Markers::EverySlice);
    let torn = camera.out.windows(2).filter(|pair| pair[1].sequence != pair[0].sequence + 1).count();
    assert_eq!(torn, 1, "the slices behind the wrong marker are told as broken");
    assert_eq!(camera.picture(39_600, false, 1, 1, Markers::Right), 1, "that of before");
    assert_eq!(camera.picture(43_200, false, 1, 1, Markers::Right), 1);
    assert_eq!(camera.out.last().unwrap().timestamp, 39_600);
}

#[test]
fn without_a_keyframe_a_marker_is_believed_after_25_pictures() {
    let mut camera = Camera::new(Codec::H264);
    for number in 0..26 {
        camera.picture(number * 3_600, false, 1, 1, Markers::Right);
    }
    assert_eq!(camera.pictures().len(), 26);
}

#[test]
fn slices_with_times_of_their_own_and_what_stands_between_belong_to_one_picture() {
    let mut camera = Camera::new(Codec::H264);
    for (timestamp, payload) in [
        (0, &[0x65, 0x80][..]),
        (1, &[0x65, 0x20]),
        (1, &[0x06, 5]),
        (2, &[0x65, 0x20]),
        (2, &[0x0c, 0xff]),
        (3_600, &[0x06, 5]),
        (3_600, &[0x68, 1]),
        (3_600, &[0x41, 0x80]),
        (7_200, &[0x09, 0x10]),
    ] {
        camera.send(timestamp, false, payload);
    }
    let pictures = camera.pictures();
    assert_eq!(pictures.iter().map(|picture| picture.len()).collect::<Vec<_>>(), [5, 3]);
    assert_eq!(pictures.iter().map(|picture| picture[0].timestamp).collect::<Vec<_>>(), [0, 3_600]);
}

#[test]
fn an_aggregate_of_two_pictures_is_taken_apart_and_two_fields_stay_together() {
    let mut camera = Camera::new(Codec::H264);
    camera.send(0, true, &[0x78, 0, 2, 0x65, 0x80, 0, 2, 0x06, 1, 0, 2, 0x41, 0x80]);
    camera.send(0, false, &[0x09, 0x10]);
    assert_eq!(camera.pictures().iter().map(|picture| picture.len()).collect::<Vec<_>>(), [1, 2]);

    let mut camera = Camera::new(Codec::H264);
    camera.cutter.fields = true;
    for time in [0, 0, 3_600, 3_600, 7_200] {
        camera.send(time, false, &[0x41, 0x80]);
    }
    assert_eq!(camera.pictures().iter().map(|picture| picture.len()).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn behind_a_loss_nothing_is_taken_for_whole() {
    for markers in [Markers::Right, Markers::None] {
        let mut camera = Camera::new(Codec::H264);
        camera.picture(0, true, 1, 3, markers);
        camera.sequence += 1;
        camera.send(3_600, false, &[0x41, 0x20]);
        camera.picture(7_200, false, 1, 1, markers);
        camera.picture(10_800, false, 1, 1, markers);
        let gaps: Vec<u32> = camera
            .out
            .windows(2)
            .filter(|pair| pair[1].sequence != pair[0].sequence + 1)
            .map(|pair| pair[1].timestamp)
            .collect();
        assert_eq!(gaps, [3_600]);
        let ended: Vec<u32> = camera.out.iter().filter(|packet| packet.marker).map(|packet| packet.timestamp).collect();
        let wanted: &[u32] = if markers == Markers::Right { &[0, 3_600, 7_200] } else { &[3_600, 7_200] };
        assert_eq!(ended, wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_byte_is_lost_or_doubled_and_numbers_rise(
        packets in proptest::collection::vec(
            (0u64..3, 0u32..3, any::<bool>(), 0u8..64, proptest::collection::vec(any::<u8>(), 0..24)), 0..120),
        h265 in any::<bool>(),
        fields in any::<bool>(),
    ) {
        let codec = if h265 { Codec::H265 } else { Codec::H264 };
        let mut camera = Camera::new(codec);
        camera.cutter.fields = fields;
        let (mut came, mut started) = (0, false);
        for (lost, timestamp, marker, kind, mut payload) in packets {
            if let Some(first) = payload.first_mut() {
                *first = if h265 { kind << 1 } else { kind };
            }
            camera.sequence += lost / 2;
            let whole = Bytes::from(payload.clone());
            let parts = read(codec, &whole);
            started |= parts.iter().any(|(_, read)| !matches!(read.says, Says::More));
            came += parts.iter().filter(|(_, read)| started || read.says != Says::More).count();
            camera.send(timestamp, marker, &payload);
            prop_assert!(camera.cutter.ahead.len() <= MOST_AHEAD);
        }
        let held = camera.cutter.ahead.len() + usize::from(camera.cutter.last.is_some());
        prop_assert!(camera.out.len() + held <= came);
        prop_assert!(camera.out.windows(2).all(|pair| pair[1].sequence > pair[0].sequence));
    }
}
