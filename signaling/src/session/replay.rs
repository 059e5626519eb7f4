//! Reliable messages kept for a client that comes back: what it was sent lately,
//! so that what got lost with its old connection can be sent again.
//!
//! Invariant: bounded in messages, bytes and age; the oldest go first.

use rongtong_media_core::ids::ParticipantSid;
use rongtong_media_core::room::{DataKind, DataMessage};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

const MAX_MESSAGES: usize = 1024;
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug)]
struct Kept {
    at: Instant,
    publisher: ParticipantSid,
    /// As the room delivered it: what it holds is shared with everybody who got it.
    message: DataMessage,
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

    /// Messages without a number (`sequence` 0) can't be told apart by the client, so they are not
    /// kept; nor are lossy ones, and those of nobody.
    pub fn push(&mut self, now: Instant, message: &DataMessage) {
        let Some((publisher, _)) = &message.from else { return };
        let size = message.content.size();
        if message.kind == DataKind::Lossy || message.sequence == 0 || size > MAX_BYTES {
            return;
        }
        self.bytes += size;
        self.kept.push_back(Kept { at: now, publisher: publisher.clone(), message: message.clone() });
        while self.kept.len() > MAX_MESSAGES || self.bytes > MAX_BYTES || self.is_front_old(now) {
            let Some(gone) = self.kept.pop_front() else { break };
            self.bytes -= gone.message.content.size();
        }
    }

    /// What the client lacks, in order: of publishers it has heard, everything
    /// after `received`; of others, what was sent since `away`.
    pub fn missed<'a>(
        &'a self,
        now: Instant,
        received: &'a HashMap<&str, u32>,
        away: Instant,
    ) -> impl Iterator<Item = &'a DataMessage> {
        let fresh = self.kept.iter().filter(move |it| now.saturating_duration_since(it.at) <= self.max_age);
        let missed = fresh.filter(move |it| match received.get(it.publisher.as_str()) {
            Some(last) => it.message.sequence > *last,
            None => it.at >= away,
        });
        missed.map(|it| &it.message)
    }

    fn is_front_old(&self, now: Instant) -> bool {
        self.kept.front().is_some_and(|it| now.saturating_duration_since(it.at) > self.max_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rongtong_media_core::ids::Identity;
    use rongtong_media_core::room::DataContent;
    use std::sync::Arc;

    /// A reliable message of `size` bytes, for its number.
    fn said(publisher: &ParticipantSid, sequence: u32, size: usize) -> DataMessage {
        let from = Some((publisher.clone(), Identity::new("x")));
        let content = DataContent::Client(vec![0; size].into());
        DataMessage { kind: DataKind::Reliable, from, to: Arc::from([]), sequence, content }
    }

    fn missed(replay: &Replay, now: Instant, received: &HashMap<&str, u32>, away: Instant) -> Vec<(String, u32)> {
        let from = |it: &DataMessage| it.from.as_ref().unwrap().0.to_string();
        replay.missed(now, received, away).map(|it| (from(it), it.sequence)).collect()
    }

    #[test]
    fn what_came_after_the_last_received_is_sent_again_in_order() {
        let now = Instant::now();
        let (a, b) = (ParticipantSid::new("PA_a"), ParticipantSid::new("PA_b"));
        let mut replay = Replay::new(Duration::from_secs(60));
        for n in 1..=5 {
            replay.push(now, &said(&a, n, 1));
            replay.push(now, &said(&b, n, 1));
        }
        let received = HashMap::from([("PA_a", 3), ("PA_b", 5)]);
        assert_eq!(missed(&replay, now, &received, now), [("PA_a".into(), 4), ("PA_a".into(), 5)]);
    }

    #[test]
    fn of_publishers_never_heard_only_what_was_said_while_away_is_sent() {
        let start = Instant::now();
        let away = start + Duration::from_secs(5);
        let sid = ParticipantSid::new("PA_a");
        let mut replay = Replay::new(Duration::from_secs(60));
        replay.push(start, &said(&sid, 1, 1));
        replay.push(away + Duration::from_secs(1), &said(&sid, 2, 1));
        assert_eq!(missed(&replay, away + Duration::from_secs(2), &HashMap::new(), away), [("PA_a".into(), 2)]);
    }

    #[test]
    fn old_many_and_large_messages_are_forgotten() {
        let start = Instant::now();
        let sid = ParticipantSid::new("PA_a");
        let everything = HashMap::from([("PA_a", 0)]);

        let mut replay = Replay::new(Duration::from_secs(60));
        replay.push(start, &said(&sid, 1, 1));
        assert!(missed(&replay, start + Duration::from_secs(61), &everything, start).is_empty());

        for n in 0..5000 {
            replay.push(start, &said(&sid, n + 1, 1));
        }
        assert_eq!(missed(&replay, start, &everything, start).len(), MAX_MESSAGES);

        for n in 0..20 {
            replay.push(start, &said(&sid, n + 1, 1024 * 1024));
        }
        assert_eq!(missed(&replay, start, &everything, start).len(), 4);
        assert!(replay.bytes <= MAX_BYTES);
    }
}
