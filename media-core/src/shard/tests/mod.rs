//! What a shard does, in virtual time.

mod fed;
mod hostile;
mod network;
mod plain;
mod readers;
mod sections;
mod sending;
mod simulcast;
mod taps;

use super::Command;
use super::rig::{Rig, delta, h264, key};
use crate::media::Keyframes;
use crate::rtp::rtcp::{self, ReportBlock};
use crate::tap::TapItem;
use std::net::SocketAddr;

/// A publisher, its track, and subscribers of it with streams 5000, 5010, …
fn meeting(subscribers: usize) -> (Rig, usize, super::TrackKey, Vec<usize>) {
    let mut rig = Rig::new();
    let publisher = rig.peer(false);
    let track = rig.track(h264(), 1, Keyframes::OnRequest);
    rig.publishes(publisher, track, 1);
    let mut peers = Vec::new();
    for index in 0..subscribers {
        let peer = rig.peer(true);
        rig.subscribes(peer, track, 5000 + 10 * index as u32);
        peers.push(peer);
    }
    (rig, publisher, track, peers)
}

/// 30 pictures a second from `first` on, one packet each; the first is a keyframe.
fn pictures(rig: &mut Rig, publisher: usize, first: u16, count: u16) {
    for index in 0..count {
        let payload = if index == 0 { key(0) } else { delta(index as u8) };
        rig.send(publisher, first.wrapping_add(index), u32::from(first.wrapping_add(index)) * 3000, &payload);
        rig.pass(33);
    }
}

fn no_holes(sequences: &[u16]) -> bool {
    sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1))
}

#[test]
fn pictures_reach_subscribers_with_numbers_of_their_own() {
    let (mut rig, publisher, _, peers) = meeting(2);
    pictures(&mut rig, publisher, 65_500, 100);
    for (index, peer) in peers.into_iter().enumerate() {
        let got = rig.sequences(peer, 5000 + 10 * index as u32);
        assert_eq!(got.len(), 100);
        assert!(no_holes(&got));
    }
}

// Keyframe requests.

#[test]
fn a_keyframe_that_was_asked_for_is_not_asked_for_again_once_it_came() {
    let (mut rig, publisher, _, peers) = meeting(1);
    rig.send(publisher, 1, 0, &delta(0));
    rig.forget();
    for n in 0..4 {
        rig.send(publisher, 2 + n, 3000 * u32::from(n), &delta(1));
        rig.pass(30);
    }
    rig.send(publisher, 6, 90_000, &key(2));
    rig.pass(2000);
    assert_eq!(rig.plis_to(publisher), 0, "the one before was answered");
    assert_eq!(rig.got(peers[0], 5000).len(), 1);
}

#[test]
fn a_request_that_was_held_back_goes_out_when_no_keyframe_came() {
    let (mut rig, publisher, _, peers) = meeting(1);
    pictures(&mut rig, publisher, 1, 30);
    rig.pass(1000);
    rig.forget();
    rig.pli(peers[0], 5000);
    rig.pass(100);
    rig.pli(peers[0], 5000);
    assert_eq!(rig.plis_to(publisher), 1);
    rig.pass(600);
    assert_eq!(rig.plis_to(publisher), 2);
}

#[test]
fn a_hundred_keyframe_requests_a_second_become_two() {
    let (mut rig, publisher, _, peers) = meeting(1);
    pictures(&mut rig, publisher, 1, 30);
    rig.pass(1000);
    rig.forget();
    for _ in 0..300 {
        rig.pli(peers[0], 5000);
        rig.pass(10);
    }
    assert!((5..=7).contains(&rig.plis_to(publisher)), "{}", rig.plis_to(publisher));
}

// Cached groups of sources that can't be asked.

fn camera(group: u64) -> (Rig, super::TrackKey, usize) {
    let mut rig = Rig::new();
    let track = rig.track(h264(), 1, Keyframes::Cached);
    for n in 0..group {
        rig.feed(track, n, n as u32 * 3600, &if n == 0 { key(0) } else { delta(n as u8) });
    }
    let viewer = rig.peer(true);
    rig.subscribes(viewer, track, 5000);
    rig.pass(100);
    (rig, track, viewer)
}

#[test]
fn what_is_lost_of_a_group_older_than_the_history_is_sent_again() {
    let mut rig = Rig::new();
    let track = rig.track(h264(), 1, Keyframes::Cached);
    // Three seconds and a half of a camera, one picture every 40 ms.
    for n in 0..88u64 {
        rig.feed(track, n, n as u32 * 3600, &if n == 0 { key(0) } else { delta(n as u8) });
        rig.pass(40);
    }
    let viewer = rig.peer(true);
    rig.subscribes(viewer, track, 5000);
    rig.pass(100);
    let sequences = rig.sequences(viewer, 5000);
    assert_eq!(sequences.len(), 88);
    rig.nack(viewer, 5000, &sequences[1..4]);
    rig.pass(10);
    let again: Vec<u16> =
        rig.got(viewer, 5001).iter().map(|got| u16::from_be_bytes([got.payload[0], got.payload[1]])).collect();
    assert_eq!(again, sequences[1..4], "without them the viewer stands still until the next keyframe");
}

#[test]
fn a_viewer_that_keeps_asking_gets_the_cached_group_at_most_once_in_two_seconds() {
    let (mut rig, track, viewer) = camera(50);
    assert_eq!(rig.got(viewer, 5000).len(), 50);
    rig.forget();
    for n in 0..400 {
        rig.pli(viewer, 5000);
        rig.pass(10);
        if n % 40 == 0 {
            let number = 50 + n / 40;
            rig.feed(track, number, number as u32 * 3600, &delta(number as u8));
        }
    }
    let replays = (rig.got(viewer, 5000).len() - 10) / 50;
    assert!((1..=2).contains(&replays), "{replays} replays in 4 s");
}

#[test]
fn a_request_that_crossed_the_group_on_its_way_does_not_bring_it_again() {
    let (mut rig, _, viewer) = camera(50);
    rig.forget();
    // A tenth of a second after the group has left.
    rig.pli(viewer, 5000);
    rig.pass(350);
    assert!(rig.got(viewer, 5000).is_empty(), "the picture would jump back");
    rig.pass(100);
    rig.pli(viewer, 5000);
    rig.pass(100);
    assert_eq!(rig.got(viewer, 5000).len(), 50, "it did not help, and is asked for again");
}

#[test]
fn a_source_that_has_stopped_is_not_shown_again_and_again() {
    let (mut rig, track, viewer) = camera(50);
    assert_eq!(rig.got(viewer, 5000).len(), 50);
    rig.forget();
    for _ in 0..35 {
        rig.pli(viewer, 5000);
        rig.pass(200);
    }
    assert_eq!(rig.got(viewer, 5000).len(), 50, "once: a decoder may have lost its way");
    rig.feed(track, 50, 50 * 3600, &delta(0));
    rig.pass(200);
    rig.forget();
    rig.pli(viewer, 5000);
    rig.pass(200);
    assert_eq!(rig.got(viewer, 5000).len(), 51, "it goes on");
}

#[test]
fn a_long_group_is_not_replayed_on_request() {
    let mut rig = Rig::new();
    let track = rig.track(h264(), 1, Keyframes::Cached);
    let large = |number: u64| [if number == 0 { key(0) } else { delta(0) }, vec![0; 1100]].concat();
    for n in 0..2000 {
        rig.feed(track, n, n as u32 * 100, &large(n));
    }
    let viewer = rig.peer(true);
    rig.subscribes(viewer, track, 5000);
    rig.pass(500);
    assert_eq!(rig.got(viewer, 5000).len(), 2000, "at the start it comes whole");
    rig.pass(5000);
    rig.forget();
    rig.pli(viewer, 5000);
    rig.pass(500);
    assert!(rig.got(viewer, 5000).is_empty(), "2 MB for one request");
}

#[test]
fn a_viewer_that_loses_packets_gets_the_group_slowly() {
    let (mut rig, _, viewer) = camera(400);
    rig.pass(5000);
    rig.send_rtcp(viewer, |out| {
        let block = ReportBlock { ssrc: 5000, fraction_lost: 60, ..ReportBlock::default() };
        rtcp::write_receiver_report(out, 1, &[block]);
    });
    rig.forget();
    rig.pli(viewer, 5000);
    rig.pass(50);
    let soon = rig.got(viewer, 5000).len();
    assert!((1..=120).contains(&soon), "{soon} packets in 50 ms");
    rig.pass(2000);
    assert_eq!(rig.got(viewer, 5000).len(), 400);
}

#[test]
fn nobody_is_shown_what_follows_a_hole() {
    let (mut rig, track, viewer) = camera(10);
    rig.forget();
    rig.feed(track, 10, 36_000, &delta(10));
    // 11 is lost.
    for n in 12..20u64 {
        rig.feed(track, n, n as u32 * 3600, &delta(n as u8));
        rig.pass(40);
    }
    assert_eq!(rig.got(viewer, 5000).len(), 1, "nothing after the hole");
    rig.pli(viewer, 5000);
    rig.pass(100);
    assert_eq!(rig.got(viewer, 5000).len(), 1, "and no replay of a group with a hole");
    let late = rig.peer(true);
    rig.subscribes(late, track, 6000);
    rig.pass(100);
    assert!(rig.got(late, 6000).is_empty(), "nor for who comes now");
    rig.feed(track, 20, 72_000, &key(20));
    rig.feed(track, 21, 75_600, &delta(21));
    for (peer, ssrc) in [(viewer, 5000), (late, 6000)] {
        let shown: Vec<u8> = rig.got(peer, ssrc).iter().rev().take(2).map(|got| got.payload[3]).collect();
        assert_eq!(shown, [21, 20], "both go on at the keyframe");
    }
    assert!(no_holes(&rig.sequences(viewer, 5000)));
}

// Mute.

#[test]
fn a_mute_is_no_loss_to_publisher_or_subscriber() {
    let (mut rig, publisher, track, peers) = meeting(1);
    pictures(&mut rig, publisher, 1, 30);
    rig.command(Command::Mute { track, muted: true });
    rig.forget();
    for n in 31..231u16 {
        rig.send(publisher, n, u32::from(n) * 3000, &delta(n as u8));
        rig.pass(33);
    }
    assert!(rig.got(peers[0], 5000).is_empty());
    rig.command(Command::Mute { track, muted: false });
    rig.send(publisher, 231, 231 * 3000, &key(0));
    rig.send(publisher, 232, 232 * 3000, &delta(0));
    rig.pass(3000);
    assert!(rig.nacks_to(publisher).is_empty());
    let worst = rig.rtcp.iter().filter_map(|(to, packet)| match packet {
        rtcp::Rtcp::ReceiverReport { reports, .. } if *to == publisher => {
            reports.first().map(|block| block.fraction_lost)
        }
        _ => None,
    });
    assert_eq!(worst.max(), Some(0), "reports of no loss");
    rig.rtp.retain(|got| got.peer == peers[0]);
    assert_eq!(rig.rtp.len(), 2);
}

#[test]
fn after_a_mute_pictures_begin_with_a_keyframe() {
    let (mut rig, publisher, track, peers) = meeting(1);
    pictures(&mut rig, publisher, 1, 30);
    rig.pass(1000);
    rig.command(Command::Mute { track, muted: true });
    rig.send(publisher, 31, 93_000, &delta(0));
    rig.forget();
    rig.command(Command::Mute { track, muted: false });
    assert_eq!(rig.plis_to(publisher), 1);
    rig.send(publisher, 32, 96_000, &delta(0));
    assert!(rig.got(peers[0], 5000).is_empty());
    rig.send(publisher, 33, 99_000, &key(0));
    assert_eq!(rig.got(peers[0], 5000).len(), 1);
}

// Paths.

#[test]
fn one_participant_with_many_addresses_does_not_cut_the_others_off() {
    let (mut rig, publisher, _, peers) = meeting(1);
    pictures(&mut rig, publisher, 1, 10);
    let noisy = rig.peer(false);
    for n in 0..70_000u32 {
        let from = SocketAddr::from(([10, 9, (n >> 15) as u8, 1], 1024 + (n & 0x7fff) as u16));
        rig.check(noisy, from);
    }
    assert!(rig.core.paths.len() <= 8 * rig.peers.len(), "{}", rig.core.paths.len());
    rig.forget();
    pictures(&mut rig, publisher, 11, 10);
    assert_eq!(rig.got(peers[0], 5000).len(), 10);
    let key = rig.peers[noisy].key;
    rig.command(Command::RemoveTransport { key });
    assert_eq!(rig.core.paths.len(), 2);
}

// Losses.

#[test]
fn the_time_from_asking_to_the_answer_is_taken_for_the_round_trip() {
    let (mut rig, publisher, _, _) = meeting(1);
    pictures(&mut rig, publisher, 1, 10);
    let mut next = 11u16;
    let mut asked = Vec::new();
    for round in 0..6u16 {
        rig.forget();
        // One lost; its retransmission takes 600 ms, and so does everything else.
        let lost = next;
        next += 1;
        for _ in 0..24 {
            rig.send(publisher, next, u32::from(next) * 3000, &delta(0));
            next += 1;
            rig.pass(25);
        }
        asked.push(rig.nacks_to(publisher).iter().filter(|sequence| **sequence == lost).count());
        rig.resend(publisher, round, lost, u32::from(lost) * 3000, &delta(0));
        rig.pass(200);
    }
    assert!(asked[0] <= 5, "{asked:?}");
    assert!(asked[1..].iter().all(|count| *count <= 2), "{asked:?}");
}

#[test]
fn with_a_long_round_trip_a_lost_answer_is_asked_for_again() {
    let (mut rig, publisher, _, _) = meeting(1);
    let number = rig.peers[publisher].key;
    pictures(&mut rig, publisher, 1, 3);
    rig.core.transports.get_mut(number).unwrap().rtt = std::time::Duration::from_millis(600);
    rig.send(publisher, 5, 15_000, &delta(0));
    rig.send(publisher, 6, 18_000, &delta(0));
    rig.forget();
    rig.pass(1500);
    assert!(rig.nacks_to(publisher).len() >= 2, "{:?}", rig.nacks_to(publisher));
}

#[test]
fn a_flood_of_losses_reported_is_answered_within_a_budget() {
    let (mut rig, publisher, _, peers) = meeting(2);
    for n in 0..500u16 {
        let payload = [if n == 0 { key(0) } else { delta(0) }, vec![0; 1000]].concat();
        rig.send(publisher, n, u32::from(n) * 3000, &payload);
        rig.pass(2);
    }
    let all = rig.sequences(peers[0], 5000);
    rig.forget();
    for _ in 0..1000 {
        rig.nack(peers[0], 5000, &all[all.len() - 128..]);
        rig.pass(1);
    }
    let bytes: usize = rig.got(peers[0], 5001).iter().map(|got| got.payload.len()).sum();
    assert!(bytes > 128 * 1000, "each is sent once");
    assert!(bytes < 600_000, "{bytes} bytes sent again in a second");
    assert!(rig.core.stats.nacks_refused > 0);
    rig.nack(peers[1], 5010, &rig.sequences(peers[1], 5010));
}

#[test]
fn a_lost_packet_is_sent_again_as_it_was() {
    let (mut rig, publisher, _, peers) = meeting(1);
    pictures(&mut rig, publisher, 1, 20);
    let sent = rig.sequences(peers[0], 5000);
    rig.nack(peers[0], 5000, &[sent[10], sent[12]]);
    let again: Vec<(u16, u8)> = rig
        .got(peers[0], 5001)
        .iter()
        .map(|got| (u16::from_be_bytes([got.payload[0], got.payload[1]]), got.payload[5]))
        .collect();
    assert_eq!(again, [(sent[10], 10), (sent[12], 12)]);
}

// Taps.

#[test]
fn a_tap_gets_what_a_subscriber_gets() {
    let (mut rig, publisher, track, _) = meeting(1);
    let (_, mut tap) = rig.tap(track, 100);
    pictures(&mut rig, publisher, 1, 50);
    let mut sequences = Vec::new();
    while let Some(item) = tap.try_next() {
        if let TapItem::Packet(packet) = item {
            sequences.push(packet.sequence);
        }
    }
    assert_eq!(sequences.len(), 50);
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

// A source that begins anew.

#[test]
fn a_publisher_that_restarts_goes_on_without_a_jump() {
    let (mut rig, publisher, _, peers) = meeting(1);
    pictures(&mut rig, publisher, 100, 30);
    // Another stream with numbers close to the old one's and times far away, as after a re-encode.
    let fresh = |sequence: u16, timestamp: u32| crate::rtp::packet::RtpHeader {
        marker: true,
        payload_type: super::rig::PT,
        sequence,
        timestamp,
        ssrc: 3000,
        csrc_count: 0,
    };
    rig.change(publisher, |config| config.receive[0].ssrcs = vec![(3000, None)]);
    rig.send_rtp(publisher, fresh(110, 4_000_000_000), &[], &delta(200));
    rig.send_rtp(publisher, fresh(111, 4_000_003_000), &[], &key(201));
    rig.pass(33);
    rig.send_rtp(publisher, fresh(112, 4_000_006_000), &[], &delta(202));
    rig.pass(2000);
    let got = rig.got(peers[0], 5000);
    let shown: Vec<u8> = got[29..].iter().map(|got| got.payload[3]).collect();
    assert_eq!(shown, [29, 201, 202]);
    let times: Vec<u32> = got[28..].iter().map(|got| got.header.timestamp).collect();
    assert!(times.windows(2).all(|pair| (1..90_000).contains(&pair[1].wrapping_sub(pair[0]))), "{times:?}");
    assert!(no_holes(&rig.sequences(peers[0], 5000)));
    assert!(rig.nacks_to(publisher).is_empty());
}

#[test]
fn stragglers_of_a_replaced_stream_change_nothing() {
    let (mut rig, publisher, _, peers) = meeting(1);
    pictures(&mut rig, publisher, 100, 30);
    rig.change(publisher, |config| config.receive[0].ssrcs = vec![(3000, None)]);
    rig.forget();
    for n in 0..20u16 {
        let header = crate::rtp::packet::RtpHeader {
            marker: true,
            payload_type: super::rig::PT,
            sequence: 5000 + n,
            timestamp: u32::from(n) * 3000,
            ssrc: 3000,
            csrc_count: 0,
        };
        rig.send_rtp(publisher, header, &[], &if n == 0 { key(0) } else { delta(n as u8) });
        rig.send(publisher, 130 + n, 390_000, &delta(250));
        rig.pass(33);
    }
    let shown: Vec<u8> = rig.got(peers[0], 5000).iter().map(|got| got.payload[3]).collect();
    assert_eq!(shown, (0..20).collect::<Vec<u8>>());
    assert_eq!(rig.plis_to(publisher), 0);
}

#[test]
fn a_round_trip_that_becomes_longer_is_followed() {
    let (mut rig, publisher, _, _) = meeting(1);
    let number = rig.peers[publisher].key;
    let transport = rig.core.transports.get_mut(number).unwrap();
    let ms = std::time::Duration::from_millis;
    transport.note_answer(ms(20));
    transport.note_answer(ms(600));
    assert!(transport.rtt < ms(30), "one late answer may be a second one");
    for _ in 0..40 {
        transport.note_answer(ms(600));
    }
    assert!((ms(500)..=ms(600)).contains(&transport.rtt), "{:?}", transport.rtt);
}

#[test]
fn a_retransmission_with_a_far_number_restarts_nothing() {
    let (mut rig, publisher, _, peers) = meeting(1);
    pictures(&mut rig, publisher, 100, 30);
    rig.resend(publisher, 1, 40_000, 0, &delta(0));
    rig.forget();
    pictures(&mut rig, publisher, 130, 5);
    assert_eq!(rig.got(peers[0], 5000).len(), 5);
    assert!(rig.nacks_to(publisher).is_empty());
}

#[test]
fn a_fault_in_one_command_costs_that_command_only() {
    let (mut rig, publisher, _, peers) = meeting(1);
    rig.command(Command::Fault { ends_thread: false });
    assert_eq!(rig.core.stats.panics, 1);
    pictures(&mut rig, publisher, 1, 10);
    assert_eq!(rig.got(peers[0], 5000).len(), 10);
}

#[test]
fn a_peer_with_ever_new_streams_does_not_lose_the_one_that_goes_on() {
    let (mut rig, publisher, _, peers) = meeting(1);
    rig.change(publisher, |config| config.receive[0].ssrcs.clear());
    let packet = |rig: &mut Rig, ssrc: u32, sequence: u16, named: bool, payload: &[u8]| {
        let timestamp = u32::from(sequence) * 3000;
        let header = crate::rtp::packet::RtpHeader {
            marker: true,
            payload_type: 96,
            sequence,
            timestamp,
            ssrc,
            ..Default::default()
        };
        rig.send_rtp(publisher, header, if named { &[(1, b"p0")] } else { &[] }, payload);
    };
    // Another section, so that the payload type alone does not tell the stream.
    let other = rig.track(h264(), 1, Keyframes::OnRequest);
    rig.publishes(publisher, other, 1);
    rig.change(publisher, |config| config.receive[1].ssrcs.clear());
    packet(&mut rig, 77, 0, true, &key(0));
    for n in 1..400u16 {
        packet(&mut rig, 77, n, false, &delta(0));
        let header = crate::rtp::packet::RtpHeader {
            payload_type: 96,
            sequence: 1,
            ssrc: 9_000 + u32::from(n),
            ..Default::default()
        };
        rig.send_rtp(publisher, header, &[(1, b"p1")], &delta(0));
    }
    // So many at once leave in steps.
    rig.pass(30);
    assert_eq!(rig.got(peers[0], 5000).len(), 400);
}

#[test]
fn a_connection_that_was_never_begun_does_not_fail_and_one_that_was_does() {
    let mut rig = Rig::new();
    // What the client may offer and never does; and what we offered.
    let (unused, offered) = (rig.absent_peer(false), rig.absent_peer(true));
    let failed = |rig: &mut Rig, peer: usize| {
        let events: Vec<_> = std::iter::from_fn(|| rig.peers[peer].events.try_recv().ok()).collect();
        events.iter().any(|event| matches!(event, crate::shard::TransportEvent::Failed(_)))
    };
    rig.pass(29_000);
    assert!(!failed(&mut rig, offered));
    rig.pass(2_000);
    assert!(failed(&mut rig, offered));
    rig.pass(600_000);
    assert!(!failed(&mut rig, unused));
    // Once it is offered, checks have to come.
    rig.configure(unused);
    rig.pass(29_000);
    assert!(!failed(&mut rig, unused));
    rig.pass(2_000);
    assert!(failed(&mut rig, unused));
}
