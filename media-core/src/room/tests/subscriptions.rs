//! Who may receive what, and when that ends.

use super::*;
use crate::ids::ParticipantSid;
use std::time::Duration;

struct Meeting {
    rooms: Arc<Rooms>,
    room: Arc<Room>,
    anna: Membership,
    bert: Membership,
    camera: TrackSource,
}

/// Anna publishes a camera, Bert is there too.
fn meeting() -> Meeting {
    let rooms = Rooms::for_tests().unwrap();
    let room = open(&rooms, 20);
    let anna = room.join(person("anna")).unwrap();
    let bert = room.join(person("bert")).unwrap();
    let camera = publish(&room, &anna.info.sid);
    Meeting { rooms, room, anna, bert, camera }
}

fn publish(room: &Arc<Room>, sid: &ParticipantSid) -> TrackSource {
    room.publish(sid, TrackSpec::new(Source::Camera, CodecParams::h264()), Keyframes::OnRequest).unwrap()
}

fn may(permission: Permission) -> ParticipantChange {
    ParticipantChange { permission: Some(permission), ..ParticipantChange::default() }
}

impl Meeting {
    fn subscribe(&self) -> Result<Subscription, RoomError> {
        self.room.subscribe(&self.bert.info.sid, &self.camera.info().sid)
    }

    fn allow_bert(&self, permission: Permission) {
        self.room.update_participant(&self.bert.info.sid, may(permission)).unwrap();
    }

    /// What Bert has been told of his subscriptions since the last time.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(event) = self.bert.events.try_recv() {
            match event {
                RoomEvent::Subscribable(track) => told.push(format!("subscribable {}", track.sid)),
                RoomEvent::SubscriptionEnded { subscription, why } => {
                    told.push(format!("{why:?} {}", subscription.track.sid));
                }
                _ => {}
            }
        }
        told
    }

    async fn on_the_shard(&self) -> u64 {
        self.rooms.shard_stats().await[0].subscriptions
    }
}

fn only(listed: Vec<Listed>) -> Audience {
    Audience { everybody: false, listed }
}

fn named(listener: &str, tracks: Tracks) -> Listed {
    Listed { listener: Listener::Identity(crate::ids::Identity::new(listener)), tracks }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_there_once_and_ends_by_its_subscribers_word() {
    let mut meeting = meeting();
    let first = meeting.subscribe().unwrap();
    assert_eq!(meeting.subscribe().unwrap(), first);
    assert_eq!(meeting.on_the_shard().await, 1);
    assert!(meeting.room.unsubscribe(&meeting.bert.info.sid, &meeting.camera.info().sid));
    assert!(!meeting.room.unsubscribe(&meeting.bert.info.sid, &meeting.camera.info().sid));
    assert_eq!(meeting.on_the_shard().await, 0);
    assert_eq!(meeting.told(), [""; 0], "it knows that itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpublished_track_ends_its_subscriptions_and_says_so() {
    let mut meeting = meeting();
    meeting.subscribe().unwrap();
    let track = meeting.camera.info().sid.clone();
    meeting.room.unpublish(&track);
    assert_eq!(meeting.told(), [format!("Unpublished {track}")]);
    assert_eq!(meeting.on_the_shard().await, 0);
    assert!(meeting.room.subscriptions(&meeting.bert.info.sid).is_empty());
    assert_eq!(meeting.subscribe().unwrap_err(), RoomError::NoTrack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_taken_back_ends_what_it_allowed_at_once_and_given_again_is_said() {
    let mut meeting = meeting();
    let track = meeting.camera.info().sid.clone();
    meeting.subscribe().unwrap();
    meeting.allow_bert(Permission { can_subscribe: false, ..Permission::full() });
    assert_eq!(meeting.told(), [format!("Revoked {track}")]);
    assert_eq!(meeting.on_the_shard().await, 0);
    assert_eq!(meeting.subscribe().unwrap_err(), RoomError::NotAllowed("subscribe"));
    meeting.allow_bert(Permission::full());
    assert_eq!(meeting.told(), [format!("subscribable {track}")]);
    meeting.subscribe().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_chooses_its_audience_by_name_and_by_track() {
    let mut meeting = meeting();
    let track = meeting.camera.info().sid.clone();
    let (anna, room) = (meeting.anna.info.sid.clone(), meeting.room.clone());
    let other = publish(&room, &anna);
    meeting.subscribe().unwrap();
    room.set_audience(&anna, only(vec![named("bert", Tracks::These(vec![other.info().sid.clone()]))])).unwrap();
    assert_eq!(meeting.told(), [format!("Audience {track}")]);
    assert_eq!(meeting.subscribe().unwrap_err(), RoomError::NotInAudience);
    room.subscribe(&meeting.bert.info.sid, &other.info().sid).unwrap();
    assert_eq!(meeting.on_the_shard().await, 1);

    room.set_audience(&anna, only(vec![named("bert", Tracks::All)])).unwrap();
    assert_eq!(meeting.told(), [format!("subscribable {track}")], "the other one it has");
    meeting.subscribe().unwrap();
    room.set_audience(&anna, only(Vec::new())).unwrap();
    assert_eq!(meeting.told().len(), 2);
    assert_eq!(meeting.on_the_shard().await, 0);
    // Who is gone and comes again is one that has chosen nothing.
    room.set_audience(&anna, Audience::default()).unwrap();
    assert_eq!(meeting.told().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_receives_its_own_tracks_nor_those_of_the_hidden() {
    let meeting = meeting();
    let (anna, room) = (meeting.anna.info.sid.clone(), meeting.room.clone());
    let track = meeting.camera.info().sid.clone();
    assert_eq!(room.subscribe(&anna, &track).unwrap_err(), RoomError::OwnTrack);
    let subscription = meeting.subscribe().unwrap();
    assert_eq!(room.subscriptions(&meeting.bert.info.sid), [subscription]);
    room.update_participant(&anna, may(Permission { hidden: true, ..Permission::full() })).unwrap();
    assert_eq!(meeting.subscribe().unwrap_err(), RoomError::NoTrack);
    assert_eq!(meeting.on_the_shard().await, 0);
}

/// Of a track of which nothing came, a reader hears what it is and that it is over.
async fn ends(tap: &mut Tap) {
    assert!(matches!(tap.next().await, Some(TapItem::Format(_))));
    assert!(tap.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tap_ends_with_its_holder_and_the_holders_right_and_a_services_does_not() {
    let mut meeting = meeting();
    let (anna, room) = (meeting.anna.info.sid.clone(), meeting.room.clone());
    let (bert, track) = (meeting.bert.info.sid.clone(), meeting.camera.info().sid.clone());
    let mut service = room.tap(&Holder::Service("test"), &track, 16).unwrap();
    let mut tap = room.tap(&Holder::Participant(bert.clone()), &track, 16).unwrap();
    let dropped = room.tap(&Holder::Participant(bert.clone()), &track, 16).unwrap();
    assert_eq!(meeting.on_the_shard().await, 3);
    drop(dropped);
    assert_eq!(meeting.on_the_shard().await, 2);

    room.set_audience(&anna, only(Vec::new())).unwrap();
    ends(&mut tap).await;
    assert_eq!(room.tap(&Holder::Participant(bert.clone()), &track, 16).err(), Some(RoomError::NotInAudience));
    assert_eq!(meeting.told(), [""; 0], "its reader sees the end of the stream");
    room.set_audience(&anna, Audience::default()).unwrap();

    let mut tap = room.tap(&Holder::Participant(bert.clone()), &track, 16).unwrap();
    room.leave(&bert, LeaveReason::ClientInitiated);
    ends(&mut tap).await;
    assert_eq!(meeting.on_the_shard().await, 1);
    room.unpublish(&track);
    ends(&mut service).await;
    assert_eq!(meeting.on_the_shard().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_hears_of_its_first_subscriber_once() {
    let mut meeting = meeting();
    let track = meeting.camera.info().sid.clone();
    meeting.subscribe().unwrap();
    meeting.room.unsubscribe(&meeting.bert.info.sid, &track);
    meeting.subscribe().unwrap();
    let mut heard = 0;
    while let Ok(event) = meeting.anna.events.try_recv() {
        heard += usize::from(matches!(event, RoomEvent::FirstSubscribed(of) if of == track));
    }
    assert_eq!(heard, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_of_one_participant_have_a_limit() {
    let meeting = meeting();
    let publishers: Vec<_> = (0..5).map(|n| meeting.room.join(person(&format!("p{n}"))).unwrap()).collect();
    let each =
        |publisher: &Membership| (0..64).map(|_| publish(&meeting.room, &publisher.info.sid)).collect::<Vec<_>>();
    let sources: Vec<_> = publishers.iter().flat_map(each).collect();
    let bert = &meeting.bert.info.sid;
    let taken = sources.iter().filter(|source| meeting.room.subscribe(bert, &source.info().sid).is_ok()).count();
    assert_eq!(taken, MAX_SUBSCRIPTIONS);
    assert_eq!(meeting.on_the_shard().await, MAX_SUBSCRIPTIONS as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_do_not_listen_are_thrown_out_one_after_another() {
    let rooms = Rooms::for_tests().unwrap();
    let room = open(&rooms, 20);
    let deaf: Vec<Membership> = (0..300).map(|n| room.join(person(&format!("d{n}"))).unwrap()).collect();
    let listener = tokio::spawn({
        let mut anna = room.join(person("anna")).unwrap();
        async move {
            let mut left = 0;
            while left < 300 {
                match anna.events.recv().await {
                    Some(RoomEvent::ParticipantLeft(_, LeaveReason::Overrun)) => left += 1,
                    Some(_) => {}
                    None => break,
                }
            }
            (left, anna)
        }
    });
    for n in 0..2100 {
        room.set_metadata(n.to_string());
        if n % 64 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let (left, _anna) = tokio::time::timeout(Duration::from_secs(10), listener).await.unwrap().unwrap();
    assert_eq!(left, 300);
    assert_eq!(room.participants().len(), 1);
    drop(deaf);
}
