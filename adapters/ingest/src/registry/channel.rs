//! From one publisher to its readers.
//!
//! Invariants: the group kept for new readers has at most [`GROUP_BYTES`] and [`GROUP_TICKS`]; a reader's queue at
//! most [`QUEUE_BYTES`] and [`QUEUE_ITEMS`]. A reader that is slower loses whole groups, never single pictures, and
//! they are counted.

use parking_lot::Mutex;
use rongtong_media_core::device::DeviceItem;
use rongtong_media_core::media::Codec;
use rongtong_media_core::rtp::{h264, h265};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const GROUP_BYTES: usize = 16 << 20;
const GROUP_TICKS: u32 = 10 * 90_000;
const GROUP_ITEMS: usize = 4_096;
const QUEUE_BYTES: usize = 16 << 20;
const QUEUE_ITEMS: usize = 4_096;
/// Over which a rate is taken.
const RATE_OVER: Duration = Duration::from_secs(2);
/// Names of what is refused that are kept for new readers.
const MAX_REFUSED: usize = 8;

/// What is known of a publisher.
#[derive(Clone, Debug)]
pub struct Told {
    pub protocol: &'static str,
    pub peer: SocketAddr,
    pub since: Instant,
    pub video: Option<Codec>,
    /// Pixels.
    pub size: Option<(u32, u32)>,
    pub audio: Option<Codec>,
    /// kbit/s, of the last seconds.
    pub rate: u64,
    /// Items that slow readers lost.
    pub dropped: u64,
}

pub(super) struct Channel {
    protocol: &'static str,
    peer: SocketAddr,
    since: Instant,
    /// ms after `since`.
    heard: AtomicU64,
    dropped: AtomicU64,
    ended: AtomicBool,
    /// Tells the publisher.
    gone: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    group: Vec<DeviceItem>,
    group_bytes: usize,
    /// There is a keyframe to start at.
    group_is_whole: bool,
    refused: Vec<&'static str>,
    readers: Vec<Arc<Queue>>,
    video: Option<Codec>,
    size: Option<(u32, u32)>,
    audio: Option<Codec>,
    rate: Rate,
}

#[derive(Default)]
struct Rate {
    since: Option<Instant>,
    bytes: u64,
    /// kbit/s.
    last: u64,
}

fn bytes_of(item: &DeviceItem) -> usize {
    match item {
        DeviceItem::Picture { unit, .. } => unit.nals.iter().map(|nal| nal.len() + 32).sum::<usize>() + 64,
        DeviceItem::Sound { data, .. } => data.len() + 64,
        DeviceItem::Refused(_) | DeviceItem::Still => 64,
    }
}

fn is_key(item: &DeviceItem) -> bool {
    matches!(item, DeviceItem::Picture { unit, .. } if unit.key && unit.complete)
}

impl Channel {
    pub fn new(protocol: &'static str, peer: SocketAddr, now: Instant) -> Self {
        Self {
            protocol,
            peer,
            since: now,
            heard: AtomicU64::default(),
            dropped: AtomicU64::default(),
            ended: AtomicBool::default(),
            gone: Notify::new(),
            state: Mutex::default(),
        }
    }

    pub fn is_heard(&self, now: Instant) -> bool {
        now < self.since + Duration::from_millis(self.heard.load(Ordering::Relaxed)) + super::HEARD_WITHIN
    }

    pub fn told(&self) -> Told {
        let state = self.state.lock();
        let fresh = state.rate.since.is_some_and(|since| since.elapsed() < 2 * RATE_OVER);
        Told {
            protocol: self.protocol,
            peer: self.peer,
            since: self.since,
            video: state.video,
            size: state.size,
            audio: state.audio,
            rate: if fresh { state.rate.last } else { 0 },
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    pub fn end(&self) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        self.gone.notify_one();
        for reader in &self.state.lock().readers {
            reader.state.lock().ended = true;
            reader.bell.notify_one();
        }
    }

    /// A reader that begins with the last keyframe.
    pub fn read(self: &Arc<Self>) -> Reader {
        let mut state = self.state.lock();
        let refused = state.refused.iter().map(|name| DeviceItem::Refused(name));
        let group = if state.group_is_whole { &state.group[..] } else { &[] };
        let items: VecDeque<_> = refused.chain(group.iter().cloned()).collect();
        let bytes = items.iter().map(bytes_of).sum();
        let waits = state.video.is_some() && !state.group_is_whole;
        let ended = self.ended.load(Ordering::Relaxed);
        let queue =
            Arc::new(Queue { state: Mutex::new(QueueState { items, bytes, waits, ended }), bell: Notify::new() });
        state.readers.push(queue.clone());
        Reader { channel: self.clone(), queue }
    }

    fn heard(&self, bytes: usize) {
        let now = Instant::now();
        self.heard.store(now.duration_since(self.since).as_millis() as u64, Ordering::Relaxed);
        let rate = &mut self.state.lock().rate;
        let since = *rate.since.get_or_insert(now);
        rate.bytes += bytes as u64;
        let over = now.duration_since(since);
        if over >= RATE_OVER {
            *rate = Rate { since: Some(now), bytes: 0, last: rate.bytes * 8 / over.as_millis().max(1) as u64 };
        }
    }

    fn push(&self, item: DeviceItem) {
        let mut state = self.state.lock();
        state.learn(&item);
        state.keep(&item);
        let mut dropped = 0;
        for reader in &state.readers {
            dropped += reader.push(&item);
            reader.bell.notify_one();
        }
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

impl State {
    fn learn(&mut self, item: &DeviceItem) {
        match item {
            DeviceItem::Picture { codec, unit } => {
                self.video = Some(*codec);
                if unit.key && unit.complete {
                    let size = unit.nals.iter().find_map(|nal| match codec {
                        Codec::H264 => h264::SpsInfo::parse(nal).ok().map(|sps| (sps.width, sps.height)),
                        _ => h265::SpsInfo::parse(nal).ok().map(|sps| (sps.width.into(), sps.height.into())),
                    });
                    self.size = size.or(self.size);
                }
            }
            DeviceItem::Sound { codec, .. } => self.audio = Some(*codec),
            DeviceItem::Refused(name) => {
                if self.refused.len() < MAX_REFUSED && !self.refused.contains(name) {
                    self.refused.push(name);
                }
            }
            DeviceItem::Still => {}
        }
    }

    fn keep(&mut self, item: &DeviceItem) {
        if is_key(item) {
            self.group.clear();
            self.group_bytes = 0;
            self.group_is_whole = true;
        }
        if !self.group_is_whole || matches!(item, DeviceItem::Refused(_) | DeviceItem::Still) {
            return;
        }
        self.group_bytes += bytes_of(item);
        self.group.push(item.clone());
        if self.group_bytes > GROUP_BYTES || self.group.len() > GROUP_ITEMS || self.group_is_long(item) {
            self.group = Vec::new();
            self.group_is_whole = false;
        }
    }

    fn group_is_long(&self, item: &DeviceItem) -> bool {
        let (Some(DeviceItem::Picture { unit: first, .. }), DeviceItem::Picture { unit: last, .. }) =
            (self.group.first(), item)
        else {
            return false;
        };
        let long = last.timestamp.wrapping_sub(first.timestamp);
        // Pictures that are shown before the keyframe follow it.
        long > GROUP_TICKS && long < u32::MAX / 2
    }
}

struct Queue {
    state: Mutex<QueueState>,
    bell: Notify,
}

struct QueueState {
    items: VecDeque<DeviceItem>,
    bytes: usize,
    /// Nothing is taken before the next keyframe.
    waits: bool,
    ended: bool,
}

impl Queue {
    /// How many items were dropped.
    fn push(&self, item: &DeviceItem) -> u64 {
        let mut state = self.state.lock();
        let mut dropped = 0;
        if is_key(item) {
            state.waits = false;
        } else if state.waits && matches!(item, DeviceItem::Picture { .. } | DeviceItem::Sound { .. }) {
            return 1;
        }
        let bytes = bytes_of(item);
        if state.items.len() >= QUEUE_ITEMS || (state.bytes + bytes > QUEUE_BYTES && !state.items.is_empty()) {
            dropped = state.items.len() as u64;
            let has_pictures = state.items.iter().any(|item| matches!(item, DeviceItem::Picture { .. }));
            state.items.clear();
            state.bytes = 0;
            if (has_pictures || matches!(item, DeviceItem::Picture { .. })) && !is_key(item) {
                state.waits = true;
                return dropped + 1;
            }
        }
        state.bytes += bytes;
        state.items.push_back(item.clone());
        dropped
    }
}

pub(super) struct Reader {
    channel: Arc<Channel>,
    queue: Arc<Queue>,
}

impl Reader {
    /// False at the end. Cancel-safe.
    pub async fn receive(&mut self, out: &mut Vec<DeviceItem>) -> bool {
        loop {
            {
                let mut state = self.queue.state.lock();
                if !state.items.is_empty() {
                    state.bytes = 0;
                    out.extend(state.items.drain(..));
                    return true;
                }
                if state.ended {
                    return false;
                }
            }
            self.queue.bell.notified().await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.channel.state.lock().readers.retain(|reader| !Arc::ptr_eq(reader, &self.queue));
    }
}

/// Whoever pushes. Dropping it ends the push's stream.
pub struct Publisher {
    channel: Arc<Channel>,
    leave: Box<dyn Fn() + Send + Sync>,
}

impl Publisher {
    pub(super) fn new(channel: Arc<Channel>, leave: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { channel, leave }
    }

    /// Bytes came, of whatever kind.
    pub fn heard(&self, bytes: usize) {
        self.channel.heard(bytes);
    }

    pub fn push(&self, item: DeviceItem) {
        self.channel.push(item);
    }

    /// Waits until it is thrown out: by another key, another publisher, or the end. Cancel-safe, for one caller.
    pub async fn gone(&self) {
        while !self.channel.ended.load(Ordering::Relaxed) {
            self.channel.gone.notified().await;
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        (self.leave)();
    }
}
