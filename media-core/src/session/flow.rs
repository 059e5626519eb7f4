//! How much data one participant may bring and how much may wait for one: the media of a shard
//! and the tasks of other participants do not feel a flood.

use crate::media::DataKind;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Messages that may wait for a session.
pub const INBOX: usize = 256;
/// Bytes on the way to a peer over which its session waits before it hands over more.
const MAX_BACKLOG: usize = 1 << 20;

/// A token bucket: so much at once, so much a second.
#[derive(Debug)]
struct Bucket {
    level: f64,
    most: f64,
    per_second: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn new(most: u32, per_second: u32) -> Self {
        Self { level: most.into(), most: most.into(), per_second: per_second.into(), at: None }
    }

    fn has_any(&mut self, now: Instant) -> bool {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.level = (self.level + since.as_secs_f64() * self.per_second).min(self.most);
        self.level > 0.0
    }

    /// What is already here is taken whole, on credit if need be.
    fn take(&mut self, amount: usize) {
        self.level -= amount as f64;
    }
}

/// What a peer may send: 1,000 messages and 4 MiB a second, half a second of it at once.
#[derive(Debug)]
pub struct Intake {
    messages: Bucket,
    bytes: Bucket,
}

impl Default for Intake {
    fn default() -> Self {
        Self { messages: Bucket::new(500, 1_000), bytes: Bucket::new(2 << 20, 4 << 20) }
    }
}

impl Intake {
    /// Whether a message may be taken now.
    pub fn is_open(&mut self, now: Instant) -> bool {
        // Both are brought up to date.
        let messages = self.messages.has_any(now);
        self.bytes.has_any(now) && messages
    }

    pub fn take(&mut self, bytes: usize) {
        self.messages.take(1);
        self.bytes.take(bytes);
    }
}

/// Bytes between a session and its peer's acknowledgement: handed over and not yet taken by the
/// shard, and those that SCTP holds.
#[derive(Debug, Default)]
pub struct Backlog {
    handed: AtomicUsize,
    held: AtomicUsize,
    less: Notify,
}

impl Backlog {
    pub fn is_open(&self) -> bool {
        self.handed.load(Ordering::Acquire) + self.held.load(Ordering::Acquire) < MAX_BACKLOG
    }

    /// Waits until there is room for more.
    pub async fn opened(&self) {
        loop {
            let less = self.less.notified();
            if self.is_open() {
                return;
            }
            less.await;
        }
    }

    pub fn hand_over(&self, bytes: usize) {
        self.handed.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The shard has taken a message of so many bytes.
    pub fn taken(&self, bytes: usize) {
        self.handed.fetch_sub(bytes, Ordering::AcqRel);
        self.notify();
    }

    pub fn set_held(&self, bytes: usize) {
        if self.held.swap(bytes, Ordering::AcqRel) > bytes {
            self.notify();
        }
    }

    fn notify(&self) {
        if self.is_open() {
            self.less.notify_one();
        }
    }
}

/// A connection's two ends towards its session.
#[derive(Clone, Debug)]
pub struct DataLink {
    pub inbox: mpsc::Sender<(DataKind, Bytes)>,
    pub backlog: Arc<Backlog>,
}

/// What happened to a connection's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataCounts {
    /// Messages that came and were given to the session.
    pub taken: u64,
    /// Lossy messages beyond what a peer may send, or for a session that is behind.
    pub refused: u64,
    /// Times a reliable message had to wait for the same reasons.
    pub delayed: u64,
    /// Messages that were not sent: too long, lossy to a slow peer, or to a connection that is none.
    pub unsent: u64,
}

impl DataCounts {
    pub fn add(&mut self, other: Self) {
        self.taken += other.taken;
        self.refused += other.refused;
        self.delayed += other.delayed;
        self.unsent += other.unsent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_may_send_half_a_second_at_once_and_then_so_much_a_second() {
        let (mut intake, start) = (Intake::default(), Instant::now());
        let mut at = |ms: u64| {
            let now = start + Duration::from_millis(ms);
            let mut taken = 0;
            while intake.is_open(now) {
                intake.take(10);
                taken += 1;
            }
            taken
        };
        assert_eq!((at(0), at(0), at(100), at(10_000)), (500, 0, 100, 500));
    }

    #[test]
    fn bytes_count_as_well() {
        let (mut intake, now) = (Intake::default(), Instant::now());
        let mut taken = 0;
        while intake.is_open(now) {
            intake.take(60_000);
            taken += 1;
        }
        assert_eq!(taken, (2 << 20) / 60_000 + 1);
    }

    #[tokio::test]
    async fn a_session_waits_while_too_much_is_on_its_way() {
        let backlog = Arc::new(Backlog::default());
        backlog.hand_over(MAX_BACKLOG);
        assert!(!backlog.is_open());
        let waiting = tokio::spawn({
            let backlog = backlog.clone();
            async move { backlog.opened().await }
        });
        tokio::task::yield_now().await;
        backlog.taken(MAX_BACKLOG);
        backlog.set_held(MAX_BACKLOG);
        backlog.set_held(10);
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }
}
