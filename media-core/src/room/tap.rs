//! A tap: a track's packets handed to code in this process (recorder, legs), see [`crate::tap`].

use super::subscription::Subscription;
use super::{Room, TrackInfo};
use crate::shard::{Command, ShardHandle};
use crate::tap::{LayerWish, TapItem, TapReader, Wish};
use std::sync::{Arc, Weak};

/// Packets of one track, in order and on room time. Video starts at a keyframe. Ends (`None`)
/// when the track does, or its holder's right to it.
pub struct Tap {
    pub(crate) subscription: Subscription,
    pub(crate) reader: TapReader,
    pub(super) shard: ShardHandle,
    pub(super) room: Weak<Room>,
}

impl Tap {
    /// The track as it was when the tap was made.
    pub fn info(&self) -> &TrackInfo {
        &self.subscription.track
    }

    /// The track as it is now, while it is there.
    pub fn track(&self) -> Option<Arc<TrackInfo>> {
        self.room.upgrade()?.track(&self.subscription.track.sid)
    }

    pub async fn next(&mut self) -> Option<TapItem> {
        self.reader.next().await
    }

    /// Waits for something and appends all there is; false at the end. May be cancelled.
    pub async fn batch(&mut self, batch: &mut Vec<TapItem>) -> bool {
        self.reader.batch(batch).await
    }

    /// From now on. Another layer begins with its next keyframe, and so does what goes on after a pause.
    pub fn want(&self, wish: Wish) {
        let layer = match wish.layer {
            LayerWish::Best => u8::MAX,
            LayerWish::Index(index) => index,
            LayerWish::Pixels { width, height } => {
                let track = self.track().unwrap_or_else(|| self.subscription.track.clone());
                track.spec.layer_that_covers(width, height)
            }
        };
        let Subscription { key, sub, .. } = self.subscription;
        self.shard.send(Command::Want { track: key, sub, layer, paused: wish.paused });
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
