//! Several layers of one track, and what is asked of them.

use super::{delta, key};
use crate::media::{Codec, CodecParams, Keyframes};
use crate::rtp::packet::RtpHeader;
use crate::rtp::rtcp::{self, ReportBlock, Rtcp, SenderReport};
use crate::rtp::vp8::{Descriptor, PictureId};
use crate::shard::Command;
use crate::shard::rig::{PT, Rig, h264};
use std::time::Duration;

const RIDS: [&[u8]; 3] = [b"q", b"h", b"f"];

/// A publisher of a track in three layers, and one viewer with stream 5000.
fn meeting(codec: CodecParams) -> (Rig, usize, crate::shard::TrackKey, usize) {
    let mut rig = Rig::new();
    let publisher = rig.peer(false);
    let track = rig.track(codec, 3, Keyframes::OnRequest);
    rig.publishes(publisher, track, 3);
    let viewer = rig.peer(true);
    rig.subscribes(viewer, track, 5000);
    (rig, publisher, track, viewer)
}

fn layer(rig: &mut Rig, peer: usize, layer: usize, sequence: u16, timestamp: u32, payload: &[u8]) {
    let ssrc = 1000 + layer as u32;
    let header = RtpHeader { marker: true, payload_type: PT, sequence, timestamp, ssrc, ..RtpHeader::default() };
    rig.send_rtp(peer, header, &[(1, b"p0"), (2, RIDS[layer])], payload);
}

/// Streams that were asked for a keyframe.
fn asked(rig: &Rig, publisher: usize) -> Vec<u32> {
    let to = rig.rtcp.iter().filter(|(to, _)| *to == publisher);
    to.filter_map(|(_, packet)| if let Rtcp::Pli { media, .. } = packet { Some(*media) } else { None }).collect()
}

#[test]
fn a_newcomer_and_a_tap_ask_for_the_layer_they_are_to_have_and_for_no_other() {
    let (mut rig, publisher, track, _) = meeting(h264());
    for n in 0..60u16 {
        for index in 0..3 {
            layer(&mut rig, publisher, index, n, u32::from(n) * 3000, &if n == 0 { key(0) } else { delta(1) });
        }
        rig.pass(33);
    }
    rig.forget();
    let second = rig.peer(true);
    rig.subscribes(second, track, 6000);
    rig.pass(10);
    assert_eq!(asked(&rig, publisher), [1002]);
    rig.pass(600);
    rig.forget();
    let (sub, _receiver) = rig.tap(track, 64);
    assert_eq!(asked(&rig, publisher), [1002]);
    for index in 0..3 {
        layer(&mut rig, publisher, index, 60, 180_000, &key(0));
    }
    rig.pass(600);
    rig.forget();
    rig.command(Command::Keyframe { track, sub });
    assert_eq!(asked(&rig, publisher), [1002]);
}

#[test]
fn a_vp8_packet_that_is_sent_again_after_a_switch_is_what_it_was() {
    let (mut rig, publisher, track, viewer) = meeting(CodecParams { codec: Codec::Vp8, fmtp: String::new(), ..h264() });
    let vp8 = |picture: u16, key: bool| {
        let [high, low] = picture.to_be_bytes();
        vec![0x90, 0xe0, 0x80 | high, low, picture as u8, 0x20, if key { 0x10 } else { 0x11 }, 7, 7]
    };
    let sub = rig.core.tracks.get(track).unwrap().subs.values().next().unwrap().key;
    rig.command(Command::Want { track, sub, layer: 0, paused: false });
    for n in 0..10u16 {
        layer(&mut rig, publisher, 0, 100 + n, u32::from(n) * 3000, &vp8(500 + n, n == 0));
        rig.pass(33);
    }
    rig.command(Command::Want { track, sub, layer: 2, paused: false });
    for n in 10..14u16 {
        layer(&mut rig, publisher, 0, 100 + n, u32::from(n) * 3000, &vp8(500 + n, false));
        layer(&mut rig, publisher, 2, 40 + n, u32::from(n) * 3000 + 77, &vp8(9_000 + n, n == 12));
        rig.pass(33);
    }
    let sent = rig.got(viewer, 5000).into_iter().cloned().collect::<Vec<_>>();
    let number = |payload: &[u8]| match Descriptor::parse(payload).unwrap().picture_id {
        Some(PictureId::Long(id)) => id,
        _ => panic!("no long picture number"),
    };
    let numbers: Vec<u16> = sent.iter().map(|got| number(&got.payload)).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] <= 1), "{numbers:?}");
    let before = &sent[5];
    rig.forget();
    rig.nack(viewer, 5000, &[before.header.sequence]);
    let again = rig.got(viewer, 5001);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].payload[2..], before.payload[..]);
    assert_eq!(again[0].header.timestamp, before.header.timestamp);
}

#[test]
fn capture_times_meet_at_a_switch_and_nothing_is_reported_that_would_be_taken_back() {
    let (mut rig, publisher, track, viewer) = meeting(h264());
    let sub = rig.core.tracks.get(track).unwrap().subs.values().next().unwrap().key;
    rig.command(Command::Want { track, sub, layer: 0, paused: false });
    // The layers' times have bases of their own, and the low layer comes two pictures late.
    let (low, top) = (5_000u32, 700_000u32);
    let report = |rig: &mut Rig, ssrc: u32, rtp_time: u32| {
        let ntp = rig.core.clock.ntp(rig.now);
        let report = SenderReport { ssrc, ntp, rtp_time, packets: 1, octets: 1, reports: Default::default() };
        rig.send_rtcp(publisher, |out| rtcp::write_sender_report(out, &report));
    };
    let mut n = 0u32;
    let frame = |rig: &mut Rig, n: u32, switch: bool| {
        layer(rig, publisher, 2, n as u16, top + n * 3000, &if switch { key(2) } else { delta(2) });
        rig.advance(Duration::from_millis(20));
        if let Some(earlier) = n.checked_sub(2) {
            let payload = if earlier == 0 { key(0) } else { delta(0) };
            layer(rig, publisher, 0, earlier as u16, low + earlier * 3000, &payload);
        }
        rig.advance(Duration::from_nanos(13_333_333));
    };
    while n < 60 {
        frame(&mut rig, n, false);
        n += 1;
    }
    let reports = |rig: &Rig| {
        let to = rig.rtcp.iter().filter(|(to, packet)| *to == viewer && matches!(packet, Rtcp::SenderReport(_)));
        to.count()
    };
    assert_eq!(reports(&rig), 0, "the publisher has not said yet where its clock stands");
    report(&mut rig, 1000, low + n * 3000);
    report(&mut rig, 1002, top + n * 3000);
    while n < 120 {
        frame(&mut rig, n, false);
        n += 1;
    }
    assert!(reports(&rig) > 0);
    rig.command(Command::Want { track, sub, layer: 2, paused: false });
    rig.forget();
    while n < 150 {
        frame(&mut rig, n, n == 130);
        n += 1;
    }
    let got = rig.got(viewer, 5000);
    // Picture 130, right after 127 of the low layer.
    let switched = got.iter().position(|got| got.payload == key(2)).unwrap();
    let [before, at, after] = [switched - 1, switched, switched + 1].map(|index| got[index].header.timestamp);
    assert_eq!(after.wrapping_sub(at), 3000);
    assert_eq!(at.wrapping_sub(before), 9000);
}

/// Where the line loses much, packets wait their turn; those of other layers are not among them.
#[test]
fn packets_that_wait_are_of_one_layer() {
    let (mut rig, publisher, _, viewer) = meeting(h264());
    let report = |rig: &mut Rig| {
        let block = ReportBlock { ssrc: 5000, fraction_lost: 64, ..ReportBlock::default() };
        rig.send_rtcp(viewer, |out| rtcp::write_receiver_report(out, 1, &[block]));
    };
    // Each layer with numbers of its own, pictures of many packets all at once.
    let first = [30_000u16, 60_000, 2_000];
    let mut number = 0u16;
    for picture in 0..60u16 {
        if picture % 10 == 5 {
            report(&mut rig);
        }
        for part in 0..12u16 {
            for (index, first) in first.iter().enumerate() {
                let payload = if picture % 20 == 0 && part == 0 { key(index as u8) } else { delta(index as u8) };
                let sequence = first.wrapping_add(number);
                layer(&mut rig, publisher, index, sequence, u32::from(picture) * 3000, &payload);
            }
            number += 1;
        }
        rig.pass(33);
    }
    let got = rig.got(viewer, 5000);
    assert!(got.len() > 400, "{}", got.len());
    assert!(got.windows(2).all(|pair| pair[1].header.sequence == pair[0].header.sequence.wrapping_add(1)));
    let best = got.iter().skip(60).filter(|got| *got.payload.last().unwrap() == 2).count();
    assert_eq!(best, got.len() - 60, "of the best layer alone");
}
