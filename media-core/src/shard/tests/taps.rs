//! What readers in this process get: the stream in order, holes only where nothing came.

use super::{meeting, pictures};
use crate::media::{CodecParams, Keyframes};
use crate::shard::Command;
use crate::shard::rig::{Rig, delta, key};
use crate::tap::{TapItem, TapReader};

/// Last byte of each payload that the tap has now, and whether its numbers rise.
fn read(tap: &mut TapReader) -> Vec<u8> {
    let mut got = Vec::new();
    let mut last = None;
    while let Some(item) = tap.try_next() {
        if let TapItem::Packet(packet) = item {
            assert!(last.is_none_or(|last| packet.sequence > last), "out of order");
            last = Some(packet.sequence);
            got.push(*packet.payload.last().unwrap());
        }
    }
    got
}

fn gapless(tap: &mut TapReader) -> usize {
    let mut numbers = Vec::new();
    while let Some(item) = tap.try_next() {
        if let TapItem::Packet(packet) = item {
            numbers.push(packet.sequence);
        }
    }
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    numbers.len()
}

#[test]
fn a_tap_gets_a_packet_that_came_again_in_its_place() {
    let (mut rig, publisher, track, peers) = meeting(1);
    let (_, mut tap) = rig.tap(track, 1000);
    rig.send(publisher, 1, 0, &key(0));
    for n in [2, 4, 5, 6] {
        rig.send(publisher, n, u32::from(n) * 3000, &delta(n as u8));
        rig.pass(33);
    }
    assert_eq!(read(&mut tap), [0, 2], "what follows the gap is held");
    assert!(rig.nacks_to(publisher).iter().all(|lost| *lost == 3) && !rig.nacks_to(publisher).is_empty());
    rig.resend(publisher, 1, 3, 9000, &delta(3));
    rig.send(publisher, 7, 21_000, &delta(7));
    assert_eq!(read(&mut tap), [3, 4, 5, 6, 7]);
    assert_eq!(rig.got(peers[0], 5000).len(), 7, "browsers did not wait");
}

#[test]
fn a_tap_gets_reordered_packets_in_order_and_nobody_is_asked_for_a_keyframe() {
    let (mut rig, publisher, track, _) = meeting(0);
    let (_, mut tap) = rig.tap(track, 1000);
    rig.send(publisher, 1, 0, &key(0));
    rig.forget();
    for n in (2..100).step_by(2) {
        rig.send(publisher, n + 1, u32::from(n + 1) * 3000, &delta((n + 1) as u8));
        rig.pass(5);
        rig.send(publisher, n, u32::from(n) * 3000, &delta(n as u8));
        rig.pass(28);
    }
    assert_eq!(gapless(&mut tap), 99);
    assert_eq!(rig.plis_to(publisher), 0);
    assert!(rig.nacks_to(publisher).is_empty());
}

#[test]
fn a_packet_that_never_comes_holds_a_tap_no_longer_than_it_is_asked_for() {
    let (mut rig, publisher, track, _) = meeting(0);
    let (_, mut tap) = rig.tap(track, 1000);
    rig.send(publisher, 1, 0, &key(0));
    rig.send(publisher, 3, 9000, &delta(3));
    rig.pass(500);
    assert_eq!(read(&mut tap), [0]);
    rig.pass(1000);
    assert_eq!(read(&mut tap), [3]);
    // Now it comes: nobody waits for it.
    rig.resend(publisher, 1, 2, 6000, &delta(2));
    rig.send(publisher, 4, 12_000, &delta(4));
    assert_eq!(read(&mut tap), [4]);
}

#[test]
fn where_nothing_can_be_asked_for_a_tap_waits_a_tenth_of_a_second() {
    let (mut rig, publisher, track, _) = meeting(0);
    rig.change(publisher, |config| config.receive[0].nack = false);
    let (_, mut tap) = rig.tap(track, 1000);
    rig.send(publisher, 1, 0, &key(0));
    rig.send(publisher, 3, 9000, &delta(3));
    rig.pass(60);
    assert_eq!(read(&mut tap), [0]);
    rig.pass(80);
    assert_eq!(read(&mut tap), [3]);
}

#[test]
fn a_mute_is_no_loss_to_a_tap() {
    let (mut rig, publisher, track, _) = meeting(0);
    let (_, mut tap) = rig.tap(track, 1000);
    pictures(&mut rig, publisher, 1, 10);
    rig.command(Command::Mute { track, muted: true });
    for n in 11..50 {
        rig.send(publisher, n, u32::from(n) * 3000, &delta(0));
    }
    rig.command(Command::Mute { track, muted: false });
    pictures(&mut rig, publisher, 50, 10);
    assert_eq!(gapless(&mut tap), 20);
}

#[test]
fn what_is_held_comes_out_when_the_track_ends() {
    let (mut rig, publisher, track, _) = meeting(0);
    let (_, mut tap) = rig.tap(track, 1000);
    rig.send(publisher, 1, 0, &key(0));
    rig.send(publisher, 3, 9000, &delta(3));
    rig.command(Command::RemoveTrack { track });
    assert_eq!(read(&mut tap), [0, 3]);
}

#[test]
fn no_keyframe_of_sound_is_asked_for_however_much_is_missing() {
    let mut rig = Rig::new();
    let publisher = rig.peer(false);
    let track = rig.track(CodecParams::opus(), 1, Keyframes::OnRequest);
    rig.publishes(publisher, track, 1);
    let (_, mut tap) = rig.tap(track, 1000);
    rig.send(publisher, 1, 0, &[0xfc, 1]);
    rig.send(publisher, 1500, 1_440_000, &[0xfc, 2]);
    rig.pass(1000);
    assert_eq!(read(&mut tap), [1, 2]);
    assert_eq!(rig.plis_to(publisher), 0);
}
