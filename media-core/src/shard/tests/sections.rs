//! Subscriptions and the sections that carry them: made and ended by the room, placed by negotiation.

use super::super::Command;
use super::{meeting, no_holes, pictures};

#[test]
fn a_section_that_is_agreed_anew_changes_in_place() {
    let (mut rig, publisher, _, peers) = meeting(1);
    pictures(&mut rig, publisher, 1, 10);
    rig.change(peers[0], |config| {
        config.send[0].pt = 111;
        config.send[0].mid = "again".into();
    });
    rig.forget();
    pictures(&mut rig, publisher, 11, 10);
    let got = rig.got(peers[0], 5000);
    assert_eq!(got.len(), 10);
    assert!(got.iter().all(|got| got.header.payload_type == 111), "the payload type agreed last");
    assert!(no_holes(&rig.sequences(peers[0], 5000)), "the stream went on");
}

#[test]
fn what_the_room_has_ended_no_section_brings_back() {
    let (mut rig, publisher, track, peers) = meeting(1);
    pictures(&mut rig, publisher, 1, 10);
    let sub = rig.subscribes(peers[0], track, 6000);
    rig.command(Command::RemoveSub { track, sub });
    // The peer has not heard of it yet and negotiates about something else.
    rig.change(peers[0], |_| {});
    rig.forget();
    pictures(&mut rig, publisher, 11, 10);
    assert_eq!(rig.sequences(peers[0], 6000).len(), 0);
    assert_eq!(rig.sequences(peers[0], 5000).len(), 10);
}

#[test]
fn without_a_section_a_subscription_asks_for_nothing_and_begins_again_with_the_next() {
    let (mut rig, publisher, _, peers) = meeting(1);
    pictures(&mut rig, publisher, 1, 10);
    let mut taken = Vec::new();
    rig.change(peers[0], |config| taken = std::mem::take(&mut config.send));
    rig.forget();
    pictures(&mut rig, publisher, 11, 30);
    assert_eq!(rig.sequences(peers[0], 5000).len(), 0);
    assert_eq!(rig.plis_to(publisher), 0, "nobody waits for a picture");
    rig.change(peers[0], |config| config.send = taken);
    assert_eq!(rig.plis_to(publisher), 1);
    pictures(&mut rig, publisher, 41, 10);
    assert_eq!(rig.sequences(peers[0], 5000).len(), 10);
}
