//! A track that an adapter feeds: the way media enters a room without WebRTC.

use super::TrackInfo;
use crate::clock::ntp_to_unix_ns;
use crate::media::SourcePacket;
use crate::shard::{ShardHandle, SourceFeed, TrackKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The writing end of a published track. Dropping it unpublishes the track.
pub struct TrackSource {
    pub(crate) info: Arc<TrackInfo>,
    pub(crate) shard: ShardHandle,
    pub(crate) key: TrackKey,
    pub(crate) feed: Arc<SourceFeed>,
    pub(crate) unpublish: Option<Box<dyn FnOnce() + Send + Sync>>,
    pub(crate) dropped: AtomicU64,
}

impl TrackSource {
    pub fn info(&self) -> &TrackInfo {
        &self.info
    }

    /// Hands packets, in order, to the room. Never waits: when the shard's ring
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
        self.shard.report(self.key, timestamp, ntp_to_unix_ns(ntp));
    }

    /// Waits until a subscriber needs a keyframe (at most one wake per 500 ms).
    pub async fn keyframe_wanted(&self) {
        self.feed.keyframe.notified().await;
    }

    /// Packets dropped because the shard was behind.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for TrackSource {
    fn drop(&mut self) {
        if let Some(unpublish) = self.unpublish.take() {
            unpublish();
        }
    }
}
