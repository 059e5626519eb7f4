//! How packets leave: bounded, in steps, whole; and RTCP together.

use super::*;
use crate::allocations;
use crate::media::SourcePacket;
use crate::rtp::packet::RtpHeader;
use crate::session::Path;
use crate::session::egress::{FULL, MAX_BYTES};
use crate::shard::rig::PT;

/// An IDR picture of so many packets: fragments of one unit.
fn large_picture(packets: usize) -> Vec<Vec<u8>> {
    (0..packets)
        .map(|number| {
            let mut packet = vec![0x7c, if number == 0 { 0x85 } else { 0x05 }, 0x88, number as u8, (number >> 8) as u8];
            packet.resize(1_200, 0x11);
            packet
        })
        .collect()
}

#[test]
fn a_keyframe_of_three_hundred_packets_reaches_a_hundred_viewers_within_the_bound() {
    let (mut rig, publisher, viewers) = {
        let (rig, publisher, _, viewers) = meeting(100);
        (rig, publisher, viewers)
    };
    pictures(&mut rig, publisher, 100, 3);
    rig.forget();
    let picture = large_picture(300);
    for (number, payload) in picture.iter().enumerate() {
        // As they would come from a link of 100 Mbit/s, ten at a time.
        if number % 10 == 0 {
            rig.pass(1);
        }
        rig.send(publisher, 103 + number as u16, 9_000, payload);
    }
    rig.pass(50);
    // A packet is at most 1,250 bytes; one fan-out stops at the bound.
    assert!(rig.most_queued <= (FULL + 1) * 1_250, "{} bytes", rig.most_queued);
    assert_eq!(rig.core.egress.refused, 0);
    for (number, viewer) in viewers.iter().enumerate() {
        let got = rig.got(*viewer, 5000 + 10 * number as u32);
        assert_eq!(got.len(), 300);
        assert!(got.iter().zip(&picture).all(|(got, sent)| got.payload == *sent));
        assert!(no_holes(&got.iter().map(|got| got.header.sequence).collect::<Vec<_>>()));
    }
}

#[test]
fn a_camera_that_hands_over_a_large_picture_at_once_is_sent_in_steps() {
    let mut rig = Rig::new();
    let track = rig.track(h264(), 1, Keyframes::Cached);
    let viewers: Vec<usize> = (0..20).map(|_| rig.peer(true)).collect();
    for (number, viewer) in viewers.iter().enumerate() {
        rig.subscribes(*viewer, track, 5000 + 10 * number as u32);
    }
    let packets = large_picture(300)
        .into_iter()
        .enumerate()
        .map(|(number, payload)| SourcePacket::new(number as u64, 9_000, number == 299, payload.into()));
    rig.feed_batch(track, packets.collect());
    let first = rig.got(viewers[0], 5000).len();
    assert!((1..=24).contains(&first), "{first} packets left at once");
    rig.pass(20);
    assert!(rig.most_queued <= (FULL + 1) * 1_250, "{} bytes", rig.most_queued);
    for (number, viewer) in viewers.iter().enumerate() {
        assert_eq!(rig.got(*viewer, 5000 + 10 * number as u32).len(), 300);
    }
}

#[test]
fn while_the_system_takes_nothing_packets_wait_within_a_bound() {
    let (mut rig, publisher, _, viewers) = meeting(10);
    pictures(&mut rig, publisher, 100, 2);
    rig.forget();
    rig.core.egress.set_blocked(true);
    rig.holds = true;
    for n in 0..2_000u16 {
        if n % 20 == 0 {
            rig.now += std::time::Duration::from_millis(1);
        }
        let mut payload = delta(0);
        payload.resize(1_000, 7);
        rig.send(publisher, 102 + n, 3_000 + u32::from(n), &payload);
    }
    assert!(rig.core.egress.queued_bytes() <= MAX_BYTES + 1_250);
    assert!(rig.core.egress.refused > 0);
    assert_eq!(rig.rtp.len(), 0);
    rig.core.egress.set_blocked(false);
    rig.holds = false;
    rig.pass(500);
    let got = rig.got(viewers[0], 5000);
    assert!(got.len() > 300, "{}", got.len());
    assert!(got.is_sorted_by_key(|got| got.header.sequence), "what waited left in order");
}

#[test]
fn a_subscriber_without_a_retransmission_stream_gets_the_packet_as_it_was() {
    let (mut rig, publisher, _, viewers) = meeting(1);
    rig.change(viewers[0], |config| config.send[0].rtx_pt = None);
    pictures(&mut rig, publisher, 100, 10);
    let before: Vec<_> = rig.got(viewers[0], 5000).into_iter().cloned().collect();
    rig.forget();
    rig.nack(viewers[0], 5000, &[before[4].header.sequence]);
    let again = rig.got(viewers[0], 5000);
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].header, &again[0].payload), (before[4].header, &before[4].payload));
    // What was agreed anew is written otherwise, and the old numbers must not be seen with it.
    rig.change(viewers[0], |config| config.send[0].pt = 98);
    rig.forget();
    rig.nack(viewers[0], 5000, &[before[4].header.sequence, before[5].header.sequence]);
    assert!(rig.got(viewers[0], 5000).is_empty());
}

#[test]
fn what_a_publisher_is_told_at_one_moment_goes_in_one_packet() {
    let (mut rig, publisher, _, _) = meeting(1);
    let sound = rig.track(crate::media::CodecParams::opus(), 1, Keyframes::OnRequest);
    rig.publishes(publisher, sound, 1);
    rig.change(publisher, |config| config.receive[1].ssrcs = vec![(1100, None)]);
    for n in 0..200u16 {
        for (ssrc, skip) in [(1000, 50), (1100, 50)] {
            if n % skip != 7 {
                let header = RtpHeader {
                    payload_type: PT,
                    sequence: n,
                    timestamp: u32::from(n) * 900,
                    ssrc,
                    marker: true,
                    csrc_count: 0,
                };
                rig.send_rtp(publisher, header, &[], &if n == 0 { key(0) } else { delta(0) });
            }
        }
        rig.pass(10);
    }
    let to_publisher = rig.compounds.iter().filter(|(peer, _)| *peer == publisher).collect::<Vec<_>>();
    assert!(to_publisher.iter().any(|(_, kinds)| kinds.iter().filter(|kind| **kind == 205).count() == 2), "two NACKs");
    // Two seconds: two reports, four moments of loss of which each may be asked for some times, one keyframe.
    assert!(to_publisher.len() <= 40, "{} packets", to_publisher.len());
    assert!(to_publisher.iter().all(|(_, kinds)| [200, 201].contains(&kinds[0])), "each begins with a report");
    rig.pass(4_000);
    rig.compounds.clear();
    // Without loss there is a report a second, and nothing else.
    for n in 200..600u16 {
        rig.send(publisher, n, u32::from(n) * 900, &delta(0));
        rig.pass(10);
    }
    let quiet = rig.compounds.iter().filter(|(peer, _)| *peer == publisher).count();
    assert!((3..=5).contains(&quiet), "{quiet} packets in four seconds");
}

#[test]
fn a_forwarded_packet_allocates_nothing() {
    let (mut rig, publisher, _, _) = meeting(50);
    pictures(&mut rig, publisher, 100, 200);
    let packets: Vec<_> = (300..400u16)
        .map(|sequence| {
            let header = RtpHeader {
                payload_type: PT,
                sequence,
                timestamp: u32::from(sequence) * 3_000,
                ssrc: 1000,
                marker: true,
                csrc_count: 0,
            };
            rig.sealed(publisher, header, &[&delta(0)[..], &[7; 1_100]].concat())
        })
        .collect();
    let from = rig.peers[publisher].address;
    let before = (allocations::of_this_thread(), rig.core.stats.packets_in);
    let mut sent = 0;
    for mut packet in packets {
        rig.now += std::time::Duration::from_millis(1);
        forwarding_measured(&mut rig, &mut packet, from);
        sent += rig.core.egress.len();
        rig.core.egress.clear();
    }
    let allocated = allocations::of_this_thread() - before.0;
    assert_eq!(sent, 5_000);
    // A piece of memory of 64 KiB for payloads is taken now and then, and is counted itself: two allocations.
    assert!(allocated <= 6, "{allocated} allocations for 5,000 packets");
}

/// By this name `scripts/instructions.sh` counts what a forwarded packet takes.
#[inline(never)]
fn forwarding_measured(rig: &mut Rig, packet: &mut [u8], from: SocketAddr) {
    rig.core.datagram(packet, Path::Udp(from), from, rig.now);
}
