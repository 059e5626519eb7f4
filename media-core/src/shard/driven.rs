//! A shard without a thread, for tests of what stands on it: commands wait until they are carried
//! out, at the moment that the test says.

use super::config::ShardConfig;
use super::core::ShardCore;
use super::sub::Sink;
use super::{Inbox, RoomKey, ShardHandle, SubKey, TrackKey, TransportKey};
use crate::clock::RoomClock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

pub(crate) struct DrivenShard {
    core: ShardCore,
    inbox: Inbox,
    /// Keeps the handle's waker valid; nobody waits on it.
    _poll: mio::Poll,
}

/// What a shard holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub rooms: BTreeSet<RoomKey>,
    pub transports: BTreeSet<TransportKey>,
    pub tracks: BTreeMap<TrackKey, Subs>,
}

/// Subscriptions of a track.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subs {
    pub unplaced: BTreeSet<SubKey>,
    pub placed: BTreeMap<SubKey, TransportKey>,
    pub taps: BTreeSet<SubKey>,
}

impl DrivenShard {
    pub fn new(config: ShardConfig, now: Instant) -> std::io::Result<(ShardHandle, Self)> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0))?);
        let (control, control_in) = crossbeam_channel::unbounded();
        let (feed, feed_in) = crossbeam_channel::bounded(4096);
        let awake = Arc::new(AtomicBool::new(false));
        let inbox = Inbox { control: control_in, feed: feed_in, awake: awake.clone() };
        let handle = ShardHandle {
            control,
            feed,
            waker,
            awake,
            alive: Arc::new(AtomicBool::new(true)),
            candidates: Arc::new(vec![("127.0.0.1:7882".parse().map_err(std::io::Error::other)?, false)]),
            feed_dropped: Arc::new(AtomicU64::new(0)),
            bell: Arc::default(),
        };
        let crypto = rtc_srtp::crypto::default_provider().map_err(|error| std::io::Error::other(error.to_string()))?;
        let clock = RoomClock::anchored(now, 1_790_000_000_000_000_000);
        Ok((handle, Self { core: ShardCore::new(config, clock, [3; 32], crypto, now), inbox, _poll: poll }))
    }

    /// Everything that waits, and what is due. Says whether anything waited.
    pub fn turn(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Ok(command) = self.inbox.control.try_recv() {
            self.core.command(command, now);
            busy = true;
        }
        while let Ok((track, batch)) = self.inbox.feed.try_recv() {
            self.core.feed(track, batch, now);
            busy = true;
        }
        self.core.handle_timeout(now);
        self.core.egress.clear();
        self.core.lost_paths.clear();
        assert_eq!(self.core.stats.panics, 0);
        busy
    }

    pub fn tables(&self) -> Tables {
        let subs = |track: &super::track::Track| {
            let mut subs = Subs::default();
            for sub in track.subs.values() {
                match &sub.sink {
                    Sink::Unplaced => drop(subs.unplaced.insert(sub.key)),
                    Sink::Tap { .. } => drop(subs.taps.insert(sub.key)),
                    Sink::Transport(outgoing) => drop(subs.placed.insert(sub.key, outgoing.transport.key)),
                }
            }
            subs
        };
        Tables {
            rooms: self.core.rooms.keys().copied().collect(),
            transports: self.core.transports.iter().map(|(key, _)| key).collect(),
            tracks: self.core.tracks.iter().map(|(key, track)| (key, subs(track))).collect(),
        }
    }

    /// Entries of every table, also those that only the shard itself knows.
    pub fn entries(&self) -> usize {
        let core = &self.core;
        core.rooms.len()
            + core.transports.len()
            + core.tracks.len()
            + core.ufrags.len()
            + core.paths.len()
            + core.timers.len()
            + core.bursting.len()
            + core.delayed.len()
            + core.held_back.len()
    }
}
