//! Who may publish, and what readers get.

use super::*;
use bytes::Bytes;
use rongtong_media_core::device::{DeviceItem, DeviceReason, DeviceSession, Opener as _};
use rongtong_media_core::media::Codec;
use rongtong_media_core::rtp::access_unit::AccessUnit;

const KEY: &str = "abcdefghijklmnopqrstuvwx";
const ID: &str = "front0door00";

fn pushes() -> Arc<Pushes> {
    let pushes = Arc::new(Pushes::default());
    pushes.put(ID, KEY);
    pushes
}

fn peer() -> SocketAddr {
    ([192, 0, 2, 1], 1_935).into()
}

fn publish(pushes: &Pushes) -> Result<Publisher, Refusal> {
    pushes.authorise(peer().ip(), ID, KEY)?.publish("RTMP", peer())
}

fn picture(number: u32, key: bool, size: usize) -> DeviceItem {
    let nals = vec![Bytes::from(vec![if key { 0x65 } else { 0x41 }; size])];
    DeviceItem::Picture {
        codec: Codec::H264,
        unit: AccessUnit { timestamp: number * 3_600, nals, key, complete: true },
    }
}

async fn open(pushes: &Arc<Pushes>) -> Box<dyn DeviceSession> {
    Opening(pushes.clone()).open(&format!("push://{ID}")).await.ok().unwrap()
}

/// Numbers and keys of the pictures that are there.
async fn shown(session: &mut dyn DeviceSession) -> Vec<(u32, bool)> {
    let mut items = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(20), session.receive(&mut items)).await;
    let of = |item: &DeviceItem| match item {
        DeviceItem::Picture { unit, .. } => Some((unit.timestamp / 3_600, unit.key)),
        _ => None,
    };
    items.iter().filter_map(of).collect()
}

#[test]
fn names_and_keys() {
    let (id, key) = (Pushes::new_id(), Pushes::new_key());
    assert!(id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    assert!(key.len() == KEY_LENGTH && key.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let (pushes, from) = (pushes(), peer().ip());
    assert_eq!(pushes.authorise(from, "nobody000000", KEY).err(), Some(Refusal::Unknown));
    assert_eq!(pushes.authorise(from, ID, "wrong").err(), Some(Refusal::WrongKey));
    assert_eq!(pushes.authorise(from, ID, "").err(), Some(Refusal::WrongKey));
    let opening = Opening(pushes.clone());
    assert_eq!(opening.tidy(&format!(" PUSH://{ID}/ ")), Some(format!("push://{ID}")));
    for other in ["push://", "push://nobody000000", "push://FRONT0DOOR00", "rtmp://front0door00", "push://a/b"] {
        assert_eq!(opening.tidy(other), None, "{other}");
    }
}

#[test]
fn whoever_guesses_is_refused_even_with_the_key() {
    let pushes = pushes();
    for _ in 0..10 {
        assert_eq!(pushes.authorise(peer().ip(), ID, "guess").err(), Some(Refusal::WrongKey));
    }
    assert_eq!(pushes.authorise(peer().ip(), ID, KEY).err(), Some(Refusal::Banned));
    assert!(pushes.authorise([192, 0, 2, 2].into(), ID, KEY).is_ok());
}

#[tokio::test]
async fn one_publishes_and_another_key_throws_it_out() {
    let pushes = pushes();
    let first = publish(&pushes).unwrap();
    assert_eq!(publish(&pushes).err(), Some(Refusal::Busy));
    let late = pushes.authorise(peer().ip(), ID, KEY);
    assert_eq!(late.err(), Some(Refusal::Busy));
    pushes.put(ID, "another");
    first.gone().await;
    assert!(pushes.told(ID).is_none() && pushes.live() == 0);
    assert_eq!(publish(&pushes).err(), Some(Refusal::WrongKey));
    pushes.put(ID, KEY);
    let ticket = pushes.authorise(peer().ip(), ID, KEY).unwrap();
    pushes.remove(ID);
    assert!(ticket.publish("RTMP", peer()).is_err(), "it was removed meanwhile");
}

#[tokio::test]
async fn readers_begin_at_the_last_keyframe_and_hear_the_end() {
    let pushes = pushes();
    let publisher = publish(&pushes).unwrap();
    let mut early = open(&pushes).await;
    for number in 0..7 {
        publisher.push(picture(number, number % 4 == 0, 100));
    }
    let mut late = open(&pushes).await;
    publisher.push(picture(7, false, 100));
    assert_eq!(shown(early.as_mut()).await.len(), 8);
    assert_eq!(shown(late.as_mut()).await, [(4, true), (5, false), (6, false), (7, false)]);
    let told = pushes.told(ID).unwrap();
    assert_eq!((told.protocol, told.video, told.audio), ("RTMP", Some(Codec::H264), None));
    publisher.push(picture(8, true, 100));
    drop(publisher);
    assert_eq!(shown(late.as_mut()).await, [(8, true)], "what was there before the end");
    let ended = late.receive(&mut Vec::new()).await.unwrap_err();
    assert_eq!(ended.reason, DeviceReason::Ended);
    assert!(pushes.told(ID).is_none());
    publish(&pushes).unwrap();
}

#[tokio::test]
async fn a_slow_reader_loses_whole_groups() {
    let pushes = pushes();
    let publisher = publish(&pushes).unwrap();
    publisher.push(picture(0, true, 100));
    let mut reader = open(&pushes).await;
    for number in 1..60 {
        publisher.push(picture(number, number % 10 == 0, 1 << 19));
    }
    let shown = shown(reader.as_mut()).await;
    assert_eq!(shown[0].0 % 10, 0, "{shown:?}");
    assert!(shown[0].1 && shown.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{shown:?}");
    assert_eq!(shown.last(), Some(&(59, false)));
    assert!(pushes.told(ID).unwrap().dropped >= 32);
}

#[tokio::test]
async fn a_group_without_end_is_not_kept() {
    let pushes = pushes();
    let publisher = publish(&pushes).unwrap();
    publisher.push(picture(0, true, 100));
    for number in 1..300 {
        publisher.push(picture(number, false, 100));
    }
    let mut reader = open(&pushes).await;
    publisher.push(picture(300, false, 100));
    publisher.push(picture(301, true, 100));
    assert_eq!(shown(reader.as_mut()).await, [(301, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_is_waited_for() {
    let pushes = pushes();
    let opening = Opening(pushes.clone());
    let failed = opening.open(&format!("push://{ID}")).await.err().unwrap();
    assert_eq!((failed.reason, failed.detail.as_str()), (DeviceReason::Offline, "nobody is pushing"));
    let failed = opening.open("push://nobody000000").await.err().unwrap();
    assert_eq!(failed.reason, DeviceReason::NotFound);
    let waiting = tokio::spawn({
        let pushes = pushes.clone();
        async move { Opening(pushes).open(&format!("push://{ID}")).await.is_ok() }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let _publisher = publish(&pushes).unwrap();
    assert!(waiting.await.unwrap());
}
