//! Streams that adapters feed: the way media enters rooms without WebRTC.

use super::{Room, TrackInfo};
use crate::clock::{DeviceClock, ntp_to_unix_ns};
use crate::media::{CodecParams, Keyframes, Source, SourcePacket};
use crate::shard::{Command, ShardHandle, SourceFeed, SubKey, TrackConfig, TrackKey};
use crate::tap::{TapItem, TapReader};
use parking_lot::Mutex;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// The writing end of a stream, and what is wanted of it.
pub struct Feeder {
    shard: ShardHandle,
    key: TrackKey,
    feed: Arc<SourceFeed>,
    dropped: AtomicU64,
}

impl Feeder {
    pub(super) fn new(shard: ShardHandle, key: TrackKey, feed: Arc<SourceFeed>) -> Self {
        Self { shard, key, feed, dropped: AtomicU64::new(0) }
    }

    /// Hands over packets, each layer's in order. Never waits: when the shard's ring
    /// is full the batch is dropped, counted, and `false` comes back.
    pub fn write(&self, batch: Vec<SourcePacket>) -> bool {
        let count = batch.len() as u64;
        let taken = self.shard.feed(self.key, batch);
        if !taken {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
        taken
    }

    /// Ties the RTP clock to room time, from the peer's sender report.
    /// `ntp` is the 64-bit NTP time of RFC 3550 6.4.1, by whatever clock the peer has.
    pub fn sender_report(&self, timestamp: u32, ntp: u64) {
        self.layer_report(0, timestamp, ntp);
    }

    /// The same of one of several layers.
    pub fn layer_report(&self, layer: usize, timestamp: u32, ntp: u64) {
        self.shard.report(self.key, layer, timestamp, ntp_to_unix_ns(ntp));
    }

    /// What is written from here on is another stream, whose numbers lie above those before; nothing that was
    /// kept of the one before is shown any more.
    pub fn restart(&self) {
        self.shard.send(Command::Restart { track: self.key });
    }

    /// Waits until a subscriber needs a keyframe (at most one wake per 500 ms).
    pub async fn keyframe_wanted(&self) {
        self.feed.keyframe.notified().await;
    }

    /// Which layers somebody wants, low to high, over all rooms; what nobody wants any more is told
    /// some seconds later. An encoder rests and a camera need not be pulled while all are false.
    pub fn wanted(&self) -> watch::Receiver<[bool; 3]> {
        self.feed.wanted.subscribe()
    }

    /// Packets dropped because the shard was behind.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A track of a room that the holder feeds. Dropping it unpublishes the track.
pub struct TrackSource {
    pub(super) publication: Publication,
    pub(super) feeder: Feeder,
}

impl TrackSource {
    pub fn info(&self) -> &TrackInfo {
        self.publication.info()
    }
}

impl Deref for TrackSource {
    type Target = Feeder;

    fn deref(&self) -> &Feeder {
        &self.feeder
    }
}

/// A track in a room. Dropping it unpublishes the track.
pub struct Publication {
    pub(super) info: Arc<TrackInfo>,
    pub(super) room: Weak<Room>,
}

impl Publication {
    /// As it was published.
    pub fn info(&self) -> &TrackInfo {
        &self.info
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        if let Some(room) = self.room.upgrade() {
            room.unpublish(&self.info.sid);
        }
    }
}

/// A stream that is fed once, with one cache, whatever rooms it is in
/// ([`Room::publish_source`]) and whoever else reads it ([`Self::tap`]). It needs no room.
///
/// Rooms of another shard than its own get it through a replica there, which that shard is handed each
/// packet for once. Dropping it ends it everywhere; its publications are to be dropped with it.
pub struct StreamSource {
    feeder: Feeder,
    home: usize,
    config: TrackConfig,
    /// By the shard's index.
    replicas: Mutex<Vec<(usize, ShardHandle, TrackKey)>>,
}

impl StreamSource {
    /// `home` is the shard of that index. All streams of a device share its `device` clock.
    pub(super) fn new(
        shard: ShardHandle,
        home: usize,
        (source, codec, layers): (Source, CodecParams, usize),
        keyframes: Keyframes,
        device: Arc<DeviceClock>,
    ) -> Self {
        let (key, feed) = (TrackKey::next(), Arc::new(SourceFeed::default()));
        let config = TrackConfig {
            room: None,
            source,
            codec,
            layers: layers.clamp(1, 3),
            muted: false,
            keyframes,
            feed: Some(feed.clone()),
            device,
            ask: None,
        };
        shard.send(Command::AddTrack { key, config: config.clone() });
        Self { feeder: Feeder::new(shard, key, feed), home, config, replicas: Mutex::default() }
    }

    /// By which key the shard of that index knows it, from now on.
    pub(super) fn on_shard(&self, shard: &ShardHandle, index: usize) -> TrackKey {
        if index == self.home {
            return self.feeder.key;
        }
        let mut replicas = self.replicas.lock();
        if let Some((.., key)) = replicas.iter().find(|(known, ..)| *known == index) {
            return *key;
        }
        let key = TrackKey::next();
        shard.send(Command::AddTrack { key, config: self.config.clone() });
        self.feeder.shard.send(Command::Replicate { track: self.feeder.key, to: shard.clone(), key });
        replicas.push((index, shard.clone(), key));
        key
    }

    /// Other parameters of the same codec from here on; rooms are told by [`Room::change_track`].
    pub fn set_codec(&self, codec: &CodecParams) {
        let codec = Arc::new(codec.clone());
        self.feeder.shard.send(Command::Format { track: self.feeder.key, codec: codec.clone() });
        for (_, shard, key) in self.replicas.lock().iter() {
            shard.send(Command::Format { track: *key, codec: codec.clone() });
        }
    }

    /// Packets of the stream for a part of the server that is nobody in any room (a snapshot, a recording of the
    /// camera): it counts as somebody who wants the stream.
    pub fn tap(&self, capacity: usize) -> SourceTap {
        let Feeder { shard, key, .. } = &self.feeder;
        let (writer, reader) = crate::tap::ring(capacity.max(16), shard.bell());
        let sub = SubKey::next();
        shard.send(Command::AddTap { track: *key, sub, writer });
        SourceTap { reader, shard: shard.clone(), track: *key, sub }
    }
}

impl Deref for StreamSource {
    type Target = Feeder;

    fn deref(&self) -> &Feeder {
        &self.feeder
    }
}

impl Drop for StreamSource {
    fn drop(&mut self) {
        self.feeder.shard.send(Command::RemoveTrack { track: self.feeder.key });
        for (_, shard, key) in self.replicas.lock().iter() {
            shard.send(Command::RemoveTrack { track: *key });
        }
    }
}

/// A tap of a [`StreamSource`]. Ends with it.
pub struct SourceTap {
    reader: TapReader,
    shard: ShardHandle,
    track: TrackKey,
    sub: SubKey,
}

impl SourceTap {
    pub async fn next(&mut self) -> Option<TapItem> {
        self.reader.next().await
    }

    /// Waits for something and appends all there is; false at the end. May be cancelled.
    pub async fn batch(&mut self, batch: &mut Vec<TapItem>) -> bool {
        self.reader.batch(batch).await
    }

    pub fn request_keyframe(&self) {
        self.shard.request_keyframe(self.track, self.sub);
    }
}

impl Drop for SourceTap {
    fn drop(&mut self) {
        self.shard.remove_sub(self.track, self.sub);
    }
}
