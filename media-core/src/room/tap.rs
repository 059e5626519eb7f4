//! A tap: a track's packets handed to code in this process (recorder, mixer).

use super::subscription::Subscription;
use super::{Room, TrackInfo};
use crate::media::TapItem;
use crate::shard::ShardHandle;
use std::sync::Weak;
use tokio::sync::mpsc;

/// Packets of one track, of the best layer there is, with continuous sequence
/// and time. Video starts at a keyframe. Ends (`None`) when the track does, or its holder's right to it.
pub struct Tap {
    pub(crate) subscription: Subscription,
    pub(crate) receiver: mpsc::Receiver<TapItem>,
    pub(super) shard: ShardHandle,
    pub(super) room: Weak<Room>,
}

impl Tap {
    /// The track as it was when the tap was made.
    pub fn info(&self) -> &TrackInfo {
        &self.subscription.track
    }

    pub async fn next(&mut self) -> Option<TapItem> {
        self.receiver.recv().await
    }

    /// Asks the publisher for a keyframe (merged and limited with everybody else's).
    pub fn request_keyframe(&self) {
        self.shard.request_keyframe(self.subscription.key, self.subscription.sub);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        match self.room.upgrade() {
            Some(room) => room.release_tap(&self.subscription),
            // The room went without ending its tracks; nothing else would tell the shard.
            None => self.shard.remove_sub(self.subscription.key, self.subscription.sub),
        }
    }
}
