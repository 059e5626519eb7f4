//! Reliable messages kept for a client that comes back: what it was sent lately,
//! so that what got lost with its old connection can be sent again.
//!
//! Invariant: bounded in messages, bytes and age; the oldest go first.

use bytes::Bytes;
use rongtong_media_core::ids::ParticipantSid;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

const MAX_MESSAGES: usize = 1024;
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug)]
struct Kept {
    at: Instant,
    publisher: ParticipantSid,
    /// The publisher's own numbering, from 1.
    sequence: u32,
    payload: Bytes,
}

#[derive(Debug)]
pub(super) struct Replay {
    kept: VecDeque<Kept>,
    bytes: usize,
    max_age: Duration,
}

impl Replay {
    pub fn new(max_age: Duration) -> Self {
        Self { kept: VecDeque::new(), bytes: 0, max_age }
    }

    /// Messages without a number (`sequence` 0) can't be told apart by the client, so they are not kept.
    pub fn push(&mut self, now: Instant, publisher: &ParticipantSid, sequence: u32, payload: Bytes) {
        if sequence == 0 || payload.len() > MAX_BYTES {
            return;
        }
        self.bytes += payload.len();
        self.kept.push_back(Kept { at: now, publisher: publisher.clone(), sequence, payload });
        while self.kept.len() > MAX_MESSAGES || self.bytes > MAX_BYTES || self.is_front_old(now) {
            let Some(gone) = self.kept.pop_front() else { break };
            self.bytes -= gone.payload.len();
        }
    }

    /// What the client lacks, in order: of publishers it has heard, everything
    /// after `received`; of others, what was sent since `away`.
    pub fn missed(&self, now: Instant, received: &HashMap<&str, u32>, away: Instant) -> Vec<Bytes> {
        let fresh = self.kept.iter().filter(|it| now.saturating_duration_since(it.at) <= self.max_age);
        let missed = fresh.filter(|it| match received.get(it.publisher.as_str()) {
            Some(last) => it.sequence > *last,
            None => it.at >= away,
        });
        missed.map(|it| it.payload.clone()).collect()
    }

    fn is_front_old(&self, now: Instant) -> bool {
        self.kept.front().is_some_and(|it| now.saturating_duration_since(it.at) > self.max_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: u32) -> Bytes {
        Bytes::from(n.to_string())
    }

    #[test]
    fn what_came_after_the_last_received_is_sent_again_in_order() {
        let now = Instant::now();
        let (a, b) = (ParticipantSid::new("PA_a"), ParticipantSid::new("PA_b"));
        let mut replay = Replay::new(Duration::from_secs(60));
        for n in 1..=5 {
            replay.push(now, &a, n, text(n));
            replay.push(now, &b, n, text(100 + n));
        }
        let received = HashMap::from([("PA_a", 3), ("PA_b", 5)]);
        assert_eq!(replay.missed(now, &received, now), [text(4), text(5)]);
    }

    #[test]
    fn of_publishers_never_heard_only_what_was_said_while_away_is_sent() {
        let start = Instant::now();
        let away = start + Duration::from_secs(5);
        let sid = ParticipantSid::new("PA_a");
        let mut replay = Replay::new(Duration::from_secs(60));
        replay.push(start, &sid, 1, text(1));
        replay.push(away + Duration::from_secs(1), &sid, 2, text(2));
        assert_eq!(replay.missed(away + Duration::from_secs(2), &HashMap::new(), away), [text(2)]);
    }

    #[test]
    fn old_many_and_large_messages_are_forgotten() {
        let start = Instant::now();
        let sid = ParticipantSid::new("PA_a");
        let everything = HashMap::from([("PA_a", 0)]);

        let mut replay = Replay::new(Duration::from_secs(60));
        replay.push(start, &sid, 1, text(1));
        assert!(replay.missed(start + Duration::from_secs(61), &everything, start).is_empty());

        for n in 0..5000 {
            replay.push(start, &sid, n + 1, text(n));
        }
        assert_eq!(replay.missed(start, &everything, start).len(), MAX_MESSAGES);

        for n in 0..20 {
            replay.push(start, &sid, n + 1, Bytes::from(vec![0; 1024 * 1024]));
        }
        assert_eq!(replay.missed(start, &everything, start).len(), 4);
        assert!(replay.bytes <= MAX_BYTES);
    }
}
