//! Who is in a room, and what they may publish, when several things happen at once.

mod sources;
mod subscriptions;

use super::*;
use crate::ids::RoomName;
use crate::media::CodecParams;
use crate::media::Source;
use std::sync::Arc;

fn person(identity: &str) -> Join {
    Join { identity: identity.into(), permission: Permission::full(), ..Join::default() }
}

fn open(rooms: &Arc<Rooms>, empty_timeout: u32) -> Arc<Room> {
    rooms.open(&RoomName::new("r"), || RoomOptions { empty_timeout, ..RoomOptions::default() })
}

/// Runs `work` on four threads at the same moment, `rounds` times.
fn at_once<T: Send>(rounds: usize, work: impl Fn() -> T + Sync, mut check: impl FnMut(Vec<T>)) {
    for _ in 0..rounds {
        let gate = std::sync::Barrier::new(4);
        let results = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        gate.wait();
                        work()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        check(results);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_identity_that_joins_four_times_at_once_one_stays() {
    let rooms = Rooms::for_tests().unwrap();
    let room = open(&rooms, 20);
    at_once(
        200,
        || room.join(person("anna")).unwrap(),
        |memberships| {
            assert_eq!(room.participants().len(), 1);
            let told_to_go = memberships.into_iter().filter_map(|mut it| {
                std::iter::from_fn(move || it.events.try_recv().ok())
                    .find(|event| matches!(event, RoomEvent::Removed(LeaveReason::DuplicateIdentity)))
            });
            assert_eq!(told_to_go.count(), 3);
        },
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_track_described_before_a_revocation_is_not_published_after_it() {
    let rooms = Rooms::for_tests().unwrap();
    let room = open(&rooms, 20);
    let anna = room.join(person("anna")).unwrap();
    let spec = TrackSpec::new(Source::Camera, CodecParams::h264());
    let described = room.draft(&anna.info.sid, spec).unwrap();
    let none = Permission { can_publish: false, ..Permission::full() };
    let change = ParticipantChange { permission: Some(none), ..ParticipantChange::default() };
    room.update_participant(&anna.info.sid, change).unwrap();
    let refused = room.publish_draft(&described, Keyframes::OnRequest, None);
    assert!(matches!(refused, Err(RoomError::NotAllowed(_))));
    assert!(room.tracks().is_empty());
    assert_eq!(rooms.shard_stats().await[0].tracks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tracks_are_no_more_than_the_limit_however_they_are_announced() {
    let rooms = Rooms::for_tests().unwrap();
    let room = open(&rooms, 20);
    let anna = room.join(person("anna")).unwrap();
    let described: Vec<_> = (0..70)
        .map(|_| room.draft(&anna.info.sid, TrackSpec::new(Source::Camera, CodecParams::h264())).unwrap())
        .collect();
    let taken = described.into_iter().filter(|info| room.publish_draft(info, Keyframes::OnRequest, None).is_ok());
    assert_eq!(taken.count(), 64);
    assert_eq!(rooms.shard_stats().await[0].tracks, 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_in_at_the_last_moment_is_not_thrown_out() {
    let rooms = Rooms::for_tests().unwrap();
    let mut came_in = 0;
    for _ in 0..100 {
        let room = open(&rooms, 0);
        let closing = {
            let (rooms, room) = (rooms.clone(), room.clone());
            std::thread::spawn(move || rooms.close_if_due(&room))
        };
        let joined = room.join(person("anna"));
        let closed = closing.join().unwrap();
        match joined {
            Ok(mut membership) => {
                came_in += 1;
                assert!(!closed);
                while let Ok(event) = membership.events.try_recv() {
                    assert!(!matches!(event, RoomEvent::Removed(_)));
                }
                room.leave(&membership.info.sid, LeaveReason::ClientInitiated);
                rooms.close(room.name(), LeaveReason::RoomClosed);
            }
            // By this thread, or by the room's own watch, which looks once a second.
            Err(error) => {
                assert_eq!(error, RoomError::Closed);
                assert!(rooms.list().is_empty());
            }
        }
    }
    assert!(came_in > 0, "both outcomes are seen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rooms_of_a_shard_that_ended_are_closed_and_new_ones_go_to_another() {
    use crate::shard::{Command, ShardConfig, ShardHandle};
    let shard = |name: &str| {
        let config = ShardConfig {
            name: name.into(),
            udp_port: 0,
            tcp_port: None,
            advertise: Vec::new(),
            gop_cache_bytes: 1 << 20,
            gop_cache_duration: std::time::Duration::from_secs(1),
            core: None,
            on_thread: None,
        };
        ShardHandle::start(config).unwrap()
    };
    let rooms = Rooms::new(vec![shard("shard-0"), shard("shard-1")]);
    let room = open(&rooms, 20);
    let mut anna = room.join(person("anna")).unwrap();
    assert!(rooms.shards_alive());
    room.shard().send(Command::Fault { ends_thread: true });
    let removed = async {
        while let Some(event) = anna.events.recv().await {
            if let RoomEvent::Removed(reason) = event {
                return Some(reason);
            }
        }
        None
    };
    let reason = tokio::time::timeout(std::time::Duration::from_secs(5), removed).await.unwrap();
    assert_eq!(reason, Some(LeaveReason::MediaFailed));
    assert!(!rooms.shards_alive());
    let again = open(&rooms, 20);
    assert!(!Arc::ptr_eq(&room, &again) && again.shard().is_alive());
    again.join(person("anna")).unwrap();
    assert_eq!(rooms.shard_stats().await.len(), 2, "the dead one answers with nothing");
}
