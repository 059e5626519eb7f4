//! Data messages on their way to one participant: apart from the room's events, so that no flood
//! of them costs a participant its place.

use super::DataMessage;
use crate::ids::ParticipantSid;
use crate::media::DataKind;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// Over it lossy messages are dropped: who is so far behind wants the newest, not all.
const MAX_LOSSY: usize = 256 << 10;
/// Bytes that one participant's messages may take in another's queue.
const MAX_OF_ONE: usize = 2 << 20;
const MAX_BYTES: usize = 8 << 20;
/// What a message costs beside its payload, bytes.
const OVERHEAD: usize = 128;

#[derive(Default)]
struct Waiting {
    messages: VecDeque<DataMessage>,
    bytes: usize,
    of: HashMap<ParticipantSid, usize>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

/// The end that the room writes to.
#[derive(Clone)]
pub(super) struct Inbox(Arc<Queue>);

/// The end that a participant reads from.
pub struct DataReceiver(Arc<Queue>);

pub(super) fn inbox() -> (Inbox, DataReceiver) {
    let queue = Arc::new(Queue::default());
    (Inbox(queue.clone()), DataReceiver(queue))
}

impl Inbox {
    /// False when the participant is too far behind for this message; other senders' still fit.
    pub fn push(&self, message: &DataMessage) -> bool {
        let mut waiting = self.0.waiting.lock();
        let cost = cost(message);
        let sender = message.from.as_ref().map(|(sid, _)| sid);
        let of_sender = sender.and_then(|sid| waiting.of.get(sid)).copied().unwrap_or(0);
        let too_much = match message.kind {
            DataKind::Lossy => waiting.bytes + cost > MAX_LOSSY,
            DataKind::Reliable => waiting.bytes + cost > MAX_BYTES || of_sender + cost > MAX_OF_ONE,
        };
        if too_much {
            return false;
        }
        waiting.bytes += cost;
        if let Some(sid) = sender {
            *waiting.of.entry(sid.clone()).or_default() += cost;
        }
        waiting.messages.push_back(message.clone());
        drop(waiting);
        self.0.ready.notify_one();
        true
    }
}

impl DataReceiver {
    pub async fn recv(&mut self) -> DataMessage {
        loop {
            if let Some(message) = self.try_recv() {
                return message;
            }
            self.0.ready.notified().await;
        }
    }

    pub fn try_recv(&mut self) -> Option<DataMessage> {
        let mut waiting = self.0.waiting.lock();
        let message = waiting.messages.pop_front()?;
        let cost = cost(&message);
        waiting.bytes -= cost;
        if let Some((sid, _)) = &message.from
            && let Some(of_sender) = waiting.of.get_mut(sid)
        {
            *of_sender -= cost;
            if *of_sender == 0 {
                waiting.of.remove(sid);
            }
        }
        Some(message)
    }
}

fn cost(message: &DataMessage) -> usize {
    let addresses: usize = message.to.iter().map(|identity| identity.as_str().len() + size_of_val(identity)).sum();
    message.content.size() + addresses + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Identity;
    use crate::room::DataContent;
    use bytes::Bytes;

    fn message(kind: DataKind, from: &ParticipantSid, length: usize) -> DataMessage {
        let from = Some((from.clone(), Identity::new("x")));
        let content = DataContent::Client(Bytes::from(vec![0; length]));
        DataMessage { kind, from, to: Arc::from([]), sequence: 0, content }
    }

    #[test]
    fn a_flood_of_one_leaves_room_for_a_word_of_another() {
        let (inbox, mut receiver) = inbox();
        let (flooder, chief) = (ParticipantSid::random(), ParticipantSid::random());
        let flood = (0..1_000).filter(|_| inbox.push(&message(DataKind::Reliable, &flooder, 10_000))).count();
        assert!((200..=210).contains(&flood), "{flood}");
        assert!(!inbox.push(&message(DataKind::Lossy, &chief, 100)));
        assert!(inbox.push(&message(DataKind::Reliable, &chief, 100)));
        let mut got = 0;
        while receiver.try_recv().is_some() {
            got += 1;
        }
        assert_eq!(got, flood + 1);
        let waiting = receiver.0.waiting.lock();
        assert_eq!((waiting.bytes, waiting.of.len()), (0, 0));
    }

    #[test]
    fn all_together_are_bounded() {
        let (inbox, _receiver) = inbox();
        let taken = (0..20).map(|_| {
            let one = ParticipantSid::random();
            (0..200).filter(|_| inbox.push(&message(DataKind::Reliable, &one, 10_000))).count()
        });
        assert!(taken.sum::<usize>() * 10_000 <= MAX_BYTES);
    }
}
