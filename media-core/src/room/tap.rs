//! A tap: a track's packets handed to code in this process (recorder, mixer).

use super::TrackInfo;
use crate::media::TapItem;
use crate::shard::{ShardHandle, SubKey, TrackKey};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Packets of one track, of the best layer there is, with continuous sequence
/// and time. Video starts at a keyframe. Ends (`None`) when the track does.
pub struct Tap {
    pub(crate) info: Arc<TrackInfo>,
    pub(crate) receiver: mpsc::Receiver<TapItem>,
    pub(crate) shard: ShardHandle,
    pub(crate) track: TrackKey,
    pub(crate) sub: SubKey,
}

impl Tap {
    pub fn info(&self) -> &TrackInfo {
        &self.info
    }

    pub async fn next(&mut self) -> Option<TapItem> {
        self.receiver.recv().await
    }

    /// Asks the publisher for a keyframe (merged and limited with everybody else's).
    pub fn request_keyframe(&self) {
        self.shard.request_keyframe(self.track);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shard.remove_sub(self.track, self.sub);
    }
}
