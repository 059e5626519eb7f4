//! Readers in the server's own process, for the measurement of what they cost: as many on each track as
//! asked for, while somebody whose name begins with `taps` is in the room.

use super::load::ROOM;
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::room::{Holder, RoomEvent, Rooms};
use rongtong_media_core::tap::TapItem;
use rongtong_platform::metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How many, where the server is one of a measurement.
pub const COUNT: &str = "RONGTONG_BENCH_TAPS";
pub const NAME: &str = "taps";

/// Does nothing in any other server.
pub fn watch(rooms: &Arc<Rooms>, metrics: &Metrics) {
    let Some(count) = std::env::var(COUNT).ok().and_then(|text| text.parse().ok()).filter(|count| *count > 0) else {
        return;
    };
    let packets = metrics.counter("bench_tap_packets", "Packets read by the readers of a measurement");
    let gaps = metrics.counter("bench_tap_gaps", "Gaps that they were told of");
    let rooms = Arc::downgrade(rooms);
    tokio::spawn(async move {
        loop {
            let Some(room) = rooms.upgrade().and_then(|rooms| rooms.find(&RoomName::new(ROOM))) else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let mut events = room.observe();
            let mut readers = JoinSet::new();
            while let Some(event) = events.recv().await {
                match event {
                    RoomEvent::ParticipantJoined(who) if who.identity.as_str().starts_with(NAME) => {
                        for (track, _) in room.tracks().iter().flat_map(|track| (0..count).map(move |n| (track, n))) {
                            let Ok(mut tap) = room.tap(&Holder::Service("bench"), &track.sid, 1024) else { continue };
                            let (packets, gaps) = (packets.clone(), gaps.clone());
                            readers.spawn(async move {
                                let mut batch: Vec<TapItem> = Vec::new();
                                while tap.batch(&mut batch).await {
                                    for item in batch.drain(..) {
                                        match item {
                                            TapItem::Packet(_) => _ = packets.inc(),
                                            TapItem::Gap { .. } => _ = gaps.inc(),
                                            _ => {}
                                        }
                                    }
                                }
                            });
                        }
                    }
                    RoomEvent::ParticipantLeft(who, _) if who.identity.as_str().starts_with(NAME) => {
                        readers.abort_all();
                    }
                    RoomEvent::Closed(_) => break,
                    _ => {}
                }
            }
        }
    });
}
