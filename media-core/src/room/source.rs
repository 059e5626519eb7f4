//! A track that an adapter feeds: the way media enters a room without WebRTC.

use super::TrackInfo;
use crate::shard::{ShardHandle, SourceFeed, TrackKey, ntp_now};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether the peer behind a track can be asked for a keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyframes {
    /// It can't: the shard keeps the newest group of pictures and bursts it to new viewers.
    Cached,
    /// It can: requests arrive at [`TrackSource::keyframe_wanted`].
    OnRequest,
}

/// One RTP packet as an adapter hands it in. `payload` follows the codec's RTP
/// format and is at most 1,200 bytes.
#[derive(Clone, Debug)]
pub struct SourcePacket {
    /// Extended sequence number; a gap means loss.
    pub sequence: u64,
    /// RTP time in the codec's clock; wraps.
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Bytes,
}

/// How far a participant's own clock is from the room's, shared by its tracks so that they stay in
/// step. Devices' clocks are off by anything; the smallest difference seen is the one with the
/// least delay in it.
#[derive(Default)]
pub(crate) struct SourceClock(Mutex<Option<i64>>);

impl SourceClock {
    /// The room's NTP time for the participant's.
    fn rebase(&self, ntp: u64) -> u64 {
        let offset = ntp_now().wrapping_sub(ntp) as i64;
        let mut smallest = self.0.lock();
        let offset = smallest.map_or(offset, |known| known.min(offset));
        *smallest = Some(offset);
        ntp.wrapping_add(offset as u64)
    }
}

/// The writing end of a published track. Dropping it unpublishes the track.
pub struct TrackSource {
    pub(crate) info: Arc<TrackInfo>,
    pub(crate) shard: ShardHandle,
    pub(crate) key: TrackKey,
    pub(crate) feed: Arc<SourceFeed>,
    pub(crate) clock: Arc<SourceClock>,
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

    /// Ties the RTP clock to wall time, from the peer's sender report.
    /// `ntp` is the 64-bit NTP time of RFC 3550 6.4.1, by whatever clock the peer has.
    pub fn sender_report(&self, timestamp: u32, ntp: u64) {
        self.shard.sender_report(self.key, timestamp, self.clock.rebase(ntp));
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
